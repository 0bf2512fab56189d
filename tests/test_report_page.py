"""The report: one page in four formats."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import CliRunner
from helpers import SOON

from archcost import catalog
from archcost.cli import cli
from archcost.contracts import contract as contract_of
from archcost.errors import ArchcostError
from archcost.primitives import PRIMITIVES, Row
from archcost.proofs import Check
from archcost.proofs.results import Outcome, results_record

TWELVE = (
    "alexnet", "vgg16", "googlenet", "resnet50", "resnet152", "densenet121", "mobilenet_v2",
    "efficientnet_b0", "inception_v4", "convnext_tiny", "swin_t", "senet154",
)  # fmt: skip
SPEC = """\
name: hostile
title: "</title><script>document.title = 'taken over'</script> $style | <b>bold</b>"
input: 3x8x8
layers:
  - conv(4, 3)
  - relu
"""


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["report", *arguments])
    assert done.exit_code == code, done.exception
    return done.output


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["report", *arguments])
    assert isinstance(done.exception, ArchcostError)
    assert "\n" not in str(done.exception)
    return str(done.exception)


@pytest.fixture
def verification(tmp_path: Path) -> Path:
    """What `archcost verify` would print: one check passes, one fails, one is skipped."""
    good, bad, none = (Outcome("resnet18", group) for group in ("structure", "memory", "peaks"))
    good.add(Check("structure", "output shape", "stem.conv1", (1, 64, 112, 112), (1, 64, 112, 112)))
    bad.add(Check("memory", "saved bytes", "layer1.0.relu1", 100, 108))
    none.add(Check("peaks", "", "", 0, 0, skipped="no CUDA device"))
    path = tmp_path / "verification.json"
    path.write_text(json.dumps(results_record([good, bad, none], {"torch": "2.13.0"}, False)))
    return path


@pytest.fixture
def budgets(tmp_path: Path) -> Path:
    path = tmp_path / "budgets.toml"
    path.write_text('[budgets]\nresnet18 = ["macs <= 1.9G", "params <= 11M"]\n')
    return path


# The formats.


def test_html_stands_alone() -> None:
    page = run("alexnet", "resnet18")
    assert not re.search(r'(src|href)="(?!#|data:,")', page)
    assert not re.search(r"https?:|@import|url\(", page)
    assert page.count("<html") == page.count("</html>") == 1
    for figure in (
        "62,378,344",
        "11,689,512",
        "1,814,073,344",
        "two operations per multiply-accumulate",
    ):
        assert figure in page


def test_a_hostile_spec_stays_text(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC)
    page = run(str(spec), "--title", "<script>1</script>")
    assert page.count("<script>") == 1
    assert "&lt;script&gt;document.title" in page
    summary = next(
        line for line in run(str(spec), "--format", "markdown").splitlines() if "<summary>" in line
    )
    assert "script" not in summary


def test_twelve_models_are_quick_and_small(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    start = perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "archcost", "report", *TWELVE, "-o", str(target)], check=True
    )
    assert done.returncode == 0
    assert perf_counter() - start < 5 * SOON
    assert target.stat().st_size < 3_000_000
    text = target.read_text("utf-8")
    assert all(f'id="model-{name}"' in text for name in TWELVE)


def packed(page: str) -> list[str]:
    """Return the details of each model of a page on many."""
    packs = re.findall(r'<script type="text/plain" id="pack-\d+">(.*?)</script>', page)
    parts = [json.loads(zlib.decompress(base64.b64decode(pack))) for pack in packs]
    places = re.findall(r'data-pack="(\d+)" data-part="(\d+)"', page)
    return [parts[int(pack)][int(part)] for pack, part in places]


def test_a_page_on_many_models_holds_their_details_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    many = (*TWELVE, "lenet5")
    plain = run(*TWELVE)
    assert 'data-pack="' not in plain
    page = run(*many)
    details = packed(page)
    assert len(details) == len(many)
    assert len(page) < len(plain) / 4
    for name, text in zip(TWELVE, details, strict=False):
        section = plain.partition(f'id="model-{name}"')[2].partition("</details>")[0]
        assert text.count("<tr") > 20
        assert section.endswith(text.strip() + "\n")
        assert text not in page
    # the totals do not need a script
    for figure in ("62,378,344", "249.5 MB", "753.3 MB"):
        assert figure in page
    # packs are closed before they are large
    monkeypatch.setattr("archcost.report.html.PACK", 50_000)
    assert packed(run(*many)) == details


def test_columns_without_content_are_left_out() -> None:
    heads = re.findall(r"<button>(.*?)</button></th>", run("alexnet", "lenet5"))
    assert "top-1" not in heads
    assert "MACs" in heads
    lines = run("alexnet", "lenet5", "--format", "markdown").splitlines()
    assert "top-1" not in next(line for line in lines if line.startswith("| model"))


@pytest.mark.slow
def test_a_page_on_the_whole_catalog_is_small(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    run("--all", "-o", str(target))
    assert target.stat().st_size < 20_000 * len(catalog())


def test_a_page_says_what_memory_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(x: Any) -> Row:
        return Row(x.shape, x.strides, unknown="the peak is not known")

    monkeypatch.setitem(PRIMITIVES, "relu", replace(PRIMITIVES["relu"], row=unknown))
    spec = tmp_path / "net.yaml"
    spec.write_text("name: net\ninput: 3x8x8\nlayers:\n  - relu\n", "utf-8")
    assert "Not known: " in run(str(spec), "--format", "html")


def test_json_follows_its_schema(verification: Path, budgets: Path) -> None:
    arguments = ["--verification", str(verification), "--budgets", str(budgets)]
    data = json.loads(run("resnet18", "swin_t", *arguments, "--format", "json"))
    contract = contract_of("report")
    jsonschema.Draft202012Validator.check_schema(contract)
    jsonschema.validate(data, contract)
    table = CliRunner().invoke(cli, ["table", "resnet18", "--format", "json"]).output
    first = data["models"][0]
    assert {key: first[key] for key in json.loads(table)} == json.loads(table)
    assert [row["passed"] for row in first["verification"]] == [1, 0, 0]
    assert [row["holds"] for row in first["budgets"]] == [True, False]


def test_junit_has_a_case_for_each_figure_budget_and_check(
    verification: Path, budgets: Path
) -> None:
    arguments = ["--verification", str(verification), "--budgets", str(budgets)]
    root = ElementTree.fromstring(run("resnet18", "alexnet", *arguments, "--format", "junit"))
    suites = {suite.get("name"): suite for suite in root}
    cases = {
        (case.get("classname"), case.get("name")): [child.tag for child in case]
        for case in suites["resnet18"].iter("testcase")
    }
    assert cases["resnet18.budget", "macs <= 1.9G"] == []
    assert cases["resnet18.budget", "params <= 11M"] == ["failure"]
    assert cases["resnet18.verify", "structure"] == []
    assert cases["resnet18.verify", "memory"] == ["failure"]
    assert cases["resnet18.verify", "peaks"] == ["skipped"]
    assert cases["resnet18.audit", "params 11689512 (torchvision IMAGENET1K_V1)"] == []
    counted = [suites["resnet18"].get(key) for key in ("tests", "failures", "skipped")]
    assert counted == [str(len(cases)), "2", str(sum("skipped" in tags for tags in cases.values()))]
    # a wrong figure whose reason is known does not fail
    assert suites["alexnet"].get("failures") == "0"
    [failure] = [f for f in suites["resnet18"].iter("failure") if "saved" in str(f.text)]
    assert failure.get("message") == "layer1.0.relu1: saved bytes: expected 100, measured 108"


def test_markdown_folds_and_fits_a_comment(verification: Path, budgets: Path) -> None:
    arguments = ["--verification", str(verification), "--budgets", str(budgets)]
    text = run("resnet18", "resnet152", *arguments, "--format", "markdown")
    assert len(text) < 65_536  # what GitHub takes
    assert text.count("<details>") == text.count("</details>") == 3
    assert "<b>budget params &lt;= 11M is broken; check memory failed</b>" in text
    assert "| total " in text
    # Markdown begins anew only after an empty line
    assert all(line == "" for line in re.findall(r"</summary>\n(.*)\n", text))


def test_a_figure_is_the_same_in_all_formats() -> None:
    data = json.loads(run("mobilenet_v2", "--format", "json"))
    peak = data["models"][0]["memory"]["training"]["peak"]["bytes"]
    for format in ("html", "markdown"):
        assert f"{peak:,}" in run("mobilenet_v2", "--format", format)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name at least one model, or use --family or --all"),
        (["resnte18"], "unknown model 'resnte18'; did you mean 'resnet1"),
        (["resnet18", "--format", "htm"], "unknown format of a report 'htm'; did you mean 'html'?"),
        (["resnet18", "--verification", "no.json"], "no.json: No such file or directory"),
        (["resnet18", "--budgets", "no.toml"], "no.toml: No such file or directory"),
        (["resnet18", "-o", "/no/folder/page.html"], "cannot write /no/folder/page.html: No such file or directory"),
        (["resnet18", "--optimizer", "adan"], "unknown optimizer 'adan'; did you mean 'adam'?"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], reason: str) -> None:
    assert refused(*arguments).startswith(reason)


# Whose budgets they are.

NET = """\
name: net
input: 3x8x8
knobs: {width: 4}
layers:
  - conv(width, 3)
