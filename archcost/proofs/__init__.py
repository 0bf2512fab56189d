"""Checks of a network against PyTorch: each yields expected, measured and their residual.

A validator is a generator function registered by name. It takes a :class:`Subject` and yields
:class:`Check` rows; a check is exact unless it names a tolerance and its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from archcost.errors import LookupFailed
from archcost.network import Network
from archcost.setting import CPU, Setting


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
        named: what the other side does otherwise for a reason, which ``expected`` allows for: the
            reasons, each with the bytes or the numbers that it makes more.
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
    named: tuple[tuple[str, int], ...] = ()

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
class Usage:
    """How references that are code are used.

    Attributes:
        arguments: of the callable that builds one.
        in_order: lets the module take tensors in the order of a network's inputs, of which it is
            given the names; None if it does.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    in_order: Callable[[Any, Sequence[str]], Any] | None = None


@dataclass(frozen=True)
class Subject:
    """What is to be verified, and where.

    Attributes:
        network: archcost's side.
        twin: the module to check it against: normally ``pytorch.build(network)``; a test
            plants faults here.
        device: ``"cpu"``, ``"cuda"`` or ``"meta"``.
        setting: how it is run: the batch, what is frozen, autocast and the like.
        against: reference collections or ``module:callable`` names, for the reference validator.
        usage: how those references are built and called.
    """

    network: Network
    twin: Any
    device: str = "cpu"
    setting: Setting = CPU
    against: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)

    @property
    def batch(self) -> int:
        """Samples per pass."""
        return self.setting.batch


Validator = Callable[[Subject], Iterator[Check]]
MODULES = ("structure", "counters", "memory", "training", "peaks", "reference")
"""The modules with the validators of specs, in the order in which these run."""
OF_CODE = "module"
"""That of networks that are code."""

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
    for module in (*MODULES, OF_CODE):
        import_module(f"archcost.proofs.{module}")
    first = {name: VALIDATORS[name] for name in MODULES}  # whichever was imported first
    return first | VALIDATORS


def find_validator(name: str) -> Validator:
    """Return the validator of that name, or raise LookupFailed with the nearest one."""
    known = load_validators()
    if name not in known:
        raise LookupFailed("check", name, known)
    return known[name]
