"""What names mean at a place of a spec: layers and values."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from archcost.data import dataclass
from archcost.network import Layer, Value
from archcost.spec.source import Scalar
from archcost.spec.values import Refused

UNKNOWN = Value("", ())
"""What a name stands for, or a layer gives, where a mistake keeps it from being known."""


TWOFOLD = Value("", (0,))
"""What the name of a branch stands for after two sums that have a branch of that name."""

NOTHING = object()
"""What is found of a name that stands for nothing."""

NO_BRANCH = Value("none", ())
"""What a branch gives that is none."""


class Skipped(Exception):
    """What depends on a mistake that was found before, and so is not looked at."""


@dataclass
class Use:
    """One use of a shared item.

    Attributes:
        group: the path of its layer or group here.
        at: where the spec uses it.
        first: the layers of its first use, by their places in that group.
        again: whether it was used before.
        layers: those of this use.
    """

    group: str
    at: Scalar
    first: dict[str, Layer]
    again: bool
    layers: dict[str, Layer] = field(default_factory=dict)

    def take(self, layer: Layer) -> None:
        """Note a layer of this use."""
        self.layers[layer.path[len(self.group) + 1 :]] = layer
        if not self.again:
            self.first.update(self.layers)

    def other(self) -> list[str]:
        """Return the layers with weights that this use or the first has, and the other not."""
        odd = self.first.keys() ^ self.layers.keys()
        both = {**self.first, **self.layers}
        return sorted(both[place].path for place in odd if has_weights(both[place]))


def has_weights(layer: Layer) -> bool:
    """Whether a layer has parameters or buffers, of its own or shared."""
    return bool(layer.cost.params or layer.cost.buffers)


class Scope:
    """What names mean at a place: values, labels of layers, and the enclosing scope.

    ``group`` is the path of the group in which layers are named.
    """

    def __init__(
        self, group: str, values: dict[str, Any], outer: Scope | None = None, depth: int = 0,
        use: Use | None = None,
    ) -> None:  # fmt: skip
        self.group, self.values, self.outer = group, values, outer
        self.depth, self.use = depth, use
        self.labels: dict[str, Value | list[Value]] = {}
        self.loop = 0
        """The line of the loop around it, in which names are set again; 0 in none."""

    def child(self, group: str, values: dict[str, Any] | None = None) -> Scope:
        """Return a scope inside this one, which sees its names."""
        return Scope(
            group, {} if values is None else values, outer=self, depth=self.depth + 1, use=self.use
        )

    def value(self, name: str) -> Any:
        """Return the value of a name, as it was set, or None if it is a label's or nothing's."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = None if name in scope.labels else scope.outer
        return None

    def find(self, name: str) -> Any:
        """Return a value or a label.

        Raises:
            KeyError: there is none. Refused: two branches are called so. Skipped: a mistake keeps
                it from being known.
        """
        found = self.get(name, NOTHING)
        if found is NOTHING:
            raise KeyError(name)
        return found

    def get(self, name: str, usual: Any) -> Any:
        """Return a value or a label, ``usual`` if there is none; see :meth:`find`."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                found = scope.values[name]
            elif name in scope.labels:
                found = scope.labels[name]
            else:
                scope = scope.outer
                continue
            if found is UNKNOWN:
                raise Skipped
            if found is TWOFOLD:
                raise Refused(f"two earlier branches are named {name!r}; rename one of them")
            return found
        return usual

    def visible(self) -> list[str]:
        """Return every name that can be found from here."""
        scope: Scope | None = self
        names: list[str] = []
        while scope is not None:
            names += [*scope.values, *scope.labels]
            scope = scope.outer
        return names
