"""The content of constants of a pass without data: a mask of zeros and ones, a table of places.

Code may ask what is in a tensor that it has made of no input and no parameter. The calls that
have made it then run again on a CPU. If the batch is one of their sizes, they run for a few small
batches, and the answer must be the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from archcost.importers.seen import BATCH, Seen

torch: Any = import_module("torch")

MOST = 10**6
"""Elements of a constant, for one sample, beyond which its content is not asked for."""

BATCHES = (1, 2, 5)
"""The batches for which a constant is looked at that has the batch among its sizes."""

OF_FINITE = ("isfinite", "isinf", "isnan", "isneginf", "isposinf")
"""Functions that ask which numbers are finite: all are taken to be."""

LIKE = (
    "full_like", "new_full", "new_ones", "new_tensor", "new_zeros", "ones_like", "zeros_like",
)  # fmt: skip
"""Functions that ask a tensor for its sizes, type and device only."""


class _Like(NamedTuple):
    """A tensor of which only this is asked."""

    shape: tuple[int, ...]
    dtype: str


_Key = tuple[int, Any, Any, int]


@dataclass(frozen=True, eq=False, slots=True)
class _Run:
    """A call of constants, whose tensors are told by what has made them."""

    function: Callable[..., Any]
    args: Any
    kwargs: Any


class _Content(NamedTuple):
    """What a call makes, at a place among its outputs."""

    run: _Run
    place: int = 0


class Constants:
    """The calls that make tensors of constants alone, by the storages of these.

    ``drawn`` are the storages whose content was drawn at random.
    """

    def __init__(self) -> None:
        self.made: dict[_Key, _Content] = {}
        self.drawn: set[int] = set()
        self.unit: set[int] = set()  # of these, numbers between 0 and 1

    def hold(self, tensor: Any, content: Any) -> None:
        """Take note of the content of a buffer."""
        if content.numel() <= MOST:
            self.made[_key(tensor)] = _Content(_Run(content.detach, (), {}))

    def note(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
        outs: Sequence[Any], changed: Sequence[Any],
    ) -> None:  # fmt: skip
        """Take note of a call, if it is of constants and draws nothing; forget what it changes."""
        name = getattr(function, "__name__", "").rstrip("_")
        if name in LIKE and args:
            args = (_Like(args[0].shape, args[0].dtype), *args[1:])
        given = () if name in UNSET else self._told((args, kwargs))
        if changed:
            written = {_key(tensor)[0] for tensor in changed}
            self.made = {key: made for key, made in self.made.items() if key[0] not in written}
            self.unit -= written
            function, outs = partial(_written, function), outs[:1]
            if not isinstance(args[0], Seen) or _key_of(args[0]) != _key(changed[0]):
                given = ()
        if name in OF_FINITE and not changed:
            run = _Run(torch.full, (tuple(outs[0].shape), name == "isfinite"), {})
            self._keep(outs, run)
        elif (sure := self._sure(name, args)) is not None:
            self._keep(outs, _Run(torch.full, (tuple(outs[0].shape), sure), {}))
        elif name in RANDOM or self._draws((args, kwargs)):
            self.drawn |= {_key(out)[0] for out in outs}
            if name in ("rand", "rand_like"):
                self.unit |= {_key(out)[0] for out in outs}
        elif given:
            self._keep(outs, _Run(function, *given))

    def _sure(self, name: str, args: Sequence[Any]) -> bool | None:
        """Return what follows for all numbers between 0 and 1 that are compared with another."""
        match args:
            case [Seen(storage=storage), (int() | float()) as bound] if storage in self.unit:
                if name in ABOVE and not 0 < bound < 1:
                    return ABOVE[name] == (bound <= 0)
        return None

    def _keep(self, outs: Sequence[Any], run: _Run) -> None:
        for place, out in enumerate(outs):
            if _numel(out) <= MOST:  # a view may be all of what it is a view of
                self.made.setdefault(_key(out), _Content(run, place))

    def answer(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return what a function says of the content of constants.

        Raises:
            LookupError: the content is not known, or the answer depends on the batch.
        """
        given = self._told((args, kwargs))
        if not given:
            raise LookupError
        run = _Run(function, *given)
        first, *others = (self._made(run, batch, {}) for batch in BATCHES)
        if any(other != first for other in others):
            raise LookupError
        return first

    def number(self, seen: Seen) -> int | None:
        """Return the whole number that a constant is, None if it is none or not known."""
        if seen.shape or "int" not in seen.dtype:
            return None
        with suppress(LookupError):
            return int(self.answer(torch.Tensor.item, (seen,), {}))
        return None

    def _made(self, run: _Run, batch: int, known: dict[_Run, Any]) -> Any:
        """Return what a call makes in a batch; ``known`` is what others have made."""
        if run not in known:
            args, kwargs = (self._filled(value, batch, known) for value in (run.args, run.kwargs))
            with torch._C.DisableTorchFunction():
                known[run] = run.function(*args, **kwargs)
        return known[run]

    def _filled(self, value: Any, batch: int, known: dict[_Run, Any]) -> Any:
        """Return an argument with its content."""
        if isinstance(value, _Content):
            made = self._made(value.run, batch, known)
            return made[value.place] if isinstance(made, (tuple, list)) else made
        if isinstance(value, _Like):
            return torch.empty(_of(value.shape, batch), dtype=getattr(torch, value.dtype))
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if isinstance(value, Mapping):
            own = {key: self._filled(inner, batch, known) for key, inner in value.items()}
            return {**own, "device": "cpu"} if own.get("device") is not None else own
        if isinstance(value, (tuple, list)):
            return type(value)(self._filled(inner, batch, known) for inner in value)
        if isinstance(value, slice):
            ends = value.start, value.stop, value.step
            return slice(*(self._filled(end, batch, known) for end in ends))
        return _of(value, batch)

    def _told(self, given: Any) -> Any:
        """Return arguments with what has made their tensors; nothing if that is not known."""
        try:
            return self._with_content(given)
        except LookupError:
            return ()

    def _with_content(self, value: Any) -> Any:
        if isinstance(value, Seen):
            return self.made[_key_of(value)]
        if isinstance(value, Mapping):
            return {key: self._with_content(inner) for key, inner in value.items()}
        if isinstance(value, (tuple, list)) and not isinstance(value, _Like):
            return type(value)(map(self._with_content, value))
        if isinstance(value, slice):
            return slice(*map(self._with_content, (value.start, value.stop, value.step)))
        if isinstance(value, int) and value > BATCH // 2 and value % BATCH:
            raise LookupError
        return value

    def _draws(self, value: Any) -> bool:
        if isinstance(value, Seen):
            return value.storage in self.drawn
        if isinstance(value, Mapping):
            return any(map(self._draws, value.values()))
        return isinstance(value, (tuple, list)) and any(map(self._draws, value))


