"""The report of a network: one row per layer, groups, totals, for a batch, dtype and convention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from archcost.analysis.parameters import complex_elements
from archcost.conventions import (
    Activations,
    Convention,
    counted_layers,
    find_activations,
    find_convention,
    uncounted,
)
from archcost.data import dataclass
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import NETWORK_INPUT, Layer, Network, Value, frozen_params, prefixes
from archcost.ops.base import FLOAT
from archcost.record import contract_id, plain, record
from archcost.setting import Setting
from archcost.shape import Shape, numel, show, show_rows
from archcost.spec.remarks import remark_notes
from archcost.table import Cell, Column, Legend, Table, Tabled, data_frame
from archcost.units import dtype_bytes

if TYPE_CHECKING:
    from archcost.analysis.receptive import Field


@dataclass(frozen=True, slots=True)
class Row:
    """One layer's figures for the whole batch.

    ``counted`` is the number of operations in the report's convention. ``activations`` is the
    number of elements of the output if the activation convention counts the layer, else 0. Bytes
    follow the dtype.
    """

    layer: Layer
    params: int
    trainable_params: int
    macs: int
    flops: int
    counted: int
    activations: int
    activation_bytes: int
    buffers: int = 0

    @property
    def path(self) -> str:
        """The layer's dotted name."""
        return self.layer.path

    @property
    def output(self) -> Shape:
        """Output shape without batch."""
        return self.layer.cost.output


ROW_FIGURES = tuple(field.name for field in fields(Row) if field.name != "layer")


@dataclass(frozen=True)
class Totals:
    """Sums over layers; ``param_bytes`` is the size of all parameters in the dtype."""

    params: int = 0
    trainable_params: int = 0
    param_bytes: int = 0
    macs: int = 0
    flops: int = 0
    counted: int = 0
    activations: int = 0
    activation_bytes: int = 0
    layers: int = 0
    buffers: int = 0

    def __add__(self, other: Totals) -> Totals:
        """Return the sums of both."""
        return Totals(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Totals)))


