"""Lecture text as a spec: the layer tables of slides, read as they are printed.

The notations, each with what it leaves unsaid and how that is filled in:

* ``[55x55x96] CONV1: 96 11x11 filters at stride 4, pad 0``: the shape is the output;
* ``CONV3-64: [224x224x64] memory: 224*224*64=3.2M params: (3*3*3)*64 = 1,728``;
* ``conv3-64 LRN`` in a table with a network in each column: every column is a variant
  (``vgg.txt::D``), and without one there is no network. ``maxpool`` is 2x2 at stride 2;
* ``Conv5-256, stride 1``: the number after Conv is the kernel;
* ``Conv 7 x 7 x 64 with stride 2``: the third number is the output channels. ``MaxPool`` is
  GoogLeNet's, 3x3 at stride 2, rounded up, which is how 112 becomes 56 and 28;
* ``Conv dw / s2 | 3x3x64 dw | 112x112x64``: filter K x K x Cin x Cout, and the input.

Common to all: ReLU follows each convolution and fully connected layer but the last; the first fully
connected layer is preceded by flatten; LRN has size 5, AlexNet's. Convolutions and fully
connected layers have biases, except in the table with filter shapes, which prints every weight
of a layer: there nothing else is learnt, no bias and no batch normalisation (MobileNet-V1 has
4,209,088 weights so; its 21,888 of batch normalisation and 1,000 biases are not in the table).

Padding that is not printed is the one that gives the printed shape (of this row, or the input of
the next). Where no shape is printed either, a convolution keeps the size (pad K // 2), and a
strided one does so unless its windows tile the input exactly without. A network whose text prints
no input takes 3x224x224; 3x227x227 if it begins with 11x11 at stride 4, which tiles only that.

What is wrong in a text is never repaired in silence. Where the printed shapes decide, the network
follows them; ``Conv1-96, stride 4`` is AlexNet's 11x11, and pads that the text leaves out are
chosen as above, which gives the 62.3M parameters printed beside that list. Each such place is a
:class:`Claim` with a ``note``; its quantity is ``kernel_size``, ``stride``, ``padding`` or
``repeat`` and ``printed`` is the piece of text that is wrong or incomplete. Totals that the
printed rows do not add up to have a note as well.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from archcost.errors import SpecError, shorten
from archcost.published import Claim, Published
from archcost.spec.document import Document
from archcost.spec.lecture.build import CONVS, MAX_ROWS, POOLS, WEIGHTED, Builder, Table
from archcost.spec.lecture.rows import FIGURE, Row, RowError, clean, figure, read_rows, sizes
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source

MAX_LINES = 20_000
MAX_COLUMNS = 40

Line = tuple[int, str]
Cell = tuple[int, str]


def is_spec(source: Source) -> bool:
    """Whether a text is a YAML spec rather than lecture text; so is an empty one."""
    text = source.text.strip()
    key = r"""^["']?(?:layers|name|family|blocks|knobs|variants)["']?\s*:"""
    flow = text.startswith(("{", "---", "%YAML"))
    return not text or flow or bool(re.search(key, source.text, re.MULTILINE))


def read_lecture(source: Source) -> Document:
    """Read the layer table in a lecture's text; the prose around it is skipped.

    Raises:
        SpecError: no table or a second one, or a row that is not understood, with its line.
    """
    lines = _lines(source)
    header = _find_columns(source, lines)
    if header is not None:
        return _Columns(source, lines, header).document()
    table = Table()
    for number, text in lines:
        if not _total(source, table, number, text):
            for row in _rows(source, text, number):
                _add(source, table, row)
    if not any(row.op in WEIGHTED for row in table.rows):
        raise SpecError(
            "no layer table found; its rows are printed as `[55x55x96] CONV1: 96 11x11 filters at "
            "stride 4, pad 0`, `CONV3-64: [224x224x64] memory: ... params: ...`, "
            "`Conv5-256, stride 1` or `Conv dw / s1 | 3x3x32 dw | 112x112x32`",
            source.name,
        )
    built = Builder(source, table)
    first = table.rows[0]
    return Document(
        source, _name(source), False, {"input": built.input}, {}, {}, {}, {},
        Sequence(built.items, first.line, first.column), claims=built.claims,
    )  # fmt: skip


def _lines(source: Source) -> list[Line]:
    """Return the lines that may be rows, cleaned, with their numbers."""
    numbered = [(n, line) for n, line in enumerate(source.text.split("\n"), 1) if line.strip()]
    if len(numbered) > MAX_LINES:
        raise SpecError(f"a text with more than {MAX_LINES:,} lines", source.name)
    cleaned = [(n, clean(line)) for n, line in numbered]
    nothing = re.compile(r"\s*(?:#.*|[\s|:=+-]*)")  # a comment, a heading, or a ruled line
    return [(n, line) for n, line in cleaned if not nothing.fullmatch(line)]


def _name(source: Source) -> str:
    """Return the file's stem as a name: ``specs/lectures/alexnet.txt`` is alexnet."""
    stem = PurePath(source.name.strip("<>")).stem
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", stem).lstrip("_.+-") or "lecture"


def _rows(source: Source, text: str, line: int, column: int = 1) -> list[Row]:
    try:
        return read_rows(text, line, column) or []
    except RowError as error:
        raise SpecError(str(error), source.name, line, column + error.offset) from None


# A text with one network.


def _add(source: Source, table: Table, row: Row) -> None:
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


# A text with a network in each column of a table.


def _cells(text: str) -> list[Cell]:
    """Return the cells of a line, each with its column from 1; bars or tabs stand between."""
    cells = []
    column = 1
    for part in re.split(r"[\t|]", text):
        cells.append((column + len(part) - len(part.lstrip()), part.strip()))
        column += len(part) + 1
    return cells


def _find_columns(source: Source, lines: list[Line]) -> int | None:
    """Return where in ``lines`` the columns of a table of networks are named; None without one."""
    name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,40}")
    for index, (number, text) in enumerate(lines):
        cells = _cells(text)
        if len(cells) == 1 or not any(re.match(r"(?i)conv\d{1,4}-\d", cell) for _, cell in cells):
            continue
        for above in reversed(range(index)):
            named = _cells(lines[above][1])
            if len(named) == len(cells) and all(name.fullmatch(cell) for _, cell in named):
                return above
        reason = f"no line above names the {len(cells)} columns of this table"
        raise SpecError(reason, source.name, number, cells[0][0])
    return None


