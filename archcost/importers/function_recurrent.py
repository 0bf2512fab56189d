"""Recurrent functions, which modules of ``torch.nn`` call with all their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.importers.registry import function
from archcost.ops.base import make
from archcost.ops.dropout import Dropout
from archcost.primitives.recurrent import by_onednn

RECURRENT = {"lstm": ("lstm", {}), "gru": ("gru", {}), "rnn_tanh": ("rnn", {}),
             "rnn_relu": ("rnn", {"nonlinearity": "relu"})}  # fmt: skip
"""The functions, each with its op and the op's arguments."""


def _recurrent(name: str) -> Callable[..., Any]:
    op, options = RECURRENT[name]

    def program(
        F: Any, x: Any, hx: Any, weights: Any, bias: bool, layers: int, dropout: float,
        training: bool, bidirectional: bool, batch_first: bool,
    ) -> Any:  # fmt: skip
        """Layers and directions one after the other, each over all steps."""
        directions = 2 if bidirectional else 1
        each = len(weights) // (layers * directions)
        projects = each % 2 == 1
        run: Any = make(op, weights[1].shape[-1], layers, bidirectional=bidirectional, **options)
        given = list(hx) if isinstance(hx, (list, tuple)) else [hx]
        starts = [F.unbind(start, dim=0) for start in given]
        x = F.permute(x, dims=(1, 0, 2)) if batch_first else x
        if op == "lstm" and by_onednn(x, projects):
            x = F.contiguous(x)
        last: list[Any] = []
        held: list[Any] = []  # as of the op
        for i in range(layers):
            made = []
            for reverse in range(directions):
                place = i * directions + reverse
                own = list(weights[place * each : (place + 1) * each])
                biases = own[2:4] if bias else [None, None]
                parts = [*own[:2], *biases, own[-1] if projects else None]
                first = [start[place] for start in starts]
                y, *after = run.layer(F, x, first, parts, reverse=bool(reverse), held=held)
                made.append(y)
                last.append(after)
            x = F.cat(*made, dim=2) if bidirectional else made[0]
            held.clear()
            if i < layers - 1 and dropout and training:
                x = Dropout(dropout).forward(F, x)
            del y
        states = [F.stack(*own, dim=0) for own in zip(*last, strict=True)]
        return [F.permute(x, dims=(1, 0, 2)) if batch_first else x, *states]

    return program


for _name in RECURRENT:
    function(_name)(_recurrent(_name))
