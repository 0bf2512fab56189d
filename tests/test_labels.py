"""What names reach: parameters of other layers, outputs inside groups, values in names, inputs of variants."""

from __future__ import annotations

from pathlib import Path

import pytest

from archcost import analyze
from archcost.errors import SpecError
from archcost.network import Network
from archcost.proofs import Subject
from archcost.setting import Setting
from archcost.shape import numel
from archcost.spec.catalog import expand, load
from archcost.spec.document import read_document
from archcost.spec.flat import flat_spec
from archcost.spec.layout import format_spec
from archcost.spec.source import Source


def loads(text: str, variant: str = "") -> Network:
    return expand(read_document(Source("n.yaml", text)), variant)


def refused(text: str, variant: str = "") -> str:
    with pytest.raises(SpecError) as error:
        loads(text, variant)
    return str(error.value)


def params(network: Network) -> int:
    return sum(map(numel, network.params.values()))


# Parameters of other layers.

LANGUAGE = """
name: language
input: 20 int64
layers:
  - words: embedding(100, 16)
  - hidden: linear(16) >> relu
  - logits: linear(100, bias=False, weight=words)
"""


def test_a_classifier_uses_the_weight_of_an_embedding() -> None:
    """16·100 words and 16·16 + 16; the products of the classifier count nevertheless."""
    net = loads(LANGUAGE)
    assert params(net) == 16 * 100 + 16 * 16 + 16
    assert net["logits"].macs == 20 * 16 * 100
    assert net["logits"].settings == "no bias, weight of words"
    again = loads(flat_spec(net))
    assert [layer.ties for layer in again] == [layer.ties for layer in net]


TIED = {
    "an embedding and a classifier": LANGUAGE,
    "three, one of a block": """
name: three
input: 8
blocks:
  head(first):
    - relu
    - linear(8, weight=first)
layers:
  - a: linear(8)
  - b: linear(8, weight=a)
  - c: head(b)
  - d: head(a)
""",
    "a bias of a convolution's size": """
name: levels
input: 4x9x9
layers:
  - a: conv(4, 3, padding=1)
  - relu
  - b: conv(4, 3, stride=2, weight=a)
""",
}


@pytest.mark.torch
@pytest.mark.parametrize("text", TIED.values(), ids=TIED)
def test_pytorch_agrees_on_what_is_tied(text: str) -> None:
    """Names and parameters, the flow between layers, what is kept, FLOPs, peaks to the byte."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs.run import checks
    from archcost.pytorch import build

    net = loads(text)
    assert any(layer.ties for layer in net)
    subject = Subject(net, build(net), setting=Setting(2, device="cpu"))
    for name in ("structure", "memory", "training", "peaks"):
        found = list(checks(subject, name))
        assert found and [check for check in found if not check.passed or check.skipped] == []


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("linear(10, weight=words)", "linear1: linear on 20x16: weight is 10x16, and words.weight is 100x16"),
        ("linear(100, weigth=words)", "words has no parameter 'weigth'; did you mean 'weight'?"),
        ("linear(100, weight=input)", "input has no parameter 'weight'"),
        ("linear(100, weight=word)", "unknown name 'word'; did you mean 'words'?"),
        ("relu(weight=words)", "relu1: relu on 20x16: no parameter 'weight'"),
        ("linear(100, bias=words)", "words has no parameter 'bias'"),
    ],
)  # fmt: skip
def test_what_cannot_be_tied_is_refused_with_its_place(call: str, reason: str) -> None:
    text = f"name: n\ninput: 20 int64\nlayers:\n  - words: embedding(100, 16)\n  - {call}\n"
    assert refused(text).startswith("n.yaml:5:") and reason in refused(text)


def test_a_weight_turned_round_is_none_that_pytorch_shares() -> None:
    text = "name: n\ninput: 8\nlayers:\n  - code: linear(3)\n  - linear(8, weight=code)\n"
    reason = "weight is 8x3, and code.weight is 3x8; PyTorch cannot share a transposed weight"
    assert reason in refused(text)


def test_a_shared_item_in_a_block_has_its_weights_once() -> None:
    """Blocks are made again where they are called again, but not their shared weights."""
    net = loads("""
