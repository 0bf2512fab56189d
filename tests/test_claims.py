"""The language of claims: how a printed figure is judged, and what a claim may ask for."""

from __future__ import annotations

from fractions import Fraction

import pytest

from archcost.errors import ArchcostError, SpecError
from archcost.findings.audit import Finding, judge, judge_readings, show_value
from archcost.findings.functions import MEASURES, ClaimEvaluator, Measures, chain, cut, rounded
from archcost.lectures.claims import Bench, audit_lectures, lecture_claims, read_claims
from archcost.numeral import Numeral
from archcost.spec.catalog import documents
from archcost.spec.expression import ExpressionError, parse
from archcost.spec.source import Source


def evaluate(text: str, **case: object) -> object:
    return ClaimEvaluator(Measures(), case)(parse(text))


def claims(text: str, nets: str = "") -> list[Finding]:
    body = f"nets:\n{nets}" if nets else ""
    return audit_lectures(read_claims(Source("c.yaml", f"{body}claims:\n  topic:\n{text}")))


# Verdicts.


@pytest.mark.parametrize(
    ("printed", "value", "verdict"),
    [
        ("62,378,344", 62_378_344, "exact"),
        ("62.4M", 62_378_344, "rounds to"),
        ("62.3M", 62_378_344, "ambiguous"),  # cut
        ("62.2M", 62_378_344, "wrong"),
        ("62.5M", 62_378_344, "wrong"),
        ("60K", 61_706, "rounds to"),  # one digit
        ("60,000", 61_706, "wrong"),  # five digits
        ("~60,000", 61_706, "rounds to"),
        ("150K", 150_528, "rounds to"),
        ("25K", 25_500, "rounds to"),  # half: rounds to either
        ("96MB", 96_000_000, "exact"),
        ("58.1MiB", 60_950_432, "rounds to"),  # 58.127 · 2^20
        ("58.2MiB", 60_950_432, "wrong"),
        ("1/4", Fraction(1, 4), "exact"),
        ("0.3", Fraction(1, 4), "rounds to"),
        ("1/4", Fraction(26, 100), "wrong"),
        ("28x28x64", 50_176, "exact"),
        ("28x28x64", 50_177, "wrong"),
        ("55x55x96", [55, 55, 96], "exact"),
        ("55x55x95", [55, 55, 96], "wrong"),
        ("1x1x4096", [4096], "exact"),
        ("2x1x4096", [4096], "wrong"),
        ("4096", [4096], "exact"),
        ("16, 19", [16, 19], "exact"),
        ("55->27", [55, 27], "exact"),
        ("50", [121, 169], "wrong"),
        ("any text", True, "exact"),
        ("any text", False, "wrong"),
    ],
)
def test_judge(printed: str, value: object, verdict: str) -> None:
    assert judge(printed, value) == verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("printed", "value", "reason"),
    [
        ("7x7 stride 2", [111, 111], "'7x7 stride 2' is not a shape or a list of whole numbers"),
        ("many", 7, "a number is written as 61100840, 61.1M or 4.12G; got 'many'"),
    ],
)
def test_judge_refuses_what_it_cannot_read(printed: str, value: object, reason: str) -> None:
    with pytest.raises(ArchcostError) as error:
        judge(printed, value)  # type: ignore[arg-type]
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("printed", "values", "verdict"),
    [
        ("60M", [60_965_224, 62_378_344], "ambiguous"),  # 61M or 62M
        ("138M", [138_357_544, 138_344_128], "rounds to"),  # 138M both
        ("138M", [137_999_999, 138_000_001], "rounds to"),
        ("138M", [139_357_544, 139_344_128], "wrong"),  # 139M both
        ("some text", [111, 110], "ambiguous"),
        ("all", [True, False], "ambiguous"),
        ("all", [True, True], "exact"),
        ("13x13", [[13, 13], [9, 9]], "ambiguous"),
        ("1/2", [Fraction(1, 2), Fraction(1, 2)], "exact"),
    ],
)
def test_judge_readings(printed: str, values: list[object], verdict: str) -> None:
    assert judge_readings(printed, values) == verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "value", "step", "place"),
    [
        ("150K", 150_000, 10_000, 1_000),
        ("~1000", 1_000, 1_000, 1),
        ("1000", 1_000, 1, 1),
        ("150.0K", 150_000, 100, 100),
        ("96 MB", 96_000_000, 10**6, 10**6),
        ("1.5GiB", 3 * 2**29, Fraction(2**30, 10), Fraction(2**30, 10)),
        ("1.1B", 1_100_000_000, 10**8, 10**8),
    ],
)
def test_figures_know_their_last_digit(text: str, value: int, step: int, place: int) -> None:
    figure = Numeral.parse(text)
    assert (figure.value, figure.step, figure.place) == (value, step, place)


