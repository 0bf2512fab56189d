"""Pooling: over windows, to a given output size, and over the whole input."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import (
    axes,
    axis_of,
    check,
    count,
    flag,
    padding,
    show_argument,
    sizes,
)
from archcost.ops.base import (
    EVERYWHERE,
    KEEPS,
    OUTPUT,
    SAVES_INPUT,
    Cost,
    Example,
    Op,
    Saved,
    Windows,
    example,
    op,
)
from archcost.ops.conv import window_settings
from archcost.ops.layout import ROWS, Layout, Strides, as_maps, contiguous
from archcost.ops.steps import SHARED, Step, step
from archcost.shape import (
    Shape,
    numel,
    padding_sides,
    per_axis,
    show,
    spatial,
    window_count,
)

INDEX_BYTES = 8  # PyTorch keeps the places of the maxima as int64


def pool_padding() -> Any:
    """A whole number, one per axis, or 'same'; PyTorch pads before and after alike."""
    return padding(0, words=("same",))


def padded(
    x: Shape, kernel: Any, stride: Any, pad: Any, ceil_mode: bool, dilation: Any = 1
) -> tuple[Any, bool]:
    """Return padding and ceil_mode, worked out for 'same': ceil(size/stride) outputs.

    An odd element goes after the input, as in TensorFlow. PyTorch has no such padding, but its
    ``ceil_mode`` lets the last window reach past the end, which gives the same values.
    """
    if pad != "same":
        alike = isinstance(pad, int) or all(isinstance(side, int) for side in pad)
        check(alike, "padding of a pool is the same before and after")
        return pad, ceil_mode
    axes = len(x) - 1
    kernels = per_axis("kernel_size", kernel, axes)
    strides = per_axis("stride", kernel if stride is None else stride, axes)
    sides = padding_sides(pad, x[1:], kernels, strides, per_axis("dilation", dilation, axes))
    uneven = [after > before for before, after in sides]
    for apart, odd in zip(strides, uneven, strict=True):
        check(apart > 1 or not odd, "padding 'same' at stride 1 needs a kernel_size that is odd")
    return tuple(before for before, _ in sides), any(uneven)


def pooled(
    op: str, x: Shape, kernel: Any, stride: Any, pad: Any, dilation: Any, ceil_mode: bool
) -> tuple[Shape, Shape]:
    """Return the output shape and the kernel per axis of a window pooling."""
    size = spatial(x, op)
    kernels = per_axis("kernel_size", kernel, len(size))
    strides = per_axis("stride", kernel if stride is None else stride, len(size))
    pad, ceil_mode = padded(x, kernel, stride, pad, ceil_mode, dilation)
    pads = per_axis("padding", pad, len(size))
    dilations = per_axis("dilation", dilation, len(size))
    for k, p in zip(kernels, pads, strict=True):
        if 2 * p > k:
            raise OpError(f"padding {int(p)} is more than half of kernel_size {int(k)}")
    positions = tuple(
        window_count(n, k, s, p, p, d, ceil_mode)
        for n, k, s, p, d in zip(size, kernels, strides, pads, dilations, strict=True)
    )
    return (x[0], *positions), kernels


def pool_window(x: Shape, kernel: Any, stride: Any, dilation: Any = 1) -> Windows:
    """Return extent and stride of a window pooling per axis."""
    axes = len(x) - 1
    kernels = per_axis("kernel_size", kernel, axes)
    strides = per_axis("stride", kernel if stride is None else stride, axes)
    dilations = per_axis("dilation", dilation, axes)
    return tuple((d * (k - 1) + 1, s) for k, s, d in zip(kernels, strides, dilations, strict=True))


def adaptive_window(x: Shape, out: Shape) -> Windows:
    """Return the widest extent and the mean stride of pooling ``x`` to ``out``."""
    return tuple(
        (max(-(-(i + 1) * n // o) - i * n // o for i in range(o)), Fraction(n, o))
        for n, o in zip(x[1:], out[1:], strict=True)
    )


def pool_work(term: str, x: Shape, out: Shape, kernel: Shape, functional: bool) -> dict[str, int]:
    """Return the work of a window pooling: by input, output or window, unless it is a function."""
    if functional:
        return {"function_pool_in": numel(x)}
    return {
        f"{term}_in": numel(x),
        f"{term}_out": numel(out),
        f"{term}_window": numel(out) * numel(kernel),
    }


def module_or_function(torch: Any, name: str, functional: bool, *args: Any, **kwargs: Any) -> Any:
    """Return ``nn.name``, or for ``functional`` a module that hooks cannot tell from a function."""
    module = getattr(torch.nn, name)(*args, **kwargs)
    if not functional:
        return module

    class Function(torch.nn.Module):  # type: ignore[misc]
        written_as = module  # exported source has no hooks to hide from

        def forward(self, x: Any) -> Any:
            return type(module).forward(module, x)

    Function.__name__ = f"Functional{name}"
    return Function()


@op("maxpool", kind="pool")
class MaxPool(Op):
    """Maximum over windows; the stride is the kernel size unless given.

    ``functional`` says that the network calls a function instead of a module, which changes what
    counters that hook modules see, and nothing else.
    """

    kernel_size: Any = sizes()
    stride: Any = sizes(None)
    padding: Any = pool_padding()
    dilation: Any = sizes(1)
    ceil_mode: bool = flag(False)
    functional: bool = flag(False)

    layout: ClassVar[str] = ROWS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(3, stride=2, x=(96, 55, 55)),
        example(2, x=(4, 9, 8)),
        example(3, stride=2, padding=1, ceil_mode=True, x=(4, 10, 7)),
        example(3, stride=2, ceil_mode=True, functional=True, x=(4, 112, 112)),
        example((2, 3), stride=(1, 2), dilation=(2, 1), x=(4, 9, 9)),
        example(2, x=(4, 9)),
        example(2, ceil_mode=True, x=(2, 5, 4, 3)),
        example(3, stride=2, padding="same", x=(4, 8, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out, kernel = pooled(
            "maxpool", x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )
        work = pool_work("maxpool", x, out, kernel, self.functional)
        return Cost(out, {}, work, (*SAVES_INPUT, Saved("indices", out, INDEX_BYTES)))

    def under_autocast(self, x: Shape, *_: Shape) -> str | None:
        return self.autocast if len(x) == 3 else None  # others differ between CPU and CUDA

    def window(self, x: Shape, *_: Shape) -> Windows:
        return pool_window(x, self.kernel_size, self.stride, self.dilation)

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        pad, _ceil = padded(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.dilation
        )
        return tuple(-before for before in per_axis("padding", pad, len(x) - 1))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        pad, ceil_mode = padded(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.dilation
        )
        return module_or_function(
            torch,
            f"MaxPool{len(x) - 1}d",
            self.functional,
            self.kernel_size,
            self.stride,
            pad,
            self.dilation,
            ceil_mode=ceil_mode,
        )

    def settings(self, axes: int = 2) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        cells = window_settings(axes, self.kernel_size, stride, self.padding, self.dilation)
        return ", ".join([*cells, "ceil"] if self.ceil_mode else cells)


@op("avgpool", kind="pool")
class AvgPool(Op):
    """Mean over windows; the stride is the kernel size unless given."""

    kernel_size: Any = sizes()
    stride: Any = sizes(None)
    padding: Any = pool_padding()
    ceil_mode: bool = flag(False)
    count_include_pad: bool = flag(True)
    functional: bool = flag(False)

    layout: ClassVar[str] = ROWS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 28, 28)),
        example(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False, x=(4, 10, 7)),
        example((2, 3), stride=1, functional=True, x=(4, 9, 9)),
        example(2, x=(4, 9)),
        example(2, x=(2, 5, 4, 3)),
        example(3, stride=2, padding="same", count_include_pad=False, x=(4, 8, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out, kernel = pooled(
            "avgpool", x, self.kernel_size, self.stride, self.padding, 1, self.ceil_mode
        )
        for n, k in zip(x[1:], kernel, strict=True):  # so PyTorch, where it has three dimensions
            check(len(kernel) < 3 or k <= n, f"3-D kernel_size {k} is more than the input {n}")
        return Cost(out, {}, pool_work("avgpool", x, out, kernel, self.functional), SAVES_INPUT)

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        return contiguous(out) if len(out) == 5 else super().strides(out, *inputs)

    def under_autocast(self, x: Shape, *_: Shape) -> str | None:
        return self.autocast if len(x) == 3 else None  # others differ between CPU and CUDA

    def window(self, x: Shape, *_: Shape) -> Windows:
        return pool_window(x, self.kernel_size, self.stride)

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        pad, _ceil = padded(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, 1)
        return tuple(-before for before in per_axis("padding", pad, len(x) - 1))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        pad, ceil_mode = padded(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return module_or_function(
            torch,
            f"AvgPool{len(x) - 1}d",
            self.functional,
            self.kernel_size,
            self.stride,
            pad,
            ceil_mode=ceil_mode,
            count_include_pad=self.count_include_pad,
        )

    def settings(self, axes: int = 2) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        cells = window_settings(axes, self.kernel_size, stride, self.padding)
        return ", ".join([*cells, "ceil"] if self.ceil_mode else cells)


def adaptive_shape(op: str, x: Shape, output_size: Any) -> Shape:
    """Return the output shape of pooling to ``output_size`` per axis."""
    return (x[0], *per_axis("output_size", output_size, len(spatial(x, op))))


@op("adaptive_avgpool", kind="adaptive_pool")
class AdaptiveAvgPool(Op):
    """Mean over windows placed so that the output has the given size on each axis."""

    output_size: Any = sizes()
    functional: bool = flag(False)

    layout: ClassVar[str] = ROWS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(6, x=(4, 7, 13)),
        example((2, 3), functional=True, x=(4, 7, 9)),
        example(3, x=(4, 7)),
        example(1, x=(4, 7, 7)),
        example(2, x=(4, 7, 6, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out = adaptive_shape("adaptive_avgpool", x, self.output_size)
        if self.functional:
            work = {"function_pool_in": numel(x)}
        else:
            work = {"adaptive_avgpool_in": numel(x), "adaptive_avgpool_out": numel(out)}
        if len(x) == 3:
            work["adaptive_avgpool_2d_in"] = numel(x)
        # pooling to one value is a mean in PyTorch, whose backward needs no input
        return Cost(out, {}, work, () if numel(out[1:]) == 1 else SAVES_INPUT)

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        many = len(out) == 5 and numel(out[2:]) > 1  # to one value it is a mean
        return contiguous(out) if many else super().strides(out, *inputs)

    def under_autocast(self, x: Shape, *_: Shape) -> str | None:
        return self.autocast if len(x) == 3 else None  # others differ between CPU and CUDA

    def window(self, x: Shape, *_: Shape) -> Windows:
        return adaptive_window(x, adaptive_shape("adaptive_avgpool", x, self.output_size))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return module_or_function(
            torch, f"AdaptiveAvgPool{len(x) - 1}d", self.functional, self.output_size
        )

    def settings(self, axes: int = 2) -> str:
        return f"to {show_argument(self.output_size)}"


@op("adaptive_maxpool", kind="adaptive_pool")
class AdaptiveMaxPool(Op):
    """Maximum over windows placed so that the output has the given size on each axis."""

    output_size: Any = sizes()

    layout: ClassVar[str] = ROWS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(3, x=(4, 7, 9)),
        example(1, x=(4, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out = adaptive_shape("adaptive_maxpool", x, self.output_size)
        work = {"adaptive_maxpool_in": numel(x)}
        return Cost(out, {}, work, (*SAVES_INPUT, Saved("indices", out, INDEX_BYTES)))

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        return contiguous(out) if len(out) == 5 else super().strides(out, *inputs)

    def under_autocast(self, x: Shape, *_: Shape) -> str | None:
        return self.autocast if len(x) == 3 else None  # others differ between CPU and CUDA

    def window(self, x: Shape, *_: Shape) -> Windows:
        return adaptive_window(x, adaptive_shape("adaptive_maxpool", x, self.output_size))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, f"AdaptiveMaxPool{len(x) - 1}d")(self.output_size)

    def settings(self, axes: int = 2) -> str:
        return f"to {show_argument(self.output_size)}"


@op("global_avgpool", kind="adaptive_pool")
class GlobalAvgPool(AdaptiveAvgPool):
    """Mean over all positions, one value per channel: ``C x 1 x 1``."""

    output_size: Any = count(1)
    functional: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(512, 7, 7)),
        example(functional=True, x=(4, 9)),
        example(x=(4, 3, 5, 2)),
    )

    def settings(self, axes: int = 2) -> str:
        return ""


@op("global_maxpool", kind="adaptive_pool")
class GlobalMaxPool(AdaptiveMaxPool):
    """Maximum over all positions, one value per channel: ``C x 1 x 1``."""

    output_size: Any = count(1)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 7, 5)),)

    def settings(self, axes: int = 2) -> str:
        return ""


@op("mean", kind="adaptive_pool")
class Mean(Op):
    """Mean over some dimensions (0 = channels), which are dropped or kept as size 1."""

    dims: Any = axes()
    keepdim: bool = flag(False)

    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example([1, 2], x=(6, 5, 4)),
        example([1, 2], keepdim=True, x=(6, 5, 4)),
        example([0], x=(7, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        reduced = {axis_of(d, x, "mean") for d in self.dims}
        check(len(reduced) == len(self.dims), f"mean names a dimension twice: {list(self.dims)}")
        kept = [
            1 if i in reduced else n for i, n in enumerate(x) if self.keepdim or i not in reduced
        ]
        check(len(kept) > 0, f"mean over all dimensions of {show(x)} leaves nothing")
        return Cost(tuple(kept), work={"mean": numel(x)})

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return tuple(axis_of(d, x, "mean") for d in self.dims)

    def origins(self, x: Shape, *_: Shape) -> tuple[tuple[int, ...], ...]:
        gone = () if self.keepdim else self.mixed(x)
        return tuple((d,) for d in range(len(x)) if d not in gone)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        dims, keepdim = [d + 1 for d in self.dims], self.keepdim

        class MeanModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x.mean(dims, keepdim=keepdim)

        return MeanModule()

    def settings(self, axes: int = 2) -> str:
        return "over " + ", ".join(str(int(d)) for d in self.dims)


MOST_REGIONS = 2**16
"""Each region is an operation of its own, which a simulation has to run."""


@op("roi_pool", kind="adaptive_pool")
class RoIPool(Op):
    """Maximum of each part of ``regions`` regions of a map (Girshick 2015, Fast R-CNN).

    Each region is pooled to ``output_size``, and the regions are what comes first afterwards:
    ``regions x C x H x W``. Where they lie costs nothing; in the twin each is the whole map.
    """

    regions: int = count()
    output_size: Any = sizes(7)

    examples: ClassVar[tuple[Example, ...]] = (
        example(5, 3, x=(4, 9, 7)),
        example(2, (2, 3), x=(4, 6, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 3, f"roi_pool takes channels x height x width, not {show(x)}")
        out = (self.regions, *adaptive_shape("roi_pool", x, self.output_size))
        return Cost(
            out, {}, {"roi_pool": numel(out)}, (*SAVES_INPUT, Saved("indices", out, INDEX_BYTES))
        )

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        # the regions are joined along the channels
        n, regions, channels, *size = out
        batch, channel, *rest = as_maps((n, regions * channels, *size), *inputs)
        return (batch, channel * channels, channel, *rest)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        most = MOST_REGIONS
        check(self.regions <= most, f"the peak of roi_pool is not known beyond {most} regions")
        out = self.cost(x).output
        pooled = Step(
            "pooled", out, (0,), (), (0, "indices"), pieces=self.regions, repeats=self.regions
        )
        return (pooled, step(OUTPUT, out, ("pooled",), gradient=SHARED))

    def window(self, x: Shape, *_: Shape) -> Windows:
        return EVERYWHERE

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        regions, size = self.regions, per_axis("output_size", self.output_size, 2)

        class RoIPoolModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                pool = torch.ops.aten.adaptive_max_pool2d
                return torch.stack([pool(x, size)[0] for _ in range(regions)], 1)

        return RoIPoolModule()

    def settings(self, axes: int = 2) -> str:
        return f"{self.regions} regions to {show_argument(self.output_size)}"
