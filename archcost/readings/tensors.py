"""Tensors without numbers, and what autograd records of the operations on them."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any
from weakref import ref

from archcost.layout import Layout, Strides, contiguous, layout_of, viewed_strides
from archcost.number import maximum
from archcost.readings.ledger import GRADIENTS, PARAMETERS, TRANSIENT, Storage
from archcost.shape import Shape


class Tensor:
    """A tensor without numbers; its storage is held as long as Python holds the tensor.

    ``node`` is the operation that made it, if autograd records it, and ``place`` which of its
    outputs it is. Methods return tensors that no operation has made. ``viewed`` says of a gradient
    that it is a view, which holds the tensor that it is one of.
    """

    __slots__ = ("device", "itemsize", "needs", "node", "place", "shape", "storage",
                 "strides", "viewed")  # fmt: skip

    def __init__(
        self, storage: Storage, shape: Shape, strides: Strides, itemsize: int, device: str,
        node: Node | None = None, place: int = 0,
    ) -> None:  # fmt: skip
        self.storage, self.shape, self.strides, self.itemsize = storage, shape, strides, itemsize
        self.device, self.node, self.place, self.needs = device, node, place, node is not None
        self.viewed = False
        storage.holders += 1

    def __del__(self) -> None:
        """Let go of the storage."""
        self.storage.drop()

    @property
    def layout(self) -> Layout:
        """Its sizes and strides."""
        return layout_of(self.shape, self.strides)

    @property
    def bytes(self) -> int:
        """The bytes of its elements."""
        return prod(self.shape) * self.itemsize

    def like(
        self, shape: Shape, strides: Strides | None = None, itemsize: int | None = None,
        kind: str = TRANSIENT, what: str = "",
    ) -> Tensor:  # fmt: skip
        """Return a new tensor of the same type and device, contiguous unless said otherwise."""
        itemsize = itemsize or self.itemsize
        storage = Storage(self.storage.ledger, prod(shape) * itemsize, kind, what)
        return Tensor(storage, shape, strides or contiguous(shape), itemsize, self.device)

    def resized(self, shape: Shape) -> Tensor:
        """Return a new tensor of a shape, whose storage has room for as many elements as this.

        So is what ``empty_like`` makes and ``resize_`` makes smaller; an observer does not see it.
        """
        if self.storage.ledger.observed:
            return self.like(shape)
        return self.like((maximum(prod(self.shape), prod(shape)),)).view(shape, contiguous(shape))

    def view(self, shape: Shape, strides: Strides, itemsize: int | None = None) -> Tensor:
        """Return a view of its storage, of the same type unless said otherwise."""
        return Tensor(self.storage, shape, strides, itemsize or self.itemsize, self.device)

    def alias(self) -> Tensor:
        """Return a view of all of it."""
        return self.view(self.shape, self.strides)

    def narrowed(self, shape: Shape) -> Tensor:
        """Return a view of a part of it."""
        return self.view(shape, self.strides)

    def without(self, dim: int) -> Tensor:
        """Return a view of one slice along a dimension, which goes."""
        shape = (*self.shape[:dim], *self.shape[dim + 1 :])
        return self.view(shape, (*self.strides[:dim], *self.strides[dim + 1 :]))

    def permuted(self, dims: tuple[int, ...]) -> Tensor:
        """Return a view with the dimensions in another order."""
        return self.view(tuple(self.shape[d] for d in dims), tuple(self.strides[d] for d in dims))

    def reshape(self, shape: Shape) -> Tensor:
        """Return a view in another shape, or a copy where strides allow none."""
        strides = viewed_strides(self.shape, self.strides, shape)
        return self.like(shape) if strides is None else self.view(shape, strides)


class Parameter(Tensor):
    """A parameter or buffer; ``grad`` is its gradient, ``learns`` whether it wants one.

    Autocast keeps the lower copy of one that learns until it ends. ``readers`` counts the
    operations that read it and that autograd records.
    """

    __slots__ = ("grad", "learns", "readers")

    grad: Tensor | None
    learns: bool
    readers: int


class Kept:
    """A tensor that is kept for backward."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor, layer: str) -> None:
        self.tensor = tensor if tensor.node is None else tensor.alias()
        tensor.storage.keep(layer)

    def __del__(self) -> None:
        """Let go of it."""
        self.tensor.storage.release()

    def get(self) -> Any:
        """Return what holds the tensor while backward uses it."""
        return self


