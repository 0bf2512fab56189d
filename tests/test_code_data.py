"""Code that data decide: read as it runs on copies of one sample."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archcost import analyze, load
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.proofs import Subject
from archcost.proofs.peaks import FakeRun
from archcost.proofs.run import Request, verify
from archcost.proofs.watch import light_copy
from archcost.pytorch.counter import math_attention, whole_counter
from archcost.setting import Setting
from archcost.storage.peaks import inference_peak, training_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn
pytestmark = pytest.mark.torch


class Deeper(nn.Module):
    """A layer more for what is large."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        y = self.first(x)
        return self.second(y).relu() if y.abs().max().item() > 0.01 else y


class Routed(nn.Module):
    """Experts, each of which sees the tokens of which a gate says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(8, 3), nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Any) -> Any:
        scores, out = self.gate(x), torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            chosen = scores[..., number] > 0
            out[chosen] = expert(x[chosen])
        return out


class Boxes(nn.Module):
    """A head that goes on with the places above a score, and a scale that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.refine = nn.Linear(6, 6), nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        y = self.fc(x).relu()
        rows = (y[..., 0] > 0).nonzero()
        scale = float(y.detach().std())
        return self.refine(y[rows[:, 0], rows[:, 1]]) * scale


class Attends(nn.Module):
    """Attention of the tokens from one that data choose."""

    def __init__(self) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Any) -> Any:
        first = int(x.mean((0, 2)).argmax()) // 2
        x = x[:, first:]
        return self.attend(x, x, x, need_weights=False)[0]


class OneByOne(nn.Module):
    """A call for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return torch.stack([self.fc(one) for one in x])


READ: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Deeper": (Deeper, (5, 8)),
    "Routed": (Routed, (5, 8)),
    "Boxes": (Boxes, (30, 6)),
    "Attends": (Attends, (5, 8)),
}


def counted(network: Network, batch: int) -> int:
    """Return the MACs that PyTorch's counter counts on so many copies of the sample."""
    counter = whole_counter()
    assert network.module is not None
    assert network.sample is not None
    with torch.no_grad(), math_attention(), counter:
        network.module().eval()(*network.sample(batch))
    return int(counter.get_total_flops()) // 2


class Held:
    """What autograd holds in place of a tensor that it keeps."""

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor.detach()


def kept(network: Network, batch: int) -> int:
    """Return the bytes that autograd keeps on so many copies of the sample."""
    held: list[weakref.ref[Held]] = []

    def pack(tensor: Any) -> Held:
        holder = Held(tensor)
        held.append(weakref.ref(holder))
        return holder

    assert network.module is not None
    assert network.sample is not None
    module = network.module().train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.tensor):
        made = module(*network.sample(batch))
    there = [holder.tensor.untyped_storage() for ref in held if (holder := ref()) is not None]
    own = {p.untyped_storage()._cdata for p in module.parameters()}
    del made
    return sum({s._cdata: s.nbytes() for s in there if s._cdata not in own}.values())


@pytest.mark.parametrize("name", READ)
def test_figures_are_those_of_a_pass_on_the_same_data(name: str) -> None:
    make, shape = READ[name]
    network = load(make(), input=shape, run=True)
    for batch in (1, 4):
        assert analyze(network, batch=batch).total.macs == counted(network, batch)
        saved = saved_for_backward(network, Setting(batch=batch, device="cpu"))
        assert saved.total == kept(network, batch)
    [outcome] = verify(network, Request())
    assert outcome.passed == outcome.run > 4, outcome.failures


class RealRun(FakeRun):
    """A module on its own data, run under observation."""

    def __init__(self, subject: Subject) -> None:
        self.torch, self.subject, self.fake = torch, subject, nullcontext()
        self.twin = light_copy(subject.twin)


@pytest.mark.parametrize("name", ["Deeper", "Boxes"])
def test_peaks_are_those_of_a_pass_on_the_same_data(name: str) -> None:
    make, shape = READ[name]
    network = load(make(), input=shape, run=True)
    assert network.module is not None
    setting = Setting(batch=4, device="cpu", observed=True)
    seen = RealRun(Subject(network, network.module()))
    passing = seen.inference(4)
    assert passing is not None
    assert inference_peak(network, setting).peak.total == passing["forward"][1]
    run = training_peak(network, replace(setting, optimizer="adam", kernel="foreach"))
    steps = seen.training(4)  # which changes the weights
    assert steps is not None
    for phase in ("forward", "backward"):
        assert run.peaks[phase].total == steps["adam"][phase][1]


