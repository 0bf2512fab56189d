"""Memory in other ways to run a network, against PyTorch: autocast, recomputation, channels last."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from archcost import load
from archcost.errors import ArchcostError
from archcost.memory.mode import Mode
from archcost.memory.peaks import training_peak
from archcost.memory.saved import saved_for_backward
from archcost.network import Network
from archcost.ops import OPS
from archcost.ops.base import LOWER, Example
from archcost.shape import numel
from archcost.spec.catalog import catalog, expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.verify.memory import LARGE


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def differences(net: Network, batch: int, mode: Mode, **settings: Any) -> dict[str, Any]:
    """Return the figures of the memory and the peaks checks that are not those of PyTorch."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.torch_twin import build
    from archcost.verify import Subject
    from archcost.verify.memory import memory
    from archcost.verify.peaks import peaks

    checks = [
        *memory(Subject(net, build(net), "cpu", batch, mode=mode, **settings)),
        *peaks(Subject(net, build(net, device="meta"), "meta", batch, mode=mode, **settings)),
    ]
    assert len(checks) > len(net) + 14 and not any(check.skipped for check in checks)
    return {f"{c.name} {c.layer}": (c.expected, c.measured) for c in checks if not c.passed}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("resnet18", 1), ("shufflenet_v1_g3", 3), slow("alexnet", 3), slow("mobilenet_v2", 1),
        slow("densenet121", 1), slow("convnext_tiny", 3),
    ],
)  # fmt: skip
def test_channels_last(name: str, batch: int) -> None:
    assert differences(load(name), batch, Mode(channels_last=True)) == {}


FLAT = """
name: flat
input: 4x6x6
layers:
  - conv(8, 3, padding=1)
  - relu
  - flatten
  - linear(5)
"""


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 3])
def test_channels_last_by_hand(batch: int) -> None:
    net = expand(read_document(Source("flat.yaml", FLAT)), "")
    last = Mode(channels_last=True)
    # flattening copies the map, and the linear layer keeps the copy
    copied = saved_for_backward(net, batch, mode=last).total - saved_for_backward(net, batch).total
    assert copied == 8 * 6 * 6 * batch * 4
    assert differences(net, batch, last) == {}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "groups", "batch"),
    [
        ("resnet18", ("layer1", "layer2", "layer3", "layer4"), 3),
        ("resnet18", ("layer*.*",), 1),
        ("convnext_tiny", ("[0-9]*",), 1),
        slow("densenet121", ("block?",), 3),
        slow("swin_t", ("stage*.*",), 1),
        slow("mobilenet_v2", ("[0-9]*",), 3),
        slow("googlenet", ("inception*",), 1),
        slow("vgg16", ("CONV3*",), 3),
        slow("squeezenet1_1", ("fire*",), 3),
    ],
)
def test_recomputed_groups(name: str, groups: tuple[str, ...], batch: int) -> None:
    assert differences(load(name), batch, Mode(checkpoint=groups)) == {}


@pytest.mark.torch
@pytest.mark.parametrize(
    "last",
    [
        "relu",
        "conv(8, 3, padding=1)",
        "batchnorm",
        "dropout(0.5)",
        "maxpool(1)",
        "identity",
        "stochastic_depth(0.5)",
        "rescale(2)",
        "scale",
        "grn",
        "lrn",
        "permute([1, 0, 2])",
        "layernorm(dim=0)",
        "groupnorm(2)",
        "channel_shuffle(2)",
        "linear(6, dim=-1)",
    ],
)
def test_how_far_a_group_is_computed_again(last: str) -> None:
    """Up to its last operation that needs something: with it, if that is what it makes."""
    text = GROUP.format(last)
    net = expand(read_document(Source("group.yaml", text)), "")
    mode = Mode(checkpoint=("group",))
    assert training_peak(net, 64, mode=mode).peak.layer.startswith("group")
    assert differences(net, 64, mode) == {}


GROUP = """
name: net
input: 4x6x6
layers:
  - conv(8, 3, padding=1)
  - group:
      - conv(8, 3, padding=1)
      - sigmoid
      - gelu
      - {}
  - global_avgpool
"""


