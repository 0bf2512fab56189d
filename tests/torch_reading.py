"""F = torch: the primitives with numbers, each by the call that source is written with."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from archcost.packages import import_package
from archcost.primitives import COMPOSITES, PRIMITIVES
from archcost.readings.spelling import spelled
from archcost.readings.words import Written


class Reading:
    """Runs programs on PyTorch's own tensors."""

    training = False

    def joined(self, times: int, call: Callable[..., Any], x: Any, **options: Any) -> Any:
        return torch.cat([call(x, **options) for _ in range(times)], 1)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in (*PRIMITIVES, *COMPOSITES):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            module = SimpleNamespace(p=options.get("p"))  # what source reads of its module
            tensors: dict[str, Any] = {"torch": torch, "nn": torch.nn, "self": module}

            def written(value: Any) -> Any:
                if not isinstance(value, torch.Tensor):
                    return value
                name = f"tensor{len(tensors)}"
                tensors[name] = value
                return Written(name, tuple(value.shape))

            named = [written(arg) for arg in args]
            text, _ = spelled(name, named, {key: written(v) for key, v in options.items()})
            if "torchvision." in text:
                tensors["torchvision"] = import_package("torchvision")
            del args, options
            return eval(text, tensors)

        return call


Torch = Reading()
