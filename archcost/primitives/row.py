"""What is true of one call of a primitive: a row. And the registry of all primitives.

A primitive is an operation of PyTorch's, at the level at which autograd records it. It is a
function of the tensors that it reads, without numbers, and of its options; it returns a
:class:`Row`. Shapes have the batch first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from archcost.layout import Layout, Strides, as_map
from archcost.shape import Shape, numel

NEW, FULL, SAME, JOIN = "new", "full", "same", "join"
"""Where backward puts the gradient of a tensor: a new one of the tensor's shape, a new one of the
output's shape, the incoming gradient itself, or one that joins the gradients of all outputs. What
has another shape or type than the tensor is then summed or cast (``validate_outputs``)."""

LOWER, KEEPS, WIDEN, FLOAT32, RESULT = "lower", "keeps", "widen", "float32", "float32 result"
"""Under autocast: the inputs are cast to the lower type, taken as they are, cast to the widest type
among them, cast to float32, or taken as they are for a result of float32: it sets the ``dtype`` of
the operation (``aten/src/ATen/autocast_mode.h``)."""

OUT = "out"
"""Among the tensors that a primitive saves: its output."""

COPIED = "copied input"
"""The name of a copy that an operation makes of its input before it reads it."""


class Tensor(Protocol):
    """A tensor without numbers, as a reading passes it to a primitive."""

    shape: Shape
    strides: Strides
    itemsize: int
    device: str
    needs: bool
    """Whether a gradient of it is asked for."""

    @property
    def layout(self) -> Layout:
        """Its sizes and strides."""


@dataclass(slots=True, eq=False)
class Own:
    """A tensor that a primitive makes beside its output.

    ``what`` names it; ``itemsize`` is that of the output unless given; ``observed`` is the one
    that an observer of fake tensors sees, where it differs. One of them is 0 where the tensor is
    only there for the observer, or not for him. ``learns`` is False of an output through which no
    gradient flows, as of places.
    """

    what: str
    shape: Shape
    itemsize: int | None = None
    observed: int | None = None
    learns: bool = True


Gradient = Any  # one of the rules above, or a function of the incoming gradient


@dataclass(slots=True)
class Row:
    """All that is true of one call of a primitive.

    Attributes:
        shape, strides: of the output.
        saves: what autograd keeps for backward: tensors that it reads, own ones, ``OUT``.
        makes: own tensors; those that are not kept are dropped at once.
        gradient: the rule for the gradients of what it reads, or one rule for each argument.
        scratch, masks: elements of each tensor that backward makes beside its results, of the
            output's type, and of booleans.
        inner: elements of a tensor that is made and dropped inside, forward and backward, which
            an observer of operations does not see.
        hidden: the same of backward alone.
        observed: strides of the output as such an observer sees them, if they are others.
        unasked: elements of each gradient that CUDA, or an observer, makes though nobody asks.
        copies, copies_inside: whether backward first copies an incoming gradient, a function of
            it, or the number of elements that it makes instead; what it copies inside, an observer
            does not see.
        flattens: whether backward takes the incoming gradient as a matrix of rows. One whose rows
            lie apart is copied, and let go of, first.
        zeros: elements of a tensor that backward fills, which an observer sees beside the result.
        passing: bytes of each tensor that forward makes and drops inside, which an observer of
            operations does not see.
        holds: the same of those that autograd holds until backward, which no hook sees either.
        room: elements for which the storage of the output has room, where that is more than it has;
            an observer does not see it.
        view: whether the output lies in the storage of the first tensor.
        outs: (shape, strides) of each of several outputs, all of them views of the first tensor.
        results: own tensors that are the outputs, where these are several and no views.
        itemsize: bytes per element of the output, None for that of what it reads.
        order: the arguments in the order in which their gradients arrive, if it is not their own.
        late: arguments whose gradients arrive through a view of theirs, after the operation ends.
        weight_strides: how the gradient of the second argument lies, None for as the argument.
        macs: multiply-accumulates.
        widens: whether the output has the widest type that is read; else that of the first.
        unknown: what is not known of the memory that it takes in between, in words.
        unknown_cast: the same where autocast casts what it runs inside.
        parts: the program that PyTorch runs in its place, which a reading of the memory in between
            runs; it takes ``F`` and the same arguments.
        untold: why it is not known what autograd keeps, in words.
        types: the data types in which it keeps this, all unless given.
    """

    shape: Shape
    strides: Strides
    saves: tuple[Any, ...] = ()
    makes: tuple[Own, ...] = ()
    gradient: Gradient | tuple[Gradient, ...] = NEW
    scratch: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()
    inner: int = 0
    hidden: int = 0
    passing: tuple[int, ...] = ()
    holds: tuple[int, ...] = ()
    observed: Strides | None = None
    unasked: tuple[int, ...] = ()
    copies: Callable[[Any], bool] | None = None
    copies_inside: Callable[[Any], int] | None = None
    flattens: bool = False
    zeros: int = 0
    room: int = 0
    view: bool = False
    outs: tuple[tuple[Shape, Strides], ...] = ()
    results: tuple[Own, ...] = ()
    itemsize: int | None = None
    order: tuple[int, ...] = ()
    late: tuple[int, ...] = ()
    weight_strides: Strides | None = None
    macs: int = 0
    widens: bool = True
    unknown: str = ""
    unknown_cast: str = ""
    parts: Callable[..., Any] | None = None
    untold: str = ""
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Primitive:
    """A primitive.

    Attributes:
        name: of the operation.
        row: the function that returns its row.
        autocast: its class under autocast, or a function of its arguments that returns the class,
            or one for each argument.
        differentiable: False where autograd does not record it.
    """

    name: str
    row: Callable[..., Row]
    autocast: str | Callable[..., str | tuple[str, ...]] = KEEPS
    differentiable: bool = True


PRIMITIVES: dict[str, Primitive] = {}
"""Every primitive by its name."""


def primitive(
    autocast: str | Callable[..., str | tuple[str, ...]] = KEEPS, *, differentiable: bool = True
) -> Callable[[Callable[..., Row]], Callable[..., Row]]:
    """Register a function that returns a row as the primitive of its name."""

    def register(function: Callable[..., Row]) -> Callable[..., Row]:
        name = function.__name__.rstrip("_")
        if name in PRIMITIVES:
            raise ValueError(f"two primitives are named {name!r}")
        PRIMITIVES[name] = Primitive(name, function, autocast, differentiable)
        return function

    return register


@dataclass(frozen=True, slots=True)
class Composite:
    """An operation that PyTorch itself writes with others: a program over primitives.

    A call of it is one call in source; autograd records what it is made of. ``autocast`` is its
    class, as of a :class:`Primitive`.
    """

    name: str
    program: Callable[..., Any]
    autocast: str | Callable[..., str] = KEEPS


COMPOSITES: dict[str, Composite] = {}
"""Every composite by its name."""


def composite(
    autocast: str | Callable[..., str] = KEEPS,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a program, which takes ``F`` first, as the composite of its name."""

    def register(program: Callable[..., Any]) -> Callable[..., Any]:
        name = program.__name__
        COMPOSITES[name] = Composite(name, program, autocast)
        return program

    return register


