"""What a pass does otherwise when its batch is a large prime.

Constants take no memory. Code that compares a size with a number is answered as for a batch of 2.
Some copies are views where the batch is 1.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol
from unittest import mock

from archcost.errors import ArchcostError
from archcost.importers.seen import BATCH, of_batch
from archcost.layout import viewed_strides

torch: Any = import_module("torch")

CREATED = (
    "arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm",
    "range", "zeros",
)  # fmt: skip
"""Functions that make a tensor of no other."""

GROWN = (
    "broadcast_to", "expand", "new_empty", "new_full", "new_ones", "new_zeros", "repeat",
    "repeat_interleave", "tile",
)  # fmt: skip
"""Functions that make a tensor of a larger size of another."""


FILLED = ("full", "full_like", "new_full")
"""Functions that fill a tensor with a number, which may be one of a tensor."""


def with_numbers(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return arguments in which a tensor without content stands for no number to fill with."""

    def number(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_meta or value.dim():
            return value
        return 0.0 if value.is_floating_point() else 0

    if name not in FILLED:
        return args, kwargs
    first = 0 if name == "full" else 1  # of another tensor
    numbers = {key: number(value) for key, value in kwargs.items()}
    return (*args[:first], *map(number, args[first:])), numbers


def with_content(value: Any, number: Callable[[Any], int | None], found: list[int]) -> Any:
    """Return arguments in which constants of one whole number are numbers; these are ``found``."""
    if isinstance(value, torch.Tensor):
        known = None if value.dim() else number(value)
        if known is None:
            return value
        found.append(known)
        return known
    if isinstance(value, Mapping):
        return {key: with_content(inner, number, found) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)([with_content(inner, number, found) for inner in value])
    if isinstance(value, slice):
        ends = value.start, value.stop, value.step
        return slice(*(with_content(end, number, found) for end in ends))
    return value


def without_content(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return arguments with which a constant as large as the batch takes no memory."""
    values = (*args, *kwargs.values())
    if name in ("randint", "full"):  # their other numbers are values
        values = tuple(value for value in values if isinstance(value, (tuple, list)))
    if name not in (*CREATED, *GROWN) or not _is_large(values):
        return args, kwargs
    if name in CREATED:
        return args, {**kwargs, "device": "meta"}
    return tuple(x.to("meta") if isinstance(x, torch.Tensor) else x for x in args), kwargs


def _is_large(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_is_large, value))
    return isinstance(value, int) and int(value) > BATCH // 2


class OneByOne(ArchcostError):
    """Code takes the samples of a batch one by one, which are too many in a trace.

    Attributes:
        helps: whether the text says what can be read instead.
        larger: the line that takes a large batch in parts, as virtual batches are; else empty.
    """

    helps = False
    larger = ""


class Asked(Protocol):
    """What is told what code asks about the batch of a trace."""

    def compared(self, one: bool, two: bool, large: bool) -> None:
        """Take note of the answers for a batch of 1, of 2 and of the pass."""

    def one_by_one(self, what: str) -> ArchcostError:
        """Return why code that takes the samples one by one does not run."""


class Size(int):
    """A size with the batch in it, as code sees it.

    Code that compares it with a number gets the answer for a batch of 2, and ``tracer`` is told.
    """

    tracer: Asked

    __hash__ = int.__hash__

    def __mul__(self, other: Any) -> Any:
        """Return a size in which the batch is more often.

        Raises:
            OneByOne: it is to be a list of so many items.
        """
        if isinstance(other, (list, tuple)):
            raise self.tracer.one_by_one("a list")
        if _orders():
            self.tracer.compared(True, False, True)
        return sized(int.__mul__(self, other), self.tracer)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        """Return a size in which the batch is less often, or a number without it."""
        return sized(int.__floordiv__(self, other), self.tracer)

    def __int__(self) -> int:
        """Return a plain number, of which nobody knows with what it is compared."""
        self.tracer.compared(True, False, _orders())
        return int.__int__(self)


def _orders() -> bool:
    """Whether the code that asks for a size orders products by how large they are."""
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith("opt_einsum.")


def sized(value: Any, tracer: Asked) -> Any:
    """Return a size, or several, with those that have the batch as :class:`Size`."""
    if isinstance(value, torch.Size):
        large = max(value, default=0) > MOST
        return torch.Size([sized(n, tracer) for n in value]) if large else value
    if isinstance(value, int) and value > MOST and value % BATCH == 0:
        value = Size(value)
        value.tracer = tracer
    return value


MOST = BATCH // 2


def _compares(name: str) -> Callable[[Size, Any], Any]:
    exact = getattr(int, name)

    def compare(self: Size, other: Any) -> Any:
        value = int.__int__(self)
        if not isinstance(other, int) or (other and int(other) % BATCH == 0):
            return exact(value, int(other) if isinstance(other, int) else other)
        one, two = (exact(value // BATCH * batch, other) for batch in (1, 2))
        self.tracer.compared(one, two, exact(value, other))
        return two

    return compare


for _name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
    setattr(Size, _name, _compares(_name))


class _Ranges(type):
    """What is a range for code that asks."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _RANGE)


_RANGE = range


@contextmanager
def no_long_loops(tracer: Asked) -> Iterator[None]:
    """Stop code that begins a loop over the samples of a trace."""

    class Range(metaclass=_Ranges):
        def __new__(cls, *ends: Any) -> Any:
            made = _RANGE(*ends)
            if made and (made[-1] - made[0]) // made.step > MOST:
                raise tracer.one_by_one("a loop")
            return made

    with mock.patch.object(builtins, "range", Range):
        yield


RESHAPED = ("reshape", "reshape_as", "flatten")
"""Functions that make a view where they can, else a copy."""


def copies_but_for_one(before: Any, after: Any) -> bool:
    """Whether a reshape that has copied ``before`` makes a view where the batch is 1.

    A dimension of size 1 may have any stride, so that it joins its neighbours without a copy.
    """
    shape, strides, new = map(_of_one, (before.shape, before.stride(), after.shape))
    return viewed_strides(shape, strides, new) is not None


def turns(before: Any, after: Any) -> bool:
    """Whether a map without content is laid out anew where a CPU leaves its channels last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(before.dim())
    if last is None or after.dim() != before.dim() or before.is_contiguous():
        return False
    return bool(before.is_contiguous(memory_format=last) and after.is_contiguous())


def few_samples(tensor: Any, batch: int) -> Any:
    """Return a tensor without content as it is in a small batch."""
    shape = [n if n % BATCH else n // BATCH * batch for n in tensor.shape]
    return torch.empty(shape, dtype=tensor.dtype, device="meta")


def _of_one(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return sizes or strides as they are where the batch is 1."""
    return tuple(n if n % BATCH else n // BATCH for n in sizes)


def goes_through_the_batch(x: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a tensor is taken apart along the dimension of the batch, of a trace's size."""
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
    return bool(x.shape) and of_batch(x.shape[dim])
