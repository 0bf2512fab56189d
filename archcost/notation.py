"""How formulas are written: as people do, in LaTeX, and as Python source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from archcost.normal import Forms, Polynomial, Terms, add, constant, divisor

_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Notation:
    """Formulas as people write them: ``3·⌈H/32⌉² − 1``."""

    times = "·"
    minus = "−"
    signs: ClassVar[Mapping[str, str]] = {
        ">=": "≥", "<=": "≤", "!=": "≠", "==": "=", ">": ">", "<": "<",
    }  # fmt: skip
    infix: ClassVar[Mapping[str, str]] = {
        "+": "+", "-": "−", "*": "·", "/": "/", "**": "^", "%": "mod", "<": "<",
    }  # fmt: skip

    def __init__(self, forms: Forms) -> None:
        self.forms = forms

    def polynomial(self, polynomial: Polynomial) -> str:
        """Return a polynomial, the highest powers first."""
        return " ".join(self.terms(polynomial))

    def terms(self, polynomial: Polynomial) -> list[str]:
        """Return the terms of a polynomial, each but the first with its sign and a space."""
        ordered = sorted(polynomial.items(), key=lambda term: (-len(term[0]), -abs(term[1]), term))
        made: list[str] = []
        for monomial, coefficient in ordered:
            factors = [self.power(self.atom(n), monomial.count(n)) for n in dict.fromkeys(monomial)]
            if abs(coefficient) != 1 or not factors:
                factors.insert(0, self.number(abs(coefficient)))
            sign = self.minus if coefficient < 0 else "+"
            lead = f"{sign} " if made else sign * (coefficient < 0)
            made.append(lead + self.times.join(factors))
        return made or [self.number(0)]

    def atom(self, index: int) -> str:
        """Return an atom, in brackets where it is more than a name or a number."""
        op, args = self.forms.atoms[index]
        if op in ("symbol", "number"):
            return self.symbol(str(args[0])) if op == "symbol" else self.number(args[0])
        if n := divisor(self.forms.atoms[index]):
            return self.quotient(dict(args[0]), n)
        if op in self.infix:
            left, right = map(self._operand, args)
            return f"({left} {self.infix[op]} {right})"
        return self.call(op, [self.polynomial(dict(arg)) for arg in args])

    def _operand(self, arg: Terms) -> str:
        """Return an argument of a sign, in brackets unless it is an atom or a number."""
        alone = len(arg) < 2 and all(not own or (len(own) == 1 and c == 1) for own, c in arg)
        text = self.polynomial(dict(arg))
        return text if alone else f"({text})"

    def condition(self, left: Polynomial, sign: str) -> str:
        """Return a comparison of a polynomial, or of what a division of it leaves, with 0."""
        text = self.polynomial(left)
        if sign in ("==", "!=") and (divided := self._divided(left)):
            text = self.remainder(*divided)
        return f"{text} {self.signs[sign]} {self.number(0)}"

    def _divided(self, left: Polynomial) -> tuple[Polynomial, int] | None:
        """Return ``a`` and ``n`` where this is 0 if ``n`` divides ``a``; None of others.

        It is a multiple of ``a - n*floor(a/n)``, and ``a`` has no divisor in common with ``n``.
        """
        for own, times in left.items():
            n = divisor(self.forms.atoms[own[0]]) if len(own) == 1 else 0
            if n and times % n == 0:
                below = dict(self.forms.atoms[own[0]].args[0])
                if add(left, below, times // n) == {own: times}:
                    shared = math.gcd(*below.values())
                    return {monomial: c // shared for monomial, c in below.items()}, n
        return None

    def remainder(self, above: Polynomial, n: int) -> str:
        """Return what a division of a polynomial by a number leaves."""
        text = self.polynomial(above)
        text = f"({text})" if len(above) > 1 else text
        return f"{text} {self.infix['%']} {self.number(n)}"

    def between(self, name: str, low: float, high: float) -> str:
        """Return the bounds of a symbol, or the one value that it has."""
        name = self.symbol(name)
        if low == high:
            return f"{name} {self.signs['==']} {self.number(low)}"
        sign = self.signs["<="]
        return f"{self.number(low)} {sign} {name} {sign} {self.number(high)}"

    def number(self, number: float) -> str:
        """Return a number with all its digits."""
        return f"{number:,}".removesuffix(".0").replace("-", "−")

    def symbol(self, name: str) -> str:
        """Return the name of a symbol."""
        return name

    def power(self, base: str, exponent: int) -> str:
        """Return a power of an atom."""
        return base + (str(exponent).translate(_RAISED) if exponent > 1 else "")

    def quotient(self, below: Polynomial, n: int) -> str:
        """Return a polynomial over a number, rounded down; rounded up where that is shorter."""
        if below.get(()) == n - 1:
            return f"⌈{self._over(add(below, constant(1 - n)), n)}⌉"
        return f"⌊{self._over(below, n)}⌋"

    def _over(self, above: Polynomial, n: int) -> str:
        text = self.polynomial(above)
        return f"({text})/{self.number(n)}" if len(above) > 1 else f"{text}/{self.number(n)}"

    def call(self, op: str, args: Sequence[str]) -> str:
        """Return another operation: a maximum, a rounded float, a quotient of two polynomials."""
        if op == "//":
            return f"⌊({args[0]})/({args[1]})⌋"
        return f"{self.minus if op == 'neg' else op}({', '.join(args)})"


class Latex(Notation):
    r"""Formulas in LaTeX's math mode: ``3 \left\lceil \frac{H}{32} \right\rceil^{2} - 1``."""

    times = r" \, "
    minus = "-"
    signs: ClassVar[Mapping[str, str]] = {
        ">=": r"\ge", "<=": r"\le", "!=": r"\ne", "==": "=", ">": ">", "<": "<",
    }  # fmt: skip
    infix: ClassVar[Mapping[str, str]] = {
        **Notation.infix, "-": "-", "*": r"\cdot", "%": r"\bmod",
    }  # fmt: skip

    def number(self, number: float) -> str:
        """Return a number; a bare comma would be followed by a space."""
        return f"{number:,}".removesuffix(".0").replace(",", "{,}")

    def symbol(self, name: str) -> str:
        """Return a name: a letter as a variable, a word upright."""
        return name if len(name) == 1 else rf"\mathrm{{{name}}}".replace("_", r"\_")

    def power(self, base: str, exponent: int) -> str:
        """Return a power of an atom."""
        return base + (f"^{{{exponent}}}" if exponent > 1 else "")

    def quotient(self, below: Polynomial, n: int) -> str:
        """Return a polynomial over a number, rounded down; rounded up where that is shorter."""
        side = "floor"
        if below.get(()) == n - 1:
            side, below = "ceil", add(below, constant(1 - n))
        inner = rf"\frac{{{self.polynomial(below)}}}{{{self.number(n)}}}"
        return rf"\left\l{side} {inner} \right\r{side}"

    def call(self, op: str, args: Sequence[str]) -> str:
        """Return another operation; what LaTeX has no name of is upright."""
        joined = ", ".join(args)
        if op == "//":
            return rf"\left\lfloor \frac{{{args[0]}}}{{{args[1]}}} \right\rfloor"
        if op in ("floor", "ceil"):
            return rf"\left\l{op} {joined} \right\r{op}"
        name = {"max": r"\max", "min": r"\min", "neg": "-"}.get(op, rf"\operatorname{{{op}}}")
        return rf"{name}\left({joined}\right)"


