"""Why counters disagree on a network, and which counting a printed number comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from archcost.conventions import (
    ACTIVATIONS,
    CONVENTIONS,
    MAC,
    Activations,
    Convention,
    find_convention,
)
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.shape import Shape, numel, show
from archcost.spec.catalog import catalog, find_document, load
from archcost.table import Column, Table
from archcost.units import Figure


def total_work(network: Network) -> Mapping[str, int]:
    """Return the sum of the layers' work terms for one sample."""
    total: Counter[str] = Counter()
    for layer in network:
        total.update(layer.cost.work)
    return total


def count_activations(network: Network, activations: Activations) -> int:
    """Return the elements of the outputs that count as activations, for one sample."""
    outputs = (activations.count(layer.op.kind, layer.cost) for layer in network)
    return sum(outputs, numel(network.input) if activations.counts_input else 0)


def count_params(network: Network) -> int:
    """Return the number of trainable parameters."""
    return sum(numel(shape) for layer in network for shape in layer.cost.params.values())


# Why two counters disagree.


@dataclass(frozen=True, slots=True)
class Contribution:
    """One term of a difference: ``count`` units of work in ``layers`` layers, ``weight`` each."""

    term: str
    count: int
    weight: int
    layers: int

    @property
    def amount(self) -> int:
        """What the term adds to the difference; negative where it takes away."""
        return self.weight * self.count

    def __str__(self) -> str:
        """Return ``+ 2·11,113,984 batchnorm``."""
        factor = f"{abs(self.weight)}·" if abs(self.weight) != 1 else ""
        return f"{'+' if self.weight > 0 else '−'} {factor}{self.count:,} {self.term}"


@dataclass(frozen=True, slots=True)
class Reconciled:
    """A convention's total, and what makes its difference from the base.

    The amounts of ``contributions`` add up to ``difference``; the largest comes first.
    """

    convention: Convention
    total: int
    difference: int
    contributions: tuple[Contribution, ...]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The totals of a network for one sample under several conventions."""

    network: Network
    base: Convention
    base_total: int
    rows: tuple[Reconciled, ...]

    def table(self) -> Table:
        """Return one row per convention: its count and the terms of its difference."""
        columns = (
            Column("convention", "tool or convention"), Column("version", "version"),
            Column("unit", "unit"), Column("total", "count", True),
            Column("difference", f"minus {self.base.name}", True), Column("made_of", "made of"),
        )  # fmt: skip
        rows = tuple(
            (
                row.convention.name,
                row.convention.tool_version,
                row.convention.unit,
                row.total,
                row.difference,
                " ".join(map(str, row.contributions)),
            )
            for row in self.rows
        )
        title = f"{self.network.name} at {show(self.network.input)}, one sample"
        return Table(columns, rows, title)


def reconcile(
    network: Network, conventions: Sequence[str] = (), *, base: str = "macs"
) -> Reconciliation:
    """Return each convention's total and the terms that make it differ from the base.

    Args:
        network: from :func:`archcost.load`.
        conventions: names of counting conventions; all of them if none is given.
        base: the convention from which differences are taken.

    Raises:
        LookupFailed: an unknown convention, with the nearest name.
    """
    start = find_convention(base)
    work = total_work(network)
    layers = Counter(term for layer in network for term, n in layer.cost.work.items() if n)
    base_total = start.count(work)
    rows = []
    for name in conventions or CONVENTIONS:
        convention = find_convention(name)
        contributions = [
            Contribution(term, work[term], weight, layers[term])
            for term, weight in _differences(convention.weights, start.weights).items()
            if work.get(term, 0)
        ]
        contributions.sort(key=lambda c: -abs(c.amount))
        total = convention.count(work)
        rows.append(Reconciled(convention, total, total - base_total, tuple(contributions)))
    return Reconciliation(network, start, base_total, tuple(rows))


def _differences(weights: Mapping[str, int], base: Mapping[str, int]) -> dict[str, int]:
    terms = [*weights, *(term for term in base if term not in weights)]
    differences = {term: weights.get(term, 0) - base.get(term, 0) for term in terms}
    return {term: weight for term, weight in differences.items() if weight}


# Where a printed number comes from.

COMMON_SIZES = (
    28, 32, 64, 96, 128, 160, 192, 224, 227, 240, 256, 260, 288, 299, 300, 320, 331,
    380, 384, 416, 448, 456, 480, 512, 528, 572, 600, 608, 640,
)  # fmt: skip
"""Heights and widths at which networks are commonly counted."""

OPERATIONS, PARAMS, ACTIVATION_COUNT = QUANTITIES = ("operations", "params", "activations")

EXACT, ROUNDS, TRUNCATES = _WAYS = ("exact", "rounds", "truncates")

_TRAINING = 3
"""Forward and backward: the backward pass does about twice the forward's products."""


