"""What a convention is: weights over facts of layers, or kinds of op whose outputs count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property

from archcost.conventions.facts import find_fact, subjects
from archcost.data import dataclass
from archcost.network import Layer, Network, maker
from archcost.ops.base import BYTES
from archcost.registry import Registry
from archcost.shape import numel

MAC, FLOP = "MAC", "FLOP"

Weights = Mapping[str, int]
"""What a unit of a term counts, by term (see :mod:`archcost.conventions.facts`)."""


def each(ops: str, fact: str, weight: int = 1) -> dict[str, int]:
    """Return the weights of one fact of several ops, named in one text."""
    return {f"{op}.{fact}": weight for op in ops.split()}


@dataclass(frozen=True)
class Convention:
    """A way to count operations.

    Attributes:
        name: how the command line calls it.
        title: what it counts, in a line.
        weights: integer weight per term; other facts count 0.
        unit: ``"MAC"`` if a multiply-accumulate counts 1, ``"FLOP"`` if it counts 2.
        tool_version: the version of the tool, empty for a definition.
        source: where the rules stand.
        note: limits, and whether the weights were compared with a run of the tool.
        dates: when the tool counted so, of an earlier version.
        hooks: the part of the weights that comes from hooks of modules, which do not see what a
            network calls as a function.
        single: whether the tool adds layers up in single precision, so that a total is rounded.
        last_run: whether a module that runs several times counts its last run only.
        once: the terms that count once for a batch, as sums of parameters do.
        traced: whether it counts a trace of PyTorch's JIT, which leaves out what no output needs.
        layouts: whether what it counts depends on how tensors lie in memory, and on gradients.
    """

    name: str
    title: str
    weights: Weights
    unit: str
    tool_version: str = ""
    source: str = ""
    note: str = ""
    dates: str = ""
    hooks: Weights = field(default_factory=dict)
    single: bool = False
    once: frozenset[str] = frozenset()
    last_run: bool = False
    traced: bool = False
    layouts: bool = False

    @cached_property
    def _by_subject(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for term in self.weights:
            found.setdefault(term.rpartition(".")[0], []).append(term)
        return found

    def parts(self, layer: Layer) -> dict[str, int]:
        """Return how much a layer does of each term that counts, for one sample."""
        known = self._by_subject
        about = subjects(layer) if any(known) else ("",)
        terms = [term for subject in about for term in known.get(subject, ())]
        return {term: find_fact(term)(layer) * layer.rows for term in terms}

    def weights_of(self, layer: Layer) -> Weights:
        """Return what the terms weigh at a layer: less, where no hook of the tool finds it."""
        if not (self.hooks and unhooked(layer)):
            return self.weights
        return {term: weight - self.hooks.get(term, 0) for term, weight in self.weights.items()}

    def count(self, layer: Layer, batch: int = 1) -> int:
        """Return what a layer counts for a batch."""
        weights, total = self.weights_of(layer), 0
        for term, amount in self.parts(layer).items():
            total = total + weights[term] * amount * (1 if term in self.once else batch)
        return total


CONVENTIONS = Registry[Convention]("convention")
"""Every counting convention by its name."""


def register(module: str, *conventions: Convention) -> None:
    """Take the conventions that a module defines."""
    for each in conventions:
        CONVENTIONS.register(each.name, each, module)


@dataclass(frozen=True)
class Activations:
    """Which outputs count as activations, in elements.

    Attributes:
        name: how the command line calls it.
        title: what it counts, in a line.
        kinds: the kinds of op (``Op.kind``) whose output counts.
        inside: the kinds of op of which the outputs of matrix products inside count.
        counts_input: whether the network's input counts too.
        source: where the rule stands.
        unfused: whether the products count that a fused function hides.
        traced: whether it counts a trace of PyTorch's JIT, which leaves out what no output needs.
    """

    name: str
    title: str
    kinds: frozenset[str]
    inside: frozenset[str]
    counts_input: bool
    source: str = ""
    unfused: bool = False
    traced: bool = False

    def count(self, layer: Layer) -> int:
        """Return the elements of a layer that count, for one sample."""
        cost, kind = layer.cost, layer.op.kind
        own = cost.outputs if kind in self.kinds else ()
        inner = cost.products + cost.fused if self.unfused else cost.products
        made = [(layer.made_rows, own), (layer.rows, inner if kind in self.inside else ())]
        return sum([numel(n if rows == 1 else (rows, *n)) for rows, own in made for n in own])


def unhooked(layer: Layer) -> bool:
    """Return whether no hook of a class of ``torch.nn`` finds a layer.

    It is called as a function, or a parametrization has made its class another one.
    """
    return layer.function or getattr(layer.op, "parametrization", None) is not None


def counted_layers(network: Network, rule: Convention | Activations) -> list[Layer]:
    """Return the layers that a convention looks at: all, or those that an output depends on.

    If several layers run one module, some tools count only the last. Where layouts count, layers
    that PyTorch runs by several operations for it say so.
    """
    layers = _traced(network) if rule.traced else [*network]
    if (
        isinstance(rule, Convention)
        and rule.layouts
        and (apart := _apart(network) | _unfused(network))
    ):
        layers = [replace(layer, apart=True) if layer.path in apart else layer for layer in layers]
    if isinstance(rule, Convention) and rule.last_run:
        return [*{layer.module: layer for layer in layers}.values()]
    return layers


KEPT = ("lstm_cell", "gru_cell")
"""Cells that a trace keeps though no output depends on them: their gates lie in a list."""


def _traced(network: Network) -> list[Layer]:
    """Return the layers on whose numbers an output depends: the rest leaves a trace."""
    needed, found = {*map(maker, network.outputs)}, []
    for layer in reversed(network.layers):
        if layer.path in needed or layer.op.name in KEPT:
            found.append(layer)
            read = (n for i, n in enumerate(layer.inputs) if i not in layer.op.only_shape)
            needed.update(map(maker, read))
    return found[::-1]


def uncounted(network: Network, rule: Convention | Activations) -> frozenset[str]:
    """Return the paths of the layers that a convention does not look at."""
    layers = counted_layers(network, rule)
    if len(layers) == len(network):
        return frozenset()
    return frozenset(layer.path for layer in network) - {layer.path for layer in layers}


def _unfused(network: Network) -> set[str]:
    """Return the attention whose mask needs a gradient: a CPU takes its products one by one."""
    learning: set[str] = set()
    found = set()
    for layer in network:
        masked = layer.op.name == "attention" and len(layer.inputs) in (2, 4)
        if masked and layer.inputs[-1] in learning:
            found.add(layer.path)
        learns = layer.params or not learning.isdisjoint(layer.inputs)
        if learns and layer.op.makes not in BYTES:
            learning.update(layer.outputs)
    return found


def _apart(network: Network) -> set[str]:
    """Return the linear layers on rows that do not lie one after the other, for one sample."""
    linear = [each for each in network if each.op.name == "linear" and len(each.shapes[0]) > 1]
    if not linear:
        return set()
    from archcost.readings.storages import Storages  # few conventions ask
    from archcost.setting import Setting

    run = Storages(Setting(device="cpu"), training=False, exact=False)
    run.forward(network)
    return {each.path for each in linear if not run.places[each.inputs[0]].layout.is_contiguous}
