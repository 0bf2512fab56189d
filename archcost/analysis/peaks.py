"""The largest memory in use at once, in inference and in a training step, tensor by tensor.

The network is run without its numbers: every operation makes, keeps and drops storages as PyTorch
does, and a ledger adds up what is alive. The rules of a step, with where PyTorch has them:

1. A module's arguments live until its call returns, and so do a function's local variables.
2. Backward visits operations in the reverse of the order in which they ran. While one runs, its
   incoming gradient, all its results and what it kept are alive (``engine.cpp``,
   ``evaluate_function``); then it drops what it kept, and only then its results are accumulated.
3. Gradients of parameters are taken over without a copy if they lie in memory as the parameters
   do (``accumulate_grad.h``). The gradient of the loss itself, one element, lives as long as
   backward.
4. Where several operations read a tensor, its gradients are added: in place if nobody else holds
   the sum's storage (``input_buffer.cpp``), else into a new tensor.

The step is ``main(model(x)).sum().backward()``, the optimizer's update, and gradients set to None:
the loss holds one element and the output lives until it is summed. It is not the first step, so
that the optimizer's state exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from archcost.analysis.memory import check_device, kept_rules, place_of, tensor_places
from archcost.analysis.optimizers import find_kernel, find_optimizer
from archcost.analysis.training import Gradients, flows_to, gradients
from archcost.errors import ArchcostError, OpError
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops.base import INPUT, OUTPUT, Saved
from archcost.ops.layout import fresh
from archcost.ops.steps import PRODUCT, SHARED, SLICED, Step
from archcost.shape import Shape, numel
from archcost.units import dtype_bytes

PARAMETERS, BUFFERS, STATE, INPUTS, GRADIENTS, SAVED, TRANSIENT = KINDS = (
    "parameters", "buffers", "optimizer state", "input", "gradients", "saved for backward",
    "transient",
)  # fmt: skip
"""What memory holds; a tensor counts as saved while an operation keeps it for backward."""

FORWARD, BACKWARD, UPDATE = PHASES = ("forward", "backward", "optimizer")
EAGER, IDEAL = READINGS = ("eager", "ideal")
CUDA_BLOCK = 512
"""PyTorch's CUDA allocator hands out multiples of this many bytes (``kMinBlockSize``)."""
BUFFER_BYTES = 8  # of an integer buffer


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment of the largest use of memory.

    Attributes:
        phase: ``"forward"``, ``"backward"`` or ``"optimizer"``.
        layer: path of the layer that was running, empty for the loss and the optimizer.
        kinds: bytes by what they hold, for all of :data:`KINDS`.
        rounding: bytes that the allocator adds by handing out whole blocks.
    """

    phase: str
    layer: str
    kinds: Mapping[str, int]
    rounding: int = 0

    @property
    def tensors(self) -> int:
        """Bytes of all tensors."""
        return sum(self.kinds.values())

    @property
    def total(self) -> int:
        """Bytes of all tensors and the allocator's rounding."""
        return self.tensors + self.rounding


@dataclass(frozen=True, slots=True)
class Moment:
    """The most bytes that were alive, rounding included, while a layer was running."""

    phase: str
    layer: str
    bytes: int


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


def inference_peak(
    network: Network,
    batch: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    reading: str = EAGER,
    block: int = 1,
) -> Run:
    """Return the memory of a forward pass in evaluation mode without gradients.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``.
        reading: ``"eager"``, as PyTorch runs it: a module's arguments live until it returns, and
            the caller holds the input. ``"ideal"``, what a planner could reach without changing
            the order or the operations: every storage is dropped after its last use.
        block: the allocator's block; :data:`CUDA_BLOCK` on CUDA, 1 for bare tensors.

    Raises:
        ArchcostError: an unknown device, dtype or reading, or a layer whose steps are not known.
    """
    if reading not in READINGS:
        raise ArchcostError(f"unknown reading {reading!r}; expected eager or ideal")
    run = _Simulation(network, batch, dtype, device, block, training=False, reading=reading)
    run.forward()
    return run.result()


