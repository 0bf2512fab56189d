"""The spec language: the message of every refusal."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from test_language import HEAD, TABLE, message

from archcost import Network, SpecError, load
from archcost.ops import OPS, foreign
from archcost.spec.catalog import expand, read_spec
from archcost.spec.source import Source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "net.yaml: the file is empty"),
        ("- a", "net.yaml:1:1: a spec is a mapping with name, input and layers"),
        ("name: n\nlayers: [relu]", "net.yaml:1:1: the spec has no input"),
        ("name: n\ninput: 3x8x8", "net.yaml:1:1: the spec has no layers"),
        ("input: 3x8x8\nlayers: [relu]", "net.yaml:1:1: a spec needs either name or family"),
        (HEAD + "layer: [relu]", "net.yaml:3:1: unknown key 'layer'; did you mean 'layers'?"),
        (HEAD + "layers: [relu]\nlayers: [relu]", "net.yaml:4:1: duplicate key 'layers'; first in line 3"),
        ("name: n\ninput: 3x8y8\nlayers: [relu]", "net.yaml:2:8: a shape is written as 3x224x224, channels first; got '3x8y8'"),
        ("name: n\ninput: 3x{s}x8\nlayers: [relu]", "net.yaml:2:11: unknown name 's'"),
        ("name: n\ninput: 3x0x8\nlayers: [relu]", "net.yaml:2:8: a shape has up to 8 sizes from 1 to 2**53; got '3x0x8'"),
        (HEAD + "layers: &a [relu, *a]", "net.yaml:3:19: YAML aliases are not part of the spec language; use a block"),
        (HEAD + "layers: !!python/object:os.system [relu]", "net.yaml:3:9: YAML tags are not part of the spec language"),
        (HEAD + "layers: [relu]\n---\nname: x", "net.yaml:4:1: a spec is one YAML document; this is a second one"),
        (HEAD + "layers: [relu", "net.yaml:4:1: did not find expected ',' or ']'"),
        (HEAD + "layers: " + "[" * 100, "net.yaml:3:73: nested deeper than 64"),
        (HEAD + "layers: []", "net.yaml:3:9: the spec has no layers"),
        (HEAD + "layers:\n  - conf(3, 3)", "net.yaml:4:5: unknown op or block 'conf'; did you mean 'conv'?"),
        (HEAD + "layers:\n  - CONV3: conv(4, 9)", "net.yaml:4:5: CONV3: conv on 3x8x8: kernel_size 9 does not fit the padded input 8"),
        (HEAD + "layers:\n  - conv(4, widht)", "net.yaml:4:13: unknown name 'widht'"),
        (HEAD + "layers:\n  - a: relu\n  - a: tanh", "net.yaml:5:5: duplicate name 'a'; first in line 4"),
        (HEAD + "layers:\n  - relu: tanh", "net.yaml:4:5: 'relu' is a word of the language, not a layer name"),
        (HEAD + "layers:\n  - a.b: tanh", "net.yaml:4:5: 'a.b' is not a layer name: letters, digits, _ - +"),
        (HEAD + "layers:\n  - a: tanh\n    b: relu", "net.yaml:4:5: an item is one call or one `name: ...`; start each with `- `"),
        (HEAD + "layers:\n  - [relu]", "net.yaml:4:5: a list inside a list; give it a name: `name: [...]`"),
        (HEAD + "layers:\n  - a: []", "net.yaml:4:5: a: the group is empty"),
        (HEAD + "layers:\n  - relu * 10**9", "net.yaml:4:5: a repeat of 1,000,000,000 is more than 20,000 layers"),
        (HEAD + "layers:\n  - relu * -1", "net.yaml:4:5: a repeat is a whole number; got -1"),
        (HEAD + "layers:\n  - relu * 1.5", "net.yaml:4:5: a repeat is a whole number; got 1.5"),
        (HEAD + "layers:\n  - 1 + 1", "net.yaml:4:5: an item is a call such as conv(64, 3); got '1 + 1'"),
        (HEAD + "layers:\n  - os.system('x')", "net.yaml:4:5: attributes are not part of the language"),
        (HEAD + "layers:\n  - relu.__class__", "net.yaml:4:5: an item is a call such as conv(64, 3); got 'relu.__class__'"),
        (HEAD + "layers:\n  - conv(().__class__, 3)", "net.yaml:4:10: attributes are not part of expressions"),
        (HEAD + "layers:\n  - conv(4, *[3])", "net.yaml:4:13: * is not part of a call"),
        (HEAD + "layers:\n  - conv(4, 1e999)", "net.yaml:4:13: not a finite number"),
        (HEAD + "layers:\n  - conv(nan, 3)", "net.yaml:4:10: unknown name 'nan'"),
        (HEAD + "layers:\n  - conv(-4, 3)", "net.yaml:4:5: conv1: conv on 3x8x8: out_channels must be at least 1; got -4"),
        (HEAD + "layers:\n  - add(current)", "net.yaml:4:5: add1: add on 3x8x8: add merges two or more named layers; got 1"),
        (HEAD + "layers:\n  - take(enc4)", "net.yaml:4:10: unknown name 'enc4'"),
        (HEAD + "layers:\n  - take(3)", "net.yaml:4:5: take needs the name of one layer"),
        (HEAD + "layers:\n  - for x in 3:\n    - relu", "net.yaml:4:5: a loop needs a list; got 3"),
        (HEAD + "layers:\n  - for x:\n    - relu", "net.yaml:4:5: a loop is written as `for name in list:`"),
        (HEAD + "layers:\n  - add: {a: relu, b: {}}", "net.yaml:4:23: b: an item is one call or one `name: ...`; start each with `- `"),
        (HEAD + "knobs: {in_size: 3}\nlayers: [relu]", "net.yaml:3:9: 'in_size' cannot name a value here"),
        (HEAD + "blocks: {conv(x): relu}\nlayers: [relu]", "net.yaml:3:10: 'conv' is an op or a word of the language already"),
        (HEAD + "blocks:\n  b(x):\n    - relu\nlayers:\n  - b", "net.yaml:7:5: b needs x"),
        (HEAD + "blocks:\n  b(x):\n    - relu\nlayers:\n  - b(1, 2)", "net.yaml:7:5: b takes 1 argument; got 2"),
        (HEAD + "blocks:\n  b(width):\n    - relu\nlayers:\n  - b(widht=2)", "net.yaml:7:5: b has no parameter 'widht'; did you mean 'width'?"),
        (HEAD + "published: [{params: 3M}]\nlayers: [relu]", "net.yaml:3:13: a published figure has no source"),
        (HEAD + "published: 3\nlayers: [relu]", "net.yaml:3:12: published is a list of rows, or a table with sources"),
        (HEAD + "published: {net: {a: [3M]}}\nlayers: [relu]", "net.yaml:3:12: a table of published figures has sources, a mapping"),
        (TABLE + "net: {a: [3M]}}\nlayers: [relu]", "net.yaml:3:74: 2 figures expected, params, top1, and perhaps why; got 1"),
        (TABLE + "net: {b: [3M, 70]}}\nlayers: [relu]", "net.yaml:3:71: unknown source 'b'; expected one of: a"),
        (TABLE + "nett: {a: [3M, 70]}}\nlayers: [relu]", "net.yaml:3:65: unknown model 'nett'; did you mean 'net'?"),
        (TABLE + "net: [3M, 70]}\nlayers: [relu]", "net.yaml:3:70: net: figures stand under a source, as source: [...]"),
        (TABLE + "net: {a: [3M, seventy]}}\nlayers: [relu]", "net.yaml:3:79: a number is written as 61100840, 61.1M or 4.12G; got 'seventy'"),
        (TABLE + "net: {a: [3M, 70, {half: 3 +}]}}\nlayers: [relu]", "net.yaml:3:90: not an expression: '3 +'"),
        (HEAD + "published: {sources: {a: {source: s, columns: [prams]}}}\nlayers: [relu]", "net.yaml:3:48: unknown figure 'prams'; did you mean 'params'?"),
        (HEAD + "published: {sources: {a: {source: s}}}\nlayers: [relu]", "net.yaml:3:26: a published figure has no columns"),
        (HEAD + "published: {sources: {a: {columns: [params]}}}\nlayers: [relu]", "net.yaml:3:26: a published figure has no source"),
        (HEAD + "published: [{params: many, source: x}]\nlayers: [relu]", "net.yaml:3:22: a number is written as 61100840, 61.1M or 4.12G; got 'many'"),
    ],
)  # fmt: skip
def test_refusals(text: str, expected: str) -> None:
    assert message(text).startswith(expected)


def test_a_block_that_calls_itself_is_refused() -> None:
    text = HEAD + "blocks:\n  b:\n    - x: b\nlayers:\n  - b"
    assert "nested deeper than 50; does a block call itself?" in message(text)


MANY = """\
name: many
input: 3x8y8
year: 15
titel: x
knobs: {a: 1 +, b: 2}
let: {c: a + 1, d: b + e}
blocks:
  bad(3): relu
  fine(k):
    - conv(4, k, paddin=1)
    - relu