name: n
input: 8x8x8
shared:
  tower: conv(8, 3, padding=1)
blocks:
  level:
    - y: tower
    - relu
layers:
  - one: level
  - two: level
  - three: level
""")
    assert params(net) == 8 * 8 * 9 + 8
    assert [net[f"{name}.y"].module for name in ("one", "two", "three")] == ["one.y"] * 3


# Outputs inside groups, and names with values in them.

STAGES = """
name: stages
input: 3x32x32
blocks:
  stage(w):
    - conv(w, 3, padding=1)
    - out: relu >> maxpool(2)
    - side: conv(2, 1)
    - take(out)
layers:
  - for i, w in enumerate([8, 16]):
      - stage{i + 1}: stage(w)
  - more:
      for w in [16, 32]:
        - stage(w)
outputs: OUTPUTS
"""


def outputs(names: str) -> tuple[str, ...]:
    return loads(STAGES.replace("OUTPUTS", names)).outputs


def test_outputs_may_lie_in_groups() -> None:
    """A layer, a group, a group of a block that is made again, one after which another is taken."""
    assert outputs("[stage1.side, stage2.out, more, more.0.conv1]") == (
        "stage1.side", "stage2.out.maxpool1", "more.1.out.maxpool1", "more.0.conv1",
    )  # fmt: skip
    assert outputs("[stage1, more.0.out, stage2.side]") == (
        "stage1.out.maxpool1", "more.0.out.maxpool1", "stage2.side",
    )  # fmt: skip
    text = STAGES.replace("OUTPUTS", "[more.1.out, more.2.out]").replace("[16, 32]", "[4, 4, 4]")
    again = loads(text.replace("maxpool(2)", "maxpool(3, 1, 1)").replace("3x32x32", "4x9x9"))
    assert again.outputs == ("more.1.out.maxpool1", "more.2.out.maxpool1")
    text = "name: n\ninput: 6x4\nlayers:\n  - a:\n      - parts: split(3)\noutputs: ['a.parts[1]', 'a.parts[0]']\n"
    assert loads(text).outputs == ("a.parts:1", "a.parts")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("[stage1.sid]", "there is no layer or group 'stage1.sid'; did you mean 'stage1.side'?"),
        ("[stage3.out]", "there is no layer or group 'stage3.out'; did you mean"),
        ("['stage1.out[0]']", "only a list has an index"),
        ("[stage1.out, stage1]", "stage1.out.maxpool1 is an output already"),
        ("[side]", "side is set in line 8, in stage1, and not seen here"),
    ],
)
def test_an_output_that_is_none_is_refused_with_its_place(names: str, reason: str) -> None:
    found = refused(STAGES.replace("OUTPUTS", names))
    assert found.startswith("n.yaml:16:") and reason in found


def test_an_unnamed_layer_may_come_out() -> None:
    text = "name: n\ninput: 4x9x9\nlayers:\n  - conv(4, 3)\n  - relu\noutputs: [conv1, relu1]\n"
    assert loads(text).outputs == ("conv1", "relu1")


@pytest.mark.parametrize("names", ["", " []", " # none"])
def test_outputs_without_a_name_are_refused(names: str) -> None:
    text = f"name: n\ninput: 4x9x9\nlayers:\n  - relu\noutputs:{names}\n"
    assert "outputs names no layer; leave it out for the last one" in refused(text)


@pytest.mark.parametrize(
    "call", ["add(relu, sigmoid)", "add(twin, twin)", "concat(conv(4, 3), twin)"]
)
def test_calls_inside_a_call_have_brackets(call: str) -> None:
    shared = "shared:\n  twin: conv(4, 3, padding=1)\n"
    text = f"name: n\ninput: 4x9x9\n{shared}layers:\n  - {call}\n"
    word = "relu" if "relu" in call else "twin"
    assert refused(text).endswith(f"; inside a call it is written {word}()")
    right = text.replace("(relu, sigmoid)", "(relu(), sigmoid())").replace(
        "(twin, twin)", "(twin(), twin())"
    )
    if right != text:
        assert loads(right).output == (4, 9, 9)


def test_names_and_paths_keep_their_layout() -> None:
    text = STAGES.lstrip().replace("OUTPUTS", "[stage1.out, more.0.conv1]")
    assert format_spec(Source("n.yaml", text)) == text


def test_the_groups_of_a_loop_have_names() -> None:
    """Those that the spec gives, with the loop's values in them; or numbers in the loop's group."""
    net = loads(STAGES.replace("OUTPUTS", "stage2"))
    groups = dict.fromkeys(".".join(layer.path.split(".")[:2]) for layer in net)
    assert [name for name in groups if name.endswith("conv1") or name.startswith("more")] == [
        "stage1.conv1", "stage2.conv1", "more.0", "more.1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("stage{j}", "n.yaml:12:15: unknown name 'j'"),
        ("stage{i", "n.yaml:12:9: 'stage{i' is not a layer name"),
        ("stage{[i]}", "n.yaml:12:9: 'stage[0]' is not a layer name"),
        ("stage{w // 16}x", "duplicate name"),
    ],
)
def test_a_name_with_values_that_is_none_is_refused(name: str, reason: str) -> None:
    text = STAGES.replace("stage{i + 1}", name).replace("outputs: OUTPUTS\n", "")
    if reason == "duplicate name":  # in a loop a name is set again
        assert "stage0x" in {layer.path.split(".")[0] for layer in loads(text)}
        return
    assert refused(text).startswith(reason)


def test_an_output_that_a_mistake_hides_is_no_mistake_of_its_own() -> None:
    text = STAGES.replace("OUTPUTS", "[stage1.out, more.0.out]").replace("stage{i + 1}", "stage{j}")
    known = "current, i, in_channels, in_size, input, stage, w"
    assert refused(text) == f"n.yaml:12:15: unknown name 'j'; expected one of: {known}"


# Inputs of variants.

TWINS = """
family: twins
knobs: {w: 8, side: 32}
inputs:
  left: 1x{side}x{side}
  right: 1x{side}x{side}
