"""The figures of a run on symbols that makes equal layers once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from archcost.analysis.report import ROW_FIGURES, Report, Row, analyze
from archcost.conventions import find_convention
from archcost.errors import SpecError
from archcost.figures import METRICS, Figure, Subject
from archcost.graph import Graph
from archcost.number import Symbolic
from archcost.series import Series, Uneven, Unfolded, total
from archcost.setting import Setting
from archcost.space.pricing import Run
from archcost.space.varied import Varied
from archcost.spec.reading import TooLarge

SUMS = ("params", "size", "macs", "flops", "counted", "activations")
"""The figures that are sums over layers, of which equal ones may be made once."""


@dataclass(frozen=True)
class Folded(Subject):
    """A network of which some layers stand for several equal ones, one after another.

    Attributes:
        repeats: for how many, or the row of which it is one, by path; see
            :attr:`archcost.graph.Graph.repeats`.
    """

    repeats: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @cached_property
    def report(self) -> Report:
        """The figures of all layers; those that a layer stands for are in its row."""
        report = analyze(self.network, self.setting)
        return replace(report, rows=tuple(map(self._times, report.rows)))

    def _times(self, row: Row) -> Row:
        if row.path not in self.repeats:
            return row
        found = {name: getattr(row, name) for name in ROW_FIGURES}
        for times in self.repeats[row.path]:
            for name, figure in found.items():
                row_of = isinstance(times, Series)
                found[name] = total(figure, times) if row_of else figure * times
        return replace(row, **found)


def may_fold(setting: Setting, figures: Iterable[str]) -> bool:
    """Whether figures are sums in which equal layers count equally."""
    return set(figures) <= set(SUMS) and not find_convention(setting.convention).layouts


def subject_at(varied: Varied, setting: Setting, values: Mapping[str, Any]) -> Subject:
    """Return a network at values of names, which may be symbols, to ask its figures.

    Raises:
        ArchcostError: there is no such network.
    """
    found: Any = [value for value in values.values() if type(value) is Symbolic]
    graph: Graph | None = found[0].graph if found else None
    try:
        network = varied.load(values)
        if graph is None or not graph.repeats:
            return Subject(network, setting)
        folded = Folded(network, setting, graph.repeats)
        _ = folded.report  # sums what rows of layers cost, as far as that has a formula
        return folded
    except Uneven:
        assert graph is not None
        graph.repeats, graph.grows = {}, (graph.grows + 1) % 3  # twice
    except Unfolded:
        assert graph is not None
        graph.repeats = None
    except SpecError as error:
        too_large = any(isinstance(each, TooLarge) for each in error.mistakes)
        if graph is None or not graph.repeats or not too_large:
            raise
        graph.repeats = None  # what was taken at most is too much: make all layers
    return subject_at(varied, setting, values)


def run_of(varied: Varied, setting: Setting, names: Iterable[str]) -> Run:
    """Return what gives figures of a network at values of names, which may be symbols."""
    figures: list[Figure] = [METRICS[name] for name in names]

    def run(at: Mapping[str, Any]) -> dict[str, Any]:
        subject = subject_at(varied, setting, at)
        return {figure.name: figure.value(subject, "") for figure in figures}

    return run
