"""Sweeps: which configurations there are, which are kept, and how they are written."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import openpyxl
import pytest
from click.testing import CliRunner

import archcost
from archcost import analyze, load, loads
from archcost.cli import cli
from archcost.contracts import contract
from archcost.errors import ArchcostError
from archcost.setting import Setting
from archcost.space import grid, sweep
from archcost.space.grid import Space, read_dimension
from archcost.space.sweep import Sweeper, rows_of
from archcost.space.varied import Varied
from archcost.spec import template
from archcost.spec.catalog import find_model

np = pytest.importorskip("numpy", reason="numpy is not installed")

NET = "name: net\ninput: 3x32x32\nknobs: {n: 2, wide: 1.0, act: relu}\nlayers: ['conv(8 * n, 3)', act, flatten, linear(10)]\n"


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, ["sweep", *words])


def values(text: str) -> list[Any]:
    own = read_dimension(text)
    found: list[Any] = own.at(np.arange(len(own))).tolist()
    return found


# Which configurations there are.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16:64:16", [16, 32, 48, 64]),
        ("16:63:16", [16, 32, 48]),
        ("3:5", [3, 4, 5]),
        ("7:7", [7]),
        ("-2:2:2", [-2, 0, 2]),
        ("0.1:0.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("1:2:0.5", [1.0, 1.5, 2.0]),
        ("0.25:1", [0.25]),
        ("1e-3:3e-3:1e-3", [0.001, 0.002, 0.003]),
        ("3,5,7", [3, 5, 7]),
        ("1,1.5", [1.0, 1.5]),
        ("relu,gelu", ["relu", "gelu"]),
        ("true,false", [True, False]),
        ("[1,2],[3]", [[1, 2], [3]]),
    ],
)
def test_values_are_ranges_and_lists(text: str, expected: list[Any]) -> None:
    found = values(text)
    assert found == expected
    assert [*map(type, found)] == [*map(type, expected)]


def test_a_decimal_range_has_the_floats_that_are_written() -> None:
    assert values("0.1:2:0.001") == [float(f"{i / 1000:.3f}") for i in range(100, 2001)]


def test_the_grid_has_every_configuration_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "BOX", 7)
    space = Space(
        {"a": read_dimension("1:5"), "b": read_dimension("x,y"), "c": read_dimension("0.5,1.5,2.5")}
    )
    blocks = [*space.blocks()]
    rows = [row for own in blocks for row in zip(*(own[n].tolist() for n in "abc"), strict=True)]
    assert rows == [*product(range(1, 6), "xy", (0.5, 1.5, 2.5))]
    assert len(space) == len(rows) == 30 and len(blocks) == 5


@pytest.mark.parametrize("block", [4, 7, 16, 100, 1000])
def test_blocks_of_a_grid_are_boxes(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "BOX", block)
    names = {"a": "1:4", "b": "x,y", "c": "0.5,1.5,2.5", "d": "1:5"}
    space = Space({name: read_dimension(text) for name, text in names.items()})
    rows = [*product(range(1, 5), "xy", (0.5, 1.5, 2.5), range(1, 6))]
    for start, stop in ((0, None), (0, 1), (13, 97), (30, 60), (119, 120), (7, 8)):
        blocks = [*space.blocks(start, stop)]
        found = [
            row for own in blocks for row in zip(*(own[n].tolist() for n in "abcd"), strict=True)
        ]
        assert found == rows[start:stop]
        assert max(len(own["a"]) for own in blocks) <= block
        assert all(type(own) is grid.Box for own in blocks)


def test_a_large_grid_is_priced_as_a_sample_of_it() -> None:
    vary = {"width": "0.25:2:0.05", "stages.2.2": range(1, 33), "input": range(32, 321, 2)}
    found = archcost.sweep("mobilenet_v2", vary)
    assert len(found) == found.configurations == 36 * 32 * 145 > grid.BOX
    draw = np.random.default_rng(1)
    for row in draw.integers(0, len(found), 30).tolist():
        width, depth, size = (found.columns[name][row].item() for name in vary)
        stages = [*map(list, load("mobilenet_v2").knobs["stages"])]
        stages[2][2] = depth
        total = analyze(
            load("mobilenet_v2", knobs={"width": width, "stages": stages}, input=(3, size, size))
        ).total
        assert found.columns["macs"][row] == total.macs
        assert found.columns["params"][row] == total.params


def test_a_grid_of_many_runs_comes_in_short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "BLOCK", 50)
    space = Space({"n": read_dimension("2,3,4"), "input": read_dimension("32:131")})
    few, many = (Sweeper(loads(NET), Setting(), space) for _ in range(2))
    monkeypatch.setattr(many, "_learn", lambda: setattr(many._pricing, "runs", 9))
    lengths = [[rows_of(own) for own in each.blocks()] for each in (few, many)]
    assert lengths == [[300], [50] * 6]
    assert [each.tally.networks for each in (few, many)] == [300, 300]


def test_a_sample_depends_on_its_seed_only() -> None:
    dimensions = {"a": read_dimension("1:1000"), "b": read_dimension("0:1:0.001")}
    drawn = [Space(dimensions, 20_000, seed) for seed in (1, 1, 2)]
    first, again, other = ([own["a"].tolist() for own in space.blocks()] for space in drawn)
    assert first == again != other
    assert [*map(len, first)] == [grid.BLOCK, 20_000 - grid.BLOCK]
    assert first[0][:9] != first[1][:9] and set(first[0]) == set(range(1, 1001))
    short = next(iter(Space(dimensions, 10, 1).blocks()))["a"].tolist()
    assert short == first[0][:10]


# What is kept.


def brute(network: str, vary: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return every network with its figures, each loaded by itself."""
    rows = []
    for point in product(*vary.values()):
        at = dict(zip(vary, point, strict=True))
        knobs = {name: value for name, value in at.items() if name not in ("input", "depths.0")}
        if "depths.0" in at:
            knobs["depths"] = [at["depths.0"], 2, 2, 2]
        size = {"input": (3, at["input"], at["input"])} if "input" in at else {}
        try:
            total = analyze(load(network, knobs=knobs, **size)).total
        except ArchcostError:
            continue
        rows.append(
            {**at, "params": total.params, "macs": total.macs, "activations": total.activations}
        )
    return rows


