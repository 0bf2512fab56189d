"""Markdown cut to what GitHub takes: ``python -m archcost.report.comment LIMIT WORDS < long.md``.

GitHub refuses a comment of more than 65,536 characters and a step's summary of more than 1 MiB.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

OPENS, CLOSES = "<details>", "</details>"


def cut(text: str, most: int, words: str) -> str:
    """Return Markdown of at most ``most`` bytes in UTF-8, which ends with ``words`` if it is cut.

    It ends after a whole line, with everything closed that was folded; a table that would be left
    without rows is left out. Bytes are at least as many as characters, whichever is counted.
    """
    if len(text.encode()) <= most:
        return text
    room = most - len(words.encode()) - 2
    kept: list[str] = []
    ends = [(0, 0)]  # after how many lines it may end, and how many folds are open there
    size = depth = 0
    for line, rows in _numbered(text):
        size += len(line.encode())
        depth += line.count(OPENS) - line.count(CLOSES)
        if size + depth * (len(CLOSES) + 2) > room:
            break
        kept.append(line)
        if rows not in (1, 2):
            ends.append((len(kept), depth))
    last, depth = ends[-1]
    return "".join(kept[:last]).rstrip("\n") + f"\n\n{CLOSES}" * depth + f"\n\n{words}\n"


def _numbered(text: str) -> Iterator[tuple[str, int]]:
    """Yield each line and which one it is of its table: 1 for the heading, 0 outside of tables."""
    rows = 0
    for line in text.splitlines(keepends=True):
        rows = rows + 1 if line.startswith("|") else 0
        yield line, rows


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    sys.stdout.write(cut(sys.stdin.read(), int(sys.argv[1]), sys.argv[2]))
