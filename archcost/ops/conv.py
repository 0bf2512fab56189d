"""Convolutions, ordinary and transposed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from archcost.errors import OpError
from archcost.number import maximum, minimum
from archcost.ops.arguments import check, choice, count, flag, padding, show_argument, sizes
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.parametrized import computed, parametrization, parametrized, registered
from archcost.ops.programs import pad, pad_first
from archcost.ops.reads import Reads, Table, Window, along
from archcost.shape import (
    Shape,
    Sides,
    numel,
    padding_sides,
    per_axis,
    same_cut,
    span,
    spatial,
    spread,
    taps_inside,
    window_counts,
)


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


Taps = tuple[Shape, Shape, Shape, Shape, Shape, Shape]
"""Windows, kernel, stride, padding before, dilation and input size, per spatial axis."""


def pairs_inside(
    windows: Shape, kernel: Shape, stride: Shape, pads: Sequence[int], dilation: Shape, size: Shape
) -> int:
    """Return how many products of one kernel with one channel read no padding."""
    axes = zip(windows, kernel, stride, pads, dilation, size, strict=True)
    return numel(tuple(taps_inside(*axis) for axis in axes))


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
    parametrization: Any = parametrization()

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
        example(5, 3, padding=((2, 0),), padding_mode="circular", x=(4, 7)),
        example(5, 2, padding=1, padding_mode="circular", x=(4, 3, 2, 3)),
        example(5, 2, padding=1, padding_mode="reflect", x=(4, 3, 2, 3)),
        example(5, 2, padding=1, padding_mode="replicate", x=(4, 7)),
        example(5, 3, padding=1, parametrization="weight_norm", x=(4, 6, 7)),
        example(6, 3, groups=2, bias=False, parametrization="weight_norm", x=(4, 9)),
        example(5, 3, padding=1, parametrization="spectral_norm", x=(4, 6, 7)),
        example(6, 3, groups=2, bias=False, parametrization="spectral_norm", x=(4, 9)),
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
                    f"{self.padding_mode} padding {max(side)} does not fit the input {n}",
                )
        positions = window_counts(x[1:], kernel, stride, dilation, self.padding, sides)
        out = (self.out_channels, *positions)
        per_group = channels if groups == 1 else channels // groups
        params = {"weight": (self.out_channels, per_group, *kernel)}
        macs = numel(positions) * numel(params["weight"])
        if self.bias:
            params["bias"] = (self.out_channels,)
        return parametrized(self, Cost(out, params, macs))

    def taps(self, x: Shape, *_: Shape) -> Taps:
        """Return windows and geometry of the products of one kernel with one channel.

        Of padding that is not zeros, only windows that read none are among them.
        """
        kernel, stride, dilation, sides = self.geometry(x)
        befores, windows = tuple(before for before, _ in sides), self.cost(x).output[1:]
        if self.padding_mode != "zeros":
            befores, axes = (0,) * len(sides), zip(x[1:], kernel, stride, dilation, strict=True)
            windows = tuple(maximum((n - span(k, d)) // s + 1, 0) for n, k, s, d in axes)
        return windows, kernel, stride, befores, dilation, x[1:]

    def _pads_first(self, sides: Any) -> bool:
        pads = any(before or after for before, after in sides)
        uneven = any(before != after for before, after in sides)
        return uneven or (pads and self.padding_mode != "zeros")

    def reads(self, x: Shape, *_: Shape) -> Reads:
        kernel, stride, dilation, sides = self.geometry(x)
        columns = zip(kernel, stride, dilation, sides, strict=True)
        return along((Window(span(k, d), s, -pad) for k, s, d, (pad, _) in columns), mixed=True)

    def forward(
        self, F: Any, x: Any, weight: Any = None, bias: Any = None, **originals: Any
    ) -> Any:  # fmt: skip
        _, stride, dilation, sides = self.geometry(x.shape[1:])
        if self._pads_first(sides):
            x = pad(F, x, sides, self.padding_mode)
            sides = ((0, 0),) * len(sides)
        pads = tuple(before for before, _ in sides)
        weight = computed(self, F, weight, originals)
        return F.conv(
            x, weight, bias, stride=stride, padding=pads, dilation=dilation, groups=self.groups
        )

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        kernel, stride, dilation, sides = self.geometry(x)
        base = getattr(torch.nn, f"Conv{len(kernel)}d")
        common = {
            "stride": stride, "dilation": dilation, "groups": self.groups, "bias": self.bias
        }  # fmt: skip
        if not self._pads_first(sides):
            pad = tuple(before for before, _ in sides)
            made = base(x[0], self.out_channels, kernel, padding=pad, **common)
            return registered(torch, self, made)
        made = registered(torch, self, base(x[0], self.out_channels, kernel, **common))
        return pad_first(torch, made, sides, self.padding_mode)

    def settings(self, axes: int = 2) -> str:
        cells = window_settings(
            axes, self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        )
        if self.padding_mode != "zeros":
            cells.append(self.padding_mode)
        cells += [self.parametrization] * bool(self.parametrization)
        return ", ".join(cells if self.bias else [*cells, "no bias"])


def check_groups(channels: int, out_channels: int, groups: int) -> None:
    """Refuse groups that divide neither the input nor the output channels."""
    if channels % groups:
        raise OpError(f"in_channels {channels} is not divisible by groups {groups}")
    if out_channels % groups:
        raise OpError(f"out_channels {out_channels} is not divisible by groups {groups}")


class Transposed(NamedTuple):
    """What a transposed convolution is along each axis: how much it cuts off, and adds after."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    sides: Sides
    extras: Shape

    @property
    def pads(self) -> Shape:
        """What PyTorch's own function cuts off, on both sides alike."""
        return tuple(minimum(*side) for side in self.sides)

    @property
    def cuts(self) -> Sides:
        """What is then left to cut off, before and after."""
        pairs = zip(self.sides, self.pads, strict=True)
        return tuple((before - pad, after - pad) for (before, after), pad in pairs)

    @property
    def is_cut(self) -> bool:
        """Whether anything is."""
        return any(cut != (0, 0) for cut in self.cuts)


