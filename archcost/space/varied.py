"""A network whose knobs and input sizes take other values, each by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.number import is_whole
from archcost.shape import Shape
from archcost.spec.catalog import expand
from archcost.spec.kinds import is_onnx

AXES: Mapping[int, str] = {1: "N", 2: "CL", 3: "CHW", 4: "CDHW"}
"""What the sizes of an input of so many dimensions are called, as in PyTorch's documentation."""
INPUT = "input"
"""The name of all spatial sizes at once: a square input."""


class Varied:
    """A network as a function of its knobs and of the sizes of its input.

    A name is a knob (``width``), an item of a knob that is a list (``depths.0``), a size of the
    input (``H``, or ``input.1``), or ``input`` for all its spatial sizes. Several inputs that have
    equal sizes keep them equal.

    Attributes:
        network: the network as it is.
        values: what each name stands for in it.
    """

    def __init__(self, network: Network) -> None:
        if network.remake is None:
            raise ArchcostError(
                f"{network.name} has no knobs that vary: it is not read from a spec"
            )
        self.network, self._remake = network, network.remake
        self.values: dict[str, Any] = {}
        for knob, value in network.knobs.items():
            self.values |= dict(_items(knob, value))
        self.shape: Shape = network.inputs[0].shape
        self.values |= {f"{INPUT}.{i}": size for i, size in enumerate(self.shape)}
        self.values[INPUT] = self.spatial[0] if len(set(self.spatial)) == 1 else self.shape
        letters = enumerate(AXES.get(len(self.shape), ""))
        self.axes = {letter: i for i, letter in letters if letter not in self.values}
        self.values |= {letter: self.shape[i] for letter, i in self.axes.items()}

    @property
    def spatial(self) -> Shape:
        """The sizes of the input that are not channels."""
        return self.shape[len(self.shape) > 1 :]

    def check(self, names: Iterable[str], what: str = "knob or size") -> None:
        """Refuse a name that stands for nothing here, and names of one thing twice.

        Raises:
            LookupFailed: with the nearest name.
            ArchcostError: two of the names are of one size or of one knob.
        """
        seen: dict[str, str] = {}
        for name in names:
            if name not in self.values:
                unknown = LookupFailed(f"{what} of {self.network.name}", name, self.values)
                if self.is_spec or is_onnx(self.network.source):
                    raise unknown
                raise ArchcostError(
                    f"{unknown} (another argument is given first, as in --arg {name}=VALUE)"
                )
            for place in self.places(name):
                if place in seen:
                    raise ArchcostError(
                        f"{seen[place]} and {name} set the same of {self.network.name}"
                    )
                seen[place] = name

    def places(self, name: str) -> list[str]:
        """Return what a name sets: single sizes of the input, items of a knob."""
        if name.split(".")[0] in self.network.knobs:
            return [name, *(own for own in self.values if own.startswith(f"{name}."))]
        if name == INPUT:
            return [f"{INPUT}.{i}" for i in range(len(self.shape)) if i or len(self.shape) == 1]
        return [f"{INPUT}.{self.axes[name]}"] if name in self.axes else [name]

    @property
    def is_spec(self) -> bool:
        """Whether a spec describes it, whose formulas are known; code runs anew at each value."""
        return getattr(self._remake, "func", None) is expand

    def needs_formulas(self, what: str) -> None:
        """Refuse a network that no spec describes.

        Raises:
            ArchcostError: it has no ``what``, with the way to one.
        """
        if not self.is_spec:
            name = self.network.name
            raise ArchcostError(
                f"{name} has no {what}: it is not read from a spec; archcost import writes one"
            )

    def load(self, values: Mapping[str, Any]) -> Network:
        """Return the network at other values of some names.

        Raises:
            SpecError: with these values it is no network.
        """
        knobs, sizes = dict[str, Any](), dict[int, Any]()
        for name, value in values.items():
            knob, *items = name.split(".")
            if knob in self.network.knobs:
                knobs[knob] = _put(knobs.get(knob, self.network.knobs[knob]), items, value)
            else:
                sizes |= {int(place.rpartition(".")[2]): value for place in self.places(name)}
        if self.is_spec:
            knobs = {**self.network.knobs, **knobs}
        return self._remake(knobs=knobs, **({"input": self._inputs(sizes)} if sizes else {}))

    def _inputs(self, sizes: Mapping[int, Any]) -> dict[str, Shape]:
        """Return the shapes of the inputs of which sizes change."""
        shape = tuple(sizes.get(i, size) for i, size in enumerate(self.shape))
        return {each.name: shape for each in self.network.inputs if each.shape == self.shape}


def _items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield a knob, and the items of lists in it: ``stages.0.2``."""
    yield name, value
    for i, item in enumerate(value if isinstance(value, list) else ()):
        yield from _items(f"{name}.{i}", item)


def _put(value: Any, items: Sequence[str], new: Any) -> Any:
    """Return a list with another value in the place of one of its items."""
    if not items:
        return new
    place = int(items[0])
    return [*value[:place], _put(value[place], items[1:], new), *value[place + 1 :]]


def is_number(value: Any) -> bool:
    """Whether a value is a number that can vary, and no truth value."""
    return is_whole(value) or isinstance(value, float)
