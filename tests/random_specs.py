"""Specs as trees: how they are written as text, read as nodes, and made smaller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from archcost.spec import source as yaml

Item = Any
"""What YAML holds: a call as text, a list, or a mapping."""


def to_text(spec: Item, indent: str = "") -> str:
    """Return a spec as YAML."""
    if isinstance(spec, list):
        return "".join(_entry(f"{indent}- ", item, indent + "  ") for item in spec)
    return "".join(_entry(f"{indent}{key}:", value, indent + "  ") for key, value in spec.items())


def _entry(head: str, value: Item, indent: str) -> str:
    if isinstance(value, str):
        flow = value.startswith("{") or (value.startswith("[") and "][" in value)
        return f"{head.rstrip()} {repr(value) if flow else value}\n"
    if not value:
        return f"{head.rstrip()} {'[]' if isinstance(value, list) else '{}'}\n"
    if head.endswith(":"):
        return f"{head}\n{to_text(value, indent)}"
    return head + to_text(value, indent).lstrip()  # an item's single key follows its dash


def to_node(item: Item) -> yaml.Node:
    """Return an item as the parser would read it."""
    if isinstance(item, str):
        return yaml.Scalar(item, 1, 1)
    if isinstance(item, list):
        return yaml.Sequence([to_node(i) for i in item], 1, 1)
    pairs = item.items()
    return yaml.Mapping({k: (yaml.Scalar(k, 1, 1), to_node(v)) for k, v in pairs}, 1, 1)


def shrink(spec: dict[str, Item], fails: Callable[[dict[str, Item]], bool]) -> dict[str, Item]:
    """Return a smaller spec that still fails, by leaving out items and unwrapping groups."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(spec):
            if isinstance(candidate, dict) and candidate.get("layers") and fails(candidate):
                spec, smaller = candidate, True
                break
    return spec


def _smaller(item: Item) -> Iterator[Item]:
    """Yield an item with one part left out, or replaced by what is in it."""
    if isinstance(item, list):
        for i, one in enumerate(item):
            yield item[:i] + item[i + 1 :]
            if isinstance(one, dict):
                for value in one.values():
                    yield from _unwrapped(item, i, value)
            for part in _smaller(one):
                yield [*item[:i], part, *item[i + 1 :]]
    elif isinstance(item, dict):
        for key in item:
            yield {k: v for k, v in item.items() if k != key}
        for key, value in item.items():
            for part in _smaller(value):
                yield {**item, key: part}


def _unwrapped(items: list[Item], i: int, value: Item) -> Iterator[Item]:
    """Yield items with what the i-th holds in its place."""
    if isinstance(value, list):
        yield items[:i] + value + items[i + 1 :]
    elif isinstance(value, str):
        yield [*items[:i], value, *items[i + 1 :]]
    elif isinstance(value, dict):
        for branch in value.values():
            yield from _unwrapped(items, i, branch)
