"""Ops that make a map larger or smaller: interpolation, and the inverse of max pooling."""

from __future__ import annotations

from fractions import Fraction
from math import floor, gcd
from typing import Any, ClassVar

from archcost.ops.arguments import check, choice, count, flag, show_argument, sizes
from archcost.ops.base import OUTPUT, Cost, Example, Op, Reads, Saved, Windows, example, op
from archcost.ops.layout import MAPS, Layout, Strides, as_maps
from archcost.ops.pool import INDEX_BYTES, pooled
from archcost.ops.steps import Step, step
from archcost.shape import Shape, numel, per_axis, show, spread
from archcost.trace import settle

NEIGHBOURS = {"nearest": 1, "bilinear": 2, "bicubic": 4}
"""Input positions that an output reads along each axis, by mode."""


@op("interpolate", kind="resample")
class Interpolate(Op):
    """The map at another size, or at ``scale_factor`` times its size."""

    size: Any = sizes(None)
    scale_factor: Any = count(None)
    mode: str = choice("nearest", *NEIGHBOURS)
    align_corners: bool = flag(False)

    layout: ClassVar[str] = MAPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(scale_factor=2, x=(6, 5, 4)),
        example((7, 9), x=(6, 5, 4)),
        example(scale_factor=3, mode="bilinear", x=(6, 5, 4)),
        example(9, mode="bilinear", align_corners=True, x=(6, 5, 4)),
        example(scale_factor=2, mode="bicubic", x=(6, 5, 4)),
    )

    def target(self, x: Shape) -> tuple[int, ...]:
        """Return the spatial size of the output."""
        check(len(x) == 3, f"interpolate takes channels x height x width, not {show(x)}")
        given = (self.size is not None) + (self.scale_factor is not None)
        check(given == 1, "interpolate takes either size or scale_factor")
        if self.size is not None:
            return per_axis("size", self.size, 2)
        return tuple(settle(n * self.scale_factor) for n in x[1:])

    def cost(self, x: Shape, *_: Shape) -> Cost:
        out = (x[0], *self.target(x))
        work = {f"interpolate_{self.mode}": numel(out), "interpolate_positions": numel(out[1:])}
        if self.size is not None:
            work["interpolate_sized_positions"] = numel(out[1:])
        else:
            work["interpolate_scaled_in"] = numel(x)
            work["interpolate_scaled_out"] = numel(out)
        return Cost(out, {}, work)

    def window(self, x: Shape, *_: Shape) -> Windows:
        reads = NEIGHBOURS[self.mode]
        return tuple((reads, Fraction(n, o)) for n, o in zip(x[1:], self.target(x), strict=True))

    def reads(self, x: Shape, *_: Shape) -> tuple[Reads, ...]:
        return tuple(self._reads(n, o) for n, o in zip(x[1:], self.target(x), strict=True))

    def _reads(self, n: int, o: int) -> Reads:
        """Return which of ``n`` positions those of ``o`` read."""
        if self.mode != "nearest" and self.align_corners:  # the ends lie on each other
            return n, tuple(self._around(Fraction(i * (n - 1), max(o - 1, 1))) for i in range(o))
        period = o // gcd(n, o)
        if self.mode == "nearest":
            return n // gcd(n, o), tuple((i * n // o,) * 2 for i in range(period))
        middle, ratio = Fraction(1, 2), Fraction(n, o)
        found = (self._around((i + middle) * ratio - middle) for i in range(period))
        return n // gcd(n, o), tuple(found)

    def _around(self, place: Fraction) -> tuple[int, int]:
        more = NEIGHBOURS[self.mode] // 2 - 1
        return (floor(place) - more, floor(place) + 1 + more) if place % 1 else (int(place),) * 2

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        corners = {} if self.mode == "nearest" else {"align_corners": self.align_corners}
        size = None if self.size is None else self.target(x)
        return torch.nn.Upsample(size, self.scale_factor, self.mode, **corners)

    def settings(self, axes: int = 2) -> str:
        how = f"x{self.scale_factor}" if self.size is None else f"to {show_argument(self.size)}"
        return f"{how}, {self.mode}"


@op("max_unpool", kind="resample")
class MaxUnpool(Op):
    """Each value back at the place that max pooling took it from, and zeros elsewhere.

    ``max_unpool(enc1, 2)`` undoes a ``maxpool(2)`` of the map ``enc1`` on the current tensor
    (Zeiler & Fergus 2013, Badrinarayanan et al. 2015). The twin finds the places anew.
    """

    kernel_size: Any = sizes()
    stride: Any = sizes(None)
    padding: Any = sizes(0, minimum=0)
    ceil_mode: bool = flag(False)

    inputs: ClassVar[tuple[str, ...]] = ("pooled", "x")  # type: ignore[misc]
    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=[(4, 8, 6), (4, 4, 3)]),
        example(2, x=[(4, 9, 7), (4, 4, 3)]),
        example(3, stride=2, padding=1, x=[(2, 9, 9), (2, 5, 5)]),
        example(2, ceil_mode=True, x=[(4, 9, 7), (4, 5, 4)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        check(len(x) == 3, f"max_unpool takes channels x height x width, not {show(x)}")
        out, _ = pooled(
            "max_unpool", x, self.kernel_size, self.stride, self.padding, 1, self.ceil_mode
        )
        check(
            out == others[0],
            f"max pooling of {show(x)} gives {show(out)}, and {show(others[0])} is to be unpooled",
        )
        # the twin's own indices; its output is written at those places
        return Cost(x, {}, {"max_unpool": numel(x)}, (Saved("indices", out, INDEX_BYTES),))

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        # of the map, only the places of its maxima are read, and they pass no gradient
        return (step(OUTPUT, x, (1,), keeps=("indices",)),)

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        return as_maps(out, inputs[1])

    def window(self, x: Shape, *others: Shape) -> Windows:
        return tuple((1, Fraction(o, n)) for n, o in zip(x[1:], others[0][1:], strict=True))

    def reads(self, x: Shape, *_: Shape) -> tuple[Reads, ...]:
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        stride = per_axis("stride", self.stride or self.kernel_size, 2)
        pads = per_axis("padding", self.padding, 2)
        return tuple(spread(s, p, k) for k, s, p in zip(kernel, stride, pads, strict=True))

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        window: list[Any] = [
            list(per_axis("kernel_size", value, 2))
            for value in (self.kernel_size, self.stride or self.kernel_size, self.padding)
        ]
        window += [[1, 1], self.ceil_mode]  # dilation
        pool, size = torch.ops.aten.max_pool2d_with_indices, x[1:]

        class MaxUnpoolModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, pooled: Any, x: Any) -> Any:
                with torch.no_grad():
                    places = pool(pooled, *window)[1]
                return torch.ops.aten.max_unpool2d(x, places, size)

        return MaxUnpoolModule()
