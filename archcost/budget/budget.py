"""Budgets: which conditions networks must hold, from a TOML file or options, and which they break.

In ``archcost.toml``, or under ``[tool.archcost]`` in ``pyproject.toml``::

    baseline = "main"                    # what +2% refers to where a condition does not say
    allow_new = true                     # a file that the baseline has not is not compared with it

    [budgets]
    resnet50 = ["macs <= 4.2G", "batch on v100 >= 128"]
    "specs/*.yaml" = "params <= +2%"     # every network of these files

    [budgets."specs/net.yaml"]           # with settings of its own
    require = ["training peak <= 8GiB"]
    batch = 32
"""

from __future__ import annotations

import glob
import os
import tomllib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from archcost.budget.baseline import Request, is_file, within
from archcost.budget.condition import Condition, parse_condition
from archcost.errors import ArchcostError, SpecError, did_you_mean, shorten
from archcost.figures import Number, Subject, largest_shares
from archcost.network import Network
from archcost.record import contract_id, plain, record
from archcost.setting import OPTIONS, Setting
from archcost.spec.catalog import catalog, chosen_models
from archcost.spec.code import CODE_OPTIONS
from archcost.spec.expression import ExpressionError
from archcost.spec.revision import NotInRevision
from archcost.spec.source import Source, read_source
from archcost.table import Cell, Column, Table, Tabled
from archcost.units import number_of

CONFIG, PROJECT, SECTION = "archcost.toml", "pyproject.toml", "archcost"
NETWORK_KEYS: Mapping[str, Any] = {
    "input": (str, dict),
    "set": dict,
    "aux": bool,
    "inputs": str,
    "partial": bool,
    "run": bool,
}
SETTINGS: Mapping[str, Any] = {"baseline": str, "allow_new": bool, **NETWORK_KEYS, **OPTIONS}
"""What a budget file may set, for all networks or for one, and of which type."""


@dataclass(frozen=True)
class Budget:
    """Conditions on a model, and how it is run and counted.

    Attributes:
        model: a catalog name, a file, or a shell pattern of either.
        conditions: what must hold.
        settings: values of :data:`SETTINGS`.
        folder: the folder to which file names refer.
        source: the text in which the budget stands.
    """

    model: str
    conditions: tuple[Condition, ...]
    settings: Mapping[str, Any]
    folder: Path
    source: Source

    def requests(self) -> Iterator[Request]:
        """Yield every network that the budget is for.

        Raises:
            ArchcostError: a pattern that matches nothing, or a model that cannot be read.
        """
        settings = self.settings
        options = {
            "input": settings.get("input"), "knobs": settings.get("set", {}),
            "aux": settings.get("aux", False),
            **{name: settings[name] for name in CODE_OPTIONS if settings.get(name)},
        }  # fmt: skip
        for model in self._models():
            for document, variant in chosen_models(within(self.folder, model)):
                yield Request(model, document, variant, self.folder, options)

    def _models(self) -> list[str]:
        if not any(sign in self.model for sign in "*?["):
            return [self.model]
        if is_file(self.model):
            found = sorted(glob.glob(self.model, root_dir=self.folder, recursive=True))
        else:
            found = [name for name in catalog() if fnmatchcase(name, self.model)]
        if not found:
            kind = "file" if is_file(self.model) else "model"
            raise located(self.source, self.model, f"no {kind} matches {shorten(self.model)!r}")
        return found

    def subject(self, network: Network) -> Subject:
        """Return a network as the budget runs and counts it."""
        return Subject(network, Setting.of(self.settings))


# Reading.


def find_config(folder: Path) -> Path:
    """Return the budget file of a folder or of the nearest one around it.

    Raises:
        ArchcostError: there is none.
    """
    for around in (folder, *folder.resolve().parents):
        for name in (CONFIG, PROJECT):
            path = around / name
            if path.is_file() and (name == CONFIG or f"[tool.{SECTION}" in path.read_text("utf-8")):
                return path
    raise ArchcostError(
        f"no budgets: write {CONFIG}, a [tool.{SECTION}] table in {PROJECT}, or use --budget"
    )


def read_budgets(path: Path, settings: Mapping[str, Any] | None = None) -> list[Budget]:
    """Return the budgets of a file; ``settings`` go before those of the file.

    Raises:
        SpecError: with file, line and column.
    """
    source = read_source(path)
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        raise _toml_error(source, error) from None
    place = "budgets"
    if path.name == PROJECT:
        place = f"tool.{SECTION}.budgets"
        data = data.get("tool", {}).get(SECTION, {})
    budgets = data.pop("budgets", None)
    if not isinstance(budgets, dict) or not budgets:
        raise SpecError(f"there is no [{place}] table with budgets", source.name)
    common = {**_checked(source, data, ("budgets", *SETTINGS)), **(settings or {})}
    made = []
    for model, entry in budgets.items():
        own = dict(entry) if isinstance(entry, dict) else {"require": entry}
        wanted = own.pop("require", None)
        texts = [wanted] if isinstance(wanted, str) else wanted
        if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
            raise located(source, model, f'{shorten(model)}: a budget is "macs <= 300M" or a list')
        merged = {**common, **_checked(source, own, ("require", *SETTINGS)), **(settings or {})}
        conditions = tuple(read_condition(source, text, merged) for text in texts)
        made.append(Budget(model, conditions, merged, path.parent, source))
    return made