def training_peak(
    network: Network,
    batch: int = 1,
    dtype: str = "float32",
    device: str = "cpu",
    optimizer: str = "sgd-momentum",
    kernel: str | None = None,
    weight_decay: bool = False,
    freeze: Sequence[str] = (),
    block: int = 1,
    observed: bool = False,
) -> Run:
    """Return the memory of a training step after the first.

    Args:
        network: from :func:`archcost.load`.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        device: ``"cpu"`` or ``"cuda"``.
        optimizer: name in :data:`archcost.analysis.optimizers.OPTIMIZERS`.
        kernel: ``"foreach"``, ``"fused"`` or ``"for-loop"``; None for PyTorch's choice.
        weight_decay: whether the optimizer decays the weights.
        freeze: shell patterns of layers that are not trained.
        block: as for :func:`inference_peak`.
        observed: as an observer of every operation on fake tensors sees it, PyTorch's MemTracker
            for one: gradients are added out of place, and batch normalisation makes a gradient of
            its input that nobody asked for, as it does on CUDA.

    Raises:
        ArchcostError: an unknown name or pattern, nothing to train, or a layer whose steps are
            not known.
    """
    rule, kernel = find_optimizer(optimizer), find_kernel(kernel, device)
    run = _Simulation(network, batch, dtype, device, block, training=True, freeze=freeze)
    state = rule.state(run.trained, kernel, device)
    for size in state:
        run.ledger.new(size, STATE)
    run.forward()
    saved = run.ledger.kinds[SAVED]
    run.backward(observed)
    run.update(list(rule.transients(run.trained, kernel, weight_decay)))
    return run.result(state=sum(state), saved=saved)


class _Storage:
    """Memory of one tensor or several views: how many hold it, and how many keep it."""

    __slots__ = ("holders", "keepers", "kind", "rounding", "size")

    def __init__(self, size: int, kind: str, rounding: int) -> None:
        self.size, self.kind, self.rounding = size, kind, rounding
        self.holders, self.keepers = 1, 0


