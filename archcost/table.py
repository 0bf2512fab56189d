"""A table of plain cells, and the formats in which it is written: one function each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from archcost.data import dataclass
from archcost.errors import ArchcostError, LookupFailed

if TYPE_CHECKING:
    from fractions import Fraction

Cell: TypeAlias = "int | float | str | bool | Fraction | None"


@dataclass(frozen=True)
class Column:
    """A column: its key in data formats, its heading for people, and how it reads.

    A narrow terminal leaves out ``minor`` columns first, and ``essential`` ones never. People
    read a cell of a ``once`` column where it differs from the one above.
    """

    key: str
    heading: str
    numeric: bool = False
    minor: bool = False
    essential: bool = False
    once: bool = False


class Legend(str):
    """A note on what columns say: it stands below a table that shows one of them."""

    columns: tuple[str, ...]

    def __new__(cls, text: str, *columns: str) -> Legend:
        """Return the note on the columns of these keys."""
        made = super().__new__(cls, text)
        made.columns = columns
        return made


@dataclass(frozen=True)
class Table:
    """Rows of cells under columns, with total rows at the foot and notes below.

    ``data`` is what data formats hold where rows are subtotals of others: without these, so that
    the sums of its columns are the totals. A :class:`Legend` of no column here is left out.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    footer: tuple[tuple[Cell, ...], ...] = ()
    notes: tuple[str, ...] = ()
    data: Table | None = None

    def __post_init__(self) -> None:
        keys = {column.key for column in self.columns}
        said = [
            note for note in self.notes
            if not isinstance(note, Legend) or not keys.isdisjoint(note.columns)
        ]  # fmt: skip
        object.__setattr__(self, "notes", tuple(said))

    def render(self, format: str) -> str:
        """Return the table as text.

        Raises:
            LookupFailed: an unknown format, with the nearest name.
        """
        if format not in FORMATS:
            raise LookupFailed("format", format, FORMATS)
        return FORMATS[format](self)

    def select(self, keys: Sequence[str]) -> Table:
        """Return the table with the columns of these keys, in this order.

        Raises:
            LookupFailed: a key that no column has, with the nearest.
        """
        places = {column.key: i for i, column in enumerate(self.columns)}
        for key in keys:
            if key not in places:
                raise LookupFailed("column", key, places)
        chosen = [places[key] for key in keys]

        def of(rows: tuple[tuple[Any, ...], ...]) -> tuple[tuple[Any, ...], ...]:
            return tuple(tuple(row[i] for i in chosen) for row in rows)

        [columns] = of((self.columns,))
        return replace(
            self, columns=columns, rows=of(self.rows), footer=of(self.footer),
            data=self.data and self.data.select(keys),
        )  # fmt: skip

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows as mappings from column key to cell; numbers stay numbers."""
        made = self.data or self
        keys = [column.key for column in made.columns]
        return [dict(zip(keys, row, strict=True)) for row in made.rows]

    def shown(self) -> list[list[str]]:
        """Return all rows, the footer last, as people read them."""
        before: Sequence[Cell] = [None] * len(self.columns)
        shown = []
        for row in (*self.rows, *self.footer):
            cells = zip(self.columns, row, before, strict=True)
            shown.append(
                ["" if c.once and cell == old else show_cell(cell) for c, cell, old in cells]
            )
            before = row
        return shown


class Tabled:
    """What the library returns: shown as its table when printed, in notebooks, and as a frame."""

    __slots__ = ()

    def table(self) -> Table:
        """Return the table that the command line prints."""
        raise NotImplementedError

    @property
    def subject(self) -> str:
        """What it is about, in a few words."""
        name: str = getattr(self, "network").name  # noqa: B009  # not every one has a network
        return name

    def to_frame(self) -> Any:
        """Return the rows of the table as a pandas ``DataFrame``; numbers stay numbers.

        Raises:
            ArchcostError: pandas is not installed.
        """
        return data_frame(self.table().records())

    def __str__(self) -> str:
        """Return the table as text."""
        return self.table().render("text")

    def __repr__(self) -> str:
        """Return a line: what it is, and what about."""
        return f"<{type(self).__name__}: {self.subject}>"

    def _repr_html_(self) -> str:
        return self.table().render("html")


def data_frame(records: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as a pandas ``DataFrame``.

    Raises:
        ArchcostError: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped]
    except ImportError:
        raise ArchcostError("to_frame needs pandas: pip install 'archcost[pandas]'") from None
    return pandas.DataFrame.from_records(records)


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
    return cell if isinstance(cell, str) else f"{float(cell):,.4g}"


FORMATS: dict[str, Callable[[Table], str]] = {}
"""Every format by its name on the command line."""
ENDINGS: dict[str, str] = {".xlsx": "xlsx"}
"""The format of a file by its ending; ``archcost.workbook`` writes the one that is no text."""


def fmt(name: str, *endings: str) -> Callable[[Callable[[Table], str]], Callable[[Table], str]]:
    """Register a function as the format ``name``, of files with these endings."""

    def register(function: Callable[[Table], str]) -> Callable[[Table], str]:
        FORMATS[name] = function
        ENDINGS.update(dict.fromkeys(endings, name))
        return function

    return register


@fmt("text", ".txt")
def text(table: Table) -> str:
    """Plain columns, for pipes and narrow terminals."""
    headings = [column.heading for column in table.columns]
    shown = table.shown()
    body, foot = shown[: len(table.rows)], shown[len(table.rows) :]
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


@fmt("markdown", ".md")
def markdown(table: Table) -> str:
    """A pipe table, as GitHub renders it; nothing is padded, as comments have a largest size."""
    lines = [f"**{table.title}**", ""] if table.title else []
    rows = [[column.heading for column in table.columns], *table.shown()]
    head, *body = ["| " + " | ".join(_one_line(cell) for cell in row) + " |" for row in rows]
    rule = "| " + " | ".join("---:" if c.numeric else "---" for c in table.columns) + " |"
    mark = "- " if len(table.notes) > 1 else ""  # lines below each other would become one
    return "\n".join([*lines, head, rule, *body, *_notes(table, mark)])


def _one_line(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


@fmt("csv", ".csv")
def comma_separated(table: Table) -> str:
    """Comma-separated values with plain numbers and column keys, without sums."""
    import csv
    import io

    made, out = table.data or table, io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.key for column in made.columns])
    writer.writerows(made.rows)
    return out.getvalue().rstrip("\n")


@fmt("json", ".json")
def records(table: Table) -> str:
    """A list of records with plain numbers; commands with a contract of their own replace it."""
    import json

    return json.dumps(table.records(), indent=2, ensure_ascii=False)


def _caption(table: Table) -> str:
    return "; ".join(text for text in (table.title, *table.notes) if text)


@fmt("html", ".html", ".htm")
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


@fmt("latex", ".tex")
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


def _notes(table: Table, mark: str = "") -> list[str]:
    return ["", *(mark + note for note in table.notes)] if table.notes else []
