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
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import PurePath
from typing import Any, NamedTuple

from archcost.errors import OpError, SpecError, shorten
from archcost.network import NETWORK_INPUT
from archcost.ops import OPS
from archcost.published import Claim, Published
from archcost.shape import Shape, show
from archcost.spec.document import RESERVED, Document
from archcost.spec.lecture_rows import (
    FIGURE,
    Printed,
    Row,
    RowError,
    clean,
    figure,
    read_rows,
    sizes,
)
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source
from archcost.units import Figure, human

MAX_ROWS = 5_000
POOLS = ("maxpool", "avgpool")
CONVS = ("conv", "depthwise")
WEIGHTED = (*CONVS, "linear")
ALEXNET_FIRST = (11, 11)
ERRATUM = ("Conv1-96", 4)
"""The name and stride under which one list prints AlexNet's first layer, 11x11 in all others."""

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
    lines = [(n, clean(line)) for n, line in enumerate(source.text.split("\n"), 1)]
    lines = [(n, line) for n, line in lines if line.strip() and not line.lstrip().startswith("#")]
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
    built = _Builder(source, table)
    return Document(
        source, _name(source), False, {"input": built.input}, {}, {}, {}, {},
        Sequence(built.items, table.rows[0].line, table.rows[0].column),
        claims=built.claims,
    )  # fmt: skip


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


@dataclass
class Table:
    """The rows of one network, and what is printed around them."""

    input: Row | None = None
    rows: list[Row] = field(default_factory=list)
    totals: list[Claim] = field(default_factory=list)
    result: tuple[str, int] | None = None
    """The size with which the text says that the rows end, as printed, and its line."""
    closed: bool = False
    """Whether a fully connected layer has come; no window follows one."""


def _add(source: Source, table: Table, row: Row) -> None:
    """Add a row; one that can only belong to a second network is refused."""
    if row.op == "input":
        again = table.input is not None and table.input.output != row.output
    else:
        again = table.closed and row.op in (*CONVS, *POOLS)
    if again or (row.op == "input" and table.rows):
        first = table.input or table.rows[0]
        reason = f"a second network begins here, the first in line {first.line}; give one at a time"
        raise SpecError(reason, source.name, row.line, row.column)
    if row.op == "input":
        table.input = row
        return
    table.rows.append(row)
    table.closed = table.closed or row.op == "linear"
    if len(table.rows) > MAX_ROWS:
        reason = f"a table with more than {MAX_ROWS:,} rows"
        raise SpecError(reason, source.name, row.line, row.column)


_TOTAL = re.compile(r"\s*TOTAL\s+(memory|params)\s*:\s*(.*)", re.IGNORECASE)
_MEMORY = re.compile(
    rf"({FIGURE})(?:\s*x\s*4\s+bytes)?(?:\s*[~=]+\s*({FIGURE})(i?B)\b)?(?![\w.])", re.IGNORECASE
)
_COUNT = re.compile(rf"({FIGURE})(?![\w.])", re.IGNORECASE)
_PARAMETERS = re.compile(rf"\s*~?\s*({FIGURE})\s+parameters\s*[.!]?\s*$", re.IGNORECASE)
_REDUCE = re.compile(
    r"\s*Reduce\s+(\d{1,9}\s*x\s*\d{1,9})\b.{0,60}?\bto\s+(\d{1,9}\s*x\s*\d{1,9})\b",
    re.IGNORECASE,
)