variants:
  plain: {}
  large: {side: 64}
  uneven:
    w: 4
    inputs:
      right: 1x48x{side}
layers:
  - a: conv(w, 3)
  - b: conv(w, 3, bias=False)
  - conv(w, 1)
outputs: [a, b]
"""


def test_a_variant_changes_some_inputs() -> None:
    shapes = {
        name: [x.shape for x in loads(TWINS, name).inputs] for name in ("plain", "large", "uneven")
    }
    assert shapes == {
        "plain": [(1, 32, 32)] * 2, "large": [(1, 64, 64)] * 2, "uneven": [(1, 32, 32), (1, 48, 32)],
    }  # fmt: skip


def test_a_variant_with_its_inputs_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "twins.yaml"
    path.write_text(TWINS, "utf-8")
    assert analyze(load(f"{path}::uneven")).network.inputs[1].shape == (1, 48, 32)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("      right:", "      rigth:", "n.yaml:13:7: unknown input 'rigth'; did you mean 'right'?"),
        ("inputs:\n      right: 1x48x{side}", "inputs: 1x48x48", "inputs must be a mapping"),
        ("inputs:\n      right: 1x48x{side}", "input: 1x48x48", "the inputs are left, right; a variant changes some under `inputs`"),
        ("1x48x{side}", "1x48y{side}", "a shape is written as 3x224x224"),
        ("1x48x{side}", "1x48x{sid}", "unknown name 'sid'; did you mean 'side'?"),
    ],
)  # fmt: skip
def test_inputs_of_a_variant_that_are_none_are_refused(old: str, new: str, reason: str) -> None:
    assert reason in refused(TWINS.replace(old, new), "uneven")


# Chains, conditions and names with values in them, as arguments.

FPN = """
name: fpn
input: 3x64x64
knobs: {levels: 3}
layers:
  - for i in range(levels):
      - c{i}: conv(8 * 2**i, 3, stride=2, padding=1)
  - for i in range(levels - 1):
      - p{i}: PLUS
