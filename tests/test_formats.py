"""Tables as CSV, JSON, LaTeX, Excel and other formats, on screen and in files."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
from test_cli import invoke, refused, run

from archcost.contracts import contract as contract_of
from archcost.table import Column, Table
from archcost.workbook import write_workbook


def test_table_as_csv_has_plain_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(run("table", "vgg16", "--format", "csv")[0])))
    assert sum(int(row["params"]) for row in rows) == 138_357_544
    assert rows[0]["output"] == "3x224x224"


@pytest.mark.parametrize(
    ("arguments", "schema"),
    [
        (["table", "resnet50"], "table"),
        (["table", "siamese"], "table"),
        (["compare", "7*alexnet", "resnet50"], "compare"),
        (["table", "--training", "--freeze", "C1", "lenet5"], "training"),
        (["memory", "--timeline", "siamese"], "memory"),
        (["memory", "--gpu", "h100", "--amp", "bf16", "lenet5"], "memory"),
        (["fit", "--gpu", "h100", "lenet5"], "fit"),
        (["fit", "--memory", "600MB", "vgg16"], "fit"),
        (["roofline", "--gpu", "h100", "lenet5"], "roofline"),
    ],
)
def test_json_follows_its_schema(arguments: list[str], schema: str) -> None:
    data = json.loads(run(*arguments, "--format", "json")[0])
    assert data["schema"] == f"archcost/{schema}/2"
    contract = contract_of(schema)
    jsonschema.Draft202012Validator.check_schema(contract)
    jsonschema.validate(data, contract)


def test_json_of_table() -> None:
    data = json.loads(run("table", "alexnet", "--batch", "2", "--format", "json")[0])
    assert data["layers"][0] == {
        "name": "CONV1", "op": "conv", "settings": "11x11, stride 4",
        "inputs": [[3, 227, 227]], "output": [96, 55, 55],
        "params": 34_944, "trainable_params": 34_944,
        "macs": 210_830_400, "flops": 421_660_800, "counted": 421_660_800,
        "activations": 580_800, "activation_bytes": 2_323_200, "buffers": 0,
        "receptive_field": [11, 11],
    }  # fmt: skip
    assert data["totals"]["params"] == 62_378_344
    assert data["totals"]["weight_layers"] == 8


@pytest.mark.parametrize("format", ["markdown", "html", "latex", "text"])
def test_formats_hold_every_figure(format: str) -> None:
    out = run("table", "alexnet", "--format", format)[0]
    assert all(figure in out for figure in ("62,378,344", "1,135,256,096", "34,944"))
    assert "two operations per multiply-accumulate" in out


def test_latex_is_booktabs_with_the_convention_in_its_caption() -> None:
    out = run("compare", "alexnet_two_towers", "resnet50", "--format", "latex")[0]
    assert r"\toprule" in out
    assert r"alexnet\_two\_towers" in out
    assert "per multiply-accumulate" in out.split(r"\begin{tabular}")[0]


def test_excel_keeps_numbers_and_notes(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    path = tmp_path / "resnet18.xlsx"
    run("table", "resnet18", "-o", str(path))
    sheet, about = openpyxl.load_workbook(path).worksheets
    headings, *rows = sheet.iter_rows(values_only=True)
    for figure, total in (("params", 11_689_512), ("activations", 6_072_808)):
        place = headings.index(figure)  # without subtotals of groups, and with the input
        assert sum(row[place] for row in rows[:-1]) == rows[-1][place] == total
    notes = [cell.value for cell in about["A"]]
    assert notes[0] == "resnet18: Residual network"
    assert "two operations per multiply-accumulate" in notes[2]
    assert refused("table", "alexnet", "--format", "xlsx") == (
        "an Excel file is not text: say where with --output FILE.xlsx"
    )


def test_excel_takes_text_for_text_and_loses_no_digit(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    path = tmp_path / "table.xlsx"
    columns = (Column("a", "=1+1"), Column("b", "count", True))
    rows = (("=cmd()", 2**60), ("bell\x07", 12), (None, Fraction(1, 4)))
    write_workbook(Table(columns, rows), path)
    sheet = openpyxl.load_workbook(path).worksheets[0]
    assert [cell.data_type for cell in (sheet["A1"], sheet["A2"], sheet["B2"])] == ["s", "s", "s"]
    assert sheet["B2"].value == "1,152,921,504,606,846,976"
    assert [sheet[at].value for at in ("A3", "B3", "A4", "B4")] == ["bell ", 12, None, 0.25]


@pytest.mark.parametrize(
    ("ending", "begin"),
    [
        ("txt", "alexnet: AlexNet, one tower"), ("md", "**alexnet: AlexNet, one tower"),
        ("csv", "name,group,op,"), ("json", '{\n  "schema": "archcost/'), ("html", "<table>"),
        ("htm", "<table>"), ("tex", r"% \usepackage{booktabs}"), ("TEX", r"% \usepackage"),
        ("xlsx", "PK"),
    ],
)  # fmt: skip
def test_a_file_has_the_format_of_its_ending(tmp_path: Path, ending: str, begin: str) -> None:
    if ending == "xlsx":
        pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    target = tmp_path / f"table.{ending}"
    assert invoke("table", "alexnet", "-o", str(target)).exit_code == 0
    assert target.read_bytes().startswith(begin.encode())
