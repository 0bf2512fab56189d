"""Ops that choose among elements: by a mask, by places that an input gives, by their order."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import axis, axis_of, check, count, flag, real
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.merge import fitted
from archcost.ops.reads import ALL, SAME, Reads
from archcost.shape import Shape, show


def along(x: Shape, out: Shape, dim: int | None = None) -> Reads:
    """Return that dimensions are read in their places, of ``dim`` all; size 1 is repeated."""
    how = (ALL if d == dim else SAME for d in range(len(x)))
    columns = enumerate(zip(x, out, how, strict=True))
    return [[(d, read)] if n == m or d == dim else [] for d, (n, m, read) in columns]


class Masked(Op):
    """An op whose first input is a mask of booleans, which no gradient comes through."""

    masks: ClassVar[tuple[int, ...]] = (0,)
    no_gradient: ClassVar[tuple[int, ...]] = (0,)

    def cost(self, x: Shape, *others: Shape) -> Cost:
        return Cost(fitted(self.name, x, *others))

    def reads(self, x: Shape, *others: Shape) -> Reads:
        return along(x, self.cost(x, *others).output)


@op("where", kind="merge")
class Where(Masked):
    """The first tensor's elements where a mask is true, and the second's elsewhere.

    The mask holds booleans, as in ``inputs: {image: 3x8x8, mask: 1x8x8 bool}``. Sizes of 1 are
    broadcast. ``where(mask, a)`` takes the current tensor elsewhere.
    """

    inputs: ClassVar[tuple[str, ...]] = ("mask", "a", "b")  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 5, 6), (4, 5, 6)]),
        example(x=[(1, 5, 6), (4, 5, 6), (4, 1, 1)]),
    )

    def forward(self, F: Any, mask: Any, a: Any, b: Any) -> Any:
        return F.where(mask, a, b)


@op("masked_fill", kind="merge")
class MaskedFill(Masked):
    """Fill a tensor with one value where a mask is true.

    The mask holds booleans, as in ``inputs: {scores: 2x7x7, mask: 1x7x7 bool}``. Sizes of 1 are
    broadcast. ``masked_fill(mask, 0)`` fills the current tensor.
    """

    value: float = real()

    inputs: ClassVar[tuple[str, ...]] = ("mask", "x")  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(0, x=[(4, 5, 6), (4, 5, 6)]),
        example(-1e9, x=[(1, 7, 7), (2, 7, 7)]),
    )

    def forward(self, F: Any, mask: Any, x: Any) -> Any:
        return F.masked_fill(x, mask, value=self.value)


def check_places(op: Any, places: Shape, table: Shape) -> None:
    """Refuse places of a tensor that has other dimensions, or is smaller but along ``op.dim``."""
    where = axis_of(op.dim, table, op.name)
    fits = len(places) == len(table) and all(
        n <= m or d == where for d, (n, m) in enumerate(zip(places, table, strict=True))
    )
    wanted = f"places of as many dimensions, none larger but dim {where}"
    check(fits, f"{op.name} takes {wanted}: {show(places)} of {show(table)}")


@op("gather", kind="reshape")
class Gather(Op):
    """Select elements along ``dim`` by index, as ``torch.gather``; the first input is the index.

    The index is int64, as in ``inputs: {tokens: 49x64, picks: 9x64 int64}``, and has as many
    dimensions as the tensor. ``gather(picks)`` selects from the current tensor.
    """

    dim: int = axis(0)

    inputs: ClassVar[tuple[str, ...]] = ("index", "x")  # type: ignore[misc]
    integers: ClassVar[tuple[int, ...]] = (0,)
    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(3, 5, 6), (4, 5, 6)]),
        example(-1, x=[(4, 5, 9), (4, 6, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        [table] = others
        check_places(self, x, table)
        return Cost(x)

    def reads(self, x: Shape, *others: Shape) -> Reads:
        where = axis_of(self.dim, others[0], "gather")
        return [[(d, ALL if d == where else SAME)] for d in range(len(x))]

    def forward(self, F: Any, index: Any, x: Any) -> Any:
        return F.gather(x, index, dim=axis_of(self.dim, x.shape[1:], "gather") + 1)


class Scattered(Op):
    """An op that writes elements to places along ``dim``; the first input is the places."""

    dim: int = axis(0)

    inputs: ClassVar[tuple[str, ...]] = ("index", "source", "x")  # type: ignore[misc]
    integers: ClassVar[tuple[int, ...]] = (0,)
    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 5, 6), (4, 5, 6)]),
        example(x=[(3, 5, 4), (3, 5, 4), (4, 5, 6)]),
        example(-1, x=[(3, 9), (3, 9), (4, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        source, whole = others
        each = f"{self.name} takes a place for each element"
        check(x == source, f"{each}; got {show(x)} of {show(source)}")
        check_places(self, x, whole)
        return Cost(whole)

    def reads(self, x: Shape, *others: Shape) -> Reads:
        where = axis_of(self.dim, others[1], self.name)
        return [[(d, ALL if d == where else SAME)] for d in range(len(x))]

    def forward(self, F: Any, index: Any, source: Any, x: Any) -> Any:
        dim = axis_of(self.dim, x.shape[1:], self.name) + 1
        return getattr(F, self.name)(x, index, source, dim=dim)


@op("scatter", kind="merge")
class Scatter(Scattered):
    """Replace elements along ``dim`` by those of a source at given places, as ``torch.scatter``.

    It takes the places, the source and the tensor; ``scatter(places, source)`` writes to the
    current one. The places are int64, one for each element of the source.
    """


@op("scatter_add", kind="merge")
class ScatterAdd(Scattered):
    """Add elements of a source at given places along ``dim``, as ``torch.scatter_add``.

    It takes what ``scatter`` takes.
    """


class Ordered(Op):
    """An op that works on each line along a dimension."""

    dim: int

    def cost(self, x: Shape, *_: Shape) -> Cost:
        axis_of(self.dim, x, self.name)
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        where = axis_of(self.dim, x, self.name)
        return [[(d, ALL if d == where else SAME)] for d in range(len(x))]


@op("topk", kind="adaptive_pool")
class TopK(Ordered):
    """The ``k`` largest elements along ``dim``, in order; the smallest with ``largest=False``."""

    k: int = count()
    dim: int = axis(-1)
    largest: bool = flag(True)

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 5, 4)),
        example(3, 0, largest=False, x=(6, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "topk")
        check(self.k <= x[where], f"topk of {self.k} from {x[where]} elements")
        return Cost((*x[:where], self.k, *x[where + 1 :]))

    def forward(self, F: Any, x: Any) -> Any:
        dim = axis_of(self.dim, x.shape[1:], "topk") + 1
        return F.topk(x, k=self.k, dim=dim, largest=self.largest)


@op("sort", kind="adaptive_pool")
class Sort(Ordered):
    """The elements in order along ``dim``, the smallest first unless ``descending``."""

    dim: int = axis(-1)
    descending: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 5, 4)),
        example(0, descending=True, x=(6, 5)),
    )

    def forward(self, F: Any, x: Any) -> Any:
        dim = axis_of(self.dim, x.shape[1:], "sort") + 1
        return F.sort(x, dim=dim, descending=self.descending)


@op("cumsum", kind="adaptive_pool")
class CumSum(Ordered):
    """Cumulative sum along ``dim`` (0 = channels)."""

    dim: int = axis(0)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(-1, x=(6, 5)))

    def forward(self, F: Any, x: Any) -> Any:
        return F.cumsum(x, dim=axis_of(self.dim, x.shape[1:], "cumsum") + 1)
