"""Models as bubbles: accuracy against operations, or any two figures, with the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archcost.analysis.listing import accuracy
from archcost.analysis.report import Report
from archcost.errors import ArchcostError, LookupFailed
from archcost.performance.measured import describe_machine, measurements
from archcost.plot.picture import Axis, Line, Panel, Picture, Point, Points, legible
from archcost.units import human, number_of

LATENCY = "latency"
IMAGENET = (1000,)


@dataclass(frozen=True)
class Figure:
    """What an axis may show: its label, how to get it, in which unit, and which way is better."""

    label: str
    value: Callable[[Report], float | None]
    scale: float = 1.0
    more_is_better: bool = False
    log: bool = True


def _published(figure: str) -> Callable[[Report], float | None]:
    def value(report: Report) -> float | None:
        printed = accuracy(report.network, figure, elsewhere=False)[0]
        return None if printed is None else float(printed)

    return value


FIGURES: Mapping[str, Figure] = {
    "top1": Figure("top-1 accuracy, %", _published("top1"), 1, True, False),
    "top5": Figure("top-5 accuracy, %", _published("top5"), 1, True, False),
    "operations": Figure("", lambda report: report.total.counted, 1e9),
    "macs": Figure("multiply-accumulates, G", lambda report: report.total.macs, 1e9),
    "flops": Figure("FLOPs, G", lambda report: report.total.flops, 1e9),
    "params": Figure("parameters, M", lambda report: report.total.params, 1e6),
    "size": Figure("size of the parameters, MB", lambda report: report.total.param_bytes, 1e6),
    "activations": Figure("activations, M", lambda report: report.total.activations, 1e6),
    "layers": Figure("layers on the longest path", lambda report: report.weight_layers),
    "year": Figure("year", lambda report: report.network.year, 1, False, False),
    LATENCY: Figure("latency, ms", lambda report: None, 1),
}
"""What an axis or the bubbles may show; ``operations`` follows the convention."""


def find_figure(name: str) -> str:
    """Return the name if it is one of :data:`FIGURES`.

    Raises:
        LookupFailed: it is not, with the nearest one.
    """
    if name not in FIGURES:
        raise LookupFailed("axis", name, FIGURES)
    return name


def scatter(
    reports: Sequence[Report],
    x: str = "operations",
    y: str = "top1",
    size: str = "params",
    record: Mapping[str, Any] | None = None,
    batch: int = 1,
    dtype: str = "float32",
) -> Picture:
    """Return a picture of models as bubbles, with the Pareto front.

    Models that lack a figure are left out, and named in the caption.

    Args:
        reports: one per model.
        x: a name in :data:`FIGURES`.
        y: another one.
        size: the one to which the bubbles' areas are proportional.
        record: of ``archcost profile``, for ``latency``: the median time of a forward pass.
        batch: of the measurements in the record.
        dtype: likewise.

    Raises:
        LookupFailed: an unknown axis.
        ArchcostError: no model has both figures, or latency is asked for without a record.
    """
    for name in (x, y, size):
        find_figure(name)
    measured = _latencies(record, batch, dtype) if record is not None else {}
    if LATENCY in (x, y, size) and record is None:
        raise ArchcostError(
            "latency is measured: name a record of `archcost profile` with --record"
        )

    def value(name: str, report: Report) -> float | None:
        if name == LATENCY:
            return measured.get(report.network.name)
        found = FIGURES[name].value(report)
        return None if found is None else found / FIGURES[name].scale

    same, others = _one_task(reports) if {"top1", "top5"} & {x, y, size} else (reports, [])
    found = [(r, value(x, r), value(y, r), value(size, r)) for r in same]
    drawn = [(r, a, b, c) for r, a, b, c in found if a is not None and b is not None and c]
    missing = [r.network.name for r, a, b, c in found if a is None or b is None or not c]
    missing += [report.network.name for report in others]
    if not drawn:
        raise ArchcostError(
            f"none of {number_of(len(reports), 'model')} has {x}, {y} and {size}"
            + (f" at batch {batch} in {dtype} in the record" if record is not None else "")
        )
    front = pareto(
        [(a, b) for _, a, b, _ in drawn], FIGURES[x].more_is_better, FIGURES[y].more_is_better
    )
    families = _families([r for r, *_ in drawn])
    areas = legible([c for *_, c in drawn])
    points = tuple(
        Point(
            a, b, r.network.name, area, families.get(r.network.family or r.network.name, 6),
            i in front,
            f"{r.network.name}: {_say(x, a)}, {_say(y, b)}, {_say(size, c)}",
        )
        for i, ((r, a, b, c), area) in enumerate(zip(drawn, areas, strict=True))
    )  # fmt: skip
    best = sorted((points[i].x, points[i].y) for i in front)
    marks = (Line(tuple(best), 6, "Pareto front", dashed=True), Points(points))
    shown = marks if len(best) > 1 else marks[1:]
    first = drawn[0][0]
    label_x, label_y = _label(x, first), _label(y, first)
    return Picture(
        title=f"{_short(label_y)} against {_short(label_x)}",
        caption=_caption(first, (x, y, size), record, batch, dtype, missing),
        rows=((Panel("", _axis(x, label_x, drawn, 1), _axis(y, label_y, drawn, 2), shown),),),
        height=4.6,
        legend=_legend(families, [r for r, *_ in drawn]),
        bubbles=_bubbles(size, [c for *_, c in drawn]),
    )


def _one_task(reports: Sequence[Report]) -> tuple[list[Report], list[Report]]:
    """Return the reports of the most frequent task that has accuracies, and the others.

    Accuracies on different data do not compare. A network with 1,000 outputs classifies ImageNet;
    others are told apart by their outputs and their input.
    """
    rated = [r for r in reports if any(_published(name)(r) for name in ("top1", "top5"))]
    tasks = [_task(report) for report in rated]
    most = max(tasks, key=tasks.count) if tasks else ()
    same = [report for report in reports if _task(report) == most]
    return same, [report for report in reports if report not in same]


def _task(report: Report) -> tuple[int, ...]:
    network = report.network
    return network.output if network.output == IMAGENET else (*network.output, *network.input)


def pareto(
    points: Sequence[tuple[float, float]], more_x: bool = False, more_y: bool = True
) -> set[int]:
    """Return the indices of the points that no other is at least as good as on both axes.

    Of equal points all belong to the front. ``more_x`` and ``more_y`` say that more is better.

    >>> sorted(pareto([(1, 70), (2, 60), (3, 80)]))
    [0, 2]
    """
    signed = [(x if more_x else -x, y if more_y else -y) for x, y in points]
    return {
        i
        for i, (x, y) in enumerate(signed)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in signed)
    }


def _latencies(record: Mapping[str, Any], batch: int, dtype: str) -> dict[str, float]:
    return {
        row["model"]: row["forward"]["median"] * 1e3
        for row in measurements(dict(record))
        if row["batch"] == batch and row["dtype"] == dtype and row.get("forward")
    }


def _families(reports: Sequence[Report]) -> dict[str, int]:
    """Return a colour for each of the six most frequent families, in order of appearance."""
    names = [report.network.family or report.network.name for report in reports]
    frequent = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))[:6]
    return {name: i for i, name in enumerate(n for n in dict.fromkeys(names) if n in frequent)}


def _legend(families: Mapping[str, int], reports: Sequence[Report]) -> tuple[tuple[int, str], ...]:
    others = any((r.network.family or r.network.name) not in families for r in reports)
    named = [(colour, family) for family, colour in families.items()]
    return (*named, *([(6, "others")] if others else []))


def _label(name: str, report: Report) -> str:
    if name == "operations":
        name, unit = report.convention.name, report.convention.unit
        counted = "" if name in ("flops", "macs") else f" as {name} counts"
        return f"operations{counted}, G{unit}s"
    if name in ("top1", "top5") and _task(report) == IMAGENET:
        return f"ImageNet {FIGURES[name].label}"
    return FIGURES[name].label


def _short(label: str) -> str:
    return label.partition(",")[0]


def _axis(name: str, label: str, drawn: Sequence[tuple[Any, ...]], index: int) -> Axis:
    values = [row[index] for row in drawn]
    wide = min(values) > 0 and max(values) / min(values) > 8
    return Axis(label, log=FIGURES[name].log and wide)


def _say(name: str, value: float) -> str:
    figure = FIGURES[name]
    label, _, unit = (figure.label or "operations, G").partition(", ")
    return f"{label} {value:,.4g}{'' if unit == '%' else ' '}{unit}".rstrip()


def _bubbles(name: str, values: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Return three round sizes with their areas, for the legend."""
    top = max(values)
    shares = [_round(top), _round(top / 4), _round(top / 16)]
    unit = FIGURES[name].label.rpartition(", ")[2]
    areas = legible([top, *shares])[1:]
    chosen = dict(zip(shares, areas, strict=True))
    texts = [f"{human(value)} {unit}" for value in chosen]
    texts[-1] += f" {_short(FIGURES[name].label)}"
    return tuple(zip(chosen.values(), texts, strict=True))


