"""Code at a git revision: run in a worktree and a process of its own, for diff and budgets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archcost import load
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.importers import revision
from archcost.spec.kinds import is_code, split_code

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch

NET = """
from torch import nn

from models.parts import block

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.stem, self.drop = block(3, width), nn.Dropout(0.1)

    def forward(self, x):
        return self.drop(self.stem(x))
"""
PARTS = """
from torch import nn

def block(inside, outside):
    return nn.Sequential(nn.Conv2d(inside, outside, 3), nn.ReLU())
"""
BUDGETS = """
[budgets."models/net.py:Net"]
input = "3x32x32"
baseline = "main"
require = ["params <= +2%", "training peak <= +50%"]
"""


def git(folder: Path, *arguments: str) -> str:
    """Run git, and return what it prints."""
    made = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, check=True)
    return made.stdout.decode()


def forget() -> None:
    """Import the repository's modules anew: they are those of another folder or branch."""
    for name in ("models", "models.parts", "net"):
        sys.modules.pop(name, None)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository whose branch makes a module dearer, in a file that the module imports."""
    folder = tmp_path / "repository"
    (folder / "models").mkdir(parents=True)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
    monkeypatch.chdir(folder)
    forget()
    git(folder, "init", "-q", "-b", "main")
    (folder / "models" / "net.py").write_text(NET, "utf-8")
    (folder / "models" / "parts.py").write_text(PARTS, "utf-8")
    (folder / "archcost.toml").write_text(BUDGETS, "utf-8")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "A network")
    git(folder, "switch", "-q", "-c", "dearer")
    (folder / "models" / "parts.py").write_text(PARTS.replace(", 3)", ", 5)"), "utf-8")
    git(folder, "commit", "-q", "-a", "-m", "Larger windows")
    return folder


def run(*arguments: str) -> Result:
    """Run archcost as a command of the repository, which imports no module of another test."""
    return CliRunner().invoke(cli, arguments)


def test_a_name_with_a_revision_is_told_from_a_path() -> None:
    assert split_code("main:models/net.py:Net") == ("main", "models/net.py", "Net")
    assert split_code("models/net.py:Net") is None
    assert split_code("package.module:Net") is None
    assert is_code("origin/main:net.py:Net")
    assert split_code("main:models.net:Net") == ("main", "models.net", "Net")
    assert is_code("origin/main:models.net:Net")


def test_a_pull_request_that_makes_a_module_dearer_fails_its_budget(repository: Path) -> None:
    made = run("check")
    assert made.exit_code == 1, made.output
    row = next(line.split() for line in made.output.splitlines() if "params <= +2%" in line)
    assert row[4:7] == ["224", "228", "608"]
    git(repository, "switch", "-q", "main")
    forget()
    assert run("check").exit_code == 0


def test_diff_shows_the_layers_that_code_has_changed(repository: Path) -> None:
    made = run("diff", "main:models/net.py:Net", "models/net.py:Net", "--input", "3x32x32",
               "--set", "width=16", "--fail-on", "macs > +5%")  # fmt: skip
    assert made.exit_code == 1, made.output
    assert "conv 3x3: 3x32x32 -> 16x30x30" in made.output
    assert "conv 5x5: 3x32x32 -> 16x28x28" in made.output
    assert git(repository, "worktree", "list").count("\n") == 1
    assert git(repository, "status", "--porcelain", "--ignored=no") in (
        "",
        "?? models/__pycache__/\n",
    )


def test_a_module_at_a_revision_is_named_as_python_does(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run("diff", "main:models.net:Net", "models.net:Net", "--input", "3x32x32")
    assert made.exit_code == 0, made.output
    assert "conv 5x5: 3x32x32 -> 8x28x28" in made.output
    budgets = BUDGETS.replace("models/net.py:", "models.net:").replace(
        ', "training peak <= +50%"', ""
    )
    (repository / "archcost.toml").write_text(budgets)
    forget()
    assert run("check").exit_code == 1
    with pytest.raises(ArchcostError, match=r"^main has no module models.nett$"):
        load("main:models.nett:Net", input="3x32x32")
    with pytest.raises(ArchcostError, match=r"called 'mian'; did you mean 'main'\?"):
        load("mian:models.net:Net", input="3x32x32")
    monkeypatch.chdir(repository / "models")
    knobs = {"inside": 3, "outside": 4}
    network = load("main:parts:block", input="3x32x32", knobs=knobs)  # from the current folder
    assert network.source == "main:parts:block"


def test_a_revision_is_read_in_training_too(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[Any] = []
    real = revision._run_apart
    monkeypatch.setattr(revision, "_run_apart", lambda *how: processes.append(how) or real(*how))
    network = load("main:models/net.py:Net", input="3x32x32")
    assert [layer.path for layer in network.in_training] == ["stem.0", "stem.1", "drop"]
    assert len(processes) == 1
    assert network.in_training.source == network.source == "main:models/net.py:Net"
    with pytest.raises(ArchcostError, match=r"^main: models/net.py has no 'Nett'"):
        load("main:models/net.py:Nett", input="3x32x32")
    with pytest.raises(ArchcostError, match=r"called 'mian'; did you mean 'main'\?"):
        load("mian:models/net.py:Net", input="3x32x32")
    with pytest.raises(ArchcostError, match=r"main has no file models/nett.py; did you mean"):
        load("main:models/nett.py:Net", input="3x32x32")


def test_a_module_of_the_checkout_is_not_taken_for_one_of_the_revision(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = repository / "lib" / "somewhere"
    beside.mkdir(parents=True)
    (beside / "elsewhere.py").write_text("", "utf-8")
    (repository / "models" / "net.py").write_text("import elsewhere\n" + NET, "utf-8")
    git(repository, "commit", "-q", "-a", "-m", "Import what is not committed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(revision.ROOT), str(beside))))
    with pytest.raises(ArchcostError, match=r"it imports elsewhere from .* not of that revision"):
        load("HEAD:models/net.py:Net", input="3x32x32")
    assert git(repository, "worktree", "list").count("\n") == 1
