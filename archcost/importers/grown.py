"""What a pass does otherwise when its batch is a large prime: constants, and what is a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from archcost.importers.seen import BATCH
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
    return isinstance(value, int) and value > BATCH // 2


RESHAPED = ("reshape", "reshape_as", "flatten")
"""Functions that make a view where they can, else a copy."""


def copies_but_for_one(before: Any, after: Any) -> bool:
    """Whether a reshape that has copied ``before`` makes a view where the batch is 1.

    A dimension of size 1 may have any stride, so that it joins its neighbours without a copy.
    """
    shape, strides, new = map(_of_one, (before.shape, before.stride(), after.shape))
    return viewed_strides(shape, strides, new) is not None


def one_sample(tensor: Any) -> Any:
    """Return a tensor without content as it is where the batch is 1."""
    return torch.empty(_of_one(tensor.shape), dtype=tensor.dtype, device="meta")


def _of_one(sizes: Sequence[int]) -> tuple[int, ...]:
    """Return sizes or strides as they are where the batch is 1."""
    return tuple(n if n % BATCH else n // BATCH for n in sizes)
