"""The bounds on time, the devices that they are computed for, and the records beside them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from archcost import ArchcostError, load
from archcost.cli import cli
from archcost.errors import SpecError
from archcost.hardware import (
    Device,
    check_name,
    device_entry,
    find_device,
    own_file,
    read_devices,
    vendor_devices,
    write_devices,
)
from archcost.measure.allocator import tensor_peak
from archcost.network import Layer
from archcost.ops import OPS
from archcost.performance.bounds import Precision, eager_layers, hard_bound, least_macs
from archcost.performance.proof import HALVES, half, proof_table
from archcost.performance.roofline import roofline
from archcost.setting import Setting
from archcost.spec.catalog import catalog
from archcost.spec.source import Source

SMALL = """
name: small
input: 4x8x8
layers:
  - conv(6, 3, padding=1)
  - relu
  - flatten
  - dropout
  - linear(10)
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def device(bandwidth: int = 100, **peaks: int) -> Device:
    paths = {path.replace("_", " "): peak for path, peak in peaks.items()} or {"float32": 1000}
    return Device("d", "D", 2020, 10**9, bandwidth, MappingProxyType(paths), "a test")


def on(device: Device, batch: int = 1) -> Setting:
    return Setting(batch).on(device)


def small(tmp_path: Path, text: str = SMALL) -> Any:
    (tmp_path / "small.yaml").write_text(text)
    return load(str(tmp_path / "small.yaml"))


def test_the_bounds_of_a_small_network_by_hand(tmp_path: Path) -> None:
    network, batch = small(tmp_path), 2
    # least products: 4·6 pairs of channels on 8·8 positions, and 384·10 of the linear layer
    assert 4 * 6 * 8 * 8 + 384 * 10 == 5_376
    # input 4·8·8 and output 10 per sample; 6·4·9 + 6 and 384·10 + 10 parameters
    assert 2 * (256 + 10) + 222 + 3_850 == 4_604
    hard = hard_bound(network, on(device(), batch))
    assert (hard.flops, hard.bytes) == (2 * 5_376 * batch, 4 * 4_604)
    assert (hard.seconds, hard.binds) == (Fraction(4 * 4_604, 100), "memory")
    compute = hard_bound(network, on(device(bandwidth=10**6), batch))
    assert (compute.seconds, compute.binds) == (Fraction(21_504, 1000), "compute")
    layers = eager_layers(network, on(device(), batch))
    assert {path: (w.flops, w.bytes) for path, w in layers.items()} == {
        "conv1": (2 * 2 * 64 * 6 * 4 * 9, 4 * (512 + 222 + 768)),
        "relu1": (0, 4 * (768 + 768)),
        "flatten1": (0, 0),  # a view
        "dropout1": (0, 0),  # evaluation passes it through
        "linear1": (2 * 2 * 3_840, 4 * (768 + 3_850 + 20)),
    }
    seconds = roofline(network, on(device(), batch)).eager.seconds
    assert seconds == Fraction(6_008 + 6_144 + 18_552, 100)


def test_a_training_step_by_hand(tmp_path: Path) -> None:
    # the convolution's input wants no gradient: 2 products for it, 3 for the linear layer;
    # parameters and one momentum each are read and written
    step = hard_bound(small(tmp_path), on(device(), 2), training=True)
    assert step.flops == 2 * 2 * (2 * 1_536 + 3 * 3_840)
    assert step.bytes == 4 * (2 * 256 + 2 * 4_072 + 2 * 4_072)
    assert hard_bound(small(tmp_path), on(device()), cached=10**6).bytes == 0
    attention = small(tmp_path, "name: a\ninput: 5x8\nlayers: [linear(24), attention(2)]")
    # 5·8·24 twice; two products of 2 heads · 5·5 · 4, and as many for each factor's gradient
    assert hard_bound(attention, on(device()), training=True).flops == 2 * (2 * 960 + 3 * 400)


def test_layers_of_several_kernels_by_hand(tmp_path: Path) -> None:
    text = """
name: small
input: 4x8x8
layers:
  - batchnorm
  - maxpool(2)
  - lrn(5)
  - conv(4, 2, padding='same')
  - multiply: {a: relu, b: [global_avgpool, sigmoid]}
"""
    layers = eager_layers(small(tmp_path, text), on(device()))
    sizes = {path.rpartition(".")[2]: work.bytes for path, work in layers.items()}
    assert sizes["batchnorm1"] == 4 * (256 + 4 * 4 + 256)
    assert sizes["maxpool1"] == 4 * (256 + 64) + 8 * 64  # and the indices
    # square, padded square of 8 channels, mean, scaled, base, power, quotient of two
    assert sizes["lrn1"] == 4 * ((64 + 64) + (64 + 128) + (128 + 64) + 3 * (64 + 64) + 3 * 64)
    # padded on one side first: 4·5·5
    assert sizes["conv1"] == 4 * ((64 + 100) + (100 + 4 * 4 * 4 + 4 + 64))
    assert sizes["multiply1"] == 4 * (64 + 4 + 64)  # the gate is read as it is, unexpanded


