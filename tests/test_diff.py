"""What changed between two networks: figures, layers, conditions, families, formats."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from test_check import SMALL, git, history  # noqa: F401 (a fixture)
from test_cli import refused, run

from archcost.budget.difference import Differences, diff
from archcost.contracts import contract as contract_of

BASE = """\
name: net
input: 3x32x32
layers:
  - stem: conv(8, 3, padding=1)
  - stage:
      - conv(8, 3, padding=1)
      - relu
  - sum: add(stem, stage)
  - last: conv(4, 1)
"""


def changed(tmp_path: Path, *replacements: tuple[str, str]) -> Differences:
    """Return what changed from BASE when some of its text is replaced."""
    text = BASE
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    for name, content in (("old.yaml", BASE), ("new.yaml", text)):
        (tmp_path / name).write_text(content)
    return diff(str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml"))


def layers(found: Differences) -> list[tuple[str, str]]:
    [part] = found.parts
    return [(change.kind, change.path) for change in part.layers]


def test_nothing_changed(tmp_path: Path) -> None:
    [part] = changed(tmp_path, ("- relu", "- relu  # the same")).parts
    assert part.same
    assert part.headline.endswith(": no change")
    assert part.layers == ()


def test_a_wider_layer_and_what_reads_it(tmp_path: Path) -> None:
    found = changed(tmp_path, ("last: conv(4, 1)", "last: conv(6, 1)"))
    assert layers(found) == [("changed", "last")]
    [part] = found.parts
    [change] = part.layers
    assert change.figure("params") == (8 + 1) * 6 - (8 + 1) * 4
    assert change.figure("macs") == 32 * 32 * 8 * 2
    assert [move.change for move in part.moves if move.metric.name == "macs"] == [32 * 32 * 8 * 2]


def test_layers_are_matched_by_path_then_by_structure(tmp_path: Path) -> None:
    # the group has another name, the second convolution another kernel, and a layer is new
    found = changed(
        tmp_path, ("stage:", "trunk:"), ("stem, stage", "stem, trunk"),
        ("      - relu", "      - relu\n      - lrn"),
    )  # fmt: skip
    assert layers(found) == [
        ("renamed", "stage.conv1 -> trunk.conv1"),
        ("renamed", "stage.relu1 -> trunk.relu1"),
        ("added", "trunk.lrn1"),
    ]
    # another op at the same place is another layer
    found = changed(tmp_path, ("- relu", "- relu: tanh"), ("- relu: tanh", "- act: tanh"))
    assert layers(found) == [("added", "stage.act"), ("removed", "stage.relu1")]
    found = changed(tmp_path, ("last: conv(4, 1)", "last: maxpool(2)"))
    assert layers(found) == [("added", "last"), ("removed", "last")]


def test_a_layer_that_only_reads_another_is_changed(tmp_path: Path) -> None:
    found = changed(tmp_path, ("add(stem, stage)", "add(stage, stage)"))
    assert layers(found) == [("changed", "sum")]
    [row] = found.parts[0].layer_table().rows
    assert row[2:4] == ("add of stem, stage.relu1", "add of stage.relu1, stage.relu1")


def test_layer_changes_add_up_to_the_totals() -> None:
    for old, new in (("resnet50", "resnext50_32x4d"), ("vgg11", "vgg19"), ("alexnet", "unet")):
        [part] = diff(old, new).parts
        for key in ("params", "macs"):
            [move] = [move for move in part.moves if move.metric.name == key]
            assert sum(change.figure(key) for change in part.layers) == move.change


def test_the_figure_that_moved_most_is_first() -> None:
    [part] = diff("resnet50", "resnext50_32x4d").parts
    extents = [abs(move.ratio) for move in part.moves if move.ratio is not None]
    assert extents == sorted(extents, reverse=True)
    assert part.headline == "resnet50 -> resnext50_32x4d: saved +30.60%"


def test_json_follows_its_schema() -> None:
    data = json.loads(run("diff", "resnet18", "resnet34", "--gpu", "v100", "--format", "json")[0])
    contract = contract_of("diff")
    jsonschema.Draft202012Validator.check_schema(contract)
    jsonschema.validate(data, contract)
    figures = {row["metric"]: row for row in data["networks"][0]["figures"]}
    assert (figures["params"]["old"], figures["params"]["new"]) == (11_689_512, 21_797_672)
    assert figures["batch"]["device"] == "v100"


@pytest.mark.parametrize(
    ("condition", "code"),
    # 4,230,479,872 / 4,089,184,256 = 1.03455, 25,028,904 / 25,557,032 = 0.97934
    [
        ("macs > +3%", 1),
        ("macs > +4%", 0),
        ("macs > 4.2G", 1),
        ("params < -2%", 1),
        ("params < -3%", 0),
    ],
)
def test_fail_on(condition: str, code: int) -> None:
    out, _ = run("diff", "resnet50", "resnext50_32x4d", "--fail-on", condition, code=code)
    assert (f"failed: {condition}: " in out) is bool(code)


def test_every_format_holds_the_figures() -> None:
    for format in ("text", "markdown", "csv", "html", "latex"):
        out = run("diff", "resnet18", "resnet34", "--format", format)[0].replace(",", "")
        assert "11689512" in out
        assert "21797672" in out
    lines = run("diff", "resnet18", "resnet34", "--format", "csv", "--layers")[0].splitlines()
    assert lines[0] == "network,kind,layer,old,new,params,macs,activations"
    assert len(lines) == 1 + 8 * 7  # eight more blocks of seven layers, and nothing else


# Families and revisions.

FAMILY = """\
family: nets
input: 3x32x32
knobs: {width: 8, depth: 1}
variants:
  narrow: {}
  wide: {width: 16}
  deep: {depth: 3}
