"""What moves, cuts, joins or pads elements; no arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.layout import (
    Layout,
    Strides,
    as_maps,
    contiguous,
    differing,
    elementwise,
    layout_of,
    preserved,
    viewed_strides,
)
from archcost.primitives.reductions import sum_in_float32
from archcost.primitives.row import (
    FLOAT32,
    JOIN,
    KEEPS,
    NEW,
    SAME,
    WIDEN,
    Own,
    Row,
    Tensor,
    called,
    composite,
    copied,
    elements,
    not_contiguous,
    primitive,
    repacked,
)
from archcost.shape import Shape, Sides, numel, window_count

PLACE_BYTES = 8  # of int64


def _padding(x: Tensor, *, sides: Sides, mode: str = "zeros", value: float = 0.0) -> str:
    """Return the class of padding under autocast: a CPU repeats edges in float32."""
    return FLOAT32 if x.device == "cpu" and mode in ("reflect", "replicate") else KEEPS


@primitive(_padding)
def pad(x: Tensor, *, sides: Sides, mode: str = "zeros", value: float = 0.0) -> Row:
    """The last dimensions extended by (before, after); negative ones are cut off."""
    rest = len(x.shape) - len(sides)
    grown = tuple(n + a + b for n, (a, b) in zip(x.shape[rest:], sides, strict=True))
    out = (*x.shape[:rest], *grown)
    # where nothing is added, it is a clone
    cut = all(before <= 0 and after <= 0 for before, after in sides)
    strides = elementwise(layout_of(out, x.strides)) if cut else as_maps(out, x.layout)
    repeats = mode in ("reflect", "replicate")
    return Row(out, strides, saves=(x,) * repeats, passing=repacked(x) if repeats else ())


@composite()
def pad_circular(F: Any, x: Tensor, *, sides: Sides) -> Any:
    """The last dimensions extended by what is at their other ends.

    A new tensor into which one part after the other is copied, the last dimension first
    (``_pad_circular_symint`` in ``aten/src/ATen/native/PadNd.cpp``).
    """
    rest = len(x.shape) - len(sides)
    padded = [*enumerate(sides, rest)][::-1]
    shape = (*x.shape[:rest], *(x.shape[d] + a + b for d, (a, b) in reversed(padded)))
    out = F.full(shape=shape, like=x)
    for dim, _ in padded:
        x = F.narrow(x, dim=dim, start=0, length=x.shape[dim])
    out = F.copied_in_place(out, x)
    for dim, (before, after) in padded:
        if before:
            last = shape[dim] - before - after
            out = F.copied_in_place(out, F.narrow(out, dim=dim, start=last, length=before))
        if after:
            out = F.copied_in_place(out, F.narrow(out, dim=dim, start=before, length=after))
    return out


@primitive()
def copied_in_place(x: Tensor, part: Tensor) -> Row:
    """The tensor itself, into which a part is copied somewhere.

    Backward copies the gradient, and its part again (``CopySlices`` in
    ``torch/csrc/autograd/functions/tensor.cpp``).
    """
    size = part.shape
    return Row(
        x.shape,
        x.strides,
        view=True,
        gradient=(NEW, lambda gradient: gradient.like(size)),
        scratch=(elements(part if x.needs else x),),
    )


@primitive(WIDEN)
def cat(*tensors: Tensor, dim: int, length: int | None = None) -> Row:
    """Tensors one after the other along a dimension; their gradients are slices.

    ``length`` is theirs together, where a tensor stands for several.
    """
    first = tensors[0].shape
    length = length or sum(tensor.shape[dim] for tensor in tensors)
    out = (*first[:dim], length, *first[dim + 1 :])
    return Row(
        out,
        as_maps(out, *(tensor.layout for tensor in tensors)),
        gradient=tuple(called("narrowed", shape=tensor.shape) for tensor in tensors),
    )


@primitive(WIDEN)
def stack(*tensors: Tensor, dim: int) -> Row:
    """Tensors of one shape along a new dimension; their gradients are slices without it.

    They are joined along the old dimension of that place, of which the new one is a view.
    """
    first, times = tensors[0].shape, len(tensors)
    out, strides = (*first[:dim], times, *first[dim:]), contiguous((*first, times))
    if dim < len(first):
        joined = (*first[:dim], times * first[dim], *first[dim + 1 :])
        strides = as_maps(joined, *(tensor.layout for tensor in tensors))
        strides = (*strides[:dim], first[dim] * strides[dim], *strides[dim:])
    return Row(out, strides, gradient=(called("without", dim=dim),) * times)


@primitive()
def reshape(x: Tensor, *, shape: Shape) -> Row:
    """The same elements in another shape: a view where strides allow it, else a copy."""
    start, before, after = differing(x.shape, tuple(shape))
    strides: Strides | None
    if before == (1,) and not after:  # squeeze
        strides = (*x.strides[:start], *x.strides[start + 1 :])
    elif after == (1,) and not before:  # unsqueeze
        step = x.shape[start] * x.strides[start] if start < len(x.shape) else 1
        strides = (*x.strides[:start], step, *x.strides[start:])
    else:
        strides = viewed_strides(x.shape, x.strides, shape)
    return Row(
        shape,
        contiguous(shape) if strides is None else strides,
        view=strides is not None,
        gradient=(called("reshape", shape=x.shape),),
    )


@primitive()
def permute(x: Tensor, *, dims: Sequence[int]) -> Row:
    """The dimensions in another order: a view."""
    back = tuple(dims.index(d) for d in range(len(dims)))
    return Row(
        tuple(x.shape[d] for d in dims),
        tuple(x.strides[d] for d in dims),
        view=True,
        gradient=(called("permuted", dims=back),),
    )


@primitive()
def expand(x: Tensor, *, shape: Shape) -> Row:
    """Sizes of 1 repeated, and new sizes before the others: a view; the gradient is summed."""
    new = shape[: len(shape) - len(x.shape)]
    columns = zip(x.shape, shape[len(new) :], x.strides, strict=True)
    strides = tuple(0 if n == 1 and m != 1 else s for n, m, s in columns)
    for n in reversed(new):
        whole = shape[-len(strides)] * strides[0] if strides else 1
        strides = (whole if n == 1 else 0, *strides)
    return Row(shape, strides, view=True, gradient=(called("alias"),))


@primitive()
def repeat(x: Tensor, *, times: int) -> Row:
    """A vector repeated several times, one copy after the other; the gradient is summed."""
    out = (times * x.shape[0],)
    return Row(out, contiguous(out), passing=_counted(x))


@primitive()
def narrow(x: Tensor, *, dim: int, start: int, length: int, step: int = 1) -> Row:
    """Every ``step``-th element along a dimension: a view."""
    shape = (*x.shape[:dim], length, *x.shape[dim + 1 :])
    strides = (*x.strides[:dim], x.strides[dim] * step, *x.strides[dim + 1 :])
    return Row(shape, strides, view=True)


@primitive()
def split(x: Tensor, *, dim: int, lengths: Sequence[int]) -> Row:
    """Pieces of the given lengths along a dimension: views."""
    outs = tuple(((*x.shape[:dim], n, *x.shape[dim + 1 :]), x.strides) for n in lengths)
    return Row((), (), view=True, outs=outs, gradient=JOIN)


@primitive()
def unbind(x: Tensor, *, dim: int) -> Row:
    """A piece for each position along a dimension, which goes: views."""
    shape = (*x.shape[:dim], *x.shape[dim + 1 :])
    strides = (*x.strides[:dim], *x.strides[dim + 1 :])
    return Row((), (), view=True, outs=((shape, strides),) * x.shape[dim], gradient=JOIN)


@primitive()
def contiguous_(x: Tensor) -> Row:
    """The tensor itself if it is contiguous, else a copy that is."""
    if x.layout.is_contiguous:
        return Row(x.shape, x.strides, view=True, gradient=SAME)
    return Row(x.shape, contiguous(x.shape), gradient=SAME)


@primitive()
def roll(x: Tensor, *, shifts: Sequence[int], dims: Sequence[int]) -> Row:
    """Elements moved around along dimensions, one dimension after the other."""
    strides = x.strides
    for shift, dim in zip(shifts, dims, strict=True):
        strides = _rolled(layout_of(x.shape, strides), shift, dim)
    strides = strides if x.device == "cpu" else contiguous(x.shape)
    return Row(x.shape, strides, inner=elements(x) * (len(dims) - 1))


def _rolled(x: Layout, shift: int, dim: int) -> Strides:
    """Return the strides of two pieces that are concatenated; one of them may be empty."""
    size = x.shape[dim]
    if shift % size == 0:
        return contiguous(x.shape)
    sizes = ((*x.shape[:dim], n, *x.shape[dim + 1 :]) for n in (shift % size, -shift % size))
    return as_maps(x.shape, *(layout_of(shape, x.strides) for shape in sizes))


@primitive()
def index(table: Tensor, places: Tensor, *, dim: int = 0) -> Row:
    """Rows of a table, or others along a dimension; backward adds to a table of zeros."""
    out = (*table.shape[:dim], *places.shape, *table.shape[dim + 1 :])
    return Row(out, contiguous(out), saves=(places,), zeros=numel(table.shape))


@primitive()
def embedding(places: Tensor, table: Tensor, *, padding_idx: int | None = None) -> Row:
    """Rows of a table; the gradient is a whole table."""
    out = (*places.shape, table.shape[1])
    copies = not_contiguous if places.device == "cpu" else None
    return Row(out, contiguous(out), saves=(places,), itemsize=table.itemsize, copies_inside=copies)


@primitive()
def embedding_bag(
    places: Tensor, table: Tensor, *, mode: str, padding_idx: int | None = None
) -> Row:  # fmt: skip
    """Sums, means or maxima of the rows of a table that each sample names.

    Kept are where each bag begins, how large it is, where maxima are, and to which bag each place
    belongs; a sum on a CPU without padding does without the last
    (``aten/src/ATen/native/EmbeddingBag.cpp``). Its storage has one place more, which an observer
    does not see.
    """
    bags, each = places.shape
    out = (bags, table.shape[1])
    fast = table.itemsize <= 4 and places.device == "cpu"  # isFastPathIndexSelect
    plain = fast and mode == "sum" and padding_idx is None
    more = Own("one place more", (1,), PLACE_BYTES, 0)
    bag_of = () if plain else (Own("bags of places", (bags * each,), PLACE_BYTES), more)
    maxima = Own("maxima", out if mode == "max" else (bags,), PLACE_BYTES)
    begins, sizes = (Own(what, (bags,), PLACE_BYTES) for what in ("begins", "sizes"))
    own = (begins, *bag_of, sizes, maxima)
    ahead = (bags * each + 1) * PLACE_BYTES  # bags of places, summed up before there are others
    rest = (bags + numel(maxima.shape)) * PLACE_BYTES
    passing = (ahead - rest,) if bag_of and ahead > rest else ()
    hidden = 0
    if places.device == "cpu":  # backward sorts places, or selects the bags that are not empty
        sort, maximum = 3 * bags * each * PLACE_BYTES, numel(out) * (PLACE_BYTES + table.itemsize)
        hidden = maximum + bags * PLACE_BYTES if mode == "max" else sort + ahead * plain
    return Row(
        out,
        contiguous(out),
        makes=own,
        saves=(places, *own),
        itemsize=table.itemsize,
        passing=passing,
        hidden=hidden // table.itemsize,
    )


@primitive()
def pixel_shuffle(x: Tensor, *, factor: int) -> Row:
    """Channels moved into positions: a CPU keeps the channels last, a GPU makes none so."""
    n, channels, height, width = x.shape
    out = (n, channels // (factor * factor), height * factor, width * factor)
    return Row(out, _rearranged(x, out), passing=repacked(x))


@primitive()
def pixel_unshuffle(x: Tensor, *, factor: int) -> Row:
    """Positions moved into channels."""
    n, channels, height, width = x.shape
    out = (n, channels * factor * factor, height // factor, width // factor)
    return Row(out, _rearranged(x, out), passing=repacked(x))


def _rearranged(x: Tensor, out: Shape) -> Strides:
    return as_maps(out, x.layout) if x.device == "cpu" else contiguous(out)


@primitive()
def flip(x: Tensor, *, dims: Sequence[int]) -> Row:
    """Elements in reverse order along dimensions."""
    return Row(x.shape, preserved(x.layout))


@primitive()
def tile(x: Tensor, *, repeats: Shape) -> Row:
    """The tensor written several times along each dimension; the gradient is summed."""
    own, out = x.shape, tuple(n * times for n, times in zip(x.shape, repeats, strict=True))
    apart = tuple(size for pair in zip(repeats, own, strict=True) for size in pair)

    def summed(gradient: Any) -> Any:
        made = gradient.like(own)
        if not gradient.storage.ledger.observed:
            parts = gradient.like((0,)).view(apart, contiguous(apart))
            inside = sum_in_float32(parts, range(0, len(apart), 2), own)
            [gradient.like((n,), itemsize=1) for n in inside]
        return made

    return Row(out, contiguous(out), gradient=summed, passing=_counted(x))


def _counted(x: Tensor) -> tuple[int, ...]:
    """Return the bytes of the numbers of its dimensions, which a CPU computes with tensors."""
    return (4 * PLACE_BYTES * len(x.shape),) if x.device == "cpu" else ()


@primitive()
def tril(x: Tensor, *, diagonal: int) -> Row:
    """The lower triangle of the last two dimensions."""
    return Row(x.shape, contiguous(x.shape), passing=_in_batches(x))


@primitive()
def triu(x: Tensor, *, diagonal: int) -> Row:
    """The upper triangle of the last two dimensions."""
    return Row(x.shape, contiguous(x.shape), passing=_in_batches(x))


def _in_batches(x: Tensor) -> tuple[int, ...]:
    """Return the bytes of a copy, if matrices do not lie one after the other on a CPU.

    ``aten/src/ATen/native/TriangularOpsUtils.h``, ``checkTrilTriuBatchContiguous``.
    """
    steps, own = contiguous(x.shape)[:-2], x.strides[:-2]
    there = all(n == 1 or a == b for n, a, b in zip(x.shape, steps, own, strict=False))
    return () if there or x.device != "cpu" else (elements(x) * x.itemsize,)


def _resized(x: Tensor, out: Shape) -> Row:
    """Return the row of what a CPU first makes as large as what it reads, and then resizes."""
    passing = copied(x) if x.device == "cpu" else ()
    if x.device == "cpu" and numel(out) > elements(x):
        passing = (*passing, elements(x) * x.itemsize)
    resized = called("resized", shape=x.shape)
    return Row(out, contiguous(out), room=elements(x), passing=passing, gradient=resized)


@primitive()
def unfold(x: Tensor, *, kernel_size: Shape, dilation: Shape, padding: Shape, stride: Shape) -> Row:
    """Every window of a map as a column: im2col."""
    axes = zip(x.shape[2:], kernel_size, stride, padding, dilation, strict=True)
    there = tuple(window_count(n, k, s, p, p, d) for n, k, s, p, d in axes)
    out = (x.shape[0], x.shape[1] * numel(kernel_size), numel(there))
    return _resized(x, out)


@primitive()
def fold(
    x: Tensor, *, output_size: Shape, kernel_size: Shape, dilation: Shape, padding: Shape,
    stride: Shape,
) -> Row:  # fmt: skip
    """Columns added up to a map: col2im."""
    out = (x.shape[0], x.shape[1] // numel(kernel_size), *output_size)
    return _resized(x, out)


@primitive()
def index_select(x: Tensor, places: Tensor, *, dim: int) -> Row:
    """The elements at some places along a dimension; backward adds to a tensor of zeros."""
    out = (*x.shape[:dim], *places.shape, *x.shape[dim + 1 :])
    return Row(out, contiguous(out), saves=(places,), zeros=elements(x))
