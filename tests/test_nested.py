"""Polynomials in few operations: the same number, whatever is shared."""

from __future__ import annotations

import random
import re
from math import prod

import pytest

from archcost.nested import Nested, Split, along, depends_on_sum, horner, with_sum
from archcost.normal import Polynomial, add, constant, multiply


def drawn(draw: random.Random, most: int = 12) -> Polynomial:
    """Return a polynomial in up to four atoms."""
    total: Polynomial = {}
    for _ in range(draw.randrange(most)):
        monomial = tuple(sorted(draw.choices(range(4), k=draw.randrange(5))))
        total = add(total, {monomial: draw.randint(-9, 9) or 1})
    return total


def value(polynomial: Polynomial, at: list[int]) -> int:
    return sum(c * prod(at[atom] for atom in own) for own, c in polynomial.items())


NAMES = (frozenset("u"), frozenset("v"), frozenset("uv"), frozenset("w"))
"""What each of four atoms depends on."""


def made(polynomials: list[Polynomial], split: Split = horner) -> tuple[list[str], list[str]]:
    nested, lines = Nested(split), list[str]()
    keys = [nested.add(own) for own in polynomials]
    return [nested.write(key, "abcd".__getitem__, lines) for key in keys], lines


def run(texts: list[str], lines: list[str], at: list[int]) -> list[int]:
    space = dict(zip("abcd", at, strict=True))
    exec("\n".join(lines), space)
    return [eval(text, space) for text in texts]


@pytest.mark.parametrize("names", ["", "uv", "wvu"])
@pytest.mark.parametrize("seed", range(60))
def test_what_is_written_is_the_polynomial(seed: int, names: str) -> None:
    draw = random.Random(seed)
    polynomials = [drawn(draw) for _ in range(3)]
    polynomials.append(multiply(polynomials[0], drawn(draw)))
    texts, lines = made(polynomials, along(NAMES.__getitem__, names) if names else horner)
    for _ in range(5):
        at = [draw.randint(-99, 99) for _ in range(4)]
        assert run(texts, lines, at) == [value(own, at) for own in polynomials]


def test_few_operations_are_left() -> None:
    """(a + b)(c + d)(a + c) has 8 terms of 3 factors; some of the whole is nested."""
    a, b, c, d = ({(i,): 1} for i in range(4))
    whole = multiply(multiply(add(a, b), add(c, d)), add(a, c))
    [text], lines = made([whole])
    assert sum(line.count("*") for line in [text, *lines]) < 2 * len(whole)
    assert (
        made([a]) == (["a"], [])
        and made([{}]) == (["0"], [])
        and made([constant(3)]) == (["3"], [])
    )


def test_what_depends_on_one_name_stands_together() -> None:
    """Of 12 products of parts of u and of v, three products remain for each pair of values."""
    u: Polynomial = {(0,): 2, (0, 0): 3, (0, 0, 0): 5, (): 7}
    v: Polynomial = {(1,): 11, (1, 1): 13, (1, 1, 1): 17}
    [text], _ = made([multiply(u, v)], along(NAMES.__getitem__, "uv"))
    while "(" in (text := re.sub(r"\([^()]*\)", "U", text)):
        pass
    assert {*text.split(" + ")} == {"b*U", "b*b*U", "b*b*b*U"}


def test_what_two_share_has_a_line() -> None:
    shared = {(1,): 3, (): 4}
    texts, lines = made([multiply(shared, {(0,): 1}), shared])
    assert lines == ["p0 = 4 + 3*b"] and texts == ["a*(p0)", "p0"]


@pytest.mark.parametrize("seed", range(40))
def test_sums_of_two_atoms_are_found(seed: int) -> None:
    """What is made of a sum depends on it alone, and with it gives the same number."""
    draw = random.Random(seed)
    inner = drawn(draw, 6)
    both: Polynomial = {(0,): 1, (1,): 1}
    whole: Polynomial = {}
    for own, c in inner.items():
        term = constant(c)
        for atom in own:
            term = multiply(term, both if atom == 0 else {(atom + 1,): 1})
        whole = add(whole, term)
    assert depends_on_sum(whole, 0, 1)
    at = [draw.randint(-9, 9) for _ in range(5)]
    joined = with_sum(whole, 0, 1, 5)
    assert value(joined, [*at, at[0] + at[1]]) == value(whole, at)
    assert not any({0, 1} & {*own} for own in joined)
    other = add(whole, {(0, 2): 1})
    assert not depends_on_sum(other, 0, 1)
