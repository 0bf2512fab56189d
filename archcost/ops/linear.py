"""Fully connected layers, and the radial basis layer that closes LeNet-5."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from archcost.ops.arguments import check, count, features_axis, features_of, flag
from archcost.ops.base import INPUT, LOWER, OUTPUT, PARAMS, Cost, Example, Op, Saved, example, op
from archcost.ops.steps import SHARED, Step, step
from archcost.shape import Shape, numel, show


@op("linear", kind="linear")
class Linear(Op):
    """Fully connected layer on a vector, or on each token of ``tokens x features``.

    macs = tokens · in_features · out_features. A map whose channels come last takes ``dim=-1``.
    """

    out_features: int = count()
    bias: bool = flag(True)
    dim: Any = features_axis()

    autocast: ClassVar[str | None] = LOWER
    examples: ClassVar[tuple[Example, ...]] = (
        example(10, x=(84,)),
        example(10, bias=False, x=(84,)),
        example(12, x=(5, 8)),
        example(12, dim=-1, x=(3, 5, 8)),
        example(12, bias=False, dim=2, x=(3, 5, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        advice = "add flatten before it, or dim=-1 if its channels are last"
        where = features_of(self.dim, x, "linear", advice)
        check(where == len(x) - 1, f"linear works on the last dimension of {show(x)}; permute it")
        *tokens, features = x
        params: dict[str, Shape] = {"weight": (self.out_features, features)}
        weights = numel(params["weight"])
        mac = numel(tuple(tokens)) * weights if tokens else weights
        out = (*tokens, self.out_features)
        work = {"mac": mac, "dot_products": numel(out)}
        if tokens:
            work["repeated_token_mac"] = mac - weights
        if self.bias:
            params["bias"] = (self.out_features,)
            work["linear_bias_add"] = numel(out)
            if tokens:
                work["repeated_token_bias"] = numel(out) - self.out_features
        return Cost(out, params, work, (Saved(INPUT, copied_unless="is_rows", gradient=PARAMS),))

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (len(x) - 1,)

    def weight_is_kept(self, inputs_need: Sequence[bool]) -> bool:
        return inputs_need[0]

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(summed=("bias",)),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Linear(x[-1], self.out_features, bias=self.bias)

    def settings(self, axes: int = 2) -> str:
        return "" if self.bias else "no bias"


@op("rbf", kind="linear")
class RBF(Op):
    """Squared distance of a vector to fixed centres, as LeNet-5's output (LeCun et al. 1998).

    The centres are set by hand, so they are a buffer and no parameter; one subtraction, square
    and sum per connection.
    """

    out_features: int = count()

    examples: ClassVar[tuple[Example, ...]] = (example(10, x=(84,)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 1, f"rbf takes a vector, not {show(x)}; add flatten before it")
        centres = (self.out_features, x[0])
        work = {"rbf": numel(centres)}
        return Cost(
            (self.out_features,), {}, work, (Saved("differences", centres),), {"centres": centres}
        )

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        centres = (self.out_features, x[0])
        return (
            step("differences", centres, (0,)),
            step(
                "squares",
                centres,
                ("differences",),
                keeps=("differences",),
                scratch=(numel(centres),) * 2,
            ),
            step(OUTPUT, (self.out_features,), ("squares",), gradient=SHARED),
        )

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        out_features = self.out_features

        class RBFModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("centres", torch.sign(torch.randn(out_features, x[0])))

            def forward(self, x: Any) -> Any:
                return (x.unsqueeze(1) - self.centres).square().sum(2)

        return RBFModule()
