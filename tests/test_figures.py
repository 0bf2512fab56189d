"""One registry of figures: what it has is there for budgets, axes, columns and audits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from click.testing import CliRunner

from archcost import load
from archcost.cli import cli
from archcost.figures import FIGURES, METRICS, Subject
from archcost.findings.audit import _figure_of
from archcost.pictures.picture import Points
from archcost.pictures.scatter import AXES, scatter
from archcost.published import FIGURES as CITED
from archcost.record import record
from archcost.report.comparison import COLUMNS, OTHERS
from archcost.setting import Setting

ALONE = [name for name, figure in FIGURES.items() if not figure.on]
OLDER = {"size": "param_bytes", "layers": "weight_layers"}
"""Columns that have had another name."""


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.mark.parametrize("name", ALONE)
def test_a_figure_of_a_network_is_everywhere(name: str) -> None:
    figure = FIGURES[name]
    assert figure.axis and AXES["operations" if name == "counted" else name] is figure
    assert (name in METRICS) == (figure.unit not in ("percent", "year"))
    keys = [column.key for column in (*COLUMNS, *OTHERS)]
    assert keys.count(OLDER.get(name, name)) == 1
    cited = {"layers": "weight_layers"}.get(name, name)
    if cited in CITED and name in METRICS:
        net = load("resnet20")
        assert _figure_of(net, cited, "") == METRICS[name].value(Subject(net), "")


def test_every_word_of_a_spec_for_a_computed_figure_is_audited() -> None:
    net = load("lenet5")
    unknown = [word for word in CITED if _figure_of(net, word, "") is None]
    assert unknown == ["top1", "top5", "top1_error", "top5_error"]


def test_any_figure_is_a_column_and_an_axis() -> None:
    models = ("resnet20", "resnet32")
    table = run("compare", *models, "--columns", "model,training_peak,receptive_field",
                "--sort", "training_peak", "--format", "csv")  # fmt: skip
    memory = {
        name: json.loads(run("memory", name, "--format", "json"))["training"]["peak"]["bytes"]
        for name in models
    }
    rows = [line.split(",") for line in table.splitlines()[1:3]]
    assert [row[0] for row in rows] == [*models]
    assert {row[0]: int(row[1]) for row in rows} == memory
    assert all(int(row[2]) > 0 for row in rows)
    reports = [Subject(load(name), Setting()).report for name in models]
    picture = scatter(reports, "training_peak", "params", "macs")
    [points] = [m for panel in picture.panels() for m in panel.marks if isinstance(m, Points)]
    assert {p.label: p.x * 1e6 for p in points.points} == pytest.approx(memory)


def test_one_converter_makes_records_json() -> None:
    @dataclass(frozen=True)
    class Inner:
        size: tuple[int, ...]
        share: Fraction

    @dataclass(frozen=True)
    class Outer:
        inner: Inner
        more: Mapping[str, Any]
        half: Fraction = Fraction(1, 2)

        @property
        def twice(self) -> Fraction:
            return 2 * self.half

    outer = Outer(Inner((1, 2), Fraction(6, 3)), MappingProxyType({"a": (None, True)}))
    plain = {"inner": {"size": [1, 2], "share": 2}, "more": {"a": [None, True]}, "half": 0.5}
    assert record(outer) == plain
    assert json.dumps(record(outer, "twice", name="x")) == '{"name": "x", "twice": 1}'
