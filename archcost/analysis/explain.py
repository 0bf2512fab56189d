"""The derivation of each figure of a layer, from the engine's own formulas on recording numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from archcost.analysis.report import Report, Row, prefixes
from archcost.errors import LookupFailed
from archcost.ops import Op
from archcost.ops.base import EVERYWHERE
from archcost.shape import Shape, numel, show
from archcost.table import Cell, Column, Table
from archcost.trace import Traced, derivation


@dataclass(frozen=True)
class Fact:
    """One figure with its formula: ``55`` from ``(227 − 11)/4 + 1``."""

    name: str
    value: int | str
    formula: str = ""

    def __str__(self) -> str:
        """Return ``formula = value``."""
        value = f"{self.value:,}" if isinstance(self.value, int) else self.value
        return f"{self.formula} = {value}" if self.formula not in ("", value) else value


def explain(report: Report, path: str) -> list[Fact]:
    """Return the facts of one layer, each with the formula that gave it.

    Raises:
        LookupFailed: no layer has that path; the text gives the nearest.
    """
    layer = report.network[path]
    row = report.by_layer()[path]
    cost = traced_op(layer.op).cost(*(traced(shape) for shape in layer.shapes))
    facts = [Fact("input", " and ".join(map(show, layer.shapes)))]
    facts += _output_facts(cost.output, layer.cost.output)
    facts += [
        Fact(f"params {name}", int(numel(shape)), _formula(numel(shape)))
        for name, shape in cost.params.items()
    ]
    if len(cost.params) > 1:
        parts = " + ".join(f"{int(numel(shape)):,}" for shape in cost.params.values())
        facts.append(Fact("params", row.params, parts))
    elif not cost.params:
        facts.append(Fact("params", 0))
    facts += _count_facts(report, row, cost.work)
    elements = _times(numel(traced(layer.cost.output)), report.batch)
    if row.activations:
        facts.append(Fact("activations", row.activations, _formula(elements)))
        size = row.activation_bytes // row.activations
        facts.append(Fact("bytes", row.activation_bytes, f"{row.activations:,}·{size}"))
    else:
        facts.append(Fact("activations", 0, f"{layer.op.kind} ops make no tensor of their own"))
    facts.append(Fact("receptive field", *_receptive_fact(report, path)))
    return facts


def _output_facts(output: Shape, plain: Shape) -> list[Fact]:
    facts = [Fact("output", show(plain))]
    for i, size in enumerate(output):
        formula = _formula(size)
        if formula:
            facts.append(
                Fact("output channels" if i == 0 else f"output axis {i}", int(size), formula)
            )
    if len(facts) > 2 and len({str(fact) for fact in facts[1:]}) == 1:  # height and width alike
        facts = [facts[0], dataclasses.replace(facts[1], name="output size")]
    return facts


def _count_facts(report: Report, row: Row, work: Any) -> list[Fact]:
    batch = report.batch
    mac = work.get("mac")
    facts = []
    if mac is not None:
        facts.append(Fact("macs", row.macs, _formula(_times(mac, batch))))
        facts.append(Fact("flops", row.flops, f"2·{row.macs:,}"))
    else:
        facts.append(Fact("macs", 0))
    if report.convention.name not in ("flops", "macs"):
        terms = [
            f"{weight}·{int(work[term]) * batch:,} {term}"
            for term, weight in report.convention.weights.items()
            if work.get(term)
        ]
        facts.append(Fact(report.convention.name, row.counted, " + ".join(terms)))
    return facts


def _receptive_fact(report: Report, path: str) -> tuple[str, str]:
    layer = report.network[path]
    fields = report.receptive_fields
    value = str(fields[path])
    before = fields.get(layer.inputs[0])
    windows = layer.op.window(*layer.shapes)
    if not windows or windows == EVERYWHERE or not value:
        return value or "none", ""
    size = before.size if before else (1,) * len(fields[path].size)
    jump = before.jump if before else (1,) * len(fields[path].size)
    extent = windows[0][0]
    if size[0] + (extent - 1) * jump[0] != fields[path].size[0]:
        return value, ""
    return value, f"{size[0]} + ({extent} − 1)·{jump[0]}"


def traced(shape: Shape) -> Shape:
    """Return a shape of recording numbers."""
    return tuple(Traced(size) for size in shape)


def traced_op(op: Op) -> Op:
    """Return the op with recording numbers as its whole-number arguments."""
    changed = {
        f.name: _traced_value(getattr(op, f.name))
        for f in dataclasses.fields(op)  # type: ignore[arg-type]
    }
    return dataclasses.replace(op, **changed)  # type: ignore[type-var]


def _traced_value(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return Traced(value)
    if isinstance(value, tuple):
        return tuple(_traced_value(item) for item in value)
    return value


def _times(value: int, batch: int) -> int:
    return value if batch == 1 else Traced(batch) * value


def _formula(value: int) -> str:
    """Return the formula of a number, or nothing when it is the number itself."""
    formula = derivation(value)
    return "" if formula == f"{int(value):,}" else formula


def explanation(report: Report, path: str | None = None) -> Table:
    """Return the derivations of one layer, of a group, or of the whole network as a table.

    Raises:
        LookupFailed: no layer or group has that path; the text gives the nearest.
    """
    paths = [layer.path for layer in report.network]
    if path is not None and path not in paths:
        inside = [name for name in paths if path in prefixes(name)]
        if not inside:
            groups = [prefix for name in paths for prefix in prefixes(name)]
            raise LookupFailed("layer", path, [*paths, *groups])
        paths = inside
    elif path is not None:
        paths = [path]
    rows: list[tuple[Cell, ...]] = []
    for name in paths:
        layer = report.network[name]
        head = f"{name}: {layer.op.name} {layer.settings}".rstrip()
        for fact in explain(report, name):
            rows.append((head, fact.name, fact.value, fact.formula))
            head = ""
    columns = (
        Column("layer", "layer"), Column("figure", "figure"),
        Column("value", "value", True), Column("formula", "derivation"),
    )  # fmt: skip
    return Table(columns, tuple(rows), report.title, notes=(report.note,))
