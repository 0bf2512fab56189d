"""Pointwise functions that are not activations, with PyTorch's names."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.activation import Pointwise, functions
from archcost.ops.arguments import check, real
from archcost.ops.base import COMPLEX, FLOAT, Cost, Example, example, op
from archcost.shape import Shape

functions("activation", globals(), (
    ("exp", "", "The exponential function."),
    ("log", "", "The natural logarithm."),
    ("sqrt", "", "The square root."),
    ("rsqrt", "", "1/√x."),
    ("reciprocal", "", "1/x."),
    ("sign", "", "1, 0 or −1, as x is positive, zero or negative; its gradient is zero."),
    ("sin", "", "The sine."),
    ("cos", "", "The cosine."),
    ("erf", "", "The error function."),
))  # fmt: skip


@op("abs", kind="activation")
class Abs(Pointwise):
    """The absolute value, also of complex numbers."""

    of_complex: ClassVar[str] = FLOAT


@op("neg", kind="activation")
class Neg(Pointwise):
    """−x, also of complex numbers."""

    of_complex: ClassVar[str] = COMPLEX


@op("square", kind="activation")
class Square(Pointwise):
    """x²."""

    def forward(self, F: Any, x: Any) -> Any:
        return F.pow(x, 2)


@op("pow", kind="activation")
class Pow(Pointwise):
    """x to the power ``exponent``."""

    exponent: float = real()

    examples: ClassVar[tuple[Example, ...]] = (
        example(0.75, x=(6, 5, 4)),
        example(2.0, x=(8,)),
        example(0.0, x=(8,)),
    )

    def forward(self, F: Any, x: Any) -> Any:
        return F.pow(x, self.exponent)


@op("clamp", kind="activation")
class Clamp(Pointwise):
    """min(max(x, ``min``), ``max``). Either bound may be left out."""

    min: Any = real(None)
    max: Any = real(None)

    examples: ClassVar[tuple[Example, ...]] = (
        example(0.0, 6.0, x=(6, 5, 4)),
        example(max=1.0, x=(8,)),
        example(min=-1.0, x=(8,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(self.min is not None or self.max is not None, "clamp needs min, max or both")
        return Cost(x)
