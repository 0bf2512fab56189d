"""Whether the program of a call makes and keeps what PyTorch was seen to make and keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from archcost.importers.calls import Rows
from archcost.importers.inside import ARGUMENT, OUTPUT, OWN, Inside
from archcost.importers.observed import Out
from archcost.importers.seen import BATCH, Call, Seen
from archcost.ops import Op
from archcost.readings.ledger import BUFFERS, INPUTS
from archcost.readings.storages import Storages
from archcost.readings.tensors import Parameter, Tensor
from archcost.setting import Setting
from archcost.shape import Shape

OTHERWISE = (
    "scaled_dot_product_attention", "lstm", "gru", "rnn_tanh", "rnn_relu", "logsigmoid", "rrelu",
    "embedding_bag",
)  # fmt: skip
"""Functions that tensors without content run in other operations than a CPU does."""


WRITES = ("__setitem__", "index_put", "masked_scatter")
"""Functions that write at places of a tensor, and make more in between than was seen."""


def is_lazy(call: Call) -> bool:
    """Whether it is a view of complex numbers that the next operation may copy first."""
    return call.name in ("conj", "H", "mH", "adjoint") and "complex" in call.outs[0].dtype


class _Held(dict[Any, Tensor]):
    """Constants, of which a call holds the last until it has been compared."""

    def pop(self, key: Any, default: Any = None) -> Any:
        """Return one, and hold it."""
        return self.get(key, default)


class _Probe(Storages):
    """Runs one program on the tensors that a call was seen to read."""

    def __init__(self, call: Call, training: bool, device: str) -> None:
        super().__init__(Setting(batch=BATCH, device=device, observed=True), training, exact=False)
        self.known: dict[int, Tensor] = {}
        self.saved: list[Tensor] = []
        self.constants = _Held()
        self.pack = lambda tensor, _: self.saved.append(tensor)
        assert call.inside is not None
        self.needs = dict(zip(map(_id, seen_in(call)), call.inside.learning, strict=False))

    def tensor(self, seen: Seen) -> Tensor:
        """Return a tensor as it was seen; those in the same memory lie in one storage."""
        needs = self.needs.get(_id(seen), False)
        leaf = self.leaf(seen.shape, INPUTS, seen.width, needs)
        first = self.known.setdefault(seen.storage, leaf)
        made = Parameter(first.storage, seen.shape, seen.strides, seen.width, self.device)
        made.grad, made.learns, made.needs, made.readers = None, needs, needs, 0
        return made


def probed(
    op: Op, read: Sequence[Seen], own: Mapping[str, Seen], call: Call,
    buffers: Mapping[str, Shape] = MappingProxyType({}),
) -> bool:  # fmt: skip
    """Whether an op's program does with the tensors of a call what PyTorch was seen to do.

    These are compared: the shapes of its outputs and the bytes of their elements, which of them
    share memory with its inputs, which of them get gradients, and what is kept for backward.
    PyTorch runs some functions without content as on a CPU, and some as on CUDA.

    Args:
        op: the op.
        read: the tensors that it reads.
        own: its parameters and buffers by its names for them.
        buffers: the shapes of further buffers.
        call: the call.
    """
    if call.inside is None:
        return True
    if is_lazy(call):
        return False
    devices = ("cpu", "cuda")
    return any(_alike(each, op, read, own, call, call.inside, buffers) for each in devices)


def _alike(
    device: str, op: Op, read: Sequence[Seen], own: Mapping[str, Seen], call: Call, inside: Inside,
    buffers: Mapping[str, Shape],
) -> bool:  # fmt: skip
    training = inside.keeps is not None
    F = _Probe(call, training, device)
    tensors = [F.tensor(seen) for seen in read]
    held = {name: F.tensor(seen) for name, seen in own.items()}
    held |= {name: F.leaf(shape, BUFFERS, 4) for name, shape in buffers.items() if name not in held}
    F.changed = tensors[0].storage if call.in_place and tensors else None
    F.params = {"": held}  # type: ignore[dict-item]
    try:
        made = F.run_op("", op, tensors)
    except Exception:  # whatever arguments say that the program does not foresee
        return False
    outs = made if isinstance(made, list) else [made]
    if [tuple(out.shape) for out in outs] != [seen.shape for seen in call.outs]:
        return False
    if [out.itemsize for out in outs] != [out.itemsize for out in inside.outs]:
        return False
    there = {**F.constants, **F.known}
    places = [there[seen.storage].storage if seen.storage in there else None
              for seen in seen_in(call)]  # fmt: skip
    views = [places.index(out.storage) if out.storage in places else -1 for out in outs]
    if views != [out.view for out in inside.outs]:
        return False
    if not training or call.name in OTHERWISE:
        return True
    if [out.needs for out in outs] != [out.learns for out in inside.outs]:
        return False
    mine = [tensor.storage for tensor in held.values()]
    mine += [F.known[seen.storage].storage for seen in read if seen.held]
    return _kept(F, places, outs, mine) == sorted(inside.keeps or ())


def _kept(
    F: _Probe, places: list[Any], outs: Sequence[Tensor], mine: Sequence[Any]
) -> list[tuple[str, int]]:
    made = [out.storage for out in outs]
    found = {}
    for tensor in F.saved:
        storage = tensor.storage
        if storage in mine:
            continue
        if storage in places:
            found[storage] = (ARGUMENT, places.index(storage))
        elif storage in made:
            found[storage] = (OUTPUT, made.index(storage))
        else:
            found[storage] = (OWN, storage.size)
    return sorted(found.values())


def seen_of(call: Call, told: Callable[[Any], Any], macs: int) -> dict[str, Any]:
    """Return how a call was seen to run, as :func:`~archcost.importers.observed.run` takes it."""
    inside = call.inside
    assert inside is not None
    outs = [
        Out(told(seen.shape), told(out.strides), seen.own_width, out.learns)
        for seen, out in zip(call.outs, inside.outs, strict=True)
    ]  # fmt: skip
    keeps = None if call.name in OTHERWISE else inside.keeps
    lazy = is_lazy(call)
    try:
        between = inside.again() if inside.again and not lazy else None
    except (RuntimeError, NotImplementedError):  # data decide what it makes
        between = None
    rules = iter(between.gradients if between else ())
    return {
        "outs": outs, "first": max(out.view for out in inside.outs), "macs": told(macs),
        "keeps": keeps if keeps is None else [
            (what, _told_bytes(n) if what == OWN else n) for what, n in keeps
        ],
        "learning": inside.learning, "writes": lazy or call.name in WRITES,
        "between": between and (_told_bytes(between.forward), _told_bytes(between.backward)),
        "gradients": [told(next(rules, None)) if needs else None for needs in inside.learning],
    }  # fmt: skip


def _told_bytes(size: int | None) -> Rows | int | None:
    """Return bytes, of which some are those of the batch and some are not.

    Those that are not may be less than 0, as of a gradient that is summed up.
    """
    if size is None:
        return None
    times, rest = divmod(size, BATCH)
    if rest > BATCH - BATCH // 8:
        times, rest = times + 1, rest - BATCH
    return Rows(times, rest) if times else size


def _id(seen: Seen) -> tuple[int, Any, Any]:
    return (seen.storage, seen.shape, seen.strides)


def seen_in(value: Any) -> list[Seen]:
    """Return the tensors among the arguments of a call."""
    if isinstance(value, Call):
        return seen_in((value.args, value.kwargs))
    if isinstance(value, Seen):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [seen for inner in value for seen in seen_in(inner)]
    return []
