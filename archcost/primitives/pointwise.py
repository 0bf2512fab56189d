"""Arithmetic element by element, softmax, dropout, and tensors of constants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archcost.layout import Layout, Strides, contiguous, elementwise, fresh, layout_of, preserved
from archcost.number import maximum
from archcost.packages import at_least
from archcost.primitives.row import (
    FULL,
    KEEPS,
    LOWER,
    OUT,
    PRIMITIVES,
    SAME,
    Own,
    Primitive,
    Row,
    Tensor,
    composite,
    copied,
    elements,
    float32_on,
    needed,
    not_contiguous,
    primitive,
)
from archcost.shape import Shape, numel
from archcost.units import ComplexBytes

FLOAT_BYTES = 4
NUMBER_BYTES = 8  # of float64 and int64
INPUT, OUTPUT, NOTHING = "input", "output", "nothing"

KEPT: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(("relu", "sigmoid", "tanh", "exp"), (OUTPUT, 0)),
    **dict.fromkeys(
        (
            "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
            "leaky_relu", "log", "mish", "relu6", "selu", "silu", "softplus", "softshrink",
            "threshold",
        ),
        (INPUT, 0),
    ),
    "abs": (INPUT, 1), "sin": (INPUT, 1), "cos": (INPUT, 2), "erf": (INPUT, 4),
    "sqrt": (OUTPUT, 1), "rsqrt": (OUTPUT, 2), "reciprocal": (OUTPUT, 2),
    "neg": (NOTHING, 0), "sign": (NOTHING, 0),
}  # fmt: skip
"""Functions of each element: what the derivative is computed from, and how many tensors backward
makes beside the gradient (``tools/autograd/derivatives.yaml``)."""

IN_FLOAT32 = ("exp", "log", "reciprocal", "rsqrt", "softplus")
"""Those that autocast runs in float32 on CUDA."""


def tensors_of(*args: Any) -> list[Tensor]:
    """Return the tensors among tensors and numbers."""
    return [arg for arg in args if not isinstance(arg, (int, float))]


def calculated(*args: Any) -> Strides:
    """Return the strides of what is computed of tensors and numbers, which have no dimensions."""
    return elementwise(*(arg.layout if hasattr(arg, "layout") else fresh(()) for arg in args))


CLAMPED = ("hardtanh", "relu6")
"""Those that write into what ``empty_like`` makes."""


def _function(name: str, kept: str, temporaries: int) -> Callable[..., Row]:
    """Return the row of a function of each element."""
    arranged = preserved if name in CLAMPED else elementwise
    return lambda x, **_: Row(
        x.shape,
        arranged(x.layout),
        saves={INPUT: (x,), OUTPUT: (OUT,), NOTHING: ()}[kept],
        scratch=(elements(x),) * temporaries,
    )


def _length(x: Tensor) -> Row:
    """The absolute value: of complex numbers a real one, which is first made as a complex one."""
    row = _function("abs", *KEPT["abs"])(x)
    if isinstance(x.itemsize, ComplexBytes):
        row.itemsize, row.passing = x.itemsize // 2, (elements(x) * x.itemsize,)
        # a CPU casts the gradient, which is real, before it multiplies
        row.scratch, row.hidden = (2 * elements(x),), 2 * elements(x) * (x.device == "cpu")
        row.gradient = (_of_length(x),)
    return row


def _of_length(x: Tensor) -> Callable[[Any], Any]:
    """Return the rule of its gradient, which lies as the real one that is multiplied first."""
    layout, width, cast = x.layout, x.itemsize, x.device == "cpu"

    def made(gradient: Any) -> Any:
        given = gradient.layout
        given = layout_of(given.shape, preserved(given)) if cast else given
        return gradient.like(given.shape, elementwise(given, layout), width)

    return made


def _gelu(x: Tensor, **_: Any) -> Row:
    """GELU: oneDNN's backward copies a gradient that is not contiguous, as its input is."""
    row = _function("gelu", *KEPT["gelu"])(x)
    if x.device == "cpu" and x.itemsize <= FLOAT_BYTES and x.layout.is_contiguous:
        row.copies_inside = not_contiguous
    return row


