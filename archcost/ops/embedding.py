"""Tables of vectors, which whole numbers look up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from archcost.ops.arguments import argument, check, choice, count, whole
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.reads import Reads, kept
from archcost.shape import Shape, show
from archcost.units import number_of


def place(default: None = None) -> Any:
    """A row of a table; negative ones count from the end."""
    lowest = -(2**53)
    return argument(
        "a row of the table, -1 the last",
        lambda name, value: value if value is None else whole(name, value, lowest),
        default,
    )


class Lookup(Op):
    """What the lookups in a table of vectors have in common."""

    num_embeddings: int = count()
    embedding_dim: int = count()
    padding_idx: Any = place()

    integers: ClassVar[tuple[int, ...]] = (0,)
    initial: ClassVar[dict[str, str]] = {"weight": "torch.randn({})"}

    def table(self) -> dict[str, Shape]:
        """Return the table as a named shape."""
        rows, padding = self.num_embeddings, self.padding_idx
        fits = padding is None or -rows <= padding < rows
        check(fits, f"padding_idx {padding} is no row of {rows}")
        return {"weight": (rows, self.embedding_dim)}

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *_: Shape
    ) -> tuple[int, int]:
        return 0, 0

    def settings(self, axes: int = 2) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx {self.padding_idx}"
        return f"{number_of(self.num_embeddings, 'row')}{padding}"


@op("embedding", kind="embedding")
class Embedding(Lookup):
    """A vector from a learnt table for each whole number of the input.

    It takes ``tokens`` of int64, as in ``input: 77 int64``, and gives ``tokens x features``.
    """

    examples: ClassVar[tuple[Example, ...]] = (
        example(10, 4, x=(7,)),
        example(9, 6, padding_idx=-1, x=(3, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost((*x, self.embedding_dim), self.table())

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [*kept(range(len(x))), []]

    def forward(self, F: Any, x: Any, weight: Any) -> Any:
        return F.embedding(x, weight, padding_idx=self.padding_idx)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx)


@op("embedding_bag", kind="embedding")
class EmbeddingBag(Lookup):
    """The mean, sum or maximum of the vectors of all its tokens, ``torch.nn.EmbeddingBag``.

    A sample is one bag of as many int64 tokens as the input has, and gives one vector.
    """

    mode: str = choice("mean", "sum", "mean", "max")

    examples: ClassVar[tuple[Example, ...]] = (
        example(10, 4, x=(7,)),
        example(9, 6, mode="sum", x=(5,)),
        example(9, 6, padding_idx=-1, mode="sum", x=(5,)),
        example(9, 6, mode="max", x=(5,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 1, f"embedding_bag takes the tokens of one bag, not {show(x)}")
        return Cost((self.embedding_dim,), self.table())

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[]]

    def forward(self, F: Any, x: Any, weight: Any) -> Any:
        return F.embedding_bag(x, weight, mode=self.mode, padding_idx=self.padding_idx)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        rows, width = self.num_embeddings, self.embedding_dim
        return torch.nn.EmbeddingBag(rows, width, mode=self.mode, padding_idx=self.padding_idx)

    def settings(self, axes: int = 2) -> str:
        return f"{super().settings(axes)}, {self.mode}"
