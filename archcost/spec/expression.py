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
from archcost.units import number_of

MAX_LENGTH = 2_000
MAX_WORK = 500_000
MAX_NESTING = 50
WHOLE = (ast.Add, ast.Sub, ast.Mult)
"""The operators that take all whole numbers."""
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
        rule = FORMS.get(type(node))
        if rule is None:
            raise self._no_part(node)
        return rule(self, node, depth)

    def _no_part(self, node: ast.expr) -> ExpressionError:
        return ExpressionError(f"{source(node)} is not part of expressions", node.col_offset)

    def _constant(self, node: ast.Constant, depth: int) -> Any:
        if isinstance(node.value, (bool, int, float, str)) or node.value is None:
            return node.value
        raise ExpressionError(f"{source(node)} is not a value here", node.col_offset)

    def _list(self, node: ast.List | ast.Tuple, depth: int) -> list[Any]:
        return [self(item, depth) for item in node.elts]

    def _unary(self, node: ast.UnaryOp, depth: int) -> Any:
        if isinstance(node.op, ast.Not):
            return not self(node.operand, depth)
        if isinstance(node.op, ast.Invert):
            raise self._no_part(node)
        value = negative(self._operand(node.operand, depth))
        return value if isinstance(node.op, ast.USub) else -value

    def _either(self, node: ast.BoolOp, depth: int) -> Any:
        for child in node.values:  # Python's rule: the operand that decides is the value
            value = self(child, depth)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _choice(self, node: ast.IfExp, depth: int) -> Any:
        return self(node.body if self(node.test, depth) else node.orelse, depth)

    def _binary(self, node: ast.BinOp, depth: int) -> Any:
        if type(node.op) not in BINARY:
            raise self._no_part(node)
        left, right = self(node.left, depth), self(node.right, depth)
        if type(left) is type(right) is int and isinstance(node.op, WHOLE):
            return BINARY[type(node.op)][1](left, right)
        return binary(type(node.op), Operand(node.left, left), Operand(node.right, right))

    def _part(self, node: ast.Subscript, depth: int) -> Any:
        index = node.slice
        if not isinstance(index, ast.Slice):
            return item(self._operand(node.value, depth), self._operand(index, depth))
        if index.step is not None:
            raise self._no_part(node)
        bounds = [index.lower, index.upper]
        operands = [self._operand(bound, depth) if bound else None for bound in bounds]
        return cut(self._operand(node.value, depth), operands)

    def _function(self, node: ast.Call, depth: int) -> Any:
        if not isinstance(node.func, ast.Name):
            raise self._no_part(node)
        name = node.func.id
        if name not in self.functions:
            hint = did_you_mean(name, self.functions)
            raise ExpressionError(f"no function {shorten(name)!r} here{hint}", node.col_offset)
        if node.keywords:
            raise ExpressionError(f"{name} takes no named arguments", node.col_offset)
        return self._call(name, [self(arg, depth) for arg in node.args])

    def _attribute(self, node: ast.Attribute, depth: int) -> Any:
        raise ExpressionError("attributes are not part of expressions", node.col_offset)

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
                f"{name} is written {usage(name, function)}; got {number_of(len(args), 'value')}"
            ) from None

    def _name(self, node: ast.Name, depth: int) -> Any:
        if node.id in WORDS:
            return WORDS[node.id]
        try:
            return self.names(node.id)
        except KeyError as error:
            hint = did_you_mean(node.id, error.args[0])
            reason = f"unknown name {shorten(node.id)!r}{hint}"
            raise ExpressionError(reason, node.col_offset) from None

    def _compare(self, node: ast.Compare, depth: int) -> bool:
        operand = self._operand(node.left, depth)
        for sign, other in zip(node.ops, node.comparators, strict=True):
            if type(sign) not in COMPARE:
                reason = "`is` is not part of expressions; use =="
                raise ExpressionError(reason, node.left.col_offset)
            following = self._operand(other, depth)
            if not compare(type(sign), operand, following):
                return False
            operand = following
        return True


FORMS: Mapping[type[ast.expr], Callable[[Evaluator, Any, int], Any]] = {
    ast.Constant: Evaluator._constant,
    ast.Name: Evaluator._name,
    ast.List: Evaluator._list,
    ast.Tuple: Evaluator._list,
    ast.UnaryOp: Evaluator._unary,
    ast.BoolOp: Evaluator._either,
    ast.IfExp: Evaluator._choice,
    ast.BinOp: Evaluator._binary,
    ast.Compare: Evaluator._compare,
    ast.Subscript: Evaluator._part,
    ast.Call: Evaluator._function,
    ast.Attribute: Evaluator._attribute,
}
"""What computes each form of an expression; other forms are not part of the language."""


def literal(text: str) -> Any:
    """Return the value of an expression without names; a bare word is a string.

    Raises:
        ExpressionError: as :class:`Evaluator`.
    """
    return Evaluator(lambda word: word)(parse(text))
