"""Pooling over windows and to a size; and interpolation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.layout import as_maps, as_rows, contiguous, layout_of
from archcost.number import maximum
from archcost.primitives.reductions import mean_row
from archcost.primitives.row import (
    FLOAT32,
    KEEPS,
    NEW,
    Own,
    Row,
    Tensor,
    called,
    copied,
    elements,
    float32_on,
    not_contiguous,
    primitive,
    repacked,
)
from archcost.shape import Shape, numel

INDEX_BYTES = 8  # PyTorch keeps the places of maxima as int64
FLOAT_BYTES = 4


def pooled(
    x: Tensor, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> Shape:
    """Return the shape of what windows over the last dimensions are pooled to.

    With ``ceil`` a last window may reach past the end, but not start there. So a window may be
    larger than the padded input.
    """
    rest, positions = len(x.shape) - len(kernel), []
    for n, k, s, p, d in zip(x.shape[rest:], kernel, stride, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if ceil else room // s) + 1
        positions.append(count - 1 if ceil and (count - 1) * s >= n + p else count)
    return (*x.shape[:rest], *positions)


def _volumes(x: Tensor, **_: object) -> str:
    """Return the class of pooling under autocast: a CPU pools volumes in float32."""
    return FLOAT32 if x.device == "cpu" and len(x.shape) == 5 else KEEPS


def _copied(x: Tensor) -> Callable[[Tensor], bool] | None:
    """Return whether a CPU copies a gradient: what a contiguous input's is, if it is not so too.

    What is made inside of inputs that lie otherwise is not known.
    """
    return not_contiguous if x.device == "cpu" and x.layout.is_contiguous else None


@primitive(_volumes)
def max_pool(
    x: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> Row:
    """Maximum over windows, with the places of the maxima.

    A line without gradient is pooled by a kernel of its own on a CPU: it finds no places, copies
    what is not contiguous, and gives what is (``max_pool1d``, ``MaxPooling.cpp``).
    """
    out = pooled(x, kernel, stride, padding, dilation, ceil)
    strides = as_rows(out, x.layout)
    if x.device == "cpu" and len(x.shape) == 3 and not x.needs:
        places = Own("indices", out, 0, INDEX_BYTES)
        return Row(out, contiguous(out), observed=strides, makes=(places,), passing=copied(x))
    places = Own("indices", out, INDEX_BYTES)
    return Row(
        out, strides, makes=(places,), saves=(x, places), passing=repacked(x),
        copies_inside=_copied(x),
    )  # fmt: skip


@primitive(float32_on("cpu"))
def fractional_max_pool(x: Tensor, samples: Tensor, *, kernel: Shape, size: Shape) -> Row:
    """Maximum over windows that are placed by random samples of each channel.

    ``aten/src/ATen/native/FractionalMaxPool2d.cpp``: what is not contiguous is copied.
    """
    out = (*x.shape[:2], *size)
    places = Own("indices", out, INDEX_BYTES)
    shape = x.shape
    return Row(
        out,
        contiguous(out),
        makes=(places,),
        saves=(x, places),
        gradient=(called("like", shape=shape), NEW),
        passing=copied(x),
        copies_inside=not_contiguous,
    )


@primitive(differentiable=False)
def max_places(x: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool) -> Row:
    """The places of the maxima over windows; the maxima are made too."""
    out = pooled(x, kernel, stride, padding, (1,) * len(kernel), ceil)
    strides = as_maps(out, x.layout)
    maxima = Own("maxima", out, x.itemsize)
    return Row(out, strides, itemsize=INDEX_BYTES, makes=(maxima,), passing=repacked(x))


@primitive(float32_on("cpu"))
def max_unpool(x: Tensor, places: Tensor, *, shape: Shape) -> Row:
    """Each value at its place in a map of zeros."""
    return Row(shape, as_maps(shape, x.layout), saves=(places,))


@primitive(_volumes)
def avg_pool(
    x: Tensor, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool,
    count_include_pad: bool = True, divisor: int | None = None,
) -> Row:  # fmt: skip
    """Mean over windows."""
    out = pooled(x, kernel, stride, padding, (1,) * len(kernel), ceil)
    volumes = len(out) == 5 and x.device == "cpu"
    strides = contiguous(out) if len(out) == 5 else as_rows(out, x.layout)
    passing = copied(x) if volumes else repacked(x)
    return Row(out, strides, saves=(x,), passing=passing, copies_inside=_copied(x))


def _map_repacked(x: Tensor) -> tuple[int, ...]:
    """Return the bytes of a copy of a map or line; volumes are read as they lie."""
    return repacked(x) if len(x.shape) < 5 else ()


@primitive(_volumes)
def adaptive_avg_pool(x: Tensor, *, size: Shape) -> Row:
    """Mean over windows that give a size; to one value it is a mean, which keeps nothing."""
    out, one = (*x.shape[:2], *size), numel(size) == 1
    strides = contiguous(out) if len(out) == 5 and not one else as_rows(out, x.layout)
    if one:
        return mean_row(x, out, strides)
    return Row(out, strides, saves=(x,), passing=_map_repacked(x), copies_inside=_copied(x))


@primitive(_volumes)
def adaptive_max_pool(x: Tensor, *, size: Shape) -> Row:
    """Maximum over windows that give a size, with the places of the maxima."""
    out = (*x.shape[:2], *size)
    places = Own("indices", out, INDEX_BYTES)
    strides = contiguous(out) if len(out) == 5 else as_rows(out, x.layout)
    return Row(
        out, strides, makes=(places,), saves=(x, places), passing=_map_repacked(x),
        copies_inside=_copied(x),
    )  # fmt: skip


@primitive(float32_on("cuda"))
def interpolate(
    x: Tensor, *, size: Shape, factor: Any, mode: str, align_corners: bool,
    antialias: bool = False,
) -> Row:  # fmt: skip
    """The map at another size; ``factor`` is what the network asks for instead of the size."""
    out = (*x.shape[:2], *size)
    row = Row(out, as_maps(out, x.layout))
    if x.device == "cpu" and not antialias:
        row.passing, row.copies_inside = _interpolated(x, row, mode), _not_as_maps
    return row


TABLES = {
    "nearest": 1, "nearest-exact": 1, "linear": 2, "bilinear": 2, "trilinear": 2, "bicubic": 4
}  # fmt: skip
"""How many places are read along a dimension, by the mode."""


def _interpolated(x: Tensor, row: Row, mode: str) -> tuple[int, ...]:
    """Return the bytes of what a CPU makes inside: ``UpSampleKernel.cpp``.

    A small map, or one whose channels are last, is read and written channels-last: what is not,
    is copied. Else there are tables of the places that are read, and of their weights.
    """
    last, size = x.layout.is_channels_last and x.shape[1] > 3, row.shape[2:]
    flat = len(size) == 2 and mode != "bicubic"
    if (last and mode != "bicubic" and len(size) > 1) or (flat and sum(size) <= 128):
        written = layout_of(row.shape, row.strides).is_channels_last
        copies = elements(x) * (not x.layout.is_channels_last) + numel(row.shape) * (not written)
        return (copies * x.itemsize,)
    return (sum(size) * TABLES.get(mode, 0) * (INDEX_BYTES + maximum(x.itemsize, FLOAT_BYTES)),)


def _not_as_maps(gradient: Tensor) -> bool:
    return not gradient.layout.is_packed
