"""JUnit XML, which CI systems read: suites of test cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree


@dataclass(frozen=True)
class Case:
    """A test case: its group, its name, and why it failed or was skipped, if so.

    The first line of a ``failure`` is the message. ``seconds`` may be None: nothing was timed.
    """

    group: str
    name: str
    failure: str = ""
    skipped: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Suite:
    """Test cases under a name, with the circumstances as properties."""

    name: str
    cases: Sequence[Case]
    properties: Mapping[str, str] = field(default_factory=dict)


def junit(title: str, suites: Sequence[Suite]) -> str:
    """Return the XML of suites."""
    root = ElementTree.Element("testsuites", name=title)
    for suite in suites:
        _add(root, suite)
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + ElementTree.tostring(root, encoding="unicode")


def _add(root: ElementTree.Element, suite: Suite) -> None:
    cases = suite.cases
    node = ElementTree.SubElement(
        root, "testsuite", name=suite.name, tests=str(len(cases)), errors="0",
        failures=str(sum(bool(case.failure) for case in cases)),
        skipped=str(sum(bool(case.skipped) for case in cases)),
    )  # fmt: skip
    _time(node, *(case.seconds for case in cases))
    properties = ElementTree.SubElement(node, "properties")
    for name, value in suite.properties.items():
        ElementTree.SubElement(properties, "property", name=name, value=value)
    for case in cases:
        own = ElementTree.SubElement(node, "testcase", classname=case.group, name=case.name)
        _time(own, case.seconds)
        if case.failure:
            message = case.failure.splitlines()[0]
            ElementTree.SubElement(own, "failure", message=message).text = case.failure
        elif case.skipped:
            ElementTree.SubElement(own, "skipped", message=case.skipped)


def _time(node: ElementTree.Element, *seconds: float | None) -> None:
    timed = [each for each in seconds if each is not None]
    if timed:
        node.set("time", f"{sum(timed):.3f}")
