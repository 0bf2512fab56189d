"""The exceptions of archcost, and the search for the nearest valid name.

ArchcostError       anything that archcost refuses; its text is one line for the user
├── OpError         an op refuses its arguments or its input shapes (the reason only)
├── SpecError       a spec that cannot be read: file:line:column, layer, reason, for each mistake
└── LookupFailed    an unknown model, layer, convention, column, ... with the nearest name
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

MAX_MISTAKES = 10
"""How many mistakes of one spec are printed; the others are only counted."""


class ArchcostError(Exception):
    """Anything that archcost refuses. ``str(error)`` is one line for the user.

    A spec with several mistakes has one line for each.
    """


class OpError(ArchcostError):
    """An op refuses its arguments or its input shapes."""


class SpecError(ArchcostError):
    """A spec that cannot be read.

    The text is ``file:line:column: layer: reason``; line and column count from 1. A spec with
    several mistakes has one such line for each, up to ten. ``mistakes`` holds all of them. The
    other attributes are those of the first mistake.
    """

    def __init__(self, reason: str, file: str = "", line: int = 0, column: int = 0) -> None:
        place = f"{file}:{line}:{column}: " if line else f"{file}: " if file else ""
        super().__init__(place + " ".join(reason.split()))
        self.reason, self.file, self.line, self.column = reason, file, line, column
        self.mistakes: tuple[SpecError, ...] = (self,)


class Mistakes(list[SpecError]):
    """The mistakes that were found in a spec, which is read on to find the others."""

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the SpecError that the block raises, and go on after it."""
        try:
            yield
        except SpecError as error:
            self += error.mistakes

    def refuse(self) -> None:
        """Raise them as one SpecError, in the order of the lines, if there are any."""
        first: dict[tuple[str, int, int], SpecError] = {}
        for mistake in self:  # a block that is called often has its mistakes often
            first.setdefault((mistake.file, mistake.line, mistake.column), mistake)
        ordered = sorted(first.values(), key=lambda mistake: (mistake.line, mistake.column))
        if not ordered:
            return
        lines = [str(mistake) for mistake in ordered[:MAX_MISTAKES]]
        if len(ordered) > MAX_MISTAKES:
            lines.append(f"{ordered[0].file}: and {len(ordered) - MAX_MISTAKES} more")
        head = ordered[0]
        error = SpecError(head.reason, head.file, head.line, head.column)
        error.args = ("\n".join(lines),)
        error.mistakes = tuple(ordered)
        raise error


class LookupFailed(ArchcostError):
    """A name that archcost does not know. The text gives the nearest known name.

    ``instead`` says what to write, if that is known.
    """

    def __init__(self, kind: str, name: str, choices: Iterable[str], instead: str = "") -> None:
        hint = f"; {instead}" if instead else did_you_mean(name, choices)
        super().__init__(f"unknown {kind} {shorten(name)!r}{hint}")


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is spelt most like ``name``, or None if none is close."""
    import difflib  # only errors need it

    typed = name.lower()[:100]
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(typed, by_lower, n=20, cutoff=0.5)
    return by_lower[min(close, key=lambda choice: _slips(typed, choice))] if close else None


def _slips(a: str, b: str) -> int:
    """Return how far two words are apart in slips of the hand.

    Two letters swapped, a letter more or one less weigh 2, another letter weighs 3: ``vgg61`` is
    nearer to ``vgg16`` than to ``vgg11``.
    """
    before: list[int] = []
    row = [2 * j for j in range(len(b) + 1)]
    for i, letter in enumerate(a):
        last, before, row = before, row, [2 * (i + 1)]
        for j, other in enumerate(b):
            cost = min(row[j] + 2, before[j + 1] + 2, before[j] + 3 * (letter != other))
            if i and j and letter == b[j - 1] and other == a[i - 1] and letter != other:
                cost = min(cost, last[j - 1] + 2)
            row.append(cost)
    return row[-1]


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or the choices when they are few and none is close."""
    choices = list(choices)
    best = nearest(name, choices)
    if best is not None:
        return f"; did you mean {best!r}?"
    return f"; expected one of: {', '.join(sorted(set(choices)))}" if 0 < len(choices) <= 12 else ""


def shorten(text: object, limit: int = 60) -> str:
    """Return ``text`` on one line, cut to ``limit`` characters, for use in a message."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def written(value: object) -> str:
    """Return a value as a spec writes it, on one line for a message: ``[1, 'a', null]``."""
    return shorten(_written(value))


def _written(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_written, value[:20]))}]"
    return f"'{value}'" if isinstance(value, str) else str(value)
