"""Broken and hostile specs: a report or one line of error, soon and in little memory."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcost.analysis.report import analyze
from archcost.errors import ArchcostError
from archcost.spec.catalog import documents, expand
from archcost.spec.document import read_document
from archcost.spec.source import Source

CASES = 20_000
WORKERS = 8
TEXTS = {document.name: document.source.text for document in documents()}
SPLICES = (
    "10**9", "2**63", "-1", "0", "1e999", "nan", "''", "None", "[]", "{}", "[", "]", "{", "}", ":",
    "- ", "*a", "&a ", "!!python/name:os", "__class__", "().__class__.__bases__", "lambda: 0",
    "in_channels", "in_size", "current", "take(stem)", "* 10**9", "* 20000", "* -1", "if 1", "if",
    "for i in range(10**9)", "for i in range(10000)", "\t", "\n", "\n\n  - ", "\x00", "\u2028",
    "é", "%", "@", "`", "|", ">", "#", "'", '"', "conv(10**9, 1)", "conv(2**52, 2**52)",
    "linear(2**50)", "sum(range(9999))", "9999999999999999999", "0x", "1_000", "~", "? ", "---\n",
)  # fmt: skip


def attempt(text: str, name: str = "hostile.yaml") -> Exception | None:
    """Load and analyse; return the refusal, or None; anything but an ArchcostError escapes."""
    started = time.process_time()
    refusal = None
    try:
        document = read_document(Source(name, text))
        variant = document.models()[0] if document.variants else ""
        report = analyze(expand(document, variant, aux=True))
        assert report.total.params >= 0
    except ArchcostError as error:
        refusal = error
        assert "\n" not in str(error)
        assert str(error)
    assert time.process_time() - started < 2, text
    return refusal


def mutate(rng: random.Random, text: str) -> str:
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        end = min(at + rng.randint(1, 12), len(text))
        lines = text.split("\n")
        row = rng.randrange(len(lines))
        match rng.randrange(8):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + rng.choice(SPLICES) + text[at:]
            case 2:
                text = text[:at] + rng.choice(SPLICES) + text[end:]
            case 3:
                text = "\n".join(lines[:row] + lines[row + 1 :])
            case 4:
                text = "\n".join(lines[: row + 1] + lines[row:])
            case 5:
                other = rng.randrange(len(lines))
                lines[row], lines[other] = lines[other], lines[row]
                text = "\n".join(lines)
            case 6:
                lines[row] = " " * rng.randint(0, 9) + lines[row].strip()
                text = "\n".join(lines)
            case _:
                digits = [i for i, c in enumerate(text) if c.isdigit()]
                if digits:
                    i = rng.choice(digits)
                    text = text[:i] + rng.choice(("0", "-3", "999", "2**40", "1.5")) + text[i + 1 :]
    return text


@pytest.mark.parametrize("worker", range(WORKERS))
def test_mutated_specs_give_a_report_or_one_line(worker: int) -> None:
    """20,000 seeded mutations of the shipped families, over all workers."""
    rng = random.Random(worker)
    names = sorted(TEXTS)
    refused = 0
    for case in range(CASES // WORKERS):
        name = names[(worker + case) % len(names)]
        refused += attempt(mutate(rng, TEXTS[name])) is not None
    assert CASES // WORKERS // 10 < refused < CASES // WORKERS


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_as_layers(text: str) -> None:
    attempt(f"name: n\ninput: 3x8x8\nlayers:\n  - {text}")


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_as_a_file(data: bytes) -> None:
    attempt(data.decode("latin-1"))


HEAD = "name: bomb\ninput: 3x8x8\n"


BOMBS = [
    (HEAD + "layers:\n  - a: relu * 10000 * 10000", "more than 20,000 layers"),
    (HEAD + "layers:\n  - for i in range(10000):\n    - for j in range(10000):\n      - relu", "more than 20,000 layers"),
    (HEAD + "layers:\n  - for i in range(10000):\n    - for j in range(10000):\n      - relu if 0", "more than"),
    (HEAD + "blocks:\n" + "".join(f"  b{i}:\n    - b{i + 1} * 10\n" for i in range(30)) + "  b30: [relu]\nlayers:\n  - b0", "more than"),
    (HEAD + "layers:\n  - conv(2**52, 1)\n  - conv(2**52, 1)", "larger than archcost counts"),
    (HEAD + "layers:\n" + "  - conv(sum(range(9999)) * 0 + 3, 1)\n" * 200, "need more than 500,000 steps"),
    (HEAD + "layers:\n  - conv(" + "(" * 150 + "3" + ")" * 150 + ", 1)", ""),
    (HEAD + "layers:\n  - conv(" + "-" * 1500 + "3, 1)", ""),
    (HEAD + "layers:\n  - " + "x" * 3000, "longer than 2,000 characters"),
    (HEAD + "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nlayers: [relu]", "YAML aliases"),
    ("name: n\ninput: 3x9007199254740992x9007199254740992\nlayers:\n  - conv(9007199254740992, 1)", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), BOMBS)
def test_bombs(text: str, reason: str) -> None:
    refusal = attempt(text)
    assert reason in str(refusal)
    assert refusal is not None or not reason


COMMAND = """
import re, sys
sys.argv[0] = "archcost"
from archcost.cli import main
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print("PEAK", re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_bombs_stay_small(tmp_path: Path) -> None:
    """The whole command: exit code 0 or 2, no traceback, under 300 MB."""
    for i, (text, _) in enumerate(BOMBS):
        (tmp_path / f"{i}.yaml").write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", COMMAND, "table", str(tmp_path / f"{i}.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in (0, 2)
        assert done.stderr.count("\n") <= 1
        assert int(done.stdout.rsplit("PEAK ", 1)[1]) < 300_000  # kB
