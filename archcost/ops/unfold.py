"""Windows of a map as columns, and columns added up to a map."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import check, show_argument, sizes
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.reads import ALL, Reads, Window
from archcost.shape import Shape, numel, per_axis, show, span, window_count


class Columns(Op):
    """What ``unfold`` and ``fold`` have in common: the windows of a map of two dimensions."""

    kernel_size: Any
    dilation: Any
    padding: Any
    stride: Any

    def windows(self, size: Shape) -> dict[str, Shape]:
        """Return the window along each of both axes."""
        names = ("kernel_size", "dilation", "padding", "stride")
        return {name: per_axis(name, getattr(self, name), 2) for name in names}

    def positions(self, size: Shape) -> Shape:
        """Return how many windows fit along each axis of a map of that size."""
        kernel, dilation, padding, stride = self.windows(size).values()
        axes = zip(size, kernel, stride, padding, dilation, strict=True)
        return tuple(window_count(n, k, s, p, p, d) for n, k, s, p, d in axes)

    def settings(self, axes: int = 2) -> str:
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        stride = "" if self.stride == 1 else f", stride {show_argument(self.stride)}"
        padding = "" if self.padding == 0 else f", pad {show_argument(self.padding)}"
        return f"{show_argument(kernel)}{stride}{padding}"


@op("unfold", kind="resample")
class Unfold(Columns):
    """Every window of a map as a column, im2col: ``C x H x W`` as ``C·k·k x positions``."""

    kernel_size: Any = sizes()
    dilation: Any = sizes(1)
    padding: Any = sizes(0, minimum=0)
    stride: Any = sizes(1)

    examples: ClassVar[tuple[Example, ...]] = (
        example(3, padding=1, x=(2, 5, 4)),
        example((2, 3), stride=(2, 1), dilation=(1, 2), x=(3, 6, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 3, f"unfold takes channels x height x width, not {show(x)}")
        kernel = per_axis("kernel_size", self.kernel_size, 2)
        return Cost((x[0] * numel(kernel), numel(self.positions(x[1:]))))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        kernel, dilation, padding, stride = self.windows(x[1:]).values()
        axes = zip(kernel, stride, padding, dilation, strict=True)
        return [[], [(i, Window(span(k, d), s, -p)) for i, (k, s, p, d) in enumerate(axes, 1)]]

    def forward(self, F: Any, x: Any) -> Any:
        return F.unfold(x, **self.windows(x.shape[2:]))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Unfold(self.kernel_size, self.dilation, self.padding, self.stride)


@op("fold", kind="resample")
class Fold(Columns):
    """Add columns up to a map (col2im): ``C·k·k x positions`` to ``C x H x W``.

    Where windows overlap, their values are summed.
    """

    output_size: Any = sizes()
    kernel_size: Any = sizes()
    dilation: Any = sizes(1)
    padding: Any = sizes(0, minimum=0)
    stride: Any = sizes(1)

    examples: ClassVar[tuple[Example, ...]] = (
        example((5, 4), 3, padding=1, x=(18, 20)),
        example((6, 7), (2, 3), stride=(2, 1), dilation=(1, 2), x=(12, 9)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 2, f"fold takes columns x positions, not {show(x)}")
        size = per_axis("output_size", self.output_size, 2)
        area = numel(per_axis("kernel_size", self.kernel_size, 2))
        check(x[0] % area == 0, f"{x[0]} rows of columns are not divisible by windows of {area}")
        there = self.positions(size)
        check(
            numel(there) == x[1],
            f"a map {show(size)} has {show(there)} windows, and there are {x[1]} columns",
        )
        return Cost((x[0] // area, *size))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[], [(1, ALL)], [(1, ALL)]]

    def forward(self, F: Any, x: Any) -> Any:
        size = per_axis("output_size", self.output_size, 2)
        return F.fold(x, output_size=size, **self.windows(size))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Fold(
            self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def settings(self, axes: int = 2) -> str:
        return f"to {show_argument(self.output_size)}, {super().settings(axes)}"
