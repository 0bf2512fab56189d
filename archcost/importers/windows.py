"""Attention within windows, as torchvision's Swin Transformer calls it, as one op."""

from __future__ import annotations

from typing import Any

from archcost.importers.calls import Called
from archcost.network import Layer
from archcost.ops.base import make


def windowed(found: Any) -> None:
    """Say attention within windows as linear, window_attention, linear, where a network has it."""
    from archcost.importers.phrases import Said

    groups: dict[str, list[Layer]] = {}
    for layer in found.network:
        group = layer.path.rpartition(".")[0]
        if found.network.classes.get(group, "") == "ShiftedWindowAttention":
            groups.setdefault(group, []).append(layer)
    for layers in groups.values():
        [qkv, projection] = [layer for layer in layers if layer.op.name == "linear"]
        inside = {layer.path for layer in layers}
        [x] = {n for layer in layers for n in layer.inputs if n not in inside} - {
            found.network.inputs[0].name
        }
        [view] = [layer for layer in layers if layer.op.name == "view" and len(layer.shapes[0]) == 3
                  and len(layer.cost.output) == 5][:1]  # fmt: skip
        [table] = [layer for layer in layers if layer.params and isinstance(layer.op, Called)]
        (own,) = table.op.params  # type: ignore[attr-defined]
        side, heads = view.cost.output[1], table.op.params[own][1]  # type: ignore[attr-defined]
        moved = [layer.op for layer in layers if layer.op.name == "roll"]
        shift = abs(moved[0].kwargs["shifts"][0]) if moved else 0  # type: ignore[attr-defined]
        for layer in layers:
            found.dropped.add(layer.path)
        width = projection.op.out_features  # type: ignore[attr-defined]
        names = {key: qkv.full_name(key) for key in ("weight", "bias")}
        found.said[qkv.path] = [Said(make("linear", 3 * width, dim=-1), (x,), names)]
        bias = {"relative_position_table": table.full_name(own)}
        last = projection.path + "_windows"
        names = {key: projection.full_name(key) for key in ("weight", "bias")}
        found.said[projection.path] = [
            Said(make("window_attention", heads, side, shift), (qkv.path,), bias, "_windows"),
            Said(make("linear", width, dim=-1), (last,), names),
        ]
        found.alias[layers[-1].path] = projection.path
