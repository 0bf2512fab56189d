"""Pieces of programs: reshapes that several ops are written with, as PyTorch names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.shape import Sides, numel


def flatten(F: Any, x: Any, start: int, end: int) -> Any:
    """Return the dimensions from ``start`` to ``end``, both included, as one."""
    shape = (*x.shape[:start], numel(x.shape[start : end + 1]), *x.shape[end + 1 :])
    return F.reshape(x, shape=shape)


def unflatten(F: Any, x: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Return one dimension as several."""
    return F.reshape(x, shape=(*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


def pad(F: Any, x: Any, sides: Sides, mode: str, value: float = 0.0) -> Any:
    """Return the last dimensions extended by (before, after), in a mode of padding."""
    if mode == "circular":
        return F.pad_circular(x, sides=sides)
    return F.pad(x, sides=sides, mode=mode, value=value)


def pad_first(
    torch: Any, module: Any, sides: Sides, mode: str = "zeros", value: float = 0.0
) -> Any:
    """Return a module that pads what it reads first: by a hook, so that it keeps its exact type.

    Counters know a layer by that.
    """
    flat = [side for pair in reversed(sides) for side in pair]
    how = {"mode": "constant", "value": value} if mode == "zeros" else {"mode": mode}

    def pad_input(module: Any, args: tuple[Any, ...]) -> Any:
        return torch.nn.functional.pad(args[0], flat, **how)

    module.register_forward_pre_hook(pad_input)
    return module


def transpose(F: Any, x: Any, a: int, b: int) -> Any:
    """Return two dimensions in each other's place."""
    dims = list(range(len(x.shape)))
    dims[a], dims[b] = b, a
    return F.permute(x, dims=tuple(dims))


def dropped(F: Any, x: Any, p: float) -> Any:
    """Drop elements with probability ``p``; if it is 1, PyTorch multiplies by a zero."""
    if p == 1:
        return F.mul(x, F.full(shape=(), like=x))
    if x.device == "cuda":
        return F.dropout(x, p=p)
    return F.mul(x, F.noise(shape=x.shape, like=x, p=p))


def product(F: Any, a: Any, b: Any) -> Any:
    """Return the matrix products of the last two dimensions, as ``torch.matmul`` makes them.

    The dimensions before them are broadcast and viewed as one dimension. An operand is copied if
    its layout does not allow this view.
    """
    if len(a.shape) == 3:
        return F.matmul(a, b)
    lead = tuple(m if n == 1 else n for n, m in zip(a.shape[:-2], b.shape[:-2], strict=True))
    return unflatten(F, F.matmul(_batched(F, a, lead), _batched(F, b, lead)), 0, lead)


def _batched(F: Any, x: Any, lead: Sequence[int]) -> Any:
    """Return matrices as a batch of them, which is one dimension."""
    shape = (*lead, *x.shape[-2:])
    return flatten(F, x if x.shape == shape else F.expand(x, shape=shape), 0, len(lead) - 1)