@pytest.mark.parametrize(
    ("value", "printed", "text"),
    [
        (15_237_608, "24M", "15,237,608"),
        (Fraction(62_378_344, 6_998_552), "12", "8.913"),
        ([55, 55, 96], "54x54x96", "55x55x96"),
        ([16, 19], "16, 20", "16, 19"),
        ([55, 27], "56->27", "55->27"),
        (True, "x", "true"),
    ],
)
def test_values_are_shown_as_they_are_printed(value: object, printed: str, text: str) -> None:
    assert show_value(value, printed) == text  # type: ignore[arg-type]


# The language.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("params('3x32x32 | conv(10, 5, padding=2)')", 760),  # (5·5·3 + 1)·10
        ("weights('3x32x32 | conv(10, 5, padding=2) | batchnorm')", 750),
        ("macs('3x32x32 | conv(10, 5, padding=2)')", 768_000),  # 750·32·32
        ("activations('3x32x32 | conv(10, 5, padding=2) | relu')", 13_312),  # (3 + 10)·32·32
        ("activations('3x32x32 | conv(10, 5, padding=2)', 'conv*')", 10_240),
        ("activation_bytes('3x32x32 | conv(10, 5, padding=2)')", 53_248),
        ("gradients('3x4x4 | relu')", 48),
        ("params(alexnet, FC8, input)", 4_097_000),  # 4096·1000 + 1000
        ("params(alexnet, 'FC*') + params(alexnet, 'CONV*') == params(alexnet)", True),
        ("count(googlenet, conv)", 57),  # 3 + 9·6
        ("depthwise('8x9x9 | conv(8, 3, groups=8) | conv(8, 3, groups=4)')", 1),
        ("depthwise('1x9x9 | conv(1, 3)')", 0),
        ("weight_layers(googlenet, inception3a)", 2),
        ("weight_layers(googlenet(aux=True), aux2)", 3),
        ("weight_layers(resnet50(depths=[3, 4, 23, 3]))", 101),
        ("output(alexnet, CONV1)", [55, 55, 96]),
        ("output(alexnet)", [1000]),
        ("output(resnet18, layer2)", [28, 28, 128]),
        ("output(vgg16(input='3x448x448'), POOL5)", [14, 14, 512]),
        ("reads(alexnet, FC6)", [9216]),
        ("size(vgg16, input)", [224, 224]),
        ("side('1x10 | conv(1, 3)')", 8),
        ("channels(inception_naive)", 672),
        ("values(alexnet, FC6)", 4096),
        ("shrinks(vgg16, 'CONV3-128')", 1),
        ("shrinks('1x9x9 | maxpool(2)', maxpool1)", Fraction(9, 4)),
        ("filter('8x9x9 | conv(16, 3)', conv1)", [3, 3, 8, 16]),
        ("filter('8x9x9 | conv(8, 3, groups=8)', conv1)", [3, 3, 8]),
        ("filter('1x9x9 | conv(1, 3)', conv1)", [3, 3, 1, 1]),
        ("filter(alexnet, FC8)", [4096, 1000]),
        ("weight_shape(alexnet_torchvision, CONV1)", [64, 3, 11, 11]),
        ("kernel(alexnet, POOL1)", 3),
        ("stride(alexnet, POOL1)", 2),
        ("receptive_field(alexnet, POOL1)", 19),  # 11 + 2·4
        ("refused('3x5x5 | conv(6, 3, groups=2)')", True),
        ("refused('3x5x5 | conv(6, 3, groups=3)')", False),
        ("rounded(60965224, 1)", 60_000_000),
        ("rounded(138357544, 3)", 138_000_000),
        ("cut(5973552, 1)", 5_000_000),
        ("cut(27 / 1000, 1)", Fraction(2, 100)),
        ("1 / 3 + 1 / 6", Fraction(1, 2)),
        ("4 / 2", 2),
        ("side('1x{N}x{N} | conv(1, {N // 2})')", 5),  # 8 - 4 + 1
    ],
)
def test_expressions(text: str, value: object) -> None:
    made = evaluate(text, N=8)
    assert made == value
    assert type(made) is type(value)


