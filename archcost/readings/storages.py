"""The storages reading: programs run on tensors without numbers, as PyTorch runs them.

Every primitive makes, keeps and drops storages as its row says, and a ledger adds up what is
alive. A tensor lives as long as Python holds it, here as in PyTorch. A local variable of an op's
program keeps a tensor exactly as a local variable of the module's ``forward`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import count
from math import prod
from types import MappingProxyType
from typing import Any, NamedTuple

from archcost.errors import ArchcostError
from archcost.layout import Layout, Strides, arranged, layout_of
from archcost.network import NETWORK_INPUT, Layer, Network, maker
from archcost.number import maximum
from archcost.ops import Cost, Op
from archcost.primitives.row import (
    COMPOSITES,
    FLOAT32,
    KEEPS,
    LOWER,
    OUT,
    PRIMITIVES,
    RESULT,
    WIDEN,
    Composite,
    Own,
    Primitive,
    Row,
)
from archcost.readings.ledger import (
    BUFFERS,
    FORWARD,
    INPUTS,
    PARAMETERS,
    TRANSIENT,
    Ledger,
    Storage,
)
from archcost.readings.recomputing import run_region
from archcost.readings.regions import regions
from archcost.readings.tensors import Edge, Held, Kept, Node, Parameter, Tensor
from archcost.setting import AMP, Setting
from archcost.shape import Shape

BOOL_BYTES = 1
FLOAT_BYTES = 4
LOWERED = 2  # bytes per element of the types of autocast
FLOATS = (LOWERED, FLOAT_BYTES)  # under autocast; other sizes are of integers


class Place(NamedTuple):
    """Where the output of a layer lies: the layer that made the storage, and how it lies in it."""

    owner: str
    shape: Shape
    strides: Strides
    itemsize: int

    @property
    def layout(self) -> Layout:
        """Its sizes and strides."""
        return layout_of(self.shape, self.strides)


class Storages:
    """Runs the programs of a network; a primitive is a method of its name.

    ``watched`` says that :meth:`ran` is called for every primitive.

    Args:
        setting: how it is run.
        training: whether the network is in training mode.
        exact: whether an operation is refused of which only the result is known.
    """

    watched = False
    recording = True  # whether autograd records operations
    recomputes = False  # whether backward runs a region again

    def __init__(self, setting: Setting, training: bool = True, exact: bool = True) -> None:
        self.setting, self.training, self.exact = setting, training, exact
        self.device, self.observed, self.amp = setting.device, setting.observed, setting.amp
        self.ledger = Ledger(setting.rounded, setting.observed)
        self.batch = setting.batch
        self.numbers = count()
        self.pack: Callable[[Tensor, str], Any] = Kept
        self.copies: dict[Tensor, Tensor] = {}
        self.layer = ""
        self.params: dict[str, dict[str, Parameter]] = {}
        self.places: dict[str, Place] = {}
        self.constants: dict[Any, Tensor] = {}
        self.changed: Storage | None = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the operation of that name as a function of tensors and options."""
        if name in COMPOSITES:
            made = partial(self.compose, COMPOSITES[name])
        elif name in PRIMITIVES:
            made = partial(self.call, PRIMITIVES[name])
        else:
            raise AttributeError(name)
        setattr(self, name, made)
        return made

    def compose(self, composite: Composite, *args: Any, **options: Any) -> Any:
        """Run an operation that is a program over primitives; return its output.

        Where autocast casts what it reads, its primitives run without.
        """
        amp, rule = self.amp, composite.autocast
        if amp:
            rule = rule if isinstance(rule, str) else rule(*args, **options)
            args, _ = self._cast(composite, args, options)
            self.amp = amp if rule == KEEPS else None
        try:
            return composite.program(self, *args, **options)
        finally:
            self.amp = amp

    def joined(self, times: int, call: Callable[..., Any], x: Tensor, **options: Any) -> Any:
        """Call a primitive again and again on a tensor; return all outputs, joined along dim 1.

        Backward runs the last call first, and adds from the second on: peaks lie there. Each call
        before these two leaves less alive than it found. So they are run as one, whose storages
        count as often.
        """
        together = times - 2
        if self.watched or not self.exact or together < 2:
            return self.cat(*[call(x, **options) for _ in range(times)], dim=1)
        made: list[Storage] = []
        self.ledger.log = made
        part = call(x, **options)
        self.ledger.log = None
        for storage in made:
            storage.multiply(together)
        del made
        parts = [part, call(x, **options), call(x, **options)]
        return self.cat(*parts, dim=1, length=times * part.shape[1])

    # One primitive.

    def call(self, primitive: Primitive, *args: Any, **options: Any) -> Any:
        """Run a primitive; return its output, or the list of its outputs."""
        if self.amp:
            args, widened = self._cast(primitive, args, options)
        row = primitive.row(*args, **options)
        if self.amp and widened:
            row.itemsize = FLOAT_BYTES
        if self.changed is not None:
            _write_in_place(primitive.name, row, args, self.changed)
        unknown = row.unknown or (row.unknown_cast if self.amp else "")
        if unknown and self.exact:
            raise ArchcostError(f"{self.layer}: {unknown}")
        if row.parts and self.exact:
            return row.parts(self, *args, **options)
        tensors, needs = [], False
        for arg in args:
            if isinstance(arg, Tensor):
                tensors.append(arg)
                needs = needs or arg.needs
        node, made = None, {}
        if needs and primitive.differentiable and self.recording:
            self._check_kept(row)
            node = self._node(row, args)
            # what it reads is packed before the operation runs, what it makes after
            for saved in row.saves:
                if isinstance(saved, Tensor):
                    node.saved.append(self.pack(saved, self.layer))
        outs = self._outputs(primitive.name, row, tensors, options, node)
        if row.makes:
            made = dict(zip(row.results, outs, strict=False))
            there = [own for own in row.makes if own not in made and self._itemsize(own) != 0]
            made |= {own: self._own(own, outs[0]) for own in there}
        if not self.observed:
            held = [Held(outs[0].like((n,), itemsize=1)) for n in row.holds]
            if node is not None:
                node.saved += held
            if row.inner:
                outs[0].like((row.inner,))
            if row.passing:
                [outs[0].like((n,), itemsize=1) for n in row.passing]
        if node is not None:
            for saved in row.saves:
                if saved is OUT or saved in made:
                    kept = outs[0] if saved is OUT else made[saved]
                    node.saved.append(self.pack(kept, self.layer))
        if self.watched:
            self.ran(row, (*args, *options.values()) if args else (), outs)
        return outs if row.outs or row.results else outs[0]

    def _check_kept(self, row: Row) -> None:
        """Refuse an operation of which it is not known what autograd keeps."""
        dtype = AMP[self.amp] if self.amp else self.setting.dtype
        if row.untold or (row.types and dtype not in row.types):
            reason = row.untold or f"what it keeps in {dtype} on a CPU is not known"
            raise ArchcostError(f"{self.layer}: {reason}")

    def _own(self, own: Own, out: Tensor) -> Tensor:
        """Return an own tensor of a primitive, by one that has its type and device."""
        return out.like(own.shape, itemsize=self._itemsize(own), what=own.what)

    def _itemsize(self, own: Own) -> int | None:
        return own.itemsize if own.observed is None or not self.observed else own.observed

    def ran(self, row: Row, read: Sequence[Any], made: Sequence[Tensor]) -> None:
        """Take note of a primitive that ran: what it has read, tensors among it, and made."""

    def _outputs(
        self, name: str, row: Row, tensors: Sequence[Tensor], options: Mapping[str, Any],
        node: Node | None,
    ) -> list[Tensor]:  # fmt: skip
        first = tensors[0] if tensors else options["like"]
        if row.outs:
            return [
                Tensor(first.storage, *out, first.itemsize, self.device, node, place)
                for place, out in enumerate(row.outs)
            ]
        if row.results:
            made = [self._own(own, first) for own in row.results]
            for place, (out, own) in enumerate(zip(made, row.results, strict=True)):
                if own.learns:
                    out.node, out.place, out.needs = node, place, node is not None
            return made
        itemsize = self._width(row, tensors or (first,))
        storage = first.storage
        if not row.view:
            room = prod(row.shape)
            if row.room and not self.observed:
                room = maximum(room, row.room)
            storage = Storage(self.ledger, room * itemsize, TRANSIENT, name)
        strides = row.observed if row.observed and self.observed else row.strides
        return [Tensor(storage, row.shape, strides, itemsize, self.device, node)]

    def _width(self, row: Row, tensors: Sequence[Tensor]) -> int:
        """Return the bytes per element of the output."""
        if self.amp and row.widens and not row.itemsize:
            widths = (t.itemsize for t in tensors if t.itemsize in FLOATS)
            return max(widths, default=tensors[0].itemsize)
        return row.itemsize or tensors[0].itemsize

    def _node(self, row: Row, args: Sequence[Any]) -> Node:
        node = Node()
        node.number, node.layer, node.outs = next(self.numbers), self.layer, row.outs
        node.flattens = row.flattens
        node.saved, node.copies = [], row.copies or (None if self.observed else row.copies_inside)
        rules = row.gradient
        if not isinstance(rules, tuple):
            rules = (rules,) * len(args)
        node.edges = edges = []
        most = min(len(args), len(rules))
        for place in [p for p in row.order if p < most] if row.order else range(most):
            arg = args[place]
            if isinstance(arg, Tensor) and arg.needs:
                strides = row.weight_strides if place == 1 else None
                edges.append(Edge(arg, rules[place], strides, place in row.late))
        hidden = row.zeros if self.observed else row.inner or row.hidden
        unasked = row.unasked if self.observed or self.device == "cuda" else ()
        node.scratch = []
        if hidden or row.scratch or row.masks or unasked:
            width = self._width(row, [arg for arg in args if isinstance(arg, Tensor)])
            own = (row.zeros,) if self.observed else (row.inner, row.hidden)
            node.scratch += [(n, width) for n in (*row.scratch, *own, *unasked) if n]
            node.scratch += [(n, BOOL_BYTES) for n in row.masks]
        return node

    def _cast(
        self, primitive: Primitive | Composite, args: Sequence[Any], options: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], bool]:
        """Cast what a primitive reads, as autocast does: the last argument first.

        Return it, and whether the result is to be of float32 all the same.
        """
        rule: Any = primitive.autocast
        if not isinstance(rule, str):
            rule = rule(*args, **options)
        if rule in (KEEPS, RESULT):
            return tuple(args), rule == RESULT
        rules = rule if isinstance(rule, tuple) else (rule,) * len(args)
        widths = [t.itemsize for t in args if isinstance(t, Tensor) and t.itemsize in FLOATS]
        width = {LOWER: LOWERED, FLOAT32: FLOAT_BYTES, WIDEN: max(widths, default=0), KEEPS: 0}
        pairs = list(zip(args, rules, strict=False))
        cast = [self._as(arg, width[own]) if width[own] else arg for arg, own in reversed(pairs)]
        return tuple(cast[::-1]), False

    def _as(self, arg: Any, width: int) -> Any:
        if not isinstance(arg, Tensor) or arg.itemsize not in FLOATS or arg.itemsize == width:
            return arg
        lower = self.copies.get(arg)
        if lower is None:
            lower = self.call(PRIMITIVES["cast"], arg, itemsize=width)
            if isinstance(arg, Parameter) and arg.learns and width == LOWERED:
                self.copies[arg] = lower  # autocast keeps it until it ends
        return lower

    # A network.

    def forward(self, network: Network, learns: Collection[str] = ()) -> list[Tensor]:
        """Run all layers and return the outputs; ``learns`` are full names of parameters."""
        if network.otherwise and self.setting.batch == 1:
            raise ArchcostError(
                f"{network.name}: with a batch of 1, {network.otherwise} goes another way, whose "
                "memory is not known; give a larger --batch"
            )
        self.network = network
        itemsize, batch = self.setting.itemsize, self.setting.batch
        known: dict[str, Parameter] = {}
        for layer in network:
            self._place(layer, itemsize, learns, known)
        tensors: dict[str, Tensor] = {}
        for value in network.inputs:
            made = self.leaf((batch, *value.shape), INPUTS, value.itemsize(itemsize))
            made.storage.owner = value.name
            tensors[value.name] = made
            self._note(value.name, made)
            del made
        self.inputs = [*tensors.values()]
        self.ledger.timeline.clear()
        self.static, self.static_taken = dict(self.ledger.kinds), self.ledger.live
        found = regions(network, self.setting.checkpoint) if self.training else []
        first = {region.layers[0].path: region for region in found}
        at = 0
        while at < len(network.layers):
            region = first.get(network.layers[at].path)
            if region is None:
                self.run_layer(network.layers[at], tensors, FORWARD)
                at += 1
                continue
            run_region(self, region, tensors)
            for layer in region.layers:
                self._finish(layer, tensors)
            at += len(region.layers)
        self.copies.clear()  # autocast ends
        return [tensors[name] for name in network.outputs]

    def _place(
        self, layer: Layer, itemsize: int, learns: Collection[str], known: dict[str, Parameter]
    ) -> None:
        """Allocate what no layer before has; ``known`` are the parameters by their full names."""
        path = layer.path
        if layer.module != path:
            self.params[path] = self.params[layer.module]
            return
        if not layer.cost.params and not layer.cost.buffers:
            self.params[path] = {}
            return
        names = {name: layer.full_name(name) for name in layer.params}
        learnt = [name for name, full in names.items() if full in learns]
        shared = {name: known[full] for name, full in layer.ties.items()}
        self.place_params(path, layer.op, layer.cost, itemsize, learnt, shared)
        known |= {full: self.params[path][name] for name, full in names.items()}

    def place_params(
        self, path: str, op: Op, cost: Cost, itemsize: int, learnt: Collection[str],
        shared: Mapping[str, Parameter] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        """Allocate the parameters and buffers of a layer, of which some may be there already.

        ``learnt`` are the names of those that are trained.
        """
        params = {**shared}
        for name, shape in cost.params.items():
            if name not in shared:
                width = op.param_bytes(name, itemsize) if op.complex_params else itemsize
                params[name] = self.leaf(shape, PARAMETERS, width, name in learnt)
                params[name].learns = name in learnt or not self.training
        for name, shape in cost.buffers.items():
            width = op.param_bytes(name, itemsize)
            params[name] = self.leaf(shape, BUFFERS, op.buffer_bytes.get(name, width))
        self.params[path] = params

    def leaf(self, shape: Shape, kind: str, itemsize: int, needs: bool = False) -> Parameter:
        """Return a tensor that is there before the pass."""
        storage = Storage(self.ledger, prod(shape) * itemsize, kind, "output")
        storage.owner = NETWORK_INPUT
        strides = arranged(shape, self.setting.channels_last)
        made = Parameter(storage, shape, strides, itemsize, self.device)
        made.grad, made.learns, made.needs, made.readers = None, False, needs, 0
        return made

    def run_op(self, path: str, op: Op, args: Sequence[Tensor]) -> Any:
        """Run the program of an op at a path; return its output, or the list of several."""
        self.layer = path
        return op.forward(self, *args, **self.params[path])

    def run_layer(self, layer: Layer, tensors: dict[str, Tensor], phase: str) -> None:
        """Run a layer on ``tensors``, by their names, and drop what nothing holds any more."""
        self.ledger.enter(phase, layer.path)
        read = [tensors[name] for name in layer.inputs]
        self.changed = read[0].storage if layer.in_place else None
        made = self.run_op(layer.path, layer.op, read)
        self.changed = None
        del read
        several = made if isinstance(made, list) else [made]
        for name, each in zip(layer.outputs, several, strict=True):
            if phase == FORWARD:
                self._note(name, each)
            tensors[name] = each
            del each
        del made, several
        self._finish(layer, tensors)

    def _note(self, path: str, made: Tensor) -> None:
        storage = made.storage
        if storage.owner == maker(path):
            storage.what = "output"
        self.places[path] = Place(storage.owner, made.shape, made.strides, made.itemsize)

    def _finish(self, layer: Layer, tensors: dict[str, Tensor]) -> None:
        """Drop what nothing holds any more."""
        for name in self.network.released.get(layer.path, ()):
            tensors.pop(name, None)


def _write_in_place(name: str, row: Row, args: Sequence[Any], changed: Storage) -> None:
    """Let an operation write into the tensor that it reads first, as its in-place form does.

    What the gradient needs of the old values is copied before, where it cannot be had of the new
    ones (``tools/autograd/gen_variable_type.py``).
    """
    first = args[0] if args else None
    if not isinstance(first, Tensor) or first.storage is not changed:
        return
    if row.view or row.results or row.itemsize or row.shape != first.shape:
        return
    row.view, row.strides = True, first.strides
    needs = any(isinstance(arg, Tensor) and arg.needs for arg in args)
    if needs and any(saved is first for saved in row.saves):
        kept: Any = OUT
        if name not in OF_NEW_VALUES:
            kept = Own("old values", first.shape)
            row.makes = (*row.makes, kept)
        row.saves = tuple(kept if saved is first else saved for saved in row.saves)


OF_NEW_VALUES = ("celu", "elu", "hardtanh", "leaky_relu", "relu6", "selu", "threshold")
"""Functions whose in-place form makes its gradient of what it has written."""
