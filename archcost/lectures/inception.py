"""A table with a row for each inception module: GoogLeNet's table 1.

The columns are the paper's, in any order: ``type``, ``patch size/stride``, ``output size``,
``depth``, ``#1x1``, ``#3x3 reduce``, ``#3x3``, ``#5x5 reduce``, ``#5x5``, ``pool proj``, ``params``
and ``ops``. Bars, tabs or only spaces separate the cells. With spaces, the row's type decides what
a number means: a convolution fills at most two of the columns.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import OpError, SpecError, did_you_mean, shorten
from archcost.lectures.build import MAX_ROWS, assumed_input
from archcost.lectures.grid import Line, cells_of, name_of, nodes
from archcost.lectures.rows import MAX_LINE
from archcost.lectures.text import compact, figure, sizes
from archcost.network import NETWORK_INPUT
from archcost.ops import OPS
from archcost.published import Claim
from archcost.shape import show
from archcost.spec.document import Document
from archcost.spec.source import Node, Scalar, Sequence, Source
from archcost.units import number_of

COUNTS = ("1x1", "reduce3x3", "3x3", "reduce5x5", "5x5", "pool_proj")
"""The columns with numbers of filters, as the layers are named."""

IMAGE = 224
"""The height and width of an image, where not even the first output is printed."""

PAPER = ("type", "patch", "output", "depth", *COUNTS, "params", "ops")
"""The columns in the paper's order."""

_HEADS = re.compile(
    r"#?\s*(?P<kernel>[135])\s*x\s*(?P=kernel)(?P<reduce>\s*-?\s*red\w*\.?)?"
    r"|(?P<pool_proj>pool(?:ing)?(?:[\s/+-]*proj\w*)?)|(?P<type>\b(?:type|layer|name)s?\b)"
    r"|(?P<patch>(?:patch|kernel|filter)(?:[\s-]*size)?(?:\s*/?\s*stride)?)"
    r"|(?P<output>output(?:[\s-]*(?:size|shape))?)|(?P<depth>depth)"
    r"|(?P<params>#?\s*param\w*)|(?P<ops>\b(?:ops|operations|flops|macs)\b)",
    re.IGNORECASE,
)
_HEADS_GO_ON = re.compile(r"[|&#/:()]|stride|size|red\w*\.?|proj\w*", re.IGNORECASE)

TYPES = {
    "conv": r"conv(?:olution)?\d?",
    "maxpool": r"max[\s-]?pool(?:ing)?",
    "avgpool": r"(?:avg|average)[\s-]?pool(?:ing)?",
    "inception": r"inception\s*\(?\s*(?P<module>\d\s?[a-z])\s*\)?",
    "dropout": r"dropout\s*\(?\s*(?P<rate>\d{1,2}\s*%|0?\.\d{1,6})?\s*\)?",
    "linear": r"linear|fc|fully[\s-]connected",
    "softmax": r"soft-?max\d?",
    "lrn": r"lrn|local\s?resp(?:onse)?\s?norm(?:ali[sz]ation)?",
}
"""How the type of a row is printed, by its op."""

_TYPE = {
    kind: re.compile(rf"(?<![\w(])(?:{pattern})(?=[\s|&,:]|$)", re.IGNORECASE)
    for kind, pattern in TYPES.items()
}

_TOKENS = re.compile(
    r"(?P<output>\d{1,9}\s*x\s*\d{1,9}\s*x\s*\d{1,9})"
    r"|(?P<patch>\d{1,9}\s*x\s*\d{1,9}(?:\s*/\s*(?:s\s*)?\d{1,9})?)"
    r"|(?P<figure>\d[\d,.]{0,20}\s?[KMGB]\b)|(?P<count>\d{1,9}(?![\d.]))|(?P<blank>[|&\t-])",
    re.IGNORECASE,
)
_WHAT = {
    "output": r"\d{1,9}x\d{1,9}(?:x\d{1,9})?", "patch": r"\d{1,9}x\d{1,9}(?:/s?\d{1,9})?",
    "params": r"\S+", "ops": r"\S+",
}  # fmt: skip
"""How a cell of a column looks without spaces; other columns hold a number."""

_FILLS = {"inception": COUNTS, "conv": ("reduce3x3", "3x3")}
"""The columns with numbers of filters that a row may fill."""


@dataclass
class _Row:
    """One row: its op, or ``inception``, and the cells by column, without spaces."""

    op: str
    line: int
    column: int
    label: str = ""
    cells: dict[str, str] = field(default_factory=dict)

    def count(self, column: str) -> int:
        """Return the number in a column, 0 where it is empty."""
        return int(self.cells.get(column, "0"))


