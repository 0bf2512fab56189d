"""What a block has made, to be made again where it is called with equal values on equal tensors."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeGuard

from archcost.builder import MAX_LAYERS, Builder
from archcost.data import dataclass
from archcost.errors import ArchcostError
from archcost.network import Layer, Value
from archcost.number import Symbolic, plain
from archcost.series import Uneven
from archcost.spec.document import Block, Document
from archcost.spec.reading import MAX_STEPS, Reading
from archcost.spec.scope import UNKNOWN, Scope, Skipped
from archcost.spec.source import Node, Scalar

if TYPE_CHECKING:
    from archcost.graph import Graph

MOST_KEPT = 1000
"""Blocks that a document keeps to be made again."""
PLAIN = frozenset({int, float, bool, str, type(None)})
"""The types of values that are neither tensors nor lists, and that do not know their formula."""


@dataclass
class Template:
    """The layers that a block has made in a group.

    Attributes:
        group: the path of that group.
        layers: its layers, in order.
        outputs: the tensors that they make.
        tensors: the names of the tensors that the block was called on.
        result: the name of the tensor after it.
        places: where the spec has its layers and groups, by path.
        results: the names of the tensors after its groups and named layers, by path.
        steps, work: how much it took of what a spec may do.
    """

    group: str
    layers: list[Layer]
    outputs: list[Value]
    tensors: list[str]
    result: str
    places: dict[str, Scalar]
    results: dict[str, str]
    steps: int = 0
    work: int = 0

    def fits(self, builder: Builder, steps: int, work: int) -> bool:
        """Whether so much is left that all its layers can be added."""
        room = MAX_LAYERS - len(builder.layers)
        return len(self.layers) <= room and self.steps <= steps and self.work <= work

    def renamed(self, group: str, noted: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is noted of paths, for the same paths in another group."""
        cut = len(self.group)
        return {group + path[cut:]: value for path, value in noted.items()}


