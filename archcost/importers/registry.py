"""The registry of PyTorch's functions as programs, which take a function's own arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Program = Callable[..., Any]

FUNCTIONS: dict[str, Program] = {}
"""Every function that a call can be priced by, by its name without the in-place underscore."""


def registers(programs: dict[str, Program]) -> Callable[..., Callable[[Program], Program]]:
    """Return a decorator that registers a program by the names that it takes, or its own."""

    def function(*names: str) -> Callable[[Program], Program]:
        def register(program: Program) -> Program:
            programs.update(dict.fromkeys(names or (program.__name__.rstrip("_"),), program))
            return program

        return register

    return function


function = registers(FUNCTIONS)
"""Registers a program for the functions of these names, or of its own name."""


def flat(sizes: Sequence[Any]) -> tuple[Any, ...]:
    """Return sizes that are given one by one or as one list."""
    one = len(sizes) == 1 and isinstance(sizes[0], (list, tuple))
    return tuple(sizes[0]) if one else tuple(sizes)


def dims_of(x: Any, dim: Any) -> tuple[int, ...]:
    """Return dimensions counted from the front; all unless given."""
    rank = len(x.shape)
    if dim is None:
        return tuple(range(rank))
    return tuple(d % rank for d in (dim if isinstance(dim, (list, tuple)) else (dim,)))


def each_axis(value: Any, axes: int) -> tuple[int, ...]:
    """Return a number for each axis."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * axes
