"""Peaks of memory: by hand, against every storage that PyTorch makes, and on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import around, peak_is_known

from archcost import load
from archcost.cli import cli
from archcost.errors import ArchcostError, LookupFailed, SpecError
from archcost.hardware import devices, find_device, read_devices
from archcost.network import Network
from archcost.ops import OPS
from archcost.ops.base import Example
from archcost.optimizers import KERNELS, OPTIMIZERS
from archcost.primitives import PRIMITIVES, Row
from archcost.readings.ledger import Peak
from archcost.setting import CUDA_BLOCK, Setting
from archcost.shape import numel
from archcost.spec.catalog import catalog, documents, expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.fit import RUNS, fit, largest_batch
from archcost.storage.footprint import Footprint
from archcost.storage.peaks import Run, inference_peak, training_peak
from archcost.storage.saved import saved_for_backward
from archcost.storage.workspace import peak_with_workspace

cpu = partial(Setting, device="cpu")


def network(text: str) -> Network:
    return expand(read_document(Source("net.yaml", text)), "")


SMALL = """
name: small
input: 3x4x4
layers:
  - conv(2, 3, padding=1)
  - relu
  - flatten
  - linear(5)
"""
# batch 2 in float32: x 2·48·4 = 384, conv and relu 2·32·4 = 256 each, linear 2·5·4 = 40
# parameters: conv 2·27 + 2 = 56, linear 5·32 + 5 = 165, together 221 of 4 bytes
X, MAP, PARAMS = 384, 256, 884


def test_inference_by_hand() -> None:
    eager = inference_peak(network(SMALL), cpu(2)).peak
    assert (eager.layer, eager.total) == ("relu1", PARAMS + X + 2 * MAP)
    assert (eager.kinds["input"], eager.kinds["transient"]) == (X, 2 * MAP)
    ideal = inference_peak(network(SMALL), cpu(2), reading="ideal").peak
    assert (ideal.layer, ideal.total) == ("conv1", PARAMS + X + MAP)  # then x is dropped


def test_every_line_of_a_training_step_by_hand() -> None:
    run = training_peak(network(SMALL), cpu(2, optimizer="sgd-momentum", kernel="foreach"))
    assert (run.peak.phase, run.peak.layer) == ("backward", "relu1")
    assert run.peak.kinds == {
        "parameters": PARAMS,
        "buffers": 0,
        "optimizer state": PARAMS,
        "input": 0,  # it is saved for the convolution
        "gradients": (5 * 32 + 5) * 4,  # linear's, so far
        "saved for backward": X + MAP,  # the input, and relu's output for relu and linear
        "transient": 2 * MAP + 4 + 4,  # the gradients of relu's output and input, loss, its own
    }
    forward = run.peaks["forward"]
    assert (forward.layer, forward.tensors) == ("relu1", 2 * PARAMS + X + 2 * MAP)
    assert run.peaks["optimizer"].tensors == 3 * PARAMS + X
    assert run.saved == X + MAP


def test_the_allocator_rounds_every_tensor() -> None:
    peak = training_peak(network(SMALL), cpu(2, optimizer="sgd", block=CUDA_BLOCK)).peak
    # x, relu's output, two gradients of maps, parameters of 216, 8, 640 (two blocks) and 20 bytes,
    # gradients of 640 and 20, the loss and its gradient
    assert peak.total == 512 * (1 + 1 + 2 + (1 + 1 + 2 + 1) + (2 + 1) + 2)
    assert peak.rounding == peak.total - peak.tensors


def test_several_gradients_are_added_in_place_by_hand() -> None:
    run: Callable[[bool], Peak] = lambda observed: training_peak(  # noqa: E731
        network(FAN), cpu(256, optimizer="sgd", observed=observed)
    ).peaks["backward"]
    part = 256 * 8 * 6 * 6 * 4
    # the sum's gradient, what is added up so far, and a branch's; out of place, the new sum too
    assert run(False).kinds["transient"] == 3 * part + 4 + 4
    assert run(True).kinds["transient"] == 4 * part + 4 + 4


TURNED = """
name: turned
input: 64x4x4
layers:
  - layernorm(dim=0)
  - conv(64, 2, stride=2)
  - global_avgpool
