"""From the rows of a lecture's table to items of the spec language and claims.

What the rows leave unsaid is filled in here, by the rules that :mod:`archcost.lectures` states.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, NamedTuple

from archcost.errors import OpError, SpecError
from archcost.lectures.rows import Printed, Row
from archcost.network import NETWORK_INPUT
from archcost.numeral import Numeral
from archcost.ops import OPS
from archcost.published import Claim
from archcost.shape import Shape, show
from archcost.spec.document import RESERVED
from archcost.spec.source import Mapping, Node, Scalar, Source
from archcost.units import human, number_of

MAX_ROWS = 1_000
POOLS = ("maxpool", "avgpool")
CONVS = ("conv", "depthwise")
WEIGHTED = (*CONVS, "linear")

ALEXNET_FIRST = (11, 11)
ERRATUM = ("conv1-96", 4)
"""The name and stride under which one list prints AlexNet's first layer, 11x11 in all others."""

Axes = int | tuple[int, int]
"""One number for both axes, or one for each."""


@dataclass
class Table:
    """The rows of one network, and what is printed around them.

    Attributes:
        input: the row with the input, if one is printed.
        rows: the layers.
        totals: figures of the whole network.
        result: the size with which the text says that the rows end, as printed, and its line.
    """

    input: Row | None = None
    rows: list[Row] = field(default_factory=list)
    totals: list[Claim] = field(default_factory=list)
    result: tuple[str, int] | None = None


class Window(NamedTuple):
    """How a window moves: what a row may leave unsaid."""

    stride: Axes
    pad: Axes | str = 0
    ceil: bool = False


