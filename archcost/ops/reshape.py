"""Ops that rearrange, cut or extend a tensor; no arithmetic."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.number import ceil_div
from archcost.ops.arguments import (
    axes,
    axis,
    axis_of,
    check,
    choice,
    count,
    number,
    padding,
    shape_argument,
    show_argument,
    sizes,
)
from archcost.ops.base import BOOL, Cost, Example, Op, example, op
from archcost.ops.programs import flatten, pad, transpose, unflatten
from archcost.ops.reads import SAME, Reads, Window, along, kept
from archcost.shape import LARGEST, Shape, numel, padding_sides, per_axis, show, spatial
from archcost.units import number_of


@op("identity", kind="reshape")
class Identity(Op):
    """The input itself."""

    examples: ClassVar[tuple[Example, ...]] = (example(x=(4, 5, 6)),)

    def forward(self, F: Any, x: Any) -> Any:
        return x

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Identity()


@op("flatten", kind="reshape")
class Flatten(Op):
    """Flatten all dimensions from ``start_dim`` on: ``C·H·W``, or ``C x H·W`` from 1 on."""

    start_dim: int = axis(0)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(256, 6, 6)),
        example(x=(8,)),
        example(1, x=(16, 3, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        start = axis_of(self.start_dim, x, "flatten")
        return Cost((*x[:start], numel(x[start:])))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        start = axis_of(self.start_dim, x, "flatten")
        # positions that stay apart, as those of a row of tokens, keep their own fields
        whole = [(d, SAME if start else Window(x[d], x[d])) for d in range(start, len(x))]
        return [*kept(range(start)), whole]

    def forward(self, F: Any, x: Any) -> Any:
        start = axis_of(self.start_dim, x.shape[1:], "flatten") + 1
        return x if start == len(x.shape) - 1 else flatten(F, x, start, len(x.shape) - 1)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Flatten(axis_of(self.start_dim, x, "flatten") + 1)


@op("permute", kind="reshape")
class Permute(Op):
    """Reorder the dimensions: ``permute([1, 2, 0])`` puts the channels last."""

    dims: Any = axes()

    examples: ClassVar[tuple[Example, ...]] = (
        example([1, 2, 0], x=(6, 5, 4)),
        example([1, 0], x=(6, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(
            sorted(self.dims) == list(range(len(x))),
            f"dims {show_argument(self.dims)} is no order of the {len(x)} dimensions of {show(x)}",
        )
        return Cost(tuple(x[d] for d in self.dims))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(self.dims)

    def forward(self, F: Any, x: Any) -> Any:
        return F.permute(x, dims=(0, *(d + 1 for d in self.dims)))

    def settings(self, axes: int = 2) -> str:
        return "to " + ", ".join(map(str, self.dims))


def regrouped(x: Shape, new: Shape) -> tuple[tuple[int, ...], ...]:
    """Return of which dimensions of ``x`` each of a ``new`` shape is made.

    A dimension that is a part of another is made of that twice, because it is not the whole.
    """
    made: list[tuple[int, ...]] = []
    start = done = 0
    for d in range(1, len(new) + 1):
        end, inside = start, numel(new[done:d])
        while end < len(x) and numel(x[start:end]) < inside:
            end += 1
        if numel(x[start:end]) != inside:
            continue
        if d == len(new):
            end = len(x)
        group = tuple(i for i in range(start, end) if x[i] > 1)
        parts = sum(n > 1 for n in new[done:d])
        made += [(group * (2 if parts > 1 else 1)) if n > 1 else () for n in new[done:d]]
        start, done = end, d
    return (*made, *((*range(start, len(x)), *range(start, len(x))) for _ in new[done:]))


@op("reshape", kind="reshape")
class Reshape(Op):
    """Change the shape and keep the elements. One size may be -1: it is inferred."""

    shape: Any = shape_argument()

    examples: ClassVar[tuple[Example, ...]] = (
        example([2, 3, -1], x=(6, 5, 4)),
        example([-1], x=(6, 5)),
        example([4, 5], x=(20,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        known = numel(tuple(n for n in self.shape if n != -1))
        fits = numel(x) % known == 0 if -1 in self.shape else numel(x) == known
        check(fits, f"{show(x)} has no shape {show(self.shape)}")
        left = numel(x) // known
        return Cost(tuple(left if n == -1 else n for n in self.shape))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[(d, SAME) for d in made] for made in regrouped(x, self.cost(x).output)]

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=(x.shape[0], *self.cost(x.shape[1:]).output))

    def settings(self, axes: int = 2) -> str:
        return "to " + ", ".join(map(str, self.shape))


@op("channel_shuffle", kind="reshape")
class ChannelShuffle(Op):
    """Reorder the channels: one from each group in turn (Zhang et al. 2017, ShuffleNet)."""

    groups: int = count()

    examples: ClassVar[tuple[Example, ...]] = (example(3, x=(12, 5, 4)), example(2, x=(6, 5)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        spatial(x, "channel_shuffle")
        check(x[0] % self.groups == 0, f"{x[0]} channels make no {self.groups} groups")
        return Cost(x)

    def forward(self, F: Any, x: Any) -> Any:
        apart = unflatten(F, x, 1, (self.groups, x.shape[1] // self.groups))
        return flatten(F, transpose(F, apart, 1, 2), 1, 2)


@op("pad", kind="reshape")
class Pad(Op):
    """Pad the spatial axes and, with ``channels`` (a number or a pair), the channels.

    The padding is zero unless ``value`` is given. Negative padding crops. Channels of zeros are
    ResNet's shortcut of option A (He et al. 2015, section 3.3).
    """

    padding: Any = padding(0, words=(), minimum=-LARGEST)
    mode: str = choice("zeros", "zeros", "reflect", "replicate", "circular")
    channels: Any = sizes(0, minimum=0)
    value: float = number(0.0, low=-1e38, high=1e38)

    examples: ClassVar[tuple[Example, ...]] = (
        example(1, x=(4, 5, 6)),
        example(((0, 1), (2, 3)), x=(4, 5, 6)),
        example(2, "reflect", x=(4, 5, 6)),
        example(2, "replicate", x=(4, 5)),
        example(channels=(8, 8), x=(16, 4, 4)),
        example(channels=3, x=(4, 4)),
        example(((2, 1), (0, 3)), "circular", x=(4, 5, 6)),
        example(((-1, 2), (0, -2)), value=1.5, x=(4, 5, 6)),
        example(-1, x=(4, 5)),
    )

    def refuses(self, dtype: str) -> str:
        masks = dtype == BOOL and self.mode in ("reflect", "replicate")
        return f"PyTorch pads no masks by mode {self.mode!r}" * masks

    def sides(self, x: Shape) -> tuple[tuple[int, int], ...]:
        """Return (before, after) for the channels and each spatial axis."""
        size = spatial(x, "pad")
        ones = (1,) * len(size)
        front, back = per_axis("channels", self.channels, 2)
        return ((front, back), *padding_sides(self.padding, size, ones, ones, ones))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        sides = self.sides(x)
        if self.mode != "zeros":
            check(sides[0] == (0, 0), f"{self.mode} padding fills no channels")
            check(not self.value, f"{self.mode} padding takes no value")
            for n, side in zip(x[1:], sides[1:], strict=True):
                room = {"reflect": n - 1, "circular": n}.get(self.mode, max(side))
                check(
                    max(side) <= room,
                    f"{self.mode} padding {max(side)} does not fit the input {n}",
                )
                check(min(side) >= 0, f"{self.mode} padding cuts nothing off; got {min(side)}")
        for n, (before, after) in zip(x, sides, strict=True):
            check(n + before + after > 0, f"padding {before} and {after} leave nothing of {n}")
        out = tuple(n + a + b if a or b else n for n, (a, b) in zip(x, sides, strict=True))
        return Cost(out)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[(d, Window(1, 1, -before))] for d, (before, _) in enumerate(self.sides(x))]

    def forward(self, F: Any, x: Any) -> Any:
        sides = self.sides(x.shape[1:])
        return pad(F, x, sides[1:] if self.mode == "circular" else sides, self.mode, self.value)


@op("crop", kind="reshape")
class Crop(Op):
    """The centre of a tensor, of the given size or of the size of a second tensor.

    ``crop(skip)`` cuts the tensor ``skip`` to the size of the current one, as U-Net does.
    """

    size: Any = sizes(None)

    no_gradient: ClassVar[tuple[int, ...]] = (1,)
    only_shape: ClassVar[tuple[int, ...]] = (1,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(3, 9, 8)),
        example((3, 5), x=(3, 9, 8)),
        example(x=[(3, 9, 8), (7, 4, 4)]),
    )

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("x", "like") if self.size is None else ("x",)

    def target(self, x: Shape, *others: Shape) -> tuple[int, ...]:
        """Return the spatial size after the cut."""
        size = spatial(x, "crop")
        target = per_axis("size", self.size, len(size)) if self.size is not None else others[0][1:]
        check(len(target) == len(size), f"crop of {show(x)} to {show(target)}: dimensions differ")
        fits = all(t <= n for t, n in zip(target, size, strict=True))
        check(fits, f"crop of {show(x)} to {show(target)} is larger than the input")
        return target

    def cost(self, x: Shape, *others: Shape) -> Cost:
        return Cost((x[0], *self.target(x, *others)))

    def reads(self, x: Shape, *others: Shape) -> Reads:
        columns = zip(x[1:], self.target(x, *others), strict=True)
        return along(Window(1, 1, (n - t) // 2) for n, t in columns)

    def forward(self, F: Any, x: Any, like: Any = None) -> Any:
        others = () if like is None else (like.shape[1:],)
        for d, size in enumerate(self.target(x.shape[1:], *others), 2):
            x = F.narrow(x, dim=d, start=(x.shape[d] - size) // 2, length=size)
        return x


@op("slice", kind="reshape")
class Slice(Op):
    """Every ``step``-th element from ``start`` up to ``stop`` along ``dim`` (0 = channels)."""

    dim: int = axis(0)
    start: int = count(0, minimum=0)
    stop: Any = count(None)
    step: int = count(1)

    examples: ClassVar[tuple[Example, ...]] = (
        example(0, 1, 3, x=(4, 5, 6)),
        example(1, step=2, x=(4, 5, 6)),
        example(-1, 2, x=(4, 5, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "slice")
        stop = x[where] if self.stop is None else self.stop
        check(
            self.start < stop <= x[where],
            f"slice {self.start}:{stop} of {x[where]} elements",
        )
        kept = (stop - self.start - 1) // self.step + 1
        return Cost((*x[:where], kept, *x[where + 1 :]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        where = axis_of(self.dim, x, "slice")
        cut = Window(1, self.step, self.start)
        return [[(d, cut if d == where else SAME)] for d in range(len(x))]

    def forward(self, F: Any, x: Any) -> Any:
        where = axis_of(self.dim, x.shape[1:], "slice") + 1
        stop = x.shape[where] if self.stop is None else self.stop
        length = (stop - self.start - 1) // self.step + 1
        return F.narrow(x, dim=where, start=self.start, length=length, step=self.step)


@op("chunk", kind="reshape")
class Chunk(Op):
    """One of ``chunks`` equal pieces along ``dim``: piece ``index``. The last may be smaller."""

    chunks: int = count()
    index: int = count(0, minimum=0)
    dim: int = axis(0)

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 5, 4)),
        example(2, 1, x=(7, 5, 4)),
        example(3, 2, -1, x=(6, 5, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "chunk")
        whole = ceil_div(x[where], self.chunks)
        left = x[where] - self.index * whole
        pieces = ceil_div(x[where], whole)
        check(left > 0, f"chunk {self.index} of {pieces} does not exist; the first is 0")
        return Cost((*x[:where], whole if whole <= left else left, *x[where + 1 :]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        where = axis_of(self.dim, x, "chunk")
        cut = Window(1, 1, self.index * -(-x[where] // self.chunks))
        return [[(d, cut if d == where else SAME)] for d in range(len(x))]

    def forward(self, F: Any, x: Any) -> Any:
        return Split(self.chunks, self.dim).forward(F, x)[self.index]

    def settings(self, axes: int = 2) -> str:
        return f"{self.index} of {self.chunks}" + (
            f", dim {show_argument(self.dim)}" if self.dim else ""
        )


@op("split", kind="reshape")
class Split(Op):
    """All of ``chunks`` equal pieces along ``dim``, each as an output. The last may be smaller."""

    chunks: int = count()
    dim: int = axis(0)

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 5, 4)),
        example(3, -1, x=(6, 5, 7)),
    )

    def part(self, place: int) -> Op:
        return Chunk(self.chunks, place, self.dim)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = x[axis_of(self.dim, x, "split")]
        pieces = ceil_div(size, ceil_div(size, self.chunks))
        check(pieces > 1, f"split makes a single piece of {size}")
        first, *others = (self.part(place).cost(x).output for place in range(pieces))
        return Cost(first, others=tuple(others))

    def forward(self, F: Any, x: Any) -> Any:
        where = axis_of(self.dim, x.shape[1:], "split") + 1
        whole = -(-x.shape[where] // self.chunks)
        starts = range(0, x.shape[where], whole)
        lengths = [min(whole, x.shape[where] - start) for start in starts]
        return F.split(x, dim=where, lengths=lengths)

    def settings(self, axes: int = 2) -> str:
        return number_of(self.chunks, "piece") + (
            f", dim {show_argument(self.dim)}" if self.dim else ""
        )


@op("to_batch", kind="reshape")
class ToBatch(Op):
    """Fold the first dimension into the batch: each position becomes a row of the batch."""

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)),)

    def rows(self, rows: int, x: Shape, *_: Shape) -> int:
        return rows * x[0]

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) > 1, f"to_batch leaves nothing of {show(x)}")
        return Cost(x[1:])

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(1, len(x)))

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=(x.shape[0] * x.shape[1], *x.shape[2:]))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Flatten(0, 1)


@op("from_batch", kind="reshape")
class FromBatch(Op):
    """Make ``count`` rows of the batch the first dimension: the inverse of ``to_batch``."""

    count: int = count()

    examples: ClassVar[tuple[Example, ...]] = (example(1, x=(5, 4)),)

    def rows(self, rows: int, x: Shape, *_: Shape) -> int:
        check(rows % self.count == 0, f"{rows} rows of the batch make no groups of {self.count}")
        return rows // self.count

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost((self.count, *x))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[], *kept(range(len(x)))]

    def forward(self, F: Any, x: Any) -> Any:
        return F.reshape(x, shape=(x.shape[0] // self.count, self.count, *x.shape[1:]))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return None if self.count == 1 else torch.nn.Unflatten(0, (-1, self.count))
