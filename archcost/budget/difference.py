"""What changed between two networks: every figure, and the layers that make the difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from archcost.budget.baseline import Request, is_file
from archcost.budget.condition import Condition
from archcost.budget.matching import KINDS, LAYER_FIGURES, LayerChange, describe, layer_changes
from archcost.errors import ArchcostError
from archcost.figures import METRICS, SECONDS, Figure, Number, Subject, memory_of
from archcost.record import contract_id, plain, record
from archcost.setting import Setting
from archcost.spec.catalog import chosen_models, is_known
from archcost.table import Cell, Column, Table, Tabled, folded
from archcost.units import number_of

MOST_LAYERS = 20
"""How many layers a comment shows of each network."""
COLUMNS = (
    Column("metric", "figure", essential=True), Column("old", "was", True, essential=True),
    Column("new", "is", True, essential=True), Column("change", "change", True),
    Column("percent", "%", True, essential=True),
)  # fmt: skip
"""The columns of the totals of a difference."""
LAYER_COLUMNS = (
    Column("kind", "what", essential=True), Column("layer", "layer", essential=True),
    Column("old", "was", essential=True), Column("new", "is", essential=True),
    *(Column(key, name, True) for key, name in zip(
        LAYER_FIGURES, ("params", "MACs", "activations"), strict=True
    )),
)  # fmt: skip
"""The columns of the layers of a difference."""
NETWORK_COLUMNS = (Column("network", "network", essential=True),)
"""What stands before these where several networks share a table."""


@dataclass(frozen=True)
class Move:
    """A figure before and after.

    Attributes:
        metric: the figure.
        on: the device that it is about, or empty.
        old, new: its values.
    """

    metric: Figure
    on: str
    old: Number
    new: Number

    @property
    def change(self) -> Number:
        """By how much it grew."""
        return self.new - self.old

    @property
    def ratio(self) -> Fraction | None:
        """The change in parts of the old value; None from zero."""
        return Fraction(self.change) / Fraction(self.old) if self.old else None

    @property
    def percent(self) -> str:
        """The change as people read it: ``+12.25%``."""
        if not self.change:
            return ""
        return "from zero" if self.ratio is None else f"{float(self.ratio):+.2%}"

    @property
    def name(self) -> str:
        """The metric, and the device if there is one."""
        return f"{self.metric.name} on {self.on}" if self.on else self.metric.name

    def record(self) -> dict[str, Any]:
        """Return the move for JSON."""
        own = {"metric": self.metric.name, "device": self.on or None}
        ratio = None if self.ratio is None else float(self.ratio)
        return record(self, "old", "new", "change", **own) | {"ratio": ratio}


@dataclass(frozen=True)
class Difference:
    """Two networks in the same setting; made by :func:`compare_subjects`.

    Attributes:
        name: what was compared.
        old, new: the networks as they are run and counted.
        moves: every figure, the one that moved most first.
        layers: the layers that are not as they were, in execution order.
        unknown: figures that are not known of one of them, and why.
        conditions: what must not happen.
    """

    name: str
    old: Subject
    new: Subject
    moves: tuple[Move, ...]
    layers: tuple[LayerChange, ...]
    unknown: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    @cached_property
    def same(self) -> bool:
        """Whether nothing changed."""
        return not self.layers and not any(move.change for move in self.moves)

    @cached_property
    def failed(self) -> tuple[str, ...]:
        """The conditions that came true, each as a line with the figures."""
        lines = []
        for condition in self.conditions:
            metric, on = condition.metric, condition.on
            move = Move(metric, on, metric.value(self.old, on), metric.value(self.new, on))
            if condition.holds(move.new, move.old):
                was, now = f"{plain(move.old):,}", f"{plain(move.new):,}"
                lines.append(f"failed: {condition.text}: {was} -> {now} {move.percent}".rstrip())
        return tuple(lines)

    @property
    def headline(self) -> str:
        """The change in one line: the figure that moved most, and by how much."""
        first = self.moves[0]
        if self.same:
            return f"{self.name}: no change"
        if not first.change:
            return f"{self.name}: other layers, the same figures"
        return f"{self.name}: {first.name} {first.percent}"

    def totals(self) -> Table:
        """Return one row per figure, the one that moved most first."""
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (move.name, plain(move.old), plain(move.new), plain(move.change), move.percent)
            for move in self.moves
        )
        setting = self.new.setting
        timed = any(move.metric.unit == SECONDS for move in self.moves)
        kinds = [f"{n} {kind}" for kind in KINDS if (n := self._count(kind))]
        notes = (
            f"layers: {', '.join(kinds) or 'none changed'}",
            f"batch {setting.batch}, {setting.words}; peaks, saved and size in bytes"
            + (", hard bound in seconds" if timed else ""),
            *self.unknown,
            *self.failed,
        )
        return Table(COLUMNS, rows, title=self.headline, notes=notes)

    def _count(self, kind: str) -> int:
        return sum(change.kind == kind for change in self.layers)

    def layer_table(self, most: int | None = None) -> Table:
        """Return one row per layer that is not as it was.

        ``most`` keeps the largest changes, the largest first; one row sums up the others.
        """
        most = len(self.layers) if most is None else most
        ordered = self.layers if len(self.layers) <= most else self._largest_first()
        shown, others = ordered[:most], ordered[most:]
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (
                change.kind, change.path,
                describe(change.old, change.new), describe(change.new, change.old),
                *(change.figure(key) for key in LAYER_FIGURES),
            )
            for change in shown
        )  # fmt: skip
        foot: list[tuple[Cell, ...]] = [("in all", "", "", "", *_sums(self.layers))]
        if others:
            foot.insert(0, (f"and {len(others):,} more", "", "", "", *_sums(others)))
        return Table(LAYER_COLUMNS, rows, footer=tuple(foot))

    def _largest_first(self) -> tuple[LayerChange, ...]:
        """Return the layers by the largest share that each has in what one of the figures moved."""
        moved = {key: sum(abs(c.figure(key)) for c in self.layers) or 1 for key in LAYER_FIGURES}

        def share(change: LayerChange) -> Fraction:
            return max(Fraction(abs(change.figure(key)), moved[key]) for key in LAYER_FIGURES)

        return tuple(sorted(self.layers, key=share, reverse=True))

    def to_dict(self) -> dict[str, Any]:
        """Return the difference as ``archcost schema diff`` has it."""
        return {
            "name": self.name,
            "old": self.old.network.name,
            "new": self.new.network.name,
            "same": self.same,
            "figures": [move.record() for move in self.moves],
            "layers": [change.record() for change in self.layers],
            "failed": list(self.failed),
        }


def _sums(layers: Sequence[LayerChange]) -> list[int]:
    return [sum(change.figure(key) for change in layers) for key in LAYER_FIGURES]


def compare_subjects(
    name: str,
    old: Subject,
    new: Subject,
    on: str = "",
    conditions: Sequence[Condition] = (),
) -> Difference:
    """Return what changed from ``old`` to ``new``.

    Args:
        name: what is compared, for the title.
        old: the network before.
        new: the network after, in the same setting.
        on: a device or memory size, for the figures that need one; without it they are left out.
        conditions: what must not happen.
    """
    moves, unknown = [], []
    for metric in METRICS.values():
        if not _applies(metric, new, on):
            continue
        device = on if metric.on else ""
        try:
            values = metric.value(old, device), metric.value(new, device)
        except ArchcostError as error:  # no rule for the memory of one of its layers
            unknown.append(f"{metric.name} is not known: {error}")
            continue
        moves.append(Move(metric, device, *values))
    moves.sort(key=_extent, reverse=True)
    layers = tuple(layer_changes(old, new))
    return Difference(name, old, new, tuple(moves), layers, tuple(unknown), tuple(conditions))


def _applies(metric: Figure, subject: Subject, on: str) -> bool:
    """Whether a figure is asked for: with a device if it needs one, and not twice."""
    if metric.name == "counted":
        return subject.setting.convention != "flops"
    is_size = on[:1].isdigit()
    return not metric.on or (bool(on) and not (metric.unit == SECONDS and is_size))


def _extent(move: Move) -> tuple[bool, Fraction]:
    """Return a key that grows with the relative change; a change from zero is the largest."""
    return move.ratio is None and bool(move.change), abs(move.ratio or Fraction(0))


# Several networks: the variants of a family.


@dataclass(frozen=True, repr=False)
class Differences(Tabled):
    """What changed in a file or model; made by :func:`diff`.

    Attributes:
        name: what was compared.
        parts: one difference per network that is in both.
        added, removed: variants that are in one of them only.
    """

    name: str
    parts: tuple[Difference, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """The conditions that came true."""
        return tuple(line for part in self.parts for line in part.failed)

    @property
    def subject(self) -> str:
        """What was compared, and what moved most of it if it is one network."""
        return self.parts[0].headline if len(self.parts) == 1 else self.name

    def table(self) -> Table:
        """Return the totals of every network in one table; :meth:`tables` gives the layers too."""
        return self.parts[0].totals() if len(self.parts) == 1 else self.flat()

    @property
    def shown(self) -> tuple[Difference, ...]:
        """The networks that changed, or a single one in any case."""
        one = len(self.parts) == 1
        return tuple(part for part in self.parts if one or not part.same or part.failed)

    @property
    def remarks(self) -> list[str]:
        """What is not in the tables."""
        same = len(self.parts) - len(self.shown)
        return [
            *([f"new: {', '.join(self.added)}"] if self.added else []),
            *([f"removed: {', '.join(self.removed)}"] if self.removed else []),
            *([f"{number_of(same, 'network')} of {self.name} did not change"] if same else []),
        ]

    def tables(self) -> list[Table]:
        """Return the totals of every network that changed, and the layers of a single one."""
        tables = [part.totals() for part in self.shown]
        if len(self.parts) == 1 and self.parts[0].layers:
            tables.append(self.parts[0].layer_table())
        return tables

    def markdown(self) -> str:
        """Return a comment for a pull request: totals, and the largest changes of layers folded."""
        texts = []
        for part in self.shown:
            texts.append(part.totals().render("markdown"))
            if part.layers:
                few = len(part.layers) <= MOST_LAYERS
                summary = f"{number_of(len(part.layers), 'layer')} of {part.name}"
                summary = summary if few else f"the {MOST_LAYERS} largest changes of {summary}"
                texts.append(folded(summary, part.layer_table(MOST_LAYERS).render("markdown")))
        return "\n\n".join([*texts, *self.remarks])

    def flat(self, layers: bool = False) -> Table:
        """Return the totals, or the layers, of every network in one table."""
        tables = [(part, part.layer_table() if layers else part.totals()) for part in self.parts]
        columns = (*NETWORK_COLUMNS, *tables[0][1].columns)
        rows = tuple((part.name, *row) for part, table in tables for row in table.rows)
        return Table(columns, rows, title=self.name, notes=(*self.remarks, *self.failed))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost diff`` (see ``archcost schema diff``)."""
        return {
            "schema": contract_id("diff"),
            "name": self.name,
            "networks": [part.to_dict() for part in self.parts],
            "added": list(self.added),
            "removed": list(self.removed),
            "failed": list(self.failed),
        }


