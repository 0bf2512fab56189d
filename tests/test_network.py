"""Networks built layer by layer: weights that are shared, several inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jsonschema
import pytest

import archcost
from archcost import analyze, loads
from archcost.analysis.explain import explain
from archcost.analysis.report import COLUMNS
from archcost.analysis.training import gradients
from archcost.builder import Builder
from archcost.contracts import contract
from archcost.conventions import find_activations
from archcost.errors import ArchcostError
from archcost.network import Network, Value
from archcost.ops import make
from archcost.spec.flat import flat_spec

TOWER = ("conv", "batchnorm", "relu", "flatten", "linear")


def tower(builder: Builder, x: Value, group: str, of: str = "") -> Value:
    """Add a tower; with ``of``, the modules of that one run again."""
    calls = (
        make("conv", 4, 3),
        make("batchnorm"),
        make("relu"),
        make("flatten"),
        make("linear", 5),
    )
    for op in calls:
        shared = f"{of}.{op.name}" if of else None
        x = builder.add(op, x, name=f"{group}.{op.name}", params=shared)
    return x


def siamese() -> Network:
    """One tower called twice, on two inputs; the score and the features of the left come out."""
    builder = Builder()
    left, right = (builder.input("3x12x12", name) for name in ("left", "right"))
    x, y = tower(builder, left, "tower"), tower(builder, right, "twin", of="tower")
    both = builder.add(make("concat"), x, y, name="both")
    return builder.network("siamese", builder.add(make("linear", 5), both, name="score"), x)


def tied() -> Network:
    """Three linear layers with one weight; each has its own bias, or none."""
    builder = Builder()
    x = builder.add(make("linear", 6), builder.input("4x6"), name="encode")
    x = builder.add(make("relu"), x, name="act")
    weight = {"weight": "encode.weight"}
    x = builder.add(make("linear", 6, bias=False), x, name="decode", params=weight)
    return builder.network("tied", builder.add(make("linear", 6), x, name="third", params=weight))


def repeated() -> Network:
    """One convolution that runs three times, on maps of other sizes, and a side output."""
    builder = Builder()
    x = builder.add(make("conv", 3, 3, padding=1), builder.input("3x9x9"), name="shared")
    side = builder.add(make("maxpool", 2), x, name="pool")
    y = builder.add(make("conv", 3, 3, padding=1), side, name="again", params="shared")
    y = builder.add(make("conv", 3, 3, padding=1), y, name="third", params="again")
    return builder.network("repeated", y, x)


def pieces() -> Network:
    """A layer with three outputs, of which two are read; the one that is not comes out, too."""
    builder = Builder()
    x = builder.add(make("conv", 6, 3, padding=1), builder.input("6x8x8"), name="conv")
    first, second, third = builder.add_all(make("split", 3), x, name="parts")
    y = builder.add(make("multiply"), first, builder.add(make("sigmoid"), third), name="gated")
    return builder.network("pieces", builder.add(make("linear", 3, dim=-1), y), second)


def tokens() -> Network:
    """Floats beside whole numbers, which are cut, joined and handed out as they are."""
    builder = Builder()
    x = builder.add(make("linear", 4), builder.input("5x6", "embedded"), name="project")
    ids, segments = (builder.input("5", name, "int64") for name in ("ids", "segments"))
    both = builder.add(make("concat"), ids, segments, name="both")
    pairs = builder.add(make("reshape", [5, 2]), both, name="pairs")
    return builder.network("tokens", x, pairs)


def gathered() -> Network:
    """A shared convolution of a map that others read, too: its gradients are added, one by one."""
    builder = Builder()
    ends = []
    for name, of in (("left", None), ("right", "left")):
        x = builder.add(make("scale"), builder.input("2x4x2", f"{name}_input"), name=f"{name}_x")
        y = builder.add(make("conv", 3, 3, padding=1), x, name=name, params=of)
        ends.append(builder.add(make("concat"), x, x, y))
    return builder.network("gathered", builder.add(make("concat"), *ends))


WINDOWS = """name: windows
input: 4x8x8
layers:
  - conv(6, 3, padding=1)
  - reshape([6, 2, 4, 2, 4])
  - permute([1, 3, 0, 2, 4])
  - inside:
      - to_batch
      - to_batch
      - conv(6, 3, padding=1)
      - batchnorm
      - relu
      - avgpool(2)
  - from_batch(2)
  - from_batch(2)
  - permute([2, 0, 3, 1, 4])
  - reshape([6, 4, 4])
  - conv(2, 1)
