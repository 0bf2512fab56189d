"""Weights that a layer computes from other parameters, as ``torch.nn.utils.parametrizations``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archcost.errors import OpError, did_you_mean, written
from archcost.ops.arguments import argument
from archcost.ops.base import COMPUTED, Cost
from archcost.shape import Shape, numel

WEIGHT_NORM, SPECTRAL_NORM = PARAMETRIZATIONS = ("weight_norm", "spectral_norm")
LENGTHS, DIRECTIONS = f"{COMPUTED}0", f"{COMPUTED}1"
LEFT, RIGHT = "parametrizations.weight.0._u", "parametrizations.weight.0._v"
"""Buffers of spectral normalisation: estimates of the first singular vectors."""
EPS = 1e-12
"""Below which lengths are not divided by, as in PyTorch."""


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
    channel apart from their directions. Spectral normalisation (Miyato et al. 2018) divides the
    weight by an estimate of its largest singular value.
    """
    if op.parametrization is None:
        return cost
    params = dict(cost.params)
    weight = params.pop("weight")
    if op.parametrization == SPECTRAL_NORM:
        rows, columns = _matrix(op, weight)
        buffers = {LEFT: (rows,), RIGHT: (columns,)}
        return Cost(cost.output, params | {COMPUTED: weight}, cost.macs, buffers)
    lengths: Shape = (weight[0], *(1,) * (len(weight) - 1))
    return Cost(cost.output, params | {LENGTHS: lengths, DIRECTIONS: weight}, cost.macs)


def _rows_dim(op: Any) -> int:
    """Return the dimension of a weight that are the rows of its matrix: the output channels."""
    return 1 if op.name == "conv_transpose" else 0


def _matrix(op: Any, weight: Shape) -> Shape:
    """Return the sizes of a weight as a matrix, of a row for each output channel."""
    rows = weight[_rows_dim(op)]
    return rows, numel(weight) // rows


def computed(op: Any, F: Any, weight: Any, originals: Mapping[str, Any]) -> Any:
    """Return the weight of a layer, computed if it is none of its parameters."""
    if not originals:
        return weight
    if op.parametrization == WEIGHT_NORM:
        return F.weight_norm(originals[DIRECTIONS], originals[LENGTHS])
    return _spectral_norm(op, F, originals[COMPUTED], originals[LEFT], originals[RIGHT])


def _spectral_norm(op: Any, F: Any, weight: Any, left: Any, right: Any) -> Any:
    """Return a weight by its spectral norm, as ``_SpectralNorm`` in the module of PyTorch.

    A pass in training first improves both vectors by a step of the power method.
    """
    matrix, dim = weight, _rows_dim(op)
    if dim:
        matrix = F.permute(matrix, dims=(dim, *(d for d in range(len(weight.shape)) if d != dim)))
    if len(weight.shape) > 2:
        matrix = F.reshape(matrix, shape=_matrix(op, weight.shape))
    if F.training:
        F.direction_in_place(left, matrix, right, eps=EPS)
        F.direction_in_place(right, F.permute(matrix, dims=(1, 0)), left, eps=EPS)
    u, v = F.clone(left), F.clone(right)
    sigma = F.vdot(u, F.mv(matrix, v))
    return F.div(weight, sigma)


def registered(torch: Any, op: Any, module: Any) -> Any:
    """Return a module of ``torch.nn`` with the parametrization of its weight."""
    if op.parametrization is None:
        return module
    return getattr(torch.nn.utils.parametrizations, op.parametrization)(module)
