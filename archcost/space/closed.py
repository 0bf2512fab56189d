"""Closed forms: what a network costs as formulas of its sizes and knobs, and where they hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from archcost.analysis.report import Row
from archcost.compiled import Program
from archcost.data import dataclass
from archcost.errors import ArchcostError, SpecError
from archcost.figures import Figure, find_metric
from archcost.graph import LARGEST_SIZE, Graph, Guard
from archcost.network import Network
from archcost.normal import Bounds
from archcost.notation import Latex, Notation, Python
from archcost.record import contract_id
from archcost.setting import Setting
from archcost.space.folded import SUMS, may_fold, subject_at
from archcost.space.varied import Varied, is_number
from archcost.spec.expression import Evaluator, ExpressionError, parse
from archcost.table import Column, Table, Tabled

USUAL = ("params", "macs", "activations")
"""The figures of a closed form unless others are asked for."""
FEW = 4096
"""A symbol of so many values at most has few: conditions on it are tried at all of them."""
MORE = 2
"""Repeats more than a network has, for a run that holds for other numbers of them, too."""
COLUMNS = (
    Column("group", "group", once=True),
    Column("figure", "figure", essential=True),
    Column("formula", "formula", essential=True),
    Column("latex", "LaTeX"),
    Column("python", "Python"),
)


@dataclass(frozen=True, repr=False)
class ClosedForm(Tabled):
    """The figures of a network as formulas of some of its sizes and knobs.

    Calling it gives the figures at values of its symbols.

    Attributes:
        network: the network as it is; the formulas are those of a run at its own sizes.
        graph: the formulas of that run, and the conditions under which it holds.
        numbers: each figure with its formula, by group and name; the whole network is ``""``.
        by: what is written by other symbols: ``H = 32*h``.
    """

    network: Network
    graph: Graph
    numbers: Mapping[tuple[str, str], Any]
    by: Mapping[str, str]

    @cached_property
    def symbols(self) -> Mapping[str, Bounds]:
        """The symbols, each with the least and the most that it stands for."""
        return self.graph.domain()

    @cached_property
    def conditions(self) -> Sequence[str]:
        """The conditions under which the formulas hold; outside of them, others do."""
        return self._conditions(Notation)

    def _conditions(self, notation: type[Notation]) -> list[str]:
        return self.graph.conditions(notation, self._guards)

    @cached_property
    def _guards(self) -> Sequence[Guard]:
        """The guards of the run without those that all values of their one symbol meet."""
        written = Python(self.graph.forms)
        few = {
            written.symbol(name): range(int(low), int(high) + 1)
            for name, (low, high) in self.symbols.items()
            if isinstance(self.graph.symbols[name].value, int) and high - low < FEW
        }

        def is_met(guard: Guard) -> bool:
            """Return whether a guard always holds, so far as few values tell it."""
            code = compile(written.condition(dict(guard.left), guard.sign), "<guard>", "eval")
            names = {*map(written.symbol, self.symbols)}.intersection(code.co_names)
            if len(names) > 1 or not names <= few.keys():
                return False
            try:
                return all(eval(code, {"math": math, n: own}) for n in names for own in few[n])
            except ArithmeticError:  # where another guard does not hold
                return False

        return [guard for guard in self.graph.guards if not is_met(guard)]

    def formula(self, figure: str, group: str = "", notation: type[Notation] = Notation) -> str:
        """Return the formula of a figure: ``"83,410,944·h·w + 2,048,000"``."""
        return self.graph.show(self.numbers[group, figure], notation)

    @cached_property
    def _program(self) -> Program:
        return Program(
            self.graph, {name: n for (group, name), n in self.numbers.items() if not group}
        )

    def __call__(self, **values: float) -> dict[str, int]:
        """Return the figures of the whole network at values of the symbols.

        Raises:
            ArchcostError: a symbol without a value, or values outside the conditions.
        """
        if values.keys() != self.symbols.keys():
            raise ArchcostError(
                f"the symbols are {', '.join(self.symbols)}; got {', '.join(values)}"
            )
        found = self._program(**values)
        if found is None:
            at = ", ".join(f"{name} = {value}" for name, value in values.items())
            raise ArchcostError(f"{at}: outside of what the formulas hold for")
        return found

    def table(self) -> Table:
        """Return a row per figure."""
        return self.written(())

    def written(self, columns: Sequence[str]) -> Table:
        """Return a row per figure, with these columns of :data:`COLUMNS`."""
        grouped = ("group",) if any(group for group, _ in self.numbers) else ()
        rows = []
        for (group, figure), number in self.numbers.items():
            forms = (self.graph.show(number, how) for how in (Notation, Latex, Python))
            rows.append((group or "total", figure, *forms))
        table = Table(COLUMNS, tuple(rows), self._title, notes=self._notes)
        return table.select(columns or (*grouped, "figure", "formula"))

    @property
    def _title(self) -> str:
        written = ", ".join(f"{name} = {text}" for name, text in self.by.items())
        return f"{self.network.name}" + (f" at {written}" if written else "")

    @property
    def _notes(self) -> tuple[str, ...]:
        return (f"holds for {'; '.join(self.conditions)}" if self.conditions else "",)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON contract of ``archcost formula``."""
        return {
            "schema": contract_id("formula"),
            "model": self.network.name,
            "by": dict(self.by),
            "symbols": [
                {"name": name, "low": low, "high": high}
                for name, (low, high) in self.symbols.items()
            ],
            "conditions": [*self.conditions],
            "figures": [
                {
                    "group": group, "figure": figure, "formula": self.graph.show(number),
                    "latex": self.graph.show(number, Latex),
                    "python": self.graph.show(number, Python),
                }
                for (group, figure), number in self.numbers.items()
            ],
        }  # fmt: skip

    def latex(self) -> str:
        """Return the formulas as an ``align*`` of LaTeX's amsmath, a term to a line."""
        lines = []
        for (group, figure), number in self.numbers.items():
            name = f"{group}.{figure}" if group else figure
            terms = Latex(self.graph.forms).terms(self.graph.form(number))
            first, *others = terms
            lines.append(rf"\mathrm{{{_escaped(name)}}} &= {first}")
            lines += [rf"&\quad {term}" for term in others]
        holds = [f"% {condition}" for condition in self._conditions(Latex)]
        body = " \\\\\n".join(lines)
        return "\n".join([r"\begin{align*}", body, r"\end{align*}", "% holds for", *holds])

    def python(self) -> str:
        """Return Python source that computes the figures; it needs no archcost."""
        names = ", ".join(map(Python(self.graph.forms).symbol, self.symbols))
        named = {name: n for (group, name), n in self.numbers.items() if not group}
        lines = [
            f'"""What {self._title} costs, exactly; written by archcost formula."""',
            "", "import math", "", "",
            f"def costs({names}):",
            f'    """Return the figures of {self._title} by name."""',
        ]  # fmt: skip
        for code, text in zip(self._conditions(Python), self.conditions, strict=True):
            lines += [
                f"    if not ({code}):",
                f'        raise ValueError("the formulas hold for {text}")',
            ]
        lines.append("    return {")
        for name, number in named.items():
            first, *others = Python(self.graph.forms).terms(self.graph.form(number))
            if others:
                lines += [f'        "{name}": (', f"            {first}"]
                lines += [f"            {term}" for term in others] + ["        ),"]
            else:
                lines.append(f'        "{name}": {first},')
        source = "\n".join([*lines, "    }"])
        return source if "math." in source else source.replace("import math\n\n\n", "\n")


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")


