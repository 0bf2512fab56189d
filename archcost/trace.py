"""Integers that remember how they were computed, so that a formula can explain itself.

``Traced`` is an ``int``: an op's formulas run on it unchanged, and the result carries the text
that a person would write, ``(224 + 2·1 − 3)/1 + 1``.
"""

from __future__ import annotations

from typing import Any

SUM, PRODUCT, ATOM = 1, 2, 3


class Traced(int):
    """An integer with the text of its derivation.

    ``text`` is how the number appears inside a larger formula; ``derivation`` is the formula
    that gave it. They differ once a number is settled (see :func:`settle`).
    """

    text: str
    rank: int
    derivation: str

    def __new__(cls, value: int, text: str = "", rank: int = ATOM, derivation: str = "") -> Traced:
        """Return the number; ``rank`` is the precedence of the outermost operation of its text."""
        self = super().__new__(cls, value)
        self.text = text or f"{int(value):,}"
        self.rank = rank if value >= 0 or text else SUM
        self.derivation = derivation or self.text
        return self

    def __add__(self, other: int) -> Traced:
        return _join(int(self) + int(other), self, " + ", other, SUM)

    def __radd__(self, other: int) -> Traced:
        return _join(int(other) + int(self), other, " + ", self, SUM)

    def __sub__(self, other: int) -> Traced:
        return _join(int(self) - int(other), self, " − ", other, SUM, strict=True)

    def __rsub__(self, other: int) -> Traced:
        return _join(int(other) - int(self), other, " − ", self, SUM, strict=True)

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):  # a sequence repeated
            return int(self) * other
        return _join(int(self) * int(other), self, "·", other, PRODUCT)

    def __rmul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return other * int(self)
        return _join(int(other) * int(self), other, "·", self, PRODUCT)

    def __floordiv__(self, other: int) -> Traced:
        return _divide(self, other)

    def __rfloordiv__(self, other: int) -> Traced:
        return _divide(other, self)

    def __neg__(self) -> Traced:
        return Traced(-int(self), "−" + _within(self, PRODUCT), SUM)


def settle(value: int) -> int:
    """Mark a finished result: later formulas show its value, its derivation stays readable."""
    if isinstance(value, Traced):
        return Traced(int(value), derivation=value.text)
    return value


def derivation(value: int) -> str:
    """Return the formula of a traced number, or the plain number."""
    return value.derivation if isinstance(value, Traced) else f"{value:,}"


def ceil_div(value: int, divisor: int) -> int:
    """Return ``value / divisor`` rounded up."""
    quotient = -(-int(value) // int(divisor))
    if isinstance(value, Traced) or isinstance(divisor, Traced):
        inner = f"{_within(value, PRODUCT)}/{_within(divisor, ATOM)}"
        exact = int(value) % int(divisor) == 0
        return Traced(quotient, inner if exact else f"⌈{inner}⌉", PRODUCT if exact else ATOM)
    return quotient


def _within(value: int, rank: int, strict: bool = False) -> str:
    if not isinstance(value, Traced):
        value = Traced(value)
    return f"({value.text})" if value.rank < rank + strict else value.text


def _join(value: int, left: int, sign: str, right: int, rank: int, strict: bool = False) -> Traced:
    return Traced(value, _within(left, rank) + sign + _within(right, rank, strict), rank)


def _divide(left: int, right: int) -> Traced:
    inner = f"{_within(left, PRODUCT)}/{_within(right, ATOM)}"
    if int(left) % int(right) == 0:
        return Traced(int(left) // int(right), inner, PRODUCT)
    return Traced(int(left) // int(right), f"⌊{inner}⌋", ATOM)