"""


@pytest.mark.torch
def test_a_gradient_that_lies_otherwise_than_its_parameter_is_copied() -> None:
    # the normalisation leaves its channels last, and so does the convolution its weight's gradient
    run = training_peak(network(TURNED), cpu(1, optimizer="sgd")).peaks["backward"]
    weight, bias = 64 * 64 * 2 * 2 * 4, 64 * 4
    assert (run.layer, run.kinds["gradients"]) == ("conv1", 2 * weight + bias)
    assert differences(network(TURNED), 1) == {}


FAN = """
name: fan
input: 8x6x6
layers:
  - bias
  - add:
      a: channel_shuffle(2)
      b: channel_shuffle(4)
      c: channel_shuffle(8)
      d: channel_shuffle(2)
  - flatten
  - linear(10)
"""


NO_PEAKS = ["crnn"]  # of an LSTM the peak is not known
FIRST = [document.models()[0] for document in documents()]


@pytest.mark.parametrize("name", [name for name in FIRST if name not in NO_PEAKS])
def test_what_is_saved_is_the_same_by_both_ways(name: str) -> None:
    net = load(name)
    for device in ("cpu", "cuda"):
        assert (
            training_peak(net, cpu(2, device=device)).saved
            == saved_for_backward(net, cpu(2, device=device)).total
        )


@pytest.mark.slow
def test_all_of_the_catalog_is_known() -> None:
    unknown = []
    for name in catalog():
        try:
            inference_peak(load(name), cpu())
        except ArchcostError as error:
            assert "is not known" in str(error)
            unknown.append(name)
    assert unknown == NO_PEAKS


def test_layers_that_no_gradient_reaches_have_no_state() -> None:
    whole = load("googlenet", aux=True)
    step = training_peak(whole, cpu(2))
    own = sum(
        numel(shape) * 4
        for layer in whole
        if not layer.path.startswith("aux")
        for shape in layer.cost.params.values()
    )
    assert step.state == step.gradients == own < step.params


def test_frozen_layers_have_no_gradient() -> None:
    step = training_peak(load("alexnet"), cpu(2, freeze=("CONV*", "FC6")))
    fc7, fc8 = 4096 * 4096 + 4096, 1000 * 4096 + 1000
    assert step.gradients == step.state == (fc7 + fc8) * 4
    with pytest.raises(ArchcostError, match="no layer is trained, so there is no step"):
        training_peak(load("alexnet"), cpu(2, freeze=("*",)))


# Against PyTorch.


def checked(net: Network, batch: int, **settings: Any) -> list[Any]:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs import Subject
    from archcost.proofs.peaks import peaks
    from archcost.pytorch import build

    twin = settings.pop("twin", None) or build(net, device="meta")
    return list(peaks(Subject(net, twin, "meta", cpu(batch, **settings))))


def differences(net: Network, batch: int, **settings: Any) -> dict[str, Any]:
    checks = checked(net, batch, **settings)
    assert len(checks) == 14 and not any(check.skipped for check in checks)
    return {c.name: (c.expected, c.measured) for c in checks if not c.passed}


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(
    "name",
    ["alexnet", "googlenet", "lenet5", "resnet18", "squeezenet1_1", "vgg11_bn", "mobilenet_v1"],
)
def test_peaks_of_models(name: str, batch: int) -> None:
    assert differences(load(name), batch) == {}


@pytest.mark.torch
@pytest.mark.sampled
@pytest.mark.parametrize("name", catalog())
def test_peaks_of_the_catalog(name: str) -> None:
    checks = checked(load(name), 2)
    assert {c.name: (c.expected, c.measured) for c in checks if not c.passed} == {}


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("name", [document.models()[0] for document in documents()])
def test_peaks_at_other_batches(name: str, batch: int) -> None:
    assert [c.name for c in checked(load(name), batch) if not c.passed] == []


@pytest.mark.torch
def test_peaks_with_frozen_layers_and_side_outputs() -> None:
    assert differences(load("resnet18"), 2, freeze=("stem*", "layer1*")) == {}
    assert differences(load("googlenet", aux=True), 2) == {}


EXAMPLES = [
    (name, number, example)
    for name, op in OPS.items()
    for number, example in enumerate(op.examples)
]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "example"),
    [pytest.param(name, example, id=f"{name}-{i}") for name, i, example in EXAMPLES],
)
def test_peaks_of_every_op(name: str, example: Example) -> None:
    op = OPS[name].create(list(example.args), dict(example.kwargs))
    net = around(op, example.inputs, learnt=True)
    if not peak_is_known(op):
        with pytest.raises(ArchcostError, match=r"op: the peak of .* is not known"):
            inference_peak(net, cpu())
    else:
        assert differences(net, 3) == {}


CIRCULAR = """
name: circular
input: 8x64x64
layers:
  - conv(8, 3, padding=1, padding_mode='circular')
