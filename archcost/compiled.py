"""Formulas as a program: the figures of a run for other values of its symbols, without a run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from archcost.graph import Graph
from archcost.normal import Bounds, Terms, terms

CHUNK = 8192
"""Rows that are computed at once: so many stay in a processor's cache."""
INT64 = 2**63 - 1

_CALLS: Mapping[str, Callable[..., Any]] = {
    "floor": math.floor, "ceil": math.ceil, "round": round, "int": int, "max": max, "min": min,
    "pow": pow,
}  # fmt: skip


class Program:
    """Computes formulas for given values of their symbols, where the run's guards hold.

    Attributes:
        text: the source of the function that does it, on numbers or on arrays of them.
    """

    def __init__(self, graph: Graph, outputs: Mapping[str, Any]) -> None:
        self._forms, self._names, self._lines = graph.forms, dict[int, str](), list[str]()
        self._sums: list[Terms] = []
        self._lines.append("held = True")
        for name, (low, high) in graph.domain().items():
            self._lines.append(f"held = held & ({low!r} <= {name}) & ({name} <= {high!r})")
        for guard in graph.guards:
            condition = f"{self._sum(guard.left)} {guard.sign} 0"
            self._lines.append(f"held = held & ({condition})")
        made = [f"{name!r}: {self._sum(terms(graph.form(n)))}" for name, n in outputs.items()]
        named = ["*", *graph.symbols] if graph.symbols else []
        head = f"def run({', '.join(named)}):"
        last = f"return held, {{{', '.join(made)}}}"
        self.text = "\n    ".join([head, *self._lines, last])
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

    def on_arrays(
        self, columns: Mapping[str, Any], fits: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """Return where the guards hold, and the figures, for numpy arrays of the symbols' values.

        The figures are those of int64, exact where the guards hold. ``fits`` says that these values
        are in a box that :meth:`fits`.

        Raises:
            OverflowError: a number on the way may be beyond int64.
        """
        import numpy as np

        if not fits and not self.fits(box_of(columns)):
            raise OverflowError("a figure may be beyond int64")
        run, rows = self._made(_numpy_calls()), len(next(iter(columns.values())))
        held, found = np.zeros(rows, bool), dict[str, Any]()
        for start in range(0, rows, CHUNK):
            part = slice(start, start + CHUNK)
            with np.errstate(all="ignore"):
                held[part], figures = run(**{name: own[part] for name, own in columns.items()})
            for name, figure in figures.items():
                found.setdefault(name, np.zeros(rows, np.int64))[part] = figure
        return held, found

    def _largest(self, box: Mapping[str, Bounds]) -> float:
        """Return what no sum of the program exceeds while the symbols stay in the box."""
        forms = copy.copy(self._forms)
        forms.bounds, forms._known = {}, {}
        for index, atom in enumerate(forms.atoms):
            if atom.op == "symbol" and atom.args[0] in box:
                forms.bounds[index] = box[atom.args[0]]
        return max((forms.largest_sum(own) for own in self._sums), default=0)

    def _sum(self, polynomial: Terms) -> str:
        self._sums.append(polynomial)
        products = []
        for monomial, c in polynomial:
            factors = [*map(self._atom, monomial)]
            products.append("*".join(factors if c == 1 and factors else [str(c), *factors]))
        return " + ".join(products) or "0"

    def _atom(self, index: int) -> str:
        op, args = self._forms.atoms[index]
        if op in ("symbol", "number"):
            return repr(args[0]) if op == "number" else str(args[0])
        if index not in self._names:
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
        """Return ``a**b`` as Python rounds it, which numpy does not: each pair once."""
        pairs, where = np.unique(np.stack(np.broadcast_arrays(a, b)), axis=1, return_inverse=True)
        return np.array([x**y for x, y in pairs.T.tolist()])[where.reshape(-1)]

    whole: dict[str, Any] = {"floor": np.floor, "ceil": np.ceil, "round": np.rint, "int": np.trunc}
    calls = {
        name: lambda x, of=of: of(np.asarray(x, float)).astype(np.int64)
        for name, of in whole.items()
    }
    return {**calls, "max": np.maximum, "min": np.minimum, "pow": power}
