"""The layers of a network in groups by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from archcost.network import Layer, Network, maker


@dataclass
class Node:
    """A group of layers that run one after the other.

    Attributes:
        path: of the group.
        name: the last part of it.
        parts: layers and groups, in order.
    """

    path: str
    name: str
    parts: list[Node | Layer] = field(default_factory=list)

    def layers(self) -> Iterator[Layer]:
        """Yield its layers, in order."""
        for part in self.parts:
            if isinstance(part, Layer):
                yield part
            else:
                yield from part.layers()


def tree_of(network: Network) -> Node:
    """Return the network as one group.

    A group that layers of another one interrupt is there twice. What a spec cannot have as a group
    is none: one of whose tensors inside others read, beside the one after it.
    """
    root = Node("", "")
    opened = [root]
    for layer in network:
        groups = layer.path.split(".")[:-1]
        depth = 0
        while depth < min(len(groups), len(opened) - 1) and opened[depth + 1].name == groups[depth]:
            depth += 1
        del opened[depth + 1 :]
        for place in range(depth, len(groups)):
            node = Node(".".join(groups[: place + 1]), groups[place])
            opened[-1].parts.append(node)
            opened.append(node)
        opened[-1].parts.append(layer)
    return _opened(root, readers_of(network), network)


def readers_of(network: Network) -> Mapping[str, set[str]]:
    """Return the paths of the layers that read each tensor, or a parameter of its layer."""
    found: dict[str, set[str]] = {}
    owners = {full: layer.path for layer in network for full in map(layer.full_name, layer.params)}
    for layer in network:
        for name in (*layer.inputs, *(owners[full] for full in layer.ties.values())):
            found.setdefault(name, set()).add(layer.path)
    return found


def result_of(node: Node, readers: Mapping[str, set[str]], last: str) -> str | None:
    """Return the tensor after a group, ``last`` if nobody reads any; None if it has several."""
    own = {layer.path for layer in node.layers()}
    outside = [
        name for layer in node.layers() for name in layer.outputs if readers.get(name, set()) - own
    ]
    if len(outside) > 1 or any(":" in name for name in outside):
        return None
    return outside[0] if outside else last


def _opened(node: Node, readers: Mapping[str, set[str]], network: Network) -> Node:
    """Return a group in which the groups that cannot be some are replaced by their parts."""
    parts: list[Node | Layer] = []
    for part in node.parts:
        if isinstance(part, Layer):
            parts.append(part)
            continue
        inner = _opened(part, readers, network)
        kept = _is_group(inner, readers, network)
        parts += [inner] if kept else inner.parts
    return Node(node.path, node.name, parts)


def _is_group(node: Node, readers: Mapping[str, set[str]], network: Network) -> bool:
    layers = [*node.layers()]
    result = result_of(node, readers, layers[-1].path)
    if result is None or maker(result) not in {layer.path for layer in layers}:
        return False
    owners = {full for layer in layers for full in map(layer.full_name, layer.params)}
    own = {layer.path for layer in layers}
    # who takes a parameter names the layer, which is seen in its group only
    return not any(
        full in owners for layer in network if layer.path not in own for full in layer.ties.values()
    )


def starts(layers: Sequence[Layer]) -> str:
    """Return the tensor that the first of some layers reads first."""
    return layers[0].inputs[0]
