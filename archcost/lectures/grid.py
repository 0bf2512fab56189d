"""A table of columns: its lines as cells, and what is built from them as nodes of a spec."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, NamedTuple

from archcost.errors import SpecError
from archcost.lectures.text import clean
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source

MAX_LINES = 20_000


class Line(NamedTuple):
    """A line that may hold a row: its number from 1, and its text, cleaned."""

    number: int
    text: str


class Cell(NamedTuple):
    """A cell of a line, and its column from 1."""

    column: int
    text: str


def cells_of(text: str) -> list[Cell]:
    """Return the cells of a line between bars, tabs or ampersands; without any it is one cell."""
    found = []
    column = 1
    for part in re.split(r"[\t|&]", text):
        found.append(Cell(column + len(part) - len(part.lstrip()), part.strip()))
        column += len(part) + 1
    return found


def lines_of(source: Source) -> list[Line]:
    """Return the lines that may be rows, cleaned, with their numbers.

    Bars around a table are not cells. If the first line has none, a bar that opens a line is a
    cell.

    Raises:
        SpecError: more than 20,000 lines.
    """
    numbered = [(n, line) for n, line in enumerate(source.text.split("\n"), 1) if line.strip()]
    if len(numbered) > MAX_LINES:
        raise SpecError(f"a text with more than {MAX_LINES:,} lines", source.name)
    framed = next((line.lstrip().startswith("|") for _, line in numbered if "|" in line), True)
    cleaned = [Line(n, clean(line, framed)) for n, line in numbered]
    # a comment, a heading, or a ruled line; `#1x1` heads a column
    nothing = re.compile(r"\s*(?:#(?!\d+\s*x).*|[\s|:=+-]*)")
    return [line for line in cleaned if not nothing.fullmatch(line.text)]


def name_of(source: Source) -> str:
    """Return the file's stem as a name: ``specs/lectures/alexnet.txt`` is alexnet."""
    stem = PurePath(source.name.strip("<>")).stem
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", stem).lstrip("_.+-") or "lecture"


def nodes(items: Any, line: int, column: int) -> Node:
    """Return text, lists and mappings as nodes of a spec, all with the same place."""
    if isinstance(items, list):
        return Sequence([nodes(item, line, column) for item in items], line, column)
    if isinstance(items, dict):
        entries = {
            key: (Scalar(key, line, column), nodes(value, line, column))
            for key, value in items.items()
        }
        return Mapping(entries, line, column)
    return Scalar(str(items), line, column)
