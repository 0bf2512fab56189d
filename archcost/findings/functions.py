"""What can be asked of a network in one expression: counts, shapes, windows, depth.

These are the functions of the language of claims, in which slips of published figures are written
too. Shapes are as lectures print them: height x width x channels.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from archcost.analysis.reconcile import count_operations
from archcost.analysis.report import Report, Row, analyze
from archcost.conventions import amount, find_convention, find_fact
from archcost.errors import ArchcostError, LookupFailed, SpecError, shorten
from archcost.network import NETWORK_INPUT, WEIGHT_KINDS, Layer, Network, select_layers
from archcost.ops import OPS, Op
from archcost.ops.reads import Table, Window, spatial_reads
from archcost.shape import Shape, numel
from archcost.spec import source as yaml
from archcost.spec.catalog import expand, load
from archcost.spec.document import Document
from archcost.spec.expression import Evaluator, ExpressionError, parse
from archcost.spec.source import Scalar, Source
from archcost.spec.values import FUNCTIONS


@dataclass(frozen=True)
class Variation:
    """A model with some of its knobs set, its input, or its side outputs."""

    model: str
    settings: Mapping[str, Any]

    @property
    def key(self) -> str:
        """A text that is equal for equal variations."""
        return f"{self.model} {sorted(self.settings.items())}"


Model = str | Variation


@dataclass
class Measures:
    """What a claim can ask of a network. Every network is built once.

    ``where`` is any number of shell patterns of layers or groups; without one, the whole network
    counts. ``layer`` is a layer, a group (its last layer), or ``input``; without it, the last.
    """

    nets: Mapping[str, Document | str | Callable[..., Network]] = field(default_factory=dict)
    built: dict[str, Report] = field(default_factory=dict)

    def report(self, model: Model) -> Report:
        """Return the report of a model, of one of the file's networks, or of a chain."""
        key = model.key if isinstance(model, Variation) else model
        if not isinstance(key, str):
            raise ArchcostError(f"not a model: {shorten(model)}")
        if key not in self.built:
            self.built[key] = analyze(self._network(model))
        return self.built[key]

    def _network(self, model: Model) -> Network:
        name = model.model if isinstance(model, Variation) else model
        knobs = dict(model.settings) if isinstance(model, Variation) else {}
        aux, shape = bool(knobs.pop("aux", False)), knobs.pop("input", None)
        net = self.nets.get(name, name)
        if callable(net):
            return net(input=shape, knobs=knobs, aux=aux)
        if isinstance(net, Document):
            return expand(net, input=shape, knobs=knobs, aux=aux)
        return chain(net) if "|" in net else load(net, input=shape, knobs=knobs, aux=aux)

    # Sums.

    def params(self, model: Model, *where: str) -> int:
        """Parameters, biases and normalisation included."""
        return sum(row.params for row in self._rows(model, where))

    def weights(self, model: Model, *where: str) -> int:
        """Weights of convolutions and linear layers, without biases."""
        return sum(numel(_weight(row.layer)) for row in self._rows(model, where))

    def macs(self, model: Model, *where: str) -> int:
        """Multiply-accumulates, without biases."""
        return sum(row.macs for row in self._rows(model, where))

    def work(self, model: Model, term: str, *where: str) -> int:
        """Work of one kind, as conventions name it: ``'add.sums'``, ``'batchnorm.in'``."""
        find_fact(term)
        return sum(amount(row.layer, term) for row in self._rows(model, where))

    def counted(self, model: Model, convention: str) -> int:
        """Operations as a convention counts them."""
        return count_operations(self.report(model).network, find_convention(convention))

    def activations(self, model: Model, *where: str) -> int:
        """Output values by the lectures' rule; the input's too for a whole network."""
        if not where:
            return self.report(model).total.activations
        return sum(row.activations for row in self._rows(model, where))

    def activation_bytes(self, model: Model) -> int:
        """Bytes of all activations at 4 bytes a value."""
        return self.report(model).total.activation_bytes

    def gradients(self, model: Model) -> int:
        """Values of the backward pass as lectures count them: one for each activation."""
        return self.activations(model)

    def count(self, model: Model, op: str, *where: str) -> int:
        """How many layers are of an op."""
        if op not in OPS:
            raise LookupFailed("op", op, OPS)
        return sum(row.layer.op.name == op for row in self._rows(model, where))

    def depthwise(self, model: Model, *where: str) -> int:
        """How many convolutions have one filter for each channel."""
        return sum(_is_depthwise(row.layer) for row in self._rows(model, where))

    def weight_layers(self, model: Model, *where: str) -> int:
        """Convolutions and linear layers along the longest path through the chosen layers."""
        report = self.report(model)
        if not where:
            return report.weight_layers
        chosen = {row.path for row in self._rows(model, where)}
        return max(report.network.depth(lambda layer: layer.path in chosen).values())

    # Shapes: height x width x channels.

    def output(self, model: Model, layer: str = "") -> list[int]:
        """The output of a layer: height, width and channels, or features."""
        shape = self._shape(model, layer)
        return [*shape[1:], shape[0]]

    def reads(self, model: Model, layer: str) -> list[int]:
        """What a layer, or the first of a group, reads."""
        shape = self._inside(model, layer)[0].shapes[0]
        return [*shape[1:], shape[0]]

    def size(self, model: Model, layer: str = "") -> list[int]:
        """Height and width of a layer's output."""
        return list(self._shape(model, layer)[1:])

    def side(self, model: Model, layer: str = "") -> int:
        """The size of a square output, or the length of a 1-D one."""
        size = self.size(model, layer)
        if len(set(size)) != 1:
            raise ArchcostError(f"{layer or 'the output'} has no single size: {size}")
        return size[0]

    def channels(self, model: Model, layer: str = "") -> int:
        """Channels of a layer's output."""
        return self._shape(model, layer)[0]

    def values(self, model: Model, layer: str = "") -> int:
        """Elements of a layer's output."""
        return numel(self._shape(model, layer))

    def shrinks(self, model: Model, layer: str) -> Fraction | int:
        """How many times smaller the sides are after a layer or group than before it."""
        before = self.reads(model, layer)
        return exact(Fraction(before[0], self.output(model, layer)[0]))

    def filter(self, model: Model, layer: str) -> list[int]:
        """Weights as K x K x in x out, K x K x channels if depthwise, or in x out."""
        chosen = self._inside(model, layer)[-1]
        out, channels, *kernel = _weight(chosen)
        return [*kernel, out] if _is_depthwise(chosen) else [*kernel, channels, out]

    def weight_shape(self, model: Model, layer: str) -> list[int]:
        """Weights as they are stored: out x in x K x K."""
        return list(_weight(self._inside(model, layer)[-1]))

    def kernel(self, model: Model, layer: str) -> int:
        """The side of a layer's square window."""
        return self._window(model, layer)[0]

    def stride(self, model: Model, layer: str) -> int:
        """The stride of a layer's window."""
        return self._window(model, layer)[1]

    def receptive_field(self, model: Model, layer: str = "") -> int:
        """The side of the square of the input that one output value sees."""
        report = self.report(model)
        path = self._inside(model, layer)[-1].path if layer else report.network.outputs[0]
        sizes = set(report.receptive_fields[path].size)
        if len(sizes) != 1 or (size := sizes.pop()) != int(size):
            raise ArchcostError(f"{path} has no single receptive field")
        return int(size)

    def refused(self, model: Model) -> bool:
        """Whether no such network can be built."""
        try:
            self.report(model)
        except SpecError:
            return True
        return False

    # Layers.

    def _rows(self, model: Model, where: tuple[str, ...]) -> list[Row]:
        report = self.report(model)
        if not where:
            return list(report.rows)
        patterns = [pattern for pattern in where if pattern != NETWORK_INPUT]  # costs nothing
        chosen = select_layers(report.network, patterns, f"layer of {report.network.name}")
        paths = {layer.path for layer in chosen}
        return [row for row in report.rows if row.path in paths]

    def _inside(self, model: Model, layer: str) -> list[Layer]:
        network = self.report(model).network
        if layer in network.by_path:
            return [network[layer]]
        return select_layers(network, [layer], f"layer of {network.name}")

    def _shape(self, model: Model, layer: str) -> Shape:
        network = self.report(model).network
        if layer == NETWORK_INPUT:
            return network.input
        return self._inside(model, layer)[-1].cost.output if layer else network.output

    def _window(self, model: Model, layer: str) -> tuple[int, int]:
        chosen = self._inside(model, layer)[-1]
        reads = spatial_reads(chosen.op.reads(*chosen.shapes), chosen.shapes[0])
        windows = {(how.extent, how.stride) for how in reads if isinstance(how, (Window, Table))}
        if len(windows) != 1 or type(chosen.op).reads is Op.reads:
            raise ArchcostError(f"{chosen.path} has no square window")
        ((kernel, stride),) = windows
        return int(kernel), int(stride)


