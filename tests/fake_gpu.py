"""A GPU that is not there: what `make gpu` asks of CUDA, for a build of PyTorch that has none.

A tensor that is asked for on ``cuda`` lies in the memory of the CPU, but says that it is on
``cuda:0``; so does what is computed from it. The allocator's figures are the sums of such tensors:
each storage is seen when an operation returns it, and a weak reference says when it is gone. Every
function of ``torch.cuda`` that is replaced takes what PyTorch's own takes, and nothing else.

    python tests/fake_gpu.py -m archcost profile lenet5 --device cuda
"""

from __future__ import annotations

import inspect
import os
import runpy
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

HERE = torch.device("cuda", 0)
BLOCK = 512
PROPERTIES = SimpleNamespace(
    name="NVIDIA H200", total_memory=150_000_000_000, L2_cache_size=60 * 2**20, major=9, minor=0
)
SIZES = ("allocated", "requested")


class Allocator(TorchDispatchMode):
    """Follows the storages that are on the GPU, and how many bytes they are together."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, Any] = {}
        self.live = dict.fromkeys(SIZES, 0)
        self.peak = dict(self.live)
        self.history: list[dict[str, Any]] | None = None
        self.asked = False
        """Whether a call is running that asked for a tensor on the GPU."""

    def holds(self, tensor: Any) -> bool:
        return tensor.untyped_storage()._cdata in self.storages

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        read, made = (
            [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
            for tree in ((args, kwargs), result)
        )
        if self.asked or any(map(self.holds, read)):
            for tensor in made:
                self.take(tensor.untyped_storage())
        return result

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Take what is made in here."""
        before, self.asked = self.asked, True
        try:
            yield
        finally:
            self.asked = before

    def take(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.storages:
            self.storages[key] = weakref.ref(storage, lambda _: self.free(key, size))
            self.count("alloc", key, size)

    def free(self, key: int, size: int) -> None:
        del self.storages[key]
        self.count("free_requested", key, size)

    def count(self, action: str, address: int, size: int) -> None:
        sign = 1 if action == "alloc" else -1
        for name, more in zip(SIZES, (-(-size // BLOCK) * BLOCK, size), strict=True):
            self.live[name] += sign * more
            self.peak[name] = max(self.peak[name], self.live[name])
        if self.history is not None:
            frames = [{"name": "at::empty", "filename": "??", "line": 0}]
            self.history.append({"action": action, "addr": address, "size": size, "frames": frames})


class Places(TorchFunctionMode):
    """Puts on the CPU what is asked for on the GPU, and has tensors say where they are."""

    def __init__(self, allocator: Allocator) -> None:
        super().__init__()
        self.allocator = allocator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == torch.Tensor.device.__get__:
            return HERE if self.allocator.holds(args[0]) else func(*args)
        if func in (torch.device, torch._C._nn._parse_to):  # a place is named, nothing put there
            return func(*args, **kwargs)
        found: list[None] = []

        def moved(value: Any) -> Any:
            named = isinstance(value, (str, torch.device)) and str(value).startswith("cuda")
            found.extend([None] * named)
            return "cpu" if named else value

        args, kwargs = tree_map(moved, args), tree_map(moved, kwargs)
        if found and func is torch.Tensor.to and not self.allocator.holds(args[0]):
            kwargs["copy"] = True
        with self.allocator.asking() if found else nullcontext():
            return func(*args, **kwargs)


class Event:
    """A moment of the wall clock."""

    def record(self, stream: Any) -> None:
        self.moment = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        return (end.moment - self.moment) * 1e3


def functions(allocator: Allocator) -> dict[str, Callable[..., Any]]:
    """Return what is put in the place of functions of torch.cuda, by their names."""

    def stats(device: Any = None) -> dict[str, int]:
        figures = {"current": allocator.live, "peak": allocator.peak}
        return {
            f"{name}_bytes.all.{when}": sizes[name]
            for when, sizes in figures.items() for name in SIZES
        }  # fmt: skip

    def reset(device: Any = None) -> None:
        allocator.peak = dict(allocator.live)

    def history(enabled: str | None = "all", *_: Any, **options: Any) -> None:
        inspect.signature(torch.cuda.memory._record_memory_history_impl).bind(enabled, **options)
        allocator.history = [] if enabled else None

    def mem_get_info(device: Any = None) -> tuple[int, int]:
        whole = PROPERTIES.total_memory
        return whole - allocator.peak["allocated"], whole

    def event(*_: Any, **__: Any) -> Event:
        return Event()

    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda device=None: PROPERTIES,
        "get_device_capability": lambda device=None: (PROPERTIES.major, PROPERTIES.minor),
        "get_allocator_backend": lambda: "native",
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "current_stream": lambda device=None: None,
        "mem_get_info": mem_get_info,
        "memory_stats": stats,
        "max_memory_allocated": lambda device=None: allocator.peak["allocated"],
        "max_memory_reserved": lambda device=None: allocator.peak["allocated"],
        "reset_peak_memory_stats": reset,
        "memory._record_memory_history": history,
        "memory._snapshot": lambda device=None: {"device_traces": [list(allocator.history or ())]},
        "Event": event,
    }


@contextmanager
def fake_gpu() -> Iterator[Allocator]:
    """Have a GPU, as far as `make gpu` looks, for as long as the context lasts."""
    allocator = Allocator()
    with pytest.MonkeyPatch.context() as patch, allocator, Places(allocator):
        for name, function in functions(allocator).items():
            *inner, own = name.split(".")
            place = getattr(torch.cuda, inner[0]) if inner else torch.cuda
            patch.setattr(place, own, _as_strict_as(getattr(place, own), function))
        yield allocator


def _as_strict_as(original: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that refuses what PyTorch's own would refuse."""
    signature = inspect.signature(original)

    def strict(*args: Any, **kwargs: Any) -> Any:
        signature.bind(*args, **kwargs)
        return function(*args, **kwargs)

    return strict


if __name__ == "__main__":
    _, option, module, *rest = sys.argv
    sys.argv[:] = [module, *rest]
    sys.path[0] = os.getcwd()  # as `python -m` has it, in the place of this file's folder
    if option != "-m":
        raise SystemExit(__doc__)
    with fake_gpu():
        runpy.run_module(module, run_name="__main__", alter_sys=True)
