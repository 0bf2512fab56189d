"""The counters check: each tool's number for the twin against archcost's, in its own convention."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from functools import partial
from typing import Any

from archcost.conventions import Convention, counted_layers, find_convention
from archcost.errors import shorten
from archcost.packages import import_package
from archcost.proofs import Check, Subject, validator
from archcost.proofs.tools import TOOLS, TOTAL, Counter, Counts, quiet
from archcost.proofs.watch import copy_on
from archcost.pytorch import random_inputs

GROUP = "counters"

COUNTERS = [tool for tool in TOOLS if not tool.apart]
"""The tools that the check runs."""


@validator(GROUP)
def counters(subject: Subject) -> Iterator[Check]:
    """Compare each tool's count in evaluation mode with the convention's, exactly.

    A tool runs on a copy of the twin, because some change the modules that they count. One that
    goes by shapes alone runs where that is quick. One that is not installed, or that cannot run
    here, is skipped with the reason.
    """
    clean: dict[str, Any] = {}
    for tool in COUNTERS:
        convention = find_convention(tool.convention)
        name = f"{convention.name} total"
        reason = _why_not(tool, subject)
        if reason:
            yield Check(GROUP, name, "", None, None, skipped=reason, against=convention.name)
            continue
        device = tool.device(subject)
        inputs = random_inputs(subject.network, subject.batch if tool.whole_batch else 1, device)
        if tool.marks:
            twin = copy_on(subject, device)
        else:
            if device not in clean:
                clean[device] = copy_on(subject, device)
            twin = clean[device]
        try:
            with quiet():
                measured = tool.run(twin.eval(), list(inputs))
        except Exception as error:  # tools raise what they like; the finding is that they cannot
            note = f"{type(error).__name__}: {shorten(error, 200)}"
            yield Check(GROUP, name, "", "a count", note, against=convention.name)
            continue
        yield from _compare(subject, convention, len(inputs[0]), measured, _note(tool, convention))


def _compare(
    subject: Subject, convention: Convention, batch: int, measured: Counts, note: str
) -> Iterator[Check]:
    total = 0
    layers = counted_layers(subject.network, convention)
    counts = {layer.path: convention.count(layer, batch) for layer in layers}
    compared = partial(Check, GROUP, note=note, against=convention.name)
    by_module: dict[str, int] = {}  # a tool does not tell the calls of a module apart
    for layer in subject.network:
        expected = counts.get(layer.path, 0)
        total += expected
        by_module[layer.module] = by_module.get(layer.module, 0) + expected
    if len(measured) > 1:
        for path, expected in by_module.items():
            if expected or measured.get(path):
                yield compared(convention.name, path, expected, measured.get(path, 0))
    yield compared(f"{convention.name} total", "", total, measured[TOTAL])


def _why_not(tool: Counter, subject: Subject) -> str:
    if subject.device == "meta" and tool.not_on_meta:
        return f"{tool.convention} on the meta device: {tool.not_on_meta}"
    try:
        with quiet():
            import_package(tool.package)
    except ImportError:
        return f"{tool.package} is not installed"
    except Exception as error:  # such as a compiled extension that does not load
        return f"{tool.package} cannot be imported: {shorten(error, 100)}"
    if not tool.version:
        return f"{tool.convention} is not the count of the {tool.package} that is installed"
    return ""


def _note(tool: Counter, convention: Convention) -> str:
    """Return what the reader must know of a number: the tool's faults, and another version."""
    version = f"{tool.package} {importlib.metadata.version(tool.package).partition('+')[0]}"
    # thop's wheel and its metadata spell one version in two ways
    same = version.replace("-", ".post") == convention.tool_version
    other = "" if same else f"this is {version}; the convention is that of "
    return "; ".join(
        filter(None, (other + convention.tool_version if other else "", convention.note))
    )
