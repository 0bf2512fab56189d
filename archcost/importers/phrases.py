"""What code says in several calls, as the op that says it in one: attention, tokens, scales.

What is read of code has a layer for each call of a function. Where calls are what an op of specs
is, they become that op here, so that a spec can be written of them. The figures stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from archcost.errors import ArchcostError
from archcost.importers.arranged import Unsaid
from archcost.importers.calls import Called, Constant, Input, Own, View
from archcost.importers.phrases_layers import beside, is_reshaped, live_layers
from archcost.importers.phrases_views import viewed
from archcost.importers.windows import windowed
from archcost.network import Layer, Network, maker
from archcost.ops import OPS, Op
from archcost.ops.base import make
from archcost.pytorch import import_torch
from archcost.shape import Shape, numel, show


@dataclass(frozen=True)
class Said:
    """An op in place of calls: what it reads, and its parameters by the names in the module."""

    op: Op
    inputs: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


class Rewriting:
    """Says the calls of a network as ops.

    ``rates`` are how often modules leave a sample out, by their paths. ``module`` is what was read,
    None for a graph of ONNX.
    """

    def __init__(
        self, network: Network, rates: Mapping[str, float] = {}, module: Any = None
    ) -> None:
        self.network, self.rates, self.module = network, rates, module
        self.by_path = network.by_path
        self.readers: dict[str, list[Layer]] = {}
        for layer in network:
            for name in layer.inputs:
                self.readers.setdefault(name, []).append(layer)
        self.said: dict[str, list[Said]] = {}  # by the path of the call that they stand for
        self.alias: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.owned: set[str] = set()  # the parameters that a layer has already
        self.ops: dict[str, Op] = {}  # what is said so far, by path

    def run(self) -> Network:
        """Return the network with ops in place of calls."""
        for layer in self.network:
            if isinstance(layer.op, Called) and layer.op.name == "embedding":
                self._positions(layer, layer.op)
        windowed(self)
        viewed(self)
        for layer in self.network:
            if layer.path in self.dropped or layer.path in self.said:
                continue
            if _does_nothing(layer.op):
                self.drop(layer, layer.inputs[0])
            elif layer.op.name == "concat" and not isinstance(layer.op, Called):
                self._tokens(layer)
            elif isinstance(layer.op, Called) and (found := self._one(layer)) is not None:
                self.said[layer.path] = found
        return self._made()

    # Layers.

    def drop(self, layer: Layer, alias: str = "") -> None:
        """Leave a layer out; who reads it reads another tensor."""
        self.dropped.add(layer.path)
        if alias:
            self.alias[layer.path] = alias

    def _named(self, name: str) -> str:
        while name in self.alias:
            name = self.alias[name]
        return name

    def _made(self) -> Network:
        layers: list[Layer] = []
        values = {value.name: value for value in self.network.inputs}
        shapes: dict[str, tuple[Shape, int]] = {
            value.name: (value.shape, value.rows) for value in values.values()
        }
        for layer in self.network:
            if layer.path in self.dropped and layer.path not in self.said:
                continue
            for each in self._in_place_of(layer, shapes):
                layers.append(each)
                self.ops[each.path] = each.op
                self.owned.update(map(each.full_name, each.params))
                for name, shape in zip(each.outputs, each.cost.outputs, strict=True):
                    shapes[name] = (shape, each.made_rows)
        outputs = tuple(map(self._named, self.network.outputs))
        for before, after in zip(self.network.outputs, outputs, strict=True):
            value = self.network.values[before]
            if shapes[after] != (value.shape, value.rows):
                made, wanted = show(shapes[after][0]), show(value.shape)
                raise ArchcostError(
                    f"{before}: the ops of the spec make {made} in place of {wanted}"
                )
        kept = tuple(live_layers(layers, outputs, self.dropped))
        return replace(self.network, layers=kept, outputs=outputs)

    def _in_place_of(
        self, layer: Layer, shapes: Mapping[str, tuple[Shape, int]]
    ) -> Iterator[Layer]:  # fmt: skip
        for said in self.said.get(layer.path, ()):
            yield self._layer(layer, said, shapes)
        if layer.path not in self.said:
            yield replace(layer, inputs=tuple(map(self._named, layer.inputs)))

    def _layer(
        self, layer: Layer, said: Said, shapes: Mapping[str, tuple[Shape, int]]
    ) -> Layer:  # fmt: skip
        path = beside(layer.path, said.suffix)
        inputs = tuple(map(self._named, said.inputs))
        given = tuple(shapes[name][0] for name in inputs)
        first = beside(layer.module, said.suffix)
        if self.ops.get(first) == said.op:  # it runs again
            return Layer(
                path, said.op, inputs, given, said.op.cost(*given), first,
                rows=shapes[inputs[0]][1], function=layer.function,
            )  # fmt: skip
        ties = {own: full for own, full in said.names.items() if full in self.owned}
        names = {own: full for own, full in said.names.items() if full not in ties.values()}
        return Layer(
            path, said.op, inputs, given, said.op.cost(*given), path, ties,
            rows=shapes[inputs[0]][1], function=layer.function, names=names,
        )  # fmt: skip

    def said_of(self, layer: Layer) -> Said | None:
        """Return the op that a layer is, None if it is a call that no op says."""
        op = layer.op
        if not isinstance(op, Called):
            return Said(op, layer.inputs, {own: layer.full_name(own) for own in layer.cost.params})
        found = RULES.get(op.function, _plain)(self, layer, op)
        return found[0] if isinstance(found, list) else found

    def drop_path(self, layer: Layer, shape: Any) -> Said | None:
        """Return a product with a random number for each sample as ``stochastic_depth``."""
        path = layer.path.partition("#")[0]
        p = self.rates.get(path, self.rates.get(path.rpartition(".")[0]))
        if p is None or any(n != 1 for n in shape[1:]):
            return None
        return Said(make("stochastic_depth", p), layer.inputs)

    def _tokens(self, layer: Layer) -> None:
        """Say a learnt token before others as ``class_token``."""
        first = self.by_path.get(layer.inputs[0])
        if first is None or not isinstance(first.op, Called) or first.op.function != "expand":
            return
        if len(first.op.params) != 1 or self.readers[first.path] != [layer]:
            return
        shape = self.network.values[layer.inputs[1]].shape
        [own] = first.op.params
        if len(layer.inputs) == 2 and first.cost.output == (1, shape[-1]) and len(shape) == 2:
            self.dropped.add(first.path)
            names = {"token": first.full_name(own)}
            self.said[layer.path] = [Said(make("class_token"), layer.inputs[1:], names)]

    def _positions(self, layer: Layer, op: Called) -> None:
        """Say a whole table that constants look up and that is added as ``position_embedding``."""
        readers = self.readers.get(layer.path, [])
        own = next((arg for arg in op.args[:2] if isinstance(arg, Own)), None)
        if own is None or len(readers) != 1 or any(isinstance(arg, Input) for arg in op.args):
            return
        [added] = readers
        others = [name for name in added.inputs if name != layer.path]
        table, shape = op.params[own.name], added.cost.output
        if added.op.name != "add" or len(others) != 1 or not shape == table == op.made[0][-2:]:
            return
        self.dropped.add(layer.path)
        names = {"position": layer.full_name(own.name)}
        self.said[added.path] = [Said(make("position_embedding"), (others[0],), names)]

    def rows_of(self, layer: Layer) -> tuple[int, int] | None:
        """Return the first row of a table that constants look up, and how many; None if unknown.

        Constants that the code makes are taken to be the positions, in order; a buffer is looked
        into.
        """
        op = layer.op
        assert isinstance(op, Called)
        [table] = op.params.values()
        count = numel(op.made[0]) // numel(table[1:])
        names = {arg.name for arg in op.args if isinstance(arg, View)}
        named = getattr(self.module, "named_buffers", lambda: ())()
        for held in (buffer.flatten() for name, buffer in named if name.split(".")[-1] in names):
            rows = [int(row) for row in held.unique()]
            if len(rows) == 1:
                return rows[0], 1
            if held.tolist() != rows or rows != [*range(len(rows))]:
                return None
        return (0, count) if 1 < count <= table[0] else None

    # One call.

    def _one(self, layer: Layer) -> list[Said] | None:
        """Return the ops that a call is, None if no op says it."""
        op = layer.op
        assert isinstance(op, Called)
        rule = RULES.get(op.function, _plain)
        try:
            found = rule(self, layer, op)
            said = [found] if isinstance(found, Said) else found
            if said and self._fits(layer, said):
                return said
        except (ArchcostError, Unsaid):
            return None
        return None

    def is_said(self, layer: Layer) -> bool:
        """Whether an op says a layer with its parameters, alone or with the layer that reads it."""
        following = self.readers.get(layer.path, [])
        token = layer.op.name == "expand" and len(layer.params) == 1 and len(following) == 1
        if token and following[0].op.name == "concat" and following[0].inputs[0] == layer.path:
            return len(following[0].inputs) == 2 and layer.cost.output[0] == 1
        if is_reshaped(layer) and len(following) == 1 and following[0].op.name == "mul":
            return self._one(following[0]) is not None
        return self._one(layer) is not None

    def _fits(self, layer: Layer, said: Sequence[Said]) -> bool:
        shape: Shape = ()
        for each in said:
            known = self.network.values
            given = [known[name].shape if name in known else shape for name in each.inputs]
            shape = each.op.cost(*given).output
        return shape == layer.cost.output and layer.made_rows == layer.rows


def _does_nothing(op: Op) -> bool:
    """Whether a layer gives what it takes: dropout of nothing, padding by nothing, adding 0.

    Python's ``sum`` begins with 0.
    """
    if isinstance(op, Called):
        if op.function in ("add", "__add__", "__radd__"):
            return any(type(arg) in (int, float) and not arg for arg in op.args)
        return op.function == "pad" and not any(op.args[1])
    return op.name == "dropout" and not op.values[0]


Rule = Callable[[Rewriting, Layer, Called], "Said | list[Said] | None"]
RULES: dict[str, Rule] = {}
"""What single calls are as ops, by the functions' names."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register what says the functions of these names."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


