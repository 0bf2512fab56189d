"""Ops of Transformers: attention, and the learnt tokens and positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archcost.data import dataclass
from archcost.errors import OpError
from archcost.ops.arguments import check, count, flag, number
from archcost.ops.base import BYTES, INT64, Cost, Example, Op, example, op
from archcost.ops.programs import flatten, transpose, unflatten
from archcost.ops.reads import ALL, Blocks, Reads, kept
from archcost.shape import Shape, numel, show
from archcost.units import number_of

FLOAT_BYTES = 4


def head_width(x: Shape, heads: int, op: str) -> int:
    """Return the width of a head of ``x``, whose last dimension holds queries, keys and values."""
    check(x[-1] % 3 == 0, f"{op} takes queries, keys and values side by side, not {show(x)}")
    check(x[-1] // 3 % heads == 0, f"{x[-1] // 3} features are not divisible by heads {heads}")
    return x[-1] // 3 // heads


@dataclass(frozen=True)
class Sizes:
    """What attention works on: leading dimensions, heads, tokens, widths of a head, a mask."""

    lead: Shape
    heads: int
    kv_heads: int
    queries: int
    keys: int
    width: int
    values: int
    mask: Shape | None

    @property
    def scores(self) -> Shape:
        """The shape of the scores, which a mask is repeated to."""
        return (*self.lead, self.heads, self.queries, self.keys)


@op("attention", kind="attention")
class Attention(Op):
    """Multi-head attention, PyTorch's ``scaled_dot_product_attention`` (Vaswani et al. 2017).

    It takes queries, keys and values as three tensors of ``tokens x features``, or side by side as
    one tensor of ``tokens x 3·width``, as a linear layer makes them. Dimensions before the tokens
    are a batch. There may be fewer keys than queries, wider values, and fewer heads of keys and
    values (``kv_heads``). ``causal`` masks later tokens. A further tensor is a mask that is added
    to the scores; one of booleans says which scores count. It has ``queries x keys`` elements for
    each head, or once for all heads. ``dropout`` drops scores in training.
    macs = heads · queries · keys · (width of a key + width of a value).
    """

    heads: int = count()
    kv_heads: Any = count(None)
    causal: bool = flag(False)
    scale: Any = number(None, low=1e-6, high=1e6)
    dropout: float = number(0.0)

    inputs: ClassVar[tuple[str, ...]] = ("*",)  # type: ignore[misc]
    least: ClassVar[int] = 1
    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(5, 24)),
        example(3, x=(7, 9)),
        example(2, causal=True, x=(3, 5, 12)),
        example(4, kv_heads=2, x=(5, 24)),
        example(2, scale=0.5, x=[(5, 12), (5, 5)]),
        example(2, dropout=0.1, x=(5, 24)),
        example(2, x=[(5, 8), (7, 8), (7, 8)]),
        example(2, x=[(5, 8), (7, 8), (7, 12), (2, 5, 7)]),
        example(4, kv_heads=2, causal=True, x=[(3, 5, 8), (3, 7, 4), (3, 7, 6)]),
    )

    def may_be_masks(self, count: int) -> tuple[int, ...]:
        return (count - 1,) if count in (2, 4) else ()

    def sizes(self, *shapes: Shape) -> Sizes:
        """Return the sizes of attention on these tensors; refuse what does not fit."""
        heads, kv = self.heads, self.heads if self.kv_heads is None else self.kv_heads
        check(heads % kv == 0, f"heads {heads} are not divisible by kv_heads {kv}")
        check(
            len(shapes) <= 4,
            f"attention takes queries, keys, values and a mask; got {len(shapes)} tensors",
        )
        mask = shapes[-1] if len(shapes) in (2, 4) else None
        check(not (mask is not None and self.causal), "attention takes a mask or causal, not both")
        q, k, v = shapes[:3] if len(shapes) > 2 else shapes[:1] * 3
        for part in (q, k, v):
            if len(part) < 2:
                raise OpError(f"attention takes tokens x features, not {show(part)}")
        if len(shapes) <= 2 and kv == heads:
            width = values = head_width(q, heads, "attention")
        elif len(shapes) <= 2:
            parts = heads + 2 * kv
            fits = q[-1] % parts == 0
            check(fits, f"{q[-1]} features are not divisible by heads {heads} + 2 · {kv}")
            width = values = q[-1] // parts
        else:
            alike = q[:-2] == k[:-2] == v[:-2] and k[-2] == v[-2]
            shown = f"{show(q)}, {show(k)} and {show(v)}"
            check(alike, f"queries, keys and values do not fit each other: {shown}")
            for part, own in ((q, heads), (k, kv), (v, kv)):
                check(part[-1] % own == 0, f"{part[-1]} features are not divisible by heads {own}")
            width, values = q[-1] // heads, v[-1] // kv
            reason = f"a head has {width} features of queries and {k[-1] // kv} of keys"
            check(k[-1] // kv == width, reason)
        made = Sizes(q[:-2], heads, kv, q[-2], k[-2], width, values, mask)
        if mask is not None:
            whole = made.scores
            padded = (1,) * (len(whole) - len(mask)) + mask
            fits = len(padded) == len(whole) and len(mask) > 1
            fits = fits and all(m in (1, n) for m, n in zip(padded, whole, strict=True))
            check(fits, f"a mask {show(mask)} is not added to scores {show(whole)}")
        return made

    def cost(self, x: Shape, *others: Shape) -> Cost:
        found = self.sizes(x, *others)
        scores = numel(found.scores)
        out = (*found.lead, found.queries, found.heads * found.values)
        return Cost(out, macs=scores * (found.width + found.values), fused=(found.scores,))

    def fused(self, *shapes: Shape) -> bool:
        """Whether it is one operation, as on a CPU, and not its single products."""
        found = self.sizes(*shapes)
        return found.width == found.values

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *others: Shape
    ) -> tuple[int, int]:
        found, masked = self.sizes(x, *others), len(needs) in (2, 4) and needs[-1]
        scores = numel(found.scores)
        q, k, v = needs[:3] if len(needs) > 2 else (needs[0],) * 3
        if self.fused(x, *others) and not masked and not self.dropout:
            # the scores, made again, and the gradients of all four factors
            return scores * (3 * found.width + 2 * found.values) * any(needs), 0
        return scores * (found.width * (q + k) + found.values * (v + (q or k or masked))), 0

    def reads(self, x: Shape, *others: Shape) -> Reads:
        tokens = len(x) - 2
        return [*kept(range(tokens)), [(tokens, ALL)], []]

    def forward(self, F: Any, *tensors: Any) -> Any:
        found = self.sizes(*(tensor.shape[1:] for tensor in tensors))
        q, k, v = self._apart(F, found, *tensors)
        masks = [] if found.mask is None else [_mask(F, found, tensors[-1])]
        options: dict[str, Any] = {"is_causal": True} if self.causal else {}
        if self.scale is not None:
            options["scale"] = self.scale
        if found.kv_heads != found.heads:
            options["enable_gqa"] = True
        if self.dropout and F.training:
            options["dropout_p"] = self.dropout
        y = F.attention(q, k, v, *masks, **options)
        y = flatten(F, transpose(F, y, 1, 2), 2, 3)
        return unflatten(F, y, 0, (tensors[0].shape[0], *found.lead)) if found.lead else y

    def _apart(self, F: Any, found: Sizes, *tensors: Any) -> Sequence[Any]:
        """Return queries, keys and values as batch x heads x tokens x width."""
        lead, heads, kv = len(found.lead), found.heads, found.kv_heads
        if len(tensors) > 2:
            parts = list(tensors[:3])
        else:
            x = tensors[0]
            if kv == heads:
                if lead:
                    x = flatten(F, x, 0, lead)
                # batch, tokens, 3, heads, width -> three of batch, heads, tokens, width
                apart = unflatten(F, x, 2, (3, heads, found.width))
                return F.unbind(F.permute(apart, dims=(2, 0, 3, 1, 4)), dim=0)  # type: ignore[no-any-return]
            lengths = [own * found.width for own in (heads, kv, kv)]
            parts = [*F.split(x, dim=lead + 2, lengths=lengths)]
        for place, own in enumerate((heads, kv, kv)):
            part = flatten(F, parts[place], 0, lead) if lead else parts[place]
            parts[place] = transpose(F, unflatten(F, part, 2, (own, part.shape[2] // own)), 1, 2)
        return parts

    def settings(self, axes: int = 2) -> str:
        cells = [number_of(self.heads, "head")]
        if self.kv_heads is not None:
            cells.append(f"{self.kv_heads} of keys")
        if self.scale is not None:
            cells.append(f"scale {self.scale:g}")
        if self.dropout:
            cells.append(f"dropout {self.dropout:g}")
        return ", ".join([*cells, "causal"] if self.causal else cells)


def _mask(F: Any, found: Sizes, mask: Any) -> Any:
    """Return a mask as batch x heads x queries x keys, of which some may be 1."""
    samples, lead = mask.shape[0], found.lead
    whole = (1,) * (len(lead) + 3 - len(mask.shape[1:])) + mask.shape[1:]
    if whole != mask.shape[1:]:
        mask = F.reshape(mask, shape=(samples, *whole))
    if not lead:
        return mask
    if whole[: len(lead)] != lead:
        mask = F.expand(mask, shape=(samples, *lead, *whole[len(lead) :]))
    return flatten(F, mask, 0, len(lead))


@op("window_attention", kind="matmul")
class WindowAttention(Op):
    """Multi-head attention within windows of a map, as separate products (Liu et al. 2021).

    It takes ``height x width x 3·channels`` and adds a learnt bias for the relative position of
    two pixels. ``shift`` moves the windows, except along an axis that one window covers.
    macs = 2 · positions · window area · channels.
    """

    heads: int = count()
    window_size: int = count(minimum=2)
    shift: int = count(0, minimum=0)

    buffer_bytes: ClassVar[Mapping[str, int]] = {"relative_position_index": BYTES[INT64]}
    initial: ClassVar[Mapping[str, str]] = {
        "relative_position_table": "torch.randn({}) * 0.02",
        "relative_position_index": "torch.tensor([{op.relative_position}])",
    }
    examples: ClassVar[tuple[Example, ...]] = (
        example(2, 2, x=(4, 6, 12)),
        example(2, 3, shift=1, x=(6, 9, 12)),
        example(3, 4, shift=2, x=(4, 4, 9)),
        example(1, 2, shift=1, x=(2, 4, 6)),
    )

    @property
    def relative_position(self) -> str:
        """Where the table has the bias of each pair of pixels, as the elements of a list."""
        last, places = self.window_size - 1, f"in range({self.window_size})"
        row = f"(a - c + {last}) * {2 * last + 1} + b - d + {last}"
        return f"{row} for a {places} for b {places} for c {places} for d {places}"

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
        out = (x[0], x[1], heads * width)
        area, positions = side * side, x[0] * x[1]
        scores = (heads, positions, area)
        macs = 2 * positions * area * out[2]
        params = {"relative_position_table": ((2 * side - 1) * (2 * side - 1), heads)}
        buffers = {"relative_position_index": (area * area,)}
        return Cost(out, params, macs, buffers, products=(scores,))

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *_: Shape
    ) -> tuple[int, int]:
        macs = self.cost(x).macs
        # a bias of the scores needs the scores' gradient, which is one product of the four
        return (2 * macs, 0) if any(needs) else (0, macs // 2 * trained)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        blocks = [Blocks(self.window_size, shift) for shift in self.shifts(x)]
        return [[(0, blocks[0])], [(1, blocks[1])], []]

    def forward(
        self, F: Any, x: Any, relative_position_table: Any, relative_position_index: Any
    ) -> Any:
        side, heads, shifts = self.window_size, self.heads, self.shifts(x.shape[1:])
        area, grid = side * side, (x.shape[1] // side, x.shape[2] // side)
        width = x.shape[3] // 3 // heads
        moved = any(shifts)
        rolled = F.roll(x, shifts=tuple(-n for n in shifts), dims=(1, 2)) if moved else x
        # windows, area, 3, heads, width -> three of windows, heads, area, width
        packed = windows(F, rolled, grid, side)
        packed = flatten(F, unflatten(F, packed, 3, (3, heads, width)), 0, 1)
        q, k, v = F.unbind(F.permute(packed, dims=(2, 0, 3, 1, 4)), dim=0)
        # as a product needs them: copies, but of a lone window views
        q, k, v = [unflatten(F, flatten(F, part, 0, 1), 0, part.shape[:2]) for part in (q, k, v)]
        scores = F.matmul(F.mul(q, width**-0.5), transpose(F, k, 2, 3))
        bias = F.index(relative_position_table, relative_position_index)
        pairs = (area, area, heads)
        scores = F.add(scores, F.permute(F.reshape(bias, shape=pairs), dims=(2, 0, 1)))
        if moved:
            mask = shift_mask(F, x, grid, side, shifts)
            mask = F.reshape(mask, shape=(mask.shape[1], 1, area, area))
            samples = (x.shape[0], scores.shape[0] // x.shape[0])
            scores = flatten(F, F.add(unflatten(F, scores, 0, samples), mask), 0, 1)
        y = transpose(F, F.matmul(F.softmax(scores, dim=3), v), 1, 2)
        y = transpose(F, F.reshape(y, shape=(x.shape[0], *grid, side, side, heads * width)), 2, 3)
        y = flatten(F, flatten(F, y, 3, 4), 1, 2)
        return F.roll(y, shifts=shifts, dims=(1, 2)) if moved else y

    def settings(self, axes: int = 2) -> str:
        moved = f", shift {self.shift}" if self.shift else ""
        return f"{number_of(self.heads, 'head')}, window {self.window_size}{moved}"


def windows(F: Any, x: Any, grid: tuple[int, int], side: int) -> Any:
    """Return height x width x C as windows x area x C."""
    x = unflatten(F, unflatten(F, x, 2, (grid[1], side)), 1, (grid[0], side))
    return flatten(F, flatten(F, transpose(F, x, 2, 3), 3, 4), 1, 2)


def shift_mask(F: Any, x: Any, grid: tuple[int, int], side: int, shifts: Sequence[int]) -> Any:
    """Return -100 for pixels that only the shift has brought together."""
    marks = F.full(shape=(1, grid[0] * side, grid[1] * side, 1), like=x)
    for axis, shift in enumerate(shifts, 1):
        n = marks.shape[axis]
        for part, (start, end) in enumerate(((n - side, n - shift), (n - shift, n)), 1):
            if shift:
                # without a name: what has one is kept until the mask is there
                F.added_in_place(
                    F.narrow(marks, dim=axis, start=start, length=end - start),
                    part * 3 ** (axis - 1),
                )
    marks = windows(F, marks, grid, side)
    marks = F.reshape(marks, shape=marks.shape[:3])
    n, area = marks.shape[1:]
    sides = [F.reshape(marks, shape=shape) for shape in ((1, n, 1, area), (1, n, area, 1))]
    return F.scaled_in_place(F.cast(F.ne(*sides), like=x), -100)


@op("class_token", kind="merge")
class ClassToken(Op):
    """One learnt token before the others (Dosovitskiy et al. 2020)."""

    examples: ClassVar[tuple[Example, ...]] = (example(x=(5, 8)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 2, f"class_token takes tokens x features, not {show(x)}")
        return Cost((x[0] + 1, x[1]), {"token": (1, 1, x[1])})

    def forward(self, F: Any, x: Any, token: Any) -> Any:
        return F.cat(F.expand(token, shape=(x.shape[0], 1, token.shape[2])), x, dim=1)


@op("position_embedding", kind="merge")
class PositionEmbedding(Op):
    """A learnt value added to each feature of each position (Vaswani et al. 2017)."""

    initial: ClassVar[Mapping[str, str]] = {"position": "torch.randn({}) * 0.02"}
    examples: ClassVar[tuple[Example, ...]] = (example(x=(5, 8)), example(x=(4, 3, 2)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {"position": (1, *x)})

    def forward(self, F: Any, x: Any, position: Any) -> Any:
        return F.add(x, position)