@pytest.mark.parametrize(
    ("call", "x", "least"),
    [
        (("conv", 1, 3), (1, 6), 4 + 3 - 1),  # Winograd's F(4, 3), which is known to be the least
        (("conv", 6, 3, 1, 1), (4, 8, 8), 4 * 6 * 64),
        (("conv", 96, 11, 4), (3, 227, 227), 3 * 96 * 227 * 227),  # all of the input is read
        (("conv", 8, 1, 2), (4, 9, 9), 4 * 8 * 25),  # and here a fourth
        (("conv", 6, 3, 1, 1, 1, 6), (6, 8, 8), 6 * 64),
        (("conv_transpose", 8, 2, 2), (16, 7, 5), 16 * 8 * 14 * 10),
        (("linear", 10), (384,), 3_840),
    ],
)
def test_least_products(call: tuple[Any, ...], x: tuple[int, ...], least: int) -> None:
    assert least_macs(Layer.alone(OPS[call[0]].create(call[1:], {}), x)) == least


@pytest.mark.parametrize("name", OPS)
def test_a_fast_algorithm_takes_some_but_no_more_products(name: str) -> None:
    for example in OPS[name].examples:
        op = OPS[name].create(example.args, example.kwargs)
        layer = Layer.alone(op, *example.inputs)
        assert (layer.cost.macs > 0) <= least_macs(layer) <= layer.cost.macs


def test_the_hard_bound_is_never_above_the_eager_roofline() -> None:
    for name in (
        "alexnet",
        "resnet50",
        "mobilenet_v2",
        "vit_b_16",
        "swin_t",
        "unet",
        "densenet121",
    ):
        found = roofline(load(name), Setting(4, "bfloat16").on(find_device("h100")))
        assert 0 < found.hard.seconds < found.eager.seconds


def test_float32_takes_the_paths_that_pytorch_takes() -> None:
    d = device(float32=10, tf32_tensor=80, float16=20, float16_tensor=160)
    assert (d.peak("float32"), d.peak("float32", tf32=False), d.peak("float16")) == (80, 10, 160)
    default = Precision()
    assert [default.peak(d, "float32", kind) for kind in ("conv", "linear")] == [80, 10]
    with pytest.raises(ArchcostError) as error:
        d.peak("bfloat16")
    assert str(error.value) == (
        "d has no peak for bfloat16; it has float32, tf32 tensor, float16, float16 tensor"
    )


def test_the_command_and_its_folding() -> None:
    arguments = ("roofline", "resnet50", "--gpu", "H100", "--batch", "32")
    data = json.loads(run(*arguments, "--format", "json").output)
    assert data["device"] == "h100" and len(data["layers"]) == len(load("resnet50"))
    assert sum(layer["flops"] for layer in data["layers"]) == 32 * 8_178_368_512
    lines = run(*arguments, "--depth", "1", "--format", "csv").output.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [
        "stem", "layer1", "layer2", "layer3", "layer4", "head",
    ]  # fmt: skip
    assert sum(int(line.split(",")[2]) for line in lines[1:]) == 32 * 8_178_368_512
    text = run(*arguments, "--depth", "1").output
    assert "\nhard bound " in text and "\neager roofline " in text


@pytest.fixture
def record(tmp_path: Path) -> dict[str, Any]:
    """A record as a GPU would make one; its figures are of this test."""
    network = load("resnet20")
    return {
        "schema": 1,
        "machine": {
            "device": "cuda", "name": "NVIDIA H200", "torch": "2.13", "date": "2026-01-01",
            "flags": {"cudnn.allow_tf32": False},
        },
        "measurements": [{
            "model": "resnet20", "input": [3, 32, 32], "batch": 256, "dtype": "float32",
            "status": "ok", "params": 269_722, "optimizer": "adam",
            "forward": {"q1": 2e-3, "median": 3e-3, "q3": 4e-3, "runs": 3, "fastest": 1e-3},
            "layers": {layer.path: 1e-5 for layer in network},
        }],
    }  # fmt: skip


