"""Layers that differ by their number are made once, and cost what they cost one by one."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_pricing import compare, run_of

from archcost import ArchcostError, analyze, closed_form, load, series
from archcost.compiled import box_of
from archcost.graph import Graph
from archcost.number import maximum, plain
from archcost.series import Uneven, direction, total
from archcost.space.pricing import OneByOne, Programs

np = pytest.importorskip("numpy", reason="numpy is not installed")


def priced(name: str, low: Mapping[str, int], high: Mapping[str, int], rows: int = 60) -> Programs:
    """Compare random configurations with runs of their own; return what has priced them."""
    draw = np.random.default_rng(6)
    columns = {key: draw.integers(low[key], high[key], rows, endpoint=True) for key in low}
    programs = Programs(run_of(name), box_of(columns), folds=True)
    expected = OneByOne(run_of(name)).price(columns)
    compare(programs.price(columns), expected)
    assert expected.networks.any()
    return programs


DEPTHS = [f"depths.{i}" for i in range(4)]


@pytest.mark.parametrize(
    ("name", "other", "runs"),
    [
        ("densenet121", {"growth": (1, 60)}, 1),
        ("convnext_tiny", {"widths.0": (8, 200)}, 5),
        ("cbam_resnet50", {"reduction": (1, 30)}, 1),
    ],
)
def test_one_run_prices_all_depths_of_blocks_that_differ(
    name: str, other: dict[str, tuple[int, int]], runs: int
) -> None:
    """Each layer of DenseNet reads more channels; each block of ConvNeXt drops more paths.

    The gates of CBAM use the weights of one perceptron twice.
    """
    ends = dict.fromkeys(DEPTHS, (1, 9)) | {"H": (33, 300)} | other
    low, high = ({key: own[i] for key, own in ends.items()} for i in (0, 1))
    assert priced(name, low, high).runs <= runs


@pytest.mark.parametrize("name", ["densenet121", "convnext_tiny"])
def test_stages_without_a_block_are_priced_too(name: str) -> None:
    priced(name, dict.fromkeys([*DEPTHS, "H"], 0), dict.fromkeys(DEPTHS, 3) | {"H": 90})


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s"])
def test_one_run_prices_the_depths_of_efficientnets(name: str) -> None:
    place = 4 if "v2" in name else 5
    depths = [f"rows.{i}.{place}" for i in range(1, 6)]
    low, high = dict.fromkeys(depths, 2) | {"H": 200}, dict.fromkeys(depths, 20) | {"H": 400}
    assert priced(name, low, high).runs == 1


def test_the_closed_form_of_densenet_is_a_polynomial_in_its_depths() -> None:
    """A layer more has 130 weights for each of 32 channels more: 130·32/2 = 2,080 times n² in all.

    The transitions halve c channels by c²/2 weights, of (32n)², (16n)² and (8n)²: 672 times n².
    """
    form = closed_form("densenet121", symbols=["depths.0", "depths.3"])
    terms = form.formula("params").split(" + ")
    assert {"2,752·depths_0²", "2,080·depths_3²"} <= {*terms} and len(terms) == 6
    for first, last in ((1, 1), (6, 16), (2, 9), (40, 3)):
        found = analyze("densenet121", knobs={"depths": [first, 12, 24, last]}).total
        own = form(depths_0=first, depths_3=last)
        assert own == {name: getattr(found, name) for name in ("params", "macs", "activations")}


@pytest.mark.parametrize("model", ["regnet_x_400mf", "densenet121"])
def test_a_depth_of_one_has_the_form_of_all_depths(model: str) -> None:
    """A run with one block says nothing of the next, so the form is of a run with more."""
    network = load(model, knobs={"depths": [1, 2, 7, 12]})
    form = closed_form(network, symbols=["depths.0"])
    for depth in (1, 2, 5, 30):
        found = analyze(model, knobs={"depths": [depth, 2, 7, 12]}).total
        expected = {name: getattr(found, name) for name in ("params", "macs", "activations")}
        assert form(depths_0=depth) == expected
    assert form.symbols["depths_0"][0] == 1


def test_a_form_of_one_depth_is_that_of_the_network() -> None:
    """What layers keep for backward is no sum of a row: the form holds for this depth alone."""
    form = closed_form("densenet121", symbols=["depths.0"], figures=["saved"])
    assert form.symbols == {"depths_0": (6, 6)}


SPECS = {
    "rises": "for i in range(n): ['conv(8 + 3 * i, 3, padding=1)']",
    "concat": "for i in range(n): [{concat: {a: identity, b: 'conv(m + 1, 1)'}}]",
    "adds": "for i in range(n): ['conv(in_channels + m, 1) >> relu']",
    "doubles": "for i in range(n): ['conv(2 * in_channels, 1)']",
    "rounds": "for i in range(n): ['conv(8 + i // 2, 1)']",
    "changes": "for i in range(n): ['conv(8 + (4 if i > 2 else 2) * i, 1)']",
    "first and last": "for i in range(n): ['conv(8, 3 if i == 0 or i == n - 1 else 1, padding=1)']",
    "chosen": "for i in range(n): ['relu if i % 2', 'conv(8, 1)']",
    "refused": "for i in range(n): ['conv(8 * (7 - i), 1)']",
    "shrinks": "for i in range(n): ['conv(8 + i, 3)']",
    "counts": "for i in range(n): [{let: {k: k + i}}, 'conv(k, 1)']",
    "kernels": "for i in range(n): [{let: {k: k + 2}}, 'conv(8, k, padding=k // 2)']",
    "named": "for i in range(n): [{'c{i}': 'conv(8, 1)'}, {add: {a: 'identity', b: 'take(stem) >> conv(8, 1)'}}]",
    "nested": "for i in range(n): [{for j in range(m): ['conv(8 + i + 2 * j, 1)']}]",
    "within": "for i in range(n): [{for j in range(i): ['conv(8 + j, 1)']}]",
    "inner": "for i in range(n): ['conv(9 + 2 * i, 1) * m']",
    "tied": "for i in range(n): [same, 'conv(8, 1)']",
    "tied inside": "for i in range(n): ['twice(8)']",
    "tied and rises": "for i in range(n): ['twice(8 + i)']",
    "tied to the stem": "for i in range(n): ['conv(8, 1, weight=stem, bias=stem)']",
    "tied twice": "for i in range(n): ['twice(8) * m', 'conv(8, 1, weight=stem)']",
    "tied to the last": "for i in range(n): [{own: \"conv(8, 1, weight=own) if i else conv(8, 1)\"}]",
    "product": "for i in range(n): ['conv((i + m) * (n - i), 1)']",
}  # fmt: skip
SPEC = """name: net
input: 8x9x9
knobs: {{n: 3, m: 2}}
blocks:
  twice(c): [{{own: 'conv(c, 1)'}}, 'conv(c, 3, padding=1, bias=own)']