class Repeating(Reading):
    """Reads a document, whose blocks it makes again where they depend on nothing new.

    ``options`` are what the layers depend on beside the values.
    """

    def __init__(
        self, document: Document, values: Mapping[str, Any], options: tuple[bool, ...]
    ) -> None:
        super().__init__(document, values)
        self.outputs: list[str] = []
        self.options = options

    def items(self, node: Node, scope: Scope, current: Value) -> Value:
        """Expand items, and return the tensor after them."""
        raise NotImplementedError

    def repeat(
        self, times: int, node: Node, scope: Scope, current: Value, call: Callable[[Value], Value]
    ) -> Value:
        """Make what a call makes so often, one after the other, and return the tensor after it.

        A run on symbols may make equal layers once, and note how often they stand there. They are
        equal where the call makes a tensor like the one that it was called on.
        """
        numbers: list[Any] = [n for n in (times, *current.shape) if isinstance(n, Symbolic)]
        graph: Graph | None = numbers[0].graph if numbers else None
        known = not isinstance(times, Symbolic)
        if graph is None or graph.repeats is None or (known and not graph.fixed):
            for _ in range(times):
                self._step(node, scope)
                current = call(current)
            return current
        done = 0
        while plain(times) > done:
            first, before, conditions = len(self.builder.layers), self._noted(), graph.noted()
            steps, work = self.steps, self.budget.left
            self._step(node, scope)
            made = call(current)
            layers = self.builder.layers[first:]
            taken = (len(layers), self.steps - steps, work - self.budget.left)
            folds = self._noted() == before and alike(made, current)
            if not folds or graph.noted() != conditions:  # what holds where the call is made
                graph.compare(">", times, done)
            if folds and self._take(taken, times - done - 1):
                for layer in layers:
                    graph.repeats.setdefault(layer.path, []).append(times - done)
                return made
            current, before_it, done = made, current, done + 1
            if not known and done == graph.grows and plain(times) > done:
                return self.grown(times, node, scope, before_it, made, lambda _, x: call(x))
        graph.compare("<=", times, done)
        return current

    def counted(
        self, times: Any, name: str, key: Scalar, body: Node, scope: Scope,
        current: Value,
    ) -> Value:  # fmt: skip
        """Expand a loop over the numbers below a symbol: the first, and the others as a row."""

        def call(number: Any, before: Value) -> Value:
            scope.values[name] = number
            made = self.items(body, scope, before)
            scope.values[name] = 0
            return made

        graph, (around, scope.loop), done = times.graph, (scope.loop, key.line), 0
        while times > done:
            self._step(key, scope)
            before, current = current, call(done, current)
            done += 1
            if done == graph.grows and plain(times) > done:
                current = self.grown(times, key, scope, before, current, call)
                break
        if times > 0:
            scope.values[name] = times - 1
        scope.loop = around
        return current

    def grown(
        self, times: Any, node: Node, scope: Scope, first: Value, second: Value,
        call: Callable[[int, Value], Value],
    ) -> Value:  # fmt: skip
        """Make the repeats that remain in one row, and return the tensor after it.

        Args:
            times: how often the call is repeated.
            node: where the spec says it.
            scope: the names there.
            first: what the last call that was made was called on.
            second: what it has made.
            call: makes a repeat from its number, counted from 0, and the tensor before it.

        Raises:
            Uneven: a repeat does not make of a tensor what the first one did, or that is not known.
        """
        graph: Graph = times.graph
        assert graph.repeats is not None
        done = graph.grows
        if second is UNKNOWN:
            return second
        if len(first.shape) != len(second.shape) or not like(first, second):
            raise Uneven

        def before(number: Any) -> Value:
            sizes = zip(first.shape, second.shape, strict=True)
            shape = tuple(a if same(a, b) else a + (b - a) * number for a, b in sizes)
            return Value(second.name, shape, second.dtype, second.rows)

        start, noted, held = len(self.builder.layers), self._noted(), held_by(scope)
        steps, work = self.steps, self.budget.left
        number: Any
        with graph.row(times - done) as number:
            given = self.builder.values[second.name] = before(number)
            self._step(node, scope)
            try:
                made = call(number + (done - 1), given)
            except (ArchcostError, Skipped):
                raise Uneven from None
            layers = self.builder.layers[start:]
            taken = (len(layers), self.steps - steps, work - self.budget.left)
            even = self._noted() == noted and alike(made, before(number + 1))
            if not even or held_by(scope) != held:
                raise Uneven
            series = graph.rows[-1]
        self.builder.values[second.name] = second
        if not self._take(taken, times - done - 1):
            raise Uneven
        for layer in layers:
            graph.repeats.setdefault(layer.path, []).append(series)
        last = self.builder.values[made.name] = replace(before(times - done + 1), name=made.name)
        return last

    def _take(self, each: tuple[int, ...], more: int) -> bool:
        """Take the room of further repeats; False if there may not be enough for them.

        A repeat takes so many layers, items and steps of expressions. The most that a symbol stands
        for is taken, and what a quarter of the room has place for bounds it.
        """
        layers, items, steps = each
        room = (
            MAX_LAYERS - len(self.builder.layers) - self.builder.folded,
            MAX_STEPS - self.steps, self.budget.left,
        )  # fmt: skip
        most = min(have // 4 // max(need, 1) for have, need in zip(room, each, strict=True))
        if more > most:
            return False
        if graph := getattr(more, "graph", None):
            most = int(min(most, graph.interval(more)[1]))  # which may be infinite
        self.builder.folded += most * layers
        self.steps += most * items
        self.budget.spend(most * steps)
        return True

    def _noted(self) -> tuple[int, ...]:
        """Return how much there is that one use of a block does not say of the next."""
        return len(self.outputs), len(self.mistakes), self.uses

    def block(self, block: Block, inner: Scope, current: Value) -> Value:
        """Make the layers of a block in a group of its own."""
        seen = self._seen(inner)
        key = self._key(block, inner, seen, current)
        if key is None:
            return self.items(block.body, inner, current)
        tensors = [tensor.name for tensor in tensors_of(seen.values(), current)]
        known = self.document.templates.get(key)
        if known and known.fits(self.builder, MAX_STEPS - self.steps, self.budget.left):
            return self._repeat(known, inner.group, tensors)
        return self._expand(key, block, inner, current, tensors)

    def _seen(self, inner: Scope) -> dict[str, Any]:
        """Return the values that a block sees: what it mentions of the network's, and its own."""
        mentioned = self.document.mentioned
        return {n: v for n, v in self.values.items() if n in mentioned} | inner.values

    def _key(self, block: Block, inner: Scope, seen: dict[str, Any], current: Value) -> Any:
        """Return what a block's layers depend on, nothing if they have to be made again."""
        told = key_of(seen.values(), current)
        try:
            hash(told)
        except TypeError:  # sizes that know their formula
            return None
        return told and (block.name, inner.depth, self.options, *seen, *told)

    def _expand(
        self, key: Any, block: Block, inner: Scope, current: Value, tensors: list[str]
    ) -> Value:
        """Expand a block, and keep what it has made as a template."""
        builder = self.builder
        first, values = len(builder.layers), len(builder.values)
        places, named = len(builder.places), len(self.results)
        others = self._noted()
        steps, left = self.steps, self.budget.left
        made = self.items(block.body, inner, current)
        layers = builder.layers[first:]
        if len(self.document.templates) >= MOST_KEPT:  # of many networks of one document
            self.document.templates.clear()
        if others == self._noted() and type(made) is Value and ties_inside(layers, inner.group):
            self.document.templates[key] = Template(
                inner.group, layers, [*added(builder.values, values).values()],
                tensors, made.name, added(builder.places, places), added(self.results, named),
                self.steps - steps, left - self.budget.left,
            )  # fmt: skip
        return made

    def _repeat(self, known: Template, group: str, tensors: list[str]) -> Value:
        """Make the layers of a template in a group."""
        names = dict(zip(known.tensors, tensors, strict=True))
        self.builder.add_again(known.layers, known.outputs, known.group, group, names)
        self.builder.places.update(known.renamed(group, known.places))
        for path, result in known.renamed(group, known.results).items():
            self.results[path] = names.get(result, "")
        self.steps += known.steps
        self.budget.spend(known.work)
        return self.builder.value(names[known.result])


def alike(a: Value, b: Value) -> bool:
    """Whether two tensors have the same shape by their formulas, and the same type."""
    known = len(a.shape) == len(b.shape) and like(a, b)
    return known and all(map(same, a.shape, b.shape))


def is_range(tree: ast.expr) -> TypeGuard[ast.Call]:
    """Whether an expression is ``range(n)``."""
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return False
    return tree.func.id == "range" and len(tree.args) == 1 and not tree.keywords


def like(a: Value, b: Value) -> bool:
    """Whether two tensors have the same type, and as many rows in a batch."""
    return a.dtype == b.dtype and same(a.rows, b.rows)


def held_by(scope: Scope) -> Mapping[str, int]:
    """Return what tells whether the names of a scope stand for what they stood for."""
    return {name: id(value) for name, value in {**scope.values, **scope.labels}.items()}


def same(a: int, b: int) -> bool:
    """Whether two numbers are equal for all that the symbols in them stand for."""
    graph: Graph | None = getattr(a, "graph", None) or getattr(b, "graph", None)
    return bool(graph.decide("==", a, b)) if graph else a == b


def key_of(values: Iterable[Any], current: Value) -> tuple[Any, ...] | None:
    """Return what tells calls of a block apart; nothing if it cannot be told."""
    tensors = tensors_of(values, current)
    names = [tensor.name for tensor in tensors]
    if not all(names):  # something unknown
        return None
    told: list[Any] = []
    for value in values:
        kind = type(value)
        if kind in PLAIN:
            told += kind, value
        elif kind is Value:
            told.append(kind)
        elif is_plain(value):
            told.append(repr(value))
        else:
            return None
    told += ((t.shape, t.dtype, t.rows, names.index(t.name)) for t in tensors)
    return tuple(told)


def tensors_of(values: Iterable[Any], current: Value) -> list[Value]:
    """Return the tensors that a block sees."""
    return [current, *(value for value in values if type(value) is Value)]


def is_plain(value: Any) -> bool:
    """Whether a value is a number or a text, or a list of these."""
    return type(value) in PLAIN or (type(value) is list and all(map(is_plain, value)))


def added(noted: dict[str, Any], before: int) -> dict[str, Any]:
    """Return the entries of a mapping that were added last, after the first so many."""
    last: Iterable[str] = islice(reversed(noted), len(noted) - before)
    return {path: noted[path] for path in reversed([*last])}


def ties_inside(layers: Iterable[Layer], group: str) -> bool:
    """Whether the parameters that layers take of others are of layers in a group."""
    taken = (full for layer in layers if layer.ties for full in layer.ties.values())
    return all(full.startswith(f"{group}.") for full in taken)
