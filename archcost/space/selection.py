"""Which configurations of a sweep are shown: conditions, the first by an order, the front."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from archcost.budget.condition import SIGNS, Condition, parse_condition
from archcost.data import dataclass
from archcost.errors import ArchcostError, LookupFailed, SpecError
from archcost.figures import COUNT, METRICS, Figure, find_metric
from archcost.space.grid import Columns, Dimension
from archcost.spec.expression import ExpressionError


def figure_of(name: str, varied: Iterable[str]) -> Figure:
    """Return the figure of that name, or what stands for a name that varies.

    Raises:
        LookupFailed: it is neither; the text gives the nearest.
        ArchcostError: the figure depends on a device.
    """
    known = [*varied]
    if name in known:
        return Figure(name, name, COUNT, lambda subject, on: None)
    try:
        found = find_metric(name)
    except LookupFailed:
        raise LookupFailed("figure or knob", name, [*known, *METRICS]) from None
    if found.on:
        raise ArchcostError(f"{found.name} depends on a device; a sweep has no such figure")
    return found


def read_conditions(texts: Sequence[str], varied: Mapping[str, Dimension]) -> list[Condition]:
    """Read conditions that are joined by ``and``: ``macs <= 400M and params <= 5M``.

    Raises:
        SpecError: with the column in the text.
    """
    found = []
    for text in texts:
        start = 0
        for part in re.split(r"(\band\b)", text):
            if part != "and":
                found.append(_read_condition(text, part, start, varied))
            start += len(part)
    return found


def _read_condition(text: str, part: str, start: int, varied: Mapping[str, Dimension]) -> Condition:
    lead = len(part) - len(part.lstrip())
    try:
        condition = parse_condition(part, lambda name: figure_of(name, varied))
        if condition.needs_baseline:
            raise ExpressionError("a change needs a baseline, which a sweep does not have", lead)
        name = condition.metric.name
        if name in varied and varied[name].ends is None:
            raise ExpressionError(f"{name} goes through words, which have no order", lead)
    except ExpressionError as error:
        raise SpecError(str(error), f"--where {text!r}", 1, start + error.offset + 1) from None
    return condition


def holds(condition: Condition, column: Any) -> Any:
    """Return where a condition holds in a numpy array; whole numbers are not rounded for it."""
    import numpy as np

    limit: Any = condition.amount
    if column.dtype == float:
        limit = float(limit)
    elif column.dtype != object and condition.sign == "==":
        return column == int(limit) if limit.denominator == 1 else np.zeros(len(column), bool)
    elif column.dtype != object:
        last = int(condition.allowed())  # the last whole number within
        return column <= last if condition.sign in ("<=", "<") else column >= last
    return np.asarray(SIGNS[condition.sign](column, limit), bool)


@dataclass(frozen=True)
class Order:
    """What is small first: a figure or a name that varies; with ``falling``, what is large."""

    name: str
    falling: bool = False

    @classmethod
    def read(cls, text: str, varied: Iterable[str]) -> Order:
        """Read ``macs``, or ``-macs`` for the largest first."""
        name = text.strip().removeprefix("-")
        known = [*varied]
        return cls(name if name in known else figure_of(name, known).name, text.strip()[:1] == "-")

    def of(self, columns: Columns) -> Any:
        """Return the column, so that what is better is smaller."""
        own = columns[self.name]
        if own.dtype == object and not all(isinstance(value, int) for value in own):
            raise ArchcostError(f"{self.name} goes through words, which have no order")
        return -own if self.falling else own


def first_rows(columns: Columns, orders: Sequence[Order], most: int | None) -> Any:
    """Return the numbers of the first rows in an order; equal ones keep theirs."""
    import numpy as np

    rows = len(next(iter(columns.values())))
    if not orders:
        return np.arange(rows)[:most]
    return np.lexsort([order.of(columns) for order in reversed(orders)])[:most]


def front(columns: Columns, orders: Sequence[Order]) -> Any:
    """Return the numbers of the rows that no other row beats.

    A row beats another if it is better in one of the orders and not worse in the others.
    """
    import numpy as np

    costs = [order.of(columns) for order in orders]
    if len(costs) == 2:
        return _front_of_two(*costs)
    if len(costs) == 3:
        return _front_of_three(*costs)
    # what beats a row comes before it, and what beats many comes early: its costs sum to less
    total = sum(_scaled(own) for own in costs)
    left = np.lexsort([*costs[::-1], total])
    costs = [own[left] for own in costs]
    kept = []
    while len(left):
        equal, beaten = np.ones(len(left), bool), np.ones(len(left), bool)
        for own in costs:
            equal &= own == own[0]
            beaten &= own >= own[0]
        kept.append(left[equal])
        left, costs = left[~beaten], [own[~beaten] for own in costs]
    return np.sort(np.concatenate(kept)) if kept else left


def _front_of_two(first: Any, second: Any) -> Any:
    """Return the front of two costs: in the order of the one, each new least of the other."""
    import numpy as np

    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    new = np.ones(len(order), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    rows = np.flatnonzero(new)  # equal rows stand side by side: the first of each
    least = second[rows]
    kept = np.ones(len(rows), bool)
    kept[1:] = least[1:] < np.minimum.accumulate(least)[:-1]
    return np.sort(order[kept[np.cumsum(new) - 1]])


def _front_of_three(*costs: Any) -> Any:
    """Return the front of three costs: what no row that comes before it equals in the other two.

    Rows are in the order of the first cost. Of halves of 1, 2, 4, ... rows, a row of the right one
    is beaten if among those of the left one whose second cost is not larger, the least third cost
    is not larger. That is what each step tells for all halves at once.
    """
    import numpy as np

    ranks = [np.unique(own, return_inverse=True)[1] for own in costs]
    order = np.lexsort(ranks[::-1])
    new = np.ones(len(order), bool)
    new[1:] = sum(np.diff(own[order]) != 0 for own in ranks)
    _, second, third = (own[order[new]] for own in ranks)  # equal rows stand side by side
    left, beaten = np.argsort(second, kind="stable"), np.zeros(len(second), bool)
    most, width = len(third) + 1, 1
    while width < len(third):
        pair = left // (2 * width)
        by = np.argsort(pair, kind="stable")
        rows, apart = (
            left[by],
            pair[by] * (most + 1),
        )  # each pair's are below all before
        right = rows // width % 2 == 1
        least = np.minimum.accumulate(np.where(right, most, third[rows]) - apart)
        beaten[rows[right & (least <= third[rows] - apart)]] = True
        left, width = left[~beaten[left]], 2 * width
    return np.sort(order[~beaten[np.cumsum(new) - 1]])


def _scaled(cost: Any) -> Any:
    """Return costs as parts of their range; none is rounded past another."""
    cost = cost.astype(float)
    low, high = cost.min(initial=0), cost.max(initial=1)
    return (cost - low) / (high - low)
