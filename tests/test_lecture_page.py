"""The page on lecture tables has an example of every notation that the reader knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from examples import FILE, ROOT, examples

from archcost import lectures
from archcost.errors import SpecError
from archcost.lectures import inception, listing, residual, rows
from archcost.spec.source import Source

PAGE = ROOT / "docs" / "lecture_tables.md"
FILES = {match["name"]: match["text"] for match in FILE.finditer(PAGE.read_text("utf-8"))}
REFUSED = ("slip.txt",)


def watched(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, note: Callable[..., None]
) -> None:
    """Let ``note`` see what a function of the reader takes and returns."""
    real = getattr(module, name)

    def watching(*arguments: Any) -> Any:
        result = real(*arguments)
        note(result, *arguments)
        return result

    monkeypatch.setattr(module, name, watching)


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What the reader meets on the page: words, pieces and cells of rows, totals, tables."""
    found: dict[str, set[str]] = {
        "words": set(), "pieces": set(), "cells": set(), "totals": set(), "tables": set(),
        "types": set(), "columns": set(), "stacks": set(),
    }  # fmt: skip

    def word(row: rows.Row | None, text: str, *_: object) -> None:
        head = rows._HEAD.match(rows._BRACKET.sub("", text, count=1).lstrip())
        if row is not None and head:
            found["words"].add(head["word"].lower().replace(" ", "").replace("-", ""))

    watched(monkeypatch, rows, "_row", word)
    watched(monkeypatch, rows, "_piece", lambda made, *_: found["pieces"].add(made[0]))
    watched(monkeypatch, rows, "_cells", lambda made, row, *_: found["cells"].add(row.op))
    watched(
        monkeypatch, listing, "_total",
        lambda made, source, table, *_: found["totals"].update(
            [claim.quantity for claim in table.totals] + ["result"] * bool(table.result)
        ),
    )  # fmt: skip
    watched(
        monkeypatch, inception._Reader, "_row",
        lambda made, *_: found["types"].update([made.op] if made else []),
    )  # fmt: skip
    watched(monkeypatch, inception, "_header", lambda made, *_: found["columns"].update(made[0]))
    watched(
        monkeypatch, residual._Reader, "_tokens",
        lambda made, *_: found["stacks"].update(token.kind for token in made),
    )  # fmt: skip
    for name, text in FILES.items():
        lines = lectures.lines_of(Source(name, text))
        for reader in lectures.READERS:
            try:
                if reader(Source(name, text), lines):
                    found["tables"].add(reader.__name__)
                    break
            except SpecError:
                assert name in REFUSED
    return found


@pytest.mark.parametrize(("what", "known"), [
    ("words", set(rows.WORDS)),
    ("pieces", {kind for kind, _ in rows.PIECES}),
    ("cells", set(rows.CELLS)),
    ("totals", {"params", "activations", "activation_bytes", "result"}),
    ("tables", {reader.__name__ for reader in lectures.READERS}),
    ("types", set(inception.TYPES)),
    ("columns", set(inception.PAPER)),
    ("stacks", set(residual.PIECES) - {"mark"}),
])  # fmt: skip
def test_every_notation_of_the_reader_is_on_the_page(
    met: dict[str, set[str]], what: str, known: set[str]
) -> None:
    assert known - met[what] == set()


def test_every_text_of_the_page_is_read_by_a_command() -> None:
    commands = " ".join(example.command for example in examples(PAGE))
    assert [name for name in FILES if name not in commands] == []


def test_every_sign_of_the_page_is_a_times() -> None:
    text = PAGE.read_text("utf-8")
    [signs] = [line for line in text.split("\n") if "`x` may be" in line]
    for sign in signs.split("`x` may be ")[1].replace(" or ", ", ").split(", ")[:8]:
        sign = sign.strip("`")
        net = lectures.read_lecture(Source("t.txt", f"[9{sign}9{sign}3] INPUT\nConv3-8\nFC-10"))
        assert net.header["input"].text == "3x9x9", sign
