"""Running a twin under observation: which layer runs, what goes in and what comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from archcost.errors import shorten
from archcost.memory.mode import PLAIN, Mode
from archcost.network import Network
from archcost.shape import numel
from archcost.torch_twin import import_torch
from archcost.units import dtype_bytes
from archcost.verify import Check, Subject
from archcost.verify.modes import arranged


class Watch:
    """Hooks on the modules at a network's layer paths, for as long as the context lasts.

    ``running`` is the path of the layer that runs, or ran last; ``enter(path, inputs)`` and
    ``leave(path, output)`` are called around each layer. Modules that are missing are passed over.
    """

    def __init__(
        self,
        network: Network,
        twin: Any,
        enter: Callable[[str, tuple[Any, ...]], None] | None = None,
        leave: Callable[[str, Any], None] | None = None,
    ) -> None:
        self.network, self.twin = network, twin
        self.enter, self.leave = enter, leave
        self.running = ""
        self._hooks: list[Any] = []

    def __enter__(self) -> Watch:
        modules = dict(self.twin.named_modules(remove_duplicate=False))
        for layer in self.network:
            if layer.path in modules:
                self._register(layer.path, modules[layer.path])
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _register(self, path: str, module: Any) -> None:
        def before(_: Any, inputs: tuple[Any, ...]) -> None:
            self.running = path
            if self.enter:
                self.enter(path, inputs)

        def after(_: Any, __: Any, output: Any) -> None:
            if self.leave:
                self.leave(path, output)

        self._hooks += [
            module.register_forward_pre_hook(before, prepend=True),  # before a layer's own padding
            module.register_forward_hook(after),
        ]


def light_copy(twin: Any, convert: Callable[[Any], Any] | None = None) -> Any:
    """Return a copy of a twin that shares its parameters, or has converted ones.

    What is hung onto the copy, such as hooks and buffers, does not reach the twin. ``convert``
    turns a tensor into one elsewhere, on the meta device say, and also takes the buffers there.
    """
    if convert is None:
        return copy.deepcopy(twin, {id(p): p for p in twin.parameters()})
    parameter = import_torch().nn.Parameter
    memo = {id(p): parameter(convert(p.detach()), p.requires_grad) for p in twin.parameters()}
    return copy.deepcopy(twin, memo | {id(buffer): convert(buffer) for buffer in twin.buffers()})


def fake_copy(twin: Any, fake: Any, device: str, mode: Mode = PLAIN) -> Any:
    """Return a copy of a twin whose tensors act as the device's but hold nothing.

    ``fake`` is the ``FakeTensorMode`` in which it will run.
    """
    torch = import_torch()

    def empty(tensor: Any) -> Any:
        with fake:
            return arranged(torch.empty(tensor.shape, dtype=tensor.dtype, device=device), mode)

    return light_copy(twin, empty)


def footprint(network: Network, batch: int) -> int:
    """Return the bytes of all weights and all outputs, which a counter may keep at once."""
    outputs = sum(numel(layer.cost.output) for layer in network) * batch
    weights = sum(numel(shape) for layer in network for shape in layer.cost.params.values())
    return (outputs + weights) * dtype_bytes("float32")


MACS_PER_LAYER = 6 * 10**7
"""Multiply-accumulates that a core does while the shapes of one layer are worked out on meta."""

LIGHT = 10**9
"""Bytes of weights and outputs up to which a pass may keep them all."""


def has_fused_attention(network: Network) -> bool:
    """Return whether attention runs as one operation on a real device, and as several on meta."""
    return any(layer.cost.work.get("fused_mac") for layer in network)


def operations_device(subject: Subject) -> str:
    """Return where a pass that asks for the operations dispatched is quick, and has the same."""
    return subject.device if has_fused_attention(subject.network) else shapes_device(subject)


def shapes_device(subject: Subject) -> str:
    """Return where a pass that only asks for shapes is quicker: the subject's device or meta."""
    network = subject.network
    macs = sum(layer.cost.work.get("mac", 0) for layer in network) * subject.batch
    quick = macs < MACS_PER_LAYER * len(network.layers)
    light = footprint(network, subject.batch) < LIGHT
    return subject.device if quick and light else "meta"


def copy_on(subject: Subject, device: str) -> Any:
    """Return a light copy of a subject's twin on its own device or on meta."""
    if device == subject.device:
        return light_copy(subject.twin)
    return light_copy(subject.twin, lambda tensor: tensor.to(device))


def random_input(subject: Subject, batch: int) -> Any:
    """Return a batch of normally distributed numbers in the shape of the network's input."""
    torch = import_torch()
    return torch.randn(batch, *subject.network.input, device=subject.device)


def failed_run(group: str, layer: str, error: Exception) -> Check:
    """Return the check that says that the twin does not run, and where it stopped."""
    reason = f"{type(error).__name__}: {shorten(error, 200)}"
    return Check(group, "runs", layer, "no error", reason)


@contextmanager
def mode(twin: Any, training: bool) -> Iterator[None]:
    """Put a twin in training or evaluation mode; afterwards mode and buffers are as before."""
    before = {module: module.training for module in twin.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in twin.buffers()]
    twin.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was
        torch = import_torch()
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


@contextmanager
def frozen(twin: Any, patterns: tuple[str, ...]) -> Iterator[None]:
    """Freeze the modules that match a pattern, and all below them; afterwards all is as before."""
    from fnmatch import fnmatchcase

    before = [(parameter, parameter.requires_grad) for parameter in twin.parameters()]
    for name, module in twin.named_modules():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            module.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, was in before:
            parameter.requires_grad_(was)


def training_batch(network: Network, batch: int) -> tuple[int, str]:
    """Return the batch for a pass in training mode, and why it is not the one asked for.

    Batch normalisation cannot normalise one value per channel, as a batch of 1 on 1x1 maps is.
    """
    alone = any(
        layer.op.name == "batchnorm" and set(layer.cost.output[1:]) <= {1} for layer in network
    )
    if batch == 1 and alone:
        return 2, "batch 2: batch normalisation cannot train on one value per channel"
    return batch, ""
