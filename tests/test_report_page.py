"""The report: one page in four formats, and what it does in a real browser."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from browser import start_browser
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


# In a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with the page on twelve models, opened from the file."""
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    page = tmp_path_factory.mktemp("page") / "page.html"
    run(*TWELVE, "-o", str(page))
    driver.get(page.as_uri())
    yield driver
    logged = driver.get_log("browser")
    driver.quit()
    assert logged == []


def texts(browser: Any, table: str, column: int) -> list[str]:
    """Return what the visible rows of a table say in a column."""
    script = """return [...document.querySelector(arguments[0]).tBodies[0].rows]
        .filter(row => !row.hidden).map(row => row.cells[arguments[1]].textContent.trim())"""
    return browser.execute_script(script, table, column)


def click(browser: Any, selector: str, index: int = 0) -> None:
    script = "document.querySelectorAll(arguments[0])[arguments[1]].click()"
    browser.execute_script(script, selector, index)


@pytest.mark.browser
def test_nothing_is_fetched(browser: Any) -> None:
    found = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in found if not name.startswith("data:")] == []
    assert browser.title.startswith("What they cost: alexnet")


@pytest.mark.browser
def test_columns_sort(browser: Any) -> None:
    before = texts(browser, "table.compare", 1)
    numbers = sorted((int(text.replace(",", "")) for text in before), reverse=True)
    head = "table.compare thead button"
    click(browser, head, 1)
    assert [int(text.replace(",", "")) for text in texts(browser, "table.compare", 1)] == numbers
    assert browser.execute_script(
        "return document.querySelectorAll('table.compare th')[1].ariaSort"
    ) == "descending"  # fmt: skip
    click(browser, head, 1)
    assert texts(browser, "table.compare", 1)[0] == f"{numbers[-1]:,}"
    click(browser, head, 1)
    assert texts(browser, "table.compare", 1) == before
    click(browser, head, 0)
    names = texts(browser, "table.compare", 0)
    assert names[0] == "vgg16"
    assert names[-1] == "alexnet"
    click(browser, head, 0)
    click(browser, head, 0)


@pytest.mark.browser
def test_groups_fold_and_sorting_shows_layers_only(browser: Any) -> None:
    table = "#model-resnet50 table.layers"
    folded = texts(browser, table, 0)
    assert folded == ["input", "stem", "layer1", "layer2", "layer3", "layer4", "head"]
    click(browser, f"{table} tr.group button")
    opened = texts(browser, table, 0)
    assert opened[:6] == [
        "input",
        "stem",
        "stem.conv1",
        "stem.batchnorm1",
        "stem.relu1",
        "stem.maxpool1",
    ]
    click(browser, f"{table} tr.group button")
    assert texts(browser, table, 0) == folded
    click(browser, "#model-resnet50 [data-fold=open]")
    assert len(texts(browser, table, 0)) > 175
    click(browser, "#model-resnet50 [data-fold=close]")
    click(browser, f"{table} thead button", 4)
    by_params = texts(browser, table, 0)
    assert by_params[0] in ("layer4.0.body.conv2", "layer4.1.body.conv2", "layer4.2.body.conv2")
    assert "layer4" not in by_params
    click(browser, f"{table} thead button", 4)
    click(browser, f"{table} thead button", 4)
    assert texts(browser, table, 0) == folded