def read_inception(source: Source, lines: list[Line]) -> Document | None:
    """Read GoogLeNet's table; None where no line has its columns or one of its modules.

    Raises:
        SpecError: a row that is not understood, with its line.
    """
    for index, line in enumerate(lines):
        text = line.text[:MAX_LINE]
        found = _type(text)
        if found and re.search(r"\d\s*x\s*\d", text):
            names, above = _header(source, lines[max(0, index - 12) : index])
            module = found[0] == "inception" and len(re.findall(r"\d+", text)) > 8
            if module and not names:
                while index and _type(lines[index - 1].text[:MAX_LINE]):
                    index -= 1
            if {"3x3", "5x5"} <= set(names) or module:
                return _Reader(source, lines[index:], names or list(PAPER), above).document()
    return None


def _type(text: str) -> tuple[str, re.Match[str]] | None:
    """Return the op of a row, and where its type stands; None for another line.

    Beside the type a row has only numbers, their units, and marks.
    """
    for kind, pattern in _TYPE.items():
        match = pattern.search(text)
        if match and not re.search(r"[A-Za-z]{2,}", text[: match.start()] + text[match.end() :]):
            return kind, match
    return None


def _header(source: Source, lines: list[Line]) -> tuple[list[str], Line | None]:
    """Return the columns that the last lines name, and the first of these lines."""
    heads: list[Line] = []
    for line in reversed(lines):
        text = line.text[:MAX_LINE]
        left = _HEADS_GO_ON.sub(" ", _HEADS.sub(" ", text)).split()
        names_columns = re.search(r"#\s*\d|reduce|patch", text, re.IGNORECASE)
        if left and names_columns and len(_HEADS.findall(text)) > len(COUNTS):
            reason = f"not understood as a column: {shorten(left[0])!r}"
            raise SpecError(reason, source.name, line.number, text.find(left[0]) + 1)
        if left:
            break
        heads.insert(0, Line(line.number, text))
    if len(heads) > 1 and any(re.search(r"\S {2,}\S", text) for _, text in heads):
        beside = [match for _, text in heads for match in _HEADS.finditer(text)]
        matches = sorted(beside, key=lambda match: match.start())  # lines above one another
    else:
        matches = [*_HEADS.finditer(" ".join(text for _, text in heads))]
    found = []
    for match in matches:
        if match["kernel"]:
            kernel = f"{match['kernel']}x{match['kernel']}"
            found.append(f"reduce{kernel}" if match["reduce"] else kernel)
        else:
            found.append(match.lastgroup or "")
    for name in ("3x3", "5x5"):  # of two #3x3 the first reduces
        if found.count(name) == 2 and f"reduce{name}" not in found:
            found[found.index(name)] = f"reduce{name}"
    return found, heads[0] if heads else None


