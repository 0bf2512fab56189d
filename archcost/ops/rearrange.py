"""Ops that move elements from channels to positions and back."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import check, count
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.reads import Reads, Table, Window, along
from archcost.shape import Shape, show


def _map(x: Shape, op: str) -> Shape:
    check(len(x) == 3, f"{op} takes channels x height x width, not {show(x)}")
    return x


@op("pixel_shuffle", kind="resample")
class PixelShuffle(Op):
    """Move channels to positions: ``C·r² x H x W`` to ``C x H·r x W·r`` (Shi et al. 2016)."""

    upscale_factor: int = count()

    examples: ClassVar[tuple[Example, ...]] = (example(2, x=(8, 5, 4)), example(3, x=(9, 2, 3)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        r = self.upscale_factor
        channels, height, width = _map(x, "pixel_shuffle")
        check(channels % (r * r) == 0, f"{channels} channels are not divisible by {r} x {r}")
        return Cost((channels // (r * r), height * r, width * r))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return along([Table(1, ((0, 0),) * self.upscale_factor)] * 2, mixed=True)

    def forward(self, F: Any, x: Any) -> Any:
        return F.pixel_shuffle(x, factor=self.upscale_factor)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.PixelShuffle(self.upscale_factor)

    def settings(self, axes: int = 2) -> str:
        return f"x{self.upscale_factor}"


@op("pixel_unshuffle", kind="resample")
class PixelUnshuffle(Op):
    """Move positions to channels, space to depth: ``C x H·r x W·r`` to ``C·r² x H x W``."""

    downscale_factor: int = count()

    examples: ClassVar[tuple[Example, ...]] = (example(2, x=(3, 6, 4)), example(3, x=(1, 3, 9)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        r = self.downscale_factor
        channels, height, width = _map(x, "pixel_unshuffle")
        check(
            height % r == 0 and width % r == 0,
            f"the map {height}x{width} is not divisible by downscale_factor {r}",
        )
        return Cost((channels * r * r, height // r, width // r))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        r = self.downscale_factor
        return along([Window(r, r)] * 2, mixed=True)

    def forward(self, F: Any, x: Any) -> Any:
        return F.pixel_unshuffle(x, factor=self.downscale_factor)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.PixelUnshuffle(self.downscale_factor)

    def settings(self, axes: int = 2) -> str:
        return f"by {self.downscale_factor}"
