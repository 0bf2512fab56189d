"""Recurrent functions, which modules of ``torch.nn`` call with all their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.importers.registry import function
from archcost.ops import OPS, make

RECURRENT = {"lstm": ("lstm", {}), "gru": ("gru", {}), "rnn_tanh": ("rnn", {}),
             "rnn_relu": ("rnn", {"nonlinearity": "relu"})}  # fmt: skip
"""The functions, each with its op and the op's arguments."""


def _recurrent(name: str) -> Callable[..., Any]:
    op, options = RECURRENT[name]
    known: Any = OPS[op]

    def program(
        F: Any, x: Any, hx: Any, weights: Any, bias: bool, layers: int, dropout: float,
        training: bool, bidirectional: bool, batch_first: bool,
    ) -> Any:  # fmt: skip
        """All layers and directions, as the op runs them, of weights that are given in a list."""
        places = layers * (2 if bidirectional else 1)
        each = len(weights) // places
        projects = each % 2 == 1
        own = {"proj_size": weights[1].shape[-1]} if projects else {}
        run: Any = make(
            op, weights[0].shape[0] // known.gates, layers, bidirectional=bidirectional,
            dropout=dropout if training else 0.0, **options, **own,
        )  # fmt: skip
        parts = []
        for place in range(places):
            these = list(weights[place * each : (place + 1) * each])
            biases = these[2:4] if bias else [None, None]
            parts.append([*these[:2], *biases, these[-1] if projects else None])
        given = list(hx) if isinstance(hx, (list, tuple)) else [hx]
        x, last = run.run(F, x, given, parts, batch_first)
        states = [F.stack(*own, dim=0) for own in zip(*last, strict=True)]
        return [F.permute(x, dims=(1, 0, 2)) if batch_first else x, *states]

    return program


for _name in RECURRENT:
    function(_name)(_recurrent(_name))
