"""Pictures as SVG inside a page: plain text, no library, colours from the page's style sheet.

Marks carry ``data-tip`` (or ``data-tips``, one per step), which the page shows under the pointer.
The page defines the colours ``--c0`` to ``--c6``, ``--ink``, ``--faint``, ``--grid``, ``--band``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from math import log10
from typing import Any

from archcost.pictures import picture as p
from archcost.pictures.labels import Bubble, lead_end, place_labels, rank, text_width

WIDTH = 760.0
SIZE = 11.0
LEFT, RIGHT, TOP, APART = 62.0, 10.0, 8.0, 14.0


@dataclass(frozen=True)
class _Frame:
    """A panel's place on the drawing, and the way from its numbers to places."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool
    log_y: bool

    def at(self, x: float) -> float:
        return self.left + _share(x, *self.x, self.log_x) * self.width

    def up(self, y: float) -> float:
        return self.top + (1 - _share(y, *self.y, self.log_y)) * self.height

    @property
    def foot(self) -> float:
        return self.top + self.height


def _share(value: float, low: float, high: float, log: bool) -> float:
    if log:
        value, low, high = log10(max(value, low / 10)), log10(low), log10(high)
    return (value - low) / (high - low)


def svg(content: p.Picture, label: str = "") -> str:
    """Return a picture without its title and caption, which belong to the page around it.

    ``label`` says in words what it shows, for readers who cannot see it.
    """
    names = [name for panel in content.rows[-1] for name in panel.x.names]
    places = sum(len(panel.x.names) + 1 for panel in content.rows[-1])
    longest = max((text_width(name, SIZE - 1) for name in names), default=0.0)
    upright = longest > (WIDTH - LEFT - RIGHT) / max(places, 1)
    below = (min(longest, 170.0) + 10 if upright else 20.0) if names else 36.0
    inner = any(panel.x.label for row in content.rows[:-1] for panel in row)
    titled = any(panel.title for panel in content.panels())
    apart = 40.0 if inner else APART + (8 if titled else 0)
    head = TOP + (16 if titled else 0)
    each = content.height * 86 / len(content.rows) - apart
    height = head + len(content.rows) * each + (len(content.rows) - 1) * apart + below
    body: list[str] = []
    for r, row in enumerate(content.rows):
        x, total = LEFT, sum(panel.width for panel in row)
        room = WIDTH - LEFT - RIGHT - 12 * (len(row) - 1)
        for panel in row:
            width = room * panel.width / total
            frame = _Frame(
                x, head + r * (each + apart), width, each, panel.range("x"),
                content.y_range(row, panel), panel.x.log, panel.y.log,
            )  # fmt: skip
            first = panel is row[0] or not content.share
            body += _panel(panel, frame, first, upright)
            x += width + 12
    about = f"<title>{escape(label)}</title>" if label else ""
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:.0f}" role="img" class="chart">{about}'
        + "".join(body)
        + "</svg>"
    )


def legend(content: p.Picture) -> str:
    """Return the meaning of the colours as a line of HTML, empty where there is nothing to say."""
    parts = [
        f'<span><i style="background:var(--c{colour})"></i>{escape(label)}</span>'
        for colour, label in content.legend
    ]
    return f'<p class="legend">{"".join(parts)}</p>' if parts else ""


def _panel(panel: p.Panel, frame: _Frame, first: bool, upright: bool) -> Iterator[str]:
    spans = [mark for mark in panel.marks if isinstance(mark, p.Span)]
    for span in spans:
        yield from _span(frame, span)
    for tick, words in panel.y.ticks(*frame.y, max(3, int(frame.height / 34))):
        y = frame.up(tick)
        yield f'<path class="grid" d="M{frame.left:.1f} {y:.1f}h{frame.width:.1f}"/>'
        if first:
            yield _text(words, frame.left - 5, y + 3.5, "end")
    if panel.title:
        yield _text(panel.title, frame.left + frame.width / 2, frame.top - 7, "middle", "name")
    if panel.y.label:
        x, y = 12.0, frame.top + frame.height / 2
        yield (
            f'<text x="{x}" y="{y:.1f}" text-anchor="middle" class="name" '
            f'transform="rotate(-90 {x} {y:.1f})">{escape(panel.y.label)}</text>'
        )
    yield from _along(panel, frame, upright)
    for mark in panel.marks:
        if isinstance(mark, p.Points):
            yield from _points(frame, mark, panel.marks)
        elif not isinstance(mark, p.Span):
            yield from _MARKS[type(mark)](frame, mark)
    yield f'<path class="axis" d="M{frame.left:.1f} {frame.foot:.1f}h{frame.width:.1f}"/>'