def _written(function: Callable[..., Any], first: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what is in a tensor after a function that writes into it."""
    first = first.clone()
    function(first, *args, **kwargs)
    return first


def _key(tensor: Any) -> _Key:
    storage = int(tensor.untyped_storage()._cdata)
    return storage, tuple(tensor.shape), tuple(tensor.stride()), tensor.storage_offset()


def _key_of(seen: Seen) -> _Key:
    return seen.storage, seen.shape, seen.strides, seen.offset


def _of(value: Any, batch: int) -> Any:
    """Return a size, or sizes, as they are in such a batch."""
    if isinstance(value, tuple):
        return tuple(_of(inner, batch) for inner in value)
    large = isinstance(value, int) and value > BATCH // 2
    return value // BATCH * batch if large else value


def _numel(tensor: Any) -> int:
    """Return the elements for one sample."""
    size: int = tensor.numel()
    return size if size % BATCH else size // BATCH


RANDOM = frozenset({
    "alpha_dropout", "bernoulli", "cauchy", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "exponential", "feature_alpha_dropout", "geometric", "gumbel_softmax", "log_normal",
    "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn",
    "randn_like", "random", "randperm", "rrelu", "uniform",
})  # fmt: skip
"""Functions whose results are drawn at random."""

ABOVE = {
    **dict.fromkeys(("gt", "ge", "__gt__", "__ge__"), True),
    **dict.fromkeys(("lt", "le", "__lt__", "__le__"), False),
}
"""Comparisons, and whether they ask for the larger."""

UNSET = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "resize")
"""Functions that make a tensor without content."""
