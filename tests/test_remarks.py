"""Remarks: what the reader of a spec should know, under tables and as findings of lint."""

from __future__ import annotations

import json
from functools import partial

import jsonschema
import pytest
from test_cli import run

from archcost.analysis.reconcile import count_operations, reconcile
from archcost.analysis.report import analyze
from archcost.contracts import contract as contract_of
from archcost.conventions import CONVENTIONS
from archcost.errors import SpecError
from archcost.findings.lint import lint
from archcost.network import Network, Remark
from archcost.proofs.counterparts import COUNTERPARTS
from archcost.report.comparison import compare
from archcost.setting import Setting
from archcost.spec.aliases import ALIASES
from archcost.spec.catalog import catalog, expand, load, read_spec
from archcost.spec.remarks import MEANT
from archcost.spec.source import Source

cpu = partial(Setting, device="cpu")

UNREAD = """\
name: net
input: 3x8x8
layers:
  - a: conv(8, 3)
  - b: conv(8, 3)
  - take(a)
  - relu
"""
DEAD_BRANCH = """\
name: net
input: 3x8x8
layers:
  - a: conv(8, 3)
  - b: conv(8, 3) >> batchnorm >> relu >> conv(4, 1)
  - take(a)
  - relu
"""


def network(text: str) -> Network:
    return expand(read_spec(Source("net.yaml", text)))


def test_a_layer_that_nothing_reads_is_named_with_its_cost() -> None:
    # 8·8·3·3 + 8 = 584; 4·4 positions · 584 − 8 weights = 9,216
    text = "nothing reads b; it costs 584 parameters and 9,216 MACs of the totals"
    assert network(UNREAD).remarks == (Remark("unread", text, 5, 5),)


def test_a_branch_that_nothing_reads_is_named_once_at_its_end() -> None:
    # 584 + 2·8 of batchnorm + 4·8 + 4 = 636; 9,216 + 4·4·4·8 = 9,728
    text = (
        "nothing reads b.conv2; it costs 636 parameters and 9,728 MACs of the totals, "
        "with the layers that only it reads"
    )
    assert network(DEAD_BRANCH).remarks == (Remark("unread", text, 5, 5),)


def test_remarks_are_notes_of_table_and_compare_and_findings_of_lint() -> None:
    net = network(UNREAD)
    [remark] = net.remarks
    assert analyze(net).table().notes[3:] == (f"net.yaml:5: {remark.text}",)
    assert compare([analyze(net)]).table().notes[4:] == (f"net.yaml:5: {remark.text}",)
    assert [(f.place, f.kind, f.text) for f in lint(Source("net.yaml", UNREAD))] == [
        ("net.yaml:5:5", "unread", remark.text)
    ]


def test_lint_fails_and_json_has_the_remarks() -> None:
    assert "nothing reads b" in run("lint", "-", stdin=UNREAD, code=1)[0]
    data = json.loads(run("table", "-", "--format", "json", stdin=UNREAD)[0])
    assert [remark["line"] for remark in data["remarks"]] == [5]


def test_many_remarks_are_counted_not_listed() -> None:
    layers = "".join(f"  - b{i}: conv(8, 3)\n  - take(a)\n" for i in range(7))
    net = network("name: net\ninput: 3x8x8\nlayers:\n  - a: conv(8, 3)\n" + layers + "  - relu\n")
    notes = analyze(net).table().notes
    assert len(notes) == 3 + 5 + 1
    assert notes[-1] == "2 more: archcost lint net.yaml"


def test_no_model_of_the_catalog_has_a_remark() -> None:
    assert [name for name in catalog() if load(name, aux=True).remarks] == []


@pytest.mark.parametrize("name", ["alexnet", "mobilenet", "vgg16"])
def test_no_table_of_the_lectures_looks_like_a_habit(name: str) -> None:
    assert {remark.kind for remark in load(f"lectures/{name}").remarks} & {*MEANT} == set()


CONV = "conv(64, 7, stride=2, padding=3, bias=False) >> batchnorm >> relu"


