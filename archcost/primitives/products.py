"""Products: convolutions, linear layers, matrix products, attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.layout import (
    Layout,
    Strides,
    channels_last,
    contiguous,
    elementwise,
    layout_of,
    merged_stride,
    preserved,
)
from archcost.number import maximum, minimum, remembered
from archcost.primitives.row import (
    COPIED,
    LOWER,
    NEW,
    OUT,
    SAME,
    WIDEN,
    Own,
    Row,
    Tensor,
    called,
    composite,
    elements,
    float32_on,
    given,
    needed,
    primitive,
)
from archcost.shape import Shape, numel, window_count
from archcost.units import ComplexBytes

FLOAT_BYTES = 4
LOWERED = 2


def convolved(out: Shape, *tensors: Layout) -> Strides:
    """Return the strides of a convolution's output, or of its weight's gradient.

    Their channels are last if those of the input or the weight are, in PyTorch's
    ``_conv_determine_backend_memory_format``. A sequence is made contiguous and viewed as a map of
    one line: one of length 1 may then be channels-last, in numbers alone.
    """
    if len(out) == 3:
        batch, channels, _, step = convolved(_line(out), *map(_as_line, tensors))
        return batch, channels, step
    last = any(tensor.suggests_channels_last for tensor in tensors)
    return channels_last(out) if last else contiguous(out)


def _line(shape: Shape) -> Shape:
    return (*shape[:2], 1, *shape[2:])


def _as_line(sequence: Layout) -> Layout:
    strides = sequence.strides if sequence.is_contiguous else contiguous(sequence.shape)
    return layout_of(
        _line(sequence.shape), (*strides[:2], sequence.shape[2] * strides[2], strides[2])
    )


@primitive(LOWER)
def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
    stride: Shape, padding: Shape, dilation: Shape, groups: int,
) -> Row:  # fmt: skip
    """Convolution, padded with as many zeros before as after."""
    sizes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    size = tuple(window_count(n, k, s, p, p, d) for n, k, s, p, d in sizes)
    out = (x.shape[0], weight.shape[0], *size)
    return Row(
        out,
        convolved(out, x.layout, weight.layout),
        saves=(x, weight),
        observed=contiguous(out) if len(out) == 3 else None,
        macs=numel(out) * numel(weight.shape[1:]),
        weight_strides=convolved(weight.shape, x.layout, weight.layout),
    )


@primitive(LOWER)
def conv_transpose(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *,
    stride: Shape, padding: Shape, output_padding: Shape, dilation: Shape, groups: int,
) -> Row:  # fmt: skip
    """Transposed convolution."""
    sizes = zip(
        x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation, strict=True
    )
    size = tuple((n - 1) * s - 2 * p + d * (k - 1) + e + 1 for n, k, s, p, e, d in sizes)
    out = (x.shape[0], weight.shape[1] * groups, *size)
    return Row(
        out,
        convolved(out, x.layout, weight.layout),
        saves=(x, weight),
        observed=contiguous(out) if len(out) == 3 else None,
        macs=elements(x) * numel(weight.shape[1:]),
        weight_strides=convolved(weight.shape, x.layout, weight.layout),
    )


@primitive(LOWER)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Row:
    """Product with a matrix along the last dimension; rows that lie apart are copied first."""
    out = (*x.shape[:-1], weight.shape[0])
    rows: Tensor | Own = x if x.layout.is_rows else Own(COPIED, x.shape)
    maps = len(x.shape) > 2
    made = [rows] if isinstance(rows, Own) else []
    apart = made and bias is not None and (weight.needs or elements(x) <= numel(out))
    if apart:  # the bias is added last, in place where tensors hold numbers; unkept rows go before
        made[0].observed = x.itemsize if weight.needs else 0
        made.append(Own("product", out, 0, x.itemsize))
    return Row(
        out,
        contiguous(out),
        makes=tuple(made),
        saves=needed((rows, weight), (weight, x)),
        gradient=(NEW, NEW, SAME),
        # addmm takes the bias first, the weight through its transpose, rows of maps through a view
        order=(2, 1, 0) if maps else (2, 0, 1),
        late=(1, 0) if maps else (1,),
        flattens=maps,
        copies_inside=_not_a_matrix if x.device == "cpu" else None,
        macs=numel(out) * x.shape[-1],
    )


def _not_a_matrix(gradient: Any) -> bool:
    """Return whether ``mm`` copies it: no dimension of it is dense (``addmm_impl_cpu_``)."""
    *lead, columns = gradient.shape
    *outer, inner = gradient.layout.strides
    row, rows = merged_stride(tuple(lead), outer), numel(tuple(lead))
    if row is None:
        return True
    return not (inner == 1 and row >= columns) and not (row == 1 and inner >= rows)


@primitive(LOWER)
def matmul(a: Tensor, b: Tensor) -> Row:
    """Matrix products of the last two dimensions; their gradients are products too."""
    out = (*a.shape[:-1], b.shape[-1])
    row = Row(
        out,
        contiguous(out),
        saves=needed((a, b), (b, a)),
        gradient=(called("like", shape=a.shape), called("like", shape=b.shape)),
        macs=numel(out) * a.shape[-1],
    )
    lazy, seen = (0, 0), 0
    if isinstance(a.itemsize, ComplexBytes):
        if len(a.shape) > 2:  # backward copies the conjugate of each factor first
            lazy = elements(a), elements(b)
            seen = _larger(a, lazy[0] * b.needs, lazy[1] * a.needs)
            row.scratch = (seen,) * (seen > 0)
        elif not (a.layout.is_contiguous and b.layout.is_contiguous):
            row.unknown = "the peak of a product of complex matrices that lie otherwise is unknown"
    if a.device == "cpu" and a.itemsize >= FLOAT_BYTES:
        if copied := _copied_inside(a.layout, b.layout):
            row.passing = (copied * a.itemsize,)
        row.copies_inside = _copies_of_products(a, b, lazy, seen)
    return row


SMALL = 400
"""Products of fewer multiply-accumulates are not left to a library."""


@remembered
def _copied_inside(a: Layout, b: Layout) -> int:
    """Return the elements that a CPU copies to multiply: matrices that no library takes.

    One along whose rows or columns no elements are neighbours is copied; of several, one product
    runs after the other (``aten/src/ATen/native/LinearAlgebra.cpp``).
    """
    if len(a.shape) > 2 and numel((*a.shape[-2:], b.shape[-1])) < SMALL:
        return 0
    return sum(numel(x.shape[-2:]) for x in (a, b) if not _lies_as_matrix(x))


def _lies_as_matrix(x: Layout) -> bool:
    (rows, columns), (row, column) = x.shape[-2:], x.strides[-2:]
    return (column == 1 and row >= columns) or (row == 1 and column >= rows)


@remembered
def _turned(x: Layout) -> Layout:
    """Return the layout of the transposed matrices."""
    swapped = [(*each[:-2], each[-1], each[-2]) for each in (x.shape, x.strides)]
    return layout_of(*swapped)


def _larger(a: Tensor, second: int, first: int) -> int:
    """Return what two gradients take beside them: that of the second factor is computed first."""
    return maximum(second - elements(a), first) if a.needs else second


def _copies_of_products(
    a: Tensor, b: Tensor, lazy: tuple[int, int], seen: int
) -> Callable[[Tensor], int]:
    """Return what backward copies inside, beside the conjugates of factors that are ``seen``."""
    left, right, needs, size = a.layout, b.layout, (a.needs, b.needs), elements(a)

    def copied(gradient: Tensor) -> int:
        second = lazy[0] + _copied_inside(_turned(left), gradient.layout) if needs[1] else 0
        if not needs[0]:
            return second - seen
        first = lazy[1] + _copied_inside(gradient.layout, _turned(right))
        return maximum(second - size, first) - seen

    return copied


@composite(float32_on("cuda", WIDEN))
def bilinear(F: Any, a: Tensor, b: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """A bilinear form of each row of two tensors: ``aten/src/ATen/native/Linear.cpp``."""
    rows = (numel(a.shape[:-1]),)
    left = F.reshape(a, shape=(*rows, a.shape[-1]))
    right = F.reshape(b, shape=(*rows, b.shape[-1]))
    out = F.reshape(F.trilinear(left, weight, right), shape=(*a.shape[:-1], weight.shape[0]))
    if bias is not None:
        out = F.add(out, bias)
    return out


@primitive()
def trilinear(a: Tensor, weight: Tensor, b: Tensor) -> Row:
    """The same of matrices, one output feature after the other: ``_trilinear`` in that file.

    Each takes a product and then a second one. Backward makes the three gradients so in turn.
    """
    (n, i), j = a.shape, b.shape[1]
    stages = ((a, (n * i * j, n * i)), (weight, (n * i, i * j)), (b, (n * j, n * j)))
    made, most = 0, 0
    for tensor, parts in stages:
        if tensor.needs:
            made += elements(tensor)
            most = maximum(most, made + sum(parts))
    out = (n, weight.shape[0])
    mixed = len({a.itemsize, weight.itemsize, b.itemsize}) > 1
    refused = "PyTorch runs no bilinear form of several types" if mixed else ""
    return Row(
        out,
        contiguous(out),
        saves=(
            *given(a if weight.needs or b.needs else None),
            *given(weight if a.needs or b.needs else None),
            *given(b if a.needs or weight.needs else None),
        ),
        passing=(n * j * a.itemsize, n * a.itemsize),
        hidden=most - made,
        macs=numel((*out, j, i + 1)),
        unknown=refused,
        unknown_cast="the peak of bilinear under autocast is not known",
        untold=refused,
    )


@primitive(float32_on("cuda", LOWER))
def mv(matrix: Tensor, vector: Tensor) -> Row:
    """The product of a matrix with a vector."""
    out = (matrix.shape[0],)
    saves = needed((matrix, vector), (vector, matrix))
    return Row(out, contiguous(out), saves=saves, macs=elements(matrix))


@primitive(float32_on("cuda", WIDEN))
def vdot(a: Tensor, b: Tensor) -> Row:
    """The product of two vectors, a single number."""
    return Row((), (), saves=needed((a, b), (b, a)), macs=elements(a))


@primitive(differentiable=False)
def direction_in_place(out: Tensor, matrix: Tensor, vector: Tensor, *, eps: float) -> Row:
    """The first tensor itself, into which the direction of such a product is written.

    The product and its length are there for a while: ``torch.nn.functional.normalize``.
    """
    made = (Own("product", out.shape), Own("length", (1,)))
    return Row(out.shape, out.strides, view=True, makes=made, macs=elements(matrix))


@primitive()
def fused_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, lines: int
) -> Row:
    """Attention as one function; batch, heads, tokens, width; ``lines`` are those of logsumexp.

    Its backward makes all gradients, whichever are asked for, each with the tokens before the
    heads.
    """
    n, heads, tokens, _ = q.shape
    out = (n, heads, tokens, v.shape[3])
    logsumexp = Own("logsumexp", (n, heads, lines), maximum(q.itemsize, FLOAT_BYTES))
    masks = () if mask is None else (mask,)
    gradient = tuple(called("like", shape=t.shape, strides=_by_tokens(t.shape)) for t in (q, k, v))
    unasked = tuple(elements(tensor) for tensor in (q, k, v) if not tensor.needs)
    cpu = q.device == "cpu"
    forward, backward = _tiles(q, k) if cpu else ((), ())
    return Row(
        out,
        preserved(q.layout) if cpu else _by_tokens(out),
        observed=elementwise(q.layout) if cpu else None,
        widens=False,
        makes=(logsumexp,),
        saves=(q, k, v, *masks, OUT, logsumexp),
        gradient=(*gradient, NEW),
        unasked=unasked,
        copies_inside=_not_by_tokens if cpu else None,
        passing=forward,
        hidden=sum(backward) // q.itemsize + sum(unasked) if cpu else 0,
        macs=n * heads * tokens * k.shape[2] * (k.shape[3] + v.shape[3]),
    )


def _tiles(q: Tensor, k: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the bytes of each buffer of one thread, forward and backward.

    A tile of scores and what is summed up beside it are of float32, what is multiplied of the type
    of the inputs: ``cpu_flash_attention`` in ``aten/src/ATen/native/cpu/FlashAttentionKernel.cpp``.
    """
    tokens, width = q.shape[2:]
    rows = minimum(tokens, 32 if tokens < 192 else 64 if tokens < 768 else 256)
    tile = rows * minimum(k.shape[2], 512)
    lowered = q.itemsize * (q.itemsize < FLOAT_BYTES)
    sums, wide = rows * maximum(q.itemsize, FLOAT_BYTES), maximum(q.itemsize, FLOAT_BYTES)
    forward = (tile * wide + sums * (2 + width), tile * lowered)
    return forward, (2 * tile * wide, 2 * tile * lowered, sums)