class _Reader:
    """Reads the rows and builds the network."""

    def __init__(
        self, source: Source, lines: list[Line], columns: list[str], header: Line | None
    ) -> None:
        self.source = source
        self.columns = columns
        self.named = header is not None
        self.rows: list[_Row] = []
        twice = [name for name, times in Counter(columns).items() if times > 1]
        if twice and header:
            raise SpecError(f"two columns are {twice[0]}", source.name, header.number, 1)
        for number, line in lines:
            row = self._row(number, line[:MAX_LINE])
            if row is not None:
                self.rows.append(row)
            if len(self.rows) > MAX_ROWS:
                raise SpecError(f"a table with more than {MAX_ROWS:,} rows", source.name, number, 1)

    def _error(self, row: _Row, reason: str) -> SpecError:
        what = f"{row.op} ({row.label})" if row.label else row.op
        return SpecError(f"{what}: {reason}", self.source.name, row.line, row.column)

    # Cells.

    def _row(self, line: int, text: str) -> _Row | None:
        found = _type(text)
        if found is None:
            self._refuse(line, text)
            return None
        kind, match = found
        rest = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
        if not re.search(r"\d", rest):
            return None
        groups = match.groupdict()
        label = groups.get("module") or groups.get("rate") or ""
        row = _Row(kind, line, match.start() + 1, compact(label).lower())
        if not self._fill(row, text):
            self._spread(row, rest)
        return row

    def _refuse(self, line: int, text: str) -> None:
        """Refuse a line that goes on as a row under an unknown name."""
        match = re.match(r"[\s|&]*([A-Za-z][A-Za-z -]{1,30})(?:\(\w{1,3}\))?(?=[\s|&\d])", text)
        if match is None or not re.search(r"\d\s*x\s*\d+\s*x\s*\d", text):
            return
        if re.search(r"[A-Za-z]{2,}", text[match.end() :]):
            return  # prose
        known = ("convolution", "max pool", "avg pool", "inception", "dropout", "linear", "softmax")
        hint = did_you_mean(match[1].strip().lower(), known)
        reason = f"not understood as a row of the table: {shorten(text.strip())!r}{hint}"
        raise SpecError(reason, self.source.name, line, match.start(1) + 1)

    def _fill(self, row: _Row, text: str) -> bool:
        """Take the cells between bars or tabs; False if they are not those of the header."""
        cells = cells_of(text)
        filled = {}
        for index, (_, cell) in enumerate(cells):
            shown = compact(cell)
            if shown in ("", "-") or _type(cell):
                continue
            name = self.columns[index] if index < len(self.columns) else ""
            if not re.fullmatch(_WHAT.get(name, r"\d{1,9}"), shown, re.IGNORECASE):
                return False
            if name in COUNTS and name not in _FILLS.get(row.op, ()):
                return False
            filled[name] = shown
        row.cells.update(filled)
        return len(cells) > 1 and "" not in filled

    def _spread(self, row: _Row, text: str) -> None:
        """Take the numbers of a row whose empty cells leave no trace."""
        found: dict[str, list[str]] = {kind: [] for kind in ("output", "patch", "count", "figure")}
        at = len(text) - len(text.lstrip())
        while at < len(text):
            token = _TOKENS.match(text, at)
            if token is None:
                reason = f"{row.op}: not understood: {shorten(text[at:].strip(), 40)!r}"
                raise SpecError(reason, self.source.name, row.line, at + 1)
            if token.lastgroup and token.lastgroup != "blank":
                found[token.lastgroup].append(compact(token[0]))
            at = token.end() + len(text[token.end() :]) - len(text[token.end() :].lstrip())
        counts, figures = found["count"], found["figure"]
        fills = _FILLS.get(row.op, ()) if row.op == "inception" or len(counts) > 1 else ()
        names = [name for name in self.columns if name in (*fills, "depth")]
        if counts and len(counts) != len(names):
            reason = f"{number_of(len(counts), 'number')} for {', '.join(names) or 'no column'}"
            raise self._error(row, reason)
        priced = [name for name in self.columns if name in ("params", "ops")]
        if len(figures) == 1 and len(priced) == 2:
            priced = ["params" if figures[0].upper().endswith("K") else "ops"]
        for columns, values in (
            (["output"], found["output"]), (["patch"], found["patch"]), (names, counts),
            (priced, figures),
        ):  # fmt: skip
            if len(values) > len(columns):
                what = columns[-1] if columns else "figure"
                raise self._error(row, f"a second {what}: {values[-1]!r}")
            row.cells.update(zip(columns, values, strict=False))

    # The network.

    def document(self) -> Document | None:
        """Return the document; None without a row."""
        rows = self.rows
        if not any(row.op in ("conv", "inception") for row in rows):
            return None
        if rows[0].op != "conv":
            reason = "no row before it says what it reads; a table begins with a convolution"
            raise self._error(rows[0], reason)
        return _Network(self.source, rows, self.named).document()


