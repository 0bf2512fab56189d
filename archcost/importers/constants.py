"""The content of constants of a pass without data: a mask of zeros and ones, a table of places.

Code may ask what is in a tensor that it has made of no input, parameter or buffer. The calls that
have made it then run again on a CPU. If the batch is one of their sizes, they run for a few small
batches, and the answer must be the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from archcost.importers.seen import BATCH, Seen

torch: Any = import_module("torch")

MOST = 10**6
"""Elements of a constant, for one sample, beyond which its content is not asked for."""

BATCHES = (1, 2, 5)
"""The batches for which a constant is looked at that has the batch among its sizes."""

LIKE = (
    "full_like", "new_full", "new_ones", "new_tensor", "new_zeros", "ones_like", "zeros_like",
)  # fmt: skip
"""Functions that ask a tensor for its sizes, type and device only."""


class _Like(NamedTuple):
    """A tensor of which only this is asked."""

    shape: tuple[int, ...]
    dtype: str


class Constants:
    """The calls that make tensors of constants alone, by the storages of these.

    ``drawn`` are the storages whose content was drawn at random.
    """

    def __init__(self) -> None:
        self.made: dict[tuple[int, Any, Any], tuple[Callable[..., Any], Any, Any, int]] = {}
        self.drawn: set[int] = set()

    def note(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
        outs: Sequence[Any], changed: Sequence[Any],
    ) -> None:  # fmt: skip
        """Take note of a call, if it is of constants and draws nothing; forget what it changes."""
        if changed:
            written = {_key(tensor)[0] for tensor in changed}
            self.made = {key: made for key, made in self.made.items() if key[0] not in written}
        name = getattr(function, "__name__", "").rstrip("_")
        if name in RANDOM or self._draws((args, kwargs)):
            self.drawn |= {_key(out)[0] for out in outs}
        elif not changed and name not in UNSET:
            if name in LIKE and args:
                args = (_Like(args[0].shape, args[0].dtype), *args[1:])
            if self._knows((args, kwargs)):
                for place, out in enumerate(outs):
                    if _numel(out) <= MOST:
                        # a view may be all of what it is a view of
                        self.made.setdefault(_key(out), (function, args, kwargs, place))

    def answer(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return what a function says of the content of constants.

        Raises:
            LookupError: the content is not known, or the answer depends on the batch.
        """
        if not self._knows((args, kwargs)):
            raise LookupError
        first, *others = (self._run(function, args, kwargs, batch, {}) for batch in BATCHES)
        if any(other != first for other in others):
            raise LookupError
        return first

    def _run(
        self, function: Callable[..., Any], args: Any, kwargs: Any, batch: int, known: Any
    ) -> Any:
        args, kwargs = self._filled(args, batch, known), self._filled(kwargs, batch, known)
        with torch._C.DisableTorchFunction():
            return function(*args, **kwargs)

    def _filled(self, value: Any, batch: int, known: dict[Any, Any]) -> Any:
        """Return an argument with its content; ``known`` is that of tensors that ran before."""
        if isinstance(value, Seen):
            key = _key_of(value)
            if key not in known:
                function, args, kwargs, place = self.made[key]
                made = self._run(function, args, kwargs, batch, known)
                known[key] = made[place] if isinstance(made, (tuple, list)) else made
            return known[key]
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

    def _knows(self, value: Any) -> bool:
        if isinstance(value, Seen):
            return _key_of(value) in self.made
        if isinstance(value, _Like):
            return True
        if isinstance(value, Mapping):
            return all(map(self._knows, value.values()))
        if isinstance(value, (tuple, list)):
            return all(map(self._knows, value))
        if isinstance(value, slice):
            return self._knows((value.start, value.stop, value.step))
        return not (isinstance(value, int) and value > BATCH // 2 and value % BATCH)

    def _draws(self, value: Any) -> bool:
        if isinstance(value, Seen):
            return value.storage in self.drawn
        if isinstance(value, Mapping):
            return any(map(self._draws, value.values()))
        return isinstance(value, (tuple, list)) and any(map(self._draws, value))


def _key(tensor: Any) -> tuple[int, Any, Any]:
    storage = int(tensor.untyped_storage()._cdata)
    return storage, tuple(tensor.shape), tuple(tensor.stride())


def _key_of(seen: Seen) -> tuple[int, Any, Any]:
    return seen.storage, seen.shape, seen.strides


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

UNSET = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "resize")
"""Functions that make a tensor without content."""
