"""Parts of a network that are run under ``torch.utils.checkpoint``, and computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from archcost.analysis.report import prefixes
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Layer, Network


@dataclass(frozen=True)
class Region:
    """Layers that run one after the other, of which only the inputs are kept for backward.

    Attributes:
        name: path of the group, or of a layer.
        layers: in execution order.
        inputs: what they read of the rest of the network.
        outputs: what the rest of the network reads of them.
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def regions(network: Network, patterns: Sequence[str]) -> list[Region]:
    """Return the regions of the groups and layers that match any of the shell patterns.

    Of a group and a part of it, both matched, the group is taken.

    Raises:
        LookupFailed: a pattern matches nothing.
        ArchcostError: a group's layers are not run one after the other.
    """
    if not patterns:
        return []
    around = {layer.path: (*prefixes(layer.path), layer.path) for layer in network}
    names = {name for own in around.values() for name in own}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise LookupFailed("group or layer to recompute", pattern, names)
    found: dict[str, list[int]] = {}
    for i, own in enumerate(around.values()):
        matched = [name for name in own if any(fnmatchcase(name, p) for p in patterns)]
        if matched:
            found.setdefault(matched[0], []).append(i)
    return [_region(network, name, places) for name, places in found.items()]


def _region(network: Network, name: str, places: Sequence[int]) -> Region:
    if places[-1] - places[0] + 1 != len(places):
        raise ArchcostError(f"{name} is not run in one piece, and cannot be recomputed")
    layers = network.layers[places[0] : places[-1] + 1]
    own = {layer.path for layer in layers}
    reads = dict.fromkeys(read for layer in layers for read in layer.inputs)
    others = [read for layer in network if layer.path not in own for read in layer.inputs]
    wanted = {*others, *network.outputs}
    return Region(
        name,
        layers,
        tuple(read for read in reads if read not in own),
        tuple(layer.path for layer in layers if layer.path in wanted),
    )
