"""Which tests run: skipped ones are counted, and a sample has every kind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import conftest
import pytest

from archcost import load
from archcost.spec.catalog import documents

pytest_plugins = ["pytester"]

TESTS = """
import pytest
@pytest.mark.parametrize("i", range({number}))
def test_here(i): pytest.skip("this is a CPU build of PyTorch")
def test_other(): {other}
def test_runs(): pass
"""
RUNS = "assert True"
LACKS = "pytest.importorskip('thopp', reason='thopp is not installed')"


@pytest.mark.parametrize(
    ("number", "other", "options", "code", "line"),
    [
        (1, RUNS, ["--count-skips"], 0, ""),
        (1, LACKS, ["--count-skips"], 1, "1 skipped: thopp is not installed"),
        (1, LACKS, [], 0, ""),
        (2, RUNS, ["--count-skips"], 1, "2 skipped, 1 may be: this is a CPU build of PyTorch"),
        (
            2,
            RUNS,
            ["--count-skips", "-n1"],
            1,
            "2 skipped, 1 may be: this is a CPU build of PyTorch",
        ),
    ],
)
def test_a_skip_too_many_fails(
    pytester: pytest.Pytester, number: int, other: str, options: list[str], code: int, line: str
) -> None:
    source = Path(conftest.__file__).read_text("utf-8")
    pytester.makeconftest(source)
    pytester.makepyfile(TESTS.format(number=number, other=other))
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
    assert done.ret == code
    named = [text for text in done.outlines if "skipped: " in text or "may be: " in text]
    assert named == [line] * bool(line)


def test_a_reason_is_known_as_a_whole() -> None:
    assert conftest.too_many(Counter({"this is a CPU build of PyTorch": 1})) == []
    assert conftest.too_many(Counter({"this is a CPU build of PyTorch or so": 1})) == [
        "1 skipped: this is a CPU build of PyTorch or so"
    ]


@pytest.mark.parametrize(("family", "smaller"), conftest.ALIKE.items())
def test_a_family_of_a_kind_has_all_ops_of_what_it_stands_for(family: str, smaller: str) -> None:
    first = {document.name: document.models()[0] for document in documents()}
    left, taken = load(first[family]), load(first[smaller])
    assert {layer.op.name for layer in left} <= {layer.op.name for layer in taken}
    assert len(taken) < len(left)
    assert smaller not in conftest.ALIKE
