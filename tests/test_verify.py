"""The checks against PyTorch: figures by hand, the catalog, planted faults, the command."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import pty
import random
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from click.testing import CliRunner
from helpers import around, chain
from planted_faults import PLANTERS, Fault, plant

from archcost.analysis.training import training_step
from archcost.contracts import contract as contract_of
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.ops import OPS, Example, Op, find_op
from archcost.proofs import Check, Subject, find_validator
from archcost.proofs.counters import COUNTERS
from archcost.proofs.run import Request, checks, verify, verify_all
from archcost.pytorch import build
from archcost.setting import Setting
from archcost.spec.catalog import catalog, expand, load
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.saved import saved_for_backward

cpu = partial(Setting, device="cpu")

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of one process that wait for each other are slow beside other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def spec(layers: str, input: str = "3x8x8") -> Network:
    return expand(read_document(Source("n.yaml", f"name: n\ninput: {input}\nlayers:\n{layers}")))


def subject(network: Network, **settings: Any) -> Subject:
    device = settings.pop("device", "cpu")
    return Subject(network, build(network, device=device), device, cpu(**settings))


def failures(checked: Subject, *groups: str) -> list[Check]:
    return [c for group in groups for c in checks(checked, group) if not c.passed]


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


@pytest.mark.sampled
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


# Planted faults.

FAULTY = {
    "alexnet_two_towers": "3x99x99",
    "resnet18": "3x48x48",
    "resnet20": "3x16x16",
    "googlenet": "3x64x64",
    "densenet40_k12": "3x16x16",
    "lenet5": None,
    "mobilenet_v3_small": "3x48x48",
    "shufflenet_v1_g3": "3x48x48",
}
SEEDS = 300
GROUPS = ("structure", "memory", "training")


@cache
def sound(name: str) -> tuple[Network, Any]:
    network = load(name, input=FAULTY[name])
    return network, build(network)


def first_failure(network: Network, twin: Any) -> Check | None:
    found = (c for group in GROUPS for c in checks(Subject(network, twin), group))
    return next((c for c in found if not c.passed), None)


def planted(seed: int) -> tuple[Network, Fault]:
    """Return the fault of a seed, in the first model of its order that has a place for it."""
    rng = random.Random(seed)
    kind = list(PLANTERS)[seed % len(PLANTERS)]
    for name in rng.sample(list(FAULTY), len(FAULTY)):
        network, twin = sound(name)
        fault = plant(rng, kind, network, twin)
        if fault is not None:
            return network, fault
    raise AssertionError(f"no model has a place for {kind}")


@pytest.mark.parametrize("name", FAULTY)
def test_a_twin_without_fault_passes(name: str) -> None:
    network, twin = sound(name)
    assert first_failure(network, twin) is None


@pytest.mark.parametrize("start", range(0, SEEDS, 20))
def test_every_planted_fault_is_found_and_its_layer_named(start: int) -> None:
    for seed in range(start, start + 20):
        network, fault = planted(seed)
        found = first_failure(network, fault.twin)
        assert found is not None, (seed, network.name, fault.what, fault.path)
        assert found.layer == fault.path, (seed, network.name, fault.what, found)


def test_a_fault_is_described_with_both_values() -> None:
    from archcost.proofs.results import describe

    network = load("resnet20")
    twin = build(network)
    twin.get_submodule("stage2.0.body.conv1").stride = (1, 1)
    found = [describe(c) for c in failures(Subject(network, twin), "structure")]
    assert found[0] == (
        "stage2.0.body.conv1: output shape: expected 1x32x16x16, measured 1x32x32x32"
    )


# Many networks, and the command.


def test_processes_find_what_one_process_finds() -> None:
    networks = [load(name) for name in ("lenet5", "conv_ordinary", "conv_separable")]
    request = Request(checks=("structure", "memory"))
    apart = {(o.model, o.group): (o.run, o.passed) for o in verify_all(networks, request, jobs=2)}
    alone = {(o.model, o.group): (o.run, o.passed) for n in networks for o in verify(n, request)}
    assert apart == alone
    assert len(apart) == 6


def test_an_error_of_the_user_comes_out_of_a_process() -> None:
    networks = [load("lenet5"), load("conv_ordinary")]
    request = Request(checks=("memory",), setting=cpu(freeze=("nothing",)))
    with pytest.raises(ArchcostError, match="unknown layer or group to freeze 'nothing'"):
        list(verify_all(networks, request, jobs=2))


def run(*arguments: str, code: int = 0, before: str = "") -> tuple[str, str]:
    script = f"{before}\nfrom archcost.cli import main\nif __name__ == '__main__': main()"
    command = [sys.executable, "-c", script, "verify", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_table_has_a_line_per_model_and_check(tmp_path: Path) -> None:
    target = tmp_path / "junit.xml"
    out, err = run(
        "lenet5", "conv_ordinary", "--checks", "structure,memory", "--junit", str(target)
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


def test_json_follows_its_schema() -> None:
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


NO_TORCH = "import sys; sys.modules['torch'] = None"


@pytest.mark.parametrize(
    ("arguments", "before", "reason"),
    [
        (["vgg16"], NO_TORCH, "this needs PyTorch: pip install 'archcost[torch]'"),
        ([], "", "name at least one model, or use --family or --all"),
        (["gogglenet"], "", "unknown model 'gogglenet'; did you mean 'googlenet'?"),
        (["vgg16", "--checks", "memroy"], "", "unknown check 'memroy'; did you mean 'memory'?"),
        (["vgg16", "--device", "gpu"], "", "unknown device 'gpu'; expected cpu, cuda or cuda:N"),
        (["vgg16", "--against", "timn"], "", "unknown reference 'timn'; did you mean 'timm'?"),
        (["vgg16", "--against", "timm:"], "", "a reference is a collection or module:callable"),
        (["lenet5", "--freeze", "C9"], "", "unknown layer or group to freeze 'C9'"),
        (["lenet5", "--batch", "0"], "", "Invalid value for '--batch'"),
        (["lenet5", "--junit", "/no/x.xml"], "", "cannot write /no/x.xml: no folder /no that can"),
        (["lenet5", "--replay", "x.json"], "", "--replay takes its models from the record"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], before: str, reason: str
) -> None:
    out, err = run(*arguments, code=2, before=before)
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"archcost: {reason}")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_cuda_the_reason_is_given() -> None:
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