"""


def windows() -> Network:
    """Four windows of a map, folded into the batch and out again: each is a row of its own."""
    return loads(WINDOWS)


NETWORKS = {
    build.__name__: build for build in (siamese, tied, repeated, gathered, pieces, windows, tokens)
}


def test_params_count_once_and_macs_each_time() -> None:
    report = analyze(siamese(), batch=2)
    own = 4 * 3 * 9 + 4 + 2 * 4 + 400 * 5 + 5
    macs = 10 * 10 * 4 * 27 + 400 * 5
    assert report.total.params == own + 10 * 5 + 5
    assert report.total.buffers == 2 * 4 + 1
    assert report.total.macs == 2 * (2 * macs + 50)
    rows = report.by_layer()
    assert rows["tower.conv"].params == 112 and rows["twin.conv"].params == 0
    assert rows["twin.conv"].macs == rows["tower.conv"].macs == 2 * 10_800
    assert report.by_group()["twin"].params == 0
    assert report.total.activations == 2 * (2 * 432 + 2 * (400 + 400 + 5) + 10 + 5)


def test_a_row_says_whose_weights_it_uses() -> None:
    rows = {row[0]: row[2] for row in analyze(siamese()).table().rows}
    assert rows["twin.conv"] == "3x3, weights of tower.conv"
    assert rows["twin.batchnorm"] == "weights of tower.batchnorm"
    assert rows["twin.relu"] == ""
    rows = {row[0]: row[2] for row in analyze(tied()).table().rows}
    assert rows["decode"] == "no bias, weight of encode"
    assert rows["encode"] == ""


def test_parameters_have_names() -> None:
    assert [*siamese().params] == [
        "tower.conv.weight", "tower.conv.bias", "tower.batchnorm.weight", "tower.batchnorm.bias",
        "tower.linear.weight", "tower.linear.bias", "score.weight", "score.bias",
    ]  # fmt: skip
    assert [*tied().params] == ["encode.weight", "encode.bias", "third.bias"]


def test_inputs_in_table_and_json() -> None:
    report = analyze(siamese())
    table = report.table()
    assert [row[0] for row in table.rows[:2]] == ["left", "right"]
    assert table.notes[0].startswith("input left 3x12x12, right 3x12x12, batch 1")
    data = report.to_dict()
    assert data["input"] == [3, 12, 12]
    assert data["inputs"][1] == {"name": "right", "shape": [3, 12, 12], "dtype": "float"}
    assert "inputs" not in analyze(tied()).to_dict()


def test_whole_numbers_take_eight_bytes_and_no_floats() -> None:
    network = tokens()
    assert {name: value.dtype for name, value in network.values.items()} == {
        "embedded": "float", "project": "float",
        **dict.fromkeys(("ids", "segments", "both", "pairs"), "int64"),
    }  # fmt: skip
    assert str(network.inputs[1]) == "ids 5 of int64"
    report = analyze(network, batch=3, dtype="float16", activations="lecture")
    rows = {
        row[0]: row[1:] for row in report.table(["name", "activations", "activation_bytes"]).rows
    }
    assert rows["embedded"] == (90, 180) and rows["ids"] == (15, 120)
    held = archcost.memory(network, batch=2, dtype="float16", device="cpu")
    assert held.inference.input == 2 * (30 * 2 + 2 * 5 * 8)


def test_what_a_flat_spec_says() -> None:
    """Inputs, outputs and modules that run again, and parameters that are another module's."""
    network = siamese()
    again = loads(flat_spec(network))
    assert again.inputs == network.inputs
    assert [again.values[name].shape for name in again.outputs] == [(5,), (5,)]
    assert analyze(again).total == analyze(network).total
    again = loads(flat_spec(tied()))
    assert [layer.ties for layer in again] == [layer.ties for layer in tied()]
    assert analyze(again).total == analyze(tied()).total


