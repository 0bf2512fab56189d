"""The texts of the lectures, as tests read them."""

from __future__ import annotations

from math import prod
from pathlib import Path

from archcost.lectures import read_lecture
from archcost.network import Layer, Network
from archcost.spec.catalog import expand
from archcost.spec.source import Source

LECTURES = Path(__file__).parent / "lectures"
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(LECTURES.glob("*.txt"))}

VGG = {  # weights and biases of configurations A to E (Simonyan & Zisserman 2015, table 1)
    "A": 132_863_336, "A-LRN": 132_863_336, "B": 133_047_848, "C": 133_638_952,
    "D": 138_357_544, "E": 143_667_240,
}  # fmt: skip


def read(text: str, variant: str = "", name: str = "slide.txt", **options: object) -> Network:
    return expand(read_lecture(Source(name, text)), variant, **options)  # type: ignore[arg-type]


def lecture(name: str, variant: str = "") -> Network:
    return read(TEXTS[name], variant, f"{name}.txt")


def params(layer: Layer) -> int:
    return sum(prod(shape) for shape in layer.cost.params.values())


def total_params(network: Network) -> int:
    return sum(params(layer) for layer in network)
