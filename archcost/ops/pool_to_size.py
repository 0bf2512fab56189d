"""Pooling to a given output size: adaptive, over the whole input, over dimensions, of regions."""

from __future__ import annotations

from math import floor
from typing import Any, ClassVar

from archcost.ops.arguments import check, count, factors, output_sizes, show_argument, sizes
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.programs import unflatten
from archcost.ops.reads import ALL, SAME, Reads, Window, along
from archcost.shape import Shape, per_axis, show, spatial
from archcost.units import number_of


def adaptive_reads(x: Shape, out: Shape) -> Reads:
    """Return windows of the widest extent and the mean stride of pooling ``x`` to ``out``."""
    from fractions import Fraction  # only receptive fields need it

    return along(
        Window(max(-(-(i + 1) * n // o) - i * n // o for i in range(o)), Fraction(n, o))
        for n, o in zip(x[1:], out[1:], strict=True)
    )


def adaptive_shape(op: str, x: Shape, output_size: Any) -> Shape:
    """Return the output shape of pooling to ``output_size`` per axis."""
    size = spatial(x, op)
    wanted = per_axis("output_size", output_size, len(size))
    return (x[0], *(n if out is None else out for n, out in zip(size, wanted, strict=True)))


class AdaptivePool(Op):
    """Pooling over windows placed so that the output has the given size on each axis.

    Class attributes:
        module: its class in ``torch.nn``, without the number of axes.
        primitive: its function.
    """

    module: ClassVar[str]
    primitive: ClassVar[str]
    output_size: Any

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(adaptive_shape(self.name, x, self.output_size))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return adaptive_reads(x, self.cost(x).output)

    def forward(self, F: Any, x: Any) -> Any:
        return getattr(F, self.primitive)(x, size=self.cost(x.shape[1:]).output[1:])

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        size = self.output_size if len(x) > 2 else self.cost(x).output[1:]
        return getattr(torch.nn, f"{self.module}{len(x) - 1}d")(size)

    def settings(self, axes: int = 2) -> str:
        return f"to {show_argument(self.output_size)}"


@op("adaptive_avgpool", kind="adaptive_pool")
class AdaptiveAvgPool(AdaptivePool):
    """Mean over windows placed so that the output has the given size on each axis.

    ``null`` keeps the size of an axis.
    """

    output_size: Any = output_sizes()

    module, primitive = "AdaptiveAvgPool", "adaptive_avg_pool"
    examples: ClassVar[tuple[Example, ...]] = (
        example(6, x=(4, 7, 13)),
        example(3, x=(4, 7)),
        example(1, x=(4, 7, 7)),
        example(2, x=(4, 7, 6, 5)),
        example((None, 1), x=(4, 7, 6)),
    )


@op("adaptive_maxpool", kind="adaptive_pool")
class AdaptiveMaxPool(AdaptivePool):
    """Maximum over windows placed so that the output has the given size on each axis.

    ``null`` keeps the size of an axis.
    """

    output_size: Any = output_sizes()

    module, primitive = "AdaptiveMaxPool", "adaptive_max_pool"
    examples: ClassVar[tuple[Example, ...]] = (
        example(3, x=(4, 7, 9)),
        example(1, x=(4, 7)),
        example((2, None, 3), x=(4, 7, 2, 5)),
    )


@op("global_avgpool", kind="adaptive_pool")
class GlobalAvgPool(AdaptiveAvgPool):
    """Mean over all positions, one value per channel: ``C x 1 x 1``."""

    output_size: Any = count(1)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(512, 7, 7)),
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


@op("fractional_maxpool", kind="pool")
class FractionalMaxPool(Op):
    """Maximum over windows that are placed at random, in training and after (Graham 2014).

    The output has ``output_size``, or ``output_ratio`` times the size of the input, cut to whole
    numbers. It is one of these, of two or three spatial dimensions. The cost does not depend on
    where the windows are.
    """

    kernel_size: Any = sizes()
    output_size: Any = sizes(None)
    output_ratio: Any = factors()

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, 4, x=(4, 9, 8)),
        example((3, 2), output_ratio=(0.5, 0.7), x=(4, 9, 8)),
        example(2, (2, 3, 4), x=(3, 5, 7, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = spatial(x, self.name)
        check(len(size) in (2, 3), f"{self.name} takes 2 or 3 spatial dimensions, not {show(x)}")
        given = (self.output_size is not None) + (self.output_ratio is not None)
        check(given == 1, f"{self.name} takes either output_size or output_ratio")
        kernel = per_axis("kernel_size", self.kernel_size, len(size))
        if self.output_size is None:
            ratios = per_axis("output_ratio", self.output_ratio, len(size))
            wanted = show_argument(self.output_ratio)
            check(all(0 < r < 1 for r in ratios), f"output_ratio {wanted} is not between 0 and 1")
            out = tuple(floor(n * ratio) for n, ratio in zip(size, ratios, strict=True))
            check(all(n > 0 for n in out), f"output_ratio {wanted} leaves no output")
        else:
            out = per_axis("output_size", self.output_size, len(size))
        for n, k, o in zip(size, kernel, out, strict=True):
            most = n - k + 1 - (len(size) == 3)  # so PyTorch
            check(o <= most, f"a kernel of {k} gives {most} of {n} positions at most, not {o}")
        return Cost((x[0], *out))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        from fractions import Fraction  # only receptive fields need it

        out = self.cost(x).output[1:]
        axes = zip(x[1:], per_axis("kernel_size", self.kernel_size, len(out)), out, strict=True)
        return along(
            Window(k, Fraction(n - k, o - 1)) if o > 1 else Window(k, 1, n - k) for n, k, o in axes
        )

    def forward(self, F: Any, x: Any) -> Any:
        out = self.cost(x.shape[1:]).output[1:]
        kernel = per_axis("kernel_size", self.kernel_size, len(out))
        samples = F.uniform(shape=(*x.shape[:2], len(out)), like=x)
        return F.fractional_max_pool(x, samples, kernel=kernel, size=out)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        module = getattr(torch.nn, f"FractionalMaxPool{len(x) - 1}d")
        return module(self.kernel_size, output_size=self.cost(x).output[1:])

    def settings(self, axes: int = 2) -> str:
        if self.output_size is None:
            return f"{show_argument(self.kernel_size)}, ratio {show_argument(self.output_ratio)}"
        return f"{show_argument(self.kernel_size)} to {show_argument(self.output_size)}"


@op("roi_pool", kind="adaptive_pool")
class RoIPool(Op):
    """Maximum of each part of ``regions`` regions of a map (Girshick 2015, Fast R-CNN).

    Each region is pooled to ``output_size``; the output is ``regions x C x H x W``. The cost does
    not depend on where the regions are. In the PyTorch module each region is the whole map.
    """

    regions: int = count()
    output_size: Any = sizes(7)

    examples: ClassVar[tuple[Example, ...]] = (
        example(5, 3, x=(4, 9, 7)),
        example(2, (2, 3), x=(4, 6, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 3, f"roi_pool takes channels x height x width, not {show(x)}")
        return Cost((self.regions, *adaptive_shape("roi_pool", x, self.output_size)))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[], [(0, SAME)], [(1, ALL)], [(2, ALL)]]

    def forward(self, F: Any, x: Any) -> Any:
        size = per_axis("output_size", self.output_size, 2)
        parts = F.joined(self.regions, F.adaptive_max_pool, x, size=size)
        return unflatten(F, parts, 1, (self.regions, x.shape[1]))

    def settings(self, axes: int = 2) -> str:
        return f"{number_of(self.regions, 'region')} to {show_argument(self.output_size)}"
