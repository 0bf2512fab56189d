"""What a report holds: totals, layers, memory, audit and checks of each model; a comparison."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from archcost.analysis.report import Report
from archcost.budget.budget import Check, Verdict
from archcost.errors import ArchcostError, shorten
from archcost.findings.audit import Audit
from archcost.pictures.layers import READABLE, layers, parts
from archcost.pictures.memory import memory
from archcost.pictures.picture import Picture, Points
from archcost.pictures.scatter import scatter
from archcost.record import contract_id
from archcost.report.comparison import Comparison, compare
from archcost.storage.footprint import Footprint
from archcost.table import Column, Table

PACKAGES = ("archcost", "click", "PyYAML", "rich", "tabulate")


@dataclass(frozen=True)
class Section:
    """The part of a page about one model.

    Attributes:
        report: its layers and totals.
        footprint: its memory.
        audit: what others print of it, compared with the computed figures.
        checks: its rows of the results of ``archcost verify``.
        budgets: the budgets that it is checked against.
    """

    report: Report
    footprint: Footprint
    audit: Audit
    checks: tuple[Mapping[str, Any], ...] = ()
    budgets: tuple[Verdict, ...] = ()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.report.network.name

    @cached_property
    def memory_table(self) -> Table:
        """The sum of each peak."""
        return self.footprint.table()

    @cached_property
    def no_memory(self) -> str:
        """Why the memory is not known, empty if it is."""
        try:
            self.memory_table  # noqa: B018
        except ArchcostError as error:
            return str(error)
        return ""

    @cached_property
    def bars(self) -> Picture | None:
        """Memory, parameters and operations layer by layer, if that can be read."""
        return layers([self.report]) if 0 < len(parts(self.report)) <= READABLE else None

    @cached_property
    def timeline(self) -> Picture | None:
        """Live bytes over a training step."""
        return None if self.no_memory else memory([self.footprint])

    def layer_table(self) -> Table:
        """Return every layer, with a row before each group, and the receptive field."""
        return self.report.table([*self.report.default_columns, "receptive_field"])

    def check_table(self) -> Table:
        """Return the results of ``archcost verify``, a row per check."""
        columns = (
            Column("check", "check"), Column("run", "run", True), Column("passed", "passed", True),
            Column("residual", "residual", True), Column("first", "first difference"),
        )  # fmt: skip
        rows = tuple(
            (row["check"], row["run"], row["passed"], row["residual"], first_difference(row))
            for row in self.checks
        )
        return Table(columns, rows)

    def budget_table(self) -> Table:
        """Return the budgets, broken ones and others."""
        return replace(Check(self.budgets).table(everything=True), title="")

    @property
    def failed(self) -> list[str]:
        """What is wrong, a line each: broken budgets, failed checks, wrong figures."""
        broken = [f"budget {v.condition.text} is broken" for v in self.budgets if not v.holds]
        checks = [f"check {r['check']} failed" for r in self.checks if r["run"] != r["passed"]]
        wrong = [f"{f.quantity} {f.printed} is wrong" for f in self.audit.unexplained]
        return [*broken, *checks, *wrong]

    def to_dict(self) -> dict[str, Any]:
        """Return the section for JSON: the contracts of ``table``, ``memory`` and ``audit``."""
        data: dict[str, Any] = dict(self.report.to_dict())
        if self.no_memory:
            data["memory"] = {"error": self.no_memory}
        else:
            data["memory"] = self.footprint.to_dict(timeline=True)
        data["audit"] = self.audit.to_dict()
        data["verification"] = [dict(row) for row in self.checks]
        data["budgets"] = [verdict.record() for verdict in self.budgets]
        return data


@dataclass(frozen=True)
class Page:
    """Sections, and what compares them.

    Attributes:
        sections: one per model.
        verified: where the checks ran and with which versions, empty without results.
        title: of the page.
    """

    sections: tuple[Section, ...]
    verified: Mapping[str, str]
    title: str

    @cached_property
    def comparison(self) -> Comparison:
        """The totals side by side."""
        return compare([section.report for section in self.sections])

    @cached_property
    def scatter(self) -> Picture | None:
        """Accuracy against operations; None where fewer than two models have one."""
        reports = [section.report for section in self.sections]
        for accuracy in ("top1", "top5"):
            try:
                found = scatter(reports, y=accuracy)
            except ArchcostError:
                continue
            marks = [mark for panel in found.panels() for mark in panel.marks]
            if any(len(mark.points) > 1 for mark in marks if isinstance(mark, Points)):
                return found
        return None

    def conventions(self) -> list[tuple[str, str]]:
        """Return what each figure means, as pairs of a name and a sentence."""
        first = self.sections[0].report
        return [
            ("params", "trainable parameters, biases and normalisation included"),
            ("macs", "multiply-accumulates of convolutions, linear layers and matrix products"),
            ("flops", "two operations per multiply-accumulate"),
            *([(first.convention.name, first.convention.title)]
              if first.convention.name not in ("macs", "flops") else []),
            (f"activations ({first.activations.name})", first.activations.title),
            ("bytes", f"elements times the size of {first.dtype}; KB, MB and GB are powers of ten"),
            ("layers", "convolutions and linear layers on the longest path"),
            ("receptive field", "the stretch of the input that one value sees, widest path, uncut"),
            ("memory", self.setting),
        ]  # fmt: skip

    @property
    def setting(self) -> str:
        """How the memory was predicted, in words."""
        setting = self.sections[0].footprint.setting
        return (
            f"a training step with {setting.update}, batch {setting.batch}, {setting.dtype} on "
            f"{setting.device}; without workspaces, the CUDA context and what the allocator holds "
            "back"
        )

    def versions(self) -> dict[str, str]:
        """Return the versions of what made the page."""
        return {**{name: _version(name) for name in PACKAGES}, "Python": platform.python_version()}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of ``archcost report`` (see ``archcost schema report``)."""
        return {
            "schema": contract_id("report"),
            "title": self.title,
            "versions": self.versions(),
            "verified": dict(self.verified),
            "comparison": self.comparison.to_dict(),
            "models": [section.to_dict() for section in self.sections],
        }


