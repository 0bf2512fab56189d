"""Ops of Transformers: attention, and the learnt tokens and positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from archcost.ops.arguments import check, count
from archcost.ops.base import EVERYWHERE, OUTPUT, Cost, Example, Op, Saved, Windows, example, op
from archcost.ops.layout import (
    ELEMENTWISE,
    Layout,
    Strides,
    contiguous,
    fresh,
    merged_stride,
    viewed_strides,
)
from archcost.ops.steps import COPIED, SHARED, SLICED, Step, step
from archcost.shape import Shape, numel, show
from archcost.trace import settle

FLOAT_BYTES = 4
KEYED, BIASED, VALUED = ("queries", "keys"), ("products", "bias"), ("scores", "values")


def head_width(x: Shape, heads: int, op: str) -> int:
    """Return the width of a head of ``x``, whose last dimension holds queries, keys and values."""
    check(x[-1] % 3 == 0, f"{op} takes queries, keys and values side by side, not {show(x)}")
    check(x[-1] // 3 % heads == 0, f"{int(x[-1] // 3)} features are not divisible by heads {heads}")
    return settle(x[-1] // 3 // heads)


@op("attention", kind="attention")
class Attention(Op):
    """Multi-head attention of all tokens, fused into one function (Vaswani et al. 2017).

    It takes ``tokens x 3·width``, queries, keys and values side by side as a linear layer makes
    them; macs = 2 · heads · tokens · tokens · width of a head.
    """

    heads: int = count()

    examples: ClassVar[tuple[Example, ...]] = (example(2, x=(5, 24)), example(3, x=(7, 9)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 2, f"attention takes tokens x features, not {show(x)}")
        width = head_width(x, self.heads, "attention")
        tokens = x[0]
        mac = 2 * self.heads * tokens * tokens * width
        # queries, keys and values are views of the input
        saved = (
            Saved("input"),
            Saved(OUTPUT),
            Saved("logsumexp", (self.heads, tokens), FLOAT_BYTES),
        )
        out = (tokens, settle(self.heads * width))
        scores = (self.heads, tokens, tokens)
        return Cost(out, {}, {"mac": mac, "fused_mac": mac}, saved, fused=(scores,))

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        parts = "queries, keys and values"  # three gradients, which are then put side by side
        keeps = (0, OUTPUT, "logsumexp")
        return (
            step(parts, x, (0,), view=True, pieces=3),
            step(OUTPUT, (x[0], x[-1] // 3), (parts,), keeps=keeps),
        )

    def window(self, x: Shape, *_: Shape) -> Windows:
        return EVERYWHERE

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        heads = self.heads

        class AttentionModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                # batch, tokens, 3, heads, width -> three of batch, heads, tokens, width
                q, k, v = x.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
                y = torch.nn.functional.scaled_dot_product_attention(q, k, v)
                return y.transpose(1, 2).flatten(2)

        return AttentionModule()

    def settings(self, axes: int = 2) -> str:
        return f"{self.heads} heads"


@op("window_attention", kind="matmul")
class WindowAttention(Op):
    """Multi-head attention within windows of a map, by its single products (Liu et al. 2021).

    It takes ``height x width x 3·channels`` and adds a learnt bias for the relative position of
    two pixels. ``shift`` moves the windows; along an axis that one window covers it does not.
    macs = 2 · positions · window area · channels.
    """

    heads: int = count()
    window_size: int = count(minimum=2)
    shift: int = count(0, minimum=0)

    integer_buffers: ClassVar[tuple[str, ...]] = ("relative_position_index",)
    examples: ClassVar[tuple[Example, ...]] = (
        example(2, 2, x=(4, 6, 12)),
        example(2, 3, shift=1, x=(6, 9, 12)),
        example(3, 4, shift=2, x=(4, 4, 9)),
        example(1, 2, shift=1, x=(2, 4, 6)),
    )

    def shifts(self, x: Shape) -> tuple[int, int]:
        """Return by how much the windows move along each axis."""
        return tuple(0 if n == self.window_size else self.shift for n in x[:2])  # type: ignore[return-value]

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 3, f"window_attention takes height x width x features, not {show(x)}")
        side, heads = self.window_size, self.heads
        check(self.shift < side, f"shift {self.shift} is not less than the window {side}")
        check(
            x[0] % side == 0 and x[1] % side == 0,
            f"windows of {side}x{side} do not cover the map {show(x[:2])}",
        )
        width = head_width(x, heads, "window_attention")
        out = (x[0], x[1], settle(heads * width))
        area, positions = side * side, x[0] * x[1]
        scores = (heads, positions, area)
        mac = 2 * positions * area * out[2]
        masks = 1 if any(self.shifts(x)) else 0
        work = {
            "mac": mac,
            "inner_mac": mac,
            "multiply": numel(out),
            "multiply_first": numel(out),
            "add": (1 + masks) * numel(scores),
            "function_softmax": numel(scores),
        }
        # all four are copies, whose heads lie apart
        saved = (
            *(Saved(what, out, gradient=0) for what in ("queries", "keys")),
            Saved("values", out),
            Saved("scores", scores),
        )
        params = {"relative_position_table": ((2 * side - 1) * (2 * side - 1), heads)}
        buffers = {"relative_position_index": (area * area,)}
        return Cost(out, params, work, saved, buffers, products=(scores,))

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        # the heads of one window lie apart; those of several, or wider ones, are joined by a copy
        _, height, width, channels = out
        if (height, width, channels) != (self.window_size, self.window_size, self.heads):
            return contiguous(out)
        return (height * width * channels, width, 1, height * width)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return self.steps_of(fresh((1, *x)))

    def steps_of(self, *inputs: Layout) -> tuple[Step, ...]:
        layout, x = inputs[0], inputs[0].shape[1:]
        out, scores, table = self._sizes(x)
        moved = any(self.shifts(x))
        split = self._split(layout, moved)
        ends = self._joined(layout.shape[0], x)
        biased, learnt = "biased" if moved else "logits", "relative_position_table"
        zeros = numel(self.cost(x).params[learnt])
        inside = [
            *(step(part, out, ("parts",), gradient=SHARED) for part in ("q", "keys", "values")),
            step("queries", out, ("q",)),
            replace(step("products", scores, KEYED, keeps=KEYED), multiplies=True),
            Step("bias", table, (), (learnt,), (), per_batch=False, zeros=zeros),
            replace(step(biased, scores, BIASED, gradient=SHARED), summed=("bias",)),
            *(self._mask(x) if moved else ()),
            step("scores", scores, ("logits",), keeps=("scores",)),
            replace(step("mixed", out, VALUED, keeps=VALUED), multiplies=True),
        ]
        made = [*split, *inside, *ends]
        # what the function names lives until it returns
        local = {"q", "keys", "values", "bias", "logits", "mask", "rolled", "windows"}
        held = tuple(each.makes for each in made[:-1] if each.makes in local)
        return (*made[:-1], replace(made[-1], makes=OUTPUT, held=held))

    def _sizes(self, x: Shape) -> tuple[Shape, Shape, Shape]:
        """Return the shapes of the output, the scores, and the biases of one window."""
        area = self.window_size**2
        return (*x[:2], x[2] // 3), (self.heads, x[0] * x[1], area), (area * area, self.heads)

    def _split(self, layout: Layout, moved: bool) -> list[Step]:
        """Return the steps from the input to its windows' queries, keys and values."""
        made: list[Step] = []
        batch, *x = layout.shape
        side, whole = self.window_size, tuple(x)
        if moved:
            made.append(replace(step("rolled", whole, (0,)), inner=numel(whole)))
            layout = fresh(layout.shape)
        stride, row, column, feature = layout.strides
        high, wide = x[0] // side, x[1] // side
        grid = merged_stride((high, wide), (side * row, side * column))
        if (
            merged_stride((side, side), (row, column)) is None
            or grid is None
            or merged_stride((batch, high * wide), (stride, grid)) is None
        ):
            gradient = COPIED if wide > 1 else SHARED
            made.append(step("windows", whole, _after(made), gradient=gradient))
        else:  # else each is a copy
            apart = x[2] // 3 // self.heads == 1 and column == 1 and feature == side * side
            check(not apart, "the peak of window_attention is not known on one window by channels")
        made.append(step("heads", whole, _after(made), view=True, gradient=COPIED))
        made.append(replace(step("parts", whole, ("heads",), view=True), apart=True))
        return made

    def _mask(self, x: Shape) -> tuple[Step, ...]:
        """Return the steps that keep pixels apart which only the shift has brought together."""
        scores, pairs = self._sizes(x)[1], (x[0] * x[1], self.window_size**2)
        marks = [step("marks", x[:2], ())]
        if x[1] > self.window_size:
            marks.append(step("window marks", x[:2], ("marks",)))
        last = marks[-1].makes
        made = [
            *marks,
            replace(step("differ", pairs, (last,)), itemsize=1),
            step("mask", pairs, ("differ",), held=(last,)),
        ]
        masked = step("logits", scores, ("biased", "mask"), gradient=SHARED)
        return (*(replace(each, per_batch=False) for each in made), masked)

    def _joined(self, batch: int, x: Shape) -> list[Step]:
        """Return the steps from the windows' results to a map, the last of which is the output."""
        out, side, heads = self._sizes(x)[0], self.window_size, self.heads
        area, width, wide = side * side, out[2] // heads, x[1] // side
        count, made = batch * x[0] * x[1] // area, []
        # a window's heads lie apart, and so its gradient does
        if merged_stride((count, heads), (area * out[2], width)) is None:
            made.append(step("apart", out, ("mixed",), view=True, gradient=COPIED))
        strides = (area * out[2], width, area * width, 1)
        joined = viewed_strides((count, area, heads, width), strides, (count, side, side, out[2]))
        if joined is None:
            made.append(step("joined", out, _after(made, "mixed"), gradient=SHARED))
            joined = contiguous((count, side, side, out[2]))
        if wide > 1 or merged_stride((x[0] // side, side), joined[:2]) is None:
            gradient = COPIED if wide > 1 else SHARED
            made.append(step("map", out, _after(made, "mixed"), gradient=gradient))
        if any(self.shifts(x)):
            made.append(replace(step("turned", out, _after(made, "mixed")), inner=numel(out)))
        return made

    def window(self, x: Shape, *_: Shape) -> Windows:
        return ((self.window_size, 1), (self.window_size, 1))

    def windowed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (0, 1)

    def blocks(self, x: Shape, *_: Shape) -> tuple[tuple[int, int], ...]:
        return tuple((self.window_size, shift) for shift in self.shifts(x))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        heads, side = self.heads, self.window_size
        area, shifts, grid = side * side, self.shifts(x), (x[0] // side, x[1] // side)
        width = head_width(x, heads, "window_attention")

        class WindowAttentionModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                table = torch.randn((2 * side - 1) ** 2, heads) * 0.02
                self.relative_position_table = torch.nn.Parameter(table)
                place = torch.cartesian_prod(torch.arange(side), torch.arange(side))
                apart = place[:, None] - place[None] + side - 1
                index = (apart[..., 0] * (2 * side - 1) + apart[..., 1]).flatten()
                self.register_buffer("relative_position_index", index)

            def windows(self, x: Any) -> Any:
                """Return height x width x C as windows x area x C."""
                x = x.unflatten(2, (grid[1], side)).unflatten(1, (grid[0], side))
                return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)

            def mask(self, x: Any) -> Any:
                """Return -100 for pixels that only the shift has brought together."""
                parts = x.new_zeros(1, grid[0] * side, grid[1] * side, 1)
                for axis, shift in enumerate(shifts, 1):
                    n = parts.shape[axis]
                    for part, (start, end) in enumerate(((n - side, n - shift), (n - shift, n))):
                        if shift:
                            parts.narrow(axis, start, end - start).add_(
                                (part + 1) * 3 ** (axis - 1)
                            )
                parts = self.windows(parts).squeeze(3)
                return parts.unsqueeze(2).ne(parts.unsqueeze(3)).to(x.dtype).mul_(-100)

            def forward(self, x: Any) -> Any:
                turn = tuple(-shift for shift in shifts)
                rolled = torch.roll(x, turn, (1, 2)) if any(shifts) else x
                # windows, area, 3, heads, width -> three of windows, heads, area, width
                packed = self.windows(rolled).unflatten(-1, (3, heads, width)).flatten(0, 1)
                q, k, v = (part.contiguous() for part in packed.permute(2, 0, 3, 1, 4))
                scores = (q * width**-0.5).matmul(k.transpose(-2, -1))
                bias = self.relative_position_table[self.relative_position_index]
                scores = scores + bias.view(area, area, heads).permute(2, 0, 1)
                if any(shifts):
                    mask = self.mask(x).squeeze(0).unsqueeze(1)
                    scores = (scores.unflatten(0, (len(x), -1)) + mask).flatten(0, 1)
                y = torch.nn.functional.softmax(scores, dim=-1).matmul(v).transpose(1, 2)
                y = y.reshape(len(x), *grid, side, side, heads * width).transpose(2, 3)
                y = y.flatten(3, 4).flatten(1, 2)
                return torch.roll(y, shifts, (1, 2)) if any(shifts) else y

        return WindowAttentionModule()

    def settings(self, axes: int = 2) -> str:
        moved = f", shift {self.shift}" if self.shift else ""
        return f"{self.heads} heads, window {self.window_size}{moved}"


def _after(made: Sequence[Step], first: int | str = 0) -> tuple[int | str]:
    """Return what the next step reads: what the last one made."""
    return (made[-1].makes if made else first,)


@op("class_token", kind="merge")
class ClassToken(Op):
    """One learnt token before the others (Dosovitskiy et al. 2020)."""

    examples: ClassVar[tuple[Example, ...]] = (example(x=(5, 8)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 2, f"class_token takes tokens x features, not {show(x)}")
        return Cost((settle(x[0] + 1), x[1]), {"token": (1, 1, x[1])})

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SLICED),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        class ClassTokenModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.token = torch.nn.Parameter(torch.zeros(1, 1, x[1]))

            def forward(self, x: Any) -> Any:
                return torch.cat([self.token.expand(len(x), -1, -1), x], 1)

        return ClassTokenModule()


@op("position_embedding", kind="merge")
class PositionEmbedding(Op):
    """A learnt value added to each feature of each position (Vaswani et al. 2017)."""

    layout: ClassVar[str] = ELEMENTWISE
    examples: ClassVar[tuple[Example, ...]] = (example(x=(5, 8)), example(x=(4, 3, 2)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {"position": (1, *x)}, {"add": numel(x)})

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SHARED),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        class PositionEmbeddingModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.position = torch.nn.Parameter(torch.randn(1, *x) * 0.02)

            def forward(self, x: Any) -> Any:
                return x + self.position

        return PositionEmbeddingModule()
