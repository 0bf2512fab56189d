"""Polynomials in few operations: what many terms share is computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import count

from archcost.normal import Monomial, Polynomial, Terms, terms

Atoms = Callable[[int], str]
"""Returns what stands for an atom."""
Split = Callable[[Polynomial], tuple[list[tuple[Monomial, Polynomial]], Polynomial]]
"""Returns a polynomial as products of atoms and shorter polynomials, and as the terms besides."""


def horner(polynomial: Polynomial) -> tuple[list[tuple[Monomial, Polynomial]], Polynomial]:
    """Take out the atoms that most terms have, one after the other: the fewest operations."""
    parts, rest = list[tuple[Monomial, Polynomial]](), polynomial
    while (atom := _most_frequent(rest)) is not None:
        parts.append(((atom,), {_without(own, atom): c for own, c in rest.items() if atom in own}))
        rest = {own: c for own, c in rest.items() if atom not in own}
    return parts, rest


def along(names_of: Callable[[int], frozenset[str]], names: Collection[str]) -> Split:
    """Take out what depends on one of some names alone: few operations for each pair of values.

    Over all combinations of values, what depends on one name is computed once for each of its
    values, and only products and sums of such parts for each combination.
    """

    def split(polynomial: Polynomial) -> tuple[list[tuple[Monomial, Polynomial]], Polynomial]:
        atoms = {atom for own in polynomial for atom in own}
        among = {atom: names_of(atom).intersection(names) for atom in atoms}
        if len(frozenset().union(*among.values())) < 2:
            return horner(polynomial)
        choices = []
        for name in names:
            parts = dict[Monomial, Polynomial]()
            for own, c in polynomial.items():
                taken = tuple(atom for atom in own if among[atom] == {name})
                parts.setdefault(taken, {})[tuple(a for a in own if a not in taken)] = c
            choices += [parts] if any(parts) else []
        return ([*min(choices, key=len).items()], {}) if choices else horner(polynomial)

    return split


class Nested:
    """Writes polynomials as Horner's scheme does: ``x*(3*y + z) + z`` for ``3xy + xz + z``.

    Over whole numbers the same number comes out, also over those of 64 bits that begin anew where
    they end: there, too, a sum may be written in any order.
    """

    def __init__(self, split: Split = horner, numbers: Iterator[int] | None = None) -> None:
        """Write polynomials as they are split; lines are numbered from 0, or by other numbers."""
        self._split, self._numbers = split, count() if numbers is None else numbers
        self._parts: dict[Terms, tuple[list[tuple[Monomial, Terms]], Terms]] = {}
        self._uses = Counter[Terms]()
        self._names: dict[Terms, str] = {}

    def add(self, polynomial: Polynomial) -> Terms:
        """Take a polynomial to be written later; return what :meth:`write` calls it."""
        key = terms(polynomial)
        self._uses[key] += 1
        if key not in self._parts:
            parts, rest = self._split(polynomial)
            self._parts[key] = [(taken, self.add(own)) for taken, own in parts], terms(rest)
        return key

    def write(self, key: Terms, atom: Atoms, lines: list[str]) -> str:
        """Return a polynomial as source; what stands there several times gets a line of its own."""
        if key in self._names:
            return self._names[key]
        parts, rest = self._parts[key]
        pieces = [
            "*".join([*map(atom, taken), f"({self.write(inner, atom, lines)})"])
            for taken, inner in parts
        ]
        for monomial, c in rest:
            factors = [*map(atom, monomial)]
            pieces.append("*".join(factors if c == 1 and factors else [str(c), *factors]))
        text = " + ".join(pieces) or "0"
        if self._uses[key] > 1 and len(key) > 1:
            text, made = f"p{next(self._numbers)}", text
            lines.append(f"{text} = {made}")
            self._names[key] = text
        return text


def _most_frequent(polynomial: Polynomial) -> int | None:
    """Return the atom that most terms have; None if no two have one."""
    counts = Counter(atom for monomial in polynomial for atom in {*monomial})
    best = max(counts, key=lambda atom: (counts[atom], -atom), default=None)
    return best if best is not None and counts[best] > 1 else None


def _without(monomial: Monomial, atom: int) -> Monomial:
    place = monomial.index(atom)
    return monomial[:place] + monomial[place + 1 :]


def depends_on_sum(polynomial: Polynomial, u: int, v: int) -> bool:
    """Whether a polynomial in two atoms is one in their sum: both derivatives are equal."""
    return _derivative(polynomial, u) == _derivative(polynomial, v)


def _derivative(polynomial: Polynomial, atom: int) -> Polynomial:
    return {
        _without(own, atom): c * own.count(atom) for own, c in polynomial.items() if atom in own
    }


def with_sum(polynomial: Polynomial, u: int, v: int, both: int) -> Polynomial:
    """Return a polynomial in the sum of two atoms, of which it depends: the one is 0."""
    return {
        tuple(sorted(both if atom == u else atom for atom in own)): c
        for own, c in polynomial.items()
        if v not in own
    }
