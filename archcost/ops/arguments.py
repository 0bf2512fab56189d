"""What the arguments of an op accept: each function gives a dataclass field that checks values.

Every field's ``metadata["read"]`` takes the argument's name and value as a spec writes it, and
returns it normalised or raises OpError; ``metadata["accepts"]`` says in words what it takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from archcost.errors import OpError, did_you_mean, shorten
from archcost.shape import LARGEST, Shape, show

DIMENSION = "a dimension: 0 the channels, -1 the last"


def check(condition: bool, reason: str) -> None:
    """Refuse with ``reason`` unless ``condition`` holds."""
    if not condition:
        raise OpError(reason)


def show_argument(value: Any) -> str:
    """Return an argument as a table shows it: windows as ``3x3``, flags in lower case."""
    if isinstance(value, tuple) and value and all(isinstance(v, int) for v in value):
        return "x".join(str(int(v)) for v in value)
    if isinstance(value, tuple):
        return "(" + ", ".join(show_argument(v) for v in value) + ")"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def argument(
    accepts: str, read: Callable[[str, Any], Any], default: Any = dataclasses.MISSING
) -> Any:
    """An argument that ``read`` checks and normalises; ``accepts`` says what it takes."""
    return dataclasses.field(default=default, metadata={"read": read, "accepts": accepts})


def whole(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``; 24.0 is the int 24."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise OpError(f"{name} must be a whole number; got {shorten(show_argument(value))}")
    if not minimum <= value <= LARGEST:
        bound = f"at least {minimum}" if value < minimum else "at most 2**53"
        raise OpError(f"{name} must be {bound}; got {shorten(value)}")
    return value


def count(default: Any = dataclasses.MISSING, minimum: int = 1) -> Any:
    """A whole number."""

    def read(name: str, value: Any) -> Any:
        return value if value is None and default is None else whole(name, value, minimum)

    return argument(f"a whole number from {minimum} on", read, default)


def sizes(default: Any = dataclasses.MISSING, minimum: int = 1) -> Any:
    """A whole number for all spatial axes, or one per axis."""

    def read(name: str, value: Any) -> Any:
        if value is None and default is None:
            return None
        if isinstance(value, (list, tuple)):
            check(len(value) > 0, f"{name} is empty")
            return tuple(whole(name, v, minimum) for v in value)
        return whole(name, value, minimum)

    return argument(f"a whole number from {minimum} on, or one per axis", read, default)


def padding(default: Any = 0, words: tuple[str, ...] = ("same", "valid")) -> Any:
    """A whole number, one per axis, one pair (before, after) per axis, or a word."""

    def read(name: str, value: Any) -> Any:
        if isinstance(value, str):
            if value not in words:
                raise OpError(
                    f"{name} {value!r}{did_you_mean(value, words) or ' must be a number'}"
                )
            return value
        if isinstance(value, (list, tuple)):
            sides: list[int | tuple[int, ...]] = []
            for side in value:
                if isinstance(side, (list, tuple)):
                    check(len(side) == 2, f"{name} per side is a pair (before, after)")
                    sides.append(tuple(whole(name, s, 0) for s in side))
                else:
                    sides.append(whole(name, side, 0))
            check(len(sides) > 0, f"{name} is empty")
            return tuple(sides)
        return whole(name, value, 0)

    accepts = "a whole number from 0 on, one per axis, a pair (before, after) per axis"
    return argument(", ".join([accepts, *map(repr, words)]), read, default)


def flag(default: bool) -> Any:
    """True or False."""

    def read(name: str, value: Any) -> bool:
        check(isinstance(value, bool), f"{name} must be true or false; got {shorten(value)}")
        return bool(value)

    return argument("True or False", read, default)


def number(default: Any = dataclasses.MISSING, low: float = 0.0, high: float = 1.0) -> Any:
    """A real number from ``low`` to ``high``."""

    def read(name: str, value: Any) -> Any:
        if value is None and default is None:
            return None
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        check(
            ok and low <= value <= high,
            f"{name} must be from {low:g} to {high:g}; got {shorten(value)}",
        )
        return float(value)

    return argument(f"a number from {low:g} to {high:g}", read, default)


def choice(default: str, *options: str) -> Any:
    """One of a few words."""

    def read(name: str, value: Any) -> str:
        if value not in options:
            raise OpError(f"{name} {shorten(value)!r}{did_you_mean(str(value), options)}")
        return str(value)

    return argument(" or ".join(map(repr, options)), read, default)


def axis(default: int = 0) -> Any:
    """A dimension of the shape without batch; negative ones count from the end."""
    return argument(DIMENSION, lambda name, value: whole(name, value, -8), default)


def _whole_numbers(minimum: int) -> Callable[[str, Any], tuple[int, ...]]:
    def read(name: str, value: Any) -> tuple[int, ...]:
        check(isinstance(value, (list, tuple)) and len(value) > 0, f"{name} is a list of numbers")
        return tuple(whole(name, item, minimum) for item in value)

    return read


def axes() -> Any:
    """A list of dimensions of the shape without batch, 0 being the channels."""
    return argument("a list of dimensions, 0 the channels", _whole_numbers(0))


def shape_argument() -> Any:
    """A list of sizes, of which one may be -1."""

    def read(name: str, value: Any) -> tuple[int, ...]:
        sizes = _whole_numbers(-1)(name, value)
        check(0 not in sizes and sizes.count(-1) <= 1, f"{name} has sizes from 1 on and one -1")
        return sizes

    return argument("a list of sizes, of which one may be -1", read)


def axis_of(dim: int, x: Shape, op: str) -> int:
    """Return ``dim`` counted from the front, 0 being the channels; refuse one out of range."""
    if not -len(x) <= dim < len(x):
        raise OpError(
            f"{op} has no dim {dim} on {show(x)}; 0 is the channels, the batch is not counted"
        )
    return dim % len(x)


def features_axis() -> Any:
    """The dimension that holds the features; may be left out for a vector or tokens."""
    return argument(
        DIMENSION,
        lambda name, value: value if value is None else whole(name, value, -8),
        None,
    )


def features_of(dim: int | None, x: Shape, op: str, otherwise: str) -> int:
    """Return the dimension of the features, the last one of a vector or of tokens.

    A map has its channels first or last, so there ``dim`` must say which; ``otherwise`` is the
    advice for who did not mean to give a map.
    """
    if dim is not None:
        return axis_of(dim, x, op)
    check(len(x) <= 2, f"{op} takes a vector or tokens, not {show(x)}; {otherwise}")
    return len(x) - 1
