"""`make gpu` and `make replay` without a GPU: rehearsed on the GPU of `fake_gpu.py`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archcost.cli import cli

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if torch.cuda.is_available():
    pytest.skip("this machine has a GPU", allow_module_level=True)

from fake_gpu import fake_gpu  # noqa: E402

from archcost.proofs import replay  # noqa: E402

pytestmark = pytest.mark.torch
ROOT = Path(__file__).parent.parent
PLAIN = "timm:mobilenetv1_100"
"""A network without a spec, without dropout, which a CPU does otherwise, and without branches."""
FIGURES = {
    "output", "params", "counters", "saved_bytes", "forward", "layers", "inference_peak_bytes",
}  # fmt: skip
STEP = {
    f"{what}_bytes"
    for what in (
        "training_peak", "training_requested", "training_tensor", "training_reserved",
        "device_used", "param", "gradient", "optimizer_state",
    )
}  # fmt: skip


def settings(record: Path, code: str) -> list[str]:
    """Return what makes `make gpu` short: small networks, and few settings."""
    return [
        f"GPU_PYTHON={sys.executable} tests/fake_gpu.py", f"RECORD={record}", "GPU_MODELS=lenet5",
        f"GPU_CODE={code} --input 3x32x32 --set num_classes=10",
        "GPU_SETTINGS=--batch 2 --dtype float32 --optimizer sgd-momentum,adam --runs 1",
    ]  # fmt: skip


def commands(target: str, *options: str) -> list[list[str]]:
    """Return the arguments of each archcost command that a target of the Makefile runs."""
    make = ["make", "--no-print-directory", "-n", target, *options]
    done = subprocess.run(make, cwd=ROOT, check=True, capture_output=True, text=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines() if " -m archcost " in line]
    return [line[line.index("archcost") + 1 :] for line in lines]


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(cli, [*arguments])
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.reference
def test_make_gpu_writes_what_make_replay_holds_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchvision: Any
) -> None:
    """It is stopped by its time limit, and continued; `make replay` needs no GPU."""
    pytest.importorskip("timm", reason="timm is not installed")
    path = tmp_path / "gpu.json"
    specs, code = commands("gpu", *settings(path, "timm:test_resnet"))
    with fake_gpu():
        looks = iter(range(0, 2000, 200))  # seconds between one look at the clock and the next
        with monkeypatch.context() as patch:
            command = import_module("archcost.cli.profile")
            patch.setattr(command, "time", SimpleNamespace(monotonic=lambda: next(looks)))
            done = run(*specs)
        assert "archcost: 1 of 2 settings is left; --resume continues\n" in done.stderr
        run(*specs)
        run(*code)
        whole = path.read_bytes()
        run(*code)  # nothing is left to measure
        assert path.read_bytes() == whole
    content = json.loads(whole)
    assert content["machine"]["name"] == "NVIDIA H200"
    rows = content["measurements"]
    assert [(row["model"], row["status"], row["optimizer"]) for row in rows] == [
        (name, "ok", optimizer)
        for name in ("lenet5", "timm:test_resnet")
        for optimizer in ("sgd-momentum", "adam")
    ]
    for row in rows:
        assert set(row) >= (STEP | FIGURES if row["optimizer"] == "sgd-momentum" else STEP)
        tensors, requested, allocated, reserved = (
            row[f"training_{name}_bytes"] for name in ("tensor", "requested", "peak", "reserved")
        )
        assert 0 < tensors <= requested <= allocated <= reserved <= row["device_used_bytes"]
    assert "measured peaks of memory" in path.with_suffix(".txt").read_text()
    # where operations are observed, as here, autograd adds gradients into new tensors
    usual = replay.row_setting
    monkeypatch.setattr(replay, "row_setting", lambda *row: replace(usual(*row), observed=True))
    ((command, *arguments),) = commands("replay", *settings(path, PLAIN))
    # of each row: parameters, saved bytes, bytes of parameters, gradients and state, tensors at the
    # peak, bound of a step; with the first optimizer also shape, counter, bound of a pass
    checks = str(2 * (10 + 7))
    done = run(command, *arguments)
    assert done.stdout.splitlines()[2].split() == ["gpu.json", "replay", checks, checks, "0"]


@pytest.mark.slow
@pytest.mark.reference
def test_make_gpu_as_it_is_typed(tmp_path: Path, torchvision: Any) -> None:
    """With the tests that need a GPU, of which the smallest network runs here."""
    pytest.importorskip("timm", reason="timm is not installed")
    options = settings(tmp_path / "gpu.json", PLAIN)
    for target, here in (("gpu", {"PYTEST_ADDOPTS": "-k lenet5"}), ("replay", {})):
        make = ["make", target, *options]
        done = subprocess.run(make, cwd=ROOT, env=os.environ | here, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert target == "replay" or "2 passed" in done.stdout
