"""Blocks of groups that have one form, and repeats of equal calls."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from archcost.folding.align import aligned, form
from archcost.folding.growth import loops
from archcost.folding.items import Call, Group, Item, Merge, Take, inside, walk
from archcost.folding.labels import WORDS, forget
from archcost.folding.rates import Ramp, ramp_of, rise, write_steps
from archcost.folding.shared import free
from archcost.folding.unify import Unifier
from archcost.folding.values import Made
from archcost.folding.words import SHORT, apart, together, write_out
from archcost.folding.writer import entry, value
from archcost.ops import OPS

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict", "Identity", "")
"""Classes that say nothing of what is in them."""


LATER = 1_000
"""Added to the height of a container in a module of a class, whose block may hold it."""


class Folder:
    """Folds items into blocks, from the inner groups to the outer ones.

    With ``gaps`` groups of one class are one block, also if some lack items that others have.
    """

    def __init__(self, taken: set[str], gaps: bool = True) -> None:
        self.taken, self.gaps = taken, gaps
        self.blocks: dict[str, Made] = {}
        self.ramp: Ramp | None = None

    def fold(self, items: list[Item]) -> None:
        """Fold the groups among items and in them; the items change."""
        heights = {id(item): height_of(item) for item in walk(items) if isinstance(item, Group)}
        for kind in {item.kind for item in walk(items) if isinstance(item, Group)}:
            same = [item for item in walk(items) if isinstance(item, Group) and item.kind == kind]
            if kind not in CONTAINERS:
                heights.update(dict.fromkeys(map(id, same), max(heights[id(i)] for i in same)))
        for item in walk(items):
            if isinstance(item, Group) and item.kind not in CONTAINERS:  # the class comes first
                for part in (part for inner in inside(item) for part in walk(inner)):
                    if isinstance(part, Group) and part.kind in CONTAINERS:
                        heights[id(part)] += LATER
        self.ramp = ramp_of(items)
        for height in sorted({*heights.values()}):
            self._repeat_all(items)
            places = [place for place in _places(items) if heights[id(_at(place))] == height]
            for cluster in _clusters(places, self.gaps):
                self._replace(cluster)
        self._repeat_all(items)
        write_out(items, self.blocks)
        self._say_together(items)
        if self.ramp is not None:
            write_steps([items, *(block.items for block in self.blocks.values())], self.ramp)

    def _say_together(self, items: list[Item]) -> None:
        """Make blocks of layers that come together in many places."""
        lists = [items, *(block.items for block in self.blocks.values())]
        every = [inner for own in lists for inner in _lists(own)]
        for cluster in together(every):
            if len(cluster) > 1:
                self._replace(cluster)
        for own in lists:
            apart(own)
            forget(own)
            self._repeat_all(own)

    def _replace(self, cluster: Sequence[tuple[list[Item], int]]) -> None:
        """Put calls of a block in place of groups, if that is shorter."""
        groups = [_at(place) for place in cluster]
        loose = groups[0].kind not in CONTAINERS
        if not loose and all(group.label and _is_line(group) for group in groups):
            return
        best = self._block(groups, loose)
        if best is None:
            return
        made, unifier = best
        calls = [self._call(made, unifier, number, group) for number, group in enumerate(groups)]
        before = sum(_length(group.items, group) for group in groups)
        after = sum(len(_text(call)) + 4 for call in calls) + _length(made.items) + len(made.head)
        if after >= before:
            return
        self.blocks[made.name] = made
        self.taken.add(made.name)
        for (items, place), call in zip(cluster, calls, strict=True):
            items[place] = call

    def _block(self, groups: Sequence[Group], loose: bool) -> tuple[Made, Unifier] | None:
        lists = [_with_sum(group.items, groups) if loose else group.items for group in groups]
        columns = aligned(lists, gaps=loose and self.gaps)
        if columns is None:
            return None
        name = free(_word(groups), {*self.taken, *WORDS, *_labels_in(groups)})
        unifier = Unifier(len(groups), self.blocks, [group.channels for group in groups])
        self.taken.discard(name)
        made = unifier.block(name, columns)
        if made is None:
            return None
        made.of_class = loose
        return made, unifier

    def _call(self, made: Made, unifier: Unifier, number: int, group: Group) -> Call:
        args = unifier.arguments(number)
        needed = sum(1 for param in made.params if param.name not in made.defaults)
        return Call(
            name=group.name, tensor=group.tensor, channels=group.channels,
            label="" if group.label.isdigit() else group.label, callee=made.name, args=args,
            positional=needed,
        )  # fmt: skip

    def _repeat_all(self, items: list[Item]) -> None:
        for item in items:
            for inner in inside(item):
                self._repeat_all(inner)
        repeat(items)
        loops(items)
        if self.ramp is not None:
            rise(items, self.ramp)


def repeat(items: list[Item]) -> None:
    """Put one call with a number in place of equal calls of a block, one after the other."""
    read = {label for item in items for label in _read(item)}
    made: list[Item] = []
    for _, run in groupby(items, key=lambda item: _same_call(item, read)):
        calls = [*run]
        first = calls[0]
        if len(calls) > 1 and isinstance(first, Call) and _same_call(first, read)[0] == "call":
            first.times, first.label = len(calls), ""
            first.tensor = calls[-1].tensor
            made.append(first)
        else:
            made += calls
    items[:] = made


def _same_call(item: Item, read: set[str]) -> Any:
    if not isinstance(item, Call) or item.reads or item.ties or item.times != 1 or item.when:
        return ("other", id(item))
    if item.label in read or (item.label and not re.search(r"\d+$", item.label)):
        return ("other", id(item))
    if not item.label and item.callee in OPS:
        return ("other", id(item))
    base = re.sub(r"\d+$", "", item.label)
    return ("call", base, item.callee, repr([*item.args.items()]))


def _read(item: Item) -> Iterator[str]:
    if isinstance(item, Call):
        yield from (text.partition("[")[0] for text in (*item.reads, *item.ties.values()))
        yield from (v.text for v in item.args.values() if hasattr(v, "text"))
    if isinstance(item, Take):
        yield item.read.partition("[")[0]
    for items in inside(item):
        for inner in items:
            yield from _read(inner)


def height_of(item: Item) -> int:
    """Return how many groups lie in each other in an item, itself among them."""
    inner = max((height_of(i) for items in inside(item) for i in items), default=0)
    return inner + isinstance(item, Group)


def _lists(items: list[Item]) -> Iterator[list[Item]]:
    """Yield a list of items and all lists in it."""
    yield items
    for item in items:
        for inner in inside(item):
            yield from _lists(inner)


def _places(items: list[Item]) -> Iterator[tuple[list[Item], int]]:
    """Yield where groups are."""
    for place, item in enumerate(items):
        if isinstance(item, Group):
            yield items, place
        for inner in inside(item):
            yield from _places(inner)


def _at(place: tuple[list[Item], int]) -> Group:
    group = place[0][place[1]]
    assert isinstance(group, Group)
    return group


def _clusters(
    places: Sequence[tuple[list[Item], int]], gaps: bool
) -> list[list[tuple[list[Item], int]]]:
    """Return the groups that may be one block: of one class, or of one form without ``gaps``."""
    found: dict[Any, list[tuple[list[Item], int]]] = {}
    for place in places:
        group = _at(place)
        loose = group.kind not in CONTAINERS
        key = group.kind if loose and gaps else (loose and group.kind, _form_of(group.items))
        found.setdefault(key, []).append(place)
    return [cluster for cluster in found.values() if len(cluster) > 1]


def _form_of(items: Sequence[Item]) -> Any:
    own = {label for item in items for label in [item.label] if label}
    return tuple((form(item), *map(_form_of, inside(item))) for item in items), len(own)


def _with_sum(items: list[Item], groups: Sequence[Group]) -> list[Item]:
    """Return the items of a group in a sum of one branch, if other groups are sums of two."""
    sums = [g.items[0] for g in groups if len(g.items) == 1 and isinstance(g.items[0], Merge)]
    if not sums or len(sums) == len(groups) or (len(items) == 1 and isinstance(items[0], Merge)):
        return items
    like = sums[0]
    whole = [name for name, own in like.branches if own]
    if len(whole) != 1 or len(like.branches) != 2:
        return items
    if len(items) == 1 and isinstance(items[0], Group) and items[0].label == whole[0]:
        items = items[0].items
    branches: Any = [(name, items if name == whole[0] else None) for name, _ in like.branches]
    return [
        Merge(callee=like.callee, args=like.args, branches=branches, channels=items[0].channels)
    ]


def _word(groups: Sequence[Group]) -> str:
    """Return a name for a block: the class, as a word, or the name of its first group."""
    kind = groups[0].kind
    if kind not in CONTAINERS:
        kind = kind.replace("ViT", "Vit").replace("ReLU", "Relu")  # one word each
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", kind)
        return words.lower().strip("_")
    word = re.sub(r"[\d_]+$", "", groups[0].name)
    if word and not word[0].isdigit():
        return word
    calls = [item.callee for item in groups[0].items if isinstance(item, Call)]
    if 1 < len(calls) < 4 and len(calls) == len(groups[0].items):
        return "_".join(dict.fromkeys(SHORT.get(callee, callee) for callee in calls))
    return "stage" if len(calls) < len(groups[0].items) else "block"


def _is_line(group: Group) -> bool:
    """Whether a group is written on one line."""
    return len([*entry(f"- {group.label}:", group.items, "")]) == 1


def _labels_in(groups: Sequence[Group]) -> set[str]:
    return {item.label for group in groups for item in group.items if item.label}


def _text(call: Call) -> str:
    from archcost.folding.writer import call as written

    return f"{call.label}: {written(call)}" if call.label else written(call)


def _length(items: Sequence[Item], group: Group | None = None) -> int:
    head = f"- {group.label}:" if group else ""
    return sum(len(line.strip()) + 4 for line in entry(head, items, ""))


__all__ = ["Folder", "value"]
