"""Convolution that reads its input at places that are given, as torchvision's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import check, count, flag, sizes
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.conv import check_groups, window_settings
from archcost.ops.merge import VARIADIC
from archcost.ops.reads import ALL, Reads
from archcost.shape import Shape, numel, per_axis, show, window_counts


@op("deform_conv", kind="conv")
class DeformConv(Op):
    """Deformable convolution, torchvision's ``DeformConv2d`` (Dai et al. 2017, Zhu et al. 2019).

    It reads the input, the offsets and, if given, a mask. Each place of the kernel has two offsets
    at each output position, one set for each group of channels. If it reads the input alone, it
    makes the offsets itself. A second convolution does so, with a bias and with the same kernel,
    stride, padding and dilation. ``macs`` are those of ordinary convolutions, without the sampling.
    """

    out_channels: int = count()
    kernel_size: Any = sizes()
    stride: Any = sizes(1)
    padding: Any = sizes(0, minimum=0)
    dilation: Any = sizes(1)
    groups: int = count(1)
    bias: bool = flag(True)

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    least: ClassVar[int] = 1
    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.randn({}) * 0.1"}
    examples: ClassVar[tuple[Example, ...]] = (
        example(6, 3, padding=1, x=[(4, 7, 8), (18, 7, 8)]),
        example(
            6, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2, bias=False,
            x=[(4, 7, 8), (24, 3, 6)],
        ),
        example(4, 3, padding=1, x=[(4, 6, 6), (36, 6, 6), (18, 6, 6)]),
        example(6, 3, padding=1, groups=2, x=(4, 7, 8)),
        example(6, (3, 2), stride=2, bias=False, x=(4, 7, 8)),
    )  # fmt: skip

    def cost(self, x: Shape, *others: Shape) -> Cost:
        masks = others[1:]
        check(len(masks) < 2, f"deform_conv takes 3 tensors at most; got {len(others) + 1}")
        check(len(x) == 3, f"deform_conv takes a map of two axes, not {show(x)}")
        check_groups(x[0], self.out_channels, self.groups)
        kernel, stride, pads, dilation = self.geometry()
        sides = tuple((pad, pad) for pad in pads)
        positions = window_counts(x[1:], kernel, stride, dilation, pads, sides)
        area = numel(kernel)
        own = (2 * area, x[0], *kernel)  # the weight of the convolution that makes the offsets
        offset = others[0] if others else (2 * area, *positions)
        fits = len(offset) == 3 and offset[1:] == positions and offset[0] % (2 * area) == 0
        if not fits:
            wanted = show((2 * area, *positions))
            raise OpError(
                f"offsets are {wanted} or a multiple of these channels, two for each of the "
                f"{area} places of the kernel, in the second layer; got {show(offset)}"
            )
        sets = offset[0] // (2 * area)
        check(x[0] % sets == 0, f"{x[0]} channels are not divisible by {sets} sets of offsets")
        for mask in masks:
            wanted = show((sets * area, *positions))
            check(mask == (sets * area, *positions), f"the mask is {wanted}; got {show(mask)}")
        out = (self.out_channels, *positions)
        params: dict[str, Shape] = {"weight": (self.out_channels, x[0] // self.groups, *kernel)}
        macs = numel(positions) * numel(params["weight"])
        if self.bias:
            params["bias"] = (self.out_channels,)
        if others:
            return Cost(out, params, macs)
        params |= {"offset_weight": own, "offset_bias": own[:1]}
        return Cost(out, params, macs + numel(positions) * numel(own), products=(offset,))

    def geometry(self) -> tuple[Shape, Shape, Shape, Shape]:
        """Return kernel, stride, padding and dilation per axis."""
        names = ("kernel_size", "stride", "padding", "dilation")
        kernel, stride, pads, dilation = (per_axis(name, getattr(self, name), 2) for name in names)
        return kernel, stride, pads, dilation

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        # one operation makes all gradients, asked for or not
        cost, asked = self.cost(x, *others), trained or any(needs)
        offsets = 0
        if not others:
            offsets = numel(cost.output[1:]) * numel(cost.params["offset_weight"])
        macs = (cost.macs - offsets) * asked
        return macs + offsets * any(needs), macs + offsets * trained

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[], [(1, ALL)], [(2, ALL)]]

    def forward(
        self, F: Any, x: Any, *others: Any, weight: Any, bias: Any = None,
        offset_weight: Any = None, offset_bias: Any = None,
    ) -> Any:  # fmt: skip
        _, stride, pads, dilation = self.geometry()
        window = {"stride": stride, "padding": pads, "dilation": dilation}
        if others:
            offset, mask = others[0], others[1] if len(others) > 1 else None
            return F.deform_conv(x, offset, weight, bias, mask, **window)
        offset = F.conv(x, offset_weight, offset_bias, groups=1, **window)
        return F.deform_conv(x, offset, weight, bias, None, **window)

    def settings(self, axes: int = 2) -> str:
        cells = window_settings(
            axes, self.kernel_size, self.stride, self.padding, self.dilation, self.groups
        )
        return ", ".join(cells if self.bias else [*cells, "no bias"])
