"""The floors of the architecture: a file imports only from lower ones, and the core stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "archcost"
FLOORS = {
    "errors": 0, "packages": 0, "deformable": 0, "collector": 0, "checkpointed": 0, "data": 0, "record": 0, "registry": 0, "schema": 0, "shape": 0, "layout": 0, "number": 0, "graph": 0, "series": 0, "normal": 0, "nested": 0, "notation": 0, "numeral": 0, "compiled": 0, "units": 0, "table": 0, "workbook": 0, "junit": 0,
    "ops": 1, "primitives": 1, "network": 1, "builder": 1, "published": 1,
    "spec": 2, "printed": 2, "conventions": 2, "hardware": 2, "counterparts": 2,
    "setting": 2, "optimizers": 2, "readings": 2, "analysis": 3, "folding": 3,
    "storage": 4,
    "performance": 5, "manual": 5,
    "figures": 6, "budget": 6, "space": 7, "findings": 7,
    "pytorch": 7, "measure": 7,
    "proofs": 8,
    "report": 9, "pictures": 9, "badge": 9, "contracts": 9, "lectures": 9,
    "importers": 9,
    "api": 10, "cli": 11, "__init__": 12, "__main__": 12,
}  # fmt: skip
HEAVY = ("torch", "numpy", "pandas", "sympy", "matplotlib", "fvcore")


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.AST) -> set[str]:
    rooms = set()
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        rooms |= {name.split(".")[1] for name in names if name.startswith("archcost.")}
    return rooms


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_point_down(path: Path) -> None:
    own = room(path)
    for other in imported_rooms(ast.parse(path.read_text("utf-8"))) - {own}:
        assert FLOORS[other] <= FLOORS[own], f"{own} (floor {FLOORS[own]}) imports {other}"


def test_an_upward_import_would_be_seen() -> None:
    assert imported_rooms(ast.parse("def f():\n    from archcost.cli import main")) == {"cli"}


def heavy_after(arguments: list[str], before: str = "") -> list[str]:
    code = (
        f"import sys\nsys.argv = ['archcost', *{arguments!r}]\n{before}\n"
        "from archcost.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code, exit.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout.rsplit("HEAVY ", 1)[1])


@pytest.mark.parametrize(
    "arguments",
    [
        ["table", "vgg16"],
        ["table", "vgg16", "--format", "json"],
        ["compare", "alexnet", "resnet50"],
        ["list"],
        ["explain", "vgg16"],
        ["audit", "vgg16"],
        ["reconcile", "resnet50"],
        ["show", "resnet18"],
        ["memory", "resnet50", "--batch", "256"],
        ["fit", "alexnet", "--gpu", "gtx580"],
        ["plot", "layers", "alexnet", "--terminal"],
        ["report", "resnet18", "alexnet"],
        ["roofline", "resnet50", "--gpu", "h100"],
        ["hardware"],
        ["check", "--budget", "resnet18: training peak <= 1GiB"],
        ["diff", "resnet18", "resnet34"],
        ["lint", "specs/unet.yaml"],
        ["fmt", "--check", "specs/unet.yaml"],
        ["badge", "resnet18"],
    ],
    ids=" ".join,
)
def test_the_core_loads_nothing_heavy(arguments: list[str]) -> None:
    assert heavy_after(arguments) == []


def test_a_heavy_import_would_be_seen() -> None:
    pytest.importorskip("numpy", reason="numpy is not installed")
    assert heavy_after(["list"], before="import numpy") == ["numpy"]


def test_the_course_is_one_room() -> None:
    """Lectures' tables and claims, ILSVRC: who does not ask for them never meets them."""
    others = [path for path in PACKAGE.rglob("*.py") if room(path) != "lectures"]
    doors = {
        str(path.relative_to(PACKAGE))
        for path in others
        if "lectures" in imported_rooms(ast.parse(path.read_text("utf-8")))
    }
    assert doors == {"api/proof.py", "cli/audit.py"}  # `audit --lectures`
    assert loaded(["audit", "vgg16"]) == loaded(["plot", "layers", "vgg16", "--terminal"]) == []
    assert "archcost.lectures.claims" in loaded(["audit", "--lectures"])
    assert "archcost.lectures.timeline" in loaded(["plot", "timeline", "--terminal"])


def loaded(arguments: list[str]) -> list[str]:
    """Return what a command loads of the lectures' room."""
    code = f"import sys\nsys.argv = ['archcost', *{arguments!r}]\n" + (
        "from archcost.cli import main\ntry:\n    main()\nexcept SystemExit:\n"
        "    print('LOADED', [m for m in sys.modules if m.startswith('archcost.lectures')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names: list[str] = ast.literal_eval(done.stdout.rpartition("LOADED ")[2])
    return names