VARY: dict[str, list[Any]] = {
    "depths.0": [0, 1, 3],
    "classes": [0, 10, 20],
    "input": [1, 32, 64, 100],
}
TEXT = ("--vary", "depths.0=0,1,3", "--vary", "classes=0:20:10", "--vary", "input=1,32,64,100")


def table_of(text: str) -> list[dict[str, Any]]:
    return [
        {key: int(value) for key, value in row.items()} for row in csv.DictReader(io.StringIO(text))
    ]


def test_a_sweep_has_every_network_with_its_figures() -> None:
    expected = brute("resnet18", VARY)
    assert table_of(run("resnet18", *TEXT, "--format", "csv").stdout) == expected
    lines = run("resnet18", *TEXT, "--format", "jsonl").stdout.splitlines()
    assert [*map(json.loads, lines)] == expected
    made = json.loads(run("resnet18", *TEXT, "--format", "json").stdout)
    jsonschema.validate(made, contract("sweep"))
    assert made["rows"] == expected
    assert made["configurations"] == 36 and made["networks"] == len(expected) == made["kept"]
    away = 36 - len(expected)
    assert away > 0 and sum(each["count"] for each in made["refused"]) == away


def test_refusals_are_counted_with_the_first_of_each_kind() -> None:
    made = run("resnet18", *TEXT, "--format", "csv")
    lines = [line for line in made.stderr.splitlines() if "refused, the first" in line]
    counts = [int(line.partition(" ")[0]) for line in lines]
    assert sum(counts) == 36 - len(brute("resnet18", VARY)) == 20 and len(counts) == 2
    assert lines[0].startswith("12 refused, the first at depths.0=0, classes=0, input=1: ")
    with pytest.raises(ArchcostError) as refused:
        load("resnet18", knobs={"depths": [0, 2, 2, 2], "classes": 0}, input=(3, 1, 1))
    assert lines[0].partition("input=1: ")[2] == str(refused.value).splitlines()[0]


@pytest.mark.parametrize(
    ("where", "keep"),
    [
        ("macs <= 400M", lambda row: row["macs"] <= 400e6),
        (
            "macs < 148656640 and classes == 10",
            lambda row: row["macs"] < 148_656_640 and row["classes"] == 10,
        ),
        (
            "params >= 11181642 and input > 32",
            lambda row: row["params"] >= 11_181_642 and row["input"] > 32,
        ),
        (
            "depths.0 == 1 and activations < 1M",
            lambda row: row["depths.0"] == 1 and row["activations"] < 1e6,
        ),
        ("macs == 0.5", lambda row: False),
        ("input <= 64 and input >= 64", lambda row: row["input"] == 64),
    ],
)
def test_conditions_keep_what_meets_them(where: str, keep: Any) -> None:
    expected = [row for row in brute("resnet18", VARY) if keep(row)]
    assert table_of(run("resnet18", *TEXT, "--format", "csv", "--where", where).stdout) == expected


