"""Printed numbers, as papers and people write them: 62.3M, 4.12 G, ~150,000."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

from archcost.data import dataclass
from archcost.errors import ArchcostError, shorten
from archcost.units import BYTES

_SCALES: Mapping[str, int] = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
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
    ``scaled`` says that a unit or a power of ten follows the digits; ``noun`` is what the
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
        digits by three. A comma is not a decimal point: ``25,6M`` is refused.

        Raises:
            ArchcostError: not a number.
        """
        match = _NUMBER.fullmatch(text)
        if not match:
            if comma := re.match(r"\s*[~≈]?\s*(\d+),(\d{1,2}|\d{4,})(?!\d|,)(.*)", text):
                point = shorten(f"{comma[1]}.{comma[2]}{comma[3]}".strip(), 40)
                raise ArchcostError(
                    f"a comma separates groups of three digits, which {shorten(text)!r} does not "
                    f"have; for a decimal comma, write {point}"
                )
            raise ArchcostError(
                f"a number is written as 61100840, 61.1M or 4.12G; got {shorten(text)!r}"
            )
        whole = re.sub(r"\D", "", match["whole"])
        decimals, power = match["decimals"] or "", match["power"] or ""
        unit = match["unit"].lower()
        unit = _WORDS.get(unit, unit)
        scale = Fraction((BYTES if len(unit) > 1 else _SCALES).get(unit, 1))
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
        return bool(number == self.value)

    def rounds(self, number: int | Fraction) -> bool:
        """Whether ``number`` rounds (half away from zero or to even) to what is printed."""
        return abs(number - self.value) <= self.step / 2

    def truncates(self, number: int | Fraction) -> bool:
        """Whether cutting the digits of ``number`` gives what is printed."""
        return 0 <= number - self.value < self.step
