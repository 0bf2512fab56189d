"""What a training step computes: which tensors need a gradient, and the FLOPs that they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from archcost.analysis.report import select_layers
from archcost.network import NETWORK_INPUT, Layer, Network


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


@dataclass(frozen=True)
class TrainingStep:
    """The FLOPs of a forward and a backward pass, layer by layer; made by :func:`training_step`."""

    network: Network
    batch: int
    layers: tuple[LayerStep, ...]

    @cached_property
    def forward(self) -> int:
        """FLOPs of the forward pass."""
        return sum(step.forward for step in self.layers)

    @cached_property
    def backward(self) -> int:
        """FLOPs of the backward pass."""
        return sum(step.backward for step in self.layers)


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
    return TrainingStep(network, batch, tuple(steps))
