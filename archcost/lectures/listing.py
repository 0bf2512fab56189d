"""A text with the layers of one network, a row each, and figures of the whole."""

from __future__ import annotations

import re

from archcost.errors import SpecError, shorten
from archcost.lectures.build import CONVS, MAX_ROWS, POOLS, WEIGHTED, Builder, Table
from archcost.lectures.grid import Line, name_of
from archcost.lectures.rows import Row, RowError, read_rows
from archcost.lectures.text import FIGURE, figure, sizes
from archcost.published import Claim
from archcost.spec.document import Document
from archcost.spec.source import Sequence, Source


def read_listing(source: Source, lines: list[Line]) -> Document | None:
    """Read the rows of a network; None where no line is a row with weights.

    Raises:
        SpecError: a row that is not understood, or a second network, with its line.
    """
    table = Table()
    for number, text in lines:
        if not _total(source, table, number, text):
            for row in rows_of(source, text, number):
                add_row(source, table, row)
    if not any(row.op in WEIGHTED for row in table.rows):
        return None
    built = Builder(source, table)
    first = table.rows[0]
    return Document(
        source, name_of(source), False, {"input": built.input}, {}, {}, {}, {},
        Sequence(built.items, first.line, first.column), claims=built.claims,
    )  # fmt: skip


def rows_of(source: Source, text: str, line: int, column: int = 1) -> list[Row]:
    """Return the rows on a cleaned line or in a cell of it; none of prose.

    Raises:
        SpecError: it looks like a row and is not understood.
    """
    try:
        return read_rows(text, line, column) or []
    except RowError as error:
        raise SpecError(str(error), source.name, line, column + error.offset) from None


def add_row(source: Source, table: Table, row: Row) -> None:
    """Add a row; one that can only belong to a second network is refused."""
    if row.op == "input":
        same = table.input is None or table.input.output == row.output
        second = bool(table.rows) or not same
    else:
        behind = any(earlier.op == "linear" for earlier in table.rows)
        second = behind and row.op in (*CONVS, *POOLS)
    if second:
        first = table.input or table.rows[0]
        reason = f"a second network begins here, the first in line {first.line}; give one at a time"
        raise SpecError(reason, source.name, row.line, row.column)
    if row.op == "input":
        table.input = row
        return
    table.rows.append(row)
    if len(table.rows) > MAX_ROWS:
        reason = f"a table with more than {MAX_ROWS:,} rows"
        raise SpecError(reason, source.name, row.line, row.column)


_TOTAL = re.compile(r"\s*TOTAL\s+(memory|params)\s*:\s*(.*)", re.IGNORECASE)
_MEMORY = re.compile(
    rf"({FIGURE})(?:\s*x\s*4\s+bytes)?(?:\s*[~=]+\s*({FIGURE})B\b)?(?![\w.])", re.IGNORECASE
)
_COUNT = re.compile(rf"({FIGURE})(?![\w.])", re.IGNORECASE)
_PARAMETERS = re.compile(rf"\s*~?\s*({FIGURE})\s+parameters\s*[.!]?\s*$", re.IGNORECASE)
_REDUCE = re.compile(
    r"\s*Reduce\s+(\d{1,9}\s*x\s*\d{1,9})\b.{0,60}?\bto\s+(\d{1,9}\s*x\s*\d{1,9})\b",
    re.IGNORECASE,
)


def _total(source: Source, table: Table, line: int, text: str) -> bool:
    """Read a figure of the whole network into ``table``; False if the line has none.

    ``TOTAL memory: 24M x 4 bytes ~ 96MB``, ``TOTAL params: 138M parameters``, ``62.3M Parameters``,
    ``Reduce 224 x 224 spatial resolution to 28 x 28``.
    """
    text = text[:300]
    if match := _TOTAL.match(text):
        memory = match[1].lower() == "memory"
        shown = (_MEMORY if memory else _COUNT).match(match[2])
        number = figure(shown[1]) if shown else None
        if shown is None or number is None:
            reason = f"TOTAL {match[1]}: no number in {shorten(match[2], 40)!r}"
            raise SpecError(reason, source.name, line, match.start(2) + 1)
        table.totals.append(Claim("", "activations" if memory else "params", number, line))
        size = figure(shown[2]) if memory and shown[2] else None
        if size:
            table.totals.append(Claim("", "activation_bytes", f"{size}B", line))
        return True
    match = _PARAMETERS.match(text)
    number = figure(match[1]) if match else None
    if number:
        table.totals.append(Claim("", "params", number, line))
        return True
    if match := _REDUCE.match(text):
        start = len(text) - len(text.lstrip()) + 1
        row = Row("INPUT", "input", line, start, match[0], output=sizes(match[1]))
        table.input = table.input or row
        table.result = (re.sub(r"\s", "", match[2]), line)
        return True
    return False
