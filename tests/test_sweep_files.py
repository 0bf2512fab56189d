"""Files of a sweep: Parquet beside CSV, what an interrupted sweep leaves, and reading them."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archcost
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.space import files
from archcost.space.files import read_rows

np = pytest.importorskip("numpy", reason="numpy is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

NET = """\
name: net
input: 3x32x32
knobs: {n: 2, wide: 1.0, a: relu, bias: true}
layers: ['conv(floor(8 * n * wide), 3, bias=bias)', a]
"""
WORDS = [
    "--vary",
    "n=1:4",
    "--vary",
    "input=1,32,64",
    "--vary",
    "wide=0.5,1.25",
    "--vary",
    "a=relu,gelu",
    "--vary",
    "bias=true,false",
]


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "net.yaml").write_text(NET)
    return str(tmp_path / "net.yaml")


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["sweep", *words])


def table(target: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(target).to_pylist()
    return found


@pytest.mark.parametrize(
    "more", [(), ("--where", "macs <= 1K"), ("--sort", "-macs", "--top", "5"), ("--pareto", "macs,-params")]
)  # fmt: skip
def test_parquet_has_the_rows_of_csv(more: tuple[str, ...], spec: str, tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    made = run(spec, *WORDS, *more, "-o", str(target))
    text = run(spec, *WORDS, *more, "--format", "csv").stdout
    expected = [*csv.DictReader(text.splitlines())]
    found = table(target)
    assert [{name: str(value) for name, value in row.items()} for row in found] == expected
    schema = {each.name: str(each.type) for each in parquet.read_schema(target)}
    assert schema == {
        "n": "int64", "input": "int64", "wide": "double", "a": "string", "bias": "bool",
        "params": "int64", "macs": "int64", "activations": "int64",
    }  # fmt: skip
    assert made.output.startswith("96 configurations: 64 networks, 32 refused")


def test_rows_are_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GROUP", 20_000)
    target = tmp_path / "rows.parquet"
    run("resnet18", "--vary", "input=32:99:1", "--vary", "classes=1:1000", "-o", str(target))
    held = parquet.ParquetFile(target).metadata
    groups = [held.row_group(i).num_rows for i in range(held.num_row_groups)]
    assert sum(groups) == 68_000 and max(groups) == 20_000
    assert len(groups) <= 6  # a block of rows has a group, or two where it is larger
    columns = archcost.sweep("resnet18", {"input": range(32, 100), "classes": range(1, 1001)})
    assert parquet.read_table(target)["macs"].to_pylist() == columns.columns["macs"].tolist()


def test_a_part_that_fails_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    def fail(*_: Any) -> None:
        raise ArchcostError("a number is beyond 64 bits")

    monkeypatch.setattr(files, "_parquet", fail)
    with pytest.raises(ArchcostError, match="beyond"):
        files.write_part(None, {}, str(tmp_path / "part-0.parquet"))  # type: ignore[arg-type]
    assert [*tmp_path.iterdir()] == []


def test_an_interrupted_sweep_leaves_a_readable_file(tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    words = ["sweep", "resnet50", "--vary", "width_per_group=1:100000", "--vary", "input=32:4000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "archcost", *words, "-o", str(target)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(2000):
        if target.exists() and target.stat().st_size > 1e6:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    rows = parquet.ParquetFile(target).metadata.num_rows
    assert rows >= files.GROUP
    assert err == f"archcost: interrupted after {rows:,} of 396,900,000\n"
    last = parquet.read_table(target).slice(rows - 1).to_pylist()[0]
    at = {"width_per_group": last["width_per_group"]}
    total = archcost.analyze("resnet50", knobs=at, input=(3, last["input"], last["input"])).total
    assert (last["params"], last["macs"]) == (total.params, total.macs)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--vary n=2,1000000000000 --batch 10000 --output {}", "macs is beyond 64 bits, which Parquet's whole numbers have: write CSV"),
        ("--vary n=1,2 --format parquet", "a Parquet file is not text: say where with --output FILE.parquet"),
        ("--vary a=relu,3 --output {}", "a goes through values of several types, a column of Parquet has one: write CSV"),
    ],
)  # fmt: skip
def test_what_parquet_does_not_take(words: str, reason: str, spec: str, tmp_path: Path) -> None:
    target = tmp_path / "rows.parquet"
    assert str(run(spec, *words.format(target).split()).exception) == reason


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "xlsx", "md", "parquet"])
@pytest.mark.parametrize("words", ["", "--top 2", "--sort macs"])
def test_every_file_leaves_a_summary_on_the_terminal(
    ending: str, words: str, tmp_path: Path
) -> None:
    target = str(tmp_path / f"rows.{ending}")
    shown = run("resnet18", "--vary", "input=32:96:32", *words.split(), "-o", target)
    assert shown.exit_code == 0 and shown.stderr == ""
    first = "the first 2 of 3\n" if "top" in words else ""
    assert shown.stdout == f"3 configurations: 3 networks\n{first}"


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_the_summary_stands_beside_rows_that_other_programs_read(format: str) -> None:
    shown = run("resnet18", "--vary", "input=32:96:32", "--top", "1", "--format", format)
    assert shown.stderr == "3 configurations: 3 networks\nthe first 1 of 3\n"
    assert len(shown.stdout.splitlines()) == (2 if format == "csv" else 1)


def test_an_error_leaves_the_rows_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archcost.space import grid

    monkeypatch.setattr(grid, "BOX", 2)
    spec, target = tmp_path / "net.yaml", tmp_path / "rows.parquet"
    spec.write_text(NET)
    made = run(
        str(spec), "--vary", "n=1,2,3,4,1000000000000", "--batch", "10000", "-o", str(target)
    )
    assert isinstance(made.exception, ArchcostError)
    assert [row["n"] for row in table(target)] == [1, 2, 3, 4]


def test_without_pyarrow_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    reason = "Parquet files need pyarrow: pip install 'archcost[parquet]'"
    assert (
        str(run("resnet18", "--vary", "input=32", "-o", str(tmp_path / "rows.parquet")).exception)
        == reason
    )
    assert not (tmp_path / "rows.parquet").exists()


# Reading.


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_rows_are_read_as_written(
    ending: str, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "READ", 10)
    target = tmp_path / f"rows.{ending}"
    run(spec, *WORDS, "-o", str(target))
    vary = {"n": "1:4", "input": [1, 32, 64], "wide": [0.5, 1.25], "a": ["relu", "gelu"]}
    found = archcost.sweep(spec, {**vary, "bias": [True, False]})
    blocks = [*read_rows(str(target), ["macs", "wide"])]
    assert len(blocks) > 1
    for name in ("macs", "wide"):
        read = np.concatenate([block[name] for block in blocks])
        assert read.dtype == float and read.tolist() == found.columns[name].tolist()


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "n,m\n1,2\n3,x\n", "{}: row 2: m is 'x', no number"),
        ("a.csv", "n,m\n1,2\n3\n", "{}: row 2 has no m"),
        ("a.csv", "", "unknown column 'n'; the columns are "),
        ("a.jsonl", '{"n": 1, "m": 2}\n{"n": 1, "m": true}\n', "{}: row 2: m is True, no number"),
        (
            "a.jsonl",
            '{"n": 1, "m": 2}\nwhat\n',
            "{} is not a file of a sweep: its lines are not JSON records",
        ),
        ("a.jsonl", "3\n", "{} is not a file of a sweep: its lines are not JSON records"),
        ("a.parquet", "PAR1 what", "{} is not a Parquet file, or it was not closed"),
        ("a.txt", "", "'{}' does not end in .csv, .jsonl or .parquet"),
        ("", "", "cannot read {}/none.csv: No such file or directory"),
    ],
)
def test_files_that_are_refused(name: str, text: str, reason: str, tmp_path: Path) -> None:
    target = tmp_path / (name or "none.csv")
    if name:
        target.write_text(text)
    with pytest.raises(ArchcostError) as refused:
        [*read_rows(str(target), ["n", "m"])]
    assert str(refused.value) == reason.format(target if name else tmp_path)
