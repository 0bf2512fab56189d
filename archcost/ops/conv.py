"""Convolutions, ordinary and transposed."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import (
    check,
    choice,
    count,
    flag,
    padding,
    show_argument,
    sizes,
)
from archcost.ops.base import (
    INPUT,
    LOWER,
    OUTPUT,
    SAVES_INPUT,
    Cost,
    Example,
    Op,
    Reads,
    Saved,
    Windows,
    example,
    op,
)
from archcost.ops.layout import Layout, Strides, channels_last, contiguous
from archcost.ops.steps import Step, step
from archcost.shape import Shape, numel, padding_sides, per_axis, spatial, spread, window_count
from archcost.trace import ceil_div, settle


def window_settings(
    axes: int, kernel: Any, stride: Any = 1, pad: Any = 0, dilation: Any = 1, groups: int = 1
) -> list[str]:
    """Return kernel, stride, padding, dilation and groups as readers of tables expect them."""
    cells = [show_argument((kernel,) * axes if isinstance(kernel, int) else kernel)]
    for label, value, usual in (
        ("stride", stride, 1),
        ("pad", pad, 0),
        ("dilation", dilation, 1),
        ("groups", groups, 1),
    ):
        if value != usual:
            cells.append(f"{label} {show_argument(value)}")
    return cells


def convolved(out: Shape, *tensors: Layout | None) -> Strides:
    """Return the strides of a convolution's output, or of its weight's gradient.

    Their channels are last if those of the input or the weight are, in PyTorch's
    ``_conv_determine_backend_memory_format``.
    """
    last = len(out) > 1 and any(t and t.suggests_channels_last for t in tensors)
    return channels_last(out) if last else contiguous(out)


def least_products(
    windows: Shape, kernel: Shape, stride: Shape, pads: Sequence[int], dilation: Shape, size: Shape
) -> int:
    """Return how many products a convolution of one channel with one kernel takes at least.

    It is a product of a vector with a matrix of the kernel's weights, and takes as many
    multiplications as the matrix has columns, or rows, that are independent (Winograd, Comm. Pure
    Appl. Math. 23, 1970, theorem 1); all are that hold a weight. So it takes one per position that
    any window reads, and one per window that reads any position.
    """
    reading, read = [], []
    for n, k, s, pad, d, positions in zip(
        windows, kernel, stride, pads, dilation, size, strict=True
    ):
        pairs = [(window, window * s - pad + d * tap) for window in range(n) for tap in range(k)]
        inside = [(window, at) for window, at in pairs if 0 <= at < positions]
        reading.append(len({window for window, _ in inside}))
        read.append(len({at for _, at in inside}))
    return max(numel(tuple(reading)), numel(tuple(read)))


@op("conv", kind="conv")
class Conv(Op):
    """Convolution over any number of spatial dimensions.

    macs = output positions · out_channels · in_channels/groups · kernel area. Padding is a number,
    one per axis, a pair (before, after) per axis, 'same' (ceil(size/stride) outputs) or 'valid'.
    """

    out_channels: int = count()
    kernel_size: Any = sizes()
    stride: Any = sizes(1)
    padding: Any = padding(0)
    dilation: Any = sizes(1)
    groups: int = count(1)
    bias: bool = flag(True)
    padding_mode: str = choice("zeros", "zeros", "reflect", "replicate", "circular")

    autocast: ClassVar[str | None] = LOWER
    examples: ClassVar[tuple[Example, ...]] = (
        example(96, 11, stride=4, x=(3, 227, 227)),
        example(8, 3, padding="same", x=(4, 9, 10)),
        example(8, (2, 4), padding="same", bias=False, x=(4, 9, 10)),
        example(8, 3, stride=2, padding="same", x=(4, 9, 10)),
        example(6, 3, stride=2, padding=1, dilation=2, groups=3, x=(9, 12, 11)),
        example(6, (1, 7), padding=(0, 3), x=(4, 8, 8)),
        example(6, 3, padding=((0, 1), (2, 0)), x=(4, 8, 8)),
        example(6, 3, padding=1, padding_mode="reflect", x=(4, 8, 8)),
        example(6, 3, padding=1, padding_mode="circular", bias=False, x=(4, 8, 8)),
        example(5, 3, stride=2, x=(4, 21)),
        example(5, (3, 1, 2), x=(4, 5, 6, 7)),
    )

    def geometry(self, x: Shape) -> tuple[Shape, Shape, Shape, Any]:
        """Return kernel, stride, dilation per axis and the padding's sides."""
        size = spatial(x, "conv")
        kernel = per_axis("kernel_size", self.kernel_size, len(size))
        stride = per_axis("stride", self.stride, len(size))
        dilation = per_axis("dilation", self.dilation, len(size))
        return kernel, stride, dilation, padding_sides(self.padding, size, kernel, stride, dilation)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        channels, groups = x[0], self.groups
        check_groups(channels, self.out_channels, groups)
        kernel, stride, dilation, sides = self.geometry(x)
        if self.padding_mode in ("reflect", "circular"):
            for n, side in zip(x[1:], sides, strict=True):
                room = n - 1 if self.padding_mode == "reflect" else n
                check(
                    max(side) <= room,
                    f"{self.padding_mode} padding {max(side)} does not fit the input {int(n)}",
                )
        positions = tuple(
            window_count(n, k, s, before, after, d)
            for n, k, s, (before, after), d in zip(
                x[1:], kernel, stride, sides, dilation, strict=True
            )
        )
        out = (self.out_channels, *positions)
        per_group = channels if groups == 1 else settle(channels // groups)
        params = {"weight": (self.out_channels, per_group, *kernel)}
        work = {"mac": numel(positions) * numel(params["weight"]), "dot_products": numel(out)}
        if self.bias:
            params["bias"] = (self.out_channels,)
            work["conv_bias_add"] = numel(out)
            work["conv_bias_param"] = self.out_channels
        if len(positions) != 2:
            work["conv_1d_3d_mac"] = work["mac"]
        return Cost(out, params, work, self._saved(x, kernel, stride, sides))

    def _saved(self, x: Shape, kernel: Shape, stride: Shape, sides: Any) -> tuple[Saved, ...]:
        if not self._pads_first(sides):
            return SAVES_INPUT
        padded = (
            x[0],
            *(n + before + after for n, (before, after) in zip(x[1:], sides, strict=True)),
        )
        copy = Saved("padded input", padded)
        # reflection and replication save their own input for backward; zeros and wrapping do not
        own = Saved(INPUT, gradient=0)
        return (copy, own) if self.padding_mode in ("reflect", "replicate") else (copy,)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        sides = self.geometry(x)[3]
        if not self._pads_first(sides):
            return (Step(),)
        check(self.padding_mode != "circular", "the peak of circular padding is not known")
        cost, padded = self.cost(x), "padded input"
        shape = next(saved.shape for saved in cost.saved if saved.what == padded)
        return (
            step(padded, shape, (0,), keeps=(0,)),
            step(OUTPUT, cost.output, (padded,), params=tuple(cost.params), keeps=(padded,)),
        )

    def least_macs(self, x: Shape, *_: Shape) -> int:
        kernel, stride, dilation, sides = self.geometry(x)
        if self.padding_mode != "zeros":  # of the windows that read no padding
            sides = tuple((0, 0) for _ in sides)
        windows = tuple(
            max((n + before + after - d * (k - 1) - 1) // s + 1, 0)
            for n, k, s, (before, after), d in zip(
                x[1:], kernel, stride, sides, dilation, strict=True
            )
        )
        before = [pad for pad, _ in sides]
        pairs = numel((self.out_channels, x[0] // self.groups))
        return pairs * least_products(windows, kernel, stride, before, dilation, x[1:])

    def _pad_arguments(self, sides: Any) -> tuple[list[int], str]:
        """Return what ``nn.functional.pad`` takes: sides from the last axis on, and the mode."""
        flat = [int(side) for pair in reversed(sides) for side in pair]
        return flat, "constant" if self.padding_mode == "zeros" else self.padding_mode

    def source(self, module: str, tensors: Sequence[str], x: Shape, *others: Shape) -> str:
        sides = self.geometry(x)[3]
        if not self._pads_first(sides):
            return super().source(module, tensors, x)
        flat, mode = self._pad_arguments(sides)
        how = "" if mode == "constant" else f', mode="{mode}"'
        return f"{module}(nn.functional.pad({tensors[0]}, {flat}{how}))"

    def under_autocast(self, x: Shape, *_: Shape) -> str | None:
        plain = self.padding_mode == "zeros" or not self._pads_first(self.geometry(x)[3])
        return self.autocast if plain else None  # other paddings differ between CPU and CUDA

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        if self.padding_mode == "circular" and self._pads_first(
            self.geometry(inputs[0].shape[1:])[3]
        ):
            return convolved(out, weight)
        return convolved(out, *inputs, weight)

    def gradient_strides(self, param: Layout, *inputs: Layout) -> Strides:
        return convolved(param.shape, *inputs, param)

    def _pads_first(self, sides: Any) -> bool:
        pads = any(before or after for before, after in sides)
        uneven = any(before != after for before, after in sides)
        return uneven or (pads and self.padding_mode != "zeros")

    def window(self, x: Shape, *_: Shape) -> Windows:
        kernel, stride, dilation, _sides = self.geometry(x)
        return tuple((d * (k - 1) + 1, s) for k, s, d in zip(kernel, stride, dilation, strict=True))

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        return tuple(-before for before, _ in self.geometry(x)[3])

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (0,)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        kernel, stride, dilation, sides = self.geometry(x)
        base = getattr(torch.nn, f"Conv{len(kernel)}d")
        common = {
            "stride": stride, "dilation": dilation, "groups": self.groups, "bias": self.bias
        }  # fmt: skip
        if not self._pads_first(sides):
            pad = tuple(before for before, _ in sides)
            return base(x[0], self.out_channels, kernel, padding=pad, **common)
        flat, mode = self._pad_arguments(sides)

        def pad_first(module: Any, args: tuple[Any, ...]) -> Any:
            return torch.nn.functional.pad(args[0], flat, mode=mode)

        # a hook, not a subclass: counters know a layer by its exact type
        module = base(x[0], self.out_channels, kernel, **common)
        module.register_forward_pre_hook(pad_first)
        return module

    def settings(self, axes: int = 2) -> str:
        cells = window_settings(
            axes, self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        )
        if self.padding_mode != "zeros":
            cells.append(self.padding_mode)
        return ", ".join(cells if self.bias else [*cells, "no bias"])


def check_groups(channels: int, out_channels: int, groups: int) -> None:
    """Refuse groups that divide neither the input nor the output channels."""
    if channels % groups:
        raise OpError(f"in_channels {int(channels)} is not divisible by groups {int(groups)}")
    if out_channels % groups:
        raise OpError(f"out_channels {int(out_channels)} is not divisible by groups {int(groups)}")


@op("conv_transpose", kind="conv")
class ConvTranspose(Op):
    """Transposed convolution: macs = input positions · in_channels · out_channels/groups · area.

    out = (size − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1
    """

    out_channels: int = count()
    kernel_size: Any = sizes()
    stride: Any = sizes(1)
    padding: Any = sizes(0, minimum=0)
    output_padding: Any = sizes(0, minimum=0)
    groups: int = count(1)
    bias: bool = flag(True)
    dilation: Any = sizes(1)

    autocast: ClassVar[str | None] = LOWER
    examples: ClassVar[tuple[Example, ...]] = (
        example(8, 2, stride=2, x=(16, 7, 5)),
        example(8, 3, stride=2, padding=1, output_padding=1, groups=4, bias=False, x=(16, 7, 5)),
        example(6, (3, 5), stride=(1, 3), padding=(0, 2), dilation=2, x=(4, 6, 5)),
        example(6, 3, stride=2, groups=2, x=(4, 6, 5)),
        example(6, 4, stride=2, x=(4, 9)),
        example(2, 2, stride=2, x=(4, 3, 4, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = spatial(x, "conv_transpose")
        check_groups(x[0], self.out_channels, self.groups)
        kernel = per_axis("kernel_size", self.kernel_size, len(size))
        positions = []
        for n, k, s, p, extra, d in zip(
            size,
            kernel,
            per_axis("stride", self.stride, len(size)),
            per_axis("padding", self.padding, len(size)),
            per_axis("output_padding", self.output_padding, len(size)),
            per_axis("dilation", self.dilation, len(size)),
            strict=True,
        ):
            if extra >= max(s, d):
                raise OpError(
                    f"output_padding {extra} must be less than stride {s} or dilation {d}"
                )
            out = (n - 1) * s - 2 * p + d * (k - 1) + extra + 1
            if out < 1:
                raise OpError(f"padding {p} leaves no output")
            positions.append(settle(out))
        output = (self.out_channels, *positions)
        per_group = (
            self.out_channels if self.groups == 1 else settle(self.out_channels // self.groups)
        )
        params = {"weight": (x[0], per_group, *kernel)}
        weights, places = numel(params["weight"]), numel(size)
        mac = places * weights
        in_places = places * self.out_channels
        work = {
            "mac": mac,
            "dot_products": in_places,
            "transpose_mac": mac,
            "transpose_excess": numel(tuple(positions)) * weights - mac,
            # what is lost where a counter divides the channels by the groups twice
            "transpose_group_deficit": mac - mac // per_group * (per_group // self.groups),
        }
        if self.bias:
            params["bias"] = (self.out_channels,)
            work["transpose_bias_add"] = numel(output)
            work["transpose_bias_in"] = in_places
            work["transpose_bias_shrunk"] = per_group * self._shrunk(size, kernel)
        return Cost(output, params, work, SAVES_INPUT)

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        return convolved(out, *inputs, weight)

    def gradient_strides(self, param: Layout, *inputs: Layout) -> Strides:
        return convolved(param.shape, *inputs, param)

    def least_macs(self, x: Shape, *_: Shape) -> int:
        axes = len(x) - 1
        kernel, stride, pads, dilation = (
            per_axis(name, getattr(self, name), axes)
            for name in ("kernel_size", "stride", "padding", "dilation")
        )
        pairs = numel((x[0], self.out_channels // self.groups))
        size = self.cost(x).output[1:]  # what an ordinary convolution backwards would read
        return pairs * least_products(x[1:], kernel, stride, pads, dilation, size)

    def _shrunk(self, size: Shape, kernel: Shape) -> int:
        """Return the output positions of an ordinary convolution of the same settings.

        Some counters take these for the output; where no window fits, they are not positive.
        """
        axes = len(size)
        stride = per_axis("stride", self.stride, axes)
        pad = per_axis("padding", self.padding, axes)
        dilation = per_axis("dilation", self.dilation, axes)
        return numel(
            tuple(
                (n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(size, kernel, stride, pad, dilation, strict=True)
            )
        )

    def window(self, x: Shape, *_: Shape) -> Windows:
        axes = len(x) - 1
        kernel = per_axis("kernel_size", self.kernel_size, axes)
        stride = per_axis("stride", self.stride, axes)
        dilation = per_axis("dilation", self.dilation, axes)
        return tuple(
            (ceil_div(d * (k - 1) + 1, s), Fraction(1, s))
            for k, s, d in zip(kernel, stride, dilation, strict=True)
        )

    def reads(self, x: Shape, *_: Shape) -> tuple[Reads, ...]:
        axes = len(x) - 1
        kernel = per_axis("kernel_size", self.kernel_size, axes)
        stride = per_axis("stride", self.stride, axes)
        dilation = per_axis("dilation", self.dilation, axes)
        pads = per_axis("padding", self.padding, axes)
        return tuple(
            spread(s, p, d * (k - 1) + 1)
            for k, s, p, d in zip(kernel, stride, pads, dilation, strict=True)
        )

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (0,)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, f"ConvTranspose{len(x) - 1}d")(
            x[0],
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            bias=self.bias,
            dilation=self.dilation,
        )

    def settings(self, axes: int = 2) -> str:
        cells = window_settings(
            axes, self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        )
        if self.output_padding != 0:
            cells.append(f"output_padding {show_argument(self.output_padding)}")
        return ", ".join(cells if self.bias else [*cells, "no bias"])
