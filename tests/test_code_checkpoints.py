"""Code under ``torch.utils.checkpoint``, and code that trains a part of its parameters."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from click.testing import CliRunner

from archcost import load
from archcost.analysis.report import analyze
from archcost.analysis.training import training_step
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.measure.profile import saved_bytes
from archcost.packages import import_package
from archcost.proofs import Subject
from archcost.proofs.observe import fake_of, run
from archcost.proofs.peaks import FakeRun
from archcost.proofs.run import Request, verify
from archcost.pytorch.counter import math_attention
from archcost.setting import Setting
from archcost.storage.peaks import training_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, F = torch.nn, torch.nn.functional
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:None of the inputs")]
checkpoint: Any = pytest.importorskip("torch.utils.checkpoint").checkpoint


class Block(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 1)

    def forward(self, x: Any) -> Any:
        return x + self.b(self.norm(self.a(x)).relu())


class Net(nn.Module):
    """Blocks, run in a way that a subclass says."""

    def __init__(self, reentrant: bool, number: int = 2) -> None:
        super().__init__()
        self.how: dict[str, Any] = {"use_reentrant": reentrant}
        self.stem, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.blocks = nn.ModuleList(Block() for _ in range(number))

    def blocked(self, x: Any) -> Any:
        for block in self.blocks:
            x = checkpoint(block, x, **self.how)
        return x

    def forward(self, x: Any) -> Any:
        return self.fc(self.blocked(self.stem(x)).mean((2, 3)))


class ToTheEnd(Net):
    """Its second run is not cut short."""

    def blocked(self, x: Any) -> Any:
        if not self.how["use_reentrant"]:
            self.how["early_stop"] = False
        return super().blocked(x)


class Masked(Net):
    """The same constant is an argument twice; parameters are shared."""

    def blocked(self, x: Any) -> Any:
        mask = torch.arange(8, device=x.device).view(1, 8, 1, 1).float()
        for _ in range(2):
            x = checkpoint(lambda x, m: self.blocks[1](self.blocks[0](x)) * m, x, mask, **self.how)
        return x


class Two(Net):
    """Two tensors go in and come out."""

    def blocked(self, x: Any) -> Any:
        def both(a: Any, b: Any) -> Any:
            return self.blocks[0](a), self.blocks[1](b).exp()

        for _ in range(2):
            a, b = checkpoint(both, x, x.relu(), **self.how)
            x = a + b
        return x


class Around(Net):
    """The head is computed again too, up to what it keeps last."""

    def forward(self, x: Any) -> Any:
        x = self.blocked(self.stem(x))
        return checkpoint(lambda x: self.fc(x.mean((2, 3)).sigmoid()), x, **self.how)


class Closed(Net):
    """Reads a tensor that is no argument."""

    def blocked(self, x: Any) -> Any:
        wide = x.exp()
        return super().blocked(checkpoint(lambda x: self.blocks[0](x) * wide, x, **self.how))


CASES = [
    (kind, reentrant)
    for kind in (Net, ToTheEnd, Masked, Two, Around, Closed) for reentrant in (False, True)
    if (kind, reentrant) != (Closed, True)
]  # fmt: skip
SHAPE = (3, 12, 12)


def saved(make: Callable[[], Any], shape: Any, batch: int) -> int:
    copy, fake = fake_of(make())
    found = run(copy.train(), fake, load(make(), input=shape).inputs, batch)
    return sum(kept.bytes for kept in found.storages(()).values())


def flops(module: Any, shape: Any, batch: int) -> int:
    """Return what PyTorch's own counter counts of a training step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, math_attention():
        module.train().to("meta")(torch.empty(batch, *shape, device="meta")).sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("kind", "reentrant"), CASES)
