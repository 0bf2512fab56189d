"""A network's figures as a function of arrays: of its knobs and of the sizes of its input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from archcost.compiled import box_of
from archcost.data import dataclass
from archcost.errors import ArchcostError
from archcost.figures import find_metric
from archcost.network import Network
from archcost.normal import Bounds
from archcost.setting import Setting
from archcost.space.folded import SUMS, may_fold, run_of
from archcost.space.grid import BLOCK, Columns, needs_numpy
from archcost.space.pricing import Programs
from archcost.space.refusals import Refused, refuse
from archcost.space.varied import Varied

NONE = -1
"""The figure of a configuration that is no network."""


@dataclass(frozen=True)
class Costs:
    """The figures of configurations, which are numbered as the items of arrays are.

    Attributes:
        columns: a numpy array for each figure, of int64, or of Python's integers where one is
            beyond 64 bits. It is -1 where there is no network.
        networks: where there is a network, a numpy array of truth values.
        refused: the configurations that are not networks, with the reason of the first of each
            kind.
    """

    columns: Columns
    networks: Any
    refused: Sequence[Refused]


class NetworkProgram:
    """Computes figures of the networks that a spec stands for, for arrays of knobs and sizes.

    The first call runs the spec on symbols, and keeps the program that comes of it. A later call
    takes a run only where no program holds.

    Attributes:
        network: the network as it is.
        vary: the names that vary, in the order of the arguments.
        figures: the names of the figures.
    """

    def __init__(
        self, network: Network, setting: Setting, vary: Sequence[str], figures: Sequence[str]
    ) -> None:
        needs_numpy()
        self.network, self.vary, self.figures = network, tuple(vary), tuple(figures)
        self._setting, self._varied = setting, Varied(network)
        self._varied.needs_formulas("program")
        if not vary:
            raise ArchcostError("name what varies, as in program('resnet50', ['input'])")
        self._varied.check(self.vary)
        for name in self.figures:
            if find_metric(name).name not in SUMS:
                raise ArchcostError(
                    f"{name} takes a run of each network: sweep computes it. A program has "
                    f"{', '.join(SUMS)}"
                )
        self._programs: dict[tuple[str, ...], Programs] = {}

    def __repr__(self) -> str:
        """Return what it computes of what."""
        names, figures = ", ".join(self.vary), ", ".join(self.figures)
        return f"<program of {self.network.name}: {names} to {figures}>"

    def __reduce__(self) -> Any:
        """Be made anew in another process, without the programs."""
        return type(self), (self.network, self._setting, self.vary, self.figures)

    @property
    def runs(self) -> int:
        """How many runs of the spec there were."""
        return sum(each.runs for each in self._programs.values())

    def __call__(self, *values: Any) -> Costs:
        """Return the figures at values of the names, in their order.

        Values are numbers, words, or arrays of them, which numpy broadcasts. The result has their
        shape.

        Raises:
            ArchcostError: another number of values, arrays that do not broadcast, or a float that
                is not finite.
        """
        import numpy as np

        if len(values) != len(self.vary):
            raise ArchcostError(
                f"the values of {', '.join(self.vary)} are expected; got {len(values)}"
            )
        arrays = [_array(name, own) for name, own in zip(self.vary, values, strict=True)]
        try:
            arrays = [*np.broadcast_arrays(*arrays)]
        except ValueError:
            shapes = ", ".join(f"{n} {own.shape}" for n, own in zip(self.vary, arrays, strict=True))
            raise ArchcostError(f"these arrays do not broadcast: {shapes}") from None
        shape, rows = arrays[0].shape, arrays[0].size
        columns = {name: own.reshape(-1) for name, own in zip(self.vary, arrays, strict=True)}
        programs = self._programs_of(columns) if rows else None
        found = {name: np.full(rows, NONE, np.int64) for name in self.figures}
        networks, refused = np.zeros(rows, bool), dict[str, Refused]()
        for start in range(0, rows, BLOCK):
            part = {name: own[start : start + BLOCK] for name, own in columns.items()}
            assert programs
            priced = programs.price(part)
            there = start + np.flatnonzero(priced.networks)
            networks[there] = True
            for name, own in priced.figures.items():
                if own.dtype == object:
                    found[name] = found[name].astype(object)
                found[name][there] = own[priced.networks]
            refuse(refused, self._varied, part, priced)
        shaped = {name: own.reshape(shape) for name, own in found.items()}
        return Costs(shaped, networks.reshape(shape), [*refused.values()])

    def _programs_of(self, columns: Columns) -> Programs:
        """Return what prices values of these types, made for values at least as far apart."""
        key = tuple(own.dtype.kind for own in columns.values())
        box = {name: _roomy(ends) for name, ends in box_of(columns).items()}
        if key not in self._programs:
            figures = [find_metric(name).name for name in self.figures]
            folds = may_fold(self._setting, figures)
            run = run_of(self._varied, self._setting, figures)
            self._programs[key] = Programs(run, {}, folds)
        self._programs[key].widen(box)
        return self._programs[key]


def _array(name: str, values: Any) -> Any:
    """Return values as an array of int64, of float64, or of objects that are no numbers."""
    import numpy as np

    found = np.asarray(values)
    if found.dtype.kind in "iu" and (not found.size or found.max() < 2**63):
        return found.astype(np.int64)
    if found.dtype.kind == "f":
        if not np.isfinite(found).all():
            raise ArchcostError(f"{name}: a value is not a finite number")
        return found.astype(np.float64)
    words = np.empty(found.size, object)
    words[:] = found.reshape(-1).tolist()
    return words.reshape(found.shape)


def _roomy(ends: Bounds) -> Bounds:
    """Return ends at powers of two around these, so that few calls need wider ones."""
    low, high = ends
    return _power(low, up=False), _power(high, up=True)


def _power(value: float, up: bool) -> float:
    """Return the next power of two that is not below a number, or not above it."""
    if value <= 0:
        return -_power(-value, not up) if value else value
    fraction, exponent = math.frexp(value)
    exponent -= not up or fraction == 0.5
    return type(value)(2.0 ** min(exponent, 1023))
