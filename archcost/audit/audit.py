"""Printed figures against computed ones: exact, rounds to, ambiguous, wrong; and why.

A printed figure is *exact* if it is the computed one; the computed one *rounds to* it if it has
the printed digits when rounded, where zeros at the end of a number with a unit are not digits
(150K has two). It is *ambiguous* if it is cut instead of rounded, or if what it may mean gives
different figures, and else *wrong*. Accuracies are *not computed*.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any

from archcost.analysis.report import Report, analyze
from archcost.audit.claims import (
    Bench,
    ClaimEvaluator,
    Claims,
    LectureClaim,
    Value,
    lecture_claims,
    written,
)
from archcost.audit.functions import Measures, exact
from archcost.conventions import ACTIVATIONS, CONVENTIONS, find_convention
from archcost.errors import ArchcostError, SpecError
from archcost.network import NETWORK_INPUT, Network
from archcost.published import (
    AMBIGUOUS,
    EXACT,
    NOT_COMPUTED,
    ROUNDS,
    VERDICTS,
    WRONG,
    Claim,
    Published,
)
from archcost.shape import Shape, numel
from archcost.spec.catalog import catalog, chosen_models, expand
from archcost.spec.document import Document
from archcost.spec.expression import ExpressionError, parse
from archcost.table import Column, Table
from archcost.units import Figure


@dataclass(frozen=True)
class Slip:
    """A mistake that may have led to a figure; ``explains`` if it does give what is printed."""

    text: str
    value: Value
    explains: bool


@dataclass(frozen=True)
class Finding:
    """One printed figure and what is true of it.

    Attributes:
        name: the model, its layer, or the claim's id.
        quantity: what is printed, e.g. ``params``.
        printed: the figure as printed.
        verdict: one of :data:`archcost.published.VERDICTS`.
        source: who prints it, and where.
        computed: the computed figure, or one for each reading; empty if it cannot be computed.
        slips: mistakes that were checked.
        why: an explanation in words.
        convention: how the source counts, empty for the default.
    """

    name: str
    quantity: str
    printed: str
    verdict: str
    source: str
    computed: tuple[tuple[str, Value], ...] = ()
    slips: tuple[Slip, ...] = ()
    why: str = ""
    convention: str = ""

    @property
    def explained(self) -> bool:
        """Whether it is not wrong, or is known why."""
        known = bool(self.why) or any(slip.explains for slip in self.slips)
        return self.verdict != WRONG or known

    @property
    def figure(self) -> str:
        """The computed figure, or those of all readings, as text."""
        shown = dict.fromkeys(show_value(value, self.printed) for _, value in self.computed)
        return " or ".join(shown)

    @property
    def note(self) -> str:
        """What the readings are, which slips give the figure, and why, as text."""
        given = [(text, value, "") for text, value in self.computed if text]
        for slip in self.slips:
            given.append((slip.text, slip.value, "" if slip.explains else ", not as printed"))
        parts = [f"{text}: {show_value(value, self.printed)}{end}" for text, value, end in given]
        return "; ".join([*parts, *([self.why] if self.why else [])])

    def record(self) -> dict[str, Any]:
        """Return the finding for JSON; whole numbers stay whole."""
        return {
            "name": self.name,
            "quantity": self.quantity,
            "printed": self.printed,
            "verdict": self.verdict,
            "computed": [{"reading": t, "value": _plain(value)} for t, value in self.computed],
            "convention": self.convention,
            "source": self.source,
            "slips": [
                {"text": slip.text, "value": _plain(slip.value), "explains": slip.explains}
                for slip in self.slips
            ],
            "why": self.why,
        }


def _plain(value: Value) -> int | float | bool | list[int]:
    return float(value) if isinstance(value, Fraction) else value


def show_value(value: Value, printed: str = "") -> str:
    """Return a value as ``printed`` is written: ``55x55x96``, ``16, 19``, ``8.913``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        mark = re.search(r"\d ?(x|->) ?\d", printed)
        return (mark[1] if mark else ", ").join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{float(value):.5g}"


# Verdicts.


def judge(printed: str, value: Value) -> str:
    """Return the verdict on a printed figure whose true value is ``value``.

    A statement, whose value is whether it holds, is exact or wrong; so is a shape or list.

    Raises:
        ArchcostError: ``printed`` is not of the value's kind.
    """
    if isinstance(value, bool):
        return EXACT if value else WRONG
    if isinstance(value, list):
        return EXACT if _sizes(printed, len(value)) == value else WRONG
    figure = read_figure(printed)
    if figure.exact(value):
        return EXACT
    if figure.rounds(value):
        return ROUNDS
    return AMBIGUOUS if figure.truncates(value) else WRONG


def judge_readings(printed: str, values: Sequence[Value]) -> str:
    """Return the verdict on a figure that may mean different things, with the value of each.

    Where these are not the same in the digits that are printed, zeros counted, it is ambiguous.
    """
    shown = [_as_printed(printed, value) for value in values]
    return judge(printed, values[0]) if all(s == shown[0] for s in shown) else AMBIGUOUS


