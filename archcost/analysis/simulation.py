"""A pass or a step of a network without its numbers: what each operation makes, keeps and drops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from archcost.analysis.ledger import (
    BACKWARD,
    BUFFERS,
    FORWARD,
    GRADIENTS,
    INPUTS,
    PARAMETERS,
    TRANSIENT,
    UPDATE,
    Ledger,
    Moment,
    Peak,
    Storage,
)
from archcost.analysis.memory import (
    check_device,
    keeps_weight,
    kept_rules,
    own_bytes,
    place_of,
    tensor_places,
)
from archcost.analysis.mode import LOWERED, PLAIN, Mode
from archcost.analysis.regions import Region, regions
from archcost.analysis.training import Gradients, flows_to, gradients
from archcost.errors import ArchcostError, OpError
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops.base import INPUT, LOWER, OUTPUT, Saved
from archcost.ops.layout import arranged
from archcost.ops.steps import NEW, PRODUCT, SHARED, SLICED, Step
from archcost.shape import Shape, numel
from archcost.units import dtype_bytes

EAGER, IDEAL = READINGS = ("eager", "ideal")
RESULTS = "results"
BUFFER_BYTES = 8  # of an integer buffer


@dataclass(frozen=True)
class Run:
    """A simulated pass: its peak, the peak of each of its phases, and its timeline.

    ``gradients`` and ``state`` are the bytes of all of them; ``saved`` is what backward has at
    hand when it begins.
    """

    peaks: Mapping[str, Peak]
    timeline: tuple[Moment, ...]
    params: int
    buffers: int
    input: int
    gradients: int = 0
    state: int = 0
    saved: int = 0

    @property
    def peak(self) -> Peak:
        """The largest of the phases' peaks, the first of equals."""
        return max(self.peaks.values(), key=lambda peak: peak.total)


@dataclass(slots=True)
class _Tensor:
    """A tensor of the forward pass: its storage, size, and the operation that made it, if any."""

    storage: Storage
    bytes: int
    node: int | None
    itemsize: int
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class _Target:
    """What gets a gradient: an input, by the operation that made it, or a parameter (None).

    ``copied`` says that a parameter's gradient lies otherwise than the parameter, ``summed`` that
    it is a sum of the incoming gradient, taken after the operation.
    """

    node: int | None
    bytes: int
    pieces: int = 1
    copied: bool = False
    summed: bool = False

    @property
    def kind(self) -> str:
        return GRADIENTS if self.node is None else TRANSIENT


@dataclass(slots=True)
class _Node:
    """An operation that backward visits: whose gradients it makes, and what it kept for that."""

    layer: str
    targets: list[_Target]
    gradient: str
    scratch: list[int]
    unasked: int
    kept: list[Storage] = field(default_factory=list)
    keeps: bool = False
    within: _Recomputed | None = None


@dataclass(slots=True, eq=False)
class _Recomputed:
    """A region at work: what it has kept of its inputs, and its nodes from ``start`` on.

    ``keepers`` are the nodes that would keep something. Computing again ends at the last of them,
    before it is executed unless ``whole``: it keeps results. The ``first`` that backward reaches
    is the last to need the region's inputs.
    """

    region: Region
    tensors: dict[str, _Tensor]
    start: int
    keepers: list[int] = field(default_factory=list)
    whole: bool = False
    first: int | None = None
    done: bool = False

    @property
    def last(self) -> int:
        return self.keepers[-1]

    def note(self, node: int, needs: str) -> None:
        """Write down what a node needs for backward, if anything."""
        if needs:
            self.keepers.append(node)
            self.whole = needs == RESULTS

    def release(self, ledger: Ledger) -> None:
        """Let go of the inputs."""
        for tensor in self.tensors.values():
            ledger.unkeep(tensor.storage)


class _Enough(Exception):
    """All that is needed again has been computed."""


@dataclass(slots=True)
class _Gradient:
    """A gradient on its way; ``dense`` if it fills its storage, so that it can be added to."""

    storage: Storage
    bytes: int
    dense: bool = True


