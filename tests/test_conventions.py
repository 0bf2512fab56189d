"""Counting conventions against the tools that they stand for, exactly."""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import io
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from archcost.analysis.reconcile import count_activations, count_params, total_work
from archcost.conventions import (
    ACTIVATIONS,
    CONVENTIONS,
    FLOP,
    MAC,
    TERMS,
    find_activations,
    find_convention,
)
from archcost.errors import LookupFailed
from archcost.network import Network
from archcost.ops import OPS, Example
from archcost.spec.catalog import catalog, load
from archcost.units import Figure
from archcost.verify.counterparts import COUNTERPARTS

RECORD = Path(__file__).parent / "recorded" / "counters.json"
MODELS: dict[str, Any] = json.loads(RECORD.read_text())["models"]

REQUIRED = ("alexnet", "googlenet", "resnet18", "resnet50", "vgg16")
SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet": ("alexnet_torchvision", {}),
    "googlenet": ("googlenet_torchvision", {}),
    **{f"vgg{depth}": (f"vgg{depth}", {"torchvision": True}) for depth in (11, 13, 16, 19)},
}
"""Catalog name and knobs of torchvision's models where they are not torchvision's own name."""


def spec(name: str) -> tuple[str, dict[str, Any]]:
    return SPECS.get(name, (name, {}))


def network(name: str) -> Network:
    model, knobs = spec(name)
    return load(model, knobs=knobs)


EXISTING = [name for name in MODELS if name in REQUIRED or spec(name)[0] in catalog()]


def test_terms_are_exactly_those_that_ops_emit() -> None:
    emitted = {
        term
        for op in OPS.values()
        for e in op.examples
        for term in op.create(e.args, e.kwargs).cost(*e.inputs).work
    }
    assert emitted == set(TERMS)


def test_every_weight_is_a_whole_number_of_a_term() -> None:
    for convention in CONVENTIONS.values():
        assert set(convention.weights) <= set(TERMS), convention.name
        assert all(type(weight) is int and weight for weight in convention.weights.values())
        assert convention.unit in (MAC, FLOP)
        assert convention.weights["mac"] == (2 if convention.unit == FLOP else 1)
        assert convention.title and convention.source


def test_activation_conventions_name_kinds_that_exist() -> None:
    kinds = {op.kind for op in OPS.values()} | {"matmul"}
    for activations in ACTIVATIONS.values():
        assert activations.kinds <= kinds, activations.name


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(LookupFailed) as refused:
        find_convention("fvcor")
    assert str(refused.value) == "unknown convention 'fvcor'; did you mean 'fvcore'?"
    with pytest.raises(LookupFailed) as refused:
        find_activations("lectur")
    assert str(refused.value) == "unknown activation convention 'lectur'; did you mean 'lecture'?"


# Recorded runs.


def test_the_five_seeds_have_specs() -> None:
    assert [name for name in REQUIRED if spec(name)[0] not in catalog()] == []


@pytest.mark.parametrize("name", EXISTING)
def test_totals_equal_the_recorded_ones(name: str) -> None:
    net, recorded = network(name), MODELS[name]
    assert net.input == tuple(recorded["input"])
    assert count_params(net) == recorded["counts"]["params"]
    computed = {n: c.count(total_work(net)) for n, c in CONVENTIONS.items()}
    tools = {n: count for n, count in recorded["counts"].items() if n in CONVENTIONS}
    assert set(CONVENTIONS) - set(tools) == {
        "macs",
        "flops",
        "torchvision",
        "timm",
        "pycls",
        "profiler",
    }
    torchstat = {n: tools.pop(n) for n in ("torchstat_flops", "torchstat_madd")}
    assert {n: computed[n] for n in tools} == tools
    # torchstat keeps only the last run of a module, and torchvision's blocks run one ReLU two or
    # three times; it counts a ReLU's elements once in both figures, so both miss the same number
    missing = {n: computed[n] - count for n, count in torchstat.items()}
    assert missing["torchstat_flops"] == missing["torchstat_madd"]
    reuses = ("resnet", "resnext", "wide_resnet")
    assert (missing["torchstat_flops"] > 0) == name.startswith(reuses)


@pytest.mark.parametrize("name", EXISTING)
def test_torchvision_prints_the_macs_rounded(name: str) -> None:
    macs = find_convention("torchvision").count(total_work(network(name)))
    assert str(round(macs / 1e9, 3)) == MODELS[name]["printed by torchvision"]