def _total(source: Source, table: Table, line: int, text: str) -> bool:
    """Read a figure of the whole network into ``table``; False if the line is none.

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
        if memory and shown[2] and (size := figure(shown[2])):
            table.totals.append(Claim("", "activation_bytes", size + shown[3], line))
        return True
    if (match := _PARAMETERS.match(text)) and (number := figure(match[1])):
        table.totals.append(Claim("", "params", number, line))
        return True
    if match := _REDUCE.match(text):
        size = sizes(match[1])
        table.input = table.input or Row("INPUT", "input", line, 1, match[0], output=size)
        table.result = (re.sub(r"\s", "", match[2]), line)
        return True
    return False


# A text with a network in each column.


def _cells(text: str) -> list[Cell]:
    """Return the cells of a line with their columns, from 1; bars or tabs stand between them."""
    text = re.sub(r"^\s*\||\|\s*$", lambda m: " " * len(m[0]), text)
    cells = []
    for match in re.finditer(r"[^\t|]*(?:[\t|]|$)", text):
        cell = match[0].rstrip("\t|")
        lead = len(cell) - len(cell.lstrip())
        if match[0] or not cells or text.endswith(("\t", "|")):
            cells.append((match.start() + lead + 1, cell.strip()))
    return cells


def _find_columns(source: Source, lines: list[Line]) -> int | None:
    """Return where in ``lines`` the columns of a table of networks are named; None without one."""
    for index, (number, text) in enumerate(lines):
        cells = _cells(text)
        if len(cells) > 1 and any(re.match(r"conv\d{1,4}-\d", c, re.I) for _, c in cells):
            for above in range(index - 1, -1, -1):
                named = _cells(lines[above][1])
                if len(named) == len(cells) and all(
                    re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,40}", name) for _, name in named
                ):
                    return above
            reason = f"no line above names the {len(cells)} columns of this table"
            raise SpecError(reason, source.name, number, cells[0][0])
    return None


class _Columns:
    """Reads a table with a network in each column."""

    def __init__(self, source: Source, lines: list[Line], header: int) -> None:
        self.source = source
        self.line = lines[header][0]
        self.names = [Scalar(name, self.line, column) for column, name in _cells(lines[header][1])]
        self.tables = {name.text: Table() for name in self.names}
        self.published: list[Published] = []
        self.described = [[name] for name in self.tables]
        self.millions = any("in millions" in text.lower() for _, text in lines)
        if len(self.tables) < len(self.names):
            raise self._error(self.line, self.names[0].column, "two columns have the same name")
        for number, text in lines[header + 1 :]:
            self._read(number, text)

    def _error(self, line: int, column: int, reason: str) -> SpecError:
        return SpecError(reason, self.source.name, line, column)

    def _read(self, line: int, text: str) -> None:
        cells = _cells(text)
        first = cells[0][1].lower()
        filled = [cell for cell in cells if cell[1]]
        if first == "network" and len(filled) > 1:  # the header of the figures below the table
            self.described = [[n.strip() for n in cell.split(",")] for _, cell in cells[1:]]
        elif first == "number of parameters" and len(filled) > 1:
            self._parameters(line, cells)
        elif all(re.fullmatch(r"\d{1,4} weight layers", cell) for _, cell in filled):
            for name, (_, cell) in zip(self.tables, cells, strict=False):
                if cell:
                    self._publish(name, line, weight_layers=cell.split()[0])
        elif len(filled) == 1 and cells[0][1]:  # one cell at the left is for all columns
            self._add(line, cells[0], list(self.tables), required=False)
        else:
            if len(cells) > len(self.names):
                reason = f"{len(cells)} cells in a table with {len(self.names)} columns"
                raise self._error(line, cells[len(self.names)][0], reason)
            for name, cell in zip(self.tables, cells, strict=False):
                if cell[1]:
                    self._add(line, cell, [name], required=True)

    def _add(self, line: int, cell: Cell, names: list[str], required: bool) -> None:
        column, text = cell
        rows = _rows(self.source, text, line, column)
        if required and not rows:
            reason = f"not understood as layers: {shorten(text)!r}; expected conv3-64, LRN, maxpool"
            raise self._error(line, column, reason)
        for row in rows:
            for name in names:
                _add(self.source, self.tables[name], row)

    def _parameters(self, line: int, cells: list[Cell]) -> None:
        for names, (column, cell) in zip(self.described, cells[1:], strict=False):
            number = figure(cell)
            if number is None:
                raise self._error(line, column, f"no number of parameters: {shorten(cell)!r}")
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
            built = _Builder(self.source, self.tables[name.text])
            title = Scalar(f"{_name(self.source)}, column {name.text}", name.line, name.column)
            header = {"input": built.input, "title": title}
            variants[name.text] = ({"column": name.text}, header)
            key = Scalar(f"if column == {name.text!r}", name.line, name.column)
            body = Sequence(built.items, name.line, name.column)
            items.append(Mapping({key.text: (key, body)}, name.line, name.column))
        return Document(
            self.source, _name(self.source), True, {"input": built.input}, {}, variants, {}, {},
            Sequence(items, self.line, self.names[0].column),
            published=self.published, variant_required=True,
        )  # fmt: skip


# From rows to the spec language.


class Window(NamedTuple):
    """How a window moves: what a row may leave unsaid."""

    stride: int | tuple[int, int]
    pad: int | tuple[int, int] | str = 0
    ceil: bool = False

    def arguments(self, usual_stride: int | tuple[int, int] = 1) -> dict[str, Any]:
        """Return the arguments that differ from the op's defaults."""
        words = {
            "stride": (self.stride, usual_stride),
            "padding": (self.pad, 0),
            "ceil_mode": (self.ceil, False),
        }
        return {key: value for key, (value, usual) in words.items() if value != usual}


