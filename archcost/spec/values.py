"""What the values of expressions can do: the operators and functions, each with its own refusals.

A value is a number, a word, a list, true, false, null, or a layer. Python's operators do the work
on values that were checked before, so that a message speaks of the spec and never of Python.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from archcost.errors import ArchcostError, shorten, written
from archcost.number import less, maximum, minimum, truncated

MAX_NUMBER = 2**53
MAX_ITEMS = 10_000


class Operand:
    """An operand: its place in the expression, and its value."""

    __slots__ = ("node", "value")

    def __init__(self, node: ast.expr, value: Any) -> None:
        self.node, self.value = node, value

    @property
    def source(self) -> str:
        """The operand as it is written."""
        return source(self.node)


class Refused(ArchcostError):
    """An operator or a function that does not take these values."""


def source(node: ast.expr) -> str:
    """Return the text of an expression, on one short line."""
    return shorten(ast.unparse(node).removesuffix(" else None"))


def kind(value: Any) -> str:
    """Return what sort of value it is, in words."""
    if is_number(value):
        return "a number"
    if value is None or isinstance(value, bool):
        return written(value)
    if isinstance(value, (str, list)):
        return "a word" if isinstance(value, str) else "a list"
    return "a layer"


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none, though they count as 1 and 0."""
    return _counts(value) and not isinstance(value, bool)


def _counts(value: Any) -> bool:
    return isinstance(value, (int, float)) or hasattr(value, "numerator")  # a fraction


def described(*operands: Operand) -> str:
    """Return what operands are that do not fit, and where the numbers of a list are."""
    texts, advice = [], ""
    for operand in operands:
        text, said = operand.source, written(operand.value)
        texts.append(f"{text} is {kind(operand.value) if text.lower() == said else said}")
        numbers = isinstance(operand.value, list) and any(map(is_number, operand.value[:1]))
        if numbers and not isinstance(operand.node, ast.List):
            advice = advice or f"; one of its numbers is {text}[0]"
    return ", ".join(texts) + advice


# Operators.

BINARY: Mapping[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
    ast.Pow: ("**", operator.pow),
}
COMPARE: Mapping[type, tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Eq: ("==", operator.eq),
    ast.NotEq: ("!=", operator.ne),
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
    ast.In: ("in", lambda a, b: a in b),
    ast.NotIn: ("not in", lambda a, b: a not in b),
}


def negative(operand: Operand) -> Any:
    """Return ``-x``."""
    if not _counts(operand.value):
        raise Refused(f"- needs a number; {described(operand)}")
    return -operand.value


def binary(sign: type, left: Operand, right: Operand) -> Any:
    """Return ``left sign right``: of numbers, two lists, two words, or a list as often as said."""
    symbol, compute = BINARY[sign]
    a, b = left.value, right.value
    if _counts(a) and _counts(b):
        if sign is ast.Pow and (abs(b) > 64 or abs(a) > 2**32):
            raise Refused("a power beyond 2**32 ** 64")
        try:
            return compute(a, b)
        except ZeroDivisionError:
            raise Refused("division by zero") from None
        except OverflowError:
            raise Refused("a number larger than 2**53") from None
    if sign is ast.Add and type(a) is type(b) and isinstance(a, (list, str)):
        return a + b
    if sign is ast.Mult and isinstance(a, list) != isinstance(b, list):
        items, times = (a, b) if isinstance(a, list) else (b, a)
        if isinstance(times, int):
            if len(items) * times > MAX_ITEMS:
                raise Refused(f"longer than {MAX_ITEMS:,} items")
            return items * times
    wrong = [operand for operand in (left, right) if not _counts(operand.value)]
    raise Refused(f"{symbol} needs numbers; {described(*wrong)}")


def compare(sign: type, left: Operand, right: Operand) -> bool:
    """Return whether ``left sign right`` holds; a list and a number cannot be compared."""
    symbol, holds = COMPARE[sign]
    a, b = left.value, right.value
    if sign in (ast.In, ast.NotIn):
        if not isinstance(b, list) and not (isinstance(a, str) and isinstance(b, str)):
            raise Refused(f"{symbol} needs a list on its right; {described(right)}")
    elif sign in (ast.Eq, ast.NotEq):
        lists = [isinstance(value, list) for value in (a, b)]
        if any(lists) and (_counts(a) or _counts(b)):  # never alike, so a slip
            which = right if lists[1] else left
            raise Refused(f"{symbol} compares a list with a number; {described(which)}")
    elif not (_counts(a) and _counts(b)) and not (isinstance(a, str) and isinstance(b, str)):
        wrong = [operand for operand in (left, right) if not _counts(operand.value)]
        raise Refused(f"{symbol} compares numbers; {described(*wrong)}")
    return holds(a, b)


def item(items: Operand, index: Operand) -> Any:
    """Return ``items[index]``."""
    if not isinstance(items.value, (list, str)):
        raise Refused(f"only a list has an index; {described(items)}")
    if not isinstance(index.value, int):
        raise Refused(f"an index is a whole number; {described(index)}")
    length = len(items.value)
    if not -length <= index.value < length:
        there = f"its items are 0 to {length - 1}" if length else "it is empty"
        raise Refused(f"{items.source} has no item {written(index.value)}; {there}")
    return items.value[index.value]


