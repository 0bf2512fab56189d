"""The reference check: a network of torchvision, timm, pytorchcv or the user's computes the same.

The reference's weights are put into the twin, use by use along the flow of the data, and in
float64 both must give the same outputs for random input. This proves that a spec is that
architecture, and not only one of the same size.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from archcost.counterparts import COLLECTIONS
from archcost.layout import contiguous
from archcost.network import Network, maker
from archcost.ops.base import BOOL, COMPLEX, FLOAT
from archcost.ops.embedding import Embedding
from archcost.proofs import Check, Subject, validator
from archcost.proofs.counterparts import (
    DIFFERENCES,
    Difference,
    build_reference,
    counterpart,
    one_line,
    split_reference,
)
from archcost.proofs.dataflow import Call, Trace, Unpaired, live, pair, state, tensors_of, trace
from archcost.proofs.kept import Training
from archcost.proofs.observe import drop_nothing, drops_no_scores
from archcost.proofs.weights import Pairing, elements, inventory, pairs_of
from archcost.pytorch import import_torch, in_type, type_in
from archcost.shape import Shape, numel, show

TOLERANCE = 1e-9
REASON = "in float64, relative to the largest value: sums may run in another order"

MOST = 10**8
"""Elements of weights that are drawn one by one: 0.8 GB in float64."""

STEP = 7
"""How far apart rows of larger networks begin in the sequence of numbers that they share."""

FILLS = frozenset({
    "uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "fill_", "zero_",
})  # fmt: skip
"""Operations by which an initialisation fills a tensor, among them those of a truncated normal."""


@validator("reference")
def reference(subject: Subject) -> Iterator[Check]:
    """Compare the twin with each network that ``subject.against`` names."""
    if not subject.against:
        yield _skip("", "no reference is named: --against torchvision, timm, pytorchcv, ...")
    for against in subject.against:
        found = _find(against, subject)
        if found is None:
            yield _skip(against, f"no counterpart in {against}")
        elif subject.device == "meta":
            yield _skip(against, "outputs are compared, and the meta device computes none")
        else:
            where, name, arguments = found
            # a network of the user's may look at its weights while it is built
            with without_initialisation() if where in COLLECTIONS else nullcontext():
                made = build_reference(where, name, arguments)
            if subject.usage.in_order is not None:
                made = subject.usage.in_order(made, [x.name for x in subject.network.inputs])
            yield from compare(subject, f"{where}:{name}", made, _difference_of(found, subject))


def _skip(name: str, reason: str, what: str = "output") -> Check:
    return Check("reference", f"{name}: {what}", "", None, None, skipped=reason, against=name)


def _find(against: str, subject: Subject) -> tuple[str, str, Any] | None:
    """Return where a reference is, its name there and its arguments; None without counterpart."""
    where, name = split_reference(against)
    if name:
        return where, name, subject.usage.arguments
    found = counterpart(where, subject.network)
    return found and (where, *found)


def _difference_of(found: tuple[str, str, Any], subject: Subject) -> Difference | None:
    """Return what is known to differ, if the reference is the model's own counterpart."""
    where, name, _ = found
    own = counterpart(where, subject.network)
    return DIFFERENCES.get((subject.network.name, where)) if own and own[0] == name else None


def compare(
    subject: Subject, name: str, reference: Any, known: Difference | None = None
) -> Iterator[Check]:
    """Yield the comparisons of the subject's twin with one reference module.

    The reference gets random weights and loses its dropout; of the twin, a copy does. Before that,
    a copy of the reference without weights shows what it does in training mode.
    """
    torch = import_torch()
    as_built, training = inventory(reference), Training(subject, reference)
    sides = _Sides(
        subject.network,
        name,
        _copy_without_weights(subject.twin, subject.device),
        in_type(_without_weights(reference).to(subject.device), torch.float64),
    )
    for module in (sides.twin, sides.reference):
        drop_nothing(module)
    generator = torch.Generator().manual_seed(0)
    randomise(sides.reference, generator)
    # batch normalisation learns nothing from a single value
    batch = max(subject.batch, 2) if any(True for _ in sides.twin.buffers()) else subject.batch
    inputs = _inputs(subject, batch, generator)

    # where the twin's weights go shows without values
    shapes_only = _copy_without_weights(subject.twin, "meta")
    runs = (
        ("the twin runs", shapes_only, [x.to("meta") for x in inputs]),
        ("runs", sides.reference, [x.clone() for x in inputs]),
    )
    traces = []
    for what, module, samples in runs:
        try:
            traces.append(trace(module.eval(), *samples))
        except Exception as error:  # whatever a module raises
            yield sides.check(what, f"on {subject.network.input_text}", one_line(error))
            return
    twin, other = traces
    mode = "output in eval mode"
    if len(twin.outputs) != len(other.outputs):
        yield sides.outputs(mode, twin.outputs, other.outputs, "")
        return
    try:
        twin, other, partners = _paired(twin, other)
    except Unpaired as unpaired:
        yield sides.unlike(unpaired)
        yield elements(sides.check, subject.network, as_built)
        return
    yield sides.check("uses of weights", len(twin.calls), len(other.calls))
    calls = [other.calls[j] for j in partners]
    pairs = pairs_of(twin.calls, calls)
    training.freeze(pairs)
    ours = inventory(subject.twin)
    yield from Pairing(
        subject.network, ours, as_built, pairs, training.frozen, training.trained,
        sides.check, sides.layer_of,
    ).checks()  # fmt: skip
    statistics = sides.transplant(twin, calls)

    twin = trace(sides.twin.eval(), *(x.clone() for x in inputs))
    twin = twin if len(twin.calls) == len(calls) else live(twin)
    layer, note = sides.first_difference(twin, calls)
    yield sides.outputs(mode, twin.outputs, other.outputs, layer or sides.network.outputs[0], note)
    others = list(training.checks(sides.check, known))
    yield from _compare_training(sides, inputs, statistics, training)
    yield from others


