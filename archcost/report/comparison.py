"""Totals of several models side by side, with ratios to one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from archcost.analysis.listing import accuracy
from archcost.analysis.report import Report, Totals
from archcost.data import dataclass
from archcost.errors import ArchcostError, LookupFailed, shorten
from archcost.figures import FIGURES, Subject
from archcost.network import NETWORK_INPUT, Network
from archcost.record import contract_id, plain, record
from archcost.spec.catalog import catalog, documents
from archcost.spec.remarks import remark_notes
from archcost.table import Cell, Column, Legend, Table, Tabled
from archcost.units import human_bytes, number_of


def select(
    models: Sequence[str], families: Sequence[str] = (), everything: bool = False
) -> list[str]:
    """Return the model names that a command line asks for, each once.

    Raises:
        LookupFailed: an unknown family. ArchcostError: nothing was asked for.
    """
    names = list(models)
    known = {document.name: document.models() for document in documents()} if families else {}
    for family in families:
        if family not in known:
            raise LookupFailed("family", family, known)
        names += known[family]
    if everything:
        names += catalog()
    if not names:
        raise ArchcostError("name at least one model, or use --family or --all")
    return list(dict.fromkeys(names))


def told_apart(models: Sequence[str], networks: Sequence[Network]) -> list[Network]:
    """Return the networks; those that share a name are called as they were asked for.

    So are ``main:net.yaml`` and ``net.yaml``, whose networks have one name.
    """
    count = Counter(network.name for network in networks)
    return [
        network if count[network.name] == 1 else replace(network, name=model)
        for model, network in zip(models, networks, strict=True)
    ]


MAX_COPIES = 9999


@dataclass(frozen=True, repr=False)
class Ensemble(Report):
    """Networks that answer together: the sum of what each costs, and the depth of the deepest."""

    members: tuple[Report, ...] = ()

    @cached_property
    def total(self) -> Totals:
        """Totals over all members, each as often as it occurs."""
        return sum((member.total for member in self.members), Totals())

    @cached_property
    def weight_layers(self) -> int:
        """Convolutions and linear layers on the longest path of any member."""
        return max(member.weight_layers for member in self.members)


def report_on(model: str, report: Callable[[str], Report]) -> Report:
    """Return the report of a model, or of an ensemble such as ``7*alexnet`` or ``vgg16+vgg19``.

    ``report`` is asked once for each network of it. The input shown is that of the first.

    Raises:
        ArchcostError: a part of an ensemble is neither ``MODEL`` nor ``NUMBER*MODEL``.
    """
    if not {"*", "+"} & set(model) or Path(model).is_file():
        return report(model)
    parts = [_copies(model, part) for part in model.split("+")]
    members = [member for copies, name in parts for member in [report(name)] * copies]
    first = members[0]
    network = Network(
        name=model,
        inputs=first.network.inputs,
        layers=(),
        outputs=(NETWORK_INPUT,),
        title=f"ensemble of {number_of(len(members), 'network')}",
    )
    return Ensemble(network, first.setting, first.convention, first.activations, (), tuple(members))


def _copies(model: str, part: str) -> tuple[int, str]:
    number, star, name = part.rpartition("*")
    copies, name = number.strip() if star else "1", name.strip()
    if not copies.isdecimal() or not 1 <= int(copies[:5]) <= MAX_COPIES or not name:
        raise ArchcostError(
            f"{shorten(model)}: an ensemble is written as 7*alexnet or googlenet+2*vgg16, "
            f"of 1 to {MAX_COPIES} networks each; got {shorten(part)!r}"
        )
    return int(copies), name


COLUMNS = (
    Column("model", "model", essential=True), Column("params", "params", True, essential=True),
    Column("param_bytes", "size", True, minor=True), Column("buffers", "buffers", True, minor=True),
    Column("macs", "MACs", True, essential=True),
    Column("flops", "FLOPs", True, minor=True), Column("counted", "counted", True, essential=True),
    Column("activations", "activations", True), Column("weight_layers", "layers", True),
    Column("top1", "top-1", True), Column("top5", "top-5", True),
    Column("params_ratio", "params x", True), Column("count_ratio", "count x", True),
    Column("source", "accuracy from", minor=True),
)  # fmt: skip
"""The columns of a comparison: MACs and FLOPs, or what another convention counts."""
OTHERS = tuple(
    Column(figure.name, figure.name.replace("_", " "), True) for figure in FIGURES.values()
    if not figure.on and figure.name not in ("size", "layers", *(column.key for column in COLUMNS))
)  # fmt: skip
"""The figures that are shown where they are asked for: of a single network, not of an ensemble."""


@dataclass(frozen=True, repr=False)
class Comparison(Tabled):
    """Reports in the order of the table; ratios refer to ``baseline``."""

    reports: tuple[Report, ...]
    baseline: Report

    @property
    def subject(self) -> str:
        """The models, by name."""
        return ", ".join(report.network.name for report in self.reports)

    def table(self, asked: Sequence[str] = ()) -> Table:
        """Return one row per model; ``asked`` are names of :data:`OTHERS` to show too."""
        price = self.baseline.convention
        unwanted = ("counted",) if price.name == "flops" else ("macs", "flops")
        headings = {"counted": price.name, "count_ratio": f"{price.unit}s x"}
        columns = tuple(
            replace(column, heading=headings.get(column.key, column.heading))
            for column in (*COLUMNS, *(column for column in OTHERS if column.key in asked))
            if column.key not in unwanted
        )
        rows = tuple(
            self._row(report, [column.key for column in columns]) for report in self.reports
        )
        ratio = Legend(f"x: ratio to {self.baseline.network.name}", "params_ratio", "count_ratio")
        run = f"batch {self.baseline.batch}, {self.baseline.dtype}"
        remarks = [text for report in self.reports for text in remark_notes(report.network)]
        return Table(columns, rows, notes=(ratio, run, *self.baseline.notes[1:], *remarks))

    def _row(self, report: Report, keys: list[str]) -> tuple[Cell, ...]:
        total, base = report.total, self.baseline.total
        cells: dict[str, Cell] = {
            "model": report.network.name,
            "param_bytes": human_bytes(total.param_bytes),
            "weight_layers": report.weight_layers,
            "top1": accuracy(report.network, "top1")[0],
            "top5": accuracy(report.network, "top5")[0],
            "source": accuracy(report.network, "top1")[1] or accuracy(report.network, "top5")[1],
            "params_ratio": _ratio(total.params, base.params),
            "count_ratio": _ratio(total.counted, base.counted),
        }
        return tuple(
            cells[key] if key in cells
            else getattr(total, key) if hasattr(total, key)
            else _other(report, key)
            for key in keys
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost compare`` (see ``archcost schema compare``)."""
        return {
            "schema": contract_id("compare"),
            "baseline": self.baseline.network.name,
            "convention": self.baseline.convention.name,
            "models": [
                {
                    "model": report.network.name,
                    "title": report.network.title,
                    "year": report.network.year,
                    **report.network.input_record,
                    "batch": report.batch,
                    "dtype": report.dtype,
                    "totals": {
                        **record(report.total),
                        "weight_layers": report.weight_layers,
                    },
                    "remarks": plain(report.network.remarks),
                    "published": [
                        {"source": row.source, **row.figures} for row in report.network.published
                    ],
                }
                for report in self.reports
            ],
        }


