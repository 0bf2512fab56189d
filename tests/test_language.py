"""The spec language: what each construct expands to."""

from __future__ import annotations

from pathlib import Path

import pytest

from archcost import ArchcostError, Network, load
from archcost.analysis.receptive import receptive_fields
from archcost.shape import numel
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source


def network(layers: str, head: str = "name: net\ninput: 3x8x8", **options: object) -> Network:
    text = f"{head}\nlayers:\n" + "\n".join("  " + line for line in layers.strip("\n").split("\n"))
    return expand(read_document(Source("net.yaml", text)), **options)


def paths(net: Network) -> list[str]:
    return [layer.path for layer in net]


def message(text: str, **options: object) -> str:
    with pytest.raises(ArchcostError) as error:
        expand(read_document(Source("net.yaml", text)), **options)
    return str(error.value)


HEAD = "name: net\ninput: 3x8x8\n"
TABLE = HEAD + "published: {sources: {a: {source: s, columns: [params, top1]}}, "


def test_unnamed_layers_are_numbered_per_op() -> None:
    net = network("- conv(4, 3)\n- relu\n- conv(4, 3)\n- relu")
    assert paths(net) == ["conv1", "relu1", "conv2", "relu2"]
    assert [layer.inputs for layer in net] == [("input",), ("conv1",), ("relu1",), ("conv2",)]


def test_named_layers_and_groups_make_the_path() -> None:
    net = network(
        "- stem:\n  - CONV1: conv(4, 3)\n  - relu\n- head: [flatten, linear]".replace(
            "linear]", "relu]"
        )
    )
    assert paths(net) == ["stem.CONV1", "stem.relu1", "head.flatten1", "head.relu1"]


def test_repeats() -> None:
    assert paths(network("- relu * 3")) == ["relu1", "relu2", "relu3"]
    assert paths(network("- tail: relu * 2")) == ["tail.relu1", "tail.relu2"]
    assert paths(network("- relu\n- tanh * 0")) == ["relu1"]


def test_conditions() -> None:
    net = network(
        "- relu if in_channels == 3\n- tanh if in_size[0] > 8\n- sigmoid if 0 else softmax"
    )
    assert paths(net) == ["relu1", "softmax1"]
    assert paths(network("- if in_size == [8, 8]:\n  - relu\n  - tanh\n- if 0:\n  - softmax")) == [
        "relu1",
        "tanh1",
    ]


def test_items_on_one_line_follow_one_another() -> None:
    net = network(
        "- stem: conv(4, 3) >> relu * 2 >> conv_bn(6)\n"
        "- concat:\n    a: conv(5, 1) >> relu\n    b: identity\n"
        "- tanh >> sigmoid if in_channels > 99\n- tanh >> softmax",
        HEAD + BLOCKS,
    )
    names = ["conv1", "relu1", "relu2", "conv2", "batchnorm1"]
    assert paths(net)[:5] == [f"stem.{name}" for name in names]
    assert paths(net)[5:] == ["a.conv1", "a.relu1", "concat1", "tanh1", "softmax1"]
    assert net["softmax1"].inputs == ("tanh1",)
    with_blocks = network("- unit >> unit", f"{HEAD}blocks:\n  unit:\n    - relu >> tanh\n")
    assert paths(with_blocks) == ["relu1", "tanh1", "relu2", "tanh2"]  # a chain is spliced in
    branched = network("- unit", f"{HEAD}{BLOCKS}  unit: tanh >> residual(3)\n")
    assert paths(branched)[:2] == ["0.tanh1", "0.0.body.relu1"]  # a block with branches is not


def test_branches_merge_and_start_from_the_current_tensor() -> None:
    net = network(
        "- add:\n    body:\n      - conv(3, 3, padding=1)\n      - relu\n    shortcut: identity"
    )
    assert paths(net) == ["body.conv1", "body.relu1", "add1"]
    assert net["add1"].inputs == ("body.relu1", "input")


def test_a_branch_left_out_is_the_identity() -> None:
    net = network("- concat:\n    a: relu\n    b:\n      - conv(4, 1) if in_channels != 3")
    assert net["concat1"].inputs == ("a.relu1", "input")
    assert net.output == (6, 8, 8)


def test_labels_are_tensors() -> None:
    net = network(
        "- enc: conv(4, 3)\n- maxpool(2)\n- conv_transpose(4, 2, stride=2)\n"
        "- concat(crop(enc), current)\n- take(enc)\n- relu"
    )
    assert net["concat1"].inputs == ("crop1", "conv_transpose1")
    assert net["crop1"].inputs == ("enc", "conv_transpose1")
    assert net["relu1"].inputs == ("enc",)


def test_a_group_is_a_label_of_its_last_tensor() -> None:
    net = network("- enc: [relu, tanh]\n- add(enc, current)")
    assert net["add1"].inputs == ("enc.tanh1", "enc.tanh1")


BLOCKS = """
blocks:
  conv_bn(out, kernel=3):
    - conv(out, kernel, padding=kernel // 2, bias=False)
    - batchnorm
  residual(out):
    - add:
        body: [relu, tanh]
        shortcut: identity
    - conv_bn(out)
"""


