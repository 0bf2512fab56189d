"""``published`` in a spec: what others print of its networks.

A list has a row for each source, which fits a network or two::

    published:
      - {source: "LeCun et al. 1998, section II.B", params: "60,000"}

A table has a line for each model, which fits a family. A source says once what it is and which
figures it prints; a model lists them in that order, ``-`` for one that is not printed::

    published:
      sources:
        torchvision: {source: torchvision IMAGENET1K_V1, convention: torchvision, columns: [params, macs]}
        paper: {source: "He et al. 2015, table 1", columns: [macs, top1_error]}
      resnet18: {torchvision: [11689512, 1.814G], paper: [1.8G, 27.88]}
      resnet34: {paper: [3.6G, 25.03, {without projections: macs(plain34)}]}

After its figures, a list of cells may say why a figure differs. The reason is text, or a mapping
from text to an expression that gives the printed figure (``slips``, in the language of the
lectures' claims).
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Sequence as Names
from typing import Any

from archcost.errors import Mistakes, shorten
from archcost.published import FIGURES, Published
from archcost.shape import parse_shape
from archcost.spec.expression import parse
from archcost.spec.source import Mapping, Node, Reader, Scalar, Sequence, Source, year
from archcost.units import number_of

NOT_PRINTED = "-"


def read_published(
    source: Source, node: Node | None, models: Names[str], mistakes: Mistakes
) -> list[Published]:
    """Return the rows of a list or table, and keep what is wrong with the others.

    Args:
        source: the spec.
        node: the value of ``published``.
        models: the names that the file defines.
        mistakes: takes the mistakes.

    Raises:
        SpecError: it is not a list or table, with file, line and column.
    """
    if isinstance(node, Mapping):
        return _table(source, node, models, mistakes)
    if node is not None and not isinstance(node, Sequence):
        raise source.error(node, "published is a list of rows, or a table with sources")
    rows = []
    for item in node.items if node else []:
        with mistakes.kept():
            rows.append(_row(source, item, models))
    return rows


def _row(source: Source, item: Node, models: Names[str]) -> Published:
    def figure(node: Node) -> str:
        return _figure(source, node)

    def named(node: Node) -> str:
        return source.known(source.scalar(node, "model"), "model", models)

    figures = dict.fromkeys((f"{key}?" for key in FIGURES), figure)
    fields = {"model?": named, **_about(source), **figures}
    found = source.read(item, "a published figure", fields)
    if "model" not in found and len(models) > 1:
        raise source.error(item, "published figures of a family say which model")
    printed = {key: found.pop(key) for key in [*found] if key in FIGURES}
    return Published(figures=printed, line=item.line, column=item.column, **found)


def _table(
    source: Source, node: Mapping, models: Names[str], mistakes: Mistakes
) -> list[Published]:
    cards = node.get("sources")
    if not isinstance(cards, Mapping):
        raise source.error(cards or node, "a table of published figures has sources, a mapping")
    about: dict[str, dict[str, Any]] = {}
    columns: dict[str, list[str]] = {}
    for key, (_, card) in cards.entries.items():
        about[key] = source.read(card, "a published figure", {
            **_about(source), "columns": lambda node: _columns(source, node),
        })  # fmt: skip
        columns[key] = about[key].pop("columns")
    rows = []
    for model, (model_node, cells) in node.entries.items():
        if model == "sources":
            continue
        with mistakes.kept():
            source.known(model_node, "model", models)
            if not isinstance(cells, Mapping):
                reason = f"{model}: figures stand under a source, as source: [...]"
                raise source.error(cells, reason)
            for key, (key_node, figures) in cells.entries.items():
                source.known(key_node, "source", about)
                printed, reasons = _cells(source, figures, columns[key])
                given = {**about[key], **reasons, "line": key_node.line, "column": key_node.column}
                rows.append(Published(model=model, figures=printed, **given))
    return rows


def _columns(source: Source, node: Node) -> list[str]:
    if not isinstance(node, Sequence) or not node.items:
        raise source.error(node, "columns must be a list of figures")
    items = [source.scalar(item, "a column") for item in node.items]
    return [source.known(item, "figure", FIGURES) for item in items]


def _cells(source: Source, node: Node, columns: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the figures of a list of cells, and the reasons behind them."""
    items = node.items if isinstance(node, Sequence) else [node]
    if not len(columns) <= len(items) <= len(columns) + 2:
        reason = (
            f"{number_of(len(columns), 'figure')} expected, {', '.join(columns)}, and perhaps why"
        )
        raise source.error(node, f"{reason}; got {len(items)}")
    printed = {
        column: _figure(source, item)
        for column, item in zip(columns, items, strict=False)
        if not (isinstance(item, Scalar) and item.plain and item.text == NOT_PRINTED)
    }
    reasons: dict[str, Any] = {}
    for item in items[len(columns) :]:
        if isinstance(item, Mapping):
            reasons["slips"] = _slips(source, item)
        else:
            reasons["why"] = source.plain_text(item, "why")
    return printed, reasons


def _about(source: Source) -> dict[str, type[str] | Reader]:
    """Return what reads what a row or a source says beside its figures."""
    return {
        "source": str, "year?": lambda node: source.parsed(node, year),
        "input?": lambda node: source.parsed(node, parse_shape), "convention?": str, "why?": str,
        "slips?": lambda node: _slips(source, node),
    }  # fmt: skip


def _slips(source: Source, node: Node) -> dict[str, str]:
    slips = {}
    for key, (_, value) in source.mapping(node, "slips").items():
        source.parsed(value, parse, shorten(key))
        slips[key] = source.plain_text(value, shorten(key))
    return slips


PLAIN = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?[KMGB]?")
"""Figures that are read at once: those of nearly all specs."""


def _figure(source: Source, node: Node) -> str:
    if not PLAIN.fullmatch(source.plain_text(node, "a figure")):
        from archcost.numeral import Numeral

        source.parsed(node, Numeral.parse, "a figure")
    return source.plain_text(node, "a figure")
