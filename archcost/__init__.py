"""What does this network cost? Shapes, parameters, MACs, FLOPs and memory, exact, from a spec.

Example:
    >>> import archcost
    >>> archcost.analyze(archcost.load("vgg16")).total.params
    138357544
"""

from __future__ import annotations

from archcost.analysis.report import Report, analyze
from archcost.errors import ArchcostError, SpecError
from archcost.network import Layer, Network
from archcost.spec.catalog import catalog, load

__version__ = "0.1.0"

__all__ = [
    "ArchcostError",
    "Layer",
    "Network",
    "Report",
    "SpecError",
    "analyze",
    "catalog",
    "load",
]
