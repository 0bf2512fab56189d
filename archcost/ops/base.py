"""What an op is: its fields, its cost on given input shapes, its PyTorch twin, its registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, TypeVar, dataclass_transform

from archcost.errors import LookupFailed, OpError, did_you_mean
from archcost.ops.arguments import show_argument
from archcost.ops.layout import CONTIGUOUS, Layout, Strides, contiguous, output_strides
from archcost.ops.steps import Step
from archcost.shape import Shape

INPUT, OUTPUT = "input", "output"

Windows = tuple[tuple[int | Fraction, int | Fraction], ...]
"""Extent and stride per spatial axis, in input positions."""

Reads = tuple[int, tuple[tuple[int, int], ...]]
"""Inputs per period, and the (first, last) input position that each output of it reads."""
EVERYWHERE: Windows = ((0, 0),)
"""The windows of an op whose every output reads every position."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A tensor that autograd keeps for backward.

    Attributes:
        what: ``"input"``, ``"output"`` (their storage is counted once, whoever saves it), or the
            name of a tensor of the layer's own.
        shape: shape of a tensor of its own, without batch.
        itemsize: bytes per element, None for that of the network's dtype.
        at_least: bytes per element that a smaller dtype is widened to.
        per_batch: False where the batch does not multiply it.
        device: the rule holds only on ``"cpu"`` or ``"cuda"``.
        index: which input.
        copied_unless: the input is read as a copy unless this property of its ``Layout`` holds,
            such as ``"is_contiguous"``; empty if it is read as it lies.
        gradient: it is kept only if this gradient is asked for: ``"params"``, or the index of an
            input; None for any.
        of_params: its elements have the type of the parameters, not that of the activations.
        before: it is made before the operation runs that needs it, not by that operation.
        training: a tensor of its own that is made in training mode only; others are made, and
            dropped at once, in evaluation too.
    """

    what: str
    shape: Shape = ()
    itemsize: int | None = None
    at_least: int = 1
    per_batch: bool = True
    device: str | None = None
    index: int = 0
    copied_unless: str = ""
    gradient: str | int | None = None
    of_params: bool = False
    before: bool = False
    training: bool = False


PARAMS = "params"
LOWER, KEEPS = "lower", "keeps"
SAVES_INPUT = (Saved(INPUT),)
SAVES_OUTPUT = (Saved(OUTPUT),)
NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one layer costs for one sample.

    Attributes:
        output: output shape, without batch.
        params: trainable parameters as named shapes.
        work: integer counts by kind of work (see ``archcost.conventions.TERMS``).
        saved: the tensors that autograd keeps for backward.
        buffers: named shapes of state that is not trained.
        products: outputs of the matrix products inside the op, beside its own output.
        fused: outputs of those products that one function hides.
    """

    output: Shape
    params: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    work: Mapping[str, int] = dataclasses.field(default_factory=dict)
    saved: tuple[Saved, ...] = ()
    buffers: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    products: tuple[Shape, ...] = ()
    fused: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """Arguments of an op with input shapes that they accept; generic tests run on these."""

    args: tuple[Any, ...]
    inputs: tuple[Shape, ...]
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def example(*args: Any, x: Shape | Sequence[Shape], **kwargs: Any) -> Example:
    """Return an :class:`Example`; ``x`` is one input shape or a list of them."""
    inputs = (x,) if isinstance(x, tuple) else tuple(x)
    return Example(args, inputs, kwargs)


