"""The traffic reading: what each kernel of a forward pass computes, reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archcost.network import Network
from archcost.primitives.row import COPIED, Row
from archcost.readings.storages import Storages
from archcost.readings.tensors import Tensor
from archcost.setting import Setting
from archcost.shape import numel


@dataclass(frozen=True, slots=True)
class Kernel:
    """One operation: its multiply-accumulates, and the bytes that it reads and writes."""

    macs: int
    bytes: int


class Traffic(Storages):
    """Runs programs in evaluation mode and writes every kernel down; views are none.

    ``kernels`` holds those of each layer. Each tensor that a kernel reads or writes moves once; a
    copy that it makes of its input first is written and read again.
    """

    watched = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, training=False, exact=False)
        self.kernels: dict[str, list[Kernel]] = {}

    def ran(self, row: Row, read: Sequence[Any], made: Sequence[Tensor]) -> None:
        """Write the kernel of a primitive down."""
        if row.view:
            return
        tensors = {id(each): each for each in read if isinstance(each, Tensor)}
        size = sum(map(_moved, tensors.values())) + sum(tensor.bytes for tensor in made)
        size += _beside(row, made[0].itemsize)
        self.kernels.setdefault(self.layer, []).append(Kernel(row.macs, size))


def _beside(row: Row, itemsize: int) -> int:
    """Return the bytes of the tensors that a kernel makes beside its output."""
    return sum(
        numel(own.shape) * (own.itemsize or itemsize) * (2 if own.what == COPIED else 1)
        for own in row.makes
        if own.itemsize != 0
        if own not in row.results
    )


def _moved(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements; what is repeated without a copy moves once."""
    sizes = zip(tensor.shape, tensor.strides, strict=True)
    return numel(tuple(n for n, stride in sizes if stride)) * tensor.itemsize


def kernels(network: Network, setting: Setting) -> dict[str, list[Kernel]]:
    """Return the kernels of every layer of a forward pass in evaluation mode."""
    run = Traffic(setting)
    run.forward(network)
    return run.kernels
