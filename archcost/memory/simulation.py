"""A pass or a step of a network without its numbers: what each operation makes, keeps and drops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archcost.errors import ArchcostError
from archcost.memory.forward import Forward
from archcost.memory.graph import Gradient, Node, Target
from archcost.memory.ledger import (
    BACKWARD,
    BUFFERS,
    FORWARD,
    GRADIENTS,
    INPUTS,
    PARAMETERS,
    UPDATE,
    Moment,
    Peak,
)
from archcost.ops.steps import COPIED, PRODUCT, SHARED, SLICED


@dataclass(frozen=True)
class Run:
    """A simulated pass: its peak, the peak of each of its phases, and its timeline.

    ``gradients`` and ``state`` are the bytes of all of them; ``saved`` is what backward has at
    hand when it begins.
    """

    peaks: Mapping[str, Peak]
    timeline: tuple[Moment, ...]
    params: int
    buffers: int
    input: int
    gradients: int = 0
    state: int = 0
    saved: int = 0

    @property
    def peak(self) -> Peak:
        """The largest of the phases' peaks, the first of equals."""
        return max(self.peaks.values(), key=lambda peak: peak.total)


class Simulation(Forward):
    """A network in one setting, which runs forward, then backward, then updates."""

    def result(self, state: int = 0, saved: int = 0) -> Run:
        """Return what was seen; ``state`` and ``saved`` are sizes known to the caller."""
        self.ledger.mark()
        static = self.static
        return Run(
            self.ledger.peaks, tuple(self.ledger.timeline), static[PARAMETERS], static[BUFFERS],
            static[INPUTS], sum(self.trained), state, saved,
        )  # fmt: skip

    # Backward.

    def backward(self) -> None:
        """Sum the output up and run backward from there."""
        ledger = self.ledger
        main = self.tensors[self.network.outputs[0]]
        if main.node is None:
            raise ArchcostError(f"{self.network.name}: no layer is trained, so there is no step")
        self._drop_unreached(main.node)
        ledger.enter(FORWARD)
        loss = ledger.new(main.itemsize)
        self._forget(self.network.outputs[0])
        ledger.enter(BACKWARD)
        root = ledger.new(main.itemsize)
        root.holders += 1
        arrived = {main.node: Gradient(root, main.bytes, dense=False)}
        for index in reversed(range(len(self.nodes))):
            if index not in arrived:
                continue
            node, gradient = self.nodes[index], arrived.pop(index)
            ledger.enter(BACKWARD, node.layer)
            within = node.within
            if within and index in within.keepers and not within.done:
                self._recompute(within)
                ledger.enter(BACKWARD, node.layer)
            for left in reversed(range(node.repeats)):
                results = self._gradients(node, gradient, left)
                if not left:
                    for storage in (gradient.storage, *gradient.others):
                        ledger.drop(storage)
                self._release(node, left)
                if within and index == within.first and not left:
                    within.release(ledger)
                for target, result in zip(node.targets, results, strict=True):
                    if target.node is not None:
                        self._accumulate(arrived, target.node, result)
                    elif target.copied:
                        ledger.new(result.bytes, GRADIENTS)
                        ledger.drop(result.storage)
        ledger.enter(BACKWARD)
        ledger.drop(root)
        ledger.drop(loss)

    def _drop_unreached(self, main: int) -> None:
        """Drop side outputs; what was kept for their gradients goes with them."""
        for name in self.network.outputs[1:]:
            self._forget(name)
        reached = {main}
        for index in reversed(range(len(self.nodes))):
            node = self.nodes[index]
            if index in reached:
                reached.update(t.node for t in node.targets if t.node is not None)
                if node.within and index in node.within.keepers:
                    node.within.first = index
            else:
                self._release(node)
        for within in self.recomputed:
            if within.first is None:
                within.release(self.ledger)

    def _gradients(self, node: Node, gradient: Gradient, left: int) -> list[Gradient]:
        """Run a node, ``left`` times more; return its targets' gradients, each held once."""
        made = {
            i: self._gradient(node, target, gradient)
            for i, target in enumerate(node.targets)
            if not target.summed
        }
        unasked = node.unasked if self.observed or self.device == "cuda" else 0
        self._use([*node.scratch, unasked])
        if node.within:  # what was computed again is dropped before sums are taken
            self._release(node, left)
        for i, target in enumerate(node.targets):
            if target.summed:
                made[i] = self._gradient(node, target, gradient)
            elif node.gradient == PRODUCT:
                made[i] = self._summed(target, made[i])
        return [made[i] for i in range(len(node.targets))]

    def _release(self, node: Node, left: int = 0) -> None:
        """Let go of what a node has kept, but for the inputs and a piece for each run ``left``."""
        needed = left + 1 if left else 0
        for storage in node.kept[needed:]:
            self.ledger.unkeep(storage)
        del node.kept[needed:]

    def _gradient(self, node: Node, target: Target, gradient: Gradient) -> Gradient:
        how = node.gradient
        shares = target.node is not None or (how == SLICED and self.batch == 1)
        passes = how in (SHARED, SLICED) or (how == COPIED and gradient.is_one_number)
        if passes and shares and not target.summed:
            gradient.storage.holders += 1
            dense = gradient.dense and (how != SLICED or node.gapless)
            return Gradient(gradient.storage, target.bytes, dense)
        if how == PRODUCT:
            return Gradient(self.ledger.new(gradient.bytes), gradient.bytes)
        storage = self.ledger.new(target.bytes, target.kind, target.pieces)
        return Gradient(storage, target.bytes)

    def _summed(self, target: Target, product: Gradient) -> Gradient:
        """Sum a product over what a smaller factor was repeated for, and a parameter over all."""
        if target.node is not None and target.bytes == product.bytes:
            return product
        summed = Gradient(self.ledger.new(target.bytes, target.kind), target.bytes)
        self.ledger.drop(product.storage)
        return summed

    def _accumulate(self, arrived: dict[int, Gradient], target: int, result: Gradient) -> None:
        known = arrived.get(target)
        if known is None:
            arrived[target] = result
            return
        if self.nodes[target].apart:
            known.others.append(result.storage)
            return
        if self.observed or not (known.dense and known.storage.holders == 1):
            arrived[target] = Gradient(self.ledger.new(result.bytes), result.bytes)
            self.ledger.drop(known.storage)
        self.ledger.drop(result.storage)

    # Update.

    def update(self, moments: Sequence[Sequence[int]]) -> None:
        """Run the optimizer, whose own tensors are alive together moment by moment."""
        self.ledger.enter(UPDATE)
        for sizes in moments:
            self._use(sizes)

    def _use(self, sizes: Sequence[int]) -> None:
        """Allocate tensors, all together, and drop them."""
        for storage in [self.ledger.new(size) for size in sizes if size]:
            self.ledger.drop(storage)