def _weight(layer: Layer) -> Shape:
    return layer.cost.params.get("weight", (0,)) if layer.op.kind in WEIGHT_KINDS else (0,)


def _is_depthwise(layer: Layer) -> bool:
    out, *inner = _weight(layer)
    return len(inner) > 1 and inner[0] == 1 and layer.shapes[0][0] == out > 1


MEASURES = tuple(name for name in vars(Measures) if name[0] != "_" and name not in (
    "report", "nets", "built",
))  # fmt: skip
"""The functions of a claim that ask a network."""


def chain(text: str) -> Network:
    """Return the network of a text such as ``3x32x32 | conv(8, 3) | relu``.

    Raises:
        SpecError: an input or a layer that cannot be read.
    """
    shape, *calls = (part.strip() for part in text.split("|"))
    source = Source(text, text)
    items = yaml.Sequence([Scalar(call, 0, 0) for call in calls if call], 0, 0)
    header = {"input": Scalar(shape, 0, 0)}
    return expand(Document(source, "chain", False, header, {}, {}, {}, {}, items))


def exact(number: Fraction) -> Fraction | int:
    """Return a whole fraction as an int."""
    return number.numerator if number.denominator == 1 else number


def rounded(number: int | Fraction, digits: int) -> Fraction | int:
    """Round a positive number to significant digits, halves up."""
    return cut(Fraction(number) + _unit(number, digits) / 2, digits)


