"""Similarities and distances of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from archcost.ops.arguments import argument, axis, axis_of, check, flag, real
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.choices import along
from archcost.ops.merge import fitted
from archcost.ops.reads import SAME, Reads
from archcost.ops.reduction import norm_order
from archcost.shape import Shape, numel, show

FEW = 25
"""Rows up to which PyTorch computes distances one by one."""


@op("cosine_similarity", kind="merge")
class CosineSimilarity(Op):
    """The product of two vectors along ``dim`` divided by their lengths, −1 to 1; ``dim`` goes.

    A size of 1 is repeated.
    """

    dim: int = axis(0)
    eps: float = real(1e-8, low=0)

    inputs: ClassVar[tuple[str, ...]] = ("a", "b")  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 5, 6)]),
        example(-1, x=[(4, 1, 6), (1, 5, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        whole = fitted(self.name, x, *others)
        check(len(whole) > 1, f"cosine_similarity of two vectors {show(x)} is one number")
        where = axis_of(self.dim, whole, self.name)
        return Cost((*whole[:where], *whole[where + 1 :]))

    def reads(self, x: Shape, *others: Shape) -> Reads:
        whole = fitted(self.name, x, *others)
        where = axis_of(self.dim, whole, self.name)
        return [read for d, read in enumerate(along(x, whole)) if d != where]

    def forward(self, F: Any, a: Any, b: Any) -> Any:
        dim = axis_of(self.dim, a.shape[1:], self.name) + 1
        return F.cosine_similarity(a, b, dim=dim, eps=self.eps)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.CosineSimilarity(axis_of(self.dim, x, self.name) + 1, self.eps)


@op("pairwise_distance", kind="merge")
class PairwiseDistance(Op):
    """The distance of two vectors, those of the last dimension, which goes; ``p`` is 1 or 2.

    A size of 1 is repeated.
    """

    p: int = argument("1 or 2", norm_order, 2)
    eps: float = real(1e-6, low=0)
    keepdim: bool = flag(False)

    inputs: ClassVar[tuple[str, ...]] = ("a", "b")  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(5, 6), (5, 6)]),
        example(1, keepdim=True, x=[(4, 1, 6), (1, 5, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        *rest, _ = fitted(self.name, x, *others)
        check(bool(rest) or self.keepdim, f"{self.name} of two vectors {show(x)} is one number")
        return Cost((*rest, *(1,) * self.keepdim))

    def reads(self, x: Shape, *others: Shape) -> Reads:
        *kept, _ = along(x, fitted(self.name, x, *others))
        return [*kept, *([[]] * self.keepdim)]

    def forward(self, F: Any, a: Any, b: Any) -> Any:
        return F.pairwise_distance(a, b, p=self.p, eps=self.eps, keepdim=self.keepdim)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.PairwiseDistance(self.p, self.eps, self.keepdim)


@op("cdist", kind="merge")
class CDist(Op):
    """The distance of each of ``rows x features`` to each row of another tensor; ``p`` is its norm.

    Dimensions before them are repeated to fit. More than 25 rows are computed by a matrix product,
    which no convention counts. PyTorch counts those of its gradients.
    """

    p: float = real(2.0, low=0)

    inputs: ClassVar[tuple[str, ...]] = ("a", "b")  # type: ignore[misc]
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 6), (5, 6)]),
        example(1.0, x=[(3, 4, 6), (1, 5, 6)]),
        example(x=[(30, 6), (5, 6)]),
        example(x=[(3, 4, 6), (1, 30, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        [other] = others
        fits = len(x) == len(other) > 1 and x[-1] == other[-1]
        check(fits, f"cdist takes rows of as many features each; got {show(x)} and {show(other)}")
        lead = fitted(self.name, x[:-2], other[:-2]) if x[:-2] else ()
        return Cost((*lead, x[-2], other[-2]))

    def multiplies(self, x: Shape, other: Shape) -> bool:
        """Whether PyTorch computes the distances of so many rows by a matrix product."""
        return self.p == 2 and (x[-2] > FEW or other[-2] > FEW)

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        """Return those of both gradients' matrix products, which one that is needed brings."""
        made = numel((*self.cost(x, *others).output, x[-1]))
        return 2 * made * (self.multiplies(x, *others) and any(needs)), 0

    def reads(self, x: Shape, *others: Shape) -> Reads:
        out = self.cost(x, *others).output
        return [*along(x[:-2], out[:-2]), [(len(x) - 2, SAME)], []]

    def forward(self, F: Any, a: Any, b: Any) -> Any:
        return F.cdist(a, b, p=self.p)