"""


def test_what_circular_padding_takes_by_hand() -> None:
    # batch 4: x 4·8·64·64·4 = 524,288, its padded copy 4·8·66·66·4 = 557,568, as large as x the output
    x, copy, params = 524_288, 557_568, 4 * (8 * 8 * 9 + 8)
    setting = cpu(4, optimizer="sgd-momentum")
    assert saved_for_backward(network(CIRCULAR), setting).total == copy
    assert inference_peak(network(CIRCULAR), setting).peak.total == params + 2 * x + copy
    assert training_peak(network(CIRCULAR), setting).saved == copy


def test_memory_that_is_not_known_is_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PRIMITIVES["relu"]

    def unknown(x: Any) -> Row:
        return Row(x.shape, x.strides, unknown="the peak of relu is not known")

    monkeypatch.setitem(PRIMITIVES, "relu", replace(right, row=unknown))
    with pytest.raises(ArchcostError, match=r"^relu1: the peak of relu is not known$"):
        inference_peak(network(SMALL), cpu())


@pytest.mark.torch
def test_a_twin_that_drops_nothing_is_seen() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build

    net = load("alexnet")
    hoarder = build(net, device="meta")
    hoarder.plan = [step._replace(finished=()) for step in hoarder.plan]
    found = differences(net, 2, twin=hoarder)
    assert "inference peak" in found and "forward peak with adam" in found


@pytest.mark.torch
def test_a_twin_that_does_not_run_is_a_finding() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build

    net = network(SMALL)
    broken = build(net, device="meta")
    broken.linear1.weight = None
    (check,) = checked(net, 2, twin=broken)
    assert not check.passed and (check.name, check.layer) == ("runs", "linear1")


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 256])
def test_gradients_are_added_in_place_on_a_real_cpu(batch: int) -> None:
    """No observer of operations can see this; the allocator's own record can."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build

    net = network(FAN)
    twin, x = build(net), torch.randn(batch, *net.input)
    run = training_peak(net, cpu(batch, optimizer="sgd"))
    before = run.params + run.input
    measured = backward_peak(torch, lambda: twin(x).sum().backward())
    assert run.peaks["backward"].total - before == measured
    observed = training_peak(net, cpu(batch, optimizer="sgd", observed=True))
    assert observed.peaks["backward"].total - before > measured


