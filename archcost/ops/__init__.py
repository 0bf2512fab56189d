"""The operators, a file per family; importing this package fills ``OPS``."""

from importlib import import_module

from archcost.ops.base import INPUT, OPS, OUTPUT, Cost, Example, Op, find_op, make

__all__ = ["INPUT", "OPS", "OUTPUT", "Cost", "Example", "Op", "find_op", "make"]

for _family in (
    "activation", "affine", "attention", "cells", "choices", "conv", "conv_deformable",
    "conv_sparse", "distances", "dropout", "elementwise", "embedding", "linear", "merge", "moving",
    "norm", "pool", "pool_to_size", "product", "rearrange", "recurrent", "reduction", "resample",
    "reshape", "unfold",
):  # fmt: skip
    import_module(f"archcost.ops.{_family}")