def _inputs(subject: Subject, batch: int, generator: Any) -> list[Any]:
    """Return random tensors in float64; whole numbers are rows of the smallest embedding."""
    torch = import_torch()
    tables = [layer.op for layer in subject.network if isinstance(layer.op, Embedding)]
    rows = min((table.num_embeddings for table in tables), default=2)
    made = []
    for value in subject.network.inputs:
        shape = (batch * value.rows, *value.shape)
        if value.dtype in (FLOAT, COMPLEX):
            drawn = torch.float64 if value.dtype == FLOAT else torch.complex128
            x = torch.randn(shape, dtype=drawn, generator=generator)
        else:
            most = 2 if value.dtype == BOOL else rows
            x = torch.randint(most, shape, generator=generator).to(getattr(torch, value.dtype))
        made.append(x.to(subject.device))
    return made


def _paired(twin: Trace, other: Trace) -> tuple[Trace, Trace, list[int]]:
    """Pair two traces; those of parts that no output needs are left out if only one has them."""
    try:
        return twin, other, pair(twin, other)
    except Unpaired:
        needed = live(twin), live(other)
        if [len(side.calls) for side in needed] == [len(twin.calls), len(other.calls)]:
            raise
        return *needed, pair(*needed)


def _copy_without_weights(twin: Any, device: str) -> Any:
    """Return a copy in float64 whose parameters take no memory, until others take their place."""
    torch = import_torch()
    zeros = {
        id(p): torch.nn.Parameter(
            torch.zeros((), dtype=type_in(p, torch.float64), device=device).expand(p.shape),
            requires_grad=False,
        )
        for p in twin.parameters()
    }
    return in_type(copy.deepcopy(twin, zeros).to(device), torch.float64)


def _without_weights(module: Any) -> Any:
    """Let the parameters of a module take no memory until it is made random; return the module."""
    torch = import_torch()
    for parameter in filter(torch.is_floating_point, module.parameters()):
        zero = torch.zeros((), dtype=torch.float64, device=parameter.device)
        parameter.requires_grad_(False).data = zero.expand(parameter.shape)
    return module


def _compare_training(
    sides: _Sides, inputs: Sequence[Any], statistics: dict[str, str], training: Training
) -> Iterator[Check]:
    mode = "output in train mode"
    with import_torch().no_grad(), drops_no_scores():
        try:
            ours = tensors_of(sides.twin.train()(*(x.clone() for x in inputs)))
            others = tensors_of(sides.reference.train()(*(x.clone() for x in inputs)))
            check = sides.outputs(mode, ours, others[: len(ours)], sides.network.outputs[0])
            if not check.passed and training.is_random():
                yield _skip(sides.name, "the reference draws random numbers", mode)
                return
        except Exception as error:  # whatever a foreign module raises
            yield _skip(sides.name, one_line(error), mode)
            return
    yield check
    if statistics:
        yield sides.statistics(statistics)


