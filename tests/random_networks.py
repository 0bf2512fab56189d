"""Random valid networks as spec text: small tensors, every op, every construct of the language.

A `Writer` draws item after item from a random generator and asks archcost what shape each leaves;
an item that archcost refuses is drawn again. ``draw(random.Random(seed))`` is reproducible;
``specs()`` is the same as a hypothesis strategy, which shrinks.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from hypothesis import strategies as st

from archcost.errors import ArchcostError, OpError
from archcost.network import Network
from archcost.ops import OPS, Op
from archcost.ops.arguments import REQUIRED
from archcost.ops.base import FLOAT, INT64
from archcost.ops.parametrized import PARAMETRIZATIONS
from archcost.shape import Shape, numel, show
from archcost.spec import source as yaml
from archcost.spec.catalog import expand
from archcost.spec.document import Document, read_document
from archcost.spec.expand import MERGES, Expander
from archcost.spec.scope import Scope
from archcost.spec.source import Source
from archcost.spec.values import make_divisible

Item = Any
"""What YAML holds: a call as text, a list, or a mapping."""

LARGEST_TENSOR, MOST_WEIGHTS = 2_000, 3_000
TRIES = 12
LIKELY = ("conv", "conv", "conv", "conv_transpose", "linear", "batchnorm", "relu", "maxpool")
SELDOM = (
    "attention", "class_token", "embedding", "embedding_bag", "fold", "gather", "gru", "interpolate",
    "lstm", "lstm_cell", "masked_fill", "pixel_shuffle", "pixel_unshuffle", "rnn", "rnn_cell",
    "roi_pool", "scatter", "scatter_add", "squeeze", "unfold", "where", "window_attention",
)  # fmt: skip
"""Ops that take few tensors, and so come first more often than others."""
COLLAPSING = ("adaptive", "global", "flatten")
NAMES = (
    "a", "b", "c", "d", "e", "f", "g", "h", "stem", "body", "left", "right", "skip", "pool", "gate",
    "conv1", "relu1", "1x1", "3x3", "x-y", "type", "half", "train", "forward", "weight", "plan",
)  # fmt: skip
WORDS = sorted(
    {
        word
        for op in OPS.values()
        for example in op.examples
        for word in (*example.args, *example.kwargs.values())
        if isinstance(word, str)
    }
    | {a.default for op in OPS.values() for a in op.arguments.values() if type(a.default) is str}
    | {"same", "valid", "zeros", "reflect", "replicate", "circular"}
)


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


# Text.


def to_text(spec: Item, indent: str = "") -> str:
    """Return a spec as YAML."""
    if isinstance(spec, list):
        return "".join(_entry(f"{indent}- ", item, indent + "  ") for item in spec)
    return "".join(_entry(f"{indent}{key}:", value, indent + "  ") for key, value in spec.items())


def _entry(head: str, value: Item, indent: str) -> str:
    if isinstance(value, str):
        flow = value.startswith("{") or (value.startswith("[") and "][" in value)
        return f"{head.rstrip()} {repr(value) if flow else value}\n"
    if not value:
        return f"{head.rstrip()} {'[]' if isinstance(value, list) else '{}'}\n"
    if head.endswith(":"):
        return f"{head}\n{to_text(value, indent)}"
    return head + to_text(value, indent).lstrip()  # an item's single key follows its dash


def to_node(item: Item) -> yaml.Node:
    """Return an item as the parser would read it."""
    if isinstance(item, str):
        return yaml.Scalar(item, 1, 1)
    if isinstance(item, list):
        return yaml.Sequence([to_node(i) for i in item], 1, 1)
    pairs = item.items()
    return yaml.Mapping({k: (yaml.Scalar(k, 1, 1), to_node(v)) for k, v in pairs}, 1, 1)


# Arguments.


@dataclasses.dataclass(frozen=True)
class Argument:
    """What an argument of an op accepts, found by trying."""

    name: str
    required: bool
    default: Any
    read: Callable[[str, Any], Any]

    def accepts(self, value: Any) -> bool:
        """Whether the argument takes the value, on whatever shape."""
        try:
            self.read(self.name, value)
        except OpError:
            return False
        return True

    @property
    def repeats(self) -> bool:
        """Whether it takes one value per spatial axis."""
        return self.accepts([1, 1])

    def values(self, rng: random.Random, shape: Shape) -> Iterator[Any]:
        """Yield random values of each kind that it may be."""
        axes = max(len(shape) - 1, 1)
        low = next(n for n in (-3, 0, 1, 2) if n == 2 or self.accepts(n))
        wholes = [n for n in (low, *range(max(low, 0), 4), *range(4), *range(3, 9)) if n >= low]
        yield from (flag for flag in (True, False) if self.accepts(flag))
        yield rng.choice(wholes)
        yield rng.choice(wholes)
        yield [rng.choice(wholes[:-3]) for _ in range(axes)]
        yield [[rng.randint(0, 2), rng.randint(0, 2)] for _ in range(axes)]
        channels = range(shape[0])
        yield [rng.sample(channels, rng.randint(1, min(3, shape[0]))) for _ in range(3)]
        yield [-1]
        yield rng.sample(shape, len(shape))
        yield rng.sample(range(len(shape)), len(shape))
        yield rng.sample(range(len(shape)), rng.randint(1, len(shape)))
        yield rng.choice((0.0, 0.1, 0.25, 0.5, 1.0))
        yield rng.choice(WORDS)


@cache
def arguments(op: type[Op]) -> tuple[Argument, ...]:
    """Return the arguments of an op."""
    return tuple(
        Argument(name, known.default is REQUIRED, known.default, known.read)
        for name, known in op.arguments.items()
    )


def input_types(op: type[Op]) -> list[str]:
    """Return the type of each input that an op always has."""
    fixed = isinstance(op.inputs, tuple) and op.inputs != ("*",)  # of some they follow from others
    return [op.takes(place) for place in range(len(op.inputs) if fixed else 1)]


def written(value: Any) -> str:
    """Return a value as a spec writes it."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    return repr(value)