@dataclass(frozen=True, repr=False)
class Report(Tabled):
    """What a network costs; made by :func:`analyze`.

    Attributes:
        network: the analysed network.
        setting: how it is run and counted.
        convention: how ``counted`` counts operations.
        activations: which outputs count as activations.
        rows: one per layer, in execution order.
    """

    network: Network
    setting: Setting
    convention: Convention
    activations: Activations
    rows: tuple[Row, ...]

    @property
    def batch(self) -> int:
        """Samples per pass; parameters do not depend on it."""
        return self.setting.batch

    @property
    def dtype(self) -> str:
        """Data type of parameters and activations."""
        return self.setting.dtype

    @cached_property
    def total(self) -> Totals:
        """Totals over all layers, with the inputs if the activation convention counts them."""
        return sum((totals for _, totals in self._inputs()), self._sum(self.rows))

    def _inputs(self) -> list[tuple[Value, Totals]]:
        """Return the inputs with their figures: those of a layer without work."""
        pairs = []
        for value in self.network.inputs:
            counted = numel(value.shape) * self.batch if self.activations.counts_input else 0
            size = counted * value.itemsize(dtype_bytes(self.dtype))
            pairs.append((value, Totals(activations=counted, activation_bytes=size)))
        return pairs

    def _input_record(self, value: Value, totals: Totals) -> dict[str, Any]:
        about = {"name": value.name, "op": NETWORK_INPUT, "settings": "", "inputs": []}
        figures = record(totals, *ROW_FIGURES, **about, output=value.shape)
        return {**figures, "receptive_field": []}

    def _record(self, row: Row) -> dict[str, Any]:
        rows = row.layer.made_rows
        field = plain(self.receptive_fields[row.path].size)
        made = layer_record(row, *ROW_FIGURES) | ({"rows": rows} if rows != 1 else {})
        return made | {"receptive_field": field}

    def by_layer(self) -> Mapping[str, Row]:
        """Return the rows by layer path."""
        return {row.path: row for row in self.rows}

    def by_op(self) -> Mapping[str, Totals]:
        """Return totals per op name, the op with the most MACs first."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.layer.op.name, []).append(row)
        sums = {name: self._sum(rows) for name, rows in groups.items()}
        return dict(sorted(sums.items(), key=lambda item: (-item[1].macs, -item[1].params)))

    def by_group(self, depth: int | None = None) -> Mapping[str, Totals]:
        """Return totals per group, in execution order; the whole network is ``""``.

        ``depth`` keeps groups of up to that many dotted names.
        """
        return {
            name: sums
            for name, sums in self._groups.items()
            if depth is None or not name or name.count(".") < depth
        }

    @cached_property
    def _groups(self) -> Mapping[str, Totals]:
        groups: dict[str, list[Row]] = {"": [*self.rows]}
        for row in self.rows:
            for prefix in prefixes(row.path):
                groups.setdefault(prefix, []).append(row)
        return {name: self._sum(rows) for name, rows in groups.items()}

    @cached_property
    def receptive_fields(self) -> Mapping[str, Field]:
        """The receptive field of each layer's output."""
        from archcost.analysis.receptive import receptive_fields  # only this column needs it

        return receptive_fields(self.network)

    @property
    def weight_layers(self) -> int:
        """Convolutions and linear layers on the longest path; see :class:`Network`."""
        return self.network.weight_layers

    def _sum(self, rows: Sequence[Row]) -> Totals:
        sums = {name: sum(map(attrgetter(name), rows)) for name in ROW_FIGURES}
        pairs = sum(complex_elements(row.layer) for row in rows if row.layer.op.complex_params)
        size = (sums["params"] + pairs) * dtype_bytes(self.dtype)
        return Totals(param_bytes=size, layers=len(rows), **sums)

    # Tables.

    def table(self, columns: Sequence[str] | None = None, depth: int | None = None) -> Table:
        """Return the per-layer table with a subtotal per group and totals.

        Args:
            columns: keys of :data:`COLUMNS`; the default fits the report.
            depth: fold groups below this many dotted names into one row each.

        Raises:
            LookupFailed: an unknown column, with the nearest name.
        """
        keys = tuple(columns) if columns else self.default_columns
        for key in keys:
            if key not in COLUMNS:
                raise LookupFailed("column", key, COLUMNS)
        headings = {"counted": self.convention.name}
        made = tuple(
            replace(COLUMNS[key], heading=headings.get(key, COLUMNS[key].heading)) for key in keys
        )
        entries = [Entry(v.name, 0, t, v.shape, None) for v, t in self._inputs()]
        entries += self.entries(depth)
        total = Entry("total", 0, self.total, self.network.output, None)
        table = Table(
            columns=made,
            rows=tuple(tuple(self._cell(key, entry) for key in keys) for entry in entries),
            title=self.title,
            footer=(tuple(self._cell(key, total) for key in keys),),
            notes=(*self.notes, *self._elsewhere(), *remark_notes(self.network)),
        )
        return replace(table, data=without_groups(table, entries, named=not columns))

    def _elsewhere(self) -> list[str]:
        """Return what the convention's tool prints of other modules, where that differs."""
        name = self.convention.name
        if not self.convention.tool_version:
            return []
        from archcost.analysis.written import written  # only the conventions of tools need it

        others = [module for module in written(self.network) if name in module.reasons]
        return [module.note((name,), self.batch) for module in others]

    @property
    def default_columns(self) -> tuple[str, ...]:
        """The columns of a table unless others are asked for."""
        counts = ("macs", "flops") if self.convention.name == "flops" else ("counted",)
        frozen = ("trainable_params",) if self.total.trainable_params != self.total.params else ()
        return (
            "name", "op", "settings", "output", "params", *frozen, *counts,
            "activations", "activation_bytes",
        )  # fmt: skip

    @property
    def title(self) -> str:
        """One line that says what was analysed."""
        title = f": {self.network.title}" if self.network.title else ""
        return f"{self.network.name}{title}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that say what was counted, and how: the setting, the count, activations."""
        price, sizes = self.convention, self.activations
        count = ("flops" if price.name == "flops" else "counted", "count_ratio")
        return (
            f"input {self.network.input_text}, batch {self.batch}, {self.dtype}",
            Legend(f"{price.name}: {price.title}", *count),
            Legend(f"activations ({sizes.name}): {sizes.title}", "activations", "activation_bytes"),
        )

    def entries(self, depth: int | None = None) -> Iterator[Entry]:
        """Yield groups, each before its content, and layers; groups at ``depth`` are folded."""
        if depth is not None and depth < 1:
            raise ArchcostError(f"depth must be at least 1; got {depth}")
        groups = self.by_group(depth)
        last = {prefix: row for row in self.rows for prefix in prefixes(row.path)}
        done: set[str] = set()
        for row in self.rows:
            names = row.path.split(".")
            for level, prefix in enumerate(prefixes(row.path)):
                if prefix in groups and prefix not in done:
                    done.add(prefix)
                    end = last[prefix]
                    yield Entry(
                        prefix, level, groups[prefix], end.output, None, end.layer.made_rows
                    )
            if depth is None or len(names) <= depth:
                yield Entry(
                    row.path, len(names) - 1, row, row.output, row.layer, row.layer.made_rows
                )

    def _cell(self, key: str, entry: Entry) -> Cell:
        layer = entry.layer
        match key:
            case "name":
                return entry.path
            case "group":
                return entry.path.rpartition(".")[0]
            case "op":
                return layer.op.name if layer else ""
            case "settings":
                return layer.settings if layer else ""
            case "input":
                return ", ".join(map(show, layer.shapes)) if layer else ""
            case "output":
                return show_rows(entry.output, entry.rows)
            case "receptive_field":
                return str(self.receptive_fields[layer.path]) if layer else ""
            case _:
                value: int = getattr(entry.figures, key)
                return value

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per layer, indexed by path.

        Where the input counts as activations it has a row, too: columns add up to the totals.

        Raises:
            ArchcostError: pandas is not installed.
        """
        records = [self._record(row) for row in self.rows]
        if self.activations.counts_input:
            records = [*(self._input_record(*pair) for pair in self._inputs()), *records]
        return data_frame(records).set_index("name")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost table`` (see ``archcost schema table``)."""
        return {
            "schema": contract_id("table"),
            "model": self.network.name,
            "title": self.network.title,
            **self.network.input_record,
            "batch": self.batch,
            "dtype": self.dtype,
            "convention": self.convention.name,
            "activation_convention": self.activations.name,
            "layers": [self._record(row) for row in self.rows],
            "groups": [
                {"name": name, **record(sums)} for name, sums in self.by_group().items() if name
            ],
            "totals": {
                **record(self.total),
                "weight_layers": self.weight_layers,
                "output": list(self.network.output),
            },
            "remarks": plain(self.network.remarks),
        }

    def __repr__(self) -> str:
        """Return a line: what was analysed, and how it was counted."""
        return f"<Report {self.title}; {'; '.join(self.notes)}>"


