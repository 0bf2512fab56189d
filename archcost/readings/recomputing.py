"""Regions that backward computes again, as ``torch.utils.checkpoint`` runs them.

1. With ``use_reentrant=False``, autograd records the region, and keeps the inputs in place of what
   the operations would keep. The first operation whose backward asks for a tensor has the region
   run again, up to the last tensor that it keeps.
2. With ``use_reentrant=True``, autograd records one operation, ``CheckpointFunction``. Its backward
   runs the region on detached inputs, and then a backward pass of its own, which adds to the
   gradients of the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from archcost.errors import ArchcostError
from archcost.network import Layer
from archcost.ops.base import FLOAT
from archcost.primitives.row import SAME
from archcost.readings.autograd import sweep
from archcost.readings.ledger import BACKWARD, FORWARD
from archcost.readings.regions import Region
from archcost.readings.tensors import Again, Edge, Enough, Kept, Node, Parameter, Tensor
from archcost.shape import Shape


def run_region(F: Any, region: Region, tensors: dict[str, Tensor]) -> None:
    """Run a region forward on ``tensors``, and add its outputs there.

    It runs as a function: what it does not return goes with its end.

    Args:
        F: the :class:`~archcost.readings.storages.Storages` that runs the network.
        region: the region.
        tensors: those that are alive, by their names.
    """
    inner = {name: tensors[name] for name in region.inputs}
    held = {constant.key: constant.placed(F, F.inputs[0]) for constant, _ in region.constants}
    saved = [Kept(tensors[name], region.name) for name in region.saves]
    saved += [Kept(held[constant.key], region.name) for constant, kept in region.constants if kept]
    if not region.reentrant:
        run = partial(_run_again, F, region.layers)
        F.pack = Again(run, dict(inner), saved, held, region.whole).pack
        for layer in region.layers:
            F.run_layer(layer, inner, FORWARD)
        F.pack = Kept
        tensors |= {name: inner[name] for name in region.outputs}
    else:
        _record(F, region, tensors, inner, saved, held)
    for constant, _ in region.constants:
        if constant.last:
            F.constants.pop(constant.key, None)


def _run_again(F: Any, layers: Sequence[Layer], again: Again) -> None:
    """Run a region a second time, up to the last tensor that it keeps."""
    with _second_run(F, again.keep, again.constants):
        try:
            tensors = dict(again.tensors)
            for each in layers:
                F.run_layer(each, tensors, BACKWARD)
        except Enough:
            pass


@contextmanager
def _second_run(F: Any, pack: Any, constants: dict[Any, Tensor]) -> Iterator[None]:
    before = F.pack, F.layer, F.copies, F.constants
    F.pack, F.copies, F.constants = pack, {}, dict(constants)
    F.recomputes = True
    yield
    F.recomputes = False
    F.pack, F.layer, F.copies, F.constants = before


def _record(
    F: Any, region: Region, tensors: dict[str, Tensor], inner: dict[str, Tensor],
    saved: list[Kept], held: dict[Any, Tensor],
) -> None:  # fmt: skip
    """Run a region without recording, as one operation whose backward runs it again."""
    if F.amp:
        raise ArchcostError(
            f"{region.name}: what torch.utils.checkpoint with use_reentrant=True keeps under "
            "autocast is not known"
        )
    read = dict(inner)
    inner |= {name: read[name].alias() for name in read}  # nothing needs a gradient meanwhile
    F.recording = False
    for layer in region.layers:
        F.run_layer(layer, inner, FORWARD)
    F.recording = True
    node = Reentrant()
    node.number, node.layer, node.outs = next(F.numbers), region.name, ()
    node.scratch, node.copies, node.flattens = [], None, False
    node.F, node.region, node.saved, node.constants = F, region, saved, held
    trained = [name for name in region.saves if tensors[name].needs]
    node.edges = [Edge(tensors[name], SAME, None) for name in trained]
    node.learning = frozenset(trained)
    node.others = {name: read[name] for name in read if name not in region.saves}
    for place, name in enumerate(region.outputs):
        tensors[name] = made = inner[name].alias()
        if F.network.values[name].dtype == FLOAT:
            made.node, made.place, made.needs = node, place, True
    node.made = [inner[name].shape for name in region.outputs]


class Reentrant(Node):
    """A region of which autograd keeps the inputs, and runs a backward pass of its own.

    ``others`` are tensors that the region reads and that are not its arguments.
    """

    __slots__ = ("F", "constants", "learning", "made", "others", "region")

    F: Any
    constants: dict[Any, Tensor]
    learning: frozenset[str]
    made: list[Shape]
    others: dict[str, Tensor]
    region: Region

    def recompute(self, incoming: dict[int, Tensor]) -> list[Tensor]:
        """Return the gradients of the inputs, by the gradients of the outputs."""
        F, region = self.F, self.region
        kept = dict(zip(region.saves, self.saved, strict=False))
        leaves = {name: _leaf(kept[name].tensor, name in self.learning) for name in kept}
        like = next(iter(incoming.values()))
        for place, shape in enumerate(self.made):
            if place not in incoming:
                incoming[place] = like.like(shape)
        with _second_run(F, Kept, self.constants):
            tensors = {**self.others, **leaves}
            for each in region.layers:
                F.run_layer(each, tensors, BACKWARD)
            outputs = [tensors[name] for name in region.outputs]
            del tensors
        arrived: dict[Node, dict[int, Tensor]] = {}
        for place, out in enumerate(outputs):
            if out.node is not None:
                arrived.setdefault(out.node, {})[out.place] = incoming[place]
        sweep(F.ledger, arrived, F.setting.observed)
        F.ledger.enter(BACKWARD, self.layer)
        found = [leaves[name].grad for name in leaves if name in self.learning]
        return [
            like.like(edge.shape) if grad is None else grad
            for grad, edge in zip(found, self.edges, strict=True)
        ]


def _leaf(tensor: Tensor, needs: bool) -> Parameter:
    made = Parameter(tensor.storage, tensor.shape, tensor.strides, tensor.itemsize, tensor.device)
    made.grad, made.learns, made.needs, made.readers = None, False, needs, 0
    return made
