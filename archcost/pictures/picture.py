"""What a picture shows, before anything is drawn: panels with axes, marks and a caption.

A kind of picture (``layers``, ``scatter``, ...) makes a :class:`Picture` or a
:class:`~archcost.pictures.diagram.Diagram` in plain Python;
``archcost.pictures.matplotlib_file`` (files), ``svg`` (pages) and ``terminal`` draw it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10, pi

from archcost.pictures.drawn import Drawn

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#5B5B5B")
"""Okabe and Ito's palette, in an order in which neighbours also differ in grey."""
INK, FAINT, GRID = "#222222", "#6b6b6b", "#dddddd"
WIDTH = 7.2
"""Width of every picture in inches: two columns of a journal, 183 mm."""


@dataclass(frozen=True)
class Axis:
    """An axis: its label, its scale, and the names of its places if these are not numbers.

    ``low`` and ``high`` are its ends where the marks shall not decide; ``years`` are whole and
    written plainly.
    """

    label: str = ""
    log: bool = False
    names: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    reverse: bool = False
    years: bool = False

    def ticks(self, low: float, high: float, most: int = 6) -> list[tuple[float, str]]:
        """Return round numbers between two ends, each with its text."""
        found = ticks(low, high, self.log, most)
        if self.years:
            return [(year, f"{year:.0f}") for year in found if year == int(year)]
        return [(value, tick_text(value)) for value in found]


@dataclass(frozen=True)
class Bars:
    """A bar at each of the places 0, 1, 2, ...; ``colours`` index :data:`COLOURS`."""

    values: tuple[float, ...]
    colours: tuple[int, ...] = ()
    tips: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def colour(self, i: int) -> str:
        """Return the colour of bar ``i``."""
        return COLOURS[self.colours[i] % len(COLOURS)] if self.colours else COLOURS[0]

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [-0.6, len(self.values) - 0.4], [0.0, *self.values]


@dataclass(frozen=True)
class Line:
    """A line through points; ``steps`` holds each value up to the next, ``fill`` fills below.

    ``label`` is its name in a legend; as text, a line without one is not drawn.
    """

    points: tuple[tuple[float, float], ...]
    colour: int = 0
    label: str = ""
    dashed: bool = False
    steps: bool = False
    fill: bool = False
    tips: tuple[str, ...] = ()

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [x for x, _ in self.points], [y for _, y in self.points]

    def corners(self) -> list[tuple[float, float]]:
        """Return the points to join by straight lines."""
        if not self.steps:
            return list(self.points)
        made: list[tuple[float, float]] = []
        for x, y in self.points:
            if made:
                made.append((x, made[-1][1]))
            made.append((x, y))
        return made


@dataclass(frozen=True)
class Point:
    """A named point; ``area`` is that of its bubble in square points, ``ringed`` marks it.

    The name of one that comes ``first`` is there in any case, others' where there is room.
    """

    x: float
    y: float
    label: str
    area: float = 30.0
    colour: int = 0
    ringed: bool = False
    tip: str = ""
    first: bool = False

    @property
    def radius(self) -> float:
        """Radius of the bubble in points."""
        return float((self.area / pi) ** 0.5)


@dataclass(frozen=True)
class Points:
    """Named bubbles, whose labels are placed so that they do not overlap."""

    points: tuple[Point, ...]

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [point.x for point in self.points], [point.y for point in self.points]


