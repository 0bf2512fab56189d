"""How a spec connects layers: weights used again, several inputs and outputs, labels set again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from archcost import analyze, loads
from archcost.cli import cli
from archcost.contracts import contract
from archcost.errors import ArchcostError
from archcost.findings.lint import lint
from archcost.spec.flat import flat_spec
from archcost.spec.layout import format_spec
from archcost.spec.source import Source

TWINS = """name: twins
input: 2x28x28
shared:
  tower: conv(8, 3) >> relu >> flatten >> linear(16)
layers:
  - add:
      left: slice(0, 0, 1) >> tower
      right: slice(0, 1, 2) >> tower >> rescale(-1)
  - linear(1)
"""

HEADS = """name: heads
input: 3x64x64
shared:
  head:
    - for i in range(2):
        - conv(8, 3, padding=1) >> relu
    - conv(4, 3, padding=1)
layers:
  - c3: conv(8, 3, 8, padding=1)
  - c4: conv(8, 3, 2, padding=1)
  - cls3: head(c3)
  - cls4: take(c4) >> head
  - concat(flatten(cls3), flatten(cls4))
"""


def told(text: str) -> str:
    """Return what is said of a spec that is refused."""
    with pytest.raises(ArchcostError) as error:
        loads(text, name="net.yaml")
    return str(error.value)


# Weights used again.


def test_a_tower_used_twice_has_its_parameters_once() -> None:
    report = analyze(loads(TWINS))
    assert report.total.params == 8 * 9 + 8 + 5408 * 16 + 16 + 16 + 1 == 86_641
    assert report.total.macs == 2 * (26 * 26 * 8 * 9 + 5408 * 16) + 16 == 270_416
    rows = report.by_layer()
    assert rows["right.tower.conv1"].activations == rows["left.tower.conv1"].activations == 5408
    shown = {row[0]: row[2] for row in report.table().rows}
    assert shown["right.tower.conv1"] == "3x3, weights of left.tower.conv1"


def test_a_layer_used_three_times() -> None:
    """A shared layer is a layer of its own name, which is numbered from the second on."""
    network = loads("name: t\ninput: 10\nshared: {a: linear(10)}\nlayers: [a, a * 2]\n")
    assert [layer.path for layer in network] == ["a", "a2", "a3"]
    total = analyze(network).total
    assert (total.params, total.macs) == (110, 300)


def test_a_head_on_levels_of_other_sizes() -> None:
    network = loads(HEADS)
    report = analyze(network)
    own = (8 * 8 * 9 + 8) * 2 + 8 * 4 * 9 + 4
    assert report.total.params == (3 * 8 * 9 + 8) + (8 * 8 * 9 + 8) + own
    assert report.by_group()["cls3"].params == own and report.by_group()["cls4"].params == 0
    assert report.by_group()["cls3"].macs == 4 * report.by_group()["cls4"].macs
    assert network["cls4.head.conv2"].module == "cls3.conv2"


def test_a_shared_item_inside_another_and_inside_a_block() -> None:
    text = """name: t
input: 4x8x8
blocks:
  twice: a >> b
shared:
  a: conv(4, 3, padding=1)
  b: a >> batchnorm
layers:
  - twice
  - b * 2
"""
    network = loads(text)
    assert [layer.path for layer in network] == [
        "a", "b.a", "b.batchnorm1", "b2.a", "b2.batchnorm1", "b3.a", "b3.batchnorm1",
    ]  # fmt: skip
    assert analyze(network).total.params == 4 * 4 * 9 + 4 + 8
    assert {layer.module for layer in network} == {"a", "b.batchnorm1"}


def test_layers_without_weights_may_depend_on_the_size() -> None:
    text = """name: t
input: 4x8x8
shared:
  pooled: conv(2, 1) >> avgpool(in_size)
layers:
  - a: pooled
  - take(input)
  - maxpool(2)
  - b: pooled
  - add(a, b)
