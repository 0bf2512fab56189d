"""How the items of a spec are read: expressions, bounds, and what a mistake leaves unknown."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from archcost.builder import NAMES, Builder, is_name, join
from archcost.errors import Mistakes, OpError, SpecError, did_you_mean, shorten, written
from archcost.network import Value, maker
from archcost.number import pinned
from archcost.ops import OPS
from archcost.series import Unfolded
from archcost.spec import source as yaml
from archcost.spec.document import RESERVED, Block, Document
from archcost.spec.expression import Budget, Evaluator, Exhausted, ExpressionError, parse
from archcost.spec.scope import UNKNOWN, Scope, Skipped
from archcost.spec.values import FUNCTIONS, MAX_NUMBER, Refused, spatial_size
from archcost.units import number_of

MAX_STEPS = 100_000
MAX_NESTING = 50
MAX_MISTAKES = 100
IN_BRACES = re.compile(r"\{([^{}]+)\}")
WORD = re.compile(r"\w*(?:\{[^{}]+\}\w*)+")
"""A name that is made of values."""
QUICK = frozenset({int, float, bool})
"""The types of values that need no look at the budget or the scopes around."""


class TooLarge(SpecError):
    """A spec that is beyond the bounds: nothing after it is looked at."""


class Reading:
    """Reads the items of one document, within its bounds, and keeps the mistakes."""

    def __init__(self, document: Document, values: Mapping[str, Any]) -> None:
        self.document = document
        self.values = dict(values)
        self.around = Scope("", self.values)
        """What a block sees of the network: its values, and none of its layers."""
        self.builder = Builder()
        self.source = document.source
        self.mistakes = Mistakes(document.mistakes)
        self.budget = Budget()
        self.steps = 0
        self.uses = 0  # of shared items
        self._spliced: dict[Any, bool] = {}
        self._numbers: dict[str, int] = {}
        self.results: dict[str, str] = {}  # the tensor after each group or layer with a name

    def _kept(
        self, node: yaml.Node | None, scope: Scope, expand: Callable[..., Any], *parts: Any
    ) -> Any:
        """Return what ``expand`` gives; after a mistake go on, with what depends on it unknown.

        ``node`` is the item, whose names are then names of something unknown.
        """
        try:
            return expand(*parts)
        except SpecError as error:
            self.mistakes.append(error)
            if isinstance(error, TooLarge) or len(self.mistakes) > MAX_MISTAKES:
                raise
        except Skipped:
            assert self.mistakes, "a part was left out without a mistake"
        for name in named_in(node):
            scope.values[name] = UNKNOWN
        return UNKNOWN

    def evaluate(
        self, node: yaml.Scalar, text: str, scope: Scope, current: Value, offset: int = 0
    ) -> Any:
        """Return the value of an expression in a scope."""
        tree = self._tree(node, text, scope, current, offset)
        return self._evaluated(node, tree, scope, current, offset)

    def _tree(
        self, node: yaml.Scalar, text: str, scope: Scope, current: Value, offset: int = 0
    ) -> ast.expr:
        """Return the tree of an expression, with the values in it that names are made of."""
        text = self._filled(node, text, scope, current) if "{" in text else text
        return self._parse(node, text, scope, offset)

    def _parse(
        self, node: yaml.Scalar, text: str, scope: Scope | None, offset: int = 0
    ) -> ast.expr:
        try:
            return parse(text)
        except ExpressionError as error:
            raise self._error(node, scope, str(error), error.offset + offset) from None

    def _evaluated(
        self, node: yaml.Scalar, tree: ast.expr, scope: Scope, current: Value, offset: int = 0
    ) -> Any:
        value: Any = None
        if type(tree) is ast.Constant:
            value = tree.value
        elif type(tree) is ast.Name:
            value = scope.value(tree.id)
        if type(value) in QUICK and -MAX_NUMBER <= value <= MAX_NUMBER:  # most by far
            self.budget.spend(1)
            return value
        evaluator = Evaluator(self._names(scope, current), self.budget)
        try:
            return evaluator(tree)
        except ExpressionError as error:
            kind = TooLarge if isinstance(error, Exhausted) else SpecError
            raise self._error(node, scope, str(error), error.offset + offset, kind) from None

    def _names(self, scope: Scope, current: Value) -> Callable[[str], Any]:
        def find(name: str) -> Any:
            if current is UNKNOWN and name in ("in_channels", "in_size", "current"):
                raise Skipped
            if name == "in_channels":
                return current.shape[0]
            if name == "in_size":
                return spatial_size(current.shape)
            if name == "current":
                return current
            try:
                return scope.find(name)
            except KeyError:
                if name in self.document.blocks or name in OPS or name in self.document.broken:
                    return name  # a block or op passed as an argument
                places, path = self.builder.places, join(scope.group, name)
                if self.builder.has(path) and path not in self.results:
                    line = places[path].line
                    reason = f"{name} is the layer of line {line}, which has no name yet"
                    raise Refused(f"{reason}; write `{name}: ...` there") from None
                for path, place in places.items():
                    if path.endswith(f".{name}"):
                        group = path.removesuffix(f".{name}")
                        where = f"set in line {place.line}, in {group}"
                        reason = f"{name} is {where}, and not seen here"
                        raise Refused(reason) from None
                if set_in := self.document.named.get(name):
                    raise Refused(f"{name} is set in line {set_in}, and not seen here") from None
                here = ["in_channels", "in_size", "current", *self.document.blocks]
                raise KeyError([*scope.visible(), *here]) from None

        return find

    def _step(self, node: yaml.Node, scope: Scope) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self._error(
                node, scope, f"the spec expands to more than {MAX_STEPS:,} items", kind=TooLarge
            )
        if scope.depth > MAX_NESTING:
            reason = f"nested deeper than {MAX_NESTING}; does a block call itself?"
            raise self._error(node, None, reason, kind=TooLarge)  # whose path fills the screen

    def _bind(
        self, node: yaml.Scalar, block: Block, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Value,
    ) -> dict[str, Any]:  # fmt: skip
        names = [param for param, _ in block.params]
        if len(args) > len(names):
            raise self._error(
                node,
                scope,
                f"{block.name} takes {number_of(len(names), 'argument')}; got {len(args)}",
            )
        values = dict(zip(names, args, strict=False))
        for key, value in kwargs.items():
            if key not in names:
                raise self._error(
                    node, scope, f"{block.name} has no parameter {key!r}{did_you_mean(key, names)}"
                )
            if key in values:
                raise self._error(node, scope, f"{block.name} got {key} twice")
            values[key] = value
        for param, default in block.params:
            if param not in values:
                if default is None:
                    raise self._error(node, scope, f"{block.name} needs {param}")
                defaults = Scope("", dict(values), outer=self.around)
                values[param] = self._evaluated(block.node, default, defaults, current)
        return values

    def _is_spliced(self, block: Block, values: Mapping[str, Any]) -> bool:
        """Whether a block that is called with these values is a chain; see :meth:`_is_chain`."""
        words = [(name, value) for name, value in values.items() if type(value) is str]
        key = (block.name, *words)  # of the values, only the names of ops and blocks matter
        if key not in self._spliced:
            self._spliced[key] = self._is_chain(block.body, values)
        return self._spliced[key]

    def _is_chain(self, node: yaml.Node, values: Mapping[str, Any], depth: int = 0) -> bool:
        """Whether a block is a plain chain of unnamed layers, which is spliced into its place."""
        if depth > MAX_NESTING:
            return False
        if isinstance(node, yaml.Sequence):
            return all(self._is_chain(item, values, depth + 1) for item in node.items)
        if isinstance(node, yaml.Mapping):
            return all(
                key == "let"
                or (key.split(" ")[0] in ("for", "if") and self._is_chain(body, values, depth + 1))
                for key, (_, body) in node.entries.items()
            )
        tree = self._parse(node, IN_BRACES.sub("0", node.text), None)
        for callee in callees(tree):
            named = values.get(callee, self.values.get(callee))
            block = self.document.blocks.get(named if isinstance(named, str) else callee)
            if block and not block.shared and not self._is_chain(block.body, {}, depth + 1):
                return False
        return True

    def _makes_tensor(self, arg: ast.expr, around: ast.expr) -> bool:
        """Whether an argument is a chain or a call of an op; ``max`` is one in a merge only."""
        if isinstance(arg, ast.BinOp):
            return isinstance(arg.op, ast.RShift)
        if isinstance(arg, ast.IfExp):
            return any(self._makes_tensor(part, around) for part in (arg.body, arg.orelse))
        if not isinstance(arg, ast.Call) or not isinstance(arg.func, ast.Name):
            return False
        name = arg.func.id
        if name in FUNCTIONS and not (isinstance(around, ast.Name) and is_merge(around.id)):
            return False
        return name in OPS or name in self.document.blocks or name == "take"

    def _written_out(self, key: yaml.Scalar, scope: Scope, current: Value) -> yaml.Scalar:
        """Return a name with the values in it, as ``stage{i}`` in a loop over ``i``."""
        if "{" not in key.text:
            return key
        name = self._filled(key, key.text, scope, current, columns=False)
        return yaml.Scalar(name, key.line, key.column)

    def _new_name(self, key: yaml.Scalar, scope: Scope, numbered: bool = False) -> str:
        """Return the name that a layer or group has in its path; that of a branch may be numbered.

        The names of branches belong to their sum: a second ``body`` is ``body2``.
        """
        name = key.text
        if not is_name(name):
            raise self._error(key, scope, f"{shorten(name)!r} is not a layer name: {NAMES}")
        if name in RESERVED or is_alone(name):
            raise self._error(key, scope, f"{name!r} is a word of the language, not a layer name")
        stem, places = join(scope.group, name), self.builder.places
        while (path := join(scope.group, name)) in places:
            line = places[path].line
            again = line < scope.loop or (scope.loop and line == key.line)
            if not numbered and not again:
                raise self._error(key, scope, f"duplicate name {name!r}; first in line {line}")
            self._numbers[stem] = number = self._numbers.get(stem, 1) + 1
            name = f"{key.text}{number}"
        places[path] = key
        return name

    def _filled(
        self, node: yaml.Scalar, text: str, scope: Scope, current: Value, columns: bool = True
    ) -> str:
        """Return a text with the values of what stands in braces.

        With ``columns``, spaces after a name keep what follows at its column.
        """

        def word(match: re.Match[str]) -> str:
            def value(inner: re.Match[str]) -> str:
                offset = match.start() + inner.start(1)
                made = self.evaluate(node, inner[1].strip(), scope, current, offset)
                return str(pinned(made))

            return IN_BRACES.sub(value, match[0]).ljust(len(match[0]) * columns)

        return WORD.sub(word, text)

    def _tied(self, ties: Mapping[str, Value]) -> dict[str, str]:
        """Return the full names of parameters, by the layers whose tensors are given."""
        names = {}
        for key, owner in ties.items():
            if owner is UNKNOWN:
                raise Skipped
            path = maker(owner.name)
            layer = None if owner in self.builder.inputs else self.builder.layer(path)
            params = layer.cost.params if layer else {}
            if layer is None or key not in params:
                raise OpError(f"{path} has no parameter {key!r}{did_you_mean(key, params)}")
            names[key] = layer.full_name(key)
        return names

    def _outputs(self, scope: Scope, current: Value) -> list[str]:
        """Return the names of the tensors that come out: the last one, or those that are named."""
        node = self.document.outputs
        if node is None:
            return [current.name]
        names: list[str] = []
        items = node.items if isinstance(node, yaml.Sequence) else [node]
        if not items or (isinstance(node, yaml.Scalar) and node.plain and not node.text):
            raise self._error(node, scope, "outputs names no layer; leave it out for the last one")
        for item in items:
            text = self.source.plain_text(item, "an output")
            value = self._kept(None, scope, self._output, item, text, scope, current)
            for one in value if is_tensors(value) else [value]:
                if not isinstance(one, Value):
                    reason = f"an output is the name of a layer; got {written(one)}"
                    raise self._error(item, scope, reason)
                if one.name in names and one is not UNKNOWN:
                    raise self._error(item, scope, f"{one.name} is an output already")
                names.append(one.name)
        return names

    def _output(self, item: yaml.Scalar, text: str, scope: Scope, current: Value) -> Any:
        """Return what an output names: an expression of labels, or a path, as ``stage3.out``."""
        path, index, place = text.partition("[")
        layers = [layer.path for layer in self.builder.layers]
        label = "." not in path and path in scope.visible()
        known = path in layers or path in self.results or "." in path
        if label or not known or not all(map(is_name, path.split("."))):
            return self.evaluate(item, text, scope, current)
        if index:
            text = f"parts[{place}"
        if self.builder.folded and path not in self.results:
            raise Unfolded
        name = self.results.get(path, path)
        if self.mistakes and (not name or name not in layers):
            raise Skipped  # it may be what could not be made
        if path not in self.results and path not in layers:
            hint = did_you_mean(path, [*self.results, *layers])
            raise self._error(item, scope, f"there is no layer or group {shorten(path)!r}{hint}")
        found = self.builder.siblings(self.builder.value(name))
        return self.evaluate(item, text, Scope("", {"parts": found}), current) if index else found

    def _error(
        self, node: yaml.Node, scope: Scope | None, reason: str, offset: int = 0,
        kind: type[SpecError] = SpecError,
    ) -> SpecError:  # fmt: skip
        where = f"{scope.group}: " if scope is not None and scope.group else ""
        return self.source.error(node, where + reason, offset, kind)


def named_in(node: yaml.Node | None) -> Iterator[str]:
    """Yield the names that an item gives to the items after it."""
    if isinstance(node, yaml.Sequence):
        for item in node.items:
            yield from named_in(item)
    elif isinstance(node, yaml.Mapping):
        for key, (_, value) in node.entries.items():
            word = key.split("(")[0].split(" ")[0]
            if key in ("let", "aside") or (isinstance(value, yaml.Mapping) and is_merge(word)):
                yield from value.entries if isinstance(value, yaml.Mapping) else ()
            elif word in ("for", "if"):
                yield from named_in(value)
            else:
                yield key


def ties_of(op: str, kwargs: Mapping[str, Any]) -> dict[str, Value]:
    """Return the arguments by which an op takes parameters of layers, as ``weight=words``.

    ``bias`` is a parameter too, where a layer stands and not true or false.
    """
    if Value not in map(type, kwargs.values()):
        return {}
    ties = {key: value for key, value in kwargs.items() if type(value) is Value}
    known = OPS[op].arguments
    return {key: value for key, value in ties.items() if key == "bias" or key not in known}


def callees(tree: ast.expr) -> list[str]:
    """Return the names of the ops and blocks that an item may run."""
    match tree:
        case ast.IfExp(body=body, orelse=orelse):
            return callees(body) + callees(orelse)
        case ast.BinOp(left=left, op=ast.RShift(), right=right):
            return callees(left) + callees(right)
        case ast.BinOp(left=left):
            return callees(left)
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            return [name]
    return []


def is_tensors(value: Any) -> bool:
    """Whether a value is a list of tensors."""
    return (
        isinstance(value, list) and all(isinstance(item, Value) for item in value) and value != []
    )


def flattened(op: str, args: list[Any]) -> list[Any]:
    """Return the arguments of an op, with the items of lists of tensors in place of the lists.

    The list of a merge may be empty.
    """
    if list not in map(type, args):
        return args
    lists = [is_tensors(arg) or (arg == [] and is_merge(op)) for arg in args]
    return [
        item for arg, listed in zip(args, lists, strict=True) for item in (arg if listed else [arg])
    ]


def is_merge(name: str) -> bool:
    """Whether a name is that of an op that takes any number of tensors."""
    return name in OPS and OPS[name].inputs == ("*",)


def is_alone(name: str) -> bool:
    """Whether a name by itself is the call of an op, so that no layer can have it."""
    return name in OPS and name not in FUNCTIONS and not OPS[name].needs_arguments()
