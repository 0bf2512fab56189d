"""The items of a spec as data: calls, groups, sums of branches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Text:
    """A value that is written as it is: an expression, or the name of an op or a layer."""

    text: str


@dataclass(slots=True)
class Item:
    """What all items have.

    Attributes:
        name: the name that the item has in the network, empty for none.
        tensor: the tensor after it.
        channels: the first size of the tensor before it.
        label: the name that the spec gives it.
    """

    name: str = ""
    tensor: str = ""
    channels: int = 0
    label: str = ""


@dataclass(slots=True)
class Call(Item):
    """A call of an op, a block or a shared item.

    Attributes:
        callee: its name.
        args: arguments with their names; those of a block by its parameters.
        reads: the tensors that are named in the call; none if it reads the current one.
        ties: parameters that are another layer's, each with the tensor of that layer.
        positional: how many of the arguments are written without their names.
        times: how often it runs, one after the other.
        when: the condition on which it is there.
    """

    callee: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    ties: dict[str, str] = field(default_factory=dict)
    positional: int = 0
    times: Any = 1
    when: str = ""


@dataclass(slots=True)
class Take(Item):
    """Another tensor becomes the current one; the current one itself, to be given a label."""

    read: str = CURRENT


@dataclass(slots=True)
class Group(Item):
    """Items in a group of its own.

    Attributes:
        items: what is in it.
        start: the tensor that is current at its first item.
        kind: what its module is, if that is known.
        when: the condition on which it is there.
    """

    items: list[Item] = field(default_factory=list)
    start: str = ""
    kind: str = ""
    when: str = ""


@dataclass(slots=True)
class Merge(Item):
    """Branches from the current tensor, merged; a branch without items is that tensor itself."""

    callee: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    positional: int = 0
    branches: list[tuple[str, list[Item]]] = field(default_factory=list)
    start: str = ""
    absent: dict[str, str] = field(default_factory=dict)
    """The conditions on which branches are there, by their names."""


@dataclass(slots=True)
class Loop(Item):
    """Items that run ``times`` times; ``first`` is what ``i`` is in the first round."""

    first: Any = 0
    times: Any = 0
    items: list[Item] = field(default_factory=list)


@dataclass(slots=True)
class Let(Item):
    """A value for the items that follow."""

    value: str = ""


def inside(item: Item) -> list[list[Item]]:
    """Return the lists of items in an item."""
    if isinstance(item, (Group, Loop)):
        return [item.items]
    return [branch for _, branch in item.branches] if isinstance(item, Merge) else []


def walk(items: Sequence[Item]) -> Iterator[Item]:
    """Yield items and all in them, in order."""
    for item in items:
        yield item
        for inner in inside(item):
            yield from walk(inner)
