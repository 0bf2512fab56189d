"""The PyTorch twin of a network: an ``nn.Module`` whose module paths are the layer paths."""

from __future__ import annotations

from typing import Any

from archcost.errors import ArchcostError
from archcost.network import NETWORK_INPUT, Network


def import_torch() -> Any:
    """Return the torch module, or say in one line how to get it."""
    try:
        import torch
    except ImportError:
        raise ArchcostError("this needs PyTorch: pip install 'archcost[torch]'") from None
    return torch


def build(network: Network, *, device: Any = None, dtype: Any = None) -> Any:
    """Return the network as an ordinary ``nn.Module``.

    ``twin(x)`` takes a batch ``(N, *network.input)`` and returns the output, or a tuple when the
    network has side outputs. Weights are initialised as PyTorch does.

    Args:
        network: from :func:`archcost.load`.
        device: where the parameters live, e.g. ``"cuda"`` or ``"meta"``.
        dtype: their type, e.g. ``torch.float64``.

    Raises:
        ArchcostError: PyTorch is not installed.
    """
    torch = import_torch()
    with torch.device(device if device is not None else "cpu"):
        return _twin_class(torch)(torch, network).to(dtype=dtype)


def _twin_class(torch: Any) -> Any:
    class Twin(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, torch: Any, network: Network) -> None:
            super().__init__()
            # before the modules: a layer may be named `plan`
            self.plan = _plan(network)
            self.outputs = network.outputs
            for layer in network:
                _place(torch, self, layer.path, layer.op.build(torch, *layer.shapes))

        def get_submodule(self, target: str) -> Any:
            # PyTorch's own takes attributes, and a layer may be named as a method: `type`, `half`
            module = self
            for name in target.split("."):
                module = module._modules[name]
            return module

        def forward(self, x: Any) -> Any:
            tensors = {NETWORK_INPUT: x}
            for path, inputs, finished in self.plan:
                module = self.get_submodule(path)
                tensors[path] = module(*[tensors[name] for name in inputs])
                for name in finished:
                    del tensors[name]
            results = tuple(tensors[name] for name in self.outputs)
            return results[0] if len(results) == 1 else results

    return Twin


def _place(torch: Any, root: Any, path: str, module: Any) -> None:
    # straight into _modules: add_module refuses layer names such as `type` or `half`
    *groups, name = path.split(".")
    parent = root
    for group in groups:
        if group not in parent._modules:
            parent._modules[group] = torch.nn.Module()
        parent = parent._modules[group]
    parent._modules[name] = module


def _plan(network: Network) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return for each layer its path, its inputs, and the tensors that nobody reads later."""
    return [
        (
            layer.path,
            layer.inputs,
            tuple(
                name
                for name in dict.fromkeys(layer.inputs)
                if network.last_readers[name] == layer.path and name not in network.outputs
            ),
        )
        for layer in network
    ]