@dataclass(frozen=True, slots=True)
class Match:
    """A computed figure that gives a printed number.

    Attributes:
        quantity: ``operations``, ``params`` or ``activations``.
        value: the computed figure.
        how: ``exact``, ``rounds`` or ``truncates`` to the printed digits.
        conventions: the conventions that give it; none for parameters.
        model, input: the variant and the input shape that were computed.
        changes: what was assumed beyond the model as its spec has it, in words; empty for none.
    """

    quantity: str
    value: int
    how: str
    conventions: tuple[str, ...]
    model: str
    input: Shape
    changes: tuple[str, ...] = ()


def identify(text: str, model: str, quantity: str | None = None) -> list[Match]:
    """Return the countings of a model that give a printed number, the likeliest first.

    Every convention is tried on the model as its spec has it, on its relatives at their own
    input, at common input sizes, without biases and with auxiliary heads; each also doubled (two
    operations per MAC) and three times (training). Exact figures come first, then those
    with the fewest changes, then those that round before those that are cut; a match whose
    convention also fits with fewer of the same changes is left out.

    Args:
        text: the number as printed, ``4.12G`` or ``25.6M``; without a unit, ``4.12`` is also
            read as millions and as billions.
        model: a catalog name or a spec file.
        quantity: one of :data:`QUANTITIES`; all if not given.

    Raises:
        ArchcostError: not a number, or a model that cannot be loaded.

    Example:
        >>> identify("4.089G", "resnet50")[0].conventions[:2]
        ('macs', 'torchvision')
    """
    if model == "-":
        raise ArchcostError("identify loads the model several times; give a name or a file, not -")
    if quantity is not None and quantity not in QUANTITIES:
        raise LookupFailed("quantity", quantity, QUANTITIES)
    figures = _readings(text)
    found: dict[tuple[str, int], Match] = {}
    for network, changes in _candidates(model):
        for match in _countings(network, changes):
            if quantity not in (None, match.quantity):
                continue
            key = (match.quantity, match.value)
            if key in found and len(found[key].changes) <= len(match.changes):
                continue
            ways = [way for figure in figures if (way := _way(figure, match.value))]
            if ways:
                how = min(ways, key=_WAYS.index)
                found[key] = Match(
                    match.quantity, match.value, how, match.conventions,
                    match.model, match.input, match.changes,
                )  # fmt: skip
    matches = sorted(found.values(), key=_rank)
    return [match for match in matches if not any(_simpler(other, match) for other in matches)]


def _rank(match: Match) -> tuple[bool, int, int]:
    return match.how != EXACT, len(match.changes), _WAYS.index(match.how)


def _simpler(one: Match, other: Match) -> bool:
    """Whether ``one`` explains with fewer of the same changes what ``other`` explains."""
    return (
        one.quantity == other.quantity
        and _WAYS.index(one.how) <= _WAYS.index(other.how)
        and set(one.changes) < set(other.changes)
        and set(one.conventions) >= set(other.conventions)
    )


