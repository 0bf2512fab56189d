"""A table as lines that fit a terminal: the essential columns stay, texts wrap, no digit is cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import zip_longest

import click

from archcost.data import dataclass
from archcost.table import Column, Table

GAP = "  "
READABLE = 24
"""Characters below which a column of words is no help, unless it is essential."""
WORDS = re.compile(r"(?<=[^+−\d] )|(?<=\d )(?=[^a-z])")
"""Where a line may end: after a space, not between a sign and what it adds, or a number and what
it counts."""
PARTS = re.compile(r"(?<=[^\d\s._/-][._/])(?=[^\s._/-])|(?<=[^\s._/-][._/-])(?=[^\d\s._/-])")
"""Where a word that is too long may be broken: inside of names, not inside of numbers."""


def width() -> int:
    """Return how many characters a line of the terminal has; ``COLUMNS`` says it, too."""
    import shutil  # it loads all kinds of archives

    return shutil.get_terminal_size((80, 24)).columns


def print_table(table: Table, width: int, chosen: bool = False) -> None:
    """Print a table to a terminal of that width: title and totals bold, notes dim.

    ``chosen`` columns were asked for, so all of them are essential.
    """
    body, notes = lay_out(table, width, chosen)
    for text in table.title.split("\n\n") if table.title else ():
        for line in wrap(" ".join(text.split()), width):
            click.secho(line, bold=True)
        click.echo()
    for line, bold in body:
        click.echo(click.style(line, bold=True) if bold else line)
    for note in (*table.notes, *notes):
        for line in wrap(note, width):
            click.secho(line, dim=True)


def lay_out(
    table: Table, width: int, chosen: bool = False
) -> tuple[list[tuple[str, bool]], list[str]]:
    """Return the lines of a table, each and whether it is bold, and notes on what is not in it.

    Columns without content are left out. If the others do not fit side by side, columns that say
    the same in every row move into a note. Then minor columns are left out, then others that are
    not essential. A note names them. Where even the essential ones do not fit, every row is written
    as a list of all its figures.
    """
    if not (table.rows or table.footer):
        return [], []
    every = [
        Strip(column, i, [row[i] for row in shown], len(table.rows))
        for shown in [table.shown()]
        for i, column in enumerate(table.columns)
    ]
    groups = every.pop(0).cells if every[1:] and every[0].column.once else []
    keep = [strip for strip in every if chosen or any(strip.cells)]
    constant: list[Strip] = []
    left_out: list[Strip] = []
    while not fits(keep, width):
        same = [strip for strip in keep[1:] if strip.constant and not chosen]
        spare = [s for s in keep[1:] if not (s.column.essential or chosen)]
        if not (same or spare):
            break
        least = max(same or spare, key=lambda strip: (strip.column.minor, strip.place))
        keep.remove(least)
        (constant if same else left_out).append(least)
    notes = []
    if constant:
        said = ", ".join(f"{s.column.heading} {s.cells[0]}" for s in reversed(constant))
        notes.append(f"in every row: {said}")
    size = widths(keep, width)
    if size is None:
        shown = [strip for strip in every if strip in keep or strip in left_out]
        return [*records(shown, groups, width)], notes
    if left_out:
        keys = ", ".join(s.column.key for s in sorted(left_out, key=lambda s: s.place))
        notes.append(f"not shown at width {width}: {keys}; choose with --columns")
    return [*rows(keep, size, groups, len(table.rows))], notes


@dataclass
class Strip:
    """A column as it is shown: its cells, those of the totals after ``rows`` others."""

    column: Column
    place: int
    cells: list[str]
    rows: int

    @property
    def constant(self) -> bool:
        """Whether all of several rows say the same, and the totals nothing else."""
        first, *others = self.cells or [""]
        body, foot = others[: self.rows - 1], others[self.rows - 1 :]
        return bool(first and body) and {*body} == {first} and {*foot} <= {"", first}

    @cached_property
    def natural(self) -> int:
        """Characters that the column takes where nothing wraps."""
        return max(map(len, [self.column.heading, *self.cells]))

    @cached_property
    def least(self) -> int:
        """Characters of the longest part that cannot be broken."""
        return max(len(part) for word in self._words for part in PARTS.split(word))

    @cached_property
    def word(self) -> int:
        """Characters of the longest word; one that is too long to be readable counts by parts."""
        return max(self.least, *(len(word) for word in self._words if len(word) <= READABLE), 0)

    @property
    def _words(self) -> set[str]:
        texts = {self.column.heading, *self.cells}
        return {word.rstrip() for text in texts for word in WORDS.split(text)}

    def comfort(self, width: int) -> int:
        """Characters that the column should have: numbers whole, words readable."""
        content = max(map(len, self.cells), default=0)
        if not self.column.numeric:
            content = min(content, READABLE if self.place else width // 2)
        return max(content, self.word)


def room(strips: Sequence[Strip], width: int) -> int:
    """Return the characters that columns side by side share."""
    return width - len(GAP) * (len(strips) - 1)


def fits(strips: Sequence[Strip], width: int) -> bool:
    """Whether columns can stand side by side as they should."""
    return sum(strip.comfort(width) for strip in strips) <= room(strips, width)


def widths(strips: Sequence[Strip], width: int) -> list[int] | None:
    """Return the widths of columns side by side, the widest giving way to the others.

    None if there is no room for them.
    """
    share = room(strips, width)
    natural = [s.natural for s in strips]
    needs = (
        [s.comfort(width) for s in strips],
        [s.word for s in strips],
        [s.least for s in strips],
    )
    least = next((need for need in needs if sum(need) <= share), None)
    if least is None:
        return None

    def capped(cap: int) -> list[int]:
        return [max(low, min(full, cap)) for low, full in zip(least, natural, strict=True)]

    cap = max(natural, default=0)
    while sum(capped(cap)) > share:
        cap -= 1
    made = capped(cap)
    spare = share - sum(made)
    for i, full in enumerate(natural):
        more = max(min(spare, full - made[i]), 0)
        made[i] += more
        spare -= more
    return made


def rows(
    strips: Sequence[Strip], size: Sequence[int], groups: Sequence[str], count: int
) -> Iterable[tuple[str, bool]]:
    """Yield the lines of columns side by side: headings, a rule, ``count`` rows, totals.

    ``groups`` has what stands above a row, empty for none.
    """
    width = sum(size) + len(GAP) * (len(size) - 1)

    def lines(cells: Sequence[str]) -> Iterable[str]:
        parts = [
            wrap(cell, limit, 0 if i or strip.column.numeric else 2)
            for i, (cell, limit, strip) in enumerate(zip(cells, size, strips, strict=True))
        ]
        for line in zip_longest(*parts, fillvalue=""):
            yield GAP.join(
                part.rjust(limit) if strip.column.numeric else part.ljust(limit)
                for part, limit, strip in zip(line, size, strips, strict=True)
            ).rstrip()

    rule = GAP.join("─" * limit for limit in size)
    yield from ((line, True) for line in lines([s.column.heading for s in strips]))
    yield rule, False
    foot = False
    for i, cells in enumerate(zip(*(s.cells for s in strips), strict=True)):
        if i >= count and cells[1:] and not any(cells[1:]):
            continue  # the columns that it adds up are not shown
        if i >= count and not foot:
            yield rule, False
            foot = True
        if groups and groups[i]:
            yield from ((line, True) for line in wrap(groups[i], width, 2))
        yield from ((line, i >= count) for line in lines(cells))
    yield "", False


def records(
    strips: Sequence[Strip], groups: Sequence[str], width: int
) -> Iterable[tuple[str, bool]]:
    """Yield every row as lines of ``heading: figure``, below what its first column says."""
    first, *others = strips
    for i, name in enumerate(first.cells):
        if groups and groups[i]:
            yield from ((line, True) for line in wrap(groups[i], width, 2))
        yield from ((line, True) for line in wrap(name, width, 2))
        for strip in others:
            if cell := strip.cells[i]:
                text = f"{strip.column.heading}: {cell}"
                yield from ((f"  {line}", False) for line in wrap(text, width - 2, 2))
    yield "", False


def wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """Return a text as lines of at most ``width`` characters; later lines are indented.

    A word that is wider than a line is broken between its parts, and cut where it has none.
    """
    lines = [""]
    for word in WORDS.split(text):
        whole = len(word.rstrip()) + indent <= width
        for part in [word] if whole else PARTS.split(word):
            size = len(part.rstrip())
            if len(lines[-1]) + size > width and lines[-1].strip():
                lines.append(" " * indent if size + indent <= width else "")
            while len(lines[-1]) + len(part.rstrip()) > width:
                end = width - len(lines[-1])
                lines[-1] += part[:end]
                part = part[end:]
                lines.append("")
            lines[-1] += part
    return [line.rstrip() for line in lines]
