"""From a document's items to layers: blocks, branches, labels, repeats, with paths and shapes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from archcost.builder import MAX_LAYERS, TooManyLayers, check_inputs, join, refused
from archcost.errors import OpError, SpecError, did_you_mean, shorten, written
from archcost.network import NETWORK_INPUT, Layer, Value
from archcost.ops import OPS, Op
from archcost.shape import Shape, show
from archcost.spec import source as yaml
from archcost.spec.document import RESERVED, Block, Document
from archcost.spec.habits import meant_call, meant_input
from archcost.spec.reading import TooLarge, flattened, is_merge, ties_of
from archcost.spec.scope import NO_BRANCH, TWOFOLD, UNKNOWN, Scope, Skipped, Use, has_weights
from archcost.spec.template import PLAIN, Repeating, is_range
from archcost.spec.values import Refused

SIMPLE = (ast.Name, ast.Constant)
"""The arguments of a call that are no call themselves, most of them."""


class Expander(Repeating):
    """Expands the items of a document into layers, in execution order."""

    def __init__(
        self, document: Document, values: Mapping[str, Any], *, aux: bool = False, bias: bool = True
    ) -> None:
        super().__init__(document, values, (aux, bias))
        self.aux, self.bias = aux, bias
        self.input: Shape = ()
        self._ops: dict[Any, Op] = {}
        self._firsts: dict[str, dict[str, Layer]] = {}
        self.written: dict[str, yaml.Scalar] = {}
        """Where the spec has the layers of shared items, by path; others are at their names."""

    def run(self, inputs: list[Value]) -> None:
        """Expand the document's layers: ``builder`` then has them, and ``outputs`` the outputs.

        Args:
            inputs: the inputs, the main one first; none if they cannot be read.

        Raises:
            SpecError: with file, line, column, the layer's path, its input shape and the reason,
                for every mistake.
        """
        scope = Scope("", self.values)
        names = [*self.document.inputs] or [NETWORK_INPUT]
        scope.labels.update(dict.fromkeys(names, UNKNOWN))
        for value in inputs:
            scope.labels[value.name] = self.builder.input(value.shape, value.name, value.dtype)
        self.builder.places.update(self.document.inputs)
        current = inputs[0] if inputs else UNKNOWN
        self.input = current.shape
        with self.mistakes.kept():
            current = self.items(self.document.layers, scope, current)
            if not self.builder.layers and not self.mistakes:
                raise self.source.error(self.document.layers, "the spec has no layers")
            self.outputs[:0] = self._outputs(scope, current)
        self.mistakes.refuse()

    # Items: a list, a call, or a mapping with one key.

    def items(self, node: yaml.Node, scope: Scope, current: Value) -> Value:
        """Expand a list of items, or a single one, and return the tensor after it."""
        for item in node.items if isinstance(node, yaml.Sequence) else [node]:
            current = self._kept(item, scope, self.item, item, scope, current)
        return current

    def item(self, node: yaml.Node, scope: Scope, current: Value) -> Value:
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
        if isinstance(value, yaml.Mapping) and is_merge(word):
            return self._merge(key, value, scope, current)
        return self._named(key, value, scope, current)

    def _named(self, key: yaml.Scalar, value: yaml.Node, scope: Scope, current: Value) -> Value:
        key = self._written_out(key, scope, current)
        name = self._new_name(key, scope)
        try:
            if isinstance(value, yaml.Scalar):
                result = self.call(value, key, scope, current, name)
            else:
                inner = scope.child(join(scope.group, name))
                result = self.items(value, inner, current)
        except (SpecError, Skipped):
            scope.values[key.text] = UNKNOWN  # with the values that are in the name
            raise
        if result is current is not UNKNOWN and not isinstance(value, yaml.Scalar):
            raise self._error(key, scope, f"{name}: the group is empty")
        scope.labels[key.text] = self.builder.siblings(result)
        self.results[join(scope.group, name)] = result.name
        return result

    def _let(self, value: yaml.Node, scope: Scope, current: Value) -> Value:
        if not isinstance(value, yaml.Mapping):
            raise self._error(value, scope, "let is a mapping of names to expressions")
        for name, (key, node) in value.entries.items():
            if not name.isidentifier() or name in RESERVED:
                raise self._error(key, scope, f"{shorten(name)!r} cannot name a value here")
            if not isinstance(node, yaml.Scalar):
                raise self._error(node, scope, f"{name} must be an expression")
            scope.values[name] = self._kept(
                None, scope, self.evaluate, node, node.text, scope, current
            )
        return current

    def _aside(self, value: yaml.Node, scope: Scope, current: Value) -> Value:
        if not isinstance(value, yaml.Mapping) or not value.entries:
            raise self._error(value, scope, "aside is a mapping of names to items")
        for key, body in value.entries.values():
            if self.aux:
                self.outputs.append(self._named(key, body, scope, current).name)
        return current

    def _for(self, key: yaml.Scalar, body: yaml.Node, scope: Scope, current: Value) -> Value:
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
        if len(names) == 1 and is_range(listed := generators[0].iter):
            times = self._evaluated(key, listed.args[0], scope, current, offset=-3)
            graph = getattr(times, "graph", None)
            if graph and graph.repeats is not None and graph.grows:
                return self.counted(times, names[0], key, body, scope, current)
        rows = self._evaluated(key, generators[0].iter, scope, current, offset=-3)
        if not isinstance(rows, list):
            raise self._error(key, scope, f"a loop needs a list; got {written(rows)}")
        around, scope.loop = scope.loop, key.line
        for row in rows:
            cells = [row] if len(names) == 1 else row
            if not isinstance(cells, list) or len(cells) != len(names):
                raise self._error(key, scope, f"a loop over {len(names)} names got {written(row)}")
            scope.values.update(zip(names, cells, strict=True))
            self._step(key, scope)
            current = self.items(body, scope, current)
        scope.loop = around
        return current

    def _merge(self, key: yaml.Scalar, value: yaml.Mapping, scope: Scope, current: Value) -> Value:
        head = self._tree(key, key.text, scope, current)
        args, kwargs = self._arguments(key, head, scope, current)
        branches: list[Value] = []
        own = Scope(scope.group, {}, outer=scope, depth=scope.depth, use=scope.use)
        for written_key, body in value.entries.values():
            branch_key = self._written_out(written_key, scope, current)
            name = self._new_name(branch_key, scope, numbered=True)
            inner = own.child(join(scope.group, name))
            branch = self._kept(None, inner, self._branch, body, inner, current)
            if branch is not NO_BRANCH:
                self.results[inner.group] = branch.name
                if branch_key.text not in scope.values:  # a value goes before a label
                    own.labels[branch_key.text] = branch
                first = name == branch_key.text
                scope.labels[branch_key.text] = branch if first else TWOFOLD
                branches.append(branch)
        if len(branches) == 1 and not args:
            return branches[0]
        return self._apply(key, key.text.split("(")[0], branches + args, kwargs, scope, current)

    def _branch(self, body: yaml.Node, scope: Scope, current: Value) -> Value:
        """Expand a branch: ``identity`` is the current tensor, ``none`` leaves the branch out."""
        if not isinstance(body, yaml.Scalar):
            return self.items(body, scope, current)
        tree = self._tree(body, body.text, scope, current)
        while isinstance(tree, ast.IfExp):
            tree = tree.body if self._evaluated(body, tree.test, scope, current) else tree.orelse
        if isinstance(tree, ast.Name) and tree.id in ("identity", "none"):
            return current if tree.id == "identity" else NO_BRANCH
        return self.items(body, scope, current)

    # Calls: an op, a block, or take().

    def call(
        self, node: yaml.Scalar, at: yaml.Scalar, scope: Scope, current: Value, name: str = ""
    ) -> Value:
        """Expand a call, with its repeat and its condition, and return the tensor after it."""
        tree = self._tree(node, node.text, scope, current)
        return self._call(node, at, tree, scope, current, name)

    def _call(
        self, node: yaml.Scalar, at: yaml.Scalar, tree: ast.expr, scope: Scope, current: Value,
        name: str = "",
    ) -> Value:  # fmt: skip
        if not isinstance(tree, (ast.Name, ast.Call)):
            return self._joined(node, at, tree, scope, current, name)
        callee = self._callee(node, tree, scope)
        args, kwargs = self._arguments(node, tree, scope, current)
        if callee == "take":
            if len(args) != 1 or kwargs or not isinstance(args[0], Value):
                raise self._error(node, scope, "take needs the name of one layer")
            return args[0]
        if block := self.document.blocks.get(callee):
            return self._enter(node, block, args, kwargs, scope, current, name)
        return self._apply(at, callee, args, kwargs, scope, current, name)

    def _joined(
        self, node: yaml.Scalar, at: yaml.Scalar, tree: ast.expr, scope: Scope, current: Value,
        name: str,
    ) -> Value:  # fmt: skip
        """Expand a call under a condition, several in a row, or one that is repeated."""
        if isinstance(tree, ast.IfExp):
            chosen = tree.body if self._evaluated(node, tree.test, scope, current) else tree.orelse
            if isinstance(chosen, ast.Constant) and chosen.value is None:
                return current
            return self._call(node, at, chosen, scope, current, name)
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.RShift):
            scope = scope.child(join(scope.group, name)) if name else scope
            for part in (tree.left, tree.right):
                self._step(node, scope)
                current = self._kept(None, scope, self._call, node, at, part, scope, current)
            return current
        if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Mult):
            times = self._evaluated(node, tree.right, scope, current)
            if isinstance(times, bool) or not isinstance(times, int) or times < 0:
                raise self._error(node, scope, f"a repeat is a whole number; got {written(times)}")
            if times > MAX_LAYERS:
                reason = f"a repeat of {times:,} is more than {MAX_LAYERS:,} layers"
                raise self._error(node, scope, reason)
            scope = scope.child(join(scope.group, name)) if name else scope
            return self.repeat(
                times, node, scope, current, lambda x: self._call(node, at, tree.left, scope, x)
            )
        reason = f"an item is a call such as conv(64, 3); got {shorten(node.text)!r}"
        raise self._error(node, scope, reason)

    def _callee(self, node: yaml.Scalar, tree: ast.Name | ast.Call, scope: Scope) -> str:
        func = tree.func if isinstance(tree, ast.Call) else tree
        if not isinstance(func, ast.Name):
            words = _explained(func.attr) if isinstance(func, ast.Attribute) else ""
            reason = "attributes are not part of the language" + f"; {words}" * bool(words)
            raise self._error(node, scope, reason, tree.col_offset)
        try:
            value = scope.get(func.id, func.id)
        except Refused as error:
            raise self._error(node, scope, str(error), tree.col_offset) from None
        callee = value if isinstance(value, str) else func.id
        if callee in self.document.broken:
            raise Skipped
        if callee not in self.document.blocks and callee not in OPS and callee != "take":
            if isinstance(value, Value):
                reason = (
                    f"{callee} is a layer; take({callee}) goes on from its output; to run it "
                    "again, write it under `shared` for the same weights, under `blocks` for others"
                )
                raise self._error(node, scope, reason, tree.col_offset)
            words, known = _explained(callee), [*self.document.blocks, *OPS, "take"]
            hint = f"; {words}" if words else did_you_mean(callee, known)
            reason = f"unknown op or block {shorten(callee)!r}{hint}"
            raise self._error(node, scope, reason, tree.col_offset)
        return callee

    def _arguments(
        self, node: yaml.Scalar, tree: ast.expr, scope: Scope, current: Value
    ) -> tuple[list[Any], dict[str, Any]]:
        if not isinstance(tree, ast.Call):
            return [], {}
        args: list[Any] = []
        for arg in tree.args:
            if type(arg) in SIMPLE:
                args.append(self._evaluated(node, arg, scope, current))
                continue
            if isinstance(arg, ast.Starred):
                raise self._error(node, scope, "* is not part of a call", arg.col_offset)
            args.append(self._argument(node, arg, tree.func, scope, current))
        kwargs: dict[str, Any] = {}
        for keyword in tree.keywords:
            if keyword.arg is None:
                raise self._error(node, scope, "** is not part of a call", keyword.value.col_offset)
            kwargs[keyword.arg] = self._evaluated(node, keyword.value, scope, current)
        return args, kwargs

    def _argument(
        self, node: yaml.Scalar, arg: ast.expr, around: ast.expr, scope: Scope, current: Value
    ) -> Any:
        """Return the value of an argument, or the tensor that a call or a chain of calls makes."""
        if type(arg) in SIMPLE or not self._makes_tensor(arg, around):
            return self._evaluated(node, arg, scope, current)
        if isinstance(arg, ast.IfExp):
            chosen = arg.body if self._evaluated(node, arg.test, scope, current) else arg.orelse
            return self._argument(node, chosen, around, scope, current)
        self._step(node, scope)
        return self._call(node, node, arg, scope, current)

    def _enter(
        self, node: yaml.Scalar, block: Block, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Value, name: str,
    ) -> Value:  # fmt: skip
        if block.shared:
            return self._again(node, block, args, kwargs, scope, current, name)
        values = self._bind(node, block, args, kwargs, scope, current)
        if name or not self._is_spliced(block, values):
            group = join(scope.group, name) if name else self.builder.number(scope.group, "", 0)
        else:
            group = scope.group
        inner = Scope(group, values, outer=self.around, depth=scope.depth + 1, use=scope.use)
        if group == scope.group:
            return self.items(block.body, inner, current)
        shared, body = scope.use, block.body
        made = self.items(body, inner, current) if shared else self.block(block, inner, current)
        self.results[group] = made.name
        return made

    def _again(
        self, node: yaml.Scalar, block: Block, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Value, name: str,
    ) -> Value:  # fmt: skip
        """Use a shared item: as a layer or group of its own name, with the first one's weights."""
        if kwargs or not all(isinstance(arg, Value) for arg in args):
            reason = f"{block.name} is shared: it takes a tensor and no values"
            raise self._error(node, scope, reason)
        if len(args) > 1:
            raise self._error(node, scope, f"{block.name} takes one tensor; got {len(args)}")
        [x] = args or [current]
        own = yaml.Scalar(block.name, node.line, node.column)
        name = name or self._new_name(own, scope, numbered=True)
        first = self._firsts.setdefault(block.name, {})
        use = Use(join(scope.group, name), node, first, again=bool(first))
        self.uses += 1
        inner = Scope(scope.group, {}, outer=self.around, depth=scope.depth + 1, use=use)
        self._step(node, inner)
        if isinstance(block.body, yaml.Scalar):
            made = self.call(block.body, block.body, inner, x, name)
        else:
            made = self.items(block.body, inner.child(use.group), x)
        if made is UNKNOWN and not use.again:
            first.clear()
        elif made is not UNKNOWN and (other := use.other()):
            reason = f"{block.name} is shared, and only one of its uses has {', '.join(other)}"
            raise self._error(node, scope, reason)
        return made

    # Layers.

    def _apply(
        self, at: yaml.Scalar, name: str, args: list[Any], kwargs: dict[str, Any],
        scope: Scope, current: Value, label: str = "",
    ) -> Value:  # fmt: skip
        ties: dict[str, Value] = {}
        tensors: list[Value] = []
        if not PLAIN.issuperset(map(type, (*args, *kwargs.values()))):
            ties = ties_of(name, kwargs)
            kwargs = {key: kwargs[key] for key in kwargs if key not in ties}
            if not self.bias:
                ties.pop("bias", None)
            args = flattened(name, args)
            tensors = [arg for arg in args if type(arg) is Value]
            args = args[len(tensors) :]
            if any(type(arg) is Value for arg in args):
                raise self._error(at, scope, f"{name}: tensors come before other arguments")
        builder = self.builder
        path = join(scope.group, label) if label else builder.number(scope.group, name)
        builder.places.setdefault(path, at)
        try:
            op = self._op(name, args, kwargs)
            check_inputs(op, len(tensors))
        except OpError as error:
            seen = [t.shape for t in tensors or [current] if t is not UNKNOWN]
            reason = refused(path, name, seen, error)
            raise self._refusal(at, reason, name, args, kwargs, tensors or [current]) from None
        inputs = tensors + [current] * (len(op.inputs) - len(tensors))
        for tensor in inputs:
            if tensor is UNKNOWN:
                raise Skipped
        use, same = scope.use, None
        if use:
            first = use.first.get(path[len(use.group) + 1 :])
            same = first.path if first and (first.op == op or has_weights(first)) else None
            self.written[path] = at = use.at if use.again else at
        try:
            made = builder.add(op, *inputs, name=path, params=same or self._tied(ties))
        except OpError as error:
            raise self._refusal(at, str(error), name, args, kwargs, inputs) from None
        except TooManyLayers as error:
            raise self._error(at, scope, str(error), kind=TooLarge) from None
        if use:
            use.take(builder.layers[-1])
        return made

    def _refusal(
        self, at: yaml.Scalar, reason: str, name: str, args: list[Any], kwargs: dict[str, Any],
        inputs: list[Value],
    ) -> SpecError:  # fmt: skip
        """Return the error of a call that is refused, with what was probably meant by it."""
        x = inputs[0].shape
        calls = [*OPS, *self.document.blocks] if is_merge(name) else ()
        hint = meant_call(name, args, [*kwargs], x, calls)
        if not hint and len(x) == len(self.input) and (meant := meant_input(self.input)):
            hint = f"; is the input {show(self.input)} meant as {show(meant)}?"
        return self.source.error(at, reason + hint)

    def _op(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Op:
        values = (*args, *kwargs.values())
        key: Any = (name, values, tuple(kwargs), tuple(map(type, values)))
        try:
            op = self._ops.get(key) or _created(*key)
        except TypeError:  # a list, or a size that knows its formula
            key = (name, repr(args), repr(kwargs))
            op = self._ops.get(key) or OPS[name].create(args, kwargs)
        if not self.bias and getattr(op, "bias", False) is True:
            op = op.replaced(bias=False)
        self._ops[key] = op
        return op


@lru_cache(maxsize=4096)
def _created(
    name: str, values: tuple[Any, ...], named: tuple[str, ...], types: tuple[type, ...]
) -> Op:
    """Return the op of such a call, whose last arguments are named; 1 is not True, by the types."""
    given = len(values) - len(named)
    return OPS[name].create(values[:given], dict(zip(named, values[given:], strict=True)))


def _explained(name: str) -> str:
    from archcost.ops.foreign import explain_op  # only errors need it

    return explain_op(name)
