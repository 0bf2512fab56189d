"""Fully connected layers, and the radial basis layer that closes LeNet-5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import check, count, features_axis, features_of, flag
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.parametrized import computed, parametrization, parametrized, registered
from archcost.ops.reads import Reads, kept
from archcost.shape import Shape, numel, show


@op("linear", kind="linear")
class Linear(Op):
    """Fully connected layer on a vector, or on each token of ``tokens x features``.

    macs = tokens · in_features · out_features. A map whose channels come last takes ``dim=-1``.
    """

    out_features: int = count()
    bias: bool = flag(True)
    dim: Any = features_axis()
    parametrization: Any = parametrization()

    examples: ClassVar[tuple[Example, ...]] = (
        example(10, x=(84,)),
        example(10, bias=False, x=(84,)),
        example(12, x=(5, 8)),
        example(12, dim=-1, x=(3, 5, 8)),
        example(12, bias=False, dim=2, x=(3, 5, 8)),
        example(7, parametrization="weight_norm", x=(5, 6)),
        example(7, parametrization="spectral_norm", x=(5, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        advice = "add flatten before it, or dim=-1 if its channels are last"
        where = features_of(self.dim, x, "linear", advice)
        if where != len(x) - 1:
            raise OpError(f"linear works on the last dimension of {show(x)}; permute it")
        *tokens, features = x
        params: dict[str, Shape] = {"weight": (self.out_features, features)}
        weights = numel(params["weight"])
        macs = numel(tuple(tokens)) * weights if tokens else weights
        if self.bias:
            params["bias"] = (self.out_features,)
        return parametrized(self, Cost((*tokens, self.out_features), params, macs))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), [len(x) - 1])

    def forward(
        self, F: Any, x: Any, weight: Any = None, bias: Any = None, **originals: Any
    ) -> Any:  # fmt: skip
        return F.linear(x, computed(self, F, weight, originals), bias)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return registered(torch, self, torch.nn.Linear(x[-1], self.out_features, bias=self.bias))

    def settings(self, axes: int = 2) -> str:
        cells = ["no bias"] * (not self.bias) + [self.parametrization] * bool(self.parametrization)
        return ", ".join(cells)


@op("rbf", kind="linear")
class RBF(Op):
    """Squared distance of a vector to fixed centres, as LeNet-5's output (LeCun et al. 1998).

    The centres are set by hand, so they are a buffer, not a parameter. Each connection takes one
    subtraction, square and sum.
    """

    out_features: int = count()

    initial: ClassVar[Mapping[str, str]] = {"centres": "torch.randn({}).sign()"}
    examples: ClassVar[tuple[Example, ...]] = (example(10, x=(84,)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 1, f"rbf takes a vector, not {show(x)}; add flatten before it")
        return Cost((self.out_features,), buffers={"centres": (self.out_features, x[0])})

    def forward(self, F: Any, x: Any, centres: Any) -> Any:
        x = F.reshape(x, shape=(x.shape[0], 1, x.shape[1]))
        return F.sum(F.pow(F.sub(x, centres), 2), dims=(2,))