@pytest.mark.parametrize(
    ("shape", "layers", "remark"),
    [
        # a batch before the input
        ("1x3x224x224", CONV, "1x3x224x224 is read as 1 channel of 3x224x224; the batch is no part of an input: write 3x224x224"),
        ("32x3x224x224", CONV, "32x3x224x224 is read as 32 channels of 3x224x224; the batch is no part of an input: write 3x224x224"),
        ("1x1x28x28", "conv(6, 5, padding=2)", "1x1x28x28 is read as 1 channel of 1x28x28; the batch is no part of an input: write 1x28x28"),
        # channels behind the picture
        ("224x224x3", "conv(64, 3, padding=1)", "224x224x3 is read as 224 channels of 224x3; the channels come first: write 3x224x224"),
        ("28x28x1", "conv(6, 5, padding=2)", "28x28x1 is read as 28 channels of 28x1; the channels come first: write 1x28x28"),
        ("480x640x3", "conv(64, 3, padding=1)", "480x640x3 is read as 480 channels of 640x3; the channels come first: write 3x480x640"),
        ("1x224x224x3", "conv(64, 3, padding=1)", "1x224x224x3 is read as 1 channel of 224x224x3; the batch is no part of an input, and the channels come first: write 3x224x224"),
        ("28x28", "conv(6, 5, padding=2)", "28x28 is read as 28 channels of 28, along one axis; a picture with one channel is 1x28x28"),
        # what comes in as an argument
        ("3x224x224", "conv(3, 64, 3)", "conv(3, 64, 3) is read as 3 outputs, a kernel of 64 and a stride of 3; what comes in is inferred: write conv(64, 3)"),
        ("1x32x32", "conv(1, 6, 5)", "conv(1, 6, 5) is read as 1 output, a kernel of 6 and a stride of 5; what comes in is inferred: write conv(6, 5)"),
        ("3x224x224", "conv(3, 64, 7, 2, 3)", "conv(3, 64, 7, 2, 3) is read as 3 outputs, a kernel of 64 and a stride of 7; what comes in is inferred: write conv(64, 7, 2, 3)"),
        ("64x64x64", "conv(64, 32, 3)", "conv(64, 32, 3) is read as 64 outputs, a kernel of 32 and a stride of 3; what comes in is inferred: write conv(32, 3)"),
        ("64x8x8", "conv_transpose(64, 32, 2)", "conv_transpose(64, 32, 2) is read as 64 outputs, a kernel of 32 and a stride of 2; what comes in is inferred: write conv_transpose(32, 2)"),
        ("8x32x32", "conv(8, 12, 3, padding=1)", "conv(8, 12, 3) is read as 8 outputs, a kernel of 12 and a stride of 3; what comes in is inferred: write conv(12, 3)"),
        ("3x32x32", "conv(3, 16, [3, 3])", "conv(3, 16, [3, 3]) is read as 3 outputs, a kernel of 16 and a stride of 3; what comes in is inferred: write conv(16, [3, 3])"),
        ("1x8x8", "batchnorm(1)", "batchnorm(1) is read as eps = 1; what comes in is inferred: write batchnorm"),
        ("8x16x16", "interpolate(2)", "interpolate(2) is read as the size 2x2; a factor is scale_factor=2"),
        # dimensions that count the batch
        ("8x6x6", "flatten(1) >> linear(10)", "flatten(1) keeps the 8 channels apart, and linear works on each; the batch is no dimension: write flatten"),
        ("8x6x6", "concat(current, current, dim=1)", "dim 1 of 8x6x6 is the height; the batch is no dimension: the channels are dim 0 (and the height dim -2)"),
        ("8x6x6", "chunk(2, 0, 1)", "dim 1 of 8x6x6 is the height; the batch is no dimension: the channels are dim 0 (and the height dim -2)"),
        ("8x6x6", "max(1)", "dim 1 of 8x6x6 is the height; the batch is no dimension: the channels are dim 0 (and the height dim -2)"),
        ("8x6x6", "log_softmax(1)", "dim 1 of 8x6x6 is the height; the batch is no dimension: the channels are dim 0 (and the height dim -2)"),
        ("8x6x6", "glu(1)", "dim 1 of 8x6x6 is the height; the batch is no dimension: the channels are dim 0 (and the height dim -2)"),
        ("8x6x6", "reshape([-1, 288]) >> linear(10)", "-1 is 1 here; the batch is no dimension: leave it out"),
    ],
)  # fmt: skip
def test_a_habit_is_read_as_it_stands_with_a_remark(shape: str, layers: str, remark: str) -> None:
    """The remark has its place, and the spec can say that it means what it says."""
    text = f"name: net\ninput: {shape}\nlayers:\n  - {layers}\n"
    [made] = network(text).remarks
    assert made.text == remark
    assert (made.line, made.column) == ((2, 8) if made.kind == "input" else (4, 5))
    assert [(flaw.kind, flaw.text) for flaw in lint(Source("net.yaml", text))] == [
        (made.kind, remark)
    ]
    meant = text.replace("layers:", f"meant: [{made.kind}]\nlayers:")
    assert network(meant).remarks == ()
    assert lint(Source("net.yaml", meant)) == []


