"""Networks written as specs: the same layers, the same figures, and lines that a person signs."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import random_networks

from archcost import Network, analyze, load, loads, to_spec
from archcost.errors import ArchcostError
from archcost.folding.shared import unnumbered
from archcost.folding.spec import folded_spec, loaded, matched, plain
from archcost.setting import CPU
from archcost.spec.catalog import specs_folder
from archcost.storage.footprint import Footprint

IMAGE = "3x224x224"
PAIRS = {
    "resnet50": "resnet", "vgg16_bn": "vgg", "densenet121": "densenet",
    "mobilenet_v3_large": "mobilenet_v3", "efficientnet_b0": "efficientnet",
    "convnext_tiny": "convnext", "vit_b_16": "vit", "swin_t": "swin",
}  # fmt: skip
"""Networks of torchvision, and the files in which people wrote them."""


def figures(network: Network) -> dict[str, int]:
    total, memory = analyze(network).total, Footprint(network, CPU)
    return {
        "params": total.params, "macs": total.macs, "activations": total.activations,
        "saved": memory.saved.total, "training": memory.training.peak.total,
        "inference": memory.inference.peak.total,
    }  # fmt: skip


def body_lines(family: str) -> int:
    """Return how many lines of a file of the catalog say what the network is."""
    count, inside = 0, False
    for line in (Path(specs_folder()) / f"{family}.yaml").read_text("utf-8").splitlines():
        if line[:1].strip():
            inside = line.split(":")[0] in ("let", "blocks", "layers")
        count += inside and bool(line.strip())
    return count


@pytest.mark.torch
@pytest.mark.parametrize("name", PAIRS)
def test_a_network_of_torchvision_is_written_as_a_person_would(torchvision: Any, name: str) -> None:
    source = load(f"torchvision:{name}", input=IMAGE)
    text = to_spec(source)
    ours, theirs = figures(loads(text)), figures(replace(source, holders={}))
    differ = {key for key in ours if ours[key] != theirs[key]}
    assert differ == ({"activations", "inference"} if name == "swin_t" else set())
    said = [line for line in text.splitlines() if line.startswith("#")]
    assert len(said) == len(differ)
    assert len(text.splitlines()) <= 2 * body_lines(PAIRS[name])
    assert max(map(len, text.splitlines())) <= 110


RESNET = """\
  bottleneck(width, stride=1, downsample=False):
    - add:
        body:
          - conv(width, 1, bias=False) >> batchnorm >> relu
          - conv(width, 3, stride=stride, padding=1, bias=False) >> batchnorm >> relu
          - conv(4 * width, 1, bias=False) >> batchnorm
        downsample: conv(4 * width, 1, stride=stride, bias=False) >> batchnorm if downsample
    - relu
"""


@pytest.mark.torch
def test_blocks_have_parameters_for_what_differs(torchvision: Any) -> None:
    text = to_spec("torchvision:resnet50", input=IMAGE)
    assert RESNET in text
    line = "  - layer2: bottleneck(128, stride=2, downsample=True) >> bottleneck(128) * 3\n"
    assert line in text


# Every network that a spec says.


def same_again(network: Network) -> str:
    """Return a network as a spec, whose layers are checked to be the same."""
    text = folded_spec(network)
    source = plain(unnumbered(network))
    made = loaded(text)
    names = matched(source, made)
    assert [names[name] for name in source.outputs] == [*made.outputs]
    return text


def drawn(seed: int) -> Network:
    """Return a random network; a spec that is refused is drawn again."""
    rng = random.Random(seed)
    while True:
        try:
            return random_networks.load_text(random_networks.to_text(random_networks.draw(rng)))
        except ArchcostError:
            continue


@pytest.mark.parametrize("seed", range(150))
def test_a_random_network_comes_back(seed: int) -> None:
    same_again(drawn(seed))
