"""Activation functions and dropout: the shape stays, nothing is learnt."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import axis, axis_of, flag, number
from archcost.ops.base import SAVES_OUTPUT, Cost, Example, Op, Saved, Strides, example, op
from archcost.ops.pool import module_or_function
from archcost.shape import Shape, numel

BOOL_BYTES = 1


@op("relu", kind="activation")
class ReLU(Op):
    """max(x, 0). ``functional`` says that the network calls a function instead of a module."""

    functional: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(64, 9, 8)),
        example(functional=True, x=(8,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        term = "function_relu" if self.functional else "relu"
        return Cost(x, {}, {term: numel(x)}, SAVES_OUTPUT)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return module_or_function(torch, "ReLU", self.functional)

    def settings(self, axes: int = 2) -> str:
        return ""


@op("sigmoid", kind="activation")
class Sigmoid(Op):
    """1/(1 + exp(−x))."""

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {}, {"sigmoid": numel(x)}, SAVES_OUTPUT)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Sigmoid()


@op("tanh", kind="activation")
class Tanh(Op):
    """Hyperbolic tangent."""

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {}, {"tanh": numel(x)}, SAVES_OUTPUT)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Tanh()


@op("softmax", kind="activation")
class Softmax(Op):
    """exp(x) normalised to sum 1 along ``dim`` (0 = channels, the batch is not counted)."""

    dim: int = axis(0)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(10,)),
        example(x=(4, 3, 2)),
        example(-1, x=(5, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        rows = numel(x) // x[axis_of(self.dim, x, "softmax")]
        work = {"softmax": numel(x), "softmax_rows": rows, "softmax_calls": 1}
        return Cost(x, {}, work, SAVES_OUTPUT)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Softmax(dim=axis_of(self.dim, x, "softmax") + 1)


@op("dropout", kind="dropout")
class Dropout(Op):
    """Zero each element with probability ``p`` while training (Srivastava et al. 2014)."""

    p: float = number(0.5)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(16,)), example(0.0, x=(4, 3, 2)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        # the mask is in the network's dtype on a CPU, boolean on CUDA; p 0 and 1 need none
        masks = (Saved("mask", x, device="cpu"), Saved("mask", x, BOOL_BYTES, device="cuda"))
        return Cost(x, {}, {"dropout": numel(x)}, masks if 0 < self.p < 1 else ())

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return strides if self.p == 0 else None

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Dropout(self.p)

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"
