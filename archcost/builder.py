"""Builds a network layer by layer. All layers are added here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from operator import attrgetter
from typing import Any

from archcost.errors import ArchcostError, LookupFailed, OpError, did_you_mean, shorten
from archcost.network import NETWORK_INPUT, NO_NAMES, Layer, Network, Value, prefixes
from archcost.ops import Cost, Op
from archcost.ops.base import DTYPES, FLOAT, made_dtype
from archcost.shape import LARGEST, Shape, numel, read_shape, show
from archcost.units import number_of

MAX_LAYERS = 20_000
MOST_WORK = 2**100

name_of, told_of = attrgetter("name"), attrgetter("shape", "dtype", "rows")
"""The name of a tensor, and what a layer makes of it depends on."""

Made = tuple[Cost, tuple[Shape, ...], str, int]
"""What an op makes of tensors: its cost on their shapes, the type, the rows of the batch."""


class TooManyLayers(ArchcostError):
    """A network has more layers than archcost takes."""


class Builder:
    """Builds a network layer by layer: infers shapes and costs, finds names, keeps within limits.

    ``layers`` holds the layers so far, ``values`` the tensors by name. ``places`` holds the paths
    that are taken, each with its place in the spec if there is one.

    Examples:
        >>> from archcost.ops import make
        >>> builder = Builder()
        >>> x = builder.input("3x8x8")
        >>> x = builder.add(make("conv", 4, 3), x, name="stem")
        >>> builder.network("tiny", x)
        <Network tiny: 3x8x8 to 4x6x6, 1 layers>
    """

    def __init__(self) -> None:
        self.inputs: list[Value] = []
        self.layers: list[Layer] = []
        self.folded = 0  # layers that repeats stand for besides, at most
        self.places: dict[str, Any] = {}
        self._numbers: dict[str, int] = {}
        self._known: dict[Any, tuple[Op, Made]] = {}
        self.values: dict[str, Value] = {}
        self._retyped: set[str] = set()  # inputs that are not of floats, as it turned out
        self._layers: dict[str, Layer] = {}
        self._groups: set[str] = set()
        self._params: dict[str, Shape] = {}  # of the layers read so far
        self._read = 0

    def input(
        self, shape: str | Shape, name: str = NETWORK_INPUT, dtype: str = FLOAT
    ) -> Value:  # fmt: skip
        """Return a new input of the network; ``shape`` is without batch, channels first."""
        self._check_name(name)
        if dtype not in DTYPES:
            raise LookupFailed("type of an input", dtype, DTYPES)
        sizes = () if shape == () else read_shape(shape)  # a number for each sample
        value = self.values[name] = Value(name, sizes, dtype)
        self.inputs.append(value)
        return value

    def add(
        self, op: Op, *inputs: Value | str, name: str = "",
        params: str | Mapping[str, str] | None = None,
    ) -> Value:  # fmt: skip
        """Add a layer and return its (first) output; see :meth:`add_all`."""
        return self.add_all(op, *inputs, name=name, params=params)[0]

    def add_all(
        self, op: Op, *inputs: Value | str, name: str = "",
        params: str | Mapping[str, str] | None = None, names: Mapping[str, str] = NO_NAMES,
    ) -> tuple[Value, ...]:  # fmt: skip
        """Add a layer and return all its outputs.

        Args:
            op: the operator with its arguments.
            inputs: the tensors that it reads, or their names.
            name: the layer's path. If it is empty or ends in a dot, the builder numbers the layer.
            params: the path of a layer whose module runs again, or a mapping from the op's names
                to parameters of other layers: ``{"weight": "embedding.weight"}``.
            names: full names of its own parameters, if they do not begin with its path.

        Raises:
            OpError: the op does not take such inputs or parameters; the text has the path.
            LookupFailed: there is no tensor, layer or parameter with this name.
            ArchcostError: the path is taken, the layer is too large, or there are too many layers.
        """
        group, _, own = name.rpartition(".")
        path = name if own else self.number(group, op.name)
        self._check_name(path)
        if len(self.layers) + self.folded >= MAX_LAYERS:
            raise TooManyLayers(f"more than {MAX_LAYERS:,} layers")
        values: Sequence[Value] = [self._find(v) if isinstance(v, str) else v for v in inputs]
        if self._retyped:
            values = [self.values[v.name] if v.name in self._retyped else v for v in values]
        if op.integers or op.masks:
            values = self._typed(op, values)
        try:
            cost, shapes, dtype, made_rows = self._made(op, values)
            module, ties = self._shared(op, cost, path, params) if params else (path, NO_NAMES)
        except OpError as error:
            shapes = tuple([value.shape for value in values])
            raise OpError(refused(path, op.name, shapes, error)) from None
        reads, rows = tuple(map(name_of, values)), values[0].rows
        layer = Layer(path, op, reads, shapes, cost, module, ties, False, rows, names)
        self._append(layer)
        value = self.values[path] = Value(path, cost.output, dtype, made_rows)
        if not cost.others:
            return (value,)
        others = zip(layer.outputs[1:], cost.others, strict=True)
        more = [Value(name, shape, dtype, made_rows) for name, shape in others]
        self.values.update({value.name: value for value in more})
        return (value, *more)

    def add_again(
        self, layers: Sequence[Layer], outputs: Sequence[Value], group: str, new: str,
        names: dict[str, str],
    ) -> None:  # fmt: skip
        """Add the layers of a group once more, in a group whose name no path has.

        Args:
            layers: layers that have modules of their own, or parameters of one another.
            outputs: the tensors that they make.
            group: the path of the group.
            new: the path of the new group.
            names: what each tensor that they read from outside is called here; takes the names
                of what they make.
        """
        cut = len(group)
        for value in outputs:
            names[value.name] = name = new + value.name[cut:]
            self.values[name] = Value(name, value.shape, value.dtype, value.rows)
        for layer in layers:
            path = names[layer.path]
            inputs = tuple(map(names.__getitem__, layer.inputs))
            ties = layer.ties and {key: new + full[cut:] for key, full in layer.ties.items()}
            shapes, cost, rows = layer.shapes, layer.cost, layer.rows
            made = Layer(path, layer.op, inputs, shapes, cost, path, ties, False, rows, NO_NAMES)
            self._append(made)

    def _append(self, layer: Layer) -> None:
        path = layer.path
        self.layers.append(layer)
        self._layers[path] = layer
        if path.rpartition(".")[0] not in self._groups:
            self._groups.update(prefixes(path))

    def has(self, path: str) -> bool:
        """Whether there is a layer at a path."""
        return path in self._layers

    def layer(self, path: str) -> Layer:
        """Return a layer by its path."""
        return self._layers[path]

    def value(self, name: str) -> Value:
        """Return a tensor by its name."""
        return self.values[name]

    def _shared(
        self, op: Op, cost: Cost, path: str, params: str | Mapping[str, str]
    ) -> tuple[str, Mapping[str, str]]:
        """Return the path of the module that a layer runs, and what it takes of other modules."""
        if isinstance(params, str):
            if params not in self._layers:
                raise LookupFailed("layer", params, self._layers)
            first = self._layers[params]
            if first.op != op:
                raise OpError(f"{params} is another op: {first.op.call()}")
            known = {**first.cost.params, **first.cost.buffers}
            for name, shape in {**cost.params, **cost.buffers}.items():
                _check_shape(name, shape, first.full_name(name), known[name])
            return first.module, first.ties
        for layer in self.layers[self._read :]:
            self._params |= {layer.full_name(key): shape for key, shape in layer.params.items()}
        self._read, known = len(self.layers), self._params
        for name, full in params.items():
            if name not in cost.params:
                raise OpError(f"no parameter {name!r}{did_you_mean(name, cost.params)}")
            if full not in known:
                raise LookupFailed("parameter", full, known)
            _check_shape(name, cost.params[name], full, known[full])
        return path, dict(params)

    def _typed(self, op: Op, values: Sequence[Value]) -> list[Value]:
        """Return what an op reads; an input that nothing has read has the type that it takes."""
        found = []
        for place, value in enumerate(values):
            known, wanted = self.values.get(value.name, value), op.takes(place)
            read = any(value.name in layer.inputs for layer in self.layers)
            if known in self.inputs and known.dtype == FLOAT and not read:
                self.inputs[self.inputs.index(known)] = known = replace(known, dtype=wanted)
                self.values[value.name] = known
                self._retyped.add(value.name)
            found.append(known)
        return found

    def siblings(self, value: Value) -> Value | list[Value]:
        """Return all outputs of the layer that made a tensor, if it has several; else itself."""
        layer = self._layers.get(value.name)
        if layer is None or not layer.cost.others:
            return value
        return [self.values[name] for name in layer.outputs]

    def number(self, group: str, name: str, first: int = 1) -> str:
        """Return the path of the next layer or group of that name in a group, numbered."""
        stem = join(group, name)
        number = self._numbers.get(stem, first)
        while (path := f"{stem}{number}") in self.places:
            number += 1
        self._numbers[stem] = number + 1
        return path

    def network(self, name: str, *outputs: Value | str, **about: Any) -> Network:
        """Return the network; the first output is the main one, ``about`` are further fields."""
        values = [self._find(value) if isinstance(value, str) else value for value in outputs]
        names = tuple(value.name for value in values)
        return Network(name, tuple(self.inputs), tuple(self.layers), names, **about)

    def _check_name(self, path: str) -> None:
        around, _, own = path.rpartition(".")
        known = around in self._groups  # and so the names in it fit
        if not (_is_part(own) if known else _PATH.fullmatch(path)):
            raise ArchcostError(f"{shorten(path)!r} is not a path: {NAMES}, with dots between")
        if path in self.values or path in self._groups:
            raise ArchcostError(f"two layers or groups are named {path}")
        if not known:
            for group in prefixes(path):
                if group in self.values:
                    raise ArchcostError(f"{path} lies in {group}, which is a layer")

    def _find(self, name: str) -> Value:
        if name not in self.values:
            raise LookupFailed("tensor", name, self.values)
        return self.values[name]

    def _made(self, op: Op, values: Sequence[Value]) -> Made:
        """Return what an op makes of tensors: the same objects where it is asked again.

        Raises:
            OpError: the op does not take them.
        """
        key: Any = (id(op), *map(told_of, values))
        try:
            if key in self._known:
                return self._known[key][1]
        except TypeError:  # sizes that know their formula have no hash
            key = None
        check_inputs(op, len(values), all_given=True)
        shapes, dtypes, every = zip(*map(told_of, values), strict=True)
        dtype, rows = made_dtype(op, dtypes), every[0]
        cost = op.cost(*shapes)
        large = [size for shape in cost.outputs for size in shape if size > LARGEST]
        if large or numel(cost.output) + cost.macs > MOST_WORK:
            raise OpError("the layer is larger than archcost counts (2**53 per dimension)")
        if len(every) > 1 and not op.any_rows and any(own != rows for own in every):
            told = ", ".join(map(str, every))
            reason = "needs the same number of rows of the batch in each input"
            raise OpError(f"{op.name} {reason}; got {told}")
        made = cost, shapes, dtype, op.rows(rows, *shapes)
        if key:
            self._known[key] = op, made  # as long as the op lives, no other has its id
        return made


def check_inputs(op: Op, count: int, all_given: bool = False) -> None:
    """Refuse more inputs than an op takes, or fewer than a merge needs, or than it has in all."""
    if op.inputs == ("*",):
        if count < (op.least if all_given or op.least > 1 else op.named):
            raise OpError(f"{op.name} merges two or more named layers; got {count}")
    elif count > len(op.inputs):
        most = "one tensor" if len(op.inputs) == 1 else f"{len(op.inputs)} tensors at most"
        raise OpError(f"{op.name} takes {most}; got {count}")
    elif all_given and count < len(op.inputs):
        raise OpError(f"{op.name} takes {number_of(len(op.inputs), 'input')}; got {count}")


def _check_shape(name: str, shape: Shape, full: str, known: Shape) -> None:
    if shape != known:
        turned = "; PyTorch cannot share a transposed weight" * (shape == known[::-1])
        raise OpError(f"{name} is {show(shape)}, and {full} is {show(known)}{turned}")


def refused(path: str, op: str, shapes: Sequence[Shape], reason: object) -> str:
    """Return why a layer is refused: its path, its op, what it reads, the reason."""
    on = f" on {' and '.join(map(show, shapes))}" if shapes else ""
    return f"{path}: {op}{on}: {reason}"


NAMES = "letters, digits, _ - +"
_NAME = r"[\w+-]{1,100}(?:#\d+)?"
_PATH = re.compile(rf"{_NAME}(?:\.{_NAME})*")


@lru_cache(maxsize=4096)
def is_name(text: str) -> bool:
    """Whether a layer or group can have that name: one part of a path."""
    return "#" not in text and re.fullmatch(_NAME, text) is not None


@lru_cache(maxsize=4096)
def _is_part(text: str) -> bool:
    """Whether a text is one part of a path, which may be numbered."""
    return re.fullmatch(_NAME, text) is not None


def join(group: str, name: str) -> str:
    """Return the path of ``name`` in a group; the whole network is the group ``""``."""
    return f"{group}.{name}" if group else name
