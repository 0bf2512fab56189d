"""A sweep: the figures of all configurations of a network, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import Any

from archcost.budget.condition import Condition
from archcost.data import dataclass
from archcost.errors import written
from archcost.network import Network
from archcost.record import contract_id, record
from archcost.setting import Setting
from archcost.space.folded import SUMS, may_fold, run_of
from archcost.space.grid import BLOCK, BOX, Columns, Space
from archcost.space.pricing import OneByOne, Priced, Pricing, Programs, Run
from archcost.space.refusals import Refused, refuse
from archcost.space.selection import Order, figure_of, first_rows, front, holds, read_conditions
from archcost.space.varied import Varied
from archcost.table import Column, Table, Tabled
from archcost.units import number_of

USUAL = ("params", "macs", "activations")
"""The figures of a sweep unless others are asked for."""
PIECE = 256
"""Configurations of a block where each takes a run of its own."""
FEW = 64
"""Random configurations that are priced before a grid."""
MANY = 8
"""So many runs, and one for each :data:`PIECE` rows, are few."""
HELD = 2**17
"""Rows that are held before those are dropped that cannot be shown."""


@dataclass
class Tally:
    """What a sweep counts.

    Attributes:
        seen: how many configurations were priced.
        networks: how many of them are networks.
        kept: how many of these meet the conditions.
        nearest: what comes nearest to each condition, of what meets the conditions before it.
        refused: those that are not networks, by what tells the reasons apart.
    """

    seen: int = 0
    networks: int = 0
    kept: int = 0
    nearest: dict[str, Any] = field(default_factory=dict)
    refused: dict[str, Refused] = field(default_factory=dict)


class Sweeper:
    """Prices the configurations of a space, and keeps those that meet the conditions.

    Attributes:
        shown: the names of the columns that were asked for.
        names: those, and what conditions and orders need besides.
        tally: what was counted so far.
        made: makes a sweeper like this one, in another process too.
    """

    def __init__(
        self, network: Network, setting: Setting, space: Space, columns: Sequence[str] = (),
        where: Sequence[str] = (), orders: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.made = partial(Sweeper, network, setting, space, columns, where, orders)
        self.space, self.varied, self._setting = space, Varied(network), setting
        known = space.dimensions
        self.varied.check(known)
        self.where = read_conditions(where, known)
        self.orders = [Order.read(text, known) for text in orders]
        needed = [each.metric.name for each in self.where] + [each.name for each in self.orders]
        self.shown = [figure_of(name, known).name for name in columns]
        self.shown = self.shown or [*dict.fromkeys([*known, *USUAL, *needed])]
        self.names = [*dict.fromkeys([*self.shown, *known, *needed])]
        figures = [name for name in self.names if name not in known]
        self._early = [name for name in figures if name in SUMS]
        self._late = [name for name in figures if name not in SUMS]
        self._pricing, self._priced = self._priced_by(), 0
        self.tally = Tally()

    def _run(self, names: Sequence[str]) -> Run:
        return run_of(self.varied, self._setting, names)

    def _priced_by(self) -> Pricing:
        run = self._run(self._early)
        if not self.varied.is_spec:
            return OneByOne(run)
        ends = {name: own.ends for name, own in self.space.dimensions.items()}
        box = {name: both for name, both in ends.items() if both}
        return Programs(run, box, may_fold(self._setting, self._early))

    @property
    def alone(self) -> bool:
        """Whether each configuration takes a run of its own."""
        return bool(self._late) or isinstance(self._pricing, OneByOne)

    def _step(self) -> int:
        """Return how many configurations are priced at once, so that a block takes seconds."""
        many = self.runs > MANY + self._priced / PIECE
        return PIECE if self.alone else BLOCK if many else BOX

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[Columns]:
        """Yield the configurations that are kept, with their figures, a block at a time.

        Those from number ``start`` to ``stop`` are priced.
        """
        self._learn()
        for columns in self.space.blocks(start, stop):
            step = self._step()
            if rows_of(columns) <= step:
                yield self._kept(columns)
                continue
            for first in range(0, rows_of(columns), step):
                end = first + step
                yield self._kept({name: own[first:end] for name, own in columns.items()})

    def _learn(self) -> None:
        """Price a few configurations of a large grid, whose programs hold for many others.

        A grid begins where all names are at an end, and a run there holds for few.
        """
        grid = self.space.sample is None and len(self.space) > BLOCK
        if grid and not self.runs and isinstance(self._pricing, Programs):
            few = Space(self.space.dimensions, FEW)
            self._pricing.price(few.columns(0, FEW))
            self._priced += FEW

    def count(self, other: Tally) -> None:
        """Add what was counted of configurations that come later."""
        own = self.tally
        own.seen, own.networks = own.seen + other.seen, own.networks + other.networks
        own.kept += other.kept
        for each in self.where:
            if each.text in other.nearest:
                self._near(each, other.nearest[each.text])
        for kind, refused in other.refused.items():
            known = own.refused.setdefault(kind, Refused(0, refused.reason, refused.at))
            known.count += refused.count

    def _near(self, condition: Condition, *figures: Any) -> None:
        """Note what comes nearest to a condition."""
        choose = min if condition.sign in ("<", "<=") else max
        known = self.tally.nearest.get(condition.text)
        self.tally.nearest[condition.text] = choose(figures + (() if known is None else (known,)))

    def _kept(self, columns: Columns) -> Columns:
        priced = self._pricing.price(columns)
        self._priced += rows_of(columns)
        self.tally.seen += rows_of(columns)
        self.tally.networks += int(priced.networks.sum())
        self._refuse(columns, priced)
        found = chosen({**columns, **priced.filled(self._early)}, priced.networks)
        early = [each for each in self.where if each.metric.name in found]
        found = self._meeting(found, early)
        if self._late:
            own = {name: found[name] for name in columns}
            more = OneByOne(self._run(self._late)).price(own)
            self.tally.networks -= int((~more.networks).sum())
            self._refuse(own, more)
            found = chosen({**found, **more.filled(self._late)}, more.networks)
            found = self._meeting(found, [each for each in self.where if each not in early])
        self.tally.kept += rows_of(found)
        return {name: found[name] for name in self.names}

    def _meeting(self, columns: Columns, conditions: Sequence[Condition]) -> Columns:
        for condition in conditions:
            own = columns[condition.metric.name]
            if len(own) and condition.sign != "==":
                self._near(condition, own.min(), own.max())
            columns = chosen(columns, holds(condition, own))
        return columns

    def _refuse(self, columns: Columns, priced: Priced) -> None:
        """Count the rows that are not networks, or that have a figure that is not known."""
        refuse(self.tally.refused, self.varied, columns, priced)

    @property
    def runs(self) -> int:
        """How many runs there were, apart from those of figures that are not sums."""
        return self._pricing.runs

    def figures_at(self, at: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return all figures of one configuration, from a run of its own."""
        return self._run([*self._early, *self._late])(at)

    def summary(self) -> list[str]:
        """Return in words how many configurations there were, and why some are not networks."""
        own = self.tally
        text = f"{number_of(own.seen, 'configuration')}: {number_of(own.networks, 'network')}"
        text += f", {own.seen - own.networks:,} refused" if own.seen > own.networks else ""
        if self.where:
            conditions = " and ".join(each.text for each in self.where)
            text += f"; {own.kept:,} with {conditions}"
        return [text, *map(str, own.refused.values())]


