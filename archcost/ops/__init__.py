"""The operators, a file per family; importing this package fills ``OPS``."""

from archcost.ops import (
    activation,
    affine,
    attention,
    conv,
    conv_deformable,
    conv_sparse,
    dropout,
    elementwise,
    embedding,
    linear,
    merge,
    moving,
    norm,
    pool,
    pool_to_size,
    product,
    rearrange,
    recurrent,
    reduction,
    resample,
    reshape,
    unfold,
)
from archcost.ops.base import INPUT, OPS, OUTPUT, Cost, Example, Op, find_op, make

__all__ = ["INPUT", "OPS", "OUTPUT", "Cost", "Example", "Op", "find_op", "make"]

_FAMILIES = (
    activation,
    affine,
    attention,
    conv,
    conv_deformable,
    conv_sparse,
    dropout,
    elementwise,
    embedding,
    linear,
    merge,
    moving,
    norm,
    pool,
    pool_to_size,
    product,
    rearrange,
    recurrent,
    reduction,
    resample,
    reshape,
    unfold,
)