class _Builder:
    """Turns the rows of one network into items of the spec language, and claims."""

    def __init__(self, source: Source, table: Table) -> None:
        self.source = source
        self.items: list[Node] = []
        self.claims: list[Claim] = []
        self.stem = any(row.sized for row in table.rows)
        rows = list(self._repeated(table.rows))
        self.input, self.shape = self._input(table, rows)
        names = _names(rows)
        last = max((i for i, row in enumerate(rows) if row.op in WEIGHTED), default=-1)
        flat = False
        for index, (name, row) in enumerate(zip(names, rows, strict=True)):
            following = rows[index + 1] if index + 1 < len(rows) else None
            if row.op == "linear" and not flat:
                self._append(row, "", "flatten", {})
                flat = True
            self._layer(name, row, following)
            weighted = row.op in WEIGHTED or (row.op == "batchnorm" and rows[index - 1].op in CONVS)
            final = index == last and row.op == "linear"
            if weighted and not final:
                if following is None or following.op not in ("relu", "softmax", "batchnorm"):
                    self._append(row, "", "relu", {})
        if table.result and names:
            self.claims.append(Claim(names[-1], "output", *table.result))
        self.claims += [self._checked_total(claim, table) for claim in table.totals]

    def _repeated(self, rows: list[Row]) -> Iterator[Row]:
        """Yield each row as often as printed; its figures belong to the first."""
        total = sum(row.times for row in rows)
        if total > MAX_ROWS:
            raise self._error(rows[0], f"a table with more than {MAX_ROWS:,} layers")
        index = 0
        while index < len(rows):
            row, unit = rows[index], rows[index : index + 1]
            after = rows[index + 1] if index + 1 < len(rows) else None
            pointwise = after is not None and after.op == "conv" and after.kernel == (1, 1)
            if row.times > 1 and row.op == "depthwise" and pointwise:
                assert after is not None
                if after.channels == row.channels and after.times == 1:
                    note = (
                        f"printed at one row; taken: {row.times} times the pair of this row and "
                        f"the 1x1 convolution in line {after.line}"
                    )
                    printed = [*row.printed, Printed("repeat", f"{row.times}×", note)]
                    unit = [replace(row, printed=printed), after]
            yield from unit
            for _ in range(row.times - 1):
                yield from (replace(copy, printed=[]) for copy in unit)
            index += len(unit)

    def _input(self, table: Table, rows: list[Row]) -> tuple[Scalar, Shape | None]:
        """Return the input for the spec and as a shape, channels first."""
        row = table.input or rows[0]
        printed = table.input.output if table.input else rows[0].reads
        if printed is None:
            first = next(row for row in rows if row.op in WEIGHTED)
            alexnet = first.kernel == ALEXNET_FIRST and first.stride == 4
            size = 227 if alexnet or _is_erratum(first) else 224
            printed = (size, size, 3)
        if len(printed) > 3:
            raise self._error(row, f"an input has height, width and channels; got {show(printed)}")
        if len(printed) == 2:
            printed = (*printed, 3)
        shape = (printed[-1], *printed[:-1])
        if table.input:
            for quantity, text, note in table.input.printed:
                self.claims.append(Claim(NETWORK_INPUT, quantity, text, row.line, note))
        return Scalar(show(shape), row.line, row.column), shape if min(shape) > 0 else None

    def _layer(self, name: str, row: Row, following: Row | None) -> None:
        printed = list(row.printed)
        if row.op in CONVS or row.op in POOLS:
            arguments = self._window(row, following, printed)
        elif row.op == "linear":
            arguments = {"out_features": row.channels}
        elif row.op == "lrn":
            arguments = {"size": 5}
        elif row.op == "dropout":
            arguments = {"p": float(row.rate or 0.5)}
        else:
            arguments = {}
        if row.reads and row.op in WEIGHTED:
            arguments["bias"] = False  # the filter shape is all that the table prints
        self._append(row, name, "conv" if row.op in CONVS else row.op, arguments)
        for quantity, text, note in printed:
            self.claims.append(Claim(name, quantity, text, row.line, note))

    def _append(self, row: Row, name: str, op: str, arguments: dict[str, Any]) -> None:
        """Add an item in the spec language, at the row's place, and follow the shape."""
        call = Scalar(_call(op, arguments), row.line, row.column)
        key = Scalar(name, row.line, row.column)
        self.items.append(Mapping({name: (key, call)}, row.line, row.column) if name else call)
        self.shape = self._output(op, arguments)

    def _output(self, op: str, arguments: dict[str, Any]) -> Shape | None:
        """Return the shape after an op on the current one, None if it does not fit."""
        if self.shape is None:
            return None
        try:
            return OPS[op].create([], arguments).cost(self.shape).output
        except OpError:
            return None  # the expansion of the spec says why

    # Windows.

    def _window(self, row: Row, following: Row | None, printed: list[Printed]) -> dict[str, Any]:
        """Return the arguments of a convolution or pooling; what had to be chosen is noted."""
        fixed: dict[str, Any] = {}
        kernel = row.kernel
        if kernel is None:  # `maxpool` alone
            kernel = (3, 3) if self.stem else (2, 2)
            if self.stem:
                note = "no window is printed; taken: 3x3 at stride 2, rounded up, as in GoogLeNet"
                printed.append(Printed("kernel_size", row.text, note))
        elif _is_erratum(row):
            kernel = ALEXNET_FIRST
            note = (
                "the number after Conv is the kernel, and 1x1 at stride 4 reads one position in "
                "16; taken: 11x11, AlexNet's first layer"
            )
            printed.append(Printed("kernel_size", row.name, note))
        if row.op in CONVS:
            fixed["out_channels"] = row.channels
        fixed["kernel_size"] = _pair(kernel)
        if row.op == "depthwise":
            fixed["groups"] = row.channels
        target = row.output or (following.reads if following else None)
        if target is not None and len(target) > 1:
            return self._fitting(row, kernel, target[:2], fixed, printed)
        window = self._usual(row, kernel)
        arguments = fixed | window.arguments(_usual_stride(row, kernel))
        if row.op in CONVS and row.pad is None and window.pad != 0:
            output = self._output("conv", arguments)
            size = f", which gives {show(output[1:])}" if output else ""
            note = f"no pad is printed; taken: pad {window.pad}{size}"
            printed.append(Printed("padding", row.text, note))
        return arguments

    def _usual(self, row: Row, kernel: tuple[int, int]) -> Window:
        """Return how a window moves where no shape is printed."""
        if row.op in POOLS:
            stride = row.stride or (2 if row.kernel is None else _pair(kernel))
            return Window(stride, row.pad or 0, ceil=self.stem and row.kernel is None)
        stride = 1 if row.stride is None else row.stride
        if row.pad is not None:
            return Window(stride, row.pad)
        tiles = (
            self.shape is not None
            and stride > 1
            and all(n >= k and (n - k) % stride == 0 for n, k in zip(self.shape[1:], kernel, strict=False))
        )  # fmt: skip
        if tiles or kernel == (1, 1):
            return Window(stride)
        return Window(stride, _half(kernel) if all(k % 2 for k in kernel) else "same")

    def _fitting(
        self, row: Row, kernel: tuple[int, int], target: Shape, fixed: dict[str, Any],
        printed: list[Printed],
    ) -> dict[str, Any]:  # fmt: skip
        """Return arguments that give the printed size; as printed, if none do."""
        op = "conv" if row.op in CONVS else row.op
        usual = _usual_stride(row, kernel)
        for window in _windows(row, kernel):
            arguments = fixed | window.arguments(usual)
            output = self._output(op, arguments)
            if output is None or output[1:] != target:
                continue
            if row.stride is not None and window.stride != row.stride:
                wrong = self._output(op, arguments | {"stride": row.stride})
                note = (
                    f"s{row.stride} would give {show(wrong[1:]) if wrong else 'nothing'}, but the "
                    f"next row reads {show(target)}; taken: s{window.stride}"
                )
                printed.append(Printed("stride", f"s{row.stride}", note))
            return arguments
        return fixed | next(_windows(row, kernel)).arguments(usual)

    # Totals.

    def _checked_total(self, claim: Claim, table: Table) -> Claim:
        """Return a printed total, with a note if the printed rows do not add up to it."""
        quantity = "activations" if claim.quantity == "activation_bytes" else claim.quantity
        rows = [*([table.input] if table.input else []), *table.rows]
        figures = [
            Figure.parse(text) for row in rows for what, text, _ in row.printed if what == quantity
        ]
        if not figures:
            return claim
        each = 4 if claim.quantity == "activation_bytes" else 1
        total = sum((figure.value for figure in figures), Fraction(0)) * each
        slack = sum((figure.step for figure in figures), Fraction(0)) * each / 2
        shown = Figure.parse(re.sub(r"i?B$", "", claim.printed) if each > 1 else claim.printed)
        if abs(total - shown.value) <= slack + shown.step / 2:
            return claim
        of = (
            f"4 bytes for each value of the {len(figures)} rows"
            if each > 1
            else f"the {len(figures)} rows"
        )
        return replace(
            claim, note=f"{of} add up to {human(int(total), 3)}{'B' if each > 1 else ''}"
        )

    def _error(self, row: Row, reason: str) -> SpecError:
        return SpecError(reason, self.source.name, row.line, row.column)


