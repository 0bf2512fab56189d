"""Networks of pointwise functions and reductions: exact figures, and memory that only a CPU shows."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import pytest
from test_memory import backward_peak, network

from archcost.analysis.parameters import count_params
from archcost.analysis.reconcile import count_operations
from archcost.conventions import find_convention
from archcost.readings.ledger import INPUTS
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.storage.peaks import training_peak

cpu = partial(Setting, device="cpu")


def figures(text: str) -> tuple[int, int]:
    """Parameters and MACs."""
    net = network(text)
    return count_params(net), count_operations(net, find_convention("macs"))


def test_a_network_for_22_electrodes_by_hand() -> None:
    """Each ELU stands where a ReLU could: it has neither parameters nor MACs."""
    text = """
name: electrodes
input: 1x22x1125
layers:
  - conv(8, [1, 64], padding='same', bias=False) >> batchnorm
  - conv(16, [22, 1], groups=8, bias=False) >> batchnorm >> elu >> avgpool([1, 4]) >> dropout
  - conv(16, [1, 16], padding='same', groups=16, bias=False) >> conv(16, 1, bias=False)
  - batchnorm >> elu >> avgpool([1, 8]) >> dropout >> flatten >> linear(4)
"""
    params = 8 * 64 + 16 + 16 * 22 + 32 + 16 * 16 + 16 * 16 + 32 + 560 * 4 + 4
    macs = 8 * 64 * 22 * 1125 + 16 * 22 * 1125 + (16 * 16 + 16 * 16) * 281 + 560 * 4
    assert figures(text) == figures(text.replace("elu", "relu")) == (params, macs)
    assert (params, macs) == (3_700, 13_214_112)


@pytest.mark.parametrize("largest", ["max([0], keepdim=True)", "amax(0, keepdim=True)"])
def test_spatial_attention_by_hand(largest: str) -> None:
    """The mean and the maximum over channels, a convolution, a gate."""
    text = """
name: attention
input: 64x56x56
layers:
  - x: identity
  - {}
  - conv(1, 7, padding=3, bias=False) >> sigmoid
  - multiply(x, current)
"""
    branches = f"concat: {{mean_map: 'mean([0], keepdim=True)', max_map: '{largest}'}}"
    nested = f"concat(mean([0], keepdim=True), {largest})"
    expected = (2 * 7 * 7, 2 * 7 * 7 * 56 * 56)
    assert figures(text.format(branches)) == figures(text.format(nested)) == expected
    assert expected == (98, 307_328)


def test_a_function_and_an_op_of_one_name_are_told_apart() -> None:
    """``max`` is the op where a layer stands and inside a merge, else Python's."""
    text = """
name: names
input: 6x8x8
layers:
  - conv(max(4, 2), min(3, 5), padding=1)
  - sum: maximum(max(0, keepdim=True), sum([0], keepdim=True))
  - min(0)
"""
    net = network(text)
    assert [layer.op.name for layer in net] == ["conv", "max", "sum", "maximum", "min"]
    assert net.layers[0].cost.output == (4, 8, 8)
    assert net.output == (8, 8)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("call", "hidden"),
    [
        ("amax([1, 2])", "backward"),  # a mask that is cast
        ("amin(0, keepdim=True)", "backward"),
        ("logsumexp([1, 2])", "forward"),  # x less its maximum
        ("logsumexp(0, keepdim=True)", "forward"),
        ("softmax", "backward"),  # the gradient of a sum lies on one element
        ("log_softmax", "backward"),
        ("permute([1, 2, 0]) >> log_softmax(1) >> square", "forward"),
        ("permute([1, 2, 0]) >> logsigmoid", "forward"),
        ("permute([1, 2, 0]) >> rrelu", "forward"),
        ("max(0)", ""),
        ("vector_norm([1, 2])", ""),
        ("vector_norm(0, 1)", ""),
        ("std(0)", ""),
        ("var(1)", ""),
        ("glu(0)", ""),
        ("alpha_dropout", ""),
    ],
)
def test_what_is_made_inside_on_a_real_cpu(call: str, hidden: str) -> None:
    """What reductions make inside, no observer of operations can see; the allocator can."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build

    net, batch = network(f"name: n\ninput: 8x32x32\nlayers:\n  - bias >> {call}"), 4
    twin, x = build(net), torch.randn(batch, *net.input)
    run = training_peak(net, cpu(batch, optimizer="sgd"))
    before = run.params + run.input
    measured = {
        "forward": backward_peak(torch, lambda: twin(x).sum()),
        "backward": backward_peak(torch, lambda: twin(x).sum().backward()),
    }
    assert {phase: run.peaks[phase].total - before for phase in measured} == measured
    observed = training_peak(net, cpu(batch, optimizer="sgd", observed=True))
    seen = {phase: observed.peaks[phase].total - before for phase in measured}
    assert [phase for phase in measured if seen[phase] < measured[phase]] == [hidden][
        : bool(hidden)
    ]


@pytest.mark.torch
@pytest.mark.parametrize("name", ["sum", "norm", "logsumexp", "log_softmax", "exp", "erf", "pow"])
def test_what_autocast_casts_first_on_cuda(name: str) -> None:
    """A sum and a norm are told the type of their result; what they read is not cast."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    case = import_module("test_primitives").CASES[name][0]
    fakes = import_module("torch._subclasses.fake_tensor")
    dispatch = import_module("torch.utils._python_dispatch")
    casts = []

    class Casts(dispatch.TorchDispatchMode):  # type: ignore[misc,name-defined]
        def __torch_dispatch__(
            self, op: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            casts.extend([op] if op is torch.ops.aten._to_copy.default else [])
            return op(*args, **(kwargs or {}))

    mode, device = fakes.FakeTensorMode(), torch.device("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        with mode, torch.no_grad(), Casts():
            empty = torch.empty(case[0][0], device="meta", dtype=torch.bfloat16)
            x = fakes.FakeTensor(mode, empty, device)
            made = getattr(import_module("torch_reading").Torch, name)(x, *case[0][1:], **case[1])
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.clear_autocast_cache()
    reading = Storages(Setting(device="cuda", amp="bf16"), exact=False)
    ran: list[Any] = []
    reading.watched, reading.ran = True, lambda row, read, outs: ran.append(row)  # type: ignore[method-assign]
    mine = getattr(reading, name)(reading.leaf(case[0][0], INPUTS, 2), *case[0][1:], **case[1])
    assert made.element_size() == mine.itemsize
    assert len(casts) == len(ran) - 1
