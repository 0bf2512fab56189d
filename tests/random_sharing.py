"""Random networks that share: layers of a random spec run again, on further inputs, weights tied.

What no spec can say is built from what one says: :func:`entangled` adds the layers of a network
anew, some of them twice.
"""

from __future__ import annotations

import random

from archcost.builder import Builder
from archcost.network import Layer, Network, Value
from archcost.ops import make
from archcost.ops.reshape import Chunk

TWIN = "twin"


def entangled(rng: random.Random, network: Network) -> Network:
    """Return a network of a network's layers that shares modules, parameters, inputs and outputs."""
    writer = _Writer(rng, network)
    first = writer.run("")
    ends = [first[network.outputs[0]]]
    if rng.random() < 0.6:
        second = writer.run(TWIN)
        ends.append(second[network.outputs[0]])
    if len(ends) > 1 and rng.random() < 0.5:
        rng.shuffle(ends)
        ends = [writer.builder.add(make(rng.choice(("add", "concat"))), *ends, name="both")]
    made = [layer.path for layer in writer.builder.layers]
    ends += [rng.choice(made)] if rng.random() < 0.4 else []  # type: ignore[list-item]
    return writer.builder.network("entangled", *dict.fromkeys(ends))


class _Writer:
    def __init__(self, rng: random.Random, network: Network) -> None:
        self.rng, self.network, self.builder = rng, network, Builder()
        self.params: dict[tuple[int, ...], list[str]] = {}

    def run(self, group: str) -> dict[str, Value]:
        """Add all layers; in a group of their own they run the modules of the first time."""
        builder, [given] = self.builder, self.network.inputs
        values = {given.name: builder.input(given.shape, f"{group}_input" if group else "input")}
        for layer in self.network:
            path = f"{group}.{layer.path}" if group else layer.path
            inputs = [values[name] for name in layer.inputs]
            shared = layer.path if group else self.ties(layer)
            made = self.add(layer, inputs, path, shared)
            if not group:
                for name, shape in builder.layers[-1].params.items():
                    self.params.setdefault(shape, []).append(f"{path}.{name}")
            values[layer.path] = self.extended(layer, made, path)
        return values

    def add(
        self, layer: Layer, inputs: list[Value], path: str, shared: str | dict[str, str] | None
    ) -> Value:
        """Add a layer; of a piece the layer that gives all of them."""
        op = layer.op
        if isinstance(op, Chunk):
            all_pieces = make("split", op.chunks, dim=op.dim)
            return self.builder.add_all(all_pieces, *inputs, name=path, params=shared)[op.index]
        return self.builder.add(op, *inputs, name=path, params=shared)

    def ties(self, layer: Layer) -> dict[str, str] | None:
        """Return parameters of layers before for some of a layer's."""
        found = {
            name: self.rng.choice(self.params[shape])
            for name, shape in layer.cost.params.items()
            if shape in self.params and self.rng.random() < 0.5
        }
        return found or None

    def extended(self, layer: Layer, made: Value, path: str) -> Value:
        """Return a layer's output, the output of running it again, or of adding an input to it."""
        builder, chance = self.builder, self.rng.random()
        single = layer.op.inputs == ("x",) and len(made.shape) == len(layer.shapes[0])
        if chance < 0.15 and single and layer.cost.output == layer.shapes[0]:
            return builder.add(layer.op, made, name=f"{path}_again", params=path)
        if chance > 0.95:
            name = f"more{len(builder.inputs)}"
            return builder.add(
                make("add"), made, builder.input(made.shape, name), name=f"{path}_more"
            )
        return made