def _other(report: Report, name: str) -> Cell:
    """Return one of :data:`OTHERS`, None where it is not known."""
    if isinstance(report, Ensemble):
        return None
    value = FIGURES[name].value(Subject(report.network, report.setting), "")
    return None if value is None else plain(value)


def _ratio(value: int, base: int) -> Cell:
    return f"{float(Fraction(value, base)):.3f}" if base else None


def compare(
    reports: Sequence[Report], baseline: str | None = None, sort: str | None = None
) -> Comparison:
    """Return the comparison of reports, ordered by a column if asked.

    Raises:
        LookupFailed: an unknown column or baseline.
    """
    by_name = {report.network.name: report for report in reports}
    if baseline is not None and baseline not in by_name:
        raise LookupFailed("baseline", baseline, by_name)
    base = by_name[baseline] if baseline else reports[0]
    comparison = Comparison(tuple(reports), base)
    if sort is None:
        return comparison
    keys = [column.key for column in (*comparison.table().columns, *OTHERS)]
    if sort not in keys:
        raise LookupFailed("column", sort, keys)
    numbers = {"params_ratio": "params", "count_ratio": "counted"}
    ordered = sorted(reports, key=lambda report: _sort_key(report, numbers.get(sort, sort)))
    return Comparison(tuple(ordered), base)


def _sort_key(report: Report, column: str) -> tuple[bool, Any]:
    if column in ("top1", "top5"):
        value = accuracy(report.network, column)[0]
        return (value is None, float(value or 0))
    if column == "model":
        return (False, report.network.name)
    if column == "source":
        return (False, accuracy(report.network, "top1")[1] or "")
    if any(column == each.key for each in OTHERS):
        other = _other(report, column)
        return (other is None, other or 0)
    return (False, getattr(report, column, None) or getattr(report.total, column, 0))