def float32_on(device: str, how: str = FLOAT32) -> Callable[..., str]:
    """Return the class of a primitive that autocast runs in float32 on one kind of device."""
    return lambda x, *_, **__: how if x.device == device else KEEPS


def needed(*pairs: tuple[Any, Tensor | None]) -> tuple[Any, ...]:
    """Return what is kept only for the gradient of another: pairs of (kept, for whom)."""
    return tuple(kept for kept, other in pairs if other is not None and other.needs)


def given(*tensors: Any) -> tuple[Any, ...]:
    """Return those that are there."""
    return tuple(tensor for tensor in tensors if tensor is not None)


def called(method: str, **options: Any) -> Callable[[Any], Any]:
    """Return the rule of a gradient that is a view of the incoming one: a method of it.

    Rules must not hold tensors, which would live as long as the rule.
    """
    return lambda gradient: getattr(gradient, method)(**options)


def not_contiguous(tensor: Tensor) -> bool:
    """Return whether an operation copies a tensor that it takes contiguous."""
    return not tensor.layout.is_contiguous


def copied(x: Tensor) -> tuple[int, ...]:
    """Return the bytes of a copy that is made of a tensor that is not contiguous."""
    return (elements(x) * x.itemsize,) if not_contiguous(x) else ()


def repacked(x: Tensor) -> tuple[int, ...]:
    """Return the bytes of a copy of a map that is neither contiguous nor channels-last, on a CPU.

    A line is a map of height 1.
    """
    there = x.device != "cpu" or as_map(x.layout).is_packed
    return () if there else (elements(x) * x.itemsize,)


def placed_in_float32(x: Tensor, size: int) -> int:
    """Return the bytes of a tensor of float32, which a CPU fills by places in half precision.

    It does so where a tensor of a size is gathered, or where its places are written into
    (``aten/src/ATen/native/TensorAdvancedIndexing.cpp``).
    """
    return 4 * size if x.device == "cpu" and x.itemsize == 2 else 0


def elements(tensor: Tensor) -> int:
    """Return the number of elements of a tensor."""
    return numel(tensor.shape)
