"""Items as the text of a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archcost.folding.items import CURRENT, Call, Group, Item, Let, Loop, Merge, Take, Text

WIDTH = 96
STEP = "  "


def value(given: Any) -> str:
    """Return a value as a spec writes it."""
    if isinstance(given, Text):
        return given.text
    if isinstance(given, (tuple, list)):
        return "[" + ", ".join(map(value, given)) + "]"
    return "null" if given is None else repr(given)


def call(item: Call) -> str:
    """Return a call as part of a chain, without its label and its condition."""
    cells = list(item.reads)
    for place, (name, given) in enumerate(item.args.items()):
        text = value(given)
        cells.append(text if place < item.positional else f"{name}={text}")
    cells += [f"{name}={label}" for name, label in item.ties.items()]
    text = f"{item.callee}({', '.join(cells)})" if cells else item.callee
    return text if item.times == 1 else f"{text} * {value(item.times)}"


def take(item: Take) -> str:
    """Return the call that makes another tensor the current one."""
    return f"take({item.read})"


def is_plain(item: Item) -> bool:
    """Whether an item can be part of a chain with others."""
    return isinstance(item, (Call, Take)) and not item.label


def plain(item: Item) -> str:
    """Return an item of a chain."""
    return take(item) if isinstance(item, Take) else call(item)  # type: ignore[arg-type]


def chain(items: Sequence[Item]) -> str | None:
    """Return items as one chain, None if they are none."""
    if not items or not all(map(is_plain, items)):
        return None
    conditions = {getattr(item, "when", "") for item in items}
    if len(conditions) > 1:
        return None
    [when] = conditions
    return " >> ".join(map(plain, items)) + (f" if {when}" if when else "")


def lines(items: Sequence[Item], indent: str = "") -> Iterator[str]:
    """Yield the lines of a list of items."""
    waiting: list[str] = []
    when = ""

    def told() -> Iterator[str]:
        if waiting:
            yield f"{indent}- {' >> '.join(waiting)}" + (f" if {when}" if when else "")
            waiting.clear()

    for item in items:
        if not is_plain(item):
            yield from told()
            yield from _alone(item, indent)
            continue
        text, own = plain(item), getattr(item, "when", "")
        together = " >> ".join([*waiting, text])
        long = len(indent) + 2 + len(together) + (4 + len(own)) * bool(own) > WIDTH
        if waiting and (own != when or long):
            yield from told()
        waiting.append(text)
        when = own
    yield from told()


def _alone(item: Item, indent: str) -> Iterator[str]:
    """Yield the lines of an item that has a name, a condition, or items in it."""
    if isinstance(item, (Call, Take)):
        head = f"{item.label}: " if item.label else ""
        when = f" if {item.when}" if isinstance(item, Call) and item.when else ""
        yield f"{indent}- {head}{plain(item)}{when}"
    elif isinstance(item, Merge):
        yield from _merge(item, indent)
    elif isinstance(item, Loop):
        yield f"{indent}- for i in range({_range(item)}):"
        yield from lines(item.items, indent + STEP * 2)
    elif isinstance(item, Let):
        yield f'{indent}- let: {{{item.label}: "{item.value}"}}'
    elif isinstance(item, Group):
        if item.when:
            yield f"{indent}- if {item.when}:"
            indent += STEP * 2
        yield from entry(f"{indent}- {item.label}:", item.items, indent + STEP * 2)


def _range(item: Loop) -> str:
    if isinstance(item.first, Text) or isinstance(item.times, Text):
        first, times = value(item.first), value(item.times)
        return times if item.first == 0 else f"{first}, {first} + {times}"
    return f"{item.first}, {item.first + item.times}" if item.first else str(item.times)


def _merge(item: Merge, indent: str) -> Iterator[str]:
    given = [value(v) if n < item.positional else f"{k}={value(v)}"
             for n, (k, v) in enumerate(item.args.items())]  # fmt: skip
    head = f"{item.callee}({', '.join(given)})" if given else item.callee
    yield f"{indent}- {head}:"
    for name, items in item.branches:
        key = f"{indent}{STEP * 2}{name}:"
        when = item.absent.get(name)
        if not items:
            yield f"{key} identity" + (f" if {when} else none" if when else "")
        else:
            yield from entry(key, items, indent + STEP * 3)


def entry(head: str, items: Sequence[Item], indent: str) -> Iterator[str]:
    """Yield the lines of a key with items: on its line if they are a chain that fits."""
    text = chain(items)
    if text is not None and text != "identity" and len(head) + 1 + len(text) <= WIDTH:
        yield f"{head} {text}"
        return
    yield head
    yield from lines(items, indent)


def mapping(key: str, entries: Mapping[str, Sequence[Item]]) -> Iterator[str]:
    """Yield a part of the spec whose entries have items: ``blocks`` or ``shared``."""
    if entries:
        yield f"{key}:"
        for name, items in entries.items():
            yield from entry(f"{STEP}{name}:", items, STEP * 2)


__all__ = ["CURRENT", "call", "chain", "entry", "lines", "mapping", "value"]
