"""The rows of a sweep: two figures of many networks as a density, with the Pareto front."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from archcost.errors import ArchcostError
from archcost.figures import METRICS
from archcost.pictures.picture import Axis, Density, Line, Panel, Picture, Point, Points
from archcost.space.files import find_columns, read_rows
from archcost.space.selection import Order, front
from archcost.units import number_of

if TYPE_CHECKING:
    from archcost.space.sweep import Sweep

ACROSS, UP = 128, 80
"""Cells of a density along the axes."""
FEW = 300
"""Up to so many configurations are points, each with its figures."""

Rows = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives the columns of the axes, a block of rows at a time; it is asked twice."""


def cloud(rows: str | os.PathLike[str] | Sweep, x: str, y: str) -> Picture:
    """Return a picture of the configurations of a sweep, with those that no other one beats.

    Args:
        rows: a file that ``archcost sweep`` has written, or what :func:`archcost.sweep` returns.
        x: a column. Less of it is better, or with a minus before it, more.
        y: another one.

    Raises:
        LookupFailed: a name that is no column.
        ArchcostError: a file that is none of a sweep, a column of words, or no rows.
    """
    axes = [Order(name.removeprefix("-"), name.startswith("-")) for name in (x, y)]
    names = [each.name for each in axes]
    if names[0] == names[1]:
        raise ArchcostError(f"both axes show {names[0]}")
    blocks, title = _blocks(rows, names)
    count, ends, best = 0, dict[str, tuple[float, float]](), dict[str, Any]()
    for block in blocks():
        count += len(block[names[0]])
        for name, own in block.items():
            low, high = ends.get(name, (own[0], own[0]))
            ends[name] = float(min(low, own.min())), float(max(high, own.max()))
        best = _front(best, block, axes)
    if not count:
        raise ArchcostError(f"{title} has no rows")
    scales = {name: _scale(name) for name in names}
    xs, ys = (best[name] / scales[name] for name in names)
    corners = sorted(zip(xs.tolist(), ys.tolist(), strict=True))
    # straight: steps would say that there are networks between two of the front
    best_of = Line(tuple(corners), 1, "the front") if len(corners) > 1 else _single(*corners)
    few = count <= FEW
    points = _points(blocks(), axes, best) if few else _density(blocks(), names, ends)
    marks = (best_of, points) if few else (points, best_of)
    better = " and ".join(f"{'more' if each.falling else 'less'} {each.name}" for each in axes)
    return Picture(
        title=f"{_label(names[1]).partition(',')[0]} against {_label(names[0]).partition(',')[0]}: "
        f"{number_of(count, 'configuration')} of {title}",
        caption=(f"One configuration has {better} than all others." if len(corners) == 1 else
                 f"The line joins the {len(corners):,} configurations that no other one beats, "
                 f"where {better} is better.")
        + ("" if few else " Shade: how many configurations a cell has, on a log scale."),
        rows=((Panel("", _axis(names[0], ends), _axis(names[1], ends), marks),),),
        height=4.6,
    )  # fmt: skip


def _single(point: tuple[float, float]) -> Points:
    return Points((Point(*point, "", 16.0, 1, True),))


def _blocks(rows: str | os.PathLike[str] | Sweep, names: list[str]) -> tuple[Rows, str]:
    """Return what gives the columns of the axes, and a name for them."""
    if isinstance(rows, (str, os.PathLike)):
        path = os.fspath(rows)
        return lambda: read_rows(path, names), os.path.basename(path)
    find_columns(names, rows.columns)
    for name in names:
        if rows.columns[name].dtype.kind not in "if":
            raise ArchcostError(f"{name} goes through words, which have no axis")
    block = {name: rows.columns[name].astype(float) for name in names}
    return lambda: [block] if len(rows) else [], rows.network.name


def _front(best: Mapping[str, Any], block: Mapping[str, Any], axes: list[Order]) -> dict[str, Any]:
    """Return the front of rows that are one and of more rows; equal points are there once."""
    import numpy as np

    both = {name: np.concatenate([best[name], own]) if best else own for name, own in block.items()}
    there = front(both, axes)
    points = np.unique(np.stack([both[each.name][there] for each in axes]), axis=1)
    return {each.name: own for each, own in zip(axes, points, strict=True)}


def _density(
    blocks: Iterable[Mapping[str, Any]], names: list[str], ends: Mapping[str, tuple[float, float]]
) -> Density:
    """Count the configurations in cells, which are equal on the axes as they are drawn."""
    import numpy as np

    edges = []
    for name, cells in zip(names, (ACROSS, UP), strict=True):
        low, high = ends[name]
        margin = 0 if high > low else abs(high) / 2 or 1  # one value is in the middle
        spaced = np.geomspace if _is_log(*ends[name]) else np.linspace
        edges.append(spaced(low - margin, high + margin, cells + 1))
        edges[-1][[0, -1]] = low - margin, high + margin  # not rounded
    counts = np.zeros((ACROSS, UP), np.int64)
    for block in blocks:
        found, *_ = np.histogram2d(block[names[0]], block[names[1]], bins=edges)
        counts += found.astype(np.int64)
    x, y = (tuple((own / _scale(name)).tolist()) for own, name in zip(edges, names, strict=True))
    return Density(x, y, tuple(map(tuple, counts.T.tolist())))


def _points(
    blocks: Iterable[Mapping[str, Any]], axes: list[Order], best: Mapping[str, Any]
) -> Points:
    names = [each.name for each in axes]
    front = {*zip(*(best[name].tolist() for name in names), strict=True)}

    def made() -> Iterator[Point]:
        for block in blocks:
            for point in zip(*(block[name].tolist() for name in names), strict=True):
                a, b = (value / _scale(name) for value, name in zip(point, names, strict=True))
                said = (f"{name} {value:,.12g}" for name, value in zip(names, point, strict=True))
                ringed = point in front
                yield Point(a, b, "", 16.0, 0, ringed, ", ".join(said))

    return Points(tuple(made()))


def _is_log(low: float, high: float) -> bool:
    return low > 0 and high / low > 8


def _axis(name: str, ends: Mapping[str, tuple[float, float]]) -> Axis:
    return Axis(_label(name), log=_is_log(*ends[name]))


def _label(name: str) -> str:
    """Return the label of an axis: that of a figure with its unit, or the name of a knob."""
    return METRICS[name].axis or name if name in METRICS else name


def _scale(name: str) -> float:
    return METRICS[name].scale if name in METRICS else 1
