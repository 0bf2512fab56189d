"""Shapes without the batch, and the window arithmetic that convolution and pooling share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from archcost.errors import ArchcostError, OpError, shorten
from archcost.number import because, ceil_div, is_whole, maximum, minimum
from archcost.units import number_of

N = TypeVar("N")

Shape = tuple[int, ...]
"""Sizes without the batch: ``(channels, *spatial)``, or ``(features,)``."""

Inputs = str | Shape | Mapping[str, str | Shape]
"""The shape of a network's input, or of some of its inputs by their names."""

Sides = tuple[tuple[int, int], ...]
"""Padding before and after, for each spatial axis."""

LARGEST = 2**53
"""Upper bound of a dimension or an argument: far above any network, and exact everywhere."""


def numel(shape: Shape) -> int:
    """Return the number of elements: the product of the sizes, 1 for an empty shape."""
    if not shape:
        return 1
    total = shape[0]
    for size in shape[1:]:
        total = total * size
    return total


def show(shape: Shape) -> str:
    """Return a shape as people write it: ``64x224x224``."""
    return "x".join(map(str, shape)) if shape else "scalar"


def show_rows(shape: Shape, rows: int) -> str:
    """Return a shape with the rows of the batch that a sample is, unless it is one."""
    return show(shape) if rows == 1 else f"{int(rows)}·{show(shape)}"


def parse_shape(text: str) -> Shape:
    """Read ``3x224x224`` (also with ``×`` or ``,``), channels first.

    Raises:
        ArchcostError: when a size is missing, not a whole number, or not positive.
    """
    parts = re.split(r"\s*[x×X,*]\s*", text.strip().strip("[]()"))
    if not all(re.fullmatch(r"[0-9]{1,16}", part) for part in parts):
        raise ArchcostError(
            f"a shape is written as 3x224x224, channels first; got {shorten(text)!r}"
        )
    return _within_bounds(tuple(map(int, parts)), text)


def _within_bounds(shape: Shape, text: str) -> Shape:
    if any(not 1 <= size <= LARGEST for size in shape) or len(shape) > 8:
        raise ArchcostError(f"a shape has up to 8 sizes from 1 to 2**53; got {shorten(text)!r}")
    return shape


def read_shape(value: object) -> Shape:
    """Return a shape from its text or its sizes, channels first.

    Raises:
        ArchcostError: neither text nor whole numbers from 1 on.
    """
    if isinstance(value, str):
        return parse_shape(value)
    sizes = tuple(value) if isinstance(value, (list, tuple)) else ()
    if not sizes or not all(is_whole(size) or isinstance(size, float) for size in sizes):
        raise ArchcostError(f"a shape is '3x224x224' or (3, 224, 224); got {shorten(repr(value))}")
    if not all(map(is_whole, sizes)):
        raise ArchcostError(f"the sizes of a shape are whole numbers; got {shorten(show(sizes))}")
    return _within_bounds(sizes, show(sizes))


def per_axis(name: str, value: N | tuple[N, ...], axes: int) -> tuple[N, ...]:
    """Return one value per spatial axis: a number serves all axes, a tuple must have one each."""
    if not isinstance(value, tuple):
        return (value,) * axes
    if len(value) != axes:
        raise OpError(f"{name} has {number_of(len(value), 'value')} for {axes} spatial dimensions")
    return value


def spatial(shape: Shape, op: str) -> Shape:
    """Return the spatial sizes of a ``(channels, *spatial)`` shape; refuse a flat one."""
    if len(shape) < 2:
        raise OpError(f"{op} needs channels and at least one spatial dimension")
    return shape[1:]


