"""The operators, a file per family; importing this package fills ``OPS``."""

from archcost.ops import (
    activation,
    affine,
    attention,
    conv,
    conv_sparse,
    linear,
    merge,
    norm,
    pool,
    resample,
    reshape,
)
from archcost.ops.base import INPUT, OPS, OUTPUT, Cost, Example, Op, Saved, find_op

__all__ = ["INPUT", "OPS", "OUTPUT", "Cost", "Example", "Op", "Saved", "find_op"]

_FAMILIES = (
    activation,
    affine,
    attention,
    conv,
    conv_sparse,
    linear,
    merge,
    norm,
    pool,
    resample,
    reshape,
)
