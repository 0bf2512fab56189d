"""The table of docs/memory.md holds what its programs print."""

from __future__ import annotations

import pytest


@pytest.mark.torch
@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_rows_of_the_docs(name: str) -> None:
    for package in ("torch", "torchinfo"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import memory_comparison as comparison

    text = comparison.DOCS.read_text("utf-8")
    if comparison.versions() not in text:
        pytest.skip("the table was made with other versions")
    documented = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    (line,) = documented
    cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
    assert cells == comparison.row(name)