@pytest.mark.parametrize("name", NETWORKS)
def test_the_contract_of_the_table_holds(name: str) -> None:
    jsonschema.validate(analyze(NETWORKS[name]()).to_dict(), contract("table"))


def test_who_freezes_a_layer_freezes_its_parameters_everywhere() -> None:
    network = siamese()
    for pattern in ("tower.conv", "twin.conv"):
        known = gradients(network, (pattern,))
        assert not {"tower.conv", "twin.conv"} & known.trained
        report = analyze(network, freeze=(pattern,))
        assert report.total.params - report.total.trainable_params == 112
    assert "third" in gradients(tied(), ("encode",)).trained  # its bias


@pytest.mark.parametrize(
    ("add", "reason"),
    [
        (lambda b, x: b.add(make("conv", 3, 3), x, name="b", params="a"), "b: conv on 3x9x9: a is another op: conv(out_channels=3, kernel_size=3, padding=1)"),
        (lambda b, x: b.add(make("conv", 3, 3, padding=1), "y", name="b", params="a"), "b: conv on 2x5x5: weight is 3x2x3x3, and a.weight is 3x3x3x3"),
        (lambda b, x: b.add(make("conv", 9, 1), x, name="b", params={"weight": "a.weight"}), "b: conv on 3x9x9: weight is 9x3x1x1, and a.weight is 3x3x3x3"),
        (lambda b, x: b.add(make("conv", 9, 1), x, name="b", params={"wieght": "a.weight"}), "b: conv on 3x9x9: no parameter 'wieght'; did you mean 'weight'?"),
        (lambda b, x: b.add(make("conv", 9, 1), x, name="b", params={"weight": "a.weigth"}), "unknown parameter 'a.weigth'; did you mean 'a.weight'?"),
        (lambda b, x: b.add(make("relu"), x, name="b", params="c"), "unknown layer 'c'"),
        (lambda b, x: b.add(make("relu"), "z"), "unknown tensor 'z'"),
        (lambda b, x: b.add(make("relu"), x, name="a"), "two layers or groups are named a"),
        (lambda b, x: b.add(make("relu"), x, name="a.b"), "a.b lies in a, which is a layer"),
        (lambda b, x: b.add(make("relu"), x, name="g"), "two layers or groups are named g"),
        (lambda b, x: b.add(make("relu"), x, name="a:1"), "'a:1' is not a path: letters, digits, _ - +, with dots between"),
        (lambda b, x: b.add(make("add"), x), "add1: add on 3x9x9: add merges two or more named layers; got 1"),
        (lambda b, x: b.add(make("relu"), x, x, name="g."), "g.relu2: relu on 3x9x9 and 3x9x9: relu takes one tensor; got 2"),
        (lambda b, x: b.add(make("conv", 3, 11), x), "conv1: conv on 3x9x9: kernel_size 11 does not fit the padded input 9"),
        (lambda b, x: b.add(make("relu"), b.input("4", "t", "int64")), "relu1: relu on 4: relu takes float; got int64"),
        (lambda b, x: b.input("4", "t", "int32"), "unknown type of an input 'int32'; did you mean 'int64'?"),
    ],
)  # fmt: skip
def test_what_a_builder_refuses(add: Callable[[Builder, Value], Any], reason: str) -> None:
    builder = Builder()
    x = builder.add(make("conv", 3, 3, padding=1), builder.input("3x9x9"), name="a")
    builder.input("2x5x5", "y")
    builder.add(make("relu"), x, name="g.")
    with pytest.raises(ArchcostError) as error:
        add(builder, x)
    assert str(error.value).startswith(reason)


