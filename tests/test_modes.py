"""Memory in other ways to run a network, against PyTorch: autocast, recomputation, channels last."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from helpers import leaves, several
from test_choices import real_peaks

from archcost import load
from archcost.network import Network
from archcost.ops import OPS, Example, Op
from archcost.ops.base import COMPLEX
from archcost.ops.parametrized import PARAMETRIZATIONS
from archcost.proofs.memory import LARGE
from archcost.readings.recorder import module_of
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.shape import numel
from archcost.spec.catalog import catalog, expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.peaks import training_peak
from archcost.storage.saved import saved_for_backward

cpu = partial(Setting, device="cpu")


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def differences(
    net: Network, batch: int, mode: Setting, *, real: bool = True, **settings: Any
) -> dict[str, Any]:
    """Return the figures of the memory and the peaks checks that are not those of PyTorch.

    The memory check runs on real tensors under autocast; without ``real``, it is left out.
    """
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs import Subject
    from archcost.proofs.memory import memory
    from archcost.proofs.peaks import peaks
    from archcost.proofs.reference import without_initialisation
    from archcost.pytorch import build

    run = replace(mode, batch=batch, **settings)
    checks = [*peaks(Subject(net, build(net, device="meta"), "meta", run))]
    assert len(checks) == 14
    if real:
        with without_initialisation():  # no figure depends on values
            twin = build(net)
        checks += memory(Subject(net, twin, "cpu", run))
        assert len(checks) > len(net) + 14
    assert not any(check.skipped for check in checks)
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
    assert differences(load(name), batch, cpu(channels_last=True)) == {}


@pytest.mark.torch
@pytest.mark.parametrize(
    "items",
    [
        "groupnorm(2)", "groupnorm(2, affine=False)", "rmsnorm(dim=0)",
        "relu >> groupnorm(2) >> mean([0])", "parameter([5, 2]) >> linear(3)",
        "permute([2, 0, 1]) >> linear(8, dim=-1)", "permute([2, 0, 1]) >> linear(2, dim=-1)",
        "permute([1, 0, 2]) >> batchnorm >> instancenorm(affine=True, track_running_stats=True)",
    ],
)  # fmt: skip
def test_tensors_that_lie_apart_are_copied_first(items: str) -> None:
    """What is repeated, as the gradient of a sum is and a parameter for each sample, lies apart."""
    text = f"name: apart\ninput: 6x5x4\nlayers:\n  - conv(6, 1) >> {items}"
    assert differences(expand(read_document(Source("apart.yaml", text)), ""), 2, cpu()) == {}


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
    last = cpu(channels_last=True)
    # flattening copies the map, and the linear layer keeps the copy
    copied = (
        saved_for_backward(net, replace(last, batch=batch)).total
        - saved_for_backward(net, cpu(batch)).total
    )
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
    assert differences(load(name), batch, cpu(checkpoint=groups)) == {}


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
    mode = cpu(checkpoint=("group",))
    assert training_peak(net, replace(mode, batch=64)).peak.layer.startswith("group")
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
    plain, again = training_peak(net, cpu()), training_peak(net, cpu(checkpoint=("layer*.*",)))
    kept = saved_for_backward(net, cpu(checkpoint=("layer*.*",)))
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
    assert differences(load(name), 2, cpu(amp=amp)) == {}


@pytest.mark.torch
def test_autocast_with_channels_last() -> None:
    assert differences(load("mobilenet_v2"), 1, cpu(amp="bf16", channels_last=True)) == {}


SMALL_INPUT = "3x64x64"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "mode", "freeze"),
    [
        ("resnet18", cpu(amp="bf16"), ("stem*", "layer1*")),
        ("resnet18", cpu(amp="bf16", checkpoint=("layer2*",)), ()),
        ("resnet18", cpu(amp="fp16", checkpoint=("layer2.*", "layer3")), ("layer2.0*",)),
        ("convnextv2_atto", cpu(amp="bf16"), ()),  # layer norm, GRN
        ("convnext_tiny", cpu(amp="bf16"), ()),  # layer scale
        ("vit_ti_32", cpu(amp="bf16"), ()),  # class token, positions, attention
        ("segnet", cpu(amp="bf16"), ()),  # unpooling
        ("googlenet", cpu(checkpoint=("*.*",)), ()),
        ("efficientnet_b0", cpu(checkpoint=("*.*",)), ()),
        ("convnextv2_atto", cpu(checkpoint=("*.*",)), ()),
    ],
)
def test_modes_together(name: str, mode: Setting, freeze: tuple[str, ...]) -> None:
    assert differences(load(name, input=SMALL_INPUT), 2, mode, freeze=freeze) == {}


@pytest.mark.torch
@pytest.mark.parametrize("name", ["alexnet", "lenet5", "shufflenet_v1_g1", "unet"])
def test_autocast_of_local_norms_gates_and_long_skips(name: str) -> None:
    size = {"unet": "1x188x188"}.get(name)
    assert differences(load(name, input=size), 2, cpu(amp="bf16")) == {}


TURNED = """
name: net
input: 4x12x12
layers:
  - conv(8, 3)
  - last: {}
