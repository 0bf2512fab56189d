"""The checks against PyTorch: figures by hand, the catalog, planted faults, the command."""

from __future__ import annotations

import gc
import importlib.metadata
import sys
import weakref
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import around, chain, failures

import archcost
from archcost.analysis.training import training_step
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.ops import OPS, Example, Op, find_op
from archcost.proofs import Check, Subject, find_validator
from archcost.proofs.counters import COUNTERS
from archcost.proofs.run import Request, checks, verify
from archcost.pytorch import build
from archcost.setting import Setting
from archcost.spec.catalog import catalog, expand, load
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.saved import saved_for_backward

cpu = partial(Setting, device="cpu")

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


def spec(layers: str, input: str = "3x8x8") -> Network:
    return expand(read_document(Source("n.yaml", f"name: n\ninput: {input}\nlayers:\n{layers}")))


def subject(network: Network, **settings: Any) -> Subject:
    device = settings.pop("device", "cpu")
    return Subject(network, build(network, device=device), device, cpu(**settings))


# What a check is.


def test_a_check_is_exact_unless_it_names_a_tolerance() -> None:
    assert Check("g", "n", "", 3, 3).passed
    assert Check("g", "n", "", 3, 4).residual == 1
    assert not Check("g", "n", "", 3, 4).passed
    assert Check("g", "n", "", 0.0, 1e-9, tolerance=1e-8).passed
    assert not Check("g", "n", "", 0.0, 1e-7, tolerance=1e-8).passed
    assert not Check("g", "n", "", (1, 2), (1, 3)).passed
    assert Check("g", "n", "", None, None, skipped="why").passed


def test_an_unknown_check_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupFailed) as refused:
        find_validator("structur")
    assert str(refused.value) == "unknown check 'structur'; did you mean 'structure'?"


def test_the_reference_is_checked_only_when_it_is_named() -> None:
    every = ["structure", "counters", "memory", "training"]
    assert [name for name in Request().names() if name != "peaks"] == every
    assert Request(against=("timm",)).names()[-1] == "reference"
    assert Request(checks=("memory", "structure")).names() == ["structure", "memory"]


# Bytes saved for backward, by hand.

SMALL = """
  - conv(4, 3, padding=1)
  - batchnorm
  - relu
  - maxpool(2)
  - flatten
  - dropout
  - linear(10)
"""


def test_saved_bytes_by_hand() -> None:
    saved = saved_for_backward(spec(SMALL), cpu())
    assert {(s.owner, s.what): s.bytes for s in saved.storages} == {
        ("input", "output"): 768,  # 3*8*8 floats, for the convolution's weight
        ("conv1", "output"): 1024,  # 4*8*8, for batch normalisation
        ("batchnorm1", "mean"): 16,
        ("batchnorm1", "invstd"): 16,
        ("relu1", "output"): 1024,  # saved by the ReLU and by the pooling, counted once
        ("maxpool1", "indices"): 512,  # 4*4*4 of int64
        ("dropout1", "noise"): 256,  # 64 floats
        ("dropout1", "output"): 256,  # for the linear layer's weight
    }
    assert {s.owner: s.savers for s in saved.storages}["relu1"] == ("relu1", "maxpool1")
    assert saved.total == 3872
    assert saved_for_backward(spec(SMALL), cpu(batch=2)).total == 2 * (3872 - 32) + 32
    assert saved_for_backward(spec(SMALL), cpu(dtype="float64")).total == 2 * (3872 - 512) + 512
    on_cuda = saved_for_backward(spec(SMALL), cpu(device="cuda"))
    assert on_cuda.total == 3872 - 256 + 64  # the mask is boolean there
    half = saved_for_backward(spec(SMALL), cpu(dtype="float16", device="cuda"))
    assert half.by_owner["batchnorm1"] == 32  # statistics stay float32 there


VIEWS = """
  - scale
  - a: relu
  - concat:
      left:
        - chunk(2)
        - conv(4, 1)
      right:
        - chunk(2, 1)
        - conv(4, 1)
"""


def test_a_view_keeps_the_whole_storage_once() -> None:
    """Both convolutions save a half of the ReLU's output, and with it all of its 8*4*4 floats."""
    saved = saved_for_backward(spec(VIEWS, "8x4x4"), cpu())
    assert {s.owner: s.bytes for s in saved.storages} == {"input": 512, "a": 512}
    assert failures(subject(spec(VIEWS, "8x4x4")), "memory") == []


