"""Which layer of a twin runs: hooks on its modules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

from archcost.network import Layer, Network


def module_name(network: Network, layer: Layer) -> str:
    """Return the path of the module that a layer runs; code runs that of ``relu#2`` a second time.

    A function that code calls has no module of this path.
    """
    return re.sub(r"#\d+", "", layer.module) if network.module else layer.module


class Watch:
    """Hooks on the modules of a network's layers, for as long as the context lasts.

    ``running`` is the path of the layer that runs, or ran last; ``enter(path, inputs)`` and
    ``leave(path, output)`` are called around each layer. The calls of a module are those of the
    layers that run it, in order, over and over. Modules that are missing are passed over.
    """

    def __init__(
        self,
        network: Network,
        twin: Any,
        enter: Callable[[str, tuple[Any, ...]], None] | None = None,
        leave: Callable[[str, Any], None] | None = None,
    ) -> None:
        self.network, self.twin = network, twin
        self.enter, self.leave = enter, leave
        self.running = ""
        self._hooks: list[Any] = []

    def __enter__(self) -> Watch:
        modules = dict(self.twin.named_modules(remove_duplicate=False))
        layers: dict[str, list[str]] = {}
        for layer in self.network:
            layers.setdefault(module_name(self.network, layer), []).append(layer.path)
        for module, paths in layers.items():
            if module in modules:
                self._register(cycle(paths), modules[module])
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _register(self, paths: Iterator[str], module: Any) -> None:
        def before(_: Any, inputs: tuple[Any, ...]) -> None:
            self.running = next(paths)
            if self.enter:
                self.enter(self.running, inputs)

        def after(_: Any, __: Any, output: Any) -> None:
            if self.leave:
                self.leave(self.running, output)

        self._hooks += [
            module.register_forward_pre_hook(before, prepend=True),  # before a layer's own padding
            module.register_forward_hook(after),
        ]
