"""A network, made by :mod:`archcost.builder`: layers in execution order, with op, inputs, cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

from archcost.checkpointed import Checkpointed
from archcost.data import dataclass
from archcost.errors import ArchcostError, LookupFailed
from archcost.ops import Cost, Op
from archcost.ops.base import BYTES, FLOAT, INT64, element_bytes, made_dtype
from archcost.published import Claim, Published
from archcost.shape import Shape, numel, show
from archcost.units import number_of

NETWORK_INPUT = "input"
"""The name of a network's input, unless it has several."""
INT64_BYTES = BYTES[INT64]

NO_NAMES: Mapping[str, str] = {}  # no proxy, because layers are sent to other processes

WEIGHT_KINDS = ("conv", "linear")
"""The kinds of op that a network's depth counts."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor that goes into a network or from layer to layer.

    Attributes:
        name: the name of the input, or the path of the layer that makes it. Further outputs of a
            layer are ``path:1``, ``path:2``.
        shape: the shape without batch.
        dtype: ``"float"``, ``"int64"`` for tokens, ``"bool"`` for masks, or ``"complex"``.
        rows: rows of the batch per sample; more than 1 if windows, heads or levels are folded into
            the batch.
    """

    name: str
    shape: Shape
    dtype: str = FLOAT
    rows: int = 1

    @property
    def elements(self) -> int:
        """Number of elements for one sample."""
        return numel(self.shape) * self.rows

    def itemsize(self, floats: int) -> int:
        """Return the bytes per element; ``floats`` is the bytes of a float."""
        return element_bytes(self.dtype, floats)

    def __str__(self) -> str:
        """Return how it is shown: ``left 3x32x32``, ``tokens 16 of int64``."""
        return f"{self.name} {show(self.shape)}" + f" of {self.dtype}" * (self.dtype != FLOAT)

    def __repr__(self) -> str:
        """Return how messages show it."""
        return f"the tensor {self.name} ({show(self.shape)})"


