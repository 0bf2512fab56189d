"""Shapes without the batch, and the window arithmetic that convolution and pooling share."""

from __future__ import annotations

import re

from archcost.errors import ArchcostError, OpError, shorten
from archcost.trace import Traced, ceil_div, settle

Shape = tuple[int, ...]
"""Sizes without the batch: ``(channels, *spatial)``, or ``(features,)``."""

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
    return "x".join(str(int(size)) for size in shape) if shape else "scalar"


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
    shape = tuple(int(part) for part in parts)
    if any(not 1 <= size <= LARGEST for size in shape) or len(shape) > 8:
        raise ArchcostError(f"a shape has up to 8 sizes from 1 to 2**53; got {shorten(text)!r}")
    return shape


def per_axis(name: str, value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    """Return one value per spatial axis: an int serves all axes, a tuple must have one each."""
    if isinstance(value, int):
        return (value,) * axes
    if len(value) != axes:
        raise OpError(f"{name} has {len(value)} values for {axes} spatial dimensions")
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
    padded = size
    if before or after or isinstance(size, Traced):
        padded = size + 2 * before if before == after else size + before + after
    span = kernel if dilation == 1 else dilation * (kernel - 1) + 1
    if span > padded:
        which = "kernel_size" if dilation == 1 else f"dilation {dilation} x kernel_size"
        raise OpError(f"{which} {int(kernel)} does not fit the padded input {int(padded)}")
    room = padded - span
    count = (ceil_div(room, stride) if ceil_mode else room // stride) + 1
    if ceil_mode and (count - 1) * stride >= size + before:
        count = count - 1
    return settle(count)


Sides = tuple[tuple[int, int], ...]
"""Padding before and after, for each spatial axis."""


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
        sides = []
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            sides.append((total // 2, total - total // 2))
        return tuple(sides)
    if isinstance(padding, tuple) and any(isinstance(side, tuple) for side in padding):
        if len(padding) != len(size):
            raise OpError(f"padding has {len(padding)} values for {len(size)} spatial dimensions")
        return tuple(side if isinstance(side, tuple) else (side, side) for side in padding)
    return tuple((p, p) for p in per_axis("padding", padding, len(size)))  # type: ignore[arg-type]


def spread(stride: int, padding: int, extent: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return what outputs read of inputs that are spread out, as a transposed convolution does.

    Input ``j`` goes to ``extent`` outputs from ``j·stride − padding`` on. Returned is how many
    inputs make a period, and the (first, last) input that each output of a period reads.
    """
    outputs = range(padding, padding + stride)
    return 1, tuple((ceil_div(i - extent + 1, stride), i // stride) for i in outputs)
