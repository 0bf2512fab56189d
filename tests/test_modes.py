"""Memory in other ways to run a network, against PyTorch: channels last, and recomputation."""

from __future__ import annotations

from typing import Any

import pytest

from archcost import load
from archcost.analysis.mode import Mode
from archcost.network import Network

MODELS = (
    "alexnet",
    "resnet18",
    "mobilenet_v2",
    "shufflenet_v1_g3",
    "densenet121",
    "convnext_tiny",
)


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
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_channels_last(name: str, batch: int) -> None:
    assert differences(load(name), batch, Mode(channels_last=True)) == {}


@pytest.mark.torch
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("resnet18", ("layer1", "layer2", "layer3", "layer4")),
        ("resnet18", ("layer*.*",)),
        ("densenet121", ("block?",)),
        ("mobilenet_v2", ("[0-9]*",)),
        ("googlenet", ("inception*",)),
        ("vgg16", ("CONV3*",)),
        ("convnext_tiny", ("[0-9]*",)),
        ("squeezenet1_1", ("fire*",)),
    ],
)
def test_recomputed_groups(name: str, groups: tuple[str, ...], batch: int) -> None:
    assert differences(load(name), batch, Mode(checkpoint=groups)) == {}


@pytest.mark.torch
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["vgg11_bn", "resnet18", "mobilenet_v2", "densenet121"])
def test_autocast(name: str, amp: str) -> None:
    assert differences(load(name), 2, Mode(amp=amp)) == {}
