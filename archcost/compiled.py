"""Formulas as a program: the figures of a run for other values of its symbols, without a run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

from archcost.graph import Graph
from archcost.nested import Nested, Split, along, depends_on_sum, horner, with_sum
from archcost.normal import Bounds, Polynomial, Terms, terms

CHUNK = 4096
"""Rows that are computed at once: so many stay in a processor's cache."""
INT64 = 2**63 - 1

_CALLS: Mapping[str, Callable[..., Any]] = {
    "floor": math.floor, "ceil": math.ceil, "round": round, "int": int, "max": max, "min": min,
    "pow": pow,
}  # fmt: skip


class Coded(NamedTuple):
    """A column of few values, each of which stands in many rows.

    Attributes:
        values: the values.
        places: which of them each row has, counted from 0.
    """

    values: Any
    places: Any


class _Scope:
    """The source of a function of a program.

    Attributes:
        symbol: the one symbol that all of it depends on; empty if there are several.
        lines: what it computes, an atom or a sum that is used again in each.
        conditions: what has to hold, as expressions.
        names: what stands for an atom.
        needs: what it takes from the functions of one symbol.
    """

    def __init__(self, symbol: str = "") -> None:
        self.symbol = symbol
        self.lines: list[str] = []
        self.conditions: list[str] = []
        self.names: dict[int, str] = {}
        self.needs: dict[str, None] = {}

    def source(self, name: str, takes: Collection[str], gives: str) -> str:
        """Return the function as source."""
        head = f"def {name}({', '.join(takes)}):"
        return "\n    ".join([head, *self.lines, f"return {gives}"])

    @property
    def held(self) -> str:
        """The expression of where all conditions hold."""
        return " & ".join(f"({own})" for own in self.conditions) or "True"


class _Own(NamedTuple):
    """What depends on one symbol alone, at values of it.

    Attributes:
        values: the values.
        held: where the conditions on the symbol hold.
        leaves: what the other functions take, by its name in the source.
    """

    values: Any
    held: Any
    leaves: Mapping[str, Any]


class Parted(NamedTuple):
    """Values of a symbol, parted by the conditions on it.

    Attributes:
        held: where the conditions hold.
        inside: the values there.
        outside: the others; None if there are none.
    """

    held: Any
    inside: Any
    outside: Any


