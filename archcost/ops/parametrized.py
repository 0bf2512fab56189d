"""Weights that a layer computes from other parameters, as ``torch.nn.utils.parametrizations``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archcost.errors import OpError, did_you_mean, written
from archcost.ops.arguments import argument
from archcost.ops.base import COMPUTED, Cost
from archcost.shape import Shape

WEIGHT_NORM = "weight_norm"
PARAMETRIZATIONS = (WEIGHT_NORM,)
LENGTHS, DIRECTIONS = f"{COMPUTED}0", f"{COMPUTED}1"


def parametrization() -> Any:
    """How the weight is computed from other parameters; None for a weight that is one itself."""

    def read(name: str, value: Any) -> Any:
        if value is not None and value not in PARAMETRIZATIONS:
            hint = did_you_mean(str(value), PARAMETRIZATIONS)
            raise OpError(f"{name} {written(value)}{hint}")
        return value

    return argument(f"None or {' or '.join(map(repr, PARAMETRIZATIONS))}", read, None)


def parametrized(op: Any, cost: Cost) -> Cost:
    """Return the cost of a layer whose weight is computed as its ``parametrization`` says.

    Weight normalisation (Salimans & Kingma 2016) has the lengths of the weights of each output
    channel apart from their directions.
    """
    if op.parametrization is None:
        return cost
    params = dict(cost.params)
    weight = params.pop("weight")
    lengths: Shape = (weight[0], *(1,) * (len(weight) - 1))
    return Cost(cost.output, params | {LENGTHS: lengths, DIRECTIONS: weight}, cost.macs)


def computed(F: Any, weight: Any, originals: Mapping[str, Any]) -> Any:
    """Return the weight of a layer, computed if it is none of its parameters."""
    return F.weight_norm(originals[DIRECTIONS], originals[LENGTHS]) if originals else weight


def registered(torch: Any, op: Any, module: Any) -> Any:
    """Return a module of ``torch.nn`` with the parametrization of its weight."""
    if op.parametrization is None:
        return module
    return getattr(torch.nn.utils.parametrizations, op.parametrization)(module)
