"""The report of a network: one row per layer, groups, totals, for a batch, dtype and convention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from archcost.analysis.receptive import Field, receptive_fields
from archcost.conventions import Activations, Convention, find_activations, find_convention
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.shape import Shape, numel, show
from archcost.table import Cell, Column, Table
from archcost.units import dtype_bytes

WEIGHT_KINDS = ("conv", "linear")
MAX_BATCH = 2**31


@dataclass(frozen=True, slots=True)
class Row:
    """One layer's figures for the whole batch.

    ``counted`` is the count of the report's convention; ``activations`` are the output's elements
    if the activation convention counts the layer, else 0; bytes follow the dtype.
    """

    layer: Layer
    params: int
    trainable_params: int
    macs: int
    flops: int
    counted: int
    activations: int
    activation_bytes: int

    @property
    def path(self) -> str:
        """The layer's dotted name."""
        return self.layer.path

    @property
    def output(self) -> Shape:
        """Output shape without batch."""
        return self.layer.cost.output


@dataclass(frozen=True, slots=True)
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

    def __add__(self, other: Totals) -> Totals:
        """Return the sums of both."""
        return Totals(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Totals)))


@dataclass(frozen=True)
class Report:
    """What a network costs; made by :func:`analyze`.

    Attributes:
        network: the analysed network.
        batch: samples per pass; parameters do not depend on it.
        dtype: data type of parameters and activations.
        convention: what ``counted`` counts.
        activations: which outputs count as activations.
        rows: one per layer, in execution order.
    """

    network: Network
    batch: int
    dtype: str
    convention: Convention
    activations: Activations
    rows: tuple[Row, ...]

    @cached_property
    def total(self) -> Totals:
        """Totals over all layers, and the input's elements if the activations count them."""
        return self._sum(self.rows) + self._input

    @property
    def _input(self) -> Totals:
        counted = numel(self.network.input) * self.batch if self.activations.counts_input else 0
        return Totals(activations=counted, activation_bytes=counted * dtype_bytes(self.dtype))

    def _input_entry(self) -> Entry:
        return Entry(NETWORK_INPUT, 0, self._input, self.network.input, None)

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
        groups: dict[str, list[Row]] = {"": []}
        for row in self.rows:
            for prefix in prefixes(row.path):
                if depth is None or prefix.count(".") < depth:
                    groups.setdefault(prefix, []).append(row)
        groups[""] = list(self.rows)
        return {name: self._sum(rows) for name, rows in groups.items()}

    @cached_property
    def receptive_fields(self) -> Mapping[str, Field]:
        """The receptive field of each layer's output."""
        return receptive_fields(self.network)

    @cached_property
    def weight_layers(self) -> int:
        """Convolutions and linear layers on the longest path from the input to the output.

        This is the depth in a network's name: parallel branches count once, projection
        shortcuts and auxiliary heads do not.
        """
        depth = {NETWORK_INPUT: 0}
        for layer in self.network:
            own = layer.op.kind in WEIGHT_KINDS
            depth[layer.path] = max(depth[name] for name in layer.inputs) + own
        return depth[self.network.outputs[0]]

    def _sum(self, rows: Sequence[Row]) -> Totals:
        params = sum(row.params for row in rows)
        return Totals(
            params=params,
            trainable_params=sum(row.trainable_params for row in rows),
            param_bytes=params * dtype_bytes(self.dtype),
            macs=sum(row.macs for row in rows),
            flops=sum(row.flops for row in rows),
            counted=sum(row.counted for row in rows),
            activations=sum(row.activations for row in rows),
            activation_bytes=sum(row.activation_bytes for row in rows),
            layers=len(rows),
        )

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
        entries = [self._input_entry(), *self.entries(depth)]
        total = Entry("total", 0, self.total, self.network.output, None)
        return Table(
            columns=made,
            rows=tuple(tuple(self._cell(key, entry) for key in keys) for entry in entries),
            title=self.title,
            footer=(tuple(self._cell(key, total) for key in keys),),
            notes=(self.note,),
        )

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
    def note(self) -> str:
        """One line that says how it was counted."""
        return (
            f"input {show(self.network.input)}, batch {self.batch}, {self.dtype}; "
            f"{self.convention.name}: {self.convention.title}; "
            f"activations ({self.activations.name}): {self.activations.title}"
        )

    def entries(self, depth: int | None = None) -> Iterator[Entry]:
        """Yield groups, each before its content, and layers; groups at ``depth`` are folded."""
        if depth is not None and depth < 1:
            raise ArchcostError(f"depth must be at least 1; got {depth}")
        groups = self.by_group(depth)
        last = {prefix: row.output for row in self.rows for prefix in prefixes(row.path)}
        done: set[str] = set()
        for row in self.rows:
            names = row.path.split(".")
            for level, prefix in enumerate(prefixes(row.path)):
                if prefix in groups and prefix not in done:
                    done.add(prefix)
                    yield Entry(prefix, level, groups[prefix], last[prefix], None)
            if depth is None or len(names) <= depth:
                yield Entry(row.path, len(names) - 1, row, row.output, row.layer)

    def _cell(self, key: str, entry: Entry) -> Cell:
        layer = entry.layer
        match key:
            case "name":
                return entry.path
            case "op":
                return layer.op.name if layer else ""
            case "settings":
                return layer.settings if layer else ""
            case "input":
                return ", ".join(map(show, layer.shapes)) if layer else ""
            case "output":
                return show(entry.output)
            case "receptive_field":
                return str(self.receptive_fields[layer.path]) if layer else ""
            case _:
                value: int = getattr(entry.figures, key)
                return value

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per layer, indexed by path.

        Raises:
            ArchcostError: pandas is not installed.
        """
        try:
            import pandas  # type: ignore[import-untyped]
        except ImportError:
            raise ArchcostError("to_frame needs pandas: pip install 'archcost[pandas]'") from None
        records = [layer_record(self, row) for row in self.rows]
        return pandas.DataFrame.from_records(records).set_index("name")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost table`` (see ``schema/table.json``)."""
        return {
            "model": self.network.name,
            "title": self.network.title,
            "input": list(self.network.input),
            "batch": self.batch,
            "dtype": self.dtype,
            "convention": self.convention.name,
            "activation_convention": self.activations.name,
            "layers": [layer_record(self, row) for row in self.rows],
            "groups": [
                {"name": name, **totals_record(self, sums)}
                for name, sums in self.by_group().items()
                if name
            ],
            "totals": {
                **totals_record(self, self.total),
                "weight_layers": self.weight_layers,
                "output": list(self.network.output),
            },
        }

    def __repr__(self) -> str:
        """Return a line: what was analysed, and how it was counted."""
        return f"<Report {self.title}; {self.note}>"

    def _repr_html_(self) -> str:
        return self.table().render("html")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the per-layer table: a layer, or a group with its subtotal."""

    path: str
    level: int
    figures: Row | Totals
    output: Shape
    layer: Layer | None


COLUMNS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("name", "layer"),
        Column("op", "op", minor=True),
        Column("settings", "settings", minor=True),
        Column("input", "input"),
        Column("output", "output"),
        Column("params", "params", True),
        Column("trainable_params", "trainable", True),
        Column("macs", "MACs", True),
        Column("flops", "FLOPs", True),
        Column("counted", "counted", True),
        Column("activations", "activations", True),
        Column("activation_bytes", "bytes", True, minor=True),
        Column("receptive_field", "receptive field", True),
    )
}
"""The columns of the per-layer table, by key."""


def prefixes(path: str) -> list[str]:
    """Return the groups that a path lies in, outermost first: ``a.b.c`` gives ``a, a.b``."""
    names = path.split(".")
    return [".".join(names[:i]) for i in range(1, len(names))]


def layer_record(report: Report, row: Row) -> dict[str, Any]:
    """Return a layer as the JSON contract has it; integers stay integers."""
    return {
        "name": row.path,
        "op": row.layer.op.name,
        "settings": row.layer.settings,
        "inputs": [list(shape) for shape in row.layer.shapes],
        "output": list(row.output),
        "params": row.params,
        "trainable_params": row.trainable_params,
        "macs": row.macs,
        "flops": row.flops,
        "counted": row.counted,
        "activations": row.activations,
        "activation_bytes": row.activation_bytes,
        "receptive_field": [float(size) if size != int(size) else int(size)
                            for size in report.receptive_fields[row.path].size],
    }  # fmt: skip


def totals_record(report: Report, total: Totals) -> dict[str, int]:
    """Return totals as the JSON contract has them."""
    return {f.name: getattr(total, f.name) for f in fields(Totals)}


def analyze(
    network: Network,
    *,
    batch: int = 1,
    dtype: str = "float32",
    convention: str = "flops",
    activations: str = "lecture",
    freeze: Sequence[str] = (),
) -> Report:
    """Return the report of a network.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        dtype: name of a data type in :data:`archcost.units.DTYPE_BYTES`.
        convention: name of a counting convention, for ``counted``.
        activations: name of an activation convention.
        freeze: shell patterns of layer paths whose parameters are not trained; a pattern also
            holds for everything below the path that it names.

    Raises:
        ArchcostError: a batch below 1, an unknown name, or a pattern that matches no layer.
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise ArchcostError(f"batch must be a whole number from 1 to {MAX_BATCH:,}; got {batch}")
    price, counted = find_convention(convention), find_activations(activations)
    itemsize = dtype_bytes(dtype)
    frozen = {layer.path for layer in select_layers(network, freeze, "layer or group to freeze")}
    rows = []
    for layer in network:
        cost = layer.cost
        params = sum(map(numel, cost.params.values()))
        macs = cost.work.get("mac", 0) * batch
        elements = counted.count(layer.op.kind, cost) * batch
        rows.append(
            Row(
                layer,
                params,
                0 if layer.path in frozen else params,
                macs,
                2 * macs,
                price.count(cost.work) * batch,
                elements,
                elements * itemsize,
            )
        )
    return Report(network, batch, dtype, price, counted, tuple(rows))


def select_layers(network: Network, patterns: Sequence[str], what: str) -> list[Layer]:
    """Return the layers whose path, or a group around them, matches any of the shell patterns.

    Raises:
        LookupFailed: a pattern matches nothing; ``what`` says what was looked for.
    """
    names = {layer.path: (*prefixes(layer.path), layer.path) for layer in network}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for own in names.values() for name in own):
            raise LookupFailed(what, pattern, {name for own in names.values() for name in own})
    return [
        layer
        for layer in network
        if any(fnmatchcase(name, p) for name in names[layer.path] for p in patterns)
    ]
