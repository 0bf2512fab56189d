"""What the arguments of an op accept: each function gives an :class:`Argument`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.errors import OpError, did_you_mean, written
from archcost.number import truncated
from archcost.shape import LARGEST, Shape, show

REQUIRED: Any = object()
"""The default of an argument that must be given."""

DIMENSION = "a dimension: 0 the channels, -1 the last"


def check(condition: bool, reason: str) -> None:
    """Refuse with ``reason`` unless ``condition`` holds."""
    if not condition:
        raise OpError(reason)


def show_argument(value: Any) -> str:
    """Return an argument as a table shows it: windows as ``3x3``, flags in lower case."""
    if isinstance(value, tuple) and value and all(isinstance(v, int) for v in value):
        return "x".join(map(str, value))
    if isinstance(value, tuple):
        return "(" + ", ".join(show_argument(v) for v in value) + ")"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


class Argument:
    """An argument of an op.

    Attributes:
        name: as specs call it.
        accepts: what it takes, in words.
        read: takes its name and its value as a spec writes it; returns the value normalised, or
            raises OpError.
        default: its value unless given, :data:`REQUIRED` if it must be.
    """

    __slots__ = ("accepts", "default", "name", "read")

    def __init__(self, accepts: str, read: Callable[[str, Any], Any], default: Any) -> None:
        self.name, self.accepts, self.read, self.default = "", accepts, read, default

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name of the attribute."""
        self.name = name


def argument(accepts: str, read: Callable[[str, Any], Any], default: Any = REQUIRED) -> Any:
    """An argument that ``read`` checks and normalises; ``accepts`` says what it takes."""
    return Argument(accepts, read, default)


def whole(name: str, value: Any, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``; 24.0 is the int 24."""
    if isinstance(value, float) and value.is_integer():
        value = truncated(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise OpError(f"{name} must be a whole number; got {written(value)}")
    if not minimum <= value <= LARGEST:
        bound = f"at least {minimum}" if value < minimum else "at most 2**53"
        raise OpError(f"{name} must be {bound}; got {written(value)}")
    return value


def count(default: Any = REQUIRED, minimum: int = 1) -> Any:
    """A whole number."""

    def read(name: str, value: Any) -> Any:
        return value if value is None and default is None else whole(name, value, minimum)

    return argument(f"a whole number from {minimum} on", read, default)


def sizes(default: Any = REQUIRED, minimum: int = 1) -> Any:
    """A whole number for all spatial axes, or one per axis."""

    def read(name: str, value: Any) -> Any:
        if value is None and default is None:
            return None
        if isinstance(value, (list, tuple)):
            check(len(value) > 0, f"{name} is empty")
            return tuple(whole(name, v, minimum) for v in value)
        return whole(name, value, minimum)

    return argument(f"a whole number from {minimum} on, or one per axis", read, default)


def output_sizes() -> Any:
    """A whole number for all spatial axes, or one per axis, of which some may be None."""

    def read(name: str, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            return whole(name, value)
        check(any(size is not None for size in value), f"{name} has no size")
        return tuple(size if size is None else whole(name, size) for size in value)

    return argument("a whole number from 1 on, or one or null per axis", read)


def padding(default: Any = 0, words: tuple[str, ...] = ("same", "valid"), minimum: int = 0) -> Any:
    """A whole number, one per axis, one pair (before, after) per axis, or a word."""

    def read(name: str, value: Any) -> Any:
        if isinstance(value, str):
            if value not in words:
                raise OpError(
                    f"{name} {written(value)}{did_you_mean(value, words) or ' must be a number'}"
                )
            return value
        if isinstance(value, (list, tuple)):
            sides: list[int | tuple[int, ...]] = []
            for side in value:
                if isinstance(side, (list, tuple)):
                    check(len(side) == 2, f"{name} per side is a pair (before, after)")
                    sides.append(tuple(whole(name, s, minimum) for s in side))
                else:
                    sides.append(whole(name, side, minimum))
            check(len(sides) > 0, f"{name} is empty")
            return tuple(sides)
        return whole(name, value, minimum)

    number = "a whole number" if minimum < 0 else "a whole number from 0 on"
    accepts = f"{number}, one per axis, a pair (before, after) per axis"
    return argument(", ".join([accepts, *map(repr, words)]), read, default)


def factors() -> Any:
    """A number above 0 for all spatial axes, or one per axis."""

    def one(name: str, value: Any) -> Any:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = fits and 0 < value <= LARGEST
        check(fits, f"{name} must be a number above 0; got {written(value)}")
        whole = isinstance(value, float) and value.is_integer()
        return truncated(value) if whole else value

    def read(name: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            check(len(value) > 0, f"{name} is empty")
            return tuple(one(name, each) for each in value)
        return None if value is None else one(name, value)

    return argument("a number above 0, or one per axis", read, None)


def flag(default: bool) -> Any:
    """True or False."""

    def read(name: str, value: Any) -> bool:
        check(isinstance(value, bool), f"{name} must be true or false; got {written(value)}")
        return bool(value)

    return argument("True or False", read, default)


def number(default: Any = REQUIRED, low: float = 0.0, high: float = 1.0) -> Any:
    """A real number from ``low`` to ``high``."""

    def read(name: str, value: Any) -> Any:
        if value is None and default is None:
            return None
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        check(
            ok and low <= value <= high,
            f"{name} must be from {low:g} to {high:g}; got {written(value)}",
        )
        return value if isinstance(value, float) else float(value)

    return argument(f"a number from {low:g} to {high:g}", read, default)


def real(default: Any = REQUIRED, low: float = -LARGEST) -> Any:
    """A real number of either sign, or from ``low`` on."""
    accepts = "a number" if low else "a number from 0 on"

    def read(name: str, value: Any) -> Any:
        if value is None and default is None:
            return None
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        wanted = accepts if not ok or low else "from 0 on"
        check(ok and low <= value <= LARGEST, f"{name} must be {wanted}; got {written(value)}")
        return value if isinstance(value, float) else float(value)

    return argument(accepts, read, default)


def choice(default: str, *options: str) -> Any:
    """One of a few words."""

    def read(name: str, value: Any) -> str:
        if value not in options:
            raise OpError(f"{name} {written(value)}{did_you_mean(str(value), options)}")
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


def some_axes() -> Any:
    """A dimension or a list of them, of the shape without batch."""

    def read(name: str, value: Any) -> tuple[int, ...]:
        return _whole_numbers(-8)(name, value if isinstance(value, (list, tuple)) else [value])

    return argument(f"{DIMENSION}, or a list of them", read)


def one_axis() -> Any:
    """A dimension of the shape without batch, or a list of one."""

    def read(name: str, value: Any) -> int:
        listed = value if isinstance(value, (list, tuple)) else [value]
        check(len(listed) == 1, f"{name} is one dimension; got {written(value)}")
        return whole(name, listed[0], -8)

    return argument(DIMENSION, read)


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


def features_axes() -> Any:
    """The dimension that holds the features, or several; may be left out for tokens."""

    def read(name: str, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return _whole_numbers(-8)(name, value)
        return value if value is None else whole(name, value, -8)

    return argument(f"{DIMENSION}, or a list of them", read, None)


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
    if len(x) > 2:
        raise OpError(f"{op} takes a vector or tokens, not {show(x)}; {otherwise}")
    return len(x) - 1
