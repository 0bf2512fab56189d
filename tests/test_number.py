"""Numbers that know their formula: what they compute, when they note a guard, their normal form."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from archcost.compiled import Program
from archcost.graph import Graph
from archcost.number import ceil_div, less, maximum, minimum, plain, truncated


def test_a_number_is_an_int_to_formulas_and_keeps_its_formula() -> None:
    graph = Graph()
    h = graph.symbol(224, "H")
    assert isinstance(h, int)
    assert not isinstance(h, (bool, float))
    area = 3 * h * h + 1
    assert plain(area) == 3 * 224 * 224 + 1
    assert f"{area:,}" == "150,529"
    assert graph.show(area) == "3·H² + 1"
    assert not graph.guards


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda n: (n - 1) // 2 + 1, lambda n: ceil_div(n, 2)),
        (lambda n: ceil_div(ceil_div(n, 2), 2), lambda n: (n + 3) // 4),
        (lambda n: (n // 3 + 5) // 7, lambda n: (n + 15) // 21),
        (lambda n: -(-n // 8), lambda n: (n + 7) // 8),
        (lambda n: (6 * n + 4) // 4, lambda n: n + (n + 2) // 2),
        (lambda n: (5 * n + 3) % 5, lambda n: 3),
        (lambda n: n * (n + 1), lambda n: n * n + n),
        (lambda n: maximum(n, 1), lambda n: n),
        (lambda n: (2 * n * n) // (2 * n), lambda n: n),
        (lambda n: (3 * n * n + 6) // (n * n + 2), lambda n: 3),
        (lambda n: (n * n + n + 2) % (n * n + n + 2), lambda n: 0),
        (lambda n: (n + 1) ** 2, lambda n: n * n + 2 * n + 1),
    ],
)
def test_formulas_that_are_equal_everywhere_need_no_guard(
    left: Callable[[Any], Any], right: Callable[[Any], Any]
) -> None:
    graph = Graph()
    n = graph.symbol(57, "n")
    assert left(n) == right(n)
    assert not graph.guards
    assert graph.domain() == {"n": (1, 2**20)}
    assert [left(i) for i in range(1, 50)] == [right(i) for i in range(1, 50)]


def test_a_comparison_that_depends_on_the_size_is_noted() -> None:
    graph = Graph()
    h, w = graph.symbol(224, "H"), graph.symbol(160, "W")
    assert (h - 11) // 4 + 1 >= 3  # as a bound of the symbol: H >= 19
    assert graph.domain()["H"] == (19, 2**20)
    assert h >= 7  # follows
    assert h != w
    assert not h < w
    assert graph.conditions() == [
        "19 ≤ H ≤ 1,048,576", "1 ≤ W ≤ 1,048,576", "H − W ≠ 0", "H − W ≥ 0",
    ]  # fmt: skip
    program = Program(graph, {"area": h * w})
    assert program(H=30, W=20) == {"area": 600}
    assert program(H=20, W=20) is None
    assert program(H=20, W=30) is None
    assert program(H=18, W=3) is None


def test_a_set_of_sizes_is_refused_and_an_int_pins() -> None:
    """A set would hold one of two sizes that are equal at these values only, and no guard."""
    graph = Graph()
    h = graph.symbol(224, "H")
    with pytest.raises(TypeError, match="no hash"):
        {h, h + 1}
    assert not graph.pins
    assert int(h // 2) == 112
    assert [plain(n) for n in graph.pins] == [112]
    assert graph.domain()["H"] == (224, 225)
    assert list(range(h))[-1] == 223
    assert graph.domain()["H"] == (224, 224)


def test_a_divisor_is_not_zero_even_where_it_cancels() -> None:
    graph = Graph()
    n, by = graph.symbol(5, "n"), graph.symbol(3, "by", -9, 9)
    assert graph.show(n * by // by) == "n"
    program = Program(graph, {"n": n * by // by})
    assert (program(n=7, by=-2), program(n=7, by=0)) == ({"n": 7}, None)


def test_floats_round_as_python_does() -> None:
    """EfficientNet's scaling: 1.1 to the power of a float, rounded to multiples of eight."""

    def width(phi: float) -> int:
        value = 32 * 1.1**phi
        rounded = maximum(8, truncated(value + 4) // 8 * 8)
        whole: int = rounded + 8 if rounded < 0.9 * value else rounded
        return whole * math.ceil(1.2**phi) + round(value) + (1 if phi % 1.5 > 1.25 else 2)

    graph = Graph()
    phi = graph.symbol(1.0, "phi", 0.0, 7.0)
    assert isinstance(phi, float)
    program = Program(graph, {"width": width(phi)})
    held = 0
    for i in range(500):
        found = program(phi=i / 71)
        if found is not None:
            held += 1
            assert found == {"width": width(i / 71)}
    assert held > 300


def test_a_quotient_of_floats_is_rounded_further_than_one_of_ints() -> None:
    """(1.9 − 1)/2 is no lower bound of 1.9 // 2."""
    graph = Graph()
    x = graph.symbol(2.5, "x", 1.9, 3.0)
    program = Program(graph, {"n": 1 if x // 2 > 0 else 0})
    assert (program(x=2.0), program(x=1.95)) == ({"n": 1}, None)


def formula(draw: random.Random, depth: int) -> Callable[..., int]:
    """Return a random formula of three numbers, with conditions."""
    if depth == 0 or draw.random() < 0.1:
        i, c = draw.randrange(4), draw.randrange(1, 9)
        return lambda *args: args[i] if i < 3 else c
    a, b, c, d = (formula(draw, depth - 1) for _ in range(4))
    n = draw.randrange(1, 12)
    return draw.choice(
        [
            lambda *args: a(*args) + b(*args),
            lambda *args: a(*args) - b(*args),
            lambda *args: a(*args) * b(*args),
            lambda *args: a(*args) // n,
            lambda *args: ceil_div(a(*args), n),
            lambda *args: a(*args) % n,
            lambda *args: a(*args) // maximum(b(*args), 1),
            lambda *args: a(*args) % maximum(b(*args), 1),
            lambda *args: maximum(a(*args), b(*args)),
            lambda *args: minimum(a(*args), b(*args)),
            lambda *args: -a(*args),
            lambda *args: a(*args) + n * less(b(*args), c(*args)),
            lambda *args: a(*args) if b(*args) < c(*args) else d(*args),
            lambda *args: a(*args) if b(*args) == n else d(*args),
            lambda *args: a(*args) if b(*args) % 2 else d(*args),
        ]
    )


@pytest.mark.parametrize("seed", range(300))
def test_random_formulas_hold_wherever_their_guards_do(seed: int) -> None:
    draw = random.Random(seed)
    compute = formula(draw, 4)
    at = [draw.randrange(1, 60) for _ in range(3)]
    graph = Graph()
    numbers = [graph.symbol(n, name, 1, 64) for n, name in zip(at, "xyz", strict=True)]
    made = compute(*numbers)
    assert plain(made) == compute(*at)
    program = Program(graph, {"n": made})
    assert program(x=at[0], y=at[1], z=at[2]) == {"n": plain(made)}
    low, high = graph.interval(made)
    for _ in range(60):
        x, y, z = (draw.randrange(1, 65) for _ in range(3))
        found = program(x=x, y=y, z=z)
        if found is not None:
            assert found == {"n": compute(x, y, z)}
            assert low <= found["n"] <= high


def test_what_is_met_to_be_zero_is_used() -> None:
    """After ``n + 2*(k // 2) - k + 1 == n``, 2⌊k/2⌋ is k − 1, in formulas and comparisons."""
    graph = Graph()
    n, k = graph.symbol(20, "n"), graph.symbol(5, "k", 1, 9)
    half = k // 2
    assert n + 2 * half - k + 1 == n
    assert len(graph.guards) == 1
    assert graph.show(4 * half + k) == "3·k − 2"
    assert graph.show(2 * half * half) == "k·⌊k/2⌋ − ⌊k/2⌋"
    assert graph.show(half * 3) == "3·⌊k/2⌋"
    assert graph.decide("==", n + 2 * half, n + k - 1) is True
    assert graph.decide("<", 2 * half + 1, k) is False
    assert len(graph.guards) == 1