def rows_of(columns: Columns) -> int:
    """Return how many rows columns have."""
    return len(next(iter(columns.values())))


def chosen(columns: Columns, rows: Any) -> Columns:
    """Return some rows: those of an array of numbers, or where an array is true."""
    if rows.dtype == bool and rows.all():
        return columns
    return {name: own[rows] for name, own in columns.items()}


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the rows of several blocks one after the other."""
    import numpy as np

    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def select(
    blocks: Iterable[Columns], orders: Sequence[Order], *, pareto: bool, top: int | None
) -> tuple[Columns, int]:
    """Return the rows that are shown of blocks, and how many are on the front.

    Shown are the first in the order: of the front of all orders, or of all rows. Only the rows that
    may be among them are held.
    """
    held, waiting, kept = list[Columns](), 0, 0
    for block in blocks:
        held.append(block)
        waiting += rows_of(block)
        if waiting > max(HELD, kept):
            held, waiting = [reduced(joined(held), orders, pareto=pareto, top=top)], 0
            kept = rows_of(held[0])
    rows = joined(held)
    if pareto:
        rows = chosen(rows, front(rows, orders))
    return chosen(rows, first_rows(rows, orders, top)), rows_of(rows)


def reduced(columns: Columns, orders: Sequence[Order], *, pareto: bool, top: int | None) -> Columns:
    """Return the rows that may be shown when others come: the front, or the first."""
    if not pareto and top is None:
        return columns
    best = front(columns, orders) if pareto else first_rows(columns, orders, top)
    return chosen(columns, best)


@dataclass(frozen=True, repr=False)
class Sweep(Tabled):
    """The configurations that a sweep has kept, with their figures.

    Attributes:
        network: the network as it is.
        columns: a numpy array for each name that varies and for each figure.
        configurations: how many were priced.
        networks: how many of them are networks.
        kept: how many of these meet the conditions.
        refused: the configurations that are not networks.
        notes: the same in words.
    """

    network: Network
    columns: Columns
    configurations: int
    networks: int
    kept: int
    refused: Sequence[Refused]
    notes: Sequence[str]

    def __len__(self) -> int:
        """Return how many configurations are shown."""
        return rows_of(self.columns)

    def table(self) -> Table:
        """Return a row for each configuration that is shown."""
        heads = tuple(Column(name, name, own.dtype != object or is_beyond(own), essential=True)
                      for name, own in self.columns.items())  # fmt: skip
        rows = zip(*(map(cell, own.tolist()) for own in self.columns.values()), strict=True)
        return Table(heads, tuple(rows), self.network.name, notes=tuple(self.notes))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost sweep``."""
        return {
            "schema": contract_id("sweep"),
            "model": self.network.name,
            **record(self, "configurations", "networks", "kept", "refused"),
            "rows": self.table().records(),
        }


