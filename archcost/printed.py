"""What a lecture's text prints, compared with the network that was read from it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import NamedTuple

from archcost.conventions import ACTIVATIONS
from archcost.network import NETWORK_INPUT, Layer, Network, Remark
from archcost.ops.reads import spatial_reads
from archcost.published import (
    AMBIGUOUS,
    EXACT,
    ROUNDS,
    WRONG,
    Claim,
    Published,
    Value,
    judge,
    show_value,
)
from archcost.shape import Shape, numel

KIBI = 1024
"""What K means where a table prints 112K for 64·64 + 9·64·192 weights."""


class Counting(NamedTuple):
    """How a table counts parameters: with biases or without, and what its K is."""

    biases: bool = True
    kilo: int = 1000

    def __str__(self) -> str:
        """Return it in words, empty for the usual."""
        said = [*(["without biases"] if not self.biases else [])]
        return ", ".join([*said, *([f"K = {self.kilo:,}"] if self.kilo != 1000 else [])])


class Judged(NamedTuple):
    """A claim, what is true of it (None where the text leaves it open), and the verdict.

    ``convention`` says how the text counts, empty for the usual.
    """

    claim: Claim
    verdict: str
    value: Value | None
    convention: str = ""


def judged(network: Network) -> list[Judged]:
    """Return the verdict on everything that a lecture's text prints beside its layers."""
    counting = _counting(network)
    return [_judged(network, claim, counting) for claim in network.claims]


# What the reader of the network should know of it.

ASSUMED, DIFFERS = "assumed", "differs"

MAX_ALIKE = 2

_WORDS = {
    "params": "parameters", "macs": "MACs", "activation_bytes": "memory",
    "weight_layers": "weight layers",
}  # fmt: skip


def find_lecture_remarks(network: Network) -> list[Remark]:
    """Return what a lecture's text leaves open and how it was read, and what it prints wrong.

    Where there is more of a kind, the first stands for all, with the command that lists them.
    """
    found: dict[tuple[str, str], list[Remark]] = {}
    for item in judged(network):
        claim = item.claim
        if item.value is None or not claim.of_input:
            kind, text = ASSUMED, claim.note
        elif item.verdict in (WRONG, AMBIGUOUS):
            kind, text = DIFFERS, _difference(item)
        else:
            continue
        named = claim.path and claim.path != NETWORK_INPUT
        remark = Remark(kind, f"{claim.path}: {text}" if named else text, claim.line, claim.column)
        found.setdefault((kind, claim.quantity), []).append(remark)
    for row in network.published:
        if row.source == network.source and row.input in (None, network.input):
            for remark in _published(network, row):
                found.setdefault((DIFFERS, "published"), []).append(remark)
    return [remark for alike in found.values() for remark in _gathered(network, alike)]


def _gathered(network: Network, alike: list[Remark]) -> list[Remark]:
    if len(alike) <= MAX_ALIKE:
        return alike
    more = f"{alike[0].text} ({len(alike) - 1} more such: archcost audit {_file(network)})"
    return [replace(alike[0], text=more)]


def _difference(item: Judged) -> str:
    claim, verdict, value, convention = item
    assert value is not None
    shown = show_value(value, claim.printed)
    if claim.quantity == "input":
        return f"printed input {claim.printed}, but what comes before gives {shown}"
    what = f"{'' if claim.path else 'total '}{_WORDS.get(claim.quantity, claim.quantity)}"
    counted = f" ({convention})" if convention else ""
    why = claim.note or ("cut instead of rounded" if verdict == AMBIGUOUS else "")
    text = f"printed {what} {claim.printed}, computed {shown}{counted}"
    return f"{text}; {why}" if why else text


def _published(network: Network, row: Published) -> Iterator[Remark]:
    """Yield the figures of a whole column that differ."""
    for quantity, printed in row.figures.items():
        claim = Claim("", quantity, printed, row.line)
        value = _claimed(network, claim, biases=True)
        if value is None or (verdict := judge(printed, value)) in (EXACT, ROUNDS):
            continue
        text = _difference(Judged(claim, verdict, value))
        if verdict == WRONG and row.slips:
            text += f"; why: archcost audit {_file(network)}"
        yield Remark(DIFFERS, text, row.line, row.column or 1)