@dataclass(frozen=True)
class _Sides:
    """A twin and its reference, in float64 and without dropout."""

    network: Network
    name: str
    twin: Any
    reference: Any

    def check(self, what: str, expected: Any, measured: Any, layer: str = "", **more: Any) -> Check:
        """Return a check of this reference."""
        name = f"{self.name}: {what}"
        return Check("reference", name, layer, expected, measured, against=self.name, **more)

    def close(self, what: str, difference: float, layer: str, note: str = "") -> Check:
        """Return a check that a relative difference is one of rounding; a failure names a layer."""
        failed = not difference <= TOLERANCE
        note = f"{REASON}; {note}" if failed and note else REASON
        layer = layer if failed else ""
        return self.check(what, 0.0, difference, layer, tolerance=TOLERANCE, note=note)

    def outputs(
        self, what: str, ours: Sequence[Any], others: Sequence[Any], layer: str, note: str = ""
    ) -> Check:
        """Return the comparison of output tensors, by shape and then by value."""
        expected, measured = ([show(tuple(t.shape)) for t in side] for side in (ours, others))
        if expected != measured:
            return self.check(what, ", ".join(expected), ", ".join(measured), layer, note=note)
        return self.close(what, _difference(ours, others), layer, note)

    def statistics(self, names: dict[str, str]) -> Check:
        """Return the comparison of the running statistics after a step of training."""
        ours, others = state(self.twin), state(self.reference)
        worst, layer = 0.0, ""
        for own, other in names.items():
            difference = _difference([ours[own]], [others[other].reshape(ours[own].shape)])
            if not difference <= TOLERANCE and not layer:
                layer = self.layer_of(own)
            worst = max(worst, difference)
        return self.close("running statistics after a train step", worst, layer)

    def unlike(self, unpaired: Unpaired) -> Check:
        """Return the failed check of two networks whose weights differ in shape or flow."""
        left, right = unpaired.left, unpaired.right
        layer = self.layer_of(left.weights[0]) if left else ""
        expected = str(left) if left else "no more weights" if right else "one flow of the data"
        measured = str(right) if right else "no more weights" if left else "another one"
        note = "the first weights in execution order that the other has not at that place"
        return self.check("uses of weights", expected, measured, layer, note=note)

    def transplant(self, twin: Trace, others: Sequence[Call]) -> dict[str, str]:
        """Give the twin the reference's weights; return the names of the paired buffers."""
        torch = import_torch()
        ours, theirs = state(self.twin), state(self.reference)
        buffers = {}
        for call, other in zip(twin.calls, others, strict=True):
            for own, name in zip(call.weights, other.weights, strict=True):
                value = theirs[name].detach().reshape(ours[own].shape)
                if isinstance(ours[own], torch.nn.Parameter):
                    ours[own].data = value  # shared: nothing here changes a parameter
                else:
                    ours[own].copy_(value)
                    buffers[own] = name
        return buffers

    def first_difference(self, twin: Trace, others: Sequence[Call]) -> tuple[str, str]:
        """Return the first layer that computes something else, and a note; both may be empty."""
        for call, other in zip(twin.calls, others, strict=True):
            layer = self.layer_of(call.weights[0])
            if not call.given.agrees(other.given, TOLERANCE):
                between = self.before(layer)
                where = f"what {layer} reads differs already"
                return (between[0], where) if len(between) == 1 else (layer, where)
            if not call.made.agrees(other.made, TOLERANCE):
                return layer, ""
        return "", ""

    def layer_of(self, name: str) -> str:
        """Return the layer to which a parameter of the twin belongs."""
        while name and name not in self.network.by_path:
            name = name.rpartition(".")[0]
        return name

    def before(self, path: str) -> list[str]:
        """Return the layers without weights through which the data come to a layer."""
        found: list[str] = []
        waiting = list(self.network[path].inputs)
        while waiting:
            layer = self.network.by_path.get(maker(waiting.pop()))
            if layer and layer.path not in found and not (layer.cost.params or layer.cost.buffers):
                found.append(layer.path)
                waiting.extend(layer.inputs)
        return found


@contextmanager
def without_initialisation() -> Iterator[None]:
    """Build modules whose parameters get their values later: drawing them takes most of the time.

    Tensors that are not parameters, such as tables, are drawn as usual.
    """
    torch = import_torch()
    dispatch: Any = import_module("torch.utils._python_dispatch")

    class LeavesParameters(dispatch.TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            filled = function.overloadpacket.__name__ in FILLS
            if filled and isinstance(args[0], torch.nn.Parameter):
                return args[0]
            return function(*args, **(kwargs or {}))

    with LeavesParameters():
        yield


def randomise(module: Any, generator: Any) -> None:
    """Give every weight a random value that an error would show through.

    Initialisations hide faults: factors of 1, biases and last factors of 0, variances of 1. In a
    module of more than :data:`MOST` elements, the rows of a matrix are windows of one sequence of
    random numbers, so that it takes little memory. No two rows are equal.
    """
    torch = import_torch()
    large = sum(p.numel() for p in module.parameters()) > MOST
    for name, tensor in state(module).items():
        shape: Shape = tuple(tensor.shape)
        windows = large and len(shape) > 1 and isinstance(tensor, torch.nn.Parameter)
        drawn = (STEP * (shape[0] - 1) + numel(shape[1:]),) if windows else shape
        value = torch.rand(drawn, generator=generator, dtype=torch.float32)
        if len([size for size in shape if size > 1]) > 1:
            inputs = tensor.numel() / shape[0]
            value.sub_(0.5).mul_((24 / inputs) ** 0.5)  # keeps the size of the data
        elif name.endswith(("var", "weight")):
            value.add_(0.5)
        else:
            value.sub_(0.5)
        if isinstance(tensor, torch.nn.Parameter):
            value = value.to(tensor.device, tensor.dtype)
            if windows:
                value = value.as_strided(shape, (STEP, *contiguous(shape)[1:]))
            tensor.data = value  # in place of one number, expanded
        else:
            tensor.copy_(value)


def _difference(ours: Sequence[Any], others: Sequence[Any]) -> float:
    """Return the largest difference over the largest value; NaN when there is one."""
    worst = 0.0
    for own, other in zip(ours, others, strict=True):
        largest = float(other.abs().max()) or 1.0
        difference = float((own - other).abs().max()) / largest
        worst = difference if difference != difference else max(worst, difference)
    return worst