def cell(value: Any) -> Any:
    """Return what a table shows of a value: a list, which a knob may be, as it is written."""
    return written(value) if isinstance(value, list) else value


def is_beyond(column: Any) -> bool:
    """Whether a column holds integers of Python, as some are beyond 64 bits."""
    return column.dtype == object and {*map(type, column)} == {int}


def swept(
    sweeper: Sweeper, blocks: Iterable[Columns], *, pareto: bool = False, top: int | None = None
) -> Sweep:
    """Return the result of a sweep, whose blocks are gone through here."""
    columns, front = select(blocks, sweeper.orders, pareto=pareto, top=top)
    tally = sweeper.tally
    count = front if pareto else tally.kept
    shown = {name: columns[name] for name in sweeper.shown}
    notes = sweeper.summary()
    names = ", ".join(("-" if each.falling else "") + each.name for each in sweeper.orders)
    notes += [f"{count:,} on the front of {names}"] if pareto else []
    notes += [f"the first {rows_of(shown):,} of {count:,}"] if rows_of(shown) < count else []
    if beyond := [name for name, own in shown.items() if is_beyond(own)]:
        notes.append(f"beyond 64 bits, so in integers of Python: {', '.join(beyond)}")
    return Sweep(
        sweeper.varied.network, shown, tally.seen, tally.networks, tally.kept,
        [*tally.refused.values()], notes,
    )  # fmt: skip
