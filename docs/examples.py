"""The examples in Markdown pages: commands with their output, files that they read, Python.

A block ``console`` is a command line, after ``$``, and all that it prints. A block with
``title="FILE"`` is a file that the commands after it find. Lines of a block ``python`` end in
``# `` and the text of their value, or are run for what they do.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
"""The pages whose examples are real."""

CONSOLE = re.compile(r"^```console\n\$ (?P<command>.+)\n(?P<output>(?:.*\n)*?)^```$", re.MULTILINE)
FILE = re.compile(r'^```\w+ title="(?P<name>[^"]+)"\n(?P<text>(?:.*\n)*?)^```$', re.MULTILINE)
PYTHON = re.compile(r"^```python\n(?P<code>(?:.*\n)*?)^```$", re.MULTILINE)
SPEC = re.compile(
    r"^```yaml.*\n(?P<text>(?=(?:(?!```).*\n)*?layers:)(?:name|family): (?:.*\n)*?)^```$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Example:
    """A command of a page, what the page says it prints, and the files shown before it."""

    page: Path
    command: str
    output: str
    files: tuple[tuple[str, str], ...]

    def run(self) -> str:
        """Return what the command prints, run as a reader would with the page's files at hand."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        packages = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        with TemporaryDirectory() as folder:
            (Path(folder) / "specs").symlink_to(ROOT / "specs")
            for name, text in self.files:
                (Path(folder) / name).write_text(text, "utf-8")
            done = subprocess.run(
                ["bash", "-c", self.command], cwd=folder, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env={**os.environ, "PATH": path, "PYTHONPATH": packages, "COLUMNS": "100"},
            )  # fmt: skip
        return done.stdout


def examples(page: Path, text: str | None = None) -> Iterator[Example]:
    """Yield the commands of a page in their order."""
    text = page.read_text("utf-8") if text is None else text
    for block in CONSOLE.finditer(text):
        files = tuple((m["name"], m["text"]) for m in FILE.finditer(text, 0, block.start()))
        yield Example(page, block["command"], block["output"], files)


def rewritten(page: Path, run: Callable[[Example], str]) -> str:
    """Return the text of a page with ``run``'s output under each command."""
    found = examples(page)

    def renew(block: re.Match[str]) -> str:
        return f"```console\n$ {block['command']}\n{run(next(found))}```"

    return CONSOLE.sub(renew, page.read_text("utf-8"))


def every_example() -> Iterator[Example]:
    """Yield the commands of all pages."""
    for page in PAGES:
        yield from examples(page)
