"""The docs site: it builds without a warning, is complete, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import click
import pytest
from browser import start_browser
from examples import ROOT

from archcost import __all__ as public_names
from archcost.cli import COMMANDS, cli
from archcost.conventions import ACTIVATIONS, CONVENTIONS
from archcost.ops import OPS

pytest.importorskip("mkdocs", reason="mkdocs is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def words(page: Path) -> str:
    """Return the text of a page as a reader sees it."""
    return unescape(re.sub(r"<[^>]*>", "", page.read_text("utf-8")))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_with_all_its_options(site: Path, name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    text = words(site / "commands" / f"{name}.html")
    context, all_of = click.Context(command), [command]
    if isinstance(command, click.Group):
        inner = [command.get_command(context, each) for each in command.list_commands(context)]
        all_of += [each for each in inner if each]
    params = [param for each in all_of for param in each.params]
    options = [option for param in params for option in param.opts if option[0] == "-"]
    assert options
    assert [option for option in options if option not in text] == []
    assert f'href="{name}.html"' in (site / "commands" / "index.html").read_text("utf-8")


def headings(page: Path) -> set[str]:
    return set(re.findall(r'<h[2-4] id="([^"]+)"', page.read_text("utf-8")))


def test_every_op_and_convention_has_its_place(site: Path) -> None:
    assert set(OPS) <= headings(site / "ops.html")
    assert set(CONVENTIONS) <= headings(site / "conventions.html")
    assert set(ACTIVATIONS) <= set(words(site / "conventions.html").split())


def test_every_public_name_is_described(site: Path) -> None:
    names = {heading.rpartition(".")[2] for heading in headings(site / "library.html")}
    assert set(public_names) <= names


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="((?:https?:)?//[^"]+)"')
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(COMMANDS)
    assert {page.name: found for page in pages if (found := loads.findall(page.read_text()))} == {}
    styles = [sheet.read_text("utf-8") for sheet in site.rglob("*.css")]
    assert [found for sheet in styles for found in re.findall(r"url\(https?://[^)]+", sheet)] == []


def test_every_command_output_on_the_site_is_an_example_that_is_run(site: Path) -> None:
    """What the site shows of a session comes from pages whose examples are compared."""
    from examples import every_example

    known = {example.command for example in every_example()}
    shown = [
        line.removeprefix("$ ")
        for page in site.rglob("*.html")
        for line in words(page).splitlines()
        if line.startswith("$ ")
    ]
    assert len(shown) >= len(known)
    assert set(shown) <= known


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_is_prose_on_its_page(site: Path, name: str) -> None:
    """An indented paragraph of the help would become a block of code."""
    page = (site / "commands" / f"{name}.html").read_text("utf-8")
    intro, _, _ = page.partition("<h1")[2].partition(f"archcost {name} [")
    assert intro.count("<pre") == 1  # the usage


def test_the_site_holds_no_compiled_python(site: Path) -> None:
    assert [*(ROOT / "docs").rglob("*.py")]  # what makes the pages
    assert [*site.rglob("*.py*")] == []


def test_search_needs_no_server_and_nothing_from_elsewhere(site: Path) -> None:
    for page in (site / "index.html", site / "commands" / "table.html"):
        scripts = re.findall(r'<script src="([^"]+)"', page.read_text("utf-8"))
        assert any(script.endswith("iframe-worker.js") for script in scripts)
        assert all((page.parent / script).is_file() for script in scripts)
    index = (site / "search" / "search_index.js").read_text("utf-8")
    assert index.startswith("var __index = {") and "saved for backward" in index


@pytest.mark.browser
def test_search_finds_a_page_in_a_folder(site: Path, tmp_path: Path) -> None:
    browser = start_browser(tmp_path)
    try:
        browser.get((site / "tutorial.html").as_uri())
        browser.execute_script("document.querySelector('[for=__search]').click()")
        browser.implicitly_wait(10)  # until the index is read
        browser.find_element("css selector", "[name=query]").send_keys("cuBLAS workspace")
        [first, *_] = browser.find_elements("css selector", ".md-search-result__link")
        assert "memory.html" in first.get_attribute("href")
    finally:
        browser.quit()


@pytest.mark.browser
@pytest.mark.parametrize("page", ["index", "memory", "ops", "commands/table"])
def test_a_page_is_not_wider_than_a_phone(site: Path, tmp_path: Path, page: str) -> None:
    browser = start_browser(tmp_path)
    try:
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        browser.get((site / f"{page}.html").as_uri())
        widest = (
            "return Math.max(...[...document.querySelectorAll('.md-content p, .md-content h1')]"
        )
        widest += ".map(part => part.getBoundingClientRect().right))"
        assert 0 < browser.execute_script(widest) <= 390
        assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    finally:
        browser.quit()
