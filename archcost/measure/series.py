"""Measuring many models in many settings: in which order, and what of it a record has already."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from archcost.measure.profile import REFUSED, Measurement, check_answers, profile
from archcost.network import Network
from archcost.performance.measured import row_key


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement to make.

    Attributes:
        network: what to measure.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        optimizer: of the training step, None to measure no training.
        inference: whether to measure a forward pass too; one optimizer's measurement does.
        load: what :func:`archcost.performance.measured.load_arguments` gives of it.
    """

    network: Network
    batch: int
    dtype: str
    optimizer: str | None
    inference: bool = True
    load: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from others, as :func:`row_key` does the rows of a record."""
        return row_key({
            "model": self.network.name, "input": self.network.input, "batch": self.batch,
            "dtype": self.dtype, "optimizer": self.optimizer, "load": self.load,
        })  # fmt: skip


def plan(
    networks: Sequence[tuple[Network, Mapping[str, Any]]],
    batches: Sequence[int],
    dtypes: Sequence[str],
    optimizers: Sequence[str | None] = (None,),
    rows: Iterable[Mapping[str, Any]] = (),
) -> list[Job]:
    """Return what there is to measure, all networks in one setting before any in the next.

    So a series that is cut short has something of every network. The data type changes first,
    then the batch, then the optimizer, where None is to measure no training. What is among the
    ``rows`` of a record, also as refused or out of memory, is left out. Each network comes with how
    to load it.
    """
    known = {row_key(row) for row in rows}
    jobs = [
        Job(network, batch, dtype, optimizer, optimizer == optimizers[0], load)
        for optimizer in optimizers
        for batch in batches
        for dtype in dtypes
        for network, load in networks
    ]
    return [job for job in jobs if job.key not in known]


def measure(jobs: Iterable[Job], device: str, runs: int) -> Iterator[Measurement]:
    """Yield the measurement of each job.

    Raises:
        ArchcostError: the device does not answer any more; what did that was yielded before.
    """
    frozen = gc.get_freeze_count()
    gc.freeze()  # what exists by now stays: to look through it after each model takes long
    try:
        for job in jobs:
            row = profile(
                job.network, device=device, batch=job.batch, dtype=job.dtype, runs=runs,
                training=job.optimizer is not None, optimizer=job.optimizer or "sgd",
                inference=job.inference,
            )  # fmt: skip
            yield replace(row, load=dict(job.load) or None)
            if row.status == REFUSED:
                check_answers(device)
    finally:
        if not frozen:  # what the caller has frozen stays so
            gc.unfreeze()
