"""Why counters disagree on a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from archcost.analysis.written import Written, written
from archcost.conventions import (
    CONVENTIONS,
    Activations,
    Convention,
    amount,
    counted_layers,
    find_convention,
    unhooked,
)
from archcost.network import Network
from archcost.shape import numel
from archcost.table import Column, Table, Tabled


def count_operations(network: Network, convention: Convention) -> int:
    """Return the operations of a network as a convention counts them, for one sample."""
    return sum(convention.count(layer) for layer in counted_layers(network, convention))


def count_activations(network: Network, activations: Activations) -> int:
    """Return the elements of the outputs that count as activations, for one sample."""
    layers = counted_layers(network, activations)
    outputs = map(activations.count, layers)
    inputs = sum(numel(value.shape) for value in network.inputs)
    return sum(outputs, inputs if activations.counts_input else 0)


@dataclass(frozen=True, slots=True)
class Contribution:
    """One term of a difference: ``count`` units of work in ``layers`` layers, ``weight`` each."""

    term: str
    count: int
    weight: int
    layers: int

    @property
    def amount(self) -> int:
        """What the term adds to the difference; negative where it takes away."""
        return self.weight * self.count

    def __str__(self) -> str:
        """Return ``+ 2·11,113,984 batchnorm``."""
        factor = f"{abs(self.weight)}·" if abs(self.weight) != 1 else ""
        return f"{'+' if self.weight > 0 else '−'} {factor}{self.count:,} {self.term}"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A convention's total, and what makes its difference from the base.

    The amounts of ``contributions`` add up to ``difference``; the largest comes first.
    """

    convention: Convention
    total: int
    difference: int
    contributions: tuple[Contribution, ...]


OWN = "of archcost's own module, in which every layer is a module: `archcost export`"
ITSELF = "of the module itself, as its code calls PyTorch"
COLUMNS = (
    Column("convention", "tool or convention", essential=True), Column("version", "version"),
    Column("unit", "unit"), Column("total", "count", True, essential=True),
    Column("difference", "minus the base", True, essential=True),
    Column("made_of", "made of", essential=True),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Reconciliation(Tabled):
    """The totals of a network for one sample under several conventions."""

    network: Network
    base: Convention
    base_total: int
    rows: tuple[Reconciled, ...]

    def table(self) -> Table:
        """Return one row per convention: its count and the terms of its difference."""
        columns = tuple(
            replace(column, heading=f"minus {self.base.name}")
            if column.key == "difference"
            else column
            for column in COLUMNS
        )
        rows = tuple(
            (
                row.convention.name,
                row.convention.tool_version,
                row.convention.unit,
                row.total,
                row.difference,
                " ".join(map(str, row.contributions)),
            )
            for row in self.rows
        )
        title = f"{self.network.name} at {self.network.input_text}, one sample"
        whose = ITSELF if self.network.module else OWN
        return Table(columns, rows, title, notes=(whose, *filter(None, self._notes())))

    @cached_property
    def elsewhere(self) -> list[Written]:
        """What some tools print of other collections' modules of the network."""
        return written(self.network)

    def _notes(self) -> Iterator[str]:
        shown = [row.convention.name for row in self.rows]
        return (module.note(shown) for module in self.elsewhere)

    def to_dict(self) -> dict[str, Any]:
        """Return all totals and terms; integers stay integers."""
        return {
            "model": self.network.name,
            **self.network.input_record,
            "base": {"convention": self.base.name, "total": self.base_total},
            "conventions": [
                {
                    "convention": row.convention.name,
                    "version": row.convention.tool_version,
                    "unit": row.convention.unit,
                    "total": row.total,
                    "difference": row.difference,
                    "terms": [
                        {"term": part.term, "count": part.count, "weight": part.weight,
                         "layers": part.layers}
                        for part in row.contributions
                    ],
                }
                for row in self.rows
            ],
            "elsewhere": [
                {
                    "collection": module.collection,
                    "name": module.name or None,
                    "totals": dict(module.totals),
                    "reasons": {name: list(why) for name, why in module.reasons.items()},
                    "unknown": module.unknown or None,
                }
                for module in self.elsewhere
            ],
        }  # fmt: skip


def reconcile(
    network: Network, conventions: Sequence[str] = (), *, base: str = "macs"
) -> Reconciliation:
    """Return each convention's total and the terms that make it differ from the base.

    Args:
        network: from :func:`archcost.load`.
        conventions: names of counting conventions; all of them if none is given.
        base: the convention from which differences are taken.

    Raises:
        LookupFailed: an unknown convention, with the nearest name.
    """
    start = find_convention(base)
    base_total = count_operations(network, start)
    rows = []
    for name in conventions or CONVENTIONS:
        convention = find_convention(name)
        parts = [*_contributions(network, convention, start)]
        parts.sort(key=lambda part: -abs(part.amount))
        total = count_operations(network, convention)
        rows.append(Reconciled(convention, total, total - base_total, tuple(parts)))
    return Reconciliation(network, start, base_total, tuple(rows))


def _contributions(network: Network, one: Convention, base: Convention) -> Iterator[Contribution]:
    """Yield what makes two totals differ; layers that only one of them counts stand apart."""
    counted = [counted_layers(network, rule) for rule in (one, base)]
    seen = [{layer.path for layer in layers} for layers in counted]
    told = {layer.path: layer for layers in counted for layer in layers if layer.apart}
    both, either = seen[0] & seen[1], seen[0] ^ seen[1]
    hidden = {x.path for x in network if unhooked(x) and (one.hooks or base.hooks)}
    for suffix, paths, seeing in (
        ("", both - hidden, [rule.weights for rule in (one, base)]),
        (
            " that no hook finds", both & hidden,
            [_differences(rule.weights, rule.hooks) for rule in (one, base)],
        ),
        (
            " that nothing reads", either,
            [{} if rule.traced else rule.weights for rule in (one, base)],
        ),
    ):  # fmt: skip
        layers = [told.get(layer.path, layer) for layer in network if layer.path in paths]
        for term, weight in _differences(*seeing).items():
            counts = [n for layer in layers if (n := amount(layer, term))]
            if counts:
                yield Contribution(f"{term}{suffix}", sum(counts), weight, len(counts))


def _differences(weights: Mapping[str, int], base: Mapping[str, int]) -> dict[str, int]:
    terms = [*weights, *(term for term in base if term not in weights)]
    differences = {term: weights.get(term, 0) - base.get(term, 0) for term in terms}
    return {term: weight for term, weight in differences.items() if weight}
