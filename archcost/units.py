"""Numbers as people write them: 62.3M, 4.12 G, 3GB, 3GiB; and the sizes of data types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from archcost.errors import ArchcostError, LookupFailed, shorten

DTYPE_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1,
}  # fmt: skip
"""Bytes per element of a data type."""

_SCALES: Mapping[str, int] = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_BYTES: Mapping[str, int] = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip


_SECONDS: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def dtype_bytes(dtype: str) -> int:
    """Return the bytes per element, or raise LookupFailed with the nearest dtype."""
    if dtype not in DTYPE_BYTES:
        raise LookupFailed("dtype", dtype, DTYPE_BYTES)
    return DTYPE_BYTES[dtype]


OPERATIONS, PARAMS, ACTIVATIONS = "operations", "params", "activations"

_NOUNS: Mapping[str, str] = {
    OPERATIONS: r"fl?ops?|ops|macs?|maccs?|madds?|mult(?:iply)?[- ]?add(?:s|itions)?",
    PARAMS: r"params?|parameters?|weights",
    ACTIVATIONS: r"acts?|activations?",
}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_WORDS: Mapping[str, str] = {"thousand": "k", "million": "m", "billion": "g", "trillion": "t"}
_NUMBER = re.compile(
    r"\s*(?P<about>[~≈]?)\s*"
    r"(?P<whole>\d{1,3}(?:(?P<mark>[,_' \u00a0\u202f])\d{3})(?:(?P=mark)\d{3})*|\d{1,18})"
    r"(?:\.(?P<decimals>\d{1,12}))?"
    r"(?:(?:e|\s*[x×·*]\s*10\s*\^?)\+?(?P<power>\d{1,2}|[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,2}))?"
    rf"\s*(?P<unit>[kmgt]i?b|{'|'.join(_WORDS)}|[kmgbt%]?)"
    rf"\s*(?:{'|'.join(f'(?P<{noun}>{words})' for noun, words in _NOUNS.items())})?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Numeral:
    """A printed number: its value, and the unit of its last printed digit.

    ``62.3M`` is 62,300,000 with a step of 100,000. Zeros at the end of a whole number are not
    counted as digits, so ``150K`` and ``~150,000`` have a step of 10,000; ``150.0K`` would have
    100. ``place`` is the unit of the last digit with the zeros counted: 1,000 for ``150K``.
    ``scaled`` says that a unit or a power of ten stands behind the digits; ``noun`` is what the
    number is of, where a word says it: ``operations``, ``params`` or ``activations``.
    """

    text: str
    value: Fraction
    step: Fraction
    place: Fraction
    scaled: bool = False
    noun: str = ""

    @classmethod
    def parse(cls, text: str) -> Numeral:
        """Read a printed number: ``61100840``, ``61.1M``, ``7.97e8``, ``0.6 GFLOPs``, ``5.5 MB``.

        A unit is K, M, G or B, T, %, or of bytes (MB, MiB); commas, spaces and underscores group
        digits by three. A comma is no decimal point: ``25,6M`` is refused.

        Raises:
            ArchcostError: not a number.
        """
        match = _NUMBER.fullmatch(text)
        if not match:
            if comma := re.match(r"\s*[~≈]?\s*(\d+),(\d{1,2}|\d{4,})(?!\d|,)(.*)", text):
                point = shorten(f"{comma[1]}.{comma[2]}{comma[3]}".strip(), 40)
                raise ArchcostError(
                    f"a comma stands between groups of three digits, and {shorten(text)!r} has "
                    f"others behind it; if it is a decimal comma, write {point}"
                )
            raise ArchcostError(
                f"a number is written as 61100840, 61.1M or 4.12G; got {shorten(text)!r}"
            )
        whole = re.sub(r"\D", "", match["whole"])
        decimals, power = match["decimals"] or "", match["power"] or ""
        unit = match["unit"].lower()
        unit = _WORDS.get(unit, unit)
        scale = Fraction((_BYTES if len(unit) > 1 else _SCALES).get(unit, 1))
        place = scale * 10 ** int(power.translate(_SUPERSCRIPTS) or 0) / 10 ** len(decimals)
        value = int(whole + decimals) * place
        zeros = 0
        if (unit or match["about"]) and not decimals and int(whole):
            zeros = len(whole) - len(whole.rstrip("0"))
        noun = next((noun for noun in _NOUNS if match[noun]), "")
        scaled = bool(unit or power)
        return cls(text.strip(), value, place * 10**zeros, place, scaled, noun)

    def exact(self, number: int | Fraction) -> bool:
        """Whether ``number`` is the printed value itself."""
        return Fraction(number) == self.value

    def rounds(self, number: int | Fraction) -> bool:
        """Whether ``number`` rounds (half away from zero or to even) to what is printed."""
        return abs(Fraction(number) - self.value) <= self.step / 2

    def truncates(self, number: int | Fraction) -> bool:
        """Whether cutting the digits of ``number`` gives what is printed."""
        return 0 <= Fraction(number) - self.value < self.step


def parse_bytes(text: str) -> int:
    """Read a size: ``3GB`` is 3·10^9 bytes, ``3GiB`` is 3·2^30; a bare number is bytes.

    Raises:
        ArchcostError: not a positive size.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].lower() if match else ""
    if not match or (unit or "b") not in _BYTES:
        raise ArchcostError(
            f"a size is written as 3GB (10^9) or 3GiB (2^30); got {shorten(text)!r}"
        )
    size = int(Fraction(match[1]) * _BYTES[unit or "b"])
    if size <= 0:
        raise ArchcostError(f"a size must be positive; got {shorten(text)!r}")
    return size


def parse_seconds(text: str) -> float:
    """Read a duration: ``90s``, ``10m``, ``1.5h``; a bare number is seconds.

    Raises:
        ArchcostError: not a positive duration.
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].lower() if match else ""
    if not match or unit not in _SECONDS:
        raise ArchcostError(f"a duration is written as 90s, 10m or 2h; got {shorten(text)!r}")
    seconds = float(Fraction(match[1]) * _SECONDS[unit])
    if seconds <= 0:
        raise ArchcostError(f"a duration must be positive; got {shorten(text)!r}")
    return seconds


def human(number: int | float, digits: int = 4) -> str:
    """Return a count as people say it: 138.4M, 15.47G."""
    for scale, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if abs(number) >= scale:
            return f"{number / scale:.{digits}g}{unit}"
    return f"{number:,}" if isinstance(number, int) else f"{number:.{digits}g}"


def human_bytes(size: int) -> str:
    """Return a size in decimal units: 553.4 MB."""
    for scale, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"


def human_seconds(seconds: float) -> str:
    """Return a time as people say it: 30.7 µs, 1.25 s."""
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"


def number_of(number: int, noun: str) -> str:
    """Return a number of things in words: 1 model, 235 models."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
