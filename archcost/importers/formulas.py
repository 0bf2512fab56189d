"""Formulas that code registers for functions that archcost cannot price by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from archcost.errors import ArchcostError

Formula = TypeVar("Formula", bound=Callable[..., int])

FORMULAS: dict[str, Callable[..., int]] = {}
"""The registered formulas, by the name of the function."""


def formula(name: str) -> Callable[[Formula], Formula]:
    """Register a function that says how often a call multiplies and accumulates.

    It is called with the arguments of the call. Each tensor among them is described by ``shape``,
    with the batch, and ``dtype``, as ``"float32"``. What the call makes, and what autograd keeps of
    it, is seen when the module is read.

    Args:
        name: ``"mypackage::my_op"`` of a custom operator, ``"torch.linalg.svd"`` of a function,
            ``"module.Class"`` of an ``autograd.Function``.

    Raises:
        ArchcostError: the name is empty.

    Examples:
        >>> @archcost.formula("mypackage::product")
        ... def product(x, weight):
        ...     return x.shape[0] * x.shape[1] * weight.shape[1]
    """
    if not isinstance(name, str) or not name:
        raise ArchcostError("a formula is of a function: archcost.formula('mypackage::my_op')")

    def register(function: Formula) -> Formula:
        FORMULAS[name] = function
        return function

    return register


def formula_of(name: str) -> Callable[..., int] | None:
    """Return the formula of a function, None if there is none."""
    return FORMULAS.get(name)


def counted(
    function: Callable[..., int], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> int:
    """Return what a formula says of a call.

    Raises:
        ArchcostError: it fails, or gives no whole number from 0.
    """
    try:
        found = function(*args, **kwargs)
    except Exception as error:  # whatever a foreign function raises
        raise ArchcostError(f"the formula of {name} fails: {error}") from None
    if not isinstance(found, int) or found < 0:
        raise ArchcostError(f"the formula of {name} gives {found!r}, and no whole number from 0")
    return found