@dataclass(frozen=True, slots=True)
class Layer:
    """One op at one place in a network.

    Attributes:
        path: dotted name, unique in the network: ``layer1.0.body.conv2``.
        op: the operator with its arguments.
        inputs: names of the tensors that it reads.
        shapes: the shapes of those inputs, without batch.
        cost: what it costs for each row of the batch. A sample is usually one row.
        module: path of the layer whose module it runs, with its parameters and buffers. This is its
            own path, or the path of an earlier layer, whose module then runs twice.
        ties: parameters that belong to another module: from the op's name to the full name.
        rows: rows of the batch per sample in its inputs.
        names: full names of its own parameters, if they do not begin with its path.
        apart: whether PyTorch runs it as several operations: a linear layer whose rows lie apart.
            It is only known where a convention asks (:func:`archcost.conventions.counted_layers`).
        function: whether the network calls a function instead of a module. This changes only what
            counters see that hook modules.
        in_place: whether it changes the first tensor that it reads, and returns that.
    """

    path: str
    op: Op
    inputs: tuple[str, ...]
    shapes: tuple[Shape, ...]
    cost: Cost
    module: str
    ties: Mapping[str, str] = field(default_factory=dict)
    function: bool = False
    rows: int = 1
    names: Mapping[str, str] = field(default_factory=dict)
    in_place: bool = False
    apart: bool = False

    @classmethod
    def alone(cls, op: Op, *shapes: Shape) -> Layer:
        """Return an op on inputs of these shapes, in no network."""
        name = op.name
        return cls(name, op, (NETWORK_INPUT,) * len(shapes), shapes, op.cost(*shapes), name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that it makes: its path, then ``path:1`` and so on."""
        if not self.cost.others:
            return (self.path,)
        return (self.path, *(f"{self.path}:{i + 1}" for i in range(len(self.cost.others))))

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return self.cost.macs * self.rows

    @property
    def made_rows(self) -> int:
        """Rows of the batch per sample in its outputs."""
        return self.op.rows(self.rows, *self.shapes)

    @property
    def params(self) -> Mapping[str, Shape]:
        """The parameters that no earlier layer has, by the op's names."""
        if self.module != self.path:
            return {}
        if not self.ties:
            return self.cost.params
        return {name: shape for name, shape in self.cost.params.items() if name not in self.ties}

    @property
    def buffers(self) -> Mapping[str, Shape]:
        """The buffers that no earlier layer has, by the op's names."""
        return self.cost.buffers if self.module == self.path else {}

    def full_name(self, param: str) -> str:
        """Return the network's name for a parameter or buffer: ``layer1.0.conv1.weight``."""
        return self.ties.get(param) or self.names.get(param) or f"{self.module}.{param}"

    @property
    def param_names(self) -> list[str]:
        """The full names of all parameters that it reads."""
        return [self.full_name(name) for name in self.cost.params]

    @property
    def settings(self) -> str:
        """The op's arguments as one table cell, with the layer whose weights it shares."""
        own = self.op.settings(len(self.shapes[0]) - 1)
        return ", ".join(filter(None, (own, self.sharing)))

    @property
    def sharing(self) -> str:
        """The layer whose parameters it uses, in words; empty if they are its own."""
        if self.module != self.path:
            return f"weights of {self.module}" if self.cost.params or self.cost.buffers else ""
        return ", ".join(
            f"{name} of {full.removesuffix(f'.{name}')}" for name, full in self.ties.items()
        )


@dataclass(frozen=True)
class Remark:
    """A note on what a spec probably does not mean, or on what totals leave out.

    Attributes:
        kind: the subject in one word: ``unread``.
        text: the remark in words, without its place.
        line, column: where it is in the spec, from 1.
    """

    kind: str
    text: str
    line: int
    column: int


def no_remarks(_: Network) -> Sequence[Remark]:
    """Return nothing: there is no spec to remark on."""
    return ()


@dataclass(frozen=True)
class Network:
    """Layers in execution order.

    Attributes:
        name: its name in the catalog or in the file.
        inputs: the tensors that go in; the first is the main input.
        layers: the layers; each comes after the layers that it reads.
        outputs: names of the tensors that come out; the first is the main output.
        title, paper, year: a description in one line, where and when it was published.
        family: the family of the catalog that it belongs to.
        published: figures that others print of it, as the spec has them.
        claims: figures that a lecture prints beside its layers.
        knobs: the values of the knobs that the spec was expanded with.
        source: the file that it was read from.
        find_remarks: a function that returns the remarks on a network; :attr:`remarks` calls it.
        remake: gives the same network with other options of ``load``; None for one without a spec.
        module: of code: a function that returns the PyTorch module that it was read from.
        sample: of code that was read on data: a function that returns the tensors of a batch.
        trains: a function that returns the network in training mode; None if it is the same.
        holders: of code: from a tensor's name to the last layer that runs while a name holds it,
            empty if one does until the end. In other networks the last reader counts.
        classes: the class of each module of code, by its path.
        checkpoints: the parts that code runs under ``torch.utils.checkpoint`` in this mode.
        frozen: the parameters that code does not train.
        otherwise: of code: the line at which it goes another way if the batch is 1, if it does.
    """

    name: str
    inputs: tuple[Value, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    title: str = ""
    paper: str = ""
    year: int | None = None
    family: str = ""
    published: tuple[Published, ...] = ()
    claims: tuple[Claim, ...] = ()
    knobs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""
    find_remarks: Callable[[Network], Sequence[Remark]] = field(
        default=no_remarks, compare=False, repr=False
    )
    remake: Callable[..., Network] | None = field(default=None, compare=False, repr=False)
    trains: Callable[[], Network] | None = field(default=None, compare=False, repr=False)
    module: Callable[[], Any] | None = field(default=None, compare=False, repr=False)
    sample: Callable[[int], tuple[Any, ...]] | None = field(default=None, compare=False, repr=False)
    holders: Mapping[str, str] = field(default_factory=dict, repr=False)
    classes: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    checkpoints: tuple[Checkpointed, ...] = ()
    frozen: frozenset[str] = frozenset()
    otherwise: str = ""

    def __post_init__(self) -> None:
        """Check that names are unique and that every layer reads earlier layers."""
        known = {value.name for value in self.inputs}
        for layer in self.layers:
            for name in layer.inputs:
                if name not in known:
                    raise ArchcostError(
                        f"{self.name}: {layer.path} reads {name}, which comes later or never"
                    )
            if layer.path in known:
                raise ArchcostError(f"{self.name}: two layers are named {layer.path}")
            known.add(layer.path)
            if layer.cost.others:
                known.update(layer.outputs)

    def __getstate__(self) -> dict[str, Any]:
        """Return its fields alone, in a form that can be sent to another process."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        return own | {"knobs": dict(self.knobs)}

    @property
    def pickled(self) -> bytes | None:
        """The network as ``pickle`` writes it; None if it holds functions that cannot be sent."""
        import pickle  # few runs need it

        try:
            return pickle.dumps(self)
        except (pickle.PicklingError, AttributeError, TypeError):
            return None

    def __repr__(self) -> str:
        """Return a line: its name, its input and output, and how many layers it has."""
        shapes = f"{self.input_text} to {show(self.output)}"
        return f"<Network {self.name}: {shapes}, {len(self)} layer{'s' * (len(self) != 1)}>"

    def __iter__(self) -> Iterator[Layer]:
        """Iterate over the layers in execution order."""
        return iter(self.layers)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    @cached_property
    def by_path(self) -> Mapping[str, Layer]:
        """Every layer by its path."""
        return MappingProxyType({layer.path: layer for layer in self.layers})

    def __getitem__(self, path: str) -> Layer:
        """Return the layer at ``path``, or raise LookupFailed with the nearest one."""
        if path not in self.by_path:
            raise LookupFailed("layer", path, self.by_path)
        return self.by_path[path]

    @cached_property
    def remarks(self) -> tuple[Remark, ...]:
        """The remarks on its spec, in the order of the lines, and on what its totals leave out."""
        count = sum(layer.op.kind == "transform" for layer in self.layers)
        text = f"MACs leave out {number_of(count, 'Fourier transform')}, which no tool counts"
        return (*self.find_remarks(self), *[Remark("uncounted", text, 0, 0)][:count])

    @cached_property
    def last_readers(self) -> Mapping[str, str]:
        """The last layer that reads each tensor. Tensors that no layer reads are left out."""
        readers = {name: layer.path for layer in self.layers for name in layer.inputs}
        return MappingProxyType(readers)

    @cached_property
    def released(self) -> Mapping[str, Sequence[str]]:
        """The tensors that are dropped after each layer: those that nobody holds any more."""
        found: dict[str, list[str]] = {}
        for name, path in {**self.last_readers, **self.holders}.items():
            if name not in self.outputs:
                found.setdefault(path, []).append(name)
        return MappingProxyType(found)

    @cached_property
    def dead(self) -> frozenset[str]:
        """Paths of the layers that no output depends on."""
        live, dead = {*self.outputs}, []
        for layer in reversed(self.layers):
            if layer.path not in live and live.isdisjoint(layer.outputs):
                dead.append(layer.path)
            elif layer.op.kind != "parameter":
                live.update(layer.inputs)
        return frozenset(dead)

    @cached_property
    def weight_layers(self) -> int:
        """Convolutions and linear layers on the longest path from the input to the output.

        This is the depth in a network's name: parallel branches count once, projection
        shortcuts and auxiliary heads do not.
        """
        return self.depth()[maker(self.outputs[0])]

    def depth(self, chosen: Callable[[Layer], bool] = lambda _: True) -> dict[str, int]:
        """Return how many weight layers are on the longest path to each layer, and to each input.

        Weight layers are convolutions and linear layers; only those that are ``chosen`` count.
        """
        depth = {value.name: 0 for value in self.inputs}
        for layer in self.layers:
            own = layer.op.kind in WEIGHT_KINDS and chosen(layer)
            depth[layer.path] = max(map(depth.__getitem__, map(maker, layer.inputs))) + own
        return depth

    @cached_property
    def params(self) -> Mapping[str, Shape]:
        """Every parameter once, by its full name."""
        own = ((layer, *item) for layer in self.layers for item in layer.params.items())
        return MappingProxyType({layer.full_name(name): shape for layer, name, shape in own})

    @property
    def input(self) -> Shape:
        """Shape of the main input, without batch."""
        return self.inputs[0].shape

    @property
    def input_text(self) -> str:
        """The shape of the input, with the names if there are several inputs."""
        if len(self.inputs) == 1 and self.inputs[0].dtype == FLOAT:
            return show(self.input)
        return ", ".join(map(str, self.inputs))

    @property
    def input_record(self) -> dict[str, Any]:
        """The main input's shape for JSON, and all inputs if there are several or no floats."""
        record: dict[str, Any] = {"input": list(self.input)}
        if len(self.inputs) > 1 or self.inputs[0].dtype != FLOAT:
            record["inputs"] = [
                {"name": value.name, "shape": list(value.shape), "dtype": value.dtype}
                for value in self.inputs
            ]
        return record

    @cached_property
    def values(self) -> Mapping[str, Value]:
        """Every input and every layer's output by its name."""
        found = {value.name: value for value in self.inputs}
        for layer in self.layers:
            for name, shape in zip(layer.outputs, layer.cost.outputs, strict=True):
                types = [found[read].dtype for read in layer.inputs]
                found[name] = Value(name, shape, made_dtype(layer.op, types), layer.made_rows)
        return MappingProxyType(found)

    @property
    def output(self) -> Shape:
        """Shape of the main output, without batch."""
        return self.values[self.outputs[0]].shape

    @cached_property
    def in_training(self) -> Network:
        """The network in training mode. A network from code may have other layers there."""
        return self.trains() if self.trains else self

    def renamed(self, name: str) -> Network:
        """Return the same network under another name."""
        return replace(self, name=name)


def maker(name: str) -> str:
    """Return the path of the layer that makes a tensor, or the name of an input."""
    return name.partition(":")[0]


def prefixes(path: str) -> list[str]:
    """Return the groups that a path lies in, outermost first: ``a.b.c`` gives ``a, a.b``."""
    names = path.split(".")
    return [".".join(names[:i]) for i in range(1, len(names))]


def frozen_params(network: Network, patterns: Sequence[str]) -> frozenset[str]:
    """Return the full names of the parameters that code, or any of the patterns, does not train.

    A parameter that several layers share is then frozen for all of them, as in PyTorch.
    """
    chosen = select_layers(network, patterns, "layer or group to freeze")
    return network.frozen.union(name for layer in chosen for name in layer.param_names)


def matched(network: Network, patterns: Sequence[str], what: str) -> dict[str, str]:
    """Return the layers that match any of the shell patterns, each with the name that matches.

    The name is that of the outermost group around the layer that matches, or the layer's path.

    Raises:
        LookupFailed: a pattern matches nothing. ``what`` is the kind of name in the message.
    """
    if not patterns:
        return {}
    from fnmatch import fnmatchcase  # few runs need it

    names = {layer.path: (*prefixes(layer.path), layer.path) for layer in network}
    every = {name for own in names.values() for name in own}
    found: set[str] = set()
    for pattern in patterns:
        hits = {name for name in every if fnmatchcase(name, pattern)}
        if not hits:
            raise LookupFailed(what, pattern, every)
        found |= hits
    first = {path: next((name for name in own if name in found), "") for path, own in names.items()}
    return {path: name for path, name in first.items() if name}


def select_layers(network: Network, patterns: Sequence[str], what: str) -> list[Layer]:
    """Return the layers whose path, or a group around them, matches any of the shell patterns.

    Raises:
        LookupFailed: as :func:`matched`.
    """
    return [network.by_path[path] for path in matched(network, patterns, what)]
