"""How tensors lie in memory: strides, and the layout that an operation gives to its output.

Sizes and strides have the batch first. The rules are PyTorch's. A tensor is channels-last if its
strides say so (``c10/core/MemoryFormat.h``), and operations on maps keep this. Pointwise operations
keep any order of the dimensions (``TensorIterator.cpp``). All others make the output contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

from archcost.data import dataclass
from archcost.number import remembered
from archcost.shape import Shape

Strides = tuple[int, ...]
"""How many elements lie between neighbours along each dimension, the batch first."""

_FROM_INSIDE = {4: (1, 3, 2, 0), 5: (1, 4, 3, 2, 0)}
"""The dimensions of a channels-last map, from the innermost outwards, by their number."""


@dataclass(frozen=True)
class Layout:
    """The sizes and strides of a tensor, both with the batch first."""

    shape: Shape
    strides: Strides

    @cached_property
    def _hash(self) -> int:
        return hash((self.shape, self.strides))

    def __hash__(self) -> int:
        """Return the hash of both, which is computed once."""
        return self._hash

    @cached_property
    def is_contiguous(self) -> bool:
        """Whether its elements lie one after the other in the order of its dimensions."""
        return self._fills(range(len(self.shape))[::-1])

    @cached_property
    def is_dense(self) -> bool:
        """Whether its elements fill a piece of memory, in whatever order."""
        return self._fills(sorted(range(len(self.shape)), key=lambda d: self.strides[d]))

    @cached_property
    def suggests_channels_last(self) -> bool:
        """Whether operations on maps take it as channels-last: ``suggest_memory_format``.

        Strides of a tensor of several sizes 1 may fit both; then it is channels-first.
        """
        least = 0
        for d in _FROM_INSIDE.get(len(self.shape), ()):
            if self.strides[d] < max(least, 1) or (d == 0 and least == self.strides[1]):
                return False
            least = self.strides[d] * self.shape[d]
        return least > 0

    @cached_property
    def is_channels_last(self) -> bool:
        """Whether it is a map whose elements lie one after the other with the channels last."""
        inside = _FROM_INSIDE.get(len(self.shape))
        return inside is not None and self._fills(inside)

    @cached_property
    def is_packed(self) -> bool:
        """Whether it is dense in the order that it suggests, channels-last or contiguous."""
        return self.is_channels_last if self.suggests_channels_last else self.is_contiguous

    @cached_property
    def is_rows(self) -> bool:
        """Whether a view of it is a matrix whose rows are those of the last dimension."""
        return merged_stride(self.shape[:-1], self.strides[:-1]) is not None

    def _fills(self, from_inside: Sequence[int]) -> bool:
        expected = 1
        for d in from_inside:
            if self.shape[d] != 1:
                if self.strides[d] != expected:
                    return False
                expected *= self.shape[d]
        return True

    def same_order(self, strides: Strides) -> bool:
        """Whether these strides are its own, sizes of 1 aside."""
        columns = zip(self.shape, self.strides, strides, strict=True)
        return strides is self.strides or all(n == 1 or mine == other for n, mine, other in columns)


@remembered
def layout_of(shape: Shape, strides: Strides) -> Layout:
    """Return the layout of these sizes and strides; equal ones are one object."""
    return Layout(shape, strides)


@remembered
def contiguous(shape: Shape) -> Strides:
    """Return the strides of a tensor in the order of its dimensions."""
    return _packed(shape, range(len(shape))[::-1])


@remembered
def channels_last(shape: Shape) -> Strides:
    """Return the strides of a map of two or three spatial dimensions with its channels last."""
    return _packed(shape, _FROM_INSIDE[len(shape)])


def _packed(shape: Shape, from_inside: Sequence[int]) -> Strides:
    strides, step = [0] * len(shape), 1
    for d in from_inside:
        strides[d] = step
        step *= shape[d]
    return tuple(strides)


def fresh(shape: Shape) -> Layout:
    """Return the layout of a contiguous tensor."""
    return Layout(shape, contiguous(shape))


def arranged(shape: Shape, last: bool) -> Strides:
    """Return the strides of a tensor that is moved to ``torch.channels_last``, or is not."""
    return channels_last(shape) if last and len(shape) == 4 else contiguous(shape)


def in_runs(x: Layout, dims: Sequence[int]) -> int:
    """Return in how many runs of neighbours dimensions lie, as ``TensorIterator`` joins them."""
    runs, end = 0, -1
    for stride, size in sorted((x.strides[d], x.shape[d]) for d in dims if x.shape[d] != 1):
        runs += stride != end
        end = stride * size
    return runs


def as_maps(out: Shape, *inputs: Layout) -> Strides:
    """Return the strides of a map made from maps: channels-last if all of them suggest it."""
    if all(tensor.suggests_channels_last for tensor in inputs):
        return channels_last(out)
    return contiguous(out)


def as_rows(out: Shape, *inputs: Layout) -> Strides:
    """Return the strides of a map made from one, of which one of width is a map of height 1.

    So pooling works on one dimension.
    """
    if len(out) != 3:
        return as_maps(out, *inputs)
    strides = as_maps((out[0], out[1], 1, out[2]), *map(as_map, inputs))
    return (*strides[:2], strides[3])


def as_map(x: Layout) -> Layout:
    """Return the layout of a tensor, that of one of width as of a map of height 1."""
    if len(x.shape) != 3:
        return x
    (n, c, width), (batch, channel, step) = x.shape, x.strides
    return layout_of((n, c, 1, width), (batch, channel, width * step, step))


@remembered
def elementwise(*inputs: Layout) -> Strides:
    """Return the strides of what is computed element by element of tensors, repeated to fit.

    Tensors that lie alike give their strides on. Otherwise the order of the dimensions is that of
    the first tensor in which two of them differ in stride.
    """
    rank = max(len(tensor.shape) for tensor in inputs)
    tensors = [_widened(tensor, rank) for tensor in inputs]
    shape = tuple(max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True))
    first = inputs[0]
    if all(tensor.shape == shape for tensor in inputs):
        if all(tensor.is_contiguous for tensor in inputs):
            return contiguous(shape)
        if rank == 4 and all(tensor.is_channels_last for tensor in inputs):
            return channels_last(shape)
        if first.is_dense and all(tensor.strides == first.strides for tensor in inputs):
            return first.strides
    return _packed(shape, _ordered(shape, tensors))


def preserved(tensor: Layout) -> Strides:
    """Return the strides of ``empty_like``: those of a dense tensor, in sizes of 1 as well."""
    return tensor.strides if tensor.is_dense else elementwise(tensor)


def _widened(tensor: Layout, rank: int) -> Layout:
    missing = rank - len(tensor.shape)
    return Layout((1,) * missing + tensor.shape, (0,) * missing + tensor.strides)


def _ordered(shape: Shape, tensors: Sequence[Layout]) -> list[int]:
    """Return the dimensions from the innermost outwards, as ``reorder_dimensions`` sorts them."""
    columns = [
        [0 if n == 1 and size != 1 else stride
         for n, size, stride in zip(tensor.shape, shape, tensor.strides, strict=True)]
        for tensor in tensors
    ]  # fmt: skip

    def compared(inner: int, outer: int) -> int:
        for strides in columns:
            if 0 in (strides[inner], strides[outer]):
                continue
            if strides[inner] != strides[outer]:
                return 1 if strides[inner] > strides[outer] else -1
            if shape[inner] > shape[outer]:
                return 1
        return 0

    order = list(range(len(shape)))[::-1]
    for i in range(1, len(order)):
        moved = i
        for j in reversed(range(i)):
            found = compared(order[j], order[moved])
            if found > 0:
                order[j], order[moved] = order[moved], order[j]
                moved = j
            elif found < 0:
                break
    return order


def merged_stride(shape: Shape, strides: Sequence[int]) -> int | None:
    """Return the stride of all dimensions seen as one, or None where that would take a copy."""
    kept = [(n, s) for n, s in zip(shape, strides, strict=True) if n != 1]
    for (_, stride), (n, inner) in pairwise(kept):
        if stride != n * inner:
            return None
    return kept[-1][1] if kept else 1


@remembered
def viewed_strides(shape: Shape, strides: Strides, new: Shape) -> Strides | None:
    """Return the strides of the same elements in a ``new`` shape, or None where that takes a copy.

    PyTorch's rule: each run of dimensions that lie densely in memory is split up again.
    """
    result: list[int] = []
    left = list(new)
    run, step = 1, 0
    for d in reversed(range(len(shape))):
        step = step or strides[d]
        run *= shape[d]
        if d and (shape[d - 1] == 1 or strides[d - 1] == run * step):
            continue  # the next dimension out belongs to the same run
        covered = 1
        while left and (covered < run or left[-1] == 1):
            result.insert(0, covered * step)
            covered *= left.pop()
        if covered != run:
            return None
        run, step = 1, 0
    return None if left else tuple(result)


def differing(old: Shape, new: Shape) -> tuple[int, Shape, Shape]:
    """Return where two shapes begin to differ, and what stands there in each up to their ends."""
    start = end = 0
    most = min(len(old), len(new))
    while start < most and old[start] == new[start]:
        start += 1
    while end < most - start and old[-1 - end] == new[-1 - end]:
        end += 1
    return start, old[start : len(old) - end], new[start : len(new) - end]
