"""Convolution with a sparse table of connections, as in LeNet-5."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar

from archcost.ops.arguments import argument, check, flag, sizes, whole
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.conv import Taps, window_settings
from archcost.ops.reads import Reads, Window, along
from archcost.shape import Shape, numel, per_axis, show, spatial, window_counts
from archcost.units import number_of


def _read_connections(name: str, value: Any) -> tuple[tuple[int, ...], ...]:
    check(
        isinstance(value, (list, tuple)) and len(value) > 0,
        f"{name} is a list of lists of input channels",
    )
    rows = []
    for row in value:
        check(
            isinstance(row, (list, tuple)) and len(row) > 0,
            f"{name} is a list of lists of input channels",
        )
        rows.append(tuple(whole(name, channel, 0) for channel in row))
        twice = any(a == b for a, b in pairwise(sorted(rows[-1])))
        check(not twice, f"{name} names an input channel twice")
    return tuple(rows)


@op("sparse_conv", kind="conv")
class SparseConv(Op):
    """Convolution in which each output channel reads only the input channels listed for it.

    LeNet-5's C3 (LeCun et al. 1998, table I): one kernel per connection and, unless ``bias`` is
    false, one bias per output channel; macs = output positions · connections · kernel area.
    """

    connections: Any = argument(
        "a list of the input channels that each output channel reads", _read_connections
    )
    kernel_size: Any = sizes(5)
    stride: Any = sizes(1)
    padding: Any = sizes(0, minimum=0)
    bias: bool = flag(True)

    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.randn({}) * 0.1"}
    examples: ClassVar[tuple[Example, ...]] = (
        example([[0, 1, 2], [1, 2, 3], [0, 3], [0, 1, 2, 3]], 3, x=(4, 7, 8)),
        example([[0], [1]], (1, 2), x=(2, 4, 4)),
        example([[0, 2], [1, 2, 0]], 3, stride=2, padding=1, bias=False, x=(3, 7, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = spatial(x, "sparse_conv")
        check(len(size) <= 3, f"sparse_conv takes up to 3 spatial dimensions, not {show(x)}")
        kernel, stride, pads = self.geometry(x)
        highest = max(max(row) for row in self.connections)
        check(highest < x[0], f"connections name channel {highest}; the input has {x[0]}, from 0")
        sides, ones = tuple((pad, pad) for pad in pads), (1,) * len(pads)
        positions = window_counts(size, kernel, stride, ones, self.padding, sides)
        links = sum(len(row) for row in self.connections)
        params = {"weight": (links, *kernel)}
        macs = numel(positions) * numel(params["weight"])
        if self.bias:
            params["bias"] = (len(self.connections),)
        return Cost((len(self.connections), *positions), params, macs)

    def taps(self, x: Shape, *_: Shape) -> Taps:
        """Return windows and geometry of the products of one kernel with one channel."""
        kernel, stride, pads = self.geometry(x)
        return self.cost(x).output[1:], kernel, stride, pads, (1,) * len(pads), x[1:]

    def geometry(self, x: Shape) -> tuple[Shape, Shape, Shape]:
        """Return kernel, stride and padding per axis."""
        axes = len(x) - 1
        return (
            per_axis("kernel_size", self.kernel_size, axes),
            per_axis("stride", self.stride, axes),
            per_axis("padding", self.padding, axes),
        )

    def reads(self, x: Shape, *_: Shape) -> Reads:
        columns = zip(*self.geometry(x), strict=True)
        return along((Window(k, s, -pad) for k, s, pad in columns), mixed=True)

    def forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        _, stride, pads = self.geometry(x.shape[1:])
        links = [channel for row in self.connections for channel in row]
        lengths = [len(row) for row in self.connections]
        gathered = F.cat(*[F.narrow(x, dim=1, start=i, length=1) for i in links], dim=1)
        weight = F.reshape(weight, shape=(len(links), 1, *weight.shape[1:]))
        ones = (1,) * len(pads)
        maps = F.conv(
            gathered, weight, stride=stride, padding=pads, dilation=ones, groups=len(links)
        )
        parts = F.split(maps, dim=1, lengths=lengths)
        sums = F.cat(*[F.sum(part, dims=(1,), keepdim=True) for part in parts], dim=1)
        if bias is None:
            return sums
        return F.add(sums, F.reshape(bias, shape=(len(lengths), *ones)))

    def settings(self, axes: int = 2) -> str:
        links = sum(len(row) for row in self.connections)
        cells = window_settings(axes, self.kernel_size, self.stride, self.padding)
        cells.append(number_of(links, "connection"))
        return ", ".join(cells if self.bias else [*cells, "no bias"])