class _Ledger:
    """What is alive, by kind, and the largest sum so far of each phase."""

    def __init__(self, block: int) -> None:
        self.block = block
        self.kinds = dict.fromkeys(KINDS, 0)
        self.live = self.rounding = 0
        self.phase, self.layer = FORWARD, ""
        self.peaks: dict[str, Peak] = {}
        self.highest = -1
        self.timeline: list[Moment] = []
        self.most = 0

    def enter(self, phase: str, layer: str = "") -> None:
        """Say what runs from here on."""
        if phase != self.phase:
            self.highest = -1
        if (phase, layer) != (self.phase, self.layer):
            self.mark()
            self.phase, self.layer, self.most = phase, layer, 0
        self._look()

    def mark(self) -> None:
        """Write down the layer that ran."""
        if self.most:
            self.timeline.append(Moment(self.phase, self.layer, self.most))

    def _look(self) -> None:
        total = self.live + self.rounding
        if total > self.most:
            self.most = total
        if total > self.highest:
            self.highest = total
            self.peaks[self.phase] = Peak(self.phase, self.layer, dict(self.kinds), self.rounding)

    def new(self, size: int, kind: str = TRANSIENT, pieces: int = 1) -> _Storage:
        """Allocate a tensor, or several of equal size that live and die together."""
        rounding = pieces * (-(size // pieces) % self.block)
        self.kinds[kind] += size
        self.live += size
        self.rounding += rounding
        self._look()
        return _Storage(size, kind, rounding)

    def drop(self, storage: _Storage) -> None:
        """Let go of a storage; the last holder frees it."""
        storage.holders -= 1
        if not storage.holders:
            self.kinds[storage.kind] -= storage.size
            self.live -= storage.size
            self.rounding -= storage.rounding

    def keep(self, storage: _Storage) -> _Storage:
        """Hold a storage for backward."""
        storage.holders += 1
        storage.keepers += 1
        if storage.keepers == 1:
            self.kinds[storage.kind] -= storage.size
            self.kinds[SAVED] += storage.size
        return storage

    def unkeep(self, storage: _Storage) -> None:
        """Let go of a storage that was held for backward."""
        storage.keepers -= 1
        if not storage.keepers:
            self.kinds[SAVED] -= storage.size
            self.kinds[storage.kind] += storage.size
        self.drop(storage)


@dataclass(slots=True)
class _Tensor:
    """A tensor of the forward pass: its storage, size, and the operation that made it, if any."""

    storage: _Storage
    bytes: int
    node: int | None
    pieces: int = 1


@dataclass(frozen=True, slots=True)
class _Target:
    """What gets a gradient: an input, by the operation that made it, or a parameter (None).

    ``copied`` says that a parameter's gradient lies otherwise than the parameter.
    """

    node: int | None
    bytes: int
    pieces: int = 1
    copied: bool = False

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
    kept: list[_Storage] = field(default_factory=list)


@dataclass(slots=True)
class _Gradient:
    """A gradient on its way; ``dense`` if it fills its storage, so that it can be added to."""

    storage: _Storage
    bytes: int
    dense: bool = True


class _Simulation:
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
    ) -> None:
        check_device(device)
        self.network, self.batch, self.itemsize = network, batch, dtype_bytes(dtype)
        self.device, self.training, self.reading = device, training, reading
        self.known: Gradients | None = gradients(network, freeze) if training else None
        self.places = tensor_places(network, batch)
        self.steps = {layer.path: _steps(layer, training) for layer in network}
        self.nodes: list[_Node] = []
        self.ledger = _Ledger(block)
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
        size = self._bytes(self.network.input)
        self.tensors = {NETWORK_INPUT: _Tensor(self.ledger.new(size, INPUTS), size, None)}
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

    def _bytes(self, shape: Shape) -> int:
        return numel(shape) * self.batch * self.itemsize

    def result(self, state: int = 0, saved: int = 0) -> Run:
        self.ledger.mark()
        static = self.static
        return Run(
            self.ledger.peaks, tuple(self.ledger.timeline), static[PARAMETERS], static[BUFFERS],
            static[INPUTS], sum(self.trained), state, saved,
        )  # fmt: skip

    # Forward.

    def forward(self) -> None:
        readers = self.network.last_readers
        self.ledger.most = 0  # the timeline begins with the first layer
        for layer in self.network:
            self.ledger.enter(FORWARD, layer.path)
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
        for name in [name for name in self.tensors if name not in self.network.outputs]:
            self._forget(name)

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
            names[step.makes] = self._step(layer, step, names, rules)
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
        reads = [names[name] for name in (inputs if step.reads is None else step.reads)]
        size = self._bytes(layer.cost.output if step.shape is None else step.shape)
        viewed = step.view or (step.makes == OUTPUT and self._is_view(layer))
        if viewed:
            storage = reads[0].storage
            storage.holders += 1
        else:
            storage = self.ledger.new(size, pieces=step.pieces)
        params = self._params(layer, step)
        records = bool(params) or any(tensor.node is not None for tensor in reads)
        number = len(self.nodes) if records and self.known else None
        made = _Tensor(storage, size, number, step.pieces)
        kept, dropped = self._kept(layer, step, {**names, step.makes: made}, rules, made.node)
        for own in dropped:
            self.ledger.drop(own)
        if made.node is not None:
            targets = [_Target(t.node, t.bytes, t.pieces) for t in reads if t.node is not None]
            targets += params
            scratch = [n * self.batch * self.itemsize for n in step.scratch]
            unasked = reads[0].bytes if step.unasked and reads[0].node is None else 0
            self.nodes.append(_Node(layer.path, targets, step.gradient, scratch, unasked, kept))
        return made

    def _is_view(self, layer: Layer) -> bool:
        return self.places[layer.path].owner != layer.path

    def _params(self, layer: Layer, step: Step) -> list[_Target]:
        """Return the parameters of a step that are trained."""
        if not self.known or layer.path not in self.known.trained:
            return []
        named = layer.cost.params
        chosen = named if step.params is None else step.params
        return [
            _Target(None, numel(shape) * self.itemsize, copied=self._turned(layer, shape))
            for shape in (named[name] for name in chosen)
        ]

    def _turned(self, layer: Layer, param: Shape) -> bool:
        """Whether the gradient of a parameter lies in another order than the parameter."""
        inputs = (self.places[name].layout for name in layer.inputs)
        return not fresh(param).same_order(layer.op.gradient_strides(param, *inputs))

    def _kept(
        self, layer: Layer, step: Step, names: Mapping[int | str, _Tensor],
        rules: Sequence[Saved], node: int | None,
    ) -> tuple[list[_Storage], list[_Storage]]:  # fmt: skip
        """Return what a step keeps for backward, and its own tensors that it drops at once."""
        kept, dropped = [], []
        for saved in layer.cost.saved:
            name = saved.index if saved.what == INPUT else saved.what
            if step.keeps is not None and name not in step.keeps:
                continue
            copied = place_of(saved, layer, self.places)[1]
            own = copied or name not in names
            keeps = node is not None and saved in rules
            if not own:
                if keeps:
                    kept.append(self.ledger.keep(names[name].storage))
                continue
            if saved.device not in (None, self.device) or (saved.training and not self.training):
                continue
            shape = layer.shapes[saved.index] if copied else saved.shape
            width = max(saved.itemsize or self.itemsize, saved.at_least)
            storage = self.ledger.new(numel(shape) * (self.batch if saved.per_batch else 1) * width)
            if keeps:
                self.ledger.keep(storage)
                self.ledger.drop(storage)
                kept.append(storage)
            else:
                dropped.append(storage)
        return kept, dropped

    # Backward.

    def backward(self, observed: bool) -> None:
        ledger = self.ledger
        main = self.tensors[self.network.outputs[0]]
        if main.node is None:
            raise ArchcostError(f"{self.network.name}: no layer is trained, so there is no step")
        self._drop_unreached(main.node)
        ledger.enter(FORWARD)
        loss = ledger.new(self.itemsize)
        self._forget(self.network.outputs[0])
        ledger.enter(BACKWARD)
        root = ledger.new(self.itemsize)
        root.holders += 1
        arrived = {main.node: _Gradient(root, main.bytes, dense=False)}
        for index in reversed(range(len(self.nodes))):
            if index not in arrived:
                continue
            node, gradient = self.nodes[index], arrived.pop(index)
            ledger.enter(BACKWARD, node.layer)
            results = self._gradients(node, gradient, observed)
            ledger.drop(gradient.storage)
            for storage in node.kept:
                ledger.unkeep(storage)
            for target, result in zip(node.targets, results, strict=True):
                if target.node is not None:
                    self._accumulate(arrived, target.node, result, observed)
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
            else:
                for storage in node.kept:
                    self.ledger.unkeep(storage)

    def _gradients(self, node: _Node, gradient: _Gradient, observed: bool) -> list[_Gradient]:
        """Run a node; return the gradients of its targets, each held once."""
        made = [self._gradient(node.gradient, target, gradient) for target in node.targets]
        unasked = node.unasked if observed or self.device == "cuda" else 0
        self._use([*node.scratch, unasked])
        if node.gradient == PRODUCT:
            pairs = zip(node.targets, made, strict=True)
            return [self._summed(target, product) for target, product in pairs]
        return made

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

    def _accumulate(
        self, arrived: dict[int, _Gradient], target: int, result: _Gradient, observed: bool
    ) -> None:
        known = arrived.get(target)
        if known is None:
            arrived[target] = result
            return
        if observed or not (known.dense and known.storage.holders == 1):
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


def _steps(layer: Layer, training: bool) -> tuple[Step, ...]:
    """Return the operations inside a layer, none if the output is the very tensor that comes in."""
    if layer.op.passes_through(training, *layer.shapes):
        return ()
    try:
        return layer.op.steps(*layer.shapes)
    except OpError as error:
        raise ArchcostError(f"{layer.path}: {error}") from None
