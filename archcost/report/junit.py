"""The page as JUnit XML: published figures, budgets and checks as test cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from archcost.analysis.audit import Finding
from archcost.analysis.budget import Verdict
from archcost.analysis.metrics import plain
from archcost.published import NOT_COMPUTED
from archcost.report.page import Page, Section, first_difference


@dataclass(frozen=True)
class Case:
    """A test case: a name, and why it failed or was skipped, if so."""

    group: str
    name: str
    failure: str = ""
    skipped: str = ""


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


def junit(page: Page) -> str:
    """Return the XML: a test suite per model."""
    root = ElementTree.Element("testsuites", name=page.title)
    for section in page.sections:
        found = list(cases(section))
        suite = ElementTree.SubElement(
            root, "testsuite", name=section.name, tests=str(len(found)), errors="0",
            failures=str(sum(bool(case.failure) for case in found)),
            skipped=str(sum(bool(case.skipped) for case in found)),
        )  # fmt: skip
        properties = ElementTree.SubElement(suite, "properties")
        total = section.report.total
        for key in ("params", "macs", "flops", "activations"):
            value = str(getattr(total, key))
            ElementTree.SubElement(properties, "property", name=key, value=value)
        for case in found:
            kind = f"{section.name}.{case.group}"
            node = ElementTree.SubElement(suite, "testcase", classname=kind, name=case.name)
            if case.failure:
                ElementTree.SubElement(node, "failure", message=case.failure).text = case.failure
            elif case.skipped:
                ElementTree.SubElement(node, "skipped", message=case.skipped)
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + ElementTree.tostring(root, encoding="unicode")