class Builder:
    """Builds one network: its ``input``, its ``items`` in the spec language, its ``claims``."""

    def __init__(self, source: Source, table: Table) -> None:
        self.source = source
        self.items: list[Node] = []
        self.claims: list[Claim] = []
        self.stem = any(row.sized for row in table.rows)
        rows = list(self._repeated(table.rows))
        self.input, self.shape = self._input(table)
        if any(row.filters for row in rows):
            note = "filters are all that the rows print; taken: no biases, no batch normalisation"
            self._claim("", rows[0], [Printed("bias", "", note)])
        names = layer_names(rows)
        for index, (name, row) in enumerate(zip(names, rows, strict=True)):
            after = rows[index + 1] if index + 1 < len(rows) else None
            if row.op == "linear" and (self.shape is None or len(self.shape) > 1):
                self._append(row, "", "flatten", {})
            self._layer(name, row, after)
            if self._activated(rows, index):
                self._append(row, "", "relu", {})
        if table.result and names[-1]:
            self.claims.append(Claim(names[-1], "output", *table.result))
        self.claims += [_checked_total(claim, table) for claim in table.totals]

    def _error(self, row: Row, reason: str) -> SpecError:
        return SpecError(reason, self.source.name, row.line, row.column)

    def _repeated(self, rows: list[Row]) -> Iterator[Row]:
        """Yield each row as often as printed; its figures belong to the first."""
        if sum(row.times for row in rows) > MAX_ROWS:
            raise self._error(rows[0], f"a table with more than {MAX_ROWS:,} layers")
        index = 0
        while index < len(rows):
            row, unit = rows[index], rows[index : index + 1]
            pair = rows[index : index + 2]
            if row.times > 1 and _is_separable(pair):
                note = (
                    f"printed at one row; taken: {row.times} times the pair of this row and the "
                    f"1x1 convolution in line {pair[1].line}"
                )
                repeat = Printed("repeat", f"{row.times}×", note)
                unit = [replace(row, printed=[*row.printed, repeat]), pair[1]]
            yield from unit
            for _ in range(row.times - 1):
                yield from (replace(again, printed=[]) for again in unit)
            index += len(unit)

    def _input(self, table: Table) -> tuple[Scalar, Shape | None]:
        """Return the input for the spec, and as a shape; channels first."""
        first = table.rows[0]
        row = table.input or first
        printed = table.input.output if table.input else first.reads
        if printed is None:
            alexnet = _is_erratum(first) or (first.kernel == ALEXNET_FIRST and first.stride == 4)
            printed = (227, 227, 3) if alexnet else (224, 224, 3)
            self._claim(NETWORK_INPUT, row, [assumed_input(printed)])
        if len(printed) > 3:
            raise self._error(row, f"an input has height, width and channels; got {show(printed)}")
        if len(printed) == 2:
            printed = (*printed, 3)
        if table.input:
            self._claim(NETWORK_INPUT, row, row.printed)
        shape = (printed[-1], *printed[:-1])
        return Scalar(show(shape), row.line, row.column), shape if min(shape) > 0 else None

    # Items.

    def _layer(self, name: str, row: Row, after: Row | None) -> None:
        printed = list(row.printed)
        op = "conv" if row.op in CONVS else row.op
        arguments: dict[str, Any] = {}
        if row.op in (*CONVS, *POOLS):
            arguments = self._window_arguments(row, after, printed)
        elif row.op == "linear":
            arguments = {"out_features": row.channels}
        elif row.op == "lrn":
            arguments = {"size": 5}
        elif row.op == "dropout":
            arguments = {"p": float(row.rate or 0.5)}
        if row.filters:
            arguments["bias"] = False  # they are all that the table prints
        self._append(row, name, op, arguments)
        self._claim(name, row, printed)

    def _activated(self, rows: list[Row], index: int) -> bool:
        """Whether a ReLU that is not printed follows a row."""
        row, after = rows[index], rows[index + 1 :]
        normalised = row.op == "batchnorm" and index > 0 and rows[index - 1].op in WEIGHTED
        if row.op not in WEIGHTED and not normalised:
            return False
        if after and after[0].op in ("relu", "softmax", "batchnorm"):
            return False
        return row.op != "linear" or any(later.op in WEIGHTED for later in after)

    def _append(self, row: Row, name: str, op: str, arguments: dict[str, Any]) -> None:
        """Add an item at the row's place, and follow the shape."""
        call = Scalar(_call(op, arguments), row.line, row.column)
        key = Scalar(name, row.line, row.column)
        self.items.append(Mapping({name: (key, call)}, row.line, row.column) if name else call)
        self.shape = self._output(op, arguments)

    def _output(self, op: str, arguments: dict[str, Any]) -> Shape | None:
        """Return the shape after an op, None where it does not fit: the expansion says why."""
        if self.shape is None:
            return None
        try:
            return OPS[op].create([], arguments).cost(self.shape).output
        except OpError:
            return None

    def _claim(self, path: str, row: Row, printed: list[Printed]) -> None:
        self.claims += [
            Claim(path, what, text, row.line, note, column=row.column)
            for what, text, note in printed
        ]

    # Windows.

    def _window_arguments(
        self, row: Row, after: Row | None, printed: list[Printed]
    ) -> dict[str, Any]:
        """Return the arguments of a convolution or pooling; what had to be chosen is noted."""
        kernel = self._kernel(row, printed)
        fixed: dict[str, Any] = {"kernel_size": _pair(kernel)}
        if row.op in CONVS:
            fixed = {"out_channels": row.channels, **fixed}
        if row.op == "depthwise":
            fixed["groups"] = row.channels
        op = "conv" if row.op in CONVS else row.op
        target = row.output or (after.reads if after else None)
        if target is None or len(target) < 2:
            window = self._usual(row, kernel)
            arguments = _arguments(row, kernel, window, fixed)
            if row.op in CONVS and row.pad is None and window.pad != 0:
                printed.append(Printed("padding", row.text, self._padded(op, arguments, window)))
            return arguments
        for window in _windows(row, kernel):
            arguments = _arguments(row, kernel, window, fixed)
            output = self._output(op, arguments)
            if output is None or output[1:] != target[:2]:
                continue
            if row.stride is not None and window.stride != row.stride:
                wrong = self._output(op, {**arguments, "stride": row.stride})
                note = (
                    f"s{row.stride} would give {show(wrong[1:]) if wrong else 'nothing'}, but the "
                    f"next row reads {show(target[:2])}; taken: s{window.stride}"
                )
                printed.append(Printed("stride", f"s{row.stride}", note))
            return arguments
        return _arguments(row, kernel, self._usual(row, kernel), fixed)

    def _padded(self, op: str, arguments: dict[str, Any], window: Window) -> str:
        """Return the note on a padding that is not printed."""
        taken = f"no pad is printed; taken: pad {window.pad}"
        output = self._output(op, arguments)
        if output is None or self.shape is None:
            return taken
        if output[1:] == self.shape[1:]:
            return f"{taken}, which keeps the size"
        return f"{taken}, which gives {show(output[1:])} of {show(self.shape[1:])}"

    def _kernel(self, row: Row, printed: list[Printed]) -> tuple[int, int]:
        if row.kernel is None and self.stem:  # `MaxPool` alone
            note = "no window is printed; taken: 3x3 at stride 2, rounded up, as in GoogLeNet"
            printed.append(Printed("kernel_size", row.text, note))
            return 3, 3
        if _is_erratum(row):
            note = (
                "the number after Conv is the kernel, and 1x1 at stride 4 reads one position in "
                "16; taken: 11x11, AlexNet's first layer"
            )
            printed.append(Printed("kernel_size", row.name, note))
            return ALEXNET_FIRST
        return row.kernel or (2, 2)

    def _usual(self, row: Row, kernel: tuple[int, int]) -> Window:
        """Return how a window moves where no shape decides it."""
        if row.op in POOLS:
            stride = 2 if row.kernel is None else _usual_stride(row, kernel)
            ceil = self.stem and row.kernel is None
            return Window(stride if row.stride is None else row.stride, row.pad or 0, ceil)
        stride = 1 if row.stride is None else row.stride
        if row.pad is not None:
            return Window(stride, row.pad)
        if kernel == (1, 1) or (stride > 1 and self._tiles(kernel, stride)):
            return Window(stride)
        odd = kernel[0] % 2 and kernel[1] % 2
        return Window(stride, _half(kernel) if odd else "same")

    def _tiles(self, kernel: tuple[int, int], stride: int) -> bool:
        """Whether windows cover the current input exactly without padding."""
        if self.shape is None or len(self.shape) != 3:
            return False
        room = [size - k for size, k in zip(self.shape[1:], kernel, strict=True)]
        return min(room) >= 0 and not any(free % stride for free in room)


