"""What code rearranges between layers, in as few ops as can be, and attention between them.

Code splits heads, cuts windows and moves the dimension of the batch in many steps. Here a tensor is
known by where its elements lie in the output of the layer before (:mod:`.arranged`), and is written
where a layer reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from archcost.errors import ArchcostError
from archcost.importers.arranged import VIEWS, Arrangement, Part, Unsaid, ops_of, rearranged
from archcost.importers.calls import Called, Input, Own
from archcost.importers.phrases_layers import beside
from archcost.importers.phrases_tables import Tables
from archcost.importers.seen import BATCH
from archcost.network import Layer
from archcost.ops.base import make

ATTENTION = "scaled_dot_product_attention"
OPTIONS = ("attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
"""Its arguments behind queries, keys and values."""

OF_LAST = ("linear", "layer_norm", "rms_norm", "layernorm", "rmsnorm")
"""What works on the last dimension alone, wherever the batch is."""


def viewed(found: Any) -> None:
    """Say the rearrangements of a network, and attention, as ops."""
    _Views(found).run()


class _Views:
    def __init__(self, found: Any) -> None:
        self.found = found
        self.states: dict[str, tuple[str, Arrangement]] = {}

    def run(self) -> None:
        """Go through the layers in order."""
        from archcost.importers.phrases import Said  # which asks for this

        self.Said = Said
        self.tables = Tables(self.found, Said)
        found = self.found
        for layer in found.network:
            if layer.path in found.dropped or layer.path in found.said:
                continue
            view = self._view_of(layer)
            try:
                if self._of_table(layer):
                    continue
                if getattr(layer.op, "once", False) and not found.is_said(layer):
                    raise Unsaid  # of parameters alone, which no rule tells
                if view is not None:
                    self._view(layer, *view)
                elif layer.op.name == ATTENTION:
                    self._attention(layer)
                elif (terms := product_of(layer)) is not None:
                    self._product(layer, *terms)
                elif layer.op.name == "addmm" or (
                    layer.op.name in OF_LAST and layer.inputs[0] in self.states
                ):
                    self._of_last(layer)
            except Unsaid:
                raise ArchcostError(
                    f"{layer.path}: {layer.op.call()} is a function that no op of specs says"
                ) from None

    def _of_table(self, layer: Layer) -> bool:
        """Say what a layer does with parameters, if anything; whether that is all."""
        op, tables = layer.op, self.tables
        read = any(name in tables.known for name in layer.inputs)
        if _is_affine(op):
            return False
        if not read and (not isinstance(op, Called) or not op.params or self.found.is_said(layer)):
            return False
        views = isinstance(op, Called) and op.function in VIEWS and not op.buffers
        if isinstance(op, Called) and views and not _has_steps(op.args[1:]):
            return tables.view(layer, op.function, op.args[1:], op.kwargs)
        if tables.look_up(layer) or tables.expand(layer) or tables.merge(layer):
            return True
        if read:
            raise Unsaid
        return False

    def _view_of(self, layer: Layer) -> tuple[str, Any, Any] | None:
        """Return the function that rearranges one tensor, and its arguments; None for others."""
        op, values = layer.op, self.found.network.values
        if len(layer.inputs) != 1:
            return None
        if isinstance(op, Called):
            own = op.args[:1] == (Input(0),) and not op.params and not op.buffers
            same = values[layer.inputs[0]].dtype == values[layer.path].dtype
            if op.function in VIEWS and own and same and not _has_steps(op.args[1:]):
                return op.function, op.args[1:], op.kwargs
        elif op.name == "flatten":
            return "flatten", (op.start_dim % len(layer.shapes[0]) + 1,), {}  # type: ignore[attr-defined]
        elif op.name == "permute":
            return "permute", (0, *(d + 1 for d in op.dims)), {}  # type: ignore[attr-defined]
        return None

    def _state(self, name: str) -> tuple[str, Arrangement]:
        """Return of which tensor another one is a rearrangement, and how."""
        value = self.found.network.values[name]
        return self.states.get(name) or (name, Arrangement.of(value.shape, value.rows))

    def _takes_views(self, layer: Layer) -> bool:
        known = layer.op.name in (ATTENTION, "addmm", *OF_LAST)
        known = known or product_of(layer) is not None
        return known or self._view_of(layer) is not None

    def _is_read(self, name: str) -> bool:
        """Whether a layer reads a tensor as it is."""
        readers = self.found.readers.get(name, ())
        return name in self.found.network.outputs or not all(map(self._takes_views, readers))

    def _view(self, layer: Layer, name: str, args: Any, kwargs: Any) -> None:
        base, before = self._state(layer.inputs[0])
        said: list[Any] = []
        try:
            made = rearranged(name, before, args, kwargs)
        except Unsaid:  # it cuts what is made of several parts: that is written before
            base = self._write(said, layer, base, before, "_in")
            before = Arrangement.of(before.sizes[1:], before.sizes[0] // BATCH)
            made = rearranged(name, before, args, kwargs)
        pieces = dict(zip(layer.outputs, made, strict=True))
        read = [output for output in pieces if self._is_read(output)]
        if len(read) > 1 and before.is_same and self._split(said, layer, base, name):
            return
        self.states |= {output: (base, after) for output, after in pieces.items()}
        for place, output in enumerate(pieces):
            if output not in read:
                continue
            suffix = f"_{place}" if len(pieces) > 1 else ""
            last = self._write(said, layer, base, pieces[output], suffix)
            if last != output:
                self.found.alias[output] = last
            value = self.found.network.values[output]
            self.states[output] = (output, Arrangement.of(value.shape, value.rows))
        if said:
            self.found.said[layer.path] = said
        else:
            self.found.dropped.add(layer.path)

    def _split(self, said: list[Any], layer: Layer, base: str, name: str) -> bool:
        """Say a cut into equal pieces as one op; whether it is one."""
        shapes = [layer.cost.output, *layer.cost.others]
        given = layer.shapes[0]
        where = [
            d for d, n in enumerate(given) if len(shapes[0]) == len(given) and shapes[0][d] != n
        ]
        if name == "unbind" or len(where) != 1:
            return False
        op = make("split", len(shapes), where[0])
        cost = op.cost(given)
        if [cost.output, *cost.others] != shapes:
            return False
        self.found.said[layer.path] = [*said, self.Said(op, (base,))]
        return True

    def _write(
        self, said: list[Any], layer: Layer, base: str, target: Arrangement, suffix: str = ""
    ) -> str:
        """Add the ops that make a tensor, and return its name."""
        ops = ops_of(target)
        for number, op in enumerate(ops, 1):
            own = suffix if number == len(ops) else f"{suffix}_{op.name}{number}"
            said.append(self.Said(op, (base,), suffix=own))
            base = beside(layer.path, own)
        return base

    # Layers that read rearranged tensors.

    def _of_last(self, layer: Layer) -> None:
        """Say a layer that works on the last dimension on tensors that have the batch first."""
        found = None if layer.op.name == "addmm" else self.found.said_of(layer)
        if found is None and not _is_affine(layer.op):
            raise Unsaid
        base, target = self._state(layer.inputs[0])
        *lead, last = target.dims
        ordered = target if _is_ready(target) else target.at(*_by_dimension(lead), last)
        said: list[Any] = []
        source = self._write(said, layer, base, ordered, "_in")
        given = ordered.sizes[1:]
        if found is None:  # with a matrix of inputs x outputs
            out = layer.cost.output[-1]
            last_said = self.tables.affine(said, layer, source, len(given))
        else:
            op = found.op.replaced(dim=-1 if len(given) > 2 else None)
            out = op.cost(given).output[-1]
            last_said = replace(found, op=op, inputs=(source,))
        made = Arrangement.of((*given[:-1], out), ordered.sizes[0] // BATCH)
        places: dict[Part, Part] = {}
        for d, dim in enumerate(ordered.dims[:-1]):
            stride = 1
            for part in reversed(dim):
                places[part] = Part(d, stride, part.size, 0, part.size)
                stride *= part.size
        after = [[p for part in dim for p in _found(part, places)] for dim in lead]
        state = made.at(*after, made.dims[-1])
        suffix = "" if state.is_same else "_rows"
        said.append(replace(last_said, suffix=suffix))
        self.found.said[layer.path] = said
        if suffix:
            self.states[layer.path] = (beside(layer.path, suffix), state)
            self._read_as_it_is(said, layer, beside(layer.path, suffix))

    def _product(self, layer: Layer, left: str, right: str, made: str) -> None:
        """Say a product of two tensors, with all the dimensions that are alike before it."""
        states = [self._state(name) for name in layer.inputs]
        dims = [
            dict(zip(t, s.dims, strict=True))
            for t, (_, s) in zip((left, right), states, strict=True)
        ]
        lead = [key for key in made if key in left and key in right]
        inner = [key for key in left if key in right and key not in made]
        rows, columns = ([k for k in made if k in t and k not in lead] for t in (left, right))
        if {*left} | {*right} != {*lead, *inner, *rows, *columns} or not inner:
            raise Unsaid
        said: list[Any] = []
        inputs, flags = [], {}
        sides = (("a", [rows, inner]), ("b", [inner, columns]))
        for (name, pair), (base, state), own in zip(sides, states, dims, strict=True):
            first, second = ([part for key in keys for part in own[key]] for keys in pair)
            before = [own[key] for key in lead]
            turned = state.at(*before, second, first)
            if turned.is_same:
                flags[f"transpose_{name}"] = True
                inputs.append(base)
            else:
                inputs.append(
                    self._write(said, layer, base, state.at(*before, first, second), f"_{name}")
                )
        op = make("matmul", **flags)
        if not layer.macs:  # einsum multiplies element by element where it sums one
            raise Unsaid
        sizes = {key: prod(p.size for p in dim) for own in dims for key, dim in own.items()}
        outer = {key: max(_numel(own[key]) for own in dims) for key in lead[1:]}
        ends = [prod(sizes[key] for key in keys) for keys in (rows, columns)]
        batch = _numel(dims[0][lead[0]])
        ordered = [*rows, *columns] == [key for key in made if key not in lead]
        apart = not ordered or len(rows) != 1 or len(columns) != 1
        plain = not apart and [*made] == [*lead, *rows, *columns]
        said.append(self.Said(op, tuple(inputs), suffix="" if plain else "_product"))
        base = beside(layer.path, "" if plain else "_product")
        self.found.said[layer.path] = said
        if plain:
            return
        whole = Arrangement.of((*outer.values(), *ends), batch // BATCH)
        order = [*lead, *rows, *columns]
        whole = whole.reshaped([batch, *outer.values(), *(sizes[k] for k in (*rows, *columns))])
        self.states[layer.path] = (base, whole.permuted([order.index(key) for key in made]))
        self._read_as_it_is(said, layer, base)

    def _read_as_it_is(self, said: list[Any], layer: Layer, base: str) -> None:
        """Write what a layer makes in another order, if a layer reads it so."""
        if self._is_read(layer.path):
            last = self._write(said, layer, base, self.states[layer.path][1])
            if last != layer.path:
                self.found.alias[layer.path] = last

    def _attention(self, layer: Layer) -> None:
        """Say attention on tokens with all their heads side by side."""
        op = layer.op
        assert isinstance(op, Called)
        given = {**dict(zip(OPTIONS, op.args[3:], strict=False)), **op.kwargs}
        masked = given.get("attn_mask") is not None
        if len(layer.inputs) != 3 + masked or op.args[:3] != tuple(map(Input, range(3))):
            raise Unsaid
        tensors = [self._state(name) for name in layer.inputs[:3]]
        heads = [_heads(state) for _, state in tensors]
        merged = [(base, _merged(state)) for base, state in tensors]
        more: dict[str, Any] = {"causal": True} if given.get("is_causal") else {}
        more |= {"kv_heads": heads[1]} if heads[1] != heads[0] else {}
        width = tensors[0][1].sizes[-1]
        scale, dropout = given.get("scale"), given.get("dropout_p")
        more |= {"scale": scale} if scale and scale != width**-0.5 else {}
        more |= {"dropout": dropout} if dropout else {}
        said: list[Any] = []
        if len({base for base, _ in merged}) == 1 and _side_by_side([a for _, a in merged]):
            inputs = [merged[0][0]]
        else:
            names = ("_q", "_k", "_v")
            inputs = [
                self._write(said, layer, base, state, suffix)
                for (base, state), suffix in zip(merged, names, strict=True)
            ]
        if masked:
            inputs.append(layer.inputs[3])
        attention = self.Said(make("attention", heads[0], **more), tuple(inputs), suffix="_heads")
        said.append(attention)
        base = beside(layer.path, "_heads")
        sizes = merged[0][1].sizes
        each = tensors[2][1].sizes[-1]
        whole = Arrangement.of((*sizes[1:-1], heads[0] * each), sizes[0] // BATCH)
        if _has_heads(tensors[0][1]):
            apart = whole.reshaped([*sizes[:-1], heads[0], each])
            rank = len(apart.dims)
            whole = apart.permuted([*range(rank - 3), rank - 2, rank - 3, rank - 1])
        self.states[layer.path] = (base, whole)
        self.found.said[layer.path] = said
        self._read_as_it_is(said, layer, base)


def _is_affine(op: Any) -> bool:
    """Whether a call adds a vector to a product with a matrix, both parameters."""
    if not isinstance(op, Called) or op.function != "addmm" or op.kwargs or len(op.params) != 2:
        return False
    bias, x, matrix = op.args
    return isinstance(bias, Own) and x == Input(0) and isinstance(matrix, Own)


def _is_ready(x: Arrangement) -> bool:
    """Whether the batch is the first dimension, and has the rows that it had."""
    return x.dims[0] == Arrangement.of((), x.shape[0] // BATCH).dims[0]


def _by_dimension(dims: Sequence[Sequence[Part]]) -> list[list[Part]]:
    """Return parts by the dimensions from which they come, the batch first."""
    parts = sorted((part for dim in dims for part in dim), key=lambda p: (p.dim, -p.stride))
    return [[part for part in parts if part.dim == d] for d in {part.dim: 0 for part in parts}]


def product_of(layer: Layer) -> tuple[str, str, str] | None:
    """Return the dimensions of the factors of a product of two tensors, and of its result."""
    op = layer.op
    if not isinstance(op, Called) or len(layer.inputs) != 2 or op.params or op.buffers:
        return None
    given = [arg for arg in op.args if isinstance(arg, Input)]
    if len(given) != 2 or op.kwargs:
        return None
    if op.function == "einsum" and isinstance(op.args[0], str) and "..." not in op.args[0]:
        terms, arrow, made = op.args[0].replace(" ", "").partition("->")
        left, _, right = terms.partition(",")
        return (left, right, made) if arrow and left[:1] == right[:1] == made[:1] else None
    ranks = {len(shape) for shape in layer.shapes}
    if op.function in ("matmul", "bmm", "__matmul__") and len(ranks) == 1 and min(ranks) > 1:
        lead = "bcdefgh"[: min(ranks) - 1]
        return f"{lead}xy", f"{lead}yz", f"{lead}xz"
    return None


def _found(part: Part, places: dict[Part, Part]) -> list[Part]:
    """Return where a part is in what a layer has made; it may lie within one that was gathered."""
    if part in places:
        return [places[part]]
    for whole, place in places.items():
        inside = whole.dim == part.dim and whole.stride <= part.stride
        if (
            inside
            and part.stride * part.size <= whole.stride * whole.size
            and whole.size == whole.whole
        ):
            stride = part.stride // whole.stride
            return [replace(place, stride=place.stride * stride, size=part.size, whole=part.whole)]
    raise Unsaid


def _numel(dim: Sequence[Part]) -> int:
    return prod(part.size for part in dim)


def _has_heads(x: Arrangement) -> bool:
    return len(x.dims) > 3


def _heads(x: Arrangement) -> int:
    return prod(part.size for part in x.dims[-3]) if _has_heads(x) else 1


def _merged(x: Arrangement) -> Arrangement:
    """Return batch x heads x tokens x width as batch x tokens x features."""
    if not _has_heads(x):
        return x
    *lead, heads, tokens, width = x.dims
    return x.at(*lead, tokens, (*heads, *width))


def _side_by_side(parts: Sequence[Arrangement]) -> bool:
    """Whether queries, keys and values are the parts of one tensor, one after the other."""
    last, start = len(parts[0].shape) - 2, 0
    for part in parts:
        width = part.sizes[-1]
        cut = Arrangement.of(part.shape[1:], part.shape[0] // BATCH)
        if ops_of(part) != ops_of(cut.cut(last + 1, start, width)):
            return False
        start += width
    return start == parts[0].shape[-1]


def _has_steps(args: Sequence[Any]) -> bool:
    """Whether places among arguments leave elements out in between, or are tensors."""
    for arg in args:
        if isinstance(arg, slice) and arg.step not in (None, 1):
            return True
        if isinstance(arg, Input) or (isinstance(arg, tuple) and _has_steps(arg)):
            return True
    return False
