"""What chooses among elements: by masks, by places, by their order."""

from __future__ import annotations

from archcost.layout import contiguous, elementwise, preserved
from archcost.number import maximum
from archcost.primitives.pointwise import broadcast
from archcost.primitives.row import (
    FULL,
    NEW,
    RESULT,
    SAME,
    WIDEN,
    Own,
    Row,
    Tensor,
    called,
    elements,
    float32_on,
    needed,
    placed_in_float32,
    primitive,
)
from archcost.shape import numel

PLACE_BYTES = 8  # PyTorch gives places as int64


@primitive()
def where(mask: Tensor, a: Tensor, b: Tensor) -> Row:
    """The first tensor's elements where a mask says so, else the second's."""
    strides = elementwise(mask.layout, a.layout, b.layout)
    return Row(
        broadcast(mask, a, b), strides, saves=(mask,), gradient=FULL, scratch=(1,),
        itemsize=maximum(a.itemsize, b.itemsize),
    )  # fmt: skip


@primitive()
def masked_fill(x: Tensor, mask: Tensor, *, value: float) -> Row:
    """The tensor with one value where a mask says so: a contiguous copy, which is filled."""
    out = broadcast(x, mask)
    return Row(out, contiguous(out), saves=(mask,), gradient=FULL, widens=False)


@primitive()
def gather(x: Tensor, places: Tensor, *, dim: int) -> Row:
    """Of each line along a dimension, the elements at its own places."""
    return Row(
        places.shape, contiguous(places.shape), saves=(x, places), zeros=elements(x), widens=False,
        hidden=placed_in_float32(x, elements(x)) // x.itemsize,
        passing=(placed_in_float32(x, elements(places)),),
    )  # fmt: skip


@primitive()
def scatter(x: Tensor, places: Tensor, source: Tensor, *, dim: int) -> Row:
    """The tensor with elements of another at their places along a dimension."""
    row = scatter_add(x, places, source, dim=dim)
    row.saves, shape, own = (places,), x.shape, places.shape
    row.gradient = (called("like", shape=shape), NEW, called("like", shape=own))
    if x.needs and row.hidden:  # that of the tensor is made first, by writing zeros
        made = elements(source) * source.needs
        row.hidden = maximum(2 * elements(x) - made, row.hidden * source.needs)
    return row


@primitive(float32_on("cuda", WIDEN))
def scatter_add(x: Tensor, places: Tensor, source: Tensor, *, dim: int) -> Row:
    """The tensor with elements of another added at their places along a dimension."""
    mixed = x.itemsize != source.itemsize
    return Row(
        x.shape,
        contiguous(x.shape),
        saves=needed((places, source)),
        gradient=(SAME, NEW, called("like", shape=places.shape)),
        hidden=placed_in_float32(x, elements(places)) // x.itemsize,
        passing=(placed_in_float32(x, elements(x)),),
        widens=False,
        untold="PyTorch writes no elements of another type into a tensor" * mixed,
    )


def _chosen(x: Tensor, dim: int, size: int) -> Row:
    """Return the row of elements that are kept with their places, so many along a dimension."""
    out = (*x.shape[:dim], size, *x.shape[dim + 1 :])
    places = Own("indices", out, PLACE_BYTES)
    return Row(
        out, contiguous(out), makes=(places,), saves=(places,), zeros=elements(x),
        hidden=placed_in_float32(x, elements(x)) // x.itemsize,
    )  # fmt: skip


@primitive()
def topk(x: Tensor, *, k: int, dim: int, largest: bool = True) -> Row:
    """The largest elements along a dimension, in order; or the smallest."""
    return _chosen(x, dim, k)


@primitive()
def sort(x: Tensor, *, dim: int, descending: bool = False) -> Row:
    """The elements in order along a dimension; their places are counted up before."""
    row = _chosen(x, dim, x.shape[dim])
    row.passing = (x.shape[dim] * PLACE_BYTES,)
    row.strides = preserved(x.layout)
    return row


@primitive(float32_on("cuda", RESULT))
def cumsum(x: Tensor, *, dim: int) -> Row:
    """The sums of all elements up to each along a dimension; backward turns around twice."""
    size = numel(x.shape)
    return Row(x.shape, contiguous(x.shape), scratch=(size, size))
