"""Derivations: what a person would write, from the engine's own formulas."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil, floor

import pytest
from helpers import around

from archcost import analyze, load
from archcost.analysis.explain import Fact, derivation, explain, explanation, settle
from archcost.errors import LookupFailed
from archcost.graph import Graph
from archcost.number import ceil_div, maximum
from archcost.ops import OPS, Example, Op
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source

N = Graph().symbol


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ((N(224) + 2 * N(1) - N(3)) // N(1) + 1, "(224 + 2·1 − 3)/1 + 1"),
        ((N(224) - 3) // 2, "⌊(224 − 3)/2⌋"),
        (ceil_div(N(7), 2), "⌈7/2⌉"),
        (maximum(N(3) - 5, 0), "max(3 − 5, 0)"),
        (N(3) * N(3) * N(64) + 64, "3·3·64 + 64"),
        (N(3) * (N(3) + 1), "3·(3 + 1)"),
        (10 - (N(3) - 1), "10 − (3 − 1)"),
        (2 * N(1024), "2·1,024"),
        (-N(3) + 5, "−3 + 5"),
    ],
)
def test_a_number_writes_its_formula(number: int, text: str) -> None:
    assert derivation(number) == text


def test_a_settled_number_shows_its_value_later() -> None:
    size = (N(224) - 2) // N(2)
    settle(size)
    assert derivation(size) == "(224 − 2)/2"
    assert derivation(size * N(3)) == "111·3"


def test_the_derivation_of_a_conv() -> None:
    facts = {fact.name: str(fact) for fact in explain(analyze(load("alexnet")), "CONV2")}
    assert facts["output size"] == "(27 + 2·2 − 5)/1 + 1 = 27"
    assert facts["params weight"] == "256·96·5·5 = 614,400"
    assert facts["params"] == "614,400 + 256 = 614,656"
    assert facts["macs"] == "27·27·256·96·5·5 = 447,897,600"
    assert facts["flops"] == "2·447,897,600 = 895,795,200"
    assert facts["activations"] == "256·27·27 = 186,624"
    assert facts["receptive field"] == "19 + (5 − 1)·8 = 51x51"


def value_of(formula: str) -> Fraction:
    """Read a formula back as arithmetic."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", formula)  # 1,024
    text = re.sub(r" [a-z][\w.\[\]-]*", "", text)  # a kind of work, as in 2·1,024 batchnorm.in
    for sign, python in zip("·−⌊⌋⌈⌉", ("*", "-", "floor(", ")", "ceil(", ")"), strict=True):
        text = text.replace(sign, python)
    text = re.sub(r"\d+(\.\d+)?", r"Fraction('\g<0>')", text)
    known = {"Fraction": Fraction, "floor": floor, "ceil": ceil, "max": max, "__builtins__": {}}
    return eval(text, known)  # type: ignore[no-any-return]


def wrong(fact: Fact) -> bool:
    """Whether a formula, read back as arithmetic, is not the value beside it."""
    if not fact.formula:
        return False
    sizes = str(fact.value).split("x")
    return any(value_of(fact.formula) != Fraction(size) for size in sizes)


@pytest.mark.parametrize(
    ("formula", "value", "is_wrong"),
    [
        ("(227 − 11)/4 + 1", 55, False),
        ("(227 − 11)/4 + 1", 54, True),
        ("⌊(224 − 3)/2⌋ + 1", 111, False),
        ("⌈(224 − 3)/2⌉ + 1", 111, True),
        ("2·1,024 batchnorm.in + 1·3 mac", 2051, False),
        ("max(3 − 5, 0)", 0, False),
        ("1 + (7 − 1)·1", "7x7", False),
        ("1 + (7 − 1)·1", "7x5", True),
        ("3 + (2 − 1)·(1/2)", "7/2", False),
    ],
)
def test_a_wrong_derivation_is_seen(formula: str, value: int | str, is_wrong: bool) -> None:
    assert wrong(Fact("figure", value, formula)) == is_wrong


EXAMPLES = [
    pytest.param(op, example, id=f"{name}-{i}")
    for name, op in OPS.items()
    for i, example in enumerate(op.examples)
]


@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_every_derivation_of_an_op_gives_its_value(op: type[Op], example: Example) -> None:
    """In a batch, too, and in the convention of a tool; none is left without a derivation."""
    made = op.create(example.args, example.kwargs)
    network = around(made, example.inputs)
    given = [int(n) for n in re.findall(r"\d+", made.call())]
    given += [size for shape in (*example.inputs, network["op"].cost.output) for size in shape]
    for batch, convention in ((1, "flops"), (3, "ptflops")):
        facts = explain(analyze(network, batch=batch, convention=convention), "op")
        assert [fact for fact in facts if wrong(fact)] == []
        names = [fact.name for fact in facts]
        assert len(names) == len(set(names))
        for fact in facts:
            if fact.derivation or fact.name in ("input", "output"):
                continue
            axes = f"{fact.name} axis 1" in names or f"{fact.name} axis 2" in names
            assert axes or fact.value in (0, 1, *given), fact  # 1: prelu's only parameter


NETWORKS = ("alexnet", "resnet50", "nasnet_a_mobile", "googlenet", "swin_t", "unet", "fcn8s")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_formula_gives_its_value(name: str) -> None:
    """The text, read back as arithmetic, is the figure beside it: in every layer."""
    report = analyze(load(name), batch=3, convention="fvcore")
    checked = 0
    for layer in report.network:
        for fact in explain(report, layer.path):
            assert not wrong(fact), (layer.path, fact)
            checked += bool(fact.formula)
    assert checked > 50


