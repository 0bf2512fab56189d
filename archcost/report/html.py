"""The page as HTML that stands alone: style, script and charts are inside, nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files
from string import Template

from archcost.memory.footprint import where
from archcost.plot.picture import Picture
from archcost.plot.svg import legend, svg
from archcost.report.page import Page, Section
from archcost.shape import show
from archcost.table import Table, show_cell
from archcost.units import human, human_bytes

OPEN = 2  # up to that many models are unfolded from the start
LONG = 48  # characters from which a cell of words may run over several lines


def html(page: Page) -> str:
    """Return the page."""
    folder = files("archcost.report")

    def part(name: str) -> str:
        return (folder / name).read_text("utf-8").rstrip()

    return Template(part("page.html")).substitute(
        version=escape(page.versions()["archcost"]),
        title=escape(page.title),
        style=part("page.css"),
        script=part("page.js"),
        body="\n".join(_body(page)),
    )


def _body(page: Page) -> Iterator[str]:
    links = " ".join(
        f'<a href="#{_anchor(section)}">{escape(section.name)}</a>' for section in page.sections
    )
    yield f"<header><h1>{escape(page.title)}</h1>"
    yield f'<nav aria-label="models">{links} <a href="#how">how it was counted</a></nav></header>'
    yield "<main>"
    if len(page.sections) > 1:
        yield "<h2>Side by side</h2>"
        yield from _table(page.comparison.table(), "compare")
    if page.scatter and len(page.sections) > 1:
        yield from _figure(page.scatter)
    if len(page.sections) > OPEN:
        yield (
            '<h2>Models</h2><p class="tools"><button data-all="open">open all</button>'
            '<button data-all="">close all</button></p>'
        )
    for section in page.sections:
        yield from _section(section, len(page.sections) <= OPEN)
    yield "</main>"
    yield '<footer id="how"><h2>How it was counted</h2><dl class="how">'
    for name, words in page.conventions():
        yield f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>"
    if page.verified:
        pairs = ", ".join(f"{name} {value}" for name, value in page.verified.items())
        yield f"<dt>verified with</dt><dd>{escape(pairs)}</dd>"
    pairs = ", ".join(f"{name} {value}" for name, value in page.versions().items())
    yield f"<dt>versions</dt><dd>{escape(pairs)}</dd></dl></footer>"


def _anchor(section: Section) -> str:
    return "model-" + "".join(c if c.isalnum() or c in "_-." else "-" for c in section.name)


def _section(section: Section, unfolded: bool) -> Iterator[str]:
    report, network = section.report, section.report.network
    total = report.total
    line = f"{human(total.params)} parameters, {human(total.counted)} {report.convention.unit}s"
    state = " open" if unfolded else ""
    yield f'<details class="model" id="{_anchor(section)}"{state}>'
    yield f"<summary>{escape(network.name)}<span>{escape(line)}</span></summary>"
    about = [network.title, network.paper, str(network.year or ""), f"input {show(network.input)}"]
    yield f'<p class="faint">{escape("; ".join(part for part in about if part))}</p>'
    for words in section.failed:
        yield f'<p class="wrong">{escape(words)}</p>'
    yield from _tiles(section)
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
        yield from _table(section.footprint.table(), "memory")
    if section.audit.findings:
        yield "<h3>Published figures</h3>"
        yield from _table(section.audit.table(), "audit")
    if section.checks:
        yield "<h3>Verification</h3>"
        yield from _table(section.check_table(), "checks")
    yield "</details>"


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
    yield f"<figure>{legend(content)}{svg(content, content.title)}"
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


def _table(table: Table, kind: str) -> Iterator[str]:
    """Yield a table whose columns sort."""
    yield f'<div class="scroll"><table class="{kind}">{_head(table)}<tbody>'
    for row in table.rows:
        cells = []
        for column, cell in zip(table.columns, row, strict=True):
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
    """Yield the per-layer table, whose groups fold."""
    table = section.layer_table()
    levels = [0, *(entry.level for entry in section.report.entries())]
    groups = [False, *(entry.layer is None for entry in section.report.entries())]
    if any(groups):
        yield (
            '<p class="tools"><button data-fold="open">unfold groups</button>'
            '<button data-fold="close">fold groups</button></p>'
        )
    yield f'<div class="scroll tall"><table class="layers">{_head(table)}<tbody>'
    for row, level, group in zip(table.rows, levels, groups, strict=True):
        name = escape(show_cell(row[0]))
        depth = f' class="d{min(level, 5)}"' if level else ""
        first = f'<button aria-expanded="true">{name}</button>' if group else name
        rest = "".join(
            f"<td{_side(column.numeric)}>{escape(show_cell(cell))}</td>"
            for column, cell in zip(table.columns[1:], row[1:], strict=True)
        )
        yield f"<tr{' class=group' if group else ''}><td{depth}>{first}</td>{rest}</tr>"
    yield "</tbody>"
    yield from _foot(table)
    yield "</table></div>"
    yield f'<p class="notes">{escape(section.report.note)}</p>'
