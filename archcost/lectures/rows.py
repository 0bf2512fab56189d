"""One line of a lecture's text as rows of a layer table, in any of the printed notations.

A line is a row if it begins with a bracketed shape. It is also a row if it begins with the name of
a layer, and then has what rows have there (``:``, a number, a comma, ``/ s2``, nothing). Other
lines are prose, and None. A line that is a row but cannot be understood raises :class:`RowError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from archcost.errors import ArchcostError, shorten
from archcost.lectures.text import SIZE, compact, figure, sizes
from archcost.shape import Shape

MAX_LINE = 2_000
MAX_REPEAT = 1_000

_BRACKET = re.compile(rf"\[\s*({SIZE}|\d{{1,9}})\s*\]")
_HALVES = re.compile(r"x\s*\d{1,9}\s*$")
_HEAD = re.compile(
    r"(?:(?P<times>\d{1,9})\s*x\s*)?"
    r"(?P<word>(?:MAX|AVG|AVERAGE)[\s-]?POOL|POOL|CONV(?:\s+dw)?|BATCH[\s-]?NORM|NORM|LRN|FC"
    r"|DROPOUT|SOFT-?MAX|RELU|FLATTEN|INPUT)"
    r"(?P<digits>\d{0,9}(?:-\d{1,9})?)(?![A-Za-z0-9])",
    re.IGNORECASE,
)
_LIKE_A_ROW = re.compile(
    rf"[^\[\]:]{{1,30}}:\s*\[\s*{SIZE}"  # CNV3-64: [224x224x64]
    r"|\w[\w-]{0,30}\s*,\s*stride\s+\d"  # Cnv5-256, stride 1
    r"|[^\t|]{1,30}[/\s]\s*s\d\s*(?:[\t|]|$)"  # Cnv / s2
    r"|(?:CONV|POOL|NORM|FC)\d(?:\s*,\s*\d)+\s*:"  # CONV3,4,5: instead of ...
    rf"|(?!{_BRACKET.pattern})\[\s*\d{{1,9}}\s*x"  # [55x55x96 CONV1, [1x1 conv, 128]
    r"|[^\w\[]?\d[\dx\s]{0,30}\]"  # 55x55x96] CONV1
    r"|\[.{1,40}(?:\bfilters\b|\bneurons\b|(?:CONV|POOL|NORM|FC)\d)"  # [4/96] FC6: 4096 neurons
    r"|(?:conv|(?:max|avg)?pool|fc)-?\d[\w-]*\s*$",  # FC40X6
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"conv\d{1,4}-\d{1,9}|(?:max|avg)pool\d{0,4}|lrn|norm|fc-?\d{2,9}|soft-?max", re.IGNORECASE
)

WORDS = {
    "conv": "conv", "convdw": "depthwise", "maxpool": "maxpool", "pool": "maxpool",
    "avgpool": "avgpool", "averagepool": "avgpool", "norm": "lrn", "lrn": "lrn",
    "batchnorm": "batchnorm", "fc": "linear", "dropout": "dropout", "softmax": "softmax",
    "relu": "relu", "flatten": "flatten", "input": "input",
}  # fmt: skip


class Printed(NamedTuple):
    """A figure beside a row: its quantity, its text, and what is wrong with it."""

    quantity: str
    text: str
    note: str = ""


class RowError(ArchcostError):
    """A line that looks like a row and cannot be read; ``offset`` counts characters into it."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.offset = offset


@dataclass
class Row:
    """One printed layer; None and empty mean that the text prints nothing.

    Attributes:
        name: the layer's name as printed, without spaces: ``CONV1``, ``conv3-64``, ``Conv-dw``.
        op: the op of the spec language, or ``depthwise`` or ``input``.
        line, column: its place in the text, from 1.
        text: the printed row.
        channels: output channels of a convolution, width of a fully connected layer.
        kernel, stride, pad: the window.
        rate: of dropout.
        sized: written as ``Conv 7 x 7 x 64``.
        output, reads: the printed output and input, height x width x channels.
        filters: whether its filters are printed as a shape, with all their weights.
        times: the printed repeat.
        printed: the figures beside the row.
    """

    name: str
    op: str
    line: int
    column: int
    text: str
    channels: int | None = None
    kernel: tuple[int, int] | None = None
    stride: int | None = None
    pad: int | None = None
    rate: str = ""
    sized: bool = False
    output: Shape | None = None
    reads: Shape | None = None
    filters: bool = False
    times: int = 1
    printed: list[Printed] = field(default_factory=list)


