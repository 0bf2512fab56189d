"""A call of a PyTorch function as an op, where no op of specs says it: on whole tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, NamedTuple

from archcost.errors import ArchcostError
from archcost.importers.function_recurrent import RECURRENT
from archcost.importers.functions import FUNCTIONS
from archcost.importers.observed import Out, run
from archcost.importers.registry import Program
from archcost.ops.base import BOOL, COMPLEX, FLOAT, INT64, Cost, Op
from archcost.ops.distances import FEW
from archcost.ops.reads import ALL, Reads
from archcost.shape import Shape, numel


class Input(NamedTuple):
    """In the arguments of a call: the input at a place."""

    place: int


class Own(NamedTuple):
    """In the arguments of a call: a parameter of the layer."""

    name: str


class View(NamedTuple):
    """In the arguments of a call: a buffer of the layer, as it is read.

    ``key`` tells its memory from others; another layer that reads it has a :class:`Constant`.
    """

    name: str
    shape: Shape
    strides: Shape
    key: Any = None

    def __repr__(self) -> str:
        """Return what tells it from other tensors, wherever it lies."""
        return f"View{self[:3]}"


class Constant(NamedTuple):
    """In the arguments of a call: a tensor that depends on no input and no parameter.

    Attributes:
        shape, strides: how it lies in its memory.
        size: elements of that memory.
        itemsize: bytes of each, 0 for floats.
        key: what tells the memory from others.
        last: whether no later call reads it.
    """

    shape: Shape
    strides: Shape
    size: Any
    itemsize: int
    key: Any = None
    last: bool = True

    def __repr__(self) -> str:
        """Return what tells it from other tensors, wherever it lies."""
        return f"Constant{self[:4]}"

    def placed(self, F: Any, like: Any) -> Any:
        """Return the whole memory, which is where it was when another call has read it."""
        whole = F.constants.get(self.key)
        if whole is None:
            size, itemsize = given(F, self.size, (), {}), self.itemsize or F.setting.itemsize
            whole = like.like((size,), itemsize=itemsize, what="constants")
            F.constants[self.key] = whole
        return whole


class Rows(NamedTuple):
    """In the arguments of a call and in shapes: so many times the batch, and some more."""

    times: int
    more: int = 0


class Called(Op):
    """A function of PyTorch on tensors in which the batch may lie anywhere.

    Attributes:
        function: its name.
        args, kwargs: its arguments, tensors as :class:`Input`, :class:`Own`, :class:`Constant`.
        programs: the functions that are known.
        made: the shapes of its outputs without the batch.
        made_rows: the rows of the batch in them, 1 where they have no batch.
        params: the shapes of the parameters that it reads, by the layer's names.
        complex_params: those among them that hold complex numbers.
        buffers: likewise of the buffers; with the bytes per element, 0 for floats, when it is made.
        macs: multiply-accumulates for one row.
        makes: the type of its outputs.
        observed: how PyTorch was seen to run it, where no program says it.
    """

    function: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    made: tuple[Shape, ...]
    made_rows: int
    params: Mapping[str, Shape]
    buffers: Mapping[str, Shape]
    macs: int
    observed: Mapping[str, Any] | None

    programs: ClassVar[Mapping[str, Program]] = FUNCTIONS
    inputs = ("*",)
    least = 0
    any_rows = True
    any_type = True
    kind = "reshape"

    def __init__(
        self, function: str, kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any],
        made: tuple[Shape, ...], made_rows: int, params: Mapping[str, Shape],
        buffers: Mapping[str, tuple[Shape, int]], macs: int,
        makes: str = FLOAT,
    ) -> None:  # fmt: skip
        """Take what was seen of the call."""
        self.__dict__.update(
            name=function, function=function, kind=kind, args=args, kwargs=dict(kwargs), made=made,
            made_rows=made_rows, params=dict(params), macs=macs, makes=makes, observed=None,
            buffers={own: shape for own, (shape, _) in buffers.items()},
            buffer_bytes={own: width for own, (_, width) in buffers.items() if width},
        )  # fmt: skip

    def with_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Called:
        """Return the same call with its arguments given otherwise."""
        made = copy(self)
        made.__dict__.update(args=tuple(args), kwargs=dict(kwargs))
        return made

    @property
    def values(self) -> tuple[Any, ...]:
        """Return what tells it from other calls."""
        named = tuple(sorted(self.kwargs.items(), key=lambda item: item[0]))
        held = (*self.params.items(), *self.buffers.items())
        seen = (self.made, self.made_rows, self.macs, self.makes)
        return (self.function, repr(self.args), repr(named), held, seen)

    def cost(self, x: Shape = (), *others: Shape) -> Cost:
        """Return what was seen: the shapes do not change."""
        return Cost(self.made[0], self.params, self.macs, self.buffers, others=self.made[1:])

    def rows(self, rows: int, *shapes: Shape) -> int:
        """Return the rows of the batch that were seen."""
        return self.made_rows

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        """Return those of a product, once for each factor that needs a gradient."""

        def needed(arg: Any) -> bool:
            return needs[arg.place] if isinstance(arg, Input) else isinstance(arg, Own) and trained

        if self.function == ATTENTION:
            shapes = [(x, *others)[arg.place] for arg in self.args[:3] if isinstance(arg, Input)]
            if len(shapes) == 3:
                return self._attention(shapes, [*map(needed, (*self.args, *self.kwargs.values()))])
        if self.function == "cdist":
            return self._distances((x, *others), needed), 0
        if self.function.endswith("_cell"):
            state = self.args[1][0] if isinstance(self.args[1], (list, tuple)) else self.args[1]
            own = [arg.name for arg in self.args[2:4] if isinstance(arg, Own)]
            pairs = zip((self.args[0], state), own, strict=False)
            sizes = [numel(self.params[name]) for arg, name in pairs if needed(arg)]
            return sum(sizes), self.macs * trained
        places = FACTORS.get(self.function, ())
        if not places or (self.function == "einsum" and len(self.args) != 3):
            return super().backward_macs(needs, trained, x, *others)
        inputs = [self.args[n] for n in places if isinstance(self.args[n], Input)]
        weights = [self.args[n] for n in places if isinstance(self.args[n], Own)]
        return self.macs * sum(map(needed, inputs)), self.macs * sum(map(needed, weights))

    def _distances(self, shapes: Sequence[Shape], needed: Callable[[Any], bool]) -> int:
        """Return those of both gradients of ``cdist``, if PyTorch computes it by a product."""
        names = ("x1", "x2", "p", "compute_mode")
        given = {**dict(zip(names, self.args, strict=False)), **self.kwargs}
        held = {**self.params, **self.buffers}
        pair = [given["x1"], given["x2"]]
        ends = [
            shapes[arg.place] if isinstance(arg, Input)
            else held[arg.name] if isinstance(arg, Own) else arg.shape
            for arg in pair
        ]  # fmt: skip
        rows = max(shape[-2] if len(shape) > 1 else self.made_rows for shape in ends)
        mode = str(given.get("compute_mode") or "")
        many = rows > FEW and not mode.startswith("donot")
        product = given.get("p", 2) == 2 and (many or mode == "use_mm_for_euclid_dist")
        return 2 * numel(self.made[0]) * ends[0][-1] * (product and any(map(needed, pair)))

    def _attention(self, shapes: Sequence[Shape], needs: Sequence[bool]) -> tuple[int, int]:
        """Return those of fused attention, which makes the scores again, or of its products."""
        width, values = shapes[0][-1], shapes[2][-1]
        scores = self.macs // (width + values)
        (q, k, v), mask = needs[:3], any(needs[3:])
        dropout = self.args[4] if len(self.args) > 4 else self.kwargs.get("dropout_p")
        fused = width == values and not mask and not dropout
        if fused and all(len(shape) == 3 for shape in shapes):
            return scores * (3 * width + 2 * values) * (q or k or v), 0
        return scores * (width * (q + k) + values * (v + (q or k or mask))), 0

    def reads(self, x: Shape, *others: Shape) -> Reads:
        """Return that each output may read all."""
        return [[(d, ALL) for d in range(len(x))]] * len(self.made[0])

    def part(self, place: int) -> Op:
        """Return the call with an output of its own first, which may have other dimensions."""
        part = copy(self)
        part.__dict__["made"] = self.made[place:]
        return part

    def settings(self, axes: int = 2) -> str:
        """Return the arguments that are not tensors."""
        given = [_text(arg) for arg in self.args if is_said(arg)]
        given += [f"{key}={value}" for key, value in self.kwargs.items() if is_said(value)]
        return ", ".join(given).replace("Rows(times=1, more=0)", "N")

    def call(self, tensors: Any = ()) -> str:
        """Return the call with its arguments."""
        inside = ", ".join(filter(None, [", ".join(tensors), self.settings()]))
        return f"{self.name}({inside})"

    def forward(self, F: Any, *tensors: Any, **params: Any) -> Any:
        """Run the function's program.

        Raises:
            ArchcostError: it does not know such arguments.
        """
        args = [given(F, arg, tensors, params) for arg in self.args]
        kwargs = {key: given(F, value, tensors, params) for key, value in self.kwargs.items()}
        for key in _last((self.args, self.kwargs)):
            F.constants.pop(key, None)
        if self.observed is not None:
            seen = {key: given(F, value, (), {}) for key, value in self.observed.items()}
            return run(F, [*_tensors((args, list(kwargs.values())))], name=self.function, **seen)
        program = self.programs.get(self.function)
        try:
            if program is None:  # a primitive of one tensor
                return getattr(F, self.function)(args[0])
            return program(F, *args, **kwargs)
        except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError) as error:
            raise ArchcostError(f"{self.call()} has no formula for these arguments") from error


ATTENTION = "scaled_dot_product_attention"
FACTORS = {
    **dict.fromkeys(("matmul", "bmm", "mm", "__matmul__", "linear"), (0, 1)),
    **dict.fromkeys(("grouped_mm", "_grouped_mm"), (0, 1)),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (0, 1)),
    **dict.fromkeys(("addmm", "baddbmm", "einsum"), (1, 2)),
}
"""Which arguments of a function are the factors of its product."""


def given(F: Any, value: Any, tensors: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """Return an argument as a reading takes it.

    It is not a closure: a closure that calls itself would keep the tensors alive.
    """
    match value:
        case Input(place):
            return tensors[place]
        case Own(name):
            return params[name]
        case View(name, shape, strides, key):
            whole = F.constants.setdefault(key, params[name])
            return whole.view(given(F, shape, (), {}), given(F, strides, (), {}))
        case Constant():
            whole = value.placed(F, next(iter((*tensors, *params.values()))))
            return whole.view(given(F, value.shape, (), {}), given(F, value.strides, (), {}))
        case Rows(times, more):
            return times * F.batch + more
        case Out(shape, strides, itemsize, learns):
            return Out(given(F, shape, (), {}), given(F, strides, (), {}), itemsize, learns)
        case tuple() | list():
            return type(value)([given(F, inner, tensors, params) for inner in value])
        case slice(start=start, stop=stop, step=step):
            return slice(*(given(F, n, tensors, params) for n in (start, stop, step)))
    return value


def _last(value: Any) -> Iterator[Any]:
    """Yield what tells the constants that no later call reads."""
    if isinstance(value, Constant):
        if value.last:
            yield value.key
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _last(inner)
    elif isinstance(value, Mapping):
        yield from _last(list(value.values()))


def _tensors(value: Any) -> Iterator[Any]:
    """Yield the tensors in nested arguments, in order."""
    if isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif hasattr(value, "storage"):
        yield value


def _text(value: Any) -> str:
    """Return an argument as a table says it; slices as in brackets."""
    if isinstance(value, slice):
        ends = [value.start or None, value.stop, value.step if value.step != 1 else None]
        texts = ["" if end is None else str(end) for end in ends]
        return ":".join(texts[: 3 if texts[2] else 2])
    if isinstance(value, tuple) and any(isinstance(item, slice) for item in value):
        return ", ".join(map(_text, value))
    return str(value)


def is_said(value: Any) -> bool:
    """Whether an argument is one that a table says: a number, a word, or several."""
    if isinstance(value, (Input, Own, View, Constant)):
        return False
    if isinstance(value, (list, tuple)) and not isinstance(value, Rows):
        return all(map(is_said, value))
    return value is not None


PRODUCTS = ("matmul", "bmm", "mm", "__matmul__")

TRANSFORMS = ("", "i", "r", "ir", "h", "ih")
"""The ways of a Fourier transform, as ``torch.fft`` names them."""

KINDS = {
    **dict.fromkeys(PRODUCTS, "matmul"), **dict.fromkeys(RECURRENT, "recurrent"),
    "scaled_dot_product_attention": "attention", "linear": "linear", "cat": "merge",
    "stack": "merge", "softmax": "activation",
    **{f"fft_{way}fft{n}": "transform" for way in TRANSFORMS for n in ("", "2", "n")},
    "stft": "transform", "istft": "transform",
    **dict.fromkeys((
        "add", "sub", "mul", "div", "__add__", "__rsub__", "addcmul", "where", "masked_fill",
        "scatter", "scatter_add", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge",
        "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "logical_and", "logical_or",
        "logical_xor", "__and__", "__or__", "__xor__",
    ), "merge"),
}  # fmt: skip
"""The kinds of functions as ops; all others only move elements."""


def type_of(dtype: str) -> str:
    """Return what tensors of a PyTorch type hold, as networks say it."""
    if "complex" in dtype:
        return COMPLEX
    return FLOAT if "float" in dtype else BOOL if dtype == "bool" else INT64