@pytest.mark.parametrize(
    ("shape", "layers"),
    [
        ("3x16x112x112", "conv(64, 3, padding=1)"),  # frames of a film
        ("1x16x16x16", "conv(8, 3, padding=1)"),  # a volume
        ("1x3x64x64", "conv(8, [3, 3, 3], padding=1)"),  # a number for each of three axes
        ("512x4x4", "conv(64, 3, padding=1)"), ("3x32x40", "conv(3, 3, 2)"),
        ("1x22x1125", "conv(8, [1, 64], padding='same')"), ("64x1", "conv(8, 1)"),
        ("100x64", "conv(64, 5)"), ("64x64", "linear(10)"), ("1x16000", "conv(8, 64, 2)"),
        ("64x56x56", "conv(64, 3, 2)"), ("3x224x224", "conv(3, kernel_size=64, stride=3)"),
        ("64x56x56", "conv(64, 7, 2, 3, groups=64)"), ("3x64x64", "conv(3, 4, 4)"),
        ("8x6x6", "flatten(start_dim=1) >> linear(10)"), ("8x6x6", "concat(current, current, dim=-2)"),
        ("8x6", "concat(current, current, dim=1)"), ("8x6x6", "reshape([8, -1])"),
        ("8x6x6", "interpolate(size=2)"), ("8x6x6", "interpolate(12)"), ("224x224x3", "flatten"),
        ("2x8x8", "batchnorm(0.001)"), ("32x84x84", "conv(32, 8, 4)"), ("8x9x9", "conv(8, 7, 3)"),
    ],
)  # fmt: skip
def test_what_may_well_be_meant_has_no_remark(shape: str, layers: str) -> None:
    remarks = network(f"name: net\ninput: {shape}\nlayers:\n  - {layers}\n").remarks
    assert [remark.text for remark in remarks] == []


@pytest.mark.parametrize(
    ("shape", "layer", "hint"),
    [
        ("64x8x8", "conv(64, 128, 3)", "kernel_size 128 does not fit the padded input 8; what comes in is inferred: write conv(128, 3)"),
        ("3x8x8", "conv(3, 64, kernel_size=3)", "conv got kernel_size twice; what comes in is inferred: write conv(64, kernel_size=...)"),
        ("512", "linear(512, 10)", "bias must be true or false; got 10; what comes in is inferred: write linear(10)"),
        ("64x8x8", "batchnorm(64)", "eps must be from 0 to 1; got 64; what comes in is inferred: write batchnorm"),
        ("196x768", "layernorm(768)", "the batch is not counted; what comes in is inferred: write layernorm"),
        ("64x8x8", "groupnorm(32, 64)", "got 64; what comes in is inferred: write groupnorm(32)"),
        ("196x768", "attention(768, 12)", "what comes in is inferred: write attention(12)"),
        ("64x8x8", "prelu(64)", "got 64; one slope for each channel is prelu(per_channel=True)"),
        ("1x3x64x64", "conv(8, [3, 3])", "is the input 1x3x64x64 meant as 3x64x64?"),
        ("64x64x3", "maxpool(4)", "is the input 64x64x3 meant as 3x64x64?"),
    ],
)  # fmt: skip
def test_a_habit_that_is_refused_is_told_what_to_write(shape: str, layer: str, hint: str) -> None:
    with pytest.raises(SpecError) as error:
        network(f"name: net\ninput: {shape}\nlayers:\n  - {layer}\n")
    assert str(error.value).endswith(hint)


