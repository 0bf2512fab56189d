"""What a network takes of a device's memory, in training and in inference, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from archcost.hardware import Device
from archcost.network import Network
from archcost.optimizers import find_kernel
from archcost.readings.ledger import GRADIENTS, INPUTS, KINDS, PHASES, SAVED, STATE, TRANSIENT, Peak
from archcost.record import contract_id, plain, record
from archcost.setting import TRAINING, Setting
from archcost.storage.peaks import EAGER, IDEAL, Run, inference_peak, training_peak
from archcost.storage.saved import SavedForBackward, saved_for_backward
from archcost.storage.workspace import cublas_workspace
from archcost.table import Cell, Column, Table, Tabled
from archcost.units import human_bytes

ROUNDING = "allocator rounding"
NOT_COUNTED = (
    "not counted: workspaces of convolutions and matrix products, the CUDA context, and what the "
    "allocator holds back"
)
UNKNOWN = "not known"
BESIDE = ("workspaces of cuDNN", "CUDA context")
"""What a process on CUDA takes beside its tensors, of a size that only measuring tells."""


COLUMNS = (
    Column("part", "part", essential=True), Column("all", "in all", True),
    Column("training", "at the training peak", True, essential=True),
    Column("inference", "at the inference peak", True, essential=True),
)  # fmt: skip
TIMELINE_COLUMNS = (
    Column("phase", "phase", essential=True), Column("layer", "layer", essential=True),
    Column("bytes", "bytes", True, essential=True), Column("share", "of the peak", True),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Footprint(Tabled):
    """The memory of a network in one setting."""

    network: Network
    setting: Setting

    @cached_property
    def training(self) -> Run:
        """A training step."""
        return training_peak(self.network, self.setting)

    @cached_property
    def inference(self) -> Run:
        """A forward pass as PyTorch runs it."""
        return inference_peak(self.network, self.setting)

    @cached_property
    def ideal(self) -> Run:
        """A forward pass in which every storage is dropped after its last use."""
        return inference_peak(self.network, self.setting, IDEAL)

    @cached_property
    def saved(self) -> SavedForBackward:
        """What autograd keeps for backward."""
        return saved_for_backward(self.network, self.setting)

    def table(self) -> Table:
        """Return the sum of each peak, line by line."""
        training, inference = self.training.peak, self.inference.peak
        whole = {
            STATE: self.training.state,
            INPUTS: self.training.input,
            GRADIENTS: self.training.gradients,
            SAVED: self.saved.total,
            TRANSIENT: None,
        }
        rows: list[tuple[Cell, ...]] = []
        for kind in KINDS:
            resting = kind not in (STATE, GRADIENTS, SAVED)
            rows.append(
                (
                    kind,
                    whole.get(kind, training.kinds[kind]),
                    training.kinds[kind],
                    inference.kinds[kind] if resting else None,
                )
            )
        rows.append((ROUNDING, None, training.rounding, inference.rounding))
        return Table(
            COLUMNS,
            tuple(rows),
            title=f"{self.network.name}: memory in bytes",
            footer=(("total", None, training.total, inference.total), *self._beside()),
            notes=self._notes(),
        )

    @cached_property
    def workspace(self) -> int:
        """The bytes that cuBLAS keeps beside the peaks, 0 on a CPU."""
        cuda = self.setting.device == "cuda"
        return cublas_workspace(self.network, self.setting.gpu) if cuda else 0

    def _beside(self) -> Iterator[tuple[Cell, ...]]:
        """Yield the lines below the total: the memory of CUDA that is not in tensors."""
        if self.setting.device == "cuda":
            yield "workspace of cuBLAS", None, self.workspace, self.workspace
            yield from ((part, None, UNKNOWN, UNKNOWN) for part in BESIDE)

    def _notes(self) -> tuple[str, ...]:
        setting = self.setting
        others = [
            f"{phase} {self.training.peaks[phase].total:,}"
            for phase in PHASES
            if phase != self.training.peak.phase
        ]
        return (
            f"input {self.network.input_text}, batch {setting.batch}, {setting.words}",
            f"training peak: {where(self.training.peak)}; elsewhere {', '.join(others)}",
            f"inference peak: {where(self.inference.peak)}; ideal {self.ideal.peak.total:,}, "
            f"{where(self.ideal.peak)}",
            *([self._share(setting.gpu)] if setting.gpu else []),
        )

    def _share(self, gpu: Device) -> str:
        uses = (("training", self.training.peak), ("inference", self.inference.peak))
        shares = [f"{use} {(peak.total + self.workspace) / gpu.memory:.1%}" for use, peak in uses]
        return f"of the {human_bytes(gpu.memory)} of {gpu.name}: {', '.join(shares)}"

    def timeline(self) -> Table:
        """Return the most bytes alive while each layer runs, over a training step."""
        peak = self.training.peak.total
        rows = tuple(
            (moment.phase, moment.layer or _UNNAMED[moment.phase], moment.bytes,
             f"{moment.bytes / peak:.1%}")
            for moment in self.training.timeline
        )  # fmt: skip
        return Table(
            TIMELINE_COLUMNS, rows, title=f"{self.network.name}: live bytes over a training step",
            notes=self._notes()[:2],
        )  # fmt: skip

    def to_dict(self, timeline: bool = False) -> dict[str, Any]:
        """Return all figures; integers stay integers."""
        setting = self.setting
        data: dict[str, Any] = {
            "schema": contract_id("memory"),
            "model": self.network.name,
            **self.network.input_record,
            **record(setting, "batch", *TRAINING),
            "kernel": find_kernel(setting.kernel, setting.device),
            "gpu": setting.gpu.name if setting.gpu else None,
            "cublas_workspace": self.workspace,
            "parameters": self.training.params,
            "buffers": self.training.buffers,
            "gradients": self.training.gradients,
            "optimizer_state": self.training.state,
            "saved_for_backward": self.saved.total,
            "training": {
                "peak": peak_record(self.training.peak),
                "phases": {p: peak_record(self.training.peaks[p]) for p in PHASES},
            },
            "inference": {
                EAGER: peak_record(self.inference.peak),
                IDEAL: peak_record(self.ideal.peak),
            },
        }
        if timeline:
            data["timeline"] = plain(self.training.timeline)
        return data


_UNNAMED = {"forward": "(loss)", "backward": "(loss)", "optimizer": "(update)"}


def where(peak: Peak) -> str:
    """Return where a peak lies: ``backward of layer1.0.relu1``."""
    if peak.phase == "optimizer":
        return "optimizer's update"
    return f"{peak.phase} of {peak.layer or 'the loss'}"


def peak_record(peak: Peak) -> dict[str, Any]:
    """Return a peak as JSON has it."""
    return {
        "bytes": peak.total,
        "phase": peak.phase,
        "layer": peak.layer,
        **{kind.replace(" ", "_"): size for kind, size in peak.kinds.items()},
        "allocator_rounding": peak.rounding,
    }
