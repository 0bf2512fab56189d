"""Nodes and tensors of an ONNX graph, as the table of its ops sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from archcost.errors import ArchcostError
from archcost.importers.seen import BUFFER, CONSTANT, PARAMETER, Seen
from archcost.shape import Shape

if TYPE_CHECKING:
    from archcost.importers.onnx_graph import Graph

onnx: Any = import_module("onnx")

QUANTISED = ("int4", "uint4", "int8", "uint8", "float8e4m3fn", "float8e5m2", "int2", "uint2")


class Refused(ArchcostError):
    """What an ONNX file holds and archcost does not price, by the name of the node."""


@dataclass(slots=True)
class Known:
    """A tensor of the graph.

    Attributes:
        seen: how calls see it.
        elem: its ONNX type.
        value: where it is folded.
        source: why there is no value.
        inside: where a fixed batch is divided out, the rows that go before it in its dimension.
    """

    seen: Seen
    elem: int
    value: Any = None
    source: str = ""
    inside: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """With the batch."""
        return self.seen.shape

    @property
    def is_static(self) -> bool:
        """Whether it depends on no input."""
        return self.seen.kind in (PARAMETER, BUFFER, CONSTANT)


@dataclass
class Node:
    """A node as the table of ops sees it.

    Attributes:
        graph: what is walked.
        proto: the node in the file.
        op: its name.
        version: the opset by which it is read.
        inputs: its tensors, None for one that is left out.
        outs: the shapes and types of its outputs.
        made: its outputs, once it is priced.
        inside: of what it makes, where that is not as in its inputs.
    """

    graph: Graph
    proto: Any
    op: str
    version: int
    inputs: list[Known | None]
    outs: list[tuple[Shape, int]] = field(default_factory=list)
    made: list[Known | None] = field(default_factory=list)
    inside: int = 0

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.proto.name or next(filter(None, self.proto.output), "a node without a name")

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute; text as text, tensors as arrays."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                found = onnx.helper.get_attribute_value(attribute)
                if isinstance(found, bytes):
                    return found.decode("utf-8", "replace")
                return list(found) if isinstance(found, Sequence) else found
        return default

    def given(self, place: int) -> Known | None:
        """Return an input, None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    @property
    def x(self) -> Known:
        """The first input."""
        found = self.given(0)
        if found is None:
            raise self.refused("has no input")
        return found

    def number(self, place: int, default: Any = None) -> Any:
        """Return the value of an input that must be a constant, as numbers or a list of them."""
        known = self.given(place)
        if known is None:
            return default
        if known.value is None:
            why = f"; {known.source}" if known.source else ""
            raise self.refused(f"reads {self.proto.input[place]!r}, which data decide{why}")
        return known.value.tolist()

    def sizes(self, place: int, attribute: str, default: Any = None) -> Any:
        """Return a list that is an attribute in older opsets, and an input in newer ones."""
        listed = self.attr(attribute)
        found = listed if listed is not None else self.number(place, default)
        return [found] if isinstance(found, (int, float)) else found

    def call(self, function: str, *args: Any, **kwargs: Any) -> None:
        """Price the node as a function of PyTorch."""
        self.made = [*self.graph.emit(self, function, args, kwargs, self.outs)]

    def step(self, function: str, shape: Sequence[int], *args: Any, **kwargs: Any) -> Known:
        """Price a part of the node as a function of PyTorch; return what it makes."""
        outs = [(tuple(shape), self.outs[0][1])]
        return self.graph.emit(self, function, args, kwargs, outs, part=True)[0]

    def beside(self, function: str, outs: Sequence[tuple[Shape, int]]) -> None:
        """Price further outputs as new tensors that a function makes of the first input."""
        if outs:
            made = tuple(self.graph.empty(*out) for out in outs)
            given = {"made": made}
            self.made += self.graph.emit(self, function, (self.x,), given, outs, part=True)

    def pass_on(self, known: Known | None = None) -> None:
        """Give the first input as the output: no layer."""
        self.made = [known or self.x]

    def refused(self, reason: object) -> Refused:
        """Return why the node has no price."""
        return Refused(f"{self.graph.name}: {self.label}: {self.op} {reason}")


def type_name(elem: int) -> str:
    """Return the name of one of ONNX's types."""
    return str(onnx.TensorProto.DataType.Name(elem)).lower()


def seen_type(dtype: str) -> str:
    """Return how calls see an ONNX type: what is quantised stands for the numbers that it is."""
    floats = dtype.startswith(("float", "bfloat", "double", "complex")) or dtype in QUANTISED
    return "float32" if floats else "int64"


def is_known(kind: Any) -> bool:
    """Whether ONNX's rules give all sizes of a tensor."""
    if kind is None or not kind.tensor_type.HasField("shape"):
        return False
    return all(dim.HasField("dim_value") for dim in kind.tensor_type.shape.dim)


def is_odd(value: Any) -> bool:
    """Whether an array has a type that ONNX's rules cannot take as data."""
    return value.dtype.kind not in "biuf" or value.dtype.itemsize > 8