def facts_of(layer: str, input: str) -> dict[str, str]:
    text = f"name: n\ninput: {input}\nlayers:\n  - L: {layer}\n"
    network = expand(read_document(Source("n.yaml", text)))
    return {fact.name: str(fact) for fact in explain(analyze(network), "L")}


def test_same_padding_is_derived_from_its_formula() -> None:
    """224 positions at stride 2 give 112 outputs, whose last window lacks one position."""
    facts = facts_of("conv(8, 3, stride=2, padding='same')", "3x224x224")
    assert facts["padding"] == "max((224/2 − 1)·2 + 3 − 224, 0) = 1"
    assert facts["padding before"] == "⌊1/2⌋ = 0"
    assert facts["padding after"] == "1 − 0 = 1"
    assert facts["output size"] == "224/2 = 112"
    facts = facts_of("conv(8, 5, stride=3, padding='same', dilation=2)", "3x20x17")
    assert facts["padding axis 1"] == "max((⌈20/3⌉ − 1)·3 + 2·(5 − 1) + 1 − 20, 0) = 7"
    assert facts["padding axis 2"] == "max((⌈17/3⌉ − 1)·3 + 2·(5 − 1) + 1 − 17, 0) = 7"
    assert facts["padding before"] == "⌊7/2⌋ = 3"
    assert facts["padding after"] == "7 − 3 = 4"
    assert facts["output axis 1"] == "⌈20/3⌉ = 7"
    facts = facts_of("avgpool(1, stride=4, padding='same')", "3x7x7")
    assert facts["padding"] == "max((⌈7/4⌉ − 1)·4 + 1 − 7, 0) = 0"
    assert facts["output size"] == "⌈7/4⌉ = 2"


@pytest.mark.parametrize(
    ("layer", "derivation"),
    [
        # PyTorch's pooling_output_shape: the last window starts inside the input or left padding
        ("avgpool(2, stride=3, ceil_mode=True)", "⌈(15 + 2·0 − 2)/3⌉ + 1 − 1; a last window at 15 would start past the padding before and the input, 0 + 15 positions: PyTorch drops it"),
        ("maxpool(2, stride=4, padding=1, ceil_mode=True)", "⌈(15 + 2·1 − 2)/4⌉ + 1 − 1; a last window at 16 would start past the padding before and the input, 1 + 15 positions: PyTorch drops it"),
        ("maxpool(3, stride=3, padding=1, ceil_mode=True)", "⌈(15 + 2·1 − 3)/3⌉ + 1"),
    ],
)  # fmt: skip
def test_ceil_mode_says_why_it_drops_the_last_window(layer: str, derivation: str) -> None:
    text = f"name: n\ninput: 4x15x15\nlayers:\n  - L: {layer}\n"
    report = analyze(expand(read_document(Source("n.yaml", text))))
    [fact] = [fact for fact in explain(report, "L") if fact.name == "output size"]
    assert fact.derivation == derivation
    shown = [row[3] for row in explanation(report, "L").rows if row[1] == "output size"]
    assert shown == [derivation]


def test_what_no_output_needs_counts_nothing_where_the_tool_leaves_it_out() -> None:
    text = "name: n\ninput: 3x9x9\nlayers:\n  - L: conv(2, 3)\n  - take(input)\n  - conv(4, 3)\n"
    network = expand(read_document(Source("n.yaml", text)))
    report = analyze(network, convention="fvcore", activations="fvcore")
    dead = "no output needs it, and the tool leaves it out"
    for layer, reason in (("L", dead), ("conv1", "")):
        facts = {fact.name: fact for fact in explain(report, layer)}
        assert (facts["fvcore"].reason, facts["activations"].reason) == (reason, reason)
        assert bool(facts["fvcore"].value) == bool(facts["activations"].value) == (not reason)
        assert not any(map(wrong, facts.values()))


def test_products_inside_a_layer_are_part_of_its_activations() -> None:
    """Windows of 2x2 tokens: as many scores as tokens, heads and tokens of a window."""
    facts = facts_of("window_attention(heads=2, window_size=2)", "4x6x12")
    assert facts["activations"].endswith(f"= {4 * 6 * 4 + 2 * 4 * 6 * 2 * 2:,}")


def test_a_receptive_field_is_derived_for_each_axis() -> None:
    facts = facts_of("conv(6, [1, 7], padding=[0, 3])", "4x8x8")
    assert facts["receptive field"] == "1x7"
    assert facts["receptive field axis 1"] == "1 + (1 − 1)·1 = 1"
    assert facts["receptive field axis 2"] == "1 + (7 − 1)·1 = 7"


def test_a_group_and_an_unknown_layer() -> None:
    report = analyze(load("resnet18"))
    heads = [row[0] for row in explanation(report, "layer1.0").rows if row[0]]
    assert heads[0] == "layer1.0.body.conv1: conv 3x3, pad 1, no bias"
    with pytest.raises(LookupFailed, match="unknown layer 'layer9'; did you mean 'layer"):
        explanation(report, "layer9")


def test_a_name_that_a_table_prints_twice_is_of_both_layers() -> None:
    rows = explanation(analyze(load("lectures/vgg16")), "CONV3-64").records()
    layers = [str(row["layer"]).split(":")[0] for row in rows if row["layer"]]
    assert layers == ["CONV3-64_1", "CONV3-64_2"]
