"""What tools count of recurrent layers, each in its own way."""

from __future__ import annotations

from typing import Any

from archcost.conventions.facts import elements, of
from archcost.conventions.rule import each
from archcost.shape import numel

RECURRENT = "lstm gru rnn"


def _sizes(layer: Any, name: str) -> int:
    """Return the elements of the parameters whose names begin so."""
    params = layer.cost.params.items()
    return elements(*(shape for own, shape in params if own.startswith(name)))


@of("lstm", "gru", "rnn")
def states(layer: Any) -> int:
    """Hidden features of all steps, layers and directions."""
    op, (steps, _) = layer.op, layer.shapes[0]
    return numel((steps, op.hidden_size, op.num_layers, op.directions))


@of("lstm", "gru", "rnn")
def biased(layer: Any) -> int:
    """Additions of both biases at each step."""
    return numel((layer.shapes[0][0], _sizes(layer, "bias")))


@of("lstm")
def projections(layer: Any) -> int:
    """MACs of the projections of hidden states."""
    return numel((layer.shapes[0][0], _sizes(layer, "weight_hr")))


@of("lstm")
def unprojected(layer: Any) -> int:
    """MACs that an LSTM would have more if its hidden states were not projected."""
    op, x = layer.op, layer.shapes[0]
    more = type(op)(op.hidden_size, op.num_layers, op.bias, bidirectional=op.bidirectional)
    return int(more.cost(x).macs - layer.cost.macs)


@of("lstm")
def fused(layer: Any) -> int:
    """MACs of an LSTM whose steps a CPU runs as one operation."""
    return 0 if layer.op.projects else int(layer.cost.macs)


@of("lstm")
def fused_biased(layer: Any) -> int:
    """Additions of both biases at each step of such an LSTM."""
    return 0 if layer.op.projects else biased(layer)


@of("lstm")
def bias_sums(layer: Any) -> int:
    """Additions of the one bias to the other, once, of such an LSTM."""
    return 0 if layer.op.projects else _sizes(layer, "bias_ih")


@of("lstm")
def apart(layer: Any) -> int:
    """Hidden features of all steps of an LSTM whose steps are single operations."""
    return states(layer) if layer.op.projects else 0


NO_STEPS = each(RECURRENT, "mac", -1)
"""Recurrent layers count 0."""

STEPS = {
    **each(RECURRENT, "biased"), "lstm.projections": -1, "lstm.states": 10, "gru.states": 7,
    "rnn.states": 1,
}  # fmt: skip
"""Beside MACs: biases, and the products and sums of each step; projections are overlooked."""

DOUBLE_STEPS = {
    **each(RECURRENT, "biased"), "lstm.projections": -2, "lstm.states": 2, "gru.states": 1,
    "rnn.states": -1,
}  # fmt: skip
"""The same beside two operations for each MAC, of which one less is added up."""
