"""One bound on one figure: ``macs <= 300M``, ``params <= +2% of main``, ``batch on v100 >= 64``.

A condition is ``METRIC [on DEVICE] SIGN AMOUNT [of BASELINE]``. An amount with a sign is a change
of the baseline, one with ``%`` but no sign a share of it::

    macs <= 300M              the figure itself
    macs <= +5% of main       at most 5 % more than the baseline
    params <= +10K of main    at most 10,000 more
    size <= 80% of vgg16      at most 80 % of the baseline
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from archcost.errors import ArchcostError, SpecError, shorten
from archcost.figures import BYTES, SECONDS, Figure, Number, find_metric
from archcost.numeral import Numeral
from archcost.spec.expression import ExpressionError
from archcost.units import parse_bytes

SIGNS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<=": lambda value, limit: value <= limit,
    ">=": lambda value, limit: value >= limit,
    "==": lambda value, limit: value == limit,
    "<": lambda value, limit: value < limit,
    ">": lambda value, limit: value > limit,
}
_SECONDS = {
    "s": Fraction(1),
    "ms": Fraction(1, 10**3),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
}


@dataclass(frozen=True)
class Condition:
    """A bound on a figure; made by :func:`parse_condition`.

    Attributes:
        text: as it was written, with single spaces.
        metric: the figure.
        on: the device or memory size, empty where the metric needs none.
        sign: one of :data:`SIGNS`.
        amount: of the figure, of the change, or in percent.
        relative: whether the amount is a change of the baseline.
        percent: whether the amount is a percentage of the baseline.
        baseline: what the figure is compared with, empty if that was not written.
        baseline_at: where in the text the baseline stands or is missing.
    """

    text: str
    metric: Figure
    on: str
    sign: str
    amount: Fraction
    relative: bool
    percent: bool
    baseline: str
    baseline_at: int = 0

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares with another network."""
        return self.relative or self.percent

    def limit(self, base: Number | None = None) -> Fraction:
        """Return the bound, from the baseline's figure where it is relative."""
        if not self.needs_baseline:
            return self.amount
        if base is None:
            raise ArchcostError(f"{self.text}: there is no baseline")
        change = Fraction(base) * self.amount / 100 if self.percent else self.amount
        return base + change if self.relative else change

    def holds(self, value: Number, base: Number | None = None) -> bool:
        """Whether a figure is as the condition says."""
        return SIGNS[self.sign](Fraction(value), self.limit(base))

    def allowed(self, base: Number | None = None) -> Number:
        """Return the last whole number within the bound; for a time, the bound."""
        limit = self.limit(base)
        if self.metric.unit == SECONDS:
            return limit
        match self.sign:
            case "<":
                return math.ceil(limit) - 1
            case ">":
                return math.floor(limit) + 1
            case ">=":
                return math.ceil(limit)
        return math.floor(limit)


@dataclass
class _Reader:
    text: str
    at: int = 0

    def take(self, pattern: str) -> str:
        """Return what matches here after spaces, and move behind it; else an empty string."""
        self.skip()
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def error(self, reason: str) -> ExpressionError:
        self.skip()
        rest = self.text[self.at :]
        return ExpressionError(f"{reason}; got {shorten(rest)!r}" if rest else reason, self.at)


def parse_condition(text: str, find: Callable[[str], Figure] = find_metric) -> Condition:
    """Read a condition on a figure, which ``find`` returns by its name.

    Raises:
        ExpressionError: with the offset into the text, and the nearest metric or device.
    """
    reader = _Reader(text)
    metric = _read_metric(reader, find)
    on = ""
    if reader.take(r"on\b"):
        on = _read_device(reader, metric)
    elif metric.on:
        raise reader.error(f"{metric.name} needs a device, as in `{metric.name} on v100 >= 64`")
    sign = reader.take(r"(<=|>=|==|<|>)(?![<>=])")
    if not sign:
        raise reader.error("a comparison is expected: <=, <, >=, > or ==")
    amount, relative, percent = _read_amount(reader, metric)
    reader.skip()
    baseline_at = reader.at
    baseline = ""
    if reader.take(r"of\b"):
        reader.skip()
        baseline_at = reader.at
        baseline = reader.take(r"\S+")
        if not baseline:
            raise reader.error("`of` is followed by a revision, a file or a model")
        if not relative and not percent:
            reader.at = baseline_at
            raise reader.error("only a change such as +2% or +10K has a baseline")
    reader.skip()
    if reader.at < len(text):
        raise reader.error("the condition ends before this")
    plain = " ".join(text.split())
    return Condition(plain, metric, on, sign, amount, relative, percent, baseline, baseline_at)


def parse_option(option: str, text: str) -> Condition:
    """Read a condition of a command line, on something that is compared with one baseline.

    Raises:
        SpecError: with the column in the option's text.
    """
    try:
        condition = parse_condition(text)
        if condition.baseline:
            raise ExpressionError("the baseline is what is compared", condition.baseline_at)
    except ExpressionError as error:
        raise SpecError(str(error), f"{option} {text!r}", 1, error.offset + 1) from None
    return condition


def _read_metric(reader: _Reader, find: Callable[[str], Figure]) -> Figure:
    reader.skip()
    start = reader.at
    name = reader.take(r"[A-Za-z_][\w.-]*(?:\s+(?!on\b)[A-Za-z_][\w-]*)*")
    if not name:
        raise reader.error("a condition starts with a figure, as in `macs <= 300M`")
    try:
        return find(name)
    except ArchcostError as error:
        raise ExpressionError(str(error), start) from None


def _read_device(reader: _Reader, metric: Figure) -> str:
    reader.skip()
    start = reader.at
    name = reader.take(r"[\w.-]+")
    if not name:
        raise reader.error("`on` is followed by a GPU or a memory size")
    if not metric.on:
        raise ExpressionError(f"{metric.name} does not depend on a device", start)
    try:
        metric.on(name)
    except ArchcostError as error:
        raise ExpressionError(str(error), start) from None
    return name


def _read_amount(reader: _Reader, metric: Figure) -> tuple[Fraction, bool, bool]:
    """Return the amount, whether it is a change, and whether it is a percentage."""
    direction = reader.take(r"[+−-]")
    reader.skip()
    start = reader.at
    text = reader.take(r"\d[\d.,]*(?:\s*(?:%|(?!of\b)[A-Za-zµ]+))?")
    if not text:
        raise reader.error("a number is expected, as in 300M, 2GiB or +2%")
    percent = text.endswith("%")
    try:
        amount = _number(text, "" if percent else metric.unit)
    except ArchcostError as error:
        raise ExpressionError(str(error), start) from None
    return (-amount if direction in ("−", "-") else amount), bool(direction), percent


def _number(text: str, unit: str) -> Fraction:
    if unit == BYTES:
        return Fraction(parse_bytes(text))
    if unit == SECONDS:
        match = re.fullmatch(r"([\d.]+)\s*(s|ms|us|µs)", text)
        if not match:
            raise ArchcostError(f"a time is written as 5ms; got {shorten(text)!r}")
        return Numeral.parse(match[1]).value * _SECONDS[match[2]]
    if re.search(r"[kmgt]i?b$", text.lower()):
        raise ArchcostError(f"this figure is a count, not bytes; got {shorten(text)!r}")
    return Numeral.parse(text).value
