"""What autograd keeps for the backward pass, storage by storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from archcost.analysis.training import learning
from archcost.network import Network
from archcost.ops import OUTPUT
from archcost.readings.ledger import FORWARD
from archcost.readings.storages import Place, Storages
from archcost.setting import Setting


@dataclass(frozen=True, slots=True)
class Storage:
    """Memory that is kept until the backward pass has used it.

    Attributes:
        owner: path of the layer of whose output it is, or the name of an input; of another tensor,
            path of the first layer that keeps it.
        what: ``"output"``, or what it is inside the layer, such as ``"mask"``.
        bytes: its size; a view keeps the whole storage that it lies in.
        savers: paths of the layers that need it, or of the groups that are computed again.
    """

    owner: str
    what: str
    bytes: int
    savers: tuple[str, ...]


@dataclass(frozen=True)
class SavedForBackward:
    """Every storage that a training step keeps; made by :func:`saved_for_backward`.

    ``places`` says where the input and the output of every layer lie in memory.
    """

    network: Network
    setting: Setting
    storages: tuple[Storage, ...]
    places: Mapping[str, Place]

    @cached_property
    def total(self) -> int:
        """Bytes of all storages, each counted once."""
        return sum(storage.bytes for storage in self.storages)

    @cached_property
    def by_owner(self) -> Mapping[str, int]:
        """Bytes by the path of the layer that makes them, or ``"input"``."""
        sums: dict[str, int] = {}
        for storage in self.storages:
            sums[storage.owner] = sums.get(storage.owner, 0) + storage.bytes
        return sums


def saved_for_backward(network: Network, setting: Setting) -> SavedForBackward:
    """Return what autograd keeps of one forward pass in training mode, parameters aside.

    Tensors of one storage count once, whoever saves them: a ReLU's output is the next
    convolution's input. Views (flatten, slice, chunk, crop) keep all of their storage. The
    network's input counts if a layer saves it. A CPU and CUDA keep other dropout masks.

    Raises:
        ArchcostError: a type in which no network is trained, or a pattern that matches no layer.
    """
    network = network.in_training
    setting.check_type()
    run = Storages(setting, exact=False)
    outputs = run.forward(network, learning(network, setting.freeze))
    run.ledger.enter(FORWARD)
    storages = tuple(
        Storage(
            # the lower copy of a shared weight, say: the first that keeps it may not have made it
            storage.owner if storage.what == OUTPUT else savers[0],
            storage.what,
            storage.size,
            tuple(dict.fromkeys(savers)),
        )
        for storage, savers in run.ledger.kept.items()
    )
    del outputs
    return SavedForBackward(network, setting, storages, run.places)