def test_an_op_that_was_refused_leaves_no_cost_behind() -> None:
    """A later op may lie at the same address."""
    builder = Builder()
    x = builder.input("3x8x8")
    for channels in range(1, 40):
        with pytest.raises(ArchcostError, match="no parameter 'none'"):
            builder.add(make("conv", channels, 1), x, params={"none": "here"})
        assert builder.add(make("conv", 100 + channels, 1), x).shape == (100 + channels, 8, 8)


def test_names_are_numbered_in_their_group() -> None:
    builder = Builder()
    x = builder.input("3")
    paths = [builder.add(make("relu"), x, name=name).name for name in ("", "g.", "", "g.")]
    assert paths == ["relu1", "g.relu1", "relu2", "g.relu2"]


def test_outputs_of_a_layer() -> None:
    network = pieces()
    assert network["parts"].outputs == ("parts", "parts:1", "parts:2")
    assert network.outputs == ("linear1", "parts:1")
    assert network.values["parts:2"].shape == (2, 8, 8)
    assert analyze(network).total.macs == 64 * 6 * 54 + 16 * 24
    everything = replace(find_activations("all"), kinds=frozenset({"reshape"}))
    assert everything.count(network["parts"]) == 6 * 64


SPEC = """name: t
input: 6x8x8
layers:
  - conv(6, 3, padding=1)
  - parts: split(3)
  - a: conv(2, 3, padding=1)
  - add(a, relu(parts[2]))
  - rows: split(2, 1)
  - concat(rows)
  - take(parts[1])
"""


def test_a_spec_reads_outputs_by_their_place() -> None:
    """A name of several stands for a list; the next item goes on from the first."""
    network = loads(SPEC)
    assert network["a"].inputs == ("parts",)
    assert network["add1"].inputs == ("a", "relu1") and network["relu1"].inputs == ("parts:2",)
    assert network["concat1"].inputs == ("rows", "rows:1")
    assert network.outputs == ("parts:1",)
    again = loads(flat_spec(network))
    assert [(layer.op, layer.shapes) for layer in again] == [(x.op, x.shapes) for x in network]
    assert again.outputs == network.outputs


def test_what_several_outputs_see() -> None:
    """The halves of a map start at other rows: their sum sees from the first to the last."""
    layers = "  - conv(1, 3, padding=1)\n  - p: split(2, 1)\n  - add(p)"
    network = loads(f"name: t\ninput: 1x8x8\nlayers:\n{layers}")
    fields = analyze(network).receptive_fields
    assert fields["p"].size == fields["p:1"].size == (3, 3)
    assert fields["add1"].size == (3 + 4, 3)


def test_rows_of_the_batch() -> None:
    """All figures are for one sample, which is four rows of the batch inside."""
    network = windows()
    assert [(x.rows, x.made_rows) for x in network][3:6] == [(1, 2), (2, 4), (4, 4)]
    report = analyze(network, batch=2)
    rows = report.by_layer()
    assert rows["inside.conv1"].macs == 2 * 4 * 16 * 6 * 54
    assert rows["inside.avgpool1"].activations == 2 * 4 * 6 * 4
    cells = {row[0]: row[3] for row in report.table().rows}
    assert cells["inside.conv1"] == "4·6x4x4" and cells["inside"] == "4·6x2x2"
    assert cells["from_batch2"] == "2x2x6x2x2"
    data = {layer["name"]: layer for layer in report.to_dict()["layers"]}
    assert data["inside.conv1"]["rows"] == 4 and "rows" not in data["conv1"]
    facts = {fact.name: fact for fact in explain(report, "inside.conv1")}
    assert facts["macs"].value == rows["inside.conv1"].macs
    assert facts["macs"].derivation.startswith("2·4·")


