"""The normal form of formulas over whole numbers: polynomials in symbols and in rounded quotients.

A polynomial maps monomials to integer coefficients; a monomial is a sorted tuple of the numbers of
its atoms, each as often as its power. An atom is a symbol, a quotient rounded down, a maximum, a
minimum, or whatever else a formula hides. Formulas that are equal as polynomials are equal always,
so ``(n + 1) // 2`` and ``n`` halved and rounded up are one form.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import ceil, floor, gcd, inf, isinf, isnan, prod
from typing import Any, NamedTuple

Monomial = tuple[int, ...]
Polynomial = dict[Monomial, int]
Bounds = tuple[float, float]

MAX_TERMS = 400
"""A product of more terms is an atom of its own: its factors stay as they are."""


class Atom(NamedTuple):
    """A part of a polynomial that is not a sum or a product.

    Its arguments are polynomials, each by its terms; a ``symbol`` has its name, and a ``number``,
    which is not whole, itself.
    """

    op: str
    args: tuple[Any, ...]


Terms = tuple[tuple[Monomial, int], ...]


def divisor(atom: Atom) -> int:
    """Return the number by which an atom is a quotient rounded down, else 0."""
    by: Terms = atom.args[1] if atom.op == "//" else ()
    return by[0][1] if len(by) == 1 and not by[0][0] else 0


def constant(value: int) -> Polynomial:
    """Return a number as a polynomial."""
    return {(): value} if value else {}


def terms(polynomial: Polynomial) -> Terms:
    """Return the terms of a polynomial in an order that is always the same."""
    return tuple(sorted(polynomial.items()))


def add(a: Polynomial, b: Polynomial, times: int = 1) -> Polynomial:
    """Return ``a + times·b``."""
    total = dict(a)
    for monomial, coefficient in b.items():
        total[monomial] = total.get(monomial, 0) + times * coefficient
        if not total[monomial]:
            del total[monomial]
    return total


def multiply(a: Polynomial, b: Polynomial) -> Polynomial:
    """Return ``a·b``."""
    total: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            monomial = tuple(sorted(left + right))
            total[monomial] = total.get(monomial, 0) + x * y
    return {monomial: coefficient for monomial, coefficient in total.items() if coefficient}


def divided(p: Polynomial, q: Polynomial) -> Polynomial | None:
    """Return ``p/q`` where ``q`` is a term that divides each term of ``p``, or ``p`` is ``k·q``."""
    if len(q) != 1:
        times = p.get(first := next(iter(q)), 0) // q[first] if q else 0
        return constant(times) if times and p == multiply(q, constant(times)) else None
    [(monomial, coefficient)] = q.items()
    result: Polynomial = {}
    for own, factor in p.items():
        left = list(own)
        for atom in monomial:
            if atom not in left:
                return None
            left.remove(atom)
        if factor % coefficient:
            return None
        result[tuple(left)] = factor // coefficient
    return result


class Forms:
    """The atoms of the formulas of one run, what bounds them, and their normal forms."""

    def __init__(self) -> None:
        self.atoms: list[Atom] = []
        self.bounds: dict[int, Bounds] = {}
        self._numbers: dict[Atom, int] = {}
        self._known: dict[int, Bounds] = {}
        self._rules: dict[int, tuple[int, Polynomial]] = {}

    def atom(self, op: str, *args: Any) -> Polynomial:
        """Return the atom as a polynomial."""
        made = Atom(op, args)
        number = self._numbers.setdefault(made, len(self.atoms))
        if number == len(self.atoms):
            self.atoms.append(made)
        return {(number,): 1}

    def within(self, atom: int) -> set[int]:
        """Return the atoms that an atom is made of."""
        op, args = self.atoms[atom]
        inner = () if op in ("symbol", "number") else args
        own = {each for arg in inner for monomial, _ in arg for each in monomial}
        return own.union(*map(self.within, own))

    def restrict(self, form: Polynomial, low: float, high: float) -> None:
        """Say that a symbol lies between two numbers, too."""
        [[symbol]] = form
        least, most = self.bounds.get(symbol, (-inf, inf))
        self.bounds[symbol] = max(least, low), min(most, high)
        self._known.clear()

    def learn(self, zero: Polynomial) -> None:
        """Use that a polynomial is 0 where the run holds: 2⌊k/2⌋ = k − 1, of an odd k."""
        for monomial, times in zero.items():
            if len(monomial) == 1 and divisor(self.atoms[monomial[0]]):
                [atom], sign = monomial, -1 if times > 0 else 1
                rest = {own: sign * c for own, c in zero.items() if own != monomial}
                if not any(atom in own for own in rest):
                    self._rules.setdefault(atom, (abs(times), rest))
                    return

    def reduced(self, polynomial: Polynomial) -> Polynomial:
        """Return a polynomial without the rounded quotients that are something else as is known."""
        for atom, (times, rest) in self._rules.items():
            while any(atom in own and c % times == 0 for own, c in polynomial.items()):
                total: Polynomial = {}
                for own, c in polynomial.items():
                    if atom in own and c % times == 0:
                        left = list(own)
                        left.remove(atom)
                        total = add(total, multiply({tuple(left): c // times}, rest))
                    else:
                        total = add(total, {own: c})
                polynomial = total
        return polynomial

    def whole(self, op: str, a: Polynomial, b: Polynomial | None = None) -> Polynomial:
        """Return the normal form of an operation that gives a whole number."""
        if b is None:
            return multiply(a, constant(-1)) if op == "neg" else self.atom(op, terms(a))
        match op:
            case "+" | "-":
                return add(a, b, 1 if op == "+" else -1)
            case "*":
                return self.product(a, b)
            case "//":
                return self.quotient(a, b)
            case "ceil_div":
                return multiply(self.quotient(multiply(a, constant(-1)), b), constant(-1))
            case "%":
                return add(a, self.product(b, self.quotient(a, b)), -1)
            case "max" | "min":
                return self.largest(op, a, b)
        if op == "**" and set(b) <= {()} and b.get((), 0) <= 8:
            power = constant(1)
            for _ in range(b.get((), 0)):
                power = self.product(power, a)
            return power
        return self.atom(op, terms(a), terms(b))

    def fraction(self, op: str, *args: Polynomial) -> Polynomial:
        """Return an operation that gives a float: an atom of its own, also of constants."""
        floats = [self.atom("number", float(arg[()])) if set(arg) == {()} else arg for arg in args]
        return self.atom(op, *map(terms, floats))

    def product(self, a: Polynomial, b: Polynomial) -> Polynomial:
        """Return ``a·b``; of very long factors it is an atom."""
        if len(a) * len(b) > MAX_TERMS:
            return self.atom("*", *sorted((terms(a), terms(b))))
        return multiply(a, b)

    def largest(self, op: str, a: Polynomial, b: Polynomial) -> Polynomial:
        """Return the maximum or minimum (``op``: max, min) of two polynomials."""
        low, high = self.interval(add(a, b, -1))
        if low >= 0 or high <= 0:
            return a if (low >= 0) == (op == "max") else b
        return self.atom(op, *sorted((terms(a), terms(b))))

    def quotient(self, p: Polynomial, q: Polynomial) -> Polynomial:
        """Return ``p // q``."""
        if set(q) == {()}:
            n = q[()]
            return self.floor(p, n) if n > 0 else self.floor(multiply(p, {(): -1}), -n)
        exact = divided(p, q)
        return exact if exact is not None else self.atom("//", terms(p), terms(q))

    def floor(self, p: Polynomial, n: int) -> Polynomial:
        """Return ``p // n`` for a positive number.

        What n divides goes out, common factors go, the first term that is left is positive, and a
        quotient of a quotient is one: ⌊(⌊a/m⌋ + c)/n⌋ = ⌊(a + c·m)/(m·n)⌋.
        """
        whole: Polynomial = {}
        rest: Polynomial = {}
        for monomial, c in p.items():
            out = c // n if c >= 0 or not monomial else -(-c // n)
            if out:
                whole[monomial] = out
            if c - out * n:
                rest[monomial] = c - out * n
        start = rest.pop((), 0)
        if not rest:
            return whole
        common = gcd(n, *rest.values())
        if common > 1:
            rest = {monomial: c // common for monomial, c in rest.items()}
            return add(whole, self.floor(add(rest, constant(start // common)), n // common))
        first = min(rest)
        if rest[first] < 0:  # ⌊−a/n⌋ = −⌊(a + n − 1)/n⌋
            turned = add(multiply(rest, {(): -1}), constant(n - 1 - start))
            return add(whole, self.floor(turned, n), -1)
        inner = self.atoms[first[0]] if len(rest) == 1 and len(first) == 1 else None
        if inner and (m := divisor(inner)) and rest[first] == 1:
            below = add(dict(inner.args[0]), constant(start * m))
            return add(whole, self.floor(below, m * n))
        return add(whole, self.atom("//", terms(add(rest, constant(start))), terms(constant(n))))

    # Bounds.

    def interval(self, polynomial: Polynomial) -> Bounds:
        """Return numbers between which the value lies, as far as each term alone says."""
        low: float = 0
        high: float = 0
        for monomial, coefficient in polynomial.items():
            least: float = coefficient
            most: float = coefficient
            for atom in monomial:
                least, most = corners(_times, (least, most), self.atom_interval(atom))
            low, high = low + least, high + most
        return low, high

    def largest_sum(self, polynomial: Iterable[tuple[Monomial, int]]) -> float:
        """Return what no part of a polynomial's sum exceeds, whatever its sign."""
        total: float = 0
        for monomial, c in polynomial:
            most = [max(map(abs, self.atom_interval(atom))) for atom in monomial]
            total += prod(most, start=abs(c))
        return total

    def close_interval(self, polynomial: Polynomial) -> Bounds:
        """Return closer bounds: ⌊a/n⌋ lies between a/n − (n − 1)/n and a/n, which may cancel."""
        least, most = self.interval(polynomial)
        low = self.interval(self._relaxed(polynomial, below=True))[0]
        high = self.interval(self._relaxed(polynomial, below=False))[1]
        return max(low, least), min(high, most)

    def _relaxed(self, polynomial: Polynomial, below: bool) -> Any:
        """Return a polynomial of fractions below or above another, without rounded quotients."""
        total: Any = {}
        waiting: list[tuple[Monomial, Any]] = list(polynomial.items())
        while waiting:
            monomial, c = waiting.pop()
            n = divisor(self.atoms[monomial[0]]) if len(monomial) == 1 else 0
            if n:
                inner = dict(self.atoms[monomial[0]].args[0])
                lost = n - 1 if (c > 0) == below else 0
                parts = add(inner, constant(-lost)).items()
                waiting += [(own, Fraction(c * factor, n)) for own, factor in parts]
            else:
                total[monomial] = total.get(monomial, 0) + c
        return {monomial: c for monomial, c in total.items() if c}

    def atom_interval(self, atom: int) -> Bounds:
        """Return numbers between which an atom lies."""
        if atom in self.bounds:
            return self.bounds[atom]
        if atom not in self._known:
            self._known[atom] = self._found(*self.atoms[atom])
        return self._known[atom]

    def _found(self, op: str, args: tuple[Any, ...]) -> Bounds:
        if op in ("number", "symbol"):
            return (args[0], args[0]) if op == "number" else (-inf, inf)
        a, *others = (self.interval(dict(arg)) for arg in args)
        if op == "neg":
            return -a[1], -a[0]
        if op in _ROUND:
            low, high = (n if isinf(n) else _ROUND[op](n) for n in a)
            return low, high
        [b] = others
        if op == "<":
            return 0, 1
        if (op in ("/", "//", "%") and b[0] <= 0) or (op == "**" and a[0] < 0):
            return -inf, inf
        return (0, b[1]) if op == "%" else corners(_MONOTONE[op], a, b)


def _times(a: float, b: float) -> float:
    return a * b if a and b else 0


def _over(a: float, b: float) -> float:
    return a if isinf(a) else a // b if b != inf else (-1 if a < 0 else 0)


_ROUND: Mapping[str, Callable[[float], int]] = {
    "floor": floor, "ceil": ceil, "round": round, "int": int,
}  # fmt: skip
_MONOTONE: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": _times, "/": operator.truediv, "//": _over,
    "**": operator.pow, "max": max, "min": min,
}  # fmt: skip


def corners(compute: Callable[[Any, Any], Any], a: Bounds, b: Bounds) -> Bounds:
    """Return the bounds of what is monotone in both of its arguments."""
    try:
        found = [compute(x, y) for x in a for y in b]
    except OverflowError:
        return -inf, inf
    return (-inf, inf) if any(map(isnan, found)) else (min(found), max(found))
