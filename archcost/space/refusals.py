"""Configurations that are not networks: how many, and why the first of each kind is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from archcost.data import dataclass
from archcost.errors import ArchcostError
from archcost.space.pricing import Priced
from archcost.space.varied import Varied


@dataclass
class Refused:
    """Configurations that are not networks, for reasons that differ in their numbers only.

    Attributes:
        count: how many.
        reason: why the first of them is none.
        at: the first of them.
    """

    count: int
    reason: str
    at: Mapping[str, Any]

    def __str__(self) -> str:
        """Return how many, and the first with its reason."""
        at = ", ".join(f"{name}={value}" for name, value in self.at.items())
        return f"{self.count:,} refused, the first at {at}: {self.reason}"


def refuse(
    known: dict[str, Refused], varied: Varied, columns: Mapping[str, Any], priced: Priced
) -> None:
    """Add the rows that are not networks to those that are known, by what tells reasons apart."""
    for rows, reason in sorted(priced.refused, key=lambda own: int(own[0][0])):
        kind = kind_of(reason)
        if kind not in known:
            at = {name: own[rows[:1]].tolist()[0] for name, own in columns.items()}
            known[kind] = Refused(0, _reason(varied, at, reason), at)
        known[kind].count += len(rows)


def _reason(varied: Varied, at: Mapping[str, Any], usual: str) -> str:
    """Return why a configuration is not a network, in its own numbers."""
    try:
        varied.load(at)
    except ArchcostError as error:
        return str(error).split("\n")[0]
    return usual  # of its figures


def kind_of(reason: str) -> str:
    """Return what tells a reason from others: its first line, without the numbers in it."""
    return re.sub(r"\d[\d,.x]*", "#", reason.split("\n")[0])
