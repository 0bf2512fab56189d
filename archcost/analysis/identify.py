"""Which counting of a model a printed number comes from, and how likely that is by chance.

A network has dozens of counts, its variants and other input sizes have thousands, and a number of
three digits has few neighbours: so many would give *some* of them. What each figure assumes is
therefore weighed (see :mod:`archcost.analysis.countings`): a plain count of the model as it is
weighs 0, a tool's convention 1, and every assumption adds to it. The *chance* of a match is a share
of the numbers that are printed to the same place and lie between half and twice the printed one. It
is the share that figures of the same weight or less would give as well. What no assumption needs is
always shown, with its chance. A figure with an assumption must earn its place. It is shown if all
figures of its weight or less give at most :data:`BUDGET` of the numbers that plain conventions do
not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import floor
from typing import Any

from archcost.analysis.countings import Match, candidates, countings
from archcost.conventions import find_convention
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.numeral import ACTIVATIONS as ACTIVATION_COUNT
from archcost.numeral import OPERATIONS, PARAMS, Numeral
from archcost.published import Published
from archcost.shape import Shape
from archcost.table import Column, Table, Tabled
from archcost.units import number_of

QUANTITIES = (OPERATIONS, PARAMS, ACTIVATION_COUNT)

EXACT, ROUNDS, TRUNCATES, PRINTED = _WAYS = ("exact", "rounds", "truncates", "printed")

BUDGET = Fraction(1, 50)
"""The share of numbers that figures beyond the plain conventions may explain in all."""

_PRINTED: Mapping[str, tuple[str, str]] = {
    "params": (PARAMS, ""), "macs": (OPERATIONS, "macs"), "flops": (OPERATIONS, "flops"),
    "activations": (ACTIVATION_COUNT, "lecture"),
}  # fmt: skip
"""The quantity of a published figure, and how it is counted unless its source says otherwise."""


COLUMNS = (
    Column("how", "it", essential=True), Column("value", "value", True, essential=True),
    Column("quantity", "quantity", essential=True),
    Column("conventions", "counted as", essential=True),
    Column("changes", "assuming", essential=True),
    Column("chance", "by chance", True, essential=True),
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Identified(Tabled):
    """What was found for a printed number: ``matches`` that are shown, the likeliest first.

    ``by_chance`` are others, which so many figures were tried for that one had to be expected;
    ``tried`` is the number of figures.
    """

    text: str
    model: str
    matches: tuple[Match, ...]
    by_chance: tuple[Match, ...]
    tried: int

    @property
    def subject(self) -> str:
        """The number and its model, and how many figures give it beyond chance."""
        return f"{self.text} for {self.model}: {len(self.matches)} of {self.tried} figures"

    def to_dict(self) -> dict[str, Any]:
        """Return the matches, and those that chance would give as well."""
        return {
            "model": self.model,
            "number": self.text,
            "tried": self.tried,
            "matches": [asdict(match) for match in self.matches],
            "by_chance": [asdict(match) for match in self.by_chance],
        }

    def table(self, most: int = 12, everything: bool = False) -> Table:
        """Return the likeliest matches; with ``everything`` those by chance behind them."""
        verbs = {EXACT: "is", ROUNDS: "rounds", TRUNCATES: "is cut from", PRINTED: "is printed"}
        matches = (*self.matches, *(self.by_chance if everything else ()))
        rows = tuple(
            (
                verbs[match.how], match.value, match.quantity,
                ", ".join(match.conventions), "; ".join(match.changes), show_chance(match.chance),
            )
            for match in matches[:most]
        )  # fmt: skip
        notes = [f"{self.text} is printed by {who}" for who in self.sources]
        if len(matches) > most:
            notes.append(f"{number_of(len(matches) - most, 'less likely figure')} not shown")
        return Table(
            COLUMNS, rows, f"{self.text} for {self.model}", notes=(*notes, *self._doubts())
        )

    @cached_property
    def sources(self) -> list[str]:
        """Who prints the number, where the specs of the matches say so."""
        return list(dict.fromkeys(m.printed_by for m in self.matches if m.printed_by))

    def _doubts(self) -> Iterator[str]:
        if self.matches:
            return
        if not self.by_chance:
            yield (
                f"nothing beyond chance: none of {self.tried:,} figures tried, of conventions, "
                f"variants and common input sizes of {self.model}, gives {self.text}"
            )
            return
        best = self.by_chance[0]
        yield (
            f"nothing beyond chance: {len(self.by_chance):,} of {self.tried:,} figures tried give "
            f"{self.text}, and the likeliest would explain {show_chance(best.chance)} of such "
            "numbers; more digits, or --input, --set and --tool, leave fewer"
        )


def show_chance(share: float) -> str:
    """Return a share as people say it: ``1 in 40``."""
    return f"1 in {min(round(1 / share), 10**9):,}" if share else ""


def identify(text: str, model: str, quantity: str | None = None, **options: Any) -> list[Match]:
    """Return the countings of a model that give a printed number beyond chance, likeliest first.

    Every convention is tried on the model as its spec has it, on its relatives at their own input,
    at common input sizes, without biases and with auxiliary heads. Each is also doubled (two
    operations per MAC) and tripled (training). Exact figures come first, then those that assume
    least. A match is left out if its convention also fits with fewer of the same changes, or if it
    must be expected by chance (see the module's text).

    Args:
        text: the number as printed: ``4.12G``, ``25.6M params``, ``7.97e8``; without a unit,
            ``4.12`` is also read as millions and as billions.
        model: a catalog name or a spec file.
        quantity: one of :data:`QUANTITIES`; all if not given.
        options: what is known of the number, see :func:`try_figures`.

    Raises:
        ArchcostError: not a number, or a model that cannot be loaded.

    Example:
        >>> identify("4.089G", "resnet50")[0].conventions[:2]
        ('macs', 'torchvision')
    """
    return list(examine(text, model, quantity, **options).matches)


def examine(
    text: str, model: str | Network, quantity: str | None = None, **options: Any
) -> Identified:
    """Return the matches of :func:`identify`, those by chance too, and how many were tried."""
    return try_figures(model, **options).examine(text, quantity)


@dataclass(frozen=True)
class Tried:
    """The figures of a model that a printed number is compared with; made by :func:`try_figures`.

    ``near`` are the model and its nearest variants, whose specs say what others print of them.
    """

    model: str
    figures: tuple[Match, ...]
    near: tuple[Network, ...]

    def examine(self, text: str, quantity: str | None = None) -> Identified:
        """Return which of the figures give the number; see :func:`identify`."""
        if quantity is not None and quantity not in QUANTITIES:
            raise LookupFailed("quantity", quantity, QUANTITIES)
        readings = _readings(text)
        if noun := readings[0].noun:
            if quantity not in (None, noun):
                raise ArchcostError(f"{text!r} is a number of {noun}, not of {quantity}")
            quantity = noun
        tried = [match for match in self.figures if quantity in (None, match.quantity)]
        weighed = [_Weighed(reading, tried) for reading in readings]
        matches = [
            match
            for match in _found(readings, tried, weighed, self.near)
            if quantity in (None, match.quantity)
        ]
        kept = [m for m in matches if m.printed_by or not any(_simpler(o, m) for o in matches)]
        earned = [m for m in kept if m.free or sum(w.extra(m.weight) for w in weighed) <= BUDGET]
        chance = [match for match in kept if match not in earned]
        number = len({(m.quantity, m.value) for m in tried})
        return Identified(text, self.model, tuple(earned), tuple(chance), number)


def try_figures(
    model: str | Network,
    *,
    input: str | Shape | None = None,
    knobs: Mapping[str, Any] | None = None,
    aux: bool = False,
    bias: bool = True,
    batch: int = 1,
    tools: Sequence[str] = (),
) -> Tried:
    """Return every figure of a model that a printed number may be.

    Args:
        model: a catalog name or a spec file; or a network, which is taken as it is.
        input: the input shape that the number is of; then no other is tried.
        knobs: values instead of the spec's; then no variant is tried.
        aux: include the side outputs.
        bias: False drops all biases.
        batch: samples that the number is of.
        tools: conventions of operations that come into question, and then nothing but operations;
            everything if none is given.

    Raises:
        LookupFailed: an unknown model, knob or convention, with the nearest name.
    """
    if batch < 1:
        raise ArchcostError(f"batch must be at least 1; got {batch}")
    for tool in tools:
        find_convention(tool)
    options = {"knobs": knobs or {}, "aux": aux, "bias": bias}
    networks = list(candidates(model, input, options))
    figures = tuple(
        match
        for network, changes, weight in networks
        for match in countings(network, changes, weight, batch, tools)
        if not tools or match.quantity == OPERATIONS
    )
    own = networks[0][0]
    near = [n for n, _, weight in networks if n is own or (weight == 1 and n.name != own.name)]
    return Tried(model if isinstance(model, str) else model.name, figures, tuple(near))


class _Weighed:
    """The numbers like a printed one that figures would give, by the weight of these.

    ``free`` holds the least weight of each number that a figure without assumptions rounds to.
    ``others`` holds that of each number that a figure with assumptions rounds to, or that any
    figure is cut to.
    """

    def __init__(self, figure: Numeral, tried: Iterable[Match]) -> None:
        low, high = floor(figure.value / 2), floor(figure.value * 2)
        self.numbers = max(Fraction(1), figure.value * 3 / 2 / figure.step)
        self.free: dict[int, int] = {}
        self.others: dict[int, int] = {}
        step, parts = figure.step.as_integer_ratio()
        for match in tried:
            if low <= match.value <= high:
                least = self.others if match.assumes else self.free
                cut, rest = divmod(match.value * parts, step)
                rounded = cut + (2 * rest >= step)
                least[rounded] = min(match.weight, least.get(rounded, match.weight))
                weight = match.weight + 1
                self.others[cut] = min(weight, self.others.get(cut, weight))

    def extra(self, weight: int) -> Fraction:
        """The share that figures with assumptions, of that weight or less, add to the others."""
        return self._share(n for n, w in self.others.items() if w <= weight and n not in self.free)

    def all(self, weight: int) -> Fraction:
        """The share that figures of that weight or less give in all."""
        given = {n for n, w in self.others.items() if w <= weight}
        return self._share(given | {n for n, w in self.free.items() if w <= weight})

    def _share(self, numbers: Iterable[int]) -> Fraction:
        return min(Fraction(1), len(set(numbers)) / self.numbers)


def _found(
    figures: Sequence[Numeral],
    tried: Iterable[Match],
    weighed: Sequence[_Weighed],
    near: Sequence[Network],
) -> list[Match]:
    """Return the tried figures that give the number, the likeliest first."""
    found: dict[tuple[str, int], Match] = {}
    spans = [(floor(f.value - f.step), floor(f.value + f.step) + 1) for f in figures]
    for match in tried:
        if not any(low <= match.value <= high for low, high in spans):
            continue
        ways = [way for figure in figures if (way := _way(figure, match.value))]
        how = min(ways, key=_WAYS.index, default="")
        key = (match.quantity, match.value)
        weight = match.weight + (how == TRUNCATES)
        if how and (key not in found or weight < found[key].weight):
            found[key] = replace(match, how=how, weight=weight)
    shares = {m.weight: sum(w.all(m.weight) for w in weighed) for m in found.values()}
    matches = [replace(m, chance=min(1.0, float(shares[m.weight]))) for m in found.values()]
    return sorted(_with_sources(matches, near, figures), key=_rank)


def _with_sources(
    matches: list[Match], near: Sequence[Network], figures: Sequence[Numeral]
) -> Iterator[Match]:
    """Yield the matches, each with who prints it, and what is printed but not computed."""
    values = {figure.value for figure in figures}
    rows = [
        (network, *_PRINTED[name], row, figure)
        for network in near
        for row in network.published
        for name, text in row.figures.items()
        if name in _PRINTED and (figure := Numeral.parse(text)).value in values
    ]
    sourced: set[int] = set()
    for match in matches:
        fitting = [row for row in rows if _is_of(match, *row[:4])]
        sourced.update(map(id, fitting))
        yield replace(match, printed_by=fitting[0][3].source) if fitting else match
    for row in rows:
        network, quantity, _, published, figure = row
        if network is near[0] and id(row) not in sourced and figure.value.denominator == 1:
            why = tuple(published.slips) or (published.why or "its source; no count here gives it",)
            yield Match(
                quantity, int(figure.value), PRINTED, (), network.name,
                published.input or network.input, why, printed_by=published.source,
            )  # fmt: skip


def _is_of(match: Match, network: Network, quantity: str, usual: str, row: Published) -> bool:
    """Whether a match is the network's figure as a published row counts it."""
    convention = row.convention or usual
    return (
        (match.quantity, match.model) == (quantity, network.name)
        and match.input == (row.input or network.input)
        and all(text.startswith(("input ", "variant ")) for text in match.changes)
        and (convention in match.conventions if quantity != PARAMS else not match.conventions)
    )


def _rank(match: Match) -> tuple[bool, int, int]:
    return match.how != EXACT, match.weight, len(match.changes)


def _simpler(one: Match, other: Match) -> bool:
    """Whether ``one`` explains with fewer of the same changes what ``other`` explains."""
    return (
        one.quantity == other.quantity
        and _WAYS.index(one.how) <= _WAYS.index(other.how)
        and set(one.changes) < set(other.changes)
        and set(one.conventions) >= set(other.conventions)
    )


def _readings(text: str) -> list[Numeral]:
    figure = Numeral.parse(text)
    if figure.value <= 0:
        raise ArchcostError(f"a count is more than 0; got {text!r}")
    if figure.scaled or figure.value >= 10_000:
        return [figure]
    scales = (10**6, 10**9)
    return [figure, *(
        replace(
            figure, value=figure.value * scale, step=figure.step * scale, place=figure.place * scale
        )
        for scale in scales
    )]  # fmt: skip


def _way(figure: Numeral, value: int) -> str:
    if figure.exact(value):
        return EXACT
    if figure.rounds(value):
        return ROUNDS
    return TRUNCATES if figure.truncates(value) else ""
