"""Ops that rearrange, cut or extend a tensor; no arithmetic."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, ClassVar

from archcost.ops.arguments import (
    axes,
    axis,
    axis_of,
    check,
    choice,
    count,
    padding,
    shape_argument,
    show_argument,
    sizes,
)
from archcost.ops.base import (
    KEEPS,
    OUTPUT,
    SAVES_INPUT,
    Cost,
    Example,
    Op,
    Windows,
    example,
    op,
)
from archcost.ops.layout import (
    MAPS,
    Layout,
    Strides,
    contiguous,
    elementwise,
    merged_stride,
    viewed_strides,
)
from archcost.ops.steps import SHARED, Step, step
from archcost.shape import (
    Shape,
    numel,
    padding_sides,
    per_axis,
    show,
    spatial,
)
from archcost.trace import settle


@op("identity", kind="reshape")
class Identity(Op):
    """The input itself."""

    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (example(x=(4, 5, 6)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x)

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return strides

    def passes_through(self, training: bool, x: Shape, *_: Shape) -> bool:
        return True

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Identity()


@op("flatten", kind="reshape")
class Flatten(Op):
    """All dimensions from ``start_dim`` on as one: ``C·H·W``, or ``C x H·W`` from 1 on."""

    start_dim: int = axis(0)

    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(256, 6, 6)),
        example(x=(8,)),
        example(1, x=(16, 3, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        start = axis_of(self.start_dim, x, "flatten")
        return Cost((*x[:start], settle(numel(x[start:]))))

    def window(self, x: Shape, *_: Shape) -> Windows:
        # positions that stay apart, as those of a row of tokens, keep their own fields
        return () if axis_of(self.start_dim, x, "flatten") else tuple((n, n) for n in x[1:])

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return () if axis_of(self.start_dim, x, "flatten") else (0,)

    def origins(self, x: Shape, *_: Shape) -> tuple[tuple[int, ...], ...]:
        start = axis_of(self.start_dim, x, "flatten")
        return (*((d,) for d in range(start)), tuple(range(start, len(x))))

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        start = axis_of(self.start_dim, x, "flatten")
        last = merged_stride(x[start:], strides[start + 1 :])
        return None if last is None else (*strides[: start + 1], last)

    def passes_through(self, training: bool, x: Shape, *_: Shape) -> bool:
        return axis_of(self.start_dim, x, "flatten") == len(x) - 1

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SHARED),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Flatten(axis_of(self.start_dim, x, "flatten") + 1)


@op("permute", kind="reshape")
class Permute(Op):
    """The dimensions in another order: ``permute([1, 2, 0])`` puts the channels last."""

    dims: Any = axes()

    autocast: ClassVar[str | None] = KEEPS
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

    def origins(self, x: Shape, *_: Shape) -> tuple[tuple[int, ...], ...]:
        return tuple((d,) for d in self.dims)

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return (strides[0], *(strides[d + 1] for d in self.dims))

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SHARED),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        order = (0, *(d + 1 for d in self.dims))

        class PermuteModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x.permute(order)

        return PermuteModule()

    def settings(self, axes: int = 2) -> str:
        return "to " + ", ".join(str(int(d)) for d in self.dims)


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
    """The same elements in another shape; one size may be -1, which means what is left."""

    shape: Any = shape_argument()

    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example([2, 3, -1], x=(6, 5, 4)),
        example([-1], x=(6, 5)),
        example([4, 5], x=(20,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        known = numel(tuple(n for n in self.shape if n != -1))
        fits = numel(x) % known == 0 if -1 in self.shape else numel(x) == known
        check(fits, f"{show(x)} has no shape {', '.join(str(int(n)) for n in self.shape)}")
        left = numel(x) // known
        return Cost(tuple(settle(left) if n == -1 else n for n in self.shape))

    def origins(self, x: Shape, *_: Shape) -> tuple[tuple[int, ...], ...]:
        return regrouped(x, self.cost(x).output)

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        inner = viewed_strides(x, strides[1:], self.cost(x).output)
        return None if inner is None else (strides[0], *inner)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SHARED),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        shape = self.cost(x).output

        class ReshapeModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x.reshape(len(x), *shape)

        return ReshapeModule()

    def settings(self, axes: int = 2) -> str:
        return "to " + ", ".join(str(int(n)) for n in self.shape)


@op("channel_shuffle", kind="reshape")
class ChannelShuffle(Op):
    """Channels dealt out anew: one of each group in turn (Zhang et al. 2017, ShuffleNet)."""

    groups: int = count()

    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (example(3, x=(12, 5, 4)), example(2, x=(6, 5)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        spatial(x, "channel_shuffle")
        check(x[0] % self.groups == 0, f"{x[0]} channels make no {self.groups} groups")
        return Cost(x)

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        # one group, or one channel in each: nothing moves, and PyTorch copies nothing
        batch, channel, *rest = strides
        each = x[0] // self.groups
        merged = merged_stride((each, self.groups), (channel, each * channel))
        return None if merged is None else (batch, merged, *rest)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        groups = self.groups

        class ChannelShuffleModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)

        return ChannelShuffleModule()


@op("pad", kind="reshape")
class Pad(Op):
    """Extend the spatial sizes, and with ``channels`` (a number or a pair) the channels.

    The zero-filled channels are ResNet's shortcut of option A (He et al. 2015, section 3.3).
    """

    padding: Any = padding(0, words=())
    mode: str = choice("zeros", "zeros", "reflect", "replicate", "circular")
    channels: Any = sizes(0, minimum=0)

    layout: ClassVar[str] = MAPS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(1, x=(4, 5, 6)),
        example(((0, 1), (2, 3)), x=(4, 5, 6)),
        example(2, "reflect", x=(4, 5, 6)),
        example(2, "replicate", x=(4, 5)),
        example(channels=(8, 8), x=(16, 4, 4)),
        example(channels=3, x=(4, 4)),
    )

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
            for n, side in zip(x[1:], sides[1:], strict=True):
                room = {"reflect": n - 1, "circular": n}.get(self.mode, max(side))
                check(
                    max(side) <= room,
                    f"{self.mode} padding {max(side)} does not fit the input {int(n)}",
                )
        out = tuple(settle(n + a + b) if a or b else n for n, (a, b) in zip(x, sides, strict=True))
        return Cost(out, saved=SAVES_INPUT if self.mode in ("reflect", "replicate") else ())

    def under_autocast(self, x: Shape, *_: Shape) -> str | None:
        return self.autocast if self.mode == "zeros" else None  # others differ, CPU and CUDA

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        if self.mode == "circular":
            return contiguous(out)
        # nothing added, which PyTorch calls a clone
        return elementwise(*inputs) if out == inputs[0].shape else super().strides(out, *inputs)

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        return tuple(-before for before, _ in self.sides(x)[1:])

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        check(self.mode != "circular", "the peak of circular padding is not known")
        return (Step(),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        sides = self.sides(x) if self.mode == "zeros" else self.sides(x)[1:]
        flat = [side for pair in reversed(sides) for side in pair]
        mode = "constant" if self.mode == "zeros" else self.mode

        class PadModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return torch.nn.functional.pad(x, flat, mode=mode)

        return PadModule()


@op("crop", kind="reshape")
class Crop(Op):
    """The centre of a tensor, of the given size or of the size of a second tensor.

    ``crop(skip)`` cuts the tensor ``skip`` to the size of the current one, as U-Net does.
    """

    size: Any = sizes(None)

    no_gradient: ClassVar[tuple[int, ...]] = (1,)
    autocast: ClassVar[str | None] = KEEPS
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

    def starts(self, x: Shape, *others: Shape) -> tuple[int | Fraction, ...]:
        return tuple((n - t) // 2 for n, t in zip(x[1:], self.target(x, *others), strict=True))

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return strides

    def steps(self, x: Shape, *others: Shape) -> tuple[Step, ...]:
        target = self.target(x, *others)
        made = [*(f"cut {d}" for d in range(1, len(target))), OUTPUT]
        reads: tuple[int | str, ...] = (0, *made)
        return tuple(
            step(name, (x[0], *target[:d], *x[d + 1 :]), (read,), view=True)
            for d, (read, name) in enumerate(zip(reads, made, strict=False), 1)
        )

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        target = self.target(x, *others)

        class CropModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any, like: Any = None) -> Any:
                for d, size in enumerate(target, 2):
                    x = x.narrow(d, (x.shape[d] - size) // 2, size)
                return x

        return CropModule()


@op("slice", kind="reshape")
class Slice(Op):
    """Every ``step``-th element from ``start`` up to ``stop`` along ``dim`` (0 = channels)."""

    dim: int = axis(0)
    start: int = count(0, minimum=0)
    stop: Any = count(None)
    step: int = count(1)

    autocast: ClassVar[str | None] = KEEPS
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
            f"slice {self.start}:{int(stop)} of {int(x[where])} elements",
        )
        kept = settle((stop - self.start - 1) // self.step + 1)
        return Cost((*x[:where], kept, *x[where + 1 :]))

    def window(self, x: Shape, *_: Shape) -> Windows:
        where = axis_of(self.dim, x, "slice")
        return tuple((1, self.step if i == where else 1) for i in range(len(x)))

    def windowed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return tuple(range(len(x)))

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        where = axis_of(self.dim, x, "slice")
        return tuple(self.start if i == where else 0 for i in range(len(x)))

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        where = axis_of(self.dim, x, "slice") + 1
        return (*strides[:where], strides[where] * self.step, *strides[where + 1 :])

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        where = axis_of(self.dim, x, "slice") + 1
        cut = (*[slice(None)] * where, slice(self.start, self.stop, self.step))

        class SliceModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x[cut]

        return SliceModule()


@op("chunk", kind="reshape")
class Chunk(Op):
    """Piece ``index`` of ``chunks`` equal pieces along ``dim``; the last may be smaller."""

    chunks: int = count()
    index: int = count(0, minimum=0)
    dim: int = axis(0)

    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 5, 4)),
        example(2, 1, x=(7, 5, 4)),
        example(3, 2, -1, x=(6, 5, 7)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "chunk")
        whole = -(-int(x[where]) // self.chunks)
        pieces = -(-int(x[where]) // whole)
        check(self.index < pieces, f"chunk {self.index} of {pieces} does not exist; the first is 0")
        length = min(whole, int(x[where]) - self.index * whole)
        return Cost((*x[:where], length, *x[where + 1 :]))

    def view(self, strides: Strides, x: Shape, *_: Shape) -> Strides | None:
        return strides

    def windowed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (axis_of(self.dim, x, "chunk"),)

    def starts(self, x: Shape, *_: Shape) -> tuple[int | Fraction, ...]:
        whole = -(-int(x[axis_of(self.dim, x, "chunk")]) // self.chunks)
        return (self.index * whole,)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        # backward joins the piece's gradient with zeros for the other pieces
        where = axis_of(self.dim, x, "chunk")
        whole, rest = -(-x[where] // self.chunks), numel(x) // x[where]
        starts = range(0, x[where], whole)
        lengths = [min(whole, x[where] - start) for start in starts]
        others = lengths[: self.index] + lengths[self.index + 1 :]
        return (Step(scratch=tuple(length * rest for length in others)),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        chunks, index, where = self.chunks, self.index, axis_of(self.dim, x, "chunk") + 1

        class ChunkModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return x.chunk(chunks, where)[index]

        return ChunkModule()

    def settings(self, axes: int = 2) -> str:
        return f"{self.index} of {self.chunks}" + (
            f", dim {show_argument(self.dim)}" if self.dim else ""
        )