def test_recomputed_groups_by_hand() -> None:
    net = load("resnet18")
    plain, again = training_peak(net), training_peak(net, mode=Mode(checkpoint=("layer*.*",)))
    kept = saved_for_backward(net, mode=Mode(checkpoint=("layer*.*",)))
    assert again.saved == kept.total < plain.saved
    assert again.peak.total < plain.peak.total
    # blocks keep their inputs: the stem's output twice in a row, and each block's to the next
    inputs = {storage.owner for storage in kept.storages if storage.savers[-1] == "layer2.0"}
    assert inputs == {"layer1.1.relu1"}


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "amp"),
    [
        ("resnet18", "bf16"), ("squeezenet1_1", "fp16"), ("shufflenet_v1_g3", "bf16"),
        slow("densenet121", "fp16"), slow("vgg11_bn", "fp16"),
    ],
)  # fmt: skip
def test_autocast(name: str, amp: str) -> None:
    assert differences(load(name), 2, Mode(amp=amp)) == {}


@pytest.mark.torch
def test_autocast_with_channels_last() -> None:
    assert differences(load("mobilenet_v2"), 1, Mode(amp="bf16", channels_last=True)) == {}


def test_autocast_by_hand() -> None:
    net = load("resnet18")
    full, half = saved_for_backward(net), saved_for_backward(net, mode=Mode(amp="bf16"))
    weights = sum(
        numel(layer.cost.params["weight"]) for layer in net if layer.op.name in ("conv", "linear")
    )
    statistics = sum(2 * layer.cost.output[0] for layer in net if layer.op.name == "batchnorm")
    indices = 8 * 64 * 56 * 56
    activations = full.total - 4 * statistics - indices
    # all in half precision, but statistics and indices; a copy of every weight
    assert half.total == activations // 2 + 2 * weights + 4 * statistics + indices


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("name", catalog())
def test_autocast_of_the_catalog(name: str) -> None:
    net = load(name)
    if len(net) > 700:
        pytest.skip("takes minutes")
    mode = Mode(amp="bf16")
    try:
        training_peak(net, 2, mode=mode)
    except ArchcostError as unknown:
        pytest.skip(str(unknown))
    if saved_for_backward(net, 2, mode=mode).total > LARGE:
        pytest.skip("takes minutes: under autocast nothing can be faked")
    assert differences(net, 2, mode) == {}


NOT_FAKED = (("cuda", "batchnorm"), ("cuda", "slice"))
"""What fake tensors of CUDA cannot run without a GPU."""

OPS_UNDER_AUTOCAST = [
    pytest.param(device, name, case, id=f"{device}-{name}-{number}")
    for device in ("cpu", "cuda")
    for name, op in OPS.items()
    for number, case in enumerate(op.examples)
    if op.autocast and (device, name) not in NOT_FAKED
]


@pytest.mark.torch
@pytest.mark.parametrize(("device", "name", "case"), OPS_UNDER_AUTOCAST)
def test_types_under_autocast(device: str, name: str, case: Example) -> None:
    """Also CUDA's, which chooses types by a table of its own, without a GPU."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    fake = importlib.import_module("torch._subclasses.fake_tensor")
    mode = fake.FakeTensorMode()

    def tensor(shape: Any, dtype: Any) -> Any:
        return fake.FakeTensor(
            mode, torch.empty(shape, device="meta", dtype=dtype), torch.device(device)
        )

    op = OPS[name].create(list(case.args), dict(case.kwargs))
    rule = op.under_autocast(*case.inputs)
    module = op.build(torch, *case.inputs).train()
    for holder in module.modules():
        for key, value in holder._parameters.items():
            if value is not None:
                holder._parameters[key] = tensor(value.shape, value.dtype)
        for key, value in holder._buffers.items():
            holder._buffers[key] = tensor(value.shape, value.dtype)
    torch.set_autocast_dtype(device, torch.bfloat16)
    torch.set_autocast_enabled(device, True)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            with mode, torch.no_grad():
                made = module(*(tensor((2, *shape), dtype) for shape in case.inputs)).dtype
            if rule is not None:
                assert made == (torch.bfloat16 if rule == LOWER else dtype)
    finally:
        torch.set_autocast_enabled(device, False)
        torch.clear_autocast_cache()
