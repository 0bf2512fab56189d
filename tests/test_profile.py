"""Measuring on a device, records, and their replay; on a GPU where there is one."""

from __future__ import annotations

import json
from importlib import import_module
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from archcost import ArchcostError, load
from archcost.cli import cli
from archcost.hardware import read_devices
from archcost.performance.measured import read_record, record_device
from archcost.spec.source import read_source

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from archcost.measure import calibrate, clock, series  # noqa: E402
from archcost.measure import profile as measure  # noqa: E402
from archcost.proofs.replay import replay  # noqa: E402

pytestmark = pytest.mark.torch
PARAMS = {
    name: [tensor for layer in load(name) for tensor in layer.cost.params]
    for name in ("lenet5", "resnet20")
}
RECORDS = sorted((Path(__file__).parent.parent / "measurements").glob("*.json"))


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "cpu.json"
    arguments = ["profile", "lenet5", "resnet20", "--batch", "1,2", "--dtype", "float32,float64"]
    arguments += ["--optimizer", "sgd-momentum,adam"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(path.parent))
        patch.setitem(calibrate.SIDES, "cpu", (256, 512))
        patch.setitem(calibrate.COPIED, "cpu", 2**25)
        done = CliRunner().invoke(cli, ["hardware", "calibrate", "--seconds", "0.1"])
        assert done.exit_code == 0, done.output
        done = CliRunner().invoke(cli, [*arguments, "--runs", "2", "--record", str(path)])
        assert done.exit_code == 0, done.output
    return path


def test_a_record_says_what_was_measured_where(record: Path) -> None:
    content = read_record(record)
    assert {"device", "torch", "date", "flags", "threads"} <= set(content["machine"])
    rows = content["measurements"]
    assert [(row["model"], row["batch"], row["dtype"], row["optimizer"]) for row in rows] == [
        (model, batch, dtype, optimizer)
        for optimizer in ("sgd-momentum", "adam")
        for batch in (1, 2)
        for dtype in ("float32", "float64")
        for model in ("lenet5", "resnet20")
    ]
    for row in rows:
        assert row["status"] == "ok"
        assert row["step"]["runs"] == 2
        moments = {"sgd-momentum": 1, "adam": 2}[row["optimizer"]]
        assert row["gradient_bytes"] == row["param_bytes"]
        counts = row["optimizer_state_bytes"] - moments * row["param_bytes"]
        # Adam counts its steps in 4 bytes per parameter
        assert counts == (4 * len(PARAMS[row["model"]]) if row["optimizer"] == "adam" else 0)
        assert ("forward" in row) == (row["optimizer"] == "sgd-momentum")  # measured once
        if "forward" not in row:
            continue
        assert row["forward"]["q1"] <= row["forward"]["median"] <= row["forward"]["q3"]
        assert row["forward"]["fastest"] <= row["forward"]["q1"]
        assert set(row["layers"]) == {layer.path for layer in load(row["model"])}
    assert not any("peak" in key for row in rows for key in row)  # a CPU keeps no such account


def profiled(path: Path, *arguments: str) -> Any:
    """Return what a quick profile of three small models says, and the record that it wrote."""
    models = ["profile", "lenet5", "resnet20", "lecun1989", "--batch", "2,3", "--runs", "1"]
    done = CliRunner().invoke(cli, [*models, "--record", str(path), *arguments])
    return done, json.loads(path.read_text()) if path.exists() else None


def names(content: Any) -> list[tuple[str, int]]:
    return [(row["model"], row["batch"]) for row in content["measurements"]]


def test_a_time_limit_leaves_every_model_in_the_first_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(range(0, 2000, 20))  # twenty seconds between one look at the clock and the next
    command = import_module("archcost.cli.profile")
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(looks)))
    done, content = profiled(tmp_path / "part.json", "--time-limit", "2.2m")
    assert done.exit_code == 0
    assert "archcost: 3 of 6 settings are left; --resume continues\n" in done.stderr
    assert names(content) == [("lenet5", 2), ("resnet20", 2), ("lecun1989", 2)]
    assert [check for check in replay(tmp_path / "part.json") if not check.passed] == []


def test_the_counter_finds_the_attention_of_a_cpu(tmp_path: Path) -> None:
    row = measure.profile(load("vit_ti_16", input="3x32x32"), runs=1)
    content = measure.to_record(measure.machine("cpu"), [row])
    (tmp_path / "attention.json").write_text(json.dumps(content))
    assert [check for check in replay(tmp_path / "attention.json") if not check.passed] == []


