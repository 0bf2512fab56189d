"""The notebook in docs/ runs and gives the outputs that it is stored with.

``python tests/test_tour.py`` writes the outputs anew.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

TOUR = Path(__file__).resolve().parent.parent / "docs" / "tour.ipynb"


def run(notebook: Any) -> Any:
    """Return the notebook after a run from top to bottom in a kernel of its own."""
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    fresh = deepcopy(notebook)
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    kernel = AsyncKernelManager(kernel_name="python3", transport="ipc")
    NotebookClient(fresh, km=kernel, timeout=120, record_timing=False).execute()
    return fresh


def outputs(notebook: Any) -> list[Any]:
    """Return what each code cell shows; of a picture only that there is one."""
    return [
        [
            {kind: "picture" if kind == "image/png" else text for kind, text in output.data.items()}
            if "data" in output
            else (output.name, output.text)
            for output in cell.outputs
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_gives_its_stored_outputs() -> None:
    for package in ("nbformat", "nbclient", "ipykernel", "pandas", "matplotlib"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    import nbformat

    stored = nbformat.read(TOUR, as_version=4)
    nbformat.validate(stored)
    assert outputs(run(stored)) == outputs(stored)


if __name__ == "__main__":
    import nbformat

    nbformat.write(run(nbformat.read(TOUR, as_version=4)), TOUR)