def test_rows_are_sorted_and_cut() -> None:
    rows = brute("resnet18", VARY)
    expected = sorted(rows, key=lambda row: (-row["macs"], row["params"]))[:3]
    found = run("resnet18", *TEXT, "--sort", "-macs,params", "--top", "3", "--format", "csv")
    assert table_of(found.stdout) == expected
    text = run("resnet18", *TEXT, "--top", "3").stdout.splitlines()
    assert text[-1] == f"the first 3 of {len(rows)}"


def test_columns_are_those_asked_for() -> None:
    found = run(
        "resnet18", *TEXT, "--columns", "macs,input", "--where", "params <= 12M", "--format", "csv"
    )
    assert found.stdout.splitlines()[:2] == [
        "macs,input",
        f"{brute('resnet18', VARY)[0]['macs']},1",
    ]


def test_memory_is_that_of_the_rows_that_are_left() -> None:
    found = archcost.sweep(
        "resnet18", {"input": [64, 96, 128]}, columns=["input", "training_peak"],
        where="macs <= 500M and training_peak >= 1MB",
    )  # fmt: skip
    expected = [
        archcost.memory("resnet18", input=f"3x{n}x{n}").training.peak.total for n in (64, 96)
    ]
    assert found.columns["training_peak"].tolist() == expected
    assert (found.networks, found.kept) == (3, 2)


def test_a_figure_that_is_not_known_is_no_zero() -> None:
    found = archcost.sweep("crnn", {"H": [31, 32, 33]}, columns=["H", "params", "training_peak"])
    assert (len(found), found.configurations, found.networks, found.kept) == (0, 3, 0, 0)
    reasons = [(each.count, each.reason) for each in found.refused]
    assert reasons[1] == (2, "labels.lstm1: the peak of a recurrent layer is not known")
    with pytest.raises(ArchcostError, match="3 configurations: 0 networks, 3 refused"):
        archcost.solve("crnn", {"H": [31, 32, 33]}, minimize="training_peak")


def test_a_sweep_in_python() -> None:
    pytest.importorskip("pandas", reason="pandas is not installed")
    expected = brute("resnet18", VARY)
    found = archcost.sweep("resnet18", {**VARY, "classes": range(0, 21, 10)})
    assert found.table().records() == expected
    assert {name: own.dtype.kind for name, own in found.columns.items()} == dict.fromkeys(
        found.columns, "i"
    )
    frame = found.to_frame()
    assert frame["macs"].tolist() == [row["macs"] for row in expected]
    best = archcost.sweep(
        "resnet18", {"input": np.arange(32, 65)}, pareto=["macs", "-input"], top=2
    )
    assert best.columns["input"].tolist() == [32, 34]


def test_code_is_swept_one_by_one(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def Net(wide=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, wide, 3), nn.ReLU())\n"
    )
    vary = {"wide": [2, 4], "H": [8, 9]}
    code, columns = f"{tmp_path / 'net.py'}:Net", ["wide", "params", "macs"]
    found = archcost.sweep(code, vary, input="3x8x8", knobs={"wide": 4}, columns=columns)
    assert found.columns["macs"].tolist() == [wide * 27 * 6 * n for wide in (2, 4) for n in (6, 7)]
    assert found.columns["params"].tolist() == [2 * 28, 2 * 28, 4 * 28, 4 * 28]


