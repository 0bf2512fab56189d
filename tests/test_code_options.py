"""How code is read: its inputs, formulas of its own, and a part of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import archcost
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.importers.formulas import FORMULAS
from archcost.proofs.run import Request, verify

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch

CODE = """
import archcost
import torch
from torch import nn

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.conv, self.fc = nn.Embedding(50, 8), nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, tokens, image=None, *, mask=None, options=None):
        text = self.words(tokens).mean(1)
        if mask is not None:
            text = text * mask["keep"]
        if image is not None:
            text = text + self.conv(image).mean((2, 3))
        if options:
            text = text + options["bias"][0]
        return self.fc(text)

def make(batch):
    tokens = torch.zeros(batch, 7, dtype=torch.int64)
    return (tokens,), {"mask": {"keep": torch.ones(batch, 8)}, "options": {"bias": [torch.ones(8)]}}

def nothing(batch):
    return {"options": None}

def broken(batch):
    raise ValueError("no such file")

class Spectrum(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        return torch.linalg.svd(self.fc(x).view(-1, 2, 4), full_matrices=False)[1]

class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.linalg.svd(x.view(-1, 2, 4), full_matrices=False)[1]

    @staticmethod
    def backward(ctx, gradient):
        return ctx.saved_tensors[0]

class Hidden(Spectrum):
    def forward(self, x):
        return Own.apply(self.fc(x))
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the code into a file; formulas that a test registers go with it."""
    (tmp_path / "parts.py").write_text(CODE, "utf-8")
    monkeypatch.chdir(tmp_path)
    before = {**FORMULAS}
    yield "parts.py"
    FORMULAS.clear()
    FORMULAS.update(before)


def run(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli, arguments)


def test_inputs_are_named_in_any_order(code: str) -> None:
    options = {"image": "3x6x6", "tokens": "7:int64"}
    network = archcost.load(f"{code}:Encoder", input=options)
    assert [str(value) for value in network.inputs] == ["image 3x6x6", "tokens 7 of int64"]
    assert archcost.analyze(network).total.macs == 8 * 27 * 16 + 32
    words = [f"--input={name}={shape}" for name, shape in options.items()]
    made = run("table", f"{code}:Encoder", *words, "--format", "json")
    assert made.exit_code == 0, made.exception
    assert json.loads(made.output)["totals"]["macs"] == 8 * 27 * 16 + 32


def test_a_function_makes_nested_inputs(code: str) -> None:
    network = archcost.load(f"{code}:Encoder", inputs=f"{code}:make")
    assert [str(value) for value in network.inputs] == ["tokens 7 of int64", "mask_keep 8"]
    assert archcost.analyze(network).total.macs == 32
    made = run("memory", f"{code}:Encoder", "--inputs", f"{code}:make", "--device", "cpu")
    assert made.exit_code == 0, made.exception
    [outcome] = verify(network, Request())
    assert outcome.passed == outcome.run, outcome.failures


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--inputs", "parts.py:nothing"], "--inputs: make(batch) gives no tensor"),
        (["--inputs", "parts.py:broken"], "make(batch) fails: ValueError: no such file"),
        (["--inputs", "parts.py:made"], "has no 'made'; did you mean 'make'?"),
        (["--inputs", "parts.py:make", "--input", "7"], "leave --input out"),
        ([], "for several inputs --input tokens=3x224x224"),
    ],
)
def test_inputs_that_cannot_be_had_are_a_line(code: str, options: list[str], reason: str) -> None:
    made = run("table", f"{code}:Encoder", *options)
    assert isinstance(made.exception, ArchcostError)
    assert reason in str(made.exception)
    assert "\n" not in str(made.exception)


def test_options_of_code_are_not_for_specs() -> None:
    made = run("table", "alexnet", "--partial")
    assert str(made.exception) == "'partial' is for PyTorch modules; alexnet is a spec"


def test_a_part_that_has_formulas_is_counted_and_every_total_says_so(code: str) -> None:
    options = [f"{code}:Spectrum", "--input", "8"]
    assert "torch.linalg.svd has no formula" in str(run("table", *options).exception)
    made = run("table", *options, "--partial", "--format", "json")
    found = json.loads(made.output)
    assert found["model"] == "parts.py:Spectrum, without torch.linalg.svd"
    assert found["totals"]["macs"] == 64
    assert [remark["kind"] for remark in found["remarks"]] == ["partial"]
    for command in (["table"], ["compare"], ["memory", "--device", "cpu"]):
        made = run(*command, *options, "--partial")
        assert "without torch.linalg.svd" in made.output, (command, made.output)


def test_a_formula_is_registered(code: str) -> None:
    @archcost.formula("torch.linalg.svd")
    def svd(x: Any, full_matrices: bool = True) -> int:
        rows, height, width = x.shape
        assert x.dtype == "float32"
        return int(rows * height * width * 10)

    network = archcost.load(f"{code}:Spectrum", input="8")
    assert archcost.analyze(network, batch=3).total.macs == 3 * (64 + 80)
    assert not network.remarks
    with pytest.raises(ArchcostError, match=r"parts.Own|svd"):
        del FORMULAS["torch.linalg.svd"]
        archcost.load(f"{code}:Hidden", input="8")
    archcost.formula("parts.Own")(lambda x: x.shape[0] * 5)
    network = archcost.load(f"{code}:Hidden", input="8")
    assert [layer.path for layer in network] == ["fc", "Own1"]
    assert archcost.analyze(network).total.macs == 64 + 5
    assert archcost.analyze(network.in_training).total.macs == 64 + 5


@pytest.mark.parametrize("wrong", [lambda x: 1.5, lambda x: -1, lambda: 1])
def test_a_formula_that_gives_no_number_is_a_line(code: str, wrong: Any) -> None:
    archcost.formula("parts.Own")(wrong)
    with pytest.raises(ArchcostError, match=r"the formula of parts.Own (fails|gives)"):
        archcost.load(f"{code}:Hidden", input="8")
    with pytest.raises(ArchcostError, match="a formula is of a function"):
        archcost.formula("")