def test_an_input_of_the_option_has_a_remark_without_a_place() -> None:
    [remark] = load("resnet18", input="1x3x224x224").remarks
    assert (remark.kind, remark.line, remark.column) == ("input", 0, 0)
    assert analyze(load("resnet18", input="1x3x224x224")).table().notes[3] == remark.text
    data = json.loads(run("table", "resnet18", "--input", "224x224x3", "--format", "json")[0])
    contract = contract_of("table")
    jsonschema.validate(data, contract)
    assert data["remarks"][0]["line"] == 0


def test_unread_layers_can_be_meant_too() -> None:
    assert network(UNREAD.replace("layers:", "meant: unread\nlayers:")).remarks == ()
    with pytest.raises(SpecError) as error:
        network(UNREAD.replace("layers:", "meant: [unraed]\nlayers:"))
    assert str(error.value) == (
        "net.yaml:3:9: unknown kind of remark 'unraed'; did you mean 'unread'?"
    )


def test_a_name_of_another_collection_is_said_to_be_one() -> None:
    net = load("shufflenet_v2_x1_0")
    assert net.name == "shufflenet_v2_x1.0"
    text = "shufflenet_v2_x1_0 is the name that torchvision has for shufflenet_v2_x1.0"
    assert net.remarks == (Remark("alias", text, 0, 0),)
    assert load("resnet50").remarks == ()


NOT_SHAPING = {"aux_logits", "init_weights", "drop_rate", "dropout_rate", "drop_path_rate"}
"""Arguments of a counterpart that leave its layers with weights as they are."""


def test_the_aliases_are_the_counterparts_names() -> None:
    """Of every counterpart that is the same network as it is called, and that has another name."""
    names: dict[str, set[str]] = {}
    for model, entry in COUNTERPARTS.items():
        for reference in entry.values():
            name, arguments = (reference, {}) if isinstance(reference, str) else reference
            shaping = {*arguments} - NOT_SHAPING
            if ":" not in name and not shaping and name not in catalog():
                names.setdefault(name, set()).add(model)
    assert {alias: {model} for alias, (model, _) in ALIASES.items()} == names
    for alias, (model, collection) in ALIASES.items():
        reference = COUNTERPARTS[model][collection]
        assert alias == (reference if isinstance(reference, str) else reference[0])


@pytest.mark.parametrize("text", [UNREAD, DEAD_BRANCH])
def test_a_tool_that_traces_does_not_count_what_nothing_reads(text: str) -> None:
    net = network(text)
    assert count_operations(net, CONVENTIONS["fvcore"]) == 36 * 8 * 27  # the first convolution's
    assert analyze(net, Setting(convention="fvcore")).total.counted == 36 * 8 * 27
    assert count_operations(net, CONVENTIONS["macs"]) > 36 * 8 * 27
    for base in ("macs", "fvcore", "torchinfo"):
        for row in reconcile(net, base=base).rows:
            assert sum(part.amount for part in row.contributions) == row.difference


@pytest.mark.torch
@pytest.mark.parametrize("text", [UNREAD, DEAD_BRANCH])
def test_every_check_passes_where_nothing_reads_a_layer(text: str) -> None:
    pytest.importorskip("torch")
    from archcost.proofs.run import Request, verify_all

    outcomes = list(verify_all([network(text)], Request((), "cpu", cpu(2)), 1))
    assert {outcome.group for outcome in outcomes} >= {"structure", "counters", "memory"}
    assert [check for outcome in outcomes for check in outcome.failures] == []
