"""The ways in which layers of a network are written, and what each tool counts of them then.

archcost's own module has a module of ``torch.nn`` for every layer. Where archcost has a layer, the
same network may hold a parameter of its own, call a function, or use a class of its own. Its
classifier may be linear layers, or convolutions on a map of one position. None of it changes what
the network computes, but it changes what counters of modules print, and counters of operations
where the operations are others. :data:`WRITINGS` says how, and who writes so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from archcost.conventions import Convention
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.ops import OPS
from archcost.shape import Shape, numel

Find = Callable[[Network], Iterable[Layer]]
"""Finds the layers of a network that are written in some way."""

Count = Callable[[Layer, Convention], int]
"""What a convention's tool counts of a layer that is so written."""


@dataclass(frozen=True)
class Writing:
    """A way to write layers.

    Attributes:
        words: the layers and how they are written.
        layers: finds the layers.
        count: what a tool counts of such a layer.
        by: who writes so: the models or families concerned, by collection; :data:`ANY` for all.
        guess: whether an unknown network may well be written in this way.
    """

    words: str
    layers: Find
    count: Count
    by: Mapping[str, Collection[str]]
    guess: bool = False

    def concerns(self, network: Network, collection: str, named: bool) -> bool:
        """Whether a collection writes a network so; ``named`` if it has this very one."""
        names = self.by.get(collection, ())
        return names is ANY or (named and not {network.name, network.family}.isdisjoint(names))


ANY = ("any",)


def _called(layer: Layer, rule: Convention) -> int:
    """Return the count of a layer that no module is, or one that holds other modules."""
    return rule.count(replace(layer, function=True))


def _of_a_class(layer: Layer, rule: Convention) -> int:
    """Return the count of a layer of another class than that of ``torch.nn``."""
    # torchinfo goes by the names of parameters, whatever the class
    return rule.count(layer) if rule.name == "torchinfo" else _called(layer, rule)


def _uncounted(layer: Layer, rule: Convention) -> int:
    return 0


def for_tools(names: str, count: Count) -> Count:
    """Return a count for these tools only, named in one text; others count the layer as it is."""
    tools = names.split()
    return lambda x, rule: count(x, rule) if rule.name in tools else rule.count(x)


def _with(layer: Layer, op: str, x: Shape = (), *args: Any, **kwargs: Any) -> Layer:
    """Return a layer of another op, on an input of the layer's shape or of shape ``x``."""
    return Layer.alone(OPS[op].create(args, kwargs), *((x,) if x else layer.shapes))


def written_as(make: Callable[[Layer], Layer]) -> Count:
    """Return the count of a layer that is written as another one."""
    return lambda layer, rule: rule.count(make(layer))


def together_with(make: Callable[[Layer], Layer]) -> Count:
    """Return the count of a layer beside which there is another one."""
    return lambda layer, rule: rule.count(layer) + rule.count(make(layer))


def _as_convolution(layer: Layer) -> Layer:
    """Return a linear layer as a 1x1 convolution, of one position where it has one token."""
    *positions, width = layer.shapes[0]
    x, bias = (width, *(positions or (1, 1))), "bias" in layer.cost.params
    return _with(layer, "conv", x, layer.cost.output[-1], 1, bias=bias)


def _as_linear(layer: Layer) -> Layer:
    x, bias = layer.shapes[0][:1], "bias" in layer.cost.params
    return _with(layer, "linear", x, layer.cost.output[0], bias=bias)


def _padded(layer: Layer) -> bool:
    """Whether a layer has a stride, and is not the first, which is not padded."""
    return getattr(layer.op, "stride", 1) != 1 and NETWORK_INPUT not in layer.inputs


