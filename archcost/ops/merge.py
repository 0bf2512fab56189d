"""Ops that make one tensor of several."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.number import maximum, minimum
from archcost.ops.arguments import axis, axis_of, check
from archcost.ops.base import COMPLEX, Cost, Example, Op, example, op
from archcost.ops.reads import Reads, kept
from archcost.shape import Shape, show

VARIADIC = ("*",)


def repeated(a: Shape, b: Shape) -> Shape | None:
    """Return the shape of what is computed of two tensors, element by element.

    Both have as many dimensions, and a size of 1 is repeated; None if they do not fit.
    """
    if len(a) != len(b):
        return None
    out = tuple(map(maximum, a, b))
    least = map(minimum, a, b)
    return out if all(n == 1 or n == size for n, size in zip(least, out, strict=True)) else None


def fitted(op: str, *shapes: Shape) -> Shape:
    """Return the shape to which tensors of as many dimensions are repeated; refuse others."""
    out = shapes[0]
    for shape in shapes[1:]:
        found = repeated(out, shape)
        if found is None:
            raise OpError(f"{op} cannot broadcast {' to '.join(map(show, (out, shape)))}")
        out = found
    return out


@op("add", kind="merge")
class Add(Op):
    """Sum of tensors of the same shape. Sizes of 1 are broadcast."""

    of_complex: ClassVar[str] = COMPLEX
    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 5, 6)]),
        example(x=[(8,), (8,), (8,)]),
        example(x=[(4, 1, 1), (4, 5, 1), (4, 5, 6)]),
    )

    def steps(self, x: Shape, *others: Shape) -> list[Shape]:
        """Return the shape of the first tensor, and of the sum so far after each other one."""
        sums = [x]
        for other in others:
            out = sums[-1] if other == sums[-1] else repeated(sums[-1], other)
            if out is None:
                raise OpError(f"add needs equal shapes; got {', '.join(map(show, (x, *others)))}")
            sums.append(out)
        return sums

    def cost(self, x: Shape, *others: Shape) -> Cost:
        return Cost(self.steps(x, *others)[-1])

    def forward(self, F: Any, x: Any, *others: Any) -> Any:
        for other in others:
            x = F.add(x, other)
        return x


@op("concat", kind="merge")
class Concat(Op):
    """Tensors one after the other along ``dim`` (0 = channels)."""

    dim: int = axis(0)

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    least: ClassVar[int] = 1
    named: ClassVar[int] = 1
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (3, 5, 6), (1, 5, 6)]),
        example(-1, x=[(4, 5), (4, 2)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        where = axis_of(self.dim, x, "concat")
        rest = x[:where] + x[where + 1 :]
        total = x[where]
        for other in others:
            if len(other) != len(x) or other[:where] + other[where + 1 :] != rest:
                raise OpError(
                    f"concat along dim {where} needs equal sizes elsewhere; got "
                    + ", ".join(show(s) for s in (x, *others))
                )
            total = total + other[where]
        return Cost((*x[:where], total, *x[where + 1 :]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        # along it positions come from several places
        return kept(range(len(x)), [axis_of(self.dim, x, "concat")])

    def forward(self, F: Any, *tensors: Any) -> Any:
        return F.cat(*tensors, dim=axis_of(self.dim, tensors[0].shape[1:], "concat") + 1)


class OfTwo(Op):
    """A function of two tensors of as many dimensions; a size of 1 is repeated.

    ``primitive`` computes it.
    """

    primitive: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 1, 1)]),
        example(x=[(4, 5, 6), (4, 5, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        shapes = (x, *others)
        check(len(shapes) == 2, f"{self.name} takes 2 tensors; got {len(shapes)}")
        return Cost(fitted(self.name, *shapes))

    def forward(self, F: Any, x: Any, other: Any) -> Any:
        return getattr(F, self.primitive)(x, other)


@op("multiply", kind="merge")
class Multiply(OfTwo):
    """Product of tensors. Sizes of 1 are broadcast, so ``C x 1 x 1`` gates ``C x H x W``."""

    primitive: ClassVar[str] = "mul"
    of_complex: ClassVar[str] = COMPLEX


@op("sub", kind="merge")
class Sub(OfTwo):
    """The first tensor minus the second. Sizes of 1 are broadcast."""

    primitive: ClassVar[str] = "sub"
    of_complex: ClassVar[str] = COMPLEX


@op("div", kind="merge")
class Div(OfTwo):
    """The first tensor divided by the second. Sizes of 1 are broadcast."""

    primitive: ClassVar[str] = "div"


@op("maximum", kind="merge")
class Maximum(OfTwo):
    """Element-wise maximum of two tensors. Sizes of 1 are broadcast."""

    primitive: ClassVar[str] = "maximum"


@op("minimum", kind="merge")
class Minimum(OfTwo):
    """Element-wise minimum of two tensors. Sizes of 1 are broadcast."""

    primitive: ClassVar[str] = "minimum"