def _linear(layer: Layer) -> Said | None:
    """Return a call of ``linear`` with weights of its own as the op."""
    op = layer.op
    if not isinstance(op, Called) or op.function != "linear" or len(layer.inputs) != 1:
        return None
    weight, bias = op.params.get("weight"), "bias" in op.params
    own = [*op.params]
    if len(own) > 2 or not all(isinstance(arg, (Input, Own)) or arg is None for arg in op.args):
        return None
    names = [arg.name for arg in op.args if isinstance(arg, Own)]
    shape = weight or op.params[names[0]]
    known = dict(zip(("weight", "bias"), (layer.full_name(name) for name in names), strict=False))
    return Said(make("linear", shape[0], bias=len(names) == 2 or bias), layer.inputs, known)


@rule("cat", "concat")
def _copy(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    return Said(make("concat"), layer.inputs) if len(layer.inputs) == 1 else None


def _plain(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    """Return a function of one tensor and nothing else as the op of its name."""
    known = OPS.get(op.function)
    alone = op.args == (Input(0),) and not op.kwargs and not op.params and not op.buffers
    return Said(make(op.function), layer.inputs) if known and alone else None


@rule("embedding")
def _embedding(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    own = next((arg for arg in op.args[:2] if isinstance(arg, Own)), None)
    looked_up = any(isinstance(arg, Input) for arg in op.args[:2])
    if own is None or not looked_up or op.kwargs.get("max_norm") is not None:
        return None
    rows, width = op.params[own.name]
    names = {"weight": layer.full_name(own.name)}
    return Said(make("embedding", rows, width), layer.inputs, names)


@rule("linear")
def _projection(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    return _linear(layer)


@rule("mean")
def _mean(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    dims = op.args[1] if len(op.args) > 1 else op.kwargs.get("dim")
    keepdim = op.kwargs.get("keepdim", op.args[2] if len(op.args) > 2 else False)
    places = places_of(dims, layer)
    return Said(make("mean", places, keepdim=keepdim), layer.inputs) if places else None


def places_of(dims: Any, layer: Layer) -> list[int] | None:
    """Return dimensions without the batch; None if it is one of them, or all are meant."""
    rank = len(layer.shapes[0]) + 1
    given = [] if dims is None else dims if isinstance(dims, (list, tuple)) else [dims]
    places = [d % rank - 1 for d in given]
    return places if places and min(places) >= 0 else None


@rule("__getitem__")
def _item(self: Rewriting, layer: Layer, op: Called) -> list[Said] | None:
    places = op.args[1] if isinstance(op.args[1], tuple) else (op.args[1],)
    whole = slice(None, None, None)
    if Ellipsis in places:
        at = places.index(Ellipsis)
        rest = len(layer.shapes[0]) + 2 - len(places)
        places = (*places[:at], *(whole,) * rest, *places[at + 1 :])
    if places[:1] != (whole,) or op.params:
        return None
    wanted = [(dim, at) for dim, at in enumerate(places[1:]) if at != whole]
    said: list[Said] = []
    inputs = layer.inputs
    if len(wanted) == 1 and type(wanted[0][1]) is int:
        [(dim, at)] = wanted
        first = at % layer.shapes[0][dim]
        cut = make("slice", dim, first, first + 1)
        drop = make("flatten") if len(layer.shapes[0]) == 2 else make("squeeze", dim)
        return [Said(cut, inputs, suffix="_slice"), Said(drop, (beside(layer.path, "_slice"),))]
    for number, (dim, at) in enumerate(wanted):
        if not isinstance(at, slice):
            return None
        start, stop, step = at.indices(layer.shapes[0][dim])
        last = number == len(wanted) - 1
        suffix = "" if last else f"_slice{number}"
        end = {} if stop == layer.shapes[0][dim] else {"stop": stop}
        cut = make("slice", dim, start, step=step, **end)
        said.append(Said(cut, inputs, suffix=suffix))
        inputs = (beside(layer.path, suffix),)
    return said


@rule("mul", "multiply", "__mul__", "__rmul__", "__imul__")
def _mul(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    first, second = op.args[:2]
    if isinstance(first, (int, float)):
        first, second = second, first
    if isinstance(second, (int, float)) and not isinstance(second, bool):
        return Said(make("rescale", second), layer.inputs)
    for own, other in ((first, second), (second, first)):
        if isinstance(own, Own) and isinstance(other, Input):
            name, shape = layer.full_name(own.name), op.params[own.name]
            return _scale(name, shape, layer.shapes[0], layer.inputs)
        if isinstance(own, Input) and isinstance(other, Input):
            table = self.by_path.get(maker(layer.inputs[own.place]))
            if table is not None and is_reshaped(table) and self.readers[table.path] == [layer]:
                self.dropped.add(table.path)
                [name] = map(table.full_name, table.params)
                inputs = (layer.inputs[other.place],)
                return _scale(name, table.cost.output, layer.shapes[other.place], inputs)
        if isinstance(own, Constant) and isinstance(other, Input):
            return self.drop_path(layer, own.shape)
    return None


def _scale(name: str, shape: Shape, x: Shape, inputs: tuple[str, ...]) -> Said | None:
    padded = (1,) * (len(x) - len(shape)) + shape[-len(x) :]
    wide = [d for d, n in enumerate(padded) if n > 1]
    if len(wide) != 1 or padded[wide[0]] != x[wide[0]]:
        return None
    dim = {} if wide[0] == 0 else {"dim": -1} if wide[0] == len(x) - 1 else {"dim": wide[0]}
    return Said(make("scale", bias=False, **dim), inputs, {"weight": name})


@rule("add", "__add__", "__radd__", "__iadd__")
def _add(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    numbers = [arg for arg in op.args[:2] if type(arg) in (int, float)]
    if numbers and len(layer.inputs) == 1 and not op.params and not op.kwargs:
        return Said(make("rescale", 1, numbers[0]), layer.inputs)
    own = [arg for arg in op.args[:2] if isinstance(arg, Own)]
    if len(own) != 1 or op.params[own[0].name] != (1, *layer.shapes[0]):
        return None
    names = {"position": layer.full_name(own[0].name)}
    return Said(make("position_embedding"), layer.inputs, names)


LEADING = (
    ("condition", "tensors", "query", "input"),
    ("input", "mat1", "key", "other", "exponent", "mat2"), ("value", "mat2", "other"),
)  # fmt: skip
"""What PyTorch calls its first arguments, which tensors are: those of each place."""


def in_order(layer: Layer) -> Layer:
    """Return a call whose first arguments are given by place, as rules read them."""
    op = layer.op
    if not isinstance(op, Called) or not op.kwargs:
        return layer
    args, kwargs = [*op.args], dict(op.kwargs)
    for names in LEADING[len(args) :]:
        name = next((name for name in names if name in kwargs), None)
        if name is None:
            break
        args.append(kwargs.pop(name))
    return replace(layer, op=op.with_arguments(args, kwargs))


DROPPING = {"StochasticDepth": "p", "DropPath": "drop_prob"}
"""Modules that leave samples out, and which attribute says how often."""


def as_ops(network: Network) -> Network:
    """Return what was read of code with ops of specs in place of calls, where there are such."""
    for rules in ("choices", "sums"):
        import_module(f"archcost.importers.phrases_{rules}")
    network = replace(network, layers=tuple(map(in_order, network.layers)))
    if network.module is None:  # a graph of ONNX
        return Rewriting(network).run()
    import_torch()
    module = network.module()
    rates = {
        path: float(getattr(part, DROPPING[kind], 0) or 0)
        for path, part in getattr(module, "named_modules", lambda: ())()
        if (kind := type(part).__name__) in DROPPING
    }
    return Rewriting(network, rates, module).run()
