"""What the checks found: one line per model and validator, as a table, as JSON, as JUnit XML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import shorten
from archcost.junit import Case, Suite, junit
from archcost.table import Column, Table
from archcost.units import number_of
from archcost.verify import Check

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

    def add(self, check: Check) -> None:
        """Count one check."""
        if check.skipped:
            self.skipped.append(check.skipped)
            return
        self.run += 1
        self.passed += check.passed
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
    Column("model", "model"),
    Column("group", "check"),
    Column("run", "run", True),
    Column("passed", "passed", True),
    Column("residual", "residual", True),
    Column("first_failure", "first difference"),
)


def results_table(outcomes: Sequence[Outcome], about: Mapping[str, str]) -> Table:
    """Return one row per model and validator, with totals; ``about`` says where they ran."""
    rows = tuple((o.model, o.group, o.run, o.passed, o.residual, o.first) for o in outcomes)
    models = len({o.model for o in outcomes})
    sums = [sum(getattr(o, key) for o in outcomes) for key in ("run", "passed", "residual")]
    notes = [", ".join(f"{name} {value}" for name, value in about.items()), *_skipped(outcomes)]
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
    columns = (Column("model", "model"), *(Column(group, group) for group in groups))
    counts = [
        [sum(getattr(o, key) for o in outcomes if o.group == group) for key in ("run", "passed")]
        for group in groups
    ]
    footer = (number_of(len(by_model), "model"), *(_share(run, passed) for run, passed in counts))
    notes = (", ".join(f"{name} {value}" for name, value in about.items()), *_skipped(outcomes))
    return Table(columns, rows, "", (footer,), notes)


def _verdict(outcome: Outcome | None) -> str:
    """Return how many checks passed, ``3 of 4`` if some failed, and the references by name."""
    if outcome is None or not outcome.run:
        return "-"
    share = _share(outcome.run, outcome.passed)
    names = [
        name if run == passed else f"not {name}" for name, (run, passed) in outcome.against.items()
    ]
    if outcome.group == "counters":
        return f"{share} by {len(names)} tools"
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


def _skipped(outcomes: Iterable[Outcome]) -> list[str]:
    models: dict[str, set[str]] = {}
    for outcome in outcomes:
        for reason in outcome.skipped:
            models.setdefault(reason, set()).add(outcome.model)
    return [
        f"skipped in {number_of(len(names), 'model')}: {reason}" for reason, names in models.items()
    ]


def results_record(
    outcomes: Sequence[Outcome], about: Mapping[str, str], interrupted: bool
) -> dict[str, Any]:
    """Return the JSON contract of ``archcost verify`` (see ``schema/verify.json``)."""
    return {
        "about": dict(about),
        "interrupted": interrupted,
        "passed": all(outcome.run == outcome.passed for outcome in outcomes),
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


def results_junit(outcomes: Sequence[Outcome], about: Mapping[str, str]) -> str:
    """Return JUnit XML: a test suite per model, a test case per validator."""
    models = dict.fromkeys(outcome.model for outcome in outcomes)
    return junit("archcost verify", [
        Suite(model, [_case(o) for o in outcomes if o.model == model], about) for model in models
    ])  # fmt: skip


def _case(outcome: Outcome) -> Case:
    failure = "\n".join(describe(check) for check in outcome.failures)
    skipped = "" if outcome.run else "; ".join(dict.fromkeys(outcome.skipped))
    return Case(outcome.model, outcome.group, failure, skipped, outcome.seconds)
