"""Pictures and diagrams as matplotlib figures, and as PNG, SVG and PDF files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import pi
from pathlib import Path
from typing import Any, BinaryIO

from archcost.errors import ArchcostError, did_you_mean
from archcost.pictures import picture as p
from archcost.pictures.diagram import Diagram
from archcost.pictures.labels import Bubble, lead_end, place_labels, rank, text_width, wrap

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 200
SMALL, NORMAL, LARGE = 6.5, 7.5, 9.0
INCH = 72.0
LEFT, RIGHT, GAP = 0.62, 0.12, 0.14  # inches
STYLE = {
    "font.family": "DejaVu Sans", "font.size": NORMAL, "axes.linewidth": 0.6,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "axes.labelsize": NORMAL, "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL, "svg.hashsalt": "archcost", "svg.fonttype": "path",
    "pdf.fonttype": 42, "axes.unicode_minus": True, "text.usetex": False,
    "figure.facecolor": "white", "savefig.facecolor": "white", "text.parse_math": False,
}  # fmt: skip


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ArchcostError("pictures need matplotlib: pip install 'archcost[plot]'") from None
    return matplotlib


def check_suffix(path: str | Path) -> str:
    """Return ``png``, ``svg`` or ``pdf`` from the name of a file.

    Raises:
        ArchcostError: another suffix.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ArchcostError(
            f"a picture is written as .png, .svg or .pdf; got {Path(path).name!r}"
            + did_you_mean(suffix, SUFFIXES)
            if suffix
            else f"a picture is written as .png, .svg or .pdf; got {Path(path).name!r}"
        )
    return suffix[1:]


def save(
    content: p.Picture | Diagram, path: str | Path | BinaryIO, kind: str, dpi: int = DPI
) -> None:
    """Write a picture to a file; the same picture always gives the same bytes.

    Args:
        content: what to draw.
        path: where to, or an open file.
        kind: ``png``, ``svg`` or ``pdf``.
        dpi: dots per inch of a PNG.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context(STYLE):
        made = figure(content)
        metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
        if kind == "pdf":
            metadata = {"CreationDate": None, "Producer": None, "Creator": "archcost"}
        if kind == "png":
            metadata = {"Software": None}
        made.savefig(path, format=kind, dpi=dpi, metadata=metadata)


def figure(content: p.Picture | Diagram) -> Any:
    """Return a matplotlib ``Figure``, which belongs to no window.

    Raises:
        ArchcostError: matplotlib is not installed.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context(STYLE):
        return _diagram(content) if isinstance(content, Diagram) else _Sheet(content).figure


def _blank(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height))
    FigureCanvasAgg(made)
    return made


def _title(made: Any, title: str, caption: str, width: float, height: float) -> None:
    """Write the title at the top and the caption at the foot, in inches."""
    made.text(LEFT * 0.25 / width, 1 - 0.2 / height, title, fontsize=LARGE, weight="bold",
              color=p.INK, va="center", ha="left")  # fmt: skip
    lines = _caption_lines(caption, width)
    made.text(LEFT * 0.25 / width, 0.06 / height, "\n".join(lines), fontsize=SMALL, color=p.FAINT,
              va="bottom", ha="left", linespacing=1.25)  # fmt: skip


def _caption_lines(caption: str, width: float) -> list[str]:
    return wrap(caption, (width - LEFT * 0.4) * INCH, SMALL)


def caption_height(caption: str, width: float) -> float:
    """Return the height of a caption in inches."""
    return 0.1 + len(_caption_lines(caption, width)) * SMALL * 1.35 / INCH


