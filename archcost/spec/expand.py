"""From a document's items to layers: blocks, branches, labels, repeats, with paths and shapes."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import OpError, SpecError, did_you_mean, shorten
from archcost.network import NETWORK_INPUT, Layer
from archcost.ops import OPS, Cost, Op
from archcost.shape import Shape, show
from archcost.spec import source as yaml
from archcost.spec.document import RESERVED, Block, Document
from archcost.spec.expression import (
    FUNCTIONS,
    Budget,
    Evaluator,
    ExpressionError,
    common_size,
    parse,
)

MAX_LAYERS = 20_000
MAX_STEPS = 100_000
MAX_NESTING = 50

MERGES = tuple(name for name, op in OPS.items() if op.inputs == ("*",))


@dataclass(frozen=True, slots=True)
class Tensor:
    """The output of a layer: its path and shape (without batch)."""

    path: str
    shape: Shape

    def __repr__(self) -> str:
        """Return how messages show it."""
        return f"the tensor {self.path} ({show(self.shape)})"


@dataclass
class Group:
    """A place in the tree of paths, where names are unique and unnamed layers are numbered."""

    path: str = ""
    names: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def join(self, name: str) -> str:
        """Return the path of ``name`` in this group."""
        return f"{self.path}.{name}" if self.path else name


@dataclass
class Scope:
    """What names mean at a place: values, labels of layers, and the enclosing scope."""

    group: Group
    values: dict[str, Any]
    labels: dict[str, Tensor] = field(default_factory=dict)
    outer: Scope | None = None
    depth: int = 0

    def child(self, group: Group, values: dict[str, Any] | None = None) -> Scope:
        """Return a scope inside this one, which sees its names."""
        return Scope(group, {} if values is None else values, outer=self, depth=self.depth + 1)

    def find(self, name: str) -> Any:
        """Return a value or a label, or raise KeyError."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            if name in scope.labels:
                return scope.labels[name]
            scope = scope.outer
        raise KeyError(name)

    def visible(self) -> list[str]:
        """Return every name that can be found from here."""
        scope: Scope | None = self
        names: list[str] = []
        while scope is not None:
            names += [*scope.values, *scope.labels]
            scope = scope.outer
        return names


