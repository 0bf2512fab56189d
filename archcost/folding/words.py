"""The last touches: blocks that are used once, and layers that always come together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from archcost.folding.items import Call, Group, Item, Loop, Merge, Take, Text, inside, walk
from archcost.folding.values import NONE, Made
from archcost.folding.writer import value
from archcost.ops import OPS

SHORT = {"batchnorm": "bn", "layernorm": "ln", "groupnorm": "gn"}
"""How blocks are called after layers."""


def uses(items: Sequence[Item], blocks: dict[str, Made]) -> Counter[str]:
    """Return how many calls each block has; one in a loop counts as many."""
    found: Counter[str] = Counter()
    for own in (items, *(block.items for block in blocks.values())):
        for item in walk(own):
            if isinstance(item, Call):
                found[item.callee] += 1
            if isinstance(item, Loop):
                found.update(inner.callee for inner in walk(item.items) if isinstance(inner, Call))
    return found


def write_out(items: list[Item], blocks: dict[str, Made]) -> None:
    """Put the items of a block in place of its only call."""
    for name in [*blocks]:
        if not blocks[name].of_class and uses(items, blocks)[name] == 1:
            for own in (items, *(block.items for block in blocks.values())):
                if _write_out(own, blocks[name]):
                    del blocks[name]
                    break


def _write_out(items: list[Item], block: Made) -> bool:
    """Put a block's items in place of its call among items or in them; whether it is there."""
    for place, item in enumerate(items):
        if isinstance(item, Call) and item.callee == block.name:
            if item.times != 1 or item.when or _reads_params(block, item):
                return False
            given = {param.name: item.args.get(param.name, param.default) for param in block.params}
            body = [_filled(inner, given) for inner in block.items]
            bare = not item.label and all(isinstance(i, (Call, Take)) and not i.label for i in body)
            group = Group(name=item.name, tensor=item.tensor, channels=item.channels, items=body)
            group.label = item.label or "0"
            items[place : place + 1] = body if bare else [group]
            return True
        if any(_write_out(inner, block) for inner in inside(item)):
            return True
    return False


def _reads_params(block: Made, call: Call) -> bool:
    """Whether a block takes tensors, which the place where it is called may not name."""
    return any(isinstance(v, Text) for v in call.args.values()) and any(
        isinstance(item, (Call, Take)) and getattr(item, "reads", ()) for item in walk(block.items)
    )


def _filled(item: Item, given: dict[str, Any]) -> Item:
    """Return an item with values in place of the names of parameters."""

    def text(words: str) -> str:
        def told(match: re.Match[str]) -> str:
            if match[0] not in given or given[match[0]] is NONE:
                return match[0]
            written = value(given[match[0]])
            return f"({written})" if " " in written and words != match[0] else written

        return re.sub(r"[A-Za-z_]\w*", told, words)

    if isinstance(item, Call):
        item.args = {
            name: Text(text(v.text)) if isinstance(v, Text) else v for name, v in item.args.items()
        }
        item.reads = tuple(map(text, item.reads))
        if item.callee in given:
            item.callee = value(given[item.callee])
    if isinstance(item, (Call, Group)):
        item.when = text(item.when)
    if isinstance(item, (Call, Loop)) and isinstance(item.times, Text):
        item.times = Text(text(item.times.text))
    if isinstance(item, Merge):
        item.absent = {name: text(when) for name, when in item.absent.items()}
    for items in inside(item):
        for inner in items:
            _filled(inner, given)
    return item


def together(lists: Sequence[list[Item]]) -> list[list[tuple[list[Item], int]]]:
    """Put layers that come one after the other in many places in groups without a name.

    That is a layer with weights, a normalisation and an activation behind it. The places are
    returned, those of equal layers together.
    """
    found: dict[tuple[str, ...], list[tuple[list[Item], int]]] = {}
    for items in lists:
        place = 0
        while place < len(items):
            phrase = _phrase(items[place:])
            if len(phrase) > 1:
                first = phrase[0]
                group = Group(
                    name="_".join(SHORT.get(call.callee, call.callee) for call in phrase),
                    tensor=phrase[-1].tensor, channels=first.channels, items=[*phrase],
                )  # fmt: skip
                items[place : place + len(phrase)] = [group]
                key = tuple(call.callee for call in phrase)
                found.setdefault(key, []).append((items, place))
            place += 1
    return [*found.values()]


def _phrase(items: Sequence[Item]) -> list[Call]:
    """Return the layer with weights at the beginning with those that belong to it."""
    phrase: list[Call] = []
    for item in items[:3]:
        plain = isinstance(item, Call) and not item.label and not item.when and item.times == 1
        if not plain or not isinstance(item, Call) or item.callee not in OPS or item.reads:
            break
        kind = OPS[item.callee].kind
        wanted = ("conv", "linear") if not phrase else ("norm", "activation")
        if kind not in wanted or (phrase and kind == OPS[phrase[-1].callee].kind):
            break
        if item.ties:
            break
        phrase.append(item)
        if kind == "activation":
            break
    return phrase


def apart(items: list[Item]) -> None:
    """Put the layers of groups without a name back in their place, and groups of one layer too."""
    for item in items:
        for inner in inside(item):
            apart(inner)
    made: list[Item] = []
    for item in items:
        if isinstance(item, Group) and not item.label:
            made += item.items
        elif isinstance(item, Group) and len(item.items) == 1 and _is_layer(item.items[0]):
            [layer] = item.items
            layer.label = item.label  # forgotten later if nothing reads it
            made.append(layer)
        else:
            made.append(item)
    items[:] = made


def _is_layer(item: Item) -> bool:
    """Whether an item is one layer, whose name is not kept either."""
    return isinstance(item, Call) and not item.label and item.callee in OPS
