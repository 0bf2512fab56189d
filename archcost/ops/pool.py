"""Pooling over windows."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

from archcost.errors import OpError
from archcost.ops.arguments import check, count, flag, number, padding, sizes
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.conv import window_settings
from archcost.ops.programs import pad_first
from archcost.ops.reads import Reads, Window, along
from archcost.shape import (
    Shape,
    Sides,
    numel,
    padding_sides,
    per_axis,
    span,
    spatial,
    window_counts,
)

INDEX_BYTES = 8  # PyTorch keeps the places of the maxima as int64


def pool_padding() -> Any:
    """A whole number, one per axis, a pair (before, after) per axis, or 'same'."""
    return padding(0, words=("same",))


class Windows(NamedTuple):
    """How PyTorch pools: what is padded first, if anything, and the arguments of its function."""

    apart: Sides
    padding: Any
    ceil: bool


def windows(
    x: Shape, kernel: Any, stride: Any, pad: Any, ceil_mode: bool, dilation: Any = 1
) -> Windows:
    """Return how to pool; padding ``'same'`` gives ceil(size/stride) outputs.

    An odd element goes after the input, as in TensorFlow. PyTorch's padding is the same before and
    after, and half of the kernel at most. With a stride its ``ceil_mode`` lets the last window
    reach past the end, which gives the same values; else the map is padded first.
    """
    if isinstance(pad, int) or (pad != "same" and all(isinstance(side, int) for side in pad)):
        return Windows((), pad, ceil_mode)
    kernels, strides, sides = geometry(x, kernel, stride, pad, dilation)
    if pad == "same":
        told = zip(kernels, strides, sides, strict=True)
        if all((s > 1 or before == after) and 2 * before <= k for k, s, (before, after) in told):
            befores = tuple(before for before, _ in sides)
            return Windows((), befores, any(after > before for before, after in sides))
        ceil_mode = False
    return Windows(sides, (0,) * len(sides), ceil_mode)


def geometry(
    x: Shape, kernel: Any, stride: Any, pad: Any, dilation: Any
) -> tuple[Shape, Shape, Sides]:
    """Return kernel and stride per axis, and the padding's sides."""
    axes = len(x) - 1
    kernels = per_axis("kernel_size", kernel, axes)
    strides = per_axis("stride", kernel if stride is None else stride, axes)
    dilations = per_axis("dilation", dilation, axes)
    return kernels, strides, padding_sides(pad, x[1:], kernels, strides, dilations)


def pooled(
    op: str, x: Shape, kernel: Any, stride: Any, pad: Any, dilation: Any, ceil_mode: bool
) -> tuple[Shape, Shape]:
    """Return the output shape and the kernel per axis of a window pooling."""
    size = spatial(x, op)
    kernels, strides, sides = geometry(x, kernel, stride, pad, dilation)
    dilations = per_axis("dilation", dilation, len(size))
    apart = windows(x, kernel, stride, pad, ceil_mode, dilation).apart
    for k, (p, _) in zip(kernels, sides, strict=True):
        if pad != "same" and not apart and 2 * p > k:
            raise OpError(f"padding {p} is more than half of kernel_size {k}")
    if apart and pad != "same":
        size = tuple(n + a + b for n, (a, b) in zip(size, sides, strict=True))
        pad, sides = 0, ((0, 0),) * len(size)
    counts = window_counts(size, kernels, strides, dilations, pad, sides, ceil_mode)
    return (x[0], *counts), kernels


def pool_axes(axes: int, kernel: Any, stride: Any, pad: Any) -> dict[str, Shape]:
    """Return kernel, stride and padding of a window pooling per axis."""
    return {
        "kernel": per_axis("kernel_size", kernel, axes),
        "stride": per_axis("stride", kernel if stride is None else stride, axes),
        "padding": per_axis("padding", pad, axes),
    }


def pool_reads(x: Shape, kernel: Any, stride: Any, pad: Any, dilation: Any = 1) -> Reads:
    """Return how the windows of a pooling read."""
    dilations = per_axis("dilation", dilation, len(x) - 1)
    columns = zip(*geometry(x, kernel, stride, pad, dilation), dilations, strict=True)
    return along(Window(span(k, d), s, -before) for k, s, (before, _), d in columns)


