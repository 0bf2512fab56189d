"""A table with a stack of convolutions in each cell and a network in each column: ResNet's table 1.

A cell prints a block and how often it repeats, ``[1x1, 64; 3x3, 64; 1x1, 256] x3``, on one line or
on several, with brackets or without. Bars or tabs separate the cells. If only spaces are left, the
stacks follow one another, or each line holds a convolution of every column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from archcost.errors import SpecError, shorten
from archcost.lectures.blocks import Block, Conv, Part, ResidualNetwork, Stage, document
from archcost.lectures.columns import MAX_COLUMNS
from archcost.lectures.grid import Cell, Line, cells_of
from archcost.lectures.rows import MAX_LINE, MAX_REPEAT
from archcost.published import Published
from archcost.spec.document import Document
from archcost.spec.source import Source
from archcost.units import number_of

COLUMN = re.compile(
    r"\d{1,4}[\s-]layers?\b|\b(?:Wide|SE|Pre)?-?Res(?:Net|NeXt)[\s-]?\d{1,4}", re.IGNORECASE
)
"""What heads a column: 50-layer, ResNet-50."""

_LABEL = re.compile(
    r"(?P<word>conv|stage|layer|res|block)[\s_]?(?P<number>\d{1,2})(?P<many>[\s_]{0,3}x)?(?=[\s,:]|$)",
    re.IGNORECASE,
)
_FIGURES = re.compile(r"[#\s]*(?P<what>flops|macs|params|parameters)\b", re.IGNORECASE)
_FIGURE = re.compile(
    r"(\d{1,9}(?:\.\d{1,6})?)\s*(?:x\s*10\s*\^?\s*([69\u2076\u2079])|([KMGB]))", re.IGNORECASE
)
_UNITS = {"6": "M", "9": "G", "\u2076": "M", "\u2079": "G"}

_N = r"(\d{1,9})"
_MAX_POOL = r"max[\s-]?pool(?:ing)?"
_STRIDE = rf"(?:\s*,\s*stride\s*{_N})?"
PIECES = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
        "pool": rf"{_N}\s*x\s*\d{{1,9}}\s*,?\s*{_MAX_POOL}(?:\s*,?\s*(?:stride|/)\s*{_N})?",
        "conv": rf"{_N}\s*x\s*{_N}(?:\s*conv)?\s*,\s*{_N}{_STRIDE}(?:\s*,\s*C\s*=\s*{_N})?",
        "average": r"(?:global\s+)?(?:average|avg)[\s-]?pool(?:ing)?",
        "linear": rf"{_N}[\s-]*d?[\s-]*(?:fc|fully[\s-]connected)|fc[\s-]*{_N}",
        "softmax": r"soft-?max",
        "size": rf"{_N}\s*x\s*{_N}",
        "repeat": rf"x\s*{_N}",
        "mark": r"(?:\(cid:\d{1,4}\)|[][(){}:;,\u2026|\u23a1-\u23ad\s\x00-\x1f\ue000-\uf8ff])+",
    }.items()
}
"""What a cell is made of, by kind; brackets of a PDF may be signs of their own."""

MAX_STAGES = 100
MAX_LINES_OF_STACK = 3 * 3 * MAX_COLUMNS

_HEAD = ("average", "linear", "softmax")


class Token(NamedTuple):
    """A piece of a cell: its kind, its numbers (0 where one is left out), and its place."""

    kind: str
    numbers: tuple[int, ...]
    line: int
    column: int


@dataclass
class _Printed:
    """What is printed under one layer name.

    ``lines`` has the tokens of each line by column; under None are those of all columns, and
    those of which no bar or tab says the column.
    """

    name: str
    line: int
    column: int
    output: str = ""
    lines: list[dict[int | None, list[Token]]] = field(default_factory=list)


def read_residual(source: Source, lines: list[Line]) -> Document | None:
    """Read ResNet's table; None where no line heads columns that hold such stacks.

    Raises:
        SpecError: a cell that is not understood, with its place.
    """
    stack = re.compile(r"\d\s*x\s*\d{1,4}\s*,\s*\d")
    for index, (_, text) in enumerate(lines):
        names = len(COLUMN.findall(text[:MAX_LINE]))
        heads = names > 1 or (names and re.search(r"output|layer name", text, re.IGNORECASE))
        if heads and any(stack.search(below[:MAX_LINE]) for _, below in lines[index + 1 :][:60]):
            return _Reader(source, lines, index).document()
    return None


class _Reader:
    """Reads what is printed under each layer name, and says what each column has of it."""

    def __init__(self, source: Source, lines: list[Line], header: int) -> None:
        self.source = source
        self.header = lines[header].number
        text = lines[header].text[:MAX_LINE]
        cells = cells_of(text)
        names = [Cell(match.start() + 1, match[0]) for match in COLUMN.finditer(text)]
        self.explicit = len(cells) > 1 and len(names) <= len(cells)
        self.roles = ["" if COLUMN.search(cell) else "margin" for _, cell in cells]
        if self.explicit:
            names = [cell for cell in cells if COLUMN.search(cell.text)]
        self.names = [Cell(at, re.sub(r"[^\w.+-]+", "-", name).strip("-")) for at, name in names]
        if len({name for _, name in self.names}) < len(self.names):
            raise self._error("two columns have the same name", names[0].column)
        if len(names) > MAX_COLUMNS:
            raise self._error(f"a table with more than {MAX_COLUMNS} columns", names[0].column)
        self.stages: list[_Printed] = []
        self.published: list[Published] = []
        for number, line in lines[header + 1 :]:
            self._read(number, line[:MAX_LINE])

    def _error(self, reason: str, column: int, line: int = 0) -> SpecError:
        return SpecError(reason, self.source.name, line or self.header, column)

    # Lines.

    def _read(self, line: int, text: str) -> None:
        cells = cells_of(text)
        margin = [cell for cell, role in zip(cells, self.roles, strict=False) if role]
        first = next((cell for cell in margin or cells if cell.text), cells[0])
        for cell in margin:
            first = cell if _LABEL.match(cell.text) or _FIGURES.match(cell.text) else first
        if match := _FIGURES.match(first.text):
            self._figures(line, text, "params" if match["what"][0] in "pP" else "macs")
            return
        label = _LABEL.match(first.text)
        if label:
            name = f"{label['word'].lower()}{label['number']}{'_x' if label['many'] else ''}"
            self.stages.append(_Printed(name, line, first.column))
            if len(self.stages) > MAX_STAGES:
                reason = f"a table with more than {MAX_STAGES} layer names"
                raise self._error(reason, first.column, line)
            rest = first.text[label.end() :]
            cut = Cell(first.column + label.end() + len(rest) - len(rest.lstrip()), rest.strip())
            cells = [cut if cell is first else cell for cell in cells]
        found: dict[int | None, list[Token]] = {}
        for column, cell in self._aligned(line, cells, bool(label)):
            if tokens := self._tokens(line, cell, bool(label)):
                found[column] = found.get(column, []) + tokens
        if found:
            self._take(line, found)

    def _aligned(
        self, line: int, cells: list[Cell], labelled: bool
    ) -> list[tuple[int | None, Cell]]:
        """Return the cells with the column of each; None for the margin and where none is said."""
        if not self.explicit or len(cells) == 1:
            return [(None, cells[0])]
        margin = self.roles.index("") if "" in self.roles else 0
        begins = PIECES["conv"].match(cells[0].text.lstrip("[( "))
        if begins and not labelled and len(cells) <= len(self.names) and margin:
            return list(enumerate(cells))  # the empty cells before them are left out
        placed: list[tuple[int | None, Cell]] = []
        number = 0
        for index, cell in enumerate(cells):
            if index < len(self.roles) and not self.roles[index]:
                placed.append((number, cell))
                number += 1
            elif cell.text and index < len(self.roles):
                placed.append((None, cell))
            elif cell.text:
                columns = number_of(len(self.roles), "column")
                reason = f"{number_of(len(cells), 'cell')} in a table with {columns}"
                raise self._error(reason, cell.column, line)
        filled = [cell for column, cell in placed if column is not None and cell.text]
        if len(filled) == 1 and all(
            _stands_alone(token, len(self.stages) == 1)
            for token in self._tokens(line, filled[0], False)
        ):
            return [(None, cell) for _, cell in placed]  # one cell over all columns
        return placed

    def _tokens(self, line: int, cell: Cell, strict: bool) -> list[Token]:
        """Return the pieces of a cell; prose has none, and is refused with ``strict``."""
        found: list[Token] = []
        at = 0
        while at < len(cell.text):
            kind, match = next(
                ((k, m) for k, piece in PIECES.items() if (m := piece.match(cell.text, at))),
                ("", None),
            )
            if match is None:
                rest = cell.text[at:]
                if not strict and (not found or re.search(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}", rest)):
                    return []
                reason = (
                    f"not understood: {shorten(rest.strip(), 40)!r}; a cell prints "
                    "`[3x3, 64; 3x3, 64] x2`"
                )
                raise self._error(reason, cell.column + at, line)
            if kind != "mark":
                numbers = tuple(int(number or 0) for number in match.groups())
                found.append(Token(kind, numbers, line, cell.column + at))
            at = match.end()
        return found

    def _take(self, line: int, found: dict[int | None, list[Token]]) -> None:
        """Put a line's tokens under its layer name, or under the head of the network."""
        tokens = [token for tokens in found.values() for token in tokens]
        begun = bool(self.stages) and self.stages[-1].name == "head"
        if not begun and any(token.kind in _HEAD for token in tokens):
            self.stages.append(_Printed("head", line, tokens[0].column))
        if not self.stages:
            reason = "no layer name before it; a row begins with `conv1` or `conv2_x`"
            raise self._error(reason, tokens[0].column, line)
        stage = self.stages[-1]
        for token in tokens:
            if stage.name == "head" and token.kind not in (*_HEAD, "size"):
                reason = "a convolution or pooling behind the head of the network"
                raise self._error(reason, token.column, line)
            if token.kind == "size":
                stage.output = stage.output or "x".join(map(str, token.numbers))
        stage.lines.append(
            {
                column: kept
                for column, tokens in found.items()
                if (kept := [token for token in tokens if token.kind != "size"])
            }
        )

    def _figures(self, line: int, text: str, quantity: str) -> None:
        figures = _FIGURE.findall(text)
        if len(figures) != len(self.names):
            networks = number_of(len(self.names), "network")
            reason = f"{number_of(len(figures), 'figure')} in a table with {networks}"
            raise self._error(reason, 1, line)
        for (_, name), (number, power, unit) in zip(self.names, figures, strict=True):
            printed = f"{number}{_UNITS.get(power, unit.upper())}"
            self.published.append(Published(self.source.name, {quantity: printed}, name, line=line))

    # Columns.

    def document(self) -> Document:
        """Return the document: every column is a variant."""
        self._regroup()
        stages = [(stage, self._parts(stage)) for stage in self.stages]
        networks = []
        for number, (column, name) in enumerate(self.names):
            own = [
                Stage(stage.name, stage.line, stage.column, stage.output, parts[number])
                for stage, parts in stages
                if parts[number]
            ]
            if not own:
                raise self._error(f"the column {name!r} has no layers", column)
            networks.append(ResidualNetwork(self.source, Line(self.header, name), column, own))
        return document(self.source, networks, self.published)

    def _parts(self, stage: _Printed) -> list[list[Part]]:
        """Return what each column has of a stage."""
        shared: list[Part] = []
        own: list[list[Token]] = [[] for _ in self.names]
        loose: list[list[Token]] = []
        for line in stage.lines:
            for column, tokens in line.items():
                if column is not None:
                    own[column] += tokens
                    continue
                first = stage is self.stages[0]
                plain = [t for t in tokens if _stands_alone(t, first)]
                shared += [_part(token) for token in plain]
                if stack := [token for token in tokens if token not in plain]:
                    loose.append(stack)
        if loose:
            own = self._told_apart(stage, loose)
        first = stage is self.stages[0]
        return [shared + self._column(stage, tokens, first) for tokens in own]

    def _column(self, stage: _Printed, tokens: list[Token], first: bool) -> list[Part]:
        parts = [_part(token) for token in tokens if _stands_alone(token, first)]
        convs = [t for t in tokens if t.kind == "conv" and not _stands_alone(t, first)]
        times = [token for token in tokens if token.kind == "repeat"]
        if not convs and not times:
            return parts
        blocks = _blocks([_conv(token) for token in convs])
        at = (convs or times)[0]
        if blocks is None or len(blocks) != len(times):
            given = "convolutions that are no block"
            given = number_of(len(times), "repeat") if blocks else given
            reason = (
                f"{stage.name}: {given}; a block prints two convolutions of one size, or 1x1, "
                "3x3, 1x1, and its repeat: `[3x3, 64; 3x3, 64] x2`"
            )
            raise self._error(reason, at.column, at.line)
        for block, repeat in zip(blocks, times, strict=True):
            if not 1 <= repeat.numbers[0] <= MAX_REPEAT:
                reason = f"a repeat is from 1 to {MAX_REPEAT:,}; got {repeat.numbers[0]}"
                raise self._error(reason, repeat.column, repeat.line)
            parts.append(Part("blocks", Block(tuple(block), repeat.numbers[0]), at.line, at.column))
        return parts

    def _told_apart(self, stage: _Printed, lines: list[list[Token]]) -> list[list[Token]]:
        """Return the tokens of each column where bars and tabs are lost."""
        way = self._way(lines)
        if way is None:
            at = lines[0][0]
            reason = (
                f"{stage.name}: the stacks of {len(self.names)} columns cannot be told apart; "
                "print bars or tabs between the cells"
            )
            raise self._error(reason, at.column, at.line)
        return way

    def _way(self, lines: list[list[Token]]) -> list[list[Token]] | None:
        """Return the tokens of each column, in the first way in which all of them are blocks."""
        count = len(self.names)
        kinds = [token.kind for tokens in lines for token in tokens]
        if kinds.count("repeat") != count or kinds.count("conv") > 3 * count:
            return None
        for way in (_one_by_one(lines, count), _across(lines, count), self._beneath(lines)):
            if way and all(
                (blocks := _blocks([_conv(t) for t in tokens if t.kind == "conv"]))
                and len(blocks) == sum(t.kind == "repeat" for t in tokens)
                for tokens in way
            ):
                return way
        return None

    def _regroup(self) -> None:
        """Give each layer name its stacks if the name is beside the middle of them.

        The stacks are then cut where every column has a whole block with its repeat.
        """
        named = [stage for stage in self.stages if stage.name != "head"]
        groups: list[list[list[Token]]] = []
        current: list[list[Token]] = []
        for stage in named:
            for line in stage.lines:
                tokens = [t for t in line.get(None, []) if not _stands_alone(t, False)]
                current += [tokens] if tokens else []
                if len(current) > MAX_LINES_OF_STACK:
                    return
                if tokens and self._way(current):
                    groups.append(current)
                    current = []
        if self.explicit or current or len(groups) != len(named) - 1:
            return
        alone = [
            [t for line in stage.lines for t in line.get(None, []) if _stands_alone(t, False)]
            for stage in named
        ]
        if len(named) > 1:  # the first row has no pooling: it is of the blocks below
            alone[1] = [token for token in alone[0] if token.kind == "pool"] + alone[1]
            alone[0] = [token for token in alone[0] if token.kind != "pool"]
        for number, stage in enumerate(named):
            own = groups[number - 1] if number else []
            stage.lines = [{None: tokens} for tokens in [alone[number], *own] if tokens]

    def _beneath(self, lines: list[list[Token]]) -> list[list[Token]]:
        """Give each token to the column whose name stands nearest above it."""
        centres = [name.column + len(name.text) / 2 for name in self.names]
        own: list[list[Token]] = [[] for _ in centres]
        for tokens in lines:
            for token in tokens:
                middle = token.column + (3.5 if token.kind == "conv" else -3)
                near = min(range(len(centres)), key=lambda n: abs(centres[n] - middle))
                own[near].append(token)
        return own


