"""Rearrangements of code as few ops: each written again, and run against PyTorch on numbers."""

from __future__ import annotations

import random
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch

from archcost.importers.arranged import Arrangement, Unsaid, ops_of, rearranged  # noqa: E402
from archcost.importers.calls import Rows  # noqa: E402
from archcost.importers.seen import BATCH  # noqa: E402
from archcost.ops import Op  # noqa: E402
from archcost.readings.recorder import module_of  # noqa: E402

SAMPLES = 3


def size(n: int) -> int:
    """Return a size of a trace in a batch of three."""
    return n // BATCH * SAMPLES if n >= BATCH else n


def counted(n: int) -> Any:
    return Rows(n // BATCH) if n >= BATCH else n


def run(ops: list[Op], x: Any) -> Any:
    for op in ops:
        x = module_of(torch, op, (tuple(x.shape[1:]),))(x)
    return x


def reshape(draw: random.Random, sizes: list[int]) -> tuple[str, Any, Any]:
    d = draw.randrange(len(sizes))
    whole = sizes[d] // BATCH if sizes[d] >= BATCH else sizes[d]
    inner = draw.choice([n for n in range(1, whole + 1) if whole % n == 0])
    new = [*sizes[:d], sizes[d] // inner, inner, *sizes[d + 1 :]]
    if draw.random() < 0.5:
        e = draw.randrange(len(new) - 1)
        new[e : e + 2] = [new[e] * new[e + 1]]
    return "reshape", tuple(map(counted, new)), lambda y: y.reshape([*map(size, new)])


def drawn(draw: random.Random, sizes: list[int]) -> tuple[str, Any, Any]:
    """Return a function, its arguments in a trace, and what it is on a tensor."""
    rank = len(sizes)
    d, e = draw.randrange(rank), draw.randrange(rank)
    kinds = ["reshape", "permute", "transpose", "squeeze", "unsqueeze", "flatten"]
    kind = draw.choice(kinds + ["select", "narrow", "chunk"] * (sizes[d] < BATCH))
    args: Any = (d,)
    if kind == "reshape":
        return reshape(draw, sizes)
    if kind == "permute":
        args = tuple(draw.sample(range(rank), rank))
    elif kind in ("transpose", "flatten"):
        args = (min(d, e), max(d, e))
    elif kind == "select":
        args = (d, draw.randrange(sizes[d]))
    elif kind == "narrow":
        start = draw.randrange(sizes[d])
        args = (d, start, draw.randint(1, sizes[d] - start))
    elif kind == "chunk":
        args = (draw.randint(1, 3), d)
    return kind, args, lambda y: getattr(y, kind)(*args)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_rearranged_is_written_again(seed: int) -> None:
    draw, said, unsaid = random.Random(seed), 0, 0
    while said < 120:
        rows, shape = draw.choice((1, 1, 2, 4)), [draw.choice((1, 2, 3, 4, 6, 8)) for _ in "abc"]
        shape = shape[: draw.randint(1, 3)]
        whole = torch.Size((rows * SAMPLES, *shape))
        x = y = torch.arange(whole.numel()).reshape(whole)
        state = Arrangement.of(shape, rows)
        for _ in range(draw.randint(1, 5)):
            name, args, function = drawn(draw, [*state.sizes])
            try:
                made = rearranged(name, state, args, {})
            except Unsaid:
                continue
            results = function(y) if name == "chunk" else [function(y)]
            place = draw.randrange(len(results))
            state, y = made[place], results[place]
            assert tuple(map(size, state.sizes)) == tuple(y.shape)
            if y.dim() == 0:
                break
        if y.dim() < 2:
            continue
        try:
            ops = ops_of(state)
        except Unsaid:
            unsaid += 1
            continue
        said += 1
        assert torch.equal(run(ops, x), y), (shape, rows, [op.call() for op in ops])
        assert not state.is_same or not ops
    assert unsaid > 10  # the batch is in the way


def said(shape: Any, *functions: Any) -> str:
    state = Arrangement.of(shape, 1)
    for name, *args in functions:
        state = rearranged(name, state, args, {})[0]
    return " >> ".join(op.call() for op in ops_of(state))


def test_ops_are_those_that_a_person_writes() -> None:
    assert (
        said((6, 4, 5), ("flatten", 2), ("transpose", 1, 2))
        == "flatten(start_dim=1) >> transpose(dim0=0, dim1=1)"
    )
    assert said((6, 4, 5), ("permute", 0, 2, 3, 1)) == "permute(dims=[1, 2, 0])"
    assert said((6, 4, 5), ("permute", 0, 2, 3, 1), ("permute", 0, 3, 1, 2)) == ""
    shuffled = ("reshape", Rows(1), 2, 3, 4, 5), ("transpose", 1, 2), ("flatten", 1, 2)
    assert said((6, 4, 5), *shuffled) == "channel_shuffle(groups=2)"
    heads = ("reshape", Rows(1), 7, 3, 4, 5), ("permute", 2, 0, 3, 1, 4), ("select", 0, 1)
    assert (
        said((7, 60), *heads)
        == "chunk(chunks=3, index=1, dim=1) >> reshape(shape=[7, 4, 5]) >> transpose(dim0=0, dim1=1)"
    )
    windows = ("reshape", Rows(1), 2, 4, 3, 4, 5), ("permute", 0, 1, 3, 2, 4, 5), ("flatten", 0, 2)
    assert said((8, 12, 5), *windows, ("flatten", 1, 2)).endswith(" >> to_batch")
