"""Receptive field: which stretch of the input one output value can see, along each axis.

Followed are the axes of the network's input, wherever a layer puts them: a map with its channels
last has them first, a row of tokens has several in one dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor

from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops.base import EVERYWHERE
from archcost.shape import Shape

Number = int | Fraction
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


@dataclass(frozen=True, slots=True)
class Line:
    """What positions see along one axis: the first of them from ``start`` on.

    ``places`` are (first, one past the last) of each, where they are not ``jump`` apart.
    """

    size: Number
    jump: Number
    start: Number = 0
    whole: bool = False
    places: tuple[tuple[Number, Number], ...] = ()

    def each(self, length: int) -> Sequence[tuple[Number, Number]]:
        """Return what each of so many positions sees."""
        if self.places or self.whole:
            return self.places or ((0, self.size),) * length
        starts = [self.start + i * self.jump for i in range(length)]
        return [(start, start + self.size) for start in starts]


Axes = tuple[tuple[int, ...], ...]
"""Which axes of the network's input lie along each dimension: none, one, or a mixture."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a tensor's values see: a line for every axis, and where the axes are."""

    lines: tuple[Line, ...]
    axes: Axes


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
    seen = {NETWORK_INPUT: Seen(lines, axes[: len(network.input)])}
    for layer in network:
        counted = [i for i in range(len(layer.inputs)) if i not in layer.op.no_gradient]
        inputs = [(seen[layer.inputs[i]], layer.shapes[i]) for i in counted]
        seen[layer.path] = _read(layer, _merged(inputs, layer.shapes[0]), network.input[1:])
    del seen[NETWORK_INPUT]
    return seen


def _merged(inputs: Sequence[tuple[Seen, Shape]], shape: Shape) -> Seen:
    """Return what is seen through any of several tensors."""
    first = inputs[0][0]
    if len(inputs) == 1:
        return first
    columns = zip(*(seen.axes for seen, _ in inputs if len(seen.axes) == len(shape)), strict=True)
    axes = tuple(next((found for found in column if found), ()) for column in columns)
    return Seen(tuple(_union(inputs, axis) for axis in range(len(first.lines))), axes)


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
    if any(line.places for line in lines):
        rows = [line.each(most) if n == most else (*line.each(1),) * most
                for line, n in zip(lines, lengths, strict=True)]  # fmt: skip
        return _placed([(min(a for a, _ in row), max(b for _, b in row))
                        for row in zip(*rows, strict=True)], jump)  # fmt: skip
    start = min(line.start for line in along)
    # the widest is at either end
    wide = [
        max(line.start + i * line.jump + line.size for line in along)
        - min(line.start + i * line.jump for line in along)
        for i in (0, most - 1)
    ]
    return Line(max(size, *wide), jump, start)


def _placed(places: Sequence[tuple[Number, Number]], jump: Number) -> Line:
    size = max(end - start for start, end in places)
    return Line(size, jump, places[0][0], places=tuple(places))


def _read(layer: Layer, seen: Seen, whole: Shape) -> Seen:
    """Return what a layer's output sees of the network's input, by what it sees of its own."""
    op, shapes, x = layer.op, layer.shapes, layer.shapes[0]
    lines, axes = list(seen.lines), list(seen.axes)

    def see_all(axis: int) -> None:
        # its neighbours see the same, and no window widens that
        lines[axis] = Line(max(lines[axis].size, whole[axis]), 0, whole=True)

    windows = op.window(*shapes)
    if windows == EVERYWHERE:
        for axis in range(len(lines)):
            see_all(axis)
        windows = ()
    dims, starts, blocks = op.windowed(*shapes), op.starts(*shapes), op.blocks(*shapes)
    windows = windows or ((1, 1),) * len(dims) if any(starts) else windows
    for i, (window, dim) in enumerate(zip(windows, dims, strict=False)):
        own = axes[dim]
        if (*window, starts[i]) == (1, 1, 0) or not own:
            continue
        if len(own) > 1 or (blocks and x[dim] > MOST_PLACES):
            for axis in own:
                see_all(axis)
        elif not lines[own[0]].whole:
            line = lines[own[0]]
            if blocks:
                lines[own[0]] = _in_blocks(line, *blocks[i], x[dim])
            else:
                length = layer.cost.output[dim] if dim < len(layer.cost.output) else 1
                lines[own[0]] = _through(line, *window, starts[i], length)
    for dim in op.mixed(*shapes):
        for axis in axes[dim] if x[dim] > 1 else ():
            see_all(axis)
        axes[dim] = ()
    # a single position is nothing that could be mixed with others
    made = (
        tuple(axis for d in group for axis in axes[d] if len(group) == 1 or x[d] > 1)
        for group in op.origins(*shapes)
    )
    return replace(seen, lines=tuple(lines), axes=tuple(made))


def _through(line: Line, extent: Number, stride: Number, start: Number, length: int) -> Line:
    """Return what so many windows see."""
    jump = line.jump * stride
    if not line.places:
        return Line(line.size + (extent - 1) * line.jump, jump, line.start + start * line.jump)
    last, places = len(line.places) - 1, []
    for i in range(length):
        first = start + i * stride
        low, high = floor(first), ceil(first + extent - 1)
        reads = line.places[min(max(low, 0), last)], line.places[min(max(high, 0), last)]
        places.append((reads[0][0], reads[1][1]))
    return _placed(places, jump)


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