def test_arguments_of_code_vary_from_their_defaults(tmp_path: Path) -> None:
    """Those that no literal says, and those behind ``**more``, are given first."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n"
        "def Net(widths=(4, 5), act=nn.ReLU, bias=True, **more):\n"
        "    a, b = widths\n"
        "    last = nn.Conv2d(b, more.get('out', 6), 1)\n"
        "    return nn.Sequential(nn.Conv2d(3, a, 1, bias=bias), act(), nn.Conv2d(a, b, 1), last)\n"
    )
    code, given = f"{file}:Net", ("--input", "3x8x8")
    vary = {"widths.1": [5, 7], "bias": [True, False]}
    found = archcost.sweep(code, vary, input="3x8x8", columns=["params"])
    expected = [12 + 4 * bias + 5 * b + 6 * b + 6 for b in (5, 7) for bias in (1, 0)]
    assert found.columns["params"].tolist() == expected
    assert load(code, input="3x8x8").knobs == {"widths": [4, 5], "bias": True}
    words = [code, *given, "--vary", "out=6,9", "--format", "csv", "--columns", "params"]
    assert run(*words, "--arg", "out=6").stdout.split() == ["params", "77", "95"]
    assert str(run(*words).exception).endswith(
        " (another argument is given first, as in --arg out=VALUE)"
    )
    assert "did you mean 'bias'?" in str(run(code, *given, "--vary", "bias_=1").exception)


def test_a_knob_that_is_a_list_goes_through_lists(tmp_path: Path) -> None:
    words = ("resnet18", "--vary", "depths=[2,2,2,2],[3,4,6,3]", "--columns", "depths,params")
    lines = run(*words).stdout.splitlines()
    assert lines[4:6] == ["[2, 2, 2, 2]  11,689,512", "[3, 4, 6, 3]  21,797,672"]
    assert run(*words, "--format", "csv").stdout.splitlines()[1] == '"[2, 2, 2, 2]",11689512'
    assert run(*words, "--output", str(tmp_path / "rows.xlsx")).exit_code == 0
    sheet = openpyxl.load_workbook(tmp_path / "rows.xlsx").worksheets[0]
    assert "[3, 4, 6, 3]" in [each.value for each in sheet["A"]]
    found = archcost.solve("resnet18", {"depths": [[3, 4, 6, 3], [2, 2, 2, 2]]}, minimize="params")
    assert found.at == {"depths": [2, 2, 2, 2]} and "[2, 2, 2, 2]  11,689,512" in str(found)


def test_a_word_is_no_truth_value() -> None:
    """``no`` is a text in specs and on the command line, and each text would count as true."""
    found = archcost.sweep("resnet50", {"v1": "true,false,no"}, columns=["macs"])
    assert found.columns["macs"].tolist() == [3857973248, 4089184256]
    assert [each.reason for each in found.refused] == ["v1 of resnet is true or false; got 'no'"]


def test_networks_of_one_document_do_not_add_up_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = [0.5 + i / 50 for i in range(30)]
    varied = Varied(load("mobilenet_v2"))
    expected = [analyze(varied.load({"width": width})).total for width in widths]
    kept = find_model("mobilenet_v2")[0].templates
    kept.clear()
    monkeypatch.setattr(template, "MOST_KEPT", 40)
    assert [analyze(varied.load({"width": width})).total for width in widths] == expected
    assert 0 < len(kept) <= 40


def test_a_beyond_figure_is_exact_and_said(tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(NET)
    made = run(
        str(spec),
        "--vary",
        "n=1,1000000000000",
        "--columns",
        "n,macs",
        "--batch",
        "100",
        "--format",
        "json",
    )
    found = json.loads(made.stdout)["rows"]
    expected = [archcost.analyze(spec, batch=100, knobs={"n": n}).total.macs for n in (1, 10**12)]
    assert [row["macs"] for row in found] == expected and expected[1] > 2**63
    text = run(str(spec), "--vary", "n=1,1000000000000", "--batch", "100").stdout
    assert text.splitlines()[-1] == "beyond 64 bits, so in integers of Python: macs"


def test_a_refusal_writes_shapes_as_all_of_archcost() -> None:
    found = archcost.sweep("resnet18", {"input": [31.5, 32]}, columns=["macs"])
    assert [(each.count, each.reason) for each in found.refused] == [
        (2, "the sizes of a shape are whole numbers; got 3x31.5x31.5")
    ]
    found = archcost.sweep("mobilevit_s", {"H": [33]})
    assert found.refused[0].reason.endswith("144x5x32 has no shape 144x2x2x16x2")


def test_a_sweep_without_a_network_has_no_rows() -> None:
    made = run("resnet50", "--vary", "block=relu,conv", "--where", "macs <= 1G", "--sort", "-macs")
    lines = made.stdout.splitlines()
    assert lines[4] == "2 configurations: 0 networks, 2 refused; 0 with macs <= 1G" or made.stdout
    assert lines[-3] == "2 configurations: 0 networks, 2 refused; 0 with macs <= 1G"
    assert [line.partition(",")[0] for line in lines[-2:]] == ["1 refused", "1 refused"]


def test_without_numpy_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "find_spec", lambda name: None)
    assert told("resnet18", "--vary", "input=32") == (
        "a sweep needs numpy: pip install 'archcost[sweep]'"
    )


# Ctrl-C.


def test_an_interrupted_sweep_leaves_a_usable_file(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    words = ["sweep", "resnet50", "--vary", "width_per_group=1:100000", "--vary", "input=32:4000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "archcost", *words, "-o", str(target)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(1000):
        if target.exists() and target.stat().st_size > 1e6:
            break
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    text = target.read_text()
    rows = text.splitlines()
    assert text.endswith("\n") and {row.count(",") for row in rows} == {4}
    assert err == f"archcost: interrupted after {len(rows) - 1:,} of 396,900,000\n"
    assert out.startswith(f"{len(rows) - 1:,} configurations: ")


# What is refused, in one line.


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--vary widht=1:2", "unknown knob or size of net 'widht'; did you mean 'wide'?"),
        ("--vary n", "--vary takes NAME=VALUES; got 'n'"),
        ("--vary n=", "--vary n: a value is missing, as in 3,5,7 or 16:128:8"),
        ("--vary n=5:1", "--vary n: the range 5:1 is empty: its end is below its beginning"),
        ("--vary n=1:5:0", "--vary n: the step of a range is positive; got 0"),
        ("--vary n=1:x", "--vary n: a range is FIRST:LAST or FIRST:LAST:STEP; got '1:x'"),
        ("--vary n=1,1", "--vary n: the value 1 is listed twice"),
        ("--vary n=1,(", "--vary n: a closing bracket of another kind than the opening one: '[1,(]'"),
        ("--vary n=1 --vary n=2", "--vary n is given twice"),
        ("--vary input=8,9 --vary H=8,9", "input and H set the same of net"),
        ("--vary n=1:10000000 --vary wide=1:10000000", "100,000,000,000,000 configurations are too many to go through one by one; draw some of them with a sample, as in --sample 1000000"),
        ("--vary n=1:2 --sample 0", "a sample has at least one configuration; got 0"),
        ("--vary n=1:2 --seed -1", "a seed is a whole number from 0 on; got -1"),
        ("--vary n=1:2 --top 0", "--top is at least 1; got 0"),
        ("--vary n=1:2 --sort macs --pareto macs", "--pareto has an order of its own; leave --sort out"),
        ("--vary n=1:2 --sort mac", "unknown figure or knob 'mac'; did you mean 'macs'?"),
        ("--vary act=relu,gelu --sort act", "act goes through words, which have no order"),
        ("--vary n=1:2 --columns parms", "unknown figure or knob 'parms'; did you mean 'params'?"),
        ("--vary n=1:2 --columns batch", "batch depends on a device; a sweep has no such figure"),
    ],
)  # fmt: skip
def test_what_is_refused(words: str, reason: str, tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(NET)
    assert told(str(spec), *words.split()) == reason


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("macs <= ", "1:9: a number is expected, as in 300M, 2GiB or +2%"),
        ("macs <= 4M and", "1:15: a condition starts with a figure, as in `macs <= 300M`"),
        (
            "macs <= 4M and parms <= 3",
            "1:16: unknown figure or knob 'parms'; did you mean 'params'?",
        ),
        ("macs <= +4%", "1:1: a change needs a baseline, which a sweep does not have"),
        ("macs <= 4M or params <= 3", "1:12: the condition ends before this; got 'or params <= 3'"),
        ("macs >= 1 and act == 3", "1:15: act goes through words, which have no order"),
        ("macs", "1:5: a comparison is expected: <=, <, >=, > or =="),
    ],
)
def test_conditions_are_refused_with_their_place(where: str, reason: str, tmp_path: Path) -> None:
    spec = tmp_path / "net.yaml"
    spec.write_text(NET)
    found = told(str(spec), "--vary", "input=32,64", "--vary", "act=relu,gelu", "--where", where)
    assert found == f"--where {where!r}:{reason}"


def told(*words: str) -> str:
    done = run(*words)
    assert isinstance(done.exception, ArchcostError), done.output
    return str(done.exception)


def test_a_space_is_as_large_as_it_may_be() -> None:
    sweeper = Sweeper(
        load("resnet18"),
        Setting(),
        Space({"input": read_dimension("32:10000000"), "classes": read_dimension("1:1000000")}, 10),
    )
    assert len(sweeper.space) == 10 and sweeper.space.size > 9 * 10**12
