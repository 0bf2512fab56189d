"""Predicted memory peaks against a record's, with the signed error of each model.

The rules of :mod:`archcost.storage.peaks` may be mended on one half of the catalog only; the
other is held out, and its errors are what the rules are worth. A model's half follows from its
name, so that nobody chooses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from archcost.errors import ArchcostError
from archcost.performance.measured import load_row, measurements, record_device
from archcost.setting import OPTIONS, Setting
from archcost.storage.fit import INFERENCE, RUNS, TRAINING
from archcost.storage.workspace import peak_with_workspace
from archcost.table import Cell, Column, Table
from archcost.units import number_of

RULES, HELD_OUT = HALVES = ("rules", "held out")
LARGE = 2 * 2**30
"""Peaks from 2 GiB on; in smaller ones the workspaces of cuDNN weigh more."""
OVER, UNDER = 0.02, 0.01
"""How far a prediction of a large peak may lie above and below what was measured."""
NOT_MEASURED = (
    "the record has no peaks of an allocator: a CPU keeps no such account; what stands for them "
    "is the proof on fake tensors, `archcost verify MODEL --checks peaks`"
)


def half(model: str) -> str:
    """Return which half of the catalog a model belongs to: by the last bit of its name's hash."""
    return HALVES[sha256(model.encode()).digest()[-1] & 1]


@dataclass(frozen=True)
class Proof:
    """One peak of a record beside the prediction, in bytes."""

    model: str
    batch: int
    dtype: str
    use: str
    predicted: int
    measured: int

    @property
    def error(self) -> float:
        """Predicted minus measured, as a share of the measured."""
        return (self.predicted - self.measured) / self.measured

    @property
    def allowed(self) -> float:
        """The largest difference in bytes that the claim leaves; it is made for large peaks."""
        return (OVER if self.error > 0 else UNDER) * self.measured


def row_setting(row: Mapping[str, Any], device: str) -> Setting:
    """Return the setting in which a row of a record was measured."""
    given = {key: row[key] for key in OPTIONS if row.get(key) is not None}
    return Setting.of(given | {"device": device})


def proofs(record: Mapping[str, Any]) -> Iterator[Proof]:
    """Yield every measured peak that can be predicted, in the order of the record."""
    device = record_device(record)
    for row in measurements(record):
        places = {INFERENCE: "inference_peak_bytes", TRAINING: "training_peak_bytes"}
        measured = {use: row[key] for use, key in places.items() if row.get(key)}
        if not measured:
            continue
        try:
            network = load_row(row)
            setting = row_setting(row, "cuda")
            for use, size in measured.items():
                label = f"{use}, {setting.optimizer}" if use == TRAINING else use
                predicted = peak_with_workspace(network, RUNS[use](network, setting), device)
                yield Proof(row["model"], row["batch"], row["dtype"], label, predicted, size)
        except ArchcostError:
            continue  # the model is gone, or its peak is not known


COLUMNS = (
    Column("model", "model", essential=True), Column("half", "half", minor=True),
    Column("batch", "batch", True, essential=True), Column("dtype", "dtype"),
    Column("use", "use", essential=True), Column("predicted", "predicted", True, essential=True),
    Column("measured", "measured", True, essential=True),
    Column("error", "error", True, essential=True),
)  # fmt: skip


def proof_table(record: Mapping[str, Any]) -> Table:
    """Return one row per measured peak, with the errors of both halves at the foot."""
    found = [*proofs(record)]
    rows: list[tuple[Cell, ...]] = [
        (p.model, half(p.model), p.batch, p.dtype, p.use, p.predicted, p.measured,
         f"{p.error:+.2%}")
        for p in found
    ]  # fmt: skip
    return Table(
        COLUMNS, tuple(rows), "predicted and measured peaks of memory, in bytes",
        notes=tuple(_summary(found)) if found else (NOT_MEASURED,),
    )  # fmt: skip


def _summary(found: list[Proof]) -> Iterator[str]:
    """Yield a line for each half: the extreme errors, of all peaks and of the large ones."""
    for name in HALVES:
        own = [p for p in found if half(p.model) == name]
        for what, some in (("all", own), ("from 2 GiB", [p for p in own if p.measured >= LARGE])):
            if not some:
                continue
            errors = [p.error for p in some]
            under = sum(error < -UNDER for error in errors)
            yield (
                f"{name}, {what}: {number_of(len(some), 'peak')} of "
                f"{number_of(len({p.model for p in some}), 'model')}, "
                f"errors {min(errors):+.2%} to {max(errors):+.2%}, "
                f"{under} more than {UNDER:.0%} too low"
            )
