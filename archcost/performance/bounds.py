"""How fast a network can be at best: the work that must be done, and the time that it takes.

Two figures, which answer different questions:

- The *hard bound* is a time that no execution of the same layers can beat. It is the larger of two
  times: that of the fewest operations at the device's highest rate, and that of the compulsory
  bytes at its bandwidth. Only convolutions and matrix products have operations; a convolution has
  the fewest that a fast algorithm could take (:func:`least_macs`). The bytes are the input, the
  parameters and the output, each moved once from memory. They are not in a cache.
- The *eager roofline* is the sum over the kernels that PyTorch launches one by one. Each kernel
  reads its inputs and parameters from memory, writes its outputs there, and does its operations
  directly. Caches, fused kernels and fast convolutions can beat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from archcost.analysis.parameters import param_bytes
from archcost.analysis.training import gradients
from archcost.hardware import Device
from archcost.network import Layer, Network, Value
from archcost.number import ceil_div
from archcost.optimizers import find_kernel, find_optimizer
from archcost.readings.traffic import kernels
from archcost.setting import Setting
from archcost.shape import Shape, numel

COMPUTE, MEMORY = "compute", "memory"
CONVOLUTION = "conv"

MOST_PAIRS = 1_000_000
"""Pairs of a window and a tap along one axis that are counted one by one."""


@dataclass(frozen=True, slots=True)
class Work:
    """Operations and bytes, and the seconds that they take at least.

    Attributes:
        flops: operations, two per multiply-accumulate.
        bytes: moved from and to memory.
        seconds: at the peaks of a device.
        binds: which of the two takes longer, ``"compute"`` or ``"memory"``, empty for no work.
    """

    flops: int = 0
    bytes: int = 0
    seconds: Fraction = Fraction(0)
    binds: str = ""

    @property
    def intensity(self) -> Fraction | None:
        """FLOPs per byte, None if no byte is moved."""
        return Fraction(self.flops, self.bytes) if self.bytes else None


def kernel(flops: int, size: int, peak: int, bandwidth: int) -> Work:
    """Return the work of one kernel, whose operations and bytes overlap: the slower takes it."""
    computing, moving = Fraction(flops, peak), Fraction(size, bandwidth)
    binds = COMPUTE if computing > moving else MEMORY if size else ""
    return Work(flops, size, max(computing, moving), binds)


def in_sequence(parts: Sequence[Work]) -> Work:
    """Return the sum of kernels, one after the other; what takes most of the time binds."""
    times = {
        kind: sum((part.seconds for part in parts if part.binds == kind), Fraction(0))
        for kind in (COMPUTE, MEMORY)
    }
    seconds = sum(times.values(), Fraction(0))
    binds = max(times, key=lambda kind: times[kind]) if seconds else ""
    return Work(sum(p.flops for p in parts), sum(p.bytes for p in parts), seconds, binds)


def least_products(
    windows: Shape, kernel: Shape, stride: Shape, pads: Sequence[int], dilation: Shape, size: Shape
) -> int:
    """Return how many products a convolution of one channel with one kernel takes at least.

    It is a product of a vector with a matrix of the kernel's weights. It takes as many
    multiplications as the matrix has independent columns, or rows (Winograd, Comm. Pure Appl. Math.
    23, 1970, theorem 1). All columns and rows with a weight are independent. The convolution
    therefore takes one product per position that any window reads, and one per window that reads
    any position. Along an axis with more pairs of a window and a tap than ``MOST_PAIRS``, only
    windows that start on the input are counted.
    """
    reading, read = [], []
    for n, k, s, pad, d, positions in zip(
        windows, kernel, stride, pads, dilation, size, strict=True
    ):
        if n * k > MOST_PAIRS:
            started = min(n, ceil_div(positions + pad, s)) - ceil_div(pad, s)
            reading.append(max(started, 0))
            read.append(0)
            continue
        pairs = [(window, window * s - pad + d * tap) for window in range(n) for tap in range(k)]
        inside = [(window, at) for window, at in pairs if 0 <= at < positions]
        reading.append(len({window for window, _ in inside}))
        read.append(len({at for _, at in inside}))
    return max(numel(tuple(reading)), numel(tuple(read)))


def least_macs(layer: Layer) -> int:
    """Return the MACs that a fast algorithm takes at least, of those that a layer counts.

    It sums over channels and features product by product, but may share products between
    neighbouring positions, as the convolutions of Winograd and by Fourier transform do.
    """
    taps = getattr(layer.op, "taps", None)
    if taps is None:
        return layer.cost.macs
    channels = layer.cost.weight[: 1 - len(layer.shapes[0])]
    return numel(channels) * least_products(*taps(*layer.shapes))


def hard_bound(network: Network, setting: Setting, training: bool = False, cached: int = 0) -> Work:
    """Return what no execution of the network on the setting's device can beat.

    With ``training``, a step: also the products for the gradients, as many again for each gradient.
    The parameters and the optimizer's state are read and written too. ``cached`` is the number of
    bytes that are in a cache already, because the previous pass left them there.

    Raises:
        ArchcostError: no device, or one without a peak for the data type.
    """
    device, batch, itemsize = setting.hardware, setting.batch, setting.itemsize
    known = gradients(network)
    macs = 0
    for layer in network:
        rows = layer.op.samples(batch) * layer.rows
        least = least_macs(layer) * rows
        passes = 1
        if training and least and layer.path in known.reached:
            needs = [known.tensors[name] for name in layer.inputs]
            trained = layer.path in known.trained
            if layer.op.kind == "recurrent":
                macs += sum(layer.op.backward_macs(needs, trained, *layer.shapes)) * rows
            elif (layer.cost.fused or layer.cost.products) and layer.op.kind != "conv":
                # attention multiplies activations, and both factors want a gradient
                passes += 2 * any(needs)
            else:
                passes += any(needs) + trained
        macs += least * passes
    sizes = [*param_bytes(network, itemsize).values()]
    moved = batch * sum(_bytes(value, itemsize) for value in network.inputs) + sum(sizes)
    if training:
        rule, how = find_optimizer(setting.optimizer), find_kernel(None, "cuda")
        moved += sum(sizes) + 2 * sum(rule.state(sizes, how, "cuda"))
    else:
        made = [network.values[name] for name in network.outputs]
        moved += batch * sum(_bytes(v, itemsize) for v in made if v not in network.inputs)
    moved = max(moved - cached, 0)
    return kernel(2 * macs, moved, device.peak(setting.dtype), device.bandwidth)


def _bytes(value: Value, itemsize: int) -> int:
    return value.elements * value.itemsize(itemsize)


@dataclass(frozen=True, slots=True)
class Precision:
    """Which float32 products may be computed as TF32; PyTorch's defaults."""

    convolutions: bool = True
    products: bool = False

    def peak(self, device: Device, dtype: str, kind: str) -> int:
        """Return the FLOP/s for a layer of that kind."""
        return device.peak(dtype, self.convolutions if kind == CONVOLUTION else self.products)


def eager_layers(
    network: Network, setting: Setting, precision: Precision | None = None
) -> dict[str, Work]:
    """Return the eager roofline of every layer in inference.

    Raises:
        ArchcostError: no device, or one without a peak for the data type.
    """
    device = setting.hardware
    precision = precision or Precision()
    found = kernels(network, setting)
    layers = {}
    for layer in network:
        peak = precision.peak(device, setting.dtype, layer.op.kind)
        layers[layer.path] = in_sequence([
            kernel(2 * each.macs, each.bytes, peak, device.bandwidth)
            for each in found.get(layer.path, ())
        ])  # fmt: skip
    return layers
