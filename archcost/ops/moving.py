"""Ops that move, repeat or pick elements; no arithmetic, and most of them copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archcost.ops.arguments import (
    REQUIRED,
    argument,
    axis,
    axis_of,
    check,
    show_argument,
    some_axes,
    whole,
)
from archcost.ops.base import BYTES, INT64, Cost, Example, Op, example, op
from archcost.ops.programs import transpose
from archcost.ops.reads import ALL, SAME, Reads, kept
from archcost.shape import LARGEST, Shape, show
from archcost.units import number_of


def signed(default: Any = REQUIRED) -> Any:
    """A whole number of either sign, or a list of them."""

    def read(name: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            check(len(value) > 0, f"{name} is empty")
            return tuple(whole(name, each, -LARGEST) for each in value)
        return (whole(name, value, -LARGEST),)

    return argument("a whole number, or a list of them", read, default)


def counts(minimum: int) -> Any:
    """A list of whole numbers."""

    def read(name: str, value: Any) -> tuple[int, ...]:
        check(isinstance(value, (list, tuple)) and len(value) > 0, f"{name} is a list of numbers")
        return tuple(whole(name, each, minimum) for each in value)

    return argument(f"a list of whole numbers from {minimum} on", read)


def dims_of(dims: Sequence[int], x: Shape, op: str) -> tuple[int, ...]:
    """Return dimensions counted from the front; refuse one that is named twice."""
    found = tuple(axis_of(dim, x, op) for dim in dims)
    twice = any(dim in found[:place] for place, dim in enumerate(found))
    check(not twice, f"{op} names a dimension twice: {show_argument(tuple(dims))}")
    return found


@op("roll", kind="reshape")
class Roll(Op):
    """Shift elements along dimensions. Elements that leave at one end enter at the other."""

    shifts: Any = signed()
    dims: Any = some_axes()

    examples: ClassVar[tuple[Example, ...]] = (
        example(1, 1, x=(4, 5, 6)),
        example((-2, 3), (-2, -1), x=(4, 5, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        dims = dims_of(self.dims, x, "roll")
        check(
            len(dims) == len(self.shifts),
            f"roll takes a shift for each dimension; got {len(self.shifts)} for {len(dims)}",
        )
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        moved = dims_of(self.dims, x, "roll")
        return [[(d, ALL if d in moved else SAME)] for d in range(len(x))]

    def forward(self, F: Any, x: Any) -> Any:
        dims = tuple(d + 1 for d in dims_of(self.dims, x.shape[1:], "roll"))
        return F.roll(x, shifts=self.shifts, dims=dims)


@op("flip", kind="reshape")
class Flip(Op):
    """Reverse the order of the elements along some dimensions."""

    dims: Any = some_axes()

    examples: ClassVar[tuple[Example, ...]] = (
        example(-1, x=(4, 5, 6)),
        example((0, 2), x=(4, 5, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        dims_of(self.dims, x, "flip")
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        moved = dims_of(self.dims, x, "flip")
        return [[(d, ALL if d in moved else SAME)] for d in range(len(x))]

    def forward(self, F: Any, x: Any) -> Any:
        return F.flip(x, dims=tuple(d + 1 for d in dims_of(self.dims, x.shape[1:], "flip")))


@op("repeat", kind="reshape")
class Repeat(Op):
    """Copy the tensor several times along each dimension: ``repeat([1, 2, 2])``."""

    repeats: Any = counts(1)

    examples: ClassVar[tuple[Example, ...]] = (
        example((1, 2, 3), x=(4, 5, 6)),
        example((2,), x=(7,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        given = len(self.repeats)
        check(
            given == len(x),
            f"repeats has {number_of(given, 'value')} for the {len(x)} of {show(x)}",
        )
        check(any(n > 1 for n in self.repeats), "repeat writes nothing twice")
        return Cost(tuple(n * times for n, times in zip(x, self.repeats, strict=True)))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[(d, SAME if n == 1 else ALL)] for d, n in enumerate(self.repeats)]

    def forward(self, F: Any, x: Any) -> Any:
        return F.tile(x, repeats=(1, *self.repeats))


@op("expand", kind="reshape")
class Expand(Op):
    """Repeat sizes of 1 without a copy; -1 keeps a size: ``expand([-1, 7, 7])``."""

    sizes: Any = counts(-1)

    examples: ClassVar[tuple[Example, ...]] = (
        example((-1, 5, 6), x=(4, 1, 1)),
        example((4, 5, 6), x=(4, 1, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        new = self.sizes
        check(
            len(new) == len(x),
            f"sizes has {number_of(len(new), 'value')} for the {len(x)} of {show(x)}",
        )
        for n, size in zip(x, new, strict=True):
            fits = size != 0 and (size == -1 or size == n or n == 1)
            check(fits, f"{show(x)} is not repeated to {', '.join(map(str, new))}")
        return Cost(tuple(n if size == -1 else size for n, size in zip(x, new, strict=True)))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        out = self.cost(x).output
        return [[(d, SAME)] if n == out[d] else [] for d, n in enumerate(x)]

    def forward(self, F: Any, x: Any) -> Any:
        out = self.cost(x.shape[1:]).output
        return x if out == x.shape[1:] else F.expand(x, shape=(x.shape[0], *out))

    def settings(self, axes: int = 2) -> str:
        return "to " + ", ".join(map(str, self.sizes))


class Triangle(Op):
    """One half of the last two dimensions, and zeros beyond a diagonal."""

    diagonal: Any = argument(
        "a whole number, 0 the main diagonal",
        lambda name, value: whole(name, value, -LARGEST),
        0,
    )

    examples: ClassVar[tuple[Example, ...]] = (example(x=(4, 5)), example(1, x=(2, 4, 4)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) > 1, f"{self.name} takes matrices, not {show(x)}")
        return Cost(x)

    def forward(self, F: Any, x: Any) -> Any:
        return getattr(F, self.name)(x, diagonal=self.diagonal)


@op("tril", kind="reshape")
class Tril(Triangle):
    """The lower triangle of the last two dimensions, up to a diagonal; zeros elsewhere."""


@op("triu", kind="reshape")
class Triu(Triangle):
    """The upper triangle of the last two dimensions, from a diagonal on; zeros elsewhere."""


@op("stack", kind="merge")
class Stack(Op):
    """Join tensors of the same shape along a new dimension."""

    dim: int = axis(0)

    inputs: ClassVar[tuple[str, ...]] = ("*",)  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5), (4, 5), (4, 5)]),
        example(-1, x=[(4, 5, 6), (4, 5, 6)]),
    )

    def place(self, x: Shape) -> int:
        """Return where the new dimension stands."""
        return axis_of(self.dim, (*x, 1), "stack")

    def cost(self, x: Shape, *others: Shape) -> Cost:
        shapes = ", ".join(map(show, (x, *others)))
        check(all(other == x for other in others), f"stack needs equal shapes; got {shapes}")
        where = self.place(x)
        return Cost((*x[:where], 1 + len(others), *x[where:]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        same = kept(range(len(x)))
        where = self.place(x)
        return [*same[:where], [], *same[where:]]

    def forward(self, F: Any, *tensors: Any) -> Any:
        return F.stack(*tensors, dim=self.place(tensors[0].shape[1:]) + 1)


@op("squeeze", kind="reshape")
class Squeeze(Op):
    """Remove a dimension of size 1."""

    dim: int = axis(REQUIRED)

    examples: ClassVar[tuple[Example, ...]] = (example(-1, x=(4, 5, 1)), example(0, x=(1, 5, 6)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "squeeze")
        check(x[where] == 1, f"squeeze takes away a size of 1, and dim {where} has {x[where]}")
        check(len(x) > 1, "squeeze leaves nothing")
        return Cost((*x[:where], *x[where + 1 :]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        where = axis_of(self.dim, x, "squeeze")
        return kept(d for d in range(len(x)) if d != where)

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=(x.shape[0], *self.cost(x.shape[1:]).output))


@op("unsqueeze", kind="reshape")
class Unsqueeze(Op):
    """Add a dimension of size 1."""

    dim: int = axis(REQUIRED)

    examples: ClassVar[tuple[Example, ...]] = (example(-1, x=(4, 5)), example(0, x=(5, 6)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, (*x, 1), "unsqueeze")
        return Cost((*x[:where], 1, *x[where:]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        same, where = kept(range(len(x))), axis_of(self.dim, (*x, 1), "unsqueeze")
        return [*same[:where], [], *same[where:]]

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=(x.shape[0], *self.cost(x.shape[1:]).output))


@op("transpose", kind="reshape")
class Transpose(Op):
    """Swap two dimensions: ``transpose(0, 1)``."""

    dim0: int = axis(REQUIRED)
    dim1: int = axis(REQUIRED)

    examples: ClassVar[tuple[Example, ...]] = (
        example(0, 1, x=(4, 5)),
        example(-1, 0, x=(4, 5, 6)),
    )

    def order(self, x: Shape) -> list[int]:
        """Return which dimension of the input each of the output is."""
        dims = list(range(len(x)))
        a, b = (axis_of(dim, x, "transpose") for dim in (self.dim0, self.dim1))
        dims[a], dims[b] = b, a
        return dims

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(tuple(x[d] for d in self.order(x)))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(self.order(x))

    def forward(self, F: Any, x: Any) -> Any:
        a, b = (axis_of(dim, x.shape[1:], "transpose") + 1 for dim in (self.dim0, self.dim1))
        return x if a == b else transpose(F, x, a, b)


@op("index_select", kind="reshape")
class IndexSelect(Op):
    """Select fixed indices along a dimension: ``index_select(0, [2, 0, 2])``."""

    dim: int = axis(REQUIRED)
    index: Any = counts(0)

    buffer_bytes: ClassVar[Mapping[str, int]] = {"index": BYTES[INT64]}
    initial: ClassVar[Mapping[str, str]] = {"index": "torch.tensor({op.places})"}
    examples: ClassVar[tuple[Example, ...]] = (
        example(0, (2, 0, 2), x=(4, 5, 6)),
        example(-1, (0, 3, 4, 1), x=(3, 5)),
    )

    @property
    def places(self) -> list[int]:
        """The places as a list."""
        return list(self.index)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "index_select")
        for place in self.index:
            check(place < x[where], f"index {place} is none of the {x[where]} along dim {where}")
        length = len(self.index)
        out = (*x[:where], length, *x[where + 1 :])
        return Cost(out, buffers={"index": (length,)})

    def reads(self, x: Shape, *_: Shape) -> Reads:
        where = axis_of(self.dim, x, "index_select")
        return [[(d, ALL if d == where else SAME)] for d in range(len(x))]

    def forward(self, F: Any, x: Any, index: Any) -> Any:
        where = axis_of(self.dim, x.shape[1:], "index_select") + 1
        return F.index_select(x, index, dim=where)

    def settings(self, axes: int = 2) -> str:
        return f"{count_of(len(self.index))} of dim {self.dim}"


def count_of(places: int) -> str:
    """Return how many places are picked, in words."""
    return number_of(places, "place")
