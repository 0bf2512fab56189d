"""Models as bubbles: accuracy against operations, or any two figures, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archcost.analysis.listing import accuracy
from archcost.analysis.report import Report, analyze
from archcost.errors import ArchcostError, LookupFailed
from archcost.figures import FIGURES, PERCENT, SECONDS, YEAR, Figure, Subject
from archcost.network import Network
from archcost.performance.measured import describe_machine, measurements, read_record
from archcost.pictures.picture import Axis, Line, Panel, Picture, Point, Points, legible
from archcost.setting import Setting
from archcost.units import human, number_of

LATENCY = "latency"
IMAGENET = (1000,)
LARGEST = 5  # bubbles whose names are there in any case
CROWD = 30  # from so many models on, names need room beyond the bubbles
EARLIEST, LATEST = 30.0, 300.0  # areas for years, which have no zero


_LATENCY = Figure(LATENCY, "a forward pass of a record", SECONDS, lambda subject, _: None,
                  axis="latency, ms")  # fmt: skip
AXES: Mapping[str, Figure] = {
    **{"operations" if name == "counted" else name: figure for name, figure in FIGURES.items()
       if not figure.on},
    LATENCY: _LATENCY,
}  # fmt: skip
"""What an axis or the bubbles may show; ``operations`` follows the convention."""


def _named(figure: Figure) -> str:
    """Return the label of an axis without its unit."""
    return figure.axis.partition(",")[0]


def _unit(figure: Figure) -> str:
    """Return the unit of an axis, empty for a plain number."""
    return figure.axis.partition(", ")[2]


def find_figure(name: str) -> str:
    """Return the name if it is one of :data:`AXES`.

    Raises:
        LookupFailed: it is not, with the nearest one.
    """
    if name not in AXES:
        raise LookupFailed("axis", name, AXES)
    return name


def scatter(
    reports: Sequence[Report],
    x: str = "operations",
    y: str = "top1",
    size: str = "params",
    record: Mapping[str, Any] | None = None,
) -> Picture:
    """Return a picture of models as bubbles, with the Pareto front.

    Models that lack a figure are left out, and named in the caption.

    Args:
        reports: one per model.
        x: a name in :data:`AXES`.
        y: another one.
        size: the one to which the bubbles' areas are proportional.
        record: of ``archcost profile``, for ``latency``: the median time of a forward pass, at
            the batch and in the data type of the reports.

    Raises:
        LookupFailed: an unknown axis.
        ArchcostError: no model has both figures, or latency is asked for without a record.
    """
    for name in (x, y, size):
        find_figure(name)
    batch, dtype = (reports[0].batch, reports[0].dtype) if reports else (1, "float32")
    measured = _latencies(record, batch, dtype) if record is not None else {}
    if LATENCY in (x, y, size) and record is None:
        raise ArchcostError(
            "latency is measured: name a record of `archcost profile` with --record"
        )

    def value(name: str, report: Report) -> float | None:
        if name == LATENCY:
            return measured.get(report.network.name)
        found = AXES[name].value(Subject(report.network, report.setting), "")
        return None if found is None else float(found) / AXES[name].scale

    same, others = _one_task(reports) if {"top1", "top5"} & {x, y, size} else (reports, [])
    found = [(r, value(x, r), value(y, r), value(size, r)) for r in same]
    drawn = [(r, a, b, c) for r, a, b, c in found if a is not None and b is not None and c]
    missing: dict[str, list[str]] = {}
    for r, *values in found:
        lacks = [name for name, v in zip((x, y, size), values, strict=True) if v is None]
        lacks += [size] if values[2] == 0 else []
        if lacks:
            missing.setdefault(f"no {_named(AXES[lacks[0]])}", []).append(r.network.name)
    if others:
        missing["another task"] = [report.network.name for report in others]
    if not drawn:
        raise ArchcostError(
            f"none of {number_of(len(reports), 'model')} has {x}, {y} and {size}"
            + (f" at batch {batch} in {dtype} in the record" if record is not None else "")
        )
    front = pareto(
        [(a, b) for _, a, b, _ in drawn], AXES[x].unit == PERCENT, AXES[y].unit == PERCENT
    )
    families = _families([r for r, *_ in drawn])
    areas = _areas(size, [c for *_, c in drawn])
    largest = sorted(range(len(drawn)), key=lambda i: -areas[i])[:LARGEST]
    ends = [pick(front, key=lambda i: drawn[i][1]) for pick in (min, max)]
    points = tuple(
        Point(
            a, b, r.network.name, area, families.get(r.network.family or r.network.name, 6),
            i in front,
            f"{r.network.name}: {_say(x, a)}, {_say(y, b)}, {_say(size, c)}",
            i in ends or (i in largest and AXES[size].unit != YEAR),
        )
        for i, ((r, a, b, c), area) in enumerate(zip(drawn, areas, strict=True))
    )  # fmt: skip
    best = sorted((points[i].x, points[i].y) for i in front)
    marks = (Line(tuple(best), 6, dashed=True), Points(points))
    shown = marks if len(best) > 1 else marks[1:]
    first = drawn[0][0]
    label_x, label_y = _label(x, first), _label(y, first)
    room = 0.24 if len(drawn) > CROWD else 0.0  # for the names of those at the right and the top
    return Picture(
        title=f"{_short(label_y)} against {_short(label_x)}"
        + (f": only {drawn[0][0].network.name}" if len(drawn) == 1 < len(reports) else ""),
        caption=_caption(first, (x, y, size), record, missing),
        rows=(
            (
                Panel(
                    "",
                    _axis(x, label_x, drawn, 1, room),
                    _axis(y, label_y, drawn, 2, room / 2),
                    shown,
                ),
            ),
        ),
        height=4.6,
        legend=_legend(families, [r for r, *_ in drawn]),
        bubbles=_bubbles(size, [c for *_, c in drawn]),
    )


def _one_task(reports: Sequence[Report]) -> tuple[list[Report], list[Report]]:
    """Return the reports of the most frequent task that has accuracies, and the others.

    Accuracies on different data do not compare. A network with 1,000 outputs classifies ImageNet;
    others are told apart by their outputs and their input.
    """
    rated = [
        r
        for r in reports
        if any(accuracy(r.network, name, elsewhere=False)[0] for name in ("top1", "top5"))
    ]
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
        return f"ImageNet {AXES[name].axis}"
    return AXES[name].axis


def _short(label: str) -> str:
    return label.partition(",")[0]


def _axis(
    name: str, label: str, drawn: Sequence[tuple[Any, ...]], index: int, room: float = 0.0
) -> Axis:
    """Return an axis; ``room`` is kept free beyond its largest value, in parts of its length."""
    values = [row[index] for row in drawn]
    low, high = min(values), max(values)
    log = AXES[name].unit not in (PERCENT, YEAR) and low > 0 and high / low > 8
    end = None
    if room and high > low:
        end = high * (high / low) ** room if log else high + (high - low) * room
    return Axis(label, log=log, high=end, years=AXES[name].unit == YEAR)


def _say(name: str, value: float) -> str:
    figure = AXES[name]
    number = f"{value:.0f}" if figure.unit == YEAR else f"{value:,.4g}"
    unit = _unit(figure)
    return f"{_named(figure)} {number}{'' if unit == '%' else ' '}{unit}".rstrip()


def _areas(name: str, values: Sequence[float]) -> list[float]:
    """Return the bubbles' areas: in proportion, or for years from small to large."""
    if AXES[name].unit != YEAR:
        return legible(values)
    low, high = min(values), max(values)
    return [EARLIEST + (LATEST - EARLIEST) * (v - low) / ((high - low) or 1) for v in values]


