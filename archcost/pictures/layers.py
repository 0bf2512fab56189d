"""Memory, parameters and operations layer by layer: the lectures' three panels."""

from __future__ import annotations

from collections.abc import Sequence

from archcost.analysis.report import Entry, Report, Row, Totals, analyze
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.pictures.picture import Axis, Bars, Panel, Picture
from archcost.setting import Setting
from archcost.shape import show
from archcost.units import number_of

MOST_BARS = 36
GROUPS = (
    "convolution", "linear, attention", "pooling, resampling", "normalisation", "other",
    "group of layers",
)  # fmt: skip
_GROUP = {
    "conv": 0, "linear": 1, "matmul": 1, "attention": 1, "recurrent": 1,
    "embedding": 1, "pool": 2,
    "adaptive_pool": 2, "resample": 2, "transform": 2, "norm": 3,
}  # fmt: skip
OTHER, FOLDED = 4, 5
READABLE = 160
"""The most bars side by side."""


def parts(report: Report, depth: int | None = None) -> list[Entry]:
    """Return what gets a bar: layers, and groups folded at ``depth``, that cost anything.

    Without a depth, the finest that gives at most :data:`MOST_BARS` of them.
    """
    level = depth if depth is not None else _finest(report)
    return [
        entry
        for entry in report.entries(level)
        if (entry.layer or entry.path.count(".") + 1 == level) and any(_figures(entry))
    ]


def _finest(report: Report) -> int:
    """Return the largest depth that gives few enough bars."""
    rows = [row.path.count(".") + 1 for row in report.rows if any(_costs(row))]
    groups = [
        name.count(".") + 1
        for name, sums in report.by_group().items()
        if name and any(_costs(sums))
    ]
    for level in range(max(rows, default=1), 1, -1):
        bars = sum(depth <= level for depth in rows) + groups.count(level)
        if bars <= MOST_BARS:
            return level
    return 1


def _figures(entry: Entry) -> tuple[int, int, int]:
    return _costs(entry.figures)


def _costs(figures: Row | Totals) -> tuple[int, int, int]:
    return figures.activation_bytes, figures.params, figures.counted


def layers(reports: Sequence[Report], depth: int | None = None) -> Picture:
    """Return three panels for each model: memory of the outputs, parameters, operations.

    Models stand side by side and share the scale of each row. ``depth`` folds groups below that
    many dotted names into one bar.

    Raises:
        ArchcostError: a depth below 1, no layers at all, or too many models or bars to read.
    """
    if depth is not None and depth < 1:
        raise ArchcostError(f"depth must be at least 1; got {depth}")
    entries = [parts(report, depth) for report in reports]
    for report, own in zip(reports, entries, strict=True):
        if not own:
            raise ArchcostError(f"{report.network.name} has no layers that cost anything")
    total = sum(map(len, entries))
    if total > READABLE:
        raise ArchcostError(
            f"{total} bars side by side cannot be read; name fewer models or fold groups with "
            "--depth"
        )
    price = reports[0].convention
    rows = []
    for index, label in enumerate(("memory, KB", "parameters, K", f"M{price.unit}s")):
        row: list[Panel] = []
        for report, own in zip(reports, entries, strict=True):
            names = tuple(entry.path for entry in own) if index == 2 else ("",) * len(own)
            bars = Bars(
                tuple(_figures(entry)[index] / (1e6 if index == 2 else 1e3) for entry in own),
                tuple(_colour(entry) for entry in own),
                tuple(_tip(entry, price.unit) for entry in own),
            )
            title = report.network.name if index == 0 and len(reports) > 1 else ""
            y = Axis(label if not row else "", low=0.0)
            row.append(Panel(title, Axis(names=names), y, (bars,), width=len(own) + 3))
        rows.append(tuple(row))
    used = sorted({_colour(entry) for own in entries for entry in own})
    return Picture(
        title=" and ".join(_title(report) for report in reports),
        caption=_caption(reports),
        rows=tuple(rows),
        height=5.2,
        legend=tuple((group, GROUPS[group]) for group in used) if len(used) > 1 else (),
        share=True,
    )


def _colour(entry: Entry) -> int:
    return _GROUP.get(entry.layer.op.kind, OTHER) if entry.layer else FOLDED


def _tip(entry: Entry, unit: str) -> str:
    memory, params, counted = _figures(entry)
    what = f"{entry.layer.op.name} {entry.layer.settings}" if entry.layer else "group of layers"
    return (
        f"{entry.path}: {what.strip()}, output {show(entry.output)}; {memory:,} bytes, "
        f"{number_of(params, 'parameter')}, {counted:,} {unit}s"
    )


def _title(report: Report) -> str:
    total = report.total
    return f"{report.network.name} ({total.params / 1e6:.4g} M parameters)"


def _caption(reports: Sequence[Report]) -> str:
    first = reports[0]
    inputs = dict.fromkeys(report.network.input_text for report in reports)
    return (
        f"Memory: outputs in {first.dtype}, KB of 1,000 bytes; activations "
        f"({first.activations.name}): {first.activations.title}. Operations "
        f"({first.convention.name}): {first.convention.title}. Input {', '.join(inputs)}, batch "
        f"{first.batch}. Layers without any cost are left out; a bar may be a group of layers."
    )


def draw(networks: Sequence[Network], setting: Setting, depth: int | None = None) -> Picture:
    """Return the bars of networks in a setting."""
    return layers([analyze(network, setting) for network in networks], depth)
