"""Which parameters and buffers a reference has: each of the spec's once, trained, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archcost.network import Network
from archcost.proofs import Check
from archcost.proofs.dataflow import Call
from archcost.proofs.kept import some
from archcost.shape import Shape, numel, show


@dataclass(frozen=True)
class Inventory:
    """The tensors of a module, as it was built.

    Attributes:
        parameters, buffers: shapes by name; of elements with several names, under the first.
        first: the first name of each name.
        frozen: names of the parameters that ask for no gradient.
        integers: names of the buffers that hold no floating-point numbers.
    """

    parameters: Mapping[str, Shape]
    buffers: Mapping[str, Shape]
    first: Mapping[str, str]
    frozen: frozenset[str]
    integers: frozenset[str]

    @property
    def elements(self) -> int:
        """The number of distinct elements of the parameters."""
        return sum(map(numel, self.parameters.values()))

    def show(self, names: Sequence[str]) -> str:
        """Return names with their shapes: ``fc.weight 1000x512, fc.bias 1000``."""
        return some([f"{name} {show(self.shape(name)) or 'scalar'}" for name in names])

    def shape(self, name: str) -> Shape:
        """Return the shape of a parameter or a buffer."""
        return self.buffers[name] if name in self.buffers else self.parameters[name]


def inventory(module: Any) -> Inventory:
    """Return the distinct parameters and buffers of a module.

    Two are the same if they begin at the same element of a storage, whether or not they are one
    object.
    """
    seen: dict[tuple[int, int], str] = {}
    first: dict[str, str] = {}
    named = (module.named_parameters, module.named_buffers)
    parameters, buffers = (list(names(remove_duplicate=False)) for names in named)
    for name, tensor in (*parameters, *buffers):
        place = (int(tensor.untyped_storage()._cdata), int(tensor.storage_offset()))
        first[name] = seen.setdefault(place, name) if tensor.numel() else name
    return Inventory(
        {name: tuple(p.shape) for name, p in parameters if first[name] == name},
        {name: tuple(b.shape) for name, b in buffers if first[name] == name},
        first,
        frozenset(name for name, p in parameters if not p.requires_grad),
        frozenset(name for name, b in buffers if not b.is_floating_point()),
    )


@dataclass(frozen=True)
class Pairing:
    """Which tensor of a reference takes the place of which of the twin's.

    Attributes:
        network: the spec's.
        twin, reference: what both hold.
        pairs: names of the twin's and the reference's tensors that are read at the same places.
        frozen: the twin's parameters that are not to be trained.
        trained: the reference's parameters that get a gradient in training mode; None if that is
            not known.
        check: makes a check of this reference.
        layer_of: returns the layer of a tensor of the twin.
    """

    network: Network
    twin: Inventory
    reference: Inventory
    pairs: Sequence[tuple[str, str]]
    frozen: frozenset[str]
    trained: frozenset[str] | None
    check: Callable[..., Check]
    layer_of: Callable[[str], str]

    def checks(self) -> Iterator[Check]:
        """Yield what is shared, read by nothing or not trained, and the numbers of elements."""
        yield from self._shared()
        yield from self._unread()
        yield from self._untrained()
        yield elements(self.check, self.network, self.reference)
        yield from self._buffers()

    def _shared(self) -> Iterator[Check]:
        """Compare how often each parameter is used: two of the spec's are not one of the other."""
        ours: dict[str, list[str]] = {}
        theirs: dict[str, list[str]] = {}
        for own, other in self.pairs:
            a, b = self.twin.first[own], self.reference.first[other]
            theirs.setdefault(a, []).append(b)
            ours.setdefault(b, []).append(a)
        what, sound = "parameters used at one place", True
        for own, others in theirs.items():
            if len(set(others)) > 1:
                sound = False
                names = " and ".join(dict.fromkeys(others))
                yield self.check(what, f"{own} is one", f"{names} are two", self.layer_of(own))
        for other, owns in ours.items():
            if len(set(owns)) > 1:
                sound = False
                used = self.reference.show([other])
                layers = list(dict.fromkeys(map(self.layer_of, owns)))
                measured = f"{used} is that of {some(layers, ' and ')}"
                yield self.check(what, "a parameter of its own", measured, layers[-1])
        if sound:
            yield self.check(what, len(theirs), len(ours))

    def _unread(self) -> Iterator[Check]:
        """Find the parameters of the reference that no layer of the spec has, and the reverse."""
        used = {self.reference.first[other] for _, other in self.pairs}
        unread = [name for name in self.reference.parameters if name not in used]
        late = [name for name in unread if self.trained and name in self.trained]
        never = [name for name in unread if name not in late]
        texts = [f"{self.reference.show(late)} read in training mode only"] if late else []
        texts += [f"{self.reference.show(never)} that no output needs"] if never else []
        yield self.check("parameters beside the spec's", "none", "; ".join(texts) or "none")
        read = {self.twin.first[own] for own, _ in self.pairs}
        for own in self.twin.parameters:
            if own not in read:
                expected = self.twin.show([own])
                yield self.check("parameters", expected, "no such parameter", self.layer_of(own))

    def _untrained(self) -> Iterator[Check]:
        """Compare which parameters are trained."""
        sound = True
        for own, other in dict.fromkeys(self.pairs):
            reason = self._why_not_alike(own, other)
            if reason:
                sound = False
                expected = "a buffer" if own in self.twin.buffers else "a trained parameter"
                yield self.check("trained parameters", expected, reason, self.layer_of(own))
        if sound:
            count = len({own for own, _ in self.pairs if own in self.twin.parameters} - self.frozen)
            yield self.check("trained parameters", count, count)

    def _why_not_alike(self, own: str, other: str) -> str:
        """Return why a tensor is trained on one side only, empty if it is on both or none."""
        shown, first = self.reference.show([self.reference.first[other]]), self.reference.first
        if own not in self.twin.parameters:
            return "" if first[other] in self.reference.buffers else f"{shown} is a parameter"
        if first[other] in self.reference.buffers:
            return f"{shown} is a buffer"
        if own in self.frozen:
            return ""
        if other in self.reference.frozen:
            return f"{shown} is frozen: requires_grad is False"
        if self.trained is not None and first[other] not in self.trained:
            return f"{shown} gets no gradient in training mode"
        return ""

    def _buffers(self) -> Iterator[Check]:
        """Compare the buffers.

        Those that meet the data are paired as weights are. The others, counters of steps and tables
        of indices, are paired by shape and by whether they are integers, first within layers that
        are paired already.
        """
        paired = {(self.twin.first[own], self.reference.first[other]) for own, other in self.pairs}
        read, known = {own for own, _ in paired}, {other for _, other in paired}
        ours = dict.fromkeys(name for name in self.twin.buffers if name not in read)
        theirs = [name for name in self.reference.buffers if name not in known]
        homes = {_home(other): _home(own) for own, other in paired}
        for near in (True, False):
            alike: dict[Any, list[str]] = {}
            for own in reversed(ours):
                place = self._kind(self.twin, own), near and _home(own)
                alike.setdefault(place, []).append(own)
            others, theirs = theirs, []
            for other in others:
                kind, home = self._kind(self.reference, other), near and homes.get(_home(other))
                if found := alike.get((kind, home)):
                    del ours[found.pop()]
                else:
                    theirs.append(other)
        for own in ours:
            expected = self.twin.show([own])
            yield self.check("buffers", expected, "no such buffer", self.layer_of(own))
        extra = self.reference.show(theirs)
        yield self.check("buffers beside the spec's", "none", extra or "none")

    @staticmethod
    def _kind(side: Inventory, name: str) -> tuple[Shape, bool]:
        shape = tuple(size for size in side.buffers[name] if size != 1)
        return shape, name in side.integers


def _home(name: str) -> str:
    return name.rpartition(".")[0]


def elements(check: Callable[..., Check], network: Network, reference: Inventory) -> Check:
    """Return the comparison of the distinct elements of all parameters."""
    expected = sum(map(numel, network.params.values()))
    return check("elements of parameters", expected, reference.elements)


def pairs_of(calls: Sequence[Call], others: Sequence[Call]) -> list[tuple[str, str]]:
    """Return the names of the tensors at the same places of paired calls."""
    return [
        names
        for call, other in zip(calls, others, strict=True)
        for names in zip(call.weights, other.weights, strict=True)
    ]
