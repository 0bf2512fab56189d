"""Planted faults: every one is found, and its layer is named."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import planted_flow  # noqa: F401, its kinds of faults too
import pytest
from helpers import failures
from planted_faults import PLANTERS, Fault, plant

from archcost.network import Network
from archcost.proofs import Check, Subject
from archcost.proofs.run import checks
from archcost.pytorch import build
from archcost.spec.catalog import load

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_thread")]


# Planted faults.

FAULTY = {
    "alexnet_two_towers": "3x99x99",
    "resnet18": "3x48x48",
    "resnet20": "3x16x16",
    "googlenet": "3x64x64",
    "densenet40_k12": "3x16x16",
    "lenet5": None,
    "mobilenet_v3_small": "3x48x48",
    "shufflenet_v1_g3": "3x48x48",
}
SEEDS = 300
GROUPS = ("structure", "memory", "training")


@cache
def sound(name: str) -> tuple[Network, Any]:
    network = load(name, input=FAULTY[name])
    return network, build(network)


def first_failure(network: Network, twin: Any) -> Check | None:
    found = (c for group in GROUPS for c in checks(Subject(network, twin), group))
    return next((c for c in found if not c.passed), None)


def planted(seed: int) -> tuple[Network, Fault]:
    """Return the fault of a seed, in the first model of its order that has a place for it."""
    rng = random.Random(seed)
    kind = list(PLANTERS)[seed % len(PLANTERS)]
    for name in rng.sample(list(FAULTY), len(FAULTY)):
        network, twin = sound(name)
        fault = plant(rng, kind, network, twin)
        if fault is not None:
            return network, fault
    raise AssertionError(f"no model has a place for {kind}")


@pytest.mark.parametrize("name", FAULTY)
def test_a_twin_without_fault_passes(name: str) -> None:
    network, twin = sound(name)
    assert first_failure(network, twin) is None


STARTS = [
    pytest.param(start, marks=pytest.mark.slow) if start >= 100 else start
    for start in range(0, SEEDS, 20)
]
"""Numbers of the first fault of 20; `make test` plants every kind with several seeds."""


@pytest.mark.parametrize("start", STARTS)
def test_every_planted_fault_is_found_and_its_layer_named(start: int) -> None:
    for seed in range(start, start + 20):
        network, fault = planted(seed)
        found = first_failure(network, fault.twin)
        assert found is not None, (seed, network.name, fault.what, fault.path)
        assert found.layer == fault.path, (seed, network.name, fault.what, found)


def test_a_fault_is_described_with_both_values() -> None:
    from archcost.proofs.results import describe

    network = load("resnet20")
    twin = build(network)
    twin.get_submodule("stage2.0.body.conv1").stride = (1, 1)
    found = [describe(c) for c in failures(Subject(network, twin), "structure")]
    assert found[0] == (
        "stage2.0.body.conv1: output shape: expected 1x32x16x16, measured 1x32x32x32"
    )
