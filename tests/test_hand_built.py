"""Networks that no collection has: the specs against modules written out in PyTorch."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

import torch
from hand_built import FCN, HAND_BUILT, VGG16, FastRCNN, SegNet, UNet
from hand_built_various import DETR, VARIOUS
from test_catalog import of
from test_counterparts import assert_same_cost

import archcost
from archcost import analyze, load
from archcost.counterparts import COUNTERPARTS
from archcost.proofs import Subject
from archcost.proofs.kept import DRAWS, SAVED
from archcost.proofs.reference import compare, without_initialisation
from archcost.proofs.tools import TOTAL, flop_counter_mode
from archcost.pytorch import random_inputs

pytestmark = pytest.mark.torch

BY_HAND = [pytest.param(n, marks=pytest.mark.slow) if n == "c3d" else n for n in HAND_BUILT]
"""C3D takes 11 s: `make test` compares another 3-D network, C2D, and what C3D costs and exports."""


@pytest.mark.sampled
@pytest.mark.parametrize("name", BY_HAND)
def test_a_network_computes_what_the_module_written_by_hand_does(name: str) -> None:
    """With the same weights, in float64, in both modes; the proof of check 4."""
    make, size = HAND_BUILT[name]
    knobs = {"regions": 2} if name == "fast_rcnn" else {}
    network = load(name, input=size, knobs=knobs)
    with without_initialisation():  # the comparison replaces all weights
        twin, module = archcost.build(network), make()
    found = list(compare(Subject(network, twin), "by hand", module))
    # the modules are written for what they compute: they drop nothing, and keep what they like
    found = [check for check in found if not check.name.endswith((DRAWS, SAVED))]
    assert [check for check in found if check.skipped or not check.passed] == []
    assert len(found) >= 3


def test_a_module_is_written_only_where_no_collection_has_one() -> None:
    assert not set(HAND_BUILT) & set(COUNTERPARTS)


@pytest.mark.sampled
@pytest.mark.parametrize("name", [name for name in VARIOUS if name != "crnn"])
def test_a_network_costs_what_pytorch_counts_of_the_module(name: str) -> None:
    """At the whole size; but the counter has no formula for the LSTMs of CRNN."""
    network, make = load(name), VARIOUS[name][0]
    with torch.device("meta"):
        module = make().eval()
        inputs = random_inputs(network, 1, "meta")
    total = analyze(network).total
    flops = flop_counter_mode(module, list(inputs))[TOTAL]
    params = sum(parameter.numel() for parameter in module.parameters())
    assert (total.params, 2 * total.macs) == (params, flops)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_is_the_module_above(stride: int) -> None:
    with torch.device("meta"):
        module = FCN(stride).eval()
        assert module(torch.empty(1, 3, 500, 500)).shape[1:] == load(f"fcn{stride}s").output
    assert_same_cost(load(f"fcn{stride}s"), module)


def test_unet_is_the_module_above() -> None:
    with torch.device("meta"):
        module = UNet().eval()
        assert module(torch.empty(1, 1, 572, 572)).shape[1:] == load("unet").output == (2, 388, 388)
    assert_same_cost(load("unet"), module)


def test_segnet_is_the_module_above() -> None:
    with torch.device("meta"):
        module = SegNet().eval()
        assert module(torch.empty(1, 3, 360, 480)).shape[1:] == load("segnet").output
    assert_same_cost(load("segnet"), module)


def test_the_encoder_of_segnet_has_14_7_million_parameters() -> None:
    """Badrinarayanan et al. say that dropping VGG-16's linear layers leaves 14.7M of 134M."""
    encoder = sum(of(load("segnet"), f"encoder{i}")[0] for i in range(1, 6))
    normalisation = 2 * sum(sum(widths) for widths in VGG16)
    assert encoder - normalisation == 14_714_688


@pytest.mark.parametrize("regions", [1, 64, 2000])
def test_fast_rcnn_is_the_module_above(regions: int) -> None:
    network = load("fast_rcnn", knobs={"regions": regions})
    with torch.device("meta"):
        module = FastRCNN(regions).eval()
        assert module(torch.empty(1, *network.input)).shape[1:] == network.output == (regions, 105)
    assert_same_cost(network, module)


@pytest.mark.parametrize("depth", [50, 101])
def test_detr_is_the_module_above(depth: int) -> None:
    network = load(f"detr_resnet{depth}")
    with torch.device("meta"):
        module = DETR(depth).eval()
        found = module(torch.empty(1, 3, 800, 1066))
    outputs = [network.values[name].shape for name in network.outputs]
    assert [tuple(each.shape[1:]) for each in found] == outputs == [(6, 100, 92), (6, 100, 4)]
    assert_same_cost(network, module)


def test_detr_trains_the_parameters_that_its_authors_log() -> None:
    """41,302,368: all but normalisation, the stem and the first stage, which are frozen."""
    frozen = ("*batchnorm*", "backbone.stem", "backbone.layer1")
    trained = analyze(load("detr_resnet50"), freeze=frozen).total.trainable_params
    with torch.device("meta"):
        named = DETR(50).named_parameters()
    norms = ("backbone.0", "backbone.1.", "backbone.4.", ".bn", ".downsample.1")
    own = sum(p.numel() for name, p in named if not any(part in name for part in norms))
    assert trained == own == 41_302_368
