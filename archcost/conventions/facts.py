"""Facts of a layer that follow from its op and its shapes: what conventions weigh.

A term names a fact for one sample. ``mac`` is one of every layer, ``maxpool.in`` one of the layers
of an op, ``conv1d.mac`` of those that have so many spatial axes, ``interpolate[nearest].out`` of
those in a mode. Every op has the :data:`MEASURES`; a fact that only one tool looks at is defined
beside that tool's convention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

from archcost.errors import LookupFailed
from archcost.network import Layer
from archcost.ops import OPS
from archcost.shape import numel, per_axis

Fact = Callable[[Any], int]
"""Gives the amount of a layer; its argument is Any, to read what only its op has."""


def window(layer: Layer) -> int:
    """Return the elements in the windows of all outputs."""
    kernel = per_axis("", getattr(layer.op, "kernel_size", 1), len(layer.shapes[0]) - 1)
    return numel(layer.cost.output) * numel(kernel)


def elements(*shapes: tuple[int, ...]) -> int:
    """Return the elements of several tensors."""
    return sum(map(numel, shapes))


MEASURES: Mapping[str, tuple[Fact, str]] = {
    "mac": (lambda layer: layer.cost.macs, "Multiply-accumulates"),
    "in": (lambda layer: numel(layer.shapes[0]), "Elements of the (first) input"),
    "out": (lambda layer: numel(layer.cost.output), "Elements of the output"),
    "positions": (
        lambda layer: numel(layer.cost.output[1:]),
        "Output positions, without the channels",
    ),
    "window": (window, "Elements in the windows of all outputs"),
    "bias": (
        lambda layer: numel(layer.cost.output) * ("bias" in layer.cost.params),
        "Elements of the output to which a bias is added",
    ),
    "biases": (
        lambda layer: elements(*filter(None, [layer.cost.params.get("bias")])),
        "Elements of the bias itself",
    ),
    "params": (lambda layer: elements(*layer.cost.params.values()), "Elements of the parameters"),
    "scores": (
        lambda layer: elements(*layer.cost.products, *layer.cost.fused),
        "Scores of attention: one per head, query and key",
    ),
    "calls": (lambda layer: 1, "Calls"),
}
"""The facts that every op has, by name, with what they are in words."""

OWN: dict[str, Fact] = {}
"""The facts that only one op has, by term, of the files that are loaded."""


def own_facts() -> Mapping[str, Fact]:
    """Return every fact that only one op has, by term. Its docstring says what it counts."""
    for file in ("operations", "modules", "thop", "deepspeed"):
        import_module(f"{__package__}.{file}")
    return OWN


def of(*ops: str) -> Callable[[Fact], Fact]:
    """Register a function of a layer as a fact of these ops only."""

    def register(function: Fact) -> Fact:
        OWN.update({f"{op}.{function.__name__}": function for op in ops})
        return function

    return register


@cache
def find_fact(term: str) -> Fact:
    """Return the function of a term.

    Raises:
        LookupFailed: no such op or fact; the text gives the nearest term.
    """
    subject, _, name = term.rpartition(".")
    known = not subject or re.sub(r"([123]d)?(\[[\w-]+\])?$", "", subject) in OPS
    if known and name in MEASURES:
        return MEASURES[name][0]
    if term not in OWN and term not in own_facts():
        terms = [*MEASURES, *OWN, *(f"{op}.{name}" for op in OPS for name in MEASURES)]
        raise LookupFailed("work term", term, terms)
    return OWN[term]


def meaning(term: str) -> str:
    """Return what a term counts, in words."""
    name = term.rpartition(".")[2]
    if name in MEASURES:
        return MEASURES[name][1]
    return (find_fact(term).__doc__ or "").partition("\n")[0].removesuffix(".")


FUNCTIONS_OF = {"rnn_tanh": "rnn", "rnn_relu": "rnn"}
"""The ops of functions of PyTorch that have other names, where tools find both as one module."""


def subjects(layer: Layer) -> tuple[str, ...]:
    """Return the prefixes that the terms of a layer's facts may have."""
    op, axes = layer.op, len(layer.shapes[0]) - 1
    mode = getattr(op, "mode", "") + "-antialias" * getattr(op, "antialias", False)
    name = FUNCTIONS_OF.get(op.name, op.name)
    sized = f"{name}{axes}d"
    return "", name, sized, f"{name}[{mode}]", f"{sized}[{mode}]"


def amount(layer: Layer, term: str) -> int:
    """Return the amount of a term for a layer and one sample; 0 if the term is not about it."""
    own = term.rpartition(".")[0] in subjects(layer)
    return find_fact(term)(layer) * layer.rows if own else 0