def cut(items: Operand, bounds: list[Operand | None]) -> Any:
    """Return ``items[low:high]``."""
    if not isinstance(items.value, (list, str)):
        raise Refused(f"only a list can be sliced; {described(items)}")
    for bound in bounds:
        if bound and bound.value is not None and not isinstance(bound.value, int):
            raise Refused(f"slices of a list need whole numbers; {described(bound)}")
    low, high = (bound.value if bound else None for bound in bounds)
    return items.value[low:high]


def bounded(value: Any) -> Any:
    """Return a value that is finite and not too large, or refuse it."""
    if is_number(value) and not isinstance(value, complex):
        if isinstance(value, float) and not abs(value) < math.inf:
            raise Refused("not a finite number")
        if isinstance(value, int) and abs(value) > MAX_NUMBER:
            raise Refused("a number larger than 2**53")
    if isinstance(value, complex):
        raise Refused("not a real number")
    if isinstance(value, (list, str)) and len(value) > MAX_ITEMS:
        raise Refused(f"longer than {MAX_ITEMS:,} items")
    return value


# Functions.


def make_divisible(value: float, divisor: int = 8, minimum: int | None = None) -> int:
    """Round to a multiple of ``divisor``, at least ``minimum``, at most 10 % below ``value``.

    The channel rounding of MobileNet and EfficientNet (Sandler et al. 2018).
    """
    _number("make_divisible", value)
    _whole("make_divisible", divisor)
    if divisor < 1:
        raise Refused(f"make_divisible needs a divisor of at least 1; got {divisor}")
    floor = divisor if minimum is None else _number("make_divisible", minimum)
    rounded = maximum(floor, truncated(value + divisor / 2) // divisor * divisor)
    return rounded + divisor * less(rounded, 0.9 * value)


def spatial_size(shape: tuple[int, ...]) -> list[int]:
    """Return the spatial sizes, one per axis, of a ``(channels, *spatial)`` shape."""
    if len(shape) < 2:
        raise Refused("the tensor has no spatial size")
    return list(shape[1:])


def _number(function: str, value: Any) -> Any:
    if not _counts(value):
        raise Refused(f"{function} needs a number; got {written(value)}")
    return value


def _whole(function: str, value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = truncated(value)
    if not isinstance(value, int):
        raise Refused(f"{function} needs whole numbers; got {written(value)}")
    return value


def _items(function: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"{function} needs a list; got {written(value)}")
    return value


def _numbers(function: str, values: tuple[Any, ...]) -> Iterator[Any]:
    """Yield the numbers that are given, or those of the one list that is."""
    items = _items(function, values[0]) if len(values) == 1 else values
    if not items:
        raise Refused(f"{function} needs a number at least")
    return (_number(function, value) for value in items)


def _round(number: float, digits: int | None = None) -> Any:
    _number("round", number)
    return round(number) if digits is None else round(number, _whole("round", digits))


def _length(items: Any) -> int:
    return len(items if isinstance(items, str) else _items("len", items))


def _sum(items: Any) -> Any:
    return sum(_number("sum", value) for value in _items("sum", items))


def _range(start: int, stop: int | None = None, step: int = 1) -> list[int]:
    first, last = (0, start) if stop is None else (start, stop)
    if step == 0:
        raise Refused("range needs a step other than 0")
    numbers = range(*(_whole("range", number) for number in (first, last, step)))
    if len(numbers) > MAX_ITEMS:
        raise Refused(f"range of {len(numbers):,} is longer than {MAX_ITEMS:,}")
    return list(numbers)


def _enumerate(items: Any, start: int = 0) -> list[Any]:
    pairs = enumerate(_items("enumerate", items), _whole("enumerate", start))
    return [list(pair) for pair in pairs]


def _zip(*lists: Any) -> list[Any]:
    lengths = [len(_items("zip", items)) for items in lists]
    if len(set(lengths)) > 1:
        raise Refused(
            f"zip needs lists of the same length; got {', '.join(map(str, lengths))} items"
        )
    return [list(row) for row in zip(*lists, strict=True)]


def _shape_of(function: str, layer: Any) -> tuple[int, ...]:
    if not hasattr(layer, "shape"):
        raise Refused(f"{function} needs a layer's name; got {written(layer)}")
    shape: tuple[int, ...] = layer.shape
    return shape


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": lambda number: abs(_number("abs", number)),
    "ceil": lambda number: math.ceil(_number("ceil", number)),
    "floor": lambda number: math.floor(_number("floor", number)),
    "round": _round,
    "min": lambda *numbers: minimum(*_numbers("min", numbers)),
    "max": lambda *numbers: maximum(*_numbers("max", numbers)),
    "len": _length,
    "sum": _sum,
    "int": lambda number: truncated(_number("int", number)),
    "range": _range,
    "enumerate": _enumerate,
    "zip": _zip,
    "make_divisible": make_divisible,
    "channels": lambda layer: _shape_of("channels", layer)[0],
    "size": lambda layer: spatial_size(_shape_of("size", layer)),
}
"""What an expression may call. ``round`` is Python's: halves go to the even number."""


def usage(name: str, function: Callable[..., Any]) -> str:
    """Return how a function is called: ``make_divisible(value, divisor=8, minimum=null)``."""
    import inspect  # only errors need it

    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            parameters.append(f"{parameter.name}...")
        elif parameter.default is parameter.empty:
            parameters.append(parameter.name)
        else:
            parameters.append(f"{parameter.name}={written(parameter.default)}")
    return f"{name}({', '.join(parameters)})"


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many values."""
    import inspect  # only errors need it

    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    return True
