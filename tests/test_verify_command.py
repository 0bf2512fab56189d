"""Many networks at once, and ``archcost verify`` as a command."""

from __future__ import annotations

import gc
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import CliRunner

from archcost.contracts import contract as contract_of
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.proofs.run import Request, verify, verify_all
from archcost.pytorch import build
from archcost.setting import Setting
from archcost.spec.catalog import load

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch


# Many networks, and the command.


def test_processes_find_what_one_process_finds() -> None:
    networks = [load(name) for name in ("lenet5", "conv_ordinary", "conv_separable")]
    request = Request(checks=("structure", "memory"))
    apart = {(o.model, o.group): (o.run, o.passed) for o in verify_all(networks, request, jobs=2)}
    alone = {(o.model, o.group): (o.run, o.passed) for n in networks for o in verify(n, request)}
    assert apart == alone
    assert len(apart) == 6


def test_what_is_frozen_stays_frozen() -> None:
    """As conftest.py freezes what the tests are: without that, a full run takes twice as long."""
    before = gc.get_freeze_count()
    assert before > 10_000
    assert [o.group for o in verify_all([load("lenet5")], Request(("structure",)), jobs=1)]
    assert gc.get_freeze_count() >= before


def test_an_error_of_the_user_comes_out_of_a_process() -> None:
    networks = [load("lenet5"), load("conv_ordinary")]
    request = Request(checks=("memory",), setting=Setting(device="cpu", freeze=("nothing",)))
    with pytest.raises(ArchcostError, match="unknown layer or group to freeze 'nothing'"):
        list(verify_all(networks, request, jobs=2))


Run = Callable[..., tuple[str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command in this process, and returns what it prints."""
    module = import_module("archcost.cli")
    monkeypatch.setattr(module, "protect", lambda: None)  # of streams, which pytest has replaced
    monkeypatch.setattr(
        module, "gc", SimpleNamespace(set_threshold=lambda *_: None, freeze=lambda: None)
    )

    def verify(*arguments: str, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["archcost", "verify", *arguments])
        with pytest.raises(SystemExit) as end:
            module.main()
        printed = capsys.readouterr()
        assert (end.value.code or 0) == code, printed.out + printed.err
        return printed.out, printed.err

    return verify


def test_the_table_has_a_line_per_model_and_check(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "junit.xml"
    out, err = run(
        "lenet5",
        "conv_ordinary",
        "--jobs",
        "1",
        "--checks",
        "structure,memory",
        "--junit",
        str(target),
    )
    assert err == ""
    lines = [line.split() for line in out.splitlines()[2:6]]
    assert [line[:2] for line in lines] == [
        ["lenet5", "structure"], ["lenet5", "memory"],
        ["conv_ordinary", "structure"], ["conv_ordinary", "memory"],
    ]  # fmt: skip
    assert all(line[2] == line[3] and line[4] == "0" for line in lines)
    assert f"torch {torch.__version__}" in out
    suites = ElementTree.parse(target).getroot()
    assert [(s.get("name"), s.get("tests"), s.get("failures")) for s in suites] == [
        ("lenet5", "2", "0"), ("conv_ordinary", "2", "0"),
    ]  # fmt: skip


def test_json_follows_its_schema(run: Run) -> None:
    data = json.loads(run("conv_ordinary", "--device", "meta", "--format", "json")[0])
    contract = contract_of("verify")
    jsonschema.Draft202012Validator.check_schema(contract)
    jsonschema.validate(data, contract)
    assert data["passed"] and not data["interrupted"]
    by_check = {result["check"]: result for result in data["results"]}
    assert by_check["memory"]["run"] == 0 and by_check["memory"]["skipped"]


def test_a_difference_is_exit_code_1_and_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archcost.cli import cli
    from archcost.proofs import run as module

    def faulty(network: Network, **options: Any) -> Any:
        twin = build(network, **options)
        twin.get_submodule("FC8").out_features = 1001
        twin.get_submodule("FC8").weight = torch.nn.Parameter(torch.zeros(1001, 4096))
        return twin

    monkeypatch.setattr(module, "build", faulty)
    target = tmp_path / "junit.xml"
    arguments = ["verify", "alexnet", "--device", "meta", "--checks", "structure"]
    result = CliRunner().invoke(cli, [*arguments, "--junit", str(target), "--format", "json"])
    assert result.exit_code == 1
    [found] = json.loads(result.stdout)["results"]
    assert found["passed"] < found["run"]
    assert found["failures"][0] == {
        "layer": "FC8", "name": "parameters",
        "expected": {"weight": [1000, 4096], "bias": [1000]},
        "measured": {"weight": [1001, 4096], "bias": [1000]},
    }  # fmt: skip
    failure = ElementTree.parse(target).getroot().find("testsuite/testcase/failure")
    assert failure is not None
    assert str(failure.get("message")).startswith("FC8: parameters: expected weight 1000x4096")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name at least one model, or use --family or --all"),
        (["gogglenet"], "unknown model 'gogglenet'; did you mean 'googlenet'?"),
        (["vgg16", "--checks", "memroy"], "unknown check 'memroy'; did you mean 'memory'?"),
        (["vgg16", "--device", "gpu"], "unknown device 'gpu'; expected cpu, cuda or cuda:N"),
        (["vgg16", "--against", "timn"], "unknown reference 'timn'; did you mean 'timm'?"),
        (["vgg16", "--against", "timm:"], "a reference is a collection or module:callable"),
        (["lenet5", "--freeze", "C9"], "unknown layer or group to freeze 'C9'"),
        (["lenet5", "--batch", "0"], "Invalid value for '--batch'"),
        (["lenet5", "--junit", "/no/x.xml"], "cannot write /no/x.xml: no folder /no that can"),
        (["lenet5", "--replay", "x.json"], "--replay takes its models from the record"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(run: Run, arguments: list[str], reason: str) -> None:
    out, err = run(*arguments, code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"archcost: {reason}")


def test_without_pytorch_the_way_to_install_it_is_given(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run("vgg16", code=2) == (
        "",
        "archcost: this needs PyTorch: pip install 'archcost[torch]'\n",
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_cuda_the_reason_is_given(run: Run) -> None:
    _, err = run("lenet5", "--device", "cuda", code=2)
    assert err.startswith("archcost: no CUDA device: ")


def test_an_interrupt_leaves_a_partial_report(tmp_path: Path) -> None:
    """Interrupted once the progress, on a terminal, names the first model."""
    master, terminal = pty.openpty()
    target = tmp_path / "junit.xml"
    arguments = ["lenet5", "preresnet1001_cifar10", "resnet1202", "resnet1202_projection"]
    command = [
        sys.executable, "-m", "archcost", "verify", *arguments, "--jobs", "1",
        "--checks", "structure,training", "--junit", str(target), "--format", "json",
    ]  # fmt: skip
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=terminal, text=True,
        # a suite that is started in the background ignores it, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    os.close(terminal)
    shown = ""
    while "lenet5" not in shown:
        shown += os.read(master, 4096).decode()
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=60)
    while "interrupted" not in shown:
        shown += os.read(master, 4096).decode()
    os.close(master)
    assert child.returncode == 130
    assert "archcost: interrupted; what was checked follows" in shown
    data = json.loads(out)
    assert data["interrupted"]
    assert [result["model"] for result in data["results"]][:1] == ["lenet5"]
    assert len(data["results"]) < 8
    assert ElementTree.parse(target).getroot()[0].get("name") == "lenet5"
