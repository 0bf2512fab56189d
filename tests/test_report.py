"""Reports: sums, groups, receptive fields, depth, frames, tables."""

from __future__ import annotations

import csv
import io

import pytest

from archcost import ArchcostError, analyze, load
from archcost.analysis.training import training_step
from archcost.conventions import ACTIVATIONS
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.table import Column, Table


def report(layers: str, shape: str = "3x32x32", **options: object):  # type: ignore[no-untyped-def]
    text = f"name: n\ninput: {shape}\nlayers:\n" + "".join(
        f"  - {line}\n" for line in layers.split("; ")
    )
    return analyze(expand(read_document(Source("n.yaml", text))), **options)


def test_totals_are_the_sums_of_rows_groups_and_ops() -> None:
    made = analyze(load("resnet50"))
    for figure in ("params", "macs", "flops"):
        total = getattr(made.total, figure)
        assert total == sum(getattr(row, figure) for row in made.rows)
        assert total == sum(getattr(sums, figure) for sums in made.by_op().values())
        top = [s for name, s in made.by_group(1).items() if name]
        assert total == sum(getattr(sums, figure) for sums in top)
        assert total == getattr(made.by_group()[""], figure)


def test_a_batch_multiplies_work_and_activations_but_no_parameters() -> None:
    one, eight = analyze(load("alexnet")), analyze(load("alexnet"), batch=8)
    assert eight.total.macs == 8 * one.total.macs
    assert eight.total.activations == 8 * one.total.activations
    assert eight.total.params == one.total.params


def test_dtype_scales_bytes() -> None:
    full, half = analyze(load("alexnet")), analyze(load("alexnet"), dtype="bfloat16")
    assert (
        full.total.activation_bytes == 2 * half.total.activation_bytes == 4 * full.total.activations
    )
    assert full.total.param_bytes == 249_513_376  # 4 * 62,378,344


@pytest.mark.parametrize(
    ("layers", "field"),
    [
        ("conv(8, 3); conv(8, 3); conv(8, 3)", "7x7"),  # as one 7x7 convolution
        ("conv(8, 3); conv(8, 3)", "5x5"),
        ("conv(8, 3, dilation=2)", "5x5"),
        ("conv(8, 7, stride=2); maxpool(3, stride=2)", "11x11"),  # 7 + 2*2
        ("conv(8, (1, 7)); conv(8, (7, 1))", "7x7"),
        ("conv(8, 3); global_avgpool", "32x32"),  # 3 + 29
        ("conv(8, 3); flatten; linear(5)", "32x32"),
        ("maxpool(2); conv_transpose(8, 2, stride=2)", "2x2"),
        ("relu; batchnorm", "1x1"),
        (
            "conv(4, 3, stride=2); multiply: {map: identity, gate: [global_avgpool, 'conv(4, 1)', sigmoid]}; conv(4, 3)",
            "35x35",
        ),  # 3 + 14*2, 15x15 maps, and 2*2
        (
            "conv(8, 4, stride=4); flatten(1); permute([1, 0]); slice(0, 0, 1); flatten; linear(5)",
            "4x4",
        ),
    ],
)
def test_receptive_field(layers: str, field: str) -> None:
    made = report(layers)
    assert str(made.receptive_fields[made.rows[-1].path]) == field


def test_the_receptive_field_of_branches_is_the_widest() -> None:
    made = report('add: {a: "conv(3, 5, padding=2)", b: "conv(3, 3, padding=1)"}')
    assert str(made.receptive_fields["add1"]) == "5x5"


def test_depth_is_the_longest_path_of_weights() -> None:
    assert analyze(load("resnet50")).weight_layers == 50
    assert analyze(load("resnet152")).weight_layers == 152
    assert analyze(load("alexnet")).weight_layers == 8


def test_frozen_groups_keep_everything_below() -> None:
    made = analyze(load("resnet18"), freeze=["stem", "layer1"])
    assert made.total.params - made.total.trainable_params == 9_536 + 147_968


def test_to_frame() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = analyze(load("alexnet")).to_frame()
    assert frame["params"].sum() == 62_378_344
    assert frame.loc["CONV1", "output"] == [96, 55, 55]


SUMS = ("params", "trainable_params", "macs", "flops", "counted", "activations",
        "activation_bytes")  # fmt: skip
NESTED = ("alexnet", "googlenet", "resnet18", "unet", "vit_b_16")


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("model", NESTED)
def test_columns_of_the_frame_and_of_csv_add_up_to_the_totals(model: str, activations: str) -> None:
    made = analyze(load(model), batch=2, convention="fvcore", activations=activations)
    totals = {key: getattr(made.total, key) for key in SUMS}
    for depth in (None, 1, 2, 3):
        text = made.table(("name", *SUMS), depth).render("csv")
        rows = [*csv.DictReader(io.StringIO(text))]
        assert {key: sum(int(row[key]) for row in rows) for key in SUMS} == totals
        assert made.table(depth=depth).render("csv").count("\n") == len(rows)
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = made.to_frame()
    assert {key: int(frame[key].sum()) for key in SUMS} == totals
    assert ("input" in frame.index) == made.activations.counts_input


@pytest.mark.parametrize("model", NESTED)
def test_columns_of_a_training_step_as_csv_add_up_to_the_totals(model: str) -> None:
    step = training_step(load(model), batch=2)
    totals = step.to_dict()["totals"]
    for depth in (None, 1, 2):
        [*rows] = csv.DictReader(io.StringIO(step.table(("name", *totals), depth).render("csv")))
        assert {key: sum(int(row[key]) for row in rows) for key in totals} == totals


def test_csv_has_layers_with_their_group_where_people_read_subtotals() -> None:
    table = analyze(load("resnet18")).table()
    rows = [*csv.DictReader(io.StringIO(table.render("csv")))]
    assert [row["op"] for row in rows if not row["op"]] == [""]  # the input
    groups = {row["name"]: row["group"] for row in rows}
    assert groups["layer1.0.body.conv1"] == "layer1.0.body"
    assert groups["input"] == ""
    for format in ("text", "markdown", "html", "latex"):
        assert "| group" not in table.render(format)
        assert "layer1.0.body" in table.render(format)


def test_to_frame_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ArchcostError, match=r"pip install 'archcost\[pandas\]'"):
        analyze(load("alexnet")).to_frame()


def test_notebooks_show_an_html_table() -> None:
    html = analyze(load("alexnet"))._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<tr>") == 1 + 1 + 23 + 1  # heading, input, layers, total


TABLE = Table(
    (Column("name", "name"), Column("n", "number", True)),
    (("a|b & <c>", 1234567), ("", None)),
    title="T_1",
    footer=(("total", 1234567),),
    notes=("50 %",),
)


def test_formats_escape_what_is_theirs() -> None:
    assert r"| a\|b & <c> |" in TABLE.render("markdown")
    assert "a|b &amp; &lt;c&gt;" in TABLE.render("html")
    assert r"a|b \& " in TABLE.render("latex")
    assert r"T\_1; 50 \%" in TABLE.render("latex")
    assert TABLE.render("csv") == "name,n\na|b & <c>,1234567\n,"
    assert TABLE.render("text").splitlines() == [
        "T_1", "", "name          number", "---------  ---------", "a|b & <c>  1,234,567", "",
        "---------  ---------", "total      1,234,567", "", "50 %",
    ]  # fmt: skip
