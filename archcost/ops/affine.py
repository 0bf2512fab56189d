"""Factors and addends that are fixed, and a learnt addend per element."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import number
from archcost.ops.base import KEEPS, OUTPUT, Cost, Example, Op, example, op
from archcost.ops.layout import ELEMENTWISE
from archcost.ops.steps import SHARED, Step, step
from archcost.shape import Shape, numel


@op("bias", kind="activation")
class Bias(Op):
    """One learnt addend per element: a bias of its own at every position of every channel.

    The feature maps of LeCun et al. 1989 share their weights, but not their thresholds.
    """

    layout: ClassVar[str] = ELEMENTWISE
    examples: ClassVar[tuple[Example, ...]] = (example(x=(12, 8, 8)), example(x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {"bias": x}, {"add": numel(x), "norm_param": numel(x)})

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SHARED),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        class BiasModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.bias = torch.nn.Parameter(torch.zeros(x))

            def forward(self, x: Any) -> Any:
                return x + self.bias

        return BiasModule()


@op("rescale", kind="activation")
class Rescale(Op):
    """factor·x + addend with fixed numbers: ``rescale(-1, 1)`` is 1 − x."""

    factor: float = number(low=-1e6, high=1e6)
    addend: float = number(0.0, low=-1e6, high=1e6)

    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (example(0.17, x=(6, 5, 4)), example(-1, 1, x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        work = {"multiply": numel(x), "multiply_first": numel(x)}
        if self.addend:
            work["add"] = numel(x)
        return Cost(x, {}, work)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        if not self.addend:
            return (Step(),)
        return (
            step("scaled", x, (0,)),
            step(OUTPUT, x, ("scaled",), gradient=SHARED),
        )

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        factor, addend = self.factor, self.addend

        class RescaleModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                scaled = x * factor
                return scaled + addend if addend else scaled

        return RescaleModule()

    def settings(self, axes: int = 2) -> str:
        return f"x {self.factor:g}" + (f" + {self.addend:g}" if self.addend else "")
