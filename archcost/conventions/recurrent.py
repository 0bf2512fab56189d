"""What tools count of recurrent layers and cells, each in its own way."""

from __future__ import annotations

import re
from typing import Any

from archcost.conventions.facts import FUNCTIONS_OF, elements, of
from archcost.conventions.rule import each
from archcost.ops import OPS
from archcost.shape import numel

RECURRENT = "lstm gru rnn"
CELLS = "lstm_cell gru_cell rnn_cell"
BOTH = (*RECURRENT.split(), *CELLS.split())


def _steps(layer: Any) -> int:
    """Return the steps, which are one of a cell."""
    return int(layer.shapes[0][0]) if len(layer.shapes[0]) > 1 else 1


def _sizes(layer: Any, name: str) -> int:
    """Return the elements of the parameters whose names have this prefix."""
    params = layer.cost.params.items()
    return elements(*(shape for own, shape in params if own.startswith(name)))


def _op(layer: Any) -> Any:
    """Return the op of a layer; that of a function of code is told by its weights."""
    if hasattr(layer.op, "hidden_size"):
        return layer.op
    kind = OPS[FUNCTIONS_OF.get(layer.op.name, layer.op.name)]
    params = layer.cost.params
    rows, width = params["weight_hh_l0"]
    hidden = rows // kind.gates  # type: ignore[attr-defined]
    given: dict[str, Any] = {
        "num_layers": len([own for own in params if re.fullmatch(r"weight_hh_l\d+", own)]),
        "bias": "bias_hh_l0" in params, "bidirectional": "weight_hh_l0_reverse" in params,
    }  # fmt: skip
    return kind(hidden, **given, **({"proj_size": width} if width != hidden else {}))


@of(*BOTH)
def states(layer: Any) -> int:
    """Hidden features of all steps, layers and directions."""
    op, steps = _op(layer), _steps(layer)
    of_cell = op.name in CELLS.split()
    return numel((steps, op.hidden_size, *(() if of_cell else (op.num_layers, op.directions))))


@of(*BOTH)
def biased(layer: Any) -> int:
    """Additions of both biases at each step."""
    return numel((_steps(layer), _sizes(layer, "bias")))


@of(*CELLS.split())
def crossed(layer: Any) -> int:
    """Parameters of a cell, each for every hidden feature."""
    return numel((layer.op.hidden_size, elements(*layer.cost.params.values())))


@of("lstm")
def projections(layer: Any) -> int:
    """MACs of the projections of hidden states."""
    return numel((layer.shapes[0][0], _sizes(layer, "weight_hr")))


@of("lstm")
def unprojected(layer: Any) -> int:
    """MACs that an LSTM would have more if its hidden states were not projected."""
    op, x = _op(layer), layer.shapes[0]
    if not op.projects:
        return 0
    more = type(op)(op.hidden_size, op.num_layers, op.bias, bidirectional=op.bidirectional)
    return int(more.cost(x).macs - layer.cost.macs)


@of("lstm")
def fused(layer: Any) -> int:
    """MACs of an LSTM whose steps a CPU runs as one operation."""
    return 0 if _op(layer).projects else int(layer.cost.macs)


@of("lstm")
def fused_biased(layer: Any) -> int:
    """Additions of both biases at each step of such an LSTM."""
    return 0 if _op(layer).projects else biased(layer)


@of("lstm")
def bias_sums(layer: Any) -> int:
    """Additions of the one bias to the other, once, of such an LSTM."""
    return 0 if _op(layer).projects else _sizes(layer, "bias_ih")


@of("lstm")
def apart(layer: Any) -> int:
    """Hidden features of all steps of an LSTM whose steps are single operations."""
    return states(layer) if _op(layer).projects else 0


ALL = " ".join(BOTH)
NO_STEPS = each(ALL, "mac", -1)
"""Recurrent layers and cells count 0."""


def _states(lstm: int, gru: int, rnn: int) -> dict[str, int]:
    """Return the weights of hidden features, of layers and of cells."""
    return {
        **each("lstm lstm_cell", "states", lstm),
        **each("gru gru_cell", "states", gru),
        **each("rnn rnn_cell", "states", rnn),
    }


STEPS = {**each(ALL, "biased"), "lstm.projections": -1, **_states(10, 7, 1)}
"""Beside MACs: biases, and the products and sums of each step; projections are overlooked."""

DOUBLE_STEPS = {**each(ALL, "biased"), "lstm.projections": -2, **_states(2, 1, -1)}
"""The same beside two operations for each MAC, of which one less is added up."""

THOP_STEPS = {**each(ALL, "biased"), "lstm.unprojected": 1, **_states(8, 7, 1)}
"""thop's, which counts the products as if hidden states were not projected."""