def backward_peak(torch: Any, step: Callable[[], Any]) -> int:
    """Return the most bytes that the CPU's allocator handed out after backward began.

    Of a step without backward, it is the most bytes of all.
    """
    with torch.profiler.profile(profile_memory=True) as profiler:
        step()
    allocation = torch._C._profiler._EventType.Allocation
    sizes: list[tuple[int, int]] = []
    began: list[int] = []

    def walk(event: Any) -> None:
        if event.typed[0] == allocation:
            sizes.append((event.start_time_ns, event.typed[1].alloc_size))
        elif event.name.startswith("autograd::engine"):
            began.append(event.start_time_ns)
        for child in event.children:
            walk(child)

    for root in profiler.profiler.kineto_results.experimental_event_tree():
        walk(root)
    live = most = 0
    for time, size in sorted(sizes):
        live += size
        most = max(most, live if time >= min(began, default=0) else 0)
    return most


@pytest.mark.torch
@pytest.mark.parametrize("weight_decay", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("sizes", [[400, 1200, 800], [1200, 400, 800]])
def test_optimizers(sizes: list[int], name: str, kernel: str, weight_decay: bool) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs.peaks import tracker

    params = [torch.nn.Parameter(torch.zeros(size // 4)) for size in sizes]
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = {"momentum": 0.9} if name == "sgd-momentum" else {}
    optimizer = kinds[name.partition("-")[0]](
        params, lr=0.1, weight_decay=0.1 * weight_decay, foreach=kernel == "foreach",
        fused=kernel == "fused", **options,
    )  # fmt: skip
    for parameter in params:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = [t for kept in optimizer.state.values() for t in kept.values() if t is not None]
    rule = OPTIMIZERS[name]
    assert sum(t.nbytes for t in state) == sum(rule.state(sizes, kernel, "cpu"))
    seen = tracker([*params, *(p.grad for p in params), *state])
    before = seen.live[1]
    with seen:
        optimizer.step()
    # Adam's count of steps is raised by a tensor of one element
    moments = list(rule.transients(sizes, kernel, weight_decay))
    expected = max(map(sum, moments), default=0)
    assert seen.cut()[1] - before == max(expected, 4 if rule.counts and kernel == "foreach" else 0)


# Fitting.


def test_the_largest_batch_is_the_largest() -> None:
    net = network(SMALL)
    for memory in (4_000, 4_444, 10_000, 123_456):
        fits = fit(net, memory, Setting(device="cpu", optimizer="sgd")).fits
        for found, peak in zip(fits, (training_of(net), inference_of(net)), strict=True):
            assert found.batch == max(b for b in range(400) if b == 0 or peak(b) <= memory)
            assert found.over is not None and found.over.total == peak(found.batch + 1)


def training_of(net: Network) -> Callable[[int], int]:
    return lambda batch: training_peak(net, cpu(batch, optimizer="sgd")).peak.total


def inference_of(net: Network) -> Callable[[int], int]:
    return lambda batch: inference_peak(net, cpu(batch)).peak.total


def test_every_batch_may_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    byte = Run({"forward": Peak("forward", "", {"input": 1})}, (), 0, 0, 1)
    monkeypatch.setitem(RUNS, "inference", lambda network, setting: byte)
    tiny = largest_batch("inference", network(SMALL), Setting(), 5)
    assert (tiny.batch, tiny.over, tiny.binds) == (2**31, None, "nothing")


def test_alexnet_of_the_lectures_fits_its_gpu() -> None:
    memory = find_device("gtx580").memory
    training, _ = fit(load("alexnet"), memory).fits
    assert memory == 3 * 10**9
    assert training.batch > 128  # one tower alone, by its tensors
    assert training.peak is not None and training.over is not None
    assert training.peak.total <= memory < training.over.total
    assert training.binds.startswith("saved for backward, ")


def test_the_example_of_the_docs() -> None:
    text = (Path(__file__).parent.parent / "docs" / "memory.md").read_text("utf-8")
    half = network(re.search(r"```yaml\n(name: alexnet_one_of_two.*?)```", text, re.DOTALL)[1])
    step = Footprint(half, Setting(batch=128)).training.peak
    (training, _) = fit(half, 3 * 10**9).fits
    assert f"it takes {step.total / 1e9:.2f} GB, and up to {training.batch} samples fit" in text
    sent = [layer.shapes[0] for layer in half if layer.op.name == "concat"]
    assert sent == [(128, 13, 13), (128 * 6 * 6,), (2048,), (2048,)]
    assert f"{sum(map(numel, sent)):,} elements" in text
    table = run("fit", "alexnet_two_towers", "--gpu", "gtx580").output
    assert table.strip() in text


def test_devices() -> None:
    names = (
        "gtx580", "k40", "p100", "v100", "t4", "a100", "h100", "h200", "b200", "rtx4090",
        "jetson_orin",
    )  # fmt: skip
    assert set(names) <= set(devices())
    for device in devices().values():
        assert device.source and device.peaks
        assert 10**9 < device.memory < 10**13
        assert device.bandwidth > 10**10
        assert all(10**12 < peak < 10**16 for peak in device.peaks.values())
    assert find_device("RTX 4090").bandwidth == 1_008_000_000_000  # 384 bit at 21 Gbit/s
    assert 384 * 21 * 10**9 // 8 == 1_008_000_000_000
    assert find_device("gtx580").peaks["float32"] // 10**9 == 512 * 2 * 1544 // 1000  # cores · GHz
    with pytest.raises(LookupFailed, match="unknown GPU 'h20'; did you mean 'h200'"):
        find_device("h20")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 3", "hw.yaml:1:4: a must be a mapping"),
        ("a: {memry: 3GB}", "hw.yaml:1:5: unknown key 'memry'; did you mean 'memory'?"),
        ("a: {title: x}", "hw.yaml:1:4: a has no year"),
        (
            "a: {title: x, year: 2020, memory: 3XB, bandwidth: 1GB, peaks: {}, source: y}",
            "hw.yaml:1:35: a size is written as 3GB (10^9) or 3GiB (2^30); got '3XB'",
        ),
    ],
)
def test_a_wrong_file_of_devices(text: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        read_devices(Source("hw.yaml", text))
    assert str(raised.value) == message


# The command line.


def run(*arguments: str, input: str | None = None) -> Any:
    return CliRunner().invoke(cli, arguments, input=input)


def test_memory_lines_add_up() -> None:
    result = run("memory", "resnet18", "--batch", "8", "--optimizer", "adam", "--format", "csv")
    lines = [line.split(",") for line in result.output.strip().splitlines()[1:]]
    training = sum(int(cells[2] or 0) for cells in lines)
    inference = sum(int(cells[3] or 0) for cells in lines)
    figures = Footprint(load("resnet18"), Setting(batch=8, optimizer="adam"))
    assert training == figures.training.peak.total
    assert inference == figures.inference.peak.total
    text = run("memory", "resnet18", "--batch", "8", "--optimizer", "adam").output
    assert f"{training:,}" in text and f"{inference:,}" in text
    assert "adam, foreach" in text and "not known" in text


def test_beside_the_total_stands_what_cuda_takes() -> None:
    lines = [line.split() for line in run("memory", "resnet18", "--gpu", "h200").output.split("\n")]
    assert ["workspace", "of", "cuBLAS", "33,554,432", "33,554,432"] in lines  # PyTorch's 32 MiB
    assert ["CUDA", "context", "not", "known", "not", "known"] in lines
    # before Hopper 8 MiB and 128 KiB; without matrix products, or on a CPU, none
    assert re.search(
        r"cuBLAS +8,519,680 +8,519,680", run("memory", "resnet18", "--gpu", "v100").output
    )
    nothing = run("memory", "-", "--batch", "2", "--format", "json", input=CONVOLUTIONS).output
    assert json.loads(nothing)["cublas_workspace"] == 0
    assert "cuBLAS" not in run("memory", "resnet18", "--device", "cpu").output
    share = run("memory", "vgg16", "--batch", "64", "--gpu", "p100").output
    assert re.search(r"of the 16 GB of p100: training 39\.7%, inference 14\.0%", share)


CONVOLUTIONS = "name: net\ninput: 3x8x8\nlayers:\n  - conv(4, 3)\n  - relu\n  - conv(8, 3)"


def test_the_workspace_is_beside_what_follows_the_first_product() -> None:
    def pass_of(*layers: str) -> tuple[Network, Any]:
        text = "name: net\ninput: 64x32x32\nlayers:" + "".join(f"\n  - {x}" for x in layers)
        network = expand(read_document(Source("net.yaml", text)))
        return network, inference_peak(network, cpu(64))

    # at the peak the convolution's input and output are alive, and the product comes later
    network, wide = pass_of("conv(64, 1)", "maxpool(32)", "flatten", "linear(4)")
    assert peak_with_workspace(network, wide) == wide.peak.total
    # what is alive at the product: parameters, the input, 64 x 32 x 32 read and 64 x 4 written
    network, narrow = pass_of("conv(1, 1)", "flatten", "linear(4)")
    last = 4 * (64 + 1 + 1024 * 4 + 4 + 64 * (64 + 1) * 1024 + 64 * 4)
    assert peak_with_workspace(network, narrow) == last + 2 * 4096 * 1024 + 8 * 16 * 1024
    h200 = find_device("h200")
    assert peak_with_workspace(network, narrow, h200) == last + 2**25
    network, none = pass_of("conv(64, 1)", "relu")
    assert peak_with_workspace(network, none, h200) == none.peak.total


def test_memory_json() -> None:
    result = run("memory", "alexnet", "--batch", "2", "--format", "json", "--timeline")
    data = json.loads(result.output)
    peak = data["training"]["peak"]
    parts = ("parameters", "buffers", "optimizer_state", "input", "gradients",
             "saved_for_backward", "transient", "allocator_rounding")  # fmt: skip
    assert sum(peak[part] for part in parts) == peak["bytes"]
    assert max(moment["bytes"] for moment in data["timeline"]) == peak["bytes"]
    assert data["inference"]["ideal"]["bytes"] <= data["inference"]["eager"]["bytes"]
    layers = {moment["layer"] for moment in data["timeline"] if moment["phase"] == "backward"}
    assert {"CONV1", "FC8"} <= layers


def test_devices_differ_in_dropout_masks_and_blocks() -> None:
    cpu, cuda = (
        json.loads(run("memory", "alexnet", "--device", d, "--format", "json").output)
        for d in ("cpu", "cuda")
    )
    # two masks of 4096, in float32 or as booleans
    assert cpu["saved_for_backward"] - cuda["saved_for_backward"] == 2 * 4096 * (4 - 1)
    assert cpu["training"]["peak"]["allocator_rounding"] == 0
    assert cuda["training"]["peak"]["bytes"] % CUDA_BLOCK == 0


def test_units_of_memory() -> None:
    batches = [
        json.loads(run("fit", "vgg16", "--memory", size, "--format", "json").output)["memory"]
        for size in ("3GB", "3GiB", "3 gb")
    ]
    assert batches == [3 * 10**9, 3 * 2**30, 3 * 10**9]


def test_fit_on_the_command_line() -> None:
    data = json.loads(run("fit", "alexnet", "--gpu", "gtx580", "--format", "json").output)
    smaller = json.loads(
        run("fit", "alexnet", "--memory", "3GB", "--reserve", "1GiB", "--format", "json").output
    )
    assert data["gpu"] == "gtx580" and smaller["memory"] == data["memory"]
    batches = [[use["batch"] for use in found["fits"]] for found in (data, smaller)]
    assert batches[1][0] < batches[0][0] and batches[1][1] < batches[0][1]
    assert "h200" in run("fit", "any", "--gpu", "help").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit vgg16 --memory 100MB", "vgg16 does not fit in 100,000,000 bytes even at batch 1"),
        ("fit vgg16 --memory 3XB", "a size is written as 3GB (10^9) or 3GiB (2^30); got '3XB'"),
        ("fit vgg16 --memory -3GB", "a size is written as 3GB (10^9) or 3GiB (2^30); got '-3GB'"),
        ("fit vgg16 --memory 0", "a size must be positive; got '0'"),
        ("fit vgg16 --gpu gtx590", "unknown GPU 'gtx590'; did you mean 'gtx580'?"),
        ("fit vgg16", "name either --gpu, such as --gpu v100, or --memory, such as 16GB"),
        ("fit vgg16 --gpu t4 --memory 3GB", "name either --gpu"),
        ("fit vgg16 --memory 3GB --reserve 3GB", "of 3,000,000,000 bytes, 3,000,000,000 cannot"),
        ("memory vgg16 --optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'?"),
        ("fit vgg16 --gpu=", "unknown GPU ''"),
        ("memory vgg16 --gpu h20", "unknown GPU 'h20'; did you mean 'h200'?"),
        ("memory vgg16 --gpu h200 --device cpu", "h200 is a GPU, which is --device cuda"),
        ("memory vgg16 --gpu grace", "grace is a CPU, which is --device cpu"),
        ("fit vgg16 --memory 3G", "a size is written as 3GB (10^9) or 3GiB (2^30); got '3G'"),
        ("memory vgg16 --optimizer momentum", "unknown optimizer 'momentum'; did you mean"),
        (
            "memory vgg16 --foreach --fused",
            "choose one of --foreach, --fused and --for-loop; got --foreach and",
        ),
        ("memory vgg16 --amp int8", "autocast takes bf16 or fp16; got 'int8'"),
        ("memory vgg16 --amp bf16 --dtype float64", "autocast keeps parameters in float32; got"),
        (
            "memory resnet18 --checkpoint laier1",
            "unknown group or layer to recompute 'laier1'; did",
        ),
        ("memory vgg16 --batch 0", "batch must be a whole number from 1 to 2,147,483,648; got 0"),
        ("memory vgg16 --device tpu", "memory is known on cpu and cuda; got 'tpu'"),
        ("memory vgg16 --dtype int8", "PyTorch cannot train in int8"),
        ("memory vgg16 --freeze *", "vgg16: no layer is trained, so there is no step"),
        ("memory vgg16 --freeze stem", "unknown layer or group to freeze 'stem'"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: str, message: str) -> None:
    result = run(*arguments.split())
    assert isinstance(result.exception, ArchcostError)
    assert message in str(result.exception) and "\n" not in str(result.exception)


WINDOWS = """
name: windows
input: {0}x{1}x3
layers:
  - linear({2}, dim=-1)
  - window_attention({3}, 4, {4})
  - linear(2, dim=-1)
"""


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "features", "heads", "shift"),
    [
        (4, 4, 12, 2, 1), (8, 4, 12, 4, 0), (4, 8, 3, 1, 1), (8, 8, 6, 1, 0), (8, 8, 12, 2, 2),
    ],
)  # fmt: skip
def test_windows_that_need_no_copy(
    height: int, width: int, features: int, heads: int, shift: int, batch: int
) -> None:
    """One window, or a row of them, or one head: their order is that of the map."""
    text = WINDOWS.format(height, width, features, heads, shift)
    assert differences(network(text), batch) == {}


@pytest.mark.torch
def test_a_roll_along_two_axes_on_a_real_cpu() -> None:
    """It rolls along one after the other, which no observer of operations can see."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build

    net, batch = network(WINDOWS.format(8, 64, 12 * 8, 1, 2)), 16
    twin, x = build(net), torch.randn(batch, *net.input)
    run = training_peak(net, cpu(batch, optimizer="sgd"))
    before = run.params + run.input + run.buffers
    measured = backward_peak(torch, lambda: twin(x).sum().backward())
    assert run.peaks["backward"].total - before == measured
    observed = training_peak(net, cpu(batch, optimizer="sgd", observed=True))
    assert observed.peaks["backward"].total - before < measured
