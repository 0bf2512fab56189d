"""The items of random networks: chains, groups, repeats, loops, blocks, branches, merges.

Each method of :class:`Items` appends one item, if archcost accepts it where it stands.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from random_calls import TRIES, Caller, Place
from random_specs import Item

from archcost.ops import OPS
from archcost.ops.base import FLOAT
from archcost.shape import Shape

MERGES = [name for name, op in OPS.items() if op.inputs == ("*",)]
NAMES = (
    "a", "b", "c", "d", "e", "f", "g", "h", "stem", "body", "left", "right", "skip", "pool", "gate",
    "conv1", "relu1", "1x1", "3x3", "x-y", "type", "half", "train", "forward", "weight", "plan",
)  # fmt: skip


class Items(Caller):
    """Draws items; ``left`` is how many layers there may still be."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        super().__init__(rng, counts)
        self.left = rng.randint(4, 16)
        self.calls: dict[str, Callable[[Place], str]] = {}
        self.defined = 0

    # Asking archcost.

    def put(self, items: list[Item], item: Item, place: Place) -> bool:
        """Write an item if archcost takes it, and move on to the tensor that it leaves."""
        shape = self.ask(item, place)
        if shape is None:
            return False
        items.append(item)
        place.shape, place.dtype = shape, self.made_dtype
        return True

    # Items.

    def chain(self, place: Place, length: int) -> list[Item]:
        """Return items one after the other; ``place`` is left where they end."""
        items: list[Item] = []
        for _ in range(length):
            if self.left <= 0:
                break
            self.item(items, place)
        return items

    def item(self, items: list[Item], place: Place) -> None:
        """Write one item of a random kind, where one is found that archcost takes."""
        self.left -= 1
        deep = place.depth > 4
        kinds: list[tuple[int, Callable[[list[Item], Place], None]]] = [(12, self.plain)]
        if not deep:
            kinds += [(3, self.condition), (1, self.loop), (2, self.repeat), (4, self.block)]
        if not place.nameless:
            kinds += [(3, self.named), (1, self.let), (1, self.take)]
        if not place.nameless and not deep:
            kinds += [
                (2, self.group),
                (14, self.merge),
                (2, self.aside),
                (3, self.cross),
                (3, self.chosen),
            ]
        if len(place.labels) > 1:
            kinds += [(7, self.skip)]
        weights, functions = zip(*kinds, strict=True)
        self.rng.choices(functions, weights)[0](items, place)

    def plain(self, items: list[Item], place: Place) -> None:
        """Write ``conv(4, 3)``."""
        call = self.call(place)
        if call is not None:
            self.put(items, call, place)

    def name(self, place: Place) -> str:
        """Return a name that is free in this group, and take it."""
        free = [name for name in NAMES if name not in place.names and name not in place.values]
        name = self.rng.choice(free) if free else f"n{len(place.names)}"
        place.names.add(name)
        return name

    def label(self, name: str, place: Place, shape: Shape) -> None:
        """Let later items read a tensor, if its name can stand in an expression."""
        if name.isidentifier() and place.dtype == FLOAT:
            place.labels[name] = shape

    def named(self, items: list[Item], place: Place) -> None:
        """Write ``a: conv(4, 3)``, or a block as a named group."""
        before: list[Item] = []
        (self.block if self.chance(0.3) else self.plain)(before, place.inside(group=False))
        if not before or not isinstance(before[0], str):
            return
        call = f"{before[0]} * 2" if self.chance(0.15) and " " not in before[0] else before[0]
        name = self.name(place)
        if self.put(items, {name: call}, place):
            self.label(name, place, place.shape)

    def group(self, items: list[Item], place: Place) -> None:
        """Write ``stem: [items]``."""
        inner = place.inside()
        inner.nameless = False
        body = self.chain(inner, self.rng.randint(1, 4))
        name = self.name(place)
        if body and self.put(items, {name: body}, place):
            self.label(name, place, place.shape)

    def let(self, items: list[Item], place: Place) -> None:
        """Write ``let: {w: in_channels * 2}``."""
        value = self.rng.randint(1, 8)
        name = f"v{len(place.values)}"
        if self.put(items, {"let": {name: self.whole(value, place)}}, place):
            place.values[name] = value

    def take(self, items: list[Item], place: Place) -> None:
        """Write ``take(a)``: what follows reads that tensor."""
        self.put(items, f"take({self.rng.choice(sorted(place.labels) or ['input'])})", place)

    def aside(self, items: list[Item], place: Place) -> None:
        """Write side outputs."""
        inner = place.inside()
        inner.nameless = False
        body = self.chain(inner, self.rng.randint(1, 3))
        if body:
            one = body[0] if len(body) == 1 and isinstance(body[0], str) else body
            name = self.name(place)
            shape = place.shape
            self.put(items, {"aside": {name: one}}, place)
            assert place.shape == shape

    def repeat(self, items: list[Item], place: Place) -> None:
        """Write ``conv(4, 3, padding=1) * 2``."""
        call = self.call(place, tries=3)
        if call is not None:
            times = self.rng.choice(("2", "3", "(k + 1)" if "k" in place.values else "2"))
            self.put(items, f"{call} * {times}", place)

    def test(self, place: Place) -> str:
        """Return a condition."""
        tests = [
            f"in_channels > {self.rng.randint(1, 8)}",
            f"in_channels % 2 == {self.rng.randint(0, 1)}",
            "not wide" if "wide" in place.values else "in_channels != 3 and true",
            "in_channels in [1, 2, 4, 8]",
        ]
        if "act" in place.values:
            tests.append("act == 'relu'")
        return self.rng.choice(tests)

    def condition(self, items: list[Item], place: Place) -> None:
        """Write ``relu if wide``, ``relu if wide else tanh`` or ``if wide:`` items."""
        if self.chance(0.4):
            inner = place.inside(group=False)
            body = self.chain(inner, self.rng.randint(1, 3))
            if body:
                self.put(items, {f"if {self.test(place)}": body}, place)
            return
        calls = [self.call(place) for _ in range(2)]
        if calls[0] is not None:
            other = f" else {calls[1]}" if calls[1] and self.chance(0.5) else ""
            self.put(items, f"{calls[0]} if {self.test(place)}{other}", place)

    def loop(self, items: list[Item], place: Place) -> None:
        """Write ``for w in [2, 4]:`` items."""
        wholes = [self.rng.randint(1, 8) for _ in range(4)]
        head, first = self.rng.choice(
            (
                (f"for w in {wholes[:2]}", {"w": wholes[0]}),
                ("for i in range(1, 3)", {"i": 1}),
                (f"for w, i in [{wholes[:2]}, {wholes[2:]}]", {"w": wholes[0], "i": wholes[1]}),
                (f"for i, w in enumerate({wholes[:2]}, 1)", {"i": 1, "w": wholes[0]}),
                (f"for w, i in zip({wholes[:2]}, {wholes[2:]})", {"w": wholes[0], "i": wholes[2]}),
            )
        )
        inner = place.inside(group=False, **first)
        body = self.chain(inner, self.rng.randint(1, 3))
        if body:
            self.put(items, {head: body}, place)

    # Blocks.

    def block(self, items: list[Item], place: Place) -> None:
        """Write a call of a block, which may be a new one."""
        if not self.calls or (len(self.calls) < 3 and self.chance(0.5)):
            self._define(place)
        if self.calls:
            name = self.rng.choice(sorted(self.calls))
            call = self.calls[name](place)
            if self.chance(0.2):
                call += f" * {self.rng.randint(1, 3)}"
            self.put(items, call, place)

    def _define(self, place: Place) -> None:
        """Define a block with parameters that its items use, and how to call it."""
        name = f"block{self.defined}"
        self.defined += 1
        widths, kernel = self.rng.randint(1, 8), self.rng.randint(1, 3)
        act = self.rng.choice(("relu", "tanh", "sigmoid"))
        skips = bool(place.labels) and self.chance(0.3)
        label = self.rng.choice(sorted(place.labels)) if skips else ""
        params = {"out": widths, "size": kernel, "f": act}
        inner = Place(place.shape, {}, self.values | params, depth=place.depth + 1)
        if skips:
            inner.labels["other"] = place.labels[label]
        inner.nameless = self.chance(0.3)  # a plain chain, which is spliced in
        body = self.chain(inner, self.rng.randint(1, 4))
        if not body:
            return
        other = "other, " if skips else ""
        head = f"{name}({other}out, size={kernel}, f={act})"
        self.blocks[head] = body
        self.document = self._read()

        def call(there: Place) -> str:
            tensor = f"{self.rng.choice(sorted(there.labels) or ['current'])}, " if skips else ""
            width = widths if self.chance(0.5) else self.rng.randint(1, 8)
            more = self.rng.choice(("", f", size={self.rng.randint(1, 3)}", f", {kernel}, tanh"))
            return f"{name}({tensor}{self.whole(width, there)}{more})"

        self.calls[name] = call

    # Merges.

    def merge(self, items: list[Item], place: Place) -> None:
        """Write branches from the current tensor, merged."""
        usual = ("add", "concat", "multiply")
        op = self.rng.choice(usual if self.chance(0.7) else MERGES)
        names = [self.name(place) for _ in range(3 if op in ("add", "concat") else 2)]
        names = names[: self.rng.randint(2, 3)]
        branches: dict[str, Item] = {}
        outer = place.inside()
        first = outer.inside()
        first.nameless = False
        body = self.chain(first, self.rng.randint(1, 3))
        branches[names[0]] = body or "identity"
        target, dim = first.shape, ""
        if op == "concat" and self.chance(0.4):
            axis = self.rng.randrange(-len(target), len(target))
            dim = self.rng.choice((f"(dim={axis})", f"({axis})"))
        for name in names[1:]:
            wanted = self._wanted(op, dim, target)
            branch = self._branch(outer, wanted)
            if branch is None:
                return
            branches[name] = branch
        if self.chance(0.5):
            branches = dict(reversed(branches.items()))
        if self.put(items, {op + dim: branches}, place):
            for name in names:
                inner = self.ask(branches[name], outer) if branches[name] != "identity" else None
                self.label(name, place, inner or outer.shape)

    def cross(self, items: list[Item], place: Place) -> None:
        """Write attention of the current tokens to labelled ones, as in a decoder."""
        tokens = [name for name, shape in place.labels.items() if len(shape) == 2]
        if len(place.shape) != 2 or place.dtype != FLOAT or not tokens:
            return
        heads, seen = self.rng.randint(1, 3), self.rng.choice(sorted(tokens))
        widths = [heads * self.rng.randint(1, 3) for _ in range(2)]
        before = ("", f"take({seen}) >> ", f"take({self.rng.choice([seen, 'current'])}) >> ")
        branches = {
            self.name(place): f"{own}linear({width})"
            for own, width in zip(before, (widths[0], *widths), strict=True)
        }
        self.put(items, {f"attention({heads})": branches}, place)

    def chosen(self, items: list[Item], place: Place) -> None:
        """Write what a mask or places choose that are made of the current tensor."""
        dim = self.rng.randrange(len(place.shape))
        compared = f"{self.rng.choice(('eq', 'ne', 'lt', 'le', 'gt', 'ge'))}(0.5)"
        places = self.rng.choice((f"argsort({dim})", f"argmax({dim}, keepdim=True)",
                                  f"argmin({dim}, keepdim=True)"))  # fmt: skip
        logic = self.rng.choice(("logical_and", "logical_or", "logical_xor"))
        a, b, c, d, e = (self.name(place) for _ in range(5))
        masks: list[Item] = [
            compared, f"{compared} >> logical_not", f"{places} >> {compared}",
            [{logic: {d: compared, e: f"{compared} >> logical_not"}}],
        ]  # fmt: skip
        mask = self.rng.choice(masks)
        merges: list[dict[str, dict[str, Item]]] = [
            {"where": {a: mask, b: "tanh", c: "identity"}},
            {"masked_fill(0.5)": {a: mask, b: "identity"}},
            {f"gather({dim})": {a: places, b: "identity"}},
        ]
        if place.dtype == FLOAT:
            self.put(items, self.rng.choice(merges), place)

    def _wanted(self, op: str, dim: str, target: Shape) -> Shape:
        """Return a shape that can be merged with the first branch's."""
        if op == "multiply" and self.chance(0.6):
            return (target[0], *[1] * (len(target) - 1))
        if op == "concat" and self.chance(0.7):
            axis = int(dim.strip("()dim=")) % len(target) if dim else 0
            return (*target[:axis], self.rng.randint(1, 6), *target[axis + 1 :])
        return target

    def _branch(self, outer: Place, target: Shape) -> Item | None:
        """Return items that lead from the current tensor to one of a shape."""
        if outer.shape == target and self.chance(0.3):
            return "identity" if self.chance(0.7) else []
        inner = outer.inside()
        inner.nameless = False
        items = self.chain(inner, self.rng.randint(0, 2))
        if inner.shape != target and not self._lead(items, inner, target):
            return None
        if target[1:] and set(target[1:]) == {1} and self.chance(0.5):
            items.append("sigmoid")
        if len(items) == 1 and isinstance(items[0], str):
            return items[0]
        return items or "identity"

    def _lead(self, items: list[Item], place: Place, target: Shape) -> bool:
        """Write layers after which the current tensor has the wanted shape."""
        if len(target) == 1:
            if len(place.shape) > 1 and not self.put(items, "flatten", place):
                return False
            return self.put(items, f"linear({target[0]})", place) and place.shape == target
        if len(place.shape) != len(target):
            return False
        for _ in range(6):
            k, s, p = self.rng.randint(1, 4), self.rng.randint(1, 2), self.rng.randint(0, 2)
            call = f"conv({target[0]}, {k}, stride={s}, padding={p})"
            if self.ask(call, place) == target:
                return self.put(items, call, place)
        if set(target[1:]) == {1}:
            pool = self.rng.choice(("global_avgpool", "global_maxpool"))
        else:
            kind = self.rng.choice(("adaptive_avgpool", "adaptive_maxpool"))
            pool = f"{kind}({list(target[1:])})"
        if not self.put(items, pool, place):
            return False
        if place.shape != target:
            self.put(items, f"conv({target[0]}, 1)", place)
        return place.shape == target

    def skip(self, items: list[Item], place: Place) -> None:
        """Write a merge of labelled tensors, cropped where they are larger."""
        names = [*sorted(place.labels), "current"]
        for _ in range(TRIES):
            one, two, k = self.rng.choice(names), self.rng.choice(names), self.rng.randint(1, 3)
            call = self.rng.choice(
                (
                    f"add({one}, {two})",
                    f"concat({one}, {two})",
                    f"concat({one}, current, {two}, dim=-1)",
                    f"multiply({one}, {two})",
                    f"concat(crop({one}), current)",
                    f"add(crop({one}), current)",
                    f"multiply({one}, sigmoid({two}))",
                    f"concat(take({one}), relu({two}))",
                    f"crop({one})",
                    f"max_unpool(maxpool({one}, {k}), {one}, {k})",
                    f"max_unpool(maxpool({one}, {k}, padding=1), {one}, {k}, padding=1)",
                    f"deform_conv({one}, conv({one}, 18, 3), {k}, 3)",
                    f"concat(conv({one}, in_channels, 1), current)",
                    f"add(conv({one}, channels(current), 3, padding=1), current)",
                )
            )
            if self.put(items, call, place):
                return