def test_nothing_is_saved_where_nothing_is_trained() -> None:
    assert saved_for_backward(spec(SMALL), cpu(freeze=("*",))).total == 0
    assert training_step(spec(SMALL), freeze=("*",)).backward == 0
    # the last layer alone needs its input, and nothing before it needs a gradient
    kept = saved_for_backward(spec(SMALL), cpu(freeze=("conv1", "batchnorm1")))
    assert [(s.owner, s.bytes) for s in kept.storages] == [("dropout1", 256)]
    # a frozen linear layer hands its input's gradient on without its input
    assert "dropout1" not in {
        s.owner for s in saved_for_backward(spec(SMALL), cpu(freeze=("linear1",))).storages
        if s.what == "output"
    }  # fmt: skip


@pytest.mark.parametrize("device", ["tpu", "meta"])
def test_saved_bytes_of_another_device_are_not_known(device: str) -> None:
    with pytest.raises(ArchcostError, match="is known on cpu and cuda"):
        saved_for_backward(spec(SMALL), cpu(device=device))


# FLOPs of a training step, by hand.

STEP = """
  - conv(4, 3, padding=1)
  - conv(4, 3, padding=1, groups=2)
  - conv_transpose(6, 2, stride=2, groups=2, bias=False)
  - global_avgpool
  - flatten
  - linear(10)
"""


def test_training_flops_by_hand() -> None:
    steps = {s.layer.path: s for s in training_step(spec(STEP)).layers}
    forward = {
        "conv1": 2 * 8 * 8 * 4 * 27,
        "conv2": 2 * 8 * 8 * 4 * 2 * 9,  # each output reads two of the four channels
        "conv_transpose1": 2 * 8 * 8 * 4 * 3 * 4,  # each of the 4 inputs feeds 3 outputs, 2x2
        "linear1": 2 * 6 * 10,
    }
    assert {path: steps[path].forward for path in forward} == forward
    # the network's input needs no gradient; of every other product both factors do
    assert steps["conv1"].backward == forward["conv1"]
    assert steps["conv2"].backward == 2 * forward["conv2"]
    assert steps["conv_transpose1"].backward == 2 * forward["conv_transpose1"]
    assert steps["linear1"].backward == 2 * forward["linear1"]

    frozen = training_step(spec(STEP), batch=3, freeze=("conv1", "conv_transpose1"))
    parts = {s.layer.path: (s.input_gradient, s.weight_gradient) for s in frozen.layers}
    assert parts["conv1"] == (0, 0)
    assert parts["conv2"] == (0, 3 * forward["conv2"])
    assert parts["conv_transpose1"] == (3 * forward["conv_transpose1"], 0)


def test_the_error_of_pytorchs_counter_is_named() -> None:
    """FlopCounterMode takes the weight gradient of a grouped convolution for an ungrouped one."""
    checked = subject(spec(STEP))
    [total] = [c for c in checks(checked, "training") if c.name == "backward FLOPs" and not c.layer]
    assert total.passed
    assert "FlopCounterMode counts" in total.note and "ignores groups" in total.note
    ungrouped = subject(spec(STEP.replace("groups=2", "groups=1")))
    assert not any(c.note for c in checks(ungrouped, "training"))


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "mobilenet_v3_small", "shufflenet_v1_g3"])
def test_a_cpu_is_given_the_same_operations_as_the_meta_device(name: str) -> None:
    from archcost.proofs.training import DispatchedStep

    network = load(name)
    found = []
    for device in ("cpu", "meta"):
        twin = build(network, device=device).train()
        found.append(DispatchedStep(network, twin, torch.randn(2, *network.input, device=device)))
    on_cpu, on_meta = found
    assert on_cpu.error is on_meta.error is None
    assert on_cpu.forward == on_meta.forward
    assert on_cpu.backward == on_meta.backward


# Every op, with and without gradients before it and in it.


ONE_INPUT = [
    pytest.param(op, example, id=f"{name}-{i}")
    for name, op in OPS.items()
    for i, example in enumerate(op.examples)
    if len(example.inputs) == 1
]


@pytest.mark.parametrize(("op", "example"), ONE_INPUT)
def test_every_op_saves_and_computes_what_its_gradients_need(
    op: type[Op], example: Example
) -> None:
    """The op alone, after a trained layer and after a frozen one, itself trained or frozen."""
    made = op.create(example.args, example.kwargs)
    [shape] = example.inputs
    scale = find_op("scale").create((), {})
    if made.takes(0) != "float":  # which no layer makes of others
        found = [
            failures(subject(around(made, (shape,)), batch=b), "memory", "training") for b in (1, 2)
        ]
        assert found == [[], []]
        return
    alone, behind = chain(made, input=shape), chain(scale, made, input=shape)
    own = f"{made.name}1"
    for network, freeze in ((alone, ()), (behind, ()), (behind, (own,)), (behind, ("scale0",))):
        if freeze == (own,) and not network[own].cost.params:
            continue
        for batch in (1, 2):
            found = failures(subject(network, batch=batch, freeze=freeze), "memory", "training")
            assert found == [], (freeze, batch)