def _as_printed(printed: str, value: Value) -> Value:
    if isinstance(value, (bool, list)):
        return value
    try:
        place = read_figure(printed).place
    except ArchcostError:  # a text
        return value
    return exact(Fraction((value + place / 2) // place * place)) if place else value


def read_figure(printed: str) -> Figure:
    """Read a printed number, a fraction ``1/4``, or a product ``28x28x64``.

    Raises:
        ArchcostError: none of these.
    """
    if match := re.fullmatch(r"(\d+)/([1-9]\d*)", printed):
        return Figure(printed, Fraction(int(match[1]), int(match[2])), Fraction(0), Fraction(0))
    if re.fullmatch(r"\d+(?:x\d+)+", printed):
        product = Fraction(prod(map(int, printed.split("x"))))
        return Figure(printed, product, Fraction(0), Fraction(0))
    return Figure.parse(printed)


def _sizes(printed: str, length: int) -> list[int]:
    """Return the numbers of a shape or list; leading ones are dropped down to ``length``."""
    parts = re.split(r"\s*(?:x|,|->)\s*", printed.strip())
    if not all(part.isdecimal() for part in parts):
        raise ArchcostError(f"{printed!r} is not a shape or a list of whole numbers")
    numbers = [int(part) for part in parts]
    while len(numbers) > length and numbers[0] == 1:
        numbers = numbers[1:]
    return numbers


def _cut(verdict: str) -> str:
    """Return why a figure with one reading is ambiguous."""
    return "cut instead of rounded" if verdict == AMBIGUOUS else ""


# What is audited: published figures, the claims of a lecture's text, the claims of all lectures.


def audit_models(names: Iterable[str]) -> list[Finding]:
    """Return the findings on models of the catalog, families, and files.

    Raises:
        ArchcostError: an unknown model, or a file that cannot be read.
    """
    findings: list[Finding] = []
    for name in names:
        for document, variant in chosen_models(name):
            network = expand(document, variant)
            findings += audit_published(document, network, variant)
            findings += audit_text(document, network, variant)
    return findings


def audit_catalog() -> list[Finding]:
    """Return the findings on all models of the catalog."""
    return audit_models(catalog())


def audit_published(document: Document, network: Network, variant: str = "") -> Iterator[Finding]:
    """Yield a finding for every figure that the spec cites of the network."""
    own = {network.input: network}
    for row in network.published:
        shape = row.input or network.input
        if shape not in own:
            own[shape] = expand(document, variant, input=shape)
        for quantity, printed in row.figures.items():
            yield _published(own[shape], row, quantity, printed, partial(expand, document, variant))


def _published(
    network: Network, row: Published, quantity: str, printed: str, vary: Callable[..., Network]
) -> Finding:
    value = _figure_of(network, quantity, row.convention)
    verdict = NOT_COMPUTED if value is None else judge(printed, value)
    known = verdict in (EXACT, ROUNDS)
    slips = () if known or value is None else _slips(network, row, printed, vary)
    return Finding(
        name=network.name,
        quantity=quantity,
        printed=printed,
        verdict=verdict,
        source=row.source,
        computed=() if value is None else (("", value),),
        slips=slips,
        why="" if known else row.why or ("" if slips else _cut(verdict)),
        convention=row.convention if quantity in ("macs", "flops", "activations") else "",
    )


def _slips(
    network: Network, row: Published, printed: str, vary: Callable[..., Network]
) -> tuple[Slip, ...]:
    """Return the slips that give the printed figure; if none does, all, unless words say why."""

    def this(input: Shape | str | None = None, **settings: Any) -> Network:
        return vary(input=input or network.input, **settings)

    measures = Measures(nets={"this": this}, built={"this": analyze(network)})
    slips = []
    for text, expression in row.slips.items():
        try:
            value = ClaimEvaluator(measures, {})(parse(expression))
            slips.append(Slip(text, value, explains=judge(printed, value) != WRONG))
        except (ArchcostError, ExpressionError) as error:
            place = network.source, row.line, row.column
            raise SpecError(f"{text}: {error}", *place) from None
    given = tuple(slip for slip in slips if slip.explains)
    return given if given or row.why else tuple(slips)


def _figure_of(network: Network, quantity: str, convention: str) -> int | None:
    """Return a figure of :data:`archcost.published.FIGURES`, None for accuracies."""
    if convention and convention not in ACTIVATIONS:
        find_convention(convention)
    match quantity:
        case "macs" | "flops":
            price = convention if convention in CONVENTIONS else quantity
            return analyze(network, convention=price).total.counted
        case "activations":
            which = convention if convention in ACTIVATIONS else "lecture"
            return analyze(network, activations=which).total.activations
        case "params":
            return analyze(network).total.params
        case "size":
            return analyze(network).total.param_bytes
        case "weight_layers":
            return analyze(network).weight_layers
    return None


def audit_text(document: Document, network: Network, variant: str = "") -> Iterator[Finding]:
    """Yield a finding for everything that a lecture's text prints beside its layers."""
    if not network.claims:
        return
    report = analyze(network)
    bare = analyze(expand(document, variant, bias=False))
    counted = report
    if _wrong_params(bare) < _wrong_params(report):  # the text does not count biases
        counted = bare
    for claim in network.claims:
        used = counted if claim.quantity == "params" else report
        value, printed = _claimed(claim, used), claim.printed
        if claim.quantity in ("stride", "kernel_size"):
            digits = re.search(r"\d+", printed)
            value, printed = (value, digits[0]) if digits else (None, printed)
        verdict = AMBIGUOUS if value is None else judge(printed, value)
        yield Finding(
            name=f"{network.name} {claim.path}".strip(),
            quantity=claim.quantity,
            printed=claim.printed,
            verdict=verdict,
            source=f"{network.source}:{claim.line}",
            computed=() if value is None else (("", value),),
            why=claim.note or (_cut(verdict) if value is not None else ""),
            convention="without biases" if used is bare else "",
        )


def _wrong_params(report: Report) -> int:
    claims = [claim for claim in report.network.claims if claim.quantity == "params"]
    values = [(claim.printed, _claimed(claim, report)) for claim in claims]
    return sum(value is None or judge(printed, value) == WRONG for printed, value in values)


def _claimed(claim: Claim, report: Report) -> Value | None:
    """Return the true value of what a text claims; None where the text leaves it open."""
    network, total = report.network, report.total
    if claim.path in ("", NETWORK_INPUT):
        own: Mapping[str, Value] = {
            "input": _printed_shape(network.input),
            "activations": total.activations if not claim.path else numel(network.input),
            "activation_bytes": total.activation_bytes,
            "params": total.params if not claim.path else 0,
        }
        return own.get(claim.quantity)
    row, layer = report.by_layer()[claim.path], network[claim.path]
    match claim.quantity:
        case "input":
            return _printed_shape(layer.shapes[0])
        case "output":
            return _printed_shape(layer.cost.output)[: 2 if claim.printed.count("x") == 1 else 3]
        case "activations" | "params" | "activation_bytes":
            return int(getattr(row, claim.quantity))
        case "stride" | "kernel_size":
            kernel, stride = layer.op.window(*layer.shapes)[0]
            return int(stride if claim.quantity == "stride" else kernel)
    return None


def _printed_shape(shape: Shape) -> list[int]:
    """Return height, width and channels, as lectures print them."""
    return [*shape[1:], shape[0]]


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
        why = f"not for {written(fails)}" if fails else _cut(verdict)
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


# The result.


@dataclass(frozen=True)
class Audit:
    """Findings, with their counts per verdict."""

    findings: tuple[Finding, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many figures have each verdict; verdicts without any are left out."""
        counted = Counter(finding.verdict for finding in self.findings)
        return {verdict: counted[verdict] for verdict in VERDICTS if counted[verdict]}

    @property
    def unexplained(self) -> tuple[Finding, ...]:
        """The wrong figures of which it is not known why."""
        return tuple(finding for finding in self.findings if not finding.explained)

    @property
    def summary(self) -> str:
        """One line with the counts per verdict."""
        counts = ", ".join(f"{count:,} {verdict}" for verdict, count in self.counts.items())
        without = f"; {len(self.unexplained)} wrong without explanation" if self.unexplained else ""
        number = len(self.findings)
        return f"{number:,} figure{'s' * (number != 1)}: {counts or 'none'}{without}"

    def only(self, verdicts: Sequence[str]) -> tuple[Finding, ...]:
        """Return the findings with one of the verdicts; all if none is given."""
        return tuple(f for f in self.findings if not verdicts or f.verdict in verdicts)

    def table(self, verdicts: Sequence[str] = ()) -> Table:
        """Return the findings as a table; the summary counts all of them."""
        columns = (
            Column("name", "of"), Column("quantity", "quantity", minor=True),
            Column("printed", "printed", True), Column("verdict", "verdict"),
            Column("computed", "computed", True), Column("convention", "counted as", minor=True),
            Column("source", "source", minor=True), Column("why", "why"),
        )  # fmt: skip
        rows = tuple(
            (f.name, f.quantity, f.printed, f.verdict, f.figure, f.convention, f.source, f.note)
            for f in self.only(verdicts)
        )
        return Table(columns, rows, notes=(self.summary,))

    def to_dict(self, verdicts: Sequence[str] = ()) -> dict[str, Any]:
        """Return the findings and the counts of all of them, for JSON."""
        return {
            "counts": self.counts,
            "unexplained": len(self.unexplained),
            "findings": [finding.record() for finding in self.only(verdicts)],
        }
