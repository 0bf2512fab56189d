"""What lectures claim, as data, and the language in which a claim says what to compute.

A claim names where it stands, what is printed, and an expression whose value is the true figure;
the verdict is computed in :mod:`archcost.analysis.audit` and never written down. In the file::

    nets:                             # networks that the catalog does not have: specs, or chains
      bottleneck: 256x14x14 | conv(64, 1) | conv(64, 3, padding=1) | conv(256, 1)
    claims:
      AlexNet:                        # a topic
        - {id: conv1-params, at: 000:379, params: 35K, is: "params(alexnet, CONV1)"}
        - id: params-60M
          at: 002:356; 003:76 80      # lecture:lines
          params: 60M                 # the quantity, and its figure as printed
          readings: {two towers: params(alexnet_two_towers), one tower: params(alexnet)}
        - id: ops-358M
          at: 001:1261
          macs: 358M
          is: macs(inception_reduced)
          slips: {the 3x3 row twice: "macs(inception_reduced) + macs(inception_reduced, '*3x3*')"}
        - id: same-padding
          at: 002:147
          output_shape: N             # any text, where the expression says whether it is true
          for: {N: "range(5, 12)", F: "[1, 3, 5]"}
          when: F <= N
          is: side('1x{N}x{N} | conv(1, {F}, padding={(F - 1) // 2})') == N

Expressions are those of specs, with exact division and the functions of :class:`Measures`. A bare
word is a model or a layer; ``resnet50(depths=[3, 24, 36, 3])`` is a model with other knobs
(``input`` and ``aux`` too). A string with bars is an input and the layers that follow it; braces in
a string hold an expression. Shapes are as lectures print them: height x width x channels.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import islice, product
from types import MappingProxyType
from typing import Any

from archcost.analysis.report import WEIGHT_KINDS, Report, Row, analyze, select_layers
from archcost.errors import ArchcostError, LookupFailed, SpecError, did_you_mean, shorten
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops import OPS
from archcost.shape import Shape, numel
from archcost.spec import source as yaml
from archcost.spec.catalog import expand, load, specs_folder
from archcost.spec.document import Document, document_from
from archcost.spec.expression import FUNCTIONS, Evaluator, ExpressionError, parse
from archcost.spec.source import Node, Scalar, Source

Value = int | Fraction | bool | list[int]
"""What a claim's expression gives: a number, whether a statement holds, or a shape or list."""

QUANTITIES = (
    "output_shape", "params", "activations", "activation_bytes", "macs", "flops",
    "receptive_field", "weight_layers", "ratio",
)  # fmt: skip
KEYS = ("id", "at", *QUANTITIES, "is", "readings", "slips", "for", "when", "quote", "why")
MAX_CASES = 5_000


@dataclass(frozen=True)
class Place:
    """Lines of one lecture."""

    lecture: str
    lines: tuple[int, ...]

    def __str__(self) -> str:
        """Return ``000:452`` and how often it is repeated: ``000:452 (+6)``."""
        more = f" (+{len(self.lines) - 1})" if len(self.lines) > 1 else ""
        return f"{self.lecture}:{self.lines[0]}{more}"


@dataclass(frozen=True)
class LectureClaim:
    """A figure or statement that lectures print.

    Attributes:
        id: its name, unique among the claims of each lecture.
        topic: what the claims around it are about.
        places: where it is printed.
        quantity: one of :data:`QUANTITIES`.
        printed: the figure as printed, or a statement in short.
        readings: what it may mean, each with the expression that computes it; one unnamed reading
            where the meaning is plain.
        slips: mistakes that may have led to the printed figure, each with its expression.
        cases: names and the values that they run through; the figure must hold in all cases.
        when: the condition of a case.
        why: what expressions cannot say.
        node: where it stands in the file.
    """

    id: str
    topic: str
    places: tuple[Place, ...]
    quantity: str
    printed: str
    readings: Mapping[str, Scalar]
    slips: Mapping[str, Scalar]
    cases: Mapping[str, Scalar]
    when: Scalar | None
    why: str
    node: Node


@dataclass(frozen=True)
class Claims:
    """A file of claims, with the networks that only it defines."""

    source: Source
    nets: Mapping[str, Document | str]
    claims: tuple[LectureClaim, ...]


# Reading.


@lru_cache(maxsize=1)
def lecture_claims() -> Claims:
    """Return the shipped claims of the lectures."""
    path = specs_folder() / "lectures" / "claims.yaml"
    return read_claims(Source("specs/lectures/claims.yaml", path.read_text("utf-8")))


