"""Pictures and diagrams as text: bars and dots of block characters, boxes of lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log10
from typing import Any

from archcost.pictures import picture as p
from archcost.pictures.diagram import Box, Diagram

EIGHTHS = " ▏▎▍▌▋▊▉"
HEIGHTS = " ▁▂▃▄▅▆▇█"
SYMBOLS = "●◆▲■○◇△□"
SHADES = "░▒▓█"
ROWS = 16


def text(content: p.Picture | Diagram, width: int = 100) -> str:
    """Return a picture as lines of at most ``width`` characters, without colours."""
    if isinstance(content, Diagram):
        return _diagram(content, width)
    lines = [content.title, ""]
    bars = [panel for panel in content.panels() if _bars(panel)]
    if bars:
        lines += _all_bars(content, width)
    else:
        for panel in content.panels():
            lines += [*([panel.title] if panel.title else []), *_canvas(content, panel, width), ""]
    return "\n".join([*lines, *_folded(content.caption, width)]).rstrip()


def _folded(words: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(words, width, break_on_hyphens=False)


def _bars(panel: p.Panel) -> p.Bars | None:
    return next((mark for mark in panel.marks if isinstance(mark, p.Bars)), None)


def _all_bars(content: p.Picture, width: int) -> list[str]:
    """Return the bars of a picture as rows of a table, the panels above each other as columns."""
    lines: list[str] = []
    for column in range(len(content.rows[0])):
        panels = [row[column] for row in content.rows]
        names = [name.replace("\n", " ") for name in panels[-1].x.names]
        labels = [row[0].y.label for row in content.rows]
        left = min(max(map(len, names)), max(width // 3, 12))
        each = max((width - left - 2 * len(panels)) // len(panels), 16)
        columns = []
        for row, panel in zip(content.rows, panels, strict=True):
            bars = _bars(panel)
            high = content.y_range(row, panel)[1]
            columns.append(_column(bars, high, each) if bars else [""] * len(names))
        if panels[0].title:
            lines.append(panels[0].title)
        heads = "  ".join(label.ljust(each) for label in labels)
        lines.append(f"{'':{left}}  {heads}".rstrip())
        for i, name in enumerate(names):
            short = name if len(name) <= left else "…" + name[len(name) - left + 1 :]
            cells = "  ".join(column[i].ljust(each) for column in columns)
            lines.append(f"{short:{left}}  {cells}".rstrip())
        lines.append("")
    return lines


def _column(bars: p.Bars, high: float, width: int) -> list[str]:
    shown = [bars.labels[i] if bars.labels else _number(v) for i, v in enumerate(bars.values)]
    digits = max(map(len, shown))
    room = max(width - digits - 1, 4)
    return [
        f"{text.rjust(digits)} {_bar(value / high * room)}"
        for value, text in zip(bars.values, shown, strict=True)
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.3g}"


def _bar(length: float) -> str:
    eighths = round(length * 8)
    if length > 0 and not eighths:
        return EIGHTHS[1]
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _canvas(content: p.Picture, panel: p.Panel, width: int) -> list[str]:
    """Return lines, areas and points on a grid of characters with ticks and a legend."""
    row = next(row for row in content.rows if panel in row)
    (x0, x1), (y0, y1) = panel.range("x"), content.y_range(row, panel)
    ticks = panel.y.ticks(y0, y1, 5)
    margin = max(len(words) for _, words in ticks) + 1
    across = max(width - margin - 1, 20)
    grid = [[" "] * across for _ in range(ROWS)]

    def column(x: float) -> int:
        return min(max(int(_share(x, x0, x1, panel.x.log) * across), 0), across - 1)

    def line(y: float) -> int:
        return ROWS - 1 - min(max(int(_share(y, y0, y1, panel.y.log) * ROWS), 0), ROWS - 1)

    legend: list[str] = []
    for mark in panel.marks:
        if isinstance(mark, p.Density):
            _shade(grid, mark, column, line)
            legend.append(f"{SHADES} more and more configurations")
        elif isinstance(mark, p.Level):
            grid[line(mark.y)] = ["╌" if c == " " else c for c in grid[line(mark.y)]]
            legend.append(f"╌ {mark.label}")
        elif isinstance(mark, p.Line) and mark.fill:
            _fill(grid, mark, (x0, x1), (y0, y1))
        elif isinstance(mark, p.Line) and mark.label and not mark.steps:
            symbol = "╌" if mark.dashed else "·"
            legend.append(f"{symbol} {mark.label}")
            for c, y in _along(mark, (x0, x1), (y0, y1), panel, across):
                if y0 <= y <= y1 and grid[line(y)][c] in f" {SHADES}":
                    grid[line(y)][c] = symbol
        elif isinstance(mark, p.Line) and mark.label:
            symbol = SYMBOLS[mark.colour % len(SYMBOLS)]
            legend.append(f"{symbol} {mark.label}")
            for (xa, y), (xb, _) in zip(mark.points, mark.points[1:], strict=False):
                for c in range(column(xa), column(xb) + 1):
                    grid[line(y)][c] = symbol
        elif isinstance(mark, p.Span):
            legend.append(f"{mark.label}: {mark.start:g} to {mark.end:g}")
        elif isinstance(mark, p.Note):
            legend.append(f"peak: {mark.text}")
    for mark in panel.marks:
        if isinstance(mark, p.Points):
            _scatter(grid, mark, column, line)
            if any(point.ringed for point in mark.points):
                legend.append(f"{SYMBOLS[0]} on the Pareto front, {SYMBOLS[4]} behind it")
            else:
                legend += [f"{_open(colour)} {words}" for colour, words in content.legend]
    labels = {line(tick): words for tick, words in ticks}
    lines = [f"{panel.y.label}"] if panel.y.label else []
    for r, cells in enumerate(grid):
        lines.append(f"{labels.get(r, ''):>{margin}}┤{''.join(cells)}".rstrip())
    lines.append(" " * margin + "└" + "─" * across)
    lines.append(_under(panel, x0, x1, margin, across))
    lines.append(f"{'':{margin}} {panel.x.label}")
    return [*lines, *legend]


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = log10(max(value, low)), log10(low), log10(high)
    return (value - low) / (high - low)


def _fill(
    grid: list[list[str]], mark: p.Line, x: tuple[float, float], y: tuple[float, float]
) -> None:
    across, points = len(grid[0]), mark.points
    for c in range(across):
        low, high = (x[0] + (x[1] - x[0]) * (c + d) / across for d in (0, 1))
        inside = [v for at, v in points if low <= at < high]
        before = [v for at, v in points if at <= low]
        value = max([*inside, *before[-1:]], default=0.0)
        eighths = round(_share(value, *y, False) * ROWS * 8)
        for r in range(ROWS):
            level = min(max(eighths - (ROWS - 1 - r) * 8, 0), 8)
            if level:
                grid[r][c] = HEIGHTS[level]


def _shade(grid: list[list[str]], mark: p.Density, column: Any, line: Any) -> None:
    """Write how dense the points are, by the cells whose middle is at a character."""
    darkest: dict[tuple[int, int], float] = {}
    for row, cell, shade in mark.cells():
        at = line(_middle(mark.y, row)), column(_middle(mark.x, cell))
        darkest[at] = max(shade, darkest.get(at, 0))
    for (r, c), shade in darkest.items():
        grid[r][c] = SHADES[min(int((shade - 0.2) / 0.8 * len(SHADES)), len(SHADES) - 1)]


def _middle(edges: tuple[float, ...], cell: int) -> float:
    low, high = edges[cell], edges[cell + 1]
    return (low * high) ** 0.5 if low > 0 else (low + high) / 2


def _open(colour: int) -> str:
    """Return the sign of a point of a colour, where none is on a front."""
    return SYMBOLS[4 + colour % 4]


def _along(
    mark: p.Line, x: tuple[float, float], y: tuple[float, float], panel: p.Panel, across: int
) -> Iterator[tuple[int, float]]:
    """Yield the columns that a line passes, each with its height there."""
    for (xa, ya), (xb, yb) in pairwise(mark.points):
        a, b = (_share(v, *x, panel.x.log) * across for v in (xa, xb))
        for c in range(max(int(a), 0), min(int(b) + 1, across)):
            part = min(max((c + 0.5 - a) / (b - a), 0.0), 1.0) if b > a else 0.0
            yield c, ya * (yb / ya) ** part if panel.y.log else ya + (yb - ya) * part


def _scatter(grid: list[list[str]], mark: p.Points, column: object, line: object) -> None:
    """Write each point with its name to the right, or to the left, where there is room.

    What comes first may be named one or two lines above or below, too.
    """
    fronted = any(point.ringed for point in mark.points)
    places = []
    for point in sorted(mark.points, key=lambda point: (not point.first, not point.ringed)):
        r, c = line(point.y), column(point.x)  # type: ignore[operator]
        sign = SYMBOLS[4] if fronted else _open(point.colour)
        grid[r][c] = SYMBOLS[0] if point.ringed else sign
        places.append((r, c, point))
    for r, c, point in places:
        for away in (0, -1, 1, -2, 2) if point.first else (0,):
            if 0 <= r + away < len(grid) and _write(grid[r + away], c, point.label, away == 0):
                break


def _write(cells: list[str], c: int, label: str, beside: bool) -> bool:
    """Write a name into a line, right or left of a column, if there is room."""
    for start in (c + 2, c - 1 - len(label)):
        end = start + len(label)
        if start < 0 or end > len(cells):
            continue
        first = max(start - 1, 0)
        own = c + 1 - first if start > c else c - 1 - first  # the gap beside the point
        near = cells[first : end + 1]
        if all(cell in " ╌·" or (beside and i == own) for i, cell in enumerate(near)):
            cells[start:end] = label
            return True
    return False


def _under(panel: p.Panel, low: float, high: float, margin: int, across: int) -> str:
    cells = [" "] * (across + 12)
    for tick, label in panel.x.ticks(low, high, max(across // 12, 3)):
        at = max(int(_share(tick, low, high, panel.x.log) * across) - len(label) // 2, 0)
        cells[at : at + len(label)] = label
    return " " * (margin + 1) + "".join(cells).rstrip()


def _diagram(content: Diagram, width: int) -> str:
    """Return boxes rank by rank, those of a rank side by side, with what each reads."""
    ranks: dict[int, list[Box]] = {}
    for box in content.boxes:
        ranks.setdefault(box.rank, []).append(box)
    sources: dict[str, list[str]] = {}
    for start, end in content.links:
        sources.setdefault(end, []).append(start)
    rank_of = {box.name: box.rank for box in content.boxes}
    lines = [content.title, ""]
    for rank in sorted(ranks):
        row = sorted(ranks[rank], key=lambda box: box.x)
        if rank:
            lines.append(_arrows(row, width))
        lines += _side_by_side(row, width)
        for box in row:
            far = [name for name in sources.get(box.name, []) if rank_of[name] < rank - 1]
            if far:
                lines.append(f"{box.name} reads {' and '.join(far)} too".center(width).rstrip())
    return "\n".join([*lines, "", *_folded(_CAPTION, width)])


_CAPTION = (
    "A box shows a layer, its settings and the shape of its output, channels first, without the "
    "batch; + is what follows in the same place; boxes side by side do not depend on each other."
)


def _arrows(row: Sequence[Box], width: int) -> str:
    return ("   ".join("│" for _ in row)).center(width).rstrip()


def _side_by_side(row: Sequence[Box], width: int) -> list[str]:
    """Return boxes next to each other, in several lines where they are too many."""
    lines: list[str] = []
    left = list(row)
    while left:
        taken: list[list[str]] = []
        while left:
            drawn = _boxed(left[0], width)
            if taken and sum(len(other[0]) + 1 for other in [*taken, drawn]) > width:
                break
            taken.append(drawn)
            left.pop(0)
        tall = max(map(len, taken))
        padded = [d + [" " * len(d[0])] * (tall - len(d)) for d in taken]
        lines += [" ".join(parts).center(width).rstrip() for parts in zip(*padded, strict=True)]
    return lines


def _boxed(box: Box, width: int) -> list[str]:
    texts = [line[: width - 4] for line in box.lines]
    inner = max(map(len, texts))
    h, v, corners = ("═", "║", "╔╗╚╝") if box.folded else ("─", "│", "┌┐└┘")
    return [
        f"{corners[0]}{h * (inner + 2)}{corners[1]}",
        *(f"{v} {text.center(inner)} {v}" for text in texts),
        f"{corners[2]}{h * (inner + 2)}{corners[3]}",
    ]
