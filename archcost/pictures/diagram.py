"""Boxes joined by lines: where each goes; data flow downwards, branches lie side by side.

The longest path gives the ranks, the mean of the neighbours the order within a rank (Sugiyama,
Tagawa & Toda 1981). Least squares without overlap give the places. A tall drawing is cut into
columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from archcost.pictures.drawn import Drawn
from archcost.pictures.labels import text_width

APART, DOWN, PAD = 10.0, 13.0, 4.0  # points between boxes, between ranks, and around words
COLUMN, LANE = 34.0, 4.0  # points between columns, and between lines beside each other
LINE = 1.28  # height of a line, in font sizes
THREAD = 7.0  # width kept free for a line that passes a rank


@dataclass(frozen=True)
class Box:
    """A box with its lines of text; x and y are its upper left corner, y downwards, in points."""

    name: str
    lines: tuple[str, ...]
    colour: int = 6
    folded: bool = False
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0
    rank: int = 0

    @property
    def middle(self) -> float:
        """The middle of the box along x."""
        return self.x + self.width / 2


@dataclass(frozen=True)
class Edge:
    """A line through points from one box to another; ``wraps`` if it leads to the next column."""

    points: tuple[tuple[float, float], ...]
    wraps: bool = False


@dataclass(frozen=True, repr=False)
class Diagram(Drawn):
    """Boxes and lines in a frame of ``width`` by ``height`` points, set in type of ``size``."""

    title: str
    caption: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]
    links: tuple[tuple[str, str], ...]
    width: float
    height: float
    size: float


def arrange(
    boxes: Sequence[Box], links: Sequence[tuple[str, str]], title: str, caption: str,
    size: float = 6.2, tallest: float = 760.0,
) -> Diagram:  # fmt: skip
    """Return the diagram of boxes in an order in which links point forward.

    Args:
        boxes: with name, lines and colour; places are found here.
        links: pairs of names, from and to.
        title: of the diagram.
        caption: below it.
        size: of the type, in points.
        tallest: height in points above which the drawing is cut into columns.
    """
    sized = {
        box.name: replace(
            box,
            width=max(text_width(line, size) for line in box.lines) + 2 * PAD,
            height=size * LINE * len(box.lines) + PAD,
        )
        for box in boxes
    }
    ranks = _ranks(list(sized), links)
    chains, rows = _rows(sized, ranks, links)
    _order(rows, chains)
    middles = _middles(rows, chains, sized)
    sheet = _Sheet.of(rows, chains, middles, sized, tallest)
    placed = sheet.boxes(middles, sized)
    return Diagram(
        title, caption, tuple(placed.values()), tuple(sheet.edges(chains, placed, middles)),
        tuple(links), sheet.width, sheet.height, size,
    )  # fmt: skip


def _ranks(names: Sequence[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    ranks = dict.fromkeys(names, 0)
    order = {name: i for i, name in enumerate(names)}
    for start, end in sorted(links, key=lambda link: order[link[1]]):
        ranks[end] = max(ranks[end], ranks[start] + 1)
    return ranks


Chains = Mapping[tuple[str, str], list[str]]


def _rows(
    sized: Mapping[str, Box], ranks: Mapping[str, int], links: Sequence[tuple[str, str]]
) -> tuple[dict[tuple[str, str], list[str]], list[list[str]]]:
    """Return the names in each rank, with a thread where a line passes; and each link's chain."""
    rows: list[list[str]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    for name in sized:
        rows[ranks[name]].append(name)
    chains = {}
    for start, end in links:
        passed = [f"{start}\0{end}\0{rank}" for rank in range(ranks[start] + 1, ranks[end])]
        for rank, thread in enumerate(passed, ranks[start] + 1):
            rows[rank].append(thread)
        chains[start, end] = [start, *passed, end]
    return chains, rows


def _neighbours(chains: Chains) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    return above, below


def _order(rows: list[list[str]], chains: Chains, sweeps: int = 8) -> None:
    """Order each rank by the mean position of its neighbours, down and up in turn."""
    above, below = _neighbours(chains)
    for sweep in range(sweeps):
        down = sweep % 2 == 0
        near = above if down else below
        places = {name: i / len(row) for row in rows for i, name in enumerate(row)}
        for row in rows if down else rows[::-1]:
            mean = {
                name: sum(places[n] for n in near[name]) / len(near[name])
                if near.get(name) else places[name]
                for name in row
            }  # fmt: skip
            row.sort(key=mean.__getitem__)
            places.update({name: (i + 0.5) / len(row) for i, name in enumerate(row)})


def _width(name: str, sized: Mapping[str, Box]) -> float:
    return sized[name].width if name in sized else THREAD


def _middles(
    rows: list[list[str]], chains: Chains, sized: Mapping[str, Box], sweeps: int = 30
) -> dict[str, float]:
    """Return where the middle of everything goes: near its neighbours, without overlap.

    The longest path runs straight down where at most two boxes lie side by side; elsewhere
    branches spread evenly. A line that passes several ranks passes them at one place.
    """
    above, below = _neighbours(chains)
    straight = _straight(rows, above, sized)
    chain_of = {thread: chain[1:-1] for chain in chains.values() for thread in chain[1:-1]}
    middles: dict[str, float] = {}
    for row in rows:
        x = 0.0
        for name in row:
            middles[name] = x + _width(name, sized) / 2
            x += _width(name, sized) + APART
        for name in row:
            middles[name] -= (x - APART) / 2
    for sweep in range(sweeps):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wished, weights = [], []
            for name in row:
                near = [*above.get(name, ()), *below.get(name, ())]
                mean = sum(middles[n] for n in near) / len(near) if near else 0.0
                if name in straight:
                    mean = 0.0
                elif name in chain_of and sweep > 2:
                    mean = max((middles[n] for n in chain_of[name]), key=abs)
                wished.append(mean)
                weights.append(1e4 if name in straight else 1.0 if name in sized else 4.0)
            for name, x in zip(row, _apart(row, wished, weights, sized), strict=True):
                middles[name] = x
    return middles


def _straight(
    rows: list[list[str]], above: Mapping[str, list[str]], sized: Mapping[str, Box]
) -> set[str]:
    """Return the boxes of the longest path that shall lie in one line."""
    spine = set()
    last = next((name for name in rows[-1] if name in sized), None)
    while last is not None:
        spine.add(last)
        last = next((name for name in above.get(last, ()) if name in sized), None)
    chosen: set[str] = set()
    section: list[list[str]] = []
    for row in [*rows, [""]]:  # a rank of one alone ends a section
        if len(row) > 1:
            section.append(row)
            continue
        if max((sum(n in sized for n in other) for other in section), default=0) <= 2:
            chosen.update(name for other in section for name in other if name in spine)
        chosen.update(name for name in row if name in spine)
        section = []
    return chosen


def _apart(
    row: list[str], wished: list[float], weights: list[float], sized: Mapping[str, Box]
) -> list[float]:
    """Return the places nearest to the wished ones that keep order and distance.

    With the distances taken off, this is isotonic regression: violators next to each other are
    pooled into their mean.
    """
    offsets, offset = [], 0.0
    for i, name in enumerate(row):
        if i:
            gap = APART if name in sized or row[i - 1] in sized else APART / 3
            offset += (_width(row[i - 1], sized) + _width(name, sized)) / 2 + gap
        offsets.append(offset)
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for x, weight, off in zip(wished, weights, offsets, strict=True):
        pool = (x - off, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, other, count = pools.pop()
            both = other + pool[1]
            pool = ((mean * other + pool[0] * pool[1]) / both, both, count + pool[2])
        pools.append(pool)
    flat = [mean for mean, _, count in pools for _ in range(count)]
    return [x + off for x, off in zip(flat, offsets, strict=True)]


def _cuts(heights: list[float], crossing: list[int], tallest: float) -> list[int]:
    """Return the first rank of each column; a cut is made where few lines cross it."""
    total = sum(heights)
    columns = max(1, round(total / tallest + 0.35))
    if total <= tallest * 1.1:
        columns = 1
    cuts, done, rank = [0], 0.0, 0
    sums = [sum(heights[: i + 1]) for i in range(len(heights))]
    for column in range(1, columns):
        target = total * column / columns
        near = [
            i + 1
            for i in range(rank, len(heights) - 1)
            if abs(sums[i] - target) < total / columns * 0.2
        ]
        if not near:
            continue
        best = min(near, key=lambda i: (crossing[i], abs(sums[i - 1] - target)))
        if best > cuts[-1]:
            cuts.append(best)
            rank, done = best, sums[best - 1]
    return cuts if done or columns == 1 else [0]


@dataclass(frozen=True)
class _Sheet:
    """Where ranks and columns lie on the drawing, in points."""

    rank_of: Mapping[str, int]
    heights: list[float]  # of each rank, with the distance to the next
    tops: list[float]
    shifts: list[float]  # what a rank's column adds to its middles
    column_of: list[int]
    lefts: list[float]  # of each column
    head: float  # room above the columns for lines from the one before
    bottom: float
    width: float
    height: float

    @classmethod
    def of(
        cls, rows: list[list[str]], chains: Chains, middles: Mapping[str, float],
        sized: Mapping[str, Box], tallest: float,
    ) -> _Sheet:  # fmt: skip
        """Cut the ranks into columns."""
        heights = [
            max([sized[n].height for n in row if n in sized] or [0.0]) + DOWN for row in rows
        ]
        rank_of = {name: rank for rank, row in enumerate(rows) for name in row}
        crossing = [0] * (len(rows) + 1)
        for chain in chains.values():
            for rank in range(rank_of[chain[0]] + 1, rank_of[chain[-1]] + 1):
                crossing[rank] += 1
        cuts = [*_cuts(heights, crossing, tallest), len(rows)]
        lines = max((crossing[cut] for cut in cuts[1:-1]), default=0)
        several = len(cuts) > 2
        head = (lines + 1) * LANE if several else 0.0
        shifts, tops, column_of, lefts = [], [], [], []
        x, bottom = 0.0, 0.0
        for column, (first, last) in enumerate(pairwise(cuts)):
            inside = [name for row in rows[first:last] for name in row]
            low = min(middles[n] - _width(n, sized) / 2 for n in inside)
            high = max(middles[n] + _width(n, sized) / 2 for n in inside)
            lefts.append(x)
            y = head
            for rank in range(first, last):
                shifts.append(x - low)
                tops.append(y)
                column_of.append(column)
                y += heights[rank]
            bottom = max(bottom, y - DOWN)
            x += high - low + COLUMN + lines * LANE
        return cls(
            rank_of, heights, tops, shifts, column_of, lefts, head, bottom,
            x - COLUMN - lines * LANE, bottom + (lines * LANE + 5.0 if several else 0.0),
        )  # fmt: skip

    def boxes(self, middles: Mapping[str, float], sized: Mapping[str, Box]) -> dict[str, Box]:
        """Return the boxes at their places, each in the middle of its rank's height."""
        placed = {}
        for name, box in sized.items():
            rank = self.rank_of[name]
            spare = self.heights[rank] - DOWN - box.height
            x = middles[name] + self.shifts[rank] - box.width / 2
            placed[name] = replace(box, x=x, y=self.tops[rank] + spare / 2, rank=rank)
        return placed

    def edges(
        self, chains: Chains, placed: Mapping[str, Box], middles: Mapping[str, float]
    ) -> Iterator[Edge]:
        """Yield the lines, each from box to box past the ranks between them."""
        ports = _ports(chains, placed, middles)
        used = [0] * len(self.lefts)
        for link, chain in chains.items():
            leaves, enters = ports[link]
            start = placed[link[0]]
            points = [(leaves, start.y + start.height)]
            wraps = False
            for upper, lower in pairwise(chain):
                a, b = self.rank_of[upper], self.rank_of[lower]
                x = enters if lower in placed else middles[lower] + self.shifts[b]
                if upper not in placed:
                    foot = self.tops[a] + self.heights[a] - DOWN
                    points.append((middles[upper] + self.shifts[a], foot))
                if self.column_of[a] != self.column_of[b]:
                    used[self.column_of[a]] += 1
                    points += self._around(points[-1][0], x, b, used[self.column_of[a]])
                    wraps = True
                points.append((x, placed[lower].y if lower in placed else self.tops[b]))
            yield Edge(tuple(points), wraps)

    def _around(self, here: float, there: float, rank: int, lane: int) -> list[tuple[float, float]]:
        """Return the way below one column, up beside the next, and over its top."""
        gap = self.lefts[self.column_of[rank]] - COLUMN / 2 - (lane - 1) * LANE
        under, over = self.bottom + lane * LANE + 3.0, self.head - lane * LANE - 2.0
        return [(here, under), (gap, under), (gap, over), (there, over)]


def _ports(
    chains: Chains, placed: Mapping[str, Box], middles: Mapping[str, float]
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return where each line leaves and enters its boxes: side by side, in the lines' order."""
    leaves: dict[str, list[tuple[float, tuple[str, str]]]] = {}
    enters: dict[str, list[tuple[float, tuple[str, str]]]] = {}
    for link, chain in chains.items():
        leaves.setdefault(link[0], []).append((middles[chain[1]], link))
        enters.setdefault(link[1], []).append((middles[chain[-2]], link))

    def spread(name: str, own: list[tuple[float, tuple[str, str]]]) -> dict[tuple[str, str], float]:
        box = placed[name]
        step = min(12.0, box.width * 0.7 / len(own))
        first = box.middle - step * (len(own) - 1) / 2
        return {link: first + i * step for i, (_, link) in enumerate(sorted(own))}

    out = {link: x for name, own in leaves.items() for link, x in spread(name, own).items()}
    into = {link: x for name, own in enters.items() for link, x in spread(name, own).items()}
    return {link: (out[link], into[link]) for link in chains}
