"""The formulas of a run on symbolic numbers, and the conditions under which the run holds.

When a symbolic number is compared, the bounds of the symbols decide. If they cannot, its value
decides, and the graph notes a guard. Where the guards hold, the same run gives the same formulas,
as with PyTorch's SymInt. It has no hash, because a set would compare without a note, and to make an
int of it pins it to its value.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from archcost.normal import (
    Bounds,
    Forms,
    Polynomial,
    Terms,
    add,
    constant,
    divisor,
    multiply,
    terms,
)
from archcost.notation import Notation
from archcost.number import Symbolic, plain
from archcost.series import Series, compared, depends

LARGEST_SIZE = 2**20
"""Up to which size a symbol stands for unless it is said otherwise."""

COMPUTE: Mapping[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "//": operator.floordiv, "%": operator.mod, "**": operator.pow, "neg": operator.neg,
    "ceil_div": lambda a, b: -(-a // b), "<": lambda a, b: int(a < b), "max": max, "min": min,
    "floor": math.floor, "ceil": math.ceil, "round": round, "int": int,
}  # fmt: skip
"""What an operation of the graph computes. ``round`` is Python's, ``int`` drops the fraction."""

HOLDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
CONTRARY = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


class Guard(NamedTuple):
    """A condition under which a run holds: the sign of a polynomial, ``left >= 0`` say."""

    left: Terms
    sign: str


