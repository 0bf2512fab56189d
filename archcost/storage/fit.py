"""The largest batch that fits in a device's memory, and what limits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.readings.ledger import Peak
from archcost.record import contract_id, record
from archcost.setting import MAX_BATCH, Setting
from archcost.storage.footprint import NOT_COUNTED, peak_record, where
from archcost.storage.peaks import Run, inference_peak, training_peak
from archcost.table import Cell, Column, Table, Tabled
from archcost.units import human_bytes

TRAINING, INFERENCE = "training", "inference"
RUNS: Mapping[str, Callable[[Network, Setting], Run]] = {
    TRAINING: training_peak, INFERENCE: inference_peak,
}  # fmt: skip
"""What runs a network for each use."""


@dataclass(frozen=True)
class Fit:
    """The largest batch of one use of a network.

    Attributes:
        use: ``"training"`` or ``"inference"``.
        batch: the largest batch, 0 if not even one sample fits.
        peak: the peak at that batch, None if it is 0.
        over: the peak at the next larger batch, None if every batch fits.
    """

    use: str
    batch: int
    peak: Peak | None
    over: Peak | None

    @property
    def binds(self) -> str:
        """What takes most of the memory where the next larger batch does not fit."""
        if self.over is None:
            return "nothing"
        kind = max(self.over.kinds, key=self.over.kinds.__getitem__)
        return f"{kind}, {self.over.kinds[kind] / self.over.total:.0%}"


COLUMNS = (
    Column("use", "use", essential=True), Column("batch", "largest batch", True, essential=True),
    Column("bytes", "takes", True, essential=True), Column("next", "the next takes", True),
    Column("binds", "what binds", essential=True), Column("where", "peak of the next"),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Fits(Tabled):
    """The largest batches of a network in a memory; made by :func:`fit`."""

    network: Network
    setting: Setting
    memory: int
    reserve: int
    fits: tuple[Fit, ...]

    def table(self) -> Table:
        """Return one row per use."""
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (
                fit.use,
                fit.batch,
                fit.peak.total if fit.peak else None,
                fit.over.total if fit.over else None,
                fit.binds,
                where(fit.over) if fit.over else "",
            )
            for fit in self.fits
        )
        return Table(COLUMNS, rows, title=f"{self.network.name} in {self._place()}",
                     notes=self._notes())  # fmt: skip

    def _place(self) -> str:
        size = f"{human_bytes(self.memory)} ({self.memory:,} bytes)"
        gpu = self.setting.gpu
        return f"{gpu.title}: {size}" if gpu else size

    def _notes(self) -> tuple[str, ...]:
        setting = self.setting
        left = f"; {self.reserve:,} bytes are set aside" if self.reserve else ""
        return (
            f"input {self.network.input_text}, {setting.words}{left}",
            NOT_COUNTED + "; --reserve sets memory aside for them",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all figures; integers stay integers."""
        setting = self.setting
        return {
            "schema": contract_id("fit"),
            "model": self.network.name,
            **self.network.input_record,
            "gpu": setting.gpu.name if setting.gpu else None,
            **record(self, "memory", "reserve"),
            **record(setting, "dtype", "device", "optimizer"),
            "fits": [
                {
                    "use": fit.use,
                    "batch": fit.batch,
                    "peak": peak_record(fit.peak) if fit.peak else None,
                    "next": peak_record(fit.over) if fit.over else None,
                }
                for fit in self.fits
            ],
        }


def fit(network: Network, memory: int, setting: Setting | None = None, reserve: int = 0) -> Fits:
    """Return the largest batch for training and for inference.

    Args:
        network: from :func:`archcost.load`.
        memory: bytes of the device.
        setting: how the network is run; its batch does not matter.
        reserve: bytes of ``memory`` to leave alone.

    Raises:
        ArchcostError: not even one sample fits, for training or for inference.
    """
    setting = setting or Setting()
    room = memory - reserve
    if room <= 0:
        raise ArchcostError(f"cannot set aside {reserve:,} of {memory:,} bytes")
    fits = tuple(largest_batch(use, network, setting, room) for use in RUNS)
    if not any(found.batch for found in fits):
        smallest = min(found.over.total for found in fits if found.over)
        raise ArchcostError(
            f"{network.name} does not fit in {room:,} bytes even at batch 1: inference takes "
            f"{smallest:,}"
        )
    return Fits(network, setting, memory, reserve, fits)


def largest_batch(use: str, network: Network, setting: Setting, room: int) -> Fit:
    """Return the largest batch whose peak is at most ``room``; a peak grows with the batch.

    A peak is the largest of several sums, each linear in the batch. The line through the bounds
    therefore gives the next batch to try. Blocks bend it a little, so each trial is checked.
    """

    def peak(batch: int) -> Peak:
        return RUNS[use](network, replace(setting, batch=batch)).peak

    low, under = 0, None
    high, over = 1, peak(1)
    while over.total <= room:
        if high == MAX_BATCH:
            return Fit(use, high, over, None)
        low, under = high, over
        high = min(2 * high, MAX_BATCH)
        over = peak(high)
    while under is not None and high - low > 1:
        step = (room - under.total) * (high - low) // (over.total - under.total)
        trial = min(max(low + step, low + 1), high - 1)
        found = peak(trial)
        if found.total <= room:
            low, under = trial, found
        else:
            high, over = trial, found
    return Fit(use, low, under, over)
