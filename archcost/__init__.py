"""What does this network cost? Shapes, parameters, MACs, FLOPs and memory, exact, from a spec.

Example:
    >>> import archcost
    >>> archcost.analyze(archcost.load("vgg16")).total.params
    138357544
"""

from __future__ import annotations

import os
from typing import Any

from archcost.analysis.report import Report, analyze
from archcost.errors import ArchcostError, SpecError
from archcost.network import Layer, Network
from archcost.spec.catalog import catalog, load

__version__ = "0.1.0"

__all__ = [
    "ArchcostError",
    "Layer",
    "Network",
    "Report",
    "SpecError",
    "analyze",
    "build",
    "catalog",
    "load",
]


def build(
    model: str | os.PathLike[str] | Network,
    *,
    device: Any = None,
    dtype: Any = None,
    **options: Any,
) -> Any:
    """Return a network as an ordinary PyTorch ``nn.Module`` whose module paths are layer paths.

    Args:
        model: a network, or what :func:`load` takes.
        device: where the parameters live, e.g. ``"cuda"`` or ``"meta"``.
        dtype: their type, e.g. ``torch.float64``.
        **options: those of :func:`load`, for a model by name or file.

    Raises:
        ArchcostError: PyTorch is not installed, or the model cannot be loaded.

    Example:
        >>> build("resnet18", input="3x64x64", device="meta").stem.conv1.weight.shape
        torch.Size([64, 3, 7, 7])
    """
    from archcost import torch_twin

    if not isinstance(model, Network):
        model = load(model, **options)
    elif options:
        raise ArchcostError(f"a network is built as it is; {', '.join(options)} is for names")
    return torch_twin.build(model, device=device, dtype=dtype)
