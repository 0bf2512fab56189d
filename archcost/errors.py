"""The exceptions of archcost, and the search for the nearest valid name.

ArchcostError       anything that archcost refuses; its text is one line for the user
├── OpError         an op refuses its arguments or its input shapes (the reason only)
├── SpecError       a spec that cannot be read: file:line:column, layer, reason
└── LookupFailed    an unknown model, layer, convention, column, ... with the nearest name
"""

from __future__ import annotations

from collections.abc import Iterable


class ArchcostError(Exception):
    """Anything that archcost refuses. ``str(error)`` is one line, ready for the user."""


class OpError(ArchcostError):
    """An op refuses its arguments or input shapes; who walks the network adds the place."""


class SpecError(ArchcostError):
    """A spec that cannot be read.

    The text is ``file:line:column: layer: reason``; line and column count from 1.
    """

    def __init__(self, reason: str, file: str = "", line: int = 0, column: int = 0) -> None:
        place = f"{file}:{line}:{column}: " if line else f"{file}: " if file else ""
        super().__init__(place + " ".join(reason.split()))
        self.reason, self.file, self.line, self.column = reason, file, line, column


class LookupFailed(ArchcostError):
    """A name that is not among the valid ones."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {shorten(name)!r}{did_you_mean(name, choices)}")


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is spelt most like ``name``, or None if none is close."""
    import difflib  # only errors need it

    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower()[:100], by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


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
