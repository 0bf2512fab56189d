"""Lists that grow: groups each of which reads all that the groups before it have made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from archcost.folding.items import CURRENT, Call, Group, Item, Let, Loop, inside
from archcost.folding.shared import free

LEAST = 3


def gather(items: list[Item], taken: set[str]) -> None:
    """Put a list in place of tensors that each group of a run reads in growing number."""
    for item in items:
        for inner in inside(item):
            gather(inner, taken)
    place = 0
    while place < len(items):
        run = _run(items, place)
        if len(run) >= LEAST:
            _collect(items, place, run, taken)
        place += max(len(run), 1)


def _first(item: Item) -> Call | None:
    """Return the call that a group begins with, if it merges tensors."""
    if isinstance(item, Group) and item.items and isinstance(item.items[0], Call):
        return item.items[0] if item.items[0].reads else None
    return None


def _run(items: Sequence[Item], place: int) -> list[Group]:
    """Return the groups from a place on that read one tensor, two tensors, and so on."""
    run: list[Group] = []
    read: tuple[str, ...] = ()
    for item in items[place:]:
        call = _first(item)
        if call is None or not isinstance(item, Group):
            break
        wanted = (*read, CURRENT) if run else call.reads
        if call.reads != wanted or call.reads[-1] != CURRENT or len(call.reads) != len(run) + 1:
            break
        run.append(item)
        read = (*call.reads[:-1], item.label)
        read = read if len(run) > 1 else ()
        if len(run) == 1:
            following = [*items[place + 1 : place + 2]]
            after = _first(following[0]) if following else None
            if after is None or len(after.reads) != 2:
                break
            read = after.reads[:-1]
        else:
            read = (*call.reads[:-1], run[-2].label)
    return run


def _collect(items: list[Item], place: int, run: Sequence[Group], taken: set[str]) -> None:
    name = free("maps", set(taken))
    last = _first(run[-1])
    assert last is not None
    read = (*last.reads[:-1], run[-2].label, CURRENT)
    others = {label for item in items[:place] for label in _reads(item)}
    made: list[Item] = [Let(label=name, value=f"[{CURRENT}]")]
    for group in run:
        call = _first(group)
        assert call is not None
        call.reads = (name,)
        made += [group, Let(label=name, value=f"{name} + [{CURRENT}]")]
    after = place + len(run)
    if after < len(items) and isinstance(items[after], Call) and items[after].reads == read:  # type: ignore[attr-defined]
        items[after].reads = (name,)  # type: ignore[attr-defined]
    others |= {label for item in items[after:] for label in _reads(item)}
    for group in run:
        if group.label not in others:
            group.name = "0"
            group.label = ""
    items[place:after] = made


def _reads(item: Item) -> Iterator[str]:
    if isinstance(item, Call):
        yield from item.reads
    for items in inside(item):
        for inner in items:
            yield from _reads(inner)


def loops(items: list[Item]) -> None:
    """Put a loop in place of a call and a value that come several times, one after the other."""
    for item in items:
        for inner in inside(item):
            loops(inner)
    place = 0
    while place + 1 < len(items):
        times = 1
        pair = items[place : place + 2]
        while _same(pair, items[place + 2 * times : place + 2 * times + 2]):
            times += 1
        if times >= LEAST:
            items[place : place + 2 * times] = [Loop(times=times, items=pair)]
        place += 1


def _same(pair: Sequence[Item], other: Sequence[Item]) -> bool:
    if len(other) != 2 or not isinstance(pair[0], Call) or not isinstance(other[0], Call):
        return False
    one, two = pair[0], other[0]
    if not isinstance(pair[1], Let) or not isinstance(other[1], Let) or one.label or two.label:
        return False
    same = (one.callee, one.args, one.reads) == (two.callee, two.args, two.reads)
    return same and (pair[1].label, pair[1].value) == (other[1].label, other[1].value)
