"""The layers of a network under the roof of a device."""

from __future__ import annotations

from collections.abc import Sequence

from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.performance.bounds import COMPUTE
from archcost.performance.roofline import Roofline, recorded
from archcost.pictures.picture import (
    Axis,
    Line,
    Mark,
    Panel,
    Picture,
    Point,
    Points,
    Words,
    legible,
)
from archcost.setting import Setting
from archcost.units import human

NAMED = 6


def roofline(found: Roofline) -> Picture:
    """Return a bubble per layer that multiplies: what it can reach over its FLOPs per byte.

    With measured times there is a second bubble per layer, at what it did reach. The areas are
    shares of the time. Only the layers that take longest are named.

    Raises:
        ArchcostError: no layer multiplies anything.
    """
    layers = {path: part for path, part in found.layers.items() if part.flops and part.bytes}
    if not layers:
        raise ArchcostError(f"{found.network.name} has no layer that multiplies")
    roofs = sorted(set(found.to_dict()["peaks"].values()), reverse=True)
    ridge = max(roofs) / found.device.bandwidth
    at = {path: float(part.flops) / part.bytes for path, part in layers.items()}
    low, high = min(at.values()) / 2, max(*at.values(), ridge) * 2
    marks: list[Mark] = []
    uses: dict[int, list[str]] = {}
    for use, peak in found.to_dict()["peaks"].items():
        uses.setdefault(peak, []).append(use)
    slope = f"{_spaced(found.device.bandwidth)}B/s"
    for peak in roofs:
        name = f"{_spaced(peak)}FLOP/s, {' and '.join(uses[peak])}"
        foot = peak / found.device.bandwidth
        corners = (
            (low, low * found.device.bandwidth / 1e12),
            (foot, peak / 1e12),
            (high, peak / 1e12),
        )
        top = peak == max(roofs)
        marks.append(Line(corners, 6, f"{slope}, then {name}" if top else name, dashed=not top))
        marks.append(Words(high, peak / 1e12, name))
    marks.append(Words(low, low * found.device.bandwidth / 1e12, slope, below=True))
    slowest = sorted(layers, key=lambda path: -layers[path].seconds)[:NAMED]
    areas = dict(
        zip(layers, legible([float(p.seconds) for p in layers.values()], 260.0), strict=True)
    )
    points = [
        Point(
            at[path], float(part.flops / part.seconds) / 1e12, path if path in slowest else "",
            areas[path], 0 if part.binds == COMPUTE else 1,
            tip=f"{path}: {at[path]:.4g} FLOP/byte, bound by {part.binds}, at best "
            f"{float(part.seconds) * 1e6:.4g} µs",
        )
        for path, part in layers.items()
    ]  # fmt: skip
    times = found.measured.layers if found.measured else {}
    points += [
        Point(at[path], layers[path].flops / taken / 1e12, "", areas[path], 2,
              tip=f"{path}: measured {taken * 1e6:.4g} µs")
        for path, taken in times.items() if path in layers and taken
    ]  # fmt: skip
    binds = {part.binds for part in layers.values()}
    legend = [(0, "bound by compute")] * (COMPUTE in binds) + [(1, "bound by memory")] * (
        binds != {COMPUTE}
    )
    others = [part for path, part in found.layers.items() if path not in layers]
    share = float(sum(part.seconds for part in others) / found.eager.seconds)
    marks.append(Points(tuple(points)))
    return Picture(
        title=f"{found.network.name} under the roof of {found.device.title}",
        caption=(
            f"{'; '.join(found.table().notes[:1])}. Areas: share of the eager roofline, in which "
            "each kernel reads its inputs and parameters from memory and writes its output there. "
            f"Layers that multiply nothing take {share:.0%} of it and are not shown."
            + (f" Measured on {found.measured.machine}." if found.measured else "")
        ),
        rows=((
            Panel("", Axis("FLOPs per byte", log=True, low=low, high=high),
                  Axis("TFLOP/s", log=True, high=max(roofs) / 1e12 * 1.7), tuple(marks)),
        ),),
        height=4.0,
        legend=tuple(legend + [(2, "measured")] * bool(times)),
    )  # fmt: skip


def _spaced(value: int) -> str:
    """Return ``494.5 T``, to be followed by a unit."""
    words = human(value)
    return f"{words[:-1]} {words[-1]}"


def draw(networks: Sequence[Network], setting: Setting, record: str | None) -> Picture:
    """Return the roof over the one network; without a device, that of the record is taken."""
    return roofline(recorded(networks[0], setting, record))
