"""Checks of a network against PyTorch: each yields expected, measured and their residual.

A validator is a generator function registered by name. It takes a :class:`Subject` and yields
:class:`Check` rows; a check is exact unless it names a tolerance and its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from archcost.errors import LookupFailed
from archcost.memory.mode import PLAIN, Mode
from archcost.network import Network


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Attributes:
        validator: the validator that made it.
        name: what was compared, e.g. ``"output shape"`` or ``"fvcore total"``.
        layer: path of the layer, empty for the whole network.
        expected: archcost's figure.
        measured: PyTorch's, or a tool's.
        tolerance: the largest allowed |residual|, 0 for exact.
        note: the reason of a tolerance, or what a tool gets wrong here.
        skipped: why the check could not run; then nothing was compared.
        against: the tool or the reference network that measured, empty for PyTorch itself.
    """

    validator: str
    name: str
    layer: str
    expected: Any
    measured: Any
    tolerance: float = 0
    note: str = ""
    skipped: str = ""
    against: str = ""

    @property
    def residual(self) -> Any:
        """Measured minus expected for numbers; None for other things."""
        numbers = (int, float)
        if isinstance(self.expected, numbers) and isinstance(self.measured, numbers):
            return self.measured - self.expected
        return None

    @property
    def passed(self) -> bool:
        """Whether the two agree, or the check was skipped."""
        if self.skipped:
            return True
        if self.residual is not None and self.tolerance:
            return bool(abs(self.residual) <= self.tolerance)
        return bool(self.expected == self.measured)


@dataclass(frozen=True)
class Subject:
    """What is to be verified, and where.

    Attributes:
        network: archcost's side.
        twin: the module to check it against: normally ``torch_twin.build(network)``; a test
            plants faults here.
        device: ``"cpu"``, ``"cuda"`` or ``"meta"``.
        batch: samples per pass.
        against: reference collections or ``module:callable`` names, for the reference validator.
        freeze: layer patterns that are not trained.
        mode: how the memory and peaks checks run the twin.
    """

    network: Network
    twin: Any
    device: str = "cpu"
    batch: int = 1
    against: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    mode: Mode = PLAIN


Validator = Callable[[Subject], Iterator[Check]]
MODULES = ("structure", "counters", "memory", "training", "peaks", "reference")
"""The modules with validators, in the order in which these run."""

VALIDATORS: dict[str, Validator] = {}
"""Every validator whose module is loaded, by its name on the command line."""


def validator(name: str) -> Callable[[Validator], Validator]:
    """Register a generator function as the validator ``name``."""

    def register(function: Validator) -> Validator:
        if name in VALIDATORS:
            raise ValueError(f"two validators are named {name!r}")
        VALIDATORS[name] = function
        return function

    return register


def load_validators() -> dict[str, Validator]:
    """Return every validator by its name, in the order in which they run."""
    for module in MODULES:
        import_module(f"archcost.verify.{module}")
    first = {name: VALIDATORS[name] for name in MODULES}  # whichever was imported first
    return first | VALIDATORS


def find_validator(name: str) -> Validator:
    """Return the validator of that name, or raise LookupFailed with the nearest one."""
    known = load_validators()
    if name not in known:
        raise LookupFailed("check", name, known)
    return known[name]
