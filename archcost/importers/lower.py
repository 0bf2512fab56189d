"""From the calls of a pass to the layers of a network."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from archcost.builder import Builder
from archcost.checkpointed import Checkpointed
from archcost.errors import ArchcostError
from archcost.importers.calls import (
    KINDS,
    PRODUCTS,
    Called,
    Constant,
    Input,
    Own,
    Rows,
    View,
    type_of,
)  # fmt: skip
from archcost.importers.formulas import counted, formula_of
from archcost.importers.function_products import einsum_macs
from archcost.importers.function_recurrent import RECURRENT
from archcost.importers.functions import is_of_one
from archcost.importers.lines import at
from archcost.importers.modules import OPS_OF, REFUSED, Said, Unlike
from archcost.importers.probe import probed, seen_in, seen_of
from archcost.importers.seen import (
    BATCH,
    CALL,
    INPUT,
    PARAMETER,
    Call,
    Rerun,
    Seen,
    Trace,
    mixes,
    place_of,
)
from archcost.layout import contiguous
from archcost.network import Network, Value
from archcost.ops.base import made_dtype
from archcost.shape import Shape, numel


class Lowering:
    """Makes a network of the calls of a pass.

    ``called`` makes the op of a call that no op of specs says.
    """

    called: type[Called] = Called

    def __init__(self, trace: Trace, partial: bool = False) -> None:
        self.trace = trace
        self.partial = partial
        self.missing: list[str] = []  # the functions of the calls that count nothing
        self.builder = Builder()
        self.values: dict[tuple[int, int], Value] = {}
        self.inputs: dict[str, Value] = {}
        self.owners: dict[str, str] = {}  # the full name of each parameter that is there
        self.functions: set[str] = set()
        self.in_place: set[str] = set()
        self.buffers: set[int] = set()  # the memory of those that a layer before has
        self.places: list[tuple[int, str]] = []
        self.live = live_calls(trace)
        self.last = {
            seen.storage: call
            for number, call in enumerate(trace.calls) if number in self.live
            for seen in (*seen_in(call.args), *seen_in(call.kwargs)) if seen.call not in self.live
        }  # fmt: skip
        self.leaves = _leaves(trace, self.live)

    def network(self, name: str, inputs: Mapping[str, Seen], **about: Any) -> Network:
        """Return the network; ``inputs`` are what the module was called on."""
        modules = {path.partition(".")[0] for path in self.trace.classes}
        for key, seen in inputs.items():
            shape, _, _ = self.parted(seen.shape)
            own = f"{key}_input" if key in modules else key  # a module goes by its own name
            self.inputs[key] = self.builder.input(shape, own, type_of(seen.dtype))
        for number, call in enumerate(self.trace.calls):
            self.lower(number, call)
        outputs = [self.value(seen) for seen in self.trace.outputs]
        names = dict.fromkeys(value.name for value in outputs if value is not None)
        if not names:
            raise ArchcostError(f"{name}: no tensor that it returns depends on an input")
        made = self.builder.network(name, *names, **about)
        layers = tuple(
            replace(
                layer, function=layer.path in self.functions, in_place=layer.path in self.in_place
            )
            for layer in made.layers
        )
        again = tuple(filter(None, map(self.checkpointed, self.trace.reruns)))
        return replace(
            made, layers=layers, holders=self.holders(), checkpoints=again,
            frozen=self.trace.frozen & made.params.keys(), otherwise=self.trace.otherwise,
        )  # fmt: skip

    def holders(self) -> dict[str, str]:
        """Return, for each tensor, the last layer that runs while a name of the code holds it."""
        numbers = [number for number, _ in self.places]
        found: dict[str, int] = {}
        for key, value in self.values.items():
            freed = self.trace.freed.get(key)
            at = len(numbers) if freed is None else bisect_left(numbers, freed) - 1
            found[value.name] = max(at, found.get(value.name, -1))
        paths = [path for _, path in self.places]
        return {name: paths[at] if at < len(paths) else "" for name, at in found.items()}

    def checkpointed(self, rerun: Rerun) -> Checkpointed | None:
        """Return the layers that backward computes again, None if they are none."""
        paths = frozenset(path for number, path in self.places if number in rerun.calls)
        calls = [self.trace.calls[number] for number in rerun.calls if number in self.live]
        read = [seen for call in calls for seen in seen_in((call.args, call.kwargs))]
        given = {_same(seen) for seen in rerun.given}
        saves: dict[str, None] = {}
        constants: dict[int, tuple[Constant, bool]] = {}
        for seen in (*rerun.given, *read):
            known, argument = self.value(seen), _same(seen) in given
            if known is not None:
                if argument:
                    saves[known.name] = None
                elif rerun.reentrant and seen.call < rerun.calls.start and self.learns(seen):
                    raise ArchcostError(
                        f"{at(rerun.line)}: {known.name} needs a gradient and is "
                        "not among the arguments of torch.utils.checkpoint, use_reentrant=True"
                    )
            elif seen.call < rerun.calls.start and not (seen.buffer or seen.held):
                last = self.last.get(seen.storage)
                ends = last is None or any(call is last for call in calls)
                made = self.constant(seen, None)._replace(last=ends)
                constants.setdefault(made.key, (made, argument))
        held = tuple(constants.values())
        whole = Checkpointed(paths, tuple(saves), held, rerun.reentrant, rerun.whole)
        return whole if paths else None

    def learns(self, seen: Seen) -> bool:
        """Whether a gradient flows through a tensor that a call has made."""
        inside = self.trace.calls[seen.call].inside if seen.kind == CALL else None
        return inside is not None and inside.outs[seen.place].learns

    # Tensors.

    @staticmethod
    def parted(shape: Sequence[int]) -> tuple[Shape, int, int | None]:
        """Return a shape without the batch, the rows of it, and where it is, None if nowhere."""
        where = [d for d, n in enumerate(shape) if n and n % BATCH == 0]
        if mixes(shape):
            raise ArchcostError("a tensor that the module returns mixes the samples of the batch")
        if not where:
            return tuple(shape), 1, None
        [at] = where
        return (*shape[:at], *shape[at + 1 :]), shape[at] // BATCH, at

    def value(self, seen: Seen) -> Value | None:
        """Return the tensor of the network, None for one that depends on no input and parameter."""
        if seen.kind == INPUT:
            return self.inputs[seen.name]
        return self.values.get((seen.call, seen.place)) if seen.kind == CALL else None

    def lower(self, number: int, call: Call) -> None:
        """Add the layer of a call; what depends on constants only is none."""
        if number not in self.live:
            return
        if is_same(call):
            known = self.value(next(iter(seen_in(call.args))))
            if known is not None:
                self.values[number, 0] = known
            return
        path = self.path(call)
        if any(mixes(seen.shape) for seen in (*seen_in((call.args, call.kwargs)), *call.outs)):
            raise ArchcostError(
                f"{place_of(call)}: {call.full} mixes the samples of the batch, so that what one "
                "costs depends on how many there are; a module without this call can be read"
            )
        try:
            made = self.as_op(call, path)
        except Unlike:
            made = self.as_call(call, path)
        self.places.append((number, path))
        if not call.leaf:
            self.functions.add(path)
        if call.in_place and self.value(next(iter(seen_in(call.args)))) is not None:
            self.in_place.add(path)
        for place, (value, seen) in enumerate(zip(made, call.outs, strict=False)):
            self.values[number, place] = value
            shape, rows, _ = self.parted(seen.shape)
            if (value.shape, value.rows) != (shape, rows):
                raise ArchcostError(
                    f"{path}: {call.full} makes {shape} x {rows}, and archcost says {value}"
                )

    def as_op(self, call: Call, path: str) -> tuple[Value, ...]:
        """Add the layer of a call as an op of specs."""
        if call.name not in OPS_OF or "out" in call.kwargs:
            raise Unlike
        try:
            found: Said = OPS_OF[call.name](*call.args, **call.kwargs)
        except REFUSED:
            raise Unlike from None
        values = [self.value(seen) for seen in found.tensors]
        first = all(self.parted(seen.shape)[2] == 0 for seen in found.tensors)
        if None in values or not first:
            raise Unlike
        if any(s.kind != PARAMETER or "complex" in s.dtype for s in found.params.values()):
            raise Unlike
        shape, rows, at = self.parted(call.outs[0].shape)
        shapes = [value.shape for value in values if value is not None]
        try:
            cost = found.op.cost(*shapes)
            made_dtype(found.op, [value.dtype for value in values if value is not None])
            if cost.output != shape or found.op.rows(values[0].rows, *shapes) != rows or at != 0:  # type: ignore[union-attr]
                raise Unlike
        except REFUSED:
            raise Unlike from None
        if self.trace.training and not probed(
            found.op, found.tensors, found.params, call, cost.buffers
        ):
            raise Unlike
        return self.add(found.op, values, path, found.params)

    def as_call(self, call: Call, path: str) -> tuple[Value, ...]:
        """Add the layer of a call as the function that it is."""
        known = call.name in self.called.programs or is_of_one(call.name)
        if not known and not (call.inside and (call.inside.is_priced or formula_of(call.full))):
            if not self.partial or call.inside is None:
                raise ArchcostError(self.unknown(call))
            self.missing.append(call.full)
        tensors: list[Value] = []
        read: list[Seen] = []
        params: dict[str, Seen] = {}
        buffers: dict[str, Seen] = {}

        def told(value: Any) -> Any:
            if isinstance(value, Seen):
                known = self.value(value)
                if known is not None:
                    tensors.append(known)
                    read.append(value)
                    return Input(len(tensors) - 1)
                if value.kind == PARAMETER:
                    own = _own_name(value.name, value, params, buffers)
                    params[own] = value
                    return Own(own)
                if value.buffer and value.storage not in self.buffers:
                    own = _own_name(value.buffer, value, buffers, params)
                    size = value.size // value.width
                    buffers[own] = replace(value, shape=(size,), strides=(1,))
                    shape, strides = map(_with_rows, (value.shape, value.strides))
                    return View(own, shape, strides, value.storage)
                return self.constant(value, call)
            if isinstance(value, slice):
                return slice(*map(told, (value.start, value.stop, value.step)))
            if isinstance(value, (list, tuple)):
                return type(value)(map(told, value))
            return _with_rows(value)

        given = call.args
        if call.name in ("reshape", "view"):  # with all sizes, whatever one was -1
            given = (call.args[0], *call.outs[0].shape)
        args = tuple(told(arg) for arg in given)
        kwargs = {key: told(value) for key, value in call.kwargs.items()}
        parts = [self.parted(seen.shape) for seen in call.outs]
        rows = parts[0][1]
        macs = total = self.macs(call)
        seen = [*seen_in((call.args, call.kwargs)), *call.outs]
        once = all(self.parted(each.shape)[2] is None for each in seen)
        if not once:
            macs, each = macs // BATCH, tensors[0].rows if tensors else 1
            if macs % each:
                raise ArchcostError(
                    f"{path}: {call.full} multiplies {macs:,} times for {each} rows"
                )
            macs //= each
        op = self.called(
            call.name, KINDS.get(call.name, "reshape"), args, kwargs, tuple(p[0] for p in parts),
            rows, {own: seen.shape for own, seen in params.items()},
            {own: (seen.shape, seen.own_width) for own, seen in buffers.items()}, macs,
            type_of(call.outs[0].dtype),
        )  # fmt: skip
        complexes = frozenset(own for own, seen in params.items() if "complex" in seen.dtype)
        op.__dict__.update(once=once, complex_params=complexes)
        if call.inside and not (
            known and "out" not in call.kwargs and probed(op, read, {**params, **buffers}, call)
        ):
            learns = any(out.learns for out in call.inside.outs)
            op.__dict__.update(observed=seen_of(call, told, total), recorded=learns)
        self.buffers |= {seen.storage for seen in buffers.values()}
        if not tensors:  # of parameters alone: it stands behind the input, and reads nothing of it
            tensors = [self.builder.inputs[0]]
        return self.add(op, tensors, path, params)

    def add(
        self, op: Any, values: Sequence[Value | None], path: str, params: Mapping[str, Seen]
    ) -> tuple[Value, ...]:
        """Add a layer, with the names that its parameters have in the module."""
        known = {own: seen.name for own, seen in params.items()}
        shared = {own: name for own, name in known.items() if name in self.owners}
        again = None
        if shared and len(shared) == len(known):
            first = self.owners[next(iter(shared.values()))]
            if self.builder.layer(first).op == op:
                again = first
        names = {own: name for own, name in known.items() if name != f"{path}.{own}"}
        made = self.builder.add_all(
            op, *[v for v in values if v is not None], name=path, params=again or shared or None,
            names=names,
        )  # fmt: skip
        for name in known.values():
            self.owners.setdefault(name, path)
        return made

    def constant(self, seen: Seen, call: Call | None) -> Constant:
        """Return a tensor of constants as an argument of a call."""
        size = seen.size // seen.width if seen.size else numel(seen.shape)
        strides = seen.strides or contiguous(seen.shape)
        key = seen.storage or id(seen)
        last = self.last.get(key, call) is call and not seen.buffer
        shape, strides, size = map(_with_rows, (seen.shape, strides, size))
        return Constant(shape, strides, size, seen.own_width, key, last)

    # Names.

    def path(self, call: Call) -> str:
        """Return the path of a call's layer: that of its module, or a function's name in it."""
        path = ".".join(re.sub(r"[^\w+#-]", "_", part) for part in call.path.split(".") if part)
        if call.path in self.leaves:
            return path
        name = re.sub(r"\W", "", call.name).strip("_") or "call"
        return self.builder.number(path, name)

    def macs(self, call: Call) -> int:
        """Return the multiply-accumulates of a call on the whole batch."""
        if (own := formula_of(call.full)) is not None:
            return counted(own, call.full, call.args, call.kwargs)
        return _macs(call)

    def unknown(self, call: Call) -> str:
        """Return why a function that has no program cannot be priced."""
        why = f": what {call.inside.unpriced} multiplies is not known" if call.inside else ""
        helps = "archcost.formula gives it one, --partial counts the rest"
        return f"{place_of(call)}: {call.full} has no formula{why}; {helps}"


NEW = (
    "new_zeros", "new_ones", "new_empty", "new_full", "zeros_like", "ones_like", "empty_like",
    "full_like", "rand_like", "randn_like", "bernoulli", "uniform",
)  # fmt: skip
"""What makes a tensor in the shape of another, of constants or at random."""

SAME = ("to", "float", "type_as", "half")
"""What gives the same tensor, or the same values in the one type that is priced."""


def _with_rows(value: Any) -> Any:
    """Return sizes in which those of the batch are told."""
    if isinstance(value, tuple):
        return tuple(map(_with_rows, value))
    if isinstance(value, int) and value and value % BATCH == 0:
        return Rows(value // BATCH)
    return value


def _same(seen: Seen) -> tuple[Any, ...]:
    """Return what tells a tensor from others."""
    return (seen.kind, seen.name, seen.call, seen.place) + (seen.storage,) * (seen.call < 0)


def is_same(call: Call) -> bool:
    """Whether a call is a cast from a type of floats to one."""
    if call.name not in SAME:
        return False
    return all("float" in seen.dtype for seen in (next(iter(seen_in(call.args))), *call.outs))


class Known:
    """The functions that have a program."""

    def __contains__(self, name: object) -> bool:
        """Whether one of that name has."""
        return name in Called.programs or is_of_one(str(name))


def _macs(call: Call) -> int:
    """Return the multiply-accumulates of a call on the whole batch."""
    if call.inside is not None and call.inside.operations is not None:
        return call.inside.macs
    given = [*seen_in(call.args), *seen_in(call.kwargs)]
    if call.name in PRODUCTS:
        return numel(call.outs[0].shape) * given[0].shape[-1]
    if call.name == "scaled_dot_product_attention":
        q, k, v = (seen.shape for seen in given[:3])
        return numel(q[:-1]) * k[-2] * (q[-1] + v[-1])
    if call.name == "linear":
        return numel(call.outs[0].shape) * given[1].shape[-1]
    if call.name in ("addmm", "baddbmm"):
        return numel(call.outs[0].shape) * given[2].shape[-2]
    if call.name in ("conv1d", "conv2d", "conv3d"):
        return numel(call.outs[0].shape) * numel(given[1].shape[1:])
    if call.name in RECURRENT:
        x, weights = given[0].shape, [seen.shape for seen in seen_in(call.args[2])]
        return numel(x[:-1]) * sum(numel(shape) for shape in weights if len(shape) == 2)
    if call.name == "einsum":
        return einsum_macs(call.args[0], [seen.shape for seen in given])
    return 0


def _own_name(name: str, seen: Seen, known: Mapping[str, Seen], others: Mapping[str, Seen]) -> str:
    """Return what a layer calls a parameter or buffer: the last part of its name, as in Python.

    One that is ``known`` already keeps the name.
    """
    own = re.sub(r"^(?=\d)|\W", "_", name.rpartition(".")[2])
    while own in others or (own in known and known[own].storage != seen.storage):
        own += "_"
    return own


def live_calls(trace: Trace) -> frozenset[int]:
    """Return the numbers of the calls that depend on an input, a parameter or a product."""
    live: set[int] = set()
    for number, call in enumerate(trace.calls):
        given = [*seen_in(call.args), *seen_in(call.kwargs)]
        depends = (seen.kind in (INPUT, PARAMETER) or seen.call in live for seen in given)
        if call.name not in NEW and (any(depends) or _macs(call)):
            live.add(number)
    return frozenset(live)


def _leaves(trace: Trace, live: frozenset[int]) -> frozenset[str]:
    """Return the modules that are one call, which names its layer."""
    layers = (call for n, call in enumerate(trace.calls) if n in live and not is_same(call))
    number = Counter(call.path for call in layers)
    groups = {path.rpartition(".")[0] for path in trace.classes if path}
    every: set[str] = set()
    for group in groups:
        parts = group.split(".")
        every.update(".".join(parts[: i + 1]) for i in range(len(parts)))
    return frozenset(path for path, n in number.items() if n == 1 and path and path not in every)
