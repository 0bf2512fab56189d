"""Which layers of a network are what, for what says several of them in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archcost.importers.calls import Called, Own
from archcost.network import Layer, maker

VIEWS = frozenset({
    "reshape", "view", "permute", "transpose", "unbind", "chunk", "split", "unflatten", "flatten",
    "contiguous", "unsqueeze", "squeeze", "__getitem__", "swapaxes", "movedim",
})  # fmt: skip
"""Functions that rearrange the elements of one tensor, or choose among them."""


def beside(path: str, suffix: str) -> str:
    """Return the path of a layer beside another one; that of a second run has its number last."""
    name, mark, number = path.partition("#")
    return f"{name}{suffix}{mark}{number}"


def is_reshaped(layer: Layer) -> bool:
    """Whether a layer is a parameter in another shape."""
    op = layer.op
    if not isinstance(op, Called) or op.function not in ("reshape", "view", "unsqueeze"):
        return False
    return isinstance(op.args[0], Own) and len(layer.params) == 1


def live_layers(
    layers: Sequence[Layer], outputs: Sequence[str], dropped: set[str]
) -> Iterator[Layer]:
    """Yield the layers without the calls that only those read that were left out."""
    read = {*map(maker, outputs)}
    kept: list[Layer] = []
    for layer in reversed(layers):
        unread = isinstance(layer.op, Called) and layer.path not in read
        if unread and layer.op.name in (*VIEWS, "expand", "__setitem__"):
            continue
        read.update(map(maker, layer.inputs))
        kept.append(layer)
    return reversed(kept)
