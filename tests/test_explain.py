"""Derivations: what a person would write, from the engine's own formulas."""

from __future__ import annotations

import pytest

from archcost import analyze, load
from archcost.analysis.explain import explain, explanation
from archcost.errors import LookupFailed
from archcost.trace import Traced, ceil_div, derivation, settle


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ((Traced(224) + 2 * Traced(1) - Traced(3)) // Traced(1) + 1, "(224 + 2·1 − 3)/1 + 1"),
        ((Traced(224) - 3) // 2, "⌊(224 − 3)/2⌋"),
        (ceil_div(Traced(7), 2), "⌈7/2⌉"),
        (Traced(3) * Traced(3) * Traced(64) + 64, "3·3·64 + 64"),
        (Traced(3) * (Traced(3) + 1), "3·(3 + 1)"),
        (10 - (Traced(3) - 1), "10 − (3 − 1)"),
        (2 * Traced(1024), "2·1,024"),
        (-Traced(3) + 5, "−3 + 5"),
    ],
)
def test_a_traced_number_writes_its_formula(number: int, text: str) -> None:
    assert derivation(number) == text


def test_a_settled_number_shows_its_value_later() -> None:
    size = settle((Traced(224) - 2) // Traced(2))
    assert derivation(size) == "(224 − 2)/2"
    assert derivation(size * Traced(3)) == "111·3"


def test_the_derivation_of_a_conv() -> None:
    facts = {fact.name: str(fact) for fact in explain(analyze(load("alexnet")), "CONV2")}
    assert facts["output size"] == "(27 + 2·2 − 5)/1 + 1 = 27"
    assert facts["params weight"] == "256·96·5·5 = 614,400"
    assert facts["params"] == "614,400 + 256 = 614,656"
    assert facts["macs"] == "27·27·256·96·5·5 = 447,897,600"
    assert facts["flops"] == "2·447,897,600 = 895,795,200"
    assert facts["activations"] == "256·27·27 = 186,624"
    assert facts["receptive field"] == "19 + (5 − 1)·8 = 51x51"


@pytest.mark.parametrize("name", ["alexnet", "resnet50"])
def test_every_formula_gives_its_value(name: str) -> None:
    """The text, read back as arithmetic, is the figure beside it: in every layer."""
    report = analyze(load(name), batch=3, convention="fvcore")
    checked = 0
    for layer in report.network:
        for fact in explain(report, layer.path):
            if not fact.formula or not isinstance(fact.value, int) or "make" in fact.formula:
                continue
            if fact.name == "fvcore":
                continue
            text = fact.formula.replace(",", "").replace("·", "*").replace("−", "-")
            text = (
                text.replace("⌊", "(")
                .replace("⌋", ")//1")
                .replace("⌈", "-(-(")
                .replace("⌉", ")//1)")
            )
            assert eval(text) == fact.value, (layer.path, fact)
            checked += 1
    assert checked > 50


def test_a_group_and_an_unknown_layer() -> None:
    report = analyze(load("resnet18"))
    heads = [row[0] for row in explanation(report, "layer1.0").rows if row[0]]
    assert heads[0] == "layer1.0.body.conv1: conv 3x3, pad 1, no bias"
    with pytest.raises(LookupFailed, match="unknown layer 'layer9'; did you mean 'layer"):
        explanation(report, "layer9")