def _readings(text: str) -> list[Figure]:
    figure = Figure.parse(text)
    if figure.value >= 10_000 or not figure.text[-1].isdigit():
        return [figure]
    return [figure, Figure.parse(text + "M"), Figure.parse(text + "G")]


def _way(figure: Figure, value: int) -> str:
    if figure.exact(value):
        return EXACT
    if figure.rounds(value):
        return ROUNDS
    return TRUNCATES if figure.truncates(value) else ""


def _candidates(model: str) -> Iterator[tuple[Network, tuple[str, ...]]]:
    """Yield networks that a figure of ``model`` may be about, each with what it assumes."""
    own = load(model)
    yield own, ()
    without = load(model, bias=False)
    if count_params(without) != count_params(own):
        yield without, ("biases left out",)
    helped = load(model, aux=True)
    if len(helped) != len(own):
        yield helped, ("with auxiliary heads",)
    for name in _relatives(model):
        network = load(name)
        yield network, (f"variant {name} at {show(network.input)}",)
    for size in COMMON_SIZES if len(own.input) == 3 else ():
        shape = (own.input[0], size, size)
        if shape == own.input:
            continue
        try:
            resized = load(model, input=shape)
        except ArchcostError:  # the network does not fit this size
            continue
        yield resized, (f"input {show(shape)}",)


def _relatives(model: str) -> list[str]:
    """Return the other variants of the family, and models whose name extends the model's."""
    try:
        family = find_document(model).models()
    except LookupFailed:  # a file
        return []
    named = [n for n in catalog() if n.startswith(f"{model}_") or model.startswith(f"{n}_")]
    return [name for name in dict.fromkeys([*family, *named]) if name != model]


def _countings(network: Network, changes: tuple[str, ...]) -> Iterator[Match]:
    """Yield every figure of a network, still without the way in which it matches."""

    def match(quantity: str, value: int, names: Sequence[str], *more: str) -> Match:
        return Match(
            quantity, value, "", tuple(names), network.name, network.input, (*changes, *more)
        )

    work = total_work(network)
    totals = {name: convention.count(work) for name, convention in CONVENTIONS.items()}
    doubled = {n: 2 * total for n, total in totals.items() if CONVENTIONS[n].unit == MAC}
    twice = "two operations per MAC"
    training = "forward and backward, three times the forward"
    for values, more in ((totals, ()), (doubled, (twice,))):
        for value, names in _by_value(values).items():
            yield match(OPERATIONS, value, names, *more)
            yield match(OPERATIONS, _TRAINING * value, names, *more, training)
    elements = {n: count_activations(network, rule) for n, rule in ACTIVATIONS.items()}
    for value, names in _by_value(elements).items():
        yield match(ACTIVATION_COUNT, value, names)
    yield match(PARAMS, count_params(network), ())


def _by_value(totals: Mapping[str, int]) -> dict[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for name, value in totals.items():
        if value:
            groups.setdefault(value, []).append(name)
    return groups


def matches_table(text: str, model: str, matches: Sequence[Match], most: int = 12) -> Table:
    """Return the likeliest matches of a printed number as a table."""
    columns = (
        Column("how", "it"), Column("value", "value", True), Column("quantity", "quantity"),
        Column("conventions", "counted as"), Column("changes", "assuming"),
    )  # fmt: skip
    verbs = {EXACT: "is", ROUNDS: "rounds", TRUNCATES: "is cut from"}
    rows = tuple(
        (
            verbs[match.how],
            match.value,
            match.quantity,
            ", ".join(match.conventions),
            "; ".join(match.changes),
        )
        for match in matches[:most]
    )
    if not matches:
        note = f"no convention, variant or common input size of {model} gives {text}"
    elif len(matches) > most:
        note = f"{len(matches) - most} less likely ones are not shown"
    else:
        note = ""
    return Table(columns, rows, f"{text} for {model}", notes=(note,) if note else ())