def read_claims(source: Source) -> Claims:
    """Read and check a file of claims; nothing is computed yet.

    Raises:
        SpecError: with file, line and column.
    """
    root = _mapping(source, yaml.parse_yaml(source), "a file of claims")
    for key, (node, _) in root.entries.items():
        if key not in ("nets", "claims"):
            hint = did_you_mean(key, ("nets", "claims"))
            raise source.error(node, f"unknown key {shorten(key)!r}{hint}")
    if "claims" not in root.entries:
        raise source.error(root, "the file has no claims")
    claims = []
    for topic, (_, items) in _mapping(source, root.get("claims"), "claims").entries.items():
        if not isinstance(items, yaml.Sequence):
            raise source.error(items, f"{shorten(topic)} must be a list of claims")
        claims += [_claim(source, topic, item) for item in items.items]
    _refuse_duplicates(source, claims)
    return Claims(source, _nets(source, root.get("nets")), tuple(claims))


def _refuse_duplicates(source: Source, claims: list[LectureClaim]) -> None:
    first: dict[str, int] = {}
    for claim in claims:
        for place in claim.places:
            name = f"{place.lecture}-{claim.id}"
            if name in first:
                reason = f"two claims are {name!r}; the first in line {first[name]}"
                raise source.error(claim.node, reason)
            first[name] = claim.node.line


def _claim(source: Source, topic: str, item: Node) -> LectureClaim:
    entries = _mapping(source, item, "a claim").entries
    for key, (node, _) in entries.items():
        if key not in KEYS:
            raise source.error(node, f"unknown key {shorten(key)!r}{did_you_mean(key, KEYS)}")
    quantities = [key for key in QUANTITIES if key in entries]
    missing = [key for key in ("id", "at") if key not in entries]
    if missing:
        raise source.error(item, f"the claim has no {missing[0]}")
    if len(quantities) != 1:
        found = " and ".join(quantities) or "none"
        reason = f"a claim prints one quantity, of {', '.join(QUANTITIES)}; got {found}"
        raise source.error(item, reason)
    if ("is" in entries) == ("readings" in entries):
        raise source.error(item, "a claim has either `is`, or `readings` where its meaning is open")
    scalars = {
        key: _scalar(source, value, key)
        for key, (_, value) in entries.items()
        if key not in ("readings", "slips", "for")
    }
    readings = {"": _expression(source, scalars["is"])} if "is" in scalars else None
    return LectureClaim(
        id=scalars["id"].text,
        topic=topic,
        places=_places(source, scalars["at"]),
        quantity=quantities[0],
        printed=scalars[quantities[0]].text,
        readings=readings or _expressions(source, entries["readings"][1], "readings", least=2),
        slips=_expressions(source, entries["slips"][1], "slips") if "slips" in entries else {},
        cases=_expressions(source, entries["for"][1], "for") if "for" in entries else {},
        when=_expression(source, scalars["when"]) if "when" in scalars else None,
        why=scalars["why"].text if "why" in scalars else "",
        node=item,
    )


def _places(source: Source, node: Scalar) -> tuple[Place, ...]:
    places = []
    for part in node.text.split(";"):
        match = re.fullmatch(r"\s*(\w+):(\d{1,6}(?: +\d{1,6})*)\s*", part)
        if not match:
            reason = f"places are written as `000:452 491; 001:342`; got {shorten(part.strip())!r}"
            raise source.error(node, reason)
        places.append(Place(match[1], tuple(int(line) for line in match[2].split())))
    return tuple(places)


def _nets(source: Source, node: Node | None) -> dict[str, Document | str]:
    nets: dict[str, Document | str] = {}
    for name, (key, body) in _mapping(source, node, "nets").entries.items() if node else ():
        if not name.isidentifier() or name in FUNCTIONS or name in MEASURES:
            raise source.error(key, f"{shorten(name)!r} cannot name a network here")
        if isinstance(body, Scalar):
            nets[name] = body.text
        else:
            spec = _mapping(source, body, "a network")
            named = {"name": (key, key), **spec.entries}
            nets[name] = document_from(source, yaml.Mapping(named, spec.line, spec.column))
    return nets


def _mapping(source: Source, node: Node | None, what: str) -> yaml.Mapping:
    if not isinstance(node, yaml.Mapping):
        raise source.error(node, f"{what} must be a mapping")
    return node


def _scalar(source: Source, node: Node, what: str) -> Scalar:
    if not isinstance(node, Scalar) or not node.text:
        raise source.error(node, f"{what} must be a single value")
    return node