for _name, _kept in KEPT.items():
    _class = float32_on("cuda") if _name in IN_FLOAT32 else KEEPS
    PRIMITIVES[_name] = Primitive(_name, _function(_name, *_kept), _class)
PRIMITIVES["abs"], PRIMITIVES["gelu"] = Primitive("abs", _length), Primitive("gelu", _gelu)


@primitive()
def logsigmoid(x: Tensor) -> Row:
    """The logarithm of the sigmoid; a CPU keeps a buffer, and takes and gives what is contiguous.

    ``aten/src/ATen/native/Activation.cpp``, ``log_sigmoid_forward_cpu``.
    """
    strides = elementwise(x.layout)
    if x.device != "cpu":
        return Row(x.shape, strides, saves=(x,))
    buffer = Own("buffer", x.shape)
    return Row(
        x.shape,
        contiguous(x.shape),
        observed=strides,
        makes=(buffer,),
        saves=(x, buffer),
        passing=copied(x),
    )


@primitive()
def rrelu(x: Tensor, *, lower: float, upper: float, training: bool) -> Row:
    """Leaky ReLU with random slopes, which are kept in evaluation too."""
    slopes = Own("noise", x.shape)
    numbers = (6 * NUMBER_BYTES,) if x.device == "cpu" else ()  # half the sum of two
    return Row(
        x.shape,
        contiguous(x.shape),
        observed=elementwise(x.layout),
        makes=(slopes,),
        saves=(x, slopes),
        passing=copied(x) if training else numbers,
    )


