"""Parts of a network that are run under ``torch.utils.checkpoint``, and computed twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from archcost.checkpointed import Checkpointed
from archcost.errors import ArchcostError
from archcost.network import Layer, Network, matched, prefixes


@dataclass(frozen=True)
class Region:
    """Layers that run one after the other, of which only the inputs are kept for backward.

    Attributes:
        name: path of the group, or of a layer.
        layers: in execution order.
        inputs: what they read of the rest of the network.
        outputs: what the rest of the network reads of them.
        saves: the tensors that are kept: the inputs, or the arguments of the call in code.
        constants: the constants that are held, each with whether it is such an argument.
        reentrant: whether backward runs a backward pass of its own inside the region.
        whole: whether it is computed again as a whole, not only as far as backward needs it.
    """

    name: str
    layers: tuple[Layer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    saves: tuple[str, ...]
    constants: tuple[tuple[Any, bool], ...] = ()
    reentrant: bool = False
    whole: bool = False


def regions(network: Network, patterns: Sequence[str]) -> list[Region]:
    """Return the regions of the groups and layers that match any of the shell patterns.

    If a group and a part of it both match, the group is taken. A network of code also has the
    regions that the code itself runs so.

    Raises:
        LookupFailed: a pattern matches nothing.
        ArchcostError: a group's layers are not run one after the other, or a region lies in one.
    """
    own = [_of_code(network, each) for each in network.checkpoints]
    known = {layer.path: region.name for region in own for layer in region.layers}
    for region in (asked := _matching(network, patterns)):
        for layer in region.layers:
            if layer.path in known:
                raise ArchcostError(
                    f"{region.name}: the code itself runs {known[layer.path]} under "
                    "torch.utils.checkpoint"
                )
    return own + asked


def _of_code(network: Network, found: Checkpointed) -> Region:
    places = [i for i, layer in enumerate(network) if layer.path in found.paths]
    groups = [prefixes(network.layers[i].path) for i in places]
    common = [names[0] for names in zip(*groups, strict=False) if len({*names}) == 1]
    region = _region(network, (common or [network.layers[places[0]].path])[-1], places)
    held = {name for name, path in network.holders.items() if path not in found.paths}
    made = (name for layer in region.layers for name in layer.outputs)
    outputs = tuple(name for name in made if name in held or name in region.outputs)
    return replace(
        region, outputs=outputs, saves=found.saves, constants=found.constants,
        reentrant=found.reentrant, whole=found.whole,
    )  # fmt: skip


def _matching(network: Network, patterns: Sequence[str]) -> list[Region]:
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
    inputs = tuple(read for read in reads if read not in own)
    outputs = tuple(name for layer in layers for name in layer.outputs if name in wanted)
    return Region(name, layers, inputs, outputs, inputs)
