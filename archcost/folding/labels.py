"""Names for what items read: as few as can be, each seen where it is used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from keyword import iskeyword

from archcost.folding.items import CURRENT, Call, Item, Merge, Take, Text, inside
from archcost.folding.shared import free
from archcost.network import maker
from archcost.ops import OPS
from archcost.spec.document import RESERVED, VARIANT_HEADER
from archcost.spec.values import FUNCTIONS

WORDS = frozenset({*RESERVED, *VARIANT_HEADER, *OPS, *FUNCTIONS, "let", "aside", "for", "if", "N"})
"""What no layer and no block is called."""


def named(item: Item) -> Iterator[str]:
    """Yield the tensors that an item names, and those that the items in it name."""
    if isinstance(item, Call):
        yield from item.reads
        yield from item.ties.values()
        for given in item.args.values():
            yield from re.findall(r"[A-Za-z_]\w*", given.text) if isinstance(given, Text) else ()
    if isinstance(item, Take):
        yield item.read
    for items in inside(item):
        for inner in items:
            yield from named(inner)


def give_labels(
    items: list[Item], known: Mapping[str, str], taken: set[str], several: set[str]
) -> None:
    """Label the items that others name, and put these labels in place of tensors.

    Args:
        items: of one group; items that only hold a label are put in.
        known: the labels of the tensors from outside.
        taken: the names that are seen here.
        several: the layers that make more than one tensor.
    """
    for item in items:
        if item.label in known.values():  # a group, whose name would hide a layer outside
            item.label = free(item.label, {*taken, *known.values()})
    env, used = dict(known), {*taken, *(name for item in items for name in _names(item))}
    later: set[str] = set()
    wanted: list[set[str]] = []
    for item in reversed(items):
        wanted.append({maker(name) for name in later})
        later.update(named(item))
    made: list[Item] = []
    read: list[Item] = []
    for item, after in zip(items, reversed(wanted), strict=True):
        made.append(item)
        if maker(item.tensor) not in after or isinstance(item, Take):
            continue
        if isinstance(item, Merge):
            item = Take(tensor=item.tensor, name=item.name, channels=item.channels)
            made.append(item)
        if not item.label or item.label[0].isdigit():
            item.label = _label(item.name, used)
        read.append(item)
    # groups of one form have the same labels in them, whatever is named around them
    for item in made:
        _resolve(item, env, several)
        for inner in inside(item):
            give_labels(inner, env, used, several)
        if any(item is one for one in read):
            env[maker(item.tensor)] = item.label
    items[:] = made


def _names(item: Item) -> Iterator[str]:
    """Yield the names that an item takes in its group whatever is read."""
    if item.label:
        yield item.label
    if isinstance(item, Merge):
        yield from (name for name, _ in item.branches)


def _label(name: str, used: set[str]) -> str:
    """Return a label like the name of a layer; numbers that the language gives are avoided."""
    base = name.partition("#")[0].rstrip("0123456789_")
    if not base or base[0].isdigit() or base in WORDS or iskeyword(base):
        base = next((word for word in "xyzabcdefghuvw" if word not in used), "x")
    return free(base, used)


def _resolve(item: Item, env: Mapping[str, str], several: set[str]) -> None:
    """Put labels in place of the tensors that an item itself names."""

    def text(name: str) -> str:
        path, _, place = name.partition(":")
        if name == CURRENT:
            return name
        return f"{env[path]}[{place or 0}]" if path in several else env[path]

    if isinstance(item, Call):
        item.reads = tuple(map(text, item.reads))
        item.ties = {own: env[name] for own, name in item.ties.items()}
    if isinstance(item, Take):
        item.read = text(item.read)


def name_groups(items: Sequence[Item], taken: set[str]) -> None:
    """Give each group the name that it has, changed where the language has another use for it."""
    used: set[str] = set()
    numbered = {call.callee for call in map(_alone, items) if call}  # conv1, conv2, ...
    for item in items:
        for inner in inside(item):
            name_groups(inner, taken)
        if item.name and not isinstance(item, (Merge, Take)) and _is_group(item):
            clash = item.name.rstrip("0123456789") in numbered
            name = f"{item.name}_" if clash else item.name
            item.label = name if name.isdigit() else free(name, {*used, *taken, *WORDS})
            used.add(item.label)


def _alone(item: Item) -> Call | None:
    """Return a call, or the only one in a group, which may be written without the group."""
    while not isinstance(item, Call):
        inner = [each for items in inside(item) for each in items]
        if len(inner) != 1:
            return None
        [item] = inner
    return item


def _is_group(item: Item) -> bool:
    return not isinstance(item, Call)  # a shared item has a name of its own


def forget(items: list[Item], read: frozenset[str] = frozenset()) -> None:
    """Take the labels away from layers that nothing reads any more."""
    for place, item in enumerate(items):
        later = frozenset(label for after in items[place + 1 :] for label in named(after))
        names = frozenset(label.partition("[")[0] for label in later) | read
        for inner in inside(item):
            forget(inner, names)
        if isinstance(item, Call) and item.callee in OPS and item.label not in names:
            item.label = ""
