"""Peaks of memory: by hand, against every storage that PyTorch makes, and on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import pytest
from helpers import around, peak_is_known

from archcost import load
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops import OPS
from archcost.ops.base import Example
from archcost.optimizers import KERNELS, OPTIMIZERS
from archcost.primitives import PRIMITIVES, Primitive, Row
from archcost.readings.ledger import Peak
from archcost.readings.storages import Storages
from archcost.setting import CUDA_BLOCK, Setting
from archcost.shape import numel
from archcost.spec.catalog import catalog, documents, expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.peaks import inference_peak, training_peak
from archcost.storage.saved import saved_for_backward

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
@pytest.mark.sampled(by="kind")
@pytest.mark.parametrize(("name", "batch"), [*zip(catalog(), cycle((2, 1, 8)), strict=False)])
def test_peaks_of_the_catalog(name: str, batch: int) -> None:
    """Three batches in turn, so that most families are seen with each."""
    checks = checked(load(name), batch)
    assert {c.name: (c.expected, c.measured) for c in checks if not c.passed} == {}


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


TWICE = """
name: twice
input: 6x9
shared:
  s: linear(9)
layers:
  - x: scale
  - a: {how} >> tanh
  - b: take(x) >> {how} >> exp
  - c: take(x) >> {how} >> sigmoid
  - add(a, b, c) >> tanh
"""


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 50])
@pytest.mark.parametrize("how", ["s", "linear(3)", "permute([1, 0])", "s >> relu >> s"])
def test_a_gradient_that_is_a_view_is_not_added_to_in_place(how: str, batch: int) -> None:
    """It holds the tensor that it is one of: of a turned weight, of rows, of what is permuted."""
    from test_choices import real_peaks

    real_peaks(network(TWICE.format(how=how)), batch)


REGIONS = """
name: regions
input: 4x9x8
layers:
  - x: conv(6, 3, padding=1)
  - regions: roi_pool({}, [2, 3]) >> flatten(1) >> linear(5) >> tanh >> flatten >> linear(3)
"""
BESIDE = """  - rest: take(x) >> relu >> flatten >> linear(3)
  - add(regions, rest)
"""


@pytest.mark.parametrize("beside", ["", BESIDE], ids=["alone", "beside"])
@pytest.mark.parametrize("regions", [2, 3, 4, 5, 90])
@pytest.mark.parametrize(
    "options",
    [{}, {"observed": True}, {"channels_last": True}, {"amp": "bf16"}, {"device": "cuda"},
     {"checkpoint": ("regions*",)}],
)  # fmt: skip
def test_equal_calls_that_run_as_one_are_those_that_run_one_by_one(
    monkeypatch: pytest.MonkeyPatch, regions: int, beside: str, options: dict[str, Any]
) -> None:
    net = network(REGIONS.format(regions) + beside)
    setting = Setting(3, **{"device": "cpu", **options})
    together = training_peak(net, setting), inference_peak(net, setting)
    monkeypatch.setattr(Storages, "watched", True)
    assert (training_peak(net, setting), inference_peak(net, setting)) == together


def test_two_thousand_regions_take_the_operations_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    run = Storages.call

    def noted(F: Storages, primitive: Primitive, *args: Any, **options: Any) -> Any:
        calls.append(primitive.name)
        return run(F, primitive, *args, **options)

    monkeypatch.setattr(Storages, "call", noted)
    training_peak(network(REGIONS.format(2_000)), cpu(3))
    assert calls.count("adaptive_max_pool") == 3


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
