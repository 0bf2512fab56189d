"""What a training step computes: which tensors need a gradient, and the FLOPs that they take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from archcost.analysis.recomputed import recomputed_macs
from archcost.analysis.report import GROUP, analyze, without_groups
from archcost.errors import LookupFailed
from archcost.network import Layer, Network, frozen_params, maker, prefixes
from archcost.ops.base import BYTES
from archcost.record import contract_id
from archcost.setting import Setting
from archcost.shape import show
from archcost.table import Cell, Column, Table


@dataclass(frozen=True)
class Gradients:
    """Which tensors take part in the backward pass.

    Attributes:
        trained: paths of the layers with parameters that are not frozen.
        learns: full names of the parameters that are not frozen.
        tensors: by the name of each tensor, whether it needs a gradient.
        reached: paths of the layers on which an output depends; backward passes no others.
    """

    trained: frozenset[str]
    learns: frozenset[str]
    tensors: Mapping[str, bool]
    reached: frozenset[str]


def learning(network: Network, freeze: Sequence[str] = ()) -> frozenset[str]:
    """Return the full names of the parameters that are trained if the named layers are not.

    Raises:
        LookupFailed: a pattern matches no layer.
    """
    return frozenset(network.params) - frozen_params(network, freeze)


def gradients(network: Network, freeze: Sequence[str] = ()) -> Gradients:
    """Return what needs a gradient if the input does not and the named layers are not trained.

    Raises:
        LookupFailed: a pattern matches no layer.
    """
    learns = learning(network, freeze)
    trained = {
        layer.path for layer in network
        if is_recorded(layer) and not learns.isdisjoint(layer.param_names)
    }  # fmt: skip
    tensors = {value.name: False for value in network.inputs}
    for layer in network:
        needed = layer.path in trained or any(map(tensors.__getitem__, flows_to(layer)))
        needed = needed and is_recorded(layer)
        for name in layer.outputs:
            tensors[name] = needed
    return Gradients(frozenset(trained), learns, tensors, reached_from(network, network.outputs))


def reached_from(network: Network, outputs: Sequence[str]) -> frozenset[str]:
    """Return the paths of the layers, and inputs, to which gradients of some outputs come."""
    reached = set(map(maker, outputs))
    for layer in reversed(network.layers):
        if not is_recorded(layer):
            reached.discard(layer.path)
        elif layer.path in reached:
            reached.update(map(maker, flows_to(layer)))
    return frozenset(reached)


def is_recorded(layer: Layer) -> bool:
    """Whether autograd records a layer: not what makes whole numbers or masks."""
    return layer.op.recorded and layer.op.makes not in BYTES


def flows_to(layer: Layer) -> Sequence[str]:
    """Return the inputs of a layer to which a gradient may flow."""
    if not layer.op.no_gradient:
        return layer.inputs
    return [name for i, name in enumerate(layer.inputs) if i not in layer.op.no_gradient]


@dataclass(frozen=True, slots=True)
class LayerStep:
    """One layer's FLOPs in a training step, two per multiply-accumulate, for the whole batch.

    ``recomputed`` are those of the forward pass that backward computes again.
    """

    layer: Layer
    forward: int
    input_gradient: int
    weight_gradient: int
    recomputed: int = 0

    @property
    def backward(self) -> int:
        """FLOPs of the backward pass: both gradients, and what it computes again."""
        return self.recomputed + self.input_gradient + self.weight_gradient


COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("name", "layer", essential=True),
        GROUP,
        Column("op", "op", minor=True),
        Column("settings", "settings", minor=True),
        Column("output", "output"),
        Column("forward_macs", "forward MACs", True),
        Column("backward_macs", "backward MACs", True),
        Column("step_macs", "step MACs", True),
        Column("forward", "forward FLOPs", True, essential=True),
        Column("recomputed", "computed again", True),
        Column("input_gradient", "input gradient", True),
        Column("weight_gradient", "weight gradient", True),
        Column("backward", "backward FLOPs", True, essential=True),
        Column("step", "step FLOPs", True, essential=True),
    )
}
"""The columns of the table of a training step, by key."""

USUAL = (
    "name", "op", "output", "forward_macs", "forward", "recomputed", "input_gradient",
    "weight_gradient", "backward", "step",
)  # fmt: skip


@dataclass(frozen=True)
class TrainingStep:
    """The FLOPs of a forward and a backward pass, layer by layer; made by :func:`training_step`."""

    network: Network
    batch: int
    layers: tuple[LayerStep, ...]
    freeze: tuple[str, ...] = ()
    checkpoint: tuple[str, ...] = ()

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
        again = any(step.recomputed for step in self.layers)
        keys = tuple(columns or [key for key in USUAL if again or key != "recomputed"])
        for key in keys:
            if key not in COLUMNS:
                raise LookupFailed("column", key, COLUMNS)
        inside: dict[str, list[LayerStep]] = {}
        for step in self.layers:
            for name in (*prefixes(step.layer.path), step.layer.path):
                inside.setdefault(name, []).append(step)
        rows = []
        entries = [*analyze(self.network, Setting(self.batch)).entries(depth)]
        for entry in entries:
            layer = entry.layer
            words: dict[str, Cell] = {
                "name": entry.path,
                "group": entry.path.rpartition(".")[0],
                "op": layer.op.name if layer else "",
                "settings": layer.settings if layer else "",
                "output": show(entry.output),
            }
            rows.append(_cells(keys, words, inside[entry.path]))
        total: dict[str, Cell] = {"name": "total", "output": show(self.network.output)}
        frozen = f"; not trained: {', '.join(self.freeze)}" if self.freeze else ""
        frozen += f"; computed again: {', '.join(self.checkpoint)}" if self.checkpoint else ""
        table = Table(
            tuple(COLUMNS[key] for key in keys),
            tuple(rows),
            title=f"{self.network.name}: a training step",
            footer=(_cells(keys, total, self.layers),),
            notes=(
                f"input {self.network.input_text}, batch {self.batch}{frozen}",
                "convolutions and matrix products, 2 FLOPs per MAC; no gradient of the network's "
                "input",
            ),
        )
        return replace(table, data=without_groups(table, entries, named=not columns))

    def to_dict(self) -> dict[str, Any]:
        """Return all figures; integers stay integers."""
        return {
            "schema": contract_id("training"),
            "model": self.network.name,
            **self.network.input_record,
            "batch": self.batch,
            "freeze": list(self.freeze),
            "checkpoint": list(self.checkpoint),
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
    again = sum(step.recomputed for step in steps)
    backward = again + inputs + weights
    return {
        "forward_macs": forward // 2,
        "backward_macs": backward // 2,
        "step_macs": (forward + backward) // 2,
        "forward": forward,
        "recomputed": again,
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


def training_step(
    network: Network, batch: int = 1, freeze: Sequence[str] = (), checkpoint: Sequence[str] = ()
) -> TrainingStep:
    """Return the FLOPs of a training step: convolutions and matrix products, 2 per MAC.

    A product of two factors takes as many multiply-accumulates for the gradient of each factor as
    it took forward; also for grouped and transposed convolutions. Fused attention takes half a pass
    more, because it computes its scores again. A recurrent layer passes gradients from step to
    step, except to the first step, whose states are zeros. No gradient is computed for the
    network's input, for frozen weights, nor before the first layer that is trained. What runs under
    ``torch.utils.checkpoint`` is computed again in backward.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        freeze: shell patterns of layers that are not trained, as for ``analyze``.
        checkpoint: shell patterns of groups that backward computes again.
    """
    network = network.in_training
    known = gradients(network, freeze)
    setting = Setting(batch, device="cpu", freeze=tuple(freeze), checkpoint=tuple(checkpoint))
    again = recomputed_macs(network, setting, known.learns)
    steps = []
    for layer in network:
        op, shapes, samples = layer.op, layer.shapes, layer.op.samples(batch) * layer.rows
        trained = layer.path in known.trained
        if weight := layer.cost.weight_name:
            trained = layer.full_name(weight) in known.learns
        inputs = weights = 0
        if layer.path in known.reached:
            flows = enumerate(layer.inputs)
            needs = [known.tensors[name] and i not in op.no_gradient for i, name in flows]
            inputs, weights = op.backward_macs(needs, trained, *shapes)
        flops = [2 * macs * samples for macs in (layer.cost.macs, inputs, weights)]
        flops.append(2 * again.get(layer.path, 0))
        steps.append(LayerStep(layer, *flops))
    return TrainingStep(network, batch, tuple(steps), tuple(freeze), tuple(checkpoint))