def _not_by_tokens(gradient: Any) -> bool:
    """Return whether the tokens before the heads are not contiguous."""
    strides = gradient.layout.strides
    n, heads, tokens, width = gradient.shape
    turned = (strides[0], strides[2], strides[1], strides[3])
    return not Layout((n, tokens, heads, width), turned).is_contiguous


def _by_tokens(shape: Shape) -> Strides:
    """Return the strides of heads whose tokens lie one after the other, all heads of each."""
    _, heads, tokens, width = shape
    return (heads * tokens * width, width, heads * width, 1)


@primitive(float32_on("cuda"))
def deformed(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None, mask: Tensor | None, *,
    stride: Shape, padding: Shape, dilation: Shape,
) -> Row:  # fmt: skip
    """Deformable convolution; of a mask and a bias it keeps zeros if there are none.

    ``torchvision/csrc/ops/deform_conv2d.cpp``, ``torchvision/ops/deform_conv.py``.
    """
    out = (x.shape[0], weight.shape[0], *offset.shape[2:])
    zeros = []
    if mask is None:
        zeros.append(Own("zeros", (x.shape[0], 1)))
    if bias is None:
        zeros.append(Own("zeros", weight.shape[:1]))
    half = x.device == "cpu" and any(t.itemsize == LOWERED for t in (x, offset, weight))
    return Row(
        out,
        contiguous(out),
        makes=tuple(zeros),
        saves=(*given(x, weight, offset, mask, bias), *zeros),
        macs=numel(out) * numel(weight.shape[1:]),
        unknown="the peak of a deformable convolution is not known",
        untold="torchvision runs no deformable convolution in half precision on a CPU" * half,
    )


@composite()
def deform_conv(F: Any, x: Any, *tensors: Any, **options: Any) -> Any:
    """Deformable convolution, which autocast of CUDA runs in float32 and casts back."""
    return F.cast(F.deformed(x, *tensors, **options), like=x)