# Networks.


@dataclasses.dataclass
class Place:
    """Where an item is written.

    Attributes:
        shape: shape of the current tensor.
        labels: the tensors that can be read by name.
        values: the numbers and words that can be read by name.
        names: what is taken in this group.
        nameless: whether names would occur twice, as in a loop.
        depth: how many lists enclose it.
        dtype: what the current tensor holds.
        typed: inputs that hold no floats, by name, with their types.
    """

    shape: Shape
    labels: dict[str, Shape] = dataclasses.field(default_factory=dict)
    values: dict[str, Any] = dataclasses.field(default_factory=dict)
    names: set[str] = dataclasses.field(default_factory=set)
    nameless: bool = False
    depth: int = 0
    dtype: str = FLOAT
    typed: dict[str, tuple[Shape, str]] = dataclasses.field(default_factory=dict)

    def inside(self, *, group: bool = True, **values: Any) -> Place:
        """Return the place of the items of a group, or of items under a condition or loop."""
        return Place(
            self.shape, dict(self.labels), self.values | values, set() if group else self.names,
            nameless=not group or self.nameless, depth=self.depth + 1, dtype=self.dtype,
            typed=self.typed,
        )  # fmt: skip


class Writer:
    """Draws one spec."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self.rng, self.counts = rng, counts
        self.left = rng.randint(4, 16)
        self.header: dict[str, Item] = {}
        self.values: dict[str, Any] = {}
        self.blocks: dict[str, Item] = {}
        self.calls: dict[str, Callable[[Place], str]] = {}
        self.defined = 0
        self.made_dtype = FLOAT
        self.document = self._read()

    def spec(self) -> dict[str, Item]:
        """Return the whole spec."""
        # every op comes first in some networks, on an input of its examples
        first = self.rng.choice(sorted(OPS)) if self.chance(0.4) else ""
        first = first or (self.rng.choice(SELDOM) if self.chance(0.3) else "")
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
        if types == [INT64]:
            self.header["input"] += f" {INT64}"
            place.labels, place.dtype = {}, INT64
        elif {*types} != {FLOAT}:
            main = len(types) - 1
            shapes = next(e.inputs for e in op.examples if e.inputs[main] == place.shape)
            columns = zip(types, shapes, strict=True)
            place.typed = {f"given{i}": (n, t) for i, (t, n) in enumerate(columns) if t != FLOAT}
            more = {name: f"{show(n)} {t}" for name, (n, t) in place.typed.items()}
            self.header["inputs"] = {"input": self.header.pop("input"), **more}

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

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

    # Asking archcost.

    def _read(self) -> Document:
        header = {"name": "random", "input": "1", "blocks": self.blocks, "layers": ["relu"]}
        return read_document(Source("random.yaml", to_text(header)))

    def ask(self, item: Item, place: Place, *, block: bool = False) -> Shape | None:
        """Return the shape that an item leaves, None if archcost refuses it or it is too large."""
        expander = Expander(self.document, self.values, aux=True)
        scope = Scope("", dict(place.values))
        given = expander.builder.input
        known = {name: (shape, FLOAT) for name, shape in place.labels.items()} | place.typed
        scope.labels = {name: given(n, f"label-{name}", t) for name, (n, t) in known.items()}
        self.counts["asked"] += 1
        try:
            after = expander.items(to_node(item), scope, given(place.shape, "given", place.dtype))
            expander.mistakes.refuse()
        except ArchcostError:
            self.counts["refused"] += 1
            return None
        for layer in expander.builder.layers:
            weights = sum(map(numel, layer.cost.params.values()))
            if numel(layer.cost.output) > LARGEST_TENSOR or weights > MOST_WEIGHTS:
                self.counts["too large"] += 1
                return None
        self.made_dtype = after.dtype
        return after.shape

    def put(self, items: list[Item], item: Item, place: Place) -> bool:
        """Write an item if archcost takes it, and move on to the tensor that it leaves."""
        shape = self.ask(item, place)
        if shape is None:
            return False
        items.append(item)
        place.shape, place.dtype = shape, self.made_dtype
        return True

    # Items.

    def chain(self, place: Place, length: int) -> list[Item]:
        """Return items one after the other; ``place`` is left where they end."""
        items: list[Item] = []
        for _ in range(length):
            if self.left <= 0:
                break
            self.item(items, place)
        return items

    def item(self, items: list[Item], place: Place) -> None:
        """Write one item of a random kind, where one is found that archcost takes."""
        self.left -= 1
        deep = place.depth > 4
        kinds: list[tuple[int, Callable[[list[Item], Place], None]]] = [(12, self.plain)]
        if not deep:
            kinds += [(3, self.condition), (1, self.loop), (2, self.repeat), (4, self.block)]
        if not place.nameless:
            kinds += [(3, self.named), (1, self.let), (1, self.take)]
        if not place.nameless and not deep:
            kinds += [(2, self.group), (14, self.merge), (2, self.aside), (3, self.cross)]
        if len(place.labels) > 1:
            kinds += [(7, self.skip)]
        weights, functions = zip(*kinds, strict=True)
        self.rng.choices(functions, weights)[0](items, place)

    def plain(self, items: list[Item], place: Place) -> None:
        """Write ``conv(4, 3)``."""
        call = self.call(place)
        if call is not None:
            self.put(items, call, place)

    def name(self, place: Place) -> str:
        """Return a name that is free in this group, and take it."""
        free = [name for name in NAMES if name not in place.names and name not in place.values]
        name = self.rng.choice(free) if free else f"n{len(place.names)}"
        place.names.add(name)
        return name

    def label(self, name: str, place: Place, shape: Shape) -> None:
        """Let later items read a tensor, if its name can stand in an expression."""
        if name.isidentifier() and place.dtype == FLOAT:
            place.labels[name] = shape

    def named(self, items: list[Item], place: Place) -> None:
        """Write ``a: conv(4, 3)``, or a block as a named group."""
        before: list[Item] = []
        (self.block if self.chance(0.3) else self.plain)(before, place.inside(group=False))
        if not before or not isinstance(before[0], str):
            return
        call = f"{before[0]} * 2" if self.chance(0.15) and " " not in before[0] else before[0]
        name = self.name(place)
        if self.put(items, {name: call}, place):
            self.label(name, place, place.shape)

    def group(self, items: list[Item], place: Place) -> None:
        """Write ``stem: [items]``."""
        inner = place.inside()
        inner.nameless = False
        body = self.chain(inner, self.rng.randint(1, 4))
        name = self.name(place)
        if body and self.put(items, {name: body}, place):
            self.label(name, place, place.shape)

    def let(self, items: list[Item], place: Place) -> None:
        """Write ``let: {w: in_channels * 2}``."""
        value = self.rng.randint(1, 8)
        name = f"v{len(place.values)}"
        if self.put(items, {"let": {name: self.whole(value, place)}}, place):
            place.values[name] = value

    def take(self, items: list[Item], place: Place) -> None:
        """Write ``take(a)``: what follows reads that tensor."""
        self.put(items, f"take({self.rng.choice(sorted(place.labels) or ['input'])})", place)

    def aside(self, items: list[Item], place: Place) -> None:
        """Write side outputs."""
        inner = place.inside()
        inner.nameless = False
        body = self.chain(inner, self.rng.randint(1, 3))
        if body:
            one = body[0] if len(body) == 1 and isinstance(body[0], str) else body
            name = self.name(place)
            shape = place.shape
            self.put(items, {"aside": {name: one}}, place)
            assert place.shape == shape

    def repeat(self, items: list[Item], place: Place) -> None:
        """Write ``conv(4, 3, padding=1) * 2``."""
        call = self.call(place, tries=3)
        if call is not None:
            times = self.rng.choice(("2", "3", "(k + 1)" if "k" in place.values else "2"))
            self.put(items, f"{call} * {times}", place)

    def test(self, place: Place) -> str:
        """Return a condition."""
        tests = [
            f"in_channels > {self.rng.randint(1, 8)}",
            f"in_channels % 2 == {self.rng.randint(0, 1)}",
            "not wide" if "wide" in place.values else "in_channels != 3 and true",
            "in_channels in [1, 2, 4, 8]",
        ]
        if "act" in place.values:
            tests.append("act == 'relu'")
        return self.rng.choice(tests)

    def condition(self, items: list[Item], place: Place) -> None:
        """Write ``relu if wide``, ``relu if wide else tanh`` or ``if wide:`` items."""
        if self.chance(0.4):
            inner = place.inside(group=False)
            body = self.chain(inner, self.rng.randint(1, 3))
            if body:
                self.put(items, {f"if {self.test(place)}": body}, place)
            return
        calls = [self.call(place) for _ in range(2)]
        if calls[0] is not None:
            other = f" else {calls[1]}" if calls[1] and self.chance(0.5) else ""
            self.put(items, f"{calls[0]} if {self.test(place)}{other}", place)

    def loop(self, items: list[Item], place: Place) -> None:
        """Write ``for w in [2, 4]:`` items."""
        wholes = [self.rng.randint(1, 8) for _ in range(4)]
        head, first = self.rng.choice(
            (
                (f"for w in {wholes[:2]}", {"w": wholes[0]}),
                ("for i in range(1, 3)", {"i": 1}),
                (f"for w, i in [{wholes[:2]}, {wholes[2:]}]", {"w": wholes[0], "i": wholes[1]}),
                (f"for i, w in enumerate({wholes[:2]}, 1)", {"i": 1, "w": wholes[0]}),
                (f"for w, i in zip({wholes[:2]}, {wholes[2:]})", {"w": wholes[0], "i": wholes[2]}),
            )
        )
        inner = place.inside(group=False, **first)
        body = self.chain(inner, self.rng.randint(1, 3))
        if body:
            self.put(items, {head: body}, place)

    # Blocks.

    def block(self, items: list[Item], place: Place) -> None:
        """Write a call of a block, which may be a new one."""
        if not self.calls or (len(self.calls) < 3 and self.chance(0.5)):
            self._define(place)
        if self.calls:
            name = self.rng.choice(sorted(self.calls))
            call = self.calls[name](place)
            if self.chance(0.2):
                call += f" * {self.rng.randint(1, 3)}"
            self.put(items, call, place)

    def _define(self, place: Place) -> None:
        """Define a block with parameters that its items use, and how to call it."""
        name = f"block{self.defined}"
        self.defined += 1
        widths, kernel = self.rng.randint(1, 8), self.rng.randint(1, 3)
        act = self.rng.choice(("relu", "tanh", "sigmoid"))
        skips = bool(place.labels) and self.chance(0.3)
        label = self.rng.choice(sorted(place.labels)) if skips else ""
        params = {"out": widths, "size": kernel, "f": act}
        inner = Place(place.shape, {}, self.values | params, depth=place.depth + 1)
        if skips:
            inner.labels["other"] = place.labels[label]
        inner.nameless = self.chance(0.3)  # a plain chain, which is spliced in
        body = self.chain(inner, self.rng.randint(1, 4))
        if not body:
            return
        other = "other, " if skips else ""
        head = f"{name}({other}out, size={kernel}, f={act})"
        self.blocks[head] = body
        self.document = self._read()

        def call(there: Place) -> str:
            tensor = f"{self.rng.choice(sorted(there.labels) or ['current'])}, " if skips else ""
            width = widths if self.chance(0.5) else self.rng.randint(1, 8)
            more = self.rng.choice(("", f", size={self.rng.randint(1, 3)}", f", {kernel}, tanh"))
            return f"{name}({tensor}{self.whole(width, there)}{more})"

        self.calls[name] = call

    # Merges.

    def merge(self, items: list[Item], place: Place) -> None:
        """Write branches from the current tensor, merged."""
        usual = ("add", "concat", "multiply")
        op = self.rng.choice(usual if self.chance(0.7) else MERGES)
        names = [self.name(place) for _ in range(3 if op in ("add", "concat") else 2)]
        names = names[: self.rng.randint(2, 3)]
        branches: dict[str, Item] = {}
        outer = place.inside()
        first = outer.inside()
        first.nameless = False
        body = self.chain(first, self.rng.randint(1, 3))
        branches[names[0]] = body or "identity"
        target, dim = first.shape, ""
        if op == "concat" and self.chance(0.4):
            axis = self.rng.randrange(-len(target), len(target))
            dim = self.rng.choice((f"(dim={axis})", f"({axis})"))
        for name in names[1:]:
            wanted = self._wanted(op, dim, target)
            branch = self._branch(outer, wanted)
            if branch is None:
                return
            branches[name] = branch
        if self.chance(0.5):
            branches = dict(reversed(branches.items()))
        if self.put(items, {op + dim: branches}, place):
            for name in names:
                inner = self.ask(branches[name], outer) if branches[name] != "identity" else None
                self.label(name, place, inner or outer.shape)

    def cross(self, items: list[Item], place: Place) -> None:
        """Write attention of the current tokens to labelled ones, as in a decoder."""
        tokens = [name for name, shape in place.labels.items() if len(shape) == 2]
        if len(place.shape) != 2 or place.dtype != FLOAT or not tokens:
            return
        heads, seen = self.rng.randint(1, 3), self.rng.choice(sorted(tokens))
        widths = [heads * self.rng.randint(1, 3) for _ in range(2)]
        before = ("", f"take({seen}) >> ", f"take({self.rng.choice([seen, 'current'])}) >> ")
        branches = {
            self.name(place): f"{own}linear({width})"
            for own, width in zip(before, (widths[0], *widths), strict=True)
        }
        self.put(items, {f"attention({heads})": branches}, place)

    def _wanted(self, op: str, dim: str, target: Shape) -> Shape:
        """Return a shape that can be merged with the first branch's."""
        if op == "multiply" and self.chance(0.6):
            return (target[0], *[1] * (len(target) - 1))
        if op == "concat" and self.chance(0.7):
            axis = int(dim.strip("()dim=")) % len(target) if dim else 0
            return (*target[:axis], self.rng.randint(1, 6), *target[axis + 1 :])
        return target

    def _branch(self, outer: Place, target: Shape) -> Item | None:
        """Return items that lead from the current tensor to one of a shape."""
        if outer.shape == target and self.chance(0.3):
            return "identity" if self.chance(0.7) else []
        inner = outer.inside()
        inner.nameless = False
        items = self.chain(inner, self.rng.randint(0, 2))
        if inner.shape != target and not self._lead(items, inner, target):
            return None
        if target[1:] and set(target[1:]) == {1} and self.chance(0.5):
            items.append("sigmoid")
        if len(items) == 1 and isinstance(items[0], str):
            return items[0]
        return items or "identity"

    def _lead(self, items: list[Item], place: Place, target: Shape) -> bool:
        """Write layers after which the current tensor has the wanted shape."""
        if len(target) == 1:
            if len(place.shape) > 1 and not self.put(items, "flatten", place):
                return False
            return self.put(items, f"linear({target[0]})", place) and place.shape == target
        if len(place.shape) != len(target):
            return False
        for _ in range(6):
            k, s, p = self.rng.randint(1, 4), self.rng.randint(1, 2), self.rng.randint(0, 2)
            call = f"conv({target[0]}, {k}, stride={s}, padding={p})"
            if self.ask(call, place) == target:
                return self.put(items, call, place)
        if set(target[1:]) == {1}:
            pool = self.rng.choice(("global_avgpool", "global_maxpool"))
        else:
            kind = self.rng.choice(("adaptive_avgpool", "adaptive_maxpool"))
            pool = f"{kind}({list(target[1:])})"
        if not self.put(items, pool, place):
            return False
        if place.shape != target:
            self.put(items, f"conv({target[0]}, 1)", place)
        return place.shape == target

    def skip(self, items: list[Item], place: Place) -> None:
        """Write a merge of labelled tensors, cropped where they are larger."""
        names = [*sorted(place.labels), "current"]
        for _ in range(TRIES):
            one, two, k = self.rng.choice(names), self.rng.choice(names), self.rng.randint(1, 3)
            call = self.rng.choice(
                (
                    f"add({one}, {two})",
                    f"concat({one}, {two})",
                    f"concat({one}, current, {two}, dim=-1)",
                    f"multiply({one}, {two})",
                    f"concat(crop({one}), current)",
                    f"add(crop({one}), current)",
                    f"multiply({one}, sigmoid({two}))",
                    f"concat(take({one}), relu({two}))",
                    f"crop({one})",
                    f"max_unpool(maxpool({one}, {k}), {one}, {k})",
                    f"max_unpool(maxpool({one}, {k}, padding=1), {one}, {k}, padding=1)",
                    f"deform_conv({one}, conv({one}, 18, 3), {k}, 3)",
                    f"concat(conv({one}, in_channels, 1), current)",
                    f"add(conv({one}, channels(current), 3, padding=1), current)",
                )
            )
            if self.put(items, call, place):
                return

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

    # Calls.

    def call(self, place: Place, tries: int = TRIES, only: str = "") -> str | None:
        """Return a call of an op, or of the one named, that archcost takes here."""
        for _ in range(tries):
            name = only or self.rng.choice(LIKELY if self.chance(0.35) else sorted(OPS))
            if not only and name.startswith(COLLAPSING) and self.chance(0.6):
                continue  # a single position leaves little to draw
            for _ in range(4):
                text = self._draw_call(name, OPS[name], place)
                if self.ask(text, place) is not None:
                    return text
        return None

    def _draw_call(self, name: str, op: type[Op], place: Place) -> str:
        if "f" in place.values and self.chance(0.15):
            return "f"  # a parameter that holds an op
        if "act" in place.values and self.chance(0.05):
            return "act()"
        given = self._arguments(op, place)
        cells = self._tensors(op, given, place)
        positional = True
        for argument in arguments(op):
            if argument.name not in given:
                positional = False
                continue
            positional = positional and self.chance(0.8)
            text = self.value(given[argument.name], place)
            cells.append(text if positional else f"{argument.name}={text}")
        return f"{name}({', '.join(cells)})" if cells or self.chance(0.1) else name

    def _tensors(self, op: type[Op], given: dict[str, Any], place: Place) -> list[str]:
        """Return the tensors that a call names; without one it reads the current tensor."""
        names = [*sorted(place.labels), "current"]
        if op.inputs == ("*",):
            most = 4 if op.least == 1 else 3
            return [self.rng.choice(names) for _ in range(self.rng.randint(op.least, most))]
        try:
            inputs = op.create((), given).inputs
        except OpError:
            return []
        count = len(inputs) if len(inputs) > 1 else int(self.chance(0.05))
        of = {FLOAT: names}
        for name, (_, dtype) in place.typed.items():
            of.setdefault(dtype, []).append(name)
        return [self.rng.choice(of.get(op.takes(i), names)) for i in range(count)]

    def _arguments(self, op: type[Op], place: Place) -> dict[str, Any]:
        """Return values for an op's arguments: those of an example, or each drawn anew."""
        given: dict[str, Any] = {}
        if self.chance(0.15):
            example = self.rng.choice(op.examples)
            names = [argument.name for argument in arguments(op)]
            given = dict(zip(names, example.args, strict=False)) | dict(example.kwargs)
            if self.chance(0.5):
                return given
        for argument in arguments(op):
            if argument.name not in given and (argument.required or self.chance(0.3)):
                drawn = [v for v in argument.values(self.rng, place.shape) if argument.accepts(v)]
                given[argument.name] = self.rng.choice(drawn) if drawn else argument.default
        self._fit(given, arguments(op), place.shape)
        return given

    def _fit(self, given: dict[str, Any], known: tuple[Argument, ...], shape: Shape) -> None:
        """Make values fit each other more often than chance would."""
        names = {argument.name: argument for argument in known}
        if "groups" in names and self.chance(0.4):
            given["groups"] = self.rng.choice([g for g in range(1, 9) if shape[0] % g == 0])
            if "out_channels" in names:
                given["out_channels"] = given["groups"] * self.rng.randint(1, 3)
        if "parametrization" in names and self.chance(0.1):
            given["parametrization"] = self.rng.choice(PARAMETRIZATIONS)
        if "output_padding" in names and self.chance(0.2):
            given["output_padding"] = 1
            given["stride"] = self.rng.randint(2, 3)
        if {"kernel_size", "padding"} <= set(names) and self.chance(0.4):
            pad = self.rng.randint(0, 2)
            given["kernel_size"], given["padding"] = 2 * pad + 1, pad
            if "dilation" in given:
                given["dilation"] = self.rng.choice((1, 1, 2, 3))
                given["padding"] = pad * given["dilation"]

    def value(self, value: Any, place: Place) -> str:
        """Return an argument's value as text: whole numbers also as expressions."""
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(self.value(v, place) for v in value) + "]"
        if isinstance(value, int) and not isinstance(value, bool):
            return self.whole(value, place)
        return repr(value)

    def whole(self, value: int, place: Place) -> str:
        """Return a whole number as text, often as an expression that archcost must evaluate."""
        named = [name for name, v in place.values.items() if type(v) is int and v == value]
        if named and self.chance(0.6):
            return self.rng.choice(named)
        if self.chance(0.7):
            return str(value)
        channels = place.shape[0]
        forms = [(f"{value} * 1", value), (f"min({value}, {value + 2})", value)]
        forms += [
            ("in_channels", channels),
            ("in_channels * 2", channels * 2),
            ("in_channels // 2", channels // 2),
            ("max(1, in_channels - 1)", max(1, channels - 1)),
            ("make_divisible(in_channels, 4)", make_divisible(channels, 4)),
            ("[1, 2, 3][1]", 2),
            ("len([1, 2, 3])", 3),
        ]
        forms += [(f"in_size[{axis}]", size) for axis, size in enumerate(place.shape[1:])]
        forms += [(f"channels({name})", shape[0]) for name, shape in place.labels.items()]
        fitting = [text for text, is_ in forms if is_ == value]
        return self.rng.choice(fitting)


# Shrinking.


def shrink(spec: dict[str, Item], fails: Callable[[dict[str, Item]], bool]) -> dict[str, Item]:
    """Return a smaller spec that still fails, by leaving out items and unwrapping groups."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(spec):
            if isinstance(candidate, dict) and candidate.get("layers") and fails(candidate):
                spec, smaller = candidate, True
                break
    return spec


def _smaller(item: Item) -> Iterator[Item]:
    """Yield an item with one part left out, or replaced by what is in it."""
    if isinstance(item, list):
        for i, one in enumerate(item):
            yield item[:i] + item[i + 1 :]
            if isinstance(one, dict):
                for value in one.values():
                    yield from _unwrapped(item, i, value)
            for part in _smaller(one):
                yield [*item[:i], part, *item[i + 1 :]]
    elif isinstance(item, dict):
        for key in item:
            yield {k: v for k, v in item.items() if k != key}
        for key, value in item.items():
            for part in _smaller(value):
                yield {**item, key: part}


def _unwrapped(items: list[Item], i: int, value: Item) -> Iterator[Item]:
    """Yield items with what the i-th holds in its place."""
    if isinstance(value, list):
        yield items[:i] + value + items[i + 1 :]
    elif isinstance(value, str):
        yield [*items[:i], value, *items[i + 1 :]]
    elif isinstance(value, dict):
        for branch in value.values():
            yield from _unwrapped(items, i, branch)
