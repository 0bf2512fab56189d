"""The tensors that arguments, results and modules hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

torch: Any = import_module("torch")


def tensors_in(value: Any) -> Iterator[Any]:
    """Yield the tensors in nested arguments, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from tensors_in(inner)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            yield from tensors_in(getattr(value, name))


def held_tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tensors that modules hold in plain attributes, with a name: caches, tables.

    They may be in lists, tuples and dicts.
    """
    for path, child in module.named_modules():
        for key, value in vars(child).items():
            if key not in ("_parameters", "_buffers", "_modules"):
                for place, tensor in enumerate(tensors_in(value)):
                    name = f"{key}_{place}" if place else key
                    yield (f"{path}.{name}" if path else name), tensor
