"""Conventions op by op: what each tool counted, and what the tools count as they run here."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from recorded import record_counters as recorder
from test_conventions import EARLIER, layer_of

from archcost.analysis.reconcile import count_operations, reconcile
from archcost.conventions import (
    CONVENTIONS,
    find_activations,
    find_convention,
)
from archcost.ops import OPS, Example
from archcost.packages import import_package
from archcost.proofs.tools import OUTPUTS, TOOLS, Counter
from archcost.pytorch import build, random_inputs
from archcost.shape import numel
from archcost.spec.catalog import loads

OPS_RECORD = json.loads(recorder.OPS_RECORD.read_text())
COUNTED: dict[str, dict[str, Any]] = OPS_RECORD["ops"]
KEPT = [tool.convention for tool in TOOLS]
LIVE = [tool for tool in TOOLS if tool.version and tool.apart in ("", OUTPUTS)]
"""The tools that run in this process: none that leaves PyTorch other than it was."""

CALLED: dict[str, dict[str, Any]] = OPS_RECORD["functions"]
"""What each tool counted of functions that a network calls in place of modules."""

OTHER_MODULES = ("fvcore activations", "torchstat")
TWO_DIMENSIONAL = ("conv", "conv_transpose", "maxpool", "avgpool", "batchnorm")


def blind_spot(tool: str, name: str, example: Example) -> str:
    """Return why a tool counts a twin otherwise than the layer that it stands for, or nothing."""
    axes = len(example.inputs[0]) - 1
    if name == "sparse_conv" and tool.startswith(OTHER_MODULES):
        return "a grouped convolution and a sum in a module of our own, which the tool cannot know"
    if name == "bilinear" and tool == "fvcore activations":
        return "products inside an operation of PyTorch's own"
    if name == "bilinear" and tool.startswith("torchstat") and axes > 0:
        return "the tool refuses tokens"
    if name == "deform_conv" and tool == "fvcore activations":
        return "a convolution that is torchvision's own operation"
    if name == "conv_transpose" and tool == "fvcore activations" and example.kwargs.get("padding"):
        return "the tool sees what is cut off later"
    if name == "rbf" and tool == "fvcore activations":
        return "a linear layer by its place, but no matrix product"
    if tool.startswith("torchstat") and name in TWO_DIMENSIONAL and axes != 2:
        return "the tool knows 2-D layers only"
    if tool.startswith("torchstat") and name == "linear" and axes > 0:
        return "the tool refuses tokens"
    if tool.startswith("torchstat") and (
        name in ("split", "lstm_cell") or example.kwargs.get("return_state")
    ):
        return "the tool refuses a module with several outputs"
    return ""


def recorded(name: str, example: Example) -> dict[str, Any]:
    """Return what each tool counted of an op's example."""
    key = recorder.example_key(name, example)
    assert key in COUNTED, f"{key} is not recorded yet: make counters"
    return COUNTED[key]


def test_every_tool_is_recorded_on_every_op() -> None:
    keys = {recorder.example_key(n, e) for n, op in OPS.items() for e in op.examples}
    assert set(COUNTED) == keys, "make counters"
    assert {*KEPT} == set(OPS_RECORD["tools"])
    assert all({*counts} == {*KEPT} for counts in COUNTED.values())
    refused = {
        (tool, key.partition("(")[0])
        for key, counts in COUNTED.items()
        for tool, count in counts.items()
        if type(count) is not int
    }
    # torchstat: linear on tokens, and layers with several outputs
    ops = ("linear", "bilinear", "split", "lstm", "gru", "rnn", "lstm_cell")
    assert refused == {(f"torchstat_{what}", op) for what in ("flops", "madd") for op in ops}


def test_a_function_counts_what_no_hook_of_a_module_counts() -> None:
    keys = {recorder.example_key(n, e): (n, e) for n, e in recorder.FUNCTIONS.items()}
    assert set(CALLED) == set(keys), "make counters"
    fewer = set()
    for key, (name, e) in keys.items():
        layer = layer_of(name, e)
        for tool in set(KEPT) - {"fvcore activations"}:
            convention = find_convention(tool)
            counted = convention.count(replace(layer, function=True))
            assert counted == CALLED[key][tool], f"{tool} on a function {key}"
            fewer |= {tool} if counted < convention.count(layer) else set()
    assert fewer == {"thop", "ptflops", "ptflops_0.7", "torchstat_flops", "torchstat_madd"}


def test_every_convention_of_a_tool_is_recorded_on_ops() -> None:
    definitions = {"macs", "flops", "torchvision", "timm", "pycls", "xla"}
    assert set(CONVENTIONS) - definitions - set(EARLIER) == {*KEPT} - {"fvcore activations"}
    for name in set(KEPT) - {"fvcore activations"}:
        tool = OPS_RECORD["tools"][name].partition("+")[0].replace("-", ".post")
        assert tool == find_convention(name).tool_version