class _Sheet:
    """A picture on its sheet: every frame at a place computed in inches."""

    def __init__(self, content: p.Picture) -> None:
        self.content = content
        below = 0.42
        names = [line for panel in content.rows[-1] for name in panel.x.names
                 for line in name.split("\n")]  # fmt: skip
        places = sum(len(panel.x.names) + 1 for panel in content.rows[-1])
        longest = max((text_width(name, SMALL) / INCH for name in names), default=0.0)
        self.upright = longest > (p.WIDTH - LEFT - RIGHT) / max(places, 1)
        if names:
            lines = max(
                name.count("\n") + 1 for panel in content.rows[-1] for name in panel.x.names
            )
            below = 0.18 + (min(longest, 2.0) if self.upright else 0.12 * lines)
        foot = caption_height(content.caption, p.WIDTH) + 0.04
        keys = _key_rows(content)
        head = 0.34 + sum(height for height, _ in keys)
        self.height = content.height + foot + below + head
        self.figure = _blank(p.WIDTH, self.height)
        _title(self.figure, content.title, content.caption, p.WIDTH, self.height)
        top = self.height - 0.32
        for height, keys_of_row in keys:
            self._legend(keys_of_row, top - height / 2)
            top -= height
        self._panels(foot + below, self.height - head)

    def _panels(self, bottom: float, top: float) -> None:
        rows = self.content.rows
        titled = any(panel.title for panel in self.content.panels())
        apart = 0.16 if not titled else 0.26
        if any(panel.x.label for row in rows[:-1] for panel in row):
            apart = 0.52
        each = (top - bottom - apart * (len(rows) - 1) - (0.16 if titled else 0.04)) / len(rows)
        for r, row in enumerate(rows):
            y = bottom + (len(rows) - 1 - r) * (each + apart)
            room = p.WIDTH - LEFT - RIGHT - GAP * (len(row) - 1)
            x, total = LEFT, sum(panel.width for panel in row)
            for panel in row:
                width = room * panel.width / total
                box = (x / p.WIDTH, y / self.height, width / p.WIDTH, each / self.height)
                first = panel is row[0]
                self._panel(row, panel, self.figure.add_axes(box), width, each, first)
                x += width + GAP

    def _panel(
        self, row: Sequence[p.Panel], panel: p.Panel, axes: Any, width: float, height: float,
        first: bool,
    ) -> None:  # fmt: skip
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_axisbelow(True)
        axes.set_title(panel.title, fontsize=NORMAL, color=p.INK, pad=3)
        (x0, x1), (y0, y1) = panel.range("x"), self.content.y_range(row, panel)
        if panel.x.log:
            axes.set_xscale("log")
        if panel.y.log:
            axes.set_yscale("log")
        axes.set_xlim(*((x1, x0) if panel.x.reverse else (x0, x1)))
        axes.set_ylim(*((y1, y0) if panel.y.reverse else (y0, y1)))
        axes.set_xlabel(panel.x.label, color=p.INK, labelpad=3)
        axes.set_ylabel(panel.y.label, color=p.INK, labelpad=3)
        self._ticks(panel, axes, (x0, x1), (y0, y1), width, height, first)
        for mark in panel.marks:
            _MARKS[type(mark)](axes, mark, width, height)

    def _ticks(
        self, panel: p.Panel, axes: Any, x: tuple[float, float], y: tuple[float, float],
        width: float, height: float, first: bool,
    ) -> None:  # fmt: skip
        up = panel.y.ticks(*y, max(3, min(7, int(height / 0.3))))
        said = first or not self.content.share
        axes.set_yticks([v for v, _ in up], [words if said else "" for _, words in up])
        axes.grid(axis="y", color=p.GRID, linewidth=0.5)
        axes.minorticks_off()
        if panel.x.names:
            names = panel.x.names
            size = min(SMALL, width * INCH / (len(names) + 1) * 0.98) if self.upright else SMALL
            turn = 90 if self.upright else 0
            axes.set_xticks(range(len(names)), names, rotation=turn, fontsize=size)
            axes.tick_params(axis="x", length=0 if not any(names) else 2)
            return
        along = panel.x.ticks(*x, max(3, int(width / 0.6)))
        axes.set_xticks([v for v, _ in along], [words for _, words in along])
        if any(isinstance(mark, p.Points | p.Density) for mark in panel.marks):
            axes.grid(axis="x", color=p.GRID, linewidth=0.5)

    def _legend(self, keys: Sequence[_Key], y: float) -> None:
        """Draw one row of the legend, whose middle is ``y`` inches above the foot."""
        from matplotlib.patches import Ellipse, Rectangle

        x, height, sheet = LEFT * 0.25, self.height, self.figure
        for key in keys:
            place = {"transform": sheet.transFigure, "linewidth": 0.7}
            if key.colour is None:
                middle = ((x + key.side / 2) / p.WIDTH, y / height)
                patch: Any = Ellipse(middle, key.side / p.WIDTH, key.side / height,
                                     facecolor="none", edgecolor=p.FAINT, **place)  # fmt: skip
            else:
                corner = (x / p.WIDTH, (y - 0.05) / height)
                patch = Rectangle(corner, key.side / p.WIDTH, 0.1 / height,
                                  facecolor=p.COLOURS[key.colour], edgecolor="none",
                                  **place)  # fmt: skip
            sheet.add_artist(patch)
            sheet.text((x + key.side + 0.05) / p.WIDTH, y / height, key.label, fontsize=SMALL,
                       color=p.INK, va="center_baseline")  # fmt: skip
            x += key.width