def _is_erratum(row: Row) -> bool:
    return (row.name, row.stride) == ERRATUM


def _pair(kernel: tuple[int, int]) -> int | tuple[int, int]:
    return kernel[0] if kernel[0] == kernel[1] else kernel


def _usual_stride(row: Row, kernel: tuple[int, int]) -> int | tuple[int, int]:
    return _pair(kernel) if row.op in POOLS else 1


def _half(kernel: tuple[int, int]) -> int | tuple[int, int]:
    return _pair((kernel[0] // 2, kernel[1] // 2))


def _windows(row: Row, kernel: tuple[int, int]) -> Iterator[Window]:
    """Yield what a row may mean, most literal first."""
    pool = row.op in POOLS
    strides = [_usual_stride(row, kernel) if row.stride is None else row.stride]
    if row.stride is None or row.reads:
        strides += [stride for stride in range(1, 9) if stride not in strides]
    pads: list[int | tuple[int, int]] = [row.pad or 0]
    if row.pad is None:
        widest = min(max(kernel) // 2, 16)
        same = kernel[0] == kernel[1]
        pads += range(1, widest + 1) if same else [_half(kernel)]
    for stride in strides:
        for ceil in (False, True) if pool and row.pad is None else (False,):
            for pad in pads:
                yield Window(stride, pad, ceil)


def _call(op: str, arguments: dict[str, Any]) -> str:
    """Return a call as the spec language writes it: ``conv(96, 11, stride=4)``."""
    words = ["out_channels", "kernel_size", "out_features", "size", "p"]
    positional = [str(arguments[word]) for word in words if word in arguments]
    named = [f"{key}={value!r}" for key, value in arguments.items() if key not in words]
    return f"{op}({', '.join([*positional, *named])})" if positional or named else op


def _names(rows: list[Row]) -> list[str]:
    """Return a unique name for each row: as printed, numbered where it repeats.

    Empty for a printed ReLU or flatten, which is numbered like those that are not printed.
    """
    counts = Counter(row.name for row in rows)
    plain = {name for name, count in counts.items() if count == 1 and not _is_word(name)}
    numbers: Counter[str] = Counter()
    taken = set(plain)
    names = []
    for row in rows:
        name = row.name
        if row.op in ("relu", "flatten") and not row.printed:
            name = ""
        elif name not in plain:
            joint = "_" if name[-1].isdigit() or _is_word(f"{name}1") else ""
            while name == row.name or name in taken:
                numbers[row.name] += 1
                name = f"{row.name}{joint}{numbers[row.name]}"
            taken.add(name)
        names.append(name)
    return names


def _is_word(name: str) -> bool:
    """Whether a name belongs to the language or to a layer that it numbers itself (relu1)."""
    return name in OPS or name in RESERVED or bool(re.fullmatch(r"(?:relu|flatten)\d+", name))
