"""References whose ``forward`` takes its tensors by name, in lists or in dicts."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archcost
from archcost.cli import cli

pytest.importorskip("torch", reason="PyTorch is not installed")  # before a test changes the folder
pytestmark = pytest.mark.torch

THEIRS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.left, self.right = nn.Linear(6, width), nn.Linear(4, width)

    def pair(self, left, right, mask):
        return self.left(left) + 2 * self.right(right).masked_fill(mask, 1.0)


class Named(Net):
    def forward(self, scale=1.0, *, right, left, mask):
        return scale * self.pair(left, right, mask)


class Listed(Net):
    def forward(self, pair, more):
        return {"out": self.pair(pair[0], pair[1]["b"], more["mask"]) * more["fixed"].sum()}


def listed(batch):
    right, fixed = torch.zeros(batch, 3, 4), torch.zeros(4)
    mask = torch.zeros(batch, 3, 8, dtype=torch.bool)
    pair = [torch.zeros(batch, 3, 6), {"b": right}]
    return [pair], {"more": {"mask": mask, "fixed": fixed}}


def fewer(batch):
    return [[torch.zeros(batch, 3, 6)]], {}
"""

HEAD = """\
name: mine
inputs:
  left: 3x6
  right: 3x4
  mask: 3x8 bool
"""
BODY = """\
layers:
  - take(left)
  - l: linear(8)
  - take(right)
  - r: linear(8)
  - masked_fill(mask, r, 1.0)
  - rescale(2)
  - add(l, current)
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "named_inputs.py").write_text(THEIRS)
    (tmp_path / "net.yaml").write_text(HEAD + BODY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "named_inputs", raising=False)
    importlib.invalidate_caches()
    return "net.yaml"


def failures(*args: Any, **options: Any) -> list[str]:
    found = archcost.verify(*args, checks=["reference"], **options)
    [outcome] = found.outcomes
    assert outcome.run > 5 or outcome.failures
    return [f"{check.name}: {check.measured}" for check in outcome.failures]


def test_tensors_go_to_the_arguments_of_their_names(spec: str) -> None:
    assert failures(spec, against=["named_inputs:Named"]) == []


def test_tensors_go_where_a_function_puts_them(spec: str) -> None:
    text = BODY + "  - rescale(4)\n"  # of the fixed tensor: four ones
    Path(spec).write_text(HEAD + text)
    make = "named_inputs.py:listed"
    assert failures(spec, against=["named_inputs:Listed"], inputs=make) == []
    network = archcost.load(spec)
    assert failures(network, against=["named_inputs:Listed"], inputs=make) == []
    command = [*["verify", "--checks", "reference", "--against", "named_inputs:Listed"], spec]
    done = CliRunner().invoke(cli, [*command, "--inputs", make])
    assert done.exit_code == 0, done.output


def test_a_reference_gets_arguments_that_are_no_knobs(spec: str) -> None:
    wide = Path(spec).read_text().replace("linear(8)", "linear(width)").replace("3x8", "3x5")
    Path(spec).write_text(wide.replace("inputs:", "knobs: {width: 5}\ninputs:"))
    command = ["verify", "--checks", "reference", spec, "--against", "named_inputs:Named"]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 1  # the knob goes to the spec alone
    Path(spec).write_text(wide.replace("linear(width)", "linear(5)"))
    done = CliRunner().invoke(cli, [*command, "--arg", "width=5"])
    assert done.exit_code == 0, done.output


def test_inputs_of_another_number_are_refused(spec: str) -> None:
    with pytest.raises(
        archcost.ArchcostError,
        match="gives 1 tensor, and the model has the inputs left, right, mask",
    ):
        failures(spec, against=["named_inputs:Listed"], inputs="named_inputs.py:fewer")


def test_a_spec_alone_takes_no_inputs(spec: str) -> None:
    for against in ([], ["torchvision"]):
        with pytest.raises(archcost.ArchcostError, match="'inputs' is for PyTorch modules"):
            archcost.verify(spec, against=against, inputs="named_inputs.py:listed")


def test_a_reference_leaves_the_path_as_it_is(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = [*sys.path]
    for where in ("named_inputs", "named_inputs.py"):
        assert failures(spec, against=[f"{where}:Named"]) == []
        assert sys.path == before
