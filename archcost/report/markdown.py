"""The page as Markdown: for a comment on a pull request or the summary of a CI job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from html import escape

from archcost.report.page import Page, Section, filled
from archcost.table import Table
from archcost.units import human, human_bytes

MOST_ROWS = 40


def markdown(page: Page, sections: Iterable[Section] = ()) -> str:
    """Return the comparison, and each model folded away; every table has at most 40 rows or so.

    ``sections`` are the page's, where somebody counts how far this is.
    """
    lines = [f"## {page.title}", "", _render(page.comparison.table()), ""]
    for section in sections or page.sections:
        lines += _section(section)
    lines += ["<details><summary>How it was counted</summary>", ""]
    lines += [f"- **{name}**: {words}" for name, words in page.conventions()]
    if page.verified:
        lines.append("- **verified with**: " + _pairs(page.verified.items()))
    lines += ["- **versions**: " + _pairs(page.versions().items()), "", "</details>"]
    return "\n".join(lines)


def _render(table: Table) -> str:
    return filled(table).render("markdown")


def _pairs(items: object) -> str:
    return ", ".join(f"{name} {value}" for name, value in items)  # type: ignore[attr-defined]


def _section(section: Section) -> Iterator[str]:
    total = section.report.total
    summary = (
        f"<b>{escape(section.name)}</b>: {human(total.params)} parameters, "
        f"{human(total.counted)} {section.report.convention.unit}s, "
        f"{human_bytes(total.activation_bytes)} of activations"
    )
    if section.failed:
        summary += f"; <b>{escape('; '.join(section.failed))}</b>"
    yield from (f"<details><summary>{summary}</summary>", "")
    if section.budgets:
        yield from ("**Budgets**", "", _render(section.budget_table()), "")
    yield from (_render(_layers(section)), "")
    if section.no_memory:
        yield from (f"Memory: {section.no_memory}", "")
    else:
        yield from (_render(section.memory_table), "")
    if section.audit.findings:
        yield from ("**Published figures**", "", _render(section.audit.table()), "")
    if section.checks:
        yield from ("**Verification**", "", _render(section.check_table()), "")
    yield from ("</details>", "")


def _layers(section: Section) -> Table:
    """Return the layers, with groups folded as far as that takes to be short."""
    report = section.report
    deepest = max((row.path.count(".") for row in report.rows), default=0) + 1
    other = ("counted",) if report.convention.name not in ("macs", "flops") else ()
    columns = ("name", "op", "settings", "output", "params", "macs", *other, "activations")
    table = report.table(columns)
    for depth in range(deepest, 0, -1):
        table = report.table(columns, depth)
        if len(table.rows) <= MOST_ROWS:
            break
    return replace(table, title="")