"""


@pytest.mark.torch
@pytest.mark.parametrize(
    ("last", "mode"),
    [
        ("permute([1, 2, 0]) >> grn", cpu(checkpoint=("last",))),
        ("groupnorm(2) >> relu >> global_avgpool", cpu(channels_last=True)),
        ("prelu >> conv(4, 1)", cpu()),
        ("softmax >> conv(4, 1) >> flatten >> linear(1)", cpu(channels_last=True)),
        ("logsigmoid >> flatten >> linear(1)", cpu(channels_last=True)),
        ("rrelu >> flatten >> linear(1)", cpu(channels_last=True)),
        # a gradient is summed to the size of its tensor before it is cast
        ("global_avgpool >> conv(4, 1) >> multiply(input, current)", cpu(amp="bf16")),
        # a layer that leads to no output keeps nothing when its group is computed again
        ("\n      - kept: conv(8, 1)\n      - exp\n      - take(kept)", cpu(checkpoint=("last",))),
        ("prelu(True) >> global_avgpool", cpu(channels_last=True)),
    ],
)
def test_what_came_out_some_bytes_high(last: str, mode: Setting) -> None:
    net = expand(read_document(Source("net.yaml", TURNED.format(last))), "")
    assert differences(net, 4, mode) == {}


def test_autocast_by_hand() -> None:
    net = load("resnet18")
    full, half = saved_for_backward(net, cpu()), saved_for_backward(net, cpu(amp="bf16"))
    weights = sum(
        numel(layer.cost.params["weight"]) for layer in net if layer.op.name in ("conv", "linear")
    )
    statistics = sum(2 * layer.cost.output[0] for layer in net if layer.op.name == "batchnorm")
    indices = 8 * 64 * 56 * 56
    activations = full.total - 4 * statistics - indices
    # all in half precision, but statistics and indices; a copy of every weight
    assert half.total == activations // 2 + 2 * weights + 4 * statistics + indices


SHORT = {"wavenet": "256x4000"}
"""Inputs with which a network takes less than 3 GB under autocast."""


@pytest.mark.torch
@pytest.mark.sampled(by="kind")
@pytest.mark.parametrize("name", [name for name in catalog() if name != "crnn"])  # of no known peak
def test_autocast_of_the_catalog(name: str) -> None:
    net, mode = load(name, input=SHORT.get(name)), cpu(amp="bf16")
    real = len(net) < 700 and saved_for_backward(net, replace(mode, batch=2)).total < LARGE
    assert differences(net, 2, mode, real=real) == {}


NOT_FAKED = (
    ("cpu", "bilinear"),
    ("cpu", "deform_conv"),
    ("cuda", "batchnorm"),
    ("cuda", "gru"),
    ("cuda", "gru_cell"),
    ("cuda", "index_select"),
    ("cuda", "lstm"),
    ("cuda", "lstm_cell"),
    ("cuda", "rnn"),
    ("cuda", "slice"),
    ("cuda", "sparse_conv"),
    ("cuda", "unfold"),
    ("cuda", "window_attention"),
)
"""What fake tensors of CUDA cannot run without a GPU, and no CPU runs in half precision."""

OPS_UNDER_AUTOCAST = [
    pytest.param(device, name, case, id=f"{device}-{name}-{number}")
    for device in ("cpu", "cuda")
    for name, op in OPS.items()
    for number, case in enumerate(op.examples)
    if (device, name) not in NOT_FAKED
    and not (device == "cuda" and case.kwargs.get("track_running_stats"))
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
    module = module_of(torch, op, case.inputs).train()
    for holder in module.modules():
        for key, value in holder._parameters.items():
            if value is not None:
                holder._parameters[key] = tensor(value.shape, value.dtype)
        for key, value in holder._buffers.items():
            if value is not None:
                holder._buffers[key] = tensor(value.shape, value.dtype)
    torch.set_autocast_dtype(device, torch.bfloat16)
    torch.set_autocast_enabled(device, True)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            if dtype == torch.bfloat16 and COMPLEX in (op.takes(0), op.makes):
                continue  # there is no such type
            types = {"float": dtype, COMPLEX: torch.complex64}
            kinds = [op.takes(place) for place in range(len(case.inputs))]
            with mode, torch.no_grad():
                made = module(
                    *(
                        tensor((2, *shape), types.get(kind) or getattr(torch, kind))
                        for kind, shape in zip(kinds, case.inputs, strict=True)
                    )
                )
            assert several(made)[0].dtype.itemsize == width(op, case, device, dtype.itemsize)
    finally:
        torch.set_autocast_enabled(device, False)
        torch.clear_autocast_cache()


def width(op: Op, case: Example, device: str, itemsize: int) -> int:
    """Return the bytes per element of what the op's program makes of such inputs."""
    reading = Storages(Setting(device=device, amp="bf16"), exact=False)
    reading.place_params("op", op, op.cost(*case.inputs), 4, ())
    tensors = leaves(reading, op, *((2, *shape) for shape in case.inputs), itemsize=itemsize)
    return several(reading.run_op("op", op, tensors))[0].itemsize


