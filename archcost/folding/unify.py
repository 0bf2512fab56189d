"""What groups of one form differ in, as parameters of a block."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from archcost.folding.align import Branch, Column, default_of, is_activation
from archcost.folding.items import CURRENT, Call, Group, Item, Loop, Merge, Take, Text
from archcost.folding.labels import WORDS
from archcost.folding.shared import free
from archcost.folding.values import (
    IN_CHANNELS,
    NONE,
    RESIDUAL,
    SHORT,
    WIDE,
    WIDTHS,
    Made,
    Param,
    Slot,
    Told,
    derived,
    is_channels,
    is_of_its_place,
    is_same,
)
from archcost.ops import OPS


class Unifier:
    """Makes a block of columns."""

    def __init__(self, count: int, blocks: dict[str, Made], start: Sequence[int]) -> None:
        self.count, self.blocks, self.start = count, blocks, start
        self.params: list[Param] = []
        self.slots: list[Slot] = []
        self.conditions: list[tuple[Callable[[str], None], list[bool | None], str, bool]] = []
        self.bound: set[str] = set()
        self.loops = 0  # around the items that are looked at
        self.absent: list[bool] = [False] * count  # which of the groups lack what they are in

    def block(self, name: str, columns: Sequence[Column]) -> Made | None:
        """Return the block; ``params`` then have the values for each group.

        There is none if a value that differs is said by the channels at its place.
        """
        self.bound = set(_labels(columns))
        items = self._items(columns, True)
        hard = [slot for slot in self.slots if not self._settled(slot)]
        told: list[tuple[Callable[[Text], None], Told]] = []
        if any(map(is_of_its_place, hard)):
            return None
        for slot in sorted(hard, key=is_channels):
            told.append((slot.put, self._expression(slot)))
        conditions = [
            (put, self._condition(present, hint, at_start))
            for put, present, hint, at_start in self.conditions
        ]
        self._set_names()
        for put, expression in told:
            put(Text(str(expression)))
        for say, expression in conditions:
            say(str(expression))
        self._set_defaults()
        made = Made(name, self.params, items)
        made.defaults = {p.name: p.default for p in self.params if p.default is not NONE}
        return made

    def arguments(self, group: int) -> dict[str, Any]:
        """Return the arguments of the call that stands for a group."""
        given = {}
        for param in self.params:
            value = param.values[group]
            if value is NONE:
                value = param.default if param.default is not NONE else _any(param)
            if param.default is NONE or not is_same(value, param.default):
                given[param.name] = value
        return given

    # Items with slots.

    def _items(self, columns: Sequence[Column], at_start: bool, hint: str = "") -> list[Item]:
        made: list[Item] = []
        for place, column in enumerate(columns):
            made.append(self._item(column, at_start and place == 0, hint))
        return made

    def _item(self, column: Column, at_start: bool, hint: str) -> Item:
        item = copy.copy(column.first)
        present = [variant is not None for variant in column.variants]
        if isinstance(item, Call):
            item.args, item.ties = dict(item.args), dict(item.ties)
            self._call(item, column)
            if not _is_choice(column):
                self._when(item, present, hint or _word(item), at_start)
        elif isinstance(item, Take):
            self._reads(item, "read", [getattr(v, "read", NONE) for v in column.variants])
        elif isinstance(item, Merge):
            item.branches, item.absent = [], {}
            for branch in column.inner:
                self._branch(item, branch, at_start)
        elif isinstance(item, (Group, Loop)):
            columns, absent = column.inner[0].columns, self.absent
            if isinstance(item, Group) and item.label and len(columns) > 1:  # others go apart again
                self._when(item, present, item.label, at_start)
                self.absent = [not there for there in present]
            self.loops += isinstance(item, Loop)
            item.items = self._items(columns, at_start)
            self.loops -= isinstance(item, Loop)
            self.absent = absent
            if isinstance(item, Loop):
                self._times(item, column)
                firsts = [NONE if v is None else v.first for v in column.variants]  # type: ignore[attr-defined]
                put: Callable[[Text], None] = lambda text: setattr(item, "first", text)  # noqa: E731
                self.slots.append(Slot(put, firsts, "first", [0] * self.count))
        return item

    def _when(self, item: Call | Group, present: list[bool], hint: str, at_start: bool) -> None:
        """Note on which condition an item is there, if it is not in all that have its place."""
        there = [None if no else yes for yes, no in zip(present, self.absent, strict=True)]
        if False in there:
            put: Callable[[str], None] = lambda text: setattr(item, "when", text)  # noqa: E731
            self.conditions.append((put, [*there], hint, at_start))

    def _branch(self, item: Merge, branch: Branch, at_start: bool) -> None:
        rows = {tuple(variant is None for variant in column.variants) for column in branch.columns}
        hint = branch.name if len(rows) == 1 else ""
        # the number of channels is that before each line, so one condition serves one line
        first = at_start and (len(branch.columns) == 1 or not hint or not any(map(any, rows)))
        item.branches.append((branch.name, self._items(branch.columns, first, hint)))
        if not all(there is not False for there in branch.present):
            self.conditions.append((
                lambda text: item.absent.update({branch.name: text}), [*branch.present],
                RESIDUAL if not branch.columns else branch.name, at_start,
            ))  # fmt: skip

    def _call(self, item: Call, column: Column) -> None:
        variants = [v if isinstance(v, Call) else None for v in column.variants]
        channels = [v.channels if v else 0 for v in variants]
        names = dict.fromkeys(name for v in variants if v for name in v.args)
        if is_activation(item):
            self._activation(item, variants, channels)
        for name in _in_order(item.callee, names, self.blocks):
            usual = default_of(item.callee, name, self.blocks)
            values = [v.args.get(name, usual) if v else NONE for v in variants]
            self._argument(item, name, values, channels)
        order = {name: item.args[name] for name in _in_order(item.callee, item.args, self.blocks)}
        item.args = order
        self._times(item, column)
        for place in range(len(item.reads)):
            self._read(item, place, [v.reads[place] if v else NONE for v in variants], channels)

    def _times(self, item: Call | Loop, column: Column) -> None:
        values = [NONE if v is None else v.times for v in column.variants]  # type: ignore[attr-defined]
        put: Callable[[Text], None] = lambda text: setattr(item, "times", text)  # noqa: E731
        self.slots.append(Slot(put, values, "times", [0] * self.count))

    def _activation(self, item: Call, variants: Sequence[Call | None], channels: list[int]) -> None:
        """Note which activation it is; null for none, where they differ."""

        def put(text: Text) -> None:
            item.callee = text.text
            item.when = "" if all(variants) else text.text

        known = {v.callee for v in variants if v}
        if len(known) > 1:
            values = [Text(v.callee) if v else None for v in variants]
            self.slots.append(Slot(put, values, "act", channels, keep=True))

    def _argument(self, item: Call, name: str, values: list[Any], channels: list[int]) -> None:
        def put(text: Text) -> None:
            item.args[name] = text

        known = [value for value in values if value is not NONE]
        item.args.setdefault(name, known[0])
        outside = any(isinstance(given, Text) and self._is_outside(given) for given in known)
        self.slots.append(Slot(put, values, name, channels, outside, item.callee in OPS))

    def _read(self, item: Call, place: int, values: list[Any], channels: list[int]) -> None:
        def put(text: Text) -> None:
            item.reads = (*item.reads[:place], text.text, *item.reads[place + 1 :])

        if not self._is_bound(values):
            texts = [value if value is NONE else Text(value) for value in values]
            self.slots.append(Slot(put, texts, "x", channels, keep=True))

    def _reads(self, item: Take, name: str, values: list[Any]) -> None:
        if not self._is_bound(values):
            texts = [value if value is NONE else Text(value) for value in values]
            put: Callable[[Text], None] = lambda text: setattr(item, name, text.text)  # noqa: E731
            self.slots.append(Slot(put, texts, "x", [0] * self.count, keep=True))

    def _is_outside(self, given: Text) -> bool:
        """Whether a value is a layer that the block does not see."""
        seen = {*OPS, *self.bound, CURRENT, IN_CHANNELS, *("i" * self.loops)}
        return not seen.issuperset(re.findall(r"[A-Za-z_]\w*", given.text))

    def _is_bound(self, values: Sequence[Any]) -> bool:
        known = {value.partition("[")[0] for value in values if value is not NONE}
        return known <= {*self.bound, CURRENT} and len(known) == 1

    # Values.

    def _settled(self, slot: Slot) -> bool:
        """Whether a value is the same in all groups, so that it stands as it is."""
        known = [value for value in slot.values if value is not NONE]
        return not slot.keep and all(is_same(value, known[0]) for value in known)

    def _expression(self, slot: Slot) -> Told:
        place = self.slots.index(slot)
        for param in self.params:
            if all(map(is_same, slot.values, param.values)):
                both = zip(slot.values, param.values, strict=True)
                param.values = [p if v is NONE else v for v, p in both]
                param.first, param.last = min(param.first, place), max(param.last, place)
                return Told("{}", (param,))
        if is_channels(slot):
            return Told(IN_CHANNELS)
        for param in self.params:
            if text := derived(slot, param):
                return Told(text, (param,))
        for other in sorted(self._bases(slot), key=lambda base: base.values[0]):
            own = Param("width", [*other.values], place, max(place, self.slots.index(other)))
            text = derived(slot, own)
            if text and "*" in text:
                self.params.append(own)
                return Told(text, (own,))
        param = Param(SHORT.get(slot.hint, slot.hint), [*slot.values], place, place)
        self.params.append(param)
        return Told("{}", (param,))

    def _bases(self, slot: Slot) -> list[Slot]:
        """Return what counts channels and differs, of which another slot may be a multiple."""
        return [
            other
            for other in self.slots
            if other.hint in WIDE and NONE not in other.values and not self._settled(other)
            and all(type(v) is int for v in other.values)
        ]  # fmt: skip

    def _set_names(self) -> None:
        """Give each parameter a name of its own; of several widths the last is ``out``."""
        self.params.sort(key=lambda param: param.first)
        widths = [param for param in self.params if param.name in WIDTHS]
        for place, param in enumerate(widths):
            param.name = "width" if place == 0 else "inner"
        if len(widths) > 1:
            max(widths, key=lambda param: param.last).name = "out"
            widths[0].name = "width" if widths[0].name != "out" else "out"
        used: set[str] = {*self.bound, *WORDS, *self.blocks}
        for param in self.params:
            param.name = free(param.name, used)

    def _condition(self, present: list[bool | None], hint: str, at_start: bool) -> Told:
        """Return the condition on which an item is there, as an expression of the parameters."""
        every = [*self._facts(at_start)]
        if hint == RESIDUAL:  # of the sizes, rather than of what else comes with them
            every.sort(key=lambda fact: "in_channels" not in fact[0].text)
        for told, facts in every:
            pairs = [*zip(present, facts, strict=True)]
            if all(there is None or there == fact for there, fact in pairs):
                return told
        for param in self.params:
            known = [value is not NONE for value in param.values]
            if known == present and all(v for v in param.values if v is not NONE):
                rate = all(isinstance(v, float) for v in param.values if v is not NONE)
                param.values = [(0.0 if rate else None) if v is NONE else v for v in param.values]
                if not rate:
                    param.default = None
                return Told("{}", (param,))
        values = [NONE if there is None else there for there in present]
        place = len(self.slots) + len(self.params)
        param = Param(hint, values, place, place)
        self.params.append(param)
        return Told("{}", (param,))

    def _facts(self, at_start: bool) -> Iterator[tuple[Told, list[bool | None]]]:
        """Yield conditions with their values in each group."""
        for param in self.params:
            known = [v for v in param.values if v is not NONE]
            if all(isinstance(v, bool) for v in known):
                yield Told("{}", (param,)), [None if v is NONE else v for v in param.values]
                yield (
                    Told("not {}", (param,)), [None if v is NONE else not v for v in param.values]
                )  # fmt: skip
            elif all(v is None or isinstance(v, float) for v in known) or None in known:
                yield Told("{}", (param,)), [None if v is NONE else bool(v) for v in param.values]
        strides = [p for p in self.params if p.name == "stride" and NONE not in p.values]
        for param in strides:
            yield Told("{} != 1", (param,)), [v != 1 for v in param.values]
            yield Told("{} == 1", (param,)), [v == 1 for v in param.values]
        if not at_start:
            return
        for param in (p for p in self.params if all(type(v) is int for v in p.values)):
            kept = [v == c for v, c in zip(param.values, self.start, strict=True)]
            yield Told("{} != in_channels", (param,)), [not k for k in kept]
            yield Told("{} == in_channels", (param,)), [*kept]
            for stride in strides:
                both = [k and s == 1 for k, s in zip(kept, stride.values, strict=True)]
                pair = (stride, param)
                yield Told("{} == 1 and {} == in_channels", pair), [*both]
                yield Told("{} != 1 or {} != in_channels", pair), [not k for k in both]

    def _set_defaults(self) -> None:
        """Give parameters the value of most calls as default; those without go first."""
        for param in self.params:
            if param.default is not NONE:
                continue
            known = [v for v in param.values if v is not NONE]
            natural = param.name in ("stride", "groups", "depth", "act")
            if 0.0 in known and known.count(0.0) * 3 >= len(known) and isinstance(known[0], float):
                param.default = 0.0
            if not natural and not all(isinstance(v, bool) for v in known):
                continue
            [(usual, times)] = Counter(map(repr, known)).most_common(1)
            if times * 2 >= len(known):
                param.default = next(v for v in known if repr(v) == usual)
        self.params.sort(key=lambda param: param.default is not NONE)


def _is_choice(column: Column) -> bool:
    """Whether the items are activations of several kinds."""
    calls = [v for v in column.variants if isinstance(v, Call)]
    return all(map(is_activation, calls)) and len({call.callee for call in calls}) > 1


def _word(item: Call) -> str:
    """Return what says that a call is there."""
    return "act" if is_activation(item) else item.callee


def _labels(columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        if column.first.label:
            yield column.first.label
        for branch in column.inner:
            yield from _labels(branch.columns)


def _in_order(callee: str, names: Any, blocks: dict[str, Made]) -> list[str]:
    """Return names of arguments in the order of a call."""
    every = (
        [p.name for p in blocks[callee].params] if callee in blocks else [*OPS[callee].arguments]
    )
    return [name for name in every if name in names]


def _any(param: Param) -> Any:
    """Return some value of a parameter, for a call in which it is of no account."""
    known = [value for value in param.values if value is not NONE]
    if all(type(value) is int for value in known):
        return min(known)
    return known[0]