"""
    network = loads(text)
    assert network["b.avgpool1"].module == "b.avgpool1" and network["b.conv1"].module == "a.conv1"
    assert analyze(network).total.params == 10


@pytest.mark.parametrize("text", [TWINS, HEADS])
def test_a_flat_spec_shares_the_same_weights(text: str) -> None:
    network, again = loads(text), loads(flat_spec(loads(text)))
    assert [(a.op, a.shapes, a.macs) for a in again] == [(b.op, b.shapes, b.macs) for b in network]
    assert [*again.params.values()] == [*network.params.values()]


def test_shared_items_are_laid_out_as_blocks() -> None:
    text = TWINS.replace("conv(8, 3) >> relu", "conv( 8,3 )>>relu")
    assert format_spec(Source("net.yaml", text)) == TWINS


def test_a_shared_item_that_nothing_uses_is_found() -> None:
    text = TWINS.replace("layers:", "  spare: conv(8, 3)\nlayers:")
    found = [
        (flaw.line, flaw.column, flaw.kind, flaw.text) for flaw in lint(Source("n.yaml", text))
    ]
    assert found == [(5, 3, "unused", "shared spare is never used")]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("slice(0, 1, 2) >> tower", "tower", "net.yaml:8:14: right.tower.conv1: conv on 2x28x28: weight is 8x2x3x3, and left.tower.conv1.weight is 8x1x3x3"),
        ("slice(0, 1, 2) >> tower", "towre", "net.yaml:8:14: right: unknown op or block 'towre'; did you mean 'tower'?"),
        ("slice(0, 1, 2) >> tower", "slice(0, 1, 2) >> tower(8)", "net.yaml:8:14: right: tower is shared: it takes a tensor and no values"),
        ("slice(0, 1, 2) >> tower", "tower(input, input)", "net.yaml:8:14: right: tower takes one tensor; got 2"),
        ("tower: conv", "tower(width): conv", "net.yaml:4:8: tower has one set of weights and so no parameters; a block has some"),
    ],
)  # fmt: skip
def test_what_a_shared_item_may_not_be(old: str, new: str, reason: str) -> None:
    assert old in TWINS
    assert told(TWINS.replace(old, new)) == reason


def test_a_shared_item_has_the_same_weights_in_each_use() -> None:
    head = "name: t\ninput: 4x8x8\nshared:\n  s: "
    layers = "\nlayers:\n  - s\n  - maxpool(2)\n  - s\n"
    assert told(head + "conv(in_size[0], 1) >> conv(4, 1)" + layers) == (
        "net.yaml:8:5: s2.conv1: conv on 4x4x4: s.conv1 is another op: "
        "conv(out_channels=8, kernel_size=1)"
    )
    more = "['conv(4, 1) if in_size[0] > 4', 'conv(4, 3, padding=1)']"
    assert told(head + more + layers).startswith(
        "net.yaml:8:5: s2.conv1: conv on 4x4x4: s.conv1 is"
    )
    more = "['conv(4, 1)', 'conv(4, 1) if in_size[0] < 8']"
    reason = "s is shared, and only one of its uses has s2.conv2"
    assert told(head + more + layers) == f"net.yaml:8:5: {reason}"


def test_a_layer_takes_the_weight_and_the_bias_of_another() -> None:
    text = """name: t
input: 8
layers:
  - a: linear(8)
  - b: linear(8, weight=a, bias=a)
