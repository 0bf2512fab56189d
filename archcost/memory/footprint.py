"""What a network takes of a device's memory, in training and in inference, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from archcost.analysis.report import MAX_BATCH
from archcost.errors import ArchcostError
from archcost.hardware import CPU, Device
from archcost.memory.forward import EAGER, IDEAL
from archcost.memory.ledger import (
    CUDA_BLOCK,
    GRADIENTS,
    INPUTS,
    KINDS,
    PHASES,
    SAVED,
    STATE,
    TRANSIENT,
    Peak,
)
from archcost.memory.mode import PLAIN, Mode
from archcost.memory.optimizers import find_kernel, find_optimizer
from archcost.memory.peaks import inference_peak, training_peak
from archcost.memory.saved import SavedForBackward, check_device, saved_for_backward
from archcost.memory.simulation import Run
from archcost.memory.workspace import cublas_workspace
from archcost.network import Network
from archcost.shape import show
from archcost.table import Cell, Column, Table
from archcost.units import dtype_bytes, human_bytes

DTYPES = ("float64", "float32", "float16", "bfloat16")
ROUNDING = "allocator rounding"
NOT_COUNTED = (
    "not counted: workspaces of convolutions and matrix products, the CUDA context, and what the "
    "allocator holds back"
)
UNKNOWN = "not known"
BESIDE = ("workspaces of cuDNN", "CUDA context")
"""What a process on CUDA takes beside its tensors, of a size that only measuring tells."""


@dataclass(frozen=True)
class Setting:
    """How a network is run: all that its memory depends on beside its layers.

    Attributes:
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``; only CUDA's allocator hands out whole blocks.
        optimizer: name of the optimizer.
        kernel: how it updates, None for PyTorch's choice.
        weight_decay: whether it decays the weights.
        freeze: shell patterns of layers that are not trained.
        mode: autocast, recomputation, channels last.
        gpu: which CUDA device, None for any; the size of cuBLAS's workspace depends on it.
    """

    batch: int = 1
    dtype: str = "float32"
    device: str = "cuda"
    optimizer: str = "sgd-momentum"
    kernel: str | None = None
    weight_decay: bool = False
    freeze: tuple[str, ...] = ()
    mode: Mode = PLAIN
    gpu: Device | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not 1 <= self.batch <= MAX_BATCH:
            raise ArchcostError(
                f"batch must be a whole number from 1 to {MAX_BATCH:,}; got {self.batch}"
            )
        dtype_bytes(self.dtype)
        if self.dtype not in DTYPES:
            raise ArchcostError(f"PyTorch cannot train in {self.dtype}; {', '.join(DTYPES)} can")
        check_device(self.device)
        find_optimizer(self.optimizer)
        find_kernel(self.kernel, self.device)
        self.mode.check(self.dtype, self.freeze)
        if self.gpu and (self.gpu.kind == CPU) != (self.device == "cpu"):
            kind, own = ("CPU", "cpu") if self.gpu.kind == CPU else ("GPU", "cuda")
            raise ArchcostError(f"{self.gpu.name} is a {kind}, which is --device {own}")

    @property
    def block(self) -> int:
        """The allocator's block in bytes."""
        return CUDA_BLOCK if self.device == "cuda" else 1

    @property
    def update(self) -> str:
        """The optimizer in words: ``adam, foreach``."""
        decay = ", weight decay" if self.weight_decay else ""
        return f"{self.optimizer}, {find_kernel(self.kernel, self.device)}{decay}"

    def training(self, network: Network, block: int | None = None) -> Run:
        """Return the memory of a training step; ``block`` is the allocator's unless given."""
        return training_peak(
            network, self.batch, self.dtype, self.device, self.optimizer, self.kernel,
            self.weight_decay, self.freeze, block or self.block, mode=self.mode,
        )  # fmt: skip

    def inference(self, network: Network, reading: str = EAGER) -> Run:
        """Return the memory of a forward pass in evaluation mode."""
        return inference_peak(
            network, self.batch, self.dtype, self.device, reading, self.block, self.mode
        )


@dataclass(frozen=True)
class Footprint:
    """The memory of a network in one setting; made by :func:`footprint`."""

    network: Network
    setting: Setting

    @cached_property
    def training(self) -> Run:
        """A training step."""
        return self.setting.training(self.network)

    @cached_property
    def inference(self) -> Run:
        """A forward pass as PyTorch runs it."""
        return self.setting.inference(self.network)

    @cached_property
    def ideal(self) -> Run:
        """A forward pass in which every storage is dropped after its last use."""
        return self.setting.inference(self.network, IDEAL)

    @cached_property
    def saved(self) -> SavedForBackward:
        """What autograd keeps for backward."""
        setting = self.setting
        return saved_for_backward(
            self.network, setting.batch, setting.dtype, setting.device, setting.freeze,
            setting.mode,
        )  # fmt: skip

    def table(self) -> Table:
        """Return the sum of each peak, line by line."""
        columns = (
            Column("part", "part"),
            Column("all", "in all", True),
            Column("training", "at the training peak", True),
            Column("inference", "at the inference peak", True),
        )
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
            columns,
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
        """Yield the lines below the total: what CUDA takes that is no tensor."""
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
            f"input {show(self.network.input)}, batch {setting.batch}, {setting.dtype}, "
            f"{setting.device}; {setting.update}{setting.mode.words}",
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
        columns = (
            Column("phase", "phase"), Column("layer", "layer"), Column("bytes", "bytes", True),
            Column("share", "of the peak", True),
        )  # fmt: skip
        peak = self.training.peak.total
        rows = tuple(
            (moment.phase, moment.layer or _UNNAMED[moment.phase], moment.bytes,
             f"{moment.bytes / peak:.1%}")
            for moment in self.training.timeline
        )  # fmt: skip
        return Table(
            columns, rows, title=f"{self.network.name}: live bytes over a training step",
            notes=self._notes()[:2],
        )  # fmt: skip

    def to_dict(self, timeline: bool = False) -> dict[str, Any]:
        """Return all figures; integers stay integers."""
        setting = self.setting
        data: dict[str, Any] = {
            "model": self.network.name,
            "input": list(self.network.input),
            "batch": setting.batch,
            "dtype": setting.dtype,
            "device": setting.device,
            "optimizer": setting.optimizer,
            "kernel": find_kernel(setting.kernel, setting.device),
            "weight_decay": setting.weight_decay,
            "freeze": list(setting.freeze),
            "amp": setting.mode.amp,
            "channels_last": setting.mode.channels_last,
            "checkpoint": list(setting.mode.checkpoint),
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
            data["timeline"] = [
                {"phase": moment.phase, "layer": moment.layer, "bytes": moment.bytes}
                for moment in self.training.timeline
            ]
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


def footprint(
    network: Network,
    *,
    batch: int = 1,
    dtype: str = "float32",
    device: str = "cuda",
    optimizer: str = "sgd-momentum",
    kernel: str | None = None,
    weight_decay: bool = False,
    freeze: Sequence[str] = (),
    mode: Mode = PLAIN,
) -> Footprint:
    """Return the memory of a network; the arguments are those of :class:`Setting`.

    Raises:
        ArchcostError: a setting that cannot be run, nothing to train, or a layer whose peak is
            not known.
    """
    setting = Setting(batch, dtype, device, optimizer, kernel, weight_decay, tuple(freeze), mode)
    return Footprint(network, setting)
