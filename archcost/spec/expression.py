"""The closed subset of Python's expressions that specs use, walked here and never evaluated.

Numbers, strings, names, lists, arithmetic, comparison, ``and or not``, ``x if c else y``, indexing,
and calls to the functions in ``FUNCTIONS``. Anything else is an error at its column.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from archcost.errors import ArchcostError, did_you_mean, shorten
from archcost.spec.values import (
    BINARY,
    COMPARE,
    FUNCTIONS,
    MAX_NUMBER,
    Operand,
    Refused,
    binary,
    bounded,
    compare,
    cut,
    item,
    negative,
    source,
    takes,
    usage,
)

MAX_LENGTH = 2_000
MAX_WORK = 500_000
MAX_NESTING = 50
WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
MISSPELT = {
    "was never closed": "a bracket is not closed",
    "unmatched": "a closing bracket without an opening one",
    "does not match opening": "a closing bracket of another kind than the opening one",
    "unterminated": "a quote is not closed",
    "forgot a comma": "a comma is missing",
    "positional argument follows": "an argument without a name stands after one with a name",
    "instead of '='": "= names an argument; == compares",
    "repeated": "an argument is named twice",
}
"""What Python's parser says of a text, and what is wrong with it."""


class ExpressionError(ArchcostError):
    """A refused expression; ``offset`` counts characters from its start."""

    def __init__(self, reason: str, offset: int = 0) -> None:
        super().__init__(reason)
        self.offset = offset


class Exhausted(ExpressionError):
    """More work than the expressions of a spec may do."""


class Budget:
    """How much work the expressions of one spec may still do; a hostile file ends here."""

    def __init__(self, left: int = MAX_WORK) -> None:
        self.left = left

    def spend(self, amount: int) -> None:
        """Take ``amount`` elementary steps, or refuse."""
        self.left -= amount
        if self.left < 0:
            raise Exhausted(f"the spec's expressions need more than {MAX_WORK:,} steps")


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
        said = [reason for words, reason in MISSPELT.items() if words in (error.msg or "")]
        reason = f"{[*said, 'not an expression'][0]}: {shorten(text)!r}"
        raise ExpressionError(reason, min(offset, len(text))) from None
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
            if type(value) is int and -MAX_NUMBER <= value <= MAX_NUMBER:  # nearly always
                return value
            if value is None or type(value) is bool:
                return value
            if isinstance(value, (list, str)):
                self.budget.spend(len(value))
            return bounded(value)
        except ExpressionError:
            raise
        except Refused as error:
            raise ExpressionError(str(error), node.col_offset) from None
        except (TypeError, ValueError, ArithmeticError, LookupError):  # of a function of claims
            raise ExpressionError(f"{source(node)} cannot be computed", node.col_offset) from None

    def _value(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.Constant(value=value):
                if isinstance(value, (bool, int, float, str)) or value is None:
                    return value
                raise ExpressionError(f"{source(node)} is not a value here", node.col_offset)
            case ast.Name(id=name):
                return self._name(name, node.col_offset)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self(item, depth) for item in items]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return negative(self._operand(operand, depth))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return -negative(self._operand(operand, depth))
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
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in BINARY:
                return binary(type(sign), self._operand(left, depth), self._operand(right, depth))
            case ast.Compare(left=left, ops=signs, comparators=others):
                return self._compare(left, signs, others, depth)
            case ast.Subscript(value=items, slice=ast.Slice(lower=low, upper=high, step=None)):
                bounds = [self._operand(bound, depth) if bound else None for bound in (low, high)]
                return cut(self._operand(items, depth), bounds)
            case ast.Subscript(value=items, slice=index) if not isinstance(index, ast.Slice):
                return item(self._operand(items, depth), self._operand(index, depth))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in self.functions:
                return self._call(name, [self(arg, depth) for arg in args])
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                reason = f"{name} takes no named arguments"
                raise ExpressionError(reason, node.col_offset)
            case ast.Call(func=ast.Name(id=name)):
                hint = did_you_mean(name, self.functions)
                raise ExpressionError(f"no function {shorten(name)!r} here{hint}", node.col_offset)
            case ast.Attribute():
                raise ExpressionError("attributes are not part of expressions", node.col_offset)
        raise ExpressionError(f"{source(node)} is not part of expressions", node.col_offset)

    def _operand(self, node: ast.expr, depth: int) -> Operand:
        return Operand(node, self(node, depth))

    def _call(self, name: str, args: list[Any]) -> Any:
        function = self.functions[name]
        try:
            return function(*args)
        except TypeError:
            if takes(function, len(args)):
                raise
            raise Refused(
                f"{name} is written {usage(name, function)}; got {len(args)} values"
            ) from None

    def _name(self, name: str, offset: int) -> Any:
        if name in WORDS:
            return WORDS[name]
        try:
            return self.names(name)
        except KeyError as error:
            hint = did_you_mean(name, error.args[0])
            raise ExpressionError(f"unknown name {shorten(name)!r}{hint}", offset) from None

    def _compare(
        self, left: ast.expr, signs: list[ast.cmpop], others: list[ast.expr], depth: int
    ) -> bool:
        operand = self._operand(left, depth)
        for sign, other in zip(signs, others, strict=True):
            if type(sign) not in COMPARE:
                raise ExpressionError("`is` is not part of expressions; use ==", left.col_offset)
            following = self._operand(other, depth)
            if not compare(type(sign), operand, following):
                return False
            operand = following
        return True


def literal(text: str) -> Any:
    """Return the value of an expression without names; a bare word is a string.

    Raises:
        ExpressionError: as :class:`Evaluator`.
    """
    return Evaluator(lambda word: word)(parse(text))
