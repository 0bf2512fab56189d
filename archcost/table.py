"""A table of plain cells, and the formats in which it is written: one function each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from archcost.errors import LookupFailed

Cell = int | float | str | bool | None | Fraction


@dataclass(frozen=True)
class Column:
    """A column: its key in data formats, its heading for people, and how it reads.

    A narrow terminal leaves out ``minor`` columns first.
    """

    key: str
    heading: str
    numeric: bool = False
    minor: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with total rows at the foot and notes below."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    footer: tuple[tuple[Cell, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def render(self, format: str) -> str:
        """Return the table as text.

        Raises:
            LookupFailed: an unknown format, with the nearest name.
        """
        if format not in FORMATS:
            raise LookupFailed("format", format, FORMATS)
        return FORMATS[format](self)

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows as mappings from column key to cell; numbers stay numbers."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def shown(self) -> list[list[str]]:
        """Return all rows, the footer last, as people read them."""
        return [[show_cell(cell) for cell in row] for row in (*self.rows, *self.footer)]


def folded(summary: str, body: str) -> str:
    """Return Markdown that GitHub and GitLab show folded under a line of summary."""
    from html import escape

    return f"<details><summary>{escape(summary)}</summary>\n\n{body}\n\n</details>"


def show_cell(cell: Cell) -> str:
    """Return a cell for people: thousands separated, nothing for None."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{int(cell):,}"
    if isinstance(cell, (float, Fraction)):
        return f"{float(cell):,.4g}"
    return cell


FORMATS: dict[str, Callable[[Table], str]] = {}
"""Every format by its name on the command line."""


def fmt(name: str) -> Callable[[Callable[[Table], str]], Callable[[Table], str]]:
    """Register a function as the format ``name``."""

    def register(function: Callable[[Table], str]) -> Callable[[Table], str]:
        FORMATS[name] = function
        return function

    return register


@fmt("text")
def text(table: Table) -> str:
    """Plain columns, for pipes and narrow terminals."""
    headings = [column.heading for column in table.columns]
    body = [[show_cell(cell) for cell in row] for row in table.rows]
    foot = [[show_cell(cell) for cell in row] for row in table.footer]
    widths = [max(map(len, column)) for column in zip(headings, *body, *foot, strict=True)]
    rule = "  ".join("-" * width for width in widths)

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(cells, widths, table.columns, strict=True)
        ]
        return "  ".join(parts).rstrip()

    lines = [line(headings), rule, *map(line, body), *([rule] if foot else []), *map(line, foot)]
    return "\n".join(([table.title, ""] if table.title else []) + lines + _notes(table))


@fmt("markdown")
def markdown(table: Table) -> str:
    """A pipe table, as GitHub renders it."""
    lines = [f"**{table.title}**", ""] if table.title else []
    rows = [[cell.replace("|", r"\|") for cell in row] for row in table.shown()]
    return "\n".join([*lines, _tabulate(table, rows, "pipe"), *_notes(table)])


@fmt("csv")
def comma_separated(table: Table) -> str:
    """Comma-separated values with plain numbers and column keys, without the footer."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    writer.writerows(table.rows)
    return out.getvalue().rstrip("\n")


@fmt("json")
def records(table: Table) -> str:
    """A list of records with plain numbers; commands with a contract of their own replace it."""
    return json.dumps(table.records(), indent=2, ensure_ascii=False)


def _caption(table: Table) -> str:
    return "; ".join(text for text in (table.title, *table.notes) if text)


@fmt("html")
def html(table: Table) -> str:
    """One HTML table with caption and foot."""
    from html import escape

    def row(cells: Sequence[str], tag: str) -> str:
        sides = ["right" if column.numeric else "left" for column in table.columns]
        parts = [
            f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        ]
        return "<tr>" + "".join(parts) + "</tr>"

    shown = table.shown()
    body, foot = shown[: len(table.rows)], shown[len(table.rows) :]
    caption = _caption(table)
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    lines += ["<thead>", row([column.heading for column in table.columns], "th"), "</thead>"]
    lines += ["<tbody>", *(row(cells, "td") for cells in body), "</tbody>"]
    if foot:
        lines += ["<tfoot>", *(row(cells, "th") for cells in foot), "</tfoot>"]
    return "\n".join([*lines, "</table>"])


@fmt("latex")
def latex(table: Table) -> str:
    """A booktabs table whose caption holds title and notes, the convention among them."""
    caption = _escape_latex(_caption(table))
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering"]
    if caption:
        lines.append(rf"\caption{{{caption}}}")
    body = _tabulate(table, table.shown(), "latex_booktabs").splitlines()
    if table.footer:
        body.insert(-2 - len(table.footer), r"\midrule")  # above the totals, \bottomrule and \end
    return "\n".join([*lines, *body, r"\end{table}"]).translate(LATEX_SIGNS)


LATEX_SIGNS = str.maketrans({
    "×": r"$\times$", "·": r"$\cdot$", "−": "$-$", "–": "--", "…": r"\ldots{}", "≤": r"$\le$",
    "≥": r"$\ge$", "⌊": r"$\lfloor$", "⌋": r"$\rfloor$", "⌈": r"$\lceil$", "⌉": r"$\rceil$",
    "µ": r"$\mu$", "²": "$^2$",
})  # fmt: skip
"""Signs that LaTeX's usual fonts lack outside of formulas."""


def _escape_latex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: "\\" + char for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in text)


def _tabulate(table: Table, rows: list[list[str]], style: str) -> str:
    from tabulate import tabulate

    return tabulate(
        rows,
        headers=[column.heading for column in table.columns],
        tablefmt=style,
        disable_numparse=True,
        colalign=["right" if column.numeric else "left" for column in table.columns],
    )


def _notes(table: Table) -> list[str]:
    return ["", *table.notes] if table.notes else []
