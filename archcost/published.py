"""What others print of a network: figures of papers and model cards, and claims of a lecture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from archcost.data import dataclass
from archcost.errors import ArchcostError
from archcost.shape import Shape

if TYPE_CHECKING:
    from fractions import Fraction

    from archcost.numeral import Numeral

FIGURES = (
    "params", "macs", "flops", "activations", "size", "weight_layers",
    "top1", "top5", "top1_error", "top5_error",
)  # fmt: skip
"""The quantities that a published row may carry."""

EXACT, ROUNDS, AMBIGUOUS, WRONG, NOT_COMPUTED = VERDICTS = (
    "exact", "rounds to", "ambiguous", "wrong", "not computed",
)  # fmt: skip
"""What can be said of a printed figure; ``archcost.findings.audit`` says what each means."""

Value: TypeAlias = "int | Fraction | bool | list[int]"
"""What a printed figure is held against: a number, a statement, or a shape or list."""


@dataclass(frozen=True)
class Published:
    """Figures that one source prints of a model, each as it is printed (``62.3M``).

    ``convention`` names how the source counts ``macs`` or ``flops``, if not by the default. ``why``
    explains a figure that differs from the computed one. ``slips`` are mistakes or other ways to
    count, each with the expression that computes the printed figure. The expression is in the
    language of :mod:`archcost.findings.functions`: ``this`` is the network, and
    ``this(knob=value)`` is the same with other knobs.
    """

    source: str
    figures: Mapping[str, str]
    model: str = ""
    year: int | None = None
    input: Shape | None = None
    convention: str = ""
    why: str = ""
    slips: Mapping[str, str] = field(default_factory=dict)
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Claim:
    """A figure that a lecture's text prints beside a layer.

    ``path`` is the layer, ``input`` for the network's input, empty for a total. ``quantity`` is
    ``input``, ``output``, ``activations``, ``params`` or ``activation_bytes``. ``printed`` is the
    text as it is printed: ``55x55x96`` (height x width x channels), ``28x28``, ``3.2M``,
    ``102,760,448``. ``note`` says what is wrong in the text and what was taken instead; then
    ``quantity`` may also be a setting: ``kernel_size``, ``stride``, ``padding`` or ``repeat``, and
    ``printed`` is empty where nothing at all is printed. ``model`` is the variant, empty for all.
    """

    path: str
    quantity: str
    printed: str
    line: int
    note: str = ""
    model: str = ""
    column: int = 1

    @property
    def of_input(self) -> bool:
        """Whether it is a figure, which another input changes; a setting holds at any."""
        return self.quantity in CLAIMED


CLAIMED = ("input", "output", "params", "macs", "activations", "activation_bytes")
"""The quantities of claims that are figures; the others are settings."""


def judge(printed: str, value: Value) -> str:
    """Return the verdict on a printed figure whose true value is ``value``.

    A statement, whose value is whether it holds, is exact or wrong; so is a shape or list.

    Raises:
        ArchcostError: ``printed`` is not of the value's kind.
    """
    if isinstance(value, bool):
        return EXACT if value else WRONG
    if isinstance(value, list):
        return EXACT if _sizes(printed, len(value)) == value else WRONG
    figure = read_figure(printed)
    if figure.exact(value):
        return EXACT
    if figure.rounds(value):
        return ROUNDS
    return AMBIGUOUS if figure.truncates(value) else WRONG


def read_figure(printed: str) -> Numeral:
    """Read a printed number, a fraction ``1/4``, or a product ``28x28x64``.

    Raises:
        ArchcostError: none of these.
    """
    from fractions import Fraction  # only what compares printed figures needs it

    from archcost.numeral import Numeral

    if match := re.fullmatch(r"(\d+)/([1-9]\d*)", printed):
        return Numeral(printed, Fraction(int(match[1]), int(match[2])), Fraction(0), Fraction(0))
    if re.fullmatch(r"\d+(?:x\d+)+", printed):
        product = Fraction(prod(map(int, printed.split("x"))))
        return Numeral(printed, product, Fraction(0), Fraction(0))
    return Numeral.parse(printed)


def _sizes(printed: str, length: int) -> list[int]:
    """Return the numbers of a shape or list; leading ones are dropped down to ``length``."""
    parts = re.split(r"\s*(?:x|,|->)\s*", printed.strip())
    if not all(part.isdecimal() for part in parts):
        raise ArchcostError(f"{printed!r} is not a shape or a list of whole numbers")
    numbers = [int(part) for part in parts]
    while len(numbers) > length and numbers[0] == 1:
        numbers = numbers[1:]
    return numbers


def show_value(value: Value, printed: str = "") -> str:
    """Return a value as ``printed`` is written: ``55x55x96``, ``16, 19``, ``8.913``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        mark = re.search(r"\d ?(x|->) ?\d", printed)
        return (mark[1] if mark else ", ").join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{float(value):.5g}"