def test_every_measure_is_documented_and_used() -> None:
    slips = (slip for d in documents() for row in d.published for slip in row.slips.values())
    text = lecture_claims().source.text + "".join(slips)
    for name in MEASURES:
        assert getattr(Measures, name).__doc__
        assert f"{name}(" in text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1.5 * 2", "figures are exact: write 6 / 5, not 1.2"),
        ("params(a=2)", "params takes no named arguments"),
        ("parms(alexnet)", "no function 'parms' here; did you mean 'params'?"),
        ("params(alexnt)", "unknown model 'alexnt'; did you mean 'alexnet'?"),
        ("params(7)", "not a model: 7"),
        ("params(alexnet, CONV7)", "unknown layer of alexnet 'CONV7'; did you mean 'CONV5'?"),
        ("count(alexnet, convv)", "unknown op 'convv'; did you mean 'conv'?"),
        ("side('1x4x5 | relu')", "the output has no single size: [4, 5]"),
        ("kernel('1x9x9 | conv(1, (1, 3))', conv1)", "conv1 has no square window"),
        ("receptive_field('1x9x9 | conv(1, (1, 3))')", "conv1 has no single receptive field"),
        ("1 / 0", "division by zero"),
        ("cut(0, 2)", "only positive numbers have significant digits; got 0"),
        (
            "params(resnet50(depth=3))",
            "unknown knob of resnet 'depth'; did you mean 'depths'?",
        ),
        (
            "params('3x5x5 | conv(6, 7)')",
            "3x5x5 | conv(6, 7): conv1: conv on 3x5x5: "
            "kernel_size 7 does not fit the padded input 5",
        ),
    ],
)
def test_expressions_are_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ArchcostError) as error:
        evaluate(text)
    assert str(error.value) == reason


def test_refused_passes_on_other_mistakes() -> None:
    with pytest.raises(ArchcostError, match="unknown model"):
        evaluate("refused(alexnt)")


def test_a_network_is_built_once() -> None:
    measures = Measures()
    first = measures.report("3x8x8 | conv(4, 3)")
    assert measures.report("3x8x8 | conv(4, 3)") is first
    assert measures.report("3x8x8 | conv(5, 3)") is not first


def test_a_chain_is_an_ordinary_network() -> None:
    network = chain("3x32x32 | conv(8, 3) * 2 | relu | flatten | linear(10) if in_channels > 1")
    assert [layer.path for layer in network] == ["conv1", "conv2", "relu1", "flatten1", "linear1"]


@pytest.mark.parametrize(
    ("number", "digits", "up", "down"),
    [(62_378_344, 3, 62_400_000, 62_300_000), (999, 1, 1000, 900), (25, 1, 30, 20), (7, 2, 7, 7)],
)
def test_significant_digits(number: int, digits: int, up: int, down: int) -> None:
    assert rounded(number, digits) == up
    assert cut(number, digits) == down


# Claims files.


def test_a_claim_holds_in_all_cases_or_says_in_which_it_does_not() -> None:
    [right, wrong] = claims(
        "    - {id: a, at: 1:2, output_shape: N-2, for: {N: 'range(3, 9)'},"
        " is: \"side('1x{N}x{N} | conv(1, 3)') == N - 2\"}\n"
        "    - {id: b, at: 1:2, output_shape: N-2, for: {N: 'range(3, 9)', P: '[0, 1]'},"
        " is: \"side('1x{N}x{N} | conv(1, 3, padding={P})') == N - 2\"}\n"
    )
    assert right.verdict == "exact"
    assert (wrong.verdict, wrong.why) == ("wrong", "not for N=3, P=1")


def test_a_slip_that_does_not_give_the_figure_explains_nothing() -> None:
    [found] = claims("    - {id: a, at: 1:2, params: 70M, is: params(alexnet), slips: {x: 3}}\n")
    assert (found.verdict, found.explained) == ("wrong", False)
    assert found.note == "x: 3, not as printed"


def test_a_claim_in_several_lectures_is_found_in_each() -> None:
    found = claims(
        "    - {id: a, at: 001:4 9; 002:7, weight_layers: 8, is: weight_layers(alexnet)}"
    )
    assert [(f.name, f.source) for f in found] == [
        ("001-a", "lecture 001:4 (+1)"), ("002-a", "lecture 002:7"),
    ]  # fmt: skip


def test_nets_are_specs_chains_or_other_names() -> None:
    nets = (
        "  one:\n    input: 3x8x8\n    knobs: {width: 4}\n    layers:\n      - conv(width, 3)\n"
        "  two: 3x8x8 | conv(4, 3)\n  three: alexnet\n"
    )
    [found] = claims(
        "    - {id: a, at: 1:2, params: same,"
        " is: params(one) == params(two) and params(one(width=5)) == 140"
        " and params(three) == params(alexnet)}\n",
        nets,
    )
    assert found.verdict == "exact"


TABLE = """    - each: [row, layer, shape, params]
      of:
        - [01, CONV1, 55x55x96, 35K]
        - [02, POOL1, 27x27x96, -]
      claims:
        - {id: "row{row}-shape", at: 1:2, output_shape: "{shape}", is: "output(alexnet, {layer})"}
        - {id: "row{row}-params", at: 1:2, params: "{params}", is: "params(alexnet, {layer})"}
"""