@dataclass(frozen=True)
class Entry:
    """A line of the per-layer table: a layer, or a group with its subtotal."""

    path: str
    level: int
    figures: Row | Totals
    output: Shape
    layer: Layer | None
    rows: int = 1


GROUP = Column("group", "group")

COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("name", "layer", essential=True),
        GROUP,
        Column("op", "op", minor=True),
        Column("settings", "settings", minor=True),
        Column("input", "input"),
        Column("output", "output", essential=True),
        Column("params", "params", True, essential=True),
        Column("trainable_params", "trainable", True),
        Column("buffers", "buffers", True),
        Column("macs", "MACs", True, essential=True),
        Column("flops", "FLOPs", True),
        Column("counted", "counted", True, essential=True),
        Column("activations", "activations", True),
        Column("activation_bytes", "bytes", True, minor=True),
        Column("receptive_field", "receptive field", True),
    )
}
"""The columns of the per-layer table, by key."""


def without_groups(table: Table, entries: Sequence[Entry], named: bool) -> Table:
    """Return a table of entries without the groups whose content follows them.

    With ``named``, what remains has its group in a column after the first.
    """
    groups = {name for entry in entries for name in prefixes(entry.path)}
    kept = [i for i, entry in enumerate(entries) if entry.path not in groups]
    columns, rows, footer = table.columns, [table.rows[i] for i in kept], table.footer
    if named:
        columns = (columns[0], GROUP, *columns[1:])
        names = [entries[i].path.rpartition(".")[0] for i in kept]
        rows = [(row[0], name, *row[1:]) for name, row in zip(names, rows, strict=True)]
        footer = tuple((row[0], "", *row[1:]) for row in footer)
    return replace(table, columns=columns, rows=tuple(rows), footer=footer)


def layer_record(row: Row, *figures: str) -> dict[str, Any]:
    """Return a layer with some of its figures for JSON."""
    layer = row.layer
    about = {"name": row.path, "op": layer.op.name, "settings": layer.settings}
    return record(row, *figures, **about, inputs=layer.shapes, output=row.output)


def analyze(network: Network, setting: Setting | None = None) -> Report:
    """Return the report of a network, run and counted as the setting says.

    Raises:
        ArchcostError: an unknown convention, or a pattern that matches no layer.
    """
    setting = setting or Setting()
    price = find_convention(setting.convention)
    counted = find_activations(setting.activations)
    batch, itemsize = setting.batch, setting.itemsize
    frozen = frozen_params(network, setting.freeze)
    unpriced, unheld = uncounted(network, price), uncounted(network, counted)
    told = counted_layers(network, price) if price.layouts else ()
    apart = {layer.path: layer for layer in told if layer.apart}
    special = {*unpriced, *unheld, *apart}
    known: dict[Any, tuple[int, ...]] = {}
    types = {value.dtype for value in network.inputs} | {layer.op.makes for layer in network}
    typed = network.values if types - {FLOAT, ""} else {}
    rows = []
    for layer in network:
        path, owner = layer.path, layer.module == layer.path
        width = typed[path].itemsize(itemsize) if typed else itemsize
        own = frozen or layer.ties or path in special  # then the figures follow from the path, too
        key = (  # equal layers share these objects
            id(layer.op), id(layer.cost), id(layer.shapes), id(layer.rows), layer.function, owner,
            path if own else "", width,
        )  # fmt: skip
        if (figures := known.get(key)) is None:
            params = trainable = sum(map(numel, layer.params.values()))
            if frozen:
                kept = (n for n in layer.params if layer.full_name(n) not in frozen)
                trainable = sum(numel(layer.params[name]) for name in kept)
            samples = layer.op.samples(batch)
            macs = layer.macs * samples
            priced = 0 if path in unpriced else price.count(apart.get(path, layer)) * samples
            elements = 0 if path in unheld else counted.count(layer) * samples
            buffers = sum(map(numel, layer.buffers.values()))
            figures = known[key] = (
                params, trainable, macs, 2 * macs, priced, elements, elements * width, buffers,
            )  # fmt: skip
        rows.append(Row(layer, *figures))
    return Report(network, setting, price, counted, tuple(rows))