def read_rows(text: str, line: int, column: int = 1) -> list[Row] | None:
    """Return the rows on a cleaned line (``conv3-64 conv3-64`` is two), None for prose.

    Raises:
        RowError: the line looks like a row and is not understood.
    """
    text = text[: MAX_LINE + 1]
    start = len(text) - len(text.lstrip())
    tokens = list(re.finditer(r"\S+", text))
    if not tokens:
        return None
    if len(tokens) > 1 and all(_TOKEN.fullmatch(token[0]) for token in tokens):
        rows = [_row(token[0], line, column + token.start()) for token in tokens]
        return [row for row in rows if row is not None]
    try:
        row = _row(text.strip(), line, column + start)
    except RowError as error:
        raise RowError(str(error), error.offset + start) from None
    if row is not None:
        return [row]
    near = _misspelt(text.strip())
    if near or _LIKE_A_ROW.match(text.strip()):
        hint = f"; did you mean {near!r}?" if near else ""
        raise RowError(f"not understood as a layer: {shorten(text)!r}{hint}", start)
    return None


def _row(text: str, line: int, column: int) -> Row | None:
    bracket = _BRACKET.match(text)
    rest = text[bracket.end() :].lstrip() if bracket else text
    head = _HEAD.match(rest)
    after = rest[head.end() :].lstrip() if head else ""
    if not head or not _goes_on_as_row(head, after):
        _refuse_nameless(bracket, rest)
        return None
    if len(text) == MAX_LINE + 1:
        raise RowError(f"a row longer than {MAX_LINE:,} characters")
    word, digits, op = head["word"], head["digits"], _op(head)
    # MAX POOL1 is the layer POOL1; Avg Pool and Conv dw are Avg-Pool and Conv-dw
    shown = word.split()[-1] if digits and op != "depthwise" else word
    row = Row(re.sub(r"\s+", "-", shown) + digits, op, line, column, " ".join(text.split()))
    if bracket:
        row.output = sizes(bracket[1])
        row.printed.append(Printed("output", compact(bracket[1])))
    if head["times"]:
        row.times = int(head["times"])
        if not 1 <= row.times <= MAX_REPEAT:
            raise RowError(f"a repeat is from 1 to {MAX_REPEAT:,}; got {row.times}")
    offset = len(text) - len(after)
    if op == "input":
        return _input(row, after, offset)
    if re.match(r"/\s*s", after):
        _cells(row, after, offset)
    else:
        _description(row, after, offset)
        # `MAX POOL2` and `FC6:` are numbered, `POOL2:` is 2x2 and FC4096 is 4096 wide
        counted = after.startswith(":") if op == "linear" else bool(bracket) or " " in word
        _from_name(row, digits, counted)
    return row


_ROW_GOES_ON = re.compile(
    r"\s*|[\s,]*\S{0,4}[\s,]*stride\s*\d+|\(\s*[\d.]+\s*\)?|\s*\d+(?:\s*x\s*\d+)+", re.IGNORECASE
)


def _misspelt(text: str) -> str | None:
    """Return the layer that a line nearly begins with, if it goes on as a row: ``FC40Y6``."""
    match = re.match(r"\W{0,3}\d{0,9}([A-Za-z][^\s(,:/]{0,20})(.{0,60})$", text)
    if not match or not _ROW_GOES_ON.fullmatch(match[2].rstrip()):
        return None
    letters = re.sub(r"[^a-z]", "", match[1].lower())
    word_alone = not match[2].strip() and not re.search(r"\d", match[1])
    if word_alone and (len(letters) < 5 or letters.startswith(tuple(WORDS))):
        return None  # a heading: Cons, Pooling
    from difflib import get_close_matches

    close = get_close_matches(letters, WORDS, n=1, cutoff=0.85 if word_alone else 0.66)
    return close[0] if close else None


def _op(head: re.Match[str]) -> str:
    return WORDS[re.sub(r"[\s-]", "", head["word"]).lower()]


def _goes_on_as_row(head: re.Match[str], after: str) -> bool:
    """Whether a row continues like this after a layer's name; prose has words or arrows."""
    numbered = bool(head["digits"])
    match after[:1]:
        case "":
            return True
        case ",":  # `CONV1, CONV2: same GPU` is prose, `Conv5-256, stride 1` a row
            setting = re.match(r",\s*(?:stride|pad)", after, re.IGNORECASE)
            return bool(setting) or (numbered and not re.match(r",\s*[A-Z]", after))
        case ":":  # `Dropout: zeroes at random` is prose, `FC: [1x1x4096]` a row
            return numbered or bool(re.match(r":\s*[\[\d]", after)) or _op(head) == "input"
        case "(":
            return numbered or _op(head) not in ("conv", "linear", "maxpool", "avgpool")
    if re.match(r"[-_]?\d|[-\s]*x\s*\d", after):
        return _op(head) in ("conv", "depthwise", "linear", "maxpool", "avgpool")
    more = r"[\[/|]|(?:stride|pad)\b|(?:conv|maxpool|fc|lrn|norm|soft-?max)(?:\d|-\d|$)"
    return bool(re.match(more, after, re.IGNORECASE))