_LAYER = re.compile(r"[A-Za-z]{2,10}\d{0,4}-\d|(?:max|avg)\s?pool|lrn|norm|soft", re.IGNORECASE)
"""How a cell with layers begins, also a misspelt one."""


class _Columns:
    """Reads a table with a network in each column."""

    def __init__(self, source: Source, lines: list[Line], header: int) -> None:
        self.source = source
        line, text = lines[header]
        self.names = [Scalar(name, line, column) for column, name in _cells(text)]
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
            self._read(number, _cells(text))

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
            for row in _rows(self.source, cells[0][1], line, cells[0][0]):
                for table in self.tables.values():
                    _add(self.source, table, row)
        else:
            self._row(line, cells)

    def _row(self, line: int, cells: list[Cell]) -> None:
        if not any(_LAYER.match(text) for _, text in cells):
            return  # a table of something else
        if len(cells) > len(self.names):
            reason = f"{len(cells)} cells in a table with {len(self.names)} columns"
            raise self._error(line, cells[len(self.names)][0], reason)
        for table, (column, text) in zip(self.tables.values(), cells, strict=False):
            rows = _rows(self.source, text, line, column)
            if text and not rows:
                reason = f"not understood as layers: {shorten(text)!r}; expected conv3-64 or LRN"
                raise self._error(line, column, reason)
            for row in rows:
                _add(self.source, table, row)

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
        variants: dict[str, tuple[dict[str, Any], dict[str, Scalar]]] = {}
        for name in self.names:
            table = self.tables[name.text]
            if not table.rows:
                reason = f"the column {name.text!r} has no layers"
                raise self._error(name.line, name.column, reason)
            built = Builder(self.source, table)
            title = Scalar(f"{_name(self.source)}, column {name.text}", name.line, name.column)
            header = {"input": built.input, "title": title}
            variants[name.text] = ({"column": name.text}, header)
            key = Scalar(f"if column == {name.text!r}", name.line, name.column)
            body = Sequence(built.items, name.line, name.column)
            items.append(Mapping({key.text: (key, body)}, name.line, name.column))
        place = self.names[0]
        return Document(
            self.source, _name(self.source), True, {"input": built.input}, {}, variants, {}, {},
            Sequence(items, place.line, place.column),
            published=self.published, variant_required=True,
        )  # fmt: skip