SEVERAL_INPUTS = [
    pytest.param(op, example, id=f"{name}-{i}")
    for name, op in OPS.items()
    for i, example in enumerate(op.examples)
    if len(example.inputs) > 1
]


@pytest.mark.parametrize(("op", "example"), SEVERAL_INPUTS)
def test_ops_of_several_inputs_compute_what_their_gradients_need(
    op: type[Op], example: Example
) -> None:
    network = around(op.create(example.args, example.kwargs), example.inputs, learnt=True)
    assert failures(subject(network, batch=2), "memory", "training") == []


MERGES = """
  - x: relu
  - a: scale
  - take(x)
  - b: scale
  - MERGE
"""


@pytest.mark.parametrize("merge", ["multiply(a, b)", "multiply(b, a)", "add(a, b)", "concat(a, b)"])
@pytest.mark.parametrize("freeze", [(), ("a",), ("b",), ("a", "b")])
def test_merges_save_what_their_gradients_need(merge: str, freeze: tuple[str, ...]) -> None:
    network = spec(MERGES.replace("MERGE", merge))
    assert failures(subject(network, freeze=freeze), "memory", "training") == []


@pytest.mark.parametrize(
    ("name", "freeze"),
    [
        ("resnet20", ("stem*",)),
        ("resnet20", ("stem", "stage1", "stage2")),
        ("resnet20", ("*.batchnorm*",)),
        ("resnet20", ("*",)),
        ("lenet5", ("C1", "S2")),
        ("mobilenet_v3_small", ("head",)),
        ("densenet40_k12", ("*conv*",)),
        ("googlenet", ("inception3*", "conv*")),
    ],
)
def test_frozen_layers_are_counted_as_pytorch_counts_them(
    name: str, freeze: tuple[str, ...]
) -> None:
    from archcost.analysis.report import analyze

    checked = subject(load(name), freeze=freeze)
    assert failures(checked, "structure", "memory", "training") == []
    total = analyze(checked.network, Setting(freeze=freeze)).total
    assert total.trainable_params < total.params


# Counters.

SMALL_MODELS = ("lenet5", "resnet20", "googlenet", "mobilenet_v3_small", "densenet40_k12")


@pytest.mark.parametrize("name", SMALL_MODELS)
@pytest.mark.parametrize("batch", [1, 2])
def test_every_counter_agrees_and_leaves_the_twin_alone(
    name: str, batch: int, torchvision: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    checked = subject(load(name), batch=batch)
    before = {key: value.clone() for key, value in checked.twin.state_dict().items()}
    capfd.readouterr()
    found = list(checks(checked, "counters"))
    assert capfd.readouterr() == ("", "")
    assert [c for c in found if not c.passed] == []
    totals = {c.name.removesuffix(" total") for c in found if c.name.endswith("total")}
    assert totals == {tool.convention for tool in COUNTERS}
    after = checked.twin.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in checked.twin.modules())


def test_no_weights_stay_in_memory(torchvision: Any) -> None:
    """A tool that keeps its last module, or a graph that leads to itself, would fill it."""
    network = load("resnet20")
    twin = build(network)
    kept = [weakref.ref(p) for p in twin.parameters()]
    list(verify(network, Request(), twin))
    del twin
    gc.collect()
    assert not any(weight() is not None for weight in kept)


def test_layers_are_compared_with_fvcore_and_torch_one_by_one() -> None:
    found = list(checks(subject(load("resnet20")), "counters"))
    for tool in ("fvcore", "torch"):
        layers = {c.layer: c.expected for c in found if c.name == tool}
        [total] = [c.expected for c in found if c.name == f"{tool} total"]
        assert sum(layers.values()) == total
        assert len(layers) >= 20
    assert {c.expected for c in found if c.name == "torch total"} == {81_102_080}  # 2 * 40,551,040


def test_a_tool_that_is_missing_or_broken_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "thop", None)  # as if it were not installed
    reasons = [c.skipped for c in checks(subject(spec(SMALL)), "counters") if c.skipped]
    assert "thop is not installed" in reasons


