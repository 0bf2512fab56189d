"""Which positions of its first input an output reads, along each dimension."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from archcost.data import dataclass
from archcost.shape import Shape

if TYPE_CHECKING:
    from fractions import Fraction

Number: TypeAlias = "int | Fraction"


@dataclass(frozen=True)
class Window:
    """Output ``i`` reads ``extent`` positions from ``start + i·stride`` on."""

    extent: Number
    stride: Number
    start: Number = 0


@dataclass(frozen=True)
class Blocks:
    """An output reads all of its block of ``length`` positions; the first starts at ``shift``."""

    length: int
    shift: int


@dataclass(frozen=True)
class Table:
    """The (first, last) position that each output of a period reads, of so many ``inputs``.

    So reads what makes a map larger: its windows are not equally far apart.
    """

    inputs: int
    outputs: tuple[tuple[int, int], ...]

    @property
    def extent(self) -> int:
        """The most positions that an output reads."""
        return max(last - first for first, last in self.outputs) + 1

    @property
    def stride(self) -> Fraction:
        """The distance of two windows, on average."""
        from fractions import Fraction  # only receptive fields need it

        return Fraction(self.inputs, len(self.outputs))


class All:
    """Every output reads every position."""


Read = Window | Blocks | Table | All
SAME, ALL = Window(1, 1), All()

Reads = Sequence[Sequence[tuple[int, Read]]]
"""For each dimension of the output: the dimensions of the input that it goes along, and how.

What no output's dimension goes along is read whole by every output, as features are.
"""


def kept(dims: Iterable[int], mixed: Sequence[int] = ()) -> Reads:
    """Return dimensions that stay in their places; of those that are ``mixed`` all is read."""
    return [[] if d in mixed else [(d, SAME)] for d in dims]


def along(reads: Iterable[Read], mixed: bool = False) -> Reads:
    """Return how the spatial dimensions are read; the channels stay or are ``mixed``."""
    return [*kept((0,), (0,) if mixed else ()), *([(d, how)] for d, how in enumerate(reads, 1))]


def spatial_reads(reads: Reads, x: Shape) -> list[Read]:
    """Return how each spatial dimension is read that is not read whole."""
    found = {dim: how for sources in reads for dim, how in sources}
    return [found[dim] for dim in range(1, len(x)) if dim in found]