@primitive()
def glu(x: Tensor, *, dim: int) -> Row:
    """One half along a dimension times the sigmoid of the other."""
    half = (*x.shape[:dim], x.shape[dim] // 2, *x.shape[dim + 1 :])
    return Row(half, elementwise(Layout(half, x.strides)), saves=(x,), gradient=(_joined(x.shape),))


def _joined(shape: Shape) -> Callable[[Any], Any]:
    return lambda gradient: gradient.like(shape)


@primitive()
def clamp(x: Tensor, *, min: float | None, max: float | None) -> Row:
    """Values cut to lie between two numbers; the gradient is zero where one was cut."""
    masks = (elements(x),) * ((min is not None) + (max is not None))
    return Row(x.shape, elementwise(x.layout), saves=(x,), scratch=(1,), masks=masks)


def broadcast(*tensors: Tensor) -> Shape:
    """Return the shape to which tensors are repeated."""
    rank = max(len(tensor.shape) for tensor in tensors)
    columns = zip(*((1,) * (rank - len(t.shape)) + t.shape for t in tensors), strict=True)
    return tuple(max(column) for column in columns)


@primitive(float32_on("cuda"))
def softmax(x: Tensor, *, dim: int) -> Row:
    """exp(x) normalised to sum 1 along a dimension.

    What is not contiguous is copied first (``aten/src/ATen/native/SoftMax.cpp``).
    """
    return Row(
        x.shape,
        contiguous(x.shape),
        saves=(OUT,),
        passing=copied(x),
        copies_inside=not_contiguous,
    )


@primitive()
def safe_softmax(x: Tensor, *, dim: int) -> Row:
    """Softmax in which a row of nothing but -inf gives zeros: ``_safe_softmax``.

    Beside the output there are for a while where x is -inf, which rows are, and a zero for these.
    """
    rows = numel((*x.shape[:dim], *x.shape[dim + 1 :]))
    passing = (maximum(elements(x) + rows + x.itemsize, sum(copied(x))),)
    return Row(x.shape, contiguous(x.shape), saves=(OUT,), passing=passing)


@primitive(float32_on("cuda"))
def log_softmax(x: Tensor, *, dim: int) -> Row:
    """The logarithm of the softmax along a dimension."""
    return softmax(x, dim=dim)


@composite(LOWER)
def prelu(F: Any, x: Tensor, weight: Tensor) -> Any:
    """Leaky ReLU with a learnt slope, for which the slopes are a view along the channels."""
    ones = (1,) * (len(x.shape) - 2)
    return F.prelu_kernel(x, F.reshape(weight, shape=(1, weight.shape[0], *ones)))


@primitive()
def prelu_kernel(x: Tensor, weight: Tensor) -> Row:
    """The same with slopes of as many dimensions; its backward always makes both gradients."""
    unasked = () if x.needs and weight.needs else (elements(x),)
    return Row(x.shape, preserved(x.layout), saves=(x, weight), gradient=FULL, scratch=unasked)


def number_bytes(*args: Any) -> tuple[int, ...]:
    """Return the bytes that a CPU takes to read a number beside a tensor, if one of two is one.

    It makes a tensor of 8 bytes of it, and casts that to the type of the other
    (``wrapped_scalar_tensor``, ``TensorIteratorBase::compute_types``).
    """
    tensors = tensors_of(*args)
    if len(tensors) == len(args) or tensors[0].device != "cpu":
        return ()
    width, floats = tensors[0].itemsize, any(isinstance(arg, float) for arg in args)
    same = floats and width == NUMBER_BYTES and not isinstance(width, ComplexBytes)
    return (NUMBER_BYTES,) if same else (NUMBER_BYTES, width)


@primitive()
def add(a: Tensor, b: Tensor | float) -> Row:
    """The sum."""
    out = broadcast(*tensors_of(a, b))
    return Row(out, calculated(a, b), gradient=SAME, passing=number_bytes(a, b))


@primitive()
def sum_in_place(a: Tensor, b: Tensor) -> Row:
    """The first tensor itself, with another added."""
    return Row(a.shape, a.strides, view=True, gradient=SAME)


@primitive()
def sub(a: Tensor, b: Tensor | float) -> Row:
    """The difference; the gradient of the second tensor is a new one."""
    row = add(a, b)
    row.gradient = (SAME, FULL)
    return row


@primitive()
def mul(a: Tensor, b: Tensor | float) -> Row:
    """The product: each factor is kept for the gradient of the other."""
    tensors = tensors_of(a, b)
    saves = needed((a, tensors[1]), (tensors[1], a)) if len(tensors) > 1 else ()
    row = Row(broadcast(*tensors), calculated(a, b), saves=saves, gradient=FULL)
    if number := number_bytes(a, b):
        row.holds, row.passing, row.hidden = number[:1], number[1:], len(number[1:])
    if len(saves) and isinstance(a.itemsize, ComplexBytes):  # the conjugate of a factor is copied
        row.scratch = (elements(saves[-1]),)
    return row


@primitive()
def scaled(x: Tensor, factor: float) -> Row:
    """The product with a number as C++ calls it: autograd keeps the number itself."""
    row, number = mul(x, factor), number_bytes(x, factor)
    row.holds, row.passing, row.hidden = (), number, sum(number) // x.itemsize
    return row


@primitive()
def div(a: Tensor, b: Tensor) -> Row:
    """The quotient: the divisor is kept for both gradients."""
    out = broadcast(a, b)
    return Row(
        out,
        elementwise(a.layout, b.layout),
        saves=(*needed((a, b)), b),
        gradient=FULL,
        scratch=(numel(out),) * (2 if a.needs else 3) if b.needs else (),
    )


def _extreme(a: Tensor, b: Tensor) -> Row:
    """Return the row of the larger or the smaller of two: equal elements get half a gradient.

    From PyTorch 2.14 on, the others' zeros are filled into a copy on fake tensors alone
    (``masked_fill_inplace_if_safe``).
    """
    out = broadcast(a, b)
    size = numel(out)
    return Row(
        out,
        elementwise(a.layout, b.layout),
        saves=(a, b),
        gradient=FULL,
        scratch=(size,),
        masks=(size, size),
        zeros=size if at_least("torch", 2, 14) else 0,
    )


for _name in ("maximum", "minimum"):
    PRIMITIVES[_name] = Primitive(_name, _extreme)


@primitive(float32_on("cuda"))
def pow_(x: Tensor, exponent: float) -> Row:
    """X to a power that is a number."""
    temporaries = 2 if exponent else 0
    return Row(x.shape, elementwise(x.layout), saves=(x,), scratch=(elements(x),) * temporaries)


@primitive()
def addcmul(bias: Tensor, a: Tensor, b: Tensor) -> Row:
    """Bias + a · b in one operation."""
    return Row(
        broadcast(bias, a, b),
        elementwise(bias.layout, a.layout, b.layout),
        saves=needed((a, b), (b, a)),
        gradient=(SAME, FULL, FULL),
        scratch=(elements(a if b.needs else b),) if a.needs or b.needs else (),
    )


@primitive()
def dropout(x: Tensor, *, p: float) -> Row:
    """Dropout as CUDA's one function, which keeps a mask of booleans."""
    mask = Own("mask", x.shape, 1)
    return Row(x.shape, elementwise(x.layout), makes=(mask,), saves=(mask,))


@primitive()
def cast(x: Tensor, *, like: Tensor | None = None, itemsize: int = 0) -> Row:
    """The same values in the type of another tensor, or in one of so many bytes."""
    width, itemsize = x.itemsize, itemsize if like is None else like.itemsize
    if itemsize == width:
        return Row(x.shape, x.strides, view=True, gradient=SAME)
    return Row(
        x.shape,
        preserved(x.layout),
        itemsize=itemsize,
        gradient=(lambda gradient: gradient.like(gradient.shape, gradient.strides, width),),
    )


@primitive(differentiable=False)
def full(*, shape: Shape, like: Tensor, value: float = 0.0) -> Row:
    """A tensor of one value."""
    return Row(shape, contiguous(shape), itemsize=like.itemsize)


@primitive(differentiable=False)
def causal_mask(*, shape: Shape, like: Tensor) -> Row:
    """Zeros up to the diagonal and -inf beyond it, where booleans say so, of two numbers."""
    row = full(shape=shape, like=like)
    row.makes = (Own("later", shape, 1), Own("zero", ()), Own("infinity", ()))
    return row


@primitive(differentiable=False)
def added_mask(mask: Tensor, *, like: Tensor) -> Row:
    """Zeros where a mask is true and -inf elsewhere, which is a tensor of one number."""
    strides = elementwise(mask.layout)
    infinity = Own("infinity", (), like.itemsize)
    return Row(mask.shape, strides, itemsize=like.itemsize, makes=(infinity,))


@primitive(differentiable=False)
def noise(*, shape: Shape, like: Tensor, p: float) -> Row:
    """A tensor of factors: 0 with probability ``p``, 1 / (1 - p) else."""
    row = full(shape=shape, like=like)
    row.passing = number_bytes(like, 1 - p)
    return row


@primitive(differentiable=False)
def uniform(*, shape: Shape, like: Tensor) -> Row:
    """A tensor of random numbers from 0 to 1."""
    return full(shape=shape, like=like)


@primitive(differentiable=False)
def scaled_in_place(x: Tensor, factor: float) -> Row:
    """The tensor itself, multiplied."""
    return Row(x.shape, x.strides, view=True, passing=number_bytes(x, factor))


@primitive()
def added_in_place(x: Tensor, addend: float) -> Row:
    """The tensor itself, with a number added."""
    number = number_bytes(x, addend)
    return Row(x.shape, x.strides, view=True, gradient=SAME, passing=number)