def test_what_calflops_patches_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = torch.nn.functional.relu, torch.add, torch.Tensor.mul

    def calculate_flops(*_: Any, **__: Any) -> None:
        torch.nn.functional.relu = torch.add = torch.Tensor.mul = None  # type: ignore[assignment]
        raise KeyError("no such operation")

    monkeypatch.setitem(sys.modules, "calflops", SimpleNamespace(calculate_flops=calculate_flops))
    version = importlib.metadata.version
    monkeypatch.setattr(
        "importlib.metadata.version", lambda name: "0.3.2" if name == "calflops" else version(name)
    )
    found = [c for c in checks(subject(spec(SMALL)), "counters") if c.against == "calflops"]
    assert [c.measured for c in found] == ["KeyError: 'no such operation'"]
    assert (torch.nn.functional.relu, torch.add, torch.Tensor.mul) == functions


def test_a_tool_that_fails_is_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from archcost.proofs import counters

    def broken(twin: Any, x: Any) -> Any:
        raise KeyError("no such operator")

    monkeypatch.setattr(counters, "COUNTERS", [counters.Counter("torch", "torch", broken)])
    [check] = checks(subject(spec(SMALL)), "counters")
    assert not check.passed
    assert check.measured == "KeyError: 'no such operator'"


def test_on_the_meta_device_what_cannot_run_is_skipped() -> None:
    found = list(checks(subject(load("resnet20"), device="meta"), "structure"))
    found += checks(subject(load("resnet20"), device="meta"), "counters")
    found += checks(subject(load("resnet20"), device="meta"), "memory")
    assert all(c.passed for c in found)
    reasons = {c.skipped for c in found if c.skipped}
    assert any(reason.startswith("fvcore on the meta device") for reason in reasons)
    assert "the meta device keeps other tensors than a real one" in reasons
    assert sum(c.name == "torch" for c in found) >= 20


# The whole catalog.

REDUCED: dict[str, dict[str, Any]] = {
    "resnet1202": {"knobs": {"depth": 62}},
    "resnet1202_projection": {"knobs": {"depth": 62}},
}
"""Models of which a shallower one shows the same."""

REAL_MACS = 2 * 10**9
"""Larger models are checked on tensors without content, here; `archcost verify --all` does all."""


def of_catalog(name: str) -> Network:
    return load(name, **REDUCED.get(name, {}))


@pytest.mark.sampled(by="kind")
@pytest.mark.parametrize("name", catalog())
def test_the_catalog_agrees_with_pytorch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Structure and torch's counter on the meta device; saved bytes and fvcore on the CPU."""
    from archcost.proofs import counters, memory

    network = of_catalog(name)
    macs = sum(layer.cost.macs for layer in network)
    small = macs < REAL_MACS
    tools = ("torch", "fvcore") if small else ("torch",)
    monkeypatch.setattr(
        counters, "COUNTERS", [c for c in counters.COUNTERS if c.convention in tools]
    )
    monkeypatch.setattr(memory, "LARGE", memory.LARGE if small else 0)
    on_meta = subject(network, device="meta")
    assert failures(on_meta, "structure") == []
    twin = build(network) if small else on_meta.twin
    for batch in (1, 2) if small else (2,):
        checked = Subject(network, twin, setting=cpu(batch))
        assert failures(checked, "memory") == []
    assert failures(Subject(network, twin, "cpu" if small else "meta"), "counters") == []


def test_fake_tensors_keep_what_real_ones_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    from archcost.proofs import memory

    real = {c.layer: c.measured for c in checks(subject(load("mobilenet_v3_small")), "memory")}
    monkeypatch.setattr(memory, "LARGE", 0)
    found = list(checks(subject(load("mobilenet_v3_small")), "memory"))
    assert {c.layer: c.measured for c in found} == real
    assert found[-1].note.startswith("on fake tensors: ")


DRAWN = """\
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.FractionalMaxPool2d(2, output_size=9))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.mark.torch
def test_what_draws_at_random_is_compared_on_equal_draws(tmp_path: Path) -> None:
    spec, module = tmp_path / "net.yaml", tmp_path / "net.py"
    layers = "layers:\n  - conv(4, 3)\n  - fractional_maxpool(2, output_size=9)\n"
    spec.write_text(f"name: net\ninput: 3x16x16\n{layers}")
    module.write_text(DRAWN)
    found = archcost.verify(str(spec), against=[f"{module}:Net"], checks=["structure", "reference"])
    assert found.passed
