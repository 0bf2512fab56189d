"""Deformable convolution: what it keeps and computes, and what its offsets do."""

from __future__ import annotations

from importlib import import_module
from itertools import product
from typing import Any

import pytest

from archcost.analysis.reconcile import count_operations
from archcost.analysis.training import training_step
from archcost.conventions import find_convention
from archcost.errors import ArchcostError, SpecError
from archcost.network import Network
from archcost.ops import OPS, Example
from archcost.ops.base import example
from archcost.proofs import Subject
from archcost.readings.ledger import INPUTS, SAVED
from archcost.readings.recorder import module_of
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.shape import numel
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.storage.peaks import inference_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
Torch: Any = import_module("torch_reading").Torch
pytestmark = pytest.mark.torch

OPTIONS = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
X, OFFSET, WEIGHT, BIAS, MASK = (2, 4, 5, 6), (2, 18, 5, 6), (6, 4, 3, 3), (6,), (2, 9, 5, 6)


def network(text: str) -> Network:
    return expand(read_document(Source("d.yaml", "name: d\n" + text)), "")


SPEC = """
input: 64x64x64
layers:
  - deform_conv(64, 3, padding=1):
      x: identity
      offset: conv(18, 3, padding=1)
"""


ALONE = "input: 64x64x64\nlayers: ['deform_conv(64, 3, padding=1)']"


def test_offsets_of_its_own() -> None:
    """Alone it makes them by a convolution of the same window: as many figures as of two layers."""
    alone, two = network(ALONE), network(SPEC)
    for net in (alone, two):
        assert sum(map(numel, net.params.values())) == (64 * 18 * 9 + 18) + (64 * 64 * 9 + 64)
        assert sum(layer.macs for layer in net) == 64 * 64 * 9 * 64 * (64 + 18)
    kept = [saved_for_backward(net, Setting(2, device="cpu")).total for net in (alone, two)]
    assert kept[0] == kept[1]
    steps = [training_step(net) for net in (alone, two)]
    assert (steps[0].forward, steps[0].backward) == (steps[1].forward, steps[1].backward)
    for name in ("fvcore", "torch", "profiler", "deepspeed", "ptflops_aten"):
        counts = [count_operations(net, find_convention(name)) for net in (alone, two)]
        assert counts[0] == counts[1], name


def test_counts_by_hand() -> None:
    """Two offsets for each of nine places: 64·18·9 + 18 and 64·64·9 + 64 parameters."""
    net = network(SPEC)
    assert sum(map(numel, net.params.values())) == (64 * 18 * 9 + 18) + (64 * 64 * 9 + 64)
    assert sum(layer.macs for layer in net) == 64 * 64 * 9 * 64 * (64 + 18)
    with pytest.raises(ArchcostError, match="the peak of a deformable convolution is not known"):
        inference_peak(net, Setting())
    with pytest.raises(ArchcostError, match="no deformable convolution in half precision on a CPU"):
        saved_for_backward(net, Setting(device="cpu", amp="bf16"))
    # in float32: the input and the offsets, and in lower precision for the convolution; zeros
    on_cuda = saved_for_backward(net, Setting(device="cuda", amp="bf16"))
    assert on_cuda.total == 64 * 64 * (64 * 4 + 18 * 4 + 64 * 2) + 64 * 18 * 9 * 2 + 4


@pytest.mark.parametrize(
    "shapes", [(X, OFFSET, WEIGHT, BIAS, MASK), (X, OFFSET, WEIGHT, None, None)]
)
def test_it_keeps_all_that_it_reads(shapes: tuple[Any, ...]) -> None:
    """Also zeros in place of a mask or a bias, whichever of its tensors needs a gradient."""
    for wanted in product((True, False), repeat=5):
        reading = Storages(Setting(device="cpu"), exact=False)
        pairs = list(zip(shapes, wanted, strict=True))
        mine = [s and reading.leaf(s, INPUTS, 4, needs) for s, needs in pairs]
        theirs = [s and torch.randn(s, requires_grad=needs) for s, needs in pairs]
        sizes: dict[int, int] = {}
        alive: list[Any] = []

        def keep(tensor: Any, sizes: Any = sizes, alive: Any = alive) -> Any:
            alive.append(tensor)  # so that no address is used twice
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        expected = reading.deform_conv(*mine, **OPTIONS)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            made = Torch.deform_conv(*theirs, **OPTIONS)
        assert tuple(made.shape) == expected.shape and made.stride() == expected.strides
        assert made.element_size() == expected.itemsize
        assert sum(sizes.values()) == reading.ledger.kinds[SAVED], wanted


