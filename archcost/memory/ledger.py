"""The bytes that are alive, by what they hold, and the moments at which they are the most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PARAMETERS, BUFFERS, STATE, INPUTS, GRADIENTS, SAVED, TRANSIENT = KINDS = (
    "parameters", "buffers", "optimizer state", "input", "gradients", "saved for backward",
    "transient",
)  # fmt: skip
"""What memory holds; a tensor counts as saved while an operation keeps it for backward."""

FORWARD, BACKWARD, UPDATE = PHASES = ("forward", "backward", "optimizer")
CUDA_BLOCK = 512
"""PyTorch's CUDA allocator hands out multiples of this many bytes (``kMinBlockSize``)."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment of the largest use of memory.

    Attributes:
        phase: ``"forward"``, ``"backward"`` or ``"optimizer"``.
        layer: path of the layer that was running, empty for the loss and the optimizer.
        kinds: bytes by what they hold, for all of :data:`KINDS`.
        rounding: bytes that the allocator adds by handing out whole blocks.
    """

    phase: str
    layer: str
    kinds: Mapping[str, int]
    rounding: int = 0

    @property
    def tensors(self) -> int:
        """Bytes of all tensors."""
        return sum(self.kinds.values())

    @property
    def total(self) -> int:
        """Bytes of all tensors and the allocator's rounding."""
        return self.tensors + self.rounding


@dataclass(frozen=True, slots=True)
class Moment:
    """The most bytes that were alive, rounding included, while a layer was running."""

    phase: str
    layer: str
    bytes: int


class Storage:
    """Memory of one tensor or several views: how many hold it, and how many keep it."""

    __slots__ = ("holders", "keepers", "kind", "rounding", "size")

    def __init__(self, size: int, kind: str, rounding: int) -> None:
        self.size, self.kind, self.rounding = size, kind, rounding
        self.holders, self.keepers = 1, 0


class Ledger:
    """What is alive, by kind, and the largest sum so far of each phase."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.kinds = dict.fromkeys(KINDS, 0)
        self.live = self.rounding = 0
        self.phase, self.layer = FORWARD, ""
        self.peaks: dict[str, Peak] = {}
        self.highest = -1
        self.timeline: list[Moment] = []
        self.most = 0

    def enter(self, phase: str, layer: str = "") -> None:
        """Say what runs from here on."""
        if phase != self.phase:
            self.highest = -1
        if (phase, layer) != (self.phase, self.layer):
            self.mark()
            self.phase, self.layer, self.most = phase, layer, 0
        self._look()

    def mark(self) -> None:
        """Write down the layer that ran."""
        if self.most:
            self.timeline.append(Moment(self.phase, self.layer, self.most))

    def _look(self) -> None:
        total = self.live + self.rounding
        if total > self.most:
            self.most = total
        if total > self.highest:
            self.highest = total
            self.peaks[self.phase] = Peak(self.phase, self.layer, dict(self.kinds), self.rounding)

    def new(self, size: int, kind: str = TRANSIENT, pieces: int = 1) -> Storage:
        """Allocate a tensor, or several of equal size that live and die together."""
        rounding = pieces * (-(size // pieces) % self.block)
        self.kinds[kind] += size
        self.live += size
        self.rounding += rounding
        self._look()
        return Storage(size, kind, rounding)

    def drop(self, storage: Storage) -> None:
        """Let go of a storage; the last holder frees it."""
        storage.holders -= 1
        if not storage.holders:
            self.kinds[storage.kind] -= storage.size
            self.live -= storage.size
            self.rounding -= storage.rounding

    def keep(self, storage: Storage) -> Storage:
        """Hold a storage for backward."""
        storage.holders += 1
        storage.keepers += 1
        if storage.keepers == 1:
            self.kinds[storage.kind] -= storage.size
            self.kinds[SAVED] += storage.size
        return storage

    def unkeep(self, storage: Storage) -> None:
        """Let go of a storage that was held for backward."""
        storage.keepers -= 1
        if not storage.keepers:
            self.kinds[SAVED] -= storage.size
            self.kinds[storage.kind] += storage.size
        self.drop(storage)
