"""The functions of ``torch.fft``, as programs over primitives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from archcost.importers.registry import dims_of, function


def _sized(F: Any, x: Any, dims: Sequence[int], sizes: Any) -> Any:
    """Return a tensor cut, or padded with zeros, to the sizes that a transform is asked for."""
    for dim, size in zip(dims, sizes, strict=True):
        if size != -1 and size < x.shape[dim]:
            x = F.narrow(x, dim=dim, start=0, length=size)
        elif size > x.shape[dim]:
            sides = [(0, size - n if d == dim else 0) for d, n in enumerate(x.shape)]
            x = F.pad(x, sides=tuple(sides))
    return x


def _places(x: Any, dim: Any, sizes: Any, usual: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the dimensions of a transform, counted from the front."""
    if dim is None and sizes:
        dim = tuple(range(-len(sizes), 0))
    return dims_of(x, usual if dim is None else dim)


def _transform(kind: str, usual: tuple[int, ...] | None) -> Callable[..., Any]:
    """Return a function of ``torch.fft`` of a number of dimensions, ``usual`` unless given."""

    def run(F: Any, x: Any, s: Any = None, dim: Any = None, norm: Any = None, **given: Any) -> Any:
        sizes = given.get("n", s)
        sizes = [sizes] if isinstance(sizes, int) else sizes
        dims = _places(x, dim, sizes, usual)
        options: dict[str, Any] = {"dims": dims, "norm": norm or "backward"}
        if kind == "irfft":
            size = sizes[-1] if sizes and sizes[-1] != -1 else 2 * (x.shape[dims[-1]] - 1)
            options["size"] = size
            if sizes:
                sizes = [*sizes[:-1], size // 2 + 1]
        return getattr(F, kind)(_sized(F, x, dims, sizes) if sizes else x, **options)

    run.__doc__ = f"The transform ``{kind}`` along dimensions."
    return run


for _kind in ("fft", "ifft", "rfft", "irfft"):
    for _end, _usual in (("", (-1,)), ("2", (-2, -1)), ("n", None)):
        function(_kind + _end, f"fft_{_kind}{_end}")(_transform(_kind, _usual))


@function("fft_fftshift", "fftshift")
def fftshift(F: Any, x: Any, dim: Any = None) -> Any:
    """The zero frequency moved to the middle."""
    dims = dims_of(x, dim)
    return F.roll(x, shifts=tuple(x.shape[d] // 2 for d in dims), dims=dims)


@function("fft_ifftshift", "ifftshift")
def ifftshift(F: Any, x: Any, dim: Any = None) -> Any:
    """The zero frequency moved back."""
    dims = dims_of(x, dim)
    return F.roll(x, shifts=tuple(-(x.shape[d] // 2) for d in dims), dims=dims)
