"""The examples of the README and of the pages in docs/ are run again and compared.

``python tests/test_documents.py`` writes the outputs anew.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from examples import PAGES, PYTHON, ROOT, SPEC, Example, every_example, examples, rewritten

from archcost import build, load
from archcost.cli import COMMANDS
from archcost.ops import OPS

README = ROOT / "README.md"


def cases() -> list[Any]:
    """Return every example, with its page and command as its name."""
    found = []
    for example in every_example():
        marks = [pytest.mark.slow] if "archcost verify" in example.command else []
        name = f"{example.page.stem}: {example.command[:60]}"
        found.append(pytest.param(example, id=name, marks=marks))
    return found


@pytest.mark.parametrize("example", cases())
def test_example(example: Example) -> None:
    if "archcost verify" in example.command:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        constraints = (ROOT / "constraints.txt").read_text()
        [pinned] = re.findall(r"^torch==(.+)$", constraints, re.MULTILINE)
        if torch.__version__.partition("+")[0] != pinned:
            pytest.skip(f"the output names torch {pinned}")
    assert example.run() == example.output


def test_every_kind_of_op_has_a_heading() -> None:
    assert {op.kind for op in OPS.values()} == {*import_module("pages").KINDS}


def test_every_command_is_shown() -> None:
    text = README.read_text("utf-8")
    assert [name for name in COMMANDS if f"archcost {name}" not in text] == []


def test_the_readme_is_one_page() -> None:
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 150
    outputs = [example.output for example in examples(README)]
    assert [line for text in outputs for line in text.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_examples_run(page: Path) -> None:
    space: dict[str, Any] = {}
    for block in PYTHON.finditer(page.read_text("utf-8")):
        for line in filter(str.strip, block["code"].splitlines()):
            code, _, expected = line.partition("  # ")
            if not expected:
                exec(code, space)
            else:
                assert str(eval(code, space)) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_specs_load(page: Path, tmp_path: Path) -> None:
    for block in SPEC.finditer(page.read_text("utf-8")):
        spec = tmp_path / "spec.yaml"
        spec.write_text(block["text"], "utf-8")
        assert len(load(spec)) > 0


@pytest.mark.torch
def test_torchinfo_prints_the_size_that_the_questions_say() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torchinfo = pytest.importorskip("torchinfo", reason="torchinfo is not installed")
    twin = build("resnet18", device="meta")
    image = torch.empty(1, 3, 224, 224, device="meta")
    found = torchinfo.summary(twin, input_data=image, device="meta", verbose=0)
    assert f"it is {found.total_output_bytes:,} bytes" in (ROOT / "docs" / "faq.md").read_text()


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rewritten(page, Example.run), "utf-8")