def _file(network: Network) -> str:
    return network.source.replace("<stdin>", "-")


# Judging.


def _judged(network: Network, claim: Claim, counting: Counting) -> Judged:
    of_params = claim.quantity == "params"
    used = counting if of_params else Counting()
    value, printed = _claimed(network, claim, used.biases), claim.printed
    if claim.quantity in ("stride", "kernel_size"):
        digits = re.search(r"\d+", printed)
        value, printed = (value, digits[0]) if digits else (None, printed)
    if value is None:
        return Judged(claim, AMBIGUOUS, None)
    scaled = _in_units(printed, value, used.kilo) if of_params else value
    return Judged(claim, judge(printed, scaled), value, str(used))


def _counting(network: Network) -> Counting:
    """Return how the text counts parameters: the way that most of its figures agree with.

    A K of 1,024 explains a figure with a slip of its own too easily: two must be right by it.
    """
    claims = [claim for claim in network.claims if claim.quantity == "params"]
    if not claims:
        return Counting()
    right = {}
    verdicts = {}
    for kilo in (1000, KIBI):
        for biases in (True, False):
            counting = Counting(biases, kilo)
            found = Counter(_judged(network, claim, counting).verdict for claim in claims)
            right[counting] = found[EXACT] + found[ROUNDS]
            verdicts[counting] = (found[WRONG], found[AMBIGUOUS], -found[EXACT])
    usual = max(right[Counting(biases)] for biases in (True, False))
    fair = [way for way in right if way.kilo == 1000 or right[way] >= usual + 2]
    return min(fair, key=lambda way: verdicts[way])


def _in_units(printed: str, value: Value, kilo: int) -> Value:
    """Return a count as ``judge`` reads it where the printed K is not 1,000."""
    unit = {"K": 1, "M": 2, "G": 3, "B": 3}.get(printed[-1:].upper(), 0)
    if kilo == 1000 or not unit or isinstance(value, (bool, list)):
        return value
    return Fraction(value) * Fraction(1000, kilo) ** unit


# What is true.


def _claimed(network: Network, claim: Claim, biases: bool) -> Value | None:
    """Return the true value of what a text claims; None where the text leaves it open."""
    if not claim.printed:
        return None
    if claim.path == NETWORK_INPUT:
        match claim.quantity:
            case "input":
                return _as_printed(network.input)[: claim.printed.count("x") + 1]
            case "params":
                return 0
        return numel(network.input)
    layers = _layers(network, claim.path)
    match claim.quantity:
        case "input":
            return _as_printed(layers[0].shapes[0])
        case "output":
            sizes = _as_printed(layers[-1].cost.output)
            return sizes[:2] if claim.printed.count("x") == 1 and len(sizes) > 1 else sizes
        case "params":
            return sum(_params(layer, biases) for layer in layers)
        case "macs":
            return sum(layer.cost.macs for layer in layers)
        case "activations" | "activation_bytes":
            rule = ACTIVATIONS["lecture"]
            elements = sum(map(rule.count, layers))
            elements += 0 if claim.path else numel(network.input)
            return elements * (4 if claim.quantity == "activation_bytes" else 1)
        case "weight_layers":
            return network.weight_layers
        case "stride" | "kernel_size":
            first = layers[0]
            window = spatial_reads(first.op.reads(*first.shapes), first.shapes[0])[0]
            return int(window.stride if claim.quantity == "stride" else window.extent)  # type: ignore[union-attr]
    return None


def _layers(network: Network, path: str) -> Sequence[Layer]:
    """Return the layers of a group, a layer alone, or all for an empty path."""
    if path in network.by_path:
        return [network[path]]
    return [layer for layer in network if not path or layer.path.startswith(f"{path}.")]


def _params(layer: Layer, biases: bool) -> int:
    biased = getattr(layer.op, "bias", False) is True
    shapes = layer.cost.params.items()
    return sum(prod(shape) for key, shape in shapes if biases or not biased or key != "bias")


def _as_printed(shape: Shape) -> list[int]:
    """Return height, width and channels, as lectures print them."""
    return [*shape[1:], shape[0]]
