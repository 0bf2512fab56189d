"""The structure check: modules, shapes, parameters, the flow between layers, what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import compress
from math import isfinite
from typing import Any

from archcost.analysis.report import analyze
from archcost.analysis.training import learning
from archcost.network import Layer, Network, maker, prefixes
from archcost.proofs import Check, Subject, validator
from archcost.proofs.dataflow import tensors_of
from archcost.proofs.watch import failed_run, frozen, mode
from archcost.pytorch import import_torch, output_tensors, random_inputs, random_values
from archcost.pytorch.watch import Watch, module_name
from archcost.readings.recorder import module_of

GROUP = "structure"
TOLERANCE = 1e-5
REASON = "float32: largest difference over the largest value; sums may run in another order"


@validator(GROUP)
def structure(subject: Subject) -> Iterator[Check]:
    """Compare the twin with the network, layer by layer in execution order.

    First come modules, parameters and buffers that only the twin has, and parameters that two
    layers share or that are not trained. Then come the layers. Each must have the names and shapes
    of its parameters and buffers, run once, read the tensors that the network says, and give its
    shape. Its module must give the values of the op. This is checked once for all layers of one op
    and shape whose modules have the same classes, settings and buffers. Last come the totals.

    Of a network that is code, only the layers that are modules are compared. The functions between
    them, and the totals, are up to the check ``module``.
    """
    torch = import_torch()
    modules = dict(subject.twin.named_modules(remove_duplicate=False))
    is_code = subject.network.module is not None
    if not is_code:
        yield from _check_extras(subject, modules)
    yield from _check_own(subject, modules)
    with mode(subject.twin, training=False), torch.no_grad():
        flow = Flow(subject)
        proved: Proved = {}
        for layer in subject.network:
            module = modules.get(module_name(subject.network, layer))
            if module is not None or not is_code:
                yield from _check_layer(subject, layer, module, flow, proved)
        if flow.error is None and not is_code:
            names = subject.network.outputs
            yield Check(GROUP, "outputs", "", names, _names(flow.results, names))
    if subject.device == "meta":
        reason = "the meta device computes no values"
        yield Check(GROUP, "values", "", None, None, skipped=reason)
    if not is_code:
        yield from _check_totals(subject)


class Flow:
    """Which tensor each layer gave and took in one forward pass.

    Tensors are compared by identity, so that two tensors of one shape cannot be confused; a tensor
    that was changed in place since it was made is another one.
    """

    def __init__(self, subject: Subject) -> None:
        self.calls: dict[str, list[tuple[tuple[int, ...], ...]]] = {}
        self.taken: dict[str, list[Makers]] = {}
        self.results: list[Makers] = []
        self.names = {layer.path: layer.outputs for layer in subject.network}
        self.error: Exception | None = None
        inputs = random_inputs(subject.network, subject.batch, subject.device)
        for value, x in zip(subject.network.inputs, inputs, strict=True):
            _mark(x, value.name)
        with Watch(subject.network, subject.twin, self._enter, self._leave) as watch:
            try:
                results = subject.twin(*inputs)
                self.results = [_makers(tensor) for tensor in output_tensors(results)]
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error = error
        self.stopped_at = watch.running

    def _enter(self, path: str, inputs: tuple[Any, ...]) -> None:
        self.taken[path] = [*map(_makers, tensors_of(inputs))]

    def _leave(self, path: str, output: Any) -> None:
        made = output_tensors(output)
        self.calls.setdefault(path, []).append(tuple(tuple(tensor.shape) for tensor in made))
        for tensor, name in zip(made, self.names[path], strict=False):
            _mark(tensor, name)


Makers = tuple[str, ...]
"""Names of a tensor; several where layers hand it on, such as dropout in evaluation."""


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
    path, cost, network = layer.path, layer.cost, subject.network
    if module is None:
        yield Check(GROUP, "module", path, layer.op.name, "missing")
        return
    sound, is_op = True, hasattr(layer.op, "examples")  # else a function on whole tensors of code
    for what, expected, found in (
        ("parameters", cost.params, module.named_parameters(remove_duplicate=False)),
        ("buffers", cost.buffers, module.named_buffers()),
    ):
        measured = {name: tuple(tensor.shape) for name, tensor in found}
        if is_op and (expected or measured):
            check = Check(GROUP, what, path, dict(expected), measured)
            sound = sound and check.passed
            yield check
    calls = flow.calls.get(path, [])
    if flow.error is not None and path == flow.stopped_at and not calls:
        yield failed_run(GROUP, path, flow.error)
        return
    yield Check(GROUP, "calls", path, 1, len(calls))
    if len(calls) != 1 or not is_op:
        return
    inputs, taken = layer.inputs, flow.taken[path]
    if network.module is not None:  # what a function makes has no name there
        makers = [maker(name) for name in inputs]
        named = [name not in network.by_path or name in flow.calls for name in makers]
        inputs = tuple(compress(inputs, named))
        taken = [*compress(taken, named)]
    yield Check(GROUP, "inputs", path, inputs, _names(taken, inputs))
    fits = True
    for i, (name, shape) in enumerate(zip(layer.outputs, cost.outputs, strict=True)):
        found = calls[0][i] if i < len(calls[0]) else "no tensor"
        check = Check(GROUP, "output shape", name, (subject.batch * layer.made_rows, *shape), found)
        fits = fits and check.passed
        yield check
    if sound and fits and subject.device != "meta":
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


def _precise(torch: Any, tensor: Any) -> Any:
    """Return the type of double precision of a tensor's numbers."""
    return torch.complex128 if tensor.is_complex() else torch.float64