shared:
  same: conv(8, 1)
layers: [{{let: {{k: 1}}}}, {{stem: 'conv(8, 1)'}}, {{{loop}}}, {{tail: 'conv(5, 1) >> flatten >> linear(3)'}}]
"""


@pytest.mark.parametrize("name", SPECS)
def test_loops_over_a_symbol_are_priced_as_one_by_one(name: str, tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    loop, _, body = SPECS[name].partition(": ")
    spec.write_text(SPEC.format(loop=f"{loop}: {body}"))
    programs = priced(str(spec), {"n": 0, "m": 0}, {"n": 11, "m": 4}, rows=90)
    if name in ("rises", "concat", "adds", "tied inside", "tied and rises", "tied to the stem"):
        assert programs.runs <= 3


NAMED = """name: net
input: 4x8x8
knobs: {{n: 3, m: 2}}
outputs: [{outputs}]
blocks:
  unit: conv(4, 3, padding=1) >> relu
layers:
  - stage: unit * n
  - for i in range(m): ["conv(4 + i, 1)", relu]
  - unit * m
  - last: conv(7, 1)
"""


@pytest.mark.parametrize("outputs", ["stage.relu2, last", "conv3", "stage, last", "relu4"])
def test_a_layer_inside_a_row_may_be_an_output(outputs: str, tmp_path: Path) -> None:
    """The run that makes equal layers once has none of that name, or another one."""
    spec = tmp_path / "net.yaml"
    spec.write_text(NAMED.format(outputs=outputs))
    programs = priced(str(spec), {"n": 0, "m": 0}, {"n": 9, "m": 5}, rows=90)
    assert outputs != "stage, last" or programs.runs <= 8


def polynomial(draw: random.Random, *numbers: Any) -> Any:
    terms = [draw.randint(-9, 9) for _ in range(4)]
    for i in range(4):
        for _ in range(draw.randrange(4)):
            terms[i] = terms[i] * draw.choice(numbers)
    return sum(terms)


@pytest.mark.parametrize("seed", range(40))
def test_the_sum_of_a_polynomial_is_that_of_its_values(seed: int) -> None:
    draw, graph = random.Random(seed), Graph()
    last, other = graph.symbol(draw.randrange(1, 9), "n"), graph.symbol(draw.randrange(9), "m")
    with graph.row(last) as number:
        made = polynomial(draw, number, other)
        found = total(made, graph.rows[-1])
    draw.seed(seed)
    draw.randrange(1, 9), draw.randrange(9)
    state = draw.getstate()
    expected = 0
    for i in range(1, last.value + 1):
        draw.setstate(state)
        expected += polynomial(draw, i, other.value)
    assert plain(found) == expected


def test_what_is_no_polynomial_has_no_sum() -> None:
    graph = Graph()
    last = graph.symbol(7, "n")
    with graph.row(last) as number:
        for formula in (number // 2, number * (number // 3), maximum(number, last - number)):
            with pytest.raises(Uneven):
                total(formula, graph.rows[-1])


def test_a_condition_holds_for_all_where_it_holds_at_both_ends() -> None:
    graph = Graph()
    last, most = graph.symbol(7, "n"), graph.symbol(30, "m")
    with graph.row(last) as number:
        assert 2 * number + 1 < most
        assert 3 * number != most
        for mixed in (lambda: number > 3, lambda: number == 3, lambda: (number - 4) ** 2 > 5):
            with pytest.raises(Uneven):
                mixed()
        assert [direction(own, number) for own in (-number, most - number, number // 2, most)] == [
            -1, -1, 1, 0,
        ]  # fmt: skip
    conditions = graph.conditions()
    assert any("n" in own for own in conditions) and not any("<number" in own for own in conditions)


def test_an_end_that_is_not_compared_is_caught(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a run would hold also where a layer in the middle is another one."""
    spec = tmp_path / "net.yaml"
    spec.write_text(SPEC.format(loop="for i in range(n): ['conv(8 + (1 if i < m else 2), 1)']"))
    right = series.at
    monkeypatch.setattr(series, "at", lambda own, number, value: right(own, number, 1))
    with pytest.raises((AssertionError, ArchcostError)):
        priced(str(spec), {"n": 2, "m": 2}, {"n": 9, "m": 9})


def test_a_sum_within_a_product_stands_in_brackets() -> None:
    conditions = closed_form("convnext_tiny", symbols=["depths.0"]).graph.conditions()
    assert "(((0.1 · (depths_0 − 1)) / (depths_0 + 14)) − 1) ≤ 0" in conditions