class Held:
    """A tensor that an operation holds until its backward, without being kept by hooks."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def get(self) -> Any:
        """Return what holds the tensor while backward uses it."""
        return self


class Edge:
    """Where a gradient goes: to an output of a node, or to a parameter; and what it is there."""

    __slots__ = ("itemsize", "kind", "late", "place", "rule", "shape", "strides", "to")

    to: Node | Parameter

    def __init__(self, tensor: Any, rule: Any, strides: Strides | None, late: bool = False) -> None:
        self.to, self.kind = tensor.node, TRANSIENT
        if tensor.node is None:
            self.to = tensor
            self.kind = GRADIENTS if tensor.storage.kind == PARAMETERS else TRANSIENT
            tensor.readers += 1
            if tensor.readers > 1:
                tensor.storage.ledger.shared = True
        self.place, self.shape, self.itemsize = tensor.place, tensor.shape, tensor.itemsize
        self.strides = strides or tensor.strides
        self.rule, self.late = rule, late


class Node:
    """An operation that backward visits.

    Attributes:
        number: the order in which operations ran.
        layer: the layer to which it belongs.
        edges: where the gradients of what it read go.
        saved: what it keeps.
        scratch: elements, and bytes of each, of tensors that it makes beside its results.
        outs: shapes of its outputs, where it has several.
        copies: whether it first copies an incoming gradient, a function of it; or the number of
            elements that it makes instead.
        flattens: whether it takes an incoming gradient as a matrix of rows.
        recompute: of a region that runs a backward pass of its own: it makes the gradients.
    """

    recompute: Callable[[dict[int, Tensor]], list[Tensor]] | None = None

    __slots__ = ("copies", "edges", "flattens", "layer", "number", "outs", "saved", "scratch")

    copies: Callable[[Any], int] | None
    edges: list[Edge]
    flattens: bool
    layer: str
    number: int
    outs: tuple[tuple[Shape, Strides], ...]
    saved: Any
    scratch: list[tuple[int, int]]


class Enough(Exception):
    """All that was kept has been computed again."""


class Again:
    """A region that is computed again: what it reads, and what the second run finds.

    ``run`` runs it; what it packs comes in the order of the first run. What nobody can ask for any
    more, because its operation leads to no output, is not kept. ``constants`` are held for the
    second run, which is ``whole`` or ends with the last tensor that is asked for.
    """

    __slots__ = ("again", "constants", "found", "inputs", "packed", "run", "tensors", "whole")

    def __init__(
        self, run: Callable[[Again], None], tensors: dict[str, Tensor], inputs: list[Kept],
        constants: dict[Any, Tensor], whole: bool,
    ) -> None:  # fmt: skip
        self.run, self.tensors, self.again = run, tensors, 0
        self.packed: list[ref[Later]] = []
        self.inputs, self.constants, self.whole = inputs, constants, whole
        self.found: dict[int, Kept] | None = None

    def pack(self, tensor: Tensor, layer: str) -> Later:
        """Keep nothing, but remember that it would be kept."""
        later = Later(self, len(self.packed))
        self.packed.append(ref(later))
        return later

    def keep(self, tensor: Tensor, layer: str) -> Kept:
        """Keep a tensor of the second run, and end that with the last one."""
        assert self.found is not None
        kept = Kept(tensor, layer)
        if self.packed[self.again]() is not None:
            self.found[self.again] = kept
        self.again += 1
        if self.again == len(self.packed) and not self.whole:
            raise Enough
        return kept


class Later:
    """A tensor that is computed when backward asks for it."""

    __slots__ = ("__weakref__", "again", "place")

    def __init__(self, again: Again, place: int) -> None:
        self.again, self.place = again, place

    def get(self) -> Kept:
        """Return it, for which the region is run if it has not been yet."""
        if self.again.found is None:
            self.again.found = {}
            self.again.run(self.again)
        return self.again.found.pop(self.place)
