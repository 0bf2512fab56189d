"""The network drawn: a box per layer or group, with its shape, branches side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from archcost.errors import ArchcostError
from archcost.network import Layer, Network, maker, prefixes
from archcost.pictures.diagram import Box, Diagram, arrange
from archcost.setting import Setting
from archcost.shape import numel, show, show_rows
from archcost.units import human, number_of

MOST_BOXES, LIMIT = 90, 600
_COLOUR = {
    "conv": 0, "linear": 1, "matmul": 1, "attention": 1, "recurrent": 1,
    "embedding": 1, "pool": 2,
    "adaptive_pool": 2, "resample": 2, "transform": 2, "norm": 3, "merge": 5,
}  # fmt: skip
_JOINED = ("norm", "activation", "dropout")


@dataclass
class _Node:
    """What becomes a box: one layer with the ones that follow it closely, or a group."""

    name: str
    layers: list[Layer] = field(default_factory=list)
    folded: bool = False


def graph(network: Network, depth: int | None = None) -> Diagram:
    """Return the network as boxes and arrows.

    Normalisation, activation and dropout are written into the box of the layer before them.
    ``depth`` folds groups below that many dotted names into one box each; without it the finest
    that gives at most :data:`MOST_BOXES` is taken.

    Raises:
        ArchcostError: a depth below 1, or too many boxes to draw.
    """
    if depth is not None and depth < 1:
        raise ArchcostError(f"depth must be at least 1; got {depth}")
    deepest = max((layer.path.count(".") for layer in network), default=0) + 1
    nodes: dict[str, _Node] = {}
    for level in [depth] if depth is not None else range(deepest, 0, -1):
        nodes = _nodes(network, level)
        if len(nodes) <= MOST_BOXES:
            break
    if len(nodes) > LIMIT:
        raise ArchcostError(f"{len(nodes)} boxes cannot be drawn; fold groups with --depth")
    owner = {layer.path: node.name for node in nodes.values() for layer in node.layers}
    owner |= {value.name: value.name for value in network.inputs}
    links = dict.fromkeys(
        (owner[maker(name)], node.name)
        for node in nodes.values()
        for layer in node.layers
        for name in layer.inputs
        if owner[maker(name)] != node.name
    )
    boxes = [
        *(Box(value.name, (value.name, show(value.shape))) for value in network.inputs),
        *(_box(node) for node in nodes.values()),
    ]
    folded = any(node.folded and len(node.layers) > 1 for node in nodes.values())
    caption = (
        "Data flow downwards; dashed lines lead on in the next column. A box shows a layer, its "
        "settings and the shape of its output, channels first, without the batch; + is what "
        "follows in the same place."
        + (" Thick frames are groups of layers." if folded else "")
        + " Colours: convolution blue, linear and attention orange-red, pooling and resampling "
        "green, normalisation yellow, merging light blue, all else grey."
    )
    title = f"{network.name}: {network.title}" if network.title else network.name
    return arrange(boxes, list(links), title, caption)


def _nodes(network: Network, depth: int) -> dict[str, _Node]:
    """Return what becomes a box, in execution order."""
    readers: dict[str, int] = {}
    for layer in network:
        for name in layer.inputs:
            readers[name] = readers.get(name, 0) + 1
    nodes: dict[str, _Node] = {}
    owner: dict[str, _Node] = {}
    for layer in network:
        groups = prefixes(layer.path)
        if len(groups) >= depth:
            name = groups[depth - 1]
            node = nodes.setdefault(name, _Node(name, folded=True))
        else:
            before = owner.get(maker(layer.inputs[0])) if len(layer.inputs) == 1 else None
            last = before.layers[-1] if before else None
            joins = (
                before is not None
                and last is not None
                and not before.folded
                and layer.op.kind in _JOINED
                and last.path == layer.inputs[0]
                and readers[last.path] == 1
                and last.path not in network.outputs
            )
            node = before if joins and before else nodes.setdefault(layer.path, _Node(layer.path))
        node.layers.append(layer)
        owner[layer.path] = node
    return nodes


def _box(node: _Node) -> Box:
    first, last = node.layers[0], node.layers[-1]
    output = ", ".join(show_rows(shape, last.made_rows) for shape in last.cost.outputs)
    if node.folded and len(node.layers) > 1:
        params = sum(numel(shape) for layer in node.layers for shape in layer.params.values())
        count = len(node.layers)
        what = f"{number_of(count, 'layer')}, {human(params, 3)} params"
        return Box(node.name, (node.name, what, output), 6, folded=True)
    settings = f"{first.op.name} {first.settings}".strip()
    more = (
        [f"+ {', '.join(layer.op.name for layer in node.layers[1:])}"] if last is not first else []
    )
    lines = (_short(node.name), settings, *more, output)
    return Box(node.name, lines, _colour(first), folded=False)


def _colour(layer: Layer) -> int:
    kinds: Mapping[str, int] = _COLOUR
    return kinds.get(layer.op.kind, 6)


def _short(path: str) -> str:
    """Return the last two names of a path."""
    return ".".join(path.split(".")[-2:])


def draw(networks: Sequence[Network], setting: Setting, depth: int | None = None) -> Diagram:
    """Return the boxes of the one network."""
    return graph(networks[0], depth)
