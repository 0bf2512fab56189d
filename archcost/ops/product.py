"""Products of two tensors of the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import check, count, flag
from archcost.ops.base import COMPLEX, Cost, Example, Op, example, op
from archcost.ops.merge import repeated
from archcost.ops.programs import product, transpose
from archcost.ops.reads import SAME, Reads, kept
from archcost.shape import Shape, numel, show


def aligned(op: str, a: Shape, b: Shape) -> Shape:
    """Return the shape to which two are repeated, the last dimensions under each other."""
    rank = len(a if len(a) > len(b) else b)
    out = repeated((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b)
    if out is None:
        raise OpError(f"{op} cannot broadcast {show(a)} to {show(b)}")
    return out


@op("matmul", kind="matmul")
class Matmul(Op):
    """Matrix product of two tensors over their last two dimensions, as ``torch.matmul``.

    The dimensions before them are broadcast. A vector is a row on the left and a column on the
    right. macs = rows · inner · columns of each matrix.
    """

    transpose_a: bool = flag(False)
    transpose_b: bool = flag(False)

    inputs: ClassVar[tuple[str, ...]] = ("a", "b")  # type: ignore[misc]
    of_complex: ClassVar[str] = COMPLEX
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5), (5, 6)]),
        example(transpose_b=True, x=[(3, 4, 5), (3, 6, 5)]),
        example(transpose_a=True, x=[(2, 1, 5, 4), (3, 5, 6)]),
        example(x=[(5,), (3, 5, 6)]),
        example(x=[(4, 5), (5,)]),
    )

    def matrices(self, a: Shape, b: Shape) -> tuple[Shape, Shape, Shape]:
        """Return the shapes as matrices, and the dimensions before those of the product."""
        check(len(a) > 1 or len(b) > 1, "matmul of two vectors is one number; reshape one of them")
        for given, flipped, name in ((a, self.transpose_a, "a"), (b, self.transpose_b, "b")):
            check(len(given) > 1 or not flipped, f"transpose_{name} turns no vector {show(given)}")
        left = (1, *a) if len(a) == 1 else _turned(a) if self.transpose_a else a
        right = (*b, 1) if len(b) == 1 else _turned(b) if self.transpose_b else b
        check(
            left[-1] == right[-2],
            f"matmul takes as many columns as rows: {show(left[-2:])} and {show(right[-2:])}",
        )
        return left, right, aligned("matmul", left[:-2], right[:-2])

    def cost(self, x: Shape, *others: Shape) -> Cost:
        [other] = others
        left, right, lead = self.matrices(x, other)
        out = (*lead, *left[-2:-1][: len(x) - 1], *right[-1:][: len(other) - 1])
        return Cost(out, macs=numel((*lead, *left[-2:], right[-1])))

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        return self.cost(x, *others).macs * sum(needs), 0

    def reads(self, x: Shape, *others: Shape) -> Reads:
        out, missing = self.cost(x, *others).output, max(len(others[0]) - len(x), 0)
        made: list[list[tuple[int, Any]]] = [[] for _ in out]
        for d in range(len(x) - 2):
            made[d + missing] = [(d, SAME)] if x[d] == out[d + missing] else []
        if len(x) > 1:
            columns = len(others[0]) > 1
            made[len(out) - 1 - columns] = [(len(x) - (1 if self.transpose_a else 2), SAME)]
        return made

    def forward(self, F: Any, a: Any, b: Any) -> Any:
        left, right, lead = self.matrices(a.shape[1:], b.shape[1:])
        out = self.cost(a.shape[1:], b.shape[1:]).output
        made = product(
            F,
            _matrix(F, a, left, self.transpose_a, len(lead)),
            _matrix(F, b, right, self.transpose_b, len(lead)),
        )
        return made if made.shape[1:] == out else F.reshape(made, shape=(a.shape[0], *out))

    def settings(self, axes: int = 2) -> str:
        names = [name for name in ("a", "b") if getattr(self, f"transpose_{name}")]
        return f"{' and '.join(names)} transposed" if names else ""


@op("bilinear", kind="matmul")
class Bilinear(Op):
    """A learnt bilinear form of two tensors for each output feature: aᵀ·W·b, ``nn.Bilinear``.

    Both have equal sizes but in the last dimension. macs = rows · out_features · b_features ·
    (a_features + 1), as PyTorch multiplies.
    """

    out_features: int = count()
    bias: bool = flag(True)

    inputs: ClassVar[tuple[str, ...]] = ("a", "b")  # type: ignore[misc]
    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.randn({}) * 0.1"}
    examples: ClassVar[tuple[Example, ...]] = (
        example(3, x=[(5,), (6,)]),
        example(4, bias=False, x=[(3, 7), (3, 2)]),
        example(2, x=[(3, 4, 5), (3, 4, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        [other] = others
        fits = x[:-1] == other[:-1]
        check(fits, f"bilinear takes as many rows of each; got {show(x)} and {show(other)}")
        out = (*x[:-1], self.out_features)
        params: dict[str, Shape] = {"weight": (self.out_features, x[-1], other[-1])}
        if self.bias:
            params["bias"] = (self.out_features,)
        return Cost(out, params, numel((*out, other[-1], x[-1] + 1)))

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        # of two factors of each gradient one is multiplied element by element
        each = numel((*self.cost(x, *others).output, x[-1], others[0][-1]))
        return each * sum(needs), each * trained

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), [len(x) - 1])

    def forward(self, F: Any, a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
        return F.bilinear(a, b, weight, bias)

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        return torch.nn.Bilinear(x[-1], others[0][-1], self.out_features, bias=self.bias)

    def settings(self, axes: int = 2) -> str:
        return "" if self.bias else "no bias"


def _turned(shape: Shape) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2])


def _matrix(F: Any, x: Any, shape: Shape, turned: bool, lead: int) -> Any:
    """Return a tensor as matrices, with as many dimensions before them as are wanted."""
    if turned:
        x = transpose(F, x, len(x.shape) - 2, len(x.shape) - 1)
    whole = (x.shape[0], *(1,) * (lead + 2 - len(shape)), *shape)
    return x if x.shape == whole else F.reshape(x, shape=whole)