@dataclass(frozen=True)
class Density:
    """How many points lie in each cell of a grid.

    Attributes:
        x: the edges of the columns, one more than there are.
        y: the edges of the rows, from the lowest.
        counts: by row and column.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [self.x[0], self.x[-1]], [self.y[0], self.y[-1]]

    def cells(self) -> Iterator[tuple[int, int, float]]:
        """Yield the row and column of each cell with points, and its shade from 0 to 1.

        The shade grows with the logarithm of the count, and a single point is seen.
        """
        most = max(map(max, self.counts))
        for row, counts in enumerate(self.counts):
            for column, count in enumerate(counts):
                if count:
                    yield row, column, 0.2 + 0.8 * (log10(count) / log10(most) if most > 1 else 1)


@dataclass(frozen=True)
class Span:
    """A stretch of the x axis with a name at its top."""

    start: float
    end: float
    label: str
    shaded: bool = False

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [self.start, self.end], []


@dataclass(frozen=True)
class Level:
    """A dashed line across the panel at ``y``, with a name."""

    y: float
    label: str
    colour: int = 6

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [], [self.y]


@dataclass(frozen=True)
class Note:
    """Words beside a point of the panel, with a small mark at it."""

    x: float
    y: float
    text: str

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [self.x], [self.y]


@dataclass(frozen=True)
class Words:
    """Words above a point where they end, or, ``below`` it, begin; bubbles' names keep away.

    They stand before the bubbles among a panel's marks.
    """

    x: float
    y: float
    text: str
    below: bool = False

    def extent(self) -> tuple[list[float], list[float]]:
        """Return the x and y that the axes must reach."""
        return [self.x], [self.y]


Mark = Bars | Line | Points | Density | Span | Level | Note | Words


@dataclass(frozen=True)
class Panel:
    """Marks in one frame; ``width`` is its share of its row."""

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    width: float = 1.0

    def range(self, axis: str) -> tuple[float, float]:
        """Return the ends of ``"x"`` or ``"y"``: given ones, or what the marks need with a margin.

        Bars and filled lines begin at 0; a logarithmic axis needs positive values.
        """
        own = self.x if axis == "x" else self.y
        values = [v for mark in self.marks for v in mark.extent()[axis == "y"]]
        if axis == "y" and any(isinstance(m, Line) and m.fill for m in self.marks):
            values.append(0.0)
        if own.log:
            values = [v for v in values if v > 0]
        low, high = min(values, default=0.0), max(values, default=1.0)
        if own.log:
            low, high = low or 1.0, high or 10.0
            margin = max((high / low) ** 0.07, 1.15)
            low, high = low / margin, high * margin
        elif axis == "y" or any(isinstance(m, Points | Density) for m in self.marks):
            margin = (high - low or abs(high) or 1.0) * 0.08
            margin = max((high - low) * 0.08, 0.6) if own.years else margin
            low, high = (0.0 if low == 0 else low - margin), high + margin
        low = low if own.low is None else own.low
        high = high if own.high is None else own.high
        return (low, high) if high > low else (low, low + 1)


@dataclass(frozen=True, repr=False)
class Picture(Drawn):
    """Rows of panels under a title, with a legend and a caption that states how it was counted.

    ``height`` is in inches without title and caption; ``legend`` names colours, ``bubbles`` names
    areas in square points. Panels of a row share their y axis where ``share`` says so.
    """

    title: str
    caption: str
    rows: tuple[tuple[Panel, ...], ...]
    height: float = 3.2
    legend: tuple[tuple[int, str], ...] = ()
    bubbles: tuple[tuple[float, str], ...] = ()
    share: bool = False

    def panels(self) -> Iterator[Panel]:
        """Yield every panel, row by row."""
        for row in self.rows:
            yield from row

    def y_range(self, row: Sequence[Panel], panel: Panel) -> tuple[float, float]:
        """Return the ends of a panel's y axis, which are its row's if the row shares it."""
        ranges = [other.range("y") for other in row] if self.share else [panel.range("y")]
        return min(low for low, _ in ranges), max(high for _, high in ranges)


def ticks(low: float, high: float, log: bool, most: int = 6) -> list[float]:
    """Return round numbers between two ends: multiples of 1, 2 or 5, on a log axis 1-2-5.

    >>> ticks(0, 100, False)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    if log:
        decades = range(floor(log10(low)), ceil(log10(high)) + 1)
        for digits in ((1, 2, 5), (1, 3), (1,)):
            found = [d * 10.0**e for e in decades for d in digits if low <= d * 10.0**e <= high]
            if len(found) <= most:
                return found
        return found[:: ceil(len(found) / most)]
    raw = (high - low) / most
    scale = 10.0 ** floor(log10(raw))
    step = next(s * scale for s in (1, 2, 5, 10) if s * scale >= raw * 0.999)
    first = ceil(low / step - 1e-9)
    count = floor(high / step + 1e-9) - first + 1
    return [float(f"{(first + i) * step:.12g}") for i in range(count)]


def tick_text(value: float) -> str:
    """Return a number at a tick: 1,500 or 0.25, without needless zeros."""
    return f"{value:,.10g}"


def legible(areas: Sequence[float], largest: float = 480.0, smallest: float = 14.0) -> list[float]:
    """Return bubble areas in square points, proportional to ``areas`` with the given largest.

    A bubble below ``smallest`` would not be seen, and gets that.
    """
    top = max(areas, default=0) or 1
    return [max(area / top * largest, smallest) for area in areas]
