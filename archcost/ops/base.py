"""What an op is: its fields, its cost on given input shapes, its PyTorch twin, its registry."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, dataclass_transform

from archcost.data import dataclass
from archcost.errors import LookupFailed, OpError, did_you_mean
from archcost.ops.arguments import REQUIRED, Argument, show_argument
from archcost.ops.reads import SAME, Reads, kept
from archcost.registry import Registry
from archcost.shape import Shape
from archcost.units import ComplexBytes, number_of

INPUT, OUTPUT = "input", "output"
COMPUTED = "parametrizations.weight.original"
"""How the names of parameters begin from which a weight is computed."""
WEIGHTS = ("weight", f"{COMPUTED}1", COMPUTED)
"""The names of a parameter that has the shape of the weight."""
FLOAT, INT64, BOOL, COMPLEX = DTYPES = ("float", "int64", "bool", "complex")
"""What tensors hold: numbers in the data type in which a network runs, whole numbers, yes and no,
as masks do, or pairs of a real and an imaginary number of that data type."""
BYTES = {INT64: 8, BOOL: 1}
"""The bytes per element of those whose type no setting says."""


def element_bytes(dtype: str, floats: int) -> int:
    """Return the bytes per element; ``floats`` is the bytes of a float."""
    if dtype == COMPLEX:
        return ComplexBytes(2 * floats)
    return BYTES.get(dtype, floats)


T = TypeVar("T", bound="Op")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one layer costs for one sample.

    Attributes:
        output: output shape, without batch, the first of several.
        params: trainable parameters as named shapes.
        macs: multiply-accumulates.
        buffers: named shapes of state that is not trained.
        products: outputs of the matrix products inside the op, beside its own output.
        fused: outputs of those products that one function hides.
        others: shapes of further outputs.
    """

    output: Shape
    params: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    macs: int = 0
    buffers: Mapping[str, Shape] = dataclasses.field(default_factory=dict)
    products: tuple[Shape, ...] = ()
    fused: tuple[Shape, ...] = ()
    others: tuple[Shape, ...] = ()

    @property
    def weight_name(self) -> str:
        """The name of the parameter that has the shape of the weight; empty without a weight."""
        return next((name for name in WEIGHTS if name in self.params), "")

    @property
    def weight(self) -> Shape:
        """The shape of the weight, which may be computed from parameters."""
        return self.params[self.weight_name]

    @property
    def outputs(self) -> tuple[Shape, ...]:
        """The shapes of all outputs."""
        return (self.output, *self.others)


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
    """An operator. Its attributes are the spec's arguments; two of equal arguments are equal.

    A subclass says each argument as ``stride: int = count(1)``. No ``dataclass`` makes it, because
    that takes 30 times as long as to run the class statement.

    Class attributes:
        arguments: its arguments by name, those of its base first.
        name: how specs call it.
        kind: ``conv linear matmul attention recurrent embedding pool adaptive_pool norm
            activation dropout merge reshape resample
            transform``; activation conventions are sets of kinds.
        inputs: the names of the tensors that it takes; ``("*",)`` is ``least`` or more.
        least: how many tensors an op takes at least that takes any number.
        named: how many a spec names at least of such an op that takes a single one.
        any_rows: whether its inputs may have different rows of the batch.
        makes: the type of what it makes, if that does not follow from its inputs.
        any_type: whether it takes tensors of any types; ``makes`` says what it makes.
        no_gradient: which inputs get none, because only their shape or their order counts.
        only_shape: which inputs are read for their shape alone.
        once: whether it runs on parameters alone, and so costs the same for any batch.
        recorded: whether autograd records it; code may run a layer under ``torch.no_grad``.
        integers: which inputs are int64, as the places in a table are.
        masks: which inputs are booleans.
        complexes: which inputs are complex numbers.
        of_complex: what it makes of complex numbers in place of floats, ``complex`` or ``float``;
            empty if it takes none.
        complex_params: which parameters and buffers hold complex numbers, by their names.
        buffer_bytes: bytes per element of the buffers that are not of the run's dtype.
        initial: what parameters and buffers of its program are at first, as PyTorch source with
            ``{}`` for the sizes and ``{op.x}`` for what the op has; zeros unless given.
        examples: arguments and input shapes from which generic tests are driven.

    ``unnamed`` holds the arguments that were written without their names, as they were written.
    """

    arguments: ClassVar[Mapping[str, Argument]] = MappingProxyType({})
    name: ClassVar[str]
    kind: ClassVar[str]
    inputs: tuple[str, ...] = ("x",)
    least: ClassVar[int] = 2
    named: ClassVar[int] = 0
    any_rows: ClassVar[bool] = False
    makes: ClassVar[str] = ""
    any_type: ClassVar[bool] = False
    no_gradient: ClassVar[tuple[int, ...]] = ()
    only_shape: ClassVar[tuple[int, ...]] = ()
    once: ClassVar[bool] = False
    recorded: ClassVar[bool] = True
    integers: ClassVar[tuple[int, ...]] = ()
    masks: ClassVar[tuple[int, ...]] = ()
    complexes: ClassVar[tuple[int, ...]] = ()
    of_complex: ClassVar[str] = ""
    complex_params: Collection[str] = ()
    buffer_bytes: ClassVar[Mapping[str, int]] = MappingProxyType({})
    initial: ClassVar[Mapping[str, str]] = MappingProxyType({})
    examples: ClassVar[tuple[Example, ...]]
    unnamed: Sequence[Any] = ()
    forward: ClassVar[Callable[..., Any]]
    """``forward(F, *inputs, **params)``: the op as a program over the primitives of a reading.

    It takes the inputs, then parameters and buffers by name, batch first, and returns the output,
    or the list of several. Its local variables are those of PyTorch's module: one that names a
    tensor keeps it alive.
    """

    def __init_subclass__(cls) -> None:
        """Collect the arguments; what has a default is an attribute of the class with it."""
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Argument)}
        cls.arguments = {**cls.arguments, **own}
        for name, argument in own.items():
            if argument.default is REQUIRED:
                delattr(cls, name)
            else:
                setattr(cls, name, argument.default)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments as :meth:`create` has checked them."""
        given = dict(zip(self.arguments, args, strict=False)) | kwargs
        values = {name: given.get(name, a.default) for name, a in self.arguments.items()}
        missing = any(value is REQUIRED for value in values.values())
        if missing or len(args) > len(values) or given.keys() - values.keys():
            raise TypeError(f"{self.name} takes {', '.join(values)}; got {args} and {kwargs}")
        self.__dict__.update(values)

    @property
    def values(self) -> tuple[Any, ...]:
        """Return the values of all arguments, in order."""
        return tuple(map(self.__dict__.__getitem__, self.arguments))

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse: an op does not change."""
        raise AttributeError(f"an op does not change: {name}")

    def __eq__(self, other: object) -> bool:
        """Whether both are the same op with equal arguments."""
        return type(self) is type(other) and self.values == other.values

    def __hash__(self) -> int:
        """Return a hash of the arguments."""
        return hash((self.name, *self.values))

    def __repr__(self) -> str:
        """Return the class with its arguments."""
        inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.arguments)
        return f"{type(self).__name__}({inside})"

    @classmethod
    def needs_arguments(cls) -> bool:
        """Whether its name alone is not a call of it."""
        return any(argument.default is REQUIRED for argument in cls.arguments.values())

    def replaced(self: T, **changes: Any) -> T:
        """Return the op with other values of some arguments, which are as checked."""
        made = type(self)(**{**dict(zip(self.arguments, self.values, strict=True)), **changes})
        made.__dict__["unnamed"] = self.unnamed
        return made

    def cost(self, x: Shape, *others: Shape) -> Cost:
        """Return the cost for one sample of the given input shapes; by default the shape stays.

        Raises:
            OpError: when the shapes and arguments do not fit; the text says why, with values.
        """
        return Cost(x)

    def samples(self, batch: int) -> int:
        """Return how many samples of a batch it computes: one if it reads none of them."""
        return 1 if self.once else batch

    def rows(self, rows: int, x: Shape, *others: Shape) -> int:
        """Return how many rows of the batch each sample is afterwards, if it is so many before."""
        return rows

    @classmethod
    def takes(cls, place: int) -> str:
        """Return the type of its input at a place: ``float``, ``int64``, ``bool``, ``complex``."""
        if place in cls.complexes:
            return COMPLEX
        return INT64 if place in cls.integers else BOOL if place in cls.masks else FLOAT

    def param_bytes(self, name: str, floats: int) -> int:
        """Return the bytes per element of a parameter; ``floats`` is the bytes of a float."""
        return element_bytes(COMPLEX, floats) if name in self.complex_params else floats

    def refuses(self, dtype: str) -> str:
        """Return why it does not take a type that others of its kind take; empty if it does."""
        return ""

    def may_be_masks(self, count: int) -> tuple[int, ...]:
        """Return which of so many inputs may be booleans, though they may also be numbers."""
        return ()

    def part(self, place: int) -> Op:
        """Return the op that makes one of several outputs alone."""
        return self

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        """Return the multiply-accumulates of the gradients of its inputs, and of its weights.

        Args:
            needs: which inputs need a gradient.
            trained: whether its weight, or what parameters it has, is trained.
            x: the shape of the first input.
            others: those of further ones.
        """
        macs = self.cost(x, *others).macs
        return macs * any(needs), macs * trained

    def reads(self, x: Shape, *others: Shape) -> Reads:
        """Return what an output reads of the first input, for each dimension of the output."""
        out = self.cost(x, *others).output
        if len(out) == len(x):
            return kept(range(len(x)))
        return [[(d, SAME) for d in range(len(x))]] * len(out)

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        """Return the module of ``torch.nn`` that the op is, None where its program is to be run.

        ``torch`` is passed in, never imported.
        """
        return None

    def passed(self, names: Sequence[str]) -> list[str]:
        """Return how source passes the tensors of these names to the module."""
        return [*names]

    def results(self, names: Sequence[str], x: Shape, *_: Shape) -> tuple[str, list[str]]:
        """Return how source names what the module gives, and the expression of each output."""
        return ", ".join(names), [*names]

    def settings(self, axes: int = 2) -> str:
        """Return the arguments that matter to a reader, as one table cell.

        ``axes`` is the number of spatial dimensions of the input.
        """
        cells = []
        for name, argument in self.arguments.items():
            value = getattr(self, name)
            if value != argument.default:
                cells.append(f"{name}={show_argument(value)}")
        return ", ".join(cells)

    def call(self, tensors: Sequence[str] = ()) -> str:
        """Return the call as a spec writes it, reading the named tensors."""
        cells = list(tensors)
        for name, argument in self.arguments.items():
            value = getattr(self, name)
            if value != argument.default:  # a required argument has no default to equal
                cells.append(f"{name}={_written(value)}")
        return f"{self.name}({', '.join(cells)})" if cells else self.name

    @classmethod
    def create(cls, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Op:
        """Return the op for arguments as a spec writes them, checked and normalised.

        Raises:
            OpError: an argument is unknown, missing, given twice, or not of its kind.
        """
        known = cls.arguments
        if len(args) > len(known):
            raise OpError(
                f"{cls.name} takes {number_of(len(known), 'argument')} at most; got {len(args)}"
            )
        given = dict(zip(known, args, strict=False))
        strange = [f"{key!r}{_instead(key, [*known])}" for key in kwargs if key not in known]
        if strange:
            raise OpError(f"{cls.name} has no argument {'; nor '.join(strange)}")
        for key, value in kwargs.items():
            if key in given:
                raise OpError(f"{cls.name} got {key} twice")
            given[key] = value
        for name, argument in known.items():
            if name in given:
                given[name] = argument.read(name, given[name])
            elif argument.default is REQUIRED:
                raise OpError(f"{cls.name} needs {name}")
        made = cls(**given)
        made.__dict__["unnamed"] = args
        return made


OPS = Registry[type[Op]]("op")
"""Every op by its name in specs."""


@dataclass_transform(frozen_default=True)
def op(name: str, *, kind: str) -> Callable[[type[T]], type[T]]:
    """Register a class as the op ``name``."""

    def register(cls: type[T]) -> type[T]:
        cls.name, cls.kind = name, kind
        OPS.register(name, cls, cls.__module__)
        return cls

    return register


def find_op(name: str) -> type[Op]:
    """Return the op of that name, or raise LookupFailed with the nearest one."""
    if name not in OPS:
        from archcost.ops.foreign import explain_op  # only errors need it

        raise LookupFailed("op", name, OPS, instead=explain_op(name))
    return OPS[name]


def make(name: str, *args: Any, **kwargs: Any) -> Op:
    """Return an op by its name, with arguments as a spec writes them: ``make("conv", 64, 3)``.

    Raises:
        LookupFailed: an unknown op.
        OpError: an argument is unknown, missing, given twice, or not of its kind.
    """
    return find_op(name).create(args, kwargs)


def _instead(argument: str, known: Sequence[str]) -> str:
    """Return what to write for an argument of another framework, or the nearest name."""
    from archcost.ops.foreign import explain_argument  # only errors need it

    words = explain_argument(argument, known)
    return f"; {words}" if words else did_you_mean(argument, known)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    return "null" if value is None else repr(value)


def made_dtype(op: Op, dtypes: Sequence[str]) -> str:
    """Return the type of an op's output for inputs of these types.

    Raises:
        OpError: the op does not take these types.
    """
    if op.any_type:
        for dtype in dtypes:
            if reason := op.refuses(dtype):
                raise OpError(reason)
        return op.makes
    typed = op.integers or op.masks or op.complexes or op.makes
    if (op.kind == "reshape" and not typed) or op.name == "concat":
        if reason := op.refuses(dtypes[0]):
            raise OpError(reason)
        if len(set(dtypes)) > 1:
            raise OpError(f"{op.name} needs equal types; got {', '.join(dtypes)}")
        return dtypes[0]
    if op.of_complex and COMPLEX in dtypes:
        if set(dtypes) != {COMPLEX}:
            raise OpError(f"{op.name} needs equal types; got {', '.join(dtypes)}")
        return op.of_complex
    for place, dtype in enumerate(() if op.kind == "parameter" else dtypes):
        wanted = op.takes(place)
        if dtype != wanted and not (dtype == BOOL and place in op.may_be_masks(len(dtypes))):
            shown = "" if wanted == FLOAT else f"77 {wanted}"
            hint = f"; write the type of an input after its shape, as in {shown}" if shown else ""
            raise OpError(f"{op.name} takes {wanted}; got {dtype}{hint}")
    return op.makes or FLOAT
