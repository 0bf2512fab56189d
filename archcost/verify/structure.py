"""The structure check: modules, shapes, parameters, the flow between layers, what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from archcost.analysis.report import analyze, prefixes
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.torch_twin import import_torch
from archcost.verify import Check, Subject, validator
from archcost.verify.watch import Watch, failed_run, frozen, mode, random_input

GROUP = "structure"
TOLERANCE = 1e-5
REASON = "float32: largest difference over the largest value; sums may run in another order"


@validator(GROUP)
def structure(subject: Subject) -> Iterator[Check]:
    """Compare the twin with the network, layer by layer in execution order.

    First what is in the twin and not in the network. Then of each layer: the names and shapes of
    its parameters and buffers; that it runs once; that the very tensors that the network says go
    in; the shape that comes out; and that its module gives the values of the op, once for all
    layers of one op and shape whose modules have the same classes, settings and buffers. Then the
    totals.
    """
    torch = import_torch()
    modules = dict(subject.twin.named_modules(remove_duplicate=False))
    yield from _check_extras(subject, modules)
    with mode(subject.twin, training=False), torch.no_grad():
        flow = Flow(subject)
        proved: Proved = {}
        for layer in subject.network:
            yield from _check_layer(subject, layer, modules.get(layer.path), flow, proved)
        if flow.error is None:
            names = subject.network.outputs
            yield Check(GROUP, "outputs", "", names, _names(flow.results, names))
    if subject.device == "meta":
        reason = "the meta device computes no values"
        yield Check(GROUP, "values", "", None, None, skipped=reason)
    yield from _check_totals(subject)


class Flow:
    """Which tensor each layer gave and took in one forward pass.

    Tensors are compared by identity, so that two tensors of one shape cannot be confused; a tensor
    that was changed in place since it was made is another one.
    """

    def __init__(self, subject: Subject) -> None:
        self.calls: dict[str, list[tuple[int, ...]]] = {}
        self.taken: dict[str, list[Makers]] = {}
        self.results: list[Makers] = []
        self.error: Exception | None = None
        x = random_input(subject, subject.batch)
        _mark(x, NETWORK_INPUT)
        with Watch(subject.network, subject.twin, self._enter, self._leave) as watch:
            try:
                results = subject.twin(x)
                results = results if isinstance(results, tuple) else (results,)
                self.results = [_makers(tensor) for tensor in results]
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error = error
        self.stopped_at = watch.running

    def _enter(self, path: str, inputs: tuple[Any, ...]) -> None:
        self.taken[path] = [_makers(tensor) for tensor in inputs]

    def _leave(self, path: str, output: Any) -> None:
        self.calls.setdefault(path, []).append(tuple(output.shape))
        _mark(output, path)


Makers = tuple[str, ...]
"""The layers that gave a tensor; several where they hand it on, such as dropout in evaluation."""


def _mark(tensor: Any, path: str) -> None:
    # on the tensor itself, which so need not be kept
    tensor.made_by = [*getattr(tensor, "made_by", []), (path, tensor._version)]


def _makers(tensor: Any) -> Makers:
    made = getattr(tensor, "made_by", [])
    return tuple(path for path, version in made if version == tensor._version)


def _names(tensors: list[Makers], expected: tuple[str, ...]) -> tuple[str, ...]:
    """Return the layer that gave each tensor; where several did, the expected one."""
    wanted = (*expected, *[""] * len(tensors))
    return tuple(
        want if want in makers else next(iter(makers), "another tensor")
        for makers, want in zip(tensors, wanted, strict=False)
    )


Proved = dict[tuple[Any, ...], list[tuple[Any, Check]]]
"""Modules that give the values of their op, with the check, by op and shapes of the inputs."""


def _check_layer(
    subject: Subject, layer: Layer, module: Any, flow: Flow, proved: Proved
) -> Iterator[Check]:
    path, cost = layer.path, layer.cost
    if module is None:
        yield Check(GROUP, "module", path, layer.op.name, "missing")
        return
    sound = True
    for what, expected, found in (
        ("parameters", cost.params, module.named_parameters()),
        ("buffers", cost.buffers, module.named_buffers()),
    ):
        measured = {name: tuple(tensor.shape) for name, tensor in found}
        if expected or measured:
            check = Check(GROUP, what, path, dict(expected), measured)
            sound = sound and check.passed
            yield check
    calls = flow.calls.get(path, [])
    if flow.error is not None and path == flow.stopped_at and not calls:
        yield failed_run(GROUP, path, flow.error)
        return
    yield Check(GROUP, "calls", path, 1, len(calls))
    if len(calls) != 1:
        return
    yield Check(GROUP, "inputs", path, layer.inputs, _names(flow.taken[path], layer.inputs))
    shape = Check(GROUP, "output shape", path, (subject.batch, *cost.output), calls[0])
    yield shape
    if sound and shape.passed and subject.device != "meta":
        alike = proved.setdefault((layer.op, layer.shapes), [])
        known = next((check for other, check in alike if _same_function(module, other)), None)
        if known is None:
            check = _check_values(subject, layer, module)
            if check.passed:
                alike.append((module, check))
            yield check
        else:
            yield replace(known, layer=path, note=f"{REASON}; as {known.layer}, of equal settings")


def _same_function(module: Any, other: Any) -> bool:
    """Return whether two modules differ in nothing but the values of their parameters."""
    mine, others = list(module.named_modules()), list(other.named_modules())
    if len(mine) != len(others):
        return False
    for (name, own), (other_name, twin) in zip(mine, others, strict=True):
        if name != other_name or type(own) is not type(twin) or _settings(own) != _settings(twin):
            return False
    buffers = zip(module.buffers(), other.buffers(), strict=True)
    return all(own.equal(twin) for own, twin in buffers)


def _settings(module: Any) -> dict[str, Any]:
    tensors = ("_parameters", "_buffers", "_modules")
    return {name: value for name, value in vars(module).items() if name not in tensors}


def _check_values(subject: Subject, layer: Layer, module: Any) -> Check:
    """Compare the module with one built anew from the op, with its weights, on random input."""
    torch = import_torch()
    with torch.device("meta"):
        anew = layer.op.build(torch, *layer.shapes).eval()
    anew.load_state_dict(module.state_dict(), assign=True)
    inputs = [torch.randn(subject.batch, *s, device=subject.device) for s in layer.shapes]
    try:
        right, found = anew(*inputs), module(*inputs)
    except Exception as error:  # such as a module that takes no tensors of these shapes
        return failed_run(GROUP, layer.path, error)
    difference = float((found - right).abs().max()) / (float(right.abs().max()) or 1.0)
    measured = difference if isfinite(difference) else str(difference)
    return Check(GROUP, "values", layer.path, 0.0, measured, TOLERANCE, REASON)


def _check_extras(subject: Subject, modules: Mapping[str, Any]) -> Iterator[Check]:
    """Find modules that compute and are no layer of the network, nor a part of one."""
    paths = set(subject.network.by_path)
    for name, module in modules.items():
        own = any(prefix in paths for prefix in (*prefixes(name), name))
        if name and not own and not list(module.children()):
            yield Check(GROUP, "module", name, "none", type(module).__name__)


def _check_totals(subject: Subject) -> Iterator[Check]:
    network, twin = subject.network, subject.twin
    total = analyze(network, freeze=subject.freeze).total
    with frozen(twin, subject.freeze):
        sizes = [(p.numel(), p.requires_grad) for p in twin.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    yield Check(GROUP, "parameters", "", total.params, sum(size for size, _ in sizes))
    yield Check(GROUP, "trainable parameters", "", total.trainable_params, trained)
    yield Check(GROUP, "state", "", _state(network), {
        name: tuple(tensor.shape) for name, tensor in twin.state_dict().items()
    })  # fmt: skip


def _state(network: Network) -> dict[str, tuple[int, ...]]:
    return {
        f"{layer.path}.{name}": shape
        for layer in network
        for named in (layer.cost.params, layer.cost.buffers)
        for name, shape in named.items()
    }