def _round(value: float) -> float:
    return float(f"{value:.1g}")


def _caption(
    first: Report, shown: tuple[str, ...], record: Mapping[str, Any] | None, batch: int,
    dtype: str, missing: Sequence[str],
) -> str:  # fmt: skip
    size = FIGURES[shown[2]].label or "operations"
    parts = [f"Bubble areas: {_short(size)}."]
    if "top1" in shown or "top5" in shown:
        parts.append("Accuracies as their sources print them, see `archcost compare`.")
    if "operations" in shown:
        parts.append(
            f"Operations ({first.convention.name}): {first.convention.title}, for one sample at "
            "each model's own input size."
            if first.batch == 1
            else f"Operations ({first.convention.name}): {first.convention.title}, batch "
            f"{first.batch}."
        )
    if "activations" in shown:
        parts.append(f"Activations ({first.activations.name}): {first.activations.title}.")
    if record is not None and LATENCY in shown:
        machine = describe_machine(record["machine"])
        parts.append(f"Latency: median of a forward pass, batch {batch}, {dtype}; {machine}.")
    parts.append(
        "Ringed and joined: no other model is better on one axis and as good on the other."
    )
    if missing:
        named = ", ".join(missing[:6]) + (f" and {len(missing) - 6} more" * (len(missing) > 6))
        parts.append(f"Left out, for want of a figure or as of another task: {named}.")
    return " ".join(parts)
