"""Every network of a collection against its spec: each computes what the other does."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from test_reference import checks

import archcost
from archcost.counterparts import COUNTERPARTS
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.proofs import Check
from archcost.proofs.counterparts import DIFFERENCES, build_reference
from archcost.proofs.kept import DROPS, IN_PLACE, PADS, POOLS, REASONS
from archcost.proofs.reference import without_initialisation

pytestmark = pytest.mark.torch
nn: Any = pytest.importorskip("torch", reason="PyTorch is not installed").nn


PAIRS = [(name, collection) for name, entry in COUNTERPARTS.items() for collection in entry]


def sizes(name: str) -> list[str | None]:
    """Return input sizes to try: small ones that leave the weights as they are, and the spec's."""
    own = archcost.load(name)
    found: list[str | None] = []
    for size in (64, 107):  # 107 leaves what 299 and 331 leave when it is halved again and again
        if own.input[1:] > (size, size):
            with suppress(ArchcostError):
                if weights(archcost.load(name, input=f"3x{size}x{size}")) == weights(own):
                    found.append(f"3x{size}x{size}")
    return [*found, None]


def weights(network: Network) -> list[Any]:
    return [layer.cost.params for layer in network]


def with_any_input(reference: Any, name: str) -> Any:
    """Let the last pooling of pytorchcv's network, whose window has a fixed size, be global.

    It is, on the input of the spec, if its window is as large as what the twin's pooling reads.
    """
    pool = getattr(getattr(reference, "features", None), "final_pool", None)
    if isinstance(pool, nn.AvgPool2d):
        reads = [
            layer.shapes[0][1:]
            for layer in archcost.load(name)
            if layer.op.name == "global_avgpool"
        ]
        window = pool.kernel_size
        if reads and reads[-1] == (window if isinstance(window, tuple) else (window, window)):
            reference.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return reference


def reasons(name: str, collection: str) -> set[str]:
    """Return why a counterpart may keep other bytes: no other reason is needed."""
    inside = (IN_PLACE,) if (name, collection) == ("darknet53", "pytorchcv") else ()
    known = {REASONS[kind] for kind in (POOLS, PADS, DROPS, *inside)}
    return known | {different.reason for different in DIFFERENCES.values()}


@pytest.mark.reference
@pytest.mark.sampled
@pytest.mark.parametrize(("name", "collection"), PAIRS)
def test_every_counterpart_computes_the_same(
    name: str, collection: str, torchvision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(collection, reason=f"{collection} is not installed")
    failed: list[Check] = []
    for size in sizes(name):
        network = archcost.load(name, input=size)
        with without_initialisation():  # the check replaces all weights
            twin = archcost.build(network)
        with monkeypatch.context() as patch:
            if size and collection == "pytorchcv":
                patch.setattr(
                    "archcost.proofs.reference.build_reference",
                    lambda *how: with_any_input(build_reference(*how), name),
                )
            found = checks(network, collection, twin=twin)
        assert len(found) >= 3 or not all(check.passed for check in found)
        known = [check.skipped for check in found if check.skipped]
        assert not known or (name, collection) in DIFFERENCES
        named = {reason for check in found for reason, _ in check.named}
        assert named <= reasons(name, collection)
        failed = [check for check in found if not check.passed]
        if not failed:
            break
    assert failed == []


@pytest.mark.reference
def test_a_network_of_a_collection_by_name(torchvision: Any) -> None:
    network = archcost.load("resnet20_projection")
    pytest.importorskip("pytorchcv", reason="pytorchcv is not installed")
    assert all(check.passed for check in checks(network, "pytorchcv:resnet20_cifar10"))
    with pytest.raises(
        ArchcostError, match="unknown network of timm 'resnet_18'; did you mean 'resnet18'"
    ):
        pytest.importorskip("timm", reason="timm is not installed")
        checks(network, "timm:resnet_18")


@pytest.mark.reference
def test_a_network_of_equal_size_is_not_taken_for_the_same(torchvision: Any) -> None:
    """ResNet-50 with its strides in the 1x1 convolutions has the very same parameters."""
    network = archcost.load("resnet50_v1", input="3x64x64")
    failed = [check for check in checks(network, "torchvision:resnet50") if not check.passed]
    assert failed[0].name == "torchvision:resnet50: output in eval mode"
    assert failed[0].layer == "layer2.0.body.conv1"
