"""Where the elements of a tensor lie in another one, of which it is a rearrangement.

Reshapes, permutations and cuts that follow each other are one such rearrangement, whatever the code
does in between with the dimension of the batch. It is written again in as few ops as can be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

from archcost.importers.calls import Rows
from archcost.importers.seen import BATCH
from archcost.ops import Op
from archcost.ops.base import make
from archcost.shape import Shape


class Unsaid(Exception):
    """A rearrangement that no ops say."""


@dataclass(frozen=True)
class Part:
    """A part of a dimension of the other tensor: each ``stride``-th element of it.

    A dimension of 12 that becomes 3 x 4 has the parts of stride 4 and size 3, and of stride 1 and
    size 4. A cut leaves ``size`` of the ``whole`` steps, from ``start`` on.
    """

    dim: int
    stride: int
    size: int
    start: int
    whole: int

    def split(self, inner: int) -> tuple[Part, Part]:
        """Return two parts, the second of a size."""
        if self.start % inner or self.size % inner or self.whole % inner:
            raise Unsaid
        outer = self.size // inner, self.start // inner, self.whole // inner
        return (
            Part(self.dim, self.stride * inner, *outer),
            Part(self.dim, self.stride, inner, 0, inner),
        )

    def joined(self, inner: Part) -> Part | None:
        """Return this part and the one of the next smaller steps as one, None if they are two."""
        whole = inner.size == inner.whole
        if self.dim != inner.dim or self.stride != inner.stride * inner.whole or not whole:
            return None
        n = inner.size
        return Part(self.dim, inner.stride, self.size * n, self.start * n, self.whole * n)


@dataclass(frozen=True)
class Arrangement:
    """A tensor as a rearrangement of another one.

    Attributes:
        shape: of the other one, with the batch first.
        dims: for each dimension the parts of which it is made.
        fixed: parts of which one position was chosen.
    """

    shape: Shape
    dims: tuple[tuple[Part, ...], ...]
    fixed: tuple[Part, ...] = ()

    @classmethod
    def of(cls, shape: Sequence[int], rows: int) -> Arrangement:
        """Return a tensor as itself; the batch has so many rows for each sample."""
        whole = (rows * BATCH, *shape)
        return cls(whole, tuple(_parts(d, n) for d, n in enumerate(whole)))

    @property
    def sizes(self) -> Shape:
        """The shape of the tensor."""
        return tuple(prod(part.size for part in dim) for dim in self.dims)

    @property
    def is_same(self) -> bool:
        """Whether the tensor is the other one."""
        return self == Arrangement.of(self.shape[1:], self.shape[0] // BATCH)

    def at(self, *dims: Sequence[Part]) -> Arrangement:
        """Return it with other dimensions."""
        return replace(self, dims=tuple(map(_joined, dims)))

    # What functions do.

    def reshaped(self, sizes: Sequence[int]) -> Arrangement:
        """Return it in another shape."""
        if -1 in sizes:
            rest = prod(self.sizes) // prod(n for n in sizes if n != -1)
            sizes = [rest if n == -1 else n for n in sizes]
        waiting = [part for dim in self.dims for part in dim][::-1]
        dims: list[list[Part]] = []
        for size in sizes:
            made: list[Part] = []
            while size > 1:
                if not waiting:
                    raise Unsaid
                part = waiting.pop()
                if size % part.size:
                    if part.size % size:
                        raise Unsaid
                    part, rest_of = part.split(part.size // size)
                    waiting.append(rest_of)
                made.append(part)
                size //= part.size
            dims.append(made)
        if waiting:
            raise Unsaid
        return self.at(*dims)

    def permuted(self, order: Sequence[int]) -> Arrangement:
        """Return it with its dimensions in another order."""
        return self.at(*(self.dims[d] for d in order))

    def selected(self, dim: int, place: int) -> Arrangement:
        """Return it at one position of a dimension, which goes."""
        fixed = [*self.fixed]
        for part in reversed(self.dims[dim]):
            place, digit = divmod(place, part.size)
            fixed.append(replace(part, size=1, start=part.start + digit))
        dims = (*self.dims[:dim], *self.dims[dim + 1 :])
        return replace(self, dims=dims, fixed=tuple(fixed))

    def cut(self, dim: int, start: int, size: int) -> Arrangement:
        """Return a part of it along a dimension."""
        if size == self.sizes[dim]:
            return self
        if size == 1:
            one = self.selected(dim, start)
            return replace(one, dims=(*one.dims[:dim], (), *one.dims[dim:]))
        [part] = self.dims[dim] if len(self.dims[dim]) == 1 else [None]
        if part is None:
            raise Unsaid
        cut = replace(part, start=part.start + start, size=size)
        return self.at(*self.dims[:dim], (cut,), *self.dims[dim + 1 :])


def _parts(dim: int, size: int) -> tuple[Part, ...]:
    return (Part(dim, 1, size, 0, size),) if size > 1 else ()


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    made: list[Part] = []
    for part in parts:
        both = made[-1].joined(part) if made else None
        made[-1:] = [both] if both else [*made[-1:], part]
    return tuple(made)


# Functions.


def sizes_of(values: Sequence[Any]) -> list[int]:
    """Return the sizes among the arguments of a call, with the batch."""
    if len(values) == 1 and isinstance(values[0], (list, tuple)) and not _is_rows(values[0]):
        values = values[0]
    return [_size(value) for value in values]


def _is_rows(value: Any) -> bool:
    return isinstance(value, Rows)


def _size(value: Any) -> int:
    if isinstance(value, Rows):
        if value.more:
            raise Unsaid
        return value.times * BATCH
    if not isinstance(value, int):
        raise Unsaid
    return value


def rearranged(
    name: str, x: Arrangement, args: Sequence[Any], kwargs: dict[str, Any]
) -> list[Arrangement]:
    """Return what a function makes of a tensor; ``args`` are those behind it.

    Raises:
        Unsaid: it does something else too.
    """
    try:
        made = VIEWS[name](x, *args, **kwargs)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise Unsaid from None
    return made if isinstance(made, list) else [made]


def _flatten(x: Arrangement, start_dim: int = 0, end_dim: int = -1) -> Arrangement:
    rank = len(x.dims)
    start, end = start_dim % rank, end_dim % rank
    sizes = x.sizes
    return x.reshaped([*sizes[:start], prod(sizes[start : end + 1]), *sizes[end + 1 :]])


def _unflatten(x: Arrangement, dim: int, sizes: Any) -> Arrangement:
    own, dim, made = x.sizes, dim % len(x.dims), sizes_of(sizes)
    rest = own[dim] // prod(n for n in made if n != -1)
    made = [rest if n == -1 else n for n in made]
    return x.reshaped([*own[:dim], *made, *own[dim + 1 :]])


def _transpose(x: Arrangement, dim0: int = -2, dim1: int = -1) -> Arrangement:
    order = list(range(len(x.dims)))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return x.permuted(order)


def _permute(x: Arrangement, *dims: Any) -> Arrangement:
    order = [d % len(x.dims) for d in sizes_of(dims)]
    return x.permuted(order)


def _movedim(x: Arrangement, source: Any, destination: Any) -> Arrangement:
    rank = len(x.dims)
    old, new = ([d % rank for d in sizes_of([ends])] for ends in (source, destination))
    rest = [d for d in range(rank) if d not in old]
    return x.permuted([rest.pop(0) if d not in new else old[new.index(d)] for d in range(rank)])


def _unsqueeze(x: Arrangement, dim: int) -> Arrangement:
    dim %= len(x.dims) + 1
    return replace(x, dims=(*x.dims[:dim], (), *x.dims[dim:]))


def _squeeze(x: Arrangement, dim: Any = None) -> Arrangement:
    given = range(len(x.dims)) if dim is None else sizes_of([dim])
    places = [d % len(x.dims) for d in given]
    kept = (own for d, own in enumerate(x.dims) if d not in places or own)
    return replace(x, dims=tuple(kept))


def _unbind(x: Arrangement, dim: int = 0) -> list[Arrangement]:
    dim %= len(x.dims)
    return [x.selected(dim, place) for place in range(x.sizes[dim])]


def lengths_of(size: int, name: str, given: Any) -> list[int]:
    """Return the lengths of the pieces into which a function cuts a dimension."""
    if isinstance(given, (list, tuple)):
        return sizes_of(given)
    each = -(-size // given) if name == "chunk" else given
    return [min(each, size - start) for start in range(0, size, each)]


def _pieces(name: str) -> Callable[..., list[Arrangement]]:
    def pieces(x: Arrangement, given: Any, dim: int = 0) -> list[Arrangement]:
        dim %= len(x.dims)
        starts, made = 0, []
        for length in lengths_of(x.sizes[dim], name, given):
            made.append(x.cut(dim, starts, length))
            starts += length
        return made

    return pieces


def _narrow(x: Arrangement, dim: int, start: int, length: int) -> Arrangement:
    dim %= len(x.dims)
    return x.cut(dim, start % x.sizes[dim], length)


def _select(x: Arrangement, dim: int, index: int) -> Arrangement:
    dim %= len(x.dims)
    return x.selected(dim, index % x.sizes[dim])


def _getitem(x: Arrangement, index: Any) -> Arrangement:
    places = index if isinstance(index, tuple) else (index,)
    taken = sum(place is not None and place is not Ellipsis for place in places)
    if Ellipsis in places:
        at = places.index(Ellipsis)
        rest = (slice(None),) * (len(x.dims) - taken)
        places = (*places[:at], *rest, *places[at + 1 :])
    dim = 0
    for place in places:
        if place is None:
            x = _unsqueeze(x, dim)
            dim += 1
        elif isinstance(place, slice):
            if place != slice(None):
                start, stop, step = place.indices(x.sizes[dim])
                if step != 1 or stop <= start:
                    raise Unsaid
                x = x.cut(dim, start, stop - start)
            dim += 1
        elif type(place) is int:
            x = _select(x, dim, place)
        else:
            raise Unsaid
    return x


VIEWS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("reshape", "view"), lambda x, *sizes: x.reshaped(sizes_of(sizes))),
    "flatten": _flatten, "unflatten": _unflatten, "permute": _permute, "movedim": _movedim,
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "T", "mT", "t"), _transpose),
    "unsqueeze": _unsqueeze, "squeeze": _squeeze, "unbind": _unbind, "narrow": _narrow,
    "select": _select, "__getitem__": _getitem,
    **{name: _pieces(name) for name in ("chunk", "split", "split_with_sizes")},
    **dict.fromkeys(("contiguous", "clone", "to", "float", "type_as"), lambda x, *_, **__: x),
}  # fmt: skip
"""The functions that rearrange one tensor, or cut a part of it."""


# Ops.


def ops_of(target: Arrangement) -> list[Op]:
    """Return the ops that make a tensor of the other one, none if it is the same.

    Raises:
        Unsaid: the batch is not the first dimension.
    """
    ops: list[Op] = []
    rows, shape = target.shape[0] // BATCH, [*target.shape[1:]]
    lead = target.dims[0] if target.dims else ()
    first = 1
    if lead[:1] == _parts(0, rows * BATCH):
        kept = target.fixed
    elif lead[:1] == (Part(0, rows, BATCH, 0, BATCH),):  # the rows of a sample are apart
        ops, shape, first = [make("from_batch", rows)], [rows, *shape], 0
        kept = target.fixed
    else:
        raise Unsaid
    if len(target.dims) < 2:
        raise Unsaid
    dims = [[*lead[1:]], *map(list, target.dims[1:])]
    parts = sorted(
        [*kept, *(part for dim in dims for part in dim)], key=lambda p: (p.dim, -p.stride)
    )
    cut: dict[Part, Part] = {}
    for part, before in zip(parts, [None, *parts], strict=False):
        if part.size != part.whole and (before is None or before.dim != part.dim):
            size = part.size * part.stride
            ops.append(_cut(shape, part.dim - first, part.start * part.stride, size))
            shape[part.dim - first] = size
            cut[part] = replace(part, start=0, whole=part.size)
    dims = [[cut.get(part, part) for part in dim] for dim in dims]
    end = [prod(part.size for part in dim) for dim in dims]
    together = end[0] > 1  # positions become rows of the batch
    end = end if together else end[1:]
    wanted = [part for dim in dims for part in dim]
    runs = _runs([p for part in parts if (p := cut.get(part, part)).whole > 1], dims)
    order = [number for part in wanted for number, run in enumerate(runs) if run[0] == part]
    inner = [run for run in runs if run[0].size != run[0].whole]
    if inner or order != sorted(order):
        sizes = [run[0].whole * prod(part.size for part in run[1:]) for run in runs]
        ahead = [run[0].dim for run in runs[:2]]
        if not inner and order == [1, 0, *range(2, len(runs))] and end == shape and (
            ahead == [first, first] and len(shape) > 1
        ):  # fmt: skip
            return [*ops, make("channel_shuffle", sizes[0])]
        ops += _reshaped(shape, sizes)
        shape = sizes
        for number, run in enumerate(runs):
            times = prod(part.size for part in run[1:])
            if run[0].size != run[0].whole:
                ops.append(_cut(shape, number, run[0].start * times, run[0].size * times))
                shape[number] = run[0].size * times
        here = [number for number in range(len(runs)) if number in order]
        if order != sorted(order):
            ops += _reshaped(shape, [shape[number] for number in here])
            moved = [here.index(number) for number in order]
            ops.append(_permuted(moved))
            shape = [shape[number] for number in order]
    ops += _reshaped(shape, end)
    return [*ops, make("to_batch")] if together else ops


def _cut(shape: Sequence[int], dim: int, start: int, size: int) -> Op:
    whole = shape[dim]
    if whole in (2 * size, 3 * size) and start % size == 0 and size > 1:
        return make("chunk", whole // size, start // size, dim)
    return make("slice", dim, start, **({} if start + size == whole else {"stop": start + size}))


def _runs(parts: Sequence[Part], dims: Sequence[Sequence[Part]]) -> list[list[Part]]:
    """Return parts in their order, in lists of those that become one dimension."""
    after = dict(pair for dim in dims for pair in pairwise(dim))
    made: list[list[Part]] = []
    for part in parts:
        if made and after.get(made[-1][-1]) == part and part.size == part.whole:
            made[-1].append(part)
        else:
            made.append([part])
    return made


def _reshaped(before: Sequence[int], after: Sequence[int]) -> list[Op]:
    """Return the op that says best that a shape becomes another one of as many elements."""
    before, after = [*before], [*after]
    if before == after:
        return []
    if len(after) + 1 == len(before) and len(before) > 2:
        for d, n in enumerate(before):
            if n == 1 and before[:d] + before[d + 1 :] == after:
                return [make("squeeze", d)]
    for d, n in enumerate(after):
        if n == 1 and after[:d] + after[d + 1 :] == before:
            return [make("unsqueeze", d)]
    start = len(after) - 1
    if len(before) > len(after) and before[:start] == after[:start]:
        return [make("flatten", start) if start else make("flatten")]
    return [make("reshape", after)]


def _permuted(order: Sequence[int]) -> Op:
    moved = [d for d, place in enumerate(order) if d != place]
    return make("transpose", *moved) if len(moved) == 2 else make("permute", [*order])
