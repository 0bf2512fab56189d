"""Receptive field: which stretch of the input one output value can see, along each axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from archcost.network import NETWORK_INPUT, Network
from archcost.ops.base import EVERYWHERE
from archcost.shape import Shape

Axis = tuple[int | Fraction, int | Fraction]


@dataclass(frozen=True, slots=True)
class Field:
    """The receptive field of a layer's output, per spatial axis of the network's input.

    ``size`` counts input positions, not cut at the border; ``jump`` is the distance in the input
    between the fields of two neighbours.
    """

    size: tuple[int | Fraction, ...]
    jump: tuple[int | Fraction, ...]

    def __str__(self) -> str:
        """Return ``11x11``."""
        return "x".join(
            str(size) if size == int(size) else f"{float(size):g}" for size in self.size
        )


def receptive_fields(network: Network) -> Mapping[str, Field]:
    """Return the field of every layer, the largest over all paths to it.

    A window of kernel k at stride s adds (k − 1)·jump to the size and multiplies the jump by s
    (Araujo, Norris & Sim, Distill 2019, equations 1 and 2).
    """
    axes = max(len(network.input) - 1, 0)
    start = Field((1,) * axes, (1,) * axes)
    fields = {NETWORK_INPUT: start}
    for layer in network:
        seen = [fields[name] for name in layer.inputs]
        size = tuple(max(f.size[i] for f in seen) for i in range(axes))
        jump = tuple(_jump(seen, layer.shapes, i) for i in range(axes))
        windows = layer.op.window(*layer.shapes)
        if windows == EVERYWHERE:
            size = tuple(max(r, n) for r, n in zip(size, network.input[1:], strict=True))
            jump = (0,) * axes  # its neighbours see the same, and no window widens that
        elif len(windows) == axes:  # else the axes were mixed before, and these are other ones
            size = tuple(r + (k - 1) * j for r, j, (k, _) in zip(size, jump, windows, strict=True))
            jump = tuple(j * s for j, (_, s) in zip(jump, windows, strict=True))
        fields[layer.path] = Field(size, jump)
    del fields[NETWORK_INPUT]
    return fields


def _jump(seen: Sequence[Field], shapes: Sequence[Shape], axis: int) -> int | Fraction:
    """Return the largest jump of the inputs; one value that is repeated along an axis has none."""
    along = [
        field.jump[axis]
        for field, shape in zip(seen, shapes, strict=True)
        if len(shape) == len(field.jump) + 1 and shape[axis + 1] > 1
    ]
    return max(along or [field.jump[axis] for field in seen])