_CALLED = ("int", "math", "max", "min", "round")


class Python(Notation):
    """Formulas as Python source: ``3*((H + 31) // 32)**2 - 1``."""

    times = "*"
    minus = "-"
    signs: ClassVar[Mapping[str, str]] = {sign: sign for sign in Notation.signs}
    infix: ClassVar[Mapping[str, str]] = {op: op for op in ("+", "-", "*", "/", "//", "**", "%")}

    def number(self, number: float) -> str:
        """Return a number as Python reads it back."""
        if isinstance(number, int):
            return f"{number:_}"
        return (
            repr(number) if math.isfinite(number) else f"math.{number}".replace("math.-", "-math.")
        )

    def symbol(self, name: str) -> str:
        """Return a name that hides nothing that formulas call: ``max_`` for ``max``."""
        return f"{name}_" if name in _CALLED else name

    def power(self, base: str, exponent: int) -> str:
        """Return a power of an atom."""
        return base + (f"**{exponent}" if exponent > 1 else "")

    def quotient(self, below: Polynomial, n: int) -> str:
        """Return a polynomial over a number, rounded down."""
        above = self.polynomial(below)
        return f"({f'({above})' if len(below) > 1 else above} // {self.number(n)})"

    def atom(self, index: int) -> str:
        """Return an atom; the arguments of an operation are in brackets."""
        op, args = self.forms.atoms[index]
        if op in self.infix and not divisor(self.forms.atoms[index]):
            left, right = (self.polynomial(dict(arg)) for arg in args)
            return f"(({left}) {op} ({right}))"
        return super().atom(index)

    def call(self, op: str, args: Sequence[str]) -> str:
        """Return another operation, as a call of Python's builtins or of ``math``."""
        if op == "<":
            return f"int({args[0]} < {args[1]})"
        name = {"neg": "-", "floor": "math.floor", "ceil": "math.ceil"}.get(op, op)
        return f"({name}({', '.join(args)}))" if op == "neg" else f"{name}({', '.join(args)})"
