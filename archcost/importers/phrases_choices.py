"""Comparisons, logic and choices among elements, as the ops of specs that say them."""

from __future__ import annotations

from typing import Any

from archcost.importers.calls import Called, Input
from archcost.importers.phrases import Rewriting, Said, rule
from archcost.network import Layer
from archcost.ops.base import make

COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
LOGIC = {"logical_and": "__and__", "logical_or": "__or__", "logical_xor": "__xor__"}
ORDERED = {
    "argmax": ("dim", "keepdim"), "argmin": ("dim", "keepdim"), "argsort": ("dim", "descending"),
    "sort": ("dim", "descending"), "topk": ("k", "dim", "largest"), "cumsum": ("dim",),
    "gather": ("dim",),
}  # fmt: skip
"""The options of functions along a dimension, in PyTorch's order; the ops have them too."""

OF_ALL = ("argmax", "argmin")
"""Functions of all elements together, unless they are told a dimension."""


def _read(layer: Layer, op: Called) -> list[str] | None:
    """Return the tensors that a call is given, in its order; None if it has others of its own."""
    places = [arg.place for arg in (*op.args, *op.kwargs.values()) if isinstance(arg, Input)]
    return None if op.params or op.buffers else [layer.inputs[place] for place in places]


@rule(*COMPARISONS, *(f"__{name}__" for name in COMPARISONS))
def _comparison(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    name, read = op.function.strip("_"), _read(layer, op)
    number = [arg for arg in op.args if isinstance(arg, (int, float)) and not isinstance(arg, bool)]
    if not read or len(read) + len(number) != 2 or not isinstance(op.args[0], Input):
        return None
    return Said(make(name, *number), tuple(read))


@rule(*LOGIC, *LOGIC.values(), "logical_not", "__invert__", "bitwise_not")
def _logic(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    names = {other: name for name, other in LOGIC.items()}
    name = names.get(op.function, op.function if op.function in LOGIC else "logical_not")
    read = _read(layer, op)
    masks = read and all(self.network.values[each].dtype == "bool" for each in read)
    return Said(make(name), tuple(read)) if read and masks else None


@rule("where", "masked_fill")
def _masked(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    read = _read(layer, op)
    if op.function == "where":
        return Said(make("where"), tuple(read)) if read and len(read) == 3 else None
    value = op.kwargs.get("value", op.args[2] if len(op.args) > 2 else None)
    if not read or len(read) != 2 or not isinstance(value, (int, float)):
        return None
    return Said(make("masked_fill", value), (read[1], read[0]))


@rule(*ORDERED)
def _ordered(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    """What reads the places beside the elements finds them nowhere: then there is no op."""
    names, read = ORDERED[op.function], _read(layer, op)
    given = [arg for arg in op.args if not isinstance(arg, Input)]
    options: dict[str, Any] = dict(zip(names, given, strict=False))
    options |= {name: arg for name, arg in op.kwargs.items() if not isinstance(arg, Input)}
    places = f"{layer.path}:1"
    dim = options.get("dim", None if op.function in OF_ALL else -1)
    if not read or {*options} - {*names} or dim is None:
        return None
    if places in self.readers or places in self.network.outputs:
        return None
    rank = len(self.network.values[read[0]].shape) + 1
    options["dim"] = dim % rank - 1
    return Said(make(op.function, **options), tuple(reversed(read))) if dim % rank else None
