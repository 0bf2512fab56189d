"""How tensors lie in memory: the strides of every op's output on inputs of every order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations, product
from typing import Any

import pytest
from helpers import leaves, samples, several

from archcost.errors import OpError
from archcost.layout import Layout, Strides, channels_last, contiguous, elementwise, fresh
from archcost.ops import OPS, Op
from archcost.ops.base import Example, example
from archcost.readings.recorder import module_of
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.shape import Shape

cpu = partial(Setting, device="cpu")

BATCH = 2

MORE = {
    "attention": [example(1, x=(7, 3)), example(1, x=(1, 3)), example(1, x=[(7, 1), (7, 1), (7, 1)])],
    "adaptive_maxpool": [example(2, x=(3, 4, 5, 4)), example(2, x=(3, 7))],
    "conv": [
        example(5, 1, padding=2, x=(5, 1)), example(5, 2, padding=1, x=(1, 4)),
        example(4, 1, x=(3, 1, 1)),  example(4, 1, x=(1, 3, 5)), example(3, (1, 3), x=(3, 1, 5)),
    ],
    "conv_transpose": [example(5, 2, x=(5, 1)), example(5, 3, x=(1, 4))],
    "concat": [example(x=[(3, 4, 5), (2, 4, 5)])],
    "global_avgpool": [example(x=(5, 1, 4)), example(x=(1, 3, 4))],
    "groupnorm": [example(2, x=(4, 3, 2, 5))],
    "instancenorm": [example(x=(4, 3, 2, 5))],
    "maxpool": [example(2, x=(1, 8, 8)), example((2, 1), x=(3, 8, 1))],
    "pad": [
        example(x=(3, 4, 5)), example(1, "circular", x=(4, 5, 3)), example(1, x=(4, 5, 3, 3)),
        example(2, "reflect", x=(4, 5)), example(1, "reflect", x=(4, 5, 3, 3)),
        example(1, "replicate", x=(4, 5, 3)), example(1, "replicate", x=(4, 5, 3, 3)),
    ],
    "relu": [example(x=(1, 3, 4)), example(x=(4, 1, 3)), example(x=(3, 4, 1))],
}  # fmt: skip
"""Examples at which an op's layout may turn, beside those that it gives itself."""


def flat(op: type[Op]) -> Iterator[Example]:
    """Yield the examples of one tensor with a size of 1 in each place where the op takes it."""
    for case in op.examples:
        for place in range(len(case.inputs[0])):
            first = (*case.inputs[0][:place], 1, *case.inputs[0][place + 1 :])
            try:
                op.create(case.args, case.kwargs).cost(first, *case.inputs[1:])
            except OpError:
                continue
            yield Example(case.args, (first, *case.inputs[1:]), case.kwargs)


CASES = [
    pytest.param(name, case, id=f"{name}-{number}")
    for name, op in OPS.items()
    for number, case in enumerate((*op.examples, *MORE.get(name, ()), *flat(op)))
]


def inputs(torch: Any, shape: Shape) -> Iterator[Any]:
    """Yield tensors of a shape in every order of dimensions, dense and cut from a larger one."""
    for cut in (0, 1):
        for order in permutations(range(1, len(shape) + 1)):
            sizes = [shape[d - 1] for d in order]
            whole = torch.rand(BATCH, *sizes[:-1], sizes[-1] + cut)
            cut_out = whole.narrow(-1, 0, sizes[-1])
            yield cut_out.permute(0, *(order.index(d) + 1 for d in range(1, len(shape) + 1)))


@pytest.mark.torch
@pytest.mark.parametrize(("name", "case"), CASES)
def test_strides_of_every_op(name: str, case: Example) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    op = OPS[name].create(list(case.args), dict(case.kwargs))
    module = module_of(torch, op, case.inputs).train()
    for x, turns in product(inputs(torch, case.inputs[0]), {False, len(case.inputs) > 1}):
        if (dtype := op.takes(0)) in ("float", "complex"):
            first = (x if dtype == "float" else torch.complex(x, x)).requires_grad_()
        else:
            first = x.abs().to(getattr(torch, dtype))
        others = samples(torch, op, *((BATCH, *shape) for shape in case.inputs))[1:]
        if turns:
            others = [t.transpose(1, -1).contiguous().transpose(1, -1) for t in others]
        tensors = [first, *others]
        try:
            result = module(*tensors)
        except RuntimeError as error:
            assert "view size is not compatible" in str(error), "only local response norm"
            assert name == "lrn"
            continue
        layouts = [Layout(tuple(t.shape), t.stride()) for t in tensors]
        found = run(op, layouts, case.inputs)
        for strides, each in zip(found, several(result), strict=True):
            assert strides == each.stride(), [layout.strides for layout in layouts]


def run(op: Op, layouts: list[Layout], shapes: tuple[Shape, ...]) -> list[Strides]:
    """Return the strides of what the op's program makes of inputs that lie so."""
    reading = Storages(cpu(), exact=False)
    reading.place_params("op", op, cost := op.cost(*shapes), 4, cost.params)
    tensors = leaves(reading, op, *(x.shape for x in layouts))
    tensors[0].needs = op.takes(0) in ("float", "complex")
    for tensor, layout in zip(tensors, layouts, strict=True):
        tensor.strides = layout.strides
    return [each.strides for each in several(reading.run_op("op", op, tensors))]


@pytest.mark.torch
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 5), (3, 1, 1), (3, 1, 5), (3, 4, 1, 2)])
def test_properties_and_sums_of_layouts(shape: Shape) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    last = torch.channels_last if len(shape) == 3 else torch.channels_last_3d
    tensors = [(x, Layout(tuple(x.shape), x.stride())) for x in inputs(torch, shape)]
    for x, mine in tensors:
        assert mine.is_contiguous == x.is_contiguous()
        assert mine.is_channels_last == x.is_contiguous(memory_format=last)
        assert mine.is_dense == (torch.empty_like(x).stride() == x.stride())
        for y, other in tensors:
            assert elementwise(mine, other) == (x + y).stride()


def test_layouts_by_hand() -> None:
    shape = (2, 3, 4, 5)
    assert contiguous(shape) == (60, 20, 5, 1)
    assert channels_last(shape) == (60, 1, 15, 3)
    assert fresh(shape).is_packed and not fresh(shape).suggests_channels_last
    pixels = Layout((2, 3, 1, 1), (3, 1, 3, 3))  # both, and what its strides say
    assert pixels.is_contiguous and pixels.is_channels_last and pixels.suggests_channels_last
    assert not fresh((2, 3, 1, 1)).suggests_channels_last
    assert not fresh((2, 1, 1, 1)).suggests_channels_last  # nothing to go by
