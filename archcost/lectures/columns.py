"""A table with a network in each column, each cell a list of layers: VGG's configurations."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from archcost.errors import SpecError, shorten
from archcost.lectures.build import Builder, Table
from archcost.lectures.grid import Cell, Line, cells_of, name_of
from archcost.lectures.listing import add_row, rows_of
from archcost.lectures.text import figure
from archcost.published import Claim, Published
from archcost.spec.document import Document
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source
from archcost.units import number_of

MAX_COLUMNS = 40


def read_columns(source: Source, lines: list[Line]) -> Document | None:
    """Read a table with a network in each column; None where no line has cells such as conv3-64.

    Raises:
        SpecError: a cell that is not understood, or columns without names, with their line.
    """
    name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,40}")
    settings = re.compile(r"(?:stride|pad|s\s*=)", re.IGNORECASE)
    for index, (number, text) in enumerate(lines):
        cells = cells_of(text)
        if len(cells) == 1 or not any(re.match(r"(?i)conv\d{1,4}-\d", cell) for _, cell in cells):
            continue
        if any(settings.match(cell) for _, cell in cells):
            continue  # one row in cells
        for above in reversed(range(index)):
            named = cells_of(lines[above].text)
            if len(named) == len(cells) and all(name.fullmatch(cell) for _, cell in named):
                return _Columns(source, lines, above).document()
        reason = f"no line above names the {len(cells)} columns of this table"
        raise SpecError(reason, source.name, number, cells[0].column)
    return None


_LAYER = re.compile(r"[A-Za-z]{2,10}\d{0,4}-\d|(?:max|avg)\s?pool|lrn|norm|soft", re.IGNORECASE)
"""How a cell with layers begins, also a misspelt one."""


class _Columns:
    """Reads a table with a network in each column."""

    def __init__(self, source: Source, lines: list[Line], header: int) -> None:
        self.source = source
        line, text = lines[header]
        self.names = [Scalar(name, line, column) for column, name in cells_of(text)]
        self.tables = {name.text: Table() for name in self.names}
        self.published: list[Published] = []
        self.described = [[name] for name in self.tables]
        self.millions = any("in millions" in text.lower() for _, text in lines)
        if len(self.tables) < len(self.names):
            raise self._error(line, self.names[0].column, "two columns have the same name")
        if len(self.names) > MAX_COLUMNS:
            reason = f"a table with more than {MAX_COLUMNS} columns"
            raise self._error(line, self.names[0].column, reason)
        for number, text in lines[header + 1 :]:
            self._read(number, cells_of(text))

    def _error(self, line: int, column: int, reason: str) -> SpecError:
        return SpecError(reason, self.source.name, line, column)

    def _read(self, line: int, cells: list[Cell]) -> None:
        first = cells[0][1].lower()
        filled = [text for _, text in cells if text]
        if first == "network" and len(filled) > 1:  # names the columns of the figures below
            self.described = [[name.strip() for name in text.split(",")] for _, text in cells[1:]]
        elif first == "number of parameters" and len(filled) > 1:
            self._parameters(line, cells[1:])
        elif all(re.fullmatch(r"\d{1,4} weight layers", text) for text in filled):
            for name, (_, text) in zip(self.tables, cells, strict=False):
                if text:
                    self._publish(name, line, weight_layers=text.split()[0])
        elif filled == [cells[0][1]]:  # a cell alone at the left is for all columns
            for row in rows_of(self.source, cells[0][1], line, cells[0][0]):
                for table in self.tables.values():
                    add_row(self.source, table, row)
        else:
            self._row(line, cells)

    def _row(self, line: int, cells: list[Cell]) -> None:
        if not any(_LAYER.match(text) for _, text in cells):
            return  # a table of something else
        if len(cells) > len(self.names):
            columns = number_of(len(self.names), "column")
            reason = f"{number_of(len(cells), 'cell')} in a table with {columns}"
            raise self._error(line, cells[len(self.names)][0], reason)
        for table, (column, text) in zip(self.tables.values(), cells, strict=False):
            rows = rows_of(self.source, text, line, column)
            if text and not rows:
                reason = f"not understood as layers: {shorten(text)!r}; expected conv3-64 or LRN"
                raise self._error(line, column, reason)
            for row in rows:
                add_row(self.source, table, row)

    def _parameters(self, line: int, cells: list[Cell]) -> None:
        for names, (column, text) in zip(self.described, cells, strict=False):
            number = figure(text)
            if number is None:
                raise self._error(line, column, f"no number of parameters: {shorten(text)!r}")
            for name in names:
                if name in self.tables:
                    self._publish(name, line, params=number + "M" * self.millions)

    def _publish(self, model: str, line: int, **figures: str) -> None:
        self.published.append(Published(self.source.name, figures, model, line=line))

    def document(self) -> Document:
        """Return the document: every column is a variant, under its name."""
        items: list[Node] = []
        claims: list[Claim] = []
        variants: dict[str, tuple[dict[str, Any], dict[str, Scalar]]] = {}
        for name in self.names:
            table = self.tables[name.text]
            if not table.rows:
                reason = f"the column {name.text!r} has no layers"
                raise self._error(name.line, name.column, reason)
            built = Builder(self.source, table)
            claims += [replace(claim, model=name.text) for claim in built.claims]
            title = Scalar(f"{name_of(self.source)}, column {name.text}", name.line, name.column)
            header = {"input": built.input, "title": title}
            variants[name.text] = ({"column": name.text}, header)
            key = Scalar(f"if column == {name.text!r}", name.line, name.column)
            body = Sequence(built.items, name.line, name.column)
            items.append(Mapping({key.text: (key, body)}, name.line, name.column))
        place = self.names[0]
        return Document(
            self.source, name_of(self.source), True, {"input": built.input}, {}, variants, {}, {},
            Sequence(items, place.line, place.column),
            published=self.published, claims=claims, variant_required=True,
        )  # fmt: skip
