"""The page as HTML that stands alone: style, script and charts are inside, nothing is fetched.

A page on many models holds what is said of each in packs, which its script opens on demand: JSON
lists of HTML, compressed and in base64. Without a script, such a page shows the totals.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template

from archcost.pictures.picture import Picture
from archcost.pictures.svg import legend, svg
from archcost.report.page import Page, Section, filled
from archcost.storage.footprint import where
from archcost.table import Table, show_cell
from archcost.units import human, human_bytes

OPEN = 2  # up to that many models are unfolded from the start
FEW = 12  # up to that many models are in the page as they are; of more, the details are packed
PACK = 1_500_000  # characters of HTML in a pack: models of a family share much
LONG = 48  # characters from which a cell of words may run over several lines


def html(page: Page, sections: Iterable[Section] = ()) -> str:
    """Return the page; ``sections`` are its own, where somebody counts how far this is."""
    folder = files("archcost.report")

    def part(name: str) -> str:
        return (folder / name).read_text("utf-8").rstrip()

    return Template(part("page.html")).substitute(
        version=escape(page.versions()["archcost"]),
        title=escape(page.title),
        style=part("page.css"),
        script=part("page.js"),
        body="\n".join(_body(page, sections or page.sections)),
    )


def _body(page: Page, sections: Iterable[Section]) -> Iterator[str]:
    count = len(page.sections)
    packs = _Packs() if count > FEW else None
    links = [
        f'<a href="#{_anchor(section)}">{escape(section.name)}</a>' for section in page.sections
    ]
    yield f"<header><h1>{escape(page.title)}</h1>"
    yield f'<nav aria-label="models">{"" if packs else " ".join(links)}'
    yield '<a href="#how">how it was counted</a></nav></header>'
    yield "<main>"
    if packs:
        yield '<p class="tools"><input type="search" id="filter" placeholder="filter models"></p>'
        yield "<noscript><p>The details of each model open with JavaScript.</p></noscript>"
    if count > 1:
        yield "<h2>Side by side</h2>"
        yield from _table(page.comparison.table(), "compare", links, tall=bool(packs))
    if page.scatter and count > 1:
        yield from _figure(page.scatter)
    elif count > 1:
        yield (
            '<p class="faint">There is no chart of accuracy: fewer than two of these models have a '
            "published one, on the same data.</p>"
        )
    if count > OPEN:
        # what is packed is opened one by one
        yield f'<h2>Models</h2><p class="tools">{"" if packs else OPEN_ALL}{CLOSE_ALL}</p>'
    for section in sections:
        yield from _section(section, count <= OPEN, packs)
    yield "</main>"
    yield '<footer id="how"><h2>How it was counted</h2><dl class="how">'
    for name, words in page.conventions():
        yield f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>"
    if page.verified:
        pairs = ", ".join(f"{name} {value}" for name, value in page.verified.items())
        yield f"<dt>verified with</dt><dd>{escape(pairs)}</dd>"
    pairs = ", ".join(f"{name} {value}" for name, value in page.versions().items())
    yield f"<dt>versions</dt><dd>{escape(pairs)}</dd></dl></footer>"
    yield from packs.scripts() if packs else ()


OPEN_ALL = '<button data-all="open">open all</button>'
CLOSE_ALL = '<button data-all="">close all</button>'


class _Packs:
    """The details of models, packed; those of about :data:`PACK` characters together."""

    def __init__(self) -> None:
        self.packed: list[str] = []
        self.texts: list[str] = []

    def add(self, text: str) -> str:
        """Take the details of a model; return the element that they will replace."""
        place = f'<div data-pack="{len(self.packed)}" data-part="{len(self.texts)}"></div>'
        self.texts.append(text)
        if sum(map(len, self.texts)) > PACK:
            self._close()
        return place

    def _close(self) -> None:
        data = zlib.compress(json.dumps(self.texts, ensure_ascii=False).encode(), 9)
        self.packed.append(b64encode(data).decode())
        self.texts = []

    def scripts(self) -> Iterator[str]:
        """Yield the packs as elements that are not code."""
        if self.texts:
            self._close()
        for i, pack in enumerate(self.packed):
            yield f'<script type="text/plain" id="pack-{i}">{pack}</script>'


def _anchor(section: Section) -> str:
    return "model-" + "".join(c if c.isalnum() or c in "_-." else "-" for c in section.name)


def _section(section: Section, unfolded: bool, packs: _Packs | None) -> Iterator[str]:
    report, network = section.report, section.report.network
    total = report.total
    line = f"{human(total.params)} parameters, {human(total.counted)} {report.convention.unit}s"
    state = " open" if unfolded else ""
    yield f'<details class="model" id="{_anchor(section)}"{state}>'
    yield f"<summary>{escape(network.name)}<span>{escape(line)}</span></summary>"
    about = [network.title, network.paper, str(network.year or ""), f"input {network.input_text}"]
    yield f'<p class="faint">{escape("; ".join(part for part in about if part))}</p>'
    for words in section.failed:
        yield f'<p class="wrong">{escape(words)}</p>'
    yield from _tiles(section)
    details = _details(section)
    if packs:
        yield packs.add("\n".join(details))
    else:
        yield from details
    yield "</details>"


def _details(section: Section) -> Iterator[str]:
    if section.budgets:
        yield "<h3>Budgets</h3>"
        yield from _table(section.budget_table(), "budgets")
    yield "<h3>Layers</h3>"
    if section.bars:
        yield from _figure(section.bars)
    yield from _layers(section)
    yield "<h3>Memory</h3>"
    if section.no_memory:
        yield f"<p>Not known: {escape(section.no_memory)}</p>"
    else:
        if section.timeline:
            yield from _figure(section.timeline)
        yield from _table(section.memory_table, "memory")
    if section.audit.findings:
        yield "<h3>Published figures</h3>"
        yield from _table(section.audit.table(), "audit")
    if section.checks:
        yield "<h3>Verification</h3>"
        yield from _table(section.check_table(), "checks")


def _tiles(section: Section) -> Iterator[str]:
    """Yield the figures at a glance; the exact count is under each."""
    report, total = section.report, section.report.total
    price = report.convention
    named = "" if price.name == "flops" else f" as {price.name} counts"
    counted = f"{price.unit}s{named}"
    tiles = [
        ("parameters", human(total.params), f"{total.params:,}"),
        ("size", human_bytes(total.param_bytes), f"{total.param_bytes:,} bytes"),
        ("MACs", human(total.macs), f"{total.macs:,}"),
        (counted, human(total.counted), f"{total.counted:,}"),
        ("activations", human_bytes(total.activation_bytes), f"{total.activations:,} values"),
        ("layers", str(report.weight_layers), "convolutions and linear, longest path"),
    ]
    if not section.no_memory:
        training, inference = section.footprint.training.peak, section.footprint.inference.peak
        tiles += [
            ("training peak", human_bytes(training.total), where(training)),
            ("inference peak", human_bytes(inference.total), where(inference)),
        ]
    yield '<dl class="tiles">'
    for name, value, exact in tiles:
        yield (
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(exact)}</small></dd></div>"
        )
    yield "</dl>"


def _figure(content: Picture) -> Iterator[str]:
    yield f'<figure>{legend(content)}<div class="pan">{svg(content, content.title)}</div>'
    yield f"<figcaption>{escape(content.caption)}</figcaption></figure>"


def _head(table: Table) -> str:
    cells = (
        f'<th{_side(column.numeric)} aria-sort="none">'
        f"<button>{escape(column.heading)}</button></th>"
        for column in table.columns
    )
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _side(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _foot(table: Table) -> Iterator[str]:
    if table.footer:
        yield "<tfoot>"
        for row in table.footer:
            cells = "".join(
                f"<th{_side(column.numeric)}>{escape(show_cell(cell))}</th>"
                for column, cell in zip(table.columns, row, strict=True)
            )
            yield f"<tr>{cells}</tr>"
        yield "</tfoot>"


def _table(table: Table, kind: str, links: Sequence[str] = (), tall: bool = False) -> Iterator[str]:
    """Yield a table whose columns sort; ``links`` are the first cells."""
    table = filled(table)
    frame = "scroll tall" if tall else "scroll"
    yield f'<div class="{frame}"><table class="{kind}">{_head(table)}<tbody>'
    for i, row in enumerate(table.rows):
        cells = [f"<td>{links[i]}</td>"] if links else []
        for column, cell in list(zip(table.columns, row, strict=True))[len(cells) :]:
            words = show_cell(cell)
            style = "n" if column.numeric else "wide" if len(words) > LONG else ""
            if column.key == "verdict":
                style = words.replace(" ", "-")
            cells.append(
                f"<td{f' class={chr(34)}{style}{chr(34)}' if style else ''}>{escape(words)}</td>"
            )
        yield f"<tr{_failed(table, row)}>{''.join(cells)}</tr>"
    yield "</tbody>"
    yield from _foot(table)
    yield "</table></div>"
    if table.notes:
        yield f'<p class="notes">{"<br>".join(map(escape, table.notes))}</p>'


def _failed(table: Table, row: tuple[object, ...]) -> str:
    cells = {column.key: cell for column, cell in zip(table.columns, row, strict=True)}
    failed = cells.get("run") != cells.get("passed") or bool(cells.get("over"))
    return ' class="failed"' if failed else ""


def _layers(section: Section) -> Iterator[str]:
    """Yield the per-layer table, whose groups fold; the columns from a place on are numbers."""
    table = filled(section.layer_table())
    entries = [*section.report.entries()]
    if any(entry.layer is None for entry in entries):
        yield (
            '<p class="tools"><button data-fold="open">unfold groups</button>'
            '<button data-fold="close">fold groups</button></p>'
        )
    words = next(i for i, column in enumerate(table.columns) if column.numeric)
    head, style = _head(table), f"layers words{words}"
    yield f'<div class="scroll tall"><table class="{style}">{head}<tbody>'
    inputs = len(section.report.network.inputs)
    for row in table.rows[:inputs]:
        yield "<tr>" + "".join(f"<td>{escape(show_cell(cell))}" for cell in row)
    for row, entry in zip(table.rows[inputs:], entries, strict=True):
        depth = f" class=d{min(entry.level, 5)}" if entry.level else ""
        name = escape(entry.path)
        start = f"<tr><td{depth}>{name}"
        if entry.layer is None:
            start = f"<tr class=group><td{depth}><button aria-expanded=true>{name}</button>"
        # most of a page is these cells: what ends is implied, as HTML has it
        rest = [
            f"<td>{cell:,}" if isinstance(cell, int) else f"<td>{escape(show_cell(cell))}"
            for cell in row[1:]
        ]
        yield start + "".join(rest)
    yield "</tbody>"
    yield from _foot(table)
    yield "</table></div>"
    yield f'<p class="notes">{"<br>".join(map(escape, section.report.notes))}</p>'
