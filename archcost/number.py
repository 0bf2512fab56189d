"""Numbers that know their formula, and what formulas compute beyond arithmetic.

A symbolic number replaces an int or a float where formulas are computed. It has a value, and the
formula that gave it, as a node of the run's :class:`~archcost.graph.Graph`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from archcost.graph import Graph
    from archcost.normal import Polynomial


class Symbolic:
    """A number of a run with its formula: an operation on other numbers of the run.

    It takes part in all arithmetic as the int or float that it stands for.
    """

    __slots__ = ("args", "form", "graph", "index", "op", "reason", "settled", "value")

    def __init__(self, graph: Graph, op: str, args: tuple[Any, ...], value: Any) -> None:
        self.graph, self.op, self.args, self.value = graph, op, args, value
        self.index = len(graph.numbers)
        graph.numbers.append(self)
        self.form: Polynomial | None = None
        self.reason: tuple[str, tuple[Any, ...]] = ("", ())
        self.settled = False

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """What it stands for: ``isinstance(number, int)`` holds for a whole number."""
        return type(self.value)

    def __hash__(self) -> int:
        raise TypeError("a symbolic number has no hash: compare it, or keep it in a list")

    def __bool__(self) -> bool:
        return self.graph.compare("!=", self, 0)

    def __int__(self) -> int:
        return int(self.graph.pinned(self))

    def __index__(self) -> int:
        return operator.index(self.graph.pinned(self))

    def __float__(self) -> float:
        return float(self.graph.pinned(self))

    def __pos__(self) -> Any:
        return self

    def __neg__(self) -> Any:
        return self.graph.apply("neg", self)

    def __abs__(self) -> Any:
        return maximum(self, -self)

    def __floor__(self) -> Any:
        return self.graph.rounded("floor", self)

    def __ceil__(self) -> Any:
        return self.graph.rounded("ceil", self)

    def __round__(self, digits: int | None = None) -> Any:
        if digits is not None:
            return round(self.graph.pinned(self), digits)
        return self.graph.rounded("round", self)

    @property
    def numerator(self) -> int:
        """What it is in a fraction: its plain value, to which it is pinned."""
        return int(self)

    @property
    def denominator(self) -> int:
        """That of a whole number."""
        return 1

    def is_integer(self) -> bool:
        """Whether it is a whole number, as of a float."""
        return bool(math.floor(self) == self)

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __repr__(self) -> str:
        """Return what tells it from other numbers of the run."""
        return f"<number {self.index}: {self.value}>"


_NUMBERS = (int, float, bool, Symbolic)


def _method(run: str, op: str, turned: bool = False) -> Callable[[Any, Any], Any]:
    def method(self: Any, other: Any) -> Any:
        if type(other) not in _NUMBERS:
            if not isinstance(other, int):
                return NotImplemented
            other = int(other)
        return getattr(self.graph, run)(op, *((other, self) if turned else (self, other)))

    return method


for _name, _op in {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
}.items():  # fmt: skip
    setattr(Symbolic, f"__{_name}__", _method("apply", _op))
    setattr(Symbolic, f"__r{_name}__", _method("apply", _op, turned=True))
for _name, _op in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(Symbolic, f"__{_name}__", _method("compare", _op))


def is_whole(value: object) -> bool:
    """Whether a value is a whole number, and no truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def plain(number: Any) -> Any:
    """Return the value of a number without its formula, and without pinning it."""
    return number.value if type(number) is Symbolic else number


def pinned(number: Any) -> Any:
    """Return the value of a number, to which it is pinned if it has a formula."""
    return number.graph.pinned(number) if type(number) is Symbolic else number


N = TypeVar("N", bound=float)
T = TypeVar("T")


def _graph(numbers: Iterable[Any]) -> Graph | None:
    return next((number.graph for number in numbers if type(number) is Symbolic), None)


def ceil_div(value: int, divisor: int) -> int:
    """Return ``value / divisor`` rounded up."""
    graph = _graph((value, divisor))
    return graph.apply("ceil_div", value, divisor) if graph else -(-value // divisor)


def maximum(*numbers: N) -> N:
    """Return the largest of numbers, as ``max`` does, but with its formula."""
    return _extreme("max", max, numbers)


def minimum(*numbers: N) -> N:
    """Return the smallest of numbers, as ``min`` does, but with its formula."""
    return _extreme("min", min, numbers)


def _extreme(op: str, choose: Callable[..., N], numbers: tuple[N, ...]) -> N:
    graph = _graph(numbers)
    if graph is None:
        return choose(numbers)
    found: Any = numbers[0]
    for number in numbers[1:]:
        found = graph.extreme(op, found, number)
    return found  # type: ignore[no-any-return]


def less(a: Any, b: Any) -> int:
    """Return 1 where ``a < b``, else 0: a choice by a formula instead of a guard."""
    graph = _graph((a, b))
    known = graph.decide("<", a, b) if graph else a < b
    return graph.apply("<", a, b) if graph and known is None else int(bool(known))


def truncated(number: Any) -> int:
    """Return a number without its fraction, as ``int`` does, but with its formula."""
    graph = _graph((number,))
    return graph.rounded("int", number) if graph else int(number)


def remembered(function: Callable[..., T]) -> Callable[..., T]:
    """Keep what a function gives for plain numbers; with formulas, which have no hash, it runs."""
    known = lru_cache(maxsize=4096)(function)

    @wraps(function)
    def call(*args: Any) -> T:
        try:
            return known(*args)
        except TypeError:
            return function(*args)

    return call


def because(number: Any, reason: str, *values: int) -> int:
    """Say why the formula of a number is as it is; ``{}`` in the reason stands for the values."""
    if _graph((number,)):
        number.reason = reason, values
    return number  # type: ignore[no-any-return]
