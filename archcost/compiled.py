"""Formulas as a program: the figures of a run for other values of its symbols, without a run."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from archcost.graph import Graph
from archcost.nested import Nested, depends_on_sum, with_sum
from archcost.normal import Bounds, Polynomial, Terms, terms

CHUNK = 4096
"""Rows that are computed at once: so many stay in a processor's cache."""
INT64 = 2**63 - 1

_CALLS: Mapping[str, Callable[..., Any]] = {
    "floor": math.floor, "ceil": math.ceil, "round": round, "int": int, "max": max, "min": min,
    "pow": pow, "where": lambda held, *values: values,
}  # fmt: skip


class Program:
    """Computes formulas for given values of their symbols, where the run's guards hold.

    Attributes:
        text: the source of the function that does it, on numbers or on arrays of them.
    """

    def __init__(
        self, graph: Graph, outputs: Mapping[str, Any], box: Mapping[str, Bounds] | None = None
    ) -> None:
        """Compile formulas of a graph. If a box is given, the symbols' values stay in it."""
        self._forms, self._names, self._lines = graph.forms, dict[int, str](), list[str]()
        self._sums: list[Terms] = []
        self._sums_of_two: dict[tuple[int, int], int] = {}
        for name, (low, high) in graph.domain().items():
            least, most = (box or {}).get(name, (-math.inf, math.inf))
            if least < low or most > high:
                self._lines.append(f"held = held & ({low!r} <= {name}) & ({name} <= {high!r})")
        for guard in graph.guards:
            condition = f"{self._sum(guard.left)} {guard.sign} 0"
            self._lines.append(f"held = held & ({condition})")
        guards, self._lines = self._lines, []
        known, nested = [*graph.symbols, *self._names.values()], Nested()
        keys = [nested.add(self._joined(terms(graph.form(n)))) for n in outputs.values()]
        figures = [
            f"{name!r}: {nested.write(key, self._atom, self._lines)}"
            for name, key in zip(outputs, keys, strict=True)
        ]
        last = f"return held, {{{', '.join(figures)}}}"
        words = {*re.findall(r"\w+", " ".join([*self._lines, last]))}
        needed = "".join(f"{name}, " for name in known if name in words)
        chosen = [f"{needed}= where(held, {needed})"] if guards and needed else []
        head = f"def run({', '.join(['*', *graph.symbols]) if graph.symbols else ''}):"
        body = ["held = True", *guards, *chosen, *self._lines, last]
        self.text = "\n    ".join([head, *body])
        self._code = compile(self.text, "<formulas>", "exec")
        self._run = self._made(_CALLS)

    def _made(self, calls: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
        space: dict[str, Any] = {**calls, "inf": math.inf}
        exec(self._code, space)
        run: Callable[..., Any] = space["run"]
        return run

    def __call__(self, **values: float) -> dict[str, int] | None:
        """Return the figures by name, or None where a guard does not hold."""
        try:
            held, found = self._run(**values)
        except (ArithmeticError, ValueError):  # of what a guard refuses
            return None
        return found if held else None

    def fits(self, box: Mapping[str, Bounds]) -> bool:
        """Whether no number on the way is beyond int64 while the symbols stay in a box."""
        return self._largest(box) <= INT64

    @cached_property
    def _on_arrays(self) -> Callable[..., Any]:
        return self._made(_numpy_calls())

    @cached_property
    def _on_all(self) -> Callable[..., Any]:
        return self._made({**_numpy_calls(), "where": _CALLS["where"]})

    def on_axes(self, axes: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return where the guards hold, and the figures, for arrays that numpy broadcasts.

        What depends on few of them is computed as often as these have values. Figures mean nothing
        where a guard does not hold. The values are to be in a box that :meth:`fits`.
        """
        import numpy as np

        with np.errstate(all="ignore"):
            held, found = self._on_all(**axes)
        return held, found

    def on_arrays(
        self, columns: Mapping[str, Any], fits: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """Return where the guards hold, and the figures there, for numpy arrays of values.

        The figures are those of int64, exact. ``fits`` says that these values are in a box that
        :meth:`fits`.

        Raises:
            OverflowError: a number on the way may be beyond int64.
        """
        import numpy as np

        if not fits and not self.fits(box_of(columns)):
            raise OverflowError("a figure may be beyond int64")
        run, rows = self._on_arrays, len(next(iter(columns.values())))
        held, found = np.zeros(rows, bool), dict[str, list[Any]]()
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            with np.errstate(all="ignore"):
                held[part], figures = run(**{name: own[part] for name, own in columns.items()})
            there = (int(np.count_nonzero(held[part])),)
            for name, figure in figures.items():
                found.setdefault(name, []).append(np.broadcast_to(figure, there))
        return held, {name: np.concatenate(own, dtype=np.int64) for name, own in found.items()}

    def _largest(self, box: Mapping[str, Bounds]) -> float:
        """Return what no sum of the program exceeds while the symbols stay in the box."""
        forms = copy.copy(self._forms)
        forms.bounds, forms._known = {}, {}
        for index, atom in enumerate(forms.atoms):
            if atom.op == "symbol" and atom.args[0] in box:
                forms.bounds[index] = box[atom.args[0]]
        return max((forms.largest_sum(own) for own in self._sums), default=0)

    def _sum(self, polynomial: Terms) -> str:
        nested = Nested()
        return nested.write(nested.add(self._joined(polynomial)), self._atom, self._lines)

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
                    found = with_sum(found, size, step, self._both(size, step))
        return found

    def _both(self, a: int, b: int) -> int:
        """Return what stands for the sum of two atoms."""
        made = self._sums_of_two.setdefault((a, b), -1 - len(self._sums_of_two))
        if made not in self._names:
            self._lines.append(f"s{-made} = {self._atom(a)} + {self._atom(b)}")
            self._names[made] = f"s{-made}"
        return made

    def _atom(self, index: int) -> str:
        if index in self._names:
            return self._names[index]
        op, args = self._forms.atoms[index]
        if op in ("symbol", "number"):
            return repr(args[0]) if op == "number" else str(args[0])
        parts = [f"({self._sum(arg)})" for arg in args]
        call = {"neg": "-", "**": "pow"}.get(op, op)
        joined = f" {op} ".join(parts)
        code = f"{call}({', '.join(parts)})" if call in _CALLS or op == "neg" else joined
        code += " + 0" if op == "<" else ""  # a number
        self._lines.append(f"a{index} = {code}")
        self._names[index] = f"a{index}"
        return self._names[index]


def box_of(columns: Mapping[str, Any]) -> dict[str, Bounds]:
    """Return the least and the most number of each numpy array that holds numbers."""
    ends = {name: (own.min(), own.max()) for name, own in columns.items() if own.dtype != object}
    return {name: (low.item(), high.item()) for name, (low, high) in ends.items()}


def _numpy_calls() -> Mapping[str, Callable[..., Any]]:
    import numpy as np

    def power(a: Any, b: Any) -> Any:
        """Return ``a**b`` as Python rounds it, and numpy does not; of one array each value once."""
        if np.ndim(a) and np.ndim(b):
            a, b = np.broadcast_arrays(a, b)
            pairs = zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)
            return np.array([x**y for x, y in pairs]).reshape(a.shape)
        array = b if np.ndim(b) else a
        values, where = np.unique(array, return_inverse=True)
        own = values.tolist()
        found = np.array([a**y for y in own] if array is b else [x**b for x in own])
        return found[where].reshape(array.shape)

    whole: dict[str, Any] = {"floor": np.floor, "ceil": np.ceil, "round": np.rint, "int": np.trunc}
    calls = {
        name: lambda x, of=of: of(np.asarray(x, float)).astype(np.int64)
        for name, of in whole.items()
    }

    def where(held: Any, *values: Any) -> Any:
        """Return the values of the rows that hold; a number is that of all rows."""
        if np.all(held):
            return values
        rows = np.flatnonzero(held)
        return [own[rows] if np.ndim(own) else own for own in values]

    return {**calls, "max": np.maximum, "min": np.minimum, "pow": power, "where": where}
