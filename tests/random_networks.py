"""Random valid networks as spec text: small tensors, every op, every construct of the language.

A `Writer` draws item after item from a random generator and asks archcost what shape each leaves;
an item that archcost refuses is drawn again. ``draw(random.Random(seed))`` is reproducible;
``specs()`` is the same as a hypothesis strategy, which shrinks.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from random_calls import LARGEST_TENSOR, Place, input_types, written
from random_items import Items
from random_specs import Item

from archcost.network import Network
from archcost.ops import OPS
from archcost.ops.base import COMPLEX, FLOAT, INT64
from archcost.shape import Shape, numel, show
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source

SELDOM = (
    "attention", "class_token", "embedding", "embedding_bag", "expand", "fold",
    "fractional_maxpool", "gather", "gru", "gru_cell", "ifft", "imag", "interpolate", "irfft",
    "logical_and", "logical_not", "logical_or", "logical_xor", "lstm", "lstm_cell", "masked_fill",
    "matmul", "pixel_shuffle", "pixel_unshuffle", "real", "rfft", "rnn", "rnn_cell", "roi_pool",
    "scatter", "scatter_add", "squeeze", "unfold", "view_as_complex", "view_as_real", "where",
    "window_attention",
)  # fmt: skip
"""Ops that take few tensors, and so come first more often than others."""


def load_text(text: str) -> Network:
    """Return the network of a spec's text: the first variant, with the side outputs."""
    document = read_document(Source("random.yaml", text))
    variant = document.models()[0] if document.variants else ""
    return expand(document, variant, aux=True)


def specs() -> st.SearchStrategy[dict[str, Item]]:
    """Return the strategy of random specs as trees; ``to_text`` writes them."""
    return st.randoms(use_true_random=False).map(draw)


def draw(rng: random.Random, counts: Counter[str] | None = None) -> dict[str, Item]:
    """Return a random spec; ``counts`` takes how many calls were tried and refused."""
    return Writer(rng, Counter() if counts is None else counts).spec()


class Writer(Items):
    """Draws one spec."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        super().__init__(rng, counts)
        self.header: dict[str, Item] = {}

    def spec(self) -> dict[str, Item]:
        """Return the whole spec."""
        # every op comes first in some networks, on an input of its examples
        first = self.rng.choice(sorted(OPS)) if self.chance(0.4) else ""
        first = first or (self.rng.choice(SELDOM) if self.chance(0.6) else "")
        shape = self._input(first)
        self._values(shape)
        self.document = self._read()
        place = Place(shape, {"input": shape}, dict(self.values))
        if first:
            self._type(first, place)
        layers: list[Item] = []
        if first and (call := self.call(place, tries=12, only=first)):
            self.put(layers, call, place)
        layers += self.chain(place, self.left)
        if self.chance(0.3) and (head := self._head(place)):
            layers.append(head)
        blocks = {"blocks": self.blocks} if self.blocks else {}
        return {**self.header, **blocks, "layers": layers or ["identity"]}

    def _type(self, first: str, place: Place) -> None:
        """Give inputs the types that the first op takes, further ones those of an example."""
        op = OPS[first]
        types = input_types(op)
        if types in ([INT64], [COMPLEX]):
            self.header["input"] += f" {types[0]}"
            place.labels, place.dtype = {}, types[0]
        elif {*types} != {FLOAT}:
            main = len(types) - 1
            shapes = next(e.inputs for e in op.examples if e.inputs[main] == place.shape)
            columns = zip(types, shapes, strict=True)
            place.typed = {f"given{i}": (n, t) for i, (t, n) in enumerate(columns) if t != FLOAT}
            more = {name: f"{show(n)} {t}" for name, (n, t) in place.typed.items()}
            self.header["inputs"] = {"input": self.header.pop("input"), **more}

    # Header.

    def _input(self, first: str) -> Shape:
        if first:
            op = OPS[first]
            main = 0 if op.takes(0) == FLOAT else len(input_types(op)) - 1
            shapes = [example.inputs[main] for example in op.examples]
            small = [shape for shape in shapes if numel(shape) <= LARGEST_TENSOR // 2]
            if small:
                return self.rng.choice(small)
        axes = self.rng.choice((0, 1, 1, 2, 2, 2, 2, 2, 3))
        size = {0: (1, 1), 1: (1, 24), 2: (1, 12), 3: (1, 6)}[axes]
        channels = self.rng.randint(1, 8) if axes else self.rng.randint(1, 24)
        return (channels, *(self.rng.randint(*size) for _ in range(axes)))

    def _values(self, shape: Shape) -> None:
        """Write name, knobs, variants, let and input."""
        knobs: dict[str, Any] = {}
        for name in self.rng.sample(("width", "k", "act", "wide", "rows", "ratio"), 2):
            knobs[name] = {
                "width": self.rng.randint(1, 8),
                "k": self.rng.randint(1, 3),
                "act": self.rng.choice(("relu", "sigmoid", "tanh")),
                "wide": self.chance(0.5),
                "rows": [self.rng.randint(1, 8) for _ in range(self.rng.randint(1, 3))],
                "ratio": self.rng.choice((1, 2)),
            }[name]
        text = show(shape)
        if self.chance(0.2):
            knobs["channels_in"] = shape[0]
            text = "x".join(["{channels_in}", *map(str, shape[1:])])
        self.values = dict(knobs)
        if self.chance(0.25):
            chosen = self.rng.sample(sorted(knobs), 1)
            shown = {name: written(knobs[name]) for name in chosen}
            if "width" in chosen:
                knobs["width"] += 1  # the default, which the variant changes
            self.header = {"family": "random", "variants": {"first": shown, "second": {}}}
        else:
            self.header = {"name": "random"}
        self.header["input"] = text
        self.header["knobs"] = {
            name: value if isinstance(value, str) else written(value)
            for name, value in knobs.items()
        }
        if self.chance(0.2) and "width" in knobs:
            self.header["let"] = {"inner": "width * 2"}
            self.values["inner"] = self.values["width"] * 2

    def _head(self, place: Place) -> Item:
        """Return a classifier: flatten and linear layers, with a name where one is free."""
        items: list[Item] = []
        if len(place.shape) > 1:
            if self.chance(0.4) and self.put(items, "global_avgpool", place):
                pass
            if not self.put(items, "flatten", place):
                return None
        for _ in range(self.rng.randint(1, 2)):
            self.put(items, f"linear({self.rng.randint(1, 8)})", place)
        return {self.name(place): items} if items else None
