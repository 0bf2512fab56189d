"""Parts of a network that are run under ``torch.utils.checkpoint``, and computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archcost.errors import ArchcostError
from archcost.network import Layer, Network, matched


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

    If a group and a part of it both match, the group is taken.

    Raises:
        LookupFailed: a pattern matches nothing.
        ArchcostError: a group's layers are not run one after the other.
    """
    places = {layer.path: i for i, layer in enumerate(network)}
    found: dict[str, list[int]] = {}
    for path, name in matched(network, patterns, "group or layer to recompute").items():
        found.setdefault(name, []).append(places[path])
    return [_region(network, name, places) for name, places in found.items()]


def _region(network: Network, name: str, places: Sequence[int]) -> Region:
    if places[-1] - places[0] + 1 != len(places):
        raise ArchcostError(f"{name} is not run in one piece, and cannot be recomputed")
    layers = network.layers[places[0] : places[-1] + 1]
    own = {name for layer in layers for name in layer.outputs}
    reads = dict.fromkeys(read for layer in layers for read in layer.inputs)
    around = (*network.layers[: places[0]], *network.layers[places[-1] + 1 :])
    others = [read for layer in around for read in layer.inputs]
    wanted = {*others, *network.outputs}
    return Region(
        name,
        layers,
        tuple(read for read in reads if read not in own),
        tuple(name for layer in layers for name in layer.outputs if name in wanted),
    )
