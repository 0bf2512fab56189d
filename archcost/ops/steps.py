"""The operations that PyTorch runs inside a layer, as far as memory goes.

Most layers are one operation: it reads the layer's inputs, makes the output, keeps what the cost
says, and its backward makes one new gradient per input and parameter. Layers made of several, or
whose gradients behave otherwise, say so with the steps below; ``archcost.memory.peaks`` runs
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from archcost.shape import Shape

NEW = "new"
"""Backward makes a new tensor for each gradient."""
SHARED = "shared"
"""The inputs' gradients are the output's own, or views of all of it; parameters get new ones."""
SLICED = "sliced"
"""The inputs' gradients are slices of the output's."""
PRODUCT = "product"
"""Each gradient is made in the output's size and, where a factor is smaller, then summed up."""
COPIED = "copied"
"""The input's gradient is the output's in another order: a copy, unless it is one number."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation inside a layer.

    Attributes:
        makes: name of the tensor that it makes, ``"output"`` for the layer's.
        shape: shape of that tensor without batch, None for that of the layer's output.
        reads: what it reads: the layer's inputs by index, tensors of earlier steps by name; None
            for all inputs.
        params: the parameters that it reads; None for all of the layer's.
        keeps: what it keeps for backward, of the layer's ``Cost.saved``: inputs by index, other
            tensors by name; None for all.
        gradient: where the gradients of its inputs lie: NEW, SHARED, SLICED, PRODUCT or COPIED.
        scratch: elements per sample of each tensor that backward needs beside its results.
        held: earlier tensors that a local variable keeps alive until this step is done.
        pieces: the tensor, and its gradient, are made as this many of equal size.
        view: the tensor is a view of the first that it reads, and takes no memory.
        summed: the parameters, and tensors of earlier steps, whose gradient is the output's, summed
            up after the operation.
        unasked: on CUDA, backward makes the gradient of an input even if none is asked for.
        per_batch: False where the batch does not multiply the tensor; it is of the layer's type.
        itemsize: bytes per element, None for the type it would have else.
        apart: the gradients of those who read the tensor are not added up, but stay apart until
            backward puts them together.
        repeats: the operation runs this often on the same inputs. Each time makes a piece of the
            tensor and keeps a piece of what is its own.
        inner: elements per sample of a tensor that the operation makes, and drops, unseen by an
            observer of operations, forward and backward.
        zeros: elements of a tensor that backward fills a gradient into; an observer of operations
            sees both.
        multiplies: it does the layer's products, or an equal part of them.
    """

    makes: str = "output"
    shape: Shape | None = None
    reads: tuple[int | str, ...] | None = None
    params: tuple[str, ...] | None = None
    keeps: tuple[int | str, ...] | None = None
    gradient: str = NEW
    scratch: tuple[int, ...] = ()
    held: tuple[str, ...] = ()
    pieces: int = 1
    view: bool = False
    unasked: bool = False
    summed: tuple[str, ...] = ()
    per_batch: bool = True
    itemsize: int | None = None
    apart: bool = False
    repeats: int = 1
    inner: int = 0
    zeros: int = 0
    multiplies: bool = False


def step(
    makes: str,
    shape: Shape,
    reads: Sequence[int | str],
    *,
    params: tuple[str, ...] = (),
    keeps: tuple[int | str, ...] = (),
    gradient: str = NEW,
    scratch: tuple[int, ...] = (),
    held: tuple[str, ...] = (),
    pieces: int = 1,
    view: bool = False,
) -> Step:
    """Return one of several steps of a layer: it reads and keeps only what is named."""
    return Step(makes, shape, tuple(reads), params, keeps, gradient, scratch, held, pieces, view)