def window_count(
    size: int,
    kernel: int,
    stride: int,
    before: int,
    after: int,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Return how many windows fit along one axis, as PyTorch counts them.

    floor((size + before + after − dilation·(kernel − 1) − 1)/stride) + 1; with ``ceil_mode`` the
    division rounds up, but a last window that would start in the padding after the input is
    left out.
    """
    padded = size + 2 * before if before is after else size + before + after
    extent = span(kernel, dilation)
    if extent > padded:
        which = "kernel_size" if dilation == 1 else f"dilation {dilation} x kernel_size"
        raise OpError(f"{which} {kernel} does not fit the padded input {padded}")
    room = padded - extent
    count = (ceil_div(room, stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        rule = "a last window at {} would start past the padding before and the input, {} + {}"
        start = (count - 1) * stride
        return because(count - 1, f"{rule} positions: PyTorch drops it", start, before, size)
    return count


def window_counts(
    size: Shape, kernel: Shape, stride: Shape, dilation: Shape, padding: Any, sides: Sides,
    ceil_mode: bool = False,
) -> Shape:  # fmt: skip
    """Return how many windows fit along each axis; padding ``'same'`` gives ceil(size/stride)."""
    if padding == "same":
        return tuple(ceil_div(n, s) for n, s in zip(size, stride, strict=True))
    axes = zip(size, kernel, stride, sides, dilation, strict=True)
    return tuple(window_count(n, k, s, *side, d, ceil_mode) for n, k, s, side, d in axes)


def taps_inside(
    windows: int, kernel: int, stride: int, before: int, dilation: int, size: int
) -> int:
    """Return how many pairs of a window and a tap of the kernel read the input, not its padding.

    Window ``i`` reads ``i·stride − before + dilation·tap`` with each tap of one axis. The sizes
    may be huge: a spec may hold any.
    """

    def below(limit: int) -> int:
        """Return how many pairs lie below a position: ``i·stride + dilation·tap <= most``."""
        most = limit + before - 1
        full = minimum(maximum((most - stride * (windows - 1)) // dilation + 1, 0), kernel)
        some = minimum(maximum(most // dilation + 1, 0), kernel)
        # taps below ``full`` do so with every window, those below ``some`` with at least one
        rest = some - full
        first = most - dilation * (some - 1)
        return windows * full + rest + floor_sum(rest, stride, dilation, first)

    return below(size) - below(0)


def floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Return the sum of ``(a·i + b) // m`` over ``i < n``, in the steps of Euclid's algorithm."""
    total = 0
    while n > 0:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        last = a * n + b
        n, m, a, b = last // m, a, m, last % m
    return total


def padding_sides(
    padding: str | int | tuple[int, ...] | Sides,
    size: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Sides:
    """Return the padding before and after on each axis.

    ``'same'`` gives ceil(size/stride) outputs with the odd element after the input, as TensorFlow
    does for any stride and PyTorch for stride 1. A tuple holds one value, or one pair
    ``(before, after)``, per axis.
    """
    if padding == "valid":
        return ((0, 0),) * len(size)
    if padding == "same":
        axes = zip(size, kernel, stride, dilation, strict=True)
        return tuple(same_padding(n, k, s, d)[1:] for n, k, s, d in axes)
    if isinstance(padding, tuple) and any(isinstance(side, tuple) for side in padding):
        if len(padding) != len(size):
            raise OpError(
                f"padding has {number_of(len(padding), 'value')} for {len(size)} spatial dimensions"
            )
        return tuple(side if isinstance(side, tuple) else (side, side) for side in padding)
    return tuple((p, p) for p in per_axis("padding", padding, len(size)))  # type: ignore[misc]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int, int]:
    """Return the padding of one axis that gives ceil(size/stride) outputs: in all, before, after.

    As many positions are added as the last window lacks, at least none.
    """
    last = (ceil_div(size, stride) - 1) * stride
    total = maximum(last + span(kernel, dilation) - size, 0)
    before = total // 2
    return total, before, total - before


def same_cut(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int, int]:
    """Return what leaves size·stride outputs of a transposed convolution: in all, before, after.

    As many positions are cut off as the kernel reaches over its stride, at least none.
    """
    total = maximum(span(kernel, dilation) - stride, 0)
    before = total // 2
    return total, before, total - before


def span(kernel: int, dilation: int) -> int:
    """Return how many positions a window reaches over."""
    return kernel if dilation == 1 else dilation * (kernel - 1) + 1


def spread(stride: int, padding: int, extent: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return what outputs read of inputs that are spread out, as a transposed convolution does.

    Input ``j`` goes to ``extent`` outputs from ``j·stride − padding`` on. Returned is how many
    inputs make a period, and the (first, last) input that each output of a period reads.
    """
    outputs = range(padding, padding + stride)
    return 1, tuple((ceil_div(i - extent + 1, stride), i // stride) for i in outputs)
