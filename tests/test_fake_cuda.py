"""Bytes kept for backward on CUDA, without a GPU: on fake tensors of a CUDA build of PyTorch.

`make fake-cuda` sets up such a build and runs this file; elsewhere it is skipped.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from archcost.network import Network
from archcost.proofs.memory import Kept, kept_storages
from archcost.proofs.watch import fake_copy, training_batch
from archcost.pytorch import build
from archcost.setting import Setting
from archcost.spec.catalog import catalog, load
from archcost.storage.saved import saved_for_backward

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
if torch.version.cuda is None:
    pytest.skip("this is a CPU build of PyTorch", allow_module_level=True)
pytestmark = pytest.mark.torch


def kept_on_fake_cuda(network: Network, batch: int, dtype: Any) -> Kept:
    fake = import_module("torch._subclasses.fake_tensor").FakeTensorMode()
    twin = fake_copy(build(network, device="meta", dtype=dtype), fake, "cuda").train()
    with fake:
        x = torch.empty(batch, *network.input, dtype=dtype, device="cuda")
        return kept_storages(network, twin, x)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", catalog())
def test_the_rules_for_cuda_are_those_of_pytorch(name: str, dtype: str) -> None:
    network = load(name)
    if any(layer.cost.fused for layer in network):
        pytest.skip("without a GPU, PyTorch does not choose fused attention")
    batch, _ = training_batch(network, 2)
    expected = saved_for_backward(network, Setting(batch, dtype, "cuda"))
    kept = kept_on_fake_cuda(network, batch, getattr(torch, dtype))
    assert kept.error is None
    measured = {owner: sum(sizes.values()) for owner, sizes in kept.sizes.items()}
    assert measured == expected.by_owner
