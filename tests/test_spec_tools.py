"""What helps to write specs: lint, fmt, the schema for editors; and the badge."""

from __future__ import annotations

import json
import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from test_cli import refused, run

from archcost import SpecError
from archcost.badge import COLORS, badge
from archcost.contracts import CONTRACTS, contract, with_
from archcost.contracts import schema as kind_schema
from archcost.findings.lint import lint
from archcost.numeral import Numeral
from archcost.published import FIGURES
from archcost.spec.catalog import documents, specs_folder
from archcost.spec.document import KEYS
from archcost.spec.figures import PLAIN
from archcost.spec.layout import format_spec, space_call
from archcost.spec.remarks import MEANT
from archcost.spec.source import Source, read_source

SPECS = sorted(path for path in Path(specs_folder()).glob("*.yaml") if path.name != "hardware.yaml")


# Lint.


def found(text: str) -> list[str]:
    return [f"{flaw.place}: {flaw.kind}: {flaw.text}" for flaw in lint(Source("x.yaml", text))]


@pytest.mark.slow
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_nothing_is_found_in_a_shipped_spec(path: Path) -> None:
    assert lint(read_source(path)) == []


LINTED = """\
family: nets
input: 3x{side}x{side}
knobs: {width: 8, side: 32, body: plain, unused: 1, left: 2, deep: chain, kernel: 5}
variants:
  first: {}
  second: {body: fancy}
  third: {}
  fourth: {title: The same for another paper}
let:
  double: 2 * width
  half: width // left
blocks:
  plain(out, kernel=3):
    - let: {inner: out // 2, other: 3}
    - conv(inner, kernel)
  fancy(out, nothing=0):
    - for stage, width in [[1, 8]]:
        - conv(out, 3)
  lonely: wrong(left)
  wrong(x): relu
  chain: relu
layers:
  - body(double)
  - deep
published:
  - {model: first, source: a table, params: 227}
  - {model: first, source: a table, params: 224, why: without biases}
  - {model: first, source: a table, params: 224}
"""


def test_lint_finds_what_is_of_no_use() -> None:
    # the first network: a convolution of 3 to 16 // 2 channels, 3·9·8 + 8 = 224
    assert found(LINTED) == [
        "x.yaml:3:42: unused: knob unused is never used",
        "x.yaml:3:53: unused: knob left is never used",
        "x.yaml:3:75: unused: knob kernel is never used",  # the parameter of that name is
        "x.yaml:7:3: same: variant third is the same network as first",
        "x.yaml:11:3: unused: value half is never used",
        "x.yaml:14:30: unused: value other is never used",
        "x.yaml:16:3: unused: fancy: parameter nothing is not used",
        "x.yaml:19:3: unused: block lonely is never called",
        "x.yaml:20:3: unused: block wrong is never called",
        "x.yaml:26:45: published: first: params is printed as 227, computed 224; say why",
    ]


def test_a_spec_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("name: good\ninput: 3x8x8\nlayers: [relu]\n")
    bad.write_text("name: bad\ninput: 3x8x8\nlayers: [rleu]\n")
    out, err = run("lint", str(good), str(bad), "--format", "json", code=1)
    text = "unknown op or block 'rleu'; did you mean 'relu'?"
    assert json.loads(out) == [
        {"file": str(bad), "line": 3, "column": 10, "kind": "error", "text": text}
    ]
    assert err == ""
    assert run("lint", str(good))[0] == "1 spec: nothing found\n"
    assert refused("lint", str(good), "no.yaml") == "no.yaml: No such file or directory"


# Layout.


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_shipped_spec_is_in_the_layout_and_comes_back_to_it(path: Path) -> None:
    source = read_source(path)
    assert format_spec(source) == source.text
    spaced = respaced(source.text, random.Random(path.stem))
    assert spaced != source.text
    assert format_spec(Source(path.name, spaced)) == source.text