def filled(table: Table) -> Table:
    """Return the table without the columns that hold nothing."""
    lines = [*table.rows, *table.footer]
    keep = [
        i for i in range(len(table.columns))
        if i == 0 or any(line[i] not in (None, "") for line in lines)
    ]  # fmt: skip
    rows, footer = (
        tuple(tuple(line[i] for i in keep) for line in part) for part in (table.rows, table.footer)
    )
    return replace(table, columns=tuple(table.columns[i] for i in keep), rows=rows, footer=footer)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from a checkout
        return "not installed"


def first_difference(row: Mapping[str, Any]) -> str:
    """Return the first failure of a row of results as one line, or why it was skipped."""
    failures = row.get("failures") or []
    if failures:
        first = failures[0]
        where = first.get("layer") or "network"
        return (
            f"{where}: {first.get('name')}: expected {first.get('expected')}, "
            f"measured {first.get('measured')}"
        )
    return "; ".join(row.get("skipped", [])) if not row["run"] else ""


def read_verification(path: str | Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Read what ``archcost verify --format json`` wrote: its rows, and where they come from.

    Raises:
        ArchcostError: the file is missing, not JSON, or not such a result.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ArchcostError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ArchcostError(f"{path}: not JSON: {error}") from None
    rows = data.get("results") if isinstance(data, dict) else None
    if not isinstance(rows, list) or not isinstance(data.get("about"), dict):
        raise ArchcostError(f"{path}: not a result of `archcost verify --format json`")
    if (found := data.get("schema", contract_id("verify"))) != contract_id("verify"):
        reason = f"is {shorten(found)}, not {contract_id('verify')}; run `verify` again"
        raise ArchcostError(f"{path}: {reason}")
    for row in rows:
        for key in ("model", "check", "run", "passed", "residual"):
            if not isinstance(row, dict) or key not in row:
                raise ArchcostError(f"{path}: a result lacks {key}")
    return rows, {str(key): str(value) for key, value in data["about"].items()}


def make_page(
    models: Sequence[tuple[Report, Footprint, Audit, tuple[Verdict, ...]]],
    verification: tuple[Sequence[Mapping[str, Any]], Mapping[str, str]] = ((), {}),
    title: str = "",
) -> Page:
    """Return the page on models.

    Args:
        models: report, memory, audit and budgets of each.
        verification: what :func:`read_verification` returns.
        title: of the page; the models' names by default.

    Raises:
        ArchcostError: results of which none is of a model on the page.
    """
    rows, about = verification
    names = [report.network.name for report, *_ in models]
    of = [str(row["model"]) for row in rows]
    if of and not set(of) & set(names):
        found = ", ".join(dict.fromkeys(of))
        raise ArchcostError(f"the verification is for {found}, and the report has none of these")
    sections = tuple(
        Section(
            report, footprint, audit,
            tuple(row for row in rows if row["model"] == report.network.name), verdicts,
        )
        for report, footprint, audit, verdicts in models
    )  # fmt: skip
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    own = f"What they cost: {shown}" if len(names) > 1 else f"What {shown} costs"
    return Page(sections, about, title or own)
