"""The largest batch that fits, devices, and memory on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archcost import load, loads
from archcost.cli import cli
from archcost.errors import ArchcostError, LookupFailed, SpecError
from archcost.hardware import devices, find_device, read_devices
from archcost.network import Network
from archcost.readings.ledger import Peak
from archcost.setting import CUDA_BLOCK, Setting
from archcost.shape import numel
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.fit import RUNS, fit, largest_batch
from archcost.storage.footprint import Footprint
from archcost.storage.peaks import Run, inference_peak, training_peak
from archcost.storage.workspace import peak_with_workspace

cpu = partial(Setting, device="cpu")
SMALL = """
name: small
input: 3x4x4
layers:
  - conv(2, 3, padding=1)
  - relu
  - flatten
  - linear(5)
"""


# Fitting.


def test_the_largest_batch_is_the_largest() -> None:
    net = loads(SMALL)
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
    tiny = largest_batch("inference", loads(SMALL), Setting(), 5)
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
    half = loads(re.search(r"```yaml\n(name: alexnet_one_of_two.*?)```", text, re.DOTALL)[1])
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
        (
            "fit vgg16 --memory 3GB --reserve 3GB",
            "cannot set aside 3,000,000,000 of 3,000,000,000 bytes",
        ),
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
