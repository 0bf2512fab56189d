"""Reductions over dimensions, which are dropped or kept as size 1."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.errors import written
from archcost.ops.arguments import argument, axis_of, check, flag, one_axis, real, some_axes, whole
from archcost.ops.base import COMPLEX, Cost, Example, Op, example, op
from archcost.ops.reads import Reads, kept
from archcost.shape import Shape, show


class Reduction(Op):
    """One value of all along some dimensions (0 = channels, the batch is not counted).

    A subclass has ``dims`` and ``keepdim``; the primitive of its name computes it.
    """

    dims: Any
    keepdim: bool

    examples: ClassVar[tuple[Example, ...]] = (
        example([1, 2], x=(6, 5, 4)),
        example([1, 2], keepdim=True, x=(6, 5, 4)),
        example([0], x=(7, 8)),
    )

    def places(self, x: Shape) -> list[int]:
        """Return the dimensions, counted from the front."""
        return [axis_of(d, x, self.name) for d in self.dims]

    def cost(self, x: Shape, *_: Shape) -> Cost:
        gone = self.places(x)
        check(
            all(gone.count(d) == 1 for d in gone),
            f"{self.name} names a dimension twice: {list(self.dims)}",
        )
        left = tuple(
            1 if i in gone else n for i, n in enumerate(x) if self.keepdim or i not in gone
        )
        check(len(left) > 0, f"{self.name} over all dimensions of {show(x)} leaves nothing")
        return Cost(left)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        gone = self.places(x)
        return kept((d for d in range(len(x)) if self.keepdim or d not in gone), gone)

    def options(self, x: Shape) -> dict[str, Any]:
        """Return the options of the primitive."""
        return {"dims": tuple(d + 1 for d in self.places(x)), "keepdim": self.keepdim}

    def forward(self, F: Any, x: Any) -> Any:
        return getattr(F, self.name)(x, **self.options(x.shape[1:]))

    def settings(self, axes: int = 2) -> str:
        return "over " + ", ".join(map(str, self.dims))


class OverDims(Reduction):
    """A reduction that takes nothing but the dimensions, and whether they are kept."""

    dims: Any = some_axes()
    keepdim: bool = flag(False)


@op("mean", kind="adaptive_pool")
class Mean(OverDims):
    """Mean over some dimensions (0 = channels), which are removed or kept with size 1."""

    of_complex: ClassVar[str] = COMPLEX


@op("sum", kind="adaptive_pool")
class Sum(OverDims):
    """Sum over some dimensions (0 = channels), which are removed or kept with size 1."""

    of_complex: ClassVar[str] = COMPLEX


@op("amax", kind="adaptive_pool")
class Amax(OverDims):
    """Maximum over some dimensions. Equal maxima share the gradient."""


@op("amin", kind="adaptive_pool")
class Amin(OverDims):
    """Minimum over some dimensions. Equal minima share the gradient."""


@op("logsumexp", kind="adaptive_pool")
class LogSumExp(OverDims):
    """The logarithm of the sum of exp(x) over some dimensions."""


def norm_order(name: str, value: Any) -> int:
    """Return the order of a norm, 1 or 2; refuse others."""
    check(value in (1, 2), f"{name} must be 1 or 2; got {written(value)}")
    return whole(name, value)


@op("vector_norm", kind="adaptive_pool")
class VectorNorm(Reduction):
    """The Euclidean norm over some dimensions; with ``ord=1``, the sum of absolute values."""

    dims: Any = some_axes()
    ord: int = argument("1 or 2", norm_order, 2)
    keepdim: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (*Reduction.examples, example([0], 1, x=(7, 8)))

    def options(self, x: Shape) -> dict[str, Any]:
        return {**super().options(x), "ord": self.ord}

    def forward(self, F: Any, x: Any) -> Any:
        return F.norm(x, **self.options(x.shape[1:]))


@op("var", kind="adaptive_pool")
class Var(Reduction):
    """Variance over some dimensions. The divisor is their size minus ``correction``."""

    dims: Any = some_axes()
    correction: float = real(1.0)
    keepdim: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (*Reduction.examples, example([0], 0.0, x=(7, 8)))

    def options(self, x: Shape) -> dict[str, Any]:
        return {**super().options(x), "correction": self.correction}


@op("std", kind="adaptive_pool")
class Std(Var):
    """Standard deviation over some dimensions, the square root of their variance."""


@op("max", kind="adaptive_pool")
class Max(Reduction):
    """Maximum along one dimension. The first of several equal maxima gets the whole gradient.

    ``amax`` takes several dimensions.
    """

    dim: int = one_axis()
    keepdim: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(1, x=(6, 5, 4)),
        example([0], keepdim=True, x=(6, 5, 4)),
        example(0, x=(7, 8)),
    )

    @property
    def dims(self) -> Any:
        return (self.dim,)

    def options(self, x: Shape) -> dict[str, Any]:
        return {"dim": self.places(x)[0] + 1, "keepdim": self.keepdim}


@op("min", kind="adaptive_pool")
class Min(Max):
    """Minimum along one dimension. The first of several equal minima gets the whole gradient."""