@dataclass(frozen=True)
class _Key:
    """An entry of the legend: a square of a colour, or a bubble of a size, and a label; inches."""

    label: str
    side: float
    colour: int | None = None

    @property
    def width(self) -> float:
        return self.side + 0.05 + text_width(self.label, SMALL) / INCH + 0.16


def _key_rows(content: p.Picture) -> list[tuple[float, list[_Key]]]:
    """Return the legend in rows that fit, each with its height in inches."""
    keys = [_Key(label, 0.1, colour) for colour, label in content.legend]
    keys += [_Key(label, 2 * (area / pi) ** 0.5 / INCH) for area, label in content.bubbles]
    room = p.WIDTH - LEFT * 0.4
    rows: list[list[_Key]] = []
    for i, key in enumerate(keys):
        rest = keys[i:] if i == len(content.legend) else [key]  # bubbles stay together
        if not rows or sum(k.width for k in [*rows[-1], *rest]) > room:
            rows.append([])
        rows[-1].append(key)
    return [(max([0.2, *(key.side + 0.02 for key in row)]), row) for row in rows]


def _bars(axes: Any, mark: p.Bars, width: float, height: float) -> None:
    colours = [mark.colour(i) for i in range(len(mark.values))]
    axes.bar(range(len(mark.values)), mark.values, 0.78, color=colours, linewidth=0)
    for i, label in enumerate(mark.labels):
        axes.annotate(label, (i, mark.values[i]), (0, 2), textcoords="offset points", ha="center",
                      fontsize=SMALL, color=p.INK)  # fmt: skip


def _line(axes: Any, mark: p.Line, width: float, height: float) -> None:
    x, y = zip(*mark.corners(), strict=True)
    colour = p.COLOURS[mark.colour]
    style = "--" if mark.dashed else "-"
    if mark.fill:
        axes.fill_between(x, y, color=colour, alpha=0.3, linewidth=0)
    axes.plot(x, y, style, color=colour, linewidth=0.9 if mark.dashed or mark.fill else 1.5,
              zorder=2 if mark.dashed else 3, solid_joinstyle="miter")  # fmt: skip


def _points(axes: Any, mark: p.Points, width: float, height: float) -> None:
    for point in sorted(mark.points, key=lambda point: -point.area):
        axes.scatter(
            point.x, point.y, s=point.area, color=p.COLOURS[point.colour], alpha=0.55, linewidth=0,
            zorder=3,
        )  # fmt: skip
        axes.scatter(
            point.x, point.y, s=point.area, facecolor="none",
            edgecolor=p.INK if point.ringed else p.COLOURS[point.colour],
            linewidth=1.1 if point.ringed else 0.5, zorder=4,
        )  # fmt: skip
    _labels(axes, mark, width * INCH, height * INCH)


def _density(axes: Any, mark: p.Density, width: float, height: float) -> None:
    from matplotlib.colors import to_rgb

    colour = to_rgb(p.COLOURS[0])
    shades = [[(*colour, 0.0)] * (len(mark.x) - 1) for _ in mark.counts]
    for row, column, shade in mark.cells():
        shades[row][column] = (*colour, shade)
    axes.pcolormesh(mark.x, mark.y, shades, linewidth=0, zorder=1, rasterized=True)


def _labels(axes: Any, mark: p.Points, width: float, height: float) -> None:
    made = axes.get_figure()
    renderer = made.canvas.get_renderer()
    to_points = (axes.transData + axes.transAxes.inverted()).transform
    drawn, bubbles = [], []
    lines = []
    for drawn_line in axes.get_lines():
        ends = [(x * width, y * height) for x, y in to_points(drawn_line.get_xydata())]
        lines += [(*a, *b) for a, b in pairwise(ends)]
    words = []
    for written in axes.texts:
        ends = axes.transAxes.inverted().transform(written.get_window_extent(renderer))
        words.append(
            tuple(
                v * side for point in ends for v, side in zip(point, (width, height), strict=True)
            )
        )
    named = [point for point in mark.points if point.label]
    for point in named:
        text = axes.text(0, 0, point.label, fontsize=SMALL, color=p.INK, zorder=6)
        box = text.get_window_extent(renderer)
        x, y = to_points((point.x, point.y))
        bubbles.append(
            Bubble(x * width, y * height, point.radius + 0.6, box.width * INCH / made.dpi,
                   box.height * INCH / made.dpi, rank(point.first, point.ringed))
        )  # fmt: skip
        drawn.append(text)
    for bubble, place, text in zip(
        bubbles, place_labels(bubbles, width, height, lines, words), drawn, strict=True
    ):
        if place is None:
            text.remove()
            continue
        text.set(transform=axes.transAxes, position=(place.x / width, place.y / height),
                 va="bottom", ha="left")  # fmt: skip
        if place.led:
            box = (place.x, place.y, place.x + bubble.width, place.y + bubble.height)
            end = lead_end(box, bubble.x, bubble.y)
            axes.plot([bubble.x / width, end[0] / width], [bubble.y / height, end[1] / height],
                      color=p.FAINT, linewidth=0.4, transform=axes.transAxes, zorder=5)  # fmt: skip


