"""From groups of layers to items: what is current where, sums of branches, and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import ArchcostError
from archcost.folding.items import CURRENT, Call, Group, Item, Merge, Take
from archcost.folding.labels import WORDS
from archcost.folding.shared import Sharing
from archcost.folding.tree import Node, readers_of, result_of
from archcost.network import Layer, Network
from archcost.ops import OPS, Op
from archcost.ops.arguments import REQUIRED

BRANCHES = {"add": ("body", "shortcut"), "multiply": ("gate", "map"), "concat": ("new", "kept")}
"""What the branches of a merge are called: one with layers, and the tensor itself."""


@dataclass
class Unit:
    """An item with what it reads and makes.

    Attributes:
        item: the item.
        reads: the tensors from outside that it reads, in order.
        result: the tensor after it.
        paths: of its layers.
        made: the tensors that its layers make.
        layer: the layer, if it is one.
    """

    item: Item
    reads: tuple[str, ...]
    result: str
    paths: frozenset[str]
    made: frozenset[str]
    layer: Layer | None = None


@dataclass
class Flow:
    """Makes items of a network's tree.

    ``needed`` are the tensors that items name, and so need labels.
    """

    network: Network
    sharing: Sharing
    needed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Note who reads what."""
        self.readers = readers_of(self.network)
        self.order = {name: place for place, name in enumerate(self.network.values)}
        self.owners = {
            full: layer.path
            for layer in self.network
            for full in map(layer.full_name, layer.params)
        }

    def items(self, node: Node, start: str) -> list[Item]:
        """Return the items of a group, at the first of which the tensor ``start`` is current."""
        units = self._reduced([self._unit(part) for part in node.parts], start)
        made = self._written(units, start)
        last = units[-1].result
        result = result_of(node, self.readers, last) if node.path else last
        if result is not None and result != last:
            made.append(Take(tensor=result, read=self._need(result)))
        return made

    # Units.

    def _unit(self, part: Node | Layer) -> Unit:
        if isinstance(part, Layer):
            return self._layer(part)
        layers = [*part.layers()]
        own = frozenset(name for layer in layers for name in layer.outputs)
        given = [*dict.fromkeys(n for x in layers for n in self._read(x) if n not in own)]
        last = result_of(part, self.readers, "") or self._last(part)
        paths = frozenset(layer.path for layer in layers)
        begin = max(layers[0].inputs, key=self.order.__getitem__)  # what is likely to be current
        shared = self.sharing.groups.get(part.path)
        item: Item
        if shared is not None:
            item = Call(callee=shared, name=part.name)
        else:
            item = Group(name=part.name, start=begin, items=self.items(part, begin))
            item.kind = self.network.classes.get(part.path, "")
        item.tensor, item.channels = last, self._channels(begin)
        return Unit(item, (begin, *(n for n in given if n != begin)), last, paths, own)

    def _last(self, node: Node) -> str:
        """Return the tensor after a group's last item."""
        part = node.parts[-1]
        if isinstance(part, Layer):
            return part.path
        return result_of(part, self.readers, "") or self._last(part)

    def _read(self, layer: Layer) -> Iterator[str]:
        yield from layer.inputs
        yield from (self.owners[full] for full in layer.ties.values())

    def _channels(self, tensor: str) -> int:
        shape = self.network.values[tensor].shape
        return shape[0] if shape else 0

    def _layer(self, layer: Layer) -> Unit:
        shared = self.sharing.layers.get(layer.module)
        item = Call(
            name=layer.path.rpartition(".")[2], tensor=layer.path,
            channels=self._channels(layer.inputs[0]), callee=shared or layer.op.name,
        )  # fmt: skip
        if shared is None:
            try:
                item.args, item.positional = arguments(layer.op)
            except ArchcostError as error:
                raise ArchcostError(f"{layer.path}: {error}") from None
            item.ties = {own: self.owners[full] for own, full in layer.ties.items()}
        made = frozenset(layer.outputs)
        reads = tuple(dict.fromkeys(self._read(layer)))
        return Unit(item, reads, layer.path, frozenset([layer.path]), made, layer)

    # Sums of branches.

    def _reduced(self, units: Sequence[Unit], start: str) -> list[Unit]:
        """Return units in which the parts of a sum are one, where the language says it so."""
        done: list[Unit] = []
        for unit in units:
            done.append(unit)
            layer = unit.layer
            if layer is not None and layer.op.inputs == ("*",) and len(layer.inputs) > 1:
                found = self._merge(done, start)
                if found is not None:
                    place, merged = found
                    done[place:] = [merged]
        return done

    def _merge(self, done: Sequence[Unit], start: str) -> tuple[int, Unit] | None:
        """Return where the parts of the last unit, a merge, begin, and all of it as one unit."""
        last = done[-1]
        layer = last.layer
        assert layer is not None
        if layer.module != layer.path or layer.ties or len(set(layer.inputs)) < len(layer.inputs):
            return None
        made_at = {unit.result: place for place, unit in enumerate(done[:-1])}
        for place in range(len(done) - 2, -1, -1):
            current = done[place - 1].result if place else start
            parts = self._parts(done, place, current, layer, made_at)
            if parts is not None:
                return place, self._merged(parts, layer, last, current, done[place:])
        return None

    def _parts(
        self, done: Sequence[Unit], place: int, current: str, layer: Layer,
        made_at: Mapping[str, int],
    ) -> list[list[Unit]] | None:  # fmt: skip
        """Return the units of each branch, if the units from a place on are branches."""
        ends: list[int | None] = []
        for name in layer.inputs:
            at = made_at.get(name, -1)
            if at >= place:
                ends.append(at)
            elif name == current:
                ends.append(None)
            else:
                return None
        places = [end for end in ends if end is not None]
        if places != sorted(places) or places[-1:] != [len(done) - 2]:
            return None
        parts: list[list[Unit]] = []
        begin = place
        for end in ends:
            part = [] if end is None else [*done[begin : end + 1]]
            begin = begin if end is None else end + 1
            if end is not None and not self._is_branch(part, current, layer):
                return None
            parts.append(part)
        later = frozenset(n for part in parts for unit in part for n in unit.made)
        for part in parts:  # no branch reads what is in another
            own = frozenset(n for unit in part for n in unit.made)
            if any(name in later - own for unit in part for name in unit.reads):
                return None
        return parts

    def _is_branch(self, part: Sequence[Unit], current: str, layer: Layer) -> bool:
        """Whether units begin with the current tensor, and only a merge reads what they make."""
        if not part or part[0].reads[:1] != (current,):
            return False
        inside = frozenset(path for unit in part for path in unit.paths)
        for unit in part:
            for name in unit.made:
                outside = self.readers.get(name, set()) - inside
                if outside and not (unit is part[-1] and name == unit.result):
                    return False
                if outside - {layer.path}:
                    return False
        return True

    def _merged(
        self, parts: Sequence[Sequence[Unit]], layer: Layer, last: Unit, current: str,
        units: Sequence[Unit],
    ) -> Unit:  # fmt: skip
        own, kept = BRANCHES.get(layer.op.name, ("branch1", "kept"))
        long = sum(1 for part in parts if part)
        named: list[tuple[str, list[Item]]] = []
        for number, part in enumerate(parts, 1):
            items = self._written(part, current)
            name = kept if not part else own if long == 1 or number == 1 else f"branch{number}"
            if long == 2 and len(parts) == 2 and number == 2:
                name = kept
            if len(items) == 1 and isinstance(items[0], Group) and is_word(items[0].name):
                name, items = items[0].name, items[0].items
                name = f"{name}_" if name in WORDS else name
            elif name.startswith("branch"):
                name = self._module(part) or name
            while name in (taken for taken, _ in named):
                name += "_"
            named.append((name, items))
        args, positional = arguments(layer.op)
        item = Merge(
            name=layer.path.rpartition(".")[2], tensor=layer.path, callee=layer.op.name, args=args,
            positional=positional, branches=named, start=current,
            channels=self._channels(current),
        )  # fmt: skip
        made = frozenset(name for unit in units for name in unit.made)
        outer = [n for unit in units for n in unit.reads if n not in made and n != current]
        paths = frozenset(path for unit in units for path in unit.paths)
        return Unit(item, (current, *dict.fromkeys(outer)), layer.path, paths, made)

    def _module(self, part: Sequence[Unit]) -> str:
        """Return the name of the module that a branch is, empty if it is several calls."""
        layer = part[0].layer if len(part) == 1 else None
        name = layer.path.rpartition(".")[2] if layer is not None else ""
        plain = name.isidentifier() and name not in WORDS
        return name if plain and layer is not None and layer.path in self.network.classes else ""

    # What is current.

    def _need(self, tensor: str) -> str:
        self.needed.add(tensor)
        return tensor

    def _written(self, units: Sequence[Unit], current: str) -> list[Item]:
        """Return the items of units, in which other tensors than the current one are named."""
        items: list[Item] = []
        for unit in units:
            item = unit.item
            if unit.layer is not None and isinstance(item, Call):
                self._read_by(item, unit.layer, current)
            elif unit.reads[0] != current:
                items.append(Take(tensor=unit.reads[0], read=self._need(unit.reads[0])))
            items.append(item)
            current = unit.result
        return items

    def _read_by(self, item: Call, layer: Layer, current: str) -> None:
        for tensor in item.ties.values():
            self._need(tensor)
        alone = len(layer.inputs) == 1 and (layer.op.inputs != ("*",) or not layer.op.named)
        if alone and layer.inputs == (current,):
            return
        item.reads = tuple(
            CURRENT if name == current else self._need(name) for name in layer.inputs
        )


def is_word(name: str) -> bool:
    """Whether a name of a group is more than a number."""
    return bool(name) and not name[0].isdigit()


def arguments(op: Op) -> tuple[dict[str, Any], int]:
    """Return the arguments of an op that differ from its defaults, and how many go without name."""
    known = getattr(op, "programs", None)
    if known is not None or type(op) is not OPS.get(op.name):
        raise ArchcostError(f"{op.call()} is a function that no op of specs says")
    given: dict[str, Any] = {}
    positional, open_ = 0, True
    for name, argument in op.arguments.items():
        value = getattr(op, name)
        if argument.default is REQUIRED or value != argument.default:
            given[name] = value
            if open_ and (argument.default is REQUIRED or name == "p"):
                positional += 1
                continue
        open_ = False
    return given, positional