class Program:
    """Computes formulas for given values of their symbols, where the run's guards hold.

    What depends on one symbol is a function of its own, so that it is computed once for each value
    where values are few. The other functions are the guards on several symbols, and the figures.
    """

    def __init__(
        self, graph: Graph, outputs: Mapping[str, Any], box: Mapping[str, Bounds] | None = None
    ) -> None:
        """Compile formulas of a graph. If a box is given, the symbols' values stay in it."""
        self._forms, self._numbers = graph.forms, count()
        self._sums: list[Terms] = []
        self._pairs: dict[tuple[int, int], int] = {}
        self._among: dict[int, frozenset[str]] = {}
        self._called = {name: f"x{i}" for i, name in enumerate(graph.symbols)}
        self._parts = {name: _Scope(name) for name in graph.symbols}
        self._leaves: dict[str, dict[str, None]] = {name: {} for name in graph.symbols}
        self._kept: dict[str, tuple[_Own, ...]] = {}
        self._parted: dict[str, tuple[Any, Parted]] = {}
        for name, (low, high) in graph.domain().items():
            least, most = (box or {}).get(name, (-math.inf, math.inf))
            if least < low or most > high:
                called = self._called[name]
                self._parts[name].conditions += f"{low!r} <= {called}", f"{called} <= {high!r}"
        guards = _Scope()
        for guard in graph.guards:
            among = frozenset[str]().union(*(self._names(i) for own, _ in guard.left for i in own))
            scope = self._parts[next(iter(among))] if len(among) == 1 else guards
            scope.conditions.append(f"{self._sum(guard.left, scope)} {guard.sign} 0")
        self._guards, self._guarded = [*guards.needs], bool(guards.conditions)
        self._outputs = {n: self._joined(terms(graph.form(own))) for n, own in outputs.items()}
        self._figures, figures = self._written(horner)
        parts = [
            scope.source(f"of_{self._called[name]}", [self._called[name]],
                         f"{scope.held}, [{', '.join(self._leaves[name])}]")
            for name, scope in self._parts.items()
        ]  # fmt: skip
        self._source = [*parts, guards.source("guards", guards.needs, guards.held), figures]
        self._plain = self._made(_CALLS, *self._source)

    def _written(self, split: Split) -> tuple[list[str], str]:
        """Return what the figures' function takes, and its source, with sums that are split so."""
        scope, nested = _Scope(), Nested(split, self._numbers)
        keys = {name: nested.add(own) for name, own in self._outputs.items()}
        figures = [
            f"{name!r}: {nested.write(key, lambda i: self._atom(i, scope), scope.lines)}"
            for name, key in keys.items()
        ]
        return [*scope.needs], scope.source("figures", scope.needs, f"{{{', '.join(figures)}}}")

    @staticmethod
    def _made(calls: Mapping[str, Callable[..., Any]], *source: str) -> dict[str, Any]:
        space: dict[str, Any] = {**calls, "inf": math.inf}
        exec(compile("\n\n\n".join(source), "<formulas>", "exec"), space)
        return space

    def __call__(self, **values: float) -> dict[str, int] | None:
        """Return the figures by name, or None where a guard does not hold."""
        try:
            own = [self._own(self._plain, name, value) for name, value in values.items()]
            leaves = {key: leaf for each in own for key, leaf in each.leaves.items()}
            held = self._plain["guards"](*map(leaves.__getitem__, self._guards))
            found: dict[str, int] = self._plain["figures"](*map(leaves.__getitem__, self._figures))
        except (ArithmeticError, ValueError):  # of what a guard refuses
            return None
        return found if held and all(each.held for each in own) else None

    def _own(self, space: Mapping[str, Any], name: str, values: Any) -> _Own:
        held, leaves = space[f"of_{self._called[name]}"](values)
        return _Own(values, held, dict(zip(self._leaves[name], leaves, strict=True)))

    def _once(self, name: str, values: Any) -> _Own:
        """Return what depends on a symbol alone, computed once for each of the last two arrays."""
        import numpy as np

        known = self._kept.get(name, ())
        for own in known:
            if own.values is values:
                return own
        made = self._own(self._numpy, name, values)
        made = made._replace(held=np.broadcast_to(made.held, values.shape))
        self._kept[name] = (made, *known[:1])
        return made

    def fits(self, box: Mapping[str, Bounds]) -> bool:
        """Whether no number on the way is beyond int64 while the symbols stay in a box."""
        return self._largest(box) <= INT64

    @cached_property
    def _numpy(self) -> dict[str, Any]:
        return self._made(_numpy_calls(), *self._source)

    @cached_property
    def _along(self) -> dict[tuple[str, ...], tuple[list[str], Callable[..., Any]]]:
        return {}

    def part(self, name: str, values: Any) -> Parted:
        """Part values of a symbol, a numpy array, by its own conditions.

        Of the same array the same arrays come out, so that all about them is computed once.
        """
        import numpy as np

        known, found = self._parted.get(name, (None, None))
        if known is not values or found is None:
            with np.errstate(all="ignore"):
                held = self._once(name, values).held
            found = Parted(held, values, None)
            if not held.all():
                found = Parted(held, values[held], values[~held])
            self._parted[name] = values, found
        return found

    def on_axes(self, axes: Mapping[str, tuple[Any, int]]) -> tuple[Any, dict[str, Any]]:
        """Return where the guards on several symbols hold, and the figures, of all combinations.

        What depends on few symbols is computed as often as these have values. Figures mean nothing
        where a guard does not hold. The values are to be in a box that :meth:`fits`.

        Args:
            axes: the values of each symbol, as a numpy array, and the place of their dimension in
                what is returned, which numpy broadcasts, counted from the last as -1.
        """
        import numpy as np

        leaves: dict[str, Any] = {}
        with np.errstate(all="ignore"):
            for name, (values, place) in axes.items():
                shape = (-1, *[1] * (-1 - place))
                own = self._once(name, values).leaves
                leaves |= {key: leaf.reshape(shape) for key, leaf in own.items()}
            held = self._numpy["guards"](*map(leaves.__getitem__, self._guards))
            if not np.any(held):
                return held, {}
            several = tuple(name for name, (values, _) in axes.items() if len(values) > 1)
            if several not in self._along:
                needs, source = self._written(along(self._names, several))
                run = self._made(_numpy_calls(), source)["figures"]
                self._along[several] = needs, run
            needs, run = self._along[several]
            return held, run(*map(leaves.__getitem__, needs))

    def on_arrays(
        self, columns: Mapping[str, Any], fits: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """Return where the guards hold, and the figures there, for values of the symbols.

        Those are numpy arrays, or :class:`Coded`. The figures are those of int64, exact. ``fits``
        says that these values are in a box that :meth:`fits`.

        Raises:
            OverflowError: a number on the way may be beyond int64.
        """
        import numpy as np

        if not fits:
            plain = {n: own.values if type(own) is Coded else own for n, own in columns.items()}
            if not self.fits(box_of(plain)):
                raise OverflowError("a figure may be beyond int64")
        first = next(iter(columns.values()))
        rows = len(first.places if type(first) is Coded else first)
        held, found = np.zeros(rows, bool), dict[str, list[Any]]()
        with np.errstate(all="ignore"):
            for start in range(0, rows, CHUNK):
                part = slice(start, start + CHUNK)
                own = {
                    name: Coded(column.values, column.places[part])
                    if type(column) is Coded
                    else column[part]
                    for name, column in columns.items()
                }
                held[part], figures = self._on_chunk(own, min(CHUNK, rows - start))
                there = (int(np.count_nonzero(held[part])),)
                for name, figure in figures.items():
                    found.setdefault(name, []).append(np.broadcast_to(figure, there))
        return held, {name: np.concatenate(own, dtype=np.int64) for name, own in found.items()}

    def _on_chunk(self, columns: Mapping[str, Any], rows: int) -> tuple[Any, dict[str, Any]]:
        """Return in which of some rows the guards hold, and the figures there."""
        import numpy as np

        held, places, parts = np.ones(rows, bool), dict[str, Any](), dict[str, _Own]()
        for name, column in columns.items():
            coded = type(column) is Coded
            parts[name] = own = (
                self._once(name, column.values) if coded else self._own(self._numpy, name, column)
            )
            if coded:
                places[name] = column.places
            if not np.all(own.held):
                held &= own.held[column.places] if coded else own.held
        there = None if held.all() else np.flatnonzero(held)
        if there is not None and not len(there):
            return held, {}
        leaves: dict[str, Any] = {}
        for name, own in parts.items():
            chosen: Any = places.get(name, there)
            if name in places and there is not None:
                chosen = chosen[there]
            for key, leaf in own.leaves.items():
                leaves[key] = leaf if chosen is None else leaf.take(chosen)
        if self._guarded:
            again = self._numpy["guards"](*map(leaves.__getitem__, self._guards))
            if not np.all(again):
                held[held] = again
                kept = np.flatnonzero(
                    np.broadcast_to(again, (rows if there is None else len(there),))
                )
                leaves = {key: leaf.take(kept) for key, leaf in leaves.items()}
        return held, self._numpy["figures"](*map(leaves.__getitem__, self._figures))

    def _largest(self, box: Mapping[str, Bounds]) -> float:
        """Return what no sum of the program exceeds while the symbols stay in the box."""
        forms = copy.copy(self._forms)
        forms.bounds, forms._known = {}, {}
        for index, atom in enumerate(forms.atoms):
            if atom.op == "symbol" and atom.args[0] in box:
                forms.bounds[index] = box[atom.args[0]]
        return max((forms.largest_sum(own) for own in self._sums), default=0)

    # Source.

    def _sum(self, polynomial: Terms, scope: _Scope) -> str:
        nested = Nested(numbers=self._numbers)
        key = nested.add(self._joined(polynomial))
        return nested.write(key, lambda index: self._atom(index, scope), scope.lines)

    def _joined(self, polynomial: Terms) -> Polynomial:
        """Return a polynomial in which two atoms that it has as their sum only are one.

        So are a size that is rounded to a multiple, and the step that is added if that is too few.
        """
        self._sums.append(polynomial)
        found = dict(polynomial)
        steps = {atom for own in found for atom in own if self._forms.atoms[atom].op == "<"}
        for step in sorted(steps):
            left = self._forms.atoms[step].args[0]
            for size in [own[0] for own, _ in left if len(own) == 1]:
                if depends_on_sum(found, size, step):
                    both = self._pairs.setdefault((size, step), -1 - len(self._pairs))
                    found = with_sum(found, size, step, both)
        return found

    def _parts_of(self, index: int) -> list[int]:
        """Return the atoms that an atom is made of, or the two that a sum is of."""
        if index < 0:
            return [*[*self._pairs][-1 - index]]
        op, args = self._forms.atoms[index]
        given = () if op in ("symbol", "number") else args
        return [atom for arg in given for own, _ in arg for atom in own]

    def _names(self, index: int) -> frozenset[str]:
        """Return the symbols that an atom, or a sum of two, depends on."""
        if index not in self._among:
            op, args = self._forms.atoms[index] if index >= 0 else ("+", ())
            own = {str(args[0])} if op == "symbol" else ()
            made = (self._names(each) for each in self._parts_of(index))
            self._among[index] = frozenset(own).union(*made)
        return self._among[index]

    def _atom(self, index: int, scope: _Scope) -> str:
        """Return what stands for an atom in a function, which computes it if no other does."""
        if index in scope.names:
            return scope.names[index]
        among = self._names(index)
        if len(among) == 1 and not scope.symbol:
            [name] = among
            called = self._atom(index, self._parts[name])
            self._leaves[name][called] = scope.needs[called] = None
        elif index < 0:
            called, code = f"s{-index}", [self._atom(i, scope) for i in self._parts_of(index)]
            scope.lines.append(f"{called} = {' + '.join(code)}")
        else:
            called = self._computed(index, scope)
        scope.names[index] = called
        return called

    def _computed(self, index: int, scope: _Scope) -> str:
        op, args = self._forms.atoms[index]
        if op in ("symbol", "number"):
            return repr(args[0]) if op == "number" else self._called[args[0]]
        parts = [f"({self._sum(arg, scope)})" for arg in args]
        call = {"neg": "-", "**": "pow"}.get(op, op)
        joined = f" {op} ".join(parts)
        code = f"{call}({', '.join(parts)})" if call in _CALLS or op == "neg" else joined
        code += " + 0" if op == "<" else ""  # a number
        scope.lines.append(f"a{index} = {code}")
        return f"a{index}"


def box_of(columns: Mapping[str, Any]) -> dict[str, Bounds]:
    """Return the least and the most number of each numpy array that holds numbers."""
    ends = {name: (own.min(), own.max()) for name, own in columns.items() if own.dtype != object}
    return {name: (low.item(), high.item()) for name, (low, high) in ends.items()}


def _power(a: float, b: float) -> float:
    """Return ``a**b``; nan where that is no number, which the guards refuse."""
    try:
        found = a**b
    except ArithmeticError:
        return math.nan
    return math.nan if isinstance(found, complex) else found


def _numpy_calls() -> Mapping[str, Callable[..., Any]]:
    import numpy as np

    def power(a: Any, b: Any) -> Any:
        """Return ``a**b`` as Python rounds it, and numpy does not; of one array each value once."""
        if np.ndim(a) and np.ndim(b):
            a, b = np.broadcast_arrays(a, b)
            pairs = zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)
            return np.array([_power(x, y) for x, y in pairs]).reshape(a.shape)
        array = b if np.ndim(b) else a
        values, where = np.unique(array, return_inverse=True)
        own = values.tolist()
        found = np.array([_power(a, y) if array is b else _power(y, b) for y in own])
        return found[where].reshape(array.shape)

    whole: dict[str, Any] = {"floor": np.floor, "ceil": np.ceil, "round": np.rint, "int": np.trunc}
    calls = {
        name: lambda x, of=of: of(np.asarray(x, float)).astype(np.int64)
        for name, of in whole.items()
    }
    return {**calls, "max": np.maximum, "min": np.minimum, "pow": power}
