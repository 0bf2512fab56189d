"""What gives masks of booleans and places: comparisons, logic, the largest of a line."""

from __future__ import annotations

from archcost.layout import contiguous, preserved
from archcost.primitives.choices import PLACE_BYTES
from archcost.primitives.pointwise import broadcast, calculated, number_bytes, tensors_of
from archcost.primitives.reductions import reduced
from archcost.primitives.row import Own, Row, Tensor, primitive


def _mask(a: Tensor, b: Tensor | float | None = None) -> Row:
    """Return the row of a mask of the broadcast shape."""
    given = (a,) if b is None else (a, b)
    tensors = tensors_of(*given)
    mixed = len({tensor.itemsize for tensor in tensors}) > 1
    return Row(
        broadcast(*tensors), calculated(*given), itemsize=1, passing=number_bytes(*given),
        unknown="the peak of a comparison of two types is not known" * mixed,
    )  # fmt: skip


for _name, _about in {
    "eq": "a = b", "ne": "a ≠ b", "lt": "a < b", "le": "a ≤ b", "gt": "a > b", "ge": "a ≥ b",
    "logical_and": "a and b", "logical_or": "a or b", "logical_xor": "a or else b",
    "logical_not": "not a",
}.items():  # fmt: skip

    def _row(a: Tensor, b: Tensor | float | None = None) -> Row:
        return _mask(a, b)

    _row.__name__, _row.__doc__ = _name, f"Where {_about}."
    primitive(differentiable=False)(_row)


@primitive(differentiable=False)
def argmax(x: Tensor, *, dim: int, keepdim: bool = False) -> Row:
    """The place of the maximum along a dimension."""
    out = reduced(x, (dim,), keepdim)
    return Row(out, contiguous(out), itemsize=PLACE_BYTES)


@primitive(differentiable=False)
def argmin(x: Tensor, *, dim: int, keepdim: bool = False) -> Row:
    """The place of the minimum along a dimension."""
    return argmax(x, dim=dim, keepdim=keepdim)


@primitive(differentiable=False)
def argsort(x: Tensor, *, dim: int, descending: bool = False) -> Row:
    """The places of the elements in order, which are made too; places are counted up before."""
    strides = preserved(x.layout)
    made = Own("in order", x.shape, x.itemsize)
    passing = (x.shape[dim] * PLACE_BYTES,)
    return Row(x.shape, strides, itemsize=PLACE_BYTES, makes=(made,), passing=passing)