def test_a_step_is_that_of_pytorch(kind: Any, reentrant: bool) -> None:
    network = load(kind(reentrant), input=SHAPE)
    assert network.checkpoints == ()
    assert len(network.in_training.checkpoints) == 2 + (kind in (Around, Closed))
    for batch in (1, 2):
        kept = saved_for_backward(network, Setting(batch=batch, device="cpu")).total
        assert kept == saved(lambda: kind(reentrant), SHAPE, batch)
        step = training_step(network, batch)
        assert step.forward + step.backward == flops(kind(reentrant), SHAPE, batch)
    steps = FakeRun(Subject(network, kind(reentrant))).training(2)
    assert steps is not None
    setting = Setting(batch=2, device="cpu", observed=True, optimizer="adam", kernel="foreach")
    peaks = training_peak(network, setting).peaks
    for phase in ("forward", "backward"):
        assert peaks[phase].total == steps["adam"][phase][1]


class Lines(nn.Module):
    """Pools turned lines, which a CPU does otherwise where no gradient is needed."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.reentrant, self.a, self.b = reentrant, nn.Linear(3, 3), nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        def pooled(x: Any) -> Any:
            return nn.functional.max_pool1d(x, 2)

        y = checkpoint(pooled, self.a(x).transpose(1, 2), use_reentrant=self.reentrant)
        return self.b(y) + (y * y).sum(-1, keepdim=True)


@pytest.mark.parametrize("reentrant", [False, True])
def test_the_first_run_of_a_reentrant_region_is_one_without_gradients(reentrant: bool) -> None:
    kept = saved_for_backward(load(Lines(reentrant), input=(9, 3)), Setting(batch=2, device="cpu"))
    assert kept.total == saved_bytes(torch, Lines(reentrant), torch.randn(2, 9, 3))


def test_a_whole_region_is_computed_again_and_a_part_of_its_last_layer_is_not() -> None:
    forward = 2 * 8 * 8 * 9 * 100  # of a block's first convolution; the second's is not needed
    for reentrant, more in ((False, 0), (True, 2 * 8 * 8 * 100)):
        step = training_step(load(Net(reentrant), input=SHAPE))
        assert sum(layer.recomputed for layer in step.layers) == 2 * (forward + more)
    network = load("resnet18")
    step = training_step(network, checkpoint=("layer4",))
    again = sum(each.forward for each in step.layers if each.layer.path.startswith("layer4"))
    assert sum(layer.recomputed for layer in step.layers) == again


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "efficientnet_b0", "convnext_atto", "densenet121"]
)
def test_models_of_timm_with_checkpoints(name: str) -> None:
    if find_spec("timm") is None:
        pytest.skip("timm is not installed")
    timm = import_package("timm")
    shape = (3, 224, 224) if name.startswith("vit") else (3, 64, 64)

    def make(on: bool = True) -> Any:
        module = timm.create_model(name)
        module.set_grad_checkpointing(on)
        return module

    network = load(make(), input=shape)
    kept = saved_for_backward(network, Setting(batch=2, device="cpu")).total
    assert kept == saved(make, shape, 2)
    again = sum(layer.recomputed for layer in training_step(network, 2).layers)
    assert again == flops(make(), shape, 2) - flops(make(False), shape, 2)


def test_nothing_in_a_reentrant_region_is_trained_if_no_argument_needs_a_gradient() -> None:
    class First(Net):
        def forward(self, x: Any) -> Any:
            return self.fc(checkpoint(self.stem, x, **self.how).mean((2, 3)))

    network = load(First(reentrant=True, number=0), input=SHAPE)
    assert network.in_training.checkpoints == ()
    step = training_step(network)
    assert step.forward + step.backward == flops(First(reentrant=True, number=0), SHAPE, 1)
    assert training_peak(network, Setting(device="cpu")).gradients == 4 * (8 * 5 + 5)


class Tuned(nn.Module):
    """A backbone that is not trained under a head that is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.fc = nn.Linear(4, 2)
        for parameter in (*self.a.parameters(), *self.norm.parameters(), self.fc.bias):
            parameter.requires_grad_(False)

    def forward(self, x: Any) -> Any:
        return self.fc(self.b(self.norm(self.a(x)).relu()).mean((2, 3)))