def respaced(text: str, rng: random.Random) -> str:
    """Return a spec with other white space: deeper nesting, wide dashes, spaces at the ends."""
    factor = rng.choice([2, 3, 4])
    lines = []
    for line in text.splitlines():
        words = line.lstrip()
        indent = " " * (factor * (len(line) - len(words)))
        if words.startswith("- ") and rng.random() < 0.3:  # a dash with more behind it
            words = "-" + " " * rng.randint(1, 3) + words[2:]
        if re.match(r"[\w-]+: [\w{\[]", words) and rng.random() < 0.3:
            words = words.replace(": ", ":" + " " * rng.randint(2, 4), 1)
        is_call = re.match(r"(- )?([\w-]+: )?\w+\([^{#\"]*\)$", words)
        if is_call and not re.match(r"title|paper", words) and rng.random() < 0.5:
            words = words.replace(", ", rng.choice([",", " ,  "]))
        lines.append(indent + words + " " * rng.randint(0, 2))
    return "\r\n".join([*lines, "", ""])


UNTIDY = """\
# yaml-language-server: $schema=spec.schema.json

layers:
# the first
- stem:   conv( 64,7,stride = 2 , padding= 3)    # seven
-
  body:
     - add:
             left: [ tanh,relu ]
             right: identity
     # after the branches
     -   conv(channels(current)//2,1) if   depth>18 else   relu
- for width,stride in [[64,1],[ 128,2 ]]:
  - conv(width, - stride + 3, padding=1)*2

# what it is called
name:   net
knobs: { depth : 18,widths: [ 1,2 ],
    act: relu }


input: 3x32x32
title: >
    Folded, and

    kept as it is
"""
TIDY = """\
# yaml-language-server: $schema=spec.schema.json

# what it is called
name: net
title: >
    Folded, and

    kept as it is

input: 3x32x32
knobs: {depth: 18, widths: [1, 2],
    act: relu}
layers:
  # the first
  - stem: conv(64, 7, stride=2, padding=3) # seven
  - body:
      - add:
          left: [tanh, relu]
          right: identity
      # after the branches
      - conv(channels(current) // 2, 1) if depth > 18 else relu
  - for width, stride in [[64, 1], [128, 2]]:
      - conv(width, -stride + 3, padding=1) * 2
"""


@pytest.mark.parametrize(
    ("text", "spaced"),
    [
        ("conv( 64,3 ,stride = 2)", "conv(64, 3, stride=2)"),
        ("relu if   a==b and not c else d", "relu if a == b and not c else d"),
        ("f(-1,- x,a-1, 2*-x, a[1 :2])", "f(-1, -x, a - 1, 2 * -x, a[1:2])"),
        ("a>>b * 3", "a >> b * 3"),
        ("[1,2]*(n-1)", "[1, 2] * (n - 1)"),
        ("f([a] if b else [c])[0]", "f([a] if b else [c])[0]"),
        ("for a,b in zip( x,y )", "for a, b in zip(x, y)"),
        ("2**n", "2 ** n"),
        ("not an expression (", "not an expression ("),
        ("3x3", "3x3"),
        ("f('a,b')", "f('a,b')"),
    ],
)
def test_spaces_in_calls(text: str, spaced: str) -> None:
    assert space_call(text) == spaced
    assert space_call(spaced) == spaced


def test_the_layout_keeps_comments_and_meaning() -> None:
    assert format_spec(Source("x.yaml", UNTIDY)) == TIDY
    assert format_spec(Source("x.yaml", TIDY)) == TIDY


def test_fmt_writes_shows_or_checks(tmp_path: Path) -> None:
    tidy, untidy = tmp_path / "tidy.yaml", tmp_path / "untidy.yaml"
    tidy.write_text(TIDY)
    untidy.write_text(UNTIDY)
    names = [str(tidy), str(untidy)]
    assert run("fmt", "--check", *names, code=1)[0] == f"would change {untidy}\n"
    assert (
        "+  - stem: conv(64, 7, stride=2, padding=3) # seven"
        in run("fmt", "--diff", *names, code=1)[0]
    )
    assert untidy.read_text() == UNTIDY
    assert run("fmt", *names)[0] == f"changed {untidy}\n"
    assert untidy.read_text() == TIDY
    assert run("fmt", *names) == ("", "")
    assert run("fmt", "-", stdin=UNTIDY)[0] == TIDY


