"""The page as JUnit XML: published figures, budgets and checks as test cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from archcost.budget.budget import Verdict
from archcost.findings.audit import Finding
from archcost.junit import Case, Suite, junit
from archcost.published import NOT_COMPUTED
from archcost.record import plain
from archcost.report.page import Page, Section, first_difference


def cases(section: Section) -> Iterator[Case]:
    """Yield a case for every published figure, every budget and every check of a model.

    A figure fails if it is wrong and it is not known why.
    """
    for finding in section.audit.findings:
        yield _figure(finding)
    for verdict in section.budgets:
        text = verdict.condition.text
        yield Case("budget", text, "" if verdict.holds else _over(verdict))
    for row in section.checks:
        failed = row["run"] != row["passed"]
        yield Case(
            "verify", str(row["check"]),
            first_difference(row) or "failed" if failed else "",
            first_difference(row) or "not run" if not row["run"] else "",
        )  # fmt: skip


def _over(verdict: Verdict) -> str:
    return f"{plain(verdict.value):,}, allowed {plain(verdict.allowed):,}"


def _figure(finding: Finding) -> Case:
    name = f"{finding.quantity} {finding.printed} ({finding.source})"
    if finding.verdict == NOT_COMPUTED:
        return Case("audit", name, skipped=NOT_COMPUTED)
    wrong = "" if finding.explained else f"printed {finding.printed}, computed {finding.figure}"
    return Case("audit", name, wrong)


def page_junit(page: Page) -> str:
    """Return the XML: a test suite per model."""
    return junit(page.title, [_suite(section) for section in page.sections])


def _suite(section: Section) -> Suite:
    total = section.report.total
    figures = {key: str(getattr(total, key)) for key in ("params", "macs", "flops", "activations")}
    named = [replace(c, group=f"{section.name}.{c.group}") for c in cases(section)]
    return Suite(section.name, named, figures)
