"""The derivation of each figure of a layer: the engine's own formulas on symbolic numbers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from archcost.analysis.receptive import Field
from archcost.analysis.report import Report, Row
from archcost.conventions import counted_layers, uncounted, unhooked
from archcost.errors import LookupFailed
from archcost.graph import Graph
from archcost.network import Layer, prefixes
from archcost.number import Symbolic, plain
from archcost.ops.reads import ALL, Blocks, spatial_reads
from archcost.shape import Shape, numel, per_axis, same_cut, same_padding, show
from archcost.table import Cell, Column, Table, Tabled

DEAD = "no output needs it, and the tool leaves it out"
UNHOOKED = "no hook of the tool finds it, and nothing else of it counts"


@dataclass(frozen=True)
class Fact:
    """One figure with its formula: ``55`` from ``(227 − 11)/4 + 1``.

    ``reason`` says in words what no formula says.
    """

    name: str
    value: int | str
    formula: str = ""
    reason: str = ""

    def __str__(self) -> str:
        """Return ``formula = value``."""
        value = f"{self.value:,}" if isinstance(self.value, int) else self.value
        return f"{self.formula} = {value}" if self.formula not in ("", value) else value

    @property
    def derivation(self) -> str:
        """The formula, and the reason if there is one."""
        return "; ".join(filter(None, (self.formula, self.reason)))


def explain(report: Report, path: str) -> list[Fact]:
    """Return the facts of one layer, each with the formula that gave it.

    Raises:
        LookupFailed: no layer has that path; the text gives the nearest.
    """
    layer = report.network[path]
    row = report.by_layer()[path]
    graph = Graph()
    given = {name: getattr(layer.op, name) for name in layer.op.arguments}
    symbols = {name: _symbolic(graph, value) for name, value in given.items()}
    op = type(layer.op)(**symbols) if symbols else layer.op  # a call is made of what was seen
    cost = op.cost(*_symbolic(graph, layer.shapes))
    for shape in (*cost.outputs, *cost.params.values(), *cost.products, *cost.fused):
        settle(*shape)
    facts = [Fact("input", " and ".join(map(show, layer.shapes)))]
    facts += [Fact("rows of the batch", layer.rows)] if layer.rows != 1 else []
    facts += _padding_facts(graph, layer)
    facts += _output_facts(cost.output, layer.cost.output)
    facts += [
        Fact(f"params {name}", plain(numel(shape)), _formula(numel(shape)))
        for name, shape in cost.params.items()
    ]
    if len(layer.params) > 1:
        parts = " + ".join(f"{numel(shape):,}" for shape in layer.params.values())
        facts.append(Fact("params", row.params, parts))
    elif not layer.params or layer.sharing:
        facts.append(Fact("params", row.params, reason=layer.sharing))
    facts += _count_facts(graph, report, row, _times(graph, cost.macs, layer.rows))
    if row.activations:
        made = dataclasses.replace(
            layer.cost,
            output=_symbolic(graph, layer.cost.output),
            others=_symbolic(graph, layer.cost.others),
            products=_symbolic(graph, layer.cost.products),
            fused=_symbolic(graph, layer.cost.fused),
        )
        elements = _times(
            graph, report.activations.count(dataclasses.replace(layer, cost=made)), report.batch
        )
        facts.append(Fact("activations", row.activations, _formula(elements)))
        size = row.activation_bytes // row.activations
        facts.append(Fact("bytes", row.activation_bytes, f"{row.activations:,}·{size}"))
    else:
        rule, reason = report.activations, f"{layer.op.kind} ops make no tensor of their own"
        if rule.name != "lecture":
            reason = f"{rule.name} counts no outputs of {layer.op.kind} ops"
        if layer.path in uncounted(report.network, rule):
            reason = DEAD
        facts.append(Fact("activations", 0, reason=reason))
    return facts + _receptive_facts(report, path)


def _padding_facts(graph: Graph, layer: Layer) -> list[Fact]:
    """Return the padding that ``'same'`` comes to: in all, and how it is parted, per axis."""
    op: Any = layer.op
    if getattr(op, "padding", None) != "same":
        return []
    size, kernel = layer.shapes[0][1:], op.kernel_size
    given = (
        kernel, kernel if op.stride is None else op.stride, getattr(op, "dilation", 1)
    )  # fmt: skip
    sizes = _symbolic(graph, (size, *(per_axis("", n, len(size)) for n in given)))
    found: dict[str, list[int]] = {"padding": [], "padding before": [], "padding after": []}
    for each in zip(*sizes, strict=True):
        parted = same_cut(*each) if op.name == "conv_transpose" else same_padding(*each)
        for own, value in zip(found.values(), parted, strict=True):
            own.append(value)
            settle(value)
    return [fact for name, values in found.items() for fact in _per_axis(name, values, name)]


def _output_facts(output: Shape, plain: Shape) -> list[Fact]:
    if not output:
        return [Fact("output", show(plain))]
    channels, *sizes = output
    facts = [Fact("output", show(plain)), *_per_axis("output channels", [channels])]
    return facts + _per_axis("output axis", sizes, "output size")


def _per_axis(name: str, values: Sequence[int], alike: str = "") -> list[Fact]:
    """Return a fact for each axis whose value has a formula, or one where all have the same."""
    made = [Fact(name, plain(v), _formula(v), reason_of(v)) for v in values]
    if len(made) == 1 and not alike:
        return [fact for fact in made if fact.formula]
    if len(made) > 1 and made.count(made[0]) == len(made) and made[0].formula:
        return [dataclasses.replace(made[0], name=alike)]
    return [
        dataclasses.replace(fact, name=f"{name.removesuffix(' axis')} axis {i}")
        for i, fact in enumerate(made, 1)
        if fact.formula
    ]


def _count_facts(graph: Graph, report: Report, row: Row, macs: int) -> list[Fact]:
    batch = report.batch
    facts = []
    if plain(macs):
        facts.append(Fact("macs", row.macs, _formula(_times(graph, macs, batch))))
        facts.append(Fact("flops", row.flops, f"2·{row.macs:,}"))
    else:
        facts.append(Fact("macs", 0))
    counted = {layer.path: layer for layer in counted_layers(report.network, report.convention)}
    if row.path not in counted:
        facts.append(Fact(report.convention.name, row.counted, reason=DEAD))
    elif report.convention.name not in ("flops", "macs"):
        layer = counted[row.path]
        weights = report.convention.weights_of(layer)
        terms = [
            f"{weights[term]}·{amount * batch:,} {term}"
            for term, amount in report.convention.parts(layer).items()
            if amount and weights[term]
        ]
        none = "" if terms else UNHOOKED if unhooked(layer) else "nothing of it counts"
        facts.append(Fact(report.convention.name, row.counted, " + ".join(terms), none))
    return facts


def _receptive_facts(report: Report, path: str) -> list[Fact]:
    """Return the receptive field, derived from that of the input where a window widens it."""
    name, layer, fields = "receptive field", report.network[path], report.receptive_fields
    field = fields[path]
    if not str(field):
        return [Fact(name, "none", reason="the network's input has no spatial axes")]
    alone = (1,) * len(field.size)
    own = [fields[i] for i in layer.inputs if i in fields] or [Field(alone, alone)]
    if len(own) > 1:
        return [Fact(name, str(field), reason="what is seen on all ways to this layer")]
    size, jump = own[0].size, own[0].jump
    if field.whole and not own[0].whole:
        return [Fact(name, str(field), reason="every output sees all of the input")]
    if size == field.size:
        return [Fact(name, str(field), reason="that of its input")]
    windows = spatial_reads(layer.op.reads(*layer.shapes), layer.shapes[0])
    if any(isinstance(how, Blocks) for how in windows):
        return [Fact(name, str(field), reason="of the output that sees the most")]
    if len(windows) != len(size) or ALL in windows:
        return [Fact(name, str(field), reason="it reads every position along an axis")]
    made: list[Fact] = []
    for axis, how in enumerate(windows):
        extent = how.extent  # type: ignore[union-attr]
        if size[axis] + (extent - 1) * jump[axis] != field.size[axis]:
            return [Fact(name, str(field), reason="of the output that sees the most")]
        formula = f"{size[axis]} + ({extent} − 1)·{_factor(jump[axis])}"
        made.append(Fact(f"{name} axis {axis + 1}", _whole(field.size[axis]), formula))
    if len({fact.formula for fact in made}) == 1:
        return [Fact(name, str(field), made[0].formula)]
    return [Fact(name, str(field)), *made]


def _factor(number: Any) -> str:
    return str(number) if number == int(number) else f"({number})"


def _whole(number: Any) -> int | str:
    return int(number) if number == int(number) else str(number)


def _symbolic(graph: Graph, value: Any) -> Any:
    """Return a value with numbers that know their formula as its whole numbers."""
    if isinstance(value, tuple):
        return tuple(_symbolic(graph, item) for item in value)
    return graph.symbol(value) if type(value) is int else value


def _times(graph: Graph, value: int, batch: int) -> int:
    return value if batch == 1 else graph.symbol(batch) * value


def settle(*numbers: Any) -> None:
    """Mark finished results: derivations of other numbers show their values, not how they came."""
    for number in numbers:
        if type(number) is Symbolic:
            number.settled = True


def reason_of(number: Any) -> str:
    """Return why the formula of a number is as it is, where that was said."""
    rule, values = number.reason if type(number) is Symbolic else ("", ())
    return rule.format(*values)


SUM, PRODUCT, ATOM = 1, 2, 3
"""The precedence of the outermost operation of a text."""

_SIGNS = {"+": (" + ", SUM), "-": (" − ", SUM), "*": ("·", PRODUCT), "%": (" mod ", PRODUCT)}


def derivation(number: Any) -> str:
    """Return the formula as it was computed, on the values: ``(224 + 2·1 − 3)/1 + 1``."""
    return _derived(number)[0] if type(number) is Symbolic else f"{number:,}"


def _derived(number: Symbolic) -> tuple[str, int]:
    op, args = number.op, number.args
    if op == "symbol":
        return _within(number.value, 0), SUM if number.value < 0 else ATOM
    if op in _SIGNS:
        sign, rank = _SIGNS[op]
        return _within(args[0], rank) + sign + _within(args[1], rank + (op in "-%")), rank
    if op in ("//", "/", "ceil_div"):
        inner = f"{_within(args[0], PRODUCT)}/{_within(args[1], ATOM)}"
        if op == "/" or plain(args[0]) % plain(args[1]) == 0:
            return inner, PRODUCT
        return (f"⌊{inner}⌋" if op == "//" else f"⌈{inner}⌉"), ATOM
    if op == "neg":
        return "−" + _within(args[0], PRODUCT), SUM
    return f"{op}({', '.join(_within(arg, SUM) for arg in args)})", ATOM


def _within(number: Any, rank: int) -> str:
    """Return a number as text, with brackets if a formula of that precedence needs them."""
    if type(number) is Symbolic and not number.settled and number.op != "symbol":
        text, own = _derived(number)
    else:
        text, own = f"{number:,}", ATOM if number >= 0 else SUM
    return f"({text})" if own < rank else text


def _formula(value: int) -> str:
    """Return the formula of a number, or nothing when it is the number itself."""
    formula = derivation(value)
    return "" if formula == f"{value:,}" else formula


COLUMNS = (
    Column("layer", "layer", essential=True, once=True),
    Column("figure", "figure", essential=True),
    Column("value", "value", True, essential=True),
    Column("formula", "derivation", essential=True),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Explanation(Tabled):
    """The derivations of a layer, of a group, or of a whole network.

    Attributes:
        report: the figures that are derived.
        path: the layer or group, None for the whole network.
    """

    report: Report
    path: str | None = None

    @property
    def subject(self) -> str:
        """The layer and its network."""
        name = self.report.network.name
        return f"{self.path} of {name}" if self.path else name

    @cached_property
    def facts(self) -> Mapping[str, Sequence[Fact]]:
        """The facts of each layer, by its path: a figure, its value, its formula."""
        return {path: explain(self.report, path) for path in _layers_at(self.report, self.path)}

    def table(self) -> Table:
        """Return one row per figure."""
        return explanation(self.report, self.path)

    def to_dict(self) -> dict[str, Any]:
        """Return the facts of each layer; integers stay integers."""
        return {
            "model": self.report.network.name,
            "layers": [
                {"name": path, "facts": [dataclasses.asdict(fact) for fact in facts]}
                for path, facts in self.facts.items()
            ],
        }


def explanation(report: Report, path: str | None = None) -> Table:
    """Return the derivations of one layer, of a group, or of the whole network as a table.

    Raises:
        LookupFailed: no layer or group has that path; the text gives the nearest.
    """
    rows: list[tuple[Cell, ...]] = []
    for name in _layers_at(report, path):
        layer = report.network[name]
        head = f"{name}: {layer.op.name} {layer.settings}".rstrip()
        for fact in explain(report, name):
            rows.append((head, fact.name, fact.value, fact.derivation))
            head = ""
    return Table(COLUMNS, tuple(rows), report.title, notes=tuple(map(str, report.notes)))


def _layers_at(report: Report, path: str | None) -> list[str]:
    """Return the path of one layer, of those in a group, or of all."""
    paths = [layer.path for layer in report.network]
    if path is not None and path not in paths:
        inside = [name for name in paths if path in prefixes(name)] or [
            name for name in paths if re.fullmatch(rf"{re.escape(path)}_\d+", name)
        ]  # a table's name that stands in several rows
        if not inside:
            groups = [prefix for name in paths for prefix in prefixes(name)]
            raise LookupFailed("layer", path, [*paths, *groups])
        return inside
    return paths if path is None else [path]