def diff(
    reference: str,
    model: str,
    setting: Setting | None = None,
    options: Mapping[str, Any] | None = None,
    on: str = "",
    conditions: Sequence[Condition] = (),
) -> Differences:
    """Return what changed from a reference to a model: in all variants of a family.

    Args:
        reference: a file, a model, ``REVISION:path``, or a revision of ``model``'s file.
        model: the network now.
        setting: how both are run and counted.
        options: how both are expanded: ``input``, ``knobs``, ``aux``, ``bias``.
        on: a device or memory size, for the figures that need one.
        conditions: what must not happen.

    Raises:
        ArchcostError: one of them cannot be read, or they have no network in common.
    """
    if on:
        memory_of(on)  # a device that is not known is a mistake, not a figure that is not known
    chosen = chosen_models(model)
    requests = [Request(model, doc, variant, options=options or {}) for doc, variant in chosen]
    before = requests[0].baseline(reference)
    theirs = list(before.document.variants)
    family = len(requests) > 1 and theirs and not before.variant
    if not family:
        pairs = [(request, request.baseline_network(reference)) for request in requests]
        added, removed = [], []
    else:
        ours = [request.variant for request in requests]
        added = [name for name in ours if name not in theirs]
        removed = [name for name in theirs if name not in ours]
        pairs = [
            (request, replace(before, variant=request.variant).network())
            for request in requests
            if request.variant in theirs
        ]
    if not pairs:
        raise ArchcostError(
            f"{reference} and {model} have no network in common; choose one of each"
        )
    how = setting or Setting()
    parts = tuple(
        compare_subjects(
            _title(reference, request.name), Subject(old, how), Subject(request.network(), how),
            on, conditions,
        )
        for request, old in pairs
    )  # fmt: skip
    return Differences(_title(reference, model), parts, tuple(added), tuple(removed))


def _title(reference: str, name: str) -> str:
    """Return ``resnet18 -> resnet50``, or one name for a file that is compared with itself."""
    plain = name.partition("::")[0]
    if not is_file(reference) and is_file(plain) and not is_known(reference):
        return f"{name} since {reference}"
    if reference.partition(":")[2].removeprefix("./") == plain:
        return f"{name} since {reference.partition(':')[0]}"
    return f"{reference} -> {name}"
