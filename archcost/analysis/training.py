"""What a training step computes: which tensors need a gradient, and the FLOPs that they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from archcost.analysis.report import analyze, prefixes, select_layers
from archcost.errors import LookupFailed
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.shape import show
from archcost.table import Cell, Column, Table


@dataclass(frozen=True)
class Gradients:
    """Which tensors take part in the backward pass.

    Attributes:
        trained: paths of the layers with parameters that are not frozen.
        tensors: by layer path, and ``"input"``, whether the output needs a gradient.
        reached: paths of the layers on which an output depends; backward passes no others.
    """

    trained: frozenset[str]
    tensors: Mapping[str, bool]
    reached: frozenset[str]


def gradients(network: Network, freeze: Sequence[str] = ()) -> Gradients:
    """Return what needs a gradient if the input does not and the named layers are not trained.

    Raises:
        LookupFailed: a pattern matches no layer.
    """
    frozen = {layer.path for layer in select_layers(network, freeze, "layer or group to freeze")}
    trained = {layer.path for layer in network if layer.cost.params and layer.path not in frozen}
    tensors = {NETWORK_INPUT: False}
    for layer in network:
        tensors[layer.path] = layer.path in trained or any(tensors[n] for n in flows_to(layer))
    reached = set(network.outputs)
    for layer in reversed(network.layers):
        if layer.path in reached:
            reached.update(flows_to(layer))
    return Gradients(frozenset(trained), tensors, frozenset(reached))


def flows_to(layer: Layer) -> list[str]:
    """Return the inputs of a layer to which a gradient may flow."""
    return [name for i, name in enumerate(layer.inputs) if i not in layer.op.no_gradient]


@dataclass(frozen=True, slots=True)
class LayerStep:
    """One layer's FLOPs in a training step, two per multiply-accumulate, for the whole batch."""

    layer: Layer
    forward: int
    input_gradient: int
    weight_gradient: int

    @property
    def backward(self) -> int:
        """FLOPs of both gradients."""
        return self.input_gradient + self.weight_gradient


COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("name", "layer"),
        Column("op", "op", minor=True),
        Column("settings", "settings", minor=True),
        Column("output", "output"),
        Column("forward_macs", "forward MACs", True),
        Column("backward_macs", "backward MACs", True),
        Column("step_macs", "step MACs", True),
        Column("forward", "forward FLOPs", True),
        Column("input_gradient", "input gradient", True),
        Column("weight_gradient", "weight gradient", True),
        Column("backward", "backward FLOPs", True),
        Column("step", "step FLOPs", True),
    )
}
"""The columns of the table of a training step, by key."""

USUAL = (
    "name", "op", "output", "forward_macs", "forward", "input_gradient", "weight_gradient",
    "backward", "step",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingStep:
    """The FLOPs of a forward and a backward pass, layer by layer; made by :func:`training_step`."""

    network: Network
    batch: int
    layers: tuple[LayerStep, ...]
    freeze: tuple[str, ...] = ()

    @cached_property
    def forward(self) -> int:
        """FLOPs of the forward pass."""
        return sum(step.forward for step in self.layers)

    @cached_property
    def backward(self) -> int:
        """FLOPs of the backward pass."""
        return sum(step.backward for step in self.layers)

    def table(self, columns: Sequence[str] | None = None, depth: int | None = None) -> Table:
        """Return a row per layer and group, and the totals.

        Args:
            columns: keys of :data:`COLUMNS`, :data:`USUAL` ones by default.
            depth: fold groups below this many dotted names into one row each.

        Raises:
            LookupFailed: an unknown column, with the nearest name.
        """
        keys = tuple(columns or USUAL)
        for key in keys:
            if key not in COLUMNS:
                raise LookupFailed("column", key, COLUMNS)
        inside: dict[str, list[LayerStep]] = {}
        for step in self.layers:
            for name in (*prefixes(step.layer.path), step.layer.path):
                inside.setdefault(name, []).append(step)
        rows = []
        for entry in analyze(self.network, batch=self.batch).entries(depth):
            layer = entry.layer
            words: dict[str, Cell] = {
                "name": entry.path,
                "op": layer.op.name if layer else "",
                "settings": layer.settings if layer else "",
                "output": show(entry.output),
            }
            rows.append(_cells(keys, words, inside[entry.path]))
        total: dict[str, Cell] = {"name": "total", "output": show(self.network.output)}
        frozen = f"; not trained: {', '.join(self.freeze)}" if self.freeze else ""
        return Table(
            tuple(COLUMNS[key] for key in keys),
            tuple(rows),
            title=f"{self.network.name}: a training step",
            footer=(_cells(keys, total, self.layers),),
            notes=(
                f"input {show(self.network.input)}, batch {self.batch}{frozen}",
                "convolutions and matrix products, 2 FLOPs per MAC; no gradient of the network's "
                "input",
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all figures; integers stay integers."""
        return {
            "model": self.network.name,
            "input": list(self.network.input),
            "batch": self.batch,
            "freeze": list(self.freeze),
            "layers": [
                {"name": step.layer.path, "op": step.layer.op.name, **_counts([step])}
                for step in self.layers
            ],
            "totals": _counts(self.layers),
        }


def _counts(steps: Iterable[LayerStep]) -> dict[str, int]:
    """Return the sums over layers, by the keys of the columns."""
    steps = list(steps)
    forward = sum(step.forward for step in steps)
    inputs = sum(step.input_gradient for step in steps)
    weights = sum(step.weight_gradient for step in steps)
    backward = inputs + weights
    return {
        "forward_macs": forward // 2,
        "backward_macs": backward // 2,
        "step_macs": (forward + backward) // 2,
        "forward": forward,
        "input_gradient": inputs,
        "weight_gradient": weights,
        "backward": backward,
        "step": forward + backward,
    }


def _cells(
    keys: Sequence[str], words: Mapping[str, Cell], steps: Iterable[LayerStep]
) -> tuple[Cell, ...]:
    counts = _counts(steps)
    return tuple(words.get(key, counts.get(key, "")) for key in keys)


def training_step(network: Network, batch: int = 1, freeze: Sequence[str] = ()) -> TrainingStep:
    """Return the FLOPs of a training step: convolutions and matrix products, 2 per MAC.

    A product of two factors takes as many multiply-accumulates for the gradient of each factor as
    it took forward; also for grouped and transposed convolutions. Fused attention takes half a
    pass more, because it computes its scores again. No gradient is computed for the network's
    input, for frozen weights, nor before the first layer that is trained.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        freeze: shell patterns of layers that are not trained, as for ``analyze``.
    """
    known = gradients(network, freeze)
    steps = []
    for layer in network:
        work = layer.cost.work
        flops, fused, inner = (
            2 * work.get(term, 0) * batch for term in ("mac", "fused_mac", "inner_mac")
        )
        weighted = flops - fused - inner  # the rest is attention, which multiplies activations
        trained, wanted = layer.path in known.trained, any(known.tensors[n] for n in layer.inputs)
        inputs = weights = 0
        if layer.path in known.reached:
            inputs = (weighted + 2 * inner + 5 * fused // 2) * wanted
            weights = weighted * trained
            if trained and not wanted:  # a learnt bias of the scores needs the scores' gradient
                weights += inner // 2
        steps.append(LayerStep(layer, flops, inputs, weights))
    return TrainingStep(network, batch, tuple(steps), tuple(freeze))
