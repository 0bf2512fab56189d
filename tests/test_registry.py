"""What is loaded when it is asked for is known by its name before, and loaded no earlier."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from archcost import conventions, ops
from archcost.registry import Registry


@pytest.mark.parametrize(
    "registry, files, package",
    [
        (ops.OPS, ops.FAMILIES.items(), "archcost.ops"),
        (conventions.CONVENTIONS, conventions.FILES, "archcost.conventions"),
    ],
    ids=["ops", "conventions"],
)
def test_every_name_is_listed_with_its_file(
    registry: Registry[Any], files: Iterable[tuple[str, str]], package: str
) -> None:
    assert all([*registry.values()])  # all are loaded, with what they register
    listed = {name: f"{package}.{file}" for file, names in files for name in names.split()}
    own = {name for name in registry if registry.module(name).startswith(f"{package}.")}
    assert own == {*listed}
    assert {name: registry.module(name) for name in listed} == listed


def test_a_name_is_taken_once() -> None:
    known = Registry[int]("fruit")
    known.expect("json.tool", ["apple"])
    assert "apple" in known and [*known] == ["apple"] and len(known) == 1
    with pytest.raises(ValueError, match="two fruits are named 'apple'"):
        known.register("apple", 1, "another")
    known.register("apple", 1, "json.tool")
    with pytest.raises(ValueError, match="two fruits are named 'apple'"):
        known.register("apple", 2, "json.tool")
    assert known["apple"] == 1 and "pear" not in known and known.get("pear") is None


def test_a_table_loads_the_ops_that_the_network_has() -> None:
    code = (
        "import sys\nsys.argv = ['archcost', 'table', 'vgg16']\nfrom archcost.cli import main\n"
        "try: main()\nexcept SystemExit: print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.rpartition("LOADED ")[2].split()
    families = {name for name in ops.FAMILIES if f"archcost.ops.{name}" in loaded}
    assert {"activation", "conv", "linear", "pool"} <= families
    assert not {"attention", "norm", "recurrent", "resample"} & families
    assert "archcost.conventions.definitions" in loaded
    assert "archcost.conventions.thop" not in loaded
