"""What a pass leaves for backward: tensors, operations, and parts that are computed again."""

from __future__ import annotations

from dataclasses import dataclass, field

from archcost.memory.ledger import GRADIENTS, TRANSIENT, Ledger, Storage
from archcost.memory.regions import Region

NOTHING, READ, MADE = "nothing", "what it reads", "what it makes"
"""What an operation keeps for its backward."""


@dataclass(slots=True)
class Tensor:
    """A tensor of the forward pass: its storage, size, and the operation that made it, if any."""

    storage: Storage
    bytes: int
    node: int | None
    itemsize: int
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """What gets a gradient: an input, by the operation that made it, or a parameter (None).

    ``copied`` says that a parameter's gradient lies otherwise than the parameter, ``summed`` that
    it is a sum of the incoming gradient, taken after the operation.
    """

    node: int | None
    bytes: int
    pieces: int = 1
    copied: bool = False
    summed: bool = False

    @property
    def kind(self) -> str:
        """What the gradient is, for the ledger."""
        return GRADIENTS if self.node is None else TRANSIENT


@dataclass(slots=True)
class Node:
    """An operation that backward visits: whose gradients it makes, and what it kept for that.

    ``gapless`` says that slices of its gradient lie in one piece, ``apart`` that gradients which
    arrive are not added up; it runs ``repeats`` times.
    """

    layer: str
    targets: list[Target]
    gradient: str
    scratch: list[int]
    unasked: int
    kept: list[Storage] = field(default_factory=list)
    gapless: bool = False
    apart: bool = False
    repeats: int = 1
    within: Recomputed | None = None


@dataclass(slots=True, eq=False)
class Recomputed:
    """A region at work: what it has kept of its inputs, and its nodes from ``start`` on.

    ``keepers`` are the nodes that would keep something. Computing again ends at the last of them,
    before it is executed unless ``whole``: it keeps results. The ``first`` that backward reaches
    is the last to need the region's inputs.
    """

    region: Region
    tensors: dict[str, Tensor]
    start: int
    keepers: list[int] = field(default_factory=list)
    whole: bool = False
    first: int | None = None
    done: bool = False

    @property
    def last(self) -> int:
        """The last node that keeps something."""
        return self.keepers[-1]

    def note(self, node: int, keeps: str) -> None:
        """Write down what a node would keep for backward, if anything."""
        if keeps != NOTHING:
            self.keepers.append(node)
            self.whole = keeps == MADE

    def release(self, ledger: Ledger) -> None:
        """Let go of the inputs."""
        for tensor in self.tensors.values():
            ledger.unkeep(tensor.storage)


class Enough(Exception):
    """All that is needed again has been computed."""


@dataclass(slots=True)
class Gradient:
    """A gradient on its way; ``dense`` if it fills its storage, so that it can be added to.

    ``others`` are those of further parts of a tensor, which stay apart.
    """

    storage: Storage
    bytes: int
    dense: bool = True
    others: list[Storage] = field(default_factory=list)

    @property
    def is_one_number(self) -> bool:
        """Whether it is a single value, repeated without a copy."""
        return self.storage.size < self.bytes
