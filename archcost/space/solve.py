"""The best of many networks under conditions, what is the same network, and what lies beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archcost.budget.condition import Condition
from archcost.data import dataclass
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.record import contract_id, record
from archcost.space.grid import Columns, Dimension
from archcost.space.selection import holds
from archcost.space.sweep import Sweeper, cell, select
from archcost.table import Cell, Column, Table, Tabled

FAR = 1000
"""How many values of a knob beside the answer are looked at, each by a run."""


@dataclass(frozen=True)
class Neighbour:
    """A configuration beside the answer, which differs from it in one name.

    Attributes:
        name: the name in which it differs.
        at: its values of all names.
        figures: its figures; empty if it is not a network.
        reason: which condition it does not meet, or why it is not a network; empty if it is a
            network that meets all conditions.
    """

    name: str
    at: Mapping[str, Any]
    figures: Mapping[str, Any]
    reason: str


@dataclass(frozen=True)
class Plateau:
    """The values of a name that are the same network as the answer, side by side.

    Attributes:
        name: the name; the others are as in the answer.
        first, last: the ends, in the order in which the name goes through its values.
        count: how many values they are.
    """

    name: str
    first: Any
    last: Any
    count: int

    def __str__(self) -> str:
        """Return it in words."""
        return (
            f"{self.name} from {self.first} to {self.last}: {self.count:,} values are this network"
        )


@dataclass(frozen=True, repr=False)
class Solution(Tabled):
    """The configuration that is best under the conditions.

    Attributes:
        network: the network of the answer.
        at: the values of the names.
        figures: its figures.
        ties: how many configurations are as good, with the answer, which is the first of them.
        plateaus: the values that are the same network, of each name that has several.
        neighbours: the next configurations that are other networks, or none.
        notes: how many configurations there were.
    """

    network: Network
    at: Mapping[str, Any]
    figures: Mapping[str, Any]
    ties: int
    plateaus: Sequence[Plateau]
    neighbours: Sequence[Neighbour]
    notes: Sequence[str]

    def table(self) -> Table:
        """Return a row for each neighbour, and one for the answer."""
        names = {**self.at, **self.figures}
        heads = (Column("what", "what", essential=True),
                 *(Column(name, name, not isinstance(value, (str, bool, list)), essential=True)
                   for name, value in names.items()),
                 Column("reason", "why not"))  # fmt: skip
        rows: list[tuple[Cell, ...]] = [("answer", *map(cell, names.values()), "")]
        for each in self.neighbours:
            own = {**each.at, **each.figures}
            rows.append(
                (f"next {each.name}", *(cell(own.get(name)) for name in names), each.reason)
            )
        notes = (*map(str, self.plateaus), *self.notes)
        return Table(heads, tuple(rows), self.network.name, notes=notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost solve``."""
        return {
            "schema": contract_id("solve"),
            "model": self.network.name,
            **record(self, "at", "figures", "ties", "plateaus", "neighbours"),
        }


def solve(sweeper: Sweeper, blocks: Iterable[Columns]) -> Solution:
    """Return the best configuration in the order of a sweep, whose blocks are gone through here.

    Raises:
        ArchcostError: none meets the conditions; the text says how near the nearest comes.
    """
    best, ties = select(blocks, sweeper.orders, pareto=True, top=None)
    if not ties:
        nearest = sweeper.tally.nearest
        near = ", ".join(
            f"the nearest to {each.text} has {nearest[each.text]:,}"
            for each in sweeper.where
            if each.text in nearest and _is_unmet(each, nearest[each.text])
        )
        raise ArchcostError(f"{sweeper.summary()[0]}" + f"; {near}" * bool(near))
    row = {name: own[:1].tolist()[0] for name, own in best.items()}
    at = {name: row[name] for name in sweeper.space.dimensions}
    beside = _Beside(sweeper, at)
    plateaus, neighbours = list[Plateau](), list[Neighbour]()
    for name, dimension in sweeper.space.dimensions.items():
        if dimension.ends is None:
            continue
        (low, below), (high, above) = (beside.walk(name, dimension, step) for step in (-1, 1))
        neighbours += below + above
        if low + high:
            place = dimension.place(at[name])
            first, last = (_plain(dimension.at(end)) for end in (place - low, place + high))
            plateaus.append(Plateau(name, first, last, low + high + 1))
    notes = [f"{ties:,} configurations are as good; this is the first"] if ties > 1 else []
    figures = {name: row[name] for name in sweeper.shown if name not in at}
    return Solution(
        beside.network, at, figures, ties, plateaus, neighbours, [*notes, *sweeper.summary()]
    )


class _Beside:
    """Looks at the configurations beside an answer."""

    def __init__(self, sweeper: Sweeper, at: Mapping[str, Any]) -> None:
        self.sweeper, self.at = sweeper, at
        self.network = sweeper.varied.load(at)

    def walk(self, name: str, dimension: Dimension, step: int) -> tuple[int, list[Neighbour]]:
        """Go through the values of a name away from the answer, to the next other network.

        Returns how many values are the same network, and the neighbours: the first that is not a
        network, if there is one, and the first that is another.
        """
        same, found, place = 0, list[Neighbour](), dimension.place(self.at[name])
        for _ in range(FAR):
            place += step
            if not 0 <= place < len(dimension):
                break
            at = {**self.at, name: _plain(dimension.at(place))}
            try:
                network = self.sweeper.varied.load(at)
                other = (network.layers, network.inputs) != (
                    self.network.layers,
                    self.network.inputs,
                )
                figures = self.sweeper.figures_at(at) if other else {}
            except ArchcostError as error:
                if not found:
                    found.append(Neighbour(name, at, {}, str(error).split("\n")[0]))
                continue
            if other:
                found.append(Neighbour(name, at, figures, self._unmet({**at, **figures})))
                break
            same += not found
        return same, found

    def _unmet(self, values: Mapping[str, Any]) -> str:
        """Return the conditions that a network does not meet."""
        unmet = [
            each.text for each in self.sweeper.where if _is_unmet(each, values[each.metric.name])
        ]
        return " and ".join(unmet) and f"not {' and not '.join(unmet)}"


def _is_unmet(condition: Condition, value: Any) -> bool:
    import numpy as np

    return not holds(condition, np.array([value]))[0]


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
