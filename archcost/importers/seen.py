"""A forward pass as a list of calls: what is noted of each, and of the tensors that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archcost.importers.lines import at
from archcost.units import ComplexBytes

if TYPE_CHECKING:
    from archcost.importers.inside import Inside

BATCH = 2**27 - 39
"""The batch of a pass that is traced: a prime, so that sizes with the batch in them tell."""

PARAMETER, BUFFER, INPUT, CALL, CONSTANT = "parameter", "buffer", "input", "call", "constant"


@dataclass(frozen=True, slots=True)
class Seen:
    """A tensor as a call sees it.

    Attributes:
        kind: where it comes from: ``parameter buffer input call constant``.
        name: of the parameter, buffer or input.
        call, place: which call has made it, and which of its outputs it is.
        shape: with the batch.
        dtype: as PyTorch calls it, ``float32``.
        buffer: the name of the buffer in whose memory it lies, if in one.
        strides: how it lies there.
        storage: what tells the memory in which it lies, 0 if nothing does.
        size: bytes of that memory.
        held: whether it is that of a parameter or a buffer.
        offset: where in that memory it begins, in elements.
    """

    kind: str
    name: str
    call: int
    place: int
    shape: tuple[int, ...]
    dtype: str
    buffer: str = ""
    strides: tuple[int, ...] = ()
    storage: int = 0
    size: int = 0
    held: bool = False
    offset: int = 0

    @property
    def width(self) -> int:
        """Return the bytes of an element."""
        width = int("".join(filter(str.isdigit, self.dtype)) or 8) // 8
        return ComplexBytes(width) if "complex" in self.dtype else width

    @property
    def own_width(self) -> int:
        """Return the bytes of an element, 0 for a real float, which has those of the run."""
        return 0 if "float" in self.dtype else self.width


@dataclass(slots=True)
class Call:
    """A call of a function.

    Attributes:
        name: of the function: ``conv2d``, ``add``; without the underscore of the in-place form.
        full: its whole name: ``torch.nn.functional.conv2d``.
        path: of the module that calls it, with ``#2`` if the module runs a second time.
        leaf: whether that module is one of ``torch.nn``, and this is what it computes.
        args, kwargs: its arguments, each tensor as a :class:`Seen`.
        outs: the tensors that it returns.
        line: the file and line of the code that calls it.
        in_place: whether it changes the first tensor that it reads, and returns it.
        inside: what PyTorch did inside it, as far as it was seen.
    """

    name: str
    full: str
    path: str
    leaf: bool
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    outs: tuple[Seen, ...]
    line: tuple[str, int]
    in_place: bool = False
    inside: Inside | None = None


@dataclass(frozen=True, slots=True)
class Rerun:
    """Calls that run under ``torch.utils.checkpoint``.

    Attributes:
        calls: their numbers.
        given: the tensors among the arguments.
        reentrant: whether with ``use_reentrant=True``.
        whole: whether with ``early_stop=False``.
        line: the file and line of the code that calls it.
    """

    calls: range
    given: tuple[Seen, ...]
    reentrant: bool
    whole: bool
    line: tuple[str, int]


@dataclass
class Trace:
    """The calls of a pass.

    Attributes:
        calls: in the order in which they begin.
        outputs: the tensors that the module returns.
        parameters: the sizes of the module's distinct parameters by their names.
        classes: the class of each module that ran, by its path.
        training: whether it ran in training mode.
        freed: for the output of a call, how many calls had begun when no name held it any more.
        reruns: the calls that backward runs again.
        frozen: the parameters that need no gradient.
        asks_batch: whether code may do otherwise if the batch is 1: it compares the batch with a
            number, or asks how a tensor of the batch lies in memory.
        otherwise: the line at which it goes another way if the batch is 1, empty if it does not.
        larger: the line at which it asks whether the batch is large, empty if it does not.
    """

    calls: list[Call] = field(default_factory=list)
    outputs: tuple[Seen, ...] = ()
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buffers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    training: bool = False
    freed: dict[tuple[int, int], int] = field(default_factory=dict)
    reruns: list[Rerun] = field(default_factory=list)
    frozen: frozenset[str] = frozenset()
    asks_batch: bool = False
    otherwise: str = ""
    larger: str = ""


def of_batch(size: int) -> bool:
    """Whether a size holds the batch of a trace."""
    return bool(size) and size % BATCH == 0


def place_of(call: Call) -> str:
    """Return where a call is: the module's path, the file and the line."""
    return f"{call.path or 'the module'} ({at(call.line)})"


def mixes(shape: Sequence[int]) -> bool:
    """Whether a shape has the batch twice, or more than the batch in one dimension."""
    return sum(map(of_batch, shape)) > 1 or any(n > BATCH // 2 and n % BATCH for n in shape)