def test_parameters_that_need_no_gradient_are_not_trained() -> None:
    network = load(Tuned(), input=(3, 8, 8))
    total = analyze(network).total
    assert total.params - total.trainable_params == 3 * 4 * 9 + 4 + 8 + 2
    for batch in (1, 2):
        step = training_step(network, batch)
        assert step.forward + step.backward == flops(Tuned(), (3, 8, 8), batch)
    [outcome] = verify(network, Request())
    assert (outcome.passed, outcome.failures) == (outcome.run, [])


class Cut(Net):
    """The gradient ends at a layer that reads what a trained one makes."""

    def forward(self, x: Any) -> Any:
        y = self.stem(x)
        with torch.no_grad():
            gate = self.blocks[0].b(y)
        return self.fc((self.blocks[0].a(gate) + y).mean((2, 3)))


def test_no_gradient_goes_through_what_runs_without() -> None:
    for batch in (1, 2):
        step = training_step(load(Cut(reentrant=False), input=SHAPE), batch)
        assert step.forward + step.backward == flops(Cut(reentrant=False), SHAPE, batch)


@pytest.mark.parametrize("reentrant", [False, True])
def test_verify_compares_what_is_kept(reentrant: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        [outcome] = verify(load(Net(reentrant), input=SHAPE), Request())
    assert (outcome.passed, outcome.failures) == (outcome.run, [])
    assert len(outcome.skipped) == reentrant


CODE = """
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

class Net(nn.Module):
    how = {"use_reentrant": False}

    def __init__(self):
        super().__init__()
        self.conv, self.more = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def inner(self, x):
        return self.more(self.conv(x).relu())

    def forward(self, x):
        return checkpoint(self.inner, self.conv(x), **self.how)

class Nested(Net):
    def inner(self, x):
        return checkpoint(self.more, self.conv(x), **self.how)

class Selective(Net):
    how = {"use_reentrant": False, "context_fn": lambda: (1, 2)}

class Closed(Net):
    def forward(self, x):
        y = self.conv(x)
        return checkpoint(lambda x: x * y, y.exp(), use_reentrant=True)

class Reentrant(Net):
    how = {"use_reentrant": True}
"""


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("Nested", "", "net.py:21): what torch.utils.checkpoint keeps inside another is not known"),
        ("Selective", "", "net.py:17): which operations the context_fn of torch.utils.checkpoint"),
        (
            "Closed",
            "",
            "net.py:29: conv needs a gradient and is not among the arguments of torch.ut",
        ),
        ("Net", "--checkpoint conv#2", "conv#2: the code itself runs conv#2 under torch.utils"),
        ("Reentrant", "--amp bf16", "with use_reentrant=True keeps under autocast is not known"),
    ],
)
def test_what_is_not_known_is_a_line(tmp_path: Any, model: str, options: str, reason: str) -> None:
    (tmp_path / "net.py").write_text(CODE, "utf-8")
    name = [f"{tmp_path}/net.py:{model}", "--input", "3x8x8"]
    assert CliRunner().invoke(cli, ["table", *name]).exit_code == 0
    made = CliRunner().invoke(cli, ["memory", *name, *options.split()])
    assert isinstance(made.exception, ArchcostError), made.output
    assert reason in str(made.exception)


def test_the_table_of_a_step_shows_what_is_computed_again(tmp_path: Any) -> None:
    (tmp_path / "net.py").write_text(CODE, "utf-8")
    name = [f"{tmp_path}/net.py:Net", "--input", "3x8x8"]
    shown = CliRunner().invoke(cli, ["table", *name, "--training", "--columns", "name,recomputed"])
    assert re.search(r"conv#2 +10,368\n", shown.output), shown.output
    plain = CliRunner().invoke(cli, ["table", "lenet5", "--training"]).output
    assert "computed again" not in plain
    asked = ["table", "lenet5", "--checkpoint", "head"]
    assert "add --training" in str(CliRunner().invoke(cli, asked).exception)
