"""Single faults planted in a twin, each with the layer that a check must name.

A fault changes what the twin computes, keeps for backward, or holds; changes that nobody could see
are not drawn. The layer to be named is the one that was changed. For an operation that was put
between two layers it is the module that was added; for a call that was left out, the layer that no
longer runs.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from archcost.network import Layer, Network
from archcost.setting import Setting
from archcost.shape import numel, window_count

cpu = partial(Setting, device="cpu")


@dataclass(frozen=True)
class Fault:
    """A twin with one fault: what was done, and the path that a check must name."""

    what: str
    path: str
    twin: Any


Planter = Callable[[random.Random, Network, Any], str | None]
"""Changes a twin and returns the path to be named, or None where nothing fits."""

PLANTERS: dict[str, Planter] = {}


def planter(function: Planter) -> Planter:
    PLANTERS[function.__name__] = function
    return function


def plant(rng: random.Random, kind: str, network: Network, twin: Any) -> Fault | None:
    """Return a copy of the twin with one fault of a kind, None if the network has no place."""
    faulty = copy.deepcopy(twin)
    path = PLANTERS[kind](rng, network, faulty)
    return None if path is None else Fault(kind, path, faulty)


# Places.


def pick(rng: random.Random, network: Network, fits: Callable[[Layer], bool]) -> Layer | None:
    layers = [layer for layer in network if fits(layer)]
    return rng.choice(layers) if layers else None


def plain_conv(layer: Layer) -> bool:
    op: Any = layer.op
    return op.name == "conv" and isinstance(op.padding, int) and op.padding_mode == "zeros"


def put(twin: Any, path: str, module: Any) -> None:
    *groups, name = path.split(".")
    parent = twin
    for group in groups:
        parent = parent._modules[group]
    parent._modules[name] = module.train(twin.training)


def conv_like(old: Any, **changes: Any) -> Any:
    """Return a convolution with other settings, with the weights that still fit."""
    settings = {
        "in_channels": old.in_channels, "out_channels": old.out_channels,
        "kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding,
        "dilation": old.dilation, "groups": old.groups, "bias": old.bias is not None,
    } | changes  # fmt: skip
    new = type(old)(**settings)
    fresh = new.state_dict()
    fitting = {
        name: value
        for name, value in old.state_dict().items()
        if name in fresh and fresh[name].shape == value.shape
    }
    new.load_state_dict(fresh | fitting)
    return new


def rewire(twin: Any, change: Callable[[str, tuple[str, ...]], tuple[str, ...]]) -> None:
    """Change what layers read; every tensor is then kept to the end."""
    twin.plan = [
        step._replace(inputs=change(step.path, step.inputs), finished=()) for step in twin.plan
    ]


# Faults of one module.


def change_conv(rng: random.Random, network: Network, twin: Any, fits: Any, changes: Any) -> Any:
    layer = pick(rng, network, lambda layer: plain_conv(layer) and fits(layer))
    if layer is None:
        return None
    old = twin.get_submodule(layer.path)
    put(twin, layer.path, conv_like(old, **changes(old)))
    return layer.path


def positions(layer: Layer, stride: int) -> list[int]:
    op: Any = layer.op
    kernel = op.kernel_size if isinstance(op.kernel_size, tuple) else (op.kernel_size,) * 2
    dilation = op.dilation if isinstance(op.dilation, tuple) else (op.dilation,) * 2
    return [
        window_count(n, k, stride, op.padding, op.padding, d)
        for n, k, d in zip(layer.shapes[0][1:], kernel, dilation, strict=True)
    ]


@planter
def conv_stride(rng: random.Random, network: Network, twin: Any) -> str | None:
    def other(layer: Layer) -> int:
        stride = layer.op.stride  # type: ignore[attr-defined]
        return stride + 1 if isinstance(stride, int) else 0

    def fits(layer: Layer) -> bool:
        wanted = other(layer)
        return bool(wanted) and positions(layer, wanted) != list(layer.cost.output[1:])

    return change_conv(rng, network, twin, fits, lambda old: {"stride": old.stride[0] + 1})


@planter
def conv_padding(rng: random.Random, network: Network, twin: Any) -> str | None:
    def changes(old: Any) -> Any:
        return {"padding": old.padding[0] + 1 if not old.padding[0] else old.padding[0] - 1}

    return change_conv(rng, network, twin, lambda layer: True, changes)


@planter
def conv_dilation(rng: random.Random, network: Network, twin: Any) -> str | None:
    def fits(layer: Layer) -> bool:
        return max(layer.cost.params["weight"][2:]) > 1

    return change_conv(
        rng, network, twin, fits, lambda old: {"dilation": tuple(d + 1 for d in old.dilation)}
    )


@planter
def conv_kernel(rng: random.Random, network: Network, twin: Any) -> str | None:
    def changes(old: Any) -> Any:
        return {
            "kernel_size": tuple(k + 2 for k in old.kernel_size),
            "padding": tuple(p + 1 for p in old.padding),
        }

    return change_conv(rng, network, twin, lambda layer: True, changes)


@planter
def conv_out_channels(rng: random.Random, network: Network, twin: Any) -> str | None:
    return change_conv(
        rng, network, twin, lambda layer: True,
        lambda old: {"out_channels": old.out_channels + old.groups},
    )  # fmt: skip


@planter
def conv_in_channels(rng: random.Random, network: Network, twin: Any) -> str | None:
    return change_conv(
        rng, network, twin, lambda layer: True,
        lambda old: {"in_channels": old.in_channels + old.groups},
    )  # fmt: skip


@planter
def conv_groups(rng: random.Random, network: Network, twin: Any) -> str | None:
    def other(layer: Layer) -> int:
        groups, channels, out = layer.op.groups, layer.shapes[0][0], layer.cost.output[0]  # type: ignore[attr-defined]
        if groups > 1:
            return 1
        return next((g for g in (2, 3) if channels % g == 0 and out % g == 0), 0)

    def changes(old: Any) -> Any:
        if old.groups > 1:
            return {"groups": 1}
        return {"groups": 2 if old.in_channels % 2 == old.out_channels % 2 == 0 else 3}

    return change_conv(rng, network, twin, lambda layer: bool(other(layer)), changes)


@planter
def conv_bias(rng: random.Random, network: Network, twin: Any) -> str | None:
    return change_conv(
        rng, network, twin, lambda layer: True, lambda old: {"bias": old.bias is None}
    )


@planter
def linear_features(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    layer = pick(rng, network, lambda layer: layer.op.name == "linear")
    if layer is None:
        return None
    old = twin.get_submodule(layer.path)
    put(twin, layer.path, torch.nn.Linear(old.in_features, old.out_features + rng.choice((-1, 1))))
    return layer.path


@planter
def linear_bias(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    layer = pick(rng, network, lambda layer: layer.op.name == "linear")
    if layer is None:
        return None
    old = twin.get_submodule(layer.path)
    bias = old.bias is None
    put(twin, layer.path, torch.nn.Linear(old.in_features, old.out_features, bias=bias))
    return layer.path


@planter
def pool_of_the_other_kind(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    def fits(layer: Layer) -> bool:
        op: Any = layer.op
        return op.name == "maxpool" and op.dilation == 1 and numel(layer.shapes[0][1:]) > 1

    layer = pick(rng, network, fits)
    if layer is None:
        return None
    old: Any = layer.op
    put(
        twin, layer.path,
        torch.nn.AvgPool2d(old.kernel_size, old.stride, old.padding, ceil_mode=old.ceil_mode),
    )  # fmt: skip
    return layer.path


@planter
def pool_stride(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    def shrinks(layer: Layer) -> bool:
        op: Any = layer.op
        if op.name != "maxpool" or not isinstance(op.stride or op.kernel_size, int):
            return False
        stride = (op.stride or op.kernel_size) + 1
        sizes = [
            window_count(n, op.kernel_size, stride, op.padding, op.padding, 1, op.ceil_mode)
            for n in layer.shapes[0][1:]
        ]
        return sizes != list(layer.cost.output[1:])

    layer = pick(rng, network, shrinks)
    if layer is None:
        return None
    old: Any = layer.op
    stride = (old.stride or old.kernel_size) + 1
    put(
        twin, layer.path,
        torch.nn.MaxPool2d(old.kernel_size, stride, old.padding, ceil_mode=old.ceil_mode),
    )  # fmt: skip
    return layer.path


@planter
def norm_without_parameters(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    layer = pick(
        rng, network, lambda layer: layer.op.name == "batchnorm" and len(layer.shapes[0]) == 3
    )
    if layer is None:
        return None
    put(twin, layer.path, torch.nn.BatchNorm2d(layer.shapes[0][0], affine=False))
    return layer.path


@planter
def norm_eps(rng: random.Random, network: Network, twin: Any) -> str | None:
    layer = pick(rng, network, lambda layer: layer.op.name == "batchnorm")
    if layer is None:
        return None
    twin.get_submodule(layer.path).eps *= 100
    return layer.path


@planter
def other_activation(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    layer = pick(rng, network, lambda layer: layer.op.name in ("relu", "sigmoid", "relu6"))
    if layer is None:
        return None
    put(twin, layer.path, rng.choice((torch.nn.Tanh, torch.nn.LeakyReLU))())
    return layer.path


@planter
def dropout_off(rng: random.Random, network: Network, twin: Any) -> str | None:
    layer = pick(rng, network, lambda layer: layer.op.name == "dropout" and layer.op.p > 0)  # type: ignore[attr-defined]
    if layer is None:
        return None
    twin.get_submodule(layer.path).p = 0.0
    return layer.path


# Faults of what a network holds.


@planter
def tied_weights(rng: random.Random, network: Network, twin: Any) -> str | None:
    """Two layers share one parameter."""
    alike: dict[Any, list[Layer]] = {}
    for layer in network:
        for name, shape in layer.cost.params.items():
            alike.setdefault((name, shape), []).append(layer)
    places = [(name, layers) for (name, _), layers in alike.items() if len(layers) > 1]
    if not places:
        return None
    name, layers = rng.choice(places)
    first, second = sorted(rng.sample(range(len(layers)), 2))
    home, other = (twin.get_submodule(layers[i].path) for i in (first, second))
    *groups, own = name.split(".")
    for group in groups:
        home, other = home._modules[group], other._modules[group]
    other._parameters[own] = home._parameters[own]
    return layers[second].path


@planter
def unused_parameter(rng: random.Random, network: Network, twin: Any) -> str | None:
    """A parameter that nothing reads, of a layer or of a group."""
    import torch

    path = rng.choice(["", *(name for name, _ in twin.named_modules() if name)])
    module = twin
    for name in filter(None, path.split(".")):
        module = module._modules[name]
    module.register_parameter("extra", torch.nn.Parameter(torch.zeros(3)))
    own = [layer.path for layer in network if f"{path}.".startswith(f"{layer.path}.")]
    return own[0] if own else f"{path}.extra".lstrip(".")


@planter
def frozen_parameter(rng: random.Random, network: Network, twin: Any) -> str | None:
    layer = pick(rng, network, lambda layer: bool(layer.cost.params))
    if layer is None:
        return None
    name = rng.choice(list(layer.cost.params))
    dict(twin.get_submodule(layer.path).named_parameters())[name].requires_grad_(False)
    return layer.path


@planter
def buffer_too_many(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    layer = rng.choice(network.layers)
    twin.get_submodule(layer.path).register_buffer("extra", torch.zeros(()))
    return layer.path


@planter
def buffer_too_few(rng: random.Random, network: Network, twin: Any) -> str | None:
    """A normalisation that does not count its steps."""
    layer = pick(rng, network, lambda layer: layer.op.name == "batchnorm")
    if layer is None:
        return None
    del twin.get_submodule(layer.path)._buffers["num_batches_tracked"]
    twin.get_submodule(layer.path).num_batches_tracked = None
    return layer.path


# Missing and extra operations.
