"""How fast a network can be at best: the work that must be done, and the time that it takes.

Two figures, which answer different questions:

- The *hard bound* is what no execution can beat that computes the layers as they stand: of the
  least operations at the device's highest rate, and the compulsory bytes at its bandwidth, the
  slower. Operations are those of convolutions and matrix products only; of a convolution, the
  least that a fast algorithm could take (:meth:`archcost.ops.base.Op.least_macs`). Bytes are the
  input, the parameters and the output, each moved once, from memory: a pass that finds them in a
  cache, left there by the pass before, is another matter.
- The *eager roofline* is the sum over the kernels that PyTorch launches one by one: each reads its
  inputs and parameters from memory and writes its outputs there, and does its operations directly.
  Caches, fused kernels and fast convolutions can beat it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from archcost.analysis.training import gradients
from archcost.errors import OpError
from archcost.hardware import CPU, Device
from archcost.memory.optimizers import find_kernel, find_optimizer
from archcost.memory.saved import Place, own_bytes, place_of, tensor_places
from archcost.network import Layer, Network
from archcost.ops.base import INPUT, OUTPUT
from archcost.ops.steps import Step
from archcost.shape import Shape, numel
from archcost.units import dtype_bytes

COMPUTE, MEMORY = "compute", "memory"
CONVOLUTION = "conv"


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


def hard_bound(
    network: Network,
    device: Device,
    batch: int = 1,
    dtype: str = "float32",
    training: bool = False,
    optimizer: str = "sgd-momentum",
    cached: int = 0,
) -> Work:
    """Return what no execution of the network on the device can beat.

    With ``training``, a step: also the products for the gradients, as many again for each gradient
    that is asked for, and the parameters and the optimizer's state, which are read and written.
    Of the bytes, ``cached`` are taken to lie in a cache already, as the pass before may leave them.

    Raises:
        ArchcostError: the device has no peak for the data type.
    """
    known, itemsize = gradients(network), dtype_bytes(dtype)
    macs = 0
    for layer in network:
        least = layer.op.least_macs(*layer.shapes)
        passes = 1
        if training and least and layer.path in known.reached:
            attends = layer.cost.work.get("fused_mac", 0) or layer.cost.work.get("inner_mac", 0)
            wanted = any(known.tensors[name] for name in layer.inputs)
            # attention multiplies activations, and both factors want a gradient
            passes += 2 * wanted if attends else wanted + (layer.path in known.trained)
        macs += least * passes
    sizes = [numel(shape) * itemsize for layer in network for shape in layer.cost.params.values()]
    moved = batch * itemsize * numel(network.input) + sum(sizes)
    if training:
        rule, how = find_optimizer(optimizer), find_kernel(None, "cuda")
        moved += sum(sizes) + 2 * sum(rule.state(sizes, how, "cuda"))
    else:
        shapes = [network[name].cost.output for name in network.outputs if name != INPUT]
        moved += batch * itemsize * sum(map(numel, shapes))
    moved = max(moved - cached, 0)
    return kernel(2 * macs * batch, moved, device.peak(dtype), device.bandwidth)


@dataclass(frozen=True, slots=True)
class Precision:
    """Which float32 products may be computed as TF32; PyTorch's defaults."""

    convolutions: bool = True
    products: bool = False

    def peak(self, device: Device, dtype: str, kind: str) -> int:
        """Return the FLOP/s for a layer of that kind."""
        return device.peak(dtype, self.convolutions if kind == CONVOLUTION else self.products)


def eager_layers(
    network: Network,
    device: Device,
    batch: int = 1,
    dtype: str = "float32",
    precision: Precision | None = None,
) -> tuple[dict[str, Work], list[str]]:
    """Return the eager roofline of every layer in inference, and the layers taken as one kernel.

    A layer is taken as one kernel, which is too few, if its steps are not known.

    Raises:
        ArchcostError: the device has no peak for the data type.
    """
    precision = precision or Precision()
    itemsize = dtype_bytes(dtype)
    places = tensor_places(network, batch, itemsize=itemsize)
    rules = "cpu" if device.kind == CPU else "cuda"
    layers, whole = {}, []
    for layer in network:
        peak = precision.peak(device, dtype, layer.op.kind)
        steps = kernel_steps(layer)
        if steps is None:
            whole.append(layer.path)
            steps = (Step(),)
        moved = [_moved(layer, step, steps, places, batch, itemsize, rules) for step in steps]
        macs = layer.cost.work.get("mac", 0) * batch
        multiplying = _multiplies(layer, steps)
        layers[layer.path] = in_sequence([
            kernel(
                2 * macs // len(multiplying) if step in multiplying else 0, size, peak,
                device.bandwidth,
            )
            for step, size in zip(steps, moved, strict=True)
        ])  # fmt: skip
    return layers, whole


def kernel_steps(layer: Layer) -> tuple[Step, ...] | None:
    """Return the operations inside a layer in evaluation, None if they are not known."""
    if layer.op.passes_through(False, *layer.shapes):
        return ()
    try:
        return layer.op.steps(*layer.shapes)
    except OpError:
        return None


def _multiplies(layer: Layer, steps: Sequence[Step]) -> Sequence[Step]:
    """Return the steps that do the layer's products, in equal parts.

    They are those that say so, or else the first with a parameter, or the last.
    """
    if products := [step for step in steps if step.multiplies]:
        return products
    weighted = [step for step in steps if (step.params is None and layer.cost.params)
                or step.params]  # fmt: skip
    return [*weighted, *steps[::-1]][:1]


def _moved(
    layer: Layer, step: Step, steps: Sequence[Step], places: Mapping[str, Place], batch: int,
    itemsize: int, device: str,
) -> int:  # fmt: skip
    """Return the bytes that a step reads and writes; a view moves none."""
    if step.view or (step.makes == OUTPUT and places[layer.path].owner != layer.path):
        return 0
    cost, sample = layer.cost, batch * itemsize
    made: dict[int | str, Shape] = dict(enumerate(layer.shapes))
    made |= {s.makes: cost.output if s.shape is None else s.shape for s in steps}
    reads = range(len(layer.shapes)) if step.reads is None else dict.fromkeys(step.reads)
    alone: set[int | str] = {s.makes for s in steps if not s.per_batch}
    width: dict[int | str, int] = {s.makes: s.itemsize or itemsize for s in steps}
    size = sum(
        numel(made[name]) * width.get(name, itemsize) * (1 if name in alone else batch) * times
        for name, times in [(step.makes, 1), *((name, step.repeats) for name in reads)]
    )
    params = cost.params if step.params is None else step.params
    size += itemsize * sum(numel(cost.params[name]) for name in params)
    if step.params is None:
        # a buffer without dimensions counts steps, which evaluation does not read
        size += itemsize * sum(numel(shape) for shape in cost.buffers.values() if shape)
    for saved in cost.saved:
        name = saved.index if saved.what == INPUT else saved.what
        if step.keeps is not None and name not in step.keeps:
            continue
        if place_of(saved, layer, places)[1]:  # it is copied first
            size += 2 * sample * numel(layer.shapes[saved.index])
        elif name not in made and saved.device in (None, device) and not saved.training:
            size += own_bytes(saved, layer, places, False, itemsize)
    return size
