"""Ops that make one tensor of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import axis, axis_of, check
from archcost.ops.base import INPUT, KEEPS, OUTPUT, Cost, Example, Op, Saved, example, op
from archcost.ops.layout import ELEMENTWISE, MAPS
from archcost.ops.steps import PRODUCT, SHARED, SLICED, Step, step
from archcost.shape import Shape, numel, show
from archcost.trace import settle

VARIADIC = ("*",)


@op("add", kind="merge")
class Add(Op):
    """Sum of tensors of one shape."""

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 5, 6)]),
        example(x=[(8,), (8,), (8,)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        if any(other != x for other in others):
            raise OpError(f"add needs equal shapes; got {', '.join(map(show, (x, *others)))}")
        return Cost(x, work={"add": len(others) * numel(x)})

    def steps(self, x: Shape, *others: Shape) -> tuple[Step, ...]:
        made = [*(f"sum {i}" for i in range(1, len(others))), OUTPUT]
        reads: tuple[int | str, ...] = (0, *made)
        return tuple(
            step(name, x, (read, i), gradient=SHARED)
            for i, (read, name) in enumerate(zip(reads, made, strict=False), 1)
        )

    def source(self, module: str, tensors: Sequence[str], x: Shape, *others: Shape) -> str:
        return " + ".join(tensors)

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        class AddModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any, *others: Any) -> Any:
                for other in others:
                    x = x + other
                return x

        return AddModule()


@op("concat", kind="merge")
class Concat(Op):
    """Tensors one after the other along ``dim`` (0 = channels)."""

    dim: int = axis(0)

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    layout: ClassVar[str] = MAPS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (3, 5, 6), (1, 5, 6)]),
        example(-1, x=[(4, 5), (4, 2)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        where = axis_of(self.dim, x, "concat")
        rest = x[:where] + x[where + 1 :]
        total = x[where]
        for other in others:
            if len(other) != len(x) or other[:where] + other[where + 1 :] != rest:
                raise OpError(
                    f"concat along dim {where} needs equal sizes elsewhere; got "
                    + ", ".join(show(s) for s in (x, *others))
                )
            total = total + other[where]
        return Cost((*x[:where], settle(total), *x[where + 1 :]))

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (axis_of(self.dim, x, "concat"),)  # along it positions come from several places

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=SLICED),)

    def source(self, module: str, tensors: Sequence[str], x: Shape, *others: Shape) -> str:
        return f"torch.cat([{', '.join(tensors)}], {axis_of(self.dim, x, 'concat') + 1})"

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        where = axis_of(self.dim, x, "concat") + 1

        class ConcatModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, *tensors: Any) -> Any:
                return torch.cat(tensors, where)

        return ConcatModule()


@op("multiply", kind="merge")
class Multiply(Op):
    """Product of tensors; a size of 1 is repeated, so that ``C x 1 x 1`` gates ``C x H x W``."""

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    layout: ClassVar[str] = ELEMENTWISE
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=[(4, 5, 6), (4, 1, 1)]),
        example(x=[(4, 5, 6), (4, 5, 6)]),
    )

    def cost(self, x: Shape, *others: Shape) -> Cost:
        shapes = (x, *others)
        check(len(shapes) == 2, f"multiply takes 2 tensors; got {len(shapes)}")
        equal_rank = len({len(shape) for shape in shapes}) == 1
        fits = equal_rank and all(
            len({s for s in column if s != 1}) <= 1 for column in zip(*shapes, strict=True)
        )
        check(fits, f"multiply cannot repeat {' to '.join(show(s) for s in shapes)}")
        out = tuple(max(column) for column in zip(*shapes, strict=True))
        # each factor is kept for the gradient of the other
        saved = (Saved(INPUT, index=0, gradient=1), Saved(INPUT, index=1, gradient=0))
        return Cost(out, work={"multiply": numel(out), "multiply_first": numel(x)}, saved=saved)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(gradient=PRODUCT),)

    def source(self, module: str, tensors: Sequence[str], x: Shape, *others: Shape) -> str:
        return " * ".join(tensors)

    def build(self, torch: Any, x: Shape, *others: Shape) -> Any:
        class MultiplyModule(torch.nn.Module):  # type: ignore[misc]
            def forward(self, x: Any, other: Any) -> Any:
                return x * other

        return MultiplyModule()
