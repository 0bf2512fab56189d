"""The workspace that cuBLAS keeps: one block of the allocator's from the first product on.

Source: PyTorch, ``aten/src/ATen/cuda/CUDABlas.cpp`` and ``CublasHandlePool.cpp``: two blocks of
4096 KiB and eight of 16 KiB for each handle and stream, 32 MiB on Hopper and later. The variable
``CUBLAS_WORKSPACE_CONFIG`` changes it.
"""

from __future__ import annotations

from archcost.hardware import Device
from archcost.network import Network
from archcost.readings.ledger import FORWARD
from archcost.storage.peaks import Run

EARLIER = 2 * 4096 * 1024 + 8 * 16 * 1024
HOPPER = 32 * 2**20
PRODUCTS = ("linear", "attention", "matmul")
"""Kinds of ops that are matrix products; convolutions are cuDNN's."""


def cublas_workspace(network: Network, device: Device | None = None) -> int:
    """Return the bytes of the workspace, 0 for a network without matrix products.

    Args:
        network: from :func:`archcost.load`.
        device: where it runs; one before Hopper if it, or its compute capability, is not known.
    """
    if not any(layer.op.kind in PRODUCTS for layer in network):
        return 0
    capability = device.capability if device else ""
    return HOPPER if capability and float(capability) >= 9 else EARLIER


def peak_with_workspace(network: Network, run: Run, device: Device | None = None) -> int:
    """Return the peak in bytes of a pass that begins without the workspace.

    cuBLAS asks for it at the first matrix product, so that it is beside all that comes later.
    """
    later = False
    highest = 0
    products = {layer.path for layer in network if layer.op.kind in PRODUCTS}
    size = cublas_workspace(network, device)
    for moment in run.timeline:
        later = later or moment.phase != FORWARD or moment.layer in products
        highest = max(highest, moment.bytes + size * later)
    return highest