layers:
  - conv(width, 3) * depth
"""


def test_every_variant_of_a_family_is_compared(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(FAMILY)
    new.write_text(FAMILY.replace("deep: {depth: 3}", "deeper: {depth: 4}").replace("16", "24"))
    out, _ = run("diff", str(old), str(new))
    # 3·9·16 + 16 = 448 to 672
    assert "new.yaml::wide: " in out
    assert "params " in out and "448" in out and "672" in out
    assert "new: deeper" in out
    assert "removed: deep\n" in out
    assert f"1 network of {old} -> {new} did not change" in out
    assert "narrow" not in out


def test_a_revision_of_the_file_itself(history: Path) -> None:  # noqa: F811
    for old in ("main", "main:specs/net.yaml"):
        assert run("diff", old, "specs/net.yaml")[0].startswith("specs/net.yaml since main: ")
    git(history, "add", ".")
    git(history, "commit", "--quiet", "-m", "Widen")
    same = run("diff", "HEAD", "specs/net.yaml")[0]
    assert same.startswith("specs/net.yaml since HEAD: no change\n")
    changes = json.loads(
        run("diff", "HEAD~1:specs/net.yaml", "HEAD:specs/net.yaml", "--format", "json")[0]
    )
    assert [layer["new"]["name"] for layer in changes["networks"][0]["layers"]] == ["a", "b"]


def test_knobs_are_set_on_both_sides(history: Path) -> None:  # noqa: F811
    out = run("diff", "main", "specs/net.yaml", "--set", "width=4")[0]
    assert out.startswith("specs/net.yaml since main: no change")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["main", "specs/nte.yaml"], "specs/nte.yaml: No such file or directory"),
        (["mian", "specs/net.yaml"], "no git revision, file or model is called 'mian'; did you mean 'main'?"),
        (["main:specs/nte.yaml", "specs/net.yaml"], "main has no file specs/nte.yaml; did you mean 'specs/net.yaml'?"),
        (["resnet50", "resnte50"], "unknown model 'resnte50'; did you mean 'resnet50'?"),
        (["vgg16", "vgg19", "--fail-on", "mcas > 3"], "--fail-on 'mcas > 3':1:1: unknown metric 'mcas'; did you mean 'macs'?"),
        (["vgg16", "vgg19", "--fail-on", "macs > +3% of main"], "--fail-on 'macs > +3% of main':1:15: the baseline is what is compared"),
        (["vgg16", "vgg19", "--gpu", "v10"], "unknown GPU 'v10'; did you mean 'v100'?"),
        (["vgg16", "vgg19", "-o", "no/x.txt"], "cannot write no/x.txt: No such file or directory"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    history: Path,  # noqa: F811
    arguments: list[str],
    reason: str,
) -> None:
    assert refused("diff", *arguments) == reason


def test_an_old_report_stays_whole(history: Path) -> None:  # noqa: F811
    target = history / "diff.md"
    run("diff", "main", "specs/net.yaml", "--format", "markdown", "-o", str(target))
    before = target.read_text()
    assert "<details><summary>2 layers of specs/net.yaml since main</summary>" in before
    (history / "specs" / "net.yaml").write_text(SMALL.replace("conv", "cnov", 1))
    refused("diff", "main", "specs/net.yaml", "--format", "markdown", "-o", str(target))
    assert target.read_text() == before
    assert sorted(path.name for path in history.iterdir()) == [".git", "diff.md", "specs"]
