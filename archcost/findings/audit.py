"""Printed figures against computed ones: exact, rounds to, ambiguous, wrong; and why.

A printed figure is *exact* if it equals the computed one. The computed one *rounds to* it if it has
the printed digits when rounded. Zeros at the end of a number with a unit are not digits (150K has
two). It is *ambiguous* if it is cut instead of rounded, or if what it may mean gives different
figures, and else *wrong*. Accuracies are *not computed*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from archcost.analysis.report import analyze
from archcost.conventions import ACTIVATIONS, CONVENTIONS, find_convention
from archcost.errors import ArchcostError, SpecError
from archcost.figures import METRICS, Subject
from archcost.findings.functions import ClaimEvaluator, Measures, exact
from archcost.network import Network
from archcost.published import (
    AMBIGUOUS,
    EXACT,
    NOT_COMPUTED,
    ROUNDS,
    VERDICTS,
    WRONG,
    Published,
    Value,
    judge,
    read_figure,
    show_value,
)
from archcost.record import contract_id, record
from archcost.setting import Setting
from archcost.shape import Shape
from archcost.spec.catalog import chosen_models, expand
from archcost.spec.expression import ExpressionError, parse
from archcost.table import Column, Table, Tabled


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
        own = {
            "name": self.name, "quantity": self.quantity, "printed": self.printed,
            "verdict": self.verdict,
            "computed": [{"reading": text, "value": value} for text, value in self.computed],
        }  # fmt: skip
        return record(self, "convention", "source", "slips", "why", **own)


# Verdicts.


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


def cut_instead(verdict: str) -> str:
    """Return why a figure with one reading is ambiguous."""
    return "cut instead of rounded" if verdict == AMBIGUOUS else ""


# What is audited: published figures, the claims of a lecture's text.


def audit_models(names: Iterable[str]) -> list[Finding]:
    """Return the findings on models of the catalog, families, and files.

    Raises:
        ArchcostError: an unknown model, or a file that cannot be read.
    """
    findings: list[Finding] = []
    for name in names:
        for document, variant in chosen_models(name):
            findings += audit_network(expand(document, variant))
    return findings


def audit_network(network: Network) -> Iterator[Finding]:
    """Yield the findings on all that its spec cites or its lecture's text prints of a network."""
    yield from audit_published(network)
    yield from audit_text(network)


def audit_published(network: Network) -> Iterator[Finding]:
    """Yield a finding for every figure that the spec cites of the network."""
    own = {network.input: network}
    for row in network.published:
        shape = row.input or network.input
        if shape not in own:
            own[shape] = _again(network, input=shape)
        for quantity, printed in row.figures.items():
            yield _published(own[shape], row, quantity, printed, partial(_again, network))


def _again(network: Network, **options: Any) -> Network:
    assert network.remake is not None  # what has figures to audit comes from a spec
    return network.remake(**options)


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
        source=f"{row.source}:{row.line}" if row.source == network.source else row.source,
        computed=() if value is None else (("", value),),
        slips=slips,
        why="" if known else row.why or ("" if slips else cut_instead(verdict)),
        convention=row.convention if quantity in ("macs", "flops", "activations") else "",
    )


def _slips(
    network: Network, row: Published, printed: str, vary: Callable[..., Network]
) -> tuple[Slip, ...]:
    """Return the slips that give the printed figure; if none does, all, unless words say why."""

    def this(input: Shape | str | None = None, **settings: Any) -> Network:
        return vary(**({"input": input} if input else {}), **settings)

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
    name = {"macs": "counted", "flops": "counted", "weight_layers": "layers"}.get(
        quantity, quantity
    )
    if name not in METRICS:
        return None
    price = convention if convention in CONVENTIONS else quantity
    setting = Setting(
        convention=price if name == "counted" else "flops",
        activations=convention if convention in ACTIVATIONS else "lecture",
    )
    return int(METRICS[name].value(Subject(network, setting), ""))


def audit_text(network: Network) -> Iterator[Finding]:
    """Yield a finding for everything that a lecture's text prints beside its layers."""
    if not network.claims:
        return
    from archcost.printed import judged

    for claim, verdict, value, convention in judged(network):
        yield Finding(
            name=f"{network.name} {claim.path}".strip(),
            quantity=claim.quantity,
            printed=claim.printed,
            verdict=verdict,
            source=f"{network.source}:{claim.line}",
            computed=() if value is None else (("", value),),
            why=claim.note or (cut_instead(verdict) if value is not None else ""),
            convention=convention,
        )


# The result.


COLUMNS = (
    Column("name", "of", essential=True), Column("quantity", "quantity", essential=True),
    Column("printed", "printed", True, essential=True),
    Column("verdict", "verdict", essential=True),
    Column("computed", "computed", True, essential=True),
    Column("convention", "counted as", minor=True), Column("source", "source", minor=True),
    Column("why", "why"),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Audit(Tabled):
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
    def subject(self) -> str:
        """How many figures there are, per verdict."""
        return self.summary

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
        rows = tuple(
            (f.name, f.quantity, f.printed, f.verdict, f.figure, f.convention, f.source, f.note)
            for f in self.only(verdicts)
        )
        return Table(COLUMNS, rows, notes=(self.summary,))

    def to_dict(self, verdicts: Sequence[str] = ()) -> dict[str, Any]:
        """Return the findings and the counts of all of them, for JSON."""
        return {
            "schema": contract_id("audit"),
            "counts": self.counts,
            "unexplained": len(self.unexplained),
            "findings": [finding.record() for finding in self.only(verdicts)],
        }
