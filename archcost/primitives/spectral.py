"""Fourier transforms, and complex numbers as pairs of real ones.

The rules of the layouts are those of PyTorch with MKL, as its builds for x86 have it, and of cuFFT
for up to three dimensions (``aten/src/ATen/native/mkl/SpectralOps.cpp``,
``aten/src/ATen/native/cuda/SpectralOps.cpp``). A
transform of real numbers keeps them for backward, which asks for their size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.layout import Layout, Strides, contiguous, layout_of, merged_stride
from archcost.primitives.row import FLOAT32, KEEPS, Row, Tensor, composite, primitive
from archcost.shape import Shape, numel
from archcost.units import ComplexBytes

HALF = 2


def _class(x: Tensor, **_: Any) -> str:
    """Return the class under autocast, which is one of a CPU only."""
    return FLOAT32 if x.device == "cpu" else KEEPS


def _unknown(x: Tensor) -> str:
    lower = x.itemsize == (2 * HALF if is_complex(x) else HALF)
    return "PyTorch has no Fourier transform in half precision of every size" * lower


def is_complex(x: Tensor) -> bool:
    """Whether a tensor holds complex numbers."""
    return isinstance(x.itemsize, ComplexBytes)


@composite(_class)
def fft(F: Any, x: Any, *, dims: Sequence[int], norm: str) -> Any:
    """The Fourier transform: of real numbers along several dimensions they are cast first."""
    if is_complex(x):
        return F.fft_of_complex(x, dims=dims, norm=norm)
    if len(dims) == 1:
        return F.fft_of_real(x, dims=dims, norm=norm)
    return F.fft_of_complex(F.cast(x, itemsize=ComplexBytes(2 * x.itemsize)), dims=dims, norm=norm)


@primitive(_class)
def fft_of_complex(x: Tensor, *, dims: Sequence[int], norm: str) -> Row:
    """The Fourier transform of complex numbers; its gradient is the inverse one."""
    strides, copied = _transformed(x.layout, x.shape, _ordered(x, dims))

    def inverse(gradient: Any) -> Any:
        return _run(gradient, gradient.shape, _ordered(gradient, dims), gradient.itemsize)

    return Row(
        x.shape, strides, gradient=(inverse,), passing=_bytes(x, copied), unknown=_unknown(x)
    )


@primitive(_class)
def ifft(x: Tensor, *, dims: Sequence[int], norm: str) -> Row:
    """The inverse Fourier transform of complex numbers."""
    return fft_of_complex(x, dims=dims, norm=norm)


@primitive(_class)
def fft_of_real(x: Tensor, *, dims: Sequence[int], norm: str) -> Row:
    """The Fourier transform of real numbers along one dimension, both halves."""
    return _of_real(x, x.shape, dims)


@primitive(_class)
def rfft(x: Tensor, *, dims: Sequence[int], norm: str) -> Row:
    """The Fourier transform of real numbers, of the last dimension one half."""
    last = dims[-1]
    return _of_real(x, (*x.shape[:last], x.shape[last] // 2 + 1, *x.shape[last + 1 :]), dims)


def _of_real(x: Tensor, out: Shape, dims: Sequence[int]) -> Row:
    whole, width = x.shape, ComplexBytes(2 * x.itemsize)
    strides, copied = _transformed(x.layout, out, (*_ordered(x, dims[:-1]), dims[-1]))

    def real_part(gradient: Any) -> Any:
        # the missing half is filled with zeros: fft_r2c_backward
        full = gradient if gradient.shape == whole else gradient.like(whole)
        back = _run(full, whole, _ordered(full, dims), width)
        return _part(back)

    return Row(
        out, strides, itemsize=width, saves=(x,), gradient=(real_part,), passing=_bytes(x, copied),
        unknown=_unknown(x),
    )  # fmt: skip


@primitive(_class)
def irfft(x: Tensor, *, dims: Sequence[int], size: int, norm: str) -> Row:
    """The inverse of ``rfft``: real numbers, ``size`` of them along the last dimension.

    A CPU runs all dimensions but the last as complex numbers first, CUDA a contiguous copy.
    """
    last, whole, width = dims[-1], numel(x.shape) * x.itemsize, x.itemsize // 2
    out = (*x.shape[:last], size, *x.shape[last + 1 :])
    if x.device == "cpu":
        layout, inside = x.layout, 0
        if len(dims) > 1:
            first, _ = _transformed(layout, x.shape, _ordered(x, dims[:-1]))
            layout, inside = layout_of(x.shape, first), whole
        strides, copied = _transformed(layout, out, dims[-1:])
        passing = (inside, whole * copied)
    else:
        strides, _ = _transformed(layout_of(x.shape, contiguous(x.shape)), out, dims)
        passing = (whole, 0)

    def half(gradient: Any) -> Any:
        order = (*_ordered(gradient, dims[:-1]), last)
        shape = (*out[:last], size // 2 + 1, *out[last + 1 :])
        return _run(gradient, shape, order, ComplexBytes(2 * gradient.itemsize))

    return Row(out, strides, itemsize=width, gradient=(half,), passing=passing, unknown=_unknown(x))


def _ordered(x: Any, dims: Sequence[int]) -> tuple[int, ...]:
    """Return dimensions by their strides, the largest first: ``_sort_dims``."""
    return tuple(sorted(dims, key=lambda d: -x.strides[d]))


def _transformed(x: Layout, out: Shape, dims: Sequence[int]) -> tuple[Strides, bool]:
    """Return the strides of a transform, and whether it copies what it reads: ``_exec_fft``.

    The other dimensions come first, by their strides, as one; then those of the transform.
    """
    others = sorted(_partitioned(len(out), dims), key=lambda d: -x.strides[d])
    order = (*others, *dims)
    packed = contiguous(tuple(out[d] for d in order))
    strides = tuple(packed[order.index(d)] for d in range(len(out)))
    shape, steps = (tuple(each[d] for d in others) for each in (x.shape, x.strides))
    repeated = any(n > 1 and not step for n, step in zip(x.shape, x.strides, strict=True))
    return strides, repeated or merged_stride(shape, steps) is None


def _partitioned(rank: int, dims: Sequence[int]) -> list[int]:
    """Return the other dimensions in the order in which ``std::partition`` leaves them.

    It swaps the first dimension of a transform with the last that is none, and so on.
    """
    order = list(range(rank))
    first, last = 0, rank
    while True:
        while first < last and order[first] not in dims:
            first += 1
        while first < last and order[last - 1] in dims:
            last -= 1
        if first >= last:
            return order[:first]
        order[first], order[last - 1] = order[last - 1], order[first]


def _bytes(x: Tensor, copied: bool) -> tuple[int, ...]:
    """Return the bytes of a copy whose other dimensions can be viewed as one."""
    return (numel(x.shape) * x.itemsize,) if copied and x.device == "cpu" else ()


def _run(x: Any, out: Shape, dims: Sequence[int], itemsize: int) -> Any:
    """Return a transform of a gradient."""
    strides, copied = _transformed(x.layout, out, dims)
    made = x.like(out, strides, itemsize)
    if copied and not x.storage.ledger.observed:
        x.like(x.shape)
    return made


def _part(x: Any) -> Any:
    """Return the view of the real, or imaginary, parts."""
    return x.view(x.shape, tuple(2 * step for step in x.strides), x.itemsize // 2)


@primitive()
def view_as_real(x: Tensor) -> Row:
    """Complex numbers as pairs of real ones: a view, and its gradient is one."""
    strides = (*(2 * step for step in x.strides), 1)
    return Row((*x.shape, 2), strides, itemsize=x.itemsize // 2, view=True, gradient=(_as_complex,))


@primitive()
def view_as_complex(x: Tensor) -> Row:
    """Pairs of real numbers as complex ones: a view, and its gradient is one."""
    strides = tuple(step // 2 for step in x.strides[:-1])

    def pairs(gradient: Any) -> Any:
        dense = gradient if gradient.layout.is_contiguous else gradient.like(gradient.shape)
        steps = (*(2 * step for step in dense.strides), 1)
        return dense.view((*dense.shape, 2), steps, dense.itemsize // 2)

    width = ComplexBytes(2 * x.itemsize)
    return Row(x.shape[:-1], strides, itemsize=width, view=True, gradient=(pairs,))


def _as_complex(gradient: Any) -> Any:
    dense = gradient if gradient.layout.is_contiguous else gradient.like(gradient.shape)
    strides = tuple(step // 2 for step in dense.strides[:-1])
    return dense.view(dense.shape[:-1], strides, ComplexBytes(2 * dense.itemsize))


def _of_parts(x: Tensor) -> Row:
    """Return the row of the real or the imaginary parts: a view.

    Its gradient fills pairs with zeros first.
    """
    shape, width = x.shape, x.itemsize

    def filled(gradient: Any) -> Any:
        return gradient.like(shape, itemsize=width)

    strides = tuple(2 * step for step in x.strides)
    return Row(shape, strides, itemsize=width // 2, view=True, gradient=(filled,))


@primitive()
def real(x: Tensor) -> Row:
    """The real parts."""
    return _of_parts(x)


@primitive()
def imag(x: Tensor) -> Row:
    """The imaginary parts."""
    return _of_parts(x)
