"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import Any

from archcost.layout import contiguous
from archcost.ops.distances import FEW
from archcost.ops.programs import flatten
from archcost.primitives.pointwise import broadcast
from archcost.primitives.row import (
    FLOAT32,
    OUT,
    SAME,
    Row,
    Tensor,
    called,
    composite,
    elements,
    float32_on,
    not_contiguous,
    primitive,
)
from archcost.shape import numel


@composite(float32_on("cuda"))
def cosine_similarity(F: Any, a: Tensor, b: Tensor, *, dim: int, eps: float) -> Any:
    """The product of two vectors divided by their lengths.

    ``aten/src/ATen/native/Distance.cpp``, ``cosine_similarity``: the repeated tensors are views,
    and lengths are copied before they are cut, for which there is no gradient.
    """
    shape = broadcast(a, b)
    a, b = (x if x.shape == shape else F.expand(x, shape=shape) for x in (a, b))
    length = F.clone(F.norm(a, dims=(dim,), keepdim=True))
    other = F.clone(F.norm(b, dims=(dim,), keepdim=True))
    least = F.full(shape=(), like=a)  # eps, to which lengths are cut
    first, second = F.div(a, length), F.div(b, other)  # all of these live as long as the sum runs
    products = F.mul(first, second)
    made = F.sum(products, dims=(dim,))
    del least
    return made


@composite(float32_on("cuda"))
def pairwise_distance(
    F: Any, a: Tensor, b: Tensor, *, p: int, eps: float, keepdim: bool = False
) -> Any:
    """The norm of the difference along the last dimension: ``pairwise_distance`` in the same."""
    apart = F.sub(a, b)  # which lives as long as the norm is computed
    moved = F.add(apart, eps)
    return F.norm(moved, dims=(len(moved.shape) - 1,), ord=p, keepdim=keepdim)


@composite(FLOAT32)
def cdist(F: Any, a: Tensor, b: Tensor, *, p: float) -> Any:
    """The distance of each row of one tensor to each of the other, ``cdist_impl`` in the same."""
    if p != 2 or max(a.shape[-2], b.shape[-2]) <= FEW:
        return F.distances(a, b, p=p)
    lead = broadcast(a, b)[:-2]
    if numel(lead) == 1:
        return F.euclidean_distances(a, b)
    rows = []
    for x in (a, b):
        shape = (*lead, *x.shape[-2:])
        x = F.contiguous(x if x.shape == shape else F.expand(x, shape=shape))
        rows.append(flatten(F, x, 0, len(lead) - 1))
    made = F.euclidean_distances(*rows)
    return F.reshape(made, shape=(*lead, *made.shape[1:]))


@primitive()
def clone(x: Tensor) -> Row:
    """A copy."""
    return Row(x.shape, x.strides, gradient=SAME)


@primitive()
def distances(a: Tensor, b: Tensor, *, p: float) -> Row:
    """Distances one by one: ``_cdist_forward``; the second gradient is of turned copies."""
    lead = broadcast(a, b)[:-2]
    out = (*lead, a.shape[-2], b.shape[-2])
    turned = (numel(out),) * (2 if b.needs else 0)
    whole = [(*lead, *x.shape[-2:]) for x in (a, b)]
    pairs = [*zip((a, b), whole, strict=True)]
    copied = [numel(shape) for x, shape in pairs if x.shape != shape or not_contiguous(x)]
    return Row(
        out,
        contiguous(out),
        saves=(a, b, OUT),
        gradient=tuple(called("like", shape=shape) for shape in whole),
        scratch=turned,
        hidden=sum(copied),
        passing=tuple(n * a.itemsize for n in copied),
    )


@primitive()
def euclidean_distances(a: Tensor, b: Tensor) -> Row:
    """Distances by one matrix product of vectors beside their squares: ``_euclidean_dist``.

    Backward makes both gradients, each as the difference of two tensors, in one expression, which
    keeps all of them (``_euclidean_dist_backward`` in ``torch/csrc/autograd/FunctionsManual.cpp``).
    """
    out = (*a.shape[:-1], b.shape[-2])
    scratch, passing = [numel(out)], []
    for x in (a, b):
        passing.append(numel((*x.shape[:-1], x.shape[-1] + 2)) * x.itemsize)
        made = elements(x)
        scratch += [numel(x.shape[:-1]), made, made, *(() if x.needs else (made,))]
    return Row(
        out,
        contiguous(out),
        saves=(a, b, OUT),
        scratch=tuple(scratch),
        passing=tuple(passing),
    )
