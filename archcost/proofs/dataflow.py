"""Which weights feed which: the graph by which two implementations of a network are paired.

Two implementations agree neither in the names of their modules nor in the order in which they run
parallel branches. What they share is the flow of the data from one use of weights to the next.
``trace`` records these uses in one pass; ``pair`` finds the uses of one network in the other. A
wrong pairing cannot make two different networks look equal: it only decides which weights go
where, and the outputs are compared afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, is_dataclass, replace
from importlib import import_module
from math import hypot, isclose
from typing import Any

from archcost.shape import Shape, numel, show

FROM_INPUT = -1
"""The source of the network's inputs, as if they came from a call."""

NOBODY: frozenset[int] = frozenset()

SHAPE_ONLY = frozenset(
    f"{how}_{what}" if how == "new" else f"{what}_{how}"
    for how in ("new", "like")
    for what in ("empty", "zeros", "ones", "full", "rand", "randn")
)
"""Operations that take of a tensor its shape and nothing else."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What is kept of a tensor: enough to tell whether two computations agree so far.

    Attributes:
        shape: its shape with the batch; empty when several tensors are meant.
        norm: its Euclidean norm, which no change of layout alters.
        beginning: the norm of its first third, by which a change of order shows.
    """

    shape: Shape
    norm: float
    beginning: float

    def agrees(self, other: Digest, tolerance: float) -> bool:
        """Return whether two tensors may hold the same values, perhaps in another layout."""
        same_order = self.shape == other.shape
        return isclose(self.norm, other.norm, rel_tol=tolerance) and (
            not same_order or isclose(self.beginning, other.beginning, rel_tol=tolerance)
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One operation that brings weights and data together.

    Attributes:
        weights: names of the parameters and buffers that it reads, in the order of its arguments.
        shapes: their shapes, without the sizes of 1, which implementations set differently.
        sources: the calls whose results reach it without passing through another call.
        given, made: the data that it reads and its result.
    """

    weights: tuple[str, ...]
    shapes: tuple[Shape, ...]
    sources: frozenset[int]
    given: Digest
    made: Digest

    def __str__(self) -> str:
        """Return the weights with their shapes: ``fc.weight 1000x512, fc.bias 1000``."""
        named = zip(self.weights, self.shapes, strict=True)
        return ", ".join(f"{name} {show(shape)}" for name, shape in named)


@dataclass(frozen=True, slots=True)
class Trace:
    """What one pass through a module did.

    Attributes:
        calls: its calls in execution order.
        ends: for each output, the calls that reach it.
        outputs: the output tensors.
    """

    calls: tuple[Call, ...]
    ends: tuple[frozenset[int], ...]
    outputs: tuple[Any, ...]


def state(module: Any) -> dict[str, Any]:
    """Return the parameters and floating-point buffers of a module that its state dict holds.

    Tables of indices, masks that each pass makes, and counters of steps are not weights.
    """
    kept = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in kept.items() if tensor.is_floating_point()}


def trace(module: Any, *inputs: Any) -> Trace:
    """Run ``module(*inputs)`` without gradients and return its calls and outputs.

    On the meta device the calls are found too, without digests of their data.
    """
    import torch

    recorder = _recorder(torch, state(module), inputs)
    torch.manual_seed(0)  # what draws at random draws the same in each module
    # in inference mode `linear` or `batch_norm` arrives as one operation, not as its parts
    with torch.inference_mode(), _without_fast_paths(torch), recorder:
        outputs = tensors_of(module(*inputs))
    ends = tuple(recorder.sources_of(output) for output in outputs)
    return Trace(tuple(recorder.calls), ends, outputs)


def tensors_of(value: Any) -> tuple[Any, ...]:
    """Return the tensors of a result: one, or those in its tuple, list, dict or dataclass."""
    import torch

    if isinstance(value, torch.Tensor):
        return (value,)
    if is_dataclass(value) and not isinstance(value, (type, Mapping)):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return tuple(tensor for item in value for tensor in tensors_of(item))
    return ()


@contextmanager
def _without_fast_paths(torch: Any) -> Iterator[None]:
    """Have attention computed by its single operations, as in training."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _recorder(torch: Any, weights: Mapping[str, Any], inputs: Sequence[Any]) -> Any:
    dispatch: Any = import_module("torch.utils._python_dispatch")
    weak: Any = import_module("torch.multiprocessing.reductions").StorageWeakRef

    def storage(tensor: Any) -> int:
        return int(tensor.untyped_storage()._cdata)  # views share it with what they look at

    class Recorder(dispatch.TorchDispatchMode):  # type: ignore[misc]
        """Keeps for every storage which weights it is made of, or from which calls it comes."""

        def __init__(self) -> None:
            super().__init__()
            self.calls: list[Call] = []
            self.shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
            # the first name of a tensor that has several
            self.made_of = {storage(t): (name,) for name, t in reversed(list(weights.items()))}
            self.comes_from = {storage(x): frozenset({FROM_INPUT}) for x in inputs}
            # a storage that is weakly held frees its memory, and its number is not given again
            self.held: list[Any] = []

        def sources_of(self, tensor: Any) -> frozenset[int]:
            return self.comes_from.get(storage(tensor), NOBODY)

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if function is torch.ops.aten.addmm.default and not kwargs:
                with self:  # a product, and a sum: two uses of weights
                    return torch.add(torch.mm(*args[1:]), args[0])
            values = function.overloadpacket.__name__ not in SHAPE_ONLY
            read = tensors_of((args, kwargs or {})) if values else ()
            if function is torch.ops.aten.cat.default and len(read) > 2:
                args, read = self._one_by_one(*args)
            # before the call: an operation in place changes what it reads
            names = tuple(dict.fromkeys(n for t in read for n in self.made_of.get(storage(t), ())))
            sources = NOBODY.union(*map(self.sources_of, read))
            given = _digest([t for t in read if self.sources_of(t)]) if names and sources else None
            if function is torch.ops.aten.batch_norm.default and _keeps_shape(*args):
                result = torch.empty_like(args[0])
            else:
                result = function(*args, **(kwargs or {}))
            made = tensors_of(result)
            if given:
                shapes = tuple(_without_ones(self.shapes[name]) for name in names)
                self.calls.append(Call(names, shapes, sources, given, _digest(made[:1])))
                names, sources = (), frozenset({len(self.calls) - 1})
            for tensor in made:
                self.held.append(weak(tensor.untyped_storage()))
                self.made_of[storage(tensor)] = names
                self.comes_from[storage(tensor)] = sources
            return result

        def _one_by_one(self, tensors: Any, dim: int = 0) -> tuple[Any, Any]:
            """Put the weights before data there one by one, without the first.

            So two learnt tokens are the same, whether they come before the others at once or not.
            """
            *weights, data = tensors
            if all(self.made_of.get(storage(w)) for w in weights) and self.sources_of(data):
                while len(weights) > 1:
                    with self:
                        data = torch.cat([weights.pop(), data], dim)
                tensors = [*weights, data]
            return (tensors, dim), tensors_of(tensors)

    return Recorder()


def _keeps_shape(x: Any, *rest: Any) -> bool:
    """Return whether batch normalisation on the meta device, slow in PyTorch, would succeed."""
    weights = (tensor for tensor in rest[:4] if tensor is not None)
    return bool(x.is_meta and all(tensor.numel() == x.shape[1] for tensor in weights))


def _digest(tensors: Sequence[Any]) -> Digest:
    if any(tensor.is_meta for tensor in tensors):
        return Digest((), 0.0, 0.0)
    tensors = [t if t.is_floating_point() else t.double() for t in tensors]
    if len(tensors) != 1:
        return Digest((), hypot(*(float(t.norm()) for t in tensors)), 0.0)
    flat = tensors[0].flatten()
    third = flat[: flat.numel() // 3]
    return Digest(tuple(tensors[0].shape), float(flat.norm()), float(third.norm()))


def _without_ones(shape: Shape) -> Shape:
    return tuple(int(size) for size in shape if size != 1)


class Unpaired(Exception):
    """Two traces are not of one network.

    ``left`` and ``right`` are the first calls, in execution order, that the other has not; None
    where there is none.
    """

    def __init__(self, left: Call | None, right: Call | None) -> None:
        super().__init__(f"{left} is not {right}")
        self.left, self.right = left, right


def pair(left: Trace, right: Trace) -> list[int]:
    """Return for each call of ``left`` the index of the call of ``right`` at the same place.

    Calls that shapes and flow cannot tell apart (equal parallel branches) are paired in execution
    order, one after the other.

    Raises:
        Unpaired: the graphs differ.
    """
    try:
        return _pair(left, right, [[call.shapes for call in side.calls] for side in (left, right)])
    except Unpaired as unpaired:
        # a linear layer after flatten is a convolution with a window of the whole input
        flat = [[_flat(call.shapes) for call in side.calls] for side in (left, right)]
        if Counter(flat[0]) == Counter(flat[1]):
            with suppress(Unpaired):
                return _pair(left, right, flat)
        raise unpaired from None


def live(side: Trace) -> Trace:
    """Return a trace without the calls on which no output depends."""
    needed = set().union(*side.ends) - {FROM_INPUT}
    for i in reversed(range(len(side.calls))):
        if i in needed:
            needed.update(side.calls[i].sources)
    place = {old: new for new, old in enumerate(sorted(needed - {FROM_INPUT}))}
    place[FROM_INPUT] = FROM_INPUT

    def moved(sources: frozenset[int]) -> frozenset[int]:
        return frozenset(place[source] for source in sources)

    calls = (side.calls[old] for old in place if old != FROM_INPUT)
    kept = tuple(replace(call, sources=moved(call.sources)) for call in calls)
    return Trace(kept, tuple(map(moved, side.ends)), side.outputs)


def _flat(shapes: Iterable[Shape]) -> tuple[Shape, ...]:
    return tuple((*shape[:1], numel(shape[1:])) for shape in shapes)


def _pair(left: Trace, right: Trace, marks: list[list[Any]]) -> list[int]:
    names: dict[Any, int] = {}  # one number per distinct description, shared by both graphs
    for mark in range(len(left.calls) + 1):
        a, b = (_colours(side, own, names) for side, own in zip((left, right), marks, strict=True))
        if Counter(a) != Counter(b):
            raise Unpaired(*_first_unlike(left, right))
        many = Counter(a)
        twins = next((colour for colour in a if many[colour] > 1), None)
        if twins is None:
            break
        i, j = a.index(twins), b.index(twins)
        marks[0][i] = marks[1][j] = ("marked", mark)
    place = {colour: j for j, colour in enumerate(b)}
    return [place[colour] for colour in a]


def _colours(side: Trace, marks: Sequence[Any], names: dict[Any, int]) -> list[int]:
    """Return a number for each call: equal for calls that look the same from where they stand."""
    readers: list[list[int]] = [[] for _ in side.calls]
    for i, call in enumerate(side.calls):
        for source in call.sources:
            if source != FROM_INPUT:
                readers[source].append(i)
    ends = [
        tuple(k for k, sources in enumerate(side.ends) if i in sources)
        for i in range(len(side.calls))
    ]

    def name(*description: Any) -> int:
        return names.setdefault(description, len(names))

    colours: list[int] = [name(mark) for mark in marks]
    while True:
        above = _from_above(side, colours, name)
        below = list(above)
        for i in reversed(range(len(below))):
            below[i] = name("below", above[i], ends[i], tuple(sorted(below[r] for r in readers[i])))
        if len(set(below)) == len(set(colours)):
            return below
        colours = below


def _from_above(side: Trace, marks: Sequence[int], name: Any) -> list[int]:
    """Return a number for each call that describes all that comes before it."""
    above: list[int] = []
    for call, mark in zip(side.calls, marks, strict=True):
        sources = sorted(above[s] if s != FROM_INPUT else FROM_INPUT for s in call.sources)
        above.append(name("above", mark, tuple(sources)))
    return above


def _first_unlike(left: Trace, right: Trace) -> tuple[Call | None, Call | None]:
    names: dict[Any, int] = {}

    def name(*description: Any) -> int:
        return names.setdefault(description, len(names))

    above = [
        _from_above(side, [name(c.shapes) for c in side.calls], name) for side in (left, right)
    ]

    def first(own: int, other: int) -> Call | None:
        spare = Counter(above[other])
        for call, colour in zip((left, right)[own].calls, above[own], strict=True):
            spare[colour] -= 1
            if spare[colour] < 0:
                return call
        return None

    return first(0, 1), first(1, 0)