class Expander:
    """Expands the items of a document into layers, in execution order."""

    def __init__(
        self, document: Document, values: Mapping[str, Any], *, aux: bool = False, bias: bool = True
    ) -> None:
        self.document = document
        self.source = document.source
        self.values = dict(values)
        self.aux, self.bias = aux, bias
        self.layers: list[Layer] = []
        self.outputs: list[str] = []
        self.budget = Budget()
        self.steps = 0
        self._ops: dict[Any, Op] = {}
        self._costs: dict[Any, Cost] = {}

    def run(self, input_shape: Shape) -> tuple[Layer, ...]:
        """Expand the document's layers and return them; ``outputs`` then holds the outputs.

        Raises:
            SpecError: with file, line, column, the layer's path, its input shape and the reason.
        """
        scope = Scope(Group(), self.values)
        current = Tensor(NETWORK_INPUT, input_shape)
        scope.labels[NETWORK_INPUT] = current
        last = self.items(self.document.layers, scope, current)
        if not self.layers:
            raise self.source.error(self.document.layers, "the spec has no layers")
        self.outputs.insert(0, last.path)
        return tuple(self.layers)

    # Items: a list, a call, or a mapping with one key.

    def items(self, node: yaml.Node, scope: Scope, current: Tensor) -> Tensor:
        """Expand a list of items, or a single one, and return the tensor after it."""
        if isinstance(node, yaml.Sequence):
            for item in node.items:
                current = self.item(item, scope, current)
            return current
        return self.item(node, scope, current)

    def item(self, node: yaml.Node, scope: Scope, current: Tensor) -> Tensor:
        """Expand one item."""
        self._step(node, scope)
        if isinstance(node, yaml.Scalar):
            return self.call(node, node, scope, current)
        if isinstance(node, yaml.Sequence):
            raise self._error(node, scope, "a list inside a list; give it a name: `name: [...]`")
        if len(node.entries) != 1:
            raise self._error(
                node, scope, "an item is one call or one `name: ...`; start each with `- `"
            )
        [(key, value)] = node.entries.values()
        word = key.text.split("(")[0].split(" ")[0]
        if key.text == "let":
            return self._let(value, scope, current)
        if key.text == "aside":
            return self._aside(value, scope, current)
        if word == "for":
            return self._for(key, value, scope, current)
        if word == "if":
            condition = self.evaluate(key, key.text[2:].strip(), scope, current, offset=3)
            return self.items(value, scope, current) if condition else current
        if word in MERGES and isinstance(value, yaml.Mapping):
            return self._merge(key, value, scope, current)
        return self._named(key, value, scope, current)

    def _named(self, key: yaml.Scalar, value: yaml.Node, scope: Scope, current: Tensor) -> Tensor:
        name = self._new_name(key, scope)
        if isinstance(value, yaml.Scalar):
            result = self.call(value, key, scope, current, name)
        else:
            inner = scope.child(Group(scope.group.join(name)))
            result = self.items(value, inner, current)
        if result is current and not isinstance(value, yaml.Scalar):
            raise self._error(key, scope, f"{name}: the group is empty")
        scope.labels[name] = result
        return result

    def _new_name(self, key: yaml.Scalar, scope: Scope) -> str:
        name = key.text
        if not name or not all(c.isalnum() or c in "_-+" for c in name) or len(name) > 100:
            raise self._error(
                key, scope, f"{shorten(name)!r} is no layer name: letters, digits, _ - +"
            )
        if name in RESERVED or name in OPS:
            raise self._error(key, scope, f"{name!r} is a word of the language, not a layer name")
        if name in scope.group.names:
            raise self._error(
                key, scope, f"duplicate name {name!r}; first in line {scope.group.names[name]}"
            )
        scope.group.names[name] = key.line
        return name

    def _let(self, value: yaml.Node, scope: Scope, current: Tensor) -> Tensor:
        if not isinstance(value, yaml.Mapping):
            raise self._error(value, scope, "let is a mapping of names to expressions")
        for name, (key, node) in value.entries.items():
            if not name.isidentifier() or name in RESERVED:
                raise self._error(key, scope, f"{shorten(name)!r} cannot name a value here")
            if not isinstance(node, yaml.Scalar):
                raise self._error(node, scope, f"{name} must be an expression")
            scope.values[name] = self.evaluate(node, node.text, scope, current)
        return current

    def _aside(self, value: yaml.Node, scope: Scope, current: Tensor) -> Tensor:
        if not isinstance(value, yaml.Mapping) or not value.entries:
            raise self._error(value, scope, "aside is a mapping of names to items")
        for key, body in value.entries.values():
            if self.aux:
                self.outputs.append(self._named(key, body, scope, current).path)
        return current

    def _for(self, key: yaml.Scalar, body: yaml.Node, scope: Scope, current: Tensor) -> Tensor:
        try:
            loop = ast.parse(f"[0 {key.text}]", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            loop = None
        generators = loop.generators if isinstance(loop, ast.ListComp) else []
        if len(generators) != 1 or generators[0].ifs:
            raise self._error(key, scope, "a loop is written as `for name in list:`")
        target = generators[0].target
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        names = [name.id for name in targets if isinstance(name, ast.Name)]
        if len(names) != len(targets) or any(name in RESERVED for name in names):
            raise self._error(key, scope, "a loop is written as `for name in list:`")
        rows = self._evaluated(key, generators[0].iter, scope, current, offset=-3)
        if not isinstance(rows, list):
            raise self._error(key, scope, f"a loop needs a list; got {shorten(rows)}")
        for row in rows:
            cells = [row] if len(names) == 1 else row
            if not isinstance(cells, list) or len(cells) != len(names):
                raise self._error(key, scope, f"a loop over {len(names)} names got {shorten(row)}")
            scope.values.update(zip(names, cells, strict=True))
            self._step(key, scope)
            current = self.items(body, scope, current)
        return current

    def _merge(
        self, key: yaml.Scalar, value: yaml.Mapping, scope: Scope, current: Tensor
    ) -> Tensor:
        head = self._parse(key, key.text, scope)
        args, kwargs = self._arguments(key, head, scope, current)
        branches = []
        for branch_key, body in value.entries.values():
            name = self._new_name(branch_key, scope)
            inner = scope.child(Group(scope.group.join(name)))
            branch = self._branch(body, inner, current)
            if branch is not None:
                scope.labels[name] = branch
                branches.append(branch)
        if len(branches) == 1 and not args:
            return branches[0]
        return self._apply(key, key.text.split("(")[0], branches + args, kwargs, scope, current)

    def _branch(self, body: yaml.Node, scope: Scope, current: Tensor) -> Tensor | None:
        """Expand a branch: ``identity`` is the current tensor, ``none`` is no branch at all."""
        if not isinstance(body, yaml.Scalar):
            return self.items(body, scope, current)
        tree = self._parse(body, body.text, scope)
        while isinstance(tree, ast.IfExp):
            tree = tree.body if self._evaluated(body, tree.test, scope, current) else tree.orelse
        if isinstance(tree, ast.Name) and tree.id in ("identity", "none"):
            return current if tree.id == "identity" else None
        return self.items(body, scope, current)

    # Calls: an op, a block, or take().

    def call(
        self, node: yaml.Scalar, at: yaml.Scalar, scope: Scope, current: Tensor, name: str = ""
    ) -> Tensor:
        """Expand a call, with its repeat and its condition, and return the tensor after it."""
        return self._call(node, at, self._parse(node, node.text, scope), scope, current, name)

    def _call(
        self, node: yaml.Scalar, at: yaml.Scalar, tree: ast.expr, scope: Scope, current: Tensor,
        name: str = "",
    ) -> Tensor:  # fmt: skip
        if isinstance(tree, ast.IfExp):
            chosen = tree.body if self._evaluated(node, tree.test, scope, current) else tree.orelse
            if isinstance(chosen, ast.Constant) and chosen.value is None:
                return current
            return self._call(node, at, chosen, scope, current, name)
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.RShift):
            if name:
                scope = scope.child(Group(scope.group.join(name)))
            for part in (tree.left, tree.right):
                self._step(node, scope)
                current = self._call(node, at, part, scope, current)
            return current
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
            times = self._evaluated(node, tree.right, scope, current)
            if isinstance(times, bool) or not isinstance(times, int) or times < 0:
                raise self._error(node, scope, f"a repeat is a whole number; got {shorten(times)}")
            if times > MAX_LAYERS:
                raise self._error(
                    node, scope, f"a repeat of {times:,} is more than {MAX_LAYERS:,} layers"
                )
            if name:
                scope = scope.child(Group(scope.group.join(name)))
            for _ in range(times):
                self._step(node, scope)
                current = self._call(node, at, tree.left, scope, current)
            return current
        if not isinstance(tree, (ast.Name, ast.Call)):
            raise self._error(
                node, scope, f"an item is a call such as conv(64, 3); got {shorten(node.text)!r}"
            )
        callee = self._callee(node, tree, scope)
        args, kwargs = self._arguments(node, tree, scope, current)
        if callee == "take":
            if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
                raise self._error(node, scope, "take needs the name of one layer")
            return args[0]
        if callee in self.document.blocks:
            return self._enter(
                node, self.document.blocks[callee], args, kwargs, scope, current, name
            )
        return self._apply(at, callee, args, kwargs, scope, current, name)

    def _callee(self, node: yaml.Scalar, tree: ast.Name | ast.Call, scope: Scope) -> str:
        func = tree.func if isinstance(tree, ast.Call) else tree
        if not isinstance(func, ast.Name):
            raise self._error(
                node, scope, "attributes are not part of the language", tree.col_offset
            )
        try:
            value = scope.find(func.id)
        except KeyError:
            value = func.id
        callee = value if isinstance(value, str) else func.id
        if callee != "take" and callee not in OPS and callee not in self.document.blocks:
            hint = did_you_mean(callee, [*self.document.blocks, *OPS, "take"])
            raise self._error(
                node, scope, f"unknown op or block {shorten(callee)!r}{hint}", tree.col_offset
            )
        return callee

    def _arguments(
        self, node: yaml.Scalar, tree: ast.expr, scope: Scope, current: Tensor
    ) -> tuple[list[Any], dict[str, Any]]:
        if not isinstance(tree, ast.Call):
            return [], {}
        args = []
        for arg in tree.args:
            if isinstance(arg, ast.Starred):
                raise self._error(node, scope, "* is not part of a call", arg.col_offset)
            if self._makes_tensor(arg, scope):
                self._step(node, scope)
                args.append(self._call(node, node, arg, scope, current))
            else:
                args.append(self._evaluated(node, arg, scope, current))
        kwargs: dict[str, Any] = {}
        for keyword in tree.keywords:
            if keyword.arg is None:
                raise self._error(node, scope, "** is not part of a call", keyword.value.col_offset)
            kwargs[keyword.arg] = self._evaluated(node, keyword.value, scope, current)
        return args, kwargs

    def _makes_tensor(self, arg: ast.expr, scope: Scope) -> bool:
        if not isinstance(arg, ast.Call) or not isinstance(arg.func, ast.Name):
            return False
        name = arg.func.id
        return name not in FUNCTIONS and (
            name in OPS or name in self.document.blocks or name == "take"
        )

    def _enter(
        self, node: yaml.Scalar, block: Block, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Tensor, name: str,
    ) -> Tensor:  # fmt: skip
        values = self._bind(node, block, args, kwargs, scope, current)
        globals_ = Scope(Group(), self.values)
        if name or not self._is_chain(block.body, values):
            if not name:
                index = scope.group.counts.get("", 0)
                scope.group.counts[""] = index + 1
                name = str(index)
            group = Group(scope.group.join(name))
        else:
            group = scope.group
        inner = Scope(group, values, outer=globals_, depth=scope.depth + 1)
        return self.items(block.body, inner, current)

    def _bind(
        self, node: yaml.Scalar, block: Block, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Tensor,
    ) -> dict[str, Any]:  # fmt: skip
        names = [param for param, _ in block.params]
        if len(args) > len(names):
            raise self._error(
                node, scope, f"{block.name} takes {len(names)} arguments; got {len(args)}"
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
                defaults = Scope(Group(), dict(values), outer=Scope(Group(), self.values))
                values[param] = self._evaluated(block.node, default, defaults, current)
        return values

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
        tree = self._parse(node, node.text, None)
        for callee in _callees(tree):
            named = values.get(callee, self.values.get(callee))
            block = self.document.blocks.get(named if isinstance(named, str) else callee)
            if block is not None and not self._is_chain(block.body, {}, depth + 1):
                return False
        return True

    # Layers.

    def _apply(
        self, at: yaml.Scalar, name: str, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Tensor, label: str = "",
    ) -> Tensor:  # fmt: skip
        args = [item for arg in args for item in (arg if _is_tensors(arg) else [arg])]
        tensors = [arg for arg in args if isinstance(arg, Tensor)]
        if any(isinstance(arg, Tensor) for arg in args[len(tensors) :]):
            raise self._error(at, scope, f"{name}: tensors come before other arguments")
        if not label:
            number = scope.group.counts.get(name, 0) + 1
            while f"{name}{number}" in scope.group.names:
                number += 1
            scope.group.counts[name] = number
            label = f"{name}{number}"
            scope.group.names[label] = at.line
        path = scope.group.join(label)
        try:
            op = self._op(name, args[len(tensors) :], kwargs)
            inputs = self._inputs(op, tensors, current)
            shapes = tuple(tensor.shape for tensor in inputs)
            cost = self._cost(op, shapes)
        except OpError as error:
            seen = " and ".join(show(t.shape) for t in tensors) or show(current.shape)
            raise self.source.error(at, f"{path}: {name} on {seen}: {error}") from None
        if len(self.layers) >= MAX_LAYERS:
            raise self._error(at, scope, f"more than {MAX_LAYERS:,} layers")
        self.layers.append(Layer(path, op, tuple(t.path for t in inputs), shapes, cost))
        return Tensor(path, cost.output)

    def _op(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Op:
        key = (name, repr(args), repr(kwargs))
        op = self._ops.get(key)
        if op is None:
            op = OPS[name].create(args, kwargs)
            if not self.bias and getattr(op, "bias", False) is True:
                op = dataclasses.replace(op, bias=False)  # type: ignore[type-var]
            self._ops[key] = op
        return op

    def _inputs(self, op: Op, tensors: list[Tensor], current: Tensor) -> list[Tensor]:
        if op.inputs == ("*",):
            if len(tensors) < 2:
                raise OpError(f"{op.name} merges two or more named layers; got {len(tensors)}")
            return tensors
        if len(tensors) > len(op.inputs):
            raise OpError(f"{op.name} takes {len(op.inputs)} layers at most; got {len(tensors)}")
        return tensors + [current] * (len(op.inputs) - len(tensors))

    def _cost(self, op: Op, shapes: tuple[Shape, ...]) -> Cost:
        key = (id(op), shapes)
        cost = self._costs.get(key)
        if cost is None:
            cost = self._costs[key] = op.cost(*shapes)
            if max(cost.output, default=1) > 2**53 or sum(cost.work.values()) > 2**100:
                raise OpError("the layer is larger than archcost counts (2**53 per dimension)")
        return cost

    # Expressions and errors.

    def evaluate(
        self, node: yaml.Scalar, text: str, scope: Scope, current: Tensor, offset: int = 0
    ) -> Any:
        """Return the value of an expression in a scope."""
        return self._evaluated(node, self._parse(node, text, scope, offset), scope, current, offset)

    def _parse(
        self, node: yaml.Scalar, text: str, scope: Scope | None, offset: int = 0
    ) -> ast.expr:
        try:
            return parse(text)
        except ExpressionError as error:
            raise self._error(node, scope, str(error), error.offset + offset) from None

    def _evaluated(
        self, node: yaml.Scalar, tree: ast.expr, scope: Scope, current: Tensor, offset: int = 0
    ) -> Any:
        evaluator = Evaluator(self._names(scope, current), self.budget)
        try:
            return evaluator(tree)
        except ExpressionError as error:
            raise self._error(node, scope, str(error), error.offset + offset) from None

    def _names(self, scope: Scope, current: Tensor) -> Callable[[str], Any]:
        def find(name: str) -> Any:
            if name == "in_channels":
                return current.shape[0]
            if name == "in_size":
                return common_size(current.shape)
            if name == "current":
                return current
            try:
                return scope.find(name)
            except KeyError:
                if name in self.document.blocks or name in OPS:
                    return name  # a block or op passed as an argument
                here = ["in_channels", "in_size", "current", *self.document.blocks]
                raise KeyError([*scope.visible(), *here]) from None

        return find

    def _step(self, node: yaml.Node, scope: Scope) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self._error(node, scope, f"the spec expands to more than {MAX_STEPS:,} items")
        if scope.depth > MAX_NESTING:
            raise self._error(
                node, scope, f"nested deeper than {MAX_NESTING}; does a block call itself?"
            )

    def _error(
        self, node: yaml.Node, scope: Scope | None, reason: str, offset: int = 0
    ) -> SpecError:
        where = f"{scope.group.path}: " if scope is not None and scope.group.path else ""
        return self.source.error(node, where + reason, offset)


def _is_tensors(value: Any) -> bool:
    return (
        isinstance(value, list) and all(isinstance(item, Tensor) for item in value) and value != []
    )


def _callees(tree: ast.expr) -> list[str]:
    """Return the names of the ops and blocks that an item may run."""
    match tree:
        case ast.IfExp(body=body, orelse=orelse):
            return _callees(body) + _callees(orelse)
        case ast.BinOp(left=left, op=ast.RShift(), right=right):
            return _callees(left) + _callees(right)
        case ast.BinOp(left=left):
            return _callees(left)
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            return [name]
    return []
