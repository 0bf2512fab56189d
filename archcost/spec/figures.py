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

Behind its figures a list of cells may say why a figure differs: in words, or as a mapping from words
to an expression that gives what is printed (``slips``, in the language of the lectures' claims).
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Sequence as Names
from typing import Any

from archcost.errors import ArchcostError, did_you_mean, shorten
from archcost.published import FIGURES, Published
from archcost.spec.expression import ExpressionError, parse
from archcost.spec.source import Mapping, Node, Scalar, Sequence, Source

ABOUT = ("source", "year", "input", "convention", "why", "slips")
ROW = ("model", *ABOUT, *FIGURES)
CARD = (*ABOUT, "columns")
NOT_PRINTED = "-"


def read_published(source: Source, node: Node | None, models: Names[str]) -> list[Published]:
    """Return the rows of a list or table; ``models`` are the names that the file defines.

    Raises:
        SpecError: with file, line and column.
    """
    if isinstance(node, Mapping):
        return _table(source, node, models)
    if node is not None and not isinstance(node, Sequence):
        raise source.error(node, "published is a list of rows, or a table with sources")
    return [_row(source, item, models) for item in node.items] if node else []


def _row(source: Source, item: Node, models: Names[str]) -> Published:
    if not isinstance(item, Mapping):
        raise source.error(item, "published is a list of mappings")
    _check_keys(source, item, ROW)
    figures = {
        key: _figure(source, value) for key, (_, value) in item.entries.items() if key in FIGURES
    }
    model = source.plain_text(item.get("model"), "model") if item.get("model") else ""
    if model:
        _check_model(source, item, model, models)
    elif len(models) > 1:
        raise source.error(item, "published figures of a family say which model")
    return Published(
        model=model, figures=figures, line=item.line, column=item.column, **_about(source, item)
    )


def _table(source: Source, node: Mapping, models: Names[str]) -> list[Published]:
    cards = node.get("sources")
    if not isinstance(cards, Mapping):
        raise source.error(cards or node, "a table of published figures has sources, a mapping")
    about: dict[str, dict[str, Any]] = {}
    columns: dict[str, list[str]] = {}
    for key, (_, card) in cards.entries.items():
        if not isinstance(card, Mapping):
            raise source.error(card, f"{shorten(key)} must be a mapping")
        _check_keys(source, card, CARD)
        about[key] = _about(source, card)
        columns[key] = _columns(source, card)
    rows = []
    for model, (model_node, cells) in node.entries.items():
        if model == "sources":
            continue
        _check_model(source, model_node, model, models)
        if not isinstance(cells, Mapping):
            raise source.error(cells, f"{model}: figures stand under a source, as source: [...]")
        for key, (key_node, figures) in cells.entries.items():
            if key not in about:
                hint = did_you_mean(key, about)
                raise source.error(key_node, f"unknown source {shorten(key)!r}{hint}")
            printed, reasons = _cells(source, figures, columns[key])
            given = {**about[key], **reasons, "line": key_node.line, "column": key_node.column}
            rows.append(Published(model=model, figures=printed, **given))
    return rows


def _columns(source: Source, card: Mapping) -> list[str]:
    node = card.get("columns")
    if not isinstance(node, Sequence) or not node.items:
        raise source.error(node or card, "columns must be a list of figures")
    names = []
    for item in node.items:
        name = source.plain_text(item, "a column")
        if name not in FIGURES:
            hint = did_you_mean(name, FIGURES)
            raise source.error(item, f"unknown figure {shorten(name)!r}{hint}")
        names.append(name)
    return names


def _cells(source: Source, node: Node, columns: list[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the figures of a list of cells, and the reasons behind them."""
    items = node.items if isinstance(node, Sequence) else [node]
    if not len(columns) <= len(items) <= len(columns) + 2:
        reason = f"{len(columns)} figures expected, {', '.join(columns)}, and perhaps why"
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


def _about(source: Source, node: Mapping) -> dict[str, Any]:
    """Return what a row or a source says beside its figures."""
    if "source" not in node.entries:
        raise source.error(node, "a published figure needs its source")
    read: dict[str, Any] = {
        key: source.plain_text(value, key)
        for key, (_, value) in node.entries.items()
        if key in ABOUT and key != "slips"
    }
    if "year" in read:
        read["year"] = source.year(node, read["year"])
    if "input" in read:
        read["input"] = source.shape(node, read["input"])
    if "slips" in node.entries:
        read["slips"] = _slips(source, node.entries["slips"][1])
    return read


def _slips(source: Source, node: Node) -> dict[str, str]:
    if not isinstance(node, Mapping):
        raise source.error(node, "slips is a mapping from words to an expression")
    slips = {}
    for key, (_, value) in node.entries.items():
        slips[key] = source.plain_text(value, shorten(key))
        try:
            parse(slips[key])
        except ExpressionError as error:
            raise source.error(value, str(error), error.offset) from None
    return slips


def _figure(source: Source, node: Node) -> str:
    from archcost.units import Figure

    text = source.plain_text(node, "a figure")
    try:
        Figure.parse(text)
    except ArchcostError as error:
        raise source.error(node, str(error)) from None
    return text


def _check_model(source: Source, node: Node, model: str, models: Names[str]) -> None:
    if model not in models:
        raise source.error(node, f"unknown model {shorten(model)!r}{did_you_mean(model, models)}")


def _check_keys(source: Source, node: Mapping, known: tuple[str, ...]) -> None:
    for key, (key_node, _) in node.entries.items():
        if key not in known:
            raise source.error(key_node, f"unknown key {shorten(key)!r}{did_you_mean(key, known)}")
