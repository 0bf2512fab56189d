"""Which layer of a network is which of another, and what happened to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from archcost.analysis.report import Row, layer_record
from archcost.figures import Subject
from archcost.network import Layer, maker
from archcost.shape import show

ADDED, REMOVED, CHANGED, RENAMED = KINDS = ("added", "removed", "changed", "renamed")
"""What can happen to a layer; one that is changed or renamed has a counterpart."""
MAX_PAIRS = 10**6  # beyond, layers that occur often are matched only next to rare ones
LAYER_FIGURES = ("params", "macs", "activations")


@dataclass(frozen=True)
class LayerChange:
    """A layer that is not as it was; ``old`` or ``new`` is None for one that came or went."""

    kind: str
    old: Row | None
    new: Row | None

    @property
    def path(self) -> str:
        """The layer's name, with its old one if it has another now."""
        if self.old and self.new and self.old.path != self.new.path:
            return f"{self.old.path} -> {self.new.path}"
        row = self.new or self.old
        return row.path if row else ""

    def figure(self, key: str) -> int:
        """Return the change of a figure of the layer."""
        before, after = (getattr(row, key) if row else 0 for row in (self.old, self.new))
        change: int = after - before
        return change

    def record(self) -> dict[str, Any]:
        """Return the change for JSON."""
        was, now = (
            row and layer_record(row, *LAYER_FIGURES) for row in (self.old, self.new)
        )  # fmt: skip
        figures = {key: self.figure(key) for key in LAYER_FIGURES}
        return {"kind": self.kind, "old": was, "new": now, **figures}


def describe(row: Row | None, other: Row | None) -> str:
    """Return a layer in one cell: ``conv 3x3, pad 1: 64x56x56 -> 128x56x56``.

    Where the only change from the ``other`` is in what it reads, this is the text.
    """
    if row is None:
        return ""
    layer = row.layer
    if other is not None and row.path == other.path and _alike(row, other):
        return f"{layer.op.name} of {', '.join(layer.inputs)}"
    settings = f" {layer.settings}" if layer.settings else ""
    read = " and ".join(dict.fromkeys(map(show, layer.shapes)))
    return f"{layer.op.name}{settings}: {read} -> {show(row.output)}"


def layer_changes(old: Subject, new: Subject) -> Iterator[LayerChange]:
    """Yield the layers that are not as they were, in the new network's order.

    Layers are matched by path if the op is the same. The others are matched by structure, in order:
    the same op with the same arguments on the same shapes.
    """
    rows, known = new.report.rows, old.report.by_layer()
    pairs = match_layers(old, new) | {value.name: value.name for value in new.network.inputs}
    kept = set(pairs.values())
    gone = iter([row for row in old.report.rows if row.path not in kept])
    place = {row.path: index for index, row in enumerate(old.report.rows)}
    removed = next(gone, None)
    for row in rows:
        was = known[pairs[row.path]] if row.path in pairs else None
        while was and removed and place[removed.path] < place[was.path]:
            yield LayerChange(REMOVED, removed, None)
            removed = next(gone, None)
        kind = _kind(was, row, pairs, kept)
        if kind:
            yield LayerChange(kind, was, row)
    while removed:
        yield LayerChange(REMOVED, removed, None)
        removed = next(gone, None)


def _kind(old: Row | None, new: Row, pairs: Mapping[str, str], kept: set[str]) -> str:
    """Return what happened to a layer, empty if nothing."""
    if old is None:
        return ADDED
    if not _alike(old, new):
        return CHANGED
    if old.path != new.path:
        return RENAMED
    return CHANGED if _rewired(old.layer, new.layer, pairs, kept) else ""


def _rewired(old: Layer, new: Layer, pairs: Mapping[str, str], kept: set[str]) -> bool:
    """Whether a layer reads another one than before, though both are there, before and after.

    That it reads a layer which was added, or no longer one which was removed, says nothing new.
    """
    for before, name in zip(old.inputs, new.inputs, strict=True):
        path, colon, place = name.partition(":")
        after = pairs.get(path)
        if after and after + colon + place != before and maker(before) in kept:
            return True
    return False


def match_layers(old: Subject, new: Subject) -> dict[str, str]:
    """Return the old path of every layer of the new network that has a counterpart."""
    before, after = old.network.by_path, new.network.by_path
    pairs = {
        path: path
        for path, layer in after.items()
        if path in before and before[path].op.name == layer.op.name
    }
    left = [layer for path, layer in before.items() if path not in pairs]
    found = [layer for path, layer in after.items() if path not in pairs]
    if left and found:
        from difflib import SequenceMatcher

        many = len(left) * len(found) > MAX_PAIRS
        old_keys, new_keys = list(map(_structure, left)), list(map(_structure, found))
        matcher = SequenceMatcher(None, old_keys, new_keys, autojunk=many)
        for block in matcher.get_matching_blocks():
            for i in range(block.size):
                pairs[found[block.b + i].path] = left[block.a + i].path
    return pairs


def _alike(old: Row, new: Row) -> bool:
    return _own(old.layer) == _own(new.layer)


def _own(layer: Layer) -> tuple[Any, ...]:
    return layer.op, layer.shapes, layer.sharing


def _structure(layer: Layer) -> tuple[Any, ...]:
    """Return what makes a layer what it is, its name and place aside."""
    return layer.op.call(), layer.shapes, layer.sharing
