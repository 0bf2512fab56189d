"""Receptive field: which stretch of the input one output value can see, along each axis.

The axes of the network's input are followed wherever a layer puts them. A map with its channels
last has them first. A row of tokens has several axes in one dimension. If there are several inputs,
those with as many dimensions as the main one lie along its axes. The others are not followed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor, lcm

from archcost.network import Layer, Network
from archcost.ops.base import BYTES
from archcost.ops.reads import ALL, SAME, Blocks, Number, Read, Table, Window
from archcost.ops.reshape import FromBatch, ToBatch
from archcost.shape import Shape

MOST_PHASES = 2**10
"""Positions after which what they see repeats, at most; beyond, windows are not followed so."""
MOST_PLACES = 2**14
"""Positions along an axis up to which those in windows apart are followed one by one."""


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive field of a layer's output, per spatial axis of the network's input.

    ``size`` counts input positions, not cut at the border, of the output that sees the most;
    ``jump`` is the distance in the input between the fields of two neighbours. ``whole`` says that
    every output sees all of the input.
    """

    size: tuple[Number, ...]
    jump: tuple[Number, ...]
    whole: bool = False

    def __str__(self) -> str:
        """Return ``11x11``."""
        return "x".join(
            str(size) if size == int(size) else f"{float(size):g}" for size in self.size
        )


Stretch = tuple[Number, Number]
"""The first position, and one past the last."""


@dataclass(frozen=True, slots=True)
class Line:
    """What positions see along one axis: the first of them from ``start`` on.

    ``phases`` are the stretches of the first positions if not all have the same size, as after a
    transposed convolution. The positions after them see the same, ``jump`` for each position
    further. ``places`` are the stretches of all positions where nothing repeats.
    """

    size: Number
    jump: Number
    start: Number = 0
    whole: bool = False
    phases: tuple[Stretch, ...] = ()
    places: tuple[Stretch, ...] = ()

    def at(self, position: int) -> Stretch:
        """Return what a position sees, or would see if it were there."""
        if self.places:
            return self.places[min(max(position, 0), len(self.places) - 1)]
        if self.whole or not self.phases:
            start = 0 if self.whole else self.start + position * self.jump
            return start, start + self.size
        turn, phase = divmod(position, len(self.phases))
        ahead = turn * len(self.phases) * self.jump
        first, end = self.phases[phase]
        return first + ahead, end + ahead

    def each(self, length: int) -> Sequence[Stretch]:
        """Return what each of so many positions sees."""
        return [self.at(i) for i in range(length)]


Axes = tuple[tuple[int, ...], ...]
"""Which axes of the network's input lie along each dimension: none, one, or a mixture."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tensor's values see: a line for every axis, and where the axes are."""

    lines: tuple[Line, ...]
    axes: Axes
    folded: tuple[int, ...] = ()


def receptive_fields(network: Network) -> Mapping[str, Field]:
    """Return the field of every layer: the stretch that holds what is seen on all paths to it.

    A window of kernel k at stride s adds (k − 1)·jump to the size and multiplies the jump by s
    (Araujo, Norris & Sim, Distill 2019, equations 1 and 2). Where outputs read blocks, as in
    attention within windows, the field is that of the output that sees the most. What reads all
    positions, or reads across positions that were mixed up before, sees the whole input.
    """
    return {
        path: Field(
            tuple(line.size for line in seen.lines),
            tuple(line.jump for line in seen.lines),
            bool(seen.lines) and all(line.whole for line in seen.lines),
        )
        for path, seen in follow(network).items()
    }


