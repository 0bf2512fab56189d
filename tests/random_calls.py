"""Random calls of ops: their arguments, found by trying, and the tensors that they read."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from random_specs import Item, to_node, to_text

from archcost.errors import ArchcostError, OpError
from archcost.ops import OPS, Op
from archcost.ops.arguments import REQUIRED
from archcost.ops.base import FLOAT
from archcost.ops.parametrized import PARAMETRIZATIONS
from archcost.shape import Shape, numel
from archcost.spec.document import Document, read_document
from archcost.spec.expand import Expander
from archcost.spec.scope import Scope
from archcost.spec.source import Source
from archcost.spec.values import make_divisible

LARGEST_TENSOR, MOST_WEIGHTS = 2_000, 3_000
TRIES = 12
LIKELY = ("conv", "conv", "conv", "conv_transpose", "linear", "batchnorm", "relu", "maxpool")
COLLAPSING = ("adaptive", "global", "flatten")
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


class Caller:
    """Draws calls of ops that archcost takes where they stand.

    ``counts`` takes how many calls were asked for, refused, and too large.
    """

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self.rng, self.counts = rng, counts
        self.values: dict[str, Any] = {}
        self.blocks: dict[str, Item] = {}
        self.made_dtype = FLOAT
        self.document = self._read()

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return self.rng.random() < probability

    def _read(self) -> Document:
        header = {"name": "random", "input": "1", "blocks": self.blocks, "layers": ["relu"]}
        return read_document(Source("random.yaml", to_text(header)))

    def ask(self, item: Item, place: Place, *, block: bool = False) -> Shape | None:
        """Return the shape that an item leaves, None if archcost refuses it or it is too large."""
        expander = Expander(self.document, self.values, aux=True)
        scope = Scope("", dict(place.values))
        given = expander.builder.input
        known = {name: (shape, FLOAT) for name, shape in place.labels.items()} | place.typed
        known = {name: own for name, own in known.items() if len(own[0]) <= 8}  # as of an input
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
