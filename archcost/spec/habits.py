"""What people who come from PyTorch, Keras or Caffe write by habit, and archcost reads otherwise.

Examples are a batch in the input, channels last, input channels as an argument, and dimensions that
count the batch. Such a spec is read as it is written. A remark says how it was read, and what was
probably meant. Nothing is remarked on where the spec names its arguments, as in ``conv(3,
kernel_size=64)``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from archcost.errors import written
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops import Op
from archcost.shape import Shape, show
from archcost.units import number_of

INPUT, ARGUMENTS, DIMENSIONS = "input", "arguments", "dimensions"

PICTURES = (1, 3)
"""The channels of a picture: grey and coloured."""
LEAST_SIDE = 16
"""A side that no number of channels of a picture has, and hardly a kernel."""
LARGEST_KERNEL = 11
SLIDING = ("conv", "pool")
TOLD = ("batchnorm", "interpolate", "flatten", "reshape")
"""Ops whose arguments without names may tell a habit, beside convolutions and those that follow."""
MAPS_BY_DIM = ("concat", "chunk", "softmax", "log_softmax", "softmin", "glu", "max", "min")
"""Ops that on a map hardly ever work along its height, which is dim 1."""


def meant_input(shape: Shape) -> Shape | None:
    """Return the shape that a batch or channels behind a picture were written around, if any."""
    if len(shape) == 4 and shape[1] in PICTURES and min(shape[2:]) >= LEAST_SIDE // 2:
        return shape[1:]
    if len(shape) == 4 and shape[3] in PICTURES and min(shape[1:3]) >= LEAST_SIDE:
        return (shape[3], *shape[1:3])
    if len(shape) == 3 and shape[2] in PICTURES and min(shape[:2]) >= LEAST_SIDE:
        return (shape[2], *shape[:2])
    return None


def input_habit(network: Network) -> str:
    """Return how the input is read and what was probably meant, or nothing if it looks right."""
    shape, meant = network.input, meant_input(network.input)
    square = len(shape) == 2 and shape[0] == shape[1] >= LEAST_SIDE
    slides = [layer for layer in network if layer.op.kind in SLIDING] if meant or square else []
    if not slides or any(_has_three_axes(layer.op) for layer in network):
        return ""
    read = f"{show(shape)} is read as {number_of(shape[0], 'channel')} of {show(shape[1:])}"
    if meant:
        whys = ["the batch is no part of an input"] if len(shape) == 4 else []
        whys += ["the channels come first"] if meant[0] == shape[-1] != meant[-1] else []
        return f"{read}; {', and '.join(whys)}: write {show(meant)}"
    if NETWORK_INPUT in slides[0].inputs:
        return f"{read}, along one axis; a picture with one channel is 1x{show(shape)}"
    return ""


def _has_three_axes(op: Op) -> bool:
    """Whether an op has a number for each of three axes, as on a volume."""
    names = ("kernel_size", "stride", "padding", "dilation", "output_size")
    values = (getattr(op, name, None) for name in names)
    return any(isinstance(value, tuple) and len(value) == 3 for value in values)


def layer_habits(network: Network) -> Iterator[tuple[Layer, str, str]]:
    """Yield layers of an expanded spec with the kind of a remark and its text."""
    for layer in network:
        args, name = layer.op.unnamed, layer.op.name
        if name not in MAPS_BY_DIM and not (args and (name in TOLD or layer.op.kind == "conv")):
            continue
        if text := _torch_order(layer, args) or _factor(layer, args):
            yield layer, ARGUMENTS, text
        elif text := _torch_dimensions(network, layer, args) or _tokens(network, layer):
            yield layer, DIMENSIONS, text


def _torch_order(layer: Layer, args: Sequence[Any]) -> str:
    """Return what is said of ``conv(3, 64, 3)``, in which PyTorch has what comes in first."""
    channels = layer.shapes[0][0]
    if layer.op.name == "batchnorm" and args and args[0] == channels:
        return f"batchnorm({channels}) is read as eps = {channels}; what comes in is inferred: " \
            "write batchnorm"  # fmt: skip
    if layer.op.name not in ("conv", "conv_transpose") or len(args) < 3 or args[0] != channels:
        return ""
    out, kernel, stride = (
        max(arg) if isinstance(arg, list) and all(isinstance(one, int) for one in arg) and arg
        else arg if isinstance(arg, int) else 0
        for arg in args[:3]
    )  # fmt: skip
    picture = layer.inputs[0] == NETWORK_INPUT and channels <= 4 and kernel >= max(5, stride)
    unusual = kernel >= 6 and kernel % 2 == 0 and stride >= 3 and stride % 2 == 1
    large = kernel >= LEAST_SIDE
    if not (picture or unusual or large) or not 0 < stride <= LARGEST_KERNEL:
        return ""
    name, rest = layer.op.name, ", ".join(map(written, args[1:]))
    return (
        f"{name}({out}, {rest}) is read as {number_of(out, 'output')}, a kernel of {kernel} and a "
        f"stride of {stride}; what comes in is inferred: write {name}({rest})"
    )


def _tokens(network: Network, layer: Layer) -> str:
    """Return what is said of ``embedding(100, 8) >> conv(16, 5)``, whose channels are tokens."""
    before = network.by_path.get(layer.inputs[0])
    if layer.op.kind != "conv" or before is None or before.op.name != "embedding":
        return ""
    tokens, *features = layer.shapes[0]
    if len(features) != 1:
        return ""
    return (
        f"{layer.op.name} reads {show(layer.shapes[0])} as {tokens} channels, and embedding gives "
        "tokens x features: write permute([1, 0]) before it"
    )


def _factor(layer: Layer, args: Sequence[Any]) -> str:
    """Return what is said of ``interpolate(2)``, in which 2 is a size."""
    size = args[0] if args else None
    if layer.op.name != "interpolate" or not isinstance(size, int) or isinstance(size, bool):
        return ""
    if size > 8 or size >= min(layer.shapes[0][1:]):
        return ""
    return f"interpolate({size}) is read as the size {show(layer.cost.output[1:])}; a factor is " \
        f"scale_factor={size}"  # fmt: skip


def _torch_dimensions(network: Network, layer: Layer, args: Sequence[Any]) -> str:
    """Return what is said of dimensions that seem to count the batch."""
    name, shape, output = layer.op.name, layer.shapes[0], layer.cost.output
    if name == "flatten" and tuple(args) == (1,) and len(shape) == 3:
        readers = [other for other in network if layer.path in other.inputs]
        if any(reader.op.name in ("linear", "dropout") for reader in readers):
            return (
                f"flatten(1) keeps the {shape[0]} channels apart, and linear works on each; the "
                "batch is no dimension: write flatten"
            )
    if name in MAPS_BY_DIM and len(shape) == 3 and getattr(layer.op, "dim", 0) == 1:
        return (
            f"dim 1 of {show(shape)} is the height; the batch is no dimension: the channels are "
            "dim 0 (and the height dim -2)"
        )
    if name == "reshape" and args and output[0] == 1 < len(output) and args[0][0] == -1:
        return "-1 is 1 here; the batch is no dimension: leave it out"
    return ""


# Arguments that are refused.

NORMS = ("batchnorm", "instancenorm", "layernorm")


def meant_call(
    name: str, args: Sequence[Any], named: Sequence[str], x: Shape, calls: Collection[str] = ()
) -> str:
    """Return what to write for a call that is refused, if it has PyTorch's arguments.

    Args:
        name: the op.
        args: its arguments without names.
        named: the names of its other arguments.
        x: the shape that it reads, empty if that is not known.
        calls: what may be called.
    """
    if words := [arg for arg in args if isinstance(arg, str) and arg in calls]:
        return f"; inside a call it is written {words[0]}()"
    inferred = "; what comes in is inferred: write "
    numbers = [arg for arg in args if isinstance(arg, (int, list)) and not isinstance(arg, bool)]
    if len(numbers) != len(args) or not args:
        return ""
    rest = ", ".join(map(written, args[1:]))
    if name in ("conv", "conv_transpose"):
        if len(args) == 2 and "kernel_size" in named:
            return f"{inferred}{name}({rest}, kernel_size=...)"
        large = isinstance(args[-1], int) and isinstance(args[1 % len(args)], int)
        if len(args) >= 3 and ((x and args[0] == x[0]) or (large and args[1] >= LEAST_SIDE)):
            return f"{inferred}{name}({rest})"
    if name == "linear" and len(args) == 2:
        return f"{inferred}linear({rest})"
    if name == "attention" and len(args) == 2:
        return f"{inferred}attention({rest})"
    if name == "groupnorm" and len(args) == 2:
        return f"{inferred}groupnorm({written(args[0])})"
    if name == "prelu":
        return "; one slope for each channel is prelu(per_channel=True)"
    if name in NORMS and args[0] not in (0, 1):
        return f"{inferred}{name}"
    return ""