@pytest.mark.reference
def test_networks_that_nobody_wrote_a_spec_for_are_recorded(
    tmp_path: Path, torchvision: Any
) -> None:
    """Of torchvision, of timm and of a file: the record names the code, and is compared with it."""
    pytest.importorskip("timm", reason="timm is not installed")
    (tmp_path / "net.py").write_text(NETS)
    models = ["torchvision:squeezenet1_1", "timm:resnet10t", f"{tmp_path}/net.py:net"]
    path = tmp_path / "code.json"
    options = ["--input", "3x64x64", "--batch", "2", "--runs", "1", "--record", str(path)]
    done = CliRunner().invoke(cli, ["profile", *models, *options])
    assert done.exit_code == 0, done.output
    rows = json.loads(path.read_text())["measurements"]
    assert [(row["model"], row["status"]) for row in rows] == [(name, "ok") for name in models]
    # params, shape, counter, saved bytes, bytes of parameters, gradients, state
    assert compared(path) == 3 * 7


NETS = """from torch import nn

def net(width=4): return nn.Conv2d(3, width, 3)

class Words(nn.Module):
    def __init__(self, words=50):
        super().__init__()
        self.table, self.head = nn.Embedding(words, 8), nn.Linear(8, 3)
    def forward(self, ids, places): return self.head(self.table(ids) + places)

def make(batch):
    import torch
    return torch.zeros(batch, 5, dtype=torch.int64), torch.zeros(batch, 5, 8)
"""


def compared(path: Path) -> int:
    """Return how many figures of a record are compared with those predicted; all are equal."""
    checks = [check for check in replay(path) if "hard bound" not in check.name]
    assert [check for check in checks if check.skipped or not check.passed] == []
    return len(checks)


@pytest.mark.parametrize(
    ("model", "options", "load"),
    [
        ("net.py:net", "--input 3x8x8 --arg width=7", {"knobs": {"width": "7"}}),
        ("net.py:net", "--input input=3x8x8", {"input": {"input": "3x8x8"}}),
        (
            "net.py:Words",
            "--input ids=5:int64 --input places=5x8 --arg words=70",
            {"input": {"ids": "5:int64", "places": "5x8"}, "knobs": {"words": "70"}},
        ),
        ("net.py:Words", "--inputs net.py:make", {"inputs": "net.py:make"}),
        ("net.py:net", "--input 3x8x8 --run", {"model": "net.py:net", "run": True}),
        ("resnet20", "--input 3x16x16", None),
        ("resnet20", "--no-bias --set classes=7", {"knobs": {"classes": "7"}, "bias": False}),
    ],
)
def test_a_row_says_how_its_network_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, options: str, load: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETS)
    arguments = ["profile", model, *options.split(), "--batch", "2", "--runs", "1", "--resume"]
    for _ in range(2):  # the second finds it in the record
        done = CliRunner().invoke(cli, [*arguments, "--record", "code.json"])
        assert done.exit_code == 0, done.output
    (row,) = json.loads(Path("code.json").read_text())["measurements"]
    assert (row["status"], row.get("load")) == ("ok", load), row
    assert compared(Path("code.json")) == 7


def test_a_record_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "whole.json"
    profiled(path, "--resume")  # there is none yet: it is begun
    whole = path.read_bytes()
    lines = whole.decode().splitlines()
    # as if a machine had gone after the fourth measurement, one of which was refused
    content = json.loads(whole)
    del content["measurements"][4:]
    content["measurements"][1]["status"] = "refused"
    content["machine"]["date"] = "2020-02-02"
    path.write_text(json.dumps(content, indent=1) + "\n")
    kept = path.read_text().partition('"measurements": [')[2].removesuffix("\n ]\n}\n")
    measured: list[str] = []
    real = series.profile
    monkeypatch.setattr(
        series, "profile", lambda net, **how: measured.append(net.name) or real(net, **how)
    )
    done, content = profiled(path, "--resume")
    assert (done.exit_code, measured) == (0, ["resnet20", "lecun1989"])
    assert kept in path.read_text()  # byte for byte
    assert names(content) == names(json.loads(whole)) and len(lines) > 100
    today = json.loads(whole)["machine"]["date"]
    assert content["machine"]["date"] == "2020-02-02"
    assert content["machine"]["continued"] == [{"date": today}]
    measured.clear()
    before = path.read_bytes()
    done, _ = profiled(path, "--resume")
    assert (done.exit_code, measured, path.read_bytes()) == (0, [], before)
    done, content = profiled(path, "--no-training", "--resume")  # another measurement of each
    assert len(measured) == 6 and len(content["measurements"]) == 12


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("torch", "1.0", f"torch 1.0, this is {torch.__version__}"),
        ("device", "cuda:0", "device cuda, this is cpu"),
        ("threads", 99, "threads 99, this is "),
        ("flags", {"loss": "mean"}, "loss mean, this is sum of the main output"),
    ],
)
def test_a_record_of_another_machine_is_not_continued(
    record: Path, tmp_path: Path, key: str, value: Any, reason: str
) -> None:
    content = json.loads(record.read_text())
    about = content["machine"]
    about[key] = about[key] | value if key == "flags" else value
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))
    before = path.read_bytes()
    done, _ = profiled(path, "--resume")
    assert isinstance(done.exception, ArchcostError)
    expected = f"{path}: cannot be continued here: it was measured with {reason}"
    assert str(done.exception).startswith(expected)
    assert path.read_bytes() == before