def _stands_alone(token: Token, first: bool) -> bool:
    """Whether a token is a layer outside the blocks; the first row has no blocks."""
    return token.kind in ("pool", *_HEAD) or (
        token.kind == "conv" and (bool(token.numbers[3]) or first)
    )


def _part(token: Token) -> Part:
    what = _conv(token) if token.kind == "conv" else token.numbers
    return Part(token.kind, what, token.line, token.column)


def _conv(token: Token) -> Conv:
    kernel, _, width, stride, groups = token.numbers
    return Conv(kernel, width, stride or 1, groups or 1)


def _blocks(convs: list[Conv]) -> list[list[Conv]] | None:
    """Return convolutions as blocks, 1x1 3x3 1x1 or two of one size; None if they are none."""
    blocks = []
    at = 0
    while at < len(convs):
        bottleneck = convs[at].kernel == 1
        block = convs[at : at + 3 if bottleneck else at + 2]
        kernels = [conv.kernel for conv in block]
        if bottleneck:
            if len(block) < 3 or kernels[1] == 1 or kernels[2] != 1:
                return None
        elif len(block) < 2 or block[0] != block[1]:
            return None
        blocks.append(block)
        at += len(block)
    return blocks


def _one_by_one(lines: list[list[Token]], count: int) -> list[list[Token]] | None:
    """Give each column the next block, and the next repeat."""
    tokens = [token for line in lines for token in line]
    convs = [token for token in tokens if token.kind == "conv"]
    times = [token for token in tokens if token.kind == "repeat"]
    blocks = _blocks([_conv(token) for token in convs])
    if not blocks or len(blocks) != count or len(times) != count:
        return None
    own = []
    for block, repeat in zip(blocks, times, strict=True):
        own.append([*convs[: len(block)], repeat])
        convs = convs[len(block) :]
    return own


def _across(lines: list[list[Token]], count: int) -> list[list[Token]] | None:
    """Give each column one convolution of a line; a shorter line is for blocks not yet whole."""
    own: list[list[Token]] = [[] for _ in range(count)]
    times: list[Token] = []
    for tokens in lines:
        convs = [token for token in tokens if token.kind == "conv"]
        times += [token for token in tokens if token.kind == "repeat"]
        open_ones = [
            column
            for column, have in enumerate(own)
            if len(convs) == count or not have or _blocks([_conv(t) for t in have]) is None
        ]
        if convs and len(convs) != len(open_ones):
            return None
        for column, token in zip(open_ones, convs, strict=False):
            own[column].append(token)
    if len(times) != count:
        return None
    return [[*have, repeat] for have, repeat in zip(own, times, strict=True)]
