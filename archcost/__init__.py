"""What does this network cost? Shapes, parameters, MACs, FLOPs and memory, exact, from a spec.

Example:
    >>> import archcost
    >>> archcost.analyze("vgg16").total.params
    138357544
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from archcost.analysis.report import Report
    from archcost.api.cost import analyze, compare, explain, identify, reconcile
    from archcost.api.picture import plot
    from archcost.api.proof import audit, build, lint, verify
    from archcost.api.run import check, diff, fit, memory, roofline
    from archcost.api.spaces import closed_form, program, solve, sweep
    from archcost.api.writing import to_spec
    from archcost.errors import ArchcostError, LookupFailed, OpError, SpecError
    from archcost.importers.formulas import formula
    from archcost.network import Layer, Network
    from archcost.spec.catalog import catalog, load, loads

__version__ = "0.2.0"

__all__ = [
    "ArchcostError",
    "Layer",
    "LookupFailed",
    "Network",
    "OpError",
    "Report",
    "SpecError",
    "analyze",
    "audit",
    "build",
    "catalog",
    "check",
    "closed_form",
    "compare",
    "diff",
    "explain",
    "fit",
    "formula",
    "identify",
    "lint",
    "load",
    "loads",
    "memory",
    "plot",
    "program",
    "reconcile",
    "roofline",
    "solve",
    "sweep",
    "to_spec",
    "verify",
]

_HOMES = {
    "analysis.report": ("Report",),
    "importers.formulas": ("formula",),
    "errors": ("ArchcostError", "LookupFailed", "OpError", "SpecError"),
    "api.cost": ("analyze", "compare", "explain", "identify", "reconcile"),
    "api.picture": ("plot",),
    "api.proof": ("audit", "build", "lint", "verify"),
    "api.run": ("check", "diff", "fit", "memory", "roofline"),
    "api.spaces": ("closed_form", "program", "solve", "sweep"),
    "api.writing": ("to_spec",),
    "network": ("Layer", "Network"),
    "spec.catalog": ("catalog", "load", "loads"),
}
"""Where the public names live; a name is imported when it is first used."""


def __getattr__(name: str) -> Any:
    """Import a public name."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"archcost.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'archcost' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return [*__all__, "__version__"]