class Simulation:
    """A network in one setting, which runs forward, then backward, then updates.

    The arguments are those of :func:`archcost.analysis.peaks.inference_peak` and
    :func:`archcost.analysis.peaks.training_peak`.
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
        self.steps = {layer.path: _steps(layer, training) for layer in network}
        self.regions = regions(network, mode.checkpoint) if training else []
        self.within: _Recomputed | None = None
        self.recomputed: list[_Recomputed] = []
        self.again = False
        self.nodes: list[_Node] = []
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
        x = _Tensor(self.ledger.new(size, INPUTS), size, None, self.itemsize)
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

    def result(self, state: int = 0, saved: int = 0) -> Run:
        """Return what was seen; ``state`` and ``saved`` are sizes known to the caller."""
        self.ledger.mark()
        static = self.static
        return Run(
            self.ledger.peaks, tuple(self.ledger.timeline), static[PARAMETERS], static[BUFFERS],
            static[INPUTS], sum(self.trained), state, saved,
        )  # fmt: skip

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
        self.within = _Recomputed(region, tensors, len(self.nodes))
        self.recomputed.append(self.within)

    def _recompute(self, within: _Recomputed) -> None:
        """Run a region again, for what its nodes keep."""
        nodes, tensors = self.nodes, self.tensors
        self.nodes, self.tensors = [], dict(within.tensors)
        for tensor in self.tensors.values():
            tensor.storage.holders += 1
        self.within, self.again = within, True
        try:
            for layer in within.region.layers:
                self._run(layer, BACKWARD)
        except _Enough:
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
        names: dict[int | str, _Tensor] = {
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
            except _Enough:
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
        self, layer: Layer, step: Step, names: Mapping[int | str, _Tensor], rules: Sequence[Saved]
    ) -> _Tensor:
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
            raise _Enough
        last = step.makes == OUTPUT
        width = self.places[layer.path].itemsize if last else reads[0].itemsize
        size = numel(layer.cost.output if step.shape is None else step.shape) * self.batch * width
        viewed = step.view or (last and self._is_view(layer))
        if viewed:
            storage = reads[0].storage
            storage.holders += 1
        else:
            storage = self.ledger.new(size, pieces=step.pieces)
        made = _Tensor(storage, size, number, width, step.pieces)
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
                within.note(number, self._needs(layer, step, names, rules))
        if ends:
            self.ledger.drop(storage)
            raise _Enough
        return made

    def _cast(
        self, layer: Layer, step: Step, names: dict[int | str, _Tensor], params: list[_Target]
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
                cast = _Node(layer.path, [replace(params[i], summed=False)], NEW, [], 0)
                params[i] = _Target(len(self.nodes), size, summed=params[i].summed)
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
                target = _Target(tensor.node, tensor.bytes)
                self.nodes.append(_Node(layer.path, [target], NEW, [], 0))
            names[read] = _Tensor(casts[-1], size, number, LOWERED)
        return casts, weight

    def _record(
        self, layer: Layer, step: Step, reads: Sequence[_Tensor], params: Sequence[_Target],
        kept: list[Storage],
    ) -> _Node:  # fmt: skip
        """Write down for backward what ran."""
        targets = [_Target(t.node, t.bytes, t.pieces) for t in reads if t.node is not None]
        scratch = [n * self.batch * self.places[layer.path].itemsize for n in step.scratch]
        unasked = reads[0].bytes if step.unasked and reads[0].node is None else 0
        node = _Node(layer.path, [*targets, *params], step.gradient, scratch, unasked, kept)
        self.nodes.append(node)
        return node

    def _needs(
        self, layer: Layer, step: Step, names: Mapping[int | str, _Tensor], rules: Sequence[Saved]
    ) -> str:
        """Return what a step keeps for its backward: ``"results"``, ``"input"`` or nothing."""
        kept = [(saved, name) for saved, name in _saved_of(layer, step) if saved in rules]
        if any(name not in names or place_of(s, layer, self.places)[1] for s, name in kept):
            return RESULTS
        weighted = "weight" in (layer.cost.params if step.params is None else step.params)
        return INPUT if kept or weighted else ""

    def _is_view(self, layer: Layer) -> bool:
        return self.places[layer.path].owner != layer.path

    def _params(self, layer: Layer, step: Step) -> list[_Target]:
        """Return the parameters of a step that are trained."""
        if not self.known or layer.path not in self.known.trained:
            return []
        named = layer.cost.params
        chosen = named if step.params is None else step.params
        return [
            _Target(
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
        self, layer: Layer, step: Step, names: Mapping[int | str, _Tensor],
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
            storage = self.ledger.new(own_bytes(saved, layer, self.places, copied, params))
            if keeps:
                self.ledger.keep(storage)
                self.ledger.drop(storage)
                kept.append(storage)
            else:
                dropped.append(storage)
        return kept, dropped

    # Backward.

    def backward(self) -> None:
        """Sum the output up and run backward from there."""
        ledger = self.ledger
        main = self.tensors[self.network.outputs[0]]
        if main.node is None:
            raise ArchcostError(f"{self.network.name}: no layer is trained, so there is no step")
        self._drop_unreached(main.node)
        ledger.enter(FORWARD)
        loss = ledger.new(main.itemsize)
        self._forget(self.network.outputs[0])
        ledger.enter(BACKWARD)
        root = ledger.new(main.itemsize)
        root.holders += 1
        arrived = {main.node: _Gradient(root, main.bytes, dense=False)}
        for index in reversed(range(len(self.nodes))):
            if index not in arrived:
                continue
            node, gradient = self.nodes[index], arrived.pop(index)
            ledger.enter(BACKWARD, node.layer)
            within = node.within
            if within and index in within.keepers and not within.done:
                self._recompute(within)
                ledger.enter(BACKWARD, node.layer)
            results = self._gradients(node, gradient)
            ledger.drop(gradient.storage)
            self._release(node)
            if within and index == within.first:
                within.release(ledger)
            for target, result in zip(node.targets, results, strict=True):
                if target.node is not None:
                    self._accumulate(arrived, target.node, result)
                elif target.copied:
                    ledger.new(result.bytes, GRADIENTS)
                    ledger.drop(result.storage)
        ledger.enter(BACKWARD)
        ledger.drop(root)
        ledger.drop(loss)

    def _drop_unreached(self, main: int) -> None:
        """Drop side outputs; what was kept for their gradients goes with them."""
        for name in self.network.outputs[1:]:
            self._forget(name)
        reached = {main}
        for index in reversed(range(len(self.nodes))):
            node = self.nodes[index]
            if index in reached:
                reached.update(t.node for t in node.targets if t.node is not None)
                if node.within and index in node.within.keepers:
                    node.within.first = index
            else:
                self._release(node)
        for within in self.recomputed:
            if within.first is None:
                within.release(self.ledger)

    def _gradients(self, node: _Node, gradient: _Gradient) -> list[_Gradient]:
        """Run a node; return the gradients of its targets, each held once."""
        made = {
            i: self._gradient(node.gradient, target, gradient)
            for i, target in enumerate(node.targets)
            if not target.summed
        }
        unasked = node.unasked if self.observed or self.device == "cuda" else 0
        self._use([*node.scratch, unasked])
        if node.within:  # what was computed again is dropped before sums are taken
            self._release(node)
        for i, target in enumerate(node.targets):
            if target.summed:
                made[i] = self._gradient(node.gradient, target, gradient)
            elif node.gradient == PRODUCT:
                made[i] = self._summed(target, made[i])
        return [made[i] for i in range(len(node.targets))]

    def _release(self, node: _Node) -> None:
        """Let go of what a node has kept."""
        for storage in node.kept:
            self.ledger.unkeep(storage)
        node.kept = []

    def _gradient(self, how: str, target: _Target, gradient: _Gradient) -> _Gradient:
        alone = self.batch == 1
        if how in (SHARED, SLICED) and (target.node is not None or (how == SLICED and alone)):
            gradient.storage.holders += 1
            # a slice of the channels of one sample has no gaps
            dense = gradient.dense and (how == SHARED or alone)
            return _Gradient(gradient.storage, target.bytes, dense)
        if how == PRODUCT:
            return _Gradient(self.ledger.new(gradient.bytes), gradient.bytes)
        storage = self.ledger.new(target.bytes, target.kind, target.pieces)
        return _Gradient(storage, target.bytes)

    def _summed(self, target: _Target, product: _Gradient) -> _Gradient:
        """Sum a product over what a smaller factor was repeated for, and a parameter over all."""
        if target.node is not None and target.bytes == product.bytes:
            return product
        summed = _Gradient(self.ledger.new(target.bytes, target.kind), target.bytes)
        self.ledger.drop(product.storage)
        return summed

    def _accumulate(self, arrived: dict[int, _Gradient], target: int, result: _Gradient) -> None:
        known = arrived.get(target)
        if known is None:
            arrived[target] = result
            return
        if self.observed or not (known.dense and known.storage.holders == 1):
            arrived[target] = _Gradient(self.ledger.new(result.bytes), result.bytes)
            self.ledger.drop(known.storage)
        self.ledger.drop(result.storage)

    # Update.

    def update(self, moments: Sequence[Sequence[int]]) -> None:
        """Run the optimizer, whose own tensors are alive together moment by moment."""
        self.ledger.enter(UPDATE)
        for sizes in moments:
            self._use(sizes)

    def _use(self, sizes: Sequence[int]) -> None:
        """Allocate tensors, all together, and drop them."""
        for storage in [self.ledger.new(size) for size in sizes if size]:
            self.ledger.drop(storage)


def _saved_of(layer: Layer, step: Step) -> Iterator[tuple[Saved, int | str]]:
    """Yield the rules of a layer that hold for a step, and the step's name of each tensor."""
    for saved in layer.cost.saved:
        name = saved.index if saved.what == INPUT else saved.what
        if step.keeps is None or name in step.keeps:
            yield saved, name


def _steps(layer: Layer, training: bool) -> tuple[Step, ...]:
    """Return the operations inside a layer, none if the output is the very tensor that comes in."""
    if layer.op.passes_through(training, *layer.shapes):
        return ()
    try:
        return layer.op.steps(*layer.shapes)
    except OpError as error:
        raise ArchcostError(f"{layer.path}: {error}") from None
