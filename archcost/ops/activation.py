"""Activation functions, dropout and stochastic depth: the shape stays."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import axis, axis_of, choice, flag, number
from archcost.ops.base import (
    KEEPS,
    SAVES_INPUT,
    SAVES_OUTPUT,
    Cost,
    Example,
    Op,
    Saved,
    example,
    op,
)
from archcost.ops.layout import ELEMENTWISE, Strides
from archcost.ops.pool import module_or_function
from archcost.ops.steps import PRODUCT, Step
from archcost.shape import Shape, numel

BOOL_BYTES = 1


@op("relu", kind="activation")
class ReLU(Op):
    """max(x, 0). ``functional`` says that the network calls a function instead of a module."""

    functional: bool = flag(False)

    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
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


class Pointwise(Op):
    """A function of each element for itself, under the name of the op's work term.

    Class attributes:
        module: its class in ``torch.nn``.
        saves: what autograd keeps for backward.
    """

    module: ClassVar[str]
    saves: ClassVar[tuple[Saved, ...]] = SAVES_INPUT
    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {}, {self.name: numel(x)}, self.saves)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, self.module)()


@op("sigmoid", kind="activation")
class Sigmoid(Pointwise):
    """1/(1 + exp(−x))."""

    module: ClassVar[str] = "Sigmoid"
    saves: ClassVar[tuple[Saved, ...]] = SAVES_OUTPUT


@op("tanh", kind="activation")
class Tanh(Pointwise):
    """Hyperbolic tangent."""

    module: ClassVar[str] = "Tanh"
    saves: ClassVar[tuple[Saved, ...]] = SAVES_OUTPUT


@op("relu6", kind="activation")
class ReLU6(Pointwise):
    """min(max(x, 0), 6) (Howard et al. 2017)."""

    module: ClassVar[str] = "ReLU6"


@op("leaky_relu", kind="activation")
class LeakyReLU(Pointwise):
    """x where it is positive, ``negative_slope``·x elsewhere (Maas et al. 2013)."""

    negative_slope: float = number(0.01)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.2, x=(8,)))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.LeakyReLU(self.negative_slope)


@op("prelu", kind="activation")
class PReLU(Op):
    """Leaky ReLU with a learnt slope, one for all or one ``per_channel`` (He et al. 2015)."""

    per_channel: bool = flag(False)

    layout: ClassVar[str] = ELEMENTWISE
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(True, x=(6, 5, 4)))

    def slopes(self, x: Shape) -> int:
        """Return the number of slopes."""
        return x[0] if self.per_channel else 1

    def cost(self, x: Shape, *_: Shape) -> Cost:
        work = {"prelu": numel(x), "prelu_param": self.slopes(x)}
        return Cost(x, {"weight": (self.slopes(x),)}, work, SAVES_INPUT)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=PRODUCT),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.PReLU(self.slopes(x))


@op("silu", kind="activation")
class SiLU(Pointwise):
    """x·sigmoid(x), also called swish (Elfwing et al. 2017, Ramachandran et al. 2017)."""

    module: ClassVar[str] = "SiLU"


@op("gelu", kind="activation")
class GELU(Pointwise):
    """x·Φ(x), exact or by ``approximate='tanh'`` (Hendrycks & Gimpel 2016)."""

    approximate: str = choice("none", "none", "tanh")

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example("tanh", x=(8,)))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.GELU(self.approximate)


@op("hardswish", kind="activation")
class Hardswish(Pointwise):
    """x·relu6(x + 3)/6 (Howard et al. 2019)."""

    module: ClassVar[str] = "Hardswish"


@op("hardsigmoid", kind="activation")
class Hardsigmoid(Pointwise):
    """relu6(x + 3)/6 (Howard et al. 2019)."""

    module: ClassVar[str] = "Hardsigmoid"


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

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (axis_of(self.dim, x, "softmax"),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Softmax(dim=axis_of(self.dim, x, "softmax") + 1)


@op("dropout", kind="dropout")
class Dropout(Op):
    """Zero each element with probability ``p`` while training (Srivastava et al. 2014)."""

    p: float = number(0.5)

    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (example(x=(16,)), example(0.0, x=(4, 3, 2)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {}, {"dropout": numel(x)}, tuple(self._saved(x)))

    def _saved(self, x: Shape) -> list[Saved]:
        if self.p == 0:
            return []
        if self.p == 1:  # PyTorch multiplies by a zero
            return [Saved("zero", per_batch=False, before=True)]
        # the mask is in the network's dtype on a CPU, boolean on CUDA
        return [
            Saved("mask", x, device="cpu", before=True),
            Saved("mask", x, BOOL_BYTES, device="cuda"),
        ]

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return strides if self.p == 0 else None

    def passes_through(self, training: bool, x: Shape, *_: Shape) -> bool:
        return self.p == 0 or not training

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Dropout(self.p)

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"


@op("stochastic_depth", kind="dropout")
class StochasticDepth(Op):
    """Zero a whole sample with probability ``p`` while training (Huang et al. 2016)."""

    p: float = number()

    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (example(0.2, x=(4, 3, 2)), example(0.0, x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(
            x, {}, {"dropout": numel(x)}, (Saved("noise", (1,), before=True),) if self.p else ()
        )

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return strides if self.p == 0 else None

    def passes_through(self, training: bool, x: Shape, *_: Shape) -> bool:
        return self.p == 0 or not training

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        p = self.p

        class StochasticDepthModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.p = p

            def forward(self, x: Any) -> Any:
                if not self.training or not self.p:
                    return x
                noise = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(1 - self.p)
                return x * (noise.div_(1 - self.p) if self.p < 1 else noise)

        return StochasticDepthModule()

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"
