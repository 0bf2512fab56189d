"""The bytes that are alive, by what they hold, and the moments at which they are the most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

PARAMETERS, BUFFERS, STATE, INPUTS, GRADIENTS, SAVED, TRANSIENT = KINDS = (
    "parameters", "buffers", "optimizer state", "input", "gradients", "saved for backward",
    "transient",
)  # fmt: skip
"""What memory holds; a tensor counts as saved while an operation keeps it for backward."""

FORWARD, BACKWARD, UPDATE = PHASES = ("forward", "backward", "optimizer")


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


class Moment(NamedTuple):
    """The most bytes that were alive, rounding included, while a layer was running."""

    phase: str
    layer: str
    bytes: int


class Ledger:
    """What is alive, by kind, and the largest sum so far of each phase.

    ``kept`` holds the storages that are kept for backward, each with the layers that keep it;
    ``log`` the storages that are made, if it is a list. ``shared`` says that several operations
    have read one parameter, ``observed`` that an observer of operations sees what is alive.
    """

    __slots__ = (
        "_highest",
        "_most",
        "block",
        "kept",
        "kinds",
        "layer",
        "live",
        "log",
        "observed",
        "peaks",
        "phase",
        "shared",
        "timeline",
    )  # fmt: skip

    def __init__(self, block: int, observed: bool = False) -> None:
        self.block, self.observed = block, observed
        self.kinds = dict.fromkeys(KINDS, 0)
        self.live = 0  # rounding included
        self.phase, self.layer = "", ""
        self.peaks: dict[str, tuple[int, str, dict[str, int]]] = {}
        self.kept: dict[Storage, list[str]] = {}
        self.timeline: list[Moment] = []
        self.log: list[Storage] | None = None
        self.shared = False
        self._highest, self._most = -1, 0

    def enter(self, phase: str, layer: str = "") -> None:
        """Say what runs from here on."""
        if phase != self.phase or layer != self.layer:
            if phase != self.phase:
                self._highest = -1
            self.mark()
            self.phase, self.layer, self._most = phase, layer, 0
        if self.live > self._most or self._highest < 0:
            self.look()

    def mark(self) -> None:
        """Write down the layer that ran."""
        if self._most and self.phase:
            self.timeline.append(Moment(self.phase, self.layer, self._most))

    def look(self) -> None:
        """Compare what is alive with the most so far."""
        if self.live > self._most:
            self._most = self.live
        if self.live > self._highest and self.phase:
            self._highest = self.live
            self.peaks[self.phase] = self.live, self.layer, dict(self.kinds)

    def found(self) -> dict[str, Peak]:
        """Return the peak of each phase."""
        return {
            phase: Peak(phase, layer, kinds, live - sum(kinds.values()))
            for phase, (live, layer, kinds) in self.peaks.items()
        }


class Storage:
    """Memory of one tensor or of several views: it is free when nothing holds it any more.

    Attributes:
        size, taken: bytes of the tensor, and of the allocator's blocks.
        kind: what it holds, of :data:`KINDS`.
        owner: path of the layer that made it, empty for what is there before the first layer.
        what: what it is in that layer: ``"output"``, or what made it.
        holders, keepers: how many tensors lie in it, and how many of these backward needs.
    """

    __slots__ = ("holders", "keepers", "kind", "ledger", "owner", "size", "taken", "what")

    def __init__(self, ledger: Ledger, size: int, kind: str, what: str = "") -> None:
        self.ledger, self.size, self.kind, self.what = ledger, size, kind, what
        self.owner = ledger.layer
        self.taken = size + -size % ledger.block
        self.holders = self.keepers = 0
        ledger.kinds[kind] += size
        ledger.live += self.taken
        if ledger.live > ledger._most:
            ledger.look()
        if ledger.log is not None:
            ledger.log.append(self)

    def drop(self) -> None:
        """Let go of it; the last holder frees it."""
        self.holders -= 1
        if not self.holders:
            self.ledger.kinds[self.kind] -= self.size
            self.ledger.live -= self.taken

    def multiply(self, times: int) -> None:
        """Stand for several storages like it, which are held and let go of together."""
        ledger, more = self.ledger, times - 1
        if self.holders:
            kept = self.keepers and self.kind not in (PARAMETERS, BUFFERS)
            ledger.kinds[SAVED if kept else self.kind] += self.size * more
            ledger.live += self.taken * more
            ledger.look()
        self.size, self.taken = self.size * times, self.taken * times

    def become(self, kind: str) -> None:
        """Hold something else from now on."""
        self.ledger.kinds[self.kind] -= self.size
        self.ledger.kinds[kind] += self.size
        self.kind = kind

    def keep(self, layer: str) -> None:
        """Keep it for backward; parameters and buffers stay what they are."""
        self.keepers += 1
        if self.kind in (PARAMETERS, BUFFERS):
            return
        ledger = self.ledger
        if self.keepers == 1:
            ledger.kinds[self.kind] -= self.size
            ledger.kinds[SAVED] += self.size
            ledger.kept[self] = []
        ledger.kept[self].append(layer)

    def release(self) -> None:
        """Let go of it as something that backward needs."""
        self.keepers -= 1
        if not self.keepers and self.kind not in (PARAMETERS, BUFFERS):
            ledger = self.ledger
            ledger.kinds[SAVED] -= self.size
            ledger.kinds[self.kind] += self.size
            del ledger.kept[self]
