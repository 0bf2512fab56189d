"""A network: layers in execution order, each with its op, its inputs and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError, LookupFailed
from archcost.ops import Cost, Op
from archcost.published import Claim, Published
from archcost.shape import Shape, show

NETWORK_INPUT = "input"
"""The name under which layers refer to the network's input."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One op at one place.

    Attributes:
        path: dotted name, unique in the network: ``layer1.0.body.conv2``.
        op: the operator with its arguments.
        inputs: paths of the layers that it reads, or ``"input"``.
        shapes: the shapes of those inputs, without batch.
        cost: what it costs for one sample.
    """

    path: str
    op: Op
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    cost: Cost

    @property
    def settings(self) -> str:
        """The op's arguments as one table cell."""
        return self.op.settings(len(self.shapes[0]) - 1)


@dataclass(frozen=True)
class Network:
    """Layers in execution order.

    Attributes:
        name: the name under which the catalog or the file knows it.
        input: input shape without batch, channels first.
        layers: the layers, each after those that it reads.
        outputs: paths of the outputs; the first is the main one.
        title: what it is, in a line.
        paper: where it was published.
        year: when.
        published: what others print of it, as written in the spec.
        claims: what a lecture prints beside its layers.
        knobs: the values with which the spec was expanded.
        source: the file that it came from.
    """

    name: str
    input: Shape
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    title: str = ""
    paper: str = ""
    year: int | None = None
    family: str = ""
    published: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""

    def __post_init__(self) -> None:
        """Check that names are unique and that every layer reads earlier ones."""
        known = {NETWORK_INPUT}
        for layer in self.layers:
            for name in layer.inputs:
                if name not in known:
                    raise ArchcostError(
                        f"{self.name}: {layer.path} reads {name}, which comes later or never"
                    )
            if layer.path in known:
                raise ArchcostError(f"{self.name}: two layers are named {layer.path}")
            known.add(layer.path)

    def __repr__(self) -> str:
        """Return a line: its name, its input and output, and how many layers it has."""
        shapes = f"{show(self.input)} to {show(self.output)}"
        return f"<Network {self.name}: {shapes}, {len(self)} layers>"

    def __iter__(self) -> Iterator[Layer]:
        """Iterate over the layers in execution order."""
        return iter(self.layers)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    @cached_property
    def by_path(self) -> Mapping[str, Layer]:
        """Every layer by its path."""
        return MappingProxyType({layer.path: layer for layer in self.layers})

    def __getitem__(self, path: str) -> Layer:
        """Return the layer at ``path``, or raise LookupFailed with the nearest one."""
        if path not in self.by_path:
            raise LookupFailed("layer", path, self.by_path)
        return self.by_path[path]

    @cached_property
    def last_readers(self) -> Mapping[str, str]:
        """The last layer that reads each tensor; tensors that nobody reads are not in it."""
        return MappingProxyType(
            {name: layer.path for layer in self.layers for name in layer.inputs}
        )

    @property
    def output(self) -> Shape:
        """Shape of the main output, without batch."""
        main = self.outputs[0]
        return self.input if main == NETWORK_INPUT else self[main].cost.output

    def renamed(self, name: str) -> Network:
        """Return the same network under another name."""
        return replace(self, name=name)