def cut(number: int | Fraction, digits: int) -> Fraction | int:
    """Cut a positive number to significant digits."""
    unit = _unit(number, digits)
    return exact(Fraction(number) // unit * unit)


def _unit(number: int | Fraction, digits: int) -> Fraction:
    """Return the unit of the last of a number's significant digits."""
    if number <= 0:
        raise ArchcostError(f"only positive numbers have significant digits; got {number}")
    power = 0
    while Fraction(10) ** power > number:
        power -= 1
    while Fraction(10) ** (power + 1) <= number:
        power += 1
    return Fraction(10) ** (power - digits + 1)


class ClaimEvaluator(Evaluator):
    """Evaluates a claim's expressions in one case; division is exact, unknown words are names."""

    def __init__(self, measures: Measures, case: Mapping[str, Any]) -> None:
        own = {name: getattr(measures, name) for name in MEASURES}
        functions = {**FUNCTIONS, "rounded": rounded, "cut": cut, **own}
        super().__init__(lambda word: case.get(word, word), functions=functions)

    def _value(self, node: ast.expr, depth: int) -> Any:
        match node:
            case ast.Constant(value=float()):
                raise ExpressionError("figures are exact: write 6 / 5, not 1.2", node.col_offset)
            case ast.Constant(value=str(text)) if "{" in text:
                return re.sub(r"\{([^{}]*)\}", lambda m: str(self(parse(m[1]), depth)), text)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                divisor = Fraction(self(right, depth))
                if not divisor:
                    raise ExpressionError("division by zero", node.col_offset)
                return exact(Fraction(self(left, depth)) / divisor)
            case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords) if keywords:
                if name in self.functions:
                    raise ExpressionError(f"{name} takes no named arguments", node.col_offset)
                settings = {str(word.arg): self(word.value, depth) for word in keywords}
                return Variation(name, settings)
        return super()._value(node, depth)
