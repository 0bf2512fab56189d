"""Live bytes over a training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.pictures.picture import Axis, Level, Line, Mark, Note, Panel, Picture, Span
from archcost.setting import Setting
from archcost.storage.footprint import Footprint, where
from archcost.units import human_bytes

MOST = 6
_UNNAMED = {"forward": "the loss", "backward": "the loss", "optimizer": "all parameters"}


def memory(footprints: Sequence[Footprint]) -> Picture:
    """Return the live bytes of a training step, a panel per model, on one scale.

    Raises:
        ArchcostError: more models than fit on a page.
    """
    if len(footprints) > MOST:
        raise ArchcostError(f"at most {MOST} models fit on a page; got {len(footprints)}")
    top = max(footprint.training.peak.total for footprint in footprints)
    scale, unit = (1e9, "GB") if top >= 1e9 else (1e6, "MB")
    setting = footprints[0].setting
    panels = [_panel(footprint, scale, unit, top / scale * 1.24) for footprint in footprints]
    if len(panels) == 1:
        panels = [replace(panels[0], title="")]
    return Picture(
        title="Live bytes over a training step: "
        + ", ".join(footprint.network.name for footprint in footprints),
        caption=(
            f"The most that is alive while each layer runs, {unit} of {scale:,.0f} bytes, "
            f"allocator rounding included. Batch {setting.batch}, {setting.dtype}, "
            f"{setting.device}; {setting.update}. Input "
            f"{', '.join(dict.fromkeys(f.network.input_text for f in footprints))}. At rest: "
            "parameters, buffers and optimizer state. Not counted: workspaces of convolutions and "
            "matrix products, the CUDA context, what the allocator holds back."
        ),
        rows=tuple((panel,) for panel in panels),
        height=2.4 * len(panels) if len(panels) < 3 else 1.9 * len(panels),
    )


def _panel(footprint: Footprint, scale: float, unit: str, high: float) -> Panel:
    run = footprint.training
    moments = run.timeline
    points = [(float(i), moment.bytes / scale) for i, moment in enumerate(moments)]
    end = float(len(points))
    points += [(end, moment.bytes / scale) for moment in moments[-1:]]
    tips = tuple(f"{m.phase} of {m.layer or _UNNAMED[m.phase]}: {m.bytes:,} bytes" for m in moments)
    spans: list[Span] = []
    start = 0
    for phase, run_of in groupby(moments, key=lambda moment: moment.phase):
        length = len(list(run_of))
        label = "update" if phase == "optimizer" else phase
        spans.append(Span(float(start), float(start + length), label, len(spans) % 2 == 1))
        start += length
    peak = run.peak
    at = next(
        (i for i, m in enumerate(moments) if m.bytes == peak.total and m.phase == peak.phase), 0
    )
    rest = (run.params + run.buffers + run.state) / scale
    marks: tuple[Mark, ...] = (
        *spans,
        Line(tuple(points), 0, steps=True, fill=True, tips=tips),
        Level(rest, f"at rest {human_bytes(int(rest * scale))}"),
        Note(at + 0.5, peak.total / scale, f"{human_bytes(peak.total)} in {where(peak)}"),
    )
    x = Axis("layers in the order in which they run", low=0.0, high=end)
    return Panel(footprint.network.name, x, Axis(f"live {unit}", low=0.0, high=high), marks)


def draw(networks: Sequence[Network], setting: Setting) -> Picture:
    """Return the live bytes of networks in a setting."""
    return memory([Footprint(network, setting) for network in networks])
