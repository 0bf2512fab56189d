"""The page of the report in a real browser."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import start_browser
from test_report_page import SPEC, TWELVE, run


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
