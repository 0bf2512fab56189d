"""What the checks found: one line per model and validator, as a table, as JSON, as JUnit XML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archcost.counterparts import COLLECTIONS
from archcost.errors import shorten
from archcost.junit import Case, Suite, junit
from archcost.proofs import MODULES, Check
from archcost.proofs.counterparts import how_to_name
from archcost.record import contract_id
from archcost.table import Column, Table
from archcost.units import number_of

KEPT_FAILURES = 20


@dataclass
class Outcome:
    """What one validator found on one model.

    Attributes:
        model, group: the model and the validator.
        run, passed: how many checks were made, and how many passed.
        residual: sum of the sizes of all differences of exact checks.
        skipped: why checks were not made.
        failures: the first failures, in the order in which they were found.
        seconds: how long it took.
        against: of each tool or reference network, how many checks were made and passed.
        unmade: of each tool or reference that could not measure something, the first reason.
        named: what references do otherwise for a reason: the check, the reason, how much more.
    """

    model: str
    group: str
    run: int = 0
    passed: int = 0
    residual: int = 0
    skipped: list[str] = field(default_factory=list)
    failures: list[Check] = field(default_factory=list)
    seconds: float = 0.0
    against: dict[str, tuple[int, int]] = field(default_factory=dict)
    unmade: dict[str, str] = field(default_factory=dict)
    named: list[tuple[str, str, int]] = field(default_factory=list)

    def add(self, check: Check) -> None:
        """Count one check."""
        if check.skipped:
            self.skipped.append(check.skipped)
            self.unmade.setdefault(check.against, check.skipped)
            return
        self.run += 1
        self.passed += check.passed
        self.named += [(check.name, reason, more) for reason, more in check.named]
        if check.against:
            run, passed = self.against.get(check.against, (0, 0))
            self.against[check.against] = run + 1, passed + check.passed
        if not check.tolerance and isinstance(check.residual, int):
            self.residual += abs(check.residual)
        if not check.passed and len(self.failures) < KEPT_FAILURES:
            self.failures.append(check)

    @property
    def first(self) -> str:
        """The first failure as one line, empty if there is none."""
        return describe(self.failures[0]) if self.failures else ""


COLUMNS = (
    Column("model", "model", essential=True), Column("group", "check", essential=True),
    Column("run", "run", True, essential=True), Column("passed", "passed", True, essential=True),
    Column("residual", "residual", True),
    Column("first_failure", "first difference", essential=True),
)  # fmt: skip


def summary_columns(groups: Sequence[str] = MODULES) -> tuple[Column, ...]:
    """Return the columns of a row per model: one for each check."""
    return (
        Column("model", "model", essential=True),
        *(Column(group, group, essential=True) for group in groups),
    )


def results_table(outcomes: Sequence[Outcome], about: Mapping[str, str]) -> Table:
    """Return one row per model and validator, with totals; ``about`` says where they ran."""
    rows = tuple((o.model, o.group, o.run, o.passed, o.residual, o.first) for o in outcomes)
    models = len({o.model for o in outcomes})
    sums = [sum(getattr(o, key) for o in outcomes) for key in ("run", "passed", "residual")]
    notes = [", ".join(f"{name} {value}" for name, value in about.items()), *_asides(outcomes)]
    return Table(COLUMNS, rows, "", ((number_of(models, "model"), "", *sums, ""),), tuple(notes))


def summary_table(outcomes: Sequence[Outcome], about: Mapping[str, str]) -> Table:
    """Return one row per model: how many checks of each validator passed, against what."""
    groups = list(dict.fromkeys(outcome.group for outcome in outcomes))
    by_model: dict[str, dict[str, Outcome]] = {}
    for outcome in outcomes:
        by_model.setdefault(outcome.model, {})[outcome.group] = outcome
    rows = tuple(
        (model, *(_verdict(own.get(group)) for group in groups)) for model, own in by_model.items()
    )
    counts = [
        [sum(getattr(o, key) for o in outcomes if o.group == group) for key in ("run", "passed")]
        for group in groups
    ]
    footer = (number_of(len(by_model), "model"), *(_share(run, passed) for run, passed in counts))
    notes = (", ".join(f"{name} {value}" for name, value in about.items()), *_asides(outcomes))
    return Table(summary_columns(groups), rows, "", (footer,), notes)


def _verdict(outcome: Outcome | None) -> str:
    """Return how many checks passed, ``3 of 4`` if some failed, and the references by name."""
    if outcome is None or not outcome.run:
        return "-"
    share = _share(outcome.run, outcome.passed)
    names = [
        name if run == passed else f"not {name}" for name, (run, passed) in outcome.against.items()
    ]
    if outcome.group == "counters":
        return f"{share} by {number_of(len(names), 'tool')}"
    return ", ".join(names) if names else share


def _share(run: int, passed: int) -> str:
    return f"{run:,}" if run == passed else f"{passed:,} of {run:,}"


def describe(check: Check) -> str:
    """Return a failed check as one line: where, what, expected and measured."""
    where = check.layer or "network"
    return f"{where}: {check.name}: expected {say(check.expected)}, measured {say(check.measured)}"


def say(value: Any) -> str:
    """Return a value of a check for people: shapes as 1x64x56x56, counts with separators."""
    if isinstance(value, tuple) and value and all(type(n) is int for n in value):
        text = "x".join(map(str, value))
    elif isinstance(value, (tuple, list)):
        text = ", ".join(map(say, value))
    elif isinstance(value, dict):
        text = ", ".join(f"{name} {say(shape) or 'scalar'}" for name, shape in value.items())
    else:
        text = f"{value:,}" if type(value) is int else str(value)
    return shorten(text, 120) if text or isinstance(value, tuple) else "none"


def _asides(outcomes: Iterable[Outcome]) -> list[str]:
    """Return why comparisons were skipped, and what references do otherwise for a reason."""
    models: dict[str, set[str]] = {}
    for outcome in outcomes:
        reasons = [f"skipped in {{}}: {reason}" for reason in outcome.skipped]
        reasons += [f"named in {{}}: {_named(*named)}" for named in outcome.named]
        for reason in reasons:
            models.setdefault(reason, set()).add(outcome.model)
    return [
        reason.replace("{}", number_of(len(names), "model"), 1) for reason, names in models.items()
    ]


def _named(check: str, reason: str, more: int) -> str:
    what = check.rpartition(": ")[2]
    how = f"{abs(more):,} {'more' if more > 0 else 'fewer'}" if more else "other ones"
    return f"{what}: {how}: {reason}"


def ran_nowhere(
    outcomes: Sequence[Outcome],
    checks: Sequence[str] = (),
    against: Sequence[str] = (),
    models: Sequence[str] = (),
) -> list[str]:
    """Return a line for whatever was asked for by name and compared nothing, with the reason.

    Where nothing at all was compared there is one, whatever was asked for.

    Args:
        outcomes: of a run that was not interrupted.
        checks: names of validators.
        against: references: a collection stands for its networks, ``timm`` for ``timm:resnet18``.
        models: names of networks.
    """
    found: list[str] = []
    for name in against:
        if any(ran == name or ran.startswith(f"{name}:") for o in outcomes for ran in o.against):
            continue
        reasons = [o.unmade[name] for o in outcomes if name in o.unmade]
        if name in COLLECTIONS:
            reasons.append(how_to_name(name, dict.fromkeys(o.model for o in outcomes)))
        found.append(f"nothing was compared with {name}{_why(reasons)}")
    asked = [(f"the check {name} compared nothing", "group", name) for name in checks]
    asked += [(f"nothing of {name} was compared", "model", name) for name in models]
    for text, key, name in asked:
        own = [outcome for outcome in outcomes if getattr(outcome, key) == name]
        reasons = [reason for outcome in own for reason in outcome.skipped]
        told = found and all(outcome.group == "reference" for outcome in own)
        if not told and not any(outcome.run for outcome in own):
            found.append(text + _why(reasons))
    if not found and not any(outcome.run for outcome in outcomes):
        found.append(
            f"nothing was compared{_why(why for outcome in outcomes for why in outcome.skipped)}"
        )
    return found


def _why(reasons: Iterable[str]) -> str:
    """Return the first reasons as the end of a sentence."""
    known = list(dict.fromkeys(reasons))
    return f": {'; '.join(known[:3])}" if known else ""


def results_record(
    outcomes: Sequence[Outcome],
    about: Mapping[str, str],
    interrupted: bool,
    nowhere: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the JSON contract of ``archcost verify`` (see ``archcost schema verify``).

    ``nowhere`` is what :func:`ran_nowhere` returns; with it, or of no comparisons, nothing has
    passed.
    """
    compared = any(outcome.run for outcome in outcomes) and not nowhere
    return {
        "schema": contract_id("verify"),
        "about": dict(about),
        "interrupted": interrupted,
        "passed": compared and all(outcome.run == outcome.passed for outcome in outcomes),
        "ran_nowhere": list(nowhere),
        "results": [
            {
                "model": outcome.model,
                "check": outcome.group,
                "run": outcome.run,
                "passed": outcome.passed,
                "residual": outcome.residual,
                "seconds": round(outcome.seconds, 3),
                "against": {
                    name: {"run": run, "passed": passed}
                    for name, (run, passed) in outcome.against.items()
                },
                "skipped": list(dict.fromkeys(outcome.skipped)),
                "named": [
                    {"name": name, "reason": reason, "more": more}
                    for name, reason, more in outcome.named
                ],
                "failures": [_failure(check) for check in outcome.failures],
            }
            for outcome in outcomes
        ],
    }


def _failure(check: Check) -> dict[str, Any]:
    known = {
        "layer": check.layer,
        "name": check.name,
        "expected": check.expected,
        "measured": check.measured,
    }
    if check.residual is not None:
        known["residual"] = check.residual
    if check.tolerance:
        known["tolerance"] = check.tolerance
    return known | ({"note": check.note} if check.note else {})


def results_junit(
    outcomes: Sequence[Outcome], about: Mapping[str, str], nowhere: Sequence[str] = ()
) -> str:
    """Return JUnit XML: a test suite per model, a test case per validator.

    What was asked for and ran nowhere fails in a suite of its own.
    """
    models = dict.fromkeys(outcome.model for outcome in outcomes)
    suites = [
        Suite(model, [_case(o) for o in outcomes if o.model == model], about) for model in models
    ]
    if nowhere:
        suites.append(Suite("asked for", [Case("asked for", text, text) for text in nowhere], {}))
    return junit("archcost verify", suites)


def _case(outcome: Outcome) -> Case:
    failure = "\n".join(describe(check) for check in outcome.failures)
    skipped = "" if outcome.run else "; ".join(dict.fromkeys(outcome.skipped))
    return Case(outcome.model, outcome.group, failure, skipped, outcome.seconds)
