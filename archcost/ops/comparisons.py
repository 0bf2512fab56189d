"""Ops whose outputs are masks of booleans or places: comparisons, logic, the largest of a line."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import axis, axis_of, check, flag, real
from archcost.ops.base import BOOL, COMPLEX, INT64, Cost, Example, Op, example, op
from archcost.ops.choices import Ordered, along
from archcost.ops.merge import VARIADIC, fitted
from archcost.ops.reads import Reads
from archcost.ops.reduction import Max
from archcost.shape import Shape


class Compared(Op):
    """An op whose output is a mask of the broadcast shape; no gradient comes through it."""

    makes: ClassVar[str] = BOOL
    any_type: ClassVar[bool] = True
    no_gradient: ClassVar[tuple[int, ...]] = (0, 1)

    def cost(self, x: Shape, *others: Shape) -> Cost:
        return Cost(fitted(self.name, x, *others))

    def reads(self, x: Shape, *others: Shape) -> Reads:
        return along(x, self.cost(x, *others).output)


class Comparison(Compared):
    """A comparison of elements with a number, or with those of another tensor."""

    value: Any = real(None)

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    least: ClassVar[int] = 1
    examples: ClassVar[tuple[Example, ...]] = (
        example(0.5, x=(4, 5, 6)),
        example(x=[(4, 5, 6), (4, 1, 1)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        given = len(others) + (self.value is not None)
        check(given == 1, f"{self.name} takes two tensors, or one and a number")
        return super().cost(x, *others)

    def refuses(self, dtype: str) -> str:
        ordered = dtype == COMPLEX and self.name not in ("eq", "ne")
        return f"{self.name} takes no complex numbers, which have no order" * ordered

    def forward(self, F: Any, x: Any, *others: Any) -> Any:
        if others:
            return getattr(F, self.name)(x, *others)
        whole = self.value == round(self.value)  # as a whole number it leaves int64 what it is
        return getattr(F, self.name)(x, round(self.value) if whole else self.value)


class Logical(Compared):
    """A function of two masks."""

    inputs: ClassVar[tuple[str, ...]] = ("mask", "x")  # type: ignore[misc]
    masks: ClassVar[tuple[int, ...]] = (0, 1)
    any_type: ClassVar[bool] = False
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 5, 6)]),
        example(x=[(1, 5, 6), (4, 5, 1)]),
    )

    def forward(self, F: Any, x: Any, other: Any) -> Any:
        return getattr(F, self.name)(x, other)


for _base, _ops in {
    Comparison: {
        "eq": "equals", "ne": "does not equal", "lt": "is less than", "le": "is at most",
        "gt": "is greater than", "ge": "is at least",
    },
    Logical: {"logical_and": "and", "logical_or": "or", "logical_xor": "or else"},
}.items():  # fmt: skip
    for _name, _words in _ops.items():
        _about = (
            f"Where each element {_words} a number, ``{_name}(0.5)``, or that of another tensor,\n"
            f"    ``{_name}(a, b)``: a mask of booleans. Sizes of 1 are broadcast."
            if _base is Comparison
            else f"Where one mask is true, {_words} another one. Sizes of 1 are broadcast."
        )
        _members = {"__doc__": _about, "__module__": __name__}
        _class = _name.title().replace("_", "")
        globals()[_class] = op(_name, kind="merge")(type(_class, (_base,), _members))


@op("logical_not", kind="activation")
class LogicalNot(Op):
    """Where a mask is false."""

    masks: ClassVar[tuple[int, ...]] = (0,)
    makes: ClassVar[str] = BOOL
    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(x=(8,)))

    def forward(self, F: Any, x: Any) -> Any:
        return F.logical_not(x)


@op("argmax", kind="adaptive_pool")
class ArgMax(Max):
    """The place of the maximum along one dimension (0 = channels), as int64."""

    makes: ClassVar[str] = INT64
    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(0, x=(6, 5, 4)),
        example([1], keepdim=True, x=(6, 5, 4)),
        example(0, x=(7, 8)),
    )


@op("argmin", kind="adaptive_pool")
class ArgMin(ArgMax):
    """The place of the minimum along one dimension (0 = channels), as int64."""


@op("argsort", kind="adaptive_pool")
class ArgSort(Ordered):
    """The places of the elements in order along ``dim``, as int64, for ``gather``."""

    dim: int = axis(-1)
    descending: bool = flag(False)

    makes: ClassVar[str] = INT64
    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 5, 4)),
        example(0, descending=True, x=(6, 5)),
    )

    def forward(self, F: Any, x: Any) -> Any:
        dim = axis_of(self.dim, x.shape[1:], "argsort") + 1
        return F.argsort(x, dim=dim, descending=self.descending)
