"""The content of constants of a pass without data: a mask of zeros and ones, a table of places.

Code may ask what is in a tensor that it has made of no input, parameter or buffer. The calls that
have made it then run again on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from archcost.importers.seen import BATCH, Seen

torch: Any = import_module("torch")

MOST = 10**6
"""Elements of a constant beyond which its content is not asked for."""


class Constants:
    """The calls that make tensors of constants alone, by the storages of these."""

    def __init__(self) -> None:
        self.made: dict[tuple[int, Any, Any], tuple[Callable[..., Any], Any, Any, int]] = {}

    def note(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any],
        outs: Sequence[Any], changed: Sequence[Any],
    ) -> None:  # fmt: skip
        """Take note of a call, if it is of constants and draws nothing; forget what it changes."""
        if changed:
            written = {_key(tensor)[0] for tensor in changed}
            self.made = {key: made for key, made in self.made.items() if key[0] not in written}
        if changed or not self._knows((args, kwargs)) or _is_random(function):
            return
        for place, out in enumerate(outs):
            if out.numel() <= MOST:
                self.made[_key(out)] = function, args, kwargs, place

    def content(self, tensor: Any) -> Any:
        """Return a tensor with its content, None if that is not known."""
        try:
            return self._run(*self.made[_key(tensor)])
        except LookupError:  # one of them has been written into since
            return None

    def _run(
        self, function: Callable[..., Any], args: Any, kwargs: Any, place: int
    ) -> Any:  # fmt: skip
        with torch._C.DisableTorchFunction():
            made = function(*self._filled(args), **self._filled(kwargs))
        return made[place] if isinstance(made, (tuple, list)) else made

    def _filled(self, value: Any) -> Any:
        if isinstance(value, Seen):
            return self._run(*self.made[_key_of(value)])
        if isinstance(value, torch.device):
            return torch.device("cpu")
        if isinstance(value, Mapping):
            own = {key: self._filled(inner) for key, inner in value.items()}
            return {**own, "device": "cpu"} if own.get("device") is not None else own
        if isinstance(value, (tuple, list)):
            return type(value)(map(self._filled, value))
        return value

    def _knows(self, value: Any) -> bool:
        if isinstance(value, Seen):
            return _key_of(value) in self.made
        if isinstance(value, Mapping):
            return all(map(self._knows, value.values()))
        if isinstance(value, (tuple, list)):
            return all(map(self._knows, value))
        return not (isinstance(value, int) and value > BATCH // 2)


def _key(tensor: Any) -> tuple[int, Any, Any]:
    storage = int(tensor.untyped_storage()._cdata)
    return storage, tuple(tensor.shape), tuple(tensor.stride())


def _key_of(seen: Seen) -> tuple[int, Any, Any]:
    return seen.storage, seen.shape, seen.strides


RANDOM = ("rand", "normal", "bernoulli", "dropout", "empty", "multinomial", "poisson")
"""Parts of the names of functions whose results are drawn, or not set."""


def _is_random(function: Any) -> bool:
    return any(part in getattr(function, "__name__", "") for part in RANDOM)