def test_the_tools_that_make_test_installs_run_here() -> None:
    """Nothing below is skipped: these are the packages of the Makefile, and PyTorch itself."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    names = {
        "fvcore",
        "fvcore activations",
        "torch",
        "profiler",
        "torchinfo",
        "thop",
        "ptflops",
        "ptflops_aten",
    }
    calflops = {"calflops", "calflops_macs"}  # wherever somebody has installed it
    assert {tool.convention for tool in LIVE} - calflops == names


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("tool", KEPT)
def test_each_op_counts_as_the_tool_counts_its_twin(tool: str, name: str) -> None:
    unseen: dict[str, list[bool]] = {}
    for e in OPS[name].examples:
        layer = layer_of(name, e)
        if tool == "fvcore activations":
            expected = find_activations("fvcore").count(layer)
        else:
            expected = find_convention(tool).count(layer)
        measured = recorded(name, e)[tool]
        reason = blind_spot(tool, name, e) if expected or isinstance(measured, str) else ""
        if reason:
            unseen.setdefault(reason, []).append(measured != expected)
        else:
            assert measured == expected, f"{tool} on {name} {e}"
    for reason, differ in unseen.items():
        assert any(differ), f"{tool} does count {name}: not so that it is {reason}"


@pytest.mark.torch
@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("tool", LIVE, ids=[tool.convention for tool in LIVE])
def test_a_tool_counts_as_recorded(tool: Counter, name: str) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    import_package(tool.package)  # also beside a torchvision that does not load by itself
    for e in OPS[name].examples:
        measured = recorder.counted(tool, *recorder.twin_and_inputs(name, e))
        assert measured == recorded(name, e)[tool.convention], f"{tool.convention} on {name} {e}"
    if e := recorder.FUNCTIONS.get(name):
        measured = recorder.counted(tool, *recorder.twin_and_inputs(name, e, function=True))
        assert measured == CALLED[recorder.example_key(name, e)][tool.convention]


@pytest.mark.torch
@pytest.mark.parametrize("name", ["instancenorm", "frn", "pixelnorm", "rrelu", "lstm"])
def test_what_the_profiler_counts_once_for_a_batch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    [profiler] = [tool for tool in TOOLS if tool.convention == "profiler"]
    for e in OPS[name].examples:
        twin, inputs = recorder.twin_and_inputs(name, e)
        batch = [torch.cat([x] * 3) for x in inputs]
        expected = find_convention("profiler").count(layer_of(name, e), 3)
        assert recorder.counted(profiler, twin, batch) == expected, e


APART = (
    ("8x5", "permute([1, 0])", 8 * 5),  # MACs alone: the bias is added by itself
    ("8x5", "permute([1, 0]) >> relu >> position_embedding", 8 * 5),
    ("8x5x4", "permute([1, 2, 0])", 8 * 20),
    ("8x5", "slice(1, 0, 3)", 3 * 8),
    ("8x5", "permute([1, 0]) >> layernorm", 9 * 5),
    ("8x5", "slice(0, 2, 5)", 6 * 3),
    ("8x1", "permute([1, 0])", 9),
)
"""Inputs, what permutes or cuts them, and what each output of a linear layer after it counts."""


@pytest.mark.torch
@pytest.mark.parametrize(
    ("mask", "each"), [("linear(5)", 2 * 5 * 5 * 2), ("slice(stop=5, dim=-1)", 0)]
)
def test_ptflops_counts_the_products_of_attention_whose_mask_learns(mask: str, each: int) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    branches = f"{{x: identity, mask: 'take(input) >> {mask}'}}"
    net = loads(f"name: masked\ninput: 5x6\nlayers: [{{attention(2): {branches}}}]\n")
    tool = next(tool for tool in TOOLS if tool.convention == "ptflops_aten")
    import_package(tool.package)
    measured = tool.run(build(net).eval(), list(random_inputs(net, 1)))
    counted = count_operations(net, find_convention("ptflops_aten"))
    assert counted == sum(measured.values())
    assert counted == each + sum(x.macs + x.op.bias * numel(x.cost.output) for x in net if x.params)


@pytest.mark.torch
@pytest.mark.parametrize(("shape", "before", "each"), APART)
@pytest.mark.parametrize("bias", [True, False])
def test_ptflops_counts_no_bias_on_rows_that_lie_apart(
    shape: str, before: str, each: int, bias: bool
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    text = f"name: apart\ninput: {shape}\nlayers: ['{before} >> linear(7, bias={bias}, dim=-1)']\n"
    net = loads(text)
    tool = next(tool for tool in TOOLS if tool.convention == "ptflops_aten")
    import_package(tool.package)
    measured = tool.run(build(net).eval(), list(random_inputs(net, 1)))
    macs = count_operations(net, find_convention("macs"))
    expected = 7 * each if bias else macs
    assert (
        count_operations(net, find_convention("ptflops_aten")) == expected == sum(measured.values())
    )
    if bias and expected == macs:
        [term] = reconcile(net, ["ptflops_aten"], base="pycls").rows[0].contributions
        assert str(term) == f"− {numel(net.output):,} linear.apart"
