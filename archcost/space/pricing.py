"""The figures of many configurations, exactly: one by one, or by the programs of few runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple, Protocol

from archcost.compiled import Coded, Program
from archcost.errors import ArchcostError
from archcost.graph import Graph
from archcost.normal import Bounds
from archcost.number import plain
from archcost.space.grid import Box, Columns, Drawn

PATIENCE = 6
"""After so many runs in which all layers that grow had to be made, others make all of them, too."""
POOR, PATIENT = 2, 16
"""After so many runs, one after the other, that held for so few rows, rows are priced alone."""
MOST_ALONE = 512
"""So many rows at most, before the next run on symbols."""

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns the figures of a network at values of names, which may be symbols.

It raises ArchcostError where there is no such network.
"""


class Priced:
    """The figures of configurations, row by row.

    Attributes:
        figures: a numpy array for each figure: int64, or Python's integers where one is beyond.
            What stands in refused rows means nothing.
        networks: whether each row is a network, as a numpy array.
        refused: the rows that are none, by the reason of the first of them.
    """

    def __init__(self, rows: int) -> None:
        import numpy as np

        self.figures: dict[str, Any] = {}
        self.networks = np.zeros(rows, bool)
        self.refused: list[tuple[Any, str]] = []

    def put(self, rows: Any, figures: Mapping[str, Any]) -> None:
        """Take the figures of some rows."""
        import numpy as np

        if len(rows) == len(self.networks) and not self.figures:  # all rows, in order
            self.figures, self.networks[:] = dict(figures), True
            return
        for name, own in figures.items():
            known = self.figures.setdefault(name, np.zeros(len(self.networks), np.int64))
            if own.dtype == object and known.dtype != object:
                known = self.figures[name] = known.astype(object)
            known[rows] = own
        self.networks[rows] = True

    def filled(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the figures of these names, also if no row is a network that has them."""
        import numpy as np

        nothing = np.zeros(len(self.networks), np.int64)
        return {name: self.figures.get(name, nothing) for name in names}


class Pricing(Protocol):
    """Prices configurations.

    Attributes:
        runs: how many runs of a network there were.
    """

    runs: int

    def price(self, columns: Mapping[str, Any]) -> Priced:
        """Return the figures of the configurations in numpy arrays, one for each name."""
        ...


class OneByOne:
    """Prices each configuration by a run of its own."""

    def __init__(self, run: Run) -> None:
        self.run, self.runs = run, 0

    def price(self, columns: Mapping[str, Any]) -> Priced:
        """Return the figures of the configurations in numpy arrays, one for each name."""
        import numpy as np

        lists = {name: own.tolist() for name, own in columns.items()}
        rows = len(next(iter(lists.values())))
        self.runs += rows
        priced, reasons = Priced(rows), dict[str, list[int]]()
        found: dict[str, list[int]] = {}
        there: list[int] = []
        for row in range(rows):
            try:
                figures = self.run({name: own[row] for name, own in lists.items()})
            except ArchcostError as error:
                reasons.setdefault(str(error), []).append(row)
                continue
            there.append(row)
            for name, figure in figures.items():
                found.setdefault(name, []).append(figure)
        priced.refused = [(np.array(own), reason) for reason, own in reasons.items()]
        if there:
            priced.put(np.array(there), {name: array_of(own) for name, own in found.items()})
        return priced


def array_of(numbers: list[int]) -> Any:
    """Return whole numbers as an array: of int64, or of Python's integers where one is beyond."""
    import numpy as np

    fits = all(-(2**63) <= number < 2**63 for number in numbers)
    return np.array(numbers, np.int64 if fits else object)


class _Traced(NamedTuple):
    """A run as a program.

    Attributes:
        program: computes the figures where the run's conditions hold.
        reason: why there is no network where they hold; empty if there is one.
        fits: whether no number of it is beyond int64 for any configuration.
        symbols: the names of columns by the program's symbols.
    """

    program: Program
    reason: str
    fits: bool
    symbols: Mapping[str, str]

    def __call__(self, columns: Mapping[str, Any], rows: Any) -> tuple[Any, dict[str, Any]]:
        """Return in which of some rows the conditions hold, and the figures of these rows."""
        import numpy as np

        if not self.symbols:
            figures = self.program() or {}
            found = {name: array_of([figure] * len(rows)) for name, figure in figures.items()}
            return np.ones(len(rows), bool), found
        own = {symbol: columns[name] for symbol, name in self.symbols.items()}
        coded = columns.coded if isinstance(columns, Drawn) else {}
        fast = {symbol: coded.get(name, own[symbol]) for symbol, name in self.symbols.items()}
        if len(rows) < len(next(iter(columns.values()))):
            own = {symbol: column[rows] for symbol, column in own.items()}
            fast = {
                symbol: Coded(column.values, column.places[rows])
                if type(column) is Coded
                else own[symbol]
                for symbol, column in fast.items()
            }
        try:
            return self.program.on_arrays(fast, self.fits)
        except OverflowError:
            return self._in_integers(own)

    def _in_integers(self, columns: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Compute row by row in Python's integers, which have no largest."""
        import numpy as np

        lists = [own.tolist() for own in columns.values()]
        rows = zip(*lists, strict=True)
        made = [self.program(**dict(zip(columns, row, strict=True))) for row in rows]
        there = [figures for figures in made if figures is not None]
        names = there[0] if there else ()
        found = {name: array_of([figures[name] for figures in there]) for name in names}
        return np.array([figures is not None for figures in made]), found


class Programs:
    """Prices configurations by the programs of few runs, each where the run's conditions hold.

    A configuration that no program holds for is run on symbols, and that run is the next program.
    It is also the check of that program: both have to give the same figures there. A name
    whose value decides which layers there are is not a symbol: a run holds for one value of it.

    Attributes:
        box: the least and the most value of each name that may be a symbol.
        folds: whether a run may make equal layers once, and note how often they stand there.
        runs: how many runs there were.
    """

    def __init__(self, run: Run, box: Mapping[str, Bounds], folds: bool = False) -> None:
        self.run, self.box, self.folds, self.runs = run, box, folds, 0
        self._fixed: list[str] = []
        self._uneven = self._poor = self._alone = 0
        self._grows = 1
        self._single: dict[str, set[float]] = {}
        self._known: dict[tuple[str, ...], list[_Traced]] = {}

    def price(self, columns: Mapping[str, Any]) -> Priced:
        """Return the figures of the configurations in numpy arrays, one for each name."""
        import numpy as np

        words = (name for name in columns if name not in self.box)
        self._fixed += (name for name in words if name not in self._fixed)
        rows = np.arange(len(next(iter(columns.values()))))
        priced = Priced(len(rows))
        if isinstance(columns, Box):
            rows = self._known_of_box(columns.axes, rows, priced)
        waiting = [rows] if len(rows) else []
        while waiting:
            left, fixed = waiting.pop(), len(self._fixed)
            for key, own in [*self._groups(left, columns)]:
                if len(self._fixed) == fixed:
                    own = self._known_of(key, own, columns, priced)
                if len(own) and len(self._fixed) == fixed:
                    run = self._one_by_one if self._alone else self._tried
                    own = run(key, own, columns, priced)
                waiting += [own] if len(own) else []  # perhaps to be told apart by more names
        return priced

    def widen(self, box: Mapping[str, Bounds]) -> None:
        """Let symbols stand for the values of another box, too; programs for fewer are dropped."""
        for name, (low, high) in box.items():
            least, most = self.box.get(name, (low, high))
            wide = min(low, least), max(high, most)
            if self.box.get(name) != wide:
                self.box = {**self.box, name: wide}
                self._known.clear()

    def _known_of(
        self, key: tuple[str, ...], left: Any, columns: Mapping[str, Any], priced: Priced
    ) -> Any:
        """Price the rows for which a known program holds; return the others."""
        for traced in self._known.get(key, ()):
            if len(left):
                left = self._held(traced, left, columns, priced)
        return left

    def _known_of_box(self, axes: Columns, rows: Any, priced: Priced) -> Any:
        """Price the rows of a box for which known programs hold; return the others."""
        import numpy as np

        rows, left = rows.reshape([len(own) for own in axes.values()]), []
        places = [
            [slice(i, i + 1) for i in range(len(own))] if name in self._fixed else [slice(None)]
            for name, own in axes.items()
        ]
        for chosen in product(*places):
            parts = zip(axes.items(), chosen, strict=True)
            box: Columns = {
                name: own if part == slice(None) else own[part] for (name, own), part in parts
            }
            key = tuple(repr(box[name][0]) for name in self._fixed)
            boxes = [(box, rows[chosen])]
            for traced in self._known.get(key, ()):
                if traced.fits and traced.symbols:
                    parted = [self._held_in_box(traced, *each, priced) for each in boxes]
                    boxes = [each for part in parted for each in part]
            left += [own.reshape(-1) for _, own in boxes]
        return np.sort(np.concatenate(left)) if left else np.arange(0)

    def _held_in_box(
        self, traced: _Traced, box: Columns, rows: Any, priced: Priced
    ) -> list[tuple[Columns, Any]]:
        """Price what a program holds for in a box; return the boxes that are left, with their rows.

        Conditions on one name leave a box for the values that do not meet them. Those on several
        names do, too, if one name alone tells where they hold. Else all of the box is left.
        """
        import numpy as np

        left, names = list[tuple[Columns, Any]](), [*box]

        def take(name: str, kept: Any, inside: Any, outside: Any) -> None:
            nonlocal box, rows
            axis = names.index(name)
            left.append(({**box, name: outside}, rows.compress(~kept, axis)))
            box, rows = {**box, name: inside}, rows.compress(kept, axis)

        for symbol, name in traced.symbols.items():
            parted = traced.program.part(symbol, box[name])
            if not len(parted.inside):
                return [*left, (box, rows)]
            if parted.outside is not None:
                take(name, *parted)
        axes = {x: (box[n], names.index(n) - len(names)) for x, n in traced.symbols.items()}
        held, found = traced.program.on_axes(axes)
        split = [axis for axis, count in enumerate(np.shape(held), -np.ndim(held)) if count > 1]
        if len(split) > 1 or not np.any(held):
            return [*left, (box, rows)]
        if not np.all(held):
            [axis], keep = split, held.reshape(-1)
            values = box[names[axis]]
            take(names[axis], keep, values[keep], values[~keep])
            found = {
                name: own.compress(keep, axis)
                if np.ndim(own) >= -axis and own.shape[axis] > 1
                else own
                for name, own in found.items()
            }
        if traced.reason:
            priced.refused.append((rows.reshape(-1), traced.reason))
        else:
            priced.put(rows.reshape(-1), {
                name: np.broadcast_to(own, rows.shape).reshape(-1).astype(np.int64, copy=False)
                for name, own in found.items()
            })  # fmt: skip
        return left

    def _groups(
        self, rows: Any, columns: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield the rows that agree in all names that are not symbols, with their values there."""
        import numpy as np

        if not self._fixed:
            yield (), rows
            return
        codes = np.zeros(len(rows), np.int64)
        for name in self._fixed:
            values, places = _told_apart(columns[name][rows])
            codes = np.unique(codes * values + places, return_inverse=True)[1]
        order = np.argsort(codes, kind="stable")
        for own in np.split(rows[order], np.flatnonzero(np.diff(codes[order])) + 1):
            if len(own):
                yield tuple(repr(columns[name][own[0]]) for name in self._fixed), own

    def _held(self, traced: _Traced, left: Any, columns: Mapping[str, Any], priced: Priced) -> Any:
        """Price the rows for which a program holds; return the others."""
        held, found = traced(columns, left)
        there = left[held]
        if len(there) and traced.reason:
            priced.refused.append((there, traced.reason))
        elif len(there):
            priced.put(there, found)
        return left[~held]

    def _traced(
        self, key: tuple[str, ...], left: Any, columns: Mapping[str, Any], priced: Priced
    ) -> Any:
        """Run one of some rows on symbols, price what the run holds for, return the other rows."""
        graph, self.runs = Graph(), self.runs + 1
        graph.repeats, graph.grows = {} if self.folds else None, self._grows
        row = self._general(left, columns)
        values = {name: own[row : row + 1].tolist()[0] for name, own in columns.items()}
        symbols = {f"x{i}": name for i, name in enumerate(columns) if name not in self._fixed}
        for symbol, name in symbols.items():
            values[name] = graph.symbol(values[name], symbol, *self.box[name])
        figures: Mapping[str, Any] = {}
        reason = ""
        try:
            figures = self.run(values)
        except ArchcostError as error:
            reason = str(error)
        self._uneven += not graph.grows
        self._grows = graph.grows or (self._grows if self._uneven < PATIENCE else 0)
        fixed = [n for n in symbols.values() if self._is_fixed(graph, n, values[n], not reason)]
        if not graph.grows and self._uneven < PATIENCE:  # others may hold for many values
            fixed = []
        if fixed:
            self._fixed += fixed
            self._known.clear()
            return left
        box = {symbol: self.box[name] for symbol, name in symbols.items()}
        program = Program(graph, figures, box)
        fits = program.fits(box)
        traced = _Traced(program, reason, fits, symbols)
        rest = self._held(traced, left, columns, priced)
        if row in rest:  # floats that numpy rounds otherwise
            self._by_itself(left[left == row], columns, priced)
            return rest[rest != row]
        if any(priced.figures[name][row] != plain(own) for name, own in figures.items()):
            raise ArchcostError("a program and the run that it comes from give other figures")
        self._known.setdefault(key, []).append(traced)
        return rest

    def _tried(
        self, key: tuple[str, ...], left: Any, columns: Mapping[str, Any], priced: Priced
    ) -> Any:
        """Run one of some rows on symbols; say how many go alone after runs that held for few."""
        rest = self._traced(key, left, columns, priced)
        self._poor = self._poor + 1 if len(left) - len(rest) <= POOR else 0
        self._alone = min(2 ** (self._poor - 8), MOST_ALONE) if self._poor > PATIENT else 0
        return rest

    def _one_by_one(
        self, key: tuple[str, ...], left: Any, columns: Mapping[str, Any], priced: Priced
    ) -> Any:
        """Price some rows by runs of their own, which take less time; return the other rows."""
        rows, rest = left[: self._alone], left[self._alone :]
        self._alone -= len(rows)
        self.runs += len(rows)
        self._by_itself(rows, columns, priced)
        return rest

    def _by_itself(self, rows: Any, columns: Mapping[str, Any], priced: Priced) -> None:
        alone = OneByOne(self.run).price({name: own[rows] for name, own in columns.items()})
        priced.refused += [(rows[own], reason) for own, reason in alone.refused]
        there = alone.networks
        if there.any():
            priced.put(rows[there], {name: own[there] for name, own in alone.figures.items()})

    def _general(self, left: Any, columns: Mapping[str, Any]) -> Any:
        """Return the first of those rows that have the fewest values at their least, or next to it.

        A run at a least value, such as a repeat of none or of one, holds for few others.
        """
        import numpy as np

        names = [name for name in columns if name not in self._fixed]
        above = np.zeros(len(left))
        for name in names:
            above += np.minimum(columns[name][left] - self.box[name][0], 2)
        return left[np.argmax(above)]

    def _is_fixed(self, graph: Graph, name: str, symbol: Any, network: bool) -> bool:
        """Whether a run holds for one value of a symbol, and so would the others.

        So would they if another run did for another value: one value may be a special case.
        At an end of its values, or next to the least, as with one repeat, that is no sign of it,
        nor if a message has the value.
        """
        (low, high), (least, most) = graph.interval(symbol), self.box[name]
        pinned = network and bool(graph.pins)
        if not (low == high and least < most and (pinned or least + 1 < low < most)):
            return False
        self._single.setdefault(name, set()).add(low)
        return pinned or len(self._single[name]) > 1


def _told_apart(column: Any) -> tuple[int, Any]:
    """Return how many values a column has, and which of them each row has."""
    import numpy as np

    if column.dtype == object:
        column = np.array([repr(value) for value in column])
    values, places = np.unique(column, return_inverse=True)
    return len(values), places