def test_a_peak_that_is_not_known_is_refused() -> None:
    network = load(Routed(), input=(5, 8), run=True)
    with pytest.raises(ArchcostError, match="setitem1: the peak of __setitem__ is not known"):
        training_peak(network, Setting(device="cpu"))


def test_weights_and_data_are_the_same_in_each_run(code: str) -> None:
    first, second = (load(f"{code}:Chosen", input="64", run=True) for _ in range(2))
    assert [layer.op for layer in first] == [layer.op for layer in second]


def test_a_network_that_data_do_not_decide_is_the_same_on_data() -> None:
    make, shape = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), (3, 9, 9)
    plain, run = load(make(), input=shape), load(make(), input=shape, run=True)
    assert [layer.op for layer in plain] == [layer.op for layer in run]
    assert run.name == "Sequential, on a random sample"
    assert run.sample is not None
    [one], [three] = run.sample(1), run.sample(3)
    assert one.std() > 0.5
    assert torch.equal(three, one.expand(3, -1, -1, -1))


def test_the_module_of_a_caller_stays_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    load(module, input=(3, 9, 9), run=True).in_training  # noqa: B018
    assert module[1].num_batches_tracked == 0
    state = torch.get_rng_state()
    load(module, input=(3, 9, 9), run=True)
    assert torch.equal(state, torch.get_rng_state())


CODE = """
import numpy
import torch
from torch import nn

class Positive(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x, scale=None):
        rows = self.fc(x[(x[:, 0] > 0).nonzero()[:, 0]])
        return rows * int(scale.sum()) if scale is not None else rows

class Chosen(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 64)

    def forward(self, x):
        return self.fc(x).relu().nonzero()[:, 0] + 0 * x.sum()

class EachSample(nn.Module):
    def forward(self, x):
        return torch.stack([one.exp() for one in x])

def make(batch):
    x = torch.from_numpy(numpy.ones((batch, 4), dtype="float32"))
    return (x,), {"scale": torch.ones(3)}

def ragged(batch):
    return [torch.ones(4)] * batch
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the code into a file."""
    (tmp_path / "net.py").write_text(CODE, "utf-8")
    monkeypatch.chdir(tmp_path)
    return "net.py"


def run(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli, arguments)


def test_the_name_says_on_which_data_the_figures_hold(code: str) -> None:
    options = [f"{code}:Positive", "--inputs", f"{code}:make", "--run"]
    found = json.loads(run("table", *options, "--format", "json").output)
    assert found["model"] == "net.py:Positive, on data of net.py:make"
    assert found["totals"]["macs"] == 16  # the one row is positive
    for command in ("memory", "fit", "roofline", "verify"):
        gpu = ["--gpu", "a100"] if command in ("fit", "roofline") else []
        done = run(command, *options, *gpu)
        assert done.exit_code == 0, done.exception
        assert "on data of net.py:make" in done.output


def test_a_message_that_data_decide_names_the_option(code: str) -> None:
    done = run("table", f"{code}:Positive", "--input", "4")
    assert str(done.exception) == (
        "the module (net.py:12): nonzero depends on data, which archcost does not have; --run runs "
        "the code on random data"
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([":EachSample", "--input", "4", "--run"],
         "the module (net.py:25): unbind runs otherwise on 2 and on 3 copies of a sample, so that "
         "it has no figure for one sample"),
        ([":Positive", "--inputs", "net.py:ragged", "--run"],
         "--inputs: make(batch) gives other arguments for another batch"),
    ],
)  # fmt: skip
def test_what_has_no_figure_for_a_sample_is_a_line(
    code: str, options: list[str], reason: str
) -> None:
    done = run("table", code + options[0], *options[1:])
    assert isinstance(done.exception, ArchcostError)
    assert str(done.exception) == reason


def test_a_budget_takes_it(code: str, tmp_path: Path) -> None:
    (tmp_path / "archcost.toml").write_text(
        f'[budgets."{code}:Positive"]\ninputs = "{code}:make"\nrun = true\n'
        'require = ["macs <= 15"]\n', "utf-8",
    )  # fmt: skip
    done = run("check")
    assert done.exit_code == 1
    assert "16" in done.output


def test_the_library_takes_a_function_of_inputs() -> None:
    network = load(Deeper(), inputs=lambda batch: torch.ones(batch, 8), run=True)
    assert network.name == "Deeper, on data of <lambda>"
    assert analyze(network).total.macs == 2 * 64
