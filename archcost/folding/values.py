"""Values that differ between groups of one form, and how one is said by another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from archcost.folding.items import Item, Text
from archcost.folding.writer import value

NONE: Any = object()
"""In place of the value of a call that is not there."""

SHORT = {
    "out_channels": "width", "out_features": "width", "kernel_size": "kernel", "p": "drop",
    "times": "depth", "window_size": "window", "scale_factor": "factor",
}  # fmt: skip
"""What a parameter is called after the argument that it is."""
RESIDUAL, IN_CHANNELS = "residual", "in_channels"
WIDTHS = ("width", "inner", "out")
WIDE = ("out_channels", "out_features", "groups", *WIDTHS)
"""Arguments that count channels: one may be a multiple of another."""


@dataclass
class Param:
    """A parameter of a block: its value in each call, and the first and last place it is read."""

    name: str
    values: list[Any]
    first: int = 0
    last: int = 0
    default: Any = NONE


@dataclass
class Told:
    """An expression of parameters, whose names are known in the end."""

    text: str
    params: tuple[Param, ...] = ()

    def __str__(self) -> str:
        """Return it with the names."""
        return self.text.format(*(param.name for param in self.params))


@dataclass
class Made:
    """A block.

    Attributes:
        name: its name.
        params: its parameters.
        items: its body.
        defaults: the values that its parameters have unless given.
        of_class: whether it is what a class of modules is.
    """

    name: str
    params: list[Param]
    items: list[Item]
    defaults: dict[str, Any] = field(default_factory=dict)
    of_class: bool = False

    @property
    def head(self) -> str:
        """How it is defined."""
        cells = [
            p.name if p.default is NONE else f"{p.name}={value(p.default)}" for p in self.params
        ]
        return f"{self.name}({', '.join(cells)})" if cells else self.name


@dataclass
class Slot:
    """A value of an item that may differ: how to set it, and its values in each group."""

    put: Callable[[Text], None]
    values: list[Any]
    hint: str
    channels: list[int]
    keep: bool = False
    """Whether it is written even where it is the same in all."""
    of_op: bool = False
    """Whether it is an argument of an op."""


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type, or one of them is of no account."""
    if one is NONE or other is NONE:
        return True
    return type(one) is type(other) and bool(one == other)


def is_of_its_place(slot: Slot) -> bool:
    """Whether a value is said by the number of channels where it stands."""
    return any(isinstance(v, Text) and IN_CHANNELS in v.text for v in slot.values)


def is_channels(slot: Slot) -> bool:
    """Whether a value is the number of channels that its layer sees, in all groups."""
    pairs = zip(slot.values, slot.channels, strict=True)
    known = [(v, c) for v, c in pairs if v is not NONE]
    return (
        slot.of_op
        and slot.hint not in ("times", "x", "act", "first")
        and all(type(v) is int and v == c for v, c in known)
    )


def derived(slot: Slot, param: Param) -> str:
    """Return a slot as an expression of a parameter, empty if it is none."""
    pairs = [(v, p) for v, p in zip(slot.values, param.values, strict=True) if v is not NONE]
    if not all(type(v) is int and type(p) is int and v >= 0 and p > 0 for v, p in pairs):
        return ""
    if param.name == "kernel":
        same = slot.hint == "padding" and all(v == p // 2 for v, p in pairs)
        return "{} // 2" if same else ""
    if slot.hint not in WIDE or param.name not in WIDTHS:
        return ""
    first, own = pairs[0]
    for factor in range(2, 17):
        if first == factor * own and all(v == factor * p for v, p in pairs):
            return f"{factor} * {{}}"
        if own == factor * first and all(p == factor * v for v, p in pairs):
            return f"{{}} // {factor}"
    return ""
