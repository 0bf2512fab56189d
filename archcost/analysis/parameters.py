"""What others count as the parameters of a network: with statistics, with biases, without a head.

Keras's "total params" are the trained parameters and the moving mean and variance of each batch
normalisation; PyTorch calls these buffers, and counts batches besides. Keras's own models differ
in more: its ResNets have biases in their convolutions, its Inceptions have normalisations without a
scale, its EfficientNets normalise their input by weights that they keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from archcost.data import dataclass
from archcost.network import Layer, Network
from archcost.ops.base import COMPLEX, element_bytes
from archcost.shape import numel

KERAS = "keras"
"""The way to count parameters that adds the moving statistics."""

_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """A number of parameters, the ways of counting that give it, and what it assumes in words."""

    value: int
    ways: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def count_params(network: Network) -> int:
    """Return the number of trainable parameters."""
    return sum(map(numel, network.params.values()))


def complex_params(network: Network) -> set[str]:
    """Return the full names of the parameters that hold complex numbers."""
    return {layer.full_name(name) for layer in network for name in layer.op.complex_params}


def complex_elements(layer: Layer) -> int:
    """Return how many of a layer's own parameters are complex numbers."""
    names = layer.op.complex_params
    return sum(numel(shape) for name, shape in layer.params.items() if name in names)


def param_bytes(network: Network, floats: int) -> dict[str, int]:
    """Return the bytes of every parameter by its full name; ``floats`` is the bytes of a float."""
    pairs, width = complex_params(network), element_bytes(COMPLEX, floats)
    return {
        name: numel(shape) * (width if name in pairs else floats)
        for name, shape in network.params.items()
    }


def count_statistics(network: Network) -> int:
    """Return the elements of the moving means and variances of batch normalisations."""
    return sum(
        numel(layer.buffers[name])
        for layer in network
        for name in _STATISTICS
        if name in layer.buffers
    )


def parameter_counts(network: Network) -> Iterator[ParameterCount]:
    """Yield what is called the parameters of a network: its own, Keras's, with and without head."""
    params, statistics = count_params(network), count_statistics(network)
    head = sum(map(_params, _head(network)))
    ends = [{}, {"without the classifier": -head}] if head else [{}]
    for end in ends:
        yield ParameterCount(params + sum(end.values()), (), tuple(end))
    if not statistics:
        return
    for parts in product(*_keras_differences(network), ends):
        changes = {words: amount for part in parts for words, amount in part.items()}
        value = params + statistics + sum(changes.values())
        yield ParameterCount(value, (KERAS,), tuple(changes))


def _keras_differences(network: Network) -> list[list[dict[str, int]]]:
    """Return, for each habit of Keras's models, the ways in which it may hold, with its amount."""
    bare = [one for one in network if one.op.kind == "conv" and _has_no_bias(one) and one.params]
    normalised = {
        path for layer in network if "running_mean" in layer.cost.buffers for path in layer.inputs
    }
    open_ends = [layer for layer in bare if layer.path not in normalised]
    scales = sum(
        numel(layer.params["weight"])
        for layer in network
        if "running_mean" in layer.buffers and "weight" in layer.params
    )
    ways = (
        {
            "biases in all convolutions": sum(map(_channels, bare)),
            "biases in convolutions before no normalisation": sum(map(_channels, open_ends)),
        },
        {"normalisations without scale": -scales},
        {"an input normalisation that is kept": 2 * network.input[0] + 1},
    )
    return [[{}, *({words: n} for words, n in way.items() if n)] for way in ways]


def _head(network: Network) -> list[Layer]:
    """Return the linear layers behind the last convolution; none where all layers are linear."""
    head: list[Layer] = []
    for layer in network:
        if layer.op.kind == "conv":
            head = []
        elif layer.op.kind == "linear":
            head.append(layer)
    return head if any(layer.op.kind == "conv" for layer in network) else []


def _params(layer: Layer) -> int:
    return sum(map(numel, layer.params.values()))


def _has_no_bias(layer: Layer) -> bool:
    return "weight" in layer.cost.params and "bias" not in layer.cost.params


def _channels(layer: Layer) -> int:
    return layer.cost.output[0]