def test_fmt_keeps_what_is_meant() -> None:
    text = "layers: [relu]\nmeant: [ input,unread ]\ninput: 3x8x8\nname: n\n"
    tidy = "name: n\ninput: 3x8x8\nmeant: [input, unread]\nlayers: [relu]\n"
    assert format_spec(Source("x.yaml", text)) == tidy


def test_fmt_leaves_all_alone_if_one_cannot_be_read(tmp_path: Path) -> None:
    untidy, bad = tmp_path / "untidy.yaml", tmp_path / "bad.yaml"
    untidy.write_text(UNTIDY)
    bad.write_text("name: bad\nlayers: [relu]\n")
    assert refused("fmt", str(untidy), str(bad)) == f"{bad}:1:1: the spec has no input"
    assert untidy.read_text() == UNTIDY


@pytest.mark.parametrize(
    "text",
    ["{name: n, input: 3x8x8, layers: [relu]}", "? name\n: n\ninput: 3x8x8\nlayers: [relu]\n"],
)
def test_other_styles_of_yaml_are_left_alone(text: str) -> None:
    with pytest.raises(SpecError, match="only specs in block style without `\\?` are formatted"):
        format_spec(Source("x.yaml", text))


def test_a_spec_that_would_mean_another_thing_is_left_alone() -> None:
    # an empty line between sections would become part of the text above it
    text = "name: n\nlayers: [relu]\n\ninput: 3x8x8\ntitle: |+\n  kept\n"
    with pytest.raises(SpecError, match="cannot be formatted; it is left as it is"):
        format_spec(Source("x.yaml", text))


# The schema for editors.


def schema() -> dict[str, Any]:
    return json.loads(run("schema", "spec")[0])


def test_the_schema_knows_the_keys_of_the_language() -> None:
    contract = schema()
    jsonschema.Draft202012Validator.check_schema(contract)
    assert list(contract["properties"]) == list(KEYS)
    assert contract["$defs"]["remark"]["enum"] == list(MEANT)
    row, table = contract["properties"]["published"]["anyOf"]
    assert [name for name in FIGURES if name not in row["items"]["properties"]] == []
    [source] = [table["properties"]["sources"]["additionalProperties"]]
    assert source["properties"]["columns"]["items"]["enum"] == list(FIGURES)


def test_every_shipped_spec_is_valid() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    assert len(documents()) == len(SPECS)
    for path in SPECS:
        assert [
            error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))
        ] == []


GOOD = {"name": "n", "input": "3x8x8", "layers": ["relu"]}


