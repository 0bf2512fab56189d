"""The page of proofs: every model is on it, none is without proof, and a drawn sample holds today."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import random
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from archcost.ops import OPS
from archcost.primitives import PRIMITIVES
from archcost.spec.catalog import catalog, find_document, load

PAGE = Path(__file__).parent.parent / "docs" / "verified.md"
TEXT = PAGE.read_text("utf-8")
CHECKS = ("structure", "counters", "memory", "training", "peaks")
DRAWN, SMALL = 5, 4 * 10**7
"""How many models are checked again, and the bytes of weights and outputs that they have at most."""

Row = dict[str, str]


def rows() -> dict[str, Row]:
    lines = [line.split("|")[1:-1] for line in TEXT.splitlines() if "| " in line]
    heading, *cells = ([cell.strip() for cell in row] for row in lines)
    return {row[0]: dict(zip(heading, row, strict=True)) for row in cells}


def test_every_model_is_verified_and_has_a_proof_from_outside() -> None:
    table = rows()
    assert [name for name in catalog() if name not in table] == []
    for name in catalog():
        row = table[name]
        own = [row[check] for check in CHECKS]
        assert not any(" of " in cell or "not " in cell for cell in (*own, row["reference"])), name
        outside = row["reference"] not in ("", "-") or row["by hand"]
        agrees = row["published"] and not row["published"].startswith("0 of")
        assert outside or agrees, name


@pytest.mark.torch
def test_published_figures_agree_as_the_page_says() -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")  # for networks by hand
    from verified import other_proofs

    table = rows()
    said = {name: (table[name]["by hand"], table[name]["published"]) for name in catalog()}
    assert other_proofs() == said


def drawn() -> list[str]:
    """Return models that are soon checked: others for each version of the page, two with references."""
    from archcost.proofs.watch import footprint

    table, rng = rows(), random.Random(TEXT)
    names = rng.sample(list(catalog()), len(catalog()))
    short = [name for name in names if 20 < int(table[name]["structure"].replace(",", "")) < 400]
    found: list[str] = []
    for wanted, number in ((True, 2), (False, DRAWN)):
        for name in short:
            if len(found) == number:
                break
            has = table[name]["reference"] != "-"
            if name not in found and has >= wanted and footprint(load(name), 1) < SMALL:
                found.append(name)
    return found


def differences(name: str, row: Row) -> list[str]:
    """Check a model again, and return where that is not what its row says."""
    from archcost.proofs.run import Request, verify

    against = () if row["reference"] == "-" else tuple(row["reference"].split(", "))
    wrong = []
    for outcome in verify(load(name), Request(against=against)):
        if outcome.run != outcome.passed or not outcome.run:
            wrong.append(f"{name} {outcome.group}: {outcome.passed} of {outcome.run} passed")
        missing = sum(not reason.startswith("no reference") for reason in outcome.skipped)
        made, said = f"{outcome.run + missing:,}", row[outcome.group]
        if outcome.group == "counters":
            made += f" by {len(outcome.against) + missing} tools"
        elif outcome.group == "reference":
            made = ", ".join(sorted(name.partition(":")[0] for name in outcome.against))
            said = ", ".join(sorted(said.split(", ")))
        if made != said:
            wrong.append(f"{name} {outcome.group}: {made}, the page says {said}")
    return wrong


def same_versions() -> bool:
    about = next(line for line in TEXT.splitlines() if line.startswith("- device "))
    return f"torch {importlib.metadata.version('torch')}," in about


@pytest.mark.reference
def test_a_drawn_sample_of_the_page_holds_today(torchvision: Any) -> None:
    """Another version of PyTorch may dispatch other operations; then all must pass all the same."""
    for package in ("timm", "pytorchcv"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    table, names = rows(), drawn()
    assert len(names) == DRAWN
    wrong = [text for name in names for text in differences(name, table[name])]
    assert [text for text in wrong if same_versions() or "passed" in text] == []


def cost_wrongly(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    right = OPS["conv"].cost

    def wrong(self: Any, *shapes: Any) -> Any:
        cost = right(self, *shapes)
        return dataclasses.replace(cost, **change(cost))

    monkeypatch.setattr(OPS["conv"], "cost", wrong)
    monkeypatch.setattr(find_document("nin_cifar10"), "templates", {})  # made with the right cost


def a_mac_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    cost_wrongly(monkeypatch, lambda cost: {"macs": cost.macs + 1})


def a_buffer_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    cost_wrongly(monkeypatch, lambda cost: {"buffers": {"spare": (1,)}})


def nothing_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    right = PRIMITIVES["conv"]

    def wrong(*args: Any, **options: Any) -> Any:
        return dataclasses.replace(right.row(*args, **options), saves=())

    monkeypatch.setitem(PRIMITIVES, "conv", dataclasses.replace(right, row=wrong))


@cache
def sound() -> list[str]:
    row = {**rows()["nin_cifar10"], "reference": "-"}
    return [text for text in differences("nin_cifar10", row) if "passed" in text]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("plant", "groups"),
    [
        (a_mac_too_many, {"counters", "training"}),
        (nothing_saved, {"memory", "peaks"}),
        (a_buffer_too_many, {"structure"}),
    ],
)
def test_a_wrong_engine_is_seen(
    plant: Any, groups: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    assert sound() == []
    row = {**rows()["nin_cifar10"], "reference": "-"}
    plant(monkeypatch)
    found = [text.split(" ")[1] for text in differences("nin_cifar10", row) if "passed" in text]
    assert groups <= {name.rstrip(":") for name in found}
