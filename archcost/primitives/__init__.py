"""The operations of PyTorch that ops are programs over, each with all that is true of it.

One function per primitive, a file per family. Readings (:mod:`archcost.readings`) run programs
over them; ``archcost.ops`` holds the programs.
"""

from archcost.primitives import (
    cells,
    choices,
    comparisons,
    composed,
    distances,
    norms,
    pointwise,
    products,
    recurrent,
    reductions,
    shapes,
    spectral,
    windows,
)
from archcost.primitives.row import COMPOSITES, PRIMITIVES, Primitive, Row

__all__ = [
    "COMPOSITES", "PRIMITIVES", "Primitive", "Row",
    "cells", "choices", "comparisons", "composed", "distances", "norms", "pointwise", "products",
    "recurrent", "reductions", "shapes", "spectral", "windows",
]  # fmt: skip
