"""Running a twin in another mode than the plain one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from archcost.network import Network
from archcost.pytorch import import_torch
from archcost.readings.regions import Region, regions
from archcost.setting import AMP, Setting


def arranged(tensor: Any, setting: Setting) -> Any:
    """Return the tensor as a setting lays it out."""
    if not setting.channels_last or tensor.dim() != 4:
        return tensor
    return tensor.to(memory_format=import_torch().channels_last)


def autocast(setting: Setting, device: str = "cpu") -> Any:
    """Return the context in which a setting's forward pass runs."""
    torch = import_torch()
    dtype = getattr(torch, AMP[setting.amp]) if setting.amp else None
    return torch.autocast(device, dtype, enabled=setting.amp is not None)


@contextmanager
def recomputing(twin: Any, network: Network, setting: Setting) -> Iterator[None]:
    """Have a twin of :func:`archcost.pytorch.build` run regions under ``checkpoint``.

    The generator of random numbers is not put back: its state lies in the memory of the host.
    """
    found = regions(network, setting.checkpoint)
    if not found:
        yield
        return
    twin.forward = partial(_forward, found, twin)
    try:
        yield
    finally:
        del twin.forward


def _forward(found: list[Region], twin: Any, *inputs: Any) -> Any:
    checkpoint: Any = import_module("torch.utils.checkpoint").checkpoint
    first = {region.layers[0].path: region for region in found}
    inside = {layer.path for region in found for layer in region.layers}
    tensors = dict(zip(twin.inputs, inputs, strict=True))
    del inputs
    for step in twin.plan:
        if step.path in first:
            region = first[step.path]
            results = checkpoint(
                partial(_run, twin, region), *(tensors[name] for name in region.inputs),
                use_reentrant=False, preserve_rng_state=False,
            )  # fmt: skip
            tensors.update(zip(region.outputs, results, strict=True))
            del results
        if step.path not in inside:
            twin.run(step, tensors)
        for name in step.finished:
            tensors.pop(name, None)
    results = tuple(tensors[name] for name in twin.outputs)
    return results[0] if len(results) == 1 else results


def _run(twin: Any, region: Region, *given: Any) -> tuple[Any, ...]:
    own = {layer.path for layer in region.layers}
    tensors = dict(zip(region.inputs, given, strict=True))
    for step in twin.plan:
        if step.path in own:
            twin.run(step, tensors)
    return tuple(tensors[name] for name in region.outputs)