outputs: [p0, "p{levels - 2}"]
"""
PLUS = (
    "add(take(c{i}) >> conv(16, 1), take(c{i + 1}) >> conv(16, 1) >> interpolate(scale_factor=2))"
)


def test_a_chain_is_an_argument() -> None:
    net = loads(FPN.replace("PLUS", PLUS))
    assert params(net) == sum([
        3 * 8 * 9 + 8, 8 * 16 * 9 + 16, 16 * 32 * 9 + 32, 8 * 16 + 16, 2 * (16 * 16 + 16),
        32 * 16 + 16,
    ])  # fmt: skip
    assert net.outputs == ("p0", "p1")
    assert net["p0"].inputs == ("conv1", "interpolate1") and net["conv1"].inputs == ("c0",)
    assert net["p1"].inputs == ("conv3", "interpolate2") and net["conv3"].inputs == ("c1",)


def test_an_argument_may_depend_on_a_condition() -> None:
    other = "take(c{i}) >> conv(16, 1) >> relu if i > 0 else conv(c{i}, 16, 1)"
    net = loads(
        FPN.replace("PLUS", "add(take(c{i}) >> conv(16, 1), OTHER)").replace("OTHER", other)
    )
    assert net["p0"].inputs == ("conv1", "conv2") and net["p1"].inputs == ("conv3", "relu1")
    same = loads(FPN.replace("PLUS", "add(c{i}, c{i} if i > 0 else abs(c{i}))"))
    assert same["p0"].inputs == ("c0", "abs1") and same["p1"].inputs == ("c1", "c1")


def test_branches_have_names_with_values() -> None:
    text = FPN.replace(
        "p{i}: PLUS", "p{i}:\n          - add:\n              a{i}: take(c{i}) >> conv(4, 1)\n"
        "              b{i}: take(c{i}) >> conv(4, 1)\n          - sub(a{i}, b{i})"
    )  # fmt: skip
    assert loads(text)["p1.sub1"].inputs == ("p1.a1.conv1", "p1.b1.conv1")


def test_values_stand_anywhere_in_a_name() -> None:
    text = "name: n\ninput: 3x8x8\nlayers:\n  - for i in range(2):\n      - {}: conv(4, 1)\n"
    for name, made in (("x-{i}-y", "x-1-y"), ("z+{i}", "z+1"), ("a{i + 10}b{i}", "a11b1")):
        assert [layer.path for layer in loads(text.replace("{}", name))][1] == made


@pytest.mark.parametrize(
    ("plus", "reason"),
    [
        ("add(c{i}, conv1)", "n.yaml:10:25: conv1 is the layer of line 8, which has no name yet; "
         "write `conv1: ...` there"),
        ("add(c{i}, c{j})", "n.yaml:10:27: unknown name 'j'"),
        ("add(c{i}, c{9})", "n.yaml:10:25: unknown name 'c9'; did you mean 'c2'?"),
        ("add(c{i}, take(c0) >> convv(3, 1))", "n.yaml:10:37: unknown op or block 'convv'"),
        ("add(c{i}, 3 >> 1)", "n.yaml:10:15: an item is a call such as conv(64, 3)"),
    ],
)  # fmt: skip
def test_an_argument_that_is_none_is_refused_with_its_place(plus: str, reason: str) -> None:
    text = FPN.replace(
        "  - for i in range(levels - 1):", "  - relu >> conv(3, 1)\n  - for i in [0]:"
    )
    told = refused(text.replace("PLUS", plus).replace(', "p{levels - 2}"', ""))
    assert told.startswith(reason) and "\n" not in told


def test_a_sweep_knows_that_a_name_depends_on_its_value() -> None:
    """``p{width // 8}`` is a layer at one width and none at others."""
    import archcost

    text = "name: net\ninput: 3x8x8\nknobs: {w: 8}\nlayers:\n  - p1: conv(4, 1)\n" \
        "  - conv(w, 1)\n  - add(p{w // 8} >> conv(2, 1), conv(2, 1))\n"  # fmt: skip
    text = text.replace("p{w // 8} >>", "take(p{w // 8}) >>")
    found = archcost.sweep(archcost.loads(text), {"w": range(6, 18)})
    assert [*found.columns["w"]] == [*range(8, 16)]