def test_slow_passes_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def passes(seconds: float, runs: int) -> tuple[int, int]:
        """Return how many passes of that length are made, and how many are timed."""
        made: list[None] = []

        def run() -> None:
            made.append(None)
            now[0] += seconds

        found = clock.Clock(torch, "cpu").latency(run, runs)
        assert found.median == pytest.approx(seconds)
        return len(made), found.runs

    assert passes(0.001, 11) == (3 + 11, 11)
    assert passes(0.07, 11) == (3 + 7, 7)
    assert passes(20, 11) == (1 + 3, 3)
    assert passes(20, 1) == (1 + 1, 1)


def test_predictions_hold_against_the_record(record: Path) -> None:
    checks = list(replay(record))
    # params, saved bytes, bytes of parameters, gradients, state, bound of a step; of half of the
    # rows also shape, counter, bound of a forward pass
    assert len(checks) == 16 * 6 + 8 * 3
    assert [check for check in checks if check.skipped or not check.passed] == []


def test_no_pass_was_faster_than_the_hard_bound(record: Path) -> None:
    """The CPU of this run, as it was calibrated just before.

    What a large product reached is less than the CPU's own peak, so a pass could in principle beat
    the bound; but small layers reach a few percent of it, and the products are the least.
    """
    device = record_device(read_record(record))
    assert device is not None and device.kind == "cpu" and device.measured
    bounds = [c for c in replay(record) if "hard bound" in c.name]
    assert len(bounds) == 16 + 8 and all(c.passed for c in bounds)
    assert not any("at least 0.000" in c.expected for c in bounds)


def test_a_slower_device_would_break_the_bound(record: Path, tmp_path: Path) -> None:
    content = json.loads(record.read_text())
    known = content["machine"]["calibration"]
    known["peaks"] = dict.fromkeys(known["peaks"], 10**7)  # as if a thousandth were all
    (tmp_path / "slow.json").write_text(json.dumps(content))
    failed = [check for check in replay(tmp_path / "slow.json") if not check.passed]
    assert failed and all("hard bound" in check.name for check in failed)


def test_what_was_calibrated_is_a_device(record: Path) -> None:
    known = read_devices(read_source(record.parent / "archcost" / "devices.yaml"))["mine"]
    assert {"float64", "float32"} <= set(known.peaks)
    assert known.reports.endswith(" threads") and "with torch" in known.source
    assert [p.name for p in (record.parent / "archcost").iterdir()] == ["devices.yaml"]
    arguments = ["roofline", "resnet20", "--record", str(record), "--batch", "2", "--depth", "1"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0 and "efficiency" in done.output


@pytest.mark.parametrize(
    "key",
    ["params", "saved_bytes", "output", "counters", "gradient_bytes", "optimizer_state_bytes"],
)
def test_a_changed_record_fails(record: Path, tmp_path: Path, key: str) -> None:
    content = json.loads(record.read_text())
    row = content["measurements"][0]
    row[key] = {"torch": 1} if key == "counters" else [1] if key == "output" else row[key] + 1
    (tmp_path / "changed.json").write_text(json.dumps(content))
    assert len([check for check in replay(tmp_path / "changed.json") if not check.passed]) == 1


def test_the_command_replays_a_record(record: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["verify", "--replay", str(record)])
    assert (done.exit_code, done.stdout.splitlines()[2].split()) == (
        0, ["cpu.json", "replay", "120", "120", "0"],
    )  # fmt: skip
    content = json.loads(record.read_text())
    content["measurements"][0]["params"] += 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    junit = tmp_path / "junit.xml"
    done = CliRunner().invoke(cli, ["verify", "--replay", str(changed), "--junit", str(junit)])
    assert done.exit_code == 1
    right = load("lenet5").by_path  # the twin's parameters are those of the network
    params = sum(prod(shape) for layer in right.values() for shape in layer.cost.params.values())
    row = "lenet5 x1 float32 sgd-momentum"
    difference = f"{row}: params: expected {params:,}, measured {params + 1:,}"
    assert difference in done.stdout
    assert difference in junit.read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not a record: "),
        ("[]", "not a record of schema 1"),
        ('{"schema": 2}', "not a record of schema 1"),
        ('{"schema": 1}', "the record has no machine or no measurements"),
        ('{"schema": 1, "machine": {}, "measurements": [{}]}', "a measurement lacks model"),
    ],
)
def test_a_broken_record_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "broken.json").write_text(text)
    with pytest.raises(ArchcostError) as error:
        read_record(tmp_path / "broken.json")
    assert str(error.value).startswith(f"{tmp_path}/broken.json: {reason}")


