"""Single faults planted in the flow of data: what a layer reads, and how often it runs."""

from __future__ import annotations

import random
from typing import Any

from planted_faults import cpu, pick, planter, put, rewire

from archcost.network import Layer, Network
from archcost.readings.ledger import INPUTS
from archcost.readings.storages import Storages

PASSES_ON = ("identity", "dropout", "stochastic_depth")
"""Ops that may hand on the very tensor that they take."""


def does_something(layer: Layer) -> bool:
    """Whether the layer's output differs from its first input, whatever that is."""
    x = layer.shapes[0]
    if layer.cost.output != x:
        return True
    one_value = layer.op.kind in ("pool", "adaptive_pool") and set(x[1:]) <= {1}
    return not (hands_on(layer) or one_value)


def hands_on(layer: Layer) -> bool:
    """Whether the output may be the very tensor that went in."""
    run = Storages(cpu(), exact=False)
    run.place_params("op", layer.op, layer.cost, 4, layer.cost.params)
    inputs = [run.leaf((2, *shape), INPUTS, 4, needs=True) for shape in layer.shapes]
    made = run.run_op("op", layer.op, inputs)
    return layer.op.name in PASSES_ON or made.storage is inputs[0].storage


@planter
def nothing_in_its_place(rng: random.Random, network: Network, twin: Any) -> str | None:
    """The module does nothing: it hands on its first input."""
    import torch

    class First(torch.nn.Module):
        def forward(self, x: Any, *_: Any) -> Any:
            return x

    layer = pick(rng, network, lambda x: does_something(x) or 0 < getattr(x.op, "p", 0) < 1)
    if layer is None:
        return None
    put(twin, layer.path, First())
    return layer.path


@planter
def call_left_out(rng: random.Random, network: Network, twin: Any) -> str | None:
    """The layer does not run: those that read it read what it read."""
    layer = pick(rng, network, lambda x: len(x.inputs) == 1 and x.path not in network.outputs)
    if layer is None:
        return None
    rewire(twin, lambda _, ins: tuple(layer.inputs[0] if n == layer.path else n for n in ins))
    twin.plan = [step for step in twin.plan if step[0] != layer.path]
    return layer.path


@planter
def called_twice(rng: random.Random, network: Network, twin: Any) -> str | None:
    layer = rng.choice(network.layers)
    rewire(twin, lambda _, ins: ins)
    at = [path for path, *_ in twin.plan].index(layer.path)
    twin.plan.insert(at, twin.plan[at])
    return layer.path


@planter
def operation_between(rng: random.Random, network: Network, twin: Any) -> str | None:
    """A module of its own between a layer and all that read it."""
    import torch

    layer = pick(rng, network, lambda layer: layer.path not in network.outputs)
    if layer is None:
        return None
    extra = f"{layer.path}_extra"
    put(twin, extra, rng.choice((torch.nn.ReLU, torch.nn.Tanh, torch.nn.Identity))())
    rewire(twin, lambda _, ins: tuple(extra if name == layer.path else name for name in ins))
    at = [path for path, *_ in twin.plan].index(layer.path)
    step = twin.plan[at]._replace(path=extra, module=extra, inputs=(layer.path,), outputs=(extra,))
    twin.plan.insert(at + 1, step)
    return extra


@planter
def operation_behind(rng: random.Random, network: Network, twin: Any) -> str | None:
    """The layer's own module does one thing more."""
    import torch

    layer = pick(rng, network, lambda layer: len(layer.inputs) == 1)
    if layer is None:
        return None
    old = twin.get_submodule(layer.path)
    put(twin, layer.path, torch.nn.Sequential(old, torch.nn.Softsign()))
    return layer.path


# Merges and branches.


@planter
def wrong_merge(rng: random.Random, network: Network, twin: Any) -> str | None:
    import torch

    class Wrong(torch.nn.Module):
        def __init__(self, merge: Any) -> None:
            super().__init__()
            self.merge = merge

        def forward(self, *tensors: Any) -> Any:
            return self.merge(*tensors)

    wrong = {
        "add": (lambda x, y, *_: x * y, lambda x, *_: x, lambda *t: torch.cat(t, 1)),
        "concat": (lambda *t: torch.cat(t[::-1], 1), lambda *t: torch.cat(t, 2), lambda x, *_: x),
        "multiply": (lambda x, y: x + y, lambda x, y: x),
    }
    layer = pick(rng, network, lambda layer: layer.op.name in wrong)
    if layer is None:
        return None
    put(twin, layer.path, Wrong(rng.choice(wrong[layer.op.name])))
    return layer.path


@planter
def swapped_branches(rng: random.Random, network: Network, twin: Any) -> str | None:
    """A concatenation reads two of its branches in the other order."""
    layer = pick(rng, network, lambda x: x.op.name == "concat" and len(set(x.inputs)) > 1)
    if layer is None:
        return None
    i, j = rng.sample([layer.inputs.index(name) for name in set(layer.inputs)], 2)
    order = list(layer.inputs)
    order[i], order[j] = order[j], order[i]
    rewire(twin, lambda path, ins: tuple(order) if path == layer.path else ins)
    return layer.path


@planter
def wrong_source(rng: random.Random, network: Network, twin: Any) -> str | None:
    """A layer reads another tensor of the same shape, made earlier."""
    made = {layer.path: layer for layer in network if not hands_on(layer)}
    choices = []
    before: list[Layer] = []
    for layer in network:
        own = made.get(layer.inputs[0])
        if own is not None:
            same = [x.path for x in before if x.cost.output == own.cost.output and x is not own]
            choices += [(layer, name) for name in same[-3:]]
        if layer.path in made:
            before.append(layer)
    if not choices:
        return None
    layer, name = rng.choice(choices)
    rewire(twin, lambda path, ins: (name, *ins[1:]) if path == layer.path else ins)
    return layer.path
