"""How lectures typeset: signs, numbers and sizes as plain text, every character in its column."""

from __future__ import annotations

import re

from archcost.shape import Shape

SIZE = r"\d{1,9}(?:\s*x\s*\d{1,9})+"
FIGURE = r"\d[\d,.]{0,20}\s*[KMGB]?"

_SIGNS = str.maketrans({
    "×": "x", "✕": "x", "⨯": "x", "·": "x", "⋅": "x", "–": "-", "—": "-", "−": "-",
    "‐": "-", "‑": "-",
    "≈": "~", "∼": "~", "’": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\f": " ",
    "\v": " ", "\r": " ",
})  # fmt: skip

_BULLET = re.compile(r"\s*(?:[-*•+]{1,3}\s*(?=[A-Za-z\[])|[-*•+]\s+|\d{1,3}[.)]\s+)")


_FRAMES = re.compile(
    r"\\(?:begin|end)\s?\{\w{1,20}\*?\}(?:\{[a-z|]{1,20}\})?"  # of a matrix or table
    r"|\\multi(?:row|column)\{[^{}]{0,9}\}\{[^{}]{0,20}\}|\\cline\{[^{}]{0,9}\}"
    r"|\\\\(?:\[[^\[\]]{0,9}\])?|</?br\s?/?>",  # a new line in a cell
    re.IGNORECASE,
)


def clean(line: str, framed: bool = True) -> str:
    """Return a line without markdown and LaTeX, every character that stays in its old column.

    All signs of multiplication between numbers become ``x``, those of approximation ``~``. Bars at
    both ends go too, where they are the frame of a table.
    """
    line = line.translate(_SIGNS)
    if framed:
        line = re.sub(r"^\s*\||\|\s*$", lambda m: " " * len(m[0]), line)
    line = _FRAMES.sub(lambda m: " " * len(m[0]), line)
    line = re.sub(r"\\(?:times|cdot)(?![A-Za-z])", lambda m: "x".ljust(len(m[0])), line)
    line = re.sub(r"\\(?:approx|sim)(?![A-Za-z])", lambda m: "~".ljust(len(m[0])), line)
    line = line.replace("\\*", " *")
    line = re.sub(r"\\[A-Za-z]+|\*\*|[${}\\]", lambda m: " " * len(m[0]), line)
    bullet = _BULLET.match(line)
    if bullet:
        line = " " * bullet.end() + line[bullet.end() :]
    line = re.sub(r"(?<=\d)(\s{0,9})X(?=\s{0,9}\d)", r"\1x", line)
    line = re.sub(r"(?<=[\dKMG)\]])(\s{0,9})\*(?=\s*[\d(])", r"\1x", line)
    return line.replace("*", " ")


def sizes(text: str) -> Shape:
    """Return ``55x55x96`` as (55, 55, 96), in the printed order."""
    return tuple(int(part) for part in text.split("x"))


def compact(text: str) -> str:
    """Return a printed shape without spaces."""
    return re.sub(r"\s+", "", text)


def figure(text: str) -> str | None:
    """Return a printed count (``150K``, ``1,728``, ``1.228.800``, ``~3.2M``), None if it is none.

    Dots between groups of three digits, where there are several, are written as commas.
    """
    match = re.fullmatch(rf"[~=\s]*({FIGURE})\s*", text, re.IGNORECASE)
    if not match:
        return None
    number = compact(match[1])
    if re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}", number):
        number = number.replace(".", ",")
    plain = re.fullmatch(r"(?:\d{1,18}|\d{1,3}(?:,\d{3})+)(?:\.\d{1,12})?[KMGBkmgb]?", number)
    return number if plain else None