def _along(panel: p.Panel, frame: _Frame, upright: bool) -> Iterator[str]:
    """Yield the numbers or names under a panel."""
    for i, name in enumerate(panel.x.names):
        if not name:
            continue
        x, y = frame.at(i), frame.foot
        if upright:
            yield (
                f'<text class="small" text-anchor="end" '
                f'transform="translate({x + 3:.1f} {y + 5:.1f}) rotate(-90)">{escape(name)}</text>'
            )
        else:
            yield _text(name, x, y + 13, "middle", "small")
    if panel.x.names:
        return
    for tick, words in panel.x.ticks(*frame.x, max(3, int(frame.width / 70))):
        x = frame.at(tick)
        if any(isinstance(mark, p.Points | p.Density) for mark in panel.marks):
            yield f'<path class="grid" d="M{x:.1f} {frame.top:.1f}v{frame.height:.1f}"/>'
        yield _text(words, x, frame.foot + 14, "middle")
    if panel.x.label:
        middle = frame.left + frame.width / 2
        yield _text(panel.x.label, middle, frame.foot + 30, "middle", "name")


def _text(words: str, x: float, y: float, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def _tip(tips: Sequence[str], i: int) -> str:
    return f' data-tip="{escape(tips[i])}"' if i < len(tips) and tips[i] else ""


def _bars(frame: _Frame, mark: p.Bars) -> Iterator[str]:
    width = 0.78 * (frame.at(1) - frame.at(0))
    for i, value in enumerate(mark.values):
        top = frame.up(value)
        colour = mark.colours[i] if mark.colours else 0
        tall = max(frame.foot - top, 0.7 if value else 0.0)
        yield (
            f'<rect class="f{colour}" x="{frame.at(i) - width / 2:.1f}" '
            f'y="{frame.foot - tall:.1f}" width="{width:.1f}" height="{tall:.1f}"'
            f"{_tip(mark.tips, i)}/>"
        )
        if mark.labels:
            yield _text(mark.labels[i], frame.at(i), top - 3, "middle", "small")


def _line(frame: _Frame, mark: p.Line) -> Iterator[str]:
    if mark.steps and mark.fill:
        yield _steps(frame, mark)
        return
    corners = [(frame.at(x), frame.up(y)) for x, y in mark.corners()]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
    style = "dashed" if mark.dashed else "line"
    if mark.fill:
        area = f"{path}L{corners[-1][0]:.1f} {frame.foot:.1f}L{corners[0][0]:.1f} {frame.foot:.1f}Z"
        tips = f' data-tips="{escape("|".join(mark.tips))}"' if mark.tips else ""
        yield f'<path class="area a{mark.colour}" d="{area}"{tips}/>'
        style = "thin"
    yield f'<path class="{style} s{mark.colour}" d="{path}"/>'


def _steps(frame: _Frame, mark: p.Line) -> str:
    """Return a filled line of many steps, each as its way from the one before.

    Places along x are the numbers themselves, so that the steps of a long network are alike and
    the page, which is compressed, stays small.
    """
    start, width = mark.points[0][0], (frame.at(1) - frame.at(0))
    tall = [round(frame.foot - frame.up(y), 1) for _, y in mark.points]
    path = f"M{start:g} 0v{-tall[0]:g}"
    for i in range(1, len(tall)):
        path += f"h{mark.points[i][0] - mark.points[i - 1][0]:g}"
        if tall[i] != tall[i - 1]:
            path += f"v{round(tall[i - 1] - tall[i], 1):g}"
    tips = f' data-tips="{escape("|".join(mark.tips))}"' if mark.tips else ""
    place = f"translate({frame.at(0):.1f} {frame.foot:.1f}) scale({width:.5g} 1)"
    return (
        f'<path class="steps a{mark.colour} s{mark.colour}" transform="{place}" '
        f'd="{path}V0Z"{tips}/>'
    )


def _density(frame: _Frame, mark: p.Density) -> Iterator[str]:
    for row, column, shade in mark.cells():
        x, y = frame.at(mark.x[column]), frame.up(mark.y[row + 1])
        width, height = frame.at(mark.x[column + 1]) - x, frame.up(mark.y[row]) - y
        yield (
            f'<rect class="f0" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'opacity="{shade:.2f}" data-tip="{mark.counts[row][column]:,}"/>'
        )


def _points(frame: _Frame, mark: p.Points, marks: Sequence[p.Mark]) -> Iterator[str]:
    bubbles = []
    words = [_word_box(frame, m) for m in marks if isinstance(m, p.Words)]
    drawn = [
        (*a, *b)
        for line in marks
        if isinstance(line, p.Line)
        for a, b in pairwise(
            (frame.at(x) - frame.left, frame.foot - frame.up(y)) for x, y in line.corners()
        )
    ]
    for point in sorted(mark.points, key=lambda point: -point.area):
        ring = " ring" if point.ringed else ""
        tip = f' data-tip="{escape(point.tip)}"' if point.tip else ""
        yield (
            f'<circle class="bubble a{point.colour}{ring}" cx="{frame.at(point.x):.1f}" '
            f'cy="{frame.up(point.y):.1f}" r="{point.radius * 1.25:.1f}"{tip}/>'
        )
    named = [point for point in mark.points if point.label]
    for point in named:
        x, y = frame.at(point.x) - frame.left, frame.foot - frame.up(point.y)
        bubbles.append(
            Bubble(x, y, point.radius * 1.25, text_width(point.label, SIZE), SIZE,
                   rank(point.first, point.ringed))
        )  # fmt: skip
    places = place_labels(bubbles, frame.width, frame.height, drawn, words)
    for point, bubble, place in zip(named, bubbles, places, strict=True):
        if place is None:
            continue
        if place.led:
            box = (place.x, place.y, place.x + bubble.width, place.y + bubble.height)
            ex, ey = lead_end(box, bubble.x, bubble.y)
            yield (
                f'<path class="lead" d="M{frame.left + bubble.x:.1f} {frame.foot - bubble.y:.1f}'
                f'L{frame.left + ex:.1f} {frame.foot - ey:.1f}"/>'
            )
        yield _text(point.label, frame.left + place.x, frame.foot - place.y - 2)


def _span(frame: _Frame, mark: p.Span) -> Iterator[str]:
    x0, x1 = frame.at(mark.start), frame.at(mark.end)
    if mark.shaded:
        yield (
            f'<rect class="band" x="{x0:.1f}" y="{frame.top:.1f}" width="{x1 - x0:.1f}" '
            f'height="{frame.height:.1f}"/>'
        )
    if x1 - x0 > text_width(mark.label, SIZE):
        yield _text(mark.label, (x0 + x1) / 2, frame.top + 11, "middle", "faint")


def _level(frame: _Frame, mark: p.Level) -> Iterator[str]:
    y = frame.up(mark.y)
    yield f'<path class="dashed s6" d="M{frame.left:.1f} {y:.1f}h{frame.width:.1f}"/>'
    yield _text(mark.label, frame.left + frame.width - 3, y + 11, "end", "small")


def _word_box(frame: _Frame, mark: p.Words) -> tuple[float, float, float, float]:
    """Return the ends of words inside the frame, y upwards: left, low, right and high."""
    width, x, y = text_width(mark.text, SIZE), frame.at(mark.x), frame.foot - frame.up(mark.y)
    left, low = (x + 8, y - SIZE - 3) if mark.below else (x - width - 4, y + 11)
    return left - frame.left, low, left + width - frame.left, low + SIZE


def _words(frame: _Frame, mark: p.Words) -> Iterator[str]:
    left, low, right, _ = _word_box(frame, mark)
    end = left if mark.below else right
    side = "start" if mark.below else "end"
    yield _text(mark.text, frame.left + end, frame.foot - low - 2, side, "name")


def _note(frame: _Frame, mark: p.Note) -> Iterator[str]:
    x, y = frame.at(mark.x), frame.up(mark.y)
    left = x < frame.left + frame.width / 2
    yield f'<circle class="f1" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
    yield _text(mark.text, x + (6 if left else -6), y - 5, "start" if left else "end", "small")


_MARKS: dict[type, Any] = {
    p.Bars: _bars, p.Density: _density, p.Line: _line, p.Level: _level, p.Note: _note,
    p.Words: _words,
}  # fmt: skip
