"""A full disk is one line and exit code 2, a reader who has gone is no error: of every command."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from archcost.cli import COMMANDS, cli, main

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")

SPEC = "name: own\ninput:   3x8x8\nlayers: [{C: 'conv(2, 3)'}]\n"
CALLS = {
    "table": "lenet5", "compare": "lenet5 alexnet", "explain": "lenet5 C1", "memory": "lenet5",
    "fit": "lenet5 --gpu h100", "formula": "lenet5", "sweep": "lenet5 --vary H=32:34",
    "solve": "lenet5 --vary H=32:34 --minimize macs",
    "roofline": "lenet5 --gpu h100", "hardware": "",
    "check": "--budget lenet5:params<1M", "diff": "lenet5 alexnet", "badge": "lenet5",
    "lint": "own.yaml", "fmt": "--diff own.yaml", "schema": "table", "list": "lenet",
    "show": "lenet5", "import": "lenet5", "ops": "conv", "export": "lenet5", "reconcile": "lenet5",
    "identify": "lenet5 61706", "audit": "lenet5", "plot": "layers lenet5 --terminal",
    "report": "lenet5", "verify": "own.yaml --checks structure --device meta",
    "profile": "own.yaml --no-training --runs 1",
}  # fmt: skip
"""A call of every command that prints something, and soon."""

NEEDS = dict.fromkeys(("verify", "profile", "export"), "torch") | dict.fromkeys(
    ("sweep", "solve"), "numpy"
)
"""The packages that commands need beside the core."""


def test_every_command_is_called() -> None:
    assert set(CALLS) == set(COMMANDS)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


Run = Callable[[str], int]


@pytest.fixture
def run(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Run a command line whose standard output is this descriptor; returns the exit code."""

    def call(arguments: str, descriptor: int) -> int:
        if package := NEEDS.get(arguments.split(" ")[0]):
            pytest.importorskip(package, reason=f"{package} is not installed")
        stream = io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False), "utf-8")
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        monkeypatch.setattr(sys, "argv", ["archcost", *arguments.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        sys.stdout.flush()  # as the interpreter does at its end: nothing is left to fail
        monkeypatch.undo()
        return ended.value.code if isinstance(ended.value.code, int) else -1

    yield call


@pytest.fixture
def full() -> Iterator[int]:
    descriptor = os.open(FULL, os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def gone() -> Iterator[int]:
    """A pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


HELP = [f"{name} --help" for name in COMMANDS]
PRINTING = [*(f"{name} {call}".strip() for name, call in CALLS.items()), "--help", "--version"]


@pytest.mark.parametrize("arguments", [*PRINTING, *HELP, ""])
def test_a_full_disk_is_a_line(
    arguments: str, full: int, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, full) == 2
    reason = "cannot write to standard output: No space left on device"
    assert capsys.readouterr().err == f"archcost: {reason}\n"


@pytest.mark.parametrize("arguments", [*PRINTING, *HELP, ""])
def test_a_closed_pipe_is_silent(
    arguments: str, gone: int, run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    command = arguments.split(" ")[0]
    differs = command == "fmt" and "--help" not in arguments  # which is its exit code 1
    assert run(arguments, gone) == int(differs)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [("check --budget lenet5:params<1", 1), ("diff lenet5 alexnet --fail-on params>1%", 1)],
)
def test_a_verdict_survives_the_pipe(
    arguments: str, code: int, gone: int, run: Callable[..., int]
) -> None:
    assert run(arguments, gone) == code


ENDINGS = {
    "badge": ".svg", "plot": ".svg", "report": ".html", "show": ".yaml", "schema": ".json",
    "export": ".py", "import": ".yaml",
}  # fmt: skip
WRITING = [name for name in COMMANDS if name not in ("fmt", "hardware")]  # hardware is a group


@pytest.mark.parametrize("target", ["/dev/full", "missing/x", "."])
@pytest.mark.parametrize("name", WRITING)
def test_a_file_that_cannot_be_written_is_a_line(
    name: str, target: str, here: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    if isinstance(command, click.Group) and name == "plot":
        command = command.get_command(None, "layers")  # type: ignore[arg-type]
    assert command and any("--output" in option.opts for option in command.params)
    if package := NEEDS.get(name):
        pytest.importorskip(package, reason=f"{package} is not installed")
    if name == "plot":
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    file = target + ENDINGS.get(name, ".csv") if target.endswith("x") else target
    arguments = f"{name} {CALLS[name].replace('--terminal', '')} -o {file}".split()
    monkeypatch.setattr(sys, "argv", ["archcost", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (2, "", 1)
    no_picture = name == "plot" and target == "/dev/full"  # the name has no ending
    assert err.startswith("archcost: ") and (target in err or no_picture)
    assert sorted(path.name for path in here.iterdir()) == ["own.yaml"]


def test_devices_are_written_to_and_stay(here: Path) -> None:
    """Of a process of its own: its standard output is a pipe here, and a file there."""
    command = [sys.executable, "-m", "archcost", "badge", "lenet5", "-o", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("<svg ")
    pipe = here / "pipe"
    os.mkfifo(pipe)
    subprocess.run([*command[:-1], "/dev/null"], check=True)
    assert Path("/dev/null").is_char_device()
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    subprocess.run([*command[:-1], str(pipe)], check=True)
    assert reader.communicate()[0] == done.stdout
    assert pipe.is_fifo()


@pytest.mark.parametrize(
    ("line", "code", "err"),
    [
        ("table lenet5 >&-", 0, ""),
        ("nonsense 2>&-", 2, ""),
        ("nonsense 2>/dev/full", 2, ""),
        ("table lenet5 >/dev/full", 2, "archcost: cannot write to standard output: No space left on device\n"),
        ("list | head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("report lenet5 | head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0, ""),
        ("nonsense 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}", 2, ""),
    ],
)  # fmt: skip
def test_in_a_shell(line: str, code: int, err: str) -> None:
    """With what the interpreter does at its end, which no test in this process can see."""
    command = ["bash", "-c", f"{sys.executable} -m archcost {line}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, err)