def test_a_chain_is_spliced_and_any_other_block_is_a_numbered_group() -> None:
    net = network("- conv_bn(4)\n- conv_bn(4, kernel=1)\n- residual(4) * 2", HEAD + BLOCKS)
    assert paths(net)[:4] == ["conv1", "batchnorm1", "conv2", "batchnorm2"]
    assert paths(net)[4:9] == ["0.body.relu1", "0.body.tanh1", "0.add1", "0.conv1", "0.batchnorm1"]
    assert paths(net)[9] == "1.body.relu1"
    assert paths(network("- stem: conv_bn(4)", HEAD + BLOCKS)) == ["stem.conv1", "stem.batchnorm1"]


def test_blocks_take_tensors_and_blocks() -> None:
    head = HEAD + "blocks:\n  twice(what, skip):\n    - what\n    - add(skip, current)"
    net = network("- a: relu\n- b: twice(tanh, a)", head)
    assert paths(net) == ["a", "b.tanh1", "b.add1"]
    assert net["b.add1"].inputs == ("a", "b.tanh1")


def test_a_branch_may_be_left_out() -> None:
    def layers(stride: int) -> list[str]:
        net = network(
            f"- let: {{stride: {stride}}}\n"
            "- add:\n    body: conv(3, 1, stride)\n"
            "    shortcut: identity if stride == 1 else none\n- relu"
        )
        return [layer.op.name for layer in net]

    assert layers(1) == ["conv", "add", "relu"]
    assert layers(2) == ["conv", "relu"]  # one branch is left, and nothing to add


def test_lists_of_tensors() -> None:
    net = network(
        "- let: {outputs: '[current]'}\n"
        "- for width in [4, 5]:\n  - conv(width, 1)\n  - let: {outputs: 'outputs + [current]'}\n"
        "- concat(outputs)\n- add(outputs[1:2], outputs[1])"
    )
    assert net["concat1"].inputs == ("input", "conv1", "conv2")
    assert net["add1"].inputs == ("conv1", "conv1")


def test_loops_and_let() -> None:
    net = network(
        "- let: {half: in_channels * 2}\n- for width, stride in [[half, 1], [12, 2]]:\n  - conv(width, 3, stride)"
    )
    assert [layer.cost.output for layer in net] == [(6, 6, 6), (12, 2, 2)]


def test_knobs_variants_let_and_input() -> None:
    head = (
        "family: f\ninput: 3x{size}x{size}\nknobs: {size: 8, act: relu, widths: [4, 8]}\n"
        "let:\n  last: widths[-1]\nvariants:\n  small: {size: 4}\n  tall: {input: 3x16x8}"
    )
    layers = "- act\n- conv(last, 1)"
    assert network(layers, head, variant="small").input == (3, 4, 4)
    assert network(layers, head, variant="tall").output == (8, 16, 8)
    changed = network(layers, head, knobs={"act": "tanh", "widths": "[1, 2]"})
    assert paths(changed) == ["tanh1", "conv1"]
    assert changed.output == (2, 8, 8)
    assert network(layers, head, input="5x9x9").input == (5, 9, 9)


def test_side_outputs_are_off_unless_asked_for() -> None:
    layers = (
        "- relu\n- aside:\n    aux: [flatten, linear(10)]".replace("linear(10)", "softmax")
        + "\n- tanh"
    )
    assert paths(network(layers)) == ["relu1", "tanh1"]
    with_aux = network(layers, aux=True)
    assert paths(with_aux) == ["relu1", "aux.flatten1", "aux.softmax1", "tanh1"]
    assert with_aux.outputs == ("tanh1", "aux.softmax1")


def test_biases_can_be_dropped() -> None:
    net = network("- conv(4, 3)\n- flatten\n- linear(5)", bias=False)
    assert all("bias" not in layer.cost.params for layer in net)


@pytest.mark.parametrize("shape", ["3x32x40", "3x32x32", "3x32", "3x32x4x5"])
def test_a_size_is_a_list_whatever_the_shape(shape: str) -> None:
    """A spec that works on one shape works on a square one, of the input and of a label."""
    axes = shape.count("x")
    net = network(
        "- x: relu\n- conv(in_size[0], 1)\n- conv(size(x)[-1], 1)\n- avgpool(in_size)\n"
        "- tanh if in_size == [1] * len(size(x)) and size(x) != in_size",
        f"name: n\ninput: {shape}",
    )
    assert net.output == (net.input[-1], *[1] * axes)
    assert [layer.cost.output[0] for layer in net] == [3, 32, *[net.input[-1]] * 3]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("adaptive_avgpool(in_size // 2)", "// needs numbers; in_size is [8, 8]; one of its numbers is in_size[0]"),
        ("relu if in_size == 8", "== compares a list with a number; in_size is [8, 8]; one of its numbers is in_size[0]"),
        ("relu if size(input) > 8", "> compares numbers; size(input) is [8, 8]; one of its numbers is size(input)[0]"),
        ("flatten >> conv(in_size[0], 1)", "the tensor has no spatial size"),
    ],
)  # fmt: skip
def test_a_size_used_as_a_number_is_refused(item: str, reason: str) -> None:
    assert message(f"{HEAD}layers:\n  - {item}").endswith(reason)


