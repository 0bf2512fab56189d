"""The table of what a spec writes for each name of ``torch.nn``, against the PyTorch installed."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from archcost.ops import OPS

PAGE = Path(__file__).parents[1] / "docs" / "torch.md"
NO_LAYERS = re.compile("has_torch_function.*|handle_torch_function|boolean_dispatch|assert_int.*")
"""What ``torch.nn.functional`` has that no network calls."""


class Row(NamedTuple):
    """What the table says of some classes and functions: the call that a spec has for them."""

    classes: list[str]
    functions: list[str]
    call: str

    @property
    def spans(self) -> list[str]:
        return re.findall("`(.+?)`", self.call)

    @property
    def ops(self) -> set[str]:
        """What its calls name, in the order of a chain."""
        parts = [part.strip() for span in self.spans for part in span.split(">>")]
        return {part.partition("(")[0] for part in parts if re.fullmatch(r"\w+(\(.*\))?", part)}


def rows() -> list[Row]:
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 3 for row in cells)
    names = re.compile("`(.+?)`").findall
    return [
        Row(names(one), names(two), call)
        for one, two, call in cells
        if one != "`torch.nn`" and one != "---"
    ]


def test_every_row_names_ops_and_their_arguments() -> None:
    found = rows()
    assert len(found) > 90
    for row in found:
        assert row.ops <= {*OPS}, row
        for span in row.spans:
            for name, inside in re.findall(r"(\w+)\(([\w, ]*)\)", span):
                if not {"a", "b", "heads", "features"} & {*inside.split(", ")}:
                    given = {arg for arg in inside.split(", ") if arg}
                    assert given <= {*OPS[name].arguments}, span


def test_a_row_without_an_op_says_why() -> None:
    for row in rows():
        assert row.ops or row.spans or len(row.call) > 5, row


@pytest.mark.torch
def test_every_class_and_function_of_pytorch_is_in_the_table() -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    classes = {
        name
        for name, value in vars(torch.nn).items()
        if inspect.isclass(value) and issubclass(value, torch.nn.Module)
    }
    functions = {
        re.sub("_with_indices$|_$", "", name)
        for name, value in vars(torch.nn.functional).items()
        if not name.startswith("_")
        and not NO_LAYERS.fullmatch(name)
        and (inspect.isroutine(value) or inspect.isfunction(value))
    }
    listed = [name for row in rows() for name in row.classes]
    assert sorted(listed) == sorted(classes)
    listed = [name for row in rows() for name in row.functions]
    assert sorted(listed) == sorted(functions)


@pytest.mark.torch
def test_a_module_that_an_op_builds_stands_beside_the_op() -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    beside = {name: row.ops for row in rows() for name in row.classes}
    built = 0
    for name, op in OPS.items():
        for example in op.examples:
            module = op.create(example.args, example.kwargs).build(torch, *example.inputs)
            if module is not None and type(module) in vars(torch.nn).values():
                built += 1
                assert name in beside[type(module).__name__], type(module).__name__
    assert built > 100
