"""The closed subset of Python's expressions that specs use, walked here and never evaluated.

Numbers, strings, names, lists, arithmetic, comparison, ``and or not``, ``x if c else y``, indexing,
and calls to the functions in ``FUNCTIONS``. Anything else is an error at its column.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from archcost.errors import ArchcostError, did_you_mean, shorten

MAX_NUMBER = 2**53
MAX_ITEMS = 10_000
MAX_LENGTH = 2_000
MAX_WORK = 500_000
MAX_NESTING = 50


class ExpressionError(ArchcostError):
    """A refused expression; ``offset`` counts characters from its start."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.offset = offset


class Budget:
    """How much work the expressions of one spec may still do; a hostile file ends here."""

    def __init__(self, left: int = MAX_WORK) -> None:
        self.left = left

    def spend(self, amount: int) -> None:
        """Take ``amount`` elementary steps, or refuse."""
        self.left -= amount
        if self.left < 0:
            raise ExpressionError(f"the spec's expressions need more than {MAX_WORK:,} steps")


def make_divisible(value: float, divisor: int = 8, minimum: int | None = None) -> int:
    """Round to a multiple of ``divisor``, at least ``minimum``, at most 10 % below ``value``.

    The channel rounding of MobileNet and EfficientNet (Sandler et al. 2018).
    """
    floor = divisor if minimum is None else minimum
    rounded = max(floor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _shape_of(tensor: Any) -> tuple[int, ...]:
    if not hasattr(tensor, "shape"):
        raise TypeError(f"not a layer's name: {shorten(tensor)}")
    shape: tuple[int, ...] = tensor.shape
    return shape


def common_size(shape: tuple[int, ...]) -> int | list[int]:
    """Return the spatial size: one number if all axes agree, else a list."""
    if len(shape) < 2:
        raise ValueError("the tensor has no spatial size")
    return shape[1] if len(set(shape[1:])) == 1 else list(shape[1:])


def _bounded_range(*args: int) -> list[int]:
    numbers = range(*args)
    if len(numbers) > MAX_ITEMS:
        raise ValueError(f"range of {len(numbers):,} is longer than {MAX_ITEMS:,}")
    return list(numbers)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "min": min,
    "max": max,
    "len": len,
    "sum": sum,
    "int": int,
    "range": _bounded_range,
    "enumerate": lambda items, start=0: [list(pair) for pair in enumerate(items, start)],
    "zip": lambda *lists: [list(row) for row in zip(*lists, strict=True)],
    "make_divisible": make_divisible,
    "channels": lambda tensor: _shape_of(tensor)[0],
    "size": lambda tensor: common_size(_shape_of(tensor)),
}
"""What an expression may call. ``round`` is Python's: halves go to the even number."""

_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_COMPARE: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}