def test_one_and_three_dimensions() -> None:
    assert network("- conv(4, 5, stride=2)\n- maxpool(2)", "name: n\ninput: 3x65").output == (4, 15)
    assert network("- conv(4, (1, 3, 3))", "name: n\ninput: 3x5x6x7").output == (4, 5, 4, 5)


def test_the_names_of_branches_belong_to_their_sum() -> None:
    layers = "- add: {body: [conv1], shortcut: identity}\n" * 2
    net = network(layers, HEAD + "blocks: {conv1: 'conv(3, 3, padding=1)'}")
    assert paths(net) == ["body.conv1", "add1", "body2.conv1", "add2"]
    assert net["add2"].inputs == ("body2.conv1", "add1")
    looped = network("- for i in range(3):\n    - add: {a: relu, b: tanh >> relu}")
    sums = [[f"a{n}.relu1", f"b{n}.tanh1", f"b{n}.relu1"] for n in ("", 2, 3)]
    assert paths(looped) == [*sums[0], "add1", *sums[1], "add2", *sums[2], "add3"]
    # inside a sum, a name is that of its own branch; after it, of the only one
    inside = network("- add: {a: relu, b: tanh}\n- add: {a: relu, b: take(a) >> tanh}")
    assert inside["b2.tanh1"].inputs == ("a2.relu1",)
    assert network("- add: {a: relu, b: tanh}\n- take(a)\n- relu")["relu1"].inputs == ("a.relu1",)


def test_the_flat_spec_loads_as_the_same_layers(tmp_path: Path) -> None:
    from archcost.spec.flat import flat_spec

    for name in ("alexnet", "vgg19", "googlenet", "resnet50"):
        net = load(name)
        (tmp_path / "flat.yaml").write_text(flat_spec(net), encoding="utf-8")
        again = load(tmp_path / "flat.yaml")
        assert [layer.op for layer in again] == [layer.op for layer in net]
        assert [layer.cost for layer in again] == [layer.cost for layer in net]
        index = {layer.path: i for i, layer in enumerate(net)} | {"input": -1}
        twin = {layer.path: i for i, layer in enumerate(again)} | {"input": -1}
        assert [[twin[n] for n in layer.inputs] for layer in again] == [
            [index[n] for n in layer.inputs] for layer in net
        ]


def test_a_table_of_published_figures_is_rows_by_model_and_source() -> None:
    text = """
family: nets
input: 3x8x8
knobs: {width: 4}
variants: {one: {}, two: {width: 8}}
published:
  sources:
    card: {source: a model card, convention: timm, input: 3x9x9, columns: [params, macs, top1]}
    paper: {source: a paper, year: 2015, columns: [params]}
  one: {card: [3M, -, 70.1], paper: 2.9M}
  two: {paper: [5M, {doubled: 2 * params(one)}, as the paper says]}
layers: ["conv(width, 3)"]
"""
    rows = read_document(Source("net.yaml", text)).published
    assert [(row.model, row.source, row.line, row.column) for row in rows] == [
        ("one", "a model card", 10, 9), ("one", "a paper", 10, 30), ("two", "a paper", 11, 9),
    ]  # fmt: skip
    assert rows[0].figures == {"params": "3M", "top1": "70.1"}
    assert (rows[0].convention, rows[0].input, rows[0].year) == ("timm", (3, 9, 9), None)
    assert (rows[1].figures, rows[1].year, rows[1].why) == ({"params": "2.9M"}, 2015, "")
    assert (rows[2].slips, rows[2].why) == ({"doubled": "2 * params(one)"}, "as the paper says")


def test_a_learnt_number_times_a_branch() -> None:
    net = network(
        "- gated * 2",
        "name: n\ninput: 2\nblocks:\n  gated:\n    - add:\n"
        "        body: linear(2) >> scale(bias=False, per_channel=False)\n        shortcut: identity",
    )
    assert sum(map(numel, net.params.values())) == 2 * (2 * 2 + 2 + 1) == 14
    per_channel = network("- scale(bias=False)", "name: n\ninput: 2")
    assert per_channel.params == {"scale1.weight": (2,)}


def test_a_learnt_tensor_is_read_like_any_other() -> None:
    items = "- queries: parameter([10, 32])\n- a: linear(32)\n- concat(a, queries)"
    net = network(items, "name: n\ninput: 8x12x16")
    assert (net.output, net.params["queries.weight"]) == ((20, 32), (10, 32))
    sums = network("- add(current, parameter([4, 3]))", "name: n\ninput: 4x3")
    assert sums.params == {"parameter1.weight": (4, 3)}
    field = receptive_fields(net)["queries"]
    assert field.size == (0, 0) and not field.whole
    tokens = network("- parameter([4, 3])", "name: n\ninput: 8 int64")
    assert tokens.values["parameter1"].dtype == "float"