def assumed_input(taken: Shape) -> Printed:
    """Return the note on an input (height, width, channels) that is not printed."""
    return Printed("input", "", f"no input is printed; taken: {show(taken)}")


def _is_erratum(row: Row) -> bool:
    return (row.name.lower(), row.stride) == ERRATUM and row.output is None


def _is_separable(pair: list[Row]) -> bool:
    """Whether two rows are a depthwise convolution and the 1x1 one that closes it."""
    return (
        len(pair) == 2
        and pair[0].op == "depthwise"
        and pair[1].op == "conv"
        and pair[1].kernel == (1, 1)
        and pair[1].times == 1
        and pair[0].channels == pair[1].channels
    )


def _pair(kernel: tuple[int, int]) -> Axes:
    return kernel[0] if kernel[0] == kernel[1] else kernel


def _half(kernel: tuple[int, int]) -> Axes:
    return _pair((kernel[0] // 2, kernel[1] // 2))


def _usual_stride(row: Row, kernel: tuple[int, int]) -> Any:
    """Return the stride of the op unless one is given."""
    return _pair(kernel) if row.op in POOLS else 1


def _windows(row: Row, kernel: tuple[int, int]) -> Iterator[Window]:
    """Yield what a row may mean where a shape decides it, most literal first."""
    strides: list[Axes] = [_usual_stride(row, kernel) if row.stride is None else row.stride]
    if row.stride is None or row.reads:
        strides += [stride for stride in range(1, 5) if stride not in strides]
    pads: list[Axes] = [row.pad or 0]
    if row.pad is None:
        square = kernel[0] == kernel[1]
        pads += range(1, min(kernel[0] // 2, 16) + 1) if square else [_half(kernel)]
    roundings = (False, True) if row.op in POOLS and row.pad is None else (False,)
    for stride in strides:
        for ceil in roundings:
            yield from (Window(stride, pad, ceil) for pad in pads)


def _arguments(
    row: Row, kernel: tuple[int, int], window: Window, fixed: dict[str, Any]
) -> dict[str, Any]:
    """Return all arguments, without those that the op takes anyway."""
    moves = {
        "stride": (window.stride, _usual_stride(row, kernel)),
        "padding": (window.pad, 0),
        "ceil_mode": (window.ceil, False),
    }
    return fixed | {key: value for key, (value, usual) in moves.items() if value != usual}


def _call(op: str, arguments: dict[str, Any]) -> str:
    """Return a call as the spec language writes it: ``conv(96, 11, stride=4)``."""
    first = ("out_channels", "kernel_size", "out_features", "size", "p")
    cells = [str(arguments[key]) for key in first if key in arguments]
    cells += [f"{key}={value!r}" for key, value in arguments.items() if key not in first]
    return f"{op}({', '.join(cells)})" if cells else op


def layer_names(rows: list[Row]) -> list[str]:
    """Return a unique name for each row: as printed, numbered where it repeats.

    Empty for a printed ReLU or flatten, which is numbered like those that are not printed.
    """
    counts = Counter(row.name for row in rows)
    plain = {name for name, count in counts.items() if count == 1 and not _is_word(name)}
    numbers: Counter[str] = Counter()
    names = []
    for row in rows:
        name = row.name
        if row.op in ("relu", "flatten") and not row.printed:
            name = ""
        elif name not in plain:
            joint = "_" if name[-1].isdigit() or _is_word(f"{name}1") else ""
            while name == row.name or name in plain:
                numbers[row.name] += 1
                name = f"{row.name}{joint}{numbers[row.name]}"
        names.append(name)
    return names


def _is_word(name: str) -> bool:
    """Whether a name belongs to the language, or to a layer that it numbers itself: relu1."""
    return name in OPS or name in RESERVED or bool(re.fullmatch(r"(?:relu|flatten)\d+", name))


def _checked_total(claim: Claim, table: Table) -> Claim:
    """Return a printed total, with a note if the printed rows do not add up to it."""
    in_bytes = claim.quantity == "activation_bytes"
    quantity = "activations" if in_bytes else claim.quantity
    rows = [*([table.input] if table.input else []), *table.rows]
    figures = [
        Numeral.parse(text) for row in rows for what, text, _ in row.printed if what == quantity
    ]
    if not figures:
        return claim
    each = 4 if in_bytes else 1
    total = each * sum((figure.value for figure in figures), Fraction(0))
    slack = each * sum((figure.step for figure in figures), Fraction(0)) / 2
    shown = Numeral.parse(claim.printed.removesuffix("B") if in_bytes else claim.printed)
    if abs(total - shown.value) <= slack + shown.step / 2:
        return claim
    values = f"the {number_of(len(figures), 'row')}" + (" at 4 bytes a value" if in_bytes else "")
    note = f"{values} add up to {human(int(total), 3)}{'B' if in_bytes else ''}"
    return replace(claim, note=note)