def _refuse_nameless(bracket: re.Match[str] | None, rest: str) -> None:
    """Refuse a bracketed shape without a layer, unless it is a side note or a caption."""
    if bracket is None:
        return
    axes = len(sizes(bracket[1]))
    if axes == 1 or (axes == 2 and not rest) or _HALVES.match(rest):
        return  # [14] cites a paper; [7x7] labels a drawing; [55x55x48] x 2 repeats CONV1 in halves
    raise RowError(f"{compact(bracket[0])} is not followed by a known layer: {shorten(rest)!r}")


_PICTURE = re.compile(r"(?:RGB|gr[ae]y\s?scale|colou?r|images?|[):,.])\s*", re.IGNORECASE)


def _input(row: Row, after: str, offset: int) -> Row | None:
    match = re.match(rf"[:(\s]*\[?\s*({SIZE})\s*\]?\s*", after)
    if match:
        row.output = sizes(match[1])
        row.printed = [Printed("output", compact(match[1]))]
    elif row.output is None:
        if not re.search(r"\d|\[", after):
            return None  # the word alone, or `Input: N x N`
        raise RowError(f"{row.name}: no shape in {shorten(after)!r}", offset)
    end = match.end() if match else 0
    while word := _PICTURE.match(after, end):
        end = word.end()
        if word[0].lower().startswith("gr") and len(row.output) == 2:
            row.output = (*row.output, 1)
    _description(row, after[end:], offset + end)
    row.printed = [
        item._replace(quantity="input") if item.quantity == "output" else item
        for item in row.printed
    ]
    return row


PIECES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(rf"(?:{pattern})\s*", re.IGNORECASE))
    for kind, pattern in (
        ("figures", r"memory\s*:|params\s*:"),
        ("shape", rf"\[\s*({SIZE})\s*\]"),
        ("filters", r"(\d{1,9})\s+(\d{1,9})\s*x\s*(\d{1,9})\s+(?:filters|kernels)\b"),
        ("sized", r"(\d{1,9})\s*x\s*(\d{1,9})\s*x\s*(\d{1,9})(?![\w.])"),
        ("window", r"(\d{1,9})\s*x\s*(\d{1,9})(?![\w.])(?:\s+(?:filters|kernels|windows?)\b)?"),
        ("stride", r"(?:stride\s*=?|s\s*=)\s*(\d{1,9})(?![\w.])"),
        ("pad", r"pad(?:ding)?\s*=?\s*(\d{1,9})(?![\w.])"),
        ("neurons", r"(\d{1,9})\s+neurons\b"),
        ("rate", r"\(\s*(0?\.\d{1,6}|0|1)\s*\)"),
        (
            "note",
            r"\([^()]*[A-Za-z][^()]*\)|normali[sz]ation layer|applied|at\b|with\b|and\b|[,:|]",
        ),
    )
)


def _description(row: Row, text: str, offset: int) -> None:
    """Read what follows the name, piece by piece; nothing may be left over."""
    at = len(text) - len(text.lstrip())
    seen: set[str] = set()
    while at < len(text):
        kind, match = _piece(row, text, at)
        if match is None:
            raise RowError(f"{row.name}: not understood: {shorten(text[at:], 40)!r}", offset + at)
        slot = {"filters": "window", "sized": "window"}.get(kind, kind)
        if slot in seen and kind != "note":
            raise RowError(f"{row.name}: a second {slot}: {shorten(match[0])!r}", offset + at)
        seen.add(slot)
        if kind == "figures":
            _figures(row, text[at:], offset + at)
            return
        _take(row, kind, match)
        at = match.end()


def _piece(row: Row, text: str, at: int) -> tuple[str, re.Match[str] | None]:
    for kind, pattern in PIECES:
        if kind == "rate" and row.op != "dropout":
            continue
        match = pattern.match(text, at)
        if match:
            return kind, match
    return "", None


def _take(row: Row, kind: str, match: re.Match[str]) -> None:
    if kind == "shape":
        row.output = sizes(match[1])
        row.printed.append(Printed("output", compact(match[1])))
    elif kind == "filters":
        row.channels, row.kernel = int(match[1]), (int(match[2]), int(match[3]))
    elif kind == "sized":
        row.kernel, row.channels, row.sized = (int(match[1]), int(match[2])), int(match[3]), True
        if not row.name[-1].isdigit():
            row.name += compact(match[0])
    elif kind == "window":
        row.kernel = (int(match[1]), int(match[2]))
    elif kind == "stride":
        row.stride = int(match[1])
    elif kind == "pad":
        row.pad = int(match[1])
    elif kind == "neurons":
        row.channels = int(match[1])
    elif kind == "rate":
        row.rate = match[1]