def _check_values(subject: Subject, layer: Layer, module: Any) -> Check:
    """Compare the module with a new one built from the op, with its weights, on random input."""
    torch = import_torch()
    with torch.device("meta"):
        anew = module_of(torch, layer.op, layer.shapes).eval()
    anew.load_state_dict(module.state_dict(), assign=True)
    read = [subject.network.values[name] for name in layer.inputs]
    inputs = random_values(read, subject.batch, subject.device)
    results = []
    try:
        for each in (anew, module):
            torch.manual_seed(0)  # for what draws at random in evaluation, too
            results.append(output_tensors(each(*inputs)))
        pairs = [*zip(*results, strict=True)]
    except Exception as error:  # such as a module that takes no tensors of these shapes
        return failed_run(GROUP, layer.path, error)
    difference = max(
        float((found - right).abs().max()) / (float(right.abs().max()) or 1.0)
        for right, found in ([t.to(_precise(torch, t)) for t in pair] for pair in pairs)
    )
    measured = difference if isfinite(difference) else str(difference)
    return Check(GROUP, "values", layer.path, 0.0, measured, TOLERANCE, REASON)


def _check_extras(subject: Subject, modules: Mapping[str, Any]) -> Iterator[Check]:
    """Find modules that compute but are neither a layer of the network nor a part of one."""
    paths = {layer.module for layer in subject.network}
    for name, module in modules.items():
        own = any(prefix in paths for prefix in (*prefixes(name), name))
        if name and not own and not list(module.children()):
            yield Check(GROUP, "module", name, "none", type(module).__name__)
        if not own:
            for kind, named in (
                ("parameter", module.named_parameters(name, recurse=False)),
                ("buffer", module.named_buffers(name, recurse=False)),
            ):
                for path, tensor in named:
                    yield Check(GROUP, kind, path, "none", tuple(tensor.shape))


def _check_own(subject: Subject, modules: Mapping[str, Any]) -> Iterator[Check]:
    """Find parameters that are shared or not, and frozen or not, as they should not be."""
    homes: dict[int, str] = {}
    known: dict[str, int] = {}
    learns = learning(subject.network, subject.setting.freeze)
    for layer in subject.network:
        shared = layer.module != layer.path
        named = (
            modules[layer.path].named_parameters(remove_duplicate=False)
            if layer.path in modules
            else ()
        )
        for name, parameter in named:
            full = f"{layer.path}.{name}" if shared else layer.full_name(name)
            home = homes.setdefault(id(parameter), full)
            if home != full:
                yield Check(GROUP, "parameters", layer.path, f"a {name} of its own", home)
            elif known.setdefault(full, id(parameter)) != id(parameter):
                yield Check(GROUP, "parameters", layer.path, full, f"a {name} of its own")
            if not parameter.requires_grad and full in learns:
                yield Check(GROUP, "trained", layer.path, f"{name} trained", f"{name} frozen")


def _check_totals(subject: Subject) -> Iterator[Check]:
    network, twin = subject.network, subject.twin
    total = analyze(network, subject.setting).total
    with frozen(twin, network, subject.setting.freeze):
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
        if layer.module == layer.path
        for named in (layer.cost.params, layer.cost.buffers)
        for name, shape in named.items()
    }