@lru_cache(maxsize=4096)
def parse(text: str) -> ast.expr:
    """Parse an expression, or an item with a trailing ``if condition``.

    The tree is shared between callers and must not be changed.

    Raises:
        ExpressionError: not an expression, or longer than 2,000 characters.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"longer than {MAX_LENGTH:,} characters")
    try:
        return _parse(text)
    except SyntaxError as error:
        if " if " in text:  # `call if condition` is an item that may be left out
            try:
                return _parse(text + " else None")
            except SyntaxError:
                pass
        offset = max((error.offset or 1) - 1, 0)
        reason = error.msg if error.msg not in ("invalid syntax", None) else "not an expression"
        raise ExpressionError(f"{reason}: {shorten(text)!r}", min(offset, len(text))) from None
    except (ValueError, RecursionError, MemoryError, OverflowError):  # NUL, depth, digits
        raise ExpressionError(f"not an expression: {shorten(text)!r}") from None


def _parse(text: str) -> ast.expr:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `1if x` and the like warn; the walk decides
        return ast.parse(text, mode="eval").body


class Evaluator:
    """Evaluates parsed expressions with a spec's names, within a budget.

    ``names(name)`` gives a name's value and raises ``KeyError(valid names)`` for an unknown one;
    ``functions`` are what an expression may call.
    """

    def __init__(
        self,
        names: Callable[[str], Any],
        budget: Budget | None = None,
        functions: Mapping[str, Callable[..., Any]] = FUNCTIONS,
    ) -> None:
        self.names = names
        self.budget = budget or Budget()
        self.functions = functions

    def __call__(self, node: ast.expr, depth: int = 0) -> Any:
        """Return the value of an expression.

        Raises:
            ExpressionError: a form outside the subset, a type that does not fit, a number too
                large, or a spent budget.
        """
        self.budget.spend(1)
        if depth > MAX_NESTING:
            raise ExpressionError(f"nested deeper than {MAX_NESTING}", node.col_offset)
        try:
            value = self._value(node, depth + 1)
            if isinstance(value, (list, str)):
                self.budget.spend(len(value))
            return bounded(value)
        except ExpressionError:
            raise
        except (TypeError, ValueError, ArithmeticError, IndexError) as error:
            raise ExpressionError(str(error) or type(error).__name__, node.col_offset) from None

    def _value(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.Constant(value=value):
                if isinstance(value, (bool, int, float, str)) or value is None:
                    return value
                raise ExpressionError(f"{type(value).__name__} is no value here", node.col_offset)
            case ast.Name(id=name):
                return self._name(name, node.col_offset)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self(item, depth) for item in items]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self(operand, depth)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return +self(operand, depth)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self(operand, depth)
            case ast.BoolOp(op=connective, values=values):
                for child in values:  # Python's rule: the operand that decides is the value
                    value = self(child, depth)
                    if bool(value) is isinstance(connective, ast.Or):
                        break
                return value
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self(body if self(test, depth) else orelse, depth)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
                return _binary(type(sign), self(left, depth), self(right, depth))
            case ast.Compare(left=left, ops=signs, comparators=others):
                return self._compare(left, signs, others, depth)
            case ast.Subscript(value=items, slice=ast.Slice(lower=low, upper=high, step=None)):
                cut = slice(low and self(low, depth), high and self(high, depth))
                return self(items, depth)[cut]
            case ast.Subscript(value=items, slice=index):
                return self(items, depth)[self(index, depth)]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in self.functions:
                return self.functions[name](*[self(arg, depth) for arg in args])
            case ast.Call(func=ast.Name(id=name)):
                hint = did_you_mean(name, self.functions)
                raise ExpressionError(f"no function {shorten(name)!r} here{hint}", node.col_offset)
            case ast.Attribute():
                raise ExpressionError("attributes are not part of expressions", node.col_offset)
        form = type(node).__name__
        raise ExpressionError(f"{form} is not part of expressions", node.col_offset)

    def _name(self, name: str, offset: int) -> Any:
        if name in WORDS:
            return WORDS[name]
        try:
            return self.names(name)
        except KeyError as error:
            hint = did_you_mean(name, [*error.args[0], *self.functions])
            raise ExpressionError(f"unknown name {shorten(name)!r}{hint}", offset) from None

    def _compare(
        self, left: ast.expr, signs: list[ast.cmpop], others: list[ast.expr], depth: int
    ) -> bool:
        value = self(left, depth)
        for sign, other in zip(signs, others, strict=True):
            if type(sign) not in _COMPARE:
                raise ExpressionError("`is` is not part of expressions; use ==", left.col_offset)
            following = self(other, depth)
            if not _COMPARE[type(sign)](value, following):
                return False
            value = following
        return True


def bounded(value: Any) -> Any:
    """Return a value that is finite and not too large, or raise ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_NUMBER:
        raise ValueError("a number larger than 2**53")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(value, complex):
        raise ValueError("not a real number")
    if isinstance(value, (list, str)) and len(value) > MAX_ITEMS:
        raise ValueError(f"longer than {MAX_ITEMS:,} items")
    return value


def _binary(sign: type, left: Any, right: Any) -> Any:
    if sign is ast.Mult and (isinstance(left, (str, list)) or isinstance(right, (str, list))):
        items, times = (left, right) if isinstance(left, (str, list)) else (right, left)
        if not isinstance(items, list) or not isinstance(times, int):
            raise TypeError("only numbers are multiplied, and lists by whole numbers")
        if len(items) * times > MAX_ITEMS:
            raise ValueError(f"longer than {MAX_ITEMS:,} items")
        return items * times
    if sign is ast.Pow:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if not numbers or abs(right) > 64 or abs(left) > 2**32:
            raise ValueError("a power beyond 2**32 ** 64")
    if sign is ast.Mod and isinstance(left, str):
        raise TypeError("% is for numbers")
    return _BINARY[sign](left, right)


def literal(text: str) -> Any:
    """Return the value of an expression without names; a bare word is a string.

    Raises:
        ExpressionError: as :class:`Evaluator`.
    """
    return Evaluator(lambda word: word)(parse(text))
