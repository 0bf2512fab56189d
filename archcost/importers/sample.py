"""A pass in two small batches: on copies of one sample, where data decide what runs.

The sizes that are in proportion to the batch are found by comparing both passes. What comes out is
the trace of a pass whose batch is a large prime, as that of a pass without data is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from importlib import import_module
from typing import Any

from archcost.errors import ArchcostError
from archcost.importers.inside import OWN, Between, Inside, Made
from archcost.importers.probe import seen_in
from archcost.importers.seen import BATCH, Call, Seen, Trace, place_of

torch: Any = import_module("torch")

WEIGHTS, DATA, PASS = range(3)
"""Seeds. The sample is drawn from another one than the weights, to have nothing to do with them."""

BATCHES = (2, 3)
"""The batches of the two passes. A batch of 1 would be a size like any other."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw what is random from a seed, and leave other random numbers as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


class Otherwise(ArchcostError):
    """What runs is not the same for each sample of a batch."""


def traced(run: Callable[[int], Trace]) -> Trace:
    """Return the trace of passes in small batches; ``run`` makes one for a batch.

    Raises:
        Otherwise: the calls, or their sizes, are not those of each sample times the batch.
    """
    traces = []
    for batch in BATCHES:
        with seeded(PASS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a number is taken of what has a gradient
            traces.append(run(batch))
    return _joined(*traces)


def _joined(first: Trace, second: Trace) -> Trace:
    known: Sequence[Call] = first.calls
    for call, other in zip(known, second.calls, strict=False):
        _require(call, _what(call) == _what(other))
    if len(known) != len(second.calls):
        longer = max(known, second.calls, key=len)
        _require(longer[min(len(known), len(second.calls))], same=False)
    calls = [_call(*pair) for pair in zip(known, second.calls, strict=True)]
    outs = zip(first.outputs, second.outputs, strict=True)
    outputs = tuple(_both(one, two, calls[-1]) for one, two in outs)
    reruns = [
        replace(
            one,
            given=tuple(_both(a, b, calls[-1]) for a, b in zip(one.given, two.given, strict=True)),
        )
        for one, two in zip(first.reruns, second.reruns, strict=True)
    ]
    return replace(first, calls=calls, outputs=outputs, reruns=reruns)


def alike(one: Trace, two: Trace) -> bool:
    """Whether what two passes return is made by the same calls on tensors of the same sizes."""
    return _leading(one) == _leading(two)


def _leading(trace: Trace) -> list[Any]:
    """Return what tells the calls that lead to the outputs of a pass, or that write."""
    ahead = [seen.call for seen in trace.outputs]
    ahead += [number for number, call in enumerate(trace.calls) if call.in_place]
    numbers: set[int] = set()
    while ahead:
        number = ahead.pop()
        if number >= 0 and number not in numbers:
            numbers.add(number)
            call = trace.calls[number]
            ahead += [seen.call for seen in seen_in((call.args, call.kwargs))]
    place = {number: i for i, number in enumerate(sorted(numbers))}

    def told(call: Call) -> Any:
        read = [
            (seen.kind, seen.name, place.get(seen.call), seen.place, seen.shape, seen.dtype)
            for seen in seen_in((call.args, call.kwargs))
        ]
        return call.full, call.path, read, [(out.shape, out.strides) for out in call.outs]

    return [told(trace.calls[number]) for number in sorted(numbers)]


def _what(call: Call) -> tuple[Any, ...]:
    """Return what is the same in every batch: the function, where, and which tensors it reads."""
    return (call.full, call.path, len(call.outs), _kinds((call.args, call.kwargs)))


def _kinds(value: Any) -> Any:
    if isinstance(value, Seen):
        return (value.kind, value.name, value.call, value.place, len(value.shape), value.dtype)
    if isinstance(value, Mapping):
        return tuple((key, _kinds(inner)) for key, inner in value.items())
    if isinstance(value, (list, tuple)) and seen_in(value):
        return tuple(map(_kinds, value))
    return type(value)  # a list of numbers may be as long as the batch


def _require(call: Call, same: bool) -> None:
    """Refuse a call that no figure for a sample exists for."""
    if not same:
        raise Otherwise(
            f"{place_of(call)}: {call.name} runs otherwise on {BATCHES[0]} and on {BATCHES[1]} "
            "copies of a sample, so that it has no figure for one sample"
        )


def _call(one: Call, two: Call) -> Call:
    both = partial(_both, call=one)
    args, kwargs = both(one.args, two.args), both(one.kwargs, two.kwargs)
    inside = one.inside and two.inside and _inside(one, one.inside, two.inside)
    return replace(one, args=args, kwargs=kwargs, outs=both(one.outs, two.outs), inside=inside)


def _inside(call: Call, one: Inside, two: Inside) -> Inside:
    alike = all(
        getattr(one, field.name) == getattr(two, field.name)
        for field in fields(Inside) if field.name not in ("outs", "keeps", "macs", "again")
    ) and [out.view for out in one.outs] == [out.view for out in two.outs]  # fmt: skip
    kept = (one.keeps or (), two.keeps or ())
    alike = alike and len(kept[0]) == len(kept[1])
    _require(call, alike and all(a[0] == b[0] for a, b in zip(*kept, strict=True)))
    keeps = tuple(
        (what, _grown(size, other) if what == OWN else size)
        for (what, size), (_, other) in zip(*kept, strict=True)
    )
    outs = tuple(
        Made(a.view, _all_grown(a.strides, b.strides), a.itemsize, a.learns)
        for a, b in zip(one.outs, two.outs, strict=True)
    )
    return replace(
        one, outs=outs, keeps=None if one.keeps is None else keeps,
        macs=_grown(one.macs, two.macs), again=partial(_again, one.again, two.again),
    )  # fmt: skip


def _again(*runs: Callable[[], Between | None] | None) -> Between | None:
    """Return what a call makes in between; None if it is not seen, because data decide it."""
    try:
        one, two = (run and run() for run in runs)
    except (RuntimeError, NotImplementedError):
        return None
    if one is None or two is None or len(one.gradients) != len(two.gradients):
        return None
    backward = None if None in (one.backward, two.backward) else _grown(one[1], two[1])  # type: ignore[arg-type]
    rules = zip(one.gradients, two.gradients, strict=True)
    gradients = tuple(a and b and _all_grown(a, b) for a, b in rules)
    return Between(_grown(one.forward, two.forward), backward, gradients)


def _both(one: Any, two: Any, call: Call) -> Any:
    """Return an argument of two calls as one of a call on the batch of a trace."""
    if isinstance(one, Seen):
        shape = _all_grown(one.shape, two.shape)
        _require(
            call,
            all(
                n % BATCH == 0 or a == b
                for n, a, b in zip(shape, one.shape, two.shape, strict=True)
            ),
        )
        strides = _all_grown(one.strides, two.strides)
        return replace(one, shape=shape, strides=strides, size=_grown(one.size, two.size))
    if isinstance(one, slice):
        ends = zip((one.start, one.stop, one.step), (two.start, two.stop, two.step), strict=True)
        return slice(*(_both(a, b, call) for a, b in ends))
    if isinstance(one, Mapping):
        return {key: _both(value, two[key], call) for key, value in one.items()}
    if isinstance(one, (list, tuple)) and len(one) == len(two):
        return type(one)([_both(a, b, call) for a, b in zip(one, two, strict=True)])
    if isinstance(one, int) and not isinstance(one, bool):
        grown = _grown(one, two)
        return grown if grown % BATCH == 0 else one  # a value, and no size
    return one


def _all_grown(one: Sequence[int], two: Sequence[int]) -> tuple[int, ...]:
    return tuple(_grown(a, b) for a, b in zip(one, two, strict=True))


def _grown(one: int, two: int) -> int:
    """Return a size as it is in the batch of a trace, if it is a straight line."""
    times = two - one
    return times * BATCH + one - BATCHES[0] * times
