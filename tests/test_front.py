"""The front of a sweep: what no other network beats, of any number of figures."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from archcost import load, sweep
from archcost.space import sweep as sweeps
from archcost.space.selection import Order, front
from archcost.space.sweep import select

np = pytest.importorskip("numpy", reason="numpy is not installed")


def brute(costs: list[Any]) -> list[int]:
    """Return the front by comparing each row with each other."""
    rows = [tuple(row) for row in zip(*(own.tolist() for own in costs), strict=True)]

    def beats(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return [i for i, row in enumerate(rows) if not any(beats(other, row) for other in rows)]


def drawn(seed: int, names: str) -> dict[str, Any]:
    """Return columns with few and with many values, floats, and integers beyond 64 bits."""
    draw, columns = np.random.default_rng(seed), dict[str, Any]()
    rows = int(draw.integers(1, 80))
    for place, name in enumerate(names):
        own = draw.integers(-9, 9 * 10 ** int(draw.integers(0, 4)), rows)
        kind = random.Random(f"{seed} {place}").choice(["int", "int", "float", "object"])
        columns[name] = own / 7 if kind == "float" else own
        if kind == "object":
            columns[name] = own.astype(object) * 10**20
    return columns


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcd"])
@pytest.mark.parametrize("seed", range(60))
def test_the_front_is_what_no_other_row_beats(
    seed: int, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all rows at once, and of blocks of which only the front so far is held."""
    columns = drawn(seed, names)
    orders = [Order(name, falling=(seed + i) % 3 == 0) for i, name in enumerate(names)]
    expected = brute([order.of(columns) for order in orders])
    assert front(columns, orders).tolist() == expected
    rows = len(columns["a"])
    monkeypatch.setattr(sweeps, "HELD", 5)
    numbered = columns | {"row": np.arange(rows)}
    blocks = ({key: own[i : i + 7] for key, own in numbered.items()} for i in range(0, rows, 7))
    shown, count = select(blocks, orders, pareto=True, top=None)
    assert sorted(shown["row"].tolist()) == expected and count == len(expected)


def test_a_front_of_most_rows_takes_no_comparison_of_each_pair() -> None:
    """50,000 rows of which nearly none beats another; each pair would be 10^9 comparisons."""
    draw = np.random.default_rng(3)
    a, b = draw.integers(0, 10**9, (2, 50_000))
    columns = {"a": a, "b": b, "c": -a - b}
    start = time.process_time()
    found = front(columns, [Order("a"), Order("b"), Order("c")])
    assert time.process_time() - start < 5 and len(found) == 50_000


def test_the_front_of_three_figures_of_a_sweep() -> None:
    """Fewer operations, more parameters and a larger input, of networks that are refused, too."""
    vary = {"groups": "1:8", "width": "8:120:8", "input": "1:96:5"}
    found = sweep(load("shufflenet_v1_g3"), vary, pareto=["macs", "-params", "-input"])
    every = sweep(load("shufflenet_v1_g3"), vary)
    assert found.networks == every.networks < found.configurations
    costs = [every.columns["macs"], -every.columns["params"], -every.columns["input"]]
    rows = brute(costs)
    assert len(rows) > 20
    expected = {tuple(own[i] for own in every.columns.values()) for i in rows}
    assert {*zip(*found.columns.values(), strict=True)} == expected
