"""What backward computes again of a forward pass, product by product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from archcost.network import Network
from archcost.primitives.row import Row
from archcost.readings.autograd import sweep
from archcost.readings.storages import Storages
from archcost.readings.tensors import Node, Tensor
from archcost.setting import Setting


class _Recomputed(Storages):
    """Counts the multiply-accumulates that run while backward computes a region again."""

    watched = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, exact=False)
        self.macs: Counter[str] = Counter()

    def ran(self, row: Row, read: Sequence[Any], made: Sequence[Tensor]) -> None:
        """Add those of an operation of the second run."""
        if self.recomputes:
            self.macs[self.layer] += row.macs


def recomputed_macs(
    network: Network, setting: Setting, learns: Collection[str]
) -> Mapping[str, int]:
    """Return the multiply-accumulates that backward computes again, by the path of the layer.

    They are those of the batch. A region is computed again up to the last tensor that backward asks
    for, so that its last layer may not be. Backward begins at all outputs.

    Args:
        network: in training mode.
        setting: with the batch, and the patterns of groups to compute again.
        learns: full names of the parameters that are trained.
    """
    if not network.checkpoints and not setting.checkpoint:
        return {}
    run = _Recomputed(setting)
    arrived: dict[Node, dict[int, Tensor]] = {}
    for out in run.forward(network, learns):
        if out.node is not None:
            arrived.setdefault(out.node, {})[out.place] = out.like(out.shape)
    sweep(run.ledger, arrived, observed=False)
    return run.macs
