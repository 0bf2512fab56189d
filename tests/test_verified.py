"""The page of proofs: every model of the catalog is on it, nothing differs, none is without proof."""

from __future__ import annotations

from pathlib import Path

from archcost.spec.catalog import catalog

PAGE = Path(__file__).parent.parent / "docs" / "verified.md"


def test_every_model_is_verified_and_has_a_proof_from_outside() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text("utf-8").splitlines() if "| " in line]
    heading, *cells = ([cell.strip() for cell in row] for row in rows)
    table = {row[0]: dict(zip(heading, row, strict=True)) for row in cells}
    assert [name for name in catalog() if name not in table] == []
    for name in catalog():
        row = table[name]
        own = [row[check] for check in ("structure", "counters", "memory", "training", "peaks")]
        assert not any(" of " in cell or "not " in cell for cell in (*own, row["reference"])), name
        outside = row["reference"] not in ("", "-") or row["by hand"]
        agrees = row["published"] and not row["published"].startswith("0 of")
        assert outside or agrees, name