def follow(network: Network) -> Mapping[str, Seen]:
    """Return what each layer's output sees, position by position."""
    count = max(len(network.input) - 1, 0)
    lines, axes = (Line(1, 1),) * count, ((), *((axis,) for axis in range(count)))
    seen, sizes = {}, []
    for value in network.inputs:
        rank = len(value.shape)
        alike = rank == len(network.input)
        seen[value.name] = (
            Seen(lines, axes[:rank]) if alike else Seen((Line(0, 0),) * count, ((),) * rank)
        )
        sizes += [value.shape[1:]] if alike else []
    whole = tuple(map(max, zip(*sizes, strict=True)))
    for layer in network:
        # masks and places depend on what they are made of, though no gradient says so
        apart = () if layer.op.makes in BYTES else layer.op.no_gradient
        counted = [i for i in range(len(layer.inputs)) if i not in apart]
        inputs = [(seen[layer.inputs[i]], layer.shapes[i]) for i in counted]
        if not inputs:  # its values are those of no input
            nothing = (Line(0, 0),) * count
            seen[layer.path] = Seen(nothing, ((),) * len(layer.cost.output))
            continue
        read = _merged(inputs, layer.shapes[0])
        for place, name in enumerate(layer.outputs):
            seen[name] = _read(layer, place, read, whole)
    for value in network.inputs:
        del seen[value.name]
    return seen


def _merged(inputs: Sequence[tuple[Seen, Shape]], shape: Shape) -> Seen:
    """Return what is seen through any of several tensors."""
    first = inputs[0][0]
    if len(inputs) == 1:
        return first
    columns = zip(*(seen.axes for seen, _ in inputs if len(seen.axes) == len(shape)), strict=True)
    axes = tuple(next((found for found in column if found), ()) for column in columns)
    lines = tuple(_union(inputs, axis) for axis in range(len(first.lines)))
    return Seen(lines, axes, first.folded)


def _union(inputs: Sequence[tuple[Seen, Shape]], axis: int) -> Line:
    lines, lengths = [], []
    for seen, shape in inputs:
        lengths.append(
            max([n for n, own in zip(shape, seen.axes, strict=True) if axis in own] or [1])
        )
        lines.append(seen.lines[axis])
    most = max(lengths)
    size = max(line.size for line in lines)
    if any(line.whole for line in lines):
        return Line(size, 0, whole=True)
    along = [line for line, length in zip(lines, lengths, strict=True) if length == most]
    jump = max(line.jump for line in along)
    if any(line.places or line.phases for line in lines):
        period = lcm(*(len(line.phases) or 1 for line in lines))
        repeats = not any(line.places or line.jump != jump for line in lines)
        rows = [line.each(period if repeats else most) if n == most else [line.at(0)] * most
                for line, n in zip(lines, lengths, strict=True)]  # fmt: skip
        seen_by_each = [(min(a for a, _ in row), max(b for _, b in row))
                        for row in zip(*rows, strict=False)]  # fmt: skip
        return _phased(seen_by_each, jump) if repeats else _placed(seen_by_each, jump)
    start = min(line.start for line in along)
    # the widest is at either end
    wide = [
        max(line.start + i * line.jump + line.size for line in along)
        - min(line.start + i * line.jump for line in along)
        for i in (0, most - 1)
    ]
    return Line(max(size, *wide), jump, start)


def _placed(places: Sequence[Stretch], jump: Number) -> Line:
    size = max(end - start for start, end in places)
    return Line(size, jump, places[0][0], places=tuple(places))


def _phased(phases: Sequence[Stretch], jump: Number) -> Line:
    """Return the line of positions of which so many make a period."""
    first, end = phases[0]
    size = max(b - a for a, b in phases)
    equal = all(one == (first + i * jump, end + i * jump) for i, one in enumerate(phases))
    return Line(size, jump, first, phases=() if equal else tuple(phases))