def _expressions(source: Source, node: Node, what: str, least: int = 1) -> dict[str, Scalar]:
    entries = _mapping(source, node, what).entries
    if len(entries) < least:
        raise source.error(node, f"{what} must have at least {least} entries")
    return {
        name: _expression(source, _scalar(source, value, name))
        for name, (_, value) in entries.items()
    }


def _expression(source: Source, node: Scalar) -> Scalar:
    try:
        parse(node.text)
    except ExpressionError as error:
        raise _misplaced(source, node, error, "") from None
    return node


def _misplaced(source: Source, node: Scalar, error: ExpressionError, before: str) -> SpecError:
    return source.error(node, f"{before}{error}", error.offset + (not node.plain))


# Computing.


@dataclass(frozen=True)
class Variation:
    """A model with some of its knobs set, its input, or its side outputs."""

    model: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A text that is equal for equal variations."""
        return f"{self.model} {sorted(self.settings.items())}"


Model = str | Variation


@dataclass
class Measures:
    """What a claim can ask of a network. Every network is built once.

    ``where`` is any number of shell patterns of layers or groups; without one, the whole network
    counts. ``layer`` is a layer, a group (its last layer), or ``input``; without it, the last.
    """

    nets: Mapping[str, Document | str] = field(default_factory=dict)
    built: dict[str, Report] = field(default_factory=dict)

    def report(self, model: Model) -> Report:
        """Return the report of a model, of one of the file's networks, or of a chain."""
        key = model.key if isinstance(model, Variation) else model
        if not isinstance(key, str):
            raise ArchcostError(f"not a model: {shorten(model)}")
        if key not in self.built:
            self.built[key] = analyze(self._network(model))
        return self.built[key]

    def _network(self, model: Model) -> Network:
        name = model.model if isinstance(model, Variation) else model
        knobs = dict(model.settings) if isinstance(model, Variation) else {}
        aux, shape = bool(knobs.pop("aux", False)), knobs.pop("input", None)
        net = self.nets.get(name, name)
        if isinstance(net, Document):
            return expand(net, input=shape, knobs=knobs, aux=aux)
        if "|" in net:
            return chain(net)
        try:
            return load(net, input=shape, knobs=knobs, aux=aux)
        except LookupFailed as error:
            hint = did_you_mean(name, self.nets) if self.nets and "knob" not in str(error) else ""
            raise ArchcostError(f"{error}{hint}") from None

    # Sums.

    def params(self, model: Model, *where: str) -> int:
        """Parameters, biases and normalisation included."""
        return sum(row.params for row in self._rows(model, where))

    def weights(self, model: Model, *where: str) -> int:
        """Weights of convolutions and linear layers, without biases."""
        return sum(numel(self._weight(row.layer)) for row in self._rows(model, where))

    def macs(self, model: Model, *where: str) -> int:
        """Multiply-accumulates, without biases."""
        return sum(row.macs for row in self._rows(model, where))

    def activations(self, model: Model, *where: str) -> int:
        """Output values by the lectures' rule; the input's too for a whole network."""
        if not where:
            return self.report(model).total.activations
        return sum(row.activations for row in self._rows(model, where))

    def activation_bytes(self, model: Model) -> int:
        """Bytes of all activations at 4 bytes a value."""
        return self.report(model).total.activation_bytes

    def gradients(self, model: Model) -> int:
        """Values of the backward pass as lectures count them: one for each activation."""
        return self.activations(model)

    def count(self, model: Model, op: str, *where: str) -> int:
        """How many layers are of an op."""
        if op not in OPS:
            raise LookupFailed("op", op, OPS)
        return sum(row.layer.op.name == op for row in self._rows(model, where))

    def weight_layers(self, model: Model, *where: str) -> int:
        """Convolutions and linear layers along the longest path through the chosen layers."""
        report = self.report(model)
        if not where:
            return report.weight_layers
        chosen = {row.path for row in self._rows(model, where)}
        depth = {NETWORK_INPUT: 0}
        for layer in report.network:
            own = layer.path in chosen and layer.op.kind in WEIGHT_KINDS
            depth[layer.path] = max(depth[name] for name in layer.inputs) + own
        return max(depth.values())

    # Shapes: height x width x channels.

    def output(self, model: Model, layer: str = "") -> list[int]:
        """The output of a layer: height, width and channels, or features."""
        shape = self._shape(model, layer)
        return [*shape[1:], shape[0]]

    def reads(self, model: Model, layer: str) -> list[int]:
        """What a layer, or the first of a group, reads."""
        shape = self._inside(model, layer)[0].shapes[0]
        return [*shape[1:], shape[0]]

    def size(self, model: Model, layer: str = "") -> list[int]:
        """Height and width of a layer's output."""
        return list(self._shape(model, layer)[1:])

    def side(self, model: Model, layer: str = "") -> int:
        """The size of a square output, or the length of a 1-D one."""
        size = self.size(model, layer)
        if len(set(size)) != 1:
            raise ArchcostError(f"{layer or 'the output'} has no single size: {size}")
        return size[0]

    def channels(self, model: Model, layer: str = "") -> int:
        """Channels of a layer's output."""
        return self._shape(model, layer)[0]

    def values(self, model: Model, layer: str = "") -> int:
        """Elements of a layer's output."""
        return numel(self._shape(model, layer))

    def shrinks(self, model: Model, layer: str) -> Fraction | int:
        """How many times smaller the sides are after a layer or group than before it."""
        before = self.reads(model, layer)
        return exact(Fraction(before[0], self.output(model, layer)[0]))

    def filter(self, model: Model, layer: str) -> list[int]:
        """Weights as K x K x in x out, K x K x channels if depthwise, or in x out."""
        chosen = self._inside(model, layer)[-1]
        out, per_group, *kernel = self._weight(chosen)
        if kernel and per_group == 1 and chosen.shapes[0][0] == out > 1:
            return [*kernel, out]
        return [*kernel, per_group, out]

    def weight_shape(self, model: Model, layer: str) -> list[int]:
        """Weights as they are stored: out x in x K x K."""
        return list(self._weight(self._inside(model, layer)[-1]))

    def kernel(self, model: Model, layer: str) -> int:
        """The side of a layer's square window."""
        return self._window(model, layer)[0]

    def stride(self, model: Model, layer: str) -> int:
        """The stride of a layer's window."""
        return self._window(model, layer)[1]

    def receptive_field(self, model: Model, layer: str = "") -> int:
        """The side of the square of the input that one output value sees."""
        report = self.report(model)
        path = self._inside(model, layer)[-1].path if layer else report.network.outputs[0]
        sizes = set(report.receptive_fields[path].size)
        if len(sizes) != 1 or (size := sizes.pop()) != int(size):
            raise ArchcostError(f"{path} has no single receptive field")
        return int(size)

    def refused(self, model: Model) -> bool:
        """Whether no such network can be built."""
        try:
            self.report(model)
        except SpecError:
            return True
        return False

    # Layers.

    def _rows(self, model: Model, where: tuple[str, ...]) -> list[Row]:
        report = self.report(model)
        if not where:
            return list(report.rows)
        patterns = [pattern for pattern in where if pattern != NETWORK_INPUT]  # costs nothing
        chosen = select_layers(report.network, patterns, f"layer of {report.network.name}")
        paths = {layer.path for layer in chosen}
        return [row for row in report.rows if row.path in paths]

    def _inside(self, model: Model, layer: str) -> list[Layer]:
        network = self.report(model).network
        if layer in network.by_path:
            return [network[layer]]
        return select_layers(network, [layer], f"layer of {network.name}")

    def _shape(self, model: Model, layer: str) -> Shape:
        network = self.report(model).network
        if layer == NETWORK_INPUT:
            return network.input
        return self._inside(model, layer)[-1].cost.output if layer else network.output

    def _weight(self, layer: Layer) -> Shape:
        return layer.cost.params.get("weight", (0,)) if layer.op.kind in WEIGHT_KINDS else (0,)

    def _window(self, model: Model, layer: str) -> tuple[int, int]:
        chosen = self._inside(model, layer)[-1]
        windows = set(chosen.op.window(*chosen.shapes))
        if len(windows) != 1:
            raise ArchcostError(f"{chosen.path} has no square window")
        ((kernel, stride),) = windows
        return int(kernel), int(stride)