def closed_form(
    network: Network,
    setting: Setting,
    *,
    by: Mapping[str, str],
    symbols: Iterable[str] = (),
    figures: Sequence[str] = USUAL,
    depth: int | None = None,
) -> ClosedForm:
    """Return the closed form of a network; see :func:`archcost.closed_form`.

    Raises:
        LookupFailed: an unknown symbol or figure.
        ArchcostError: a symbol of what is no number; a network that no spec describes.
        SpecError: an expression that cannot be read, with its column.
    """
    varied = Varied(network)
    varied.needs_formulas("closed form")
    varied.check(by)
    taken = {place for name in by for place in varied.places(name)}
    usual = [n for n in varied.axes if n != "C" and taken.isdisjoint(varied.places(n))]
    chosen = [*symbols] or usual
    chosen += [name for name in by if name not in chosen]
    varied.check(chosen)
    named = [find_metric(name) for name in figures]
    for figure in named:
        if figure.on:
            raise ArchcostError(f"{figure.name} depends on a device and has no formula")
    found = _at(varied, setting, chosen, by, named, depth, {})
    single = {name.replace(".", "_") for name in chosen} & {
        name for name, (low, high) in found.symbols.items() if low == high
    }
    if single:  # a run with one repeat, or none, holds for no other number: that of more does
        with suppress(ArchcostError):
            other = _at(varied, setting, chosen, by, named, depth, dict.fromkeys(single, MORE))
            other(**{name: own.value for name, own in found.graph.symbols.items()})
            return other
    return found