def put(record: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    return str(path)


def test_a_record_is_put_beside(record: dict[str, Any], tmp_path: Path) -> None:
    path = put(record, tmp_path)
    arguments = ("roofline", "resnet20", "--record", path, "--batch", "256")
    data = json.loads(run(*arguments, "--format", "json").output)
    assert data["device"] == "h200" and data["measured"]["seconds"] == 3e-3
    assert data["peaks"]["convolutions"] == 67 * 10**12  # the record says that TF32 was off
    folded = run(*arguments, "--depth", "1").output
    share = data["hard_bound"]["seconds"] / 3e-3
    assert f"{share:.1%}" in folded and "3000.00" in folded and "NVIDIA H200" in folded
    error = run("roofline", "resnet20", "--record", path, "--batch", "8").exception
    assert str(error) == (
        "the record has no times of resnet20 for 3x32x32 at batch 8 in float32; "
        "it has 3x32x32 at batch 256 in float32"
    )
    record["machine"]["name"] = "NVIDIA Z1"
    error = run(
        "roofline", "resnet20", "--record", put(record, tmp_path), "--batch", "256"
    ).exception
    assert str(error) == "name a device, such as gpu h100; `archcost hardware` lists them"


def test_a_time_below_the_hard_bound_fails_the_replay(
    record: dict[str, Any], tmp_path: Path
) -> None:
    from archcost.proofs.replay import replay

    network, h200 = load("resnet20"), find_device("h200")
    record["machine"]["cache_bytes"] = 50 * 2**20
    bound = float(hard_bound(network, on(h200, 256), cached=50 * 2**20).seconds)
    for fastest, holds in ((bound * 1.001, True), (bound * 0.999, False)):
        record["measurements"][0]["forward"]["fastest"] = fastest
        checks = {c.name.partition(": ")[2]: c for c in replay(put(record, tmp_path))}
        assert checks["hard bound of a forward"].passed is holds
        assert not checks["hard bound of a forward"].skipped
    # what another calibration says does not count beside the vendor's peaks
    record["machine"]["calibration"] = device_entry(device())
    record["measurements"][0]["forward"]["fastest"] = bound * 1.001
    assert all(c.passed for c in replay(put(record, tmp_path)))
    # without the size of the cache no byte counts: batch 1 is bound by its parameters
    record["machine"] |= {"cache_bytes": None, "calibration": None}
    cold, warm = (float(hard_bound(network, on(h200), cached=n).seconds) for n in (0, 10**9))
    assert warm < cold / 2
    record["measurements"][0] |= {"batch": 1}
    record["measurements"][0]["forward"]["fastest"] = cold / 2
    assert all(c.passed for c in replay(put(record, tmp_path)))
    record["machine"]["name"] = "NVIDIA Z1"
    [skipped] = [c for c in replay(put(record, tmp_path)) if c.skipped]
    assert skipped.skipped == "no peaks are known of NVIDIA Z1"


def test_peaks_of_a_record_are_held_against_the_predicted(
    record: dict[str, Any], tmp_path: Path
) -> None:
    from archcost.proofs.replay import replay
    from archcost.storage.footprint import Footprint

    row = record["measurements"][0] | {"model": "resnet18", "input": [3, 224, 224], "batch": 128}
    row |= {"params": 11_689_512, "kernel": "foreach"}
    del row["forward"], row["layers"]
    record["measurements"] = [row]
    peak = Footprint(load("resnet18"), Setting(batch=128, optimizer="adam")).training.peak.total
    peak += 32 * 2**20  # what cuBLAS keeps on an H200
    assert peak > 2 * 2**30
    for measured, holds in (
        (round(peak / 1.019), True), (round(peak / 1.021), False),
        (round(peak / 0.991), True), (round(peak / 0.989), False),
    ):  # fmt: skip
        record["measurements"][0]["training_peak_bytes"] = measured
        [check] = [c for c in replay(put(record, tmp_path)) if c.name.endswith("adam peak")]
        assert check.passed is holds
    text = proof_table(record).render("text")
    assert f"{peak:,}" in text and "-1.10%" in text and "from 2 GiB: 1 peak of 1 model" in text
    result = run("verify", "--replay", put(record, tmp_path))
    assert result.exit_code == 1 and "-1.10%" in result.output
    del record["measurements"][0]["training_peak_bytes"]
    assert "a CPU keeps no such account" in proof_table(record).render("text")


def test_the_halves_of_the_catalog_are_stated_by_name() -> None:
    # printf vgg16 | sha256sum ends in 68, printf alexnet | sha256sum in 47
    assert [half(name) for name in ("vgg16", "alexnet", "resnet50")] == [
        HALVES[bit] for bit in (0x68 & 1, 0x47 & 1, 0xC1 & 1)
    ]
    names = catalog()
    assert 0.4 < sum(half(name) == HALVES[0] for name in names) / len(names) < 0.6


def test_workspaces_are_no_tensors() -> None:
    def alloc(address: int, size: int, name: str) -> dict[str, Any]:
        return {"action": "alloc", "addr": address, "size": size, "frames": [{"name": name}]}

    def free(address: int, size: int) -> dict[str, Any]:
        return {"action": "free_requested", "addr": address, "size": size}

    trace = [
        alloc(1, 100, "at::empty"), alloc(2, 900, "at::native::run_conv_plan(cudnnContext*)"),
        free(2, 900), alloc(3, 700, "at::cuda::getNewWorkspace()"), free(9, 50),
        alloc(4, 20, "at::empty"), free(1, 100), free(3, 700), alloc(1, 30, "at::empty"),
        {"action": "segment_map", "addr": 5, "size": 10**6},
    ]  # fmt: skip
    # 1000 before; 100 more; 50 of what was there goes, 20 come, 100 go, 30 come
    assert tensor_peak(trace, 1000) == 1100


def test_devices_are_written_as_they_are_read() -> None:
    known = vendor_devices()
    assert read_devices(Source("own", write_devices(known))) == known
    assert device_entry(known["h200"])["reports"] == "NVIDIA H200"
    kinds = {d.name for d in known.values() if d.kind == "cpu"}
    assert kinds == {"a64fx", "epyc7742", "grace"}
    # cores · units · lanes · 2 · MHz
    assert known["a64fx"].peaks["float64"] == 48 * 2 * 8 * 2 * 2200 * 10**6
    assert known["epyc7742"].peaks["float32"] == 64 * 2 * 8 * 2 * 3400 * 10**6
    assert known["k40"].peaks["float32"] == 2880 * 2 * 875 * 10**6
    for d in known.values():  # half as many bits, at least as fast
        sizes = [
            d.peaks[p]
            for p in ("float64", "float32", "tf32 tensor", "float16 tensor")
            if p in d.peaks
        ]
        assert sizes == sorted(sizes)


def test_hardware_lists_every_device() -> None:
    text, data = run("hardware").output, json.loads(run("hardware", "--format", "json").output)
    assert [entry["name"] for entry in data["devices"]] == [*vendor_devices()]
    assert all(entry["source"] for entry in data["devices"])
    assert all(name in text for name in vendor_devices())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("roofline vgg16 --gpu h10", "unknown GPU 'h10'; did you mean 'h100'?"),
        ("roofline vgg16", "name a device, such as gpu h100; `archcost hardware` lists them"),
        ("roofline vgg16 --gpu v100 --dtype bfloat16", "v100 has no peak for bfloat16; it has float64, float32, float16 tensor"),
        ("roofline vgg16 --gpu v100 --dtype bf16", "unknown dtype 'bf16'"),
        ("roofline vgg16 --gpu v100 --batch 0", "batch must be a whole number from 1 to 2,147,483,648; got 0"),
        ("roofline vgg16 --gpu v100 --depth 0", "depth must be at least 1; got 0"),
        ("roofline vgg16 --gpu v100 --record no.json", "no.json: No such file or directory"),
        ("hardware calibrate --name h100", "h100 is NVIDIA H100, SXM; give your device another name"),
        ("hardware calibrate --name 3x", "a device's name is a letter and then letters, digits, _ and -; got '3x'"),
        ("hardware calibrate --seconds 0", "a measurement runs for more than 0 and up to 60 s; got 0"),
        ("hardware calibrate --device tpu", "unknown device 'tpu'; expected cpu, cuda or cuda:N"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(arguments: str, reason: str) -> None:
    if "calibrate" in arguments:
        pytest.importorskip("torch", reason="PyTorch is not installed")
    result = run(*arguments.split())
    assert isinstance(result.exception, ArchcostError)
    assert str(result.exception).startswith(reason) and "\n" not in str(result.exception)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("peaks: {float23: 1T}", "own.yaml:1:13: d: a peak of an unknown dtype 'float23'"),
        ("kind: tpu", "own.yaml:1:11: d: kind is gpu or cpu"),
        ("report: x", "own.yaml:1:5: unknown key 'report'; did you mean 'reports'?"),
    ],
)
def test_a_wrong_file_of_devices(entry: str, reason: str) -> None:
    rest = ", title: x, year: 2020, memory: 3GB, bandwidth: 1GB, source: y"
    rest += "" if entry.startswith("peaks") else ", peaks: {float32: 1T}"
    with pytest.raises(SpecError) as error:
        read_devices(Source("own.yaml", f"d: {{{entry}{rest}}}"))
    assert str(error.value) == reason


def test_an_own_device_works_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    own_file().parent.mkdir()
    own_file().write_text(write_devices({"mine": device(float32=10**9)}).replace('"d"', '"mine"')
                          .replace("d:", "mine:", 1))  # fmt: skip
    assert find_device("mine").measured and check_name("mine") == "mine"
    text = run("roofline", "lenet5", "--gpu", "mine").output
    assert "D is calibrated: its peaks are what was reached" in text
    assert run("fit", "lenet5", "--gpu", "mine").exit_code == 0
    assert "D, calibrated" in run("hardware").output
    own_file().write_text("mine: 3")
    error = run("roofline", "lenet5", "--gpu", "mine").exception
    assert str(error) == f"{own_file()}:1:7: mine must be a mapping"