@op("conv_transpose", kind="conv")
class ConvTranspose(Op):
    """Transposed convolution: macs = input positions · in_channels · out_channels/groups · area.

    out = (size − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1. Padding 'same'
    gives size·stride, as in Keras. A pair (before, after) per axis removes that many positions at
    each end.
    """

    out_channels: int = count()
    kernel_size: Any = sizes()
    stride: Any = sizes(1)
    padding: Any = padding(0)
    output_padding: Any = sizes(0, minimum=0)
    groups: int = count(1)
    bias: bool = flag(True)
    dilation: Any = sizes(1)
    parametrization: Any = parametrization()

    examples: ClassVar[tuple[Example, ...]] = (
        example(8, 2, stride=2, x=(16, 7, 5)),
        example(8, 3, stride=2, padding=1, output_padding=1, groups=4, bias=False, x=(16, 7, 5)),
        example(6, (3, 5), stride=(1, 3), padding=(0, 2), dilation=2, x=(4, 6, 5)),
        example(6, 3, stride=2, groups=2, x=(4, 6, 5)),
        example(6, 4, stride=2, x=(4, 9)),
        example(2, 2, stride=2, x=(4, 3, 4, 5)),
        example(6, 4, stride=2, padding="same", x=(4, 6, 5)),
        example(6, 3, stride=2, padding="same", x=(4, 6, 5)),
        example(6, 2, stride=3, padding="same", x=(4, 6, 5)),
        example(6, 4, stride=2, padding=1, parametrization="weight_norm", x=(4, 9)),
        example(6, 4, stride=2, groups=2, parametrization="spectral_norm", x=(4, 9)),
    )

    def geometry(self, x: Shape) -> Transposed:
        """Return kernel, stride, dilation, and what is cut off and added, for each axis."""
        size = spatial(x, "conv_transpose")
        kernel, stride, extras, dilation = (
            per_axis(name, getattr(self, name), len(size))
            for name in ("kernel_size", "stride", "output_padding", "dilation")
        )
        if self.padding != "same":
            sides = padding_sides(self.padding, size, kernel, stride, dilation)
            return Transposed(kernel, stride, dilation, sides, extras)
        check(self.output_padding == 0, "padding 'same' takes no output_padding")
        axes = [*zip(size, kernel, stride, dilation, strict=True)]
        halves = tuple(same_cut(*each)[1:] for each in axes)
        more = tuple(maximum(s - span(k, d), 0) for _, k, s, d in axes)
        return Transposed(kernel, stride, dilation, halves, more)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        found, size = self.geometry(x), x[1:]
        check_groups(x[0], self.out_channels, self.groups)
        positions, same = [], self.padding == "same"
        for n, k, s, d, side, extra in zip(size, *found, strict=True):
            if extra >= max(s, d):
                raise OpError(
                    f"output_padding {extra} must be less than stride {s} or dilation {d}"
                )
            before, after = side
            cut = 2 * before if before is after else before + after
            out = n * s if same else (n - 1) * s - cut + d * (k - 1) + extra + 1
            if out < 1:
                raise OpError(f"padding {before} leaves no output")
            positions.append(out)
        per_group = self.out_channels if self.groups == 1 else self.out_channels // self.groups
        params = {"weight": (x[0], per_group, *found.kernel)}
        macs = numel(size) * numel(params["weight"])
        if self.bias:
            params["bias"] = (self.out_channels,)
        return parametrized(self, Cost((self.out_channels, *positions), params, macs))

    def taps(self, x: Shape, *_: Shape) -> Taps:
        """Return windows and geometry of the ordinary convolution that it is backwards.

        It has all that PyTorch's function makes, of which some may be cut off afterwards.
        """
        found, out = self.geometry(x), self.cost(x).output[1:]
        whole = tuple(n + sum(cut) for n, cut in zip(out, found.cuts, strict=True))
        return x[1:], found.kernel, found.stride, found.pads, found.dilation, whole

    def reads(self, x: Shape, *_: Shape) -> Reads:
        columns = zip(*self.geometry(x)[:4], strict=True)
        tables = (Table(*spread(s, before, span(k, d))) for k, s, d, (before, _) in columns)
        return along(tables, mixed=True)

    def forward(
        self, F: Any, x: Any, weight: Any = None, bias: Any = None, **originals: Any
    ) -> Any:  # fmt: skip
        weight = computed(self, F, weight, originals)
        found, out = self.geometry(x.shape[1:]), self.cost(x.shape[1:]).output
        made = F.conv_transpose(
            x, weight, bias, stride=found.stride, padding=found.pads,
            output_padding=found.extras, dilation=found.dilation, groups=self.groups,
        )  # fmt: skip
        for axis, (start, _) in enumerate(found.cuts, 2):
            if made.shape[axis] != out[axis - 1]:
                made = F.narrow(made, dim=axis, start=start, length=out[axis - 1])
        return made

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        found, out = self.geometry(x), self.cost(x).output
        module = getattr(torch.nn, f"ConvTranspose{len(x) - 1}d")(
            x[0],
            self.out_channels,
            self.kernel_size,
            stride=self.stride,
            padding=found.pads,
            output_padding=found.extras,
            groups=self.groups,
            bias=self.bias,
            dilation=self.dilation,
        )
        module = registered(torch, self, module)

        def cut(_: Any, __: Any, made: Any) -> Any:
            for axis, (start, _) in enumerate(found.cuts, 2):
                if made.shape[axis] != out[axis - 1]:
                    made = made.narrow(axis, start, out[axis - 1])
            return made

        if found.is_cut:  # a hook, not a subclass: counters know a layer by its exact type
            module.register_forward_hook(cut)
        return module

    def results(self, names: Sequence[str], x: Shape, *_: Shape) -> tuple[str, list[str]]:
        found, out = self.geometry(x), self.cost(x).output
        text = names[0]
        for axis, cut in enumerate(found.cuts, 2):
            if cut != (0, 0):
                text += f".narrow({axis}, {cut[0]}, {out[axis - 1]})"
        return names[0], [text]

    def settings(self, axes: int = 2) -> str:
        cells = window_settings(
            axes, self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        )
        if self.output_padding != 0:
            cells.append(f"output_padding {show_argument(self.output_padding)}")
        cells += [self.parametrization] * bool(self.parametrization)
        return ", ".join(cells if self.bias else [*cells, "no bias"])