def test_a_table_makes_its_claims_for_every_row_that_prints_them() -> None:
    assert [(f.name, f.printed, f.verdict) for f in claims(TABLE)] == [
        ("1-row01-shape", "55x55x96", "exact"),
        ("1-row01-params", "35K", "rounds to"),
        ("1-row02-shape", "27x27x96", "exact"),
    ]


CLAIM = "claims:\n  t:\n    - "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims:\n  t: 3", "2:6: t must be a list of claims"),
        ("claim: {}", "1:1: unknown key 'claim'; did you mean 'claims'?"),
        ("nets: {}", "1:1: a file of claims has no claims"),
        (CLAIM + "7", "3:7: a claim must be a mapping"),
        (
            CLAIM + "{id: a, at: 1:2, parms: 3, is: 3}",
            "unknown key 'parms'; did you mean 'params'?",
        ),
        (CLAIM + "{at: 1:2, params: 3, is: 3}", "3:7: a claim has no id"),
        (CLAIM + "{id: a, params: 3, is: 3}", "3:7: a claim has no at"),
        (CLAIM + "{id: a, at: 1:2, is: 3}", "receptive_field, weight_layers, ratio; got none"),
        (CLAIM + "{id: a, at: 1:2, macs: 1, params: 3, is: 3}", "got params and macs"),
        (
            CLAIM + "{id: a, at: 1:2, params: 3}",
            "a claim has either `is`, or `readings` where its meaning is open",
        ),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, readings: {x: 1}}",
            "3:45: readings must have at least 2 entries",
        ),
        (
            CLAIM + "{id: a, at: L2, params: 3, is: 3}",
            "3:19: places are written as `000:452 491; 001:342`; got 'L2'",
        ),
        (CLAIM + "{id: a, at: 1:2, params: [3], is: 3}", "params must be a single value"),
        (CLAIM + "{id: a, at: 1:2, params: 3, is: 3 +}", "3:39: not an expression: '3 +'"),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, is: 3}\n    - {id: a, at: 1:7, params: 3, is: 3}",
            "4:7: two claims are '1-a'; the first in line 3",
        ),
        (CLAIM + "{id: a, at: 1:2, params: 3, is: x}", "3:39: a: no figure: 'x'"),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, is: params(lenet55)}",
            "3:39: a: unknown model 'lenet55'; did you mean 'lenet5'?",
        ),
        (
            CLAIM + '{id: a, at: 1:2, params: 3, is: "2 + parms(lenet5)"}',
            "3:44: a: no function 'parms' here; did you mean 'params'?",
        ),
        (CLAIM + "{id: a, at: 1:2, params: lots, is: 3}", "3:7: a: a number is written as"),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, for: {N: 3}, is: N}",
            "3:44: a: N must run through a list",
        ),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, for: {N: '[3, 4]'}, is: N}",
            "a: 3 for N=3, but 4 for N=4",
        ),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, for: {N: '[3]'}, when: N > 3, is: N}",
            "a: no case meets the condition",
        ),
        (
            CLAIM + "{id: a, at: 1:2, params: 3, for: {N: range(100), M: range(100)}, is: 3}",
            "3:7: a: more than 5,000 cases",
        ),
        (CLAIM + "{each: [a], off: []}", "3:19: unknown key 'off'; did you mean 'of'?"),
        (CLAIM + "{each: [a], of: [[1, 2]]}", "3:7: a table of claims has claims, a list"),
        (
            CLAIM + "{each: [a, b], of: [[1]], claims: [{id: x}]}",
            "3:27: a row has a cell for each of a, b",
        ),
        (
            CLAIM + "{each: [a], of: [[1]], claims: [{id: '{a}', at: 1:2, params: 3}]}",
            "3:24: a claim has either `is`, or `readings`",
        ),
        ("nets: {a b: alexnet}\nclaims: {}", "1:8: 'a b' cannot name a network here"),
        ("nets: {params: alexnet}\nclaims: {}", "1:8: 'params' cannot name a network here"),
        ("nets:\n  a: {input: 3x8x8}\nclaims: {}", "2:6: the spec has no layers"),
    ],
)
def test_broken_claims_files_are_refused_at_their_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        audit_lectures(read_claims(Source("c.yaml", text)))
    assert message in str(error.value)
    assert str(error.value).startswith("c.yaml:")
    assert "\n" not in str(error.value)


def test_a_claim_is_computed_only_when_it_is_asked_for() -> None:
    made = read_claims(Source("c.yaml", CLAIM + "{id: a, at: 1:2, params: 3, is: params(nothing)}"))
    with pytest.raises(SpecError, match="unknown model 'nothing'"):
        Bench(made).outcome(made.claims[0], made.claims[0].readings[""])


def test_floats_are_refused_where_they_stand() -> None:
    with pytest.raises(ExpressionError) as error:
        evaluate("2 + 1.5")
    assert error.value.offset == 4