def parse_budget(text: str, settings: Mapping[str, Any]) -> Budget:
    """Return the budget of an option such as ``resnet50: macs <= 4.2G``.

    Raises:
        SpecError: with the column in the option's text.
    """
    source = Source(f"--budget {text!r}", text)
    sign = min((text.find(sign) for sign in "<>=" if sign in text), default=len(text))
    model, colon, _ = text[:sign].rpartition(":")
    if not colon or not model.strip():
        raise SpecError("a budget is written as `resnet50: macs <= 4.2G`", source.name, 1, 1)
    condition = read_condition(source, text[len(model) + 1 :], settings)
    return Budget(model.strip(), (condition,), settings, Path(), source)


def _checked(source: Source, data: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    for key, value in data.items():
        if key not in SETTINGS:
            raise located(source, key, f"unknown key {shorten(key)!r}{did_you_mean(key, keys)}")
        kind = SETTINGS[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = {
                str: "text",
                int: "a whole number",
                bool: "true or false",
                list: "a list",
                (str, dict): "text or a table",
            }
            raise located(source, key, f"{key} must be {words.get(kind, 'a table')}")
    return dict(data)


def read_condition(source: Source, text: str, settings: Mapping[str, Any]) -> Condition:
    """Return the condition that a text holds; ``settings`` may name the baseline that it needs.

    Raises:
        SpecError: with its place in the text.
    """
    try:
        condition = parse_condition(text)
    except ExpressionError as error:
        raise located(source, text, str(error), error.offset) from None
    if condition.needs_baseline and not (condition.baseline or settings.get("baseline")):
        reason = "there is no baseline: write `of main`, or set baseline"
        raise located(source, text, reason, condition.baseline_at)
    return condition


def located(source: Source, needle: str, reason: str, offset: int = 0) -> SpecError:
    """Return the error at the first place where the source holds ``needle``, else at the file.

    TOML's reader keeps no places; a text that is escaped in the file is not found.
    """
    start = source.text.find(needle)
    if start < 0:
        return SpecError(f"{shorten(needle)!r}, character {offset + 1}: {reason}", source.name)
    before = source.text[: start + offset]
    line = before.count("\n") + 1
    return SpecError(reason, source.name, line, len(before) - before.rfind("\n"))


def _toml_error(source: Source, error: tomllib.TOMLDecodeError) -> SpecError:
    reason, _, place = str(error).rpartition(" (at ")
    numbers = [int(word) for word in place.rstrip(")").replace(",", "").split() if word.isdigit()]
    if len(numbers) != 2:  # at the end of the document
        return SpecError(str(error), source.name, source.text.count("\n") + 1, 1)
    return SpecError(reason, source.name, *numbers)


# Judging.


@dataclass(frozen=True)
class Verdict:
    """One condition on one network, and what is true of it.

    Attributes:
        model: the network.
        condition: what is demanded.
        baseline: the name of what it is compared with, empty for an absolute bound.
        value: the network's figure.
        base: the baseline's, None for an absolute bound.
        shares: the layers that cost most, for a figure that is over.
        origin: the file and the network in it.
    """

    model: str
    condition: Condition
    baseline: str
    value: Number
    base: Number | None
    shares: tuple[tuple[str, Number], ...] = ()
    origin: tuple[str, str] = ("", "")

    @property
    def holds(self) -> bool:
        """Whether the budget is kept."""
        return self.condition.holds(self.value, self.base)

    @property
    def allowed(self) -> Number:
        """The last whole number within the budget; for a time, the bound."""
        return self.condition.allowed(self.base)

    @property
    def over(self) -> Number:
        """By how much the figure is beyond what is allowed; negative within."""
        beyond = self.value - self.allowed
        return -beyond if self.condition.sign in (">", ">=") else beyond

    def record(self) -> dict[str, Any]:
        """Return the verdict for JSON; whole numbers stay whole."""
        condition = self.condition
        own = {
            "model": self.model, "budget": condition.text, "metric": condition.metric.name,
            "device": condition.on or None, "baseline": self.baseline or None,
            "baseline_value": self.base,
        }  # fmt: skip
        most = [{"layer": path, "value": plain(value)} for path, value in self.shares]
        return record(self, "value", "allowed", "over", "holds", **own) | {"costs_most": most}


COLUMNS = (
    Column("model", "model", essential=True), Column("budget", "budget", essential=True),
    Column("baseline_value", "baseline", True, minor=True),
    Column("allowed", "allowed", True, essential=True), Column("value", "is", True, essential=True),
    Column("over", "over by", True), Column("over_percent", "over %", True),
    Column("costs_most", "costs most", essential=True),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Check(Tabled):
    """All verdicts; made by :func:`check`. ``new`` are files that a baseline does not have."""

    verdicts: tuple[Verdict, ...]
    new: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """How many budgets hold."""
        return self.summary

    @property
    def broken(self) -> tuple[Verdict, ...]:
        """The verdicts on budgets that are not kept."""
        return tuple(verdict for verdict in self.verdicts if not verdict.holds)

    @property
    def summary(self) -> str:
        """One line: how many budgets of how many networks hold."""
        models = len({verdict.model for verdict in self.verdicts})
        count = len(self.verdicts)
        of = f"{number_of(count, 'budget')} of {number_of(models, 'network')}"
        new = f"; new, not compared: {', '.join(self.new)}" if self.new else ""
        broken = len(self.broken)
        if not count:
            return f"nothing was compared{new}"
        return (f"{broken} of {of} broken" if broken else f"{of}: all hold") + new

    def table(self, everything: bool = False) -> Table:
        """Return one row for every broken budget, or for every budget."""
        chosen = self.verdicts if everything else self.broken
        return Table(COLUMNS, tuple(map(_row, chosen)), title=self.summary)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost check`` (see ``archcost schema check``)."""
        return {
            "schema": contract_id("check"),
            "holds": not self.broken,
            "budgets": [verdict.record() for verdict in self.verdicts],
            "new": list(self.new),
        }


def _row(verdict: Verdict) -> tuple[Cell, ...]:
    over = None if verdict.holds else plain(verdict.over)
    percent = (
        f"{over / abs(plain(verdict.allowed)):.2%}"
        if over is not None and verdict.allowed
        else None
    )
    shares = [f"{path} {verdict.condition.metric.brief(value)}" for path, value in verdict.shares]
    return (
        verdict.model, verdict.condition.text,
        None if verdict.base is None else plain(verdict.base), plain(verdict.allowed),
        plain(verdict.value), over, percent, ", ".join(shares),
    )  # fmt: skip


@dataclass
class _Bench:
    """Networks and baselines, each loaded and analysed once."""

    subjects: dict[Any, Subject] = field(default_factory=dict)
    new: dict[str, None] = field(default_factory=dict)
    others: dict[str, None] = field(default_factory=dict)

    def verdicts(self, budget: Budget, wanted: Container[Any] | None) -> Iterator[Verdict]:
        for request in budget.requests():
            if wanted is not None and request.origin not in wanted:
                self.others[request.name] = None
                continue
            own = self._subject(budget, request, "")
            for condition in budget.conditions:
                try:
                    yield self._verdict(budget, request, own, condition)
                except NotInRevision:
                    if not budget.settings.get("allow_new"):
                        raise
                    self.new[request.name] = None

    def _subject(self, budget: Budget, request: Request, reference: str) -> Subject:
        settings = repr(sorted(budget.settings.items()))
        key = (os.path.join(budget.folder, request.model), request.variant, reference, settings)
        if key not in self.subjects:
            load = partial(request.baseline_network, reference) if reference else request.network
            self.subjects[key] = budget.subject(load())
        return self.subjects[key]

    def _verdict(
        self, budget: Budget, request: Request, own: Subject, condition: Condition
    ) -> Verdict:
        reference, base = "", None
        if condition.needs_baseline:
            reference = condition.baseline or budget.settings["baseline"]
            base = self._subject(budget, request, reference)
        return judge(request.name, condition, own, reference, base, request.origin)


def judge(
    name: str,
    condition: Condition,
    own: Subject,
    reference: str = "",
    base: Subject | None = None,
    origin: tuple[str, str] = ("", ""),
) -> Verdict:
    """Return what is true of a condition on a network, and on its change from a baseline."""
    metric, on = condition.metric, condition.on
    value, before = metric.value(own, on), metric.value(base, on) if base else None
    holds = condition.holds(value, before)
    shares = () if holds else tuple(largest_shares(metric, own, on))
    return Verdict(name, condition, reference, value, before, shares, origin)


def check(budgets: Sequence[Budget], wanted: Container[tuple[str, str]] | None = None) -> Check:
    """Return what is true of every budget.

    Args:
        budgets: what must hold.
        wanted: :attr:`Request.origin` of the networks that matter; the others are not looked at.

    Raises:
        ArchcostError: a model or baseline that cannot be read, or no budget of those wanted.
    """
    bench = _Bench()
    verdicts = tuple(v for budget in budgets for v in bench.verdicts(budget, wanted))
    if bench.others and not verdicts and not bench.new:
        found = shorten(", ".join(bench.others), 200)
        raise ArchcostError(f"the budgets are for {found}, and the report has none of these")
    return Check(verdicts, tuple(bench.new))