def test_offsets_say_where_it_reads() -> None:
    """Zeros: an ordinary convolution. Whole ones: of a map that is moved. Halves: of a mean."""
    conv = torch.nn.functional.conv2d
    x, weight = torch.randn(2, 4, 7, 8), torch.randn(6, 4, 3, 3)
    offset = torch.zeros(2, 9, 2, 5, 6)
    plain = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}

    def run(moved: Any, mask: Any = None) -> Any:
        return Torch.deform_conv(x, moved.reshape(2, 18, 5, 6), weight, None, mask, **plain)

    assert torch.allclose(run(offset), conv(x, weight), atol=1e-4)
    down, right = offset.clone(), offset.clone()
    down[:, :, 0], right[:, :, 1] = 1, 1
    lower = torch.nn.functional.pad(x, (0, 0, 0, 1))[:, :, 1:]
    further = torch.nn.functional.pad(x, (0, 1))[..., 1:]
    assert torch.allclose(run(down), conv(lower, weight), atol=1e-4)
    assert torch.allclose(run(right), conv(further, weight), atol=1e-4)
    assert torch.allclose(run(right / 2), conv((x + further) / 2, weight), atol=1e-4)
    mask = torch.full((2, 9, 5, 6), 0.5)
    assert torch.allclose(run(offset, mask), conv(x, weight) / 2, atol=1e-4)


@pytest.mark.parametrize(
    "case",
    [
        example(2, 2, padding=1, x=[(2, 3, 3), (8, 4, 4)]),
        example(2, (1, 2), stride=2, groups=2, bias=False, x=[(2, 3, 4), (8, 2, 2), (4, 2, 2)]),
    ],
)
def test_gradients_are_those_of_small_steps(case: Example) -> None:
    """Of each element: projections at random do not see that two offsets change places."""
    op = OPS["deform_conv"].create(case.args, case.kwargs)
    module = module_of(torch, op, case.inputs).double()
    inputs = [torch.rand(1, *s, dtype=torch.float64, requires_grad=True) for s in case.inputs]
    assert torch.autograd.gradcheck(module, inputs)


def test_a_network_is_verified() -> None:
    from archcost.proofs.run import checks
    from archcost.pytorch import build

    net = network(SPEC.replace("64x64x64", "8x9x9").replace("deform_conv(64", "deform_conv(6"))
    subject = Subject(net, build(net), "cpu", Setting(3, device="cpu"))
    for name in ("structure", "memory", "training"):
        assert [check for check in checks(subject, name) if not check.passed] == []


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ("- o: conv(17, 3)\n  - deform_conv(input, o, 8, 3)", "offsets are 18x5x6 or a multiple of these channels, two for each of the 9 places of the kernel, in the second layer; got 17x5x6"),
        ("- o: conv(18, 3, padding=1)\n  - deform_conv(input, o, 8, 3)", "offsets are 18x5x6 or"),
        ("- o: conv(54, 3)\n  - deform_conv(input, o, 8, 3)", "4 channels are not divisible by 3 sets of offsets"),
        ("- o: conv(18, 3)\n  - deform_conv(input, o, o, 8, 3)", "the mask is 9x5x6; got 18x5x6"),
        ("- o: conv(18, 3)\n  - deform_conv(input, o, o, o, 8, 3)", "deform_conv takes 3 tensors at most; got 4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(layers: str, reason: str) -> None:
    with pytest.raises(SpecError) as refused:
        network(f"input: 4x7x8\nlayers:\n  {layers}\n")
    assert reason in str(refused.value)
