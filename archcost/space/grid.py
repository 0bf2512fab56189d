"""The configurations of a sweep: ranges and lists of values, the grid of all, random samples."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

from archcost.compiled import Coded
from archcost.data import dataclass
from archcost.errors import ArchcostError, shorten
from archcost.normal import Bounds
from archcost.space.varied import is_number
from archcost.spec.expression import ExpressionError, literal

LARGEST = 10**12
"""More configurations than this are not gone through one by one."""
BLOCK = 2**14
"""Configurations that are drawn at once: the random numbers of a block depend on its place only."""
BOX = 2**17
"""Configurations of a grid that are priced at once, at most: a column of them is a megabyte."""
FEW = 2**12
"""A name of so many values at most has few: what depends on it alone is computed once for each."""

Columns = Mapping[str, Any]
"""A numpy array for each name: of int64, of float64, or of objects where the values are words."""


@dataclass(frozen=True)
class Values:
    """What a name goes through: a list of values."""

    values: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ends(self) -> Bounds | None:
        """The least and the most number; None of values that are not numbers."""
        numbers = all(map(is_number, self.values))
        return (min(self.values), max(self.values)) if numbers else None

    @cached_property
    def all(self) -> Any:
        """All values, as an array that is always the same."""
        return _all(self)

    def at(self, places: Any) -> Any:
        """Return the values at an array of places, counted from 0."""
        import numpy as np

        if all(map(is_number, self.values)):
            return np.array(self.values)[places]
        values = np.empty(len(self.values), object)
        values[:] = self.values
        return values[places]

    def place(self, value: Any) -> int:
        """Return the place of a value."""
        return self.values.index(value)


@dataclass(frozen=True)
class Range:
    """The numbers ``(first + i*step)/scale`` for ``i`` below ``count``.

    With a scale of 1 they are whole numbers. Else they are floats, each the nearest to its decimal
    number, so that the third of 0.1:1:0.1 is 0.3.
    """

    first: int
    step: int
    count: int
    scale: int = 1
    whole: bool = True

    def __len__(self) -> int:
        return self.count

    @property
    def ends(self) -> Bounds:
        """The least and the most number."""
        ends = self.at(0), self.at(self.count - 1)
        return min(ends), max(ends)

    @cached_property
    def all(self) -> Any:
        """All numbers, as an array that is always the same."""
        return _all(self)

    def at(self, places: Any) -> Any:
        """Return the numbers at an array of places, counted from 0."""
        numbers = self.first + self.step * places
        return numbers if self.whole else numbers / self.scale

    def place(self, value: float) -> int:
        """Return the place of one of the numbers."""
        return (round(value * self.scale) - self.first) // self.step


Dimension = Values | Range


def _all(dimension: Dimension) -> Any:
    import numpy as np

    return dimension.at(np.arange(len(dimension)))


def read_dimension(text: str) -> Dimension:
    """Read what a name goes through: ``16:128:8``, ``0.5:2:0.25``, ``3,5,7``, ``relu,gelu``.

    A range includes its end where a step meets it. Its step is 1 if it is left out.

    Raises:
        ArchcostError: not a range or a list, or an empty one.
    """
    if ":" in text and "," not in text and "[" not in text:
        return _read_range(text)
    if not text.strip():
        raise ArchcostError("a value is missing, as in 3,5,7 or 16:128:8")
    try:
        found = literal(f"[{text}]")
    except ExpressionError as error:
        raise ArchcostError(str(error)) from None
    return listed(found)


def dimension(values: Any) -> Dimension:
    """Return what a name goes through: text, a range of Python, or a list or array of values.

    Raises:
        ArchcostError: none of these, or nothing in it.
    """
    if isinstance(values, str):
        return read_dimension(values)
    if isinstance(values, range) and values:
        return Range(values.start, values.step, len(values))
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, Iterable):
        raise ArchcostError(f"values are a range, a list or text; got {type(values).__name__}")
    return listed([*values])


def listed(values: Sequence[Any]) -> Dimension:
    """Return values one after the other; numbers are floats where one of them is.

    Raises:
        ArchcostError: there are none, or one stands there twice.
    """
    if not values:
        raise ArchcostError("there is no value to go through")
    if all(map(is_number, values)) and any(isinstance(value, float) for value in values):
        values = [float(value) for value in values]
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ArchcostError(f"the value {value} is listed twice")
    return Values(tuple(values))


_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?)\s*"


def _read_range(text: str) -> Range:
    match = re.fullmatch(rf"{_NUMBER}:{_NUMBER}(?::{_NUMBER})?", text)
    if not match:
        raise ArchcostError(f"a range is FIRST:LAST or FIRST:LAST:STEP; got {shorten(text)!r}")
    first, last, step = (Fraction(part or "1") for part in match.groups())
    if step <= 0:
        raise ArchcostError(f"the step of a range is positive; got {match[3]}")
    if last < first:
        raise ArchcostError(f"the range {text} is empty: its end is below its beginning")
    whole = all(re.fullmatch(r"[+-]?\d+", part) for part in match.groups() if part)
    scale = math.lcm(first.denominator, step.denominator)
    count = int((last - first) / step) + 1
    if max(abs(first), abs(last)) * scale >= 2**53:
        raise ArchcostError(f"the range {text} has more digits than a float")
    return Range(int(first * scale), int(step * scale), count, scale, whole)


def needs_numpy() -> None:
    """Refuse to go on without numpy, with what to install."""
    if find_spec("numpy") is None:
        raise ArchcostError("a sweep needs numpy: pip install 'archcost[sweep]'")


class Space:
    """All configurations of some names, or a random sample of them.

    Configurations are numbered from 0, the last name changes first. A sample draws each value by
    itself, so that a configuration may be drawn twice.

    Attributes:
        dimensions: what each name goes through.
        size: how many configurations the grid has.
        sample: how many are drawn; None for the grid.
        seed: of the random numbers.
    """

    def __init__(
        self, dimensions: Mapping[str, Dimension], sample: int | None = None, seed: int = 0
    ) -> None:
        needs_numpy()
        self.dimensions, self.sample, self.seed = dimensions, sample, seed
        self.size = math.prod(len(own) for own in dimensions.values())
        if sample is not None and sample < 1:
            raise ArchcostError(f"a sample has at least one configuration; got {sample}")
        if seed < 0:
            raise ArchcostError(f"a seed is a whole number from 0 on; got {seed}")
        if len(self) > LARGEST:
            raise ArchcostError(
                f"{len(self):,} configurations are too many to go through one by one; "
                "draw some of them with a sample, as in --sample 1000000"
            )

    def __len__(self) -> int:
        return self.size if self.sample is None else self.sample

    def columns(self, start: int, stop: int) -> Columns:
        """Return some configurations of a sample: a block at most, from a multiple of its size."""
        import numpy as np

        draw, drawn = np.random.default_rng([self.seed, start // BLOCK]), Drawn()
        for name, own in self.dimensions.items():
            places = draw.integers(0, len(own), BLOCK)[: min(stop, len(self)) - start]
            drawn.add(name, own, places)
        return drawn

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Columns]:
        """Yield the configurations from number ``start`` to ``stop``, a block at a time.

        Those of a grid are each a :class:`Box`: all values of the last names, and some of the name
        before. At the ends it goes through fewer names.
        """
        stop = len(self) if stop is None else min(stop, len(self))
        if self.sample is not None:
            for first in range(start - start % BLOCK, stop, BLOCK):
                block = self.columns(first, min(first + BLOCK, stop))
                later = {name: each[start - first :] for name, each in block.items()}
                yield block if start <= first else later
            return
        sizes = [1]
        for own in reversed([*self.dimensions.values()]):
            sizes.append(sizes[-1] * len(own))
        while start < stop:
            fits = min(stop - start, BOX)
            whole, period = max(
                each for each in pairwise(sizes) if start % each[0] == 0 and each[0] <= fits
            )
            room = min(fits, period - start % period)
            end = start + room // whole * whole
            yield Box(self._axes(start, end))
            start = end

    def _axes(self, start: int, stop: int) -> Columns:
        """Return between which values each name is in configurations of a grid."""
        import numpy as np

        axes, size = dict[str, Any](), 1
        for name, own in reversed([*self.dimensions.items()]):
            first, last = start // size % len(own), (stop - 1) // size % len(own)
            whole = last + 1 - first == len(own)
            axes[name] = own.all if whole else own.at(np.arange(first, last + 1))
            size *= len(own)
        return {name: axes[name] for name in self.dimensions}


class Drawn(dict[str, Any]):
    """Columns of which some have few values.

    Attributes:
        coded: such columns, as their values and which of them each row has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.coded: dict[str, Coded] = {}

    def add(self, name: str, dimension: Dimension, places: Any) -> None:
        """Add the column of the values of a dimension at these places."""
        self[name] = dimension.at(places)
        values = dimension.all if len(dimension) <= FEW else None
        if values is not None and values.dtype != object:
            self.coded[name] = Coded(values, places)


class Box(dict[str, Any]):
    """All combinations of some values of each name, as columns.

    Attributes:
        axes: the values of each name.
    """

    def __init__(self, axes: Columns) -> None:
        import numpy as np

        shape = [len(own) for own in axes.values()]
        flat = {name: np.broadcast_to(own, shape).reshape(-1) for name, own in apart(axes).items()}
        super().__init__(flat)
        self.axes = axes


def apart(axes: Columns) -> Columns:
    """Return the values of each name along a dimension of its own, as numpy broadcasts them."""
    names = [*axes]
    return {
        name: own.reshape([-1 if other == name else 1 for other in names])
        for name, own in axes.items()
    }