@op("maxpool", kind="pool")
class MaxPool(Op):
    """Maximum over windows. The default stride is the kernel size."""

    kernel_size: Any = sizes()
    stride: Any = sizes(None)
    padding: Any = pool_padding()
    dilation: Any = sizes(1)
    ceil_mode: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(3, stride=2, x=(96, 55, 55)),
        example(2, x=(4, 9, 8)),
        example(3, stride=2, padding=1, ceil_mode=True, x=(4, 10, 7)),
        example((2, 3), stride=(1, 2), dilation=(2, 1), x=(4, 9, 9)),
        example(2, x=(4, 9)),
        example(2, ceil_mode=True, x=(2, 5, 4, 3)),
        example(3, stride=2, padding="same", x=(4, 8, 7)),
        example(2, stride=1, padding="same", x=(4, 8, 7)),
        example((3, 2), stride=2, padding=((1, 0), (0, 1)), ceil_mode=True, x=(4, 8, 7)),
        example(3, stride=1, padding="same", dilation=2, x=(4, 9)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out, _kernel = pooled(
            "maxpool", x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )
        return Cost(out)

    def windows(self, x: Shape) -> Windows:
        """Return how PyTorch pools a map."""
        options = (self.stride, self.padding, self.ceil_mode, self.dilation)
        return windows(x, self.kernel_size, *options)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return pool_reads(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def forward(self, F: Any, x: Any) -> Any:
        apart, pad, ceil = self.windows(x.shape[1:])
        window = pool_axes(len(x.shape) - 2, self.kernel_size, self.stride, pad)
        dilation = per_axis("dilation", self.dilation, len(x.shape) - 2)
        if apart:
            x = F.pad(x, sides=apart, value=-math.inf)
        return F.max_pool(x, **window, dilation=dilation, ceil=ceil)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        apart, pad, ceil = self.windows(x)
        module = getattr(torch.nn, f"MaxPool{len(x) - 1}d")
        made = module(self.kernel_size, self.stride, pad, self.dilation, ceil_mode=ceil)
        return pad_first(torch, made, apart, value=-math.inf) if apart else made

    def settings(self, axes: int = 2) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        cells = window_settings(axes, self.kernel_size, stride, self.padding, self.dilation)
        return ", ".join([*cells, "ceil"] if self.ceil_mode else cells)


@op("avgpool", kind="pool")
class AvgPool(Op):
    """Mean over windows. The default stride is the kernel size."""

    kernel_size: Any = sizes()
    stride: Any = sizes(None)
    padding: Any = pool_padding()
    ceil_mode: bool = flag(False)
    count_include_pad: bool = flag(True)
    divisor_override: Any = count(None)

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 28, 28)),
        example(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False, x=(4, 10, 7)),
        example(2, x=(4, 9)),
        example(2, x=(2, 5, 4, 3)),
        example(3, stride=2, padding="same", count_include_pad=False, x=(4, 8, 7)),
        example(2, stride=1, padding="same", x=(4, 8, 7)),
        example(3, stride=2, divisor_override=4, x=(4, 8, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out, kernels = pooled(
            "avgpool", x, self.kernel_size, self.stride, self.padding, 1, self.ceil_mode
        )
        for n, k in zip(x[1:], kernels, strict=True):  # so PyTorch, where it has three dimensions
            check(len(kernels) < 3 or k <= n, f"3-D kernel_size {k} is more than the input {n}")
        flat = self.divisor_override is None or len(x) > 2
        check(flat, "PyTorch has no divisor_override in 1-D")
        if self.windows(x).apart:
            reason = "zeros that are padded on one side only count; count_include_pad is True then"
            check(self.count_include_pad, reason)
        return Cost(out)

    def windows(self, x: Shape) -> Windows:
        """Return how PyTorch pools a map."""
        return windows(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return pool_reads(x, self.kernel_size, self.stride, self.padding)

    def forward(self, F: Any, x: Any) -> Any:
        apart, pad, ceil = self.windows(x.shape[1:])
        window = pool_axes(len(x.shape) - 2, self.kernel_size, self.stride, pad)
        if apart:
            x = F.pad(x, sides=apart)
        return F.avg_pool(
            x, **window, ceil=ceil, count_include_pad=self.count_include_pad,
            divisor=self.divisor_override,
        )  # fmt: skip

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        apart, pad, ceil = self.windows(x)
        options = {"ceil_mode": ceil, "count_include_pad": self.count_include_pad}
        if self.divisor_override is not None:
            options["divisor_override"] = self.divisor_override
        module = getattr(torch.nn, f"AvgPool{len(x) - 1}d")
        made = module(self.kernel_size, self.stride, pad, **options)
        return pad_first(torch, made, apart) if apart else made

    def settings(self, axes: int = 2) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        cells = window_settings(axes, self.kernel_size, stride, self.padding)
        return ", ".join([*cells, "ceil"] if self.ceil_mode else cells)


@op("lppool", kind="pool")
class LPPool(Op):
    """The ``norm_type``-th root of the sum of powers over windows: 1 is the sum, 2 Euclidean.

    The default stride is the kernel size (Sermanet, Chintala & LeCun 2012).
    """

    norm_type: float = number(low=1.0, high=1e6)
    kernel_size: Any = sizes()
    stride: Any = sizes(None)
    ceil_mode: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, 2, x=(6, 8, 8)),
        example(1, (3,), stride=2, ceil_mode=True, x=(4, 8)),
        example(4, (2, 1, 2), stride=1, x=(2, 3, 4, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out, _kernel = pooled("lppool", x, self.kernel_size, self.stride, 0, 1, self.ceil_mode)
        return Cost(out)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return pool_reads(x, self.kernel_size, self.stride, 0)

    def forward(self, F: Any, x: Any) -> Any:
        window = pool_axes(len(x.shape) - 2, self.kernel_size, self.stride, 0)
        mean = F.avg_pool(F.pow(x, self.norm_type), **window, ceil=self.ceil_mode)
        powers = F.mul(F.mul(F.sign(mean), F.relu(F.abs(mean))), numel(window["kernel"]))
        return F.pow(powers, 1 / self.norm_type)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        window = pool_axes(len(x) - 1, self.kernel_size, self.stride, 0)
        kernel, stride = (n[0] if len(n) == 1 else n for n in (window["kernel"], window["stride"]))
        module = getattr(torch.nn, f"LPPool{len(x) - 1}d")
        return module(self.norm_type, kernel, stride, self.ceil_mode)

    def settings(self, axes: int = 2) -> str:
        stride = self.kernel_size if self.stride is None else self.stride
        cells = [f"norm {self.norm_type:g}", *window_settings(axes, self.kernel_size, stride)]
        return ", ".join([*cells, "ceil"] if self.ceil_mode else cells)
