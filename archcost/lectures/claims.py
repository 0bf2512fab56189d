"""What lectures claim, as data, and the language in which a claim says what to compute.

A claim names where it stands, what is printed, and an expression whose value is the true figure;
the verdict is computed and never written down. In the file::

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
        - each: [row, layer, at, shape, params]   # a table: every claim once for every row
          of:
            - [01, CONV1, 004:800, 55x55x96, 35K]
            - [02, POOL1, 004:803, 27x27x96, -]   # where nothing is printed there is no claim
          claims:
            - {id: "row{row}-shape", at: "{at}", output_shape: "{shape}", is: "output(alexnet, {layer})"}
            - {id: "row{row}-params", at: "{at}", params: "{params}", is: "params(alexnet, {layer})"}

Expressions are those of specs, with exact division and the functions of
:class:`~archcost.findings.functions.Measures`. A bare
word is a model or a layer; ``resnet50(depths=[3, 24, 36, 3])`` is a model with other knobs
(``input`` and ``aux`` too). A string with bars is an input and the layers that follow it; braces in
a string hold an expression. Shapes are as lectures print them: height x width x channels.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import islice, product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError, SpecError, shorten
from archcost.findings.audit import Finding, Slip, cut_instead, judge_readings
from archcost.findings.functions import MEASURES, ClaimEvaluator, Measures
from archcost.published import WRONG, Value, judge
from archcost.spec import source as yaml
from archcost.spec.document import Document, document_from
from archcost.spec.expression import ExpressionError, parse
from archcost.spec.source import Node, Reader, Scalar, Source
from archcost.spec.values import FUNCTIONS

QUANTITIES = (
    "output_shape", "params", "activations", "activation_bytes", "macs", "flops",
    "receptive_field", "weight_layers", "ratio",
)  # fmt: skip
TABLE = ("each", "of", "claims")
NOT_PRINTED = "-"
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
        node: its place in the file.
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
    path = Path(__file__).with_name("claims.yaml")
    return read_claims(Source(f"archcost/lectures/{path.name}", path.read_text("utf-8")))


def read_claims(source: Source) -> Claims:
    """Read and check a file of claims; nothing is computed yet.

    Raises:
        SpecError: with file, line and column.
    """
    claims: list[LectureClaim] = []

    def read(node: Node) -> None:
        for topic, (_, items) in source.mapping(node, "claims").items():
            if not isinstance(items, yaml.Sequence):
                raise source.error(items, f"{shorten(topic)} must be a list of claims")
            for item in items.items:
                claims.extend(_claim(source, topic, one) for one in _each(source, item))
        _refuse_duplicates(source, claims)

    root = yaml.parse_yaml(source)
    fields = {"claims": read, "nets?": lambda node: _nets(source, node)}
    found = source.read(root, "a file of claims", fields)
    return Claims(source, found.get("nets", {}), tuple(claims))


def _refuse_duplicates(source: Source, claims: list[LectureClaim]) -> None:
    first: dict[str, int] = {}
    for claim in claims:
        for place in claim.places:
            name = f"{place.lecture}-{claim.id}"
            if name in first:
                reason = f"two claims are {name!r}; the first in line {first[name]}"
                raise source.error(claim.node, reason)
            first[name] = claim.node.line


def _each(source: Source, item: Node) -> Iterator[Node]:
    """Yield a claim as it is, and the claims of a table row by row."""
    if not isinstance(item, yaml.Mapping) or "each" not in item.entries:
        yield item
        return
    for key, _ in item.entries.values():
        source.known(key, "key", TABLE)
    names = [_scalar(source, name, "a name").text for name in _items(source, item, "each")]
    claims = _items(source, item, "claims")
    for row in _items(source, item, "of"):
        if not isinstance(row, yaml.Sequence) or len(row.items) != len(names):
            raise source.error(row, f"a row has a cell for each of {', '.join(names)}")
        cells = [_scalar(source, cell, "a cell").text for cell in row.items]
        values = dict(zip(names, cells, strict=True))
        for claim in claims:
            filled = _filled(claim, values, row)
            if isinstance(filled, yaml.Mapping) and not any(
                isinstance(value, Scalar) and value.text == NOT_PRINTED
                for _, value in filled.entries.values()
            ):
                yield filled


def _items(source: Source, table: yaml.Mapping, key: str) -> list[Node]:
    node = table.get(key)
    if not isinstance(node, yaml.Sequence) or not node.items:
        raise source.error(node or table, f"a table of claims has {key}, a list")
    return node.items


def _filled(node: Node, values: Mapping[str, str], row: Node) -> Node:
    """Return a claim with ``{name}`` replaced in its texts; it stands where the row does."""
    match node:
        case Scalar(text=text):
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", value)
            return Scalar(text, row.line, row.column, plain=False)
        case yaml.Mapping(entries=entries):
            filled = {
                key: (name, _filled(value, values, row)) for key, (name, value) in entries.items()
            }
            return yaml.Mapping(filled, row.line, row.column)
    return node


def _claim(source: Source, topic: str, item: Node) -> LectureClaim:
    def expression(node: Node) -> Scalar:
        return _expression(source, node, "an expression")

    def several(key: str, least: int = 1) -> Reader:
        return lambda node: _expressions(source, node, key, least)

    figures = dict.fromkeys((f"{key}?" for key in QUANTITIES), str)
    found = source.read(item, "a claim", {
        "id": str, "at": lambda node: _places(source, _scalar(source, node, "at")),
        **figures, "is?": expression, "readings?": several("readings", 2),
        "slips?": several("slips"), "for?": several("for"), "when?": expression, "quote?": str,
        "why?": str,
    })  # fmt: skip
    quantities = [key for key in QUANTITIES if key in found]
    if len(quantities) != 1:
        names = " and ".join(quantities) or "none"
        reason = f"a claim prints one quantity, of {', '.join(QUANTITIES)}; got {names}"
        raise source.error(item, reason)
    if ("is" in found) == ("readings" in found):
        raise source.error(item, "a claim has either `is`, or `readings` where its meaning is open")
    return LectureClaim(
        id=found["id"], topic=topic, places=found["at"],
        quantity=quantities[0], printed=found[quantities[0]],
        readings=found.get("readings") or {"": found["is"]}, slips=found.get("slips", {}),
        cases=found.get("for", {}), when=found.get("when"), why=found.get("why", ""), node=item,
    )  # fmt: skip


def _places(source: Source, node: Scalar) -> tuple[Place, ...]:
    places = []
    for part in node.text.split(";"):
        match = re.fullmatch(r"\s*(\w+):(\d{1,6}(?: +\d{1,6})*)\s*", part)
        if not match:
            reason = f"places are written as `000:452 491; 001:342`; got {shorten(part.strip())!r}"
            raise source.error(node, reason)
        places.append(Place(match[1], tuple(int(line) for line in match[2].split())))
    return tuple(places)


def _nets(source: Source, node: Node) -> dict[str, Document | str]:
    nets: dict[str, Document | str] = {}
    for name, (key, body) in source.mapping(node, "nets").items():
        if not name.isidentifier() or name in FUNCTIONS or name in MEASURES:
            raise source.error(key, f"{shorten(name)!r} cannot name a network here")
        if isinstance(body, Scalar):
            nets[name] = body.text
        else:
            named = {"name": (key, key), **source.mapping(body, "a network")}
            nets[name] = document_from(source, yaml.Mapping(named, body.line, body.column))
    return nets


def _scalar(source: Source, node: Node, what: str) -> Scalar:
    if not isinstance(node, Scalar) or not node.text:
        raise source.error(node, f"{what} must be a single value")
    return node


def _expressions(source: Source, node: Node, what: str, least: int = 1) -> dict[str, Scalar]:
    entries = source.mapping(node, what)
    if len(entries) < least:
        raise source.error(node, f"{what} must have at least {least} entries")
    return {name: _expression(source, value, name) for name, (_, value) in entries.items()}


def _expression(source: Source, node: Node, what: str) -> Scalar:
    scalar = _scalar(source, node, what)
    try:
        parse(scalar.text)
    except ExpressionError as error:
        raise _misplaced(source, scalar, error, "") from None
    return scalar


def _misplaced(source: Source, node: Scalar, error: ExpressionError, before: str) -> SpecError:
    return source.error(node, f"{before}{error}", error.offset + (not node.plain))


# Computing.


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
            SpecError: at the expression: it cannot be computed, it is not a figure, or its value
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


# What is found.


def audit_lectures(claims: Claims | None = None) -> list[Finding]:
    """Return the findings on everything that the lectures claim, one for each lecture.

    Raises:
        SpecError: a claim that cannot be computed, with its place in the file.
    """
    bench = Bench(claims or lecture_claims())
    return [finding for claim in bench.claims.claims for finding in audit_claim(bench, claim)]


def audit_claim(bench: Bench, claim: LectureClaim) -> Iterator[Finding]:
    """Yield what is found of a claim, for each lecture that makes it."""
    outcomes = {text: bench.outcome(claim, node) for text, node in claim.readings.items()}
    values = [outcome.value for outcome in outcomes.values()]
    try:
        verdict = judge_readings(claim.printed, values)
        slips = []
        for text, node in claim.slips.items():
            value = bench.outcome(claim, node).value
            given = judge(claim.printed, value)
            slips.append(Slip(text, value, explains=given != WRONG))
    except ArchcostError as error:
        raise bench.claims.source.error(claim.node, f"{claim.id}: {error}") from None
    why = claim.why
    if len(values) == 1 and not why:
        fails = next(iter(outcomes.values())).fails
        why = f"not for {written(fails)}" if fails else cut_instead(verdict)
    for place in claim.places:
        yield Finding(
            name=f"{place.lecture}-{claim.id}",
            quantity=claim.quantity,
            printed=claim.printed,
            verdict=verdict,
            source=f"lecture {place}",
            computed=tuple(zip(outcomes, values, strict=True)),
            slips=tuple(slips),
            why=why,
        )
