"""Broken and hostile specs: a report or one line of error, soon and in little memory."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers import SOON
from hypothesis import given, settings
from hypothesis import strategies as st

from archcost.analysis.report import analyze
from archcost.errors import ArchcostError
from archcost.network import Layer
from archcost.ops import OPS
from archcost.performance.bounds import least_macs
from archcost.spec.catalog import documents, expand
from archcost.spec.document import read_document
from archcost.spec.source import Source
from archcost.spec.values import FUNCTIONS

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
        assert all(line.startswith(name) for line in str(error).split("\n"))
    assert time.process_time() - started < SOON, text
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


def parts(number: int) -> list[Any]:
    """Return the parts of a long proof; all but the first are slow."""
    return [pytest.param(i, marks=[pytest.mark.slow] * (i > 0)) for i in range(number)]


@pytest.mark.parametrize("worker", parts(WORKERS))
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
    ("name: n\ninput: 3x900719925x2\nlayers:\n  - conv(1, 900719925, padding=900719925)", ""),
    ("name: n\ninput: 3x900719925x2\nlayers:\n  - conv_transpose(1, 3, stride=2, padding=1)", ""),
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


# No message speaks Python.

PYTHONS_WORDS = re.compile(
    r"'(int|float|str|list|tuple|bool|dict|set|function|type|NoneType|Fraction|Tensor|Unknown)'"
    r"|unsupported operand|not subscriptable|not iterable|not callable|object is|object has"
    r"|(list|string|tuple) index|indices must|must be (str|int|real|integer)|not supported between"
    r"|positional argument|keyword argument|unexpected keyword|to unpack|invalid literal|math domain"
    r"|invalid syntax|was never closed|cannot be interpreted|can only concatenate|argument of type"
    r"|iterable|\bNone\b|NoneType|[A-Z]\w+Error|\b(BinOp|ListComp|JoinedStr|Subscript)\b|<.* at 0x"
)
HEAD_OF_VALUES = """\
name: values
input: {shape}
knobs: {{n: 3, r: 0.25, words: [relu, tanh], rows: [[1, 2], [3, 4]], word: relu, no: null, yes: true}}
blocks:
  pair(a, b=2): conv(a, b) >> relu
layers:
  - x: identity
"""
LEAVES = (
    "0", "1", "2", "3", "-1", "0.5", "1e300", "true", "null", "n", "r", "words", "rows", "word", "no",
    "yes", "x", "current", "in_size", "in_channels", "'same'", "'a'", "[]", "[1, 'a']", "i", "pair",
    "relu", "nothing", "2**53", "size(x)", "channels(x)",
)  # fmt: skip
SIGNS = ("+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "is")  # fmt: skip


def expression(rng: random.Random, depth: int = 0) -> str:
    """Return an expression that may or may not have a value."""

    def part() -> str:
        return expression(rng, depth + 1)

    match rng.randrange(4 if depth > 2 else 12):
        case 0 | 1 | 2 | 3:
            return rng.choice(LEAVES)
        case 4 | 5:
            return f"({part()} {rng.choice(SIGNS)} {part()})"
        case 6:
            return f"{rng.choice(('-', '+', 'not '))}{part()}"
        case 7:
            return f"[{', '.join(part() for _ in range(rng.randrange(4)))}]"
        case 8:
            return f"{part()}[{part()}]"
        case 9:
            return f"{part()}[{rng.choice((part(), ''))}:{rng.choice((part(), ''))}]"
        case 10:
            return f"({part()} if {part()} else {part()})"
        case _:
            name = rng.choice((*FUNCTIONS, "sqrt"))
            return f"{name}({', '.join(part() for _ in range(rng.randrange(4)))})"


def item(rng: random.Random) -> str:
    """Return an item of a spec with expressions in it, on the lines of its own."""
    names = [name for op in OPS.values() for name in op.arguments]

    def call() -> str:
        args = [expression(rng, 1) for _ in range(rng.randrange(4))]
        for _ in range(rng.randrange(3)):
            args.append(f"{rng.choice(names)}={expression(rng, 1)}")
        name = rng.choice((*OPS, "pair", "take", "word", "words[0]", "in_size"))
        return f"{name}({', '.join(args)})"

    quoted = json.dumps
    match rng.randrange(8):
        case 0:
            return f"  - let: {{y: {quoted(expression(rng))}}}"
        case 1:
            return f"  - {quoted(f'for i in {expression(rng)}')}:\n      - {quoted(call())}"
        case 2:
            return f"  - {quoted(f'for i, j in {expression(rng)}')}:\n      - relu"
        case 3:
            return f"  - {quoted(f'if {expression(rng)}')}:\n      - {quoted(call())}"
        case 4:
            return f"  - {quoted(f'{call()} * {expression(rng)}')}"
        case 5:
            return f"  - {quoted(f'{call()} if {expression(rng)} else {call()}')}"
    return f"  - {quoted(call())}"


@pytest.mark.parametrize("seed", parts(4))
def test_no_message_speaks_python(seed: int) -> None:
    """Expressions over values of every kind, at every place, on maps of every shape."""
    rng = random.Random(seed)
    refused = Counter()
    for _ in range(2_000):
        shape = "x".join(str(rng.choice((1, 2, 3, 8))) for _ in range(rng.randint(1, 5)))
        text = HEAD_OF_VALUES.format(shape=shape) + "\n".join(item(rng) for _ in range(2))
        if refusal := attempt(text):
            assert not PYTHONS_WORDS.search(str(refusal)), f"{refusal}\n{text}"
            refused[re.sub(r"[\d'\"].*", "", str(refusal).split(": ", 1)[1])] += 1
    assert sum(refused.values()) > 1_000


@pytest.mark.parametrize("words", ["'int' object is not subscriptable", "list index out of range",
    "unsupported operand type(s) for +: 'int' and 'str'", "got None", "KeyError: 'x'"])  # fmt: skip
def test_pythons_words_would_be_seen(words: str) -> None:
    assert PYTHONS_WORDS.search(words)


def test_the_least_work_of_a_huge_map_is_found_soon() -> None:
    conv = OPS["conv"].create([1, 3], {"padding": 1})
    started = time.process_time()
    few, many = (Layer.alone(conv, (3, 90, n)) for n in (90, 2**30))
    assert 0 < least_macs(few) < least_macs(many) < many.cost.macs
    assert time.process_time() - started < SOON