class Op:
    """An operator. A subclass is a frozen dataclass whose fields are the spec's arguments.

    Class attributes:
        name: how specs call it.
        kind: ``conv linear matmul attention pool adaptive_pool norm activation dropout merge
            reshape resample``; activation conventions are sets of kinds.
        inputs: the names of the tensors that it takes; ``("*",)`` is two or more.
        no_gradient: which inputs get none, because only their shape or their order counts.
        integer_buffers: names of the buffers that are int64 whatever the dtype.
        layout: how a new output lies in memory, a rule of ``archcost.ops.layout``.
        autocast: in which type it computes under ``torch.autocast``: ``LOWER`` than float32, or
            it ``KEEPS`` that of its inputs; None where its memory is not known.
        examples: arguments and input shapes from which generic tests are driven.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    inputs: tuple[str, ...] = ("x",)
    no_gradient: ClassVar[tuple[int, ...]] = ()
    integer_buffers: ClassVar[tuple[str, ...]] = ()
    layout: ClassVar[str] = CONTIGUOUS
    autocast: ClassVar[str | None] = None
    examples: ClassVar[tuple[Example, ...]]

    def cost(self, x: Shape, *others: Shape) -> Cost:
        """Return the cost for one sample of the given input shapes.

        Raises:
            OpError: when the shapes and arguments do not fit; the text says why, with values.
        """
        raise NotImplementedError

    def least_macs(self, x: Shape, *others: Shape) -> int:
        """Return the MACs that a fast algorithm takes at least, of those that the cost counts.

        It sums over channels and features product by product, but may share products between
        neighbouring positions, as the convolutions of Winograd and by Fourier transform do.
        """
        return self.cost(x, *others).work.get("mac", 0)

    def window(self, x: Shape, *others: Shape) -> Windows:
        """Return (extent, stride) of an output's window on the input, per spatial axis.

        Empty when each output position reads its own input position only, ``EVERYWHERE`` when it
        reads all of them.
        """
        return ()

    def windowed(self, x: Shape, *others: Shape) -> tuple[int, ...]:
        """Return the dimensions of the first input that the windows are along: not the channels."""
        return tuple(range(1, len(x)))

    def starts(self, x: Shape, *others: Shape) -> tuple[int | Fraction, ...]:
        """Return the input position at which the first output's window starts, per window."""
        return (0,) * len(self.windowed(x, *others))

    def blocks(self, x: Shape, *others: Shape) -> tuple[tuple[int, int], ...]:
        """Return (length, shift) of blocks in which each output reads all inputs, per window.

        Empty when windows follow the outputs, as those of a convolution do.
        """
        return ()

    def reads(self, x: Shape, *others: Shape) -> tuple[Reads, ...]:
        """Return (first, last) position that each output of a period reads, per window.

        For what makes a map larger: its outputs do not read windows that are equally far apart.
        Empty for others. A period of the outputs reads as many inputs as they are smaller.
        """
        return ()

    def mixed(self, x: Shape, *others: Shape) -> tuple[int, ...]:
        """Return the dimensions along which an output reads every position, as features are."""
        return ()

    def origins(self, x: Shape, *others: Shape) -> tuple[tuple[int, ...], ...]:
        """Return of which dimensions of the first input each dimension of the output is made."""
        out = self.cost(x, *others).output
        if len(out) == len(x):
            return tuple((d,) for d in range(len(x)))
        return (tuple(range(len(x))),) * len(out)

    def view(self, strides: Strides, x: Shape, *others: Shape) -> Strides | None:
        """Return the strides of an output that is a view of the first input, None for a new tensor.

        ``strides`` are the first input's. A view costs no memory, and who saves it for backward
        keeps all of the storage that it lies in.
        """
        return None

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        """Return the strides of an output that is a new tensor of shape ``out``, batch first.

        ``weight`` is the layout of the parameter of that name, if there is one.
        """
        return output_strides(self.layout, out, *inputs)

    def under_autocast(self, x: Shape, *others: Shape) -> str | None:
        """Return the rule of ``autocast`` that holds for these inputs."""
        return self.autocast

    def weight_is_kept(self, inputs_need: Sequence[bool]) -> bool:
        """Whether backward keeps the weight, by which inputs need a gradient."""
        return True

    def gradient_strides(self, param: Layout, *inputs: Layout) -> Strides:
        """Return the strides that backward gives to the gradient of a parameter."""
        return contiguous(param.shape)

    def passes_through(self, training: bool, x: Shape, *others: Shape) -> bool:
        """Whether the output is the very tensor that comes in, and no operation runs."""
        return False

    def steps(self, x: Shape, *others: Shape) -> tuple[Step, ...]:
        """Return the operations inside the layer that allocate memory, in execution order.

        Raises:
            OpError: they are not known, and so no peak of a network with this layer.
        """
        return (Step(),)

    def steps_of(self, *inputs: Layout) -> tuple[Step, ...]:
        """Return the steps for inputs that lie so in memory, batch first, which may decide."""
        return self.steps(*(layout.shape[1:] for layout in inputs))

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        """Return the PyTorch twin, an ``nn.Module``; ``torch`` is passed in, never imported."""
        raise NotImplementedError

    def source(self, module: str, tensors: Sequence[str], x: Shape, *others: Shape) -> str:
        """Return PyTorch source that applies the op to variables of these names.

        ``module`` is the expression for the twin's module. An op that reads better without it, as
        a sum does, leaves it out.
        """
        return f"{module}({', '.join(tensors)})"

    def settings(self, axes: int = 2) -> str:
        """Return the arguments that matter to a reader, as one table cell.

        ``axes`` is the number of spatial dimensions of the input.
        """
        cells = []
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if value != f.default:
                cells.append(f"{f.name}={show_argument(value)}")
        return ", ".join(cells)

    def call(self, tensors: Sequence[str] = ()) -> str:
        """Return the call as a spec writes it, reading the named tensors."""
        cells = list(tensors)
        for f in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, f.name)
            if value != f.default:  # a required argument has no default to equal
                cells.append(f"{f.name}={_written(value)}")
        return f"{self.name}({', '.join(cells)})" if cells else self.name

    @classmethod
    def create(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Op:
        """Return the op for arguments as a spec writes them, checked and normalised.

        Raises:
            OpError: an argument is unknown, missing, given twice, or not of its kind.
        """
        specified = dataclasses.fields(cls)  # type: ignore[arg-type]
        names = [f.name for f in specified]
        if len(args) > len(names):
            raise OpError(f"{cls.name} takes {len(names)} arguments at most; got {len(args)}")
        given = dict(zip(names, args, strict=False))
        for key, value in kwargs.items():
            if key not in names:
                raise OpError(f"{cls.name} has no argument {key!r}{did_you_mean(key, names)}")
            if key in given:
                raise OpError(f"{cls.name} got {key} twice")
            given[key] = value
        for f in specified:
            if f.name in given:
                given[f.name] = f.metadata["read"](f.name, given[f.name])
            elif f.default is dataclasses.MISSING:
                raise OpError(f"{cls.name} needs {f.name}")
        return cls(**given)


OPS: dict[str, type[Op]] = {}
"""Every op by its name in specs."""

T = TypeVar("T", bound=Op)


@dataclass_transform(frozen_default=True)
def op(name: str, *, kind: str) -> Callable[[type[T]], type[T]]:
    """Register a class as the op ``name`` and make it a frozen dataclass."""

    def register(cls: type[T]) -> type[T]:
        if name in OPS:
            raise ValueError(f"two ops are named {name!r}")
        cls.name, cls.kind = name, kind
        made = dataclass(frozen=True)(cls)
        OPS[name] = made
        return made

    return register


def find_op(name: str) -> type[Op]:
    """Return the op of that name, or raise LookupFailed with the nearest one."""
    if name not in OPS:
        raise LookupFailed("op", name, OPS)
    return OPS[name]


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return repr(value)
