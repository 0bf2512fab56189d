"""A forward pass without numbers: what each operation makes, keeps and drops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from archcost.analysis.training import Gradients, flows_to, gradients
from archcost.errors import ArchcostError, OpError
from archcost.memory.graph import MADE, NOTHING, READ, Enough, Node, Recomputed, Target, Tensor
from archcost.memory.ledger import (
    BACKWARD,
    BUFFERS,
    FORWARD,
    INPUTS,
    PARAMETERS,
    Ledger,
    Storage,
)
from archcost.memory.mode import LOWERED, PLAIN, Mode
from archcost.memory.regions import Region, regions
from archcost.memory.saved import (
    check_device,
    keeps_weight,
    kept_rules,
    own_bytes,
    place_of,
    tensor_places,
)
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops.base import INPUT, LOWER, OUTPUT, Saved
from archcost.ops.layout import Layout, arranged
from archcost.ops.steps import NEW, SLICED, Step
from archcost.shape import Shape, numel
from archcost.units import dtype_bytes

EAGER, IDEAL = READINGS = ("eager", "ideal")
BUFFER_BYTES = 8  # of an integer buffer


class Forward:
    """A network in one setting, which runs forward.

    The arguments are those of :func:`archcost.memory.peaks.inference_peak` and
    :func:`archcost.memory.peaks.training_peak`.
    """

    def __init__(
        self,
        network: Network,
        batch: int,
        dtype: str,
        device: str,
        block: int,
        training: bool,
        reading: str = EAGER,
        freeze: Sequence[str] = (),
        mode: Mode = PLAIN,
        observed: bool = False,
    ) -> None:
        check_device(device)
        mode.check(dtype, freeze)
        self.network, self.batch, self.itemsize = network, batch, dtype_bytes(dtype)
        self.device, self.training, self.reading = device, training, reading
        self.known: Gradients | None = gradients(network, freeze) if training else None
        self.mode, self.observed = mode, observed
        self.places = tensor_places(network, batch, mode, self.itemsize)
        self.copies: list[Storage] = []
        self.steps = {
            layer.path: steps_of(layer, training, [self.places[n].layout for n in layer.inputs])
            for layer in network
        }
        self.regions = regions(network, mode.checkpoint) if training else []
        self.within: Recomputed | None = None
        self.recomputed: list[Recomputed] = []
        self.again = False
        self.nodes: list[Node] = []
        self.ledger = Ledger(block)
        self.trained: list[int] = []
        self._fill()

    def _fill(self) -> None:
        """Allocate what is there before the pass: parameters, buffers and the input."""
        updated = self._updated()
        for layer in self.network:
            sizes = [numel(shape) * self.itemsize for shape in layer.cost.params.values()]
            for size in sizes:
                self.ledger.new(size, PARAMETERS)
            for name, shape in layer.cost.buffers.items():
                width = BUFFER_BYTES if name in layer.op.integer_buffers else self.itemsize
                self.ledger.new(numel(shape) * width, BUFFERS)
            if layer.path in updated:
                self.trained += sizes
        size = numel(self.network.input) * self.batch * self.itemsize
        x = Tensor(self.ledger.new(size, INPUTS), size, None, self.itemsize)
        self.tensors = {NETWORK_INPUT: x}
        if self.reading == EAGER:
            self.tensors[NETWORK_INPUT].storage.holders += 1  # the caller's
        self.static = dict(self.ledger.kinds)

    def _updated(self) -> set[str]:
        """Return the trained layers whose parameters get a gradient from the main output."""
        reached = {self.network.outputs[0]}
        for layer in reversed(self.network.layers if self.known else ()):
            if layer.path in reached:
                reached.update(flows_to(layer))
        return reached & self.known.trained if self.known else set()

    # Forward.

    def forward(self) -> None:
        """Run all layers."""
        self.ledger.most = 0  # the timeline begins with the first layer
        first = {region.layers[0].path: region for region in self.regions}
        last = {region.layers[-1].path for region in self.regions}
        for layer in self.network:
            if layer.path in first:
                self._begin(first[layer.path])
            self._run(layer, FORWARD)
            if layer.path in last:
                self.within = None
        for name in [name for name in self.tensors if name not in self.network.outputs]:
            self._forget(name)
        for copy in self.copies:  # autocast ends
            self.ledger.drop(copy)

    def _run(self, layer: Layer, phase: str) -> None:
        self.ledger.enter(phase, layer.path)
        readers = self.network.last_readers
        finished = [
            name
            for name in dict.fromkeys(layer.inputs)
            if readers[name] == layer.path and name not in self.network.outputs
        ]
        if not self.steps[layer.path]:
            self.tensors[layer.path] = self.tensors[layer.inputs[0]]
            self.tensors[layer.path].storage.holders += 1
        else:
            self._layer(layer, finished)
        for name in finished:
            self._forget(name)

    def _begin(self, region: Region) -> None:
        """Keep the inputs of a region, and nothing else until its end."""
        tensors = {name: self.tensors[name] for name in region.inputs}
        for tensor in tensors.values():
            self.ledger.keep(tensor.storage)
        self.within = Recomputed(region, tensors, len(self.nodes))
        self.recomputed.append(self.within)

    def _recompute(self, within: Recomputed) -> None:
        """Run a region again, for what its nodes keep."""
        nodes, tensors = self.nodes, self.tensors
        self.nodes, self.tensors = [], dict(within.tensors)
        for tensor in self.tensors.values():
            tensor.storage.holders += 1
        self.within, self.again = within, True
        try:
            for layer in within.region.layers:
                self._run(layer, BACKWARD)
        except Enough:
            pass
        for name in list(self.tensors):
            self._forget(name)
        for node, new in zip(nodes[within.start :], self.nodes, strict=False):
            node.kept = new.kept
        self.nodes, self.tensors, self.within, self.again = nodes, tensors, None, False
        within.done = True

    def _forget(self, name: str) -> None:
        tensor = self.tensors.pop(name, None)
        if tensor is not None:
            self.ledger.drop(tensor.storage)

    def _layer(self, layer: Layer, finished: Sequence[str]) -> None:
        """Run the steps of a layer; its own tensors are dropped after their last use."""
        steps = self.steps[layer.path]
        names: dict[int | str, Tensor] = {
            i: self.tensors[name] for i, name in enumerate(layer.inputs)
        }
        last: dict[int | str, int] = {}
        for number, step in enumerate(steps):
            held = step.held if self.reading == EAGER else ()
            for name in (*(names if step.reads is None else step.reads), *held):
                last[name] = number
        rules = self._rules(layer)
        for number, step in enumerate(steps):
            try:
                names[step.makes] = self._step(layer, step, names, rules)
            except Enough:
                for name in names:
                    if isinstance(name, str) and last[name] >= number:
                        self.ledger.drop(names[name].storage)
                raise
            for name in [name for name, end in last.items() if end == number]:
                if isinstance(name, str):
                    self.ledger.drop(names[name].storage)
                elif self.reading == IDEAL and layer.inputs[name] in finished:
                    self._forget(layer.inputs[name])
        self.tensors[layer.path] = names[OUTPUT]

    def _rules(self, layer: Layer) -> list[Saved]:
        return list(kept_rules(layer, self.known, self.device)) if self.known else []

    def _step(
        self, layer: Layer, step: Step, names: Mapping[int | str, Tensor], rules: Sequence[Saved]
    ) -> Tensor:
        """Run one operation: allocate its result and what it keeps, and record it for backward."""
        inputs = range(len(layer.inputs))
        names, params = dict(names), self._params(layer, step)
        casts, weight = self._cast(layer, step, names, params) if self.mode.amp else ([], None)
        reads = [names[name] for name in (inputs if step.reads is None else step.reads)]
        records = bool(params) or any(tensor.node is not None for tensor in reads)
        number = len(self.nodes) if records and self.known else None
        within = self.within
        ends = self.again and within is not None and number == within.last - within.start
        if ends and within and not within.whole:  # inputs are kept before the operation runs
            self._record(layer, step, reads, params, self._kept(layer, step, names, rules, 0)[0])
            raise Enough
        made = self._make(layer, step, reads, number)
        if step.inner and not self.observed:
            self.ledger.drop(self.ledger.new(step.inner * self.batch * made.itemsize))
        forgets = within is not None and not self.again
        kept, dropped = self._kept(
            layer, step, {**names, step.makes: made}, rules, None if forgets else number
        )
        for own in (*dropped, *casts):
            self.ledger.drop(own)
        if weight and self.known and keeps_weight(layer, self.known):
            kept.append(self.ledger.keep(weight))
        if number is not None:
            node = self._record(layer, step, reads, params, kept)
            if forgets and within:
                node.within = within
                within.note(number, self._keeps(layer, step, names, rules))
        if ends:
            self.ledger.drop(made.storage)
            raise Enough
        return made

    def _make(self, layer: Layer, step: Step, reads: Sequence[Tensor], node: int | None) -> Tensor:
        """Return the tensor that a step makes, new or a view of the first that it reads."""
        place, last = self.places[layer.path], step.makes == OUTPUT
        own = last or not step.per_batch
        width = step.itemsize or (place.itemsize if own else reads[0].itemsize)
        size = numel(layer.cost.output if step.shape is None else step.shape) * width
        size *= self.batch if step.per_batch else 1
        if step.view or (last and place.owner != layer.path):
            first = reads[0]
            first.storage.holders += 1
            return Tensor(first.storage, size, node, width, step.pieces)
        return Tensor(self.ledger.new(size, pieces=step.pieces), size, node, width, step.pieces)

    def _cast(
        self, layer: Layer, step: Step, names: dict[int | str, Tensor], params: list[Target]
    ) -> tuple[list[Storage], Storage | None]:
        """Cast what an operation reads to autocast's type, as operations of their own.

        Returns copies of tensors, which live as long as the operation, and that of the weight:
        parameters' copies live until autocast ends. ``names`` and ``params`` are changed.
        """
        if step.makes != OUTPUT or layer.op.under_autocast(*layer.shapes) != LOWER:
            return [], None
        weight = None
        chosen = list(layer.cost.params if step.params is None else step.params)
        for i, name in reversed(list(enumerate(chosen))):  # the last argument is cast first
            size = numel(layer.cost.params[name]) * LOWERED
            self.copies.append(self.ledger.new(size))
            weight = self.copies[-1] if name == "weight" else weight
            if params:
                cast = Node(layer.path, [replace(params[i], summed=False)], NEW, [], 0)
                params[i] = Target(len(self.nodes), size, summed=params[i].summed)
                self.nodes.append(cast)
        casts = []
        for read in range(len(layer.inputs)) if step.reads is None else step.reads:
            tensor = names[read]
            if tensor.itemsize == LOWERED:
                continue
            size = tensor.bytes * LOWERED // tensor.itemsize
            casts.append(self.ledger.new(size))
            number = None
            if tensor.node is not None:
                number = len(self.nodes)
                target = Target(tensor.node, tensor.bytes)
                self.nodes.append(Node(layer.path, [target], NEW, [], 0))
            names[read] = Tensor(casts[-1], size, number, LOWERED)
        return casts, weight

    def _record(
        self, layer: Layer, step: Step, reads: Sequence[Tensor], params: Sequence[Target],
        kept: list[Storage],
    ) -> Node:  # fmt: skip
        """Write down for backward what ran."""
        named = range(len(layer.inputs)) if step.reads is None else step.reads
        targets = [
            Target(tensor.node, tensor.bytes, tensor.pieces, summed=name in step.summed)
            for name, tensor in zip(named, reads, strict=True)
            if tensor.node is not None
        ]
        width = self.places[layer.path].itemsize
        inner = 0 if self.observed else step.inner
        scratch = [n * self.batch * width for n in (*step.scratch, inner)]
        scratch += [step.zeros * width] if self.observed else []
        unasked = reads[0].bytes if step.unasked and reads[0].node is None else 0
        gapless = step.gradient == SLICED and self._is_gapless(layer)
        node = Node(
            layer.path, [*targets, *params], step.gradient, scratch, unasked, kept, gapless,
            step.apart, step.repeats,
        )  # fmt: skip
        self.nodes.append(node)
        return node

    def _keeps(
        self, layer: Layer, step: Step, names: Mapping[int | str, Tensor], rules: Sequence[Saved]
    ) -> str:
        """Return what a step keeps for its backward: NOTHING, what it READ or what it MADE."""
        kept = [(saved, name) for saved, name in _saved_of(layer, step) if saved in rules]
        if any(name not in names and not saved.before for saved, name in kept):
            return MADE
        weighted = "weight" in (layer.cost.params if step.params is None else step.params)
        return READ if kept or weighted else NOTHING

    def _is_gapless(self, layer: Layer) -> bool:
        """Whether the parts that a layer joins lie one after the other: those of one sample."""
        along = all(shape[1:] == layer.cost.output[1:] for shape in layer.shapes)
        plain = self.places[layer.path].layout.is_contiguous
        return self.batch == 1 and plain and (along or len(layer.shapes) == 1)

    def _params(self, layer: Layer, step: Step) -> list[Target]:
        """Return the parameters of a step that are trained."""
        if not self.known or layer.path not in self.known.trained:
            return []
        named = layer.cost.params
        chosen = named if step.params is None else step.params
        return [
            Target(
                None, numel(named[name]) * self.itemsize,
                copied=self._turned(layer, named[name]), summed=name in step.summed,
            )
            for name in chosen
        ]  # fmt: skip

    def _turned(self, layer: Layer, param: Shape) -> bool:
        """Whether the gradient of a parameter lies in another order than the parameter."""
        inputs = (self.places[name].layout for name in layer.inputs)
        layout = arranged(param, self.mode.channels_last)
        return not layout.same_order(layer.op.gradient_strides(layout, *inputs))

    def _kept(
        self, layer: Layer, step: Step, names: Mapping[int | str, Tensor],
        rules: Sequence[Saved], node: int | None,
    ) -> tuple[list[Storage], list[Storage]]:  # fmt: skip
        """Return what a step keeps for backward, and its own tensors that it drops at once."""
        kept, dropped = [], []
        for saved, name in _saved_of(layer, step):
            copied = place_of(saved, layer, self.places)[1]
            own = copied or name not in names
            keeps = node is not None and saved in rules
            if not own:
                if keeps:
                    kept.append(self.ledger.keep(names[name].storage))
                continue
            if saved.device not in (None, self.device) or (saved.training and not self.training):
                continue
            params = self.places[layer.path].itemsize if self.observed else self.itemsize
            size = own_bytes(saved, layer, self.places, copied, params) // step.repeats
            if not keeps:  # the piece of one run is gone before the next
                dropped.append(self.ledger.new(size))
                continue
            for storage in [self.ledger.new(size) for _ in range(step.repeats)]:
                self.ledger.keep(storage)
                self.ledger.drop(storage)
                kept.append(storage)
        return kept, dropped


def _saved_of(layer: Layer, step: Step) -> Iterator[tuple[Saved, int | str]]:
    """Yield the rules of a layer that hold for a step, and the step's name of each tensor."""
    for saved in layer.cost.saved:
        name = saved.index if saved.what == INPUT else saved.what
        if step.keeps is None or name in step.keeps:
            yield saved, name


def steps_of(layer: Layer, training: bool, inputs: Sequence[Layout]) -> tuple[Step, ...]:
    """Return the operations inside a layer, none if the output is the very tensor that comes in."""
    if layer.op.passes_through(training, *layer.shapes):
        return ()
    try:
        return layer.op.steps_of(*inputs)
    except OpError as error:
        raise ArchcostError(f"{layer.path}: {error}") from None
