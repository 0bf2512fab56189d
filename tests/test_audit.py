"""The audit: verdicts on what lectures and papers print."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from archcost.contracts import contract as contract_of
from archcost.errors import ArchcostError, SpecError
from archcost.findings.audit import Audit, Finding, Slip, audit_models, judge
from archcost.findings.functions import ClaimEvaluator, Measures
from archcost.lectures.claims import audit_lectures, lecture_claims, read_claims
from archcost.published import VERDICTS
from archcost.spec.catalog import catalog, documents
from archcost.spec.expression import parse
from archcost.spec.source import Source

FOLDER = Path(__file__).parent
LECTURES = {finding.name: finding for finding in audit_lectures()}
RECORDED = {
    row["id"]: row
    for row in csv.DictReader(
        (FOLDER / "recorded" / "lecture_verdicts.csv").read_text("utf-8").splitlines()
    )
}
"""Verdict and true figure of every claim, worked out by hand and with other tools."""

# DenseNet-264 is a name: its blocks of 6, 12, 64 and 48 layers of two convolutions each, three
# transitions, the stem and the classifier are 2·130 + 3 + 1 + 1 = 265 layers. The depths 121, 161,
# 169 and 201 are right (2·58 + 5, 2·78 + 5, 2·82 + 5, 2·98 + 5).
NAMED_264 = ("000-dense50", "001-dense50")

# The record has the evidence where the claim is a statement.
EVIDENCE = {
    "002-alex-trend": "[channels(alexnet, CONV1), channels(alexnet, CONV2), "
    "channels(alexnet, CONV3), channels(alexnet, CONV4), channels(alexnet, CONV5)]",
    "003-rn-100": "[weight_layers(resnet101), weight_layers(resnet152)]",
}


def evaluate(text: str, **case: object) -> object:
    return ClaimEvaluator(Measures(), case)(parse(text))


def claims(text: str, nets: str = "") -> list[Finding]:
    body = f"nets:\n{nets}" if nets else ""
    return audit_lectures(read_claims(Source("c.yaml", f"{body}claims:\n  topic:\n{text}")))


# The lectures.


def test_every_verdict_is_the_recorded_one() -> None:
    computed = {name: finding.verdict for name, finding in LECTURES.items()}
    assert computed == {name: row["verdict"] for name, row in RECORDED.items()}


def test_no_claim_is_left_out() -> None:
    assert len(LECTURES) == sum(len(claim.places) for claim in lecture_claims().claims) == 503
    assert Counter(finding.quantity for finding in LECTURES.values()) == {
        "output_shape": 192, "params": 110, "weight_layers": 69, "activations": 54, "ratio": 35,
        "macs": 30, "receptive_field": 8, "activation_bytes": 3, "flops": 2,
    }  # fmt: skip
    assert Counter(finding.verdict for finding in LECTURES.values()) == {
        "exact": 371, "rounds to": 69, "ambiguous": 29, "wrong": 34,
    }  # fmt: skip


def agrees(recorded: str, value: object) -> bool:
    """Whether a value is the recorded number, to its digits, or the recorded shape or list."""
    if isinstance(value, list):
        return judge(recorded.replace(" ", "x"), value) == "exact"
    assert isinstance(value, (int, Fraction))
    return judge(recorded, value) in ("exact", "rounds to")


@pytest.mark.parametrize("name", [name for name, row in RECORDED.items() if row["computed"]])
def test_the_computed_figure_is_the_recorded_one(name: str) -> None:
    recorded = RECORDED[name]["computed"]
    values = [value for _, value in LECTURES[name].computed]
    if name in EVIDENCE:
        values = [evaluate(EVIDENCE[name])]  # type: ignore[list-item]
    if name in NAMED_264:
        assert recorded.endswith(" 264")
        recorded = recorded.removesuffix("264") + "265"
    assert any(agrees(recorded, value) for value in values)


def test_what_is_not_recorded_is_a_statement_or_has_readings() -> None:
    for name, row in RECORDED.items():
        values = [value for _, value in LECTURES[name].computed]
        assert row["computed"] or len(values) > 1 or isinstance(values[0], bool), name


def test_wrong_claims_are_explained_and_their_slips_give_what_is_printed() -> None:
    for finding in LECTURES.values():
        assert finding.explained, finding.name
        assert all(slip.explains for slip in finding.slips), finding.name
        assert not finding.slips or finding.verdict == "wrong", finding.name


def test_358_million_is_the_3x3_row_counted_twice() -> None:
    found = LECTURES["001-inc-358M"]
    assert found.computed == (("", 271_351_808),)
    # 28·28·(64 + 128 + 64 + 64)·256 + 28·28·192·9·64·2 + 28·28·96·25·64
    assert found.slips == (Slip("the 3x3 row counted twice", 358_055_936, True),)
    assert found.note == "the 3x3 row counted twice: 358,055,936"


def test_sixty_million_has_two_readings() -> None:
    found = LECTURES["003-alex-60M"]
    assert found.computed == (("two towers", 60_965_224), ("one tower", 62_378_344))
    assert found.figure == "60,965,224 or 62,378,344"
    assert found.source == "lecture 003:76"


def test_the_file_says_nothing_of_verdicts() -> None:
    text = lecture_claims().source.text
    assert not any(f"{verdict}:" in text or f": {verdict}" in text for verdict in VERDICTS)


# Published figures.

SPEC = """name: small
input: 3x8x8
layers:
  - conv(4, 3)
  - flatten
  - linear(10)