@pytest.mark.parametrize(
    "change",
    [
        {"name": None}, {"family": "f"}, {"input": None}, {"layers": None}, {"layer": ["relu"]},
        {"meant": ["inputs"]}, {"input": "3x8x"}, {"input": "large"}, {"year": 15}, {"name": "a b"},
        {"knobs": {"a b": 1}}, {"knobs": {"a": {"b": 1}}}, {"knobs": [1]}, {"let": {"a": [1]}},
        {"variants": ["a"]}, {"variants": {"a": 3}}, {"blocks": {"3(x)": ["relu"]}},
        {"layers": [["relu"]]}, {"layers": [{"a": "relu", "b": "relu"}]}, {"layers": [{}]},
        {"layers": 3}, {"layers": [{"let": ["a"]}]}, {"layers": [{"aside": "relu"}]},
        {"published": [{"params": 3}]}, {"published": [{"source": "x", "parms": 3}]},
        {"published": [{"source": "x", "params": "many"}]}, {"published": {"n": {"x": [3]}}},
        {"published": {"sources": {"x": {"source": "y", "columns": ["parms"]}}}},
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_skeleton_is_refused(change: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    assert list(validator.iter_errors(GOOD)) == []
    spec = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    assert list(validator.iter_errors(spec)) != []


def test_published_figures_may_stand_in_a_table() -> None:
    table = {
        "sources": {
            "paper": {"source": "He et al. 2015, table 1", "columns": ["macs", "top1_error"]}
        },
        "n": {"paper": ["1.8G", "-", {"without projections": "macs(n) - 1"}]},
    }
    jsonschema.validate({**GOOD, "published": table}, schema())


def test_schemas_are_listed() -> None:
    names = run("schema")[0].split()
    assert names == [*sorted(names)] and {*names} == {*CONTRACTS, "spec"}
    for name in names:
        made = json.loads(run("schema", name)[0])
        jsonschema.Draft202012Validator.check_schema(made)
        command = {"training": "table --training"}.get(name, name)
        assert name == "spec" or made["title"] == f"archcost {command} --format json"
        assert "fmt: skip" not in json.dumps(made)


def test_a_contract_is_written_short_and_generated_in_full() -> None:
    kind = {"a": str, "b?": [(int, None)], "c": with_({"d": bool}, "words", minProperties=1)}
    inner = {
        "type": "object", "additionalProperties": False, "required": ["d"],
        "properties": {"d": {"type": "boolean"}}, "description": "words", "minProperties": 1,
    }  # fmt: skip
    assert kind_schema(kind) == {
        "type": "object", "additionalProperties": False, "required": ["a", "c"],
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "array", "items": {"type": ["integer", "null"]}},
            "c": inner,
        },
    }  # fmt: skip
    row = contract("table")["properties"]["layers"]["items"]
    assert {"params", "macs", "buffers"} <= {*row["required"]} == {*row["properties"]} - {"rows"}
    assert row["properties"]["macs"] == {"type": "integer", "minimum": 0}
    assert refused("schema", "tabel") == "unknown schema 'tabel'; did you mean 'table'?"


# Badges.


def test_a_badge_says_its_figure() -> None:
    root = ElementTree.fromstring(run("badge", "resnet50")[0])
    space = {"svg": "http://www.w3.org/2000/svg"}
    assert [
        text.text for text in root.findall("svg:text", space) or root.findall(".//svg:text", space)
    ] == ["resnet50 macs", "4.089G"]
    assert root.get("aria-label") == "resnet50 macs: 4.089G"


@pytest.mark.parametrize(
    ("budget", "color"),
    [("macs <= 4.2G", "holds"), ("macs <= 4G", "over"), ("batch on v100 >= 64", "holds")],
)
def test_a_badge_shows_whether_a_budget_holds(budget: str, color: str) -> None:
    assert COLORS[color] in run("badge", "resnet50", "--budget", budget)[0]


def test_a_badge_escapes_its_words() -> None:
    root = ElementTree.fromstring(badge('<a> & "b"', "1"))
    assert root.get("aria-label") == '<a> & "b": 1'


@pytest.mark.parametrize("color", COLORS.values())
def test_white_text_is_readable_on_a_badge(color: str) -> None:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    # WCAG 2.1, relative luminance and contrast ratio
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert 1.05 / (luminance + 0.05) >= 5


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--metric", "mcas"], "unknown metric 'mcas'; did you mean 'macs'?"),
        (["--metric", "batch"], "batch needs a device: --budget 'batch on v100 >= 64'"),
        (["--budget", "macs <= +3%"], "a badge has no baseline; write an absolute bound, as in macs <= 4.2G"),
        (["--budget", "macs <= x"], "--budget 'macs <= x':1:9: a number is expected, as in 300M, 2GiB or +2%; got 'x'"),
        (["-o", "no/x.svg"], "cannot write no/x.svg: No such file or directory"),
    ],
)  # fmt: skip
def test_a_bad_badge_is_refused(arguments: list[str], reason: str) -> None:
    assert refused("badge", "resnet50", *arguments) == reason


@pytest.mark.parametrize("text", ["25", "25.6M", "0.125", "4G", "8B", "7K", "1.000000001"])
def test_a_figure_that_is_read_at_once_is_a_number(text: str) -> None:
    """So that no spec holds a figure that what compares it would refuse."""
    assert PLAIN.fullmatch(text)
    assert Numeral.parse(text).text == text


@pytest.mark.parametrize("text", ["", "1.", ".5", "25 M", "25.6MM", "1,5", "x1"])
def test_any_other_is_looked_at(text: str) -> None:
    assert not PLAIN.fullmatch(text)