def timm_rows() -> list[dict[str, str]]:
    lines = (Path(__file__).parent / "recorded" / "timm.csv").read_text("utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if line[0] != "#"))


def test_timm_prints_these_digits_of_every_model() -> None:
    macs, elements = find_convention("timm"), find_activations("timm")
    for row in timm_rows():
        net = load(row["model"], input=f"3x{row['size']}x{row['size']}")
        billions, millions = float(row["gmacs"]), float(row["macts"])
        assert Figure.parse(f"{billions:.2f}G").rounds(macs.count(total_work(net))), row
        assert Figure.parse(f"{millions:.2f}M").rounds(count_activations(net, elements)), row


def test_every_counterpart_in_timm_has_a_printed_row() -> None:
    printed = [(row["model"], row["timm"]) for row in timm_rows()]
    names = {model: entry["timm"] for model, entry in COUNTERPARTS.items() if "timm" in entry}
    missing = {model for model, name in names.items() if (model, name) not in printed}
    # timm's results have no row of these; the last three are built from its classes
    named = {"vgg11", "pnasnet5_large", "vit_ti_32"}
    assert missing == named | {"densenet264", "resnext152_32x4d", "wide_resnet68_3"}


@pytest.mark.parametrize("name", EXISTING)
def test_activations_equal_the_recorded_ones(name: str) -> None:
    elements = count_activations(network(name), find_activations("fvcore"))
    assert elements == MODELS[name]["counts"]["fvcore activations"]


def test_activations_of_vgg16_by_hand() -> None:
    net = load("vgg16")
    inputs = 3 * 224 * 224
    convs = 2 * 64 * 224**2 + 2 * 128 * 112**2 + 3 * 256 * 56**2 + 3 * 512 * 28**2 + 3 * 512 * 14**2
    pools = 64 * 112**2 + 128 * 56**2 + 256 * 28**2 + 512 * 14**2 + 512 * 7**2
    linear = 4096 + 4096 + 1000
    lecture = inputs + convs + pools + linear
    assert count_activations(net, ACTIVATIONS["lecture"]) == lecture == 15_237_608
    assert count_activations(net, ACTIVATIONS["all"]) == lecture + convs + 2 * 4096 == 28_793_320
    assert count_activations(net, ACTIVATIONS["pycls"]) == convs + pools + linear
    assert count_activations(net, ACTIVATIONS["fvcore"]) == convs + linear == 13_556_712


def test_pycls_adds_a_bias_once_per_channel() -> None:
    conv = OPS["conv"].create([96, 11], {"stride": 4}).cost((3, 227, 227))
    assert find_convention("pycls").count(conv.work) == 55 * 55 * 96 * 11 * 11 * 3 + 96


def test_pycls_leaves_out_global_pooling() -> None:
    elements = count_activations(load("resnet50"), ACTIVATIONS["pycls"])
    assert elements == 11_114_984 + 64 * 56 * 56  # conv and linear outputs, and the stem's pooling


@pytest.mark.parametrize("name", REQUIRED)
def test_a_total_is_the_sum_over_layers(name: str) -> None:
    net = network(name)
    for convention in CONVENTIONS.values():
        by_layer = sum(convention.count(layer.cost.work) for layer in net)
        assert convention.count(total_work(net)) == by_layer > 0


# One op at a time, against the tools as they run here.


def need(package: str, wanted: Callable[[str], bool] = lambda version: True) -> None:
    """Skip unless a package is there, in a version that the convention is about."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if not wanted(version):
        pytest.skip(f"{package} {version} is another version")


Inputs = Sequence[Any]


def run_fvcore(model: Any, inputs: Inputs) -> int:
    need("fvcore")
    from fvcore.nn import FlopCountAnalysis

    return FlopCountAnalysis(model, tuple(inputs)).total()


def run_fvcore_activations(model: Any, inputs: Inputs) -> int:
    need("fvcore")
    from fvcore.nn import ActivationCountAnalysis

    return ActivationCountAnalysis(model, tuple(inputs)).total()


def run_flop_counter_mode(model: Any, inputs: Inputs) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as mode:
        model.to("meta")(*(x.to("meta") for x in inputs))
    return mode.get_total_flops()


def run_profiler(model: Any, inputs: Inputs) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as run:
        model(*inputs)
    return sum(event.flops or 0 for event in run.events())


def run_torchinfo(model: Any, inputs: Inputs) -> int:
    need("torchinfo")
    from torchinfo import summary

    return summary(model, input_data=list(inputs), verbose=0).total_mult_adds


def run_thop(model: Any, inputs: Inputs) -> int:
    need("thop")
    from thop import profile

    return profile(model, inputs=tuple(inputs), verbose=False)[0]


def named(inputs: Inputs) -> dict[str, Any]:
    return {f"x{i}": x for i, x in enumerate(inputs)}


def run_ptflops(model: Any, inputs: Inputs, **options: str) -> int:
    from ptflops import get_model_complexity_info

    return get_model_complexity_info(
        model, (1,), input_constructor=lambda _: named(inputs),
        as_strings=False, print_per_layer_stat=False, **options,
    )[0]  # fmt: skip


def run_ptflops_old(model: Any, inputs: Inputs) -> int:
    need("ptflops", lambda version: version == "0.7")
    return run_ptflops(model, inputs)


def run_ptflops_pytorch(model: Any, inputs: Inputs) -> int:
    need("ptflops", lambda version: version != "0.7")
    return run_ptflops(model, inputs, backend="pytorch")


def run_ptflops_aten(model: Any, inputs: Inputs) -> int:
    need("ptflops", lambda version: version != "0.7")
    return run_ptflops(model, inputs, backend="aten")


def run_calflops(model: Any, inputs: Inputs) -> tuple[int, int]:
    need("calflops")
    import torch
    from calflops import calculate_flops

    model.spare = torch.nn.Parameter(torch.zeros(1))  # it cannot count a model without any
    flops, macs, _ = calculate_flops(
        model, kwargs=named(inputs),
        output_as_string=False, print_results=False, print_detailed=False,
    )  # fmt: skip
    return flops, macs


def run_deepspeed(model: Any, inputs: Inputs) -> tuple[int, int]:
    need("deepspeed")
    from deepspeed.profiling.flops_profiler import get_model_profile

    flops, macs, _ = get_model_profile(
        model, kwargs=named(inputs), print_profile=False, detailed=False, as_string=False
    )
    return flops, macs


def run_torchstat(model: Any, inputs: Inputs) -> tuple[int, int]:
    need("torchstat")
    from torchstat import compute_flops, compute_madd

    counts = []

    def hook(module: Any, inputs: Inputs, output: Any) -> None:
        counts.append(
            (compute_flops(module, inputs[0], output), compute_madd(module, inputs[0], output))
        )

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(hook)
    model(*inputs)
    return sum(int(flops) for flops, _ in counts), sum(int(madd) for _, madd in counts)


RUNS: dict[str, Callable[[Any, Inputs], int]] = {
    "fvcore": run_fvcore,
    "fvcore activations": run_fvcore_activations,
    "torch": run_flop_counter_mode,
    "profiler": run_profiler,
    "torchinfo": run_torchinfo,
    "thop": run_thop,
    "ptflops": run_ptflops_pytorch,
    "ptflops_0.7": run_ptflops_old,
    "ptflops_aten": run_ptflops_aten,
    "calflops": lambda model, inputs: run_calflops(model, inputs)[0],
    "calflops_macs": lambda model, inputs: run_calflops(model, inputs)[1],
    "deepspeed": lambda model, inputs: run_deepspeed(model, inputs)[0],
    "deepspeed_macs": lambda model, inputs: run_deepspeed(model, inputs)[1],
    "torchstat_flops": lambda model, inputs: run_torchstat(model, inputs)[0],
    "torchstat_madd": lambda model, inputs: run_torchstat(model, inputs)[1],
}

IMPORT_TORCHVISION = ("ptflops", "calflops", "deepspeed")
OTHER_MODULES = ("fvcore activations", "torchstat")
TWO_DIMENSIONAL = ("conv", "conv_transpose", "maxpool", "avgpool", "batchnorm")


def blind_spot(tool: str, name: str, example: Example) -> str:
    """Return why a tool counts a twin otherwise than the layer that it stands for, or nothing."""
    axes = len(example.inputs[0]) - 1
    if name == "sparse_conv" and tool.startswith(OTHER_MODULES):
        return "a grouped convolution and a sum in a module of our own, which the tool cannot know"
    if name == "rbf" and tool == "fvcore activations":
        return "a linear layer by its place, but no matrix product"
    if tool.startswith("torchstat") and name in TWO_DIMENSIONAL and axes != 2:
        return "the tool knows 2-D layers only"
    if tool.startswith("torchstat") and name == "linear" and axes > 0:
        return "the tool refuses tokens"
    return ""


def wrapped(module: Any) -> Any:
    """Return a module that takes inputs by place or by name, for tools that skip a bare leaf."""
    import torch

    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.op = module

        def forward(self, *inputs: Any, **by_name: Any) -> Any:
            return self.op(*inputs, *by_name.values())

    return Wrapper().eval()


@pytest.mark.torch
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("tool", RUNS)
@pytest.mark.filterwarnings("ignore")
def test_each_op_counts_as_the_tool_counts_its_twin(
    tool: str, name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    torch = pytest.importorskip("torch")
    if tool.startswith(IMPORT_TORCHVISION):
        request.getfixturevalue("torchvision")
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    unseen: dict[str, list[bool]] = {}
    for e in OPS[name].examples:
        op = OPS[name].create(e.args, e.kwargs)
        cost = op.cost(*e.inputs)
        if tool == "fvcore activations":
            expected = find_activations("fvcore").count(op.kind, cost)
        else:
            expected = find_convention(tool).count(cost.work)
        twin = op.build(torch, *e.inputs)
        reason = blind_spot(tool, name, e) if expected else ""
        inputs = [torch.zeros(1, *shape) for shape in e.inputs]
        measured: int | None = None
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            try:
                measured = RUNS[tool](wrapped(twin), inputs)
            except AssertionError:
                assert reason, f"{tool} refuses {name} {e}"
        if reason:
            unseen.setdefault(reason, []).append(measured != expected)
        else:
            assert measured == expected, f"{tool} on {name} {e}"
    for reason, differ in unseen.items():
        assert any(differ), f"{tool} does count {name}: not so that it is {reason}"