published:
"""  # conv 4·(27 + 1) = 112, linear 144·10 + 10 = 1,450; MACs 108·36 + 1,440 = 5,328


def published(tmp_path: Path, rows: str) -> list[Finding]:
    file = tmp_path / "small.yaml"
    file.write_text(SPEC + rows, "utf-8")
    return audit_models([str(file)])


def test_published_figures_of_every_kind(tmp_path: Path) -> None:
    found = published(
        tmp_path,
        "  - {source: s, params: 1562, macs: 5.3K, flops: 10.6K, size: 6.2KB, weight_layers: 3,"
        " activations: 346, top1: 70.1, top5_error: 9.9}\n",
    )
    judged = {finding.quantity: (finding.verdict, finding.figure) for finding in found}
    assert judged == {
        "params": ("exact", "1,562"),
        "macs": ("rounds to", "5,328"),
        "flops": ("ambiguous", "10,656"),  # 10.7K
        "size": ("rounds to", "6,248"),
        "weight_layers": ("wrong", "2"),
        "activations": ("exact", "346"),  # 192 + 144 + 10
        "top1": ("not computed", ""),
        "top5_error": ("not computed", ""),
    }
    assert {finding.why for finding in found if finding.verdict == "ambiguous"} == {
        "cut instead of rounded"
    }


def test_a_row_is_counted_at_its_input_and_by_its_convention(tmp_path: Path) -> None:
    found = published(
        tmp_path,
        "  - {source: s, input: 3x9x9, params: 2.1K, macs: 7252}\n"  # linear 196·10 + 10
        "  - {source: t, convention: torchinfo, macs: 5.48K}\n"  # biases: 4·36 + 10
        "  - {source: u, convention: timm, activations: 154, why: not needed}\n"
        "  - {source: v, params: 3K, why: twice the figure}\n",
    )
    assert [(f.verdict, f.figure, f.convention, f.why) for f in found] == [
        ("rounds to", "2,082", "", ""),
        ("exact", "7,252", "", ""),  # 108·49 + 1,960
        ("rounds to", "5,482", "torchinfo", ""),
        ("exact", "154", "timm", ""),
        ("wrong", "1,562", "", "twice the figure"),
    ]


def test_a_slip_is_computed_and_shown_only_where_it_explains(tmp_path: Path) -> None:
    found = published(
        tmp_path,
        "  - {source: s, params: 112, macs: 3.9K,"
        " slips: {conv alone: \"params(this, 'conv*')\", its operations: \"macs(this, 'conv*')\"}}\n"
        "  - {source: t, params: 4K, slips: {doubled: 2 * params(this)}}\n",
    )
    assert [(f.quantity, f.verdict, f.note, f.explained) for f in found] == [
        ("params", "wrong", "conv alone: 112", True),
        ("macs", "wrong", "its operations: 3,888", True),
        ("params", "wrong", "doubled: 3,124, not as printed", False),
    ]


def test_a_slip_may_change_a_knob_of_the_variant_it_is_of(tmp_path: Path) -> None:
    path = tmp_path / "family.yaml"
    path.write_text(
        "family: family\ntitle: t\ninput: 3\nknobs: {width: 2, bias: true}\n"
        "variants: {narrow: {}, wide: {width: 5}}\n"
        "layers:\n  - linear(width, bias=bias)\npublished:\n"
        "  - {model: wide, source: s, params: 15, slips: {no bias: params(this(bias=False))}}\n"
    )
    [found] = audit_models([str(path)])
    assert (found.verdict, found.note) == ("wrong", "no bias: 15")  # 3·5, of 20


def test_a_slip_that_gives_nothing_is_silent_beside_a_reason_in_words(tmp_path: Path) -> None:
    row = "  - {source: s, params: 4K, why: unknown, slips: {doubled: 2 * params(this)}}\n"
    [found] = published(tmp_path, row)
    assert (found.note, found.explained) == ("unknown", True)


def test_a_slip_that_cannot_be_computed_is_refused_at_its_row(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"small.yaml:8:5: twice: no function 'parms' here"):
        published(tmp_path, "  - {source: s, params: 3K, slips: {twice: 2 * parms(this)}}\n")


def test_an_unknown_convention_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchcostError, match="unknown convention 'tim'; did you mean 'timm'"):
        published(tmp_path, "  - {source: s, convention: tim, macs: 3K}\n")


def test_a_family_is_audited_variant_by_variant() -> None:
    names = {finding.name for finding in audit_models(["alexnet"])}
    assert names == {"alexnet"}  # the variant of that name
    assert len({finding.name for finding in audit_models(["resnet"])}) > 5


@cache
def audited() -> Audit:
    return Audit(tuple(audit_models(catalog())))


def test_every_published_figure_is_right_or_explained() -> None:
    audit = audited()
    assert audit.unexplained == ()
    assert audit.counts["exact"] + audit.counts["rounds to"] > 400
    for finding in audit.findings:
        if finding.slips:
            assert any(slip.explains for slip in finding.slips), finding


def test_a_reason_stands_only_beside_a_figure_that_differs() -> None:
    differing = {
        (f.name, f.source) for f in audited().findings if f.verdict in ("wrong", "ambiguous")
    }
    for document in documents():
        for row in document.published:
            if row.why or row.slips:
                assert (row.model or document.name, row.source) in differing, row


# The text of a lecture.


def test_the_listing_of_vgg_counts_no_biases() -> None:
    audit = Audit(tuple(audit_models(["lectures/vgg16"])))
    assert audit.counts == {"exact": 47, "rounds to": 20, "wrong": 2}
    params = [f for f in audit.findings if f.quantity == "params"]
    assert {finding.convention for finding in params} == {"without biases"}
    wrong = {f.quantity: f.figure for f in audit.findings if f.verdict == "wrong"}
    assert wrong == {"activations": "15,237,608", "activation_bytes": "60,950,432"}


def test_what_the_table_of_mobilenet_gets_wrong() -> None:
    found = [f for f in audit_models(["lectures/mobilenet"]) if f.verdict != "exact"]
    assert [(f.name, f.quantity, f.printed, f.verdict, f.figure) for f in found] == [
        ("mobilenet", "bias", "", "ambiguous", ""),
        ("mobilenet Conv-dw7", "repeat", "5×", "ambiguous", ""),
        ("mobilenet Conv-dw13", "stride", "s2", "wrong", "1"),
    ]
    assert all(finding.why for finding in found)


def test_a_short_list_leaves_things_open() -> None:
    found = audit_models([str(FOLDER / "lectures" / "alexnet_short.txt")])
    judged = [(f.quantity, f.verdict, f.figure) for f in found]
    assert judged == [
        ("input", "ambiguous", ""),
        ("kernel_size", "wrong", "11"),
        *[("padding", "ambiguous", "")] * 4,
        ("params", "ambiguous", "62,378,344"),  # cut to 62.3M
    ]


def test_a_size_without_channels_is_compared_without_them() -> None:
    found = audit_models([str(FOLDER / "lectures" / "googlenet_stem.txt")])
    sizes = [(f.printed, f.verdict, f.figure) for f in found if f.quantity == "output"]
    assert sizes == [("28x28", "exact", "28x28")]


def test_a_table_with_columns_is_audited_column_by_column() -> None:
    audit = Audit(tuple(audit_models([str(FOLDER / "lectures" / "vgg_columns.txt")])))
    # weight layers and inputs, millions of parameters, paddings that are not printed
    assert audit.counts == {"exact": 12, "rounds to": 6, "ambiguous": 8 + 8 + 10 + 10 + 13 + 16}


# The command.


def run(*arguments: str, code: int = 0, stdin: str | None = None) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "archcost", "audit", *arguments],
        input=stdin, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_the_command_ends_with_counts_per_verdict() -> None:
    out, _ = run("--lectures")
    summary = "503 figures: 371 exact, 69 rounds to, 29 ambiguous, 34 wrong"
    assert out.splitlines()[-1] == summary
    assert len(out.splitlines()) == 2 + 503 + 2
    out, _ = run("--lectures", "--verdict", "wrong", "--verdict", "ambiguous", "--format", "csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert Counter(row["verdict"] for row in rows) == {"wrong": 34, "ambiguous": 29}


def test_json_follows_its_schema() -> None:
    data = json.loads(run("--lectures", "alexnet", "--format", "json")[0])
    contract = contract_of("audit")
    jsonschema.Draft202012Validator.check_schema(contract)
    jsonschema.validate(data, contract)
    first = next(row for row in data["findings"] if row["name"] == "000-gn-12x")
    assert first["computed"] == [{"reading": "", "value": 62_378_344 / 6_998_552}]
    assert first["slips"] == [{"text": "60M / 5M", "value": 12, "explains": True}]


def test_a_wrong_figure_without_explanation_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SPEC + "  - {source: s, params: 3K}\n", "utf-8")
    out, _ = run(str(file), code=1)
    assert out.splitlines()[-1] == "1 figure: 1 wrong; 1 wrong without explanation"
    file.write_text(SPEC + "  - {source: s, params: 3K, why: doubled}\n", "utf-8")
    out, _ = run(str(file))
    assert out.splitlines()[-1] == "1 figure: 1 wrong"


def test_standard_input_is_read_once() -> None:
    spec = SPEC + "  - {source: s, input: 3x9x9, params: 2082}\n"
    out, _ = run("-", stdin=spec)
    assert out.splitlines()[-1] == "1 figure: 1 exact"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name at least one model, or use --all or --lectures"),
        (("vgg17",), "unknown model 'vgg17'; did you mean 'vgg19'?"),
        (("--lectures", "--verdict", "rong"), "unknown verdict 'rong'; did you mean 'wrong'?"),
    ],
)
def test_bad_input_exits_with_2(arguments: tuple[str, ...], reason: str) -> None:
    out, err = run(*arguments, code=2)
    assert out == ""
    assert err.startswith(f"archcost: {reason}")
    assert err.count("\n") == 1
