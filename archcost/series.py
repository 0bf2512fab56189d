"""What differs in a row of equal layers by their number alone: conditions on all, and their sum.

A row of layers is made once, for a number that stands for 1, 2, ... up to the last. A condition
that depends on the number holds for all of them if it does at both ends, and what is compared only
rises or only falls in between. A figure that is a polynomial in the number has a sum that is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import factorial
from typing import TYPE_CHECKING, Any, NamedTuple

from archcost.number import Symbolic, plain

if TYPE_CHECKING:
    from archcost.graph import Graph


class Unfolded(Exception):
    """A run that has made equal layers once needs each of them, as one is named by its path."""


class Uneven(Exception):
    """The layers of a row differ by more than is known as a formula: all of them are to be made."""


class Series(NamedTuple):
    """Layers that stand one after another: their number, from 1, and which is the last."""

    number: Symbolic
    last: Any


def depends(formula: Any, number: Symbolic) -> bool:
    """Whether a number of a run is made of another one."""
    waiting, seen = [formula], set[int]()
    while waiting:
        own = waiting.pop()
        if own is number:
            return True
        if type(own) is Symbolic and own.index > number.index and own.index not in seen:
            seen.add(own.index)
            waiting += own.args
    return False


def at(formula: Any, number: Symbolic, value: Any) -> Any:
    """Return a formula with a value, which may be a formula, in the place of a number in it."""
    known: dict[int, Any] = {number.index: value}

    def found(own: Any) -> Any:
        if type(own) is not Symbolic or not depends(own, number):
            return own
        if own.index not in known:
            known[own.index] = number.graph.apply(own.op, *map(found, own.args))
        return known[own.index]

    return found(formula)


def direction(formula: Any, number: Symbolic) -> int:
    """Return 1 where a formula never falls while a number rises, -1 where it never rises, or 0.

    Floats count as they are rounded: rounding keeps the order.

    Raises:
        Uneven: it is not known.
    """
    if formula is number:
        return 1
    if type(formula) is not Symbolic or not depends(formula, number):
        return 0
    a, b = [*(direction(own, number) for own in formula.args), 0][:2]
    op = formula.op
    if op == "neg":
        return -a
    if op in ("floor", "ceil", "round", "int"):
        return a
    if op in ("+", "max", "min") and a * b >= 0:
        return a or b
    if op in ("max", "min"):  # as of a number and its contrary
        return a if number.graph.compare(">=", *formula.args) == (op == "max") else b
    if op == "-" and a * b <= 0:
        return a or -b
    if op == "*" and not (a and b):
        return a * _sign(formula.args[1]) if a else b * _sign(formula.args[0])
    if op in ("/", "//", "ceil_div") and not b and _sign(formula.args[1]) > 0:
        return a
    raise Uneven


def _sign(factor: Any) -> int:
    """Return -1, 0 or 1; where a factor may be on both sides of 0, the run notes on which it is."""
    if type(factor) is not Symbolic:
        return int(factor > 0) - int(factor < 0)
    if factor.graph.interval(factor)[0] >= 0:
        return 1
    return int(factor.graph.compare(">", factor, 0)) - int(factor.graph.compare("<", factor, 0))


def compared(
    graph: Graph, series: Series, sign: str, a: Any, b: Any, holds: Callable[[str, Any, Any], bool]
) -> bool:
    """Return whether ``a sign b`` for all layers of a row, and note it of both ends.

    Raises:
        Uneven: it differs, or that is not known.
    """
    number, last = series
    a_way, b_way = direction(a, number), direction(b, number)
    if a_way * b_way > 0:
        raise Uneven
    ends = [(at(a, number, end), at(b, number, end)) for end in (1, last)]

    def outcomes(own: str) -> set[bool]:
        return {holds(own, plain(left), plain(right)) for left, right in ends}

    choices = ("<", ">") if sign in ("==", "!=") else (sign,)
    for own in choices:
        outcome = outcomes(own)
        if len(outcome) == 1 and (sign == own or outcome == {True}):
            for left, right in ends:
                graph.compare(own, left, right)
            return sign == "!=" if sign in ("==", "!=") else outcome.pop()
    raise Uneven


def total(formula: Any, series: Series) -> Any:
    """Return the sum of what a formula is for each layer of a row.

    A polynomial of degree n has n differences that are not 0, and their sums are binomials.

    Raises:
        Uneven: it is no polynomial in the number.
    """
    number, last = series
    if not depends(formula, number):
        return formula * last
    graph = number.graph
    [[atom]] = graph.form(number)
    form = graph.form(formula)
    if any(own != atom and atom in graph.forms.within(own) for term in form for own in term):
        raise Uneven
    degree = max((term.count(atom) for term in form), default=0)
    values = [at(formula, number, k) for k in range(1, degree + 2)]
    whole, found, chosen = factorial(degree + 1), 0, last
    for k, difference in enumerate(_differences(values)):
        found += difference * (whole // factorial(k + 1)) * chosen
        chosen = chosen * (last - (k + 1))
    return found // whole


def _differences(values: list[Any]) -> Iterator[Any]:
    """Yield the first of values, of their differences, of the differences of these, ..."""
    while values:
        yield values[0]
        values = [b - a for a, b in pairwise(values)]
