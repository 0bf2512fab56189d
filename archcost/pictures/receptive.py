"""The receptive field over the depth of a network."""

from __future__ import annotations

from collections.abc import Sequence

from archcost.analysis.report import Report, analyze
from archcost.errors import ArchcostError
from archcost.network import Network, maker
from archcost.pictures.picture import COLOURS, Axis, Level, Line, Mark, Panel, Picture
from archcost.setting import Setting


def widths(report: Report) -> list[tuple[int, float]]:
    """Return the side of the widest receptive field at each depth, up to the last window.

    Depth counts convolutions and linear layers on the longest path, as ``compare`` does; a
    pooling or resampling belongs to the depth of the layer before it. What comes after a layer
    that reads every position sees the whole input and is left out.
    """
    network = report.network
    depth, whole = network.depth(), {value.name: False for value in network.inputs}
    widest: dict[int, float] = {0: 1.0}
    for layer in network:
        field, flat = report.receptive_fields[layer.path], len(layer.cost.output) < 2
        whole[layer.path] = field.whole or flat or any(whole[maker(name)] for name in layer.inputs)
        if not whole[layer.path]:
            size = float(max(field.size))
            at = depth[layer.path]
            widest[at] = max(widest.get(at, 0.0), size)
    return sorted(widest.items())


def receptive(reports: Sequence[Report]) -> Picture:
    """Return one line per model: the side of the receptive field over the depth.

    Raises:
        ArchcostError: a model without spatial dimensions, or more models than there are colours.
    """
    if len(reports) > len(COLOURS):
        raise ArchcostError(f"at most {len(COLOURS)} models can be told apart; got {len(reports)}")
    lines: list[Line] = []
    sides: set[int] = set()
    for i, report in enumerate(reports):
        if len(report.network.input) < 2:
            raise ArchcostError(f"{report.network.name} has no spatial dimensions to look at")
        points = tuple((float(x), y) for x, y in widths(report))
        tips = tuple(f"{report.network.name}, depth {x:g}: {y:g} pixels" for x, y in points)
        points = (*points, (points[-1][0] + 0.7, points[-1][1]))
        lines.append(Line(points, i, report.network.name, steps=True, tips=tips))
        sides.add(max(report.network.input[1:]))
    marks: tuple[Mark, ...] = (*lines, *_levels(sorted(sides)))
    wide = max(y for line in lines for _, y in line.points) > 60
    inputs = ", ".join(dict.fromkeys(report.network.input_text for report in reports))
    x = Axis("depth: convolutions and linear layers on the longest path", low=0.0)
    return Picture(
        title="Receptive field over depth",
        caption=(
            "Side of the stretch of the input that one value can see, the widest over all paths, "
            "not cut at the border; what comes after a global pooling or a flattening sees "
            f"everything and is left out. Input {inputs}."
        ),
        rows=((Panel("", x, Axis("receptive field, pixels", log=wide), marks),),),
        height=3.6,
        legend=tuple((i, report.network.name) for i, report in enumerate(reports)),
    )


def _levels(sides: Sequence[int]) -> list[Level]:
    """Return a line at the input's side, or one for sides that lie closely together."""
    made: list[list[int]] = []
    for side in sides:
        if made and side < 1.15 * made[-1][0]:
            made[-1].append(side)
        else:
            made.append([side])
    return [
        Level(float(own[-1]), "input, " + " to ".join(map(str, dict.fromkeys((own[0], own[-1])))))
        for own in made
    ]


def draw(networks: Sequence[Network], setting: Setting) -> Picture:
    """Return the receptive fields of networks."""
    return receptive([analyze(network, setting) for network in networks])
