"""The PyTorch twin of a network: an ``nn.Module`` whose module paths are the layer paths."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple

from archcost.errors import ArchcostError
from archcost.network import Network, Value
from archcost.ops.base import COMPLEX, FLOAT
from archcost.readings.recorder import body, module_of
from archcost.shape import show


def import_torch() -> Any:
    """Return the torch module, or say in one line how to get it."""
    try:
        import torch
    except ImportError:
        raise ArchcostError("this needs PyTorch: pip install 'archcost[torch]'") from None
    return torch


def as_written() -> Any:
    """Run code that ``torch.compile`` compiles as it is written, for as long as this lasts."""
    compiler = import_torch().compiler
    known = hasattr(compiler, "set_stance")  # from PyTorch 2.6 on
    return compiler.set_stance("force_eager") if known else nullcontext()


def build(network: Network, *, device: Any = None, dtype: Any = None) -> Any:
    """Return the network as an ordinary ``nn.Module``.

    ``twin(x)`` takes a batch ``(N, *network.input)``, or one of each input, and returns the output,
    or a tuple of several. A module that several layers run is there once. Weights are initialised
    as PyTorch does.

    Args:
        network: from :func:`archcost.load`.
        device: where the parameters live, e.g. ``"cuda"`` or ``"meta"``.
        dtype: their type, e.g. ``torch.float64``.

    Raises:
        ArchcostError: PyTorch is not installed, or a module cannot run on other sizes.
    """
    torch = import_torch()
    if network.module is not None:  # it was read of that one
        return in_type(network.module().to(device=device), dtype)
    check_modules(network)
    with torch.device(device if device is not None else "cpu"):
        return in_type(_twin_class(torch)(torch, network), dtype)


def in_type(module: Any, dtype: Any) -> Any:
    """Return a module in a type of floats; its complex numbers are then pairs of such floats.

    ``module.to(dtype)`` would drop their imaginary parts. None leaves all as it is.
    """
    if dtype is None:
        return module
    return module._apply(lambda tensor: tensor.to(type_in(tensor, dtype)))


def type_in(tensor: Any, dtype: Any) -> Any:
    """Return the type that a tensor has in a network of a type of floats."""
    if tensor.is_complex():
        return dtype.to_complex()
    return dtype if tensor.is_floating_point() else tensor.dtype


def _twin_class(torch: Any) -> Any:
    class Twin(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, torch: Any, network: Network) -> None:
            super().__init__()
            # before the modules: a layer may be named `plan`
            self.plan = plan(network)
            self.inputs = tuple(value.name for value in network.inputs)
            self.outputs = network.outputs
            for layer in network:
                if layer.module == layer.path:
                    _place(torch, self, layer.path, module_of(torch, layer.op, layer.shapes))
            for layer in network:
                for name, full in layer.ties.items():
                    _tie(self, f"{layer.module}.{name}", self.get_parameter(full))

        def get_submodule(self, target: str) -> Any:
            # PyTorch's own takes attributes, and a layer may be named as a method: `type`, `half`
            module = self
            for name in target.split("."):
                module = module._modules[name]
            return module

        def forward(self, *inputs: Any) -> Any:
            tensors = dict(zip(self.inputs, inputs, strict=True))
            del inputs
            for step in self.plan:
                self.run(step, tensors)
            results = tuple(tensors[name] for name in self.outputs)
            return results[0] if len(results) == 1 else results

        def run(self, step: Step, tensors: dict[str, Any]) -> None:
            """Run a layer on tensors by their names, and drop those that nobody reads later."""
            made = self.get_submodule(step.module)(*[tensors[name] for name in step.inputs])
            tensors.update(zip(step.outputs, output_tensors(made), strict=True))
            for name in step.finished:
                tensors.pop(name, None)

    return Twin


def check_modules(network: Network) -> None:
    """Refuse a module that runs again on sizes on which it is another one, as padding may be."""
    for layer in network:
        first = network[layer.module]
        if layer.shapes != first.shapes:
            names = tuple(f"x{i}" for i in range(len(layer.shapes)))
            texts = [body(layer.op, shapes, names) for shapes in (layer.shapes, first.shapes)]
            if texts[0] != texts[1]:
                sizes = " and ".join(map(show, first.shapes))
                raise ArchcostError(f"{layer.path}: the module of {first.path} is made for {sizes}")


def _place(torch: Any, root: Any, path: str, module: Any) -> None:
    # straight into _modules: add_module refuses layer names such as `type` or `half`
    *groups, name = path.split(".")
    parent = root
    for group in groups:
        if group not in parent._modules:
            parent._modules[group] = torch.nn.Module()
        parent = parent._modules[group]
    parent._modules[name] = module


def _tie(root: Any, name: str, parameter: Any) -> None:
    path, _, own = name.rpartition(".")
    root.get_submodule(path)._parameters[own] = parameter


class Step(NamedTuple):
    """A layer in the order of execution: what is run, and the names of tensors.

    ``finished`` are those that nobody reads later.
    """

    path: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    finished: tuple[str, ...]


def plan(network: Network) -> list[Step]:
    """Return a step for each layer."""
    return [
        Step(
            layer.path,
            layer.module,
            layer.inputs,
            layer.outputs,
            tuple(
                name
                for name in dict.fromkeys(layer.inputs)
                if network.last_readers[name] == layer.path and name not in network.outputs
            ),
        )
        for layer in network
    ]


def random_inputs(
    network: Network, batch: int, device: Any = "cpu", dtype: Any = None
) -> tuple[Any, ...]:
    """Return a batch for each input of a network, of the data that it was read with, if any."""
    if network.sample is not None and device != "meta":
        return tuple(tensor.to(device) for tensor in network.sample(batch))
    return random_values(network.inputs, batch, device, dtype)


def random_values(
    values: Iterable[Value], batch: int, device: Any = "cpu", dtype: Any = None
) -> tuple[Any, ...]:
    """Return a batch of each tensor: normally distributed numbers, or zeros of other types."""
    torch = import_torch()
    made = []
    for value in values:
        shape = (batch * value.rows, *value.shape)
        if value.dtype in (FLOAT, COMPLEX):
            drawn = torch.randn(shape, device=device, dtype=dtype)
            pair = value.dtype == COMPLEX
            made.append(torch.complex(drawn, torch.zeros_like(drawn)) if pair else drawn)
        else:
            made.append(torch.zeros(shape, device=device, dtype=getattr(torch, value.dtype)))
    return tuple(made)


def sum_of(tensor: Any) -> Any:
    """Return the sum of a tensor, of complex numbers that of both parts, which a loss may be."""
    return (import_torch().view_as_real(tensor) if tensor.is_complex() else tensor).sum()


def output_tensors(output: Any) -> tuple[Any, ...]:
    """Return what a module gives as a tuple, also if it is one tensor."""
    return tuple(output) if isinstance(output, (tuple, list)) else (output,)