class _Network:
    """Builds the items of the network and its claims."""

    def __init__(self, source: Source, rows: list[_Row], named: bool) -> None:
        self.source = source
        self.claims: list[Claim] = []
        self.items: list[Node] = []
        _, stride = self._window(rows[0])
        height, width, *_ = self._output(rows[0]) or (IMAGE // stride, IMAGE // stride)
        self.input = (height * stride, width * stride, 3)
        self.size: tuple[int, ...] = self.input[:2]
        self.flat = False
        first = rows[0]
        self._claim(first, NETWORK_INPUT, "input", "", assumed_input(self.input).note)
        note = (
            "no padding or bias is printed; taken: windows that keep the size, pooling rounded up, "
            "and biases"
        )
        if not any(row.op == "lrn" for row in rows):
            note += "; normalisation, which the paper has, is left out"
        self._claim(first, "", "padding", "", note)
        if not named:
            note = "no names of columns are printed; taken: the paper's, in its order"
            self._claim(first, "", "columns", "", note)
        numbers: Counter[str] = Counter()
        for index, row in enumerate(rows):
            numbers[row.op] += 1
            later = {row.op for row in rows[index + 1 :]}
            last = not later & {"conv", "inception", "linear"}
            self._add(row, f"{row.op}{numbers[row.op]}", last)

    def _error(self, row: _Row, reason: str) -> SpecError:
        return SpecError(f"{row.op}: {reason}", self.source.name, row.line, row.column)

    def _claim(self, row: _Row, path: str, quantity: str, printed: str, note: str = "") -> None:
        self.claims.append(Claim(path, quantity, printed, row.line, note, column=row.column))

    def _window(self, row: _Row) -> tuple[int, int]:
        shown = row.cells.get("patch", "")
        match = re.fullmatch(r"(\d+)x(\d+)(?:/s?(\d+))?", shown, re.IGNORECASE)
        if match is None:
            raise self._error(row, "no patch size; a row prints `3x3/2`")
        if match[1] != match[2] or match[1] == "0" or match[3] == "0":
            raise self._error(row, f"a patch is square and at least 1x1; got {shown!r}")
        return int(match[1]), int(match[3] or 1)

    def _output(self, row: _Row) -> tuple[int, ...] | None:
        shown = row.cells.get("output", "")
        return sizes(shown) if re.fullmatch(r"\d+x\d+(?:x\d+)?", shown) else None

    def _add(self, row: _Row, name: str, last: bool) -> None:
        path, items = name, self._items(row, name, last)
        if row.op == "inception":
            path = f"inception{row.label}"
            items = [{path: items}]
        self.items += [nodes(item, row.line, row.column) for item in items]
        for column, quantity in (("output", "output"), ("params", "params"), ("ops", "macs")):
            shown = row.cells.get(column, "")
            printed = shown if column == "output" else figure(shown)
            if shown and printed is None:
                raise self._error(row, f"no number in {shorten(shown)!r}")
            if printed and printed.strip("0"):
                self._claim(row, path, quantity, printed)

    def _items(self, row: _Row, name: str, last: bool) -> list[Any]:
        match row.op:
            case "conv":
                return self._conv(row, name)
            case "maxpool" | "avgpool":
                self.flat = row.op == "avgpool" and (self._output(row) or ())[:2] == (1, 1)
                return [{name: self._pool(row)}, *(["flatten"] if self.flat else [])]
            case "inception":
                return self._module(row)
            case "dropout":
                rate = row.label or "0.4"
                share = f"{int(rate[:-1])} / 100" if rate.endswith("%") else rate
                return [{name: f"dropout({share})"}]
            case "linear":
                output = self._output(row)
                if output is None:
                    raise self._error(row, "no output size; a row prints `1x1x1000`")
                before, self.flat = [] if self.flat else ["flatten"], True
                return [*before, {name: f"linear({output[-1]})"}, *([] if last else ["relu"])]
            case "lrn":
                return [{name: "lrn(5)"}]
        return [{name: row.op}]

    def _conv(self, row: _Row, name: str) -> list[Any]:
        kernel, stride = self._window(row)
        output = self._output(row)
        width, reduce = row.count("3x3"), row.count("reduce3x3")
        if output is None or len(output) < 3:
            if not width:
                raise self._error(row, "no output size; a row prints `112x112x64`")
        else:
            width = output[2]
        moved = f", stride={stride}" if stride > 1 else ""
        pad = f", padding={kernel // 2}" if kernel > 1 else ""
        main = f"conv({width}, {kernel}{moved}{pad})"
        self.size = tuple(-(-size // stride) for size in self.size)
        if not reduce:
            return [{name: main}, "relu"]
        return [{name: [{"reduce": f"conv({reduce}, 1)"}, "relu", {"3x3": main}, "relu"]}]

    def _pool(self, row: _Row) -> str:
        """Return a pooling whose windows give the printed size; rounded up if several do."""
        kernel, stride = self._window(row)
        target = self._output(row)
        usual: dict[str, Any] = {"kernel_size": kernel, "stride": stride}
        ways: list[dict[str, Any]] = [{"ceil_mode": True}, {}, {"padding": kernel // 2}]
        if row.op == "avgpool":
            ways = [{}, {"ceil_mode": True}, {"padding": kernel // 2}]
        for way in ways:
            try:
                gives = OPS[row.op].create([], usual | way).cost((1, *self.size)).output[1:]
            except OpError:
                continue
            if target is None or gives == target[:2]:
                self.size = gives
                return _call(row.op, kernel, stride, way)
        return _call(row.op, kernel, stride, ways[0])

    def _module(self, row: _Row) -> list[Any]:
        missing = [name for name in COUNTS if not row.count(name)]
        if missing:
            raise self._error(row, f"({row.label}) has no number under {missing[0]}")
        one, reduce3, three, reduce5, five, pool = map(row.count, COUNTS)
        branches = {
            "1x1": f"conv({one}, 1) >> relu",
            "3x3": f"conv({reduce3}, 1) >> relu >> conv({three}, 3, padding=1) >> relu",
            "5x5": f"conv({reduce5}, 1) >> relu >> conv({five}, 5, padding=2) >> relu",
            "pool": f"maxpool(3, stride=1, padding=1) >> conv({pool}, 1) >> relu",
        }
        return [{"concat": branches}]

    def document(self) -> Document:
        """Return the document."""
        line, column = self.claims[0].line, self.claims[0].column
        shape = Scalar(show((self.input[2], *self.input[:2])), line, column)
        return Document(
            self.source, name_of(self.source), False, {"input": shape}, {}, {}, {}, {},
            Sequence(self.items, line, column), claims=self.claims,
        )  # fmt: skip


def _call(op: str, kernel: int, stride: int, way: dict[str, Any]) -> str:
    more = "".join(f", {key}={value}" for key, value in way.items())
    return f"{op}({kernel}, stride={stride}{more})"
