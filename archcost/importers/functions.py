"""PyTorch's functions as programs over primitives, with their own arguments, batch and all."""

from __future__ import annotations

import inspect

from archcost.importers import (
    function_arithmetic,
    function_products,
    function_recurrent,
    function_shapes,
    function_spectral,
)
from archcost.importers.registry import FUNCTIONS, function
from archcost.primitives import PRIMITIVES

__all__ = [
    "FUNCTIONS", "function", "function_arithmetic", "function_products", "function_recurrent",
    "function_shapes", "function_spectral", "is_of_one",
]  # fmt: skip


def is_of_one(name: str) -> bool:
    """Whether a primitive goes by that name which takes one tensor, and needs nothing else."""
    if name not in PRIMITIVES:
        return False
    known = inspect.signature(PRIMITIVES[name].row).parameters.values()
    needed = [p for p in known if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return len(needed) == 1 and needed[0].kind is needed[0].POSITIONAL_OR_KEYWORD