def _bubbles(name: str, values: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Return a few sizes with their areas, for the legend: round ones, or years."""
    top, figure = max(values), AXES[name]
    if figure.unit == YEAR:
        years = sorted({min(values), (min(values) + top) // 2, top})
        texts = [f"{year:.0f}" for year in years]
        return tuple(
            zip(_areas(name, years), [f"{_named(figure)} {texts[0]}", *texts[1:]], strict=True)
        )
    shares = [_round(top), _round(top / 4), _round(top / 16)]
    areas = legible([top, *shares])[1:]
    chosen = dict(zip(shares, areas, strict=True))
    texts = [f"{human(value)} {_unit(figure)}".rstrip() for value in chosen]
    texts[-1] += f" {_named(figure)}"
    return tuple(zip(chosen.values(), texts, strict=True))


def _round(value: float) -> float:
    return float(f"{value:.1g}")


def _caption(
    first: Report, shown: tuple[str, ...], record: Mapping[str, Any] | None,
    missing: Mapping[str, Sequence[str]],
) -> str:  # fmt: skip
    size = AXES[shown[2]]
    parts = [
        f"Bubble areas: {_named(size)}{', the later the larger' if size.unit == YEAR else ''}."
    ]
    if "top1" in shown or "top5" in shown:
        parts.append(
            "Accuracies as their sources print them; the command compare names the sources."
        )
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
        run = f"batch {first.batch}, {first.dtype}"
        parts.append(f"Latency: median of a forward pass, {run}; {machine}.")
    parts.append(
        "Ringed and joined: no other model is better on one axis and as good on the other."
    )
    if missing:
        reasons = [f"{_some(names)} ({reason})" for reason, names in missing.items()]
        parts.append(f"Left out: {'; '.join(reasons)}.")
    return " ".join(parts)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" * (len(names) > 6))


def draw(
    networks: Sequence[Network], setting: Setting, x: str, y: str, size: str, record: str | None,
    sweep: Any = None,
) -> Picture:  # fmt: skip
    """Return the bubbles of networks in a setting, or the configurations of a sweep.

    ``record`` is a file; ``sweep`` is a file or a result.
    """
    if sweep is not None:
        from archcost.pictures.cloud import cloud

        if networks:
            raise ArchcostError("a scatter shows models, or the rows of a sweep; name one of them")
        return cloud(sweep, x, y)
    reports = [analyze(network, setting) for network in networks]
    return scatter(reports, x, y, size, read_record(record) if record else None)
