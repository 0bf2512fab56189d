"""How a network is run and counted: the one argument of everything that runs a network.

A setting is made from options of the command line, keys of a budget file, or keyword arguments. To
add an option, add a field here, and its flag to ``FLAGS`` of ``archcost/cli/options.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Any

from archcost.data import dataclass
from archcost.errors import ArchcostError
from archcost.optimizers import find_kernel, find_optimizer
from archcost.units import dtype_bytes

if TYPE_CHECKING:
    from archcost.hardware import Device

MAX_BATCH = 2**31
DEVICES = ("cpu", "cuda")
FLOATS = ("float64", "float32", "float16", "bfloat16")
"""The data types in which PyTorch trains."""
CUDA_BLOCK = 512
"""PyTorch's CUDA allocator hands out multiples of this many bytes (``kMinBlockSize``)."""
AMP: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16"}
"""The types of autocast, by their names on the command line."""


@dataclass(frozen=True)
class Setting:
    """How a network is run and counted: everything, apart from its layers, that figures depend on.

    Attributes:
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``.
        optimizer: name in :data:`archcost.optimizers.OPTIMIZERS`.
        kernel: how the optimizer updates: ``"foreach"``, ``"fused"`` or ``"for-loop"``; None for
            PyTorch's default.
        weight_decay: whether the optimizer uses weight decay.
        freeze: shell patterns of layers that are not trained.
        amp: ``"bf16"`` or ``"fp16"``: forward runs under ``torch.autocast`` with this type.
        channels_last: whether the network and the input are in ``torch.channels_last``.
        checkpoint: shell patterns of groups that run under ``torch.utils.checkpoint`` with
            ``use_reentrant=False``; backward recomputes them.
        convention: name of a counting convention.
        activations: name of an activation convention: which outputs count as activations.
        gpu: a device, or None for any. Its peaks bound times, and it decides the size of cuBLAS's
            workspace.
        block: the allocator's block in bytes; 0 for the block of the device, which is 1 on a CPU.
        observed: whether an observer of operations on fake tensors runs, such as PyTorch's
            MemTracker. Gradients are then added out of place. Batch normalisation makes a gradient
            of its input even if none is needed, as it does on CUDA. The map in the middle of a
            roll along two axes is not seen. Under autocast, the statistics of batch normalisation
            have the type of the activations.
    """

    batch: int = 1
    dtype: str = "float32"
    device: str = "cuda"
    optimizer: str = "sgd-momentum"
    kernel: str | None = None
    weight_decay: bool = False
    freeze: tuple[str, ...] = ()
    amp: str | None = None
    checkpoint: tuple[str, ...] = ()
    channels_last: bool = False
    convention: str = "flops"
    activations: str = "lecture"
    gpu: Device | None = field(default=None, kw_only=True)
    block: int = field(default=0, kw_only=True)
    observed: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        batch = self.batch
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
            whole = f"batch must be a whole number from 1 to {MAX_BATCH:,}"
            raise ArchcostError(f"{whole}; got {batch!r}")
        dtype_bytes(self.dtype)
        if self.device not in DEVICES:
            raise ArchcostError(f"memory is known on cpu and cuda; got {self.device!r}")
        find_optimizer(self.optimizer)
        find_kernel(self.kernel, self.device)
        if self.amp not in (None, *AMP):
            raise ArchcostError(f"autocast takes bf16 or fp16; got {self.amp!r}")
        if self.amp and self.dtype != "float32":
            raise ArchcostError(f"autocast keeps parameters in float32; got --dtype {self.dtype}")
        if self.gpu and self.gpu.runs != self.device:
            kind = self.gpu.kind.upper()
            raise ArchcostError(f"{self.gpu.name} is a {kind}, which is --device {self.gpu.runs}")

    @classmethod
    def of(cls, options: Mapping[str, Any], **more: Any) -> Setting:
        """Return the setting for the options that are fields of it; ``more`` are further fields.

        Raises:
            ArchcostError: an option of another type, or a setting that cannot run.
        """
        own = {name: options[name] for name in OPTIONS if name in options}
        lists = {name: patterns(name, own[name]) for name in own if OPTIONS[name] is list}
        return cls(**{**own, **lists, **more})

    def on(self, device: Device) -> Setting:
        """Return the same setting on a device."""
        return replace(self, gpu=device, device=device.runs)

    @property
    def itemsize(self) -> int:
        """Bytes per element of parameters and activations."""
        return dtype_bytes(self.dtype)

    @property
    def rounded(self) -> int:
        """The allocator's block in bytes: it hands out multiples of this size."""
        return self.block or (CUDA_BLOCK if self.device == "cuda" else 1)

    @property
    def hardware(self) -> Device:
        """The device that is named.

        Raises:
            ArchcostError: there is none.
        """
        if self.gpu is None:
            raise ArchcostError("name a device, such as gpu h100; `archcost hardware` lists them")
        return self.gpu

    def check_type(self) -> None:
        """Refuse a data type that PyTorch cannot train in."""
        if self.dtype not in FLOATS:
            raise ArchcostError(f"PyTorch cannot train in {self.dtype}; {', '.join(FLOATS)} can")

    @property
    def update(self) -> str:
        """The optimizer in words: ``adam, foreach``."""
        decay = ", weight decay" if self.weight_decay else ""
        return f"{self.optimizer}, {find_kernel(self.kernel, self.device)}{decay}"

    @property
    def words(self) -> str:
        """How a step is run: ``float32, cuda; sgd-momentum, foreach; channels last``."""
        again = f"; {', '.join(self.checkpoint)} computed again" if self.checkpoint else ""
        cast = f"; autocast to {AMP[self.amp]}" if self.amp else ""
        last = "; channels last" if self.channels_last else ""
        return f"{self.dtype}, {self.device}; {self.update}{cast}{last}{again}"


def _kind(default: Any) -> type:
    return {type(None): str, tuple: list}.get(type(default), type(default))


OPTIONS: Mapping[str, type] = {f.name: _kind(f.default) for f in fields(Setting) if not f.kw_only}
"""What users may set, and of which type."""
COUNTING = ("batch", "dtype", "convention", "activations")
"""The options on which the figures of layers depend."""
TRAINING = tuple(name for name in OPTIONS if name == "dtype" or name not in COUNTING)
"""Those on which a training step depends, beside its batch."""

CPU = Setting(device="cpu")
"""Nothing asked for, on a CPU."""


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """Return a list of names as a tuple; a single str is refused, because it is not a list.

    Raises:
        ArchcostError: a single str, or anything else that is not a list of str.
    """
    listed = isinstance(value, (list, tuple, set, frozenset))
    if not listed or not all(isinstance(item, str) for item in value):
        raise ArchcostError(f"{name} is a list of names, such as ['stem']; got {value!r}")
    return tuple(value)