def _span(axes: Any, mark: p.Span, width: float, height: float) -> None:
    if mark.shaded:
        axes.axvspan(mark.start, mark.end, color="#f1f1f1", linewidth=0, zorder=0)
    low, high = axes.get_xlim()
    if (mark.end - mark.start) / (high - low) * width * INCH > len(mark.label) * SMALL * 0.6:
        axes.text((mark.start + mark.end) / 2, 0.985, mark.label, fontsize=SMALL, color=p.FAINT,
                  ha="center", va="top", transform=axes.get_xaxis_transform())  # fmt: skip


def _level(axes: Any, mark: p.Level, width: float, height: float) -> None:
    axes.axhline(mark.y, color=p.COLOURS[mark.colour], linewidth=0.8, linestyle=(0, (4, 3)))
    axes.annotate(mark.label, (1, mark.y), (-2, -1.5), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", va="top", fontsize=SMALL,
                  color=p.INK)  # fmt: skip


def _words(axes: Any, mark: p.Words, width: float, height: float) -> None:
    away, sides = ((6, -2), ("left", "top")) if mark.below else ((-3, 10), ("right", "bottom"))
    axes.annotate(mark.text, (mark.x, mark.y), away, textcoords="offset points", ha=sides[0],
                  va=sides[1], fontsize=SMALL, color=p.FAINT)  # fmt: skip


def _note(axes: Any, mark: p.Note, width: float, height: float) -> None:
    low, high = axes.get_xlim()
    left = (mark.x - low) / (high - low) < 0.5
    axes.plot([mark.x], [mark.y], "o", color=p.COLOURS[1], markersize=3.5, zorder=5)
    axes.annotate(mark.text, (mark.x, mark.y), (5 if left else -5, 3), textcoords="offset points",
                  ha="left" if left else "right", va="bottom", fontsize=SMALL,
                  color=p.INK)  # fmt: skip


_MARKS: dict[type, Any] = {
    p.Bars: _bars, p.Line: _line, p.Points: _points, p.Span: _span, p.Level: _level, p.Note: _note,
    p.Words: _words, p.Density: _density,
}  # fmt: skip


def _diagram(content: Diagram) -> Any:
    from matplotlib.patches import FancyBboxPatch, PathPatch
    from matplotlib.path import Path as Curve

    foot = caption_height(content.caption, max(p.WIDTH, content.width / INCH + 0.4)) + 0.1
    width = max(p.WIDTH, content.width / INCH + 0.4)
    height = content.height / INCH + foot + 0.5
    made = _blank(width, height)
    _title(made, content.title, content.caption, width, height)
    left = (width * INCH - content.width) / 2
    axes = made.add_axes((0, 0, 1, 1))
    axes.set_xlim(-left, width * INCH - left)
    axes.set_ylim(content.height + foot * INCH, -0.5 * INCH)
    axes.axis("off")
    for edge in content.edges:
        codes = [Curve.MOVETO] + [Curve.LINETO] * (len(edge.points) - 1)
        axes.add_patch(
            PathPatch(Curve(edge.points, codes), fill=False, linewidth=0.8,
                      edgecolor=p.FAINT, linestyle="--" if edge.wraps else "-",
                      joinstyle="round", zorder=1)
        )  # fmt: skip
    for box in content.boxes:
        colour = p.COLOURS[box.colour]
        axes.add_patch(
            FancyBboxPatch((box.x, box.y), box.width, box.height,
                           boxstyle="round,pad=0,rounding_size=2.5", facecolor=_tint(colour),
                           edgecolor=colour, linewidth=1.4 if box.folded else 0.8, zorder=2)
        )  # fmt: skip
        step = box.height / (len(box.lines) + 0.35)
        for i, line in enumerate(box.lines):
            axes.text(box.x + box.width / 2, box.y + step * (i + 0.68), line, ha="center",
                      va="center", fontsize=content.size, color=p.INK if i == 0 else "#444444",
                      weight="bold" if i == 0 else "normal", zorder=3)  # fmt: skip
    return made


def _tint(colour: str) -> tuple[float, ...]:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return tuple(1 - (1 - part) * 0.16 for part in parts)
