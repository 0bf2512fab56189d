"""Convolution with a sparse table of connections, as in LeNet-5."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from archcost.ops.arguments import (
    argument,
    check,
    flag,
    sizes,
    whole,
)
from archcost.ops.base import (
    OUTPUT,
    Cost,
    Example,
    Op,
    Saved,
    Windows,
    example,
    op,
)
from archcost.ops.conv import least_products, window_settings
from archcost.ops.steps import SHARED, SLICED, Step, step
from archcost.shape import Shape, numel, per_axis, spatial, window_count


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
        check(len(set(rows[-1])) == len(rows[-1]), f"{name} names an input channel twice")
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

    examples: ClassVar[tuple[Example, ...]] = (
        example([[0, 1, 2], [1, 2, 3], [0, 3], [0, 1, 2, 3]], 3, x=(4, 7, 8)),
        example([[0], [1]], (1, 2), x=(2, 4, 4)),
        example([[0, 2], [1, 2, 0]], 3, stride=2, padding=1, bias=False, x=(3, 7, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = spatial(x, "sparse_conv")
        kernel, stride, pads = self.geometry(x)
        highest = max(max(row) for row in self.connections)
        check(highest < x[0], f"connections name channel {highest}; the input has {x[0]}, from 0")
        positions = tuple(
            window_count(n, k, s, p, p)
            for n, k, s, p in zip(size, kernel, stride, pads, strict=True)
        )
        output = (len(self.connections), *positions)
        links = sum(len(row) for row in self.connections)
        params = {"weight": (links, *kernel)}
        mac = numel(positions) * numel(params["weight"])
        work = {"mac": mac, "sparse_mac": mac, "dot_products": numel(output)}
        if self.bias:
            params["bias"] = (len(self.connections),)
            work["conv_bias_add"] = work["sparse_bias_add"] = numel(output)
            work["conv_bias_param"] = len(self.connections)
        if len(positions) != 2:
            work["conv_1d_3d_mac"] = work["mac"]
        # the gathered input channels are a copy that the grouped convolution saves
        return Cost(output, params, work, (Saved("gathered input", (links, *size)),))

    def least_macs(self, x: Shape, *_: Shape) -> int:
        kernel, stride, pads = self.geometry(x)
        windows, links = self.cost(x).output[1:], sum(len(row) for row in self.connections)
        return links * least_products(windows, kernel, stride, pads, (1,) * len(pads), x[1:])

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        out, gathered = self.cost(x).output, "gathered input"
        links = sum(len(row) for row in self.connections)
        channels, held = [f"channel {i}" for i in range(links)], (gathered, "maps")
        return (
            *(step(channel, (1, *x[1:]), (0,), view=True) for channel in channels),
            step(gathered, (links, *x[1:]), channels, gradient=SLICED),
            step("maps", (links, *out[1:]), (gathered,), params=("weight",), keeps=(gathered,)),
            step("sums", out, ("maps",), pieces=out[0]),
            step("joined" if self.bias else OUTPUT, out, ("sums",), gradient=SHARED, held=held),
            *(
                [step(OUTPUT, out, ("joined",), params=("bias",), gradient=SHARED, held=held)]
                if self.bias
                else []
            ),
        )

    def geometry(self, x: Shape) -> tuple[Shape, Shape, Shape]:
        """Return kernel, stride and padding per axis."""
        axes = len(x) - 1
        return (
            per_axis("kernel_size", self.kernel_size, axes),
            per_axis("stride", self.stride, axes),
            per_axis("padding", self.padding, axes),
        )

    def window(self, x: Shape, *_: Shape) -> Windows:
        kernel, stride, _pads = self.geometry(x)
        return tuple(zip(kernel, stride, strict=True))

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        return tuple(-pad for pad in self.geometry(x)[2])

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (0,)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        connections, axes, bias = self.connections, len(x) - 1, self.bias
        kernel, stride, pads = self.geometry(x)
        links = [channel for row in connections for channel in row]
        lengths = [len(row) for row in connections]

        class SparseConvModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.randn(len(links), *kernel) * 0.1)
                if bias:
                    self.bias = torch.nn.Parameter(torch.zeros(len(lengths)))

            def forward(self, x: Any) -> Any:
                gathered = torch.cat([x[:, i : i + 1] for i in links], 1)
                weight = self.weight.unsqueeze(1)
                # looked up here for tools that patch it
                convolve = getattr(torch.nn.functional, f"conv{axes}d")
                maps = convolve(gathered, weight, None, stride, pads, groups=len(links))
                sums = torch.cat([part.sum(1, keepdim=True) for part in maps.split(lengths, 1)], 1)
                return sums + self.bias.view(-1, *[1] * axes) if bias else sums

        return SparseConvModule()

    def settings(self, axes: int = 2) -> str:
        links = sum(len(row) for row in self.connections)
        cells = window_settings(axes, self.kernel_size, self.stride, self.padding)
        cells.append(f"{links} connections")
        return ", ".join(cells if self.bias else [*cells, "no bias"])
