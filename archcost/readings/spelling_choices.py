"""How what chooses among elements is written in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archcost.readings.words import call, torch_call, value


def masked_fill(x: Any, mask: Any, *, value: float) -> str:
    """As a method."""
    return f"{x.inside()}.masked_fill({mask}, {written(value)})"


def gather(x: Any, places: Any, *, dim: int) -> str:
    """As a method."""
    return f"{x.inside()}.gather({dim}, {places})"


def topk(x: Any, *, k: int, dim: int, largest: bool = True) -> str:
    """The values alone."""
    return call(f"{x.inside()}.topk", k, dim, largest=largest) + "[0]"


def sort(x: Any, *, dim: int, descending: bool = False) -> str:
    """The values alone."""
    return call(f"{x.inside()}.sort", dim, descending=descending) + "[0]"


def cumsum(x: Any, *, dim: int) -> str:
    """As a method."""
    return f"{x.inside()}.cumsum({dim})"


written = value  # an option may have that name

CHOICES: Mapping[str, Callable[..., str]] = {
    "where": torch_call("where"),
    **{made.__name__: made for made in (masked_fill, gather, topk, sort, cumsum)},
}
"""The spelling of each."""