"""
NETS = NET.replace("name: net", "family: nets\nvariants: {narrow: {}, wide: {width: 8}}")


@pytest.mark.parametrize(
    ("models", "budget", "values"),
    # 3·3·3·w + w: 112 parameters for a width of 4, 224 for 8
    [
        (["net.yaml"], "net.yaml", [112]),
        (["./net.yaml"], "n*.yaml", [112]),
        (["{}/net.yaml", "alexnet"], "net.yaml", [112]),
        (["deep/../net.yaml"], "net.yaml", [112]),
        (["deep/nets.yaml::wide"], "deep/nets.yaml", [224]),
        (["deep/nets.yaml::wide", "deep/nets.yaml::narrow"], "**/nets.yaml", [224, 112]),
        (["deep/nets.yaml::wide"], "deep/nets.yaml::wide", [224]),
        (["net.yaml", "--set", "width=8"], "net.yaml", [224]),
    ],
)
def test_budgets_of_files_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: list[str], budget: str,
    values: list[int],
) -> None:  # fmt: skip
    (tmp_path / "deep").mkdir()
    (tmp_path / "net.yaml").write_text(NET)
    (tmp_path / "deep" / "nets.yaml").write_text(NETS)
    (tmp_path / "archcost.toml").write_text(f'[budgets]\n"{budget}" = "params <= 200"\n')
    monkeypatch.chdir(tmp_path)
    models = [model.format(tmp_path) for model in models]
    data = json.loads(run(*models, "--budgets", "archcost.toml", "--format", "json"))
    found = [row["value"] for model in data["models"] for row in model["budgets"]]
    assert found == values
    assert ("budget params &lt;= 200 is broken" in run(*models, "--budgets", "archcost.toml")) is (
        224 in values
    )
    # also from another folder
    monkeypatch.chdir(tmp_path / "deep")
    outer = [
        model if model.startswith(("/", "-", "alex", "width")) else f"../{model}"
        for model in models
    ]
    data = json.loads(run(*outer, "--budgets", "../archcost.toml", "--format", "json"))
    assert [row["value"] for model in data["models"] for row in model["budgets"]] == values


def test_a_file_of_the_catalog_is_the_model_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(__file__).resolve().parent.parent
    budgets = '[budgets]\n"specs/squeezenet.yaml" = "params <= 1M"\n'
    own = tmp_path / "specs" / "squeezenet.yaml"
    own.parent.mkdir()
    own.write_text(NET.replace("name: net", "name: squeezenet1_1"))
    (tmp_path / "archcost.toml").write_text(budgets)
    monkeypatch.chdir(tmp_path)
    assert refused("squeezenet1_1", "--budgets", "archcost.toml") == (
        "the budgets are for specs/squeezenet.yaml, and the report has none of these"
    )
    monkeypatch.chdir(root)
    (tmp_path / "archcost.toml").write_text(budgets.replace('"specs', f'"{root}/specs'))
    data = json.loads(
        run("squeezenet1_1", "--budgets", str(tmp_path / "archcost.toml"), "--format", "json")
    )
    assert [row["holds"] for row in data["models"][0]["budgets"]] == [False]


def test_networks_with_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.yaml").write_text(NET)
    (tmp_path / "new.yaml").write_text(NET.replace("width: 4", "width: 8"))
    monkeypatch.chdir(tmp_path)
    data = json.loads(run("net.yaml", "new.yaml", "alexnet", "--format", "json"))
    assert [model["model"] for model in data["models"]] == ["net.yaml", "new.yaml", "alexnet"]
    page = run("net.yaml", "new.yaml")
    assert 'id="model-net.yaml"' in page and 'id="model-new.yaml"' in page
    compared = CliRunner().invoke(
        cli, ["compare", "net.yaml", "new.yaml", "--baseline", "new.yaml", "--format", "json"]
    )
    found = json.loads(compared.output)
    assert found["baseline"] == "new.yaml"
    assert [model["model"] for model in found["models"]] == ["net.yaml", "new.yaml"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON: "),
        ("[]", "not a result of `archcost verify --format json`"),
        ('{"about": {}, "results": [{"model": "a"}]}', "a result lacks check"),
        (
            '{"schema": "archcost/verify/9", "about": {}, "results": []}',
            "is archcost/verify/9, not",
        ),
    ],
)
def test_a_broken_verification_is_refused(content: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text(content)
    assert refused("resnet18", "--verification", str(path)).startswith(f"{path}: {reason}")


def test_results_of_other_models_are_refused(verification: Path, budgets: Path) -> None:
    none = "and the report has none of these"
    assert (
        refused("alexnet", "--verification", str(verification))
        == f"the verification is for resnet18, {none}"
    )
    assert refused("alexnet", "--budgets", str(budgets)) == f"the budgets are for resnet18, {none}"


def test_the_old_report_stays_whole(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run("alexnet", "-o", str(page))
    before = page.read_bytes()
    refused("alexnet", "resnte18", "-o", str(page))
    assert page.read_bytes() == before
    assert list(tmp_path.iterdir()) == [page]


def test_every_input_has_a_row(tmp_path: Path) -> None:
    target, spec = tmp_path / "page.html", tmp_path / "net.yaml"
    spec.write_text("name: net\ninputs: {a: 3x8x8, b: 3x8x8}\nlayers:\n  - add(a, b)\n", "utf-8")
    run(str(spec), "-o", str(target))
    page = target.read_text("utf-8")
    assert [f"<td>{name}" in page for name in ("a", "b")] == [True, True]


def test_a_page_on_many_layers_without_groups_has_no_bars(tmp_path: Path) -> None:
    target, spec = tmp_path / "page.html", tmp_path / "net.yaml"
    text = "name: net\ninput: 3x8x8\nlayers:\n" + "  - conv(3, 1)\n" * 161
    spec.write_text(text, "utf-8")
    run(str(spec), "-o", str(target))
    assert "conv161" in target.read_text("utf-8")
