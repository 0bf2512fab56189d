"""Every `$ archcost ...` block of the README is run again and compared.

``python tests/test_readme.py`` writes the outputs anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?:.*\n)*?)^```$", re.MULTILINE)


def output(command: str) -> str:
    """Run a line of shell as a reader would, at the top of the repository."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PATH": path, "COLUMNS": "100"},
    )  # fmt: skip
    return done.stdout


def blocks() -> list[re.Match[str]]:
    return list(BLOCK.finditer(README.read_text("utf-8")))


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block["command"][:60])
def test_block(block: re.Match[str]) -> None:
    if "archcost verify" in block["command"]:
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        pinned = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[
            1
        ]
        if torch.__version__.partition("+")[0] != pinned:
            pytest.skip(f"the output names torch {pinned}")
    assert output(block["command"]) == block["output"]


def test_every_command_is_shown() -> None:
    from archcost.cli import COMMANDS

    text = README.read_text("utf-8")
    assert [name for name in COMMANDS if f"archcost {name}" not in text] == []


def test_the_python_example_runs() -> None:
    text = README.read_text("utf-8")
    for code in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        statements = [line for line in code.splitlines() if line.strip()]
        space: dict[str, object] = {}
        for line in statements:
            code_part, _, expected = line.partition("  # ")
            if not expected:
                exec(code_part, space)
            else:
                assert str(eval(code_part, space)) == expected


if __name__ == "__main__":
    text = README.read_text("utf-8")
    README.write_text(
        BLOCK.sub(lambda m: f"```console\n$ {m['command']}\n{output(m['command'])}```", text),
        "utf-8",
    )