def test_running_out_of_memory_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB\ndetails")

    monkeypatch.setattr(measure, "build", too_large)
    row = measure.profile(load("lenet5"))
    assert (row.status, row.reason) == (
        "out of memory",
        "CUDA out of memory. Tried to allocate 9 GiB",
    )
    assert row.forward is None


def test_a_dtype_that_runs_nothing_is_an_error() -> None:
    with pytest.raises(ArchcostError, match="cannot run in int8"):
        measure.profile(load("lenet5"), dtype="int8")


def test_any_error_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("state")

    monkeypatch.setattr(measure, "make_optimizer", broken)
    row = measure.profile(load("lenet5"), runs=1)
    assert (row.status, row.reason) == ("refused", "KeyError: 'state'")
    assert row.forward is not None and row.saved_bytes is not None  # found before it


def test_a_gpu_that_does_not_answer_ends_the_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(device: str) -> None:
        raise ArchcostError("cuda does not answer any more")

    monkeypatch.setattr(series, "check_answers", dead)
    monkeypatch.setattr(measure, "make_optimizer", lambda *_: 1 / 0)
    done, content = profiled(tmp_path / "cut.json")
    assert str(done.exception) == "cuda does not answer any more"
    assert names(content) == [("lenet5", 2)]


def test_a_measurement_that_cannot_run_is_a_row() -> None:
    row = measure.profile(load("resnet20", input="3x8x8"), batch=1)
    assert row.status in ("ok", "refused")
    norm_of_one = measure.profile(load("resnet18", input="3x32x32"), batch=1, runs=1)
    assert norm_of_one.status == "refused"  # batch normalisation refuses one value per channel
    assert norm_of_one.reason.startswith("Expected more than 1 value per channel")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--device", "tpu"], "unknown device 'tpu'; expected cpu, cuda or cuda:N"),
        (["--dtype", "int8"], "cannot run in int8; expected float64, float32, float16 or bfloat16"),
        (["--batch", "1,x"], "--batch takes whole numbers such as 1,32,256; got '1,x'"),
        (["--optimizer", "sgd,adm"], "unknown optimizer 'adm'; did you mean 'adam'?"),
        (["--resume"], "--resume continues a record: say which with --record FILE"),
        (["--time-limit", "8 parsecs"], "a duration is written as 90s, 10m or 2h; got '8 parsecs'"),
        (["--time-limit", "0m"], "a duration must be positive; got '0m'"),
        (["--record", "/none/x"], "cannot write /none/x: no folder /none that can be written to"),
        (["--batch", "0"], "--batch takes whole numbers such as 1,32,256; got '0'"),
    ],
)
def test_bad_options(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(cli, ["profile", "lenet5", *arguments])
    assert isinstance(result.exception, ArchcostError)
    assert str(result.exception) == reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is present")
def test_no_gpu_is_one_line() -> None:
    result = CliRunner().invoke(cli, ["profile", "lenet5", "--device", "cuda"])
    assert str(result.exception).startswith("no CUDA device: ")


@pytest.mark.skipif(not RECORDS, reason="no record of a device in measurements/ yet")
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_every_record_in_the_repository_holds(path: Path) -> None:
    checks = list(replay(path))
    assert [check for check in checks if not check.passed] == []
    assert sum(not check.skipped for check in checks) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["lenet5", "alexnet", "googlenet_torchvision", "resnet50"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_gpu_agrees(tmp_path: Path, name: str, dtype: str) -> None:
    row = measure.profile(load(name), device="cuda", batch=8, dtype=dtype, runs=3)
    assert row.status == "ok", row.reason
    content = measure.to_record(measure.machine("cuda"), [row])
    (tmp_path / "gpu.json").write_text(json.dumps(content))
    assert [check for check in replay(tmp_path / "gpu.json") if not check.passed] == []
    assert row.training_peak_bytes > row.inference_peak_bytes > 0
    assert row.training_peak_bytes >= row.training_requested_bytes >= row.training_tensor_bytes
