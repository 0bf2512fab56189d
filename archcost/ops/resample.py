"""Ops that make a map larger or smaller: interpolation, and the inverse of max pooling."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, ClassVar

from archcost.ops.arguments import check, choice, factors, flag, show_argument, sizes
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.pool import pool_axes, pooled
from archcost.ops.pool_to_size import adaptive_reads
from archcost.ops.reads import Reads, Table, along
from archcost.shape import Shape, per_axis, show, spatial, spread

if TYPE_CHECKING:
    from fractions import Fraction

LONGEST = 2**10
"""Positions after which what a factor makes repeats, at most."""

NEIGHBOURS = {
    "nearest": 1, "nearest-exact": 1, "area": 1, "linear": 2, "bilinear": 2, "trilinear": 2,
    "bicubic": 4,
}  # fmt: skip
"""Input positions that an output reads along each axis, by mode, where windows do not average."""

AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
"""The number of spatial dimensions that a mode is of, if it is not of any."""


@op("interpolate", kind="resample")
class Interpolate(Op):
    """Resize to ``size``, or by ``scale_factor`` with the size rounded down.

    ``nearest``, ``nearest-exact`` and ``area`` (the mean) work in one, two and three dimensions,
    ``linear`` in one, ``bilinear`` and ``bicubic`` in two, ``trilinear`` in three.
    """

    size: Any = sizes(None)
    scale_factor: Any = factors()
    mode: str = choice("nearest", *NEIGHBOURS)
    align_corners: bool = flag(False)
    antialias: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (
        example(scale_factor=2, x=(6, 5, 4)),
        example((7, 9), x=(6, 5, 4)),
        example(scale_factor=3, mode="bilinear", x=(6, 5, 4)),
        example(9, mode="bilinear", align_corners=True, x=(6, 5, 4)),
        example(scale_factor=2, mode="bicubic", x=(6, 5, 4)),
        example(scale_factor=2, mode="linear", x=(6, 7)),
        example(9, x=(6, 5)),
        example(scale_factor=2, mode="trilinear", x=(3, 2, 3, 4)),
        example(scale_factor=2, mode="nearest-exact", x=(3, 2, 3, 4)),
        example(scale_factor=1.5, mode="bilinear", x=(6, 5, 4)),
        example(scale_factor=0.5, mode="area", x=(6, 5, 4)),
        example((3, 4), mode="bilinear", antialias=True, x=(2, 7, 8)),
    )

    def target(self, x: Shape) -> tuple[int, ...]:
        """Return the spatial size of the output."""
        size, given = spatial(x, "interpolate"), [self.size is not None]
        axes = AXES.get(self.mode, len(size))
        check(len(size) <= 3, f"interpolate takes up to 3 spatial dimensions, not {show(x)}")
        fitting = [mode for mode in AXES if AXES[mode] == len(size)]
        check(
            axes == len(size),
            f"mode '{self.mode}' is of {axes} spatial dimensions, not {show(x)}; "
            f"write '{' or '.join(fitting[:1])}'",
        )
        given.append(self.scale_factor is not None)
        check(sum(given) == 1, "interpolate takes either size or scale_factor")
        check(
            not self.align_corners or self.mode in AXES,
            f"align_corners is of {', '.join(AXES)}, not of {self.mode}",
        )
        check(
            not self.antialias or self.mode in ("bilinear", "bicubic"),
            f"antialias is of bilinear and bicubic, not of {self.mode}",
        )
        if self.size is not None:
            return per_axis("size", self.size, len(size))
        factors = per_axis("scale_factor", self.scale_factor, len(size))
        made = tuple(
            n * f if isinstance(f, int) else floor(n * f)
            for n, f in zip(size, factors, strict=True)
        )
        check(
            all(n > 0 for n in made),
            f"scale_factor {show_argument(self.scale_factor)} leaves no output",
        )
        return made

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost((x[0], *self.target(x)))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        target = self.target(x)
        if self.mode == "area":
            return adaptive_reads(x, (x[0], *target))
        factors = self.scale_factor
        if not isinstance(factors, tuple):
            factors = (factors,) * len(target)
        return along(map(self._table, x[1:], target, factors))

    def _table(self, n: int, o: int, factor: float | None) -> Table:
        """Return which of ``n`` positions those of ``o`` read."""
        from fractions import Fraction  # only receptive fields need it

        if self.mode in AXES and self.align_corners:  # the ends lie on each other
            places = (Fraction(i * (n - 1), max(o - 1, 1)) for i in range(o))
            return Table(n, tuple(self._around(place, Fraction(1)) for place in places))
        ratio = Fraction(n, o)
        if factor is not None:
            ratio = 1 / Fraction(factor).limit_denominator(LONGEST)
        period, inputs = ratio.denominator, ratio.numerator
        if period > o:  # so that nothing repeats
            period, inputs = o, n
        if self.mode == "nearest":
            return Table(inputs, tuple((int(i * ratio),) * 2 for i in range(period)))
        middle = Fraction(1, 2)
        if self.mode == "nearest-exact":
            return Table(inputs, tuple((int((i + middle) * ratio),) * 2 for i in range(period)))
        found = (self._around((i + middle) * ratio - middle, ratio) for i in range(period))
        return Table(inputs, tuple(found))

    def _around(self, place: Fraction, ratio: Fraction) -> tuple[int, int]:
        from fractions import Fraction

        more = NEIGHBOURS[self.mode] // 2
        if self.antialias:  # a window as wide as what becomes one position
            reach, centre = more * max(ratio, Fraction(1)), place + Fraction(1, 2)
            half = Fraction(1, 2)
            return floor(centre - reach + half), floor(centre + reach + half) - 1
        return (floor(place) + 1 - more, floor(place) + more) if place % 1 else (int(place),) * 2

    def forward(self, F: Any, x: Any) -> Any:
        size = self.target(x.shape[1:])
        if self.mode == "area":
            return F.adaptive_avg_pool(x, size=size)
        return F.interpolate(
            x, size=size, factor=self.scale_factor, mode=self.mode,
            align_corners=self.align_corners, antialias=self.antialias,
        )  # fmt: skip

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        if self.antialias:
            return None
        corners = {"align_corners": self.align_corners} if self.mode in AXES else {}
        size = None if self.size is None else self.target(x)
        return torch.nn.Upsample(size, self.scale_factor, self.mode, **corners)

    def settings(self, axes: int = 2) -> str:
        how = f"x{show_argument(self.scale_factor)}"
        if self.size is not None:
            how = f"to {show_argument(self.size)}"
        return f"{how}, {self.mode}" + ", antialias" * self.antialias


@op("max_unpool", kind="resample")
class MaxUnpool(Op):
    """Put each value back where max pooling took it from, with zeros elsewhere.

    ``max_unpool(enc1, 2)`` undoes a ``maxpool(2)`` of the map ``enc1`` on the current tensor
    (Zeiler & Fergus 2013, Badrinarayanan et al. 2015). The PyTorch module finds the places again.
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
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        stride = per_axis("stride", self.stride or self.kernel_size, 2)
        pads = per_axis("padding", self.padding, 2)
        columns = zip(kernel, stride, pads, strict=True)
        return along(Table(*spread(s, p, k)) for k, s, p in columns)

    def forward(self, F: Any, pooled: Any, x: Any) -> Any:
        window = pool_axes(2, self.kernel_size, self.stride, self.padding)
        places = F.max_places(pooled, **window, ceil=self.ceil_mode)
        return F.max_unpool(x, places, shape=pooled.shape)