def test_what_rows_of_the_batch_see() -> None:
    """A pooling of all positions sees one position of what is folded away, and all of the rest."""
    layers = ["permute([1, 0, 2])", "to_batch", "mean([1])", "from_batch(6)", "mean([0])"]
    network = loads("name: t\ninput: 1x6x5\nlayers:\n" + "".join(f"  - {x}\n" for x in layers))
    seen = {path: field.size for path, field in analyze(network).receptive_fields.items()}
    assert seen["mean1"] == seen["from_batch1"] == (1, 5)
    assert seen["mean2"] == (6, 5)


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (["to_batch", "from_batch(3)"], "from_batch1: from_batch on 8x8: 4 rows of the batch make no groups of 3"),
        (["a: to_batch", "take(input)", "slice(0, 1)", "to_batch", "add(a, current)"], "add1: add on 8x8 and 8x8: add needs the same number of rows of the batch in each input; got 4, 3"),
        (["reshape([256])", "to_batch"], "to_batch1: to_batch on 256: to_batch leaves nothing of 256"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit(layers: list[str], reason: str) -> None:
    text = "name: t\ninput: 4x8x8\nlayers:\n" + "".join(f"  - {layer}\n" for layer in layers)
    with pytest.raises(ArchcostError, match=re.escape(reason)):
        loads(text)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("take(parts)", "take needs the name of one layer"),
        ("take(parts[3])", "parts has no item 3; its items are 0 to 2"),
        ("relu(parts)", "relu takes one tensor; got 3"),
        ("split(1)", "split on 4x4x8: split makes a single piece of 4"),
    ],
)
def test_what_a_spec_may_not_do_with_several_outputs(layer: str, reason: str) -> None:
    with pytest.raises(ArchcostError, match=re.escape(reason)):
        loads(SPEC.replace("take(parts[1])", layer))


USES: dict[str, Callable[[Network], Any]] = {
    "table": lambda net: analyze(net, freeze=[net.layers[0].path]).table([*COLUMNS]),
    "compare": lambda net: archcost.compare(net, "lenet5").to_dict(),
    "diff": lambda net: archcost.diff(net, "lenet5").to_dict(),
    "memory": lambda net: (archcost.memory(net), archcost.memory(net).to_dict(timeline=True)),
    "fit": lambda net: archcost.fit(net, gpu="v100").to_dict(),
    "roofline": lambda net: archcost.roofline(net, gpu="h100").to_dict(),
    "reconcile": lambda net: archcost.reconcile(net).to_dict(),
    "identify": lambda net: archcost.identify(net, "2.2k"),
    "explain": archcost.explain,
    "check": lambda net: archcost.check(net, "params <= 1M", "training_peak <= 1MB"),
    **{kind: partial(archcost.plot, kind) for kind in ("graph", "layers", "receptive", "memory")},
    "timing": lambda net: archcost.plot("roofline", net, gpu="h100"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", NETWORKS)
def test_whatever_takes_a_network_takes_it(name: str, use: str) -> None:
    assert str(USES[use](NETWORKS[name]()))


def test_what_is_shared_shows() -> None:
    """In derivations, drawings and differences."""
    facts = {fact.name: fact for fact in explain(analyze(siamese()), "twin.conv")}
    assert (facts["params"].value, facts["params"].reason) == (0, "weights of tower.conv")
    boxes = {box.name: box.lines for box in archcost.plot("graph", siamese()).boxes}
    assert boxes["left"] == ("left", "3x12x12") and boxes["right"] == ("right", "3x12x12")
    assert "weights of tower.conv" in boxes["twin.conv"][1]
    apart = Builder()
    left, right = (apart.input("3x12x12", name) for name in ("left", "right"))
    x, y = tower(apart, left, "tower"), tower(apart, right, "twin")
    both = apart.add(make("concat"), x, y, name="both")
    other = apart.network("apart", apart.add(make("linear", 5), both, name="score"), x)
    changes = archcost.diff(siamese(), other).to_dict()["networks"][0]["layers"]
    assert {c["new"]["name"]: c["params"] for c in changes if c["params"]} == {
        "twin.conv": 112, "twin.batchnorm": 8, "twin.linear": 2005,
    }  # fmt: skip
