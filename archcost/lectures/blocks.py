"""From the columns of a residual table to networks: blocks with their shortcuts, and claims.

Batch normalisation follows each convolution, in place of a bias; a shortcut is the identity, or a
1x1 convolution where the block changes the shape (the paper's option B). A stage reaches its
printed output size by the stride of its first block. A bottleneck has it in its 3x3 convolution, as
in torchvision and the catalog; the knob ``v1`` puts it into the first 1x1, as the paper does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from archcost.lectures.build import assumed_input
from archcost.lectures.grid import Line, name_of, nodes
from archcost.network import NETWORK_INPUT
from archcost.published import Claim, Published
from archcost.shape import show
from archcost.spec.document import Document
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source

IMAGE = 224


class Conv(NamedTuple):
    """A printed convolution."""

    kernel: int
    width: int
    stride: int = 1
    groups: int = 1


class Block(NamedTuple):
    """The convolutions of a block, and how often it repeats."""

    convs: tuple[Conv, ...]
    times: int


class Part(NamedTuple):
    """A layer or the blocks of a stage: its kind, what is printed of it, and its place."""

    kind: str
    what: Conv | Block | tuple[int, ...]
    line: int
    column: int


class Stage(NamedTuple):
    """What a network has under one layer name; ``output`` is empty where no size is printed."""

    name: str
    line: int
    column: int
    output: str
    parts: list[Part]


@dataclass
class ResidualNetwork:
    """Builds the network of one column: its ``items`` in the spec language, its ``claims``."""

    source: Source
    header: Line
    column: int
    stages: list[Stage]

    def __post_init__(self) -> None:
        """Build."""
        self.items: list[Node] = []
        self.claims: list[Claim] = []
        self.strided: list[str] = []
        self.bottlenecks = self.blocks = False
        self.channels = 3
        self.size = self._input()
        self.input = (self.size, self.size, 3)
        for stage in self.stages:
            self._stage(stage)
        self._assumed()

    @property
    def name(self) -> str:
        """The column's name as printed."""
        return self.header.text

    def _claim(self, path: str, quantity: str, printed: str, note: str = "", line: int = 0) -> None:
        line = line or self.header.number
        self.claims.append(Claim(path, quantity, printed, line, note, self.name, self.column))

    def _input(self) -> int:
        """Return the height of the input: the first output, times the first stride."""
        first = self.stages[0]
        part = first.parts[0]
        if first.output and isinstance(part.what, Conv):
            return _sizes(first.output)[0] * part.what.stride
        return IMAGE

    def _assumed(self) -> None:
        self._claim(NETWORK_INPUT, "input", "", assumed_input(self.input).note)
        if not self.blocks:
            return
        note = (
            "not printed, and taken: batch normalisation after each convolution, in place of its "
            "bias; shortcuts that are identities, or 1x1 convolutions where the shape changes"
        )
        if self.strided:
            where = "the first convolution"
            if self.bottlenecks:
                where = (
                    "the 3x3 convolution; --set v1=true puts it in the first 1x1, as the paper has "
                    "it"
                )
            note += f"; stride 2 of {', '.join(self.strided)} in {where}"
        self._claim("", "block", "", note)

    # Items.

    def _stage(self, stage: Stage) -> None:
        if stage.name == "head":
            self._head(stage)
            return
        items: list[Any] = []
        number = 0
        for part in stage.parts:
            match part.what:
                case Block(convs, times):
                    for again in range(times):
                        number += 1
                        name = f"{stage.name.removesuffix('_x')}_{number}"
                        items.append({name: self._block(name, convs, stage, again == 0)})
                case Conv() as conv:
                    items += [_convolution(conv, str(conv.stride)), "relu"]
                    self.size, self.channels = -(-self.size // conv.stride), conv.width
                case _:
                    kernel, stride = part.what[0], part.what[1] or 2
                    items.append(f"maxpool({kernel}, stride={stride}, padding={kernel // 2})")
                    self.size = -(-self.size // stride)
        self.items.append(nodes({stage.name: items}, stage.line, stage.column))
        if stage.output:
            self._claim(stage.name, "output", stage.output, line=stage.line)

    def _block(self, name: str, convs: tuple[Conv, ...], stage: Stage, first: bool) -> list[Any]:
        stride = self._stride(stage) if first else 1
        self.blocks = True
        bottleneck = len(convs) == 3
        self.bottlenecks |= bottleneck
        width = convs[-1].width
        body: list[str] = []
        for index, conv in enumerate(convs):
            moved = str(stride if index == 0 else 1)
            if bottleneck and stride > 1 and index < 2:
                moved = f"{stride} if v1 else 1" if index == 0 else f"1 if v1 else {stride}"
            body += [*(["relu"] if index else []), _convolution(conv, moved)]
        shortcut = "identity"
        if stride > 1 or width != self.channels:
            shortcut = _convolution(Conv(1, width), str(stride))
        if stride > 1:
            self.strided.append(name)
        self.channels = width
        self.size = -(-self.size // stride)
        return [{"add": {"body": body, "shortcut": shortcut}}, "relu"]

    def _stride(self, stage: Stage) -> int:
        """Return the stride with which a stage reaches its printed size."""
        pooled = any(part.kind == "pool" for part in stage.parts)
        usual = 2 if self.blocks and not pooled else 1
        if not stage.output:
            return usual
        target = _sizes(stage.output)[0]
        fitting = [s for s in (1, 2, 3, 4) if -(-self.size // s) == target]
        return fitting[0] if fitting else usual

    def _head(self, stage: Stage) -> None:
        for part in stage.parts:
            items = {"average": ["global_avgpool", "flatten"], "softmax": ["softmax"]}
            numbers = part.what if isinstance(part.what, tuple) else ()
            made = items.get(part.kind) or [f"linear({max(numbers)})"]
            self.items += [nodes(item, part.line, part.column) for item in made]
        if stage.output and stage.parts[0].kind == "average":
            self._claim("global_avgpool1", "output", stage.output, line=stage.line)


def _convolution(conv: Conv, stride: str) -> str:
    pad = f", padding={conv.kernel // 2}" if conv.kernel > 1 else ""
    groups = f", groups={conv.groups}" if conv.groups > 1 else ""
    moved = f", stride={stride}" if stride != "1" else ""
    call = f"conv({conv.width}, {conv.kernel}{moved}{pad}{groups}, bias=False)"
    return f"{call} >> batchnorm"


def _sizes(text: str) -> list[int]:
    return [int(size) for size in text.split("x")]


def document(
    source: Source, networks: list[ResidualNetwork], published: list[Published]
) -> Document:
    """Return the document of a table: a variant for each column, under its name."""
    items: list[Node] = []
    variants: dict[str, tuple[dict[str, Any], dict[str, Scalar]]] = {}
    line = networks[0].header.number
    for network in networks:
        name, column = network.name, network.column
        title = Scalar(f"{name_of(source)}, column {name}", line, column)
        header = {"input": _shape(network), "title": title}
        variants[name] = ({"column": name}, header)
        key = Scalar(f"if column == {name!r}", line, column)
        body = Sequence(network.items, line, column)
        items.append(Mapping({key.text: (key, body)}, line, column))
    why = {"the stride in the first 1x1 convolution, as the paper has it": "macs(this(v1=true))"}
    strided = {network.name for network in networks if network.bottlenecks and network.strided}
    return Document(
        source, name_of(source), True, {"input": _shape(networks[0])},
        {"v1": False} if strided else {}, variants, {}, {}, Sequence(items, line, 1),
        published=[
            replace(row, slips=why) if row.model in strided and "macs" in row.figures else row
            for row in published
        ],
        claims=[claim for network in networks for claim in network.claims],
        variant_required=True,
        aliases={other: name for name in variants for other in _aliases(name)},
    )  # fmt: skip


def _aliases(name: str) -> list[str]:
    """Return other names of a column: resnet50 and 50 for both 50-layer and ResNet-50."""
    number = re.search(r"\d+", name)
    short = re.sub(r"[^a-z0-9]", "", name.lower())
    if number is None:
        return [short]
    layers = re.fullmatch(r"\d+layers?", short)
    return [f"resnet{number[0]}", number[0]] if layers else [short, number[0]]


def _shape(network: ResidualNetwork) -> Scalar:
    height, width, channels = network.input
    shape = (channels, height, width)
    return Scalar(show(shape), network.header.number, network.column)