@pytest.mark.torch
@pytest.mark.parametrize("tail", ["relu", "linear(7)", "batchnorm"])
@pytest.mark.parametrize("branch", ["linear(5, bias=False)", "linear(5)", "relu >> linear(5)"])
def test_a_linear_layer_copies_gradients_of_rows_that_lie_apart(branch: str, tail: str) -> None:
    """So does the gradient of one of several tensors that are concatenated along the tokens."""
    items = f"  - concat:\n      a: {branch}\n      b: conv(5, 3)\n  - {tail}"
    text = f"name: apart\ninput: 5x7\nlayers:\n{items}"
    assert differences(expand(read_document(Source("apart.yaml", text)), ""), 2, cpu()) == {}


NORMED = """
name: normed
input: 4x9x9
knobs: {{how: {how}}}
shared:
  s: conv(4, 3, padding=1, parametrization=how)
layers:
  - a: conv(4, 3, padding=1, parametrization=how) >> relu
  - s >> s
  - b: conv(6, 3, padding=[[1, 0], [0, 1]], parametrization=how) >> batchnorm
  - conv_transpose(8, 3, stride=2, parametrization=how)
  - flatten
  - linear(5, parametrization=how) >> linear(3, bias=False, parametrization=how)
"""


@pytest.mark.torch
@pytest.mark.parametrize(
    "mode",
    [
        {}, {"channels_last": True}, {"amp": "bf16"}, {"freeze": ("a",)}, {"checkpoint": ("b",)},
        {"amp": "bf16", "channels_last": True},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("how", PARAMETRIZATIONS)
def test_weights_that_are_computed_before_each_use(how: str, mode: dict[str, Any]) -> None:
    net = expand(read_document(Source("normed.yaml", NORMED.format(how=how))), "")
    assert differences(net, 2, cpu(**mode)) == {}


@pytest.mark.torch
def test_a_weight_by_its_spectral_norm_by_hand() -> None:
    """One weight, its two vectors, and no products with them among the MACs; real peaks."""
    net = expand(read_document(Source("normed.yaml", NORMED.format(how="spectral_norm"))), "")
    conv, turned = net["a.conv1"], net["conv_transpose1"]
    assert {**conv.params} == {
        "bias": (4,), "parametrizations.weight.original": (4, 4, 3, 3)
    }  # fmt: skip
    assert [*conv.buffers.values()] == [(4,), (4 * 3 * 3,)]
    assert [*turned.buffers.values()] == [(8,), (6 * 3 * 3,)]
    assert conv.macs == 9 * 9 * 4 * 4 * 3 * 3
    text = (
        "input: 40\nshared:\n  s: linear(40, parametrization='spectral_norm')\nlayers: [s, relu, s]"
    )
    real_peaks(expand(read_document(Source("n.yaml", f"name: n\n{text}")), ""))
