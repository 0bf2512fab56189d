"""A call as PyTorch was seen to run it: what it makes and keeps, without a program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from archcost.importers.inside import ARGUMENT, OUTPUT
from archcost.primitives.row import JOIN, NEW, OUT, Own, Primitive, Row, Tensor, called
from archcost.shape import Shape

FLOAT32 = ("float32",)
HALF = 2


class Out(NamedTuple):
    """An output: its shape and strides, its bytes per element, whether a gradient flows through.

    ``itemsize`` is 0 for one of floats.
    """

    shape: Shape
    strides: Shape
    itemsize: int
    learns: bool


def _row(
    *tensors: Tensor, outs: Sequence[Out], view: bool, keeps: Sequence[tuple[str, int]] | None,
    name: str, learning: Sequence[bool], macs: int, between: tuple[int, int | None] | None,
    gradients: Sequence[Shape | None], writes: bool,
) -> Row:  # fmt: skip
    """Return the row of a call.

    Args:
        tensors: what it reads; a view lies in the first.
        outs: what it makes.
        view: whether it makes views.
        keeps: what it keeps: ``("argument", place)``, ``("output", place)``, ``("own", bytes)``.
        name: of the function.
        learning: which tensors needed a gradient when it was seen.
        macs: multiply-accumulates of the whole batch.
        between: bytes that forward and backward make and drop, None if that was not seen.
        gradients: for each tensor, the strides of its gradient if that lies in the incoming one.
        writes: whether it writes at places of the first tensor, and makes more than was seen.
    """
    own = [Own("output", out.shape, out.itemsize, learns=out.learns) for out in outs]
    more = [Own("kept", (size,), 1) for what, size in keeps or () if what not in (ARGUMENT, OUTPUT)]
    rest = iter(more)
    several = len(outs) > 1
    saves: list[Any] = []
    for what, place in keeps or ():
        if what == ARGUMENT:
            saves.append(tensors[place])
        elif what == OUTPUT:
            saves.append(own[place] if several and not view else OUT)
        else:
            saves.append(next(rest))
    row = Row(outs[0].shape, outs[0].strides, saves=tuple(saves), makes=tuple(more), view=view)
    if view and several:
        row.outs, row.gradient = tuple((out.shape, out.strides) for out in outs), JOIN
    elif several:
        row.results, row.makes = tuple(own), (*own, *more)
    elif not view:
        row.itemsize = own[0].itemsize
    needs = tuple(tensor.needs for tensor in tensors)
    if keeps is None or needs != tuple(learning):
        row.untold = f"what {name} keeps for backward was not seen"
    row.types, row.macs = FLOAT32, macs
    if between is None or (between[1] is None and any(needs)):
        row.unknown = f"the peak of {name} is not known" if writes or not view else ""
    else:
        forward, backward = between
        row.makes = (*row.makes, Own("between", (forward,), 1)) if forward else row.makes
        row.masks = (backward,) if backward else ()
        halved = any(tensor.itemsize == HALF for tensor in tensors)
        row.unknown = f"the peak of {name} in half precision is not known" if halved else ""
    if not several or not view:
        rules = zip(tensors, gradients, strict=True)
        row.gradient = tuple(
            NEW if strides is None else called("view", shape=tensor.shape, strides=strides)
            for tensor, strides in rules
        )
    return row


OBSERVED = Primitive("observed", _row)
"""A call through which gradients flow."""

APART = Primitive("observed", _row, differentiable=False)
"""A call through which none flows."""


def run(F: Any, tensors: Sequence[Any], outs: Sequence[Out], first: int, **seen: Any) -> Any:
    """Run a call as it was seen; ``first`` is the tensor in which its outputs lie, or -1."""
    keeps, learning, gradients = (seen.pop(key) for key in ("keeps", "learning", "gradients"))
    order = list(range(len(tensors)))
    if first >= 0:
        order.insert(0, order.pop(first))
    if keeps is not None:
        keeps = [(what, order.index(n) if what == ARGUMENT else n) for what, n in keeps]
    outs = [out if out.itemsize else out._replace(itemsize=F.setting.itemsize) for out in outs]
    primitive = OBSERVED if any(out.learns for out in outs) else APART
    return F.call(
        primitive, *[tensors[n] for n in order], outs=outs, view=first >= 0, keeps=keeps,
        learning=[learning[n] for n in order], gradients=[gradients[n] for n in order], **seen,
    )  # fmt: skip