layers:
  - stem: conf(4, 3) >> relu >> tahn
  - conv(a, 3)
  - x: conv(d, c)
  - bad(3)
  - fine(3) * 3
  - take(x)
  - if in_channels > 3:
      - let: {q: 3}
      - y: relu
  - for i in range(in_size[0]):
      - z: relu
  - conv(q, 3)
  - add(y, z, current)
  - add: {body: [rleu], shortcut: identity if q else none}
  - for i in 3:
      - relu
  - relu(foo=3)
published:
  - {params: 3M}
  - {params: 3M, source: a, model: other}
"""


def test_the_mistakes_of_a_spec_are_told_together() -> None:
    """Each once, in the order of the lines, and nothing that only follows from another one."""
    with pytest.raises(SpecError) as error:
        load_text(MANY)
    expected = [
        "many.yaml:2:8: a shape is written as 3x224x224, channels first; got '3x8y8'",
        "many.yaml:3:7: year must have four digits; got '15'",
        "many.yaml:4:1: unknown key 'titel'; did you mean 'title'?",
        "many.yaml:5:12: not an expression: '1 +'",
        "many.yaml:6:24: unknown name 'e'; expected one of: a, b, c, current, fine, in_channels, in_size",
        "many.yaml:8:7: a block's parameter is a name",
        "many.yaml:10:7: conv1: conv: conv has no argument 'paddin'; did you mean 'padding'?",
        "many.yaml:13:11: stem: unknown op or block 'conf'; did you mean 'conv'?",
        "many.yaml:13:33: stem: unknown op or block 'tahn'; did you mean 'tanh'?",
        "many.yaml:26:18: body: unknown op or block 'rleu'; did you mean 'relu'?",
        "many.yaml:27:5: a loop needs a list; got 3",
        "many.yaml:29:5: relu4: relu: relu has no argument 'foo'",
        "many.yaml:31:5: a published figure has no source",
        "many.yaml:32:36: unknown model 'other'; expected one of: many",
    ]
    assert str(error.value).split("\n") == [*expected[:10], "many.yaml: and 4 more"]
    assert [str(mistake) for mistake in error.value.mistakes] == expected
    assert (error.value.line, error.value.column) == (2, 8)
    assert error.value.reason.startswith("a shape is written as")


def load_text(text: str) -> Network:
    return expand(read_spec(Source("many.yaml", text)))


def test_a_spec_beyond_the_bounds_ends_the_search() -> None:
    layers = "- conf(3)\n- take(input)\n- relu * 10000 * 10000\n- rleu"
    text = f"{HEAD}layers:\n" + "\n".join("  " + line for line in layers.split("\n"))
    assert message(text).split("\n") == [
        "net.yaml:4:5: unknown op or block 'conf'; did you mean 'conv'?",
        "net.yaml:6:5: more than 20,000 layers",
    ]


@pytest.mark.parametrize(
    ("layers", "mistakes"),
    [
        ("[conv(300, 5), conv(20, 5)]", ["3:10: conv(300, 5)", "3:24: conv(20, 5)"]),
        ("[add: {body: conv(3, 1), shortcut: identity}]", ["3:22: conv(3, 1)"]),
        ("[relu, tanh, conv(3, 1, padding=1, bias=False)]", ["3:22: conv(3, 1, padding=1, bias=False)"]),
    ],
)  # fmt: skip
def test_a_call_that_yaml_splits_at_its_comma(layers: str, mistakes: list[str]) -> None:
    lines = message(f"{HEAD}layers: {layers}").split("\n")
    assert lines == [
        f'net.yaml:{place}: YAML splits {call} at its comma; write "{call}" in quotes, '
        "or on its own line"
        for place, call in (mistake.split(": ") for mistake in mistakes)
    ]


def test_a_call_with_a_list_inside_brackets_is_no_yaml() -> None:
    assert message(f"{HEAD}layers: [conv(3, [1, 1])]").endswith("put a call with a list in quotes")


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ("- add: {a: relu, b: tanh}\n- add: {a: relu, b: tanh}\n- take(a)", "6:10: two earlier branches are named 'a'; rename one of them"),
        ("- a: relu\n- add: {a: relu, b: tanh}\n- add(a, b)", "6:9: two earlier branches are named 'a'; rename one of them"),
        ("- add: {a: relu, b: tanh}\n- a: relu", "5:5: duplicate name 'a'; first in line 4"),
    ],
)  # fmt: skip
def test_a_name_of_two_branches_is_not_guessed(layers: str, reason: str) -> None:
    text = HEAD + "layers:\n" + "\n".join("  " + line for line in layers.split("\n"))
    assert message(text) == f"net.yaml:{reason}"


def test_an_error_inside_a_block_names_the_path() -> None:
    text = HEAD + "blocks:\n  b(k):\n    - x: conv(4, k)\nlayers:\n  - stem: b(9)"
    assert message(text) == (
        "net.yaml:5:7: stem.x: conv on 3x8x8: kernel_size 9 does not fit the padded input 8"
    )


def test_unknown_knobs_and_variants() -> None:
    text = "family: f\ninput: 3x8x8\nknobs: {width: 1}\nvariants: {small: {}}\nlayers: [relu]"
    assert message(text, knobs={"widht": "2"}) == "unknown knob of f 'widht'; did you mean 'width'?"
    assert message(text, variant="smal") == "unknown variant of f 'smal'; did you mean 'small'?"
    assert message(HEAD + "layers: [relu]", knobs={"w": "2"}) == "unknown knob (net has none) 'w'"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(SpecError) as error:
            load(path)
        return str(error.value).replace(str(tmp_path), "DIR")

    (tmp_path / "dir.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"name: n\ntitle: caf\xe9\n")
    (tmp_path / "large.yaml").write_bytes(b"#" * (1 << 20) + b"#")
    (tmp_path / "nul.yaml").write_bytes(b"name: n\0\n")
    assert refused(tmp_path / "missing.yaml") == "DIR/missing.yaml: No such file or directory"
    assert refused(tmp_path / "dir.yaml") == "DIR/dir.yaml: is a folder"
    assert refused(tmp_path / "latin.yaml") == "DIR/latin.yaml:2:11: not UTF-8 (byte 0xe9)"
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbfname: x\ninput: 3x8x8\nlayers: [relu]\n")
    assert load(tmp_path / "mark.yaml").name == "x"  # a mark of the byte order is left out
    assert (
        refused(tmp_path / "large.yaml")
        == "DIR/large.yaml: the file is larger than 1,048,576 bytes"
    )
    assert refused(tmp_path / "nul.yaml") == "DIR/nul.yaml: is binary, not a spec"


def test_a_file_of_another_kind_is_called_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    spec = "name: n\ninput: 3x8x8\nlayers: [relu]\n"
    for name, text in {
        "net.onnx": "\x08\x07", "net.py": "import torch", "net.csv": "a,b", "net.pth": "PK",
        "blob": "a\0b", "compose.yml": "services: {web: 3}\nversion: 3", "folder/net.yaml": spec,
        "plain": spec, "alexnet": "a file of this name", "half.yml": "name: n\ninput: 3x8x8",
    }.items():  # fmt: skip
        Path(name).write_text(text, "utf-8")

    def refused(name: str) -> str:
        with pytest.raises(SpecError) as error:
            load(name)
        return str(error.value)

    assert refused("net.onnx::a") == "net.onnx: is an ONNX graph, not a spec"
    assert refused("net.py").startswith("net.py: is Python, not a spec; to read a network")
    assert refused("./net.py").startswith("./net.py: is Python")
    assert refused("net.csv") == "net.csv: is a table of values, not a spec"
    assert refused("net.pth").startswith("net.pth: holds weights, not layers")
    assert refused("blob") == "blob: is binary, not a spec"
    assert refused("folder") == "folder: is a folder; name a file in it, as folder/net.yaml"
    assert refused("half.yml") == "half.yml:1:1: the spec has no layers"
    assert refused("compose.yml") == (
        "compose.yml:1:1: no spec: it has no name, input or layers, but services, version"
    )
    assert load("plain").name == "n"  # a spec by what is in it
    assert load("alexnet").title.startswith("AlexNet")  # the catalog's name goes first


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("dense(10)", "unknown op or block 'dense'; write linear(out_features)"),
        ("InnerProduct(10)", "unknown op or block 'InnerProduct'; write linear(out_features)"),
        ("LSTMCell(64)", "unknown op or block 'LSTMCell'; write lstm_cell"),
        ("lstm(units=64)", "lstm has no argument 'units'; write hidden_size"),
        ("lstm(64, batch_first=True)", "shapes have no batch, and steps come first; leave it out"),
        ("gru(64, return_sequences=True)", "every step comes out; the last one is slice(0, in_channels - 1)"),
        ("upsample(4)", "unknown op or block 'upsample'; write interpolate(scale_factor=2)"),
        ("depthwise_conv(3)", "'depthwise_conv'; write conv(in_channels, 3, groups=in_channels)"),
        ("SeparableConv2D(8, 3)", "write conv(in_channels, 3, padding=1, groups=in_channels) >> conv(out_channels, 1)"),
        ("einsum(3)", "write matmul(a, current)"),
        ("rfft2", "unknown op or block 'rfft2'; write rfft([-2, -1])"),
        ("space_to_depth(2)", "write pixel_unshuffle(downscale_factor)"),
        ("clip(0, 6)", "unknown op or block 'clip'; write clamp(min, max)"),
        ("Dropout2d(0.2)", "unknown op or block 'Dropout2d'; write channel_dropout(p)"),
        ("F.log_softmax(0)", "attributes are not part of the language; write log_softmax"),
        ("reduce_max([0])", "unknown op or block 'reduce_max'; write amax(dims)"),
        ("max(axis=0)", "max has no argument 'axis'; write dim"),
        ("sum(axis=[0, 1])", "sum has no argument 'axis'; write dims"),
        ("Conv2d(3, 64, 3)", "unknown op or block 'Conv2d'; write conv; what comes in is inferred"),
        ("MaxPool2D(2)", "unknown op or block 'MaxPool2D'; write maxpool"),
        ("adaptive_avg_pool2d(1)", "write adaptive_avgpool"),
        ("nn.BatchNorm2d(64)", "attributes are not part of the language; write batchnorm; what comes in is inferred"),
        ("conv(filters=64, kernel_size=3)", "conv has no argument 'filters'; write out_channels"),
        ("conv(64, 3, strides=2)", "conv has no argument 'strides'; write stride"),
        ("conv(64, 3, activation='relu')", "an activation is a layer of its own, as in conv(64, 3) >> relu"),
        ("conv(64, kernel_shape=[3, 3])", "conv has no argument 'kernel_shape'; write kernel_size"),
        ("conv(64, 3, pads=[1, 1, 1, 1])", "write a pair (before, after) for each axis, as in padding=[[1, 1], [1, 1]]"),
        ("conv(64, 3, auto_pad='SAME_UPPER')", "write padding='same' or padding='valid'"),
        ("conv(64, 3, padding='SAME')", "padding 'SAME'; did you mean 'same'?"),
        ("conv(in_channels=3, out_channels=4, kernel_size=3)", "no argument 'in_channels'; what comes in is inferred; leave it out"),
        ("dropout(rate=0.2)", "dropout has no argument 'rate'; write p"),
        ("conv(num_output=4, kernel_size=3)", "conv has no argument 'num_output'; write out_channels"),
        ("conv(num_output=4, kernel_size=3, pad=1)", "conv has no argument 'num_output'; write out_channels; nor 'pad'; write padding"),
        ("squeeze_excite(4)", "unknown op or block 'squeeze_excite'; it is no op; write it under blocks, of ops"),
        ("relu(inplace=True)", "relu has no argument 'inplace'; operations are not in place; leave it out"),
    ],
)  # fmt: skip
def test_words_of_other_frameworks(call: str, hint: str) -> None:
    assert message(f"{HEAD}layers:\n  - {call}").endswith(hint)


def test_the_tables_of_foreign_words_are_true() -> None:
    """No op is called missing, and what is proposed instead are ops and their arguments."""
    names = {foreign._key(name) for name in OPS}
    assert names & {*foreign.WRITE, *foreign.MISSING} == set()
    assert {*foreign.WRITE} & {*foreign.MISSING} == set()
    called = {name for text in foreign.WRITE.values() for name in re.findall(r"(\w+)\(", text)}
    assert called <= {*OPS}
    arguments = {name for op in OPS.values() for name in op.arguments}
    assert {name for names in foreign.ARGUMENTS.values() for name in names} <= arguments
    for key in (*foreign.WRITE, *foreign.MISSING, *foreign.ARGUMENTS, *foreign.NO_ARGUMENT):
        assert re.fullmatch("[a-z0-9]+", key)


def test_what_is_proposed_has_the_arguments_of_its_ops() -> None:
    texts = [*foreign.WRITE.values(), *foreign.MISSING.values(), *foreign.NO_ARGUMENT.values()]
    calls = [call for text in texts for call in re.findall(r"\w+\([^()]*\)", text)]
    assert len(calls) > 50
    for call in calls:
        tree = ast.parse(call, mode="eval").body
        if tree.func.id in OPS and call != "multiply(a, current)" and "a, current" not in call:
            names = [*OPS[tree.func.id].arguments]
            given = [arg.id for arg in tree.args if isinstance(arg, ast.Name)]
            assert {*given, *(word.arg for word in tree.keywords)} <= {
                *names,
                "in_channels",
                "features",
            }, call


def test_a_label_is_no_call() -> None:
    """A layer that is named again is not the op that is spelt most like it."""
    assert message("name: net\ninput: 10\nlayers:\n  - a: linear(10)\n  - a\n").endswith(
        ":5:5: a is a layer; take(a) goes on from its output; to run it again, write it "
        "under `shared` for the same weights, under `blocks` for others"
    )