@pytest.mark.browser
def test_the_pointer_is_told_what_is_under_it(browser: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    browser.execute_script("document.getElementById('model-vgg16').open = true")
    bar = browser.find_element(By.CSS_SELECTOR, "#model-vgg16 rect[data-tip*='CONV3-64.conv2']")
    ActionChains(browser).move_to_element(bar).perform()
    tip = browser.find_element(By.ID, "tip").text
    assert tip.startswith(
        "CONV3-64.conv2: conv 3x3, pad 1, output 64x224x224; 12,845,056 bytes, 36,928"
    )
    area = browser.find_element(By.CSS_SELECTOR, "#model-vgg16 path[data-tips]")
    ActionChains(browser).move_to_element(area).perform()
    assert re.fullmatch(
        r"(forward|backward) of (\S+|the loss): [\d,]+ bytes",
        browser.find_element(By.ID, "tip").text,
    )
    ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h1")).perform()
    assert browser.find_element(By.ID, "tip").text == ""


@pytest.mark.browser
def test_a_link_opens_its_model(browser: Any) -> None:
    part = "return document.getElementById('model-densenet121').open"
    assert not browser.execute_script(part)
    click(browser, "a[href='#model-densenet121']")
    browser.execute_async_script("setTimeout(arguments[0], 100)")
    assert browser.execute_script(part)


@pytest.mark.browser
def test_light_and_dark_are_readable(browser: Any) -> None:
    papers = {}
    for scheme in ("light", "dark"):
        wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
        script = "const s = getComputedStyle(document.querySelector(arguments[0])); return s[arguments[1]]"
        papers[scheme] = light(browser.execute_script(script, "body", "backgroundColor"))
        for selector, key in (
            ("body", "color"), ("figcaption", "color"), ("nav a", "color"), (".chart text", "fill"),
            (".exact", "color"), (".wrong", "color"),
        ):  # fmt: skip
            ink = light(browser.execute_script(script, selector, key))
            high, low = max(ink, papers[scheme]), min(ink, papers[scheme])
            assert (high + 0.05) / (low + 0.05) >= 4.5, (scheme, selector)
    assert papers["light"] > 0.9
    assert papers["dark"] < 0.05


def light(colour: str) -> float:
    """Return the relative luminance of ``rgb(r, g, b)`` (WCAG 2)."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.browser
def test_paper_shows_all_models(browser: Any) -> None:
    opened = "return document.querySelectorAll('details.model[open]').length"
    before = browser.execute_script(opened)
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(opened) == len(TWELVE)
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(opened) == before
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


@pytest.mark.browser
def test_what_groups_do_not_have_is_not_a_column(browser: Any) -> None:
    script = """return [...document.querySelector(arguments[0]).tHead.rows[0].cells]
        .filter(cell => cell.offsetWidth).map(cell => cell.textContent)"""
    table = "#model-resnet50 table.layers"
    browser.execute_script("document.getElementById('model-resnet50').open = true")
    folded = ["layer", "output", "params", "MACs", "FLOPs", "activations", "bytes"]
    assert browser.execute_script(script, table) == folded
    click(browser, "#model-resnet50 [data-fold=open]")
    assert {"op", "settings", "receptive field"} < set(browser.execute_script(script, table))
    click(browser, "#model-resnet50 [data-fold=close]")


@pytest.mark.browser
def test_it_fits_a_phone_and_uses_a_wide_screen(browser: Any) -> None:
    look = """document.querySelectorAll('details.model').forEach(part => part.open = true);
    const size = chart => parseFloat(getComputedStyle(chart).fontSize)
        * chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
    return {page: document.documentElement.scrollWidth,
        text: Math.min(...[...document.querySelectorAll('.chart text')].map(text =>
            size(text.ownerSVGElement) * parseFloat(getComputedStyle(text).fontSize)
            / parseFloat(getComputedStyle(text.ownerSVGElement).fontSize))),
        cut: [...document.querySelectorAll('table.layers')]
            .filter(t => t.offsetWidth > t.parentElement.clientWidth).length}"""
    try:
        for width in (375, 768, 1280, 1920):
            metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            found = browser.execute_script(look)
            assert found["page"] <= width
            assert found["text"] >= 9
            assert width < 1280 or found["cut"] == 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        script = "document.querySelectorAll('details.model').forEach(part => part.open = false)"
        browser.execute_script(script)


@pytest.mark.browser
def test_details_of_many_models_open_on_demand(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "many.html"
    run(*TWELVE, "lenet5", "-o", str(page))
    here = browser.current_url
    browser.get(page.as_uri())
    count = "return document.querySelectorAll('table.layers').length"
    assert browser.execute_script(count) == 0
    wait = "setTimeout(arguments[0], 700)"
    click(browser, "a[href='#model-resnet50']")
    browser.execute_async_script(wait)
    assert browser.execute_script(count) == 1
    shown = texts(browser, "#model-resnet50 table.layers", 0)
    assert shown == ["input", "stem", "layer1", "layer2", "layer3", "layer4", "head"]
    browser.execute_script("document.getElementById('model-lenet5').open = true")
    browser.execute_async_script(wait)
    assert browser.execute_script(count) == 2
    # the filter leaves rows and models, also after sorting
    browser.execute_script(
        "const box = document.getElementById('filter'); box.value = 'RESNET 5';"
        "box.dispatchEvent(new Event('input'))"
    )
    found = texts(browser, "table.compare", 0)
    click(browser, "table.compare thead button", 1)
    assert sorted(texts(browser, "table.compare", 0)) == sorted(found)
    assert {"resnet50", "resnet152"} <= set(found)
    assert "alexnet" not in found
    browser.get(here)


@pytest.mark.browser
def test_a_hostile_spec_runs_nothing(browser: Any, tmp_path: Path) -> None:
    spec, page = tmp_path / "spec.yaml", tmp_path / "page.html"
    spec.write_text(SPEC)
    run(str(spec), "-o", str(page))
    here = browser.current_url
    browser.get(page.as_uri())
    assert browser.title == "What hostile costs"
    assert browser.execute_script("return document.scripts.length") == 1
    browser.get(here)


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