def _figures(row: Row, text: str, offset: int) -> None:
    """Read ``memory: 224x224x64=3.2M params: (3x3x3)x64 = 1,728``: the last number of each."""
    for part in re.finditer(r"(memory|params)\s*:\s*((?:(?!params\s*:).)*)", text, re.IGNORECASE):
        what = part[1].lower()
        shown = re.sub(r"\s*\([A-Za-z][^()]*\)\s*$", "", part[2])  # (not counting biases)
        number = figure(shown.rpartition("=")[2])
        if number is None:
            raise RowError(
                f"{row.name}: {what}: no number in {shorten(part[2], 40)!r}", offset + part.start()
            )
        row.printed.append(Printed("activations" if what == "memory" else "params", number))


def _from_name(row: Row, digits: str, counted: bool) -> None:
    """Complete a row from the digits of its name, and refuse it if something is missing.

    ``conv3-64`` is 3x3 with 64 filters, ``MaxPool3`` 3x3, ``FC4096`` 4096 wide, where the text
    says nothing else; a single number may just count layers.
    """
    first, _, second = digits.partition("-")
    if row.op in ("conv", "depthwise"):
        if second and row.channels is None:
            row.channels = int(second)
            if first and row.kernel is None:
                row.kernel = (int(first), int(first))
        if row.channels is None or row.kernel is None:
            raise RowError(
                f"{row.name}: no filters; a convolution prints `96 11x11 filters`, `conv3-64` or "
                "`Conv 7 x 7 x 64`"
            )
    elif row.op in ("maxpool", "avgpool"):
        if row.kernel is None and first and not counted:
            row.kernel = (int(first), int(first))
        if row.kernel is None and (counted or first or row.op == "avgpool"):
            raise RowError(f"{row.name}: no window; pooling prints `3x3 filters` or `MaxPool3`")
    elif row.op == "linear":
        if row.channels is None and row.output is not None:
            row.channels = row.output[-1]
        if row.channels is None and second:
            row.channels = int(second)
        if row.channels is None and first and not counted and int(first) > 9:
            row.channels = int(first)
        if row.channels is None:
            raise RowError(
                f"{row.name}: no width; a fully connected layer prints `4096 neurons`, `FC-4096` "
                "or its shape"
            )


CELLS: dict[str, re.Pattern[str]] = {
    op: re.compile(rf"/\s*s\s*(\d{{1,9}})[\s|]+{shape}[\s|]+({SIZE})[\s|]*", re.IGNORECASE)
    for op, shape in {
        "conv": rf"({SIZE})",
        "depthwise": rf"({SIZE})\s*dw",
        "maxpool": rf"(?:max\s*)?pool\s*({SIZE})",
        "avgpool": rf"(?:avg\s*)?pool\s*({SIZE})",
        "linear": rf"({SIZE})",
        "softmax": r"(classifier)",
    }.items()
}
_FILTERS = {"conv": "3x3x3x32", "depthwise": "3x3x32 dw", "linear": "1024x1000"}


def _cells(row: Row, text: str, offset: int) -> None:
    """Read ``/ s2 | 3x3x3x32 | 224x224x3``: stride, filter, input; K x K x Cin x Cout."""
    pattern = CELLS.get(row.op)
    match = pattern.fullmatch(text) if pattern else None
    if match is None:
        raise RowError(
            f"{row.name}: not understood: {shorten(text)!r}; a row prints stride, filter shape and "
            f"input size: `/ s1 | {_FILTERS.get(row.op, 'Pool 7x7')} | 112x112x32`",
            offset,
        )
    row.stride = int(match[1])
    row.reads = sizes(match[3])
    row.printed.append(Printed("input", compact(match[3])))
    if row.op == "softmax":
        return
    filters = sizes(match[2])
    expected = {"conv": 4, "depthwise": 3}.get(row.op, 2)
    if len(filters) != expected or len(row.reads) != 3:
        what = f"filter {compact(match[2])} on input {compact(match[3])}"
        raise RowError(f"{row.name}: {what}: expected {expected} and 3 numbers", offset)
    if row.op in ("maxpool", "avgpool"):
        row.kernel = (filters[0], filters[1])
        return
    row.filters = True
    row.printed.append(Printed("params", compact(match[2])))
    takes, row.channels = filters[-2 if row.op != "depthwise" else -1], filters[-1]
    if row.op != "linear":
        row.kernel = (filters[0], filters[1])
    if takes != row.reads[-1]:
        raise RowError(
            f"{row.name}: the filter {compact(match[2])} takes {takes} channels, the input "
            f"{compact(match[3])} has {row.reads[-1]}",
            offset,
        )