"""
    network = loads(text)
    assert network.params == {"a.weight": (8, 8), "a.bias": (8,)}
    assert dict(network["b"].ties) == {"weight": "a.weight", "bias": "a.bias"}
    assert loads(text, bias=False).params == {"a.weight": (8, 8)}
    assert told(text.replace("bias=a", "bias=8")).endswith("bias must be true or false; got 8")


@pytest.mark.torch
@pytest.mark.parametrize("name", ["TWINS", "HEADS", "DISTANCE", "TOKENS"])
def test_pytorch_agrees(name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from test_network_torch import failures

    assert failures(loads(globals()[name]), batch=2) == []


@pytest.mark.torch
@pytest.mark.parametrize("towers", [1, 2])
def test_a_module_of_pytorch_with_one_tower_or_two(
    towers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--against`` passes the module that calls one tower twice, and finds out the other one."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs import Subject
    from archcost.proofs.reference import reference
    from archcost.pytorch import build
    from archcost.setting import CPU

    nn = torch.nn

    class Twins(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.towers = nn.ModuleList(
                nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5408, 16))
                for _ in range(towers)
            )
            self.score = nn.Linear(16, 1)

        def forward(self, x: Any) -> Any:
            return self.score(self.towers[0](x[:, 0:1]) - self.towers[-1](x[:, 1:2]))

    module = ModuleType("twins_of_pytorch")
    module.Twins = Twins  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    network = loads(TWINS)
    subject = Subject(network, build(network), setting=CPU, against=("twins_of_pytorch:Twins",))
    assert all(check.passed for check in reference(subject)) is (towers == 1)


# Several inputs and outputs.

DISTANCE = """name: distance
inputs:
  left: 1x105x105
  right: 1x105x105
shared:
  tower: conv(64, 10)
layers:
  - a: tower
  - b: tower(right)
  - add(a, rescale(b, -1))
"""

TOKENS = """name: tokens
inputs:
  image: 3x8x8
  tokens: 77 int64
layers:
  - flatten
  - scores: linear(10)
  - ids: reshape(tokens, [7, 11])
outputs: [scores, ids]
"""

DETECTOR = """name: detector
input: 3x512x512
knobs: {classes: 80, anchors: 9}
shared:
  head:
    - for i in range(4):
        - conv(256, 3, padding=1) >> relu
    - conv(classes * anchors, 3, padding=1)
layers:
  - c3: conv(512, 3, 8, padding=1)
  - c4: conv(1024, 3, 2, padding=1)
  - c5: conv(2048, 3, 2, padding=1)
  - p5: conv(256, 1)
  - p4:
      - add:
          lat: take(c4) >> conv(256, 1)
          top: take(p5) >> interpolate(scale_factor=2)
  - p3:
      - add:
          lat: take(c3) >> conv(256, 1)
          top: take(p4) >> interpolate(scale_factor=2)
  - cls3: head(p3)
  - cls4: head(p4)
  - cls5: head(p5)
