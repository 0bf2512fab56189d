"""Rates that grow from block to block, as they were computed: ``0.1 * i / 17``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archcost.folding.items import Call, Item, Loop, Text, inside, walk

LEAST = 3
MOST_STEPS = 200
LONG = 6
"""Digits of a number that nobody has written."""


@dataclass(frozen=True)
class Ramp:
    """Numbers that are ``most * i / steps`` for whole ``i``."""

    most: float
    steps: int

    def place(self, number: Any) -> int | None:
        """Return which of them a number is, None for another one."""
        if not isinstance(number, float) or not 0 <= number <= self.most:
            return None
        place = round(number / self.most * self.steps)
        return place if self.most * place / self.steps == number else None


def ramp_of(items: Sequence[Item]) -> Ramp | None:
    """Return the ramp that all long numbers are on, if they are on one."""
    calls = [item for item in walk(items) if isinstance(item, Call)]
    numbers = {v for call in calls for v in call.args.values() if isinstance(v, float)}
    long = [number for number in numbers if len(repr(number)) > LONG and number < 1]
    if not long:
        return None
    given = {n for n in (*numbers, *(i / 10 for i in range(1, 10))) if max(long) <= n < 1}
    for most in sorted(given, key=lambda number: (len(repr(number)), number)):
        for steps in range(2, MOST_STEPS):
            ramp = Ramp(most, steps)
            if all(ramp.place(number) is not None for number in long):
                return ramp
    return None


def rise(items: list[Item], ramp: Ramp) -> None:
    """Put a loop in place of calls that differ by a step of a ramp."""
    for item in items:
        for inner in inside(item):
            rise(inner, ramp)
    made: list[Item] = []
    while items:
        run = _run(items, ramp)
        if len(run) >= LEAST:
            made.append(_loop(run, ramp))
            del items[: len(run)]
        else:
            made.append(items.pop(0))
    items[:] = made


def write_steps(lists: Sequence[Sequence[Item]], ramp: Ramp) -> None:
    """Write the numbers of a ramp as they were computed."""
    calls = [item for items in lists for item in walk(items) if isinstance(item, Call)]
    rising = {
        (call.callee, name)
        for call in calls
        for name, given in call.args.items()
        if isinstance(given, float) and len(repr(given)) > LONG
    }
    for call in calls:
        for name, given in call.args.items():
            place = ramp.place(given)
            if place and (call.callee, name) in rising:
                call.args[name] = Text(f"{ramp.most} * {place} / {ramp.steps}")


def _run(items: Sequence[Item], ramp: Ramp) -> list[Call]:
    """Return the calls at the beginning whose rate rises by one step each."""
    run: list[Call] = []
    for item in items:
        if not isinstance(item, Call) or item.label or item.times != 1 or item.when:
            break
        if run and not _follows(run, item, ramp):
            break
        if not any(isinstance(v, float) and ramp.place(v) is not None for v in item.args.values()):
            break
        run.append(item)
    return run


def _follows(run: Sequence[Call], item: Call, ramp: Ramp) -> bool:
    last = run[-1]
    if (item.callee, item.reads, [*item.args]) != (last.callee, last.reads, [*last.args]):
        return False
    for name, given in item.args.items():
        before = last.args[name]
        now, then = ramp.place(given), ramp.place(before)
        if now is not None and then is not None:
            if now != then + 1:
                return False
        elif given != before and not _alternates(run, item, name):
            return False
    return True


def _alternates(run: Sequence[Call], item: Call, name: str) -> bool:
    """Whether every second call has one value, and the others another one."""
    values = [call.args[name] for call in (*run, item)]
    same = all(values[place] == values[place - 2] for place in range(2, len(values)))
    return same and all(type(value) is int for value in values)


def _loop(run: Sequence[Call], ramp: Ramp) -> Loop:
    call = run[0]
    first = next(p for v in call.args.values() if (p := ramp.place(v)) is not None)
    for name, given in call.args.items():
        if isinstance(given, float) and ramp.place(given) is not None:
            call.args[name] = Text(f"{ramp.most} * i / {ramp.steps}")
        elif given != run[1].args[name]:
            even, odd = (given, run[1].args[name]) if first % 2 == 0 else (run[1].args[name], given)
            text = f"{odd} * (i % 2)" if even == 0 else f"{odd} if i % 2 else {even}"
            call.args[name] = Text(text)
    return Loop(first=first, times=len(run), items=[call])
