"""The expressions of specs: Python's values for the subset, a message for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcost.spec.expression import Budget, Evaluator, ExpressionError, literal, parse
from archcost.spec.values import make_divisible

NAMES = {"width": 64, "depths": [3, 4, 6, 3], "ratio": 0.25, "block": "basic"}


def names(name: str) -> object:
    if name not in NAMES:
        raise KeyError(list(NAMES))
    return NAMES[name]


def value(text: str) -> object:
    return Evaluator(names)(parse(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width * 4 // 3", 85),
        ("-width % 7", 6),
        ("2 ** 5", 32),
        ("width / 128", 0.5),
        ("depths[1] + depths[-1]", 7),
        ("depths[1:]", [4, 6, 3]),
        ("sum(depths) * 3 + 2", 50),
        ("1 < width <= 64 and not False", True),
        ("0 or width", 64),
        ("width and 0", 0),
        ("1 if width == 64 else 2", 1),
        ("3 in depths", True),
        ("make_divisible(width * ratio * 1.3, 8)", 24),
        ("ceil(2.1) + floor(2.9) + round(2.5)", 7),
        ("len(range(5)) + max(depths) + min(1, 2)", 12),
        ("enumerate([5, 6])", [[0, 5], [1, 6]]),
        ("zip([1, 2], [3, 4])", [[1, 3], [2, 4]]),
        ("[1] * 3 + [2]", [1, 1, 1, 2]),
        ("block", "basic"),
        ("true", True),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("widht", "unknown name 'widht'; did you mean 'width'?"),
        ("width.real", "attributes are not part of expressions"),
        ("().__class__", "attributes are not part of expressions"),
        ("__import__('os')", "no function '__import__' here"),
        ("eval('1')", "no function 'eval' here"),
        ("(lambda: 1)()", "(lambda: 1)() is not part of expressions"),
        ("[x for x in depths]", "[x for x in depths] is not part of expressions"),
        ("{1: 2}", "{1: 2} is not part of expressions"),
        ("f'{width}'", "f'{width}' is not part of expressions"),
        ("width << 2", "width << 2 is not part of expressions"),
        ("depths[::2]", "depths[::2] is not part of expressions"),
        ("1 is 1", "`is` is not part of expressions; use =="),
        ("1 +", "not an expression: '1 +'"),
        ("1 / 0", "division by zero"),
        ("9 ** 99", "a power beyond 2**32 ** 64"),
        ("2 ** 60", "a number larger than 2**53"),
        ("1e308 * 10", "not a finite number"),
        ("(-1) ** 0.5", "not a real number"),
        ("range(10 ** 9)", "range of 1,000,000,000 is longer than 10,000"),
        ("[0] * 10 ** 9", "longer than 10,000 items"),
        ("(width * [3]", "a bracket is not closed: '(width * [3]'"),
        ("width)", "a closing bracket without an opening one: 'width)'"),
        ("'width", "a quote is not closed"),
        ("'a' * 10", "* needs numbers; 'a' is a word"),
        ("depths * 1.5", "* needs numbers; depths is [3, 4, 6, 3]; one of its numbers is depths[0]"),
        ("depths[9]", "depths has no item 9; its items are 0 to 3"),
        ("[][0]", "[] has no item 0; it is empty"),
        ("depths['a']", "an index is a whole number; 'a' is a word"),
        ("width[0]", "only a list has an index; width is 64"),
        ("width[1:]", "only a list can be sliced; width is 64"),
        ("depths[ratio:]", "slices of a list need whole numbers; ratio is 0.25"),
        ("width + block", "+ needs numbers; block is 'basic'"),
        ("null - true", "- needs numbers; null is null"),
        ("-depths", "- needs a number; depths is [3, 4, 6, 3]"),
        ("depths // 2", "// needs numbers; depths is [3, 4, 6, 3]; one of its numbers is depths[0]"),
        ("depths > 2", "> compares numbers; depths is [3, 4, 6, 3]; one of its numbers is depths[0]"),
        ("depths == 3", "== compares a list with a number; depths is [3, 4, 6, 3]"),
        ("3 != depths", "!= compares a list with a number; depths is [3, 4, 6, 3]"),
        ("block < 3", "< compares numbers; block is 'basic'"),
        ("3 in width", "in needs a list on its right; width is 64"),
        ("max(depths, 3)", "max needs a number; got [3, 4, 6, 3]"),
        ("min([])", "min needs a number at least"),
        ("max()", "max needs a number at least"),
        ("sum(3)", "sum needs a list; got 3"),
        ("len(3)", "len needs a list; got 3"),
        ("len()", "len is written len(items); got 0 values"),
        ("int(block)", "int needs a number; got 'basic'"),
        ("range(1, 2, 3, 4)", "range is written range(start, stop=null, step=1); got 4 values"),
        ("range(1, 9, 0)", "range needs a step other than 0"),
        ("range(2.5)", "range needs whole numbers; got 2.5"),
        ("round(stop=3)", "round takes no named arguments"),
        ("zip([1], [2, 3])", "zip needs lists of the same length; got 1, 2 items"),
        ("make_divisible(3, 0)", "make_divisible needs a divisor of at least 1; got 0"),
        ("size(width)", "size needs a layer's name; got 64"),
        ("2.0 ** 64 ** 2", "a power beyond 2**32 ** 64"),
        ("1j", "1j is not a value here"),
        ("b'x'", "b'x' is not a value here"),
    ],
)  # fmt: skip
def test_refusals(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as error:
        value(text)
    assert str(error.value).startswith(reason)


def test_the_column_of_an_error() -> None:
    with pytest.raises(ExpressionError) as error:
        value("1 + widht")
    assert error.value.offset == 4


def test_a_spent_budget_ends_the_work() -> None:
    evaluator = Evaluator(names, Budget(100))
    with pytest.raises(ExpressionError, match="need more than 500,000 steps"):
        for _ in range(100):
            evaluator(parse("sum(range(50))"))


def test_a_trailing_condition_is_an_item_that_may_be_left_out() -> None:
    assert value("3 if width > 100") is None
    assert value("3 if width > 10") == 3


@pytest.mark.parametrize(
    ("width", "expected"), [(32 * 0.35, 16), (24 * 0.5, 16), (96 * 0.75, 72), (3, 8), (0.9 * 8, 8)]
)
def test_make_divisible(width: float, expected: int) -> None:
    """Never more than 10 % below the width: 11.2 -> 8 would be, so 16."""
    assert make_divisible(width, 8) == expected


@given(st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_gives_a_value_or_a_refusal(text: str) -> None:
    try:
        literal(text)
    except ExpressionError as error:
        assert "\n" not in str(error) or str(error)
