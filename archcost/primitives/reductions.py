"""Sums, means, extremes, norms and variances over dimensions, which go or are kept as size 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from archcost.layout import Strides, contiguous, elementwise, in_runs
from archcost.number import maximum
from archcost.primitives.pointwise import number_bytes
from archcost.primitives.row import (
    OUT,
    PRIMITIVES,
    RESULT,
    Own,
    Primitive,
    Row,
    Tensor,
    elements,
    float32_on,
    placed_in_float32,
    primitive,
)
from archcost.shape import Shape, numel

FLOAT_BYTES = 4
INDEX_BYTES = 8  # PyTorch keeps places, and counts, as int64


def reduced(x: Tensor, dims: Sequence[int], keepdim: bool) -> Shape:
    """Return the shape without some dimensions, or with size 1 there."""
    kept = enumerate(x.shape)
    return tuple(1 if d in dims else n for d, n in kept if keepdim or d not in dims)


def repeated(whole: Shape, dims: Sequence[int], keepdim: bool) -> Callable[[Any], Any]:
    """Return the gradient of a sum: the incoming one, repeated without a copy."""

    def rule(gradient: Any) -> Any:
        kept = (s for d, s in enumerate(gradient.strides) if not keepdim or d not in dims)
        strides = tuple(0 if d in dims else next(kept) for d in range(len(whole)))
        return gradient.view(whole, strides)

    return rule


@primitive()
def mean(x: Tensor, *, dims: Sequence[int], keepdim: bool = False) -> Row:
    """Mean over some dimensions."""
    out, spread = reduced(x, dims, keepdim), repeated(x.shape, dims, keepdim)

    def divided(gradient: Any) -> Any:
        return gradient.like(x_shape, elementwise(spread(gradient).layout))

    x_shape = x.shape
    row = mean_row(x, out, contiguous(out))
    row.gradient = (divided,)
    return row


def mean_row(x: Tensor, out: Shape, strides: Strides) -> Row:
    """Return the row of a mean: a sum that is divided by a number, as its gradient is."""
    number = number_bytes(x, 1)
    passing, hidden = mean_in_float32(x, out) or number, sum(number) // x.itemsize
    return Row(out, strides, passing=passing, hidden=hidden)


def mean_in_float32(x: Any, out: Shape) -> tuple[int, ...]:
    """Return the bytes of what a CPU makes for a mean of half precision: a copy, and the sums."""
    half = x.device == "cpu" and x.itemsize < FLOAT_BYTES
    return (FLOAT_BYTES * numel(x.shape), FLOAT_BYTES * numel(out)) if half else ()


@primitive(float32_on("cuda", RESULT))
def sum_(x: Tensor, *, dims: Sequence[int], keepdim: bool = False) -> Row:
    """Sum over some dimensions; its gradient is the incoming one, repeated without a copy."""
    out = reduced(x, dims, keepdim)
    passing = sum_in_float32(x, dims, out)
    return Row(out, contiguous(out), gradient=(repeated(x.shape, dims, keepdim),), passing=passing)


def sum_in_float32(x: Any, dims: Sequence[int], out: Shape) -> tuple[int, ...]:
    """Return the bytes of what a CPU makes to sum half precision up: a copy, and the sums.

    It does so where what is summed lies in several runs (``should_use_acc_buffer`` in
    ``aten/src/ATen/native/ReduceOps.cpp``).
    """
    sums = mean_in_float32(x, out)
    return sums if sums and in_runs(x.layout, dims) > 1 else ()


def _shared(x: Tensor, *, dims: Sequence[int], keepdim: bool = False) -> Row:
    """Return the row of a maximum or minimum whose gradient all equal elements share.

    Backward makes a mask, counts it, divides by the count and multiplies by the mask, which a CPU
    casts first, to int64 to count it (``torch/csrc/autograd/FunctionsManual.cpp``,
    ``scale_grad_by_count``).
    """
    out = reduced(x, dims, keepdim)
    size, whole = numel(out), elements(x)
    counted = whole * (INDEX_BYTES // x.itemsize) - whole - size  # before there is a gradient
    return Row(
        out,
        contiguous(out),
        saves=(x, OUT),
        scratch=(size, size * (INDEX_BYTES // x.itemsize)),
        masks=(whole,),
        hidden=maximum(whole, counted) if x.device == "cpu" else 0,
    )


def _first(x: Tensor, *, dim: int, keepdim: bool = False) -> Row:
    """Return the row of a maximum or minimum along a dimension, whose place is kept."""
    out = reduced(x, (dim,), keepdim)
    places = Own("indices", out, INDEX_BYTES)
    return Row(
        out, contiguous(out), makes=(places,), saves=(places,), zeros=elements(x),
        hidden=placed_in_float32(x, elements(x)) // x.itemsize,
    )  # fmt: skip


for _names, _row in ((("amax", "amin"), _shared), (("max", "min"), _first)):
    for _name in _names:
        PRIMITIVES[_name] = Primitive(_name, _row)


@primitive(float32_on("cuda", RESULT))
def norm(x: Tensor, *, dims: Sequence[int], ord: int = 2, keepdim: bool = False) -> Row:
    """The sum of absolute values (``ord`` 1) or the Euclidean norm (2) over some dimensions."""
    out = reduced(x, dims, keepdim)
    masks = (numel(out),) if ord == 2 else ()
    return Row(out, contiguous(out), saves=(x, OUT), scratch=(elements(x),), masks=masks)


@primitive()
def var(x: Tensor, *, dims: Sequence[int], correction: float = 1, keepdim: bool = False) -> Row:
    """Variance over some dimensions."""
    out = reduced(x, dims, keepdim)
    size = numel(out)
    row = Row(out, contiguous(out), saves=(x,), scratch=(elements(x), size, size))
    if x.device == "cpu" and x.itemsize < FLOAT_BYTES:
        row.hidden = size  # the mean is taken in float32
    return row


@primitive()
def std(x: Tensor, *, dims: Sequence[int], correction: float = 1, keepdim: bool = False) -> Row:
    """Standard deviation over some dimensions: the gradient goes by that of the variance."""
    row = var(x, dims=dims, correction=correction, keepdim=keepdim)
    row.saves, row.scratch = (x, OUT), (*row.scratch, numel(row.shape))
    return row


@primitive(float32_on("cuda"))
def logsumexp(x: Tensor, *, dims: Sequence[int], keepdim: bool = False) -> Row:
    """The logarithm of the sum of exp(x); inside, the maximum is taken from x first."""
    out = reduced(x, dims, keepdim)
    size = elements(x)
    passing = (size * x.itemsize, numel(out) * x.itemsize)
    return Row(out, contiguous(out), saves=(x, OUT), scratch=(size, size), passing=passing)