MEASURES = tuple(name for name in vars(Measures) if name[0] != "_" and name not in (
    "report", "nets", "built",
))  # fmt: skip
"""The functions of a claim that ask a network."""


def chain(text: str) -> Network:
    """Return the network of a text such as ``3x32x32 | conv(8, 3) | relu``.

    Raises:
        SpecError: an input or a layer that cannot be read.
    """
    shape, *calls = (part.strip() for part in text.split("|"))
    source = Source(text, text)
    items = yaml.Sequence([Scalar(call, 0, 0) for call in calls if call], 0, 0)
    header = {"input": Scalar(shape, 0, 0)}
    return expand(Document(source, "chain", False, header, {}, {}, {}, {}, items))


def exact(number: Fraction) -> Fraction | int:
    """Return a whole fraction as an int."""
    return number.numerator if number.denominator == 1 else number


def rounded(number: int | Fraction, digits: int) -> Fraction | int:
    """Round a positive number to significant digits, halves up."""
    return cut(Fraction(number) + _unit(number, digits) / 2, digits)


def cut(number: int | Fraction, digits: int) -> Fraction | int:
    """Cut a positive number to significant digits."""
    unit = _unit(number, digits)
    return exact(Fraction(number) // unit * unit)


def _unit(number: int | Fraction, digits: int) -> Fraction:
    """Return the unit of the last of a number's significant digits."""
    power = 0
    while Fraction(10) ** power > number:
        power -= 1
    while Fraction(10) ** (power + 1) <= number:
        power += 1
    return Fraction(10) ** (power - digits + 1)


class ClaimEvaluator(Evaluator):
    """Evaluates a claim's expressions in one case; division is exact, unknown words are names."""

    def __init__(self, measures: Measures, case: Mapping[str, Any]) -> None:
        own = {name: getattr(measures, name) for name in MEASURES}
        functions = {**FUNCTIONS, "rounded": rounded, "cut": cut, **own}
        super().__init__(lambda word: case.get(word, word), functions=functions)

    def _value(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.Constant(value=float()):
                raise ExpressionError("figures are exact: write 6 / 5, not 1.2", node.col_offset)
            case ast.Constant(value=str(text)) if "{" in text:
                return re.sub(r"\{([^{}]*)\}", lambda m: str(self(parse(m[1]), depth)), text)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return exact(Fraction(self(left, depth)) / Fraction(self(right, depth)))
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords) if keywords:
                if name in self.functions:
                    raise ExpressionError(f"{name} takes no named arguments", node.col_offset)
                settings = {str(word.arg): self(word.value, depth) for word in keywords}
                return Variation(name, settings)
        return super()._value(node, depth)


@dataclass(frozen=True)
class Outcome:
    """The value of an expression in all cases, and the first case in which a statement fails."""

    value: Value
    fails: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass
class Bench:
    """Evaluates the claims of a file."""

    claims: Claims
    measures: Measures = field(init=False)

    def __post_init__(self) -> None:
        self.measures = Measures(self.claims.nets)

    def outcome(self, claim: LectureClaim, expression: Scalar) -> Outcome:
        """Return the value that an expression of a claim has in every case.

        Raises:
            SpecError: at the expression: it cannot be computed, it is no figure, or its value
                changes from case to case.
        """
        first: tuple[Value, Mapping[str, Any]] | None = None
        for case in self._cases(claim):
            value = self._evaluate(claim, expression, case)
            if isinstance(value, bool) or not isinstance(value, (int, Fraction, list)):
                if not isinstance(value, bool):
                    raise self._error(claim, expression, f"no figure: {shorten(value)!r}")
                if not value:
                    return Outcome(value, case)
            if first is None:
                first = value, case
            elif value != first[0]:
                reason = f"{first[0]} for {written(first[1])}, but {value} for {written(case)}"
                raise self._error(claim, expression, reason)
        if first is None:
            raise self._error(claim, expression, "no case meets the condition")
        return Outcome(first[0])

    def _cases(self, claim: LectureClaim) -> Iterator[Mapping[str, Any]]:
        lists = []
        for name, node in claim.cases.items():
            values = self._evaluate(claim, node, {})
            if not isinstance(values, list) or not values:
                raise self._error(claim, node, f"{name} must run through a list")
            lists.append(values)
        combinations = product(*lists)
        for number, values in enumerate(islice(combinations, MAX_CASES + 1)):
            if number == MAX_CASES:
                raise self._error(claim, claim.node, f"more than {MAX_CASES:,} cases")
            case = dict(zip(claim.cases, values, strict=True))
            if claim.when is None or self._evaluate(claim, claim.when, case):
                yield case

    def _evaluate(self, claim: LectureClaim, node: Scalar, case: Mapping[str, Any]) -> Any:
        try:
            return ClaimEvaluator(self.measures, case)(parse(node.text))
        except ExpressionError as error:
            raise _misplaced(self.claims.source, node, error, f"{claim.id}: ") from None
        except ArchcostError as error:
            raise self._error(claim, node, str(error)) from None

    def _error(self, claim: LectureClaim, node: Node, reason: str) -> SpecError:
        return self.claims.source.error(node, f"{claim.id}: {reason}")


def written(case: Mapping[str, Any]) -> str:
    """Return ``N=3, F=2``."""
    return ", ".join(f"{name}={value}" for name, value in case.items()) or "all"


Compute = Callable[[LectureClaim, Scalar], Outcome]
