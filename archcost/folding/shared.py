"""Which layers and groups of a network run again with the weights of others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from archcost.errors import ArchcostError
from archcost.folding.tree import Node
from archcost.network import Layer, Network
from archcost.ops import OPS


@dataclass
class Sharing:
    """The shared items of a network.

    Attributes:
        layers: the name of the item of each layer whose module runs again, by its path.
        groups: the name of the item of each group that runs again, and of its first run.
        first: the group of each item that is one, by the item's name.
    """

    layers: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)
    first: dict[str, Node] = field(default_factory=dict)


def sharing_of(network: Network, tree: Node, taken: set[str]) -> Sharing:
    """Return what is shared, with names that are not ``taken``.

    Raises:
        ArchcostError: a layer runs again that takes a parameter of another one.
    """
    found = Sharing()
    nodes = {node.path: node for node in groups_of(tree)}
    for node in nodes.values():
        first = nodes.get(_first_path(network, node))
        if first is not None and first is not node and _is_again(node, first):
            if first.path not in found.groups:
                name = free(first.name, taken)
                found.groups[first.path], found.first[name] = name, first
            found.groups[node.path] = found.groups[first.path]
    inside = {
        layer.path for path in found.groups for layer in nodes[path].layers()
    }  # fmt: skip
    for layer in network:
        if layer.module != layer.path and layer.sharing and layer.path not in inside:
            if network[layer.module].ties:
                raise ArchcostError(f"{layer.path} uses {layer.sharing}, which a spec cannot say")
            if layer.module not in found.layers:
                found.layers[layer.module] = free(layer.module.rpartition(".")[2], taken)
    return found


def groups_of(node: Node) -> Iterator[Node]:
    """Yield the groups in a group, each before those in it."""
    for part in node.parts:
        if isinstance(part, Node):
            yield part
            yield from groups_of(part)


def _first_path(network: Network, node: Node) -> str:
    """Return the path of the group whose modules a group runs, empty if it runs its own."""
    for layer in node.layers():
        if layer.module != layer.path and layer.sharing:
            inner = layer.path[len(node.path) :]
            return layer.module.removesuffix(inner) if layer.module.endswith(inner) else ""
        if layer.params or layer.buffers:
            return ""
    return ""


def _is_again(node: Node, first: Node) -> bool:
    """Whether a group is another one with the same weights, on one tensor."""
    ours, theirs = [*node.layers()], [*first.layers()]
    return (
        len(ours) == len(theirs)
        and all(_same(a, b, node.path, first.path) for a, b in zip(ours, theirs, strict=True))
        and _wired(ours) == _wired(theirs)
    )


def _same(layer: Layer, first: Layer, group: str, other: str) -> bool:
    alike = layer.op == first.op and layer.path[len(group) :] == first.path[len(other) :]
    if not alike or layer.ties or first.ties or first.module != first.path:
        return False
    return layer.module == first.path if layer.sharing else not layer.cost.params


def _wired(layers: list[Layer]) -> list[list[int]] | None:
    """Return which of the layers each one reads, -1 for what comes before; None for several."""
    place = {name: n for n, layer in enumerate(layers) for name in layer.outputs}
    given = {name for layer in layers for name in layer.inputs if name not in place}
    if len(given) != 1:
        return None
    return [[place.get(name, -1) for name in layer.inputs] for layer in layers]


def free(name: str, taken: set[str]) -> str:
    """Return a name of the language that is not taken yet, as near to this one as can be."""
    base = re.sub(r"#\d+$", "", name)
    base = re.sub(r"\W", "_", base)
    base = f"layer{base}" if base[:1].isdigit() or not base else base
    base = f"{base}_shared" if base in OPS else base
    made, number = base, 2
    while made in taken:
        made, number = f"{base}{'_' * base[-1].isdigit()}{number}", number + 1
    taken.add(made)
    return made


def unnumbered(network: Network) -> Network:
    """Return the network with the layers of a module's second run in a group of their own.

    What was read of a module that runs twice is ``tower.conv`` and ``tower.conv#2``; they become
    ``tower.conv`` and ``tower#2.conv``.
    """
    runs: dict[str, int] = {}
    for path in (*network.classes, *network.by_path):
        name, _, run = path.partition("#")
        runs[name] = max(runs.get(name, 1), int(run or 1)) if "." not in run else 1
    paths = {layer.path: _in_runs(layer.path, runs) for layer in network}
    if len(set(paths.values())) < len(paths) or all(a == b for a, b in paths.items()):
        return network

    def renamed(name: str) -> str:
        path, colon, place = name.partition(":")
        return paths.get(path, path) + colon + place

    layers = tuple(
        replace(
            layer, path=paths[layer.path], module=paths[layer.module],
            inputs=tuple(map(renamed, layer.inputs)),
            names={name: layer.full_name(name) for name in layer.cost.params},
        )
        for layer in network
    )  # fmt: skip
    return replace(network, layers=layers, outputs=tuple(map(renamed, network.outputs)))


def _in_runs(path: str, runs: dict[str, int]) -> str:
    """Return a path whose groups say in which of their runs it is."""
    name, _, run = path.partition("#")
    if not run.isdigit():
        return path
    groups, number, every = name.split("."), int(run), runs[name]
    made = [groups[-1]]
    for place in range(len(groups) - 1, 0, -1):
        group = ".".join(groups[:place])
        times = runs.get(group, 1)
        if times == 1 or every % times:
            made[-1] += f"#{number}" * (number > 1)
            return ".".join([*groups[:place], *reversed(made)])
        each = every // times
        own = (number - 1) % each + 1
        made[-1] += f"#{own}" * (own > 1)
        number, every = (number - 1) // each + 1, times
        made.append(groups[place - 1])
    made[-1] += f"#{number}" * (number > 1)
    return ".".join(reversed(made))
