"""Parameters that meet the data by arithmetic: tables of positions, tokens, factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from archcost.importers.arranged import Arrangement, Unsaid, ops_of, rearranged
from archcost.importers.calls import Called, Input, Own, Rows
from archcost.importers.phrases_layers import beside
from archcost.network import Layer
from archcost.ops.base import make
from archcost.shape import Shape

MERGES = {
    **dict.fromkeys(("add", "__add__", "__radd__", "__iadd__"), "add"),
    **dict.fromkeys(("mul", "__mul__", "__rmul__", "multiply"), "multiply"),
    **dict.fromkeys(("sub", "__sub__"), "sub"), **dict.fromkeys(("div", "__truediv__"), "div"),
    **dict.fromkeys(("cat", "concat", "concatenate"), "concat"),
}  # fmt: skip
"""Functions of several tensors, each with its op."""


@dataclass(frozen=True)
class Table:
    """A parameter, and how it is arranged; it has no batch.

    Attributes:
        name: of the parameter in the module.
        shape: of the parameter, without sizes of 1.
        state: the arrangement of a batch of it, whose first dimension is left out.
    """

    name: str
    shape: Shape
    state: Arrangement

    @classmethod
    def of(cls, name: str, shape: Shape) -> Table:
        """Return a parameter as it is."""
        wide = tuple(n for n in shape if n > 1) or (1,)
        whole = Arrangement.of(wide, 1)
        return cls(name, wide, replace(whole, dims=whole.dims[1:])).moved("reshape", shape, {})[0]

    def moved(self, name: str, args: Sequence[Any], kwargs: Any) -> list[Table]:
        """Return what a function of views makes of it."""
        made = rearranged(name, self.state, args, kwargs)
        return [replace(self, state=state) for state in made]

    def in_batch(self, rank: int) -> Arrangement:
        """Return it once for each sample, with as many dimensions as another tensor."""
        dims, batch = list(self.state.dims), Arrangement.of(self.shape, 1).dims[0]
        if len(dims) == rank and not dims[0]:
            dims = dims[1:]
        if len(dims) >= rank:
            raise Unsaid
        return self.state.at(batch, *((),) * (rank - 1 - len(dims)), *dims)


def _is_input(arg: Any) -> bool:
    return isinstance(arg, Input)


class Tables:
    """The parameters of a network that are tensors like others."""

    def __init__(self, found: Any, said: Any) -> None:
        self.found, self.said = found, said
        self.known: dict[str, Table] = {}

    def view(self, layer: Layer, name: str, args: Any, kwargs: Any) -> bool:
        """Take note of a view of a parameter; whether a layer is one."""
        op = layer.op
        assert isinstance(op, Called)
        if op.args[:1] == (Input(0),) and layer.inputs[0] in self.known:
            table = self.known[layer.inputs[0]]
        elif isinstance(op.args[0], Own) and len(op.params) == 1:
            own = op.args[0].name
            table = Table.of(layer.full_name(own), op.params[own])
        else:
            return False
        made = table.moved(name, args, kwargs)
        self.known.update(zip(layer.outputs, made, strict=True))
        self.found.dropped.add(layer.path)
        return True

    def look_up(self, layer: Layer) -> bool:
        """Take note of rows of a table that constants look up; whether a layer does so."""
        op = layer.op
        if not isinstance(op, Called) or op.function != "embedding" or len(op.params) != 1:
            return False
        rows = None if any(map(_is_input, op.args)) else self.found.rows_of(layer)
        if rows is None or op.made_rows != 1 or len(op.made[0]) > 3:
            return False
        [own] = op.params
        table = Table.of(layer.full_name(own), op.params[own])
        self.known[layer.path] = table.moved("narrow", (0, *rows), {})[0]
        self.found.dropped.add(layer.path)
        return True

    def merge(self, layer: Layer) -> bool:
        """Say a function of parameters and of tensors as one of tensors; whether a layer is one."""
        op = layer.op
        name = MERGES.get(op.name, "") if isinstance(op, Called) else op.name
        if name not in MERGES.values():
            return False
        if isinstance(op, Called):
            if any(value not in (None, 1) for key, value in op.kwargs.items() if key != "dim"):
                return False
            given: Sequence[Any] = op.args[0] if name == "concat" else op.args[:2]
        else:
            given = [Input(place) for place in range(len(layer.inputs))]
        terms = [self._term(layer, arg) for arg in given]
        read = [term for term in terms if isinstance(term, str)]
        if len(read) == len(terms) or None in terms or not read:
            return False
        rank = len(layer.cost.output) + 1
        ahead: list[Any] = []
        inputs: list[str] = []
        for place, term in enumerate(terms):
            if isinstance(term, Table):
                inputs.append(self._write(ahead, layer, term, term.in_batch(rank), read[0], place))
            elif term is not None:
                inputs.append(term)
        options: Any = {}
        if name == "concat" and isinstance(op, Called):
            dim = op.kwargs.get("dim", op.args[1] if len(op.args) > 1 else 0) % rank
            if not dim:
                raise Unsaid
            options = {"dim": dim - 1}
        made = make(name, **options) if isinstance(op, Called) else op
        self.found.said[layer.path] = [*ahead, self.said(made, tuple(inputs))]
        return True

    def affine(self, ahead: list[Any], layer: Layer, x: str, rank: int) -> Any:
        """Add a product with a matrix, and return what adds a vector to it."""
        op = layer.op
        assert isinstance(op, Called)
        bias, _, matrix = (self._term(layer, arg) for arg in op.args)
        assert isinstance(bias, Table)
        assert isinstance(matrix, Table)
        b = self._write(ahead, layer, matrix, matrix.in_batch(3), x, 0)
        ahead.append(self.said(make("matmul"), (x, b), suffix="_product"))
        product = beside(layer.path, "_product")
        addend = self._write(ahead, layer, bias, bias.in_batch(rank + 1), product, 0)
        return self.said(make("add"), (product, addend))

    def expand(self, layer: Layer) -> bool:
        """Say a parameter that is repeated for each sample; whether a layer does so."""
        op = layer.op
        if not isinstance(op, Called) or op.function not in ("expand", "expand_as", "repeat"):
            return False
        table = self._term(layer, op.args[0])
        sizes: Any = op.args[1:]
        if len(sizes) == 1 and type(sizes[0]) in (list, tuple):
            sizes = sizes[0]
        rows = [d for d, n in enumerate(sizes) if isinstance(n, Rows)]
        if not isinstance(table, Table) or rows != [0]:
            return False
        state = table.in_batch(len(sizes))
        if state.sizes[1:] != layer.cost.output:
            raise Unsaid
        ahead: list[Any] = []
        made = self._write(ahead, layer, table, state, self.found.network.inputs[0].name, 0)
        self.found.said[layer.path] = ahead
        self.found.alias[layer.path] = made
        return True

    def _term(self, layer: Layer, arg: Any) -> str | Table | None:
        if isinstance(arg, Input):
            name = layer.inputs[arg.place]
            return self.known.get(name, name)
        if isinstance(arg, Own):
            assert isinstance(layer.op, Called)
            return Table.of(layer.full_name(arg.name), layer.op.params[arg.name])
        return None

    def _write(
        self,
        ahead: list[Any],
        layer: Layer,
        table: Table,
        state: Arrangement,
        like: str,
        place: int,
    ) -> str:
        """Add the ops that make a parameter a tensor, and return its name."""
        own = f"_{table.name.rpartition('.')[2]}{place or ''}"
        ops = ops_of(state)
        straight = [op.name for op in ops] in (["reshape"], ["unsqueeze"], ["flatten"], ["squeeze"])
        shape = state.sizes[1:] if straight or not ops else table.shape
        names = {"weight": table.name}
        ahead.append(self.said(make("parameter", [*shape]), (like,), names, own))
        name = beside(layer.path, own)
        for number, op in enumerate(() if straight else ops):
            suffix = f"{own}_{op.name}{number}"
            ahead.append(self.said(op, (name,), suffix=suffix))
            name = beside(layer.path, suffix)
        return name