outputs: [cls3, cls4, cls5]
"""


def test_two_inputs_through_one_tower() -> None:
    network = loads(DISTANCE)
    assert [value.name for value in network.inputs] == ["left", "right"]
    assert network["a"].inputs == ("left",) and network["b"].inputs == ("right",)
    total = analyze(network).total
    assert total.params == 64 * 100 + 64 == 6_464
    assert total.macs == 2 * 96 * 96 * 64 * 100 == 117_964_800


def test_an_input_of_whole_numbers() -> None:
    network = loads(TOKENS)
    assert str(network.inputs[1]) == "tokens 77 of int64"
    assert network.outputs == ("scores", "ids") and network.values["ids"].dtype == "int64"
    assert loads(flat_spec(network)).inputs == network.inputs
    one = loads("name: t\ninput: 4x6 int64\nlayers: [flatten]")
    assert (one.input, one.inputs[0].dtype) == ((4, 6), "int64")
    assert loads(flat_spec(one)).inputs == one.inputs
    assert told(TOKENS.replace("- flatten", "- relu(tokens)")).split("\n")[0] == (
        "net.yaml:6:5: relu1: relu on 77: relu takes float; got int64"
    )


def test_one_head_on_three_levels_and_three_outputs() -> None:
    network = loads(DETECTOR)
    report = analyze(network)
    head = 4 * (256 * 256 * 9 + 256) + 720 * (256 * 9) + 720
    assert network.outputs == ("cls3.conv5", "cls4.conv5", "cls5.conv5")
    assert report.by_group()["cls3"].params == head
    assert report.by_group()["cls4"].params == report.by_group()["cls5"].params == 0
    backbone = 512 * 28 + 1024 * (512 * 9 + 1) + 2048 * (1024 * 9 + 1)
    lateral = 256 * (2049 + 1025 + 513)
    assert report.total.params == backbone + lateral + head
    own = 4 * 256 * 256 * 9 + 720 * 256 * 9
    assert report.by_group()["cls3"].macs == own * 64 * 64
    assert report.by_group()["cls5"].macs == own * 16 * 16
    assert [network.values[name].shape for name in network.outputs] == [
        (720, 64, 64), (720, 32, 32), (720, 16, 16),
    ]  # fmt: skip
    assert network.remarks == () and lint(Source("net.yaml", DETECTOR)) == []


def test_without_outputs_heads_are_read_by_nothing() -> None:
    text = DETECTOR.replace("outputs: [cls3, cls4, cls5]\n", "")
    assert len(loads(text).outputs) == 1
    assert [flaw.kind for flaw in lint(Source("net.yaml", text))] == ["unread", "unread"]
    text = DISTANCE.replace("tower(right)", "tower(left)")
    assert [flaw.text for flaw in lint(Source("net.yaml", text))] == [
        "nothing reads the input right"
    ]


@pytest.mark.parametrize("text", [DISTANCE, DETECTOR])
def test_inputs_and_outputs_go_through_show_fmt_and_schema(text: str) -> None:
    network = loads(text)
    again = loads(flat_spec(network))
    assert again.inputs == network.inputs and len(again.outputs) == len(network.outputs)
    assert analyze(again).total == analyze(network).total
    assert format_spec(Source("net.yaml", text)) == text
    jsonschema.validate(yaml.safe_load(text), contract("spec"))


def test_other_shapes_for_inputs(tmp_path: Path) -> None:
    network = loads(DISTANCE, input={"left": "1x64x64", "right": (1, 64, 64)})
    assert network["b"].cost.output == (64, 55, 55)
    path = tmp_path / "net.yaml"
    path.write_text(DISTANCE)
    shapes = ["--input", "left=1x64x64", "--input", "right=1x64x64"]
    result = CliRunner().invoke(cli, ["table", str(path), *shapes, "--format", "json"])
    assert [value["shape"] for value in json.loads(result.output)["inputs"]] == [[1, 64, 64]] * 2
    result = CliRunner().invoke(cli, ["table", str(path), "--input", "1x64x64"])
    assert str(result.exception) == (
        "distance has the inputs left, right: say which, as left=1x105x105"
    )
    shapes = ["--input", "1x64x64", "--input", "1x32x32"]
    result = CliRunner().invoke(cli, ["table", str(path), *shapes])
    assert str(result.exception).startswith("--input takes one shape, or NAME=SHAPE")
    with pytest.raises(
        ArchcostError, match=r"^unknown input of distance 'lft'; did you mean 'left'"
    ):
        loads(DISTANCE, input={"lft": "1x64x64"})
    lenet = ["table", "lenet5", "--format", "json", "--input", "input=1x36x36"]
    assert json.loads(CliRunner().invoke(cli, lenet).output)["input"] == [1, 36, 36]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[cls3, cls4, cls5]", "[cls3, csl4]", "net.yaml:25:17: unknown name 'csl4'; did you mean 'cls4'?"),
        ("[cls3, cls4, cls5]", "[cls3, 4]", "net.yaml:25:17: an output is the name of a layer; got 4"),
        ("[cls3, cls4, cls5]", "[cls3, cls3]", "net.yaml:25:17: cls3.conv5 is an output already"),
        ("[cls3, cls4, cls5]", "[cls3, lat]", "net.yaml:25:17: lat is set in line 16, in p4, and not seen here"),
        ("outputs:", "output:", "net.yaml:25:1: unknown key 'output'; did you mean 'outputs'?"),
        ("input: 3x512x512", "inputs: [3x512x512, 3x512x512]", "net.yaml:2:9: inputs are names with shapes, as {left: 1x105x105, right: 1x105x105}"),
        ("input: 3x512x512", "inputs: {a: 3x512x512, b: 77 int46}", "net.yaml:2:30: unknown type of an input 'int46'; did you mean 'int64'?"),
        ("input: 3x512x512", "inputs: {a: 3x512x512, classes: 77}", "net.yaml:2:24: classes is a knob already"),
        ("input: 3x512x512", "input: 3x512x512\ninputs: {a: 3x512x512}", "net.yaml:3:1: a spec has input or inputs"),
        ("input: 3x512x512", "inputs: {a: 3x512x512, c3: 4}", "net.yaml:10:5: duplicate name 'c3'; first in line 2"),
        ("conv(256, 1)\n  - p4", "conv(c4, c5, 256, 1)\n  - p4", "net.yaml:13:5: p5: conv on 1024x32x32 and 2048x16x16: conv takes one tensor; got 2"),
    ],
)  # fmt: skip
def test_what_inputs_and_outputs_may_not_be(old: str, new: str, reason: str) -> None:
    assert old in DETECTOR
    assert told(DETECTOR.replace(old, new)).split("\n")[0] == reason


ONE, TWO, ROWS = "input: 4x8x8", "inputs: {a: 4x8x8, b: 4x8x8}", "input: 20x8"
ODD = [
    ("inputs: {}", "- relu", "2:9: inputs has no input; a network reads one at least"),
    (TWO, "- relu(a, b)", "4:5: relu1: relu on 4x8x8 and 4x8x8: relu takes one tensor; got 2"),
    (TWO, "- add(a)", "4:5: add1: add on 4x8x8: add merges two or more named layers; got 1"),
    (TWO, "- take(a, b)", "4:5: take needs the name of one layer"),
    (TWO, "- b: relu", "4:5: duplicate name 'b'; first in line 2"),
    ("inputs: {a: 4, b: 4 int64}", "- add(a, b)", "4:5: add1: add on 4 and 4: add takes float; got int64"),
    (ONE, "- let: {maps: '[]'}\n  - concat(maps)", "5:5: concat1: concat on 4x8x8: concat merges two or more named layers; got 0"),
    (ONE, "- add(later, current)\n  - later: relu", "4:9: later is set in line 5, and not seen here"),
    (ONE, "- if 1 > 2:\n    - x: relu\n  - add(x, current)", "6:9: x is set in line 5, and not seen here"),
    (ONE, "- add:\n      a: add(x, current)\n      b:\n        - x: relu", "5:14: a: x is set in line 7, and not seen here"),
    (ONE, "- inner: relu\n  - add(iner, current)", "5:9: unknown name 'iner'; did you mean 'inner'?"),
    (ONE, "- add(flor, current)", "4:9: unknown name 'flor'; expected one of: current, in_channels, in_size, input"),
    (ROWS, "- a: linear(4)\n  - linear(8, weight=a)", "5:5: linear1: linear on 20x4: weight is 8x4, and a.weight is 4x8; PyTorch cannot share a transposed weight"),
    (ROWS, "- a: linear(4)\n  - linear(5, bias=a)", "5:5: linear1: linear on 20x4: bias is 5, and a.bias is 4"),
    (ROWS, "- a: relu\n  - linear(8, weight=a)", "5:5: a has no parameter 'weight'"),
    (ROWS, "- a: linear(8, bias=False)\n  - linear(8, bias=a)", "5:5: a has no parameter 'bias'; expected one of: weight"),
    (ROWS, "- linear(8, weight=b)\n  - b: linear(8)", "4:22: b is set in line 5, and not seen here"),
    (ROWS, "- linear(8, parametrization='weightnorm')", "4:5: linear1: linear on 20x8: parametrization 'weightnorm'; did you mean 'weight_norm'?"),
    (ROWS, "- weight_norm(linear(8))", "4:5: unknown op or block 'weight_norm'; write conv(64, 3, parametrization='weight_norm')"),
    (ROWS, "- spectral_norm(linear(8))", "4:5: unknown op or block 'spectral_norm'; write conv(64, 3, parametrization='spectral_norm')"),
    (ROWS, "- a: linear(8)\n  - linear(8, weight=a, parametrization='weight_norm')", "5:5: linear1: linear on 20x8: no parameter 'weight'; expected one of: bias, parametrizations.weight.original0, parametrizations.weight.original1"),
    (ROWS, "- linear(8, weight=3)", "4:5: linear1: linear on 20x8: linear has no argument 'weight'; the name of a layer stands there: weight=words takes the weight of words"),
]  # fmt: skip
SHARED = [
    ("t: conv(8, 3)", "- t\n  - t", "7:5: t2: conv on 8x6x6: weight is 8x8x3x3, and t.weight is 8x4x3x3"),
    ("t: flatten >> linear(3)", "- b: slice(1, 1) >> t\n  - t(input)", "7:5: t.linear1: linear on 256: weight is 3x256, and b.t.linear1.weight is 3x224"),
    ("t: conv(4, 3) if in_channels == 4 else relu", "- t\n  - conv(8, 1)\n  - t", "8:5: t2: relu on 8x6x6: t is another op: conv(out_channels=4, kernel_size=3)"),
    ("t: conv(3, 3)", "- t(8)", "6:5: t is shared: it takes a tensor and no values"),
    ("t: conv(3, 3)", "- t(width=8)", "6:5: t is shared: it takes a tensor and no values"),
    ("t: conv(3, 3)", "- t(input, input)", "6:5: t takes one tensor; got 2"),
    ("t(n): conv(n, 3)", "- t(8)", "4:4: t has one set of weights and so no parameters; a block has some"),
    ("t: []", "- t", "4:3: t is empty; write its items below it"),
    ("t:", "- t", "4:3: t is empty; write its items below it"),
    ("t: relu >> t", "- t", "4:6: nested deeper than 50; does a block call itself?"),
    ("t: add(x, current)", "- x: relu\n  - t", "4:10: x is set in line 6, and not seen here"),
    ("t: conv(4, 1)", "- t\n  - linear(8, dim=-1, weight=t)", "7:5: linear1: linear on 4x8x8: linear has no argument 'weight'; the name of a layer stands there: weight=words takes the weight of words"),
]  # fmt: skip


@pytest.mark.parametrize(("head", "layers", "reason"), ODD)
def test_what_is_refused_of_inputs_labels_and_ties(head: str, layers: str, reason: str) -> None:
    text = f"name: net\n{head}\nlayers:\n  {layers}\n"
    assert told(text).split("\n")[0] == f"net.yaml:{reason}"


@pytest.mark.parametrize(("item", "layers", "reason"), SHARED)
def test_what_is_refused_of_shared_items(item: str, layers: str, reason: str) -> None:
    text = f"name: net\ninput: 4x8x8\nshared:\n  {item}\nlayers:\n  {layers}\n"
    assert told(text).split("\n")[0] == f"net.yaml:{reason}"


def test_a_group_of_a_block_is_an_output_by_its_number() -> None:
    block = "blocks:\n  b:\n    - s: conv(4, 1)\n"
    network = loads(f"name: net\ninput: 4x8x8\n{block}layers: [b, b]\noutputs: [0, 1.s]\n")
    assert network.outputs == ("0.s", "1.s")


def test_a_parameter_that_another_layer_takes_is_read() -> None:
    text = "name: net\ninput: 20x8\nlayers:\n  - p: OP\n  - linear(input, 8, weight=p)\n"
    assert [*loads(text.replace("OP", "parameter([8, 8])")).remarks] == []
    [remark] = loads(text.replace("OP", "linear(8)")).remarks
    assert remark.text == "nothing reads p; it costs 8 parameters and 1,280 MACs of the totals"


def test_a_label_of_one_branch_is_not_seen_in_another() -> None:
    text = """name: t
input: 4x8x8
layers:
  - add:
      a:
        - t: conv(4, 1)
        - relu
      b: add(t, current)
"""
    assert told(text) == "net.yaml:8:14: b: t is set in line 6, in a, and not seen here"