def _read(layer: Layer, place: int, seen: Seen, whole: Shape) -> Seen:
    """Return what an output of a layer sees of the network's input, by what it sees of its own."""
    op, shapes, x = layer.op.part(place), layer.shapes, layer.shapes[0]
    output = layer.cost.outputs[place]
    lines, axes = list(seen.lines), list(seen.axes)
    if isinstance(op, ToBatch):
        return Seen(seen.lines, seen.axes[1:], (*seen.folded, *axes[0]))
    if isinstance(op, FromBatch):
        return Seen(seen.lines, (seen.folded, *axes))

    def see_all(axis: int) -> None:
        # its neighbours see the same, and no window widens that
        lines[axis] = Line(max(lines[axis].size, whole[axis]), 0, whole=True)

    reads = op.reads(*shapes)
    for count, sources in zip(output, reads, strict=True):
        for dim, how in sources:
            own = axes[dim]
            if how is ALL or (how != SAME and (len(own) > 1 or _is_long(how, x[dim]))):
                for axis in own:
                    see_all(axis)
            elif how != SAME and own and not lines[own[0]].whole:
                positions = count if len(sources) == 1 else 1
                lines[own[0]] = _through(lines[own[0]], how, x[dim], positions)
    followed = {dim for sources in reads for dim, _ in sources}
    for dim in set(range(len(x))) - followed:
        for axis in axes[dim] if x[dim] > 1 else ():
            see_all(axis)
    # a single position is nothing that could be mixed with others
    made = (
        tuple(axis for dim, _ in sources for axis in axes[dim] if len(sources) == 1 or x[dim] > 1)
        for sources in reads
    )
    return replace(seen, lines=tuple(lines), axes=tuple(made))


def _is_long(how: Read, length: int) -> bool:
    return isinstance(how, Blocks) and length > MOST_PLACES


def _through(line: Line, how: Read, length: int, count: int) -> Line:
    """Return what ``count`` outputs see that read ``length`` positions."""
    if isinstance(how, Blocks):
        return _in_blocks(line, how.length, how.shift, length)
    if isinstance(how, Table):
        larger = _enlarged(line, how.inputs, how.outputs, count)
        return larger or _windowed(line, how.extent, how.stride, 0, count)
    assert isinstance(how, Window)
    return _windowed(line, how.extent, how.stride, how.start, count)


def _windowed(line: Line, extent: Number, stride: Number, start: Number, length: int) -> Line:
    """Return what so many windows see."""
    jump = line.jump * stride
    if not line.places and not line.phases:
        return Line(line.size + (extent - 1) * line.jump, jump, line.start + start * line.jump)

    def read(i: int) -> Stretch:
        first = start + i * stride
        return line.at(floor(first))[0], line.at(ceil(first + extent - 1))[1]

    if line.phases:
        turns = Fraction(stride) / len(line.phases)  # of the period, from one window to the next
        if turns.denominator <= MOST_PHASES:
            return _phased([read(i) for i in range(turns.denominator)], jump)
    return _placed([read(i) for i in range(length)], jump)


def _enlarged(
    line: Line, inputs: int, outputs: Sequence[tuple[int, int]], length: int
) -> Line | None:
    """Return what a map sees of which ``outputs`` positions are made of so many ``inputs``.

    None where what repeats is too long.
    """
    period = len(outputs) * Fraction(inputs, len(line.phases) or 1).denominator
    if period > MOST_PHASES and not line.places:
        return None

    def read(i: int) -> Stretch:
        turn, place = divmod(i, len(outputs))
        first, last = outputs[place]
        return line.at(turn * inputs + first)[0], line.at(turn * inputs + last)[1]

    jump = line.jump * Fraction(inputs, len(outputs))
    if line.places:
        return _placed([read(i) for i in range(length)], jump)
    return _phased([read(i) for i in range(period)], jump)


def _in_blocks(line: Line, length: int, shift: int, count: int) -> Line:
    """Return what positions see that read all of their block; the first block starts at a shift.

    What is before the shift is a block of its own, and so is what is left at the end.
    """
    places, seen = line.each(count), []
    for i in range(count):
        block = (i - shift) // length * length + shift
        first, last = max(block, 0), min(block + length, count) - 1
        seen.append((places[first][0], places[last][1]))
    return _placed(seen, line.jump)