def _of_the_padded(layer: Layer) -> Layer:
    """Return pooling as a function of a map that has been padded as TensorFlow's SAME pads."""
    kernel, stride = (getattr(layer.op, name) for name in ("kernel_size", "stride"))
    channels, *sides = layer.shapes[0]
    x = (channels, *(max((n - 1) // stride * stride + kernel, n) for n in sides))
    return replace(_with(layer, "maxpool", x, kernel, stride), function=True)


def _as_mean(layer: Layer) -> Layer:
    return _with(layer, "mean", (), [*range(1, len(layer.shapes[0]))], keepdim=True)


def _as_window(layer: Layer) -> Layer:
    _, *sides = layer.shapes[0]
    return _with(layer, "avgpool", (), sides if len({*sides}) > 1 else sides[0], stride=1)


def _attention_hook(layer: Layer, rule: Convention) -> int:
    """Return what ptflops counts of attention beside its projections.

    Its hooks multiply the queries by their scale, and take the products and the scores
    (ptflops/pytorch_ops.py, multihead_attention_counter_hook and timm_attention_counter_hook).
    """
    [scores] = layer.cost.fused
    return layer.cost.macs + numel(layer.cost.output) + numel(scores)


def _smaller_factor(layer: Layer, rule: Convention) -> int:
    return min(numel(shape) for shape in (*layer.shapes, *layer.cost.params.values()))


def of_op(*names: str, where: Callable[[Layer], bool] = lambda layer: True) -> Find:
    """Return what finds the layers of these ops."""
    return lambda network: (x for x in network if x.op.name in names and where(x))


def projections(attention: str) -> Find:
    """Return what finds the linear layers before and behind a network's attention."""

    def find(network: Network) -> Iterator[Layer]:
        around = {name for layer in of_op(attention)(network) for name in layer.inputs}
        inside = {layer.path for layer in of_op(attention)(network)}
        for layer in of_op("linear")(network):
            if layer.path in around or inside.intersection(layer.inputs):
                yield layer

    return find


_GLOBAL = ("global_avgpool", "adaptive_avgpool")


def _whole(layer: Layer) -> bool:
    """Whether a layer puts out one position: a pooling of the whole map, or after one."""
    return numel(layer.cost.output[1:]) == 1


def _leaves(layer: Layer) -> bool:
    return layer.shapes[0] == layer.cost.output


def _of_gates(network: Network) -> Iterator[Layer]:
    """Yield the global poolings before the convolutions of a gate."""
    read = {name for x in network if x.op.name == "conv" for name in x.inputs}
    return (x for x in of_op(*_GLOBAL, where=_whole)(network) if x.path in read)


def _flattened(network: Network) -> Iterator[Layer]:
    """Yield the layer that makes features of the last map, where no pooling comes before it."""
    for layer in of_op("flatten")(network):
        before = network.by_path.get(layer.inputs[0])
        if before is None or before.op.kind != "adaptive_pool":
            yield layer


def _classifier(network: Network) -> list[Layer]:
    """Return the linear layers of single vectors."""
    return [x for x in network if x.op.name == "linear" and len(x.shapes[0]) == 1]


def _unscaled(network: Network) -> Iterator[Layer]:
    """Yield the sums that no product by a number comes before."""
    scaled = {x.path for x in of_op("rescale")(network)}
    return (x for x in of_op("add")(network) if scaled.isdisjoint(x.inputs))


FUNCTIONS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "torchvision": {
        "densenet": ("head.*",),
        "googlenet": ("*relu*", "aux?.*"),
        "inception_v3": ("*relu*", "mixed*", "aux.*"),
        "mobilenet_v2": ("head.global_avgpool1",),
    },
    "timm": {"inception_v3": ("mixed*.avgpool1", "mixed*.maxpool1")},
}
"""The ReLUs and poolings that are functions, by collection, family and path."""


def called_as_functions(collection: str) -> Find:
    """Return what finds the layers that a collection calls as functions."""

    def find(network: Network) -> Iterator[Layer]:
        patterns = FUNCTIONS[collection].get(network.family, ())
        for layer in network:
            hooked = layer.op.name == "relu" or layer.op.kind in ("pool", "adaptive_pool")
            if hooked and any(fnmatchcase(layer.path, pattern) for pattern in patterns):
                yield layer

    return find


def _all_relu_but_the_last(network: Network) -> Iterator[Layer]:
    """Yield the ReLUs of a block, which ends in a sum, that are not its last one, nor a gate's."""
    sums = {x.path.rpartition(".")[0] for x in network if x.op.name == "add" and "." in x.path}
    for block in sums:
        inside = of_op("relu", where=lambda x: not _whole(x))(network)
        yield from [x for x in inside if x.path.startswith(f"{block}.")][:-1]


_PROFILER = "profiler"
THOP = "thop_2020_04 thop_2020_01 thop_2019_10 thop_2019_08 thop_2019_07 thop_2019_03"
"""Earlier versions of thop, the latest first."""

WRITINGS: tuple[Writing, ...] = (
    Writing(
        "the layers' scales are bare parameters, which it does not see",
        of_op("scale"), _called, {"torchvision": ANY, "timm": ANY},
    ),
    Writing(
        "it counts the products by the layers' scales, which are calls of a method",
        of_op("scale"), for_tools("ptflops calflops deepspeed", lambda x, _: numel(x.cost.output)),
        {"timm": ("convnext",)},
    ),
    Writing(
        "attention hands the weights of its linear layers to functions, which it does not see",
        projections("window_attention"), _called, {"torchvision": ANY},
    ),
    Writing(
        "the linear layers of nn.MultiheadAttention are bare parameters, which it does not see",
        projections("attention"), for_tools(f"torchinfo thop {THOP}", _uncounted),
        {"torchvision": ANY},
    ),
    Writing(
        "it has a hook of attention, which counts the products and the softmax",
        of_op("attention"), for_tools("ptflops ptflops_0.7", _attention_hook),
        {"torchvision": ANY},
    ),
    Writing(
        "it has a hook of timm's attention, which counts the products and the softmax",
        of_op("attention"), for_tools("ptflops", _attention_hook), {"timm": ANY},
    ),
    Writing(
        "that hook hides the linear layers in attention",
        projections("attention"), for_tools("ptflops", _uncounted), {"timm": ANY},
    ),
    Writing(
        "that hook adds the biases of its linear layers to every token",
        projections("attention"),
        for_tools("ptflops_0.7", lambda x, _: x.cost.macs + numel(x.cost.output)),
        {"torchvision": ANY},
    ),
    Writing(
        "batch normalisation is a class of its own that holds the activation",
        of_op("batchnorm"), _called,
        {"timm": ("densenet", "inception_v3", "inception_v4", "inception_resnet", "mobilenet_v2",
                  "regnet")},
    ),
    Writing(
        "the first batch normalisation is a class of its own that holds the activation",
        lambda network: [*of_op("batchnorm")(network)][:1], _called, {"timm": ("pnasnet",)},
    ),
    Writing(
        "layer normalisation is a class of its own", of_op("layernorm"), _of_a_class, {"timm": ANY}
    ),
    Writing(
        "GELU is a class of its own", of_op("gelu"), _called, {"timm": ("convnext", "convnextv2")}
    ),
    Writing(
        "convolutions with a stride pad by themselves, in a class of their own",
        of_op("conv", where=_padded), _of_a_class, {"timm": ("pnasnet",)},
    ),
    Writing(
        "max pooling with a stride is a function of the padded map",
        of_op("maxpool", where=_padded), written_as(_of_the_padded), {"timm": ("pnasnet",)},
    ),
    *(
        Writing(
            "some ReLUs and poolings are functions, of which its hooks do not know",
            called_as_functions(collection), _called, {collection: tuple(families)},
            guess=collection == "torchvision",
        )
        for collection, families in FUNCTIONS.items()
    ),
    Writing(
        "the mean of two answers is a division",
        of_op("rescale"), for_tools(_PROFILER, _uncounted), {"timm": ("vit",)},
    ),
    Writing(
        "sums are made in place",
        of_op("add"), for_tools(_PROFILER, _uncounted),
        {"torchvision": ("resnet", "convnext", "efficientnet", "efficientnet_v2", "mobilenet_v3"),
         "timm": ("resnet", "xception")},
    ),
    Writing(
        "products begin with the smaller factor",
        of_op("scale", "multiply"), for_tools(_PROFILER, _smaller_factor),
        {"torchvision": ("convnext", "efficientnet", "efficientnet_v2", "mobilenet_v3", "regnet")},
    ),
    Writing(
        "branches are multiplied by a scale also where it is 1",
        _unscaled, together_with(lambda x: _with(x, "rescale", x.cost.output, 1)),
        dict.fromkeys(("timm", "pytorchcv"), ("inception_resnet",)),
    ),
    Writing(
        "global pooling is a window of the map's size",
        of_op(*_GLOBAL, where=lambda x: _whole(x) and not _leaves(x)),
        written_as(_as_window), {"pytorchcv": ANY},
    ),
    Writing(
        "there is an adaptive pooling before the classifier, which leaves the map as it is",
        _flattened, together_with(lambda x: _with(x, "adaptive_avgpool", (), [*x.shapes[0][1:]])),
        {"torchvision": ("vgg",)},
    ),
    Writing(
        "there is no adaptive pooling before the classifier",
        of_op(*_GLOBAL, where=_leaves), _uncounted,
        {"timm": ("vgg",), "pytorchcv": ("vgg", "alexnet")},
    ),
    Writing(
        "there is a global pooling before the last layer",
        lambda network: _classifier(network)[-1:],
        together_with(lambda x: _with(x, "global_avgpool", (*x.shapes[0], 1, 1))),
        {"timm": ("vgg",)},
    ),
    Writing(
        "global pooling in gates is a mean",
        _of_gates, written_as(_as_mean), {"timm": ("regnet", "se_resnet")},
    ),
    Writing(
        "linear layers of blocks are 1x1 convolutions",
        of_op("linear", where=lambda x: len(x.shapes[0]) > 1), written_as(_as_convolution),
        {"timm": tuple(f"convnextv2_{size}" for size in ("atto", "femto", "pico", "nano"))},
    ),
    Writing(
        "hidden linear layers are 1x1 convolutions",
        lambda network: _classifier(network)[:-1], written_as(_as_convolution),
        {"timm": ("vgg",), "timm 0.1.26": ANY},
        guess=True,
    ),
    Writing(
        "1x1 convolutions of one position are linear layers",
        of_op("conv", where=lambda x: x.cost.macs == numel(x.shapes[0] + x.cost.output)),
        written_as(_as_linear),
        {"d-li14/mobilenetv3.pytorch": ANY},
        guess=True,
    ),
    Writing(
        "global pooling is a mean",
        of_op(*_GLOBAL, where=_whole), written_as(_as_mean), {},
        guess=True,
    ),
    Writing(
        "a block has one ReLU module, which runs several times",
        _all_relu_but_the_last, lambda x, rule: 0 if rule.last_run else rule.count(x),
        {"torchvision": ("resnet",), "timm": ("se_resnet",)},
        guess=True,
    ),
)  # fmt: skip
"""The ways in which layers are written otherwise than in archcost's own module."""
