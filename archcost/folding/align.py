"""Groups of equal or similar form side by side: which items have the same place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from archcost.folding.items import Call, Group, Item, Let, Loop, Merge, Take
from archcost.ops import OPS
from archcost.ops.arguments import REQUIRED


@dataclass
class Column:
    """The items of several groups at one place.

    Attributes:
        variants: the item of each group, None where it has none.
        inner: of a merge, its branches; of a group, its items, as one branch.
    """

    variants: list[Item | None]
    inner: list[Branch] = field(default_factory=list)

    @property
    def first(self) -> Item:
        """The item of the first group that has one."""
        return next(item for item in self.variants if item is not None)


@dataclass
class Branch:
    """A branch of several merges; ``present`` says in which of them it is."""

    name: str
    columns: list[Column]
    present: list[bool | None]


def is_activation(item: Call) -> bool:
    """Whether an item is an activation without arguments, for which others may stand."""
    op = OPS.get(item.callee)
    return op is not None and op.kind == "activation" and not (item.args or item.reads)


def form(item: Item) -> Any:
    """Return what two items have in common that can have one place."""
    if isinstance(item, Call):
        what = "an activation" if is_activation(item) else item.callee
        return ("call", what, len(item.reads), item.label, tuple(item.ties.items()))
    if isinstance(item, Take):
        return ("take", item.label)
    if isinstance(item, Merge):
        return ("merge", item.callee, len(item.branches), tuple(item.args.items()))
    if isinstance(item, Group):
        return ("group", item.label)
    if isinstance(item, Let):
        return ("let", item.label, item.value)
    assert isinstance(item, Loop)
    return "loop"


def aligned(groups: Sequence[Sequence[Item]], gaps: bool) -> list[Column] | None:
    """Return the items of groups by their places; None if they differ in form.

    With ``gaps`` some may lack items that others have.
    """
    columns: list[Column] = []
    for number, items in enumerate(groups):
        made = _joined(columns, number, items, gaps if number else True)
        if made is None:
            return None
        columns = made
    return columns


def _joined(
    columns: Sequence[Column], number: int, items: Sequence[Item], gaps: bool
) -> list[Column] | None:
    pairs = _pairs(columns, items)
    matched = [(i, j) for i, j in pairs if i is not None and j is not None]
    if not gaps and len(matched) < max(len(columns), len(items)):
        return None
    if number and columns and items and not matched:
        return None
    made: list[Column] = []
    for i, j in pairs:
        if i is None:
            assert j is not None
            column = Column([None] * number, _branches(items[j], number))
        else:
            column = Column(columns[i].variants, columns[i].inner)
        item = None if j is None else items[j]
        lists: list[tuple[str, list[Item] | None]] = []
        if isinstance(item, Merge):
            lists = [(name, own) for name, own in item.branches]
        elif isinstance(item, (Group, Loop)):
            lists = [("", item.items)]
        inner = []
        for place, branch in enumerate(column.inner):
            own: Sequence[Item] | None = lists[place][1] if lists else []
            there = (own is not None) if lists else None
            joined = _joined(branch.columns, number, own or [], gaps)
            if joined is None and (own or not gaps):
                return None
            inner.append(Branch(branch.name, joined or [], [*branch.present, there]))
        made.append(Column([*column.variants, item], inner))
    return made


def _branches(item: Item, number: int) -> list[Branch]:
    if isinstance(item, Merge):
        return [Branch(name, [], [None] * number) for name, _ in item.branches]
    return [Branch("", [], [None] * number)] if isinstance(item, (Group, Loop)) else []


def _pairs(columns: Sequence[Column], items: Sequence[Item]) -> list[tuple[int | None, int | None]]:
    """Return which items have which places, as many as can be in order."""
    rows, cols = len(columns), len(items)
    best = [[0.0] * (cols + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(cols)):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if likeness := _like(columns[i].first, items[j]):
                best[i][j] = max(best[i][j], best[i + 1][j + 1] + likeness)
    pairs: list[tuple[int | None, int | None]] = []
    i = j = 0
    while i < rows or j < cols:
        likeness = _like(columns[i].first, items[j]) if i < rows and j < cols else 0
        if likeness and best[i][j] == best[i + 1][j + 1] + likeness:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif j == cols or (i < rows and best[i][j] == best[i + 1][j]):
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    return pairs


def _like(one: Item, other: Item) -> float:
    """Return how much two items are alike: 0 if they cannot have one place."""
    if form(one) != form(other):
        return 0
    if isinstance(one, Call) and isinstance(other, Call):
        same = sum(1 for name, given in one.args.items() if other.args.get(name) == given)
        return 1 + 0.1 * same + 0.2 * (one.callee == other.callee)
    return 1


def default_of(callee: str, name: str, blocks: dict[str, Any]) -> Any:
    """Return the value of an argument that a call leaves out."""
    if callee in blocks:
        return blocks[callee].defaults.get(name)
    known = OPS[callee].arguments[name].default
    return None if known is REQUIRED else known