class Graph:
    """The formulas of one run, each once, and the guards under which it holds.

    Attributes:
        numbers: every number of the run, each after those that it is made of.
        guards: the conditions that were met, beside the bounds of the symbols.
        pins: numbers that were made plain, which the run holds no other value of.
        repeats: how often a layer stands one after another, by its path, where equal layers are
            made once; None in a run that makes all layers. It is a number, or a row of layers that
            differ by their number, for each repeat around the layer, the innermost first.
        fixed: whether equal layers are made once also where a number says how often they stand.
        rows: the rows of layers that are made at present, the innermost last.
        grows: after how many repeats the others, which differ by their number, are made once; 0
            in a run that makes all of them.
    """

    def __init__(self) -> None:
        self.numbers: list[Any] = []
        self.guards: dict[Guard, None] = {}
        self.pins: list[Any] = []
        self.repeats: dict[str, list[Any]] | None = None
        self.fixed = True
        self.rows: list[Series] = []
        self.grows = 1
        self.symbols: dict[str, Any] = {}
        self.forms = Forms()
        self._made: dict[Any, Symbolic] = {}
        self._decided: dict[Any, bool] = {}

    def symbol(
        self, value: float, name: str = "", low: float = 1, high: float = LARGEST_SIZE
    ) -> Any:
        """Return a number that formulas call ``name``, between ``low`` and ``high``.

        One without a name is a number of which only the derivation is asked for.
        """
        made = Symbolic(self, "symbol", (name,), value)
        made.form = self.forms.atom("symbol", name or made.index)
        if name:
            self.symbols[name] = made
            self.forms.restrict(made.form, low, high)
        return made

    @contextmanager
    def row(self, last: Any) -> Iterator[Symbolic]:
        """Give the number of a layer in a row, which stands for 1, 2, ... up to the last."""
        made = Symbolic(self, "symbol", ("",), 1)
        made.form = self.forms.atom("symbol", made.index)
        self.forms.restrict(made.form, 1, self.interval(last)[1])
        self.rows.append(Series(made, last))
        try:
            yield made
        finally:
            self.rows.pop()

    def apply(self, op: str, *args: Any) -> Any:
        """Return the number that an operation gives; the same one for the same formula."""
        if len(args) == 2 and (short := _neutral(op, *args)) is not None:
            return short
        key = (op, *(a.index if type(a) is Symbolic else (type(a), a) for a in args))
        made = self._made.get(key)
        if made is None:
            # noted first: the run that ends here holds where there is no result either
            if op in _DIVIDES and type(args[1]) is Symbolic:
                self.compare("!=", args[1], 0)
            if op == "**":  # a fraction, or a complex number, where these do not hold
                for arg in args:
                    self.compare(">=", arg, 0)
            value = COMPUTE[op](*map(plain, args))
            if type(value) is complex:
                return value
            made = self._made[key] = Symbolic(self, op, args, value)
        return made

    def rounded(self, op: str, number: Any) -> Any:
        """Return a whole number of a float (``op``: floor, ceil, round, int)."""
        return number if isinstance(number, int) else self.apply(op, number)

    def extreme(self, op: str, a: Any, b: Any) -> Any:
        """Return the maximum or minimum (``op``: max, min): one of both where that is known."""
        known = self.decide(">=", a, b)
        if known is None and isinstance(a, int) is not isinstance(b, int):  # the type is a's or b's
            known = self.compare(">=", a, b)
        return self.apply(op, a, b) if known is None else a if known == (op == "max") else b

    def pinned(self, number: Any) -> Any:
        """Return the plain value; the run holds for no other."""
        if self.decide("==", number, number.value) is None:
            self.pins.append(number)
        self.compare("==", number, number.value)
        return number.value

    def domain(self) -> dict[str, Bounds]:
        """Return between which numbers each symbol lies, so far as the run has found."""
        return {name: self.interval(symbol) for name, symbol in self.symbols.items()}

    def show(self, number: Any, notation: type[Notation] = Notation) -> str:
        """Return the closed form of a number: ``83,410,944·h·w + 2,048,000``."""
        return notation(self.forms).polynomial(self.form(number))

    def conditions(
        self, notation: type[Notation] = Notation, guards: Iterable[Guard] | None = None
    ) -> list[str]:
        """Return the bounds of the symbols and the guards, or some of these, each as it is said."""
        written = notation(self.forms)
        bounds = [written.between(name, *ends) for name, ends in self.domain().items()]
        said = self.guards if guards is None else guards
        return [*bounds, *dict.fromkeys(written.condition(dict(own), sign) for own, sign in said)]

    def noted(self) -> tuple[Any, ...]:
        """Return what tells whether the run has met a condition since."""
        return len(self.guards), len(self.pins), dict(self.forms.bounds)

    # Comparison.

    def compare(self, sign: str, a: Any, b: Any) -> bool:
        """Return whether ``a sign b``, and note the guard unless it always is so or never."""
        known = self.decide(sign, a, b)
        if known is not None:
            return known
        for series in reversed(self.rows):
            if depends(a, series.number) or depends(b, series.number):
                return compared(self, series, sign, a, b, lambda own, x, y: HOLDS[own](x, y))
        outcome = HOLDS[sign](plain(a), plain(b))
        self._note(sign if outcome else CONTRARY[sign], a, b)
        return outcome

    def decide(self, sign: str, a: Any, b: Any) -> bool | None:
        """Return whether ``a sign b`` for all that the symbols stand for; None if it depends."""
        if sign in ("!=", "<", "<="):
            contrary = self.decide(CONTRARY[sign], a, b)
            return None if contrary is None else not contrary
        if a is b:
            return sign != ">"
        key = sign, *(n.index if type(n) is Symbolic else (type(n), n) for n in (a, b))
        if (known := self._decided.get(key)) is None:
            known = self._found(sign, a, b)
            if known is not None:  # bounds only come closer
                self._decided[key] = known
        return known

    def _found(self, sign: str, a: Any, b: Any) -> bool | None:
        low, high = self.forms.interval(apart := self._apart(a, b))
        if low < 0 < high or 0 in (low, high):
            low, high = self.forms.close_interval(apart)
        match sign:
            case ">=":
                return True if low >= 0 else False if high < 0 else None
            case ">":
                return True if low > 0 else False if high <= 0 else None
        return True if low == high == 0 else False if low > 0 or high < 0 else None

    def _apart(self, a: Any, b: Any) -> Polynomial:
        if isinstance(a, int) and isinstance(b, int):
            return self.forms.reduced(add(self.form(a), self.form(b), -1))
        return self.form(a - b)

    def _note(self, sign: str, a: Any, b: Any) -> None:
        apart = self._apart(a, b)
        match sign:
            case _ if not (isinstance(a, int) and isinstance(b, int)):
                self.guards[Guard(terms(apart), sign)] = None
            case ">=" | ">":
                self._not_negative(add(apart, constant(-(sign == ">"))))
            case "<=" | "<":
                turned = multiply(apart, constant(-1))
                self._not_negative(add(turned, constant(-(sign == "<"))))
            case "==" if _is_atom(apart):
                self._not_negative(apart)
                self._not_negative(multiply(apart, constant(-1)))
            case "!=" if 0 in (bounds := self.forms.interval(apart)):  # at one end
                beyond = apart if bounds[0] == 0 else multiply(apart, constant(-1))
                self._not_negative(add(beyond, constant(-1)))
            case _:
                self.guards[Guard(terms(apart), sign)] = None
                if sign == "==":
                    self.forms.learn(apart)

    def _not_negative(self, apart: Polynomial) -> None:
        """Note that a polynomial is at least 0: as a bound of a symbol where it is of one alone."""
        rest = dict(apart)
        start = rest.pop((), 0)
        [(monomial, times), *others] = rest.items()
        if others or len(monomial) > 1:
            self.guards[Guard(terms(apart), ">=")] = None
            return
        atom = self.forms.atoms[monomial[0]]
        bound = -(start // times) if times > 0 else start // -times  # at least, or at most
        if atom.op == "symbol":
            own = (bound, math.inf) if times > 0 else (-math.inf, bound)
            self.forms.restrict({monomial: 1}, *own)
        elif n := divisor(atom):
            below = add(dict(atom.args[0]), constant(-bound * n))
            turned = add(constant(n - 1), below, -1)
            self._not_negative(below if times > 0 else turned)
        else:
            self.guards[Guard(terms(apart), ">=")] = None

    # Normal forms and bounds.

    def form(self, number: Any) -> Polynomial:
        """Return the normal form of a number; a float is an atom of its own, or made of floats."""
        if type(number) is not Symbolic:
            whole = isinstance(number, int)
            return constant(int(number)) if whole else self.forms.atom("number", number)
        waiting = [number]
        while waiting:
            top = waiting[-1]
            unknown = [arg for arg in top.args if type(arg) is Symbolic and arg.form is None]
            if not unknown:
                whole = isinstance(top.value, int)
                made = self.forms.whole if whole else self.forms.fraction
                args = (self.forms.reduced(self.form(arg)) for arg in top.args)
                top.form = top.form or self.forms.reduced(made(top.op, *args))
                waiting.pop()
            waiting += unknown
        return number.form or {}

    def interval(self, number: Any) -> Bounds:
        """Return numbers between which a number lies."""
        return self.forms.interval(self.form(number))


def _is_atom(apart: Polynomial) -> bool:
    """Whether a polynomial is one atom, once, and a number."""
    found = [term for term in apart.items() if term[0]]
    return len(found) == 1 and len(found[0][0]) == 1 and abs(found[0][1]) == 1


_DIVIDES = ("/", "//", "%", "ceil_div")


def _neutral(op: str, a: Any, b: Any) -> Any:
    """Return what is left of a sum with 0, or of a product with 0 or 1; None of others."""
    if type(b) is int or type(b) is bool:
        if b == 0 and op in ("+", "-"):
            return a
        if b == 1 and op == "*":
            return a
        if b == 0 and op == "*" and isinstance(a, int):
            return 0
        if b == 1 and op in ("//", "ceil_div") and isinstance(a, int):
            return a
    elif (type(a) is int or type(a) is bool) and op in ("+", "*"):
        return _neutral(op, b, a)
    return None
