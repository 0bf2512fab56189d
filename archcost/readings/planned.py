"""The least that a planner could reach: every storage is dropped after its last use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.network import Network
from archcost.primitives.row import Row
from archcost.readings.ledger import FORWARD, INPUTS, KINDS, TRANSIENT, Peak, Storage
from archcost.readings.storages import Storages
from archcost.readings.tensors import Tensor


class Planned(Storages):
    """Writes down which storages each operation reads and makes, and all that it allocates."""

    watched = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.allocated: list[Storage] = []
        self.ledger.log = self.allocated
        self.trace: list[tuple[str, set[Storage], set[Storage], list[Storage]]] = []

    def ran(self, row: Row, read: Sequence[Any], made: Sequence[Tensor]) -> None:
        """Write an operation down."""
        log = [each for each in self.allocated if each.kind == TRANSIENT]
        self.allocated.clear()
        reads = {each.storage for each in read if isinstance(each, Tensor)}
        self.trace.append((self.layer, reads, {t.storage for t in made} - reads, log))


def ideal_peak(run: Planned, network: Network) -> Peak:
    """Return the peak of a forward pass whose storages are dropped after their last use.

    The order of the operations is that of the network. Parameters and buffers stay.
    """
    outputs = run.forward(network)
    trace = run.trace
    last: dict[Storage, int] = {}
    for at, (_, reads, made, _) in enumerate(trace):
        last |= dict.fromkeys((*reads, *made), at)
    last |= dict.fromkeys([tensor.storage for tensor in outputs], len(trace))
    kinds = dict.fromkeys(KINDS, 0) | run.static
    rounding = run.static_taken - sum(kinds.values())
    best = Peak(FORWARD, "", dict(kinds), rounding)
    for at, (layer, reads, made, log) in enumerate(trace):
        for storage in log:
            kinds[TRANSIENT] += storage.size
            rounding += storage.taken - storage.size
        if sum(kinds.values()) + rounding > best.total:
            best = Peak(FORWARD, layer, dict(kinds), rounding)
        gone = [storage for storage in log if storage not in made]
        gone += [
            storage
            for storage in (*reads, *made)
            if last[storage] == at and storage.kind in (TRANSIENT, INPUTS)
        ]
        for storage in gone:
            kinds[storage.kind] -= storage.size
            rounding -= storage.taken - storage.size
    return best