def _at(
    varied: Varied, setting: Setting, chosen: Sequence[str], by: Mapping[str, str],
    named: Sequence[Figure], depth: int | None, more: Mapping[str, int],
) -> ClosedForm:  # fmt: skip
    """Return the closed form from a run at a network, or with so much more for some symbols."""
    network, graph = varied.network, Graph()
    graph.repeats = {} if may_fold(setting, [figure.name for figure in named]) else None
    graph.fixed = depth is None  # else each group is shown
    made: dict[str, Any] = {}
    for name in chosen:
        if name not in by:
            made[name] = _symbol(graph, network.name, name, varied.values[name], more)
    for name, text in by.items():
        made[name] = _substituted(graph, name, text, varied.values[name], made)
    subject = subject_at(varied, setting, made)
    numbers = {("", figure.name): figure.value(subject, "") for figure in named}
    for group, totals in subject.report.by_group(depth).items() if depth else ():
        if group:
            names = [figure.name for figure in named if figure.name in SUMS]
            own = {**vars(totals), "size": totals.param_bytes}
            called = _called(group, subject.report.rows, graph.repeats or {})
            numbers |= {(called, name): own[name] for name in names}
    return ClosedForm(network, graph, numbers, dict(by))


def _called(group: str, rows: Iterable[Row], repeats: Collection[str]) -> str:
    """Return the name of a group; ``layer1.1 and on`` for one that stands for all from there on."""
    inside = [row.path for row in rows if row.path.startswith(f"{group}.")]
    numbered = group.rpartition(".")[2].isdigit()
    return f"{group} and on" if numbered and all(path in repeats for path in inside) else group


def _symbol(graph: Graph, model: str, name: str, value: Any, more: Mapping[str, int]) -> Any:
    """Return a symbol for a knob or a size, at its own value or at more than it."""
    if not is_number(value):
        raise ArchcostError(f"a symbol stands for a number; {name} of {model} is {value!r}")
    low = min(value, 0 if isinstance(value, float) else 1)
    name = name.replace(".", "_")
    return graph.symbol(value + more.get(name, 0), name, low, LARGEST_SIZE)


def _substituted(graph: Graph, name: str, text: str, usual: Any, made: Mapping[str, Any]) -> Any:
    """Return what stands for a name: an expression of symbols, of which new ones are made.

    A new symbol has the least value at which the expression is not below the usual one.
    """
    try:
        tree = parse(text)

        def at(value: int) -> Any:
            return Evaluator(lambda word: known(word, value))(tree)

        def known(word: str, value: int) -> Any:
            found = made.get(word, graph.symbols.get(word))
            if found is not None:
                return found
            new.add(word)
            return value

        new: set[str] = set()
        least = at(1)
        if not is_number(least):
            raise ExpressionError(f"{name} is a number; {text!r} is none")
        if len(new) > 1:
            names = " and ".join(sorted(new))
            raise ExpressionError(f"an expression has one new symbol at most; here are {names}")
        if new:
            low, high = 1, 1
            while at(high) < usual and high < LARGEST_SIZE:
                low, high = high, 2 * high
            while low < high:
                middle = (low + high) // 2
                low, high = (middle + 1, high) if at(middle) < usual else (low, middle)
            graph.symbol(low, new.pop())  # found by its name now
        return at(1)
    except ExpressionError as error:
        raise SpecError(
            str(error), f"--by {name}={text}", 1, len(name) + 2 + error.offset
        ) from None
