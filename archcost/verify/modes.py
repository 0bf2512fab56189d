"""Running a twin in another mode than the plain one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from archcost.memory.mode import AMP, Mode
from archcost.memory.regions import Region, regions
from archcost.network import NETWORK_INPUT, Network
from archcost.torch_twin import import_torch


def arranged(tensor: Any, mode: Mode) -> Any:
    """Return the tensor as the mode lays it out."""
    if not mode.channels_last or tensor.dim() != 4:
        return tensor
    return tensor.contiguous(memory_format=import_torch().channels_last)


def autocast(mode: Mode, device: str = "cpu") -> Any:
    """Return the context in which the mode's forward pass runs."""
    torch = import_torch()
    dtype = getattr(torch, AMP[mode.amp]) if mode.amp else None
    return torch.autocast(device, dtype, enabled=mode.amp is not None)


@contextmanager
def recomputing(twin: Any, network: Network, mode: Mode) -> Iterator[None]:
    """Have a twin of :func:`archcost.torch_twin.build` run the mode's regions under ``checkpoint``.

    The generator of random numbers is not put back: its state lies in the memory of the host.
    """
    found = regions(network, mode.checkpoint)
    if not found:
        yield
        return
    twin.forward = partial(_forward, found, twin)
    try:
        yield
    finally:
        del twin.forward


def _forward(found: list[Region], twin: Any, x: Any) -> Any:
    checkpoint: Any = import_module("torch.utils.checkpoint").checkpoint
    first = {region.layers[0].path: region for region in found}
    inside = {layer.path for region in found for layer in region.layers}
    tensors = {NETWORK_INPUT: x}
    for path, inputs, finished in twin.plan:
        if path in first:
            region = first[path]
            results = checkpoint(
                partial(_run, twin, region), *(tensors[name] for name in region.inputs),
                use_reentrant=False, preserve_rng_state=False,
            )  # fmt: skip
            tensors.update(zip(region.outputs, results, strict=True))
            del results
        elif path not in inside:
            tensors[path] = twin.get_submodule(path)(*[tensors[name] for name in inputs])
        for name in finished:
            tensors.pop(name, None)
    results = tuple(tensors[name] for name in twin.outputs)
    return results[0] if len(results) == 1 else results


def _run(twin: Any, region: Region, *given: Any) -> tuple[Any, ...]:
    own = {layer.path for layer in region.layers}
    tensors = dict(zip(region.inputs, given, strict=True))
    for path, inputs, finished in twin.plan:
        if path in own:
            tensors[path] = twin.get_submodule(path)(*[tensors[name] for name in inputs])
            for name in finished:
                del tensors[name]
    return tuple(tensors[name] for name in region.outputs)
