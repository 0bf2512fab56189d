"""Tools that hook modules: torchinfo, ptflops, torchstat."""

from __future__ import annotations

from typing import Any

from archcost.conventions.facts import of
from archcost.conventions.operations import UNKNOWN
from archcost.conventions.recurrent import ALL, CELLS, NO_STEPS, RECURRENT, STEPS
from archcost.conventions.rule import FLOP, MAC, Convention, each, register
from archcost.ops.resample import NEIGHBOURS
from archcost.shape import numel


@of("linear")
def repeated(layer: Any) -> int:
    """MACs and bias additions of a linear layer on all tokens but one."""
    tokens = numel(layer.shapes[0][:-1])
    return (tokens - 1) * sum(map(numel, layer.cost.params.values()))


@of("conv_transpose")
def excess(layer: Any) -> int:
    """MACs of a transposed convolution at output positions, minus those at input positions."""
    apart = numel(layer.cost.output[1:]) - numel(layer.shapes[0][1:])
    return apart * numel(layer.cost.weight)


@of("conv_transpose")
def unbiased(layer: Any) -> int:
    """Output channels at input positions, of a transposed convolution without a bias."""
    return 0 if layer.op.bias else numel((layer.cost.output[0], *layer.shapes[0][1:]))


@of("interpolate")
def enlarged(layer: Any) -> int:
    """Elements of an interpolation's input times the factor of each axis, or of its output."""
    factors = layer.op.scale_factor
    if factors is None:
        return numel(layer.cost.output)
    axes = len(layer.shapes[0]) - 1
    elements = numel(layer.shapes[0])
    for factor in factors if isinstance(factors, tuple) else (factors,) * axes:
        elements *= factor
    return int(elements)


@of("layernorm")
def last(layer: Any) -> int:
    """Elements, where the features are last and the module is not a subclass."""
    [x] = layer.shapes
    return numel(x) if layer.op.are_last(x) else 0


@of("layernorm")
def last_affine(layer: Any) -> int:
    """Elements that are scaled by learnt factors, where the features are last."""
    return last(layer) if layer.op.affine else 0


@of("maxpool", "avgpool")
def around(layer: Any) -> int:
    """Elements that are added around the input before the function runs."""
    [x] = layer.shapes
    apart = layer.op.windows(x).apart or ((0, 0),) * (len(x) - 1)
    whole = (n + a + b for n, (a, b) in zip(x[1:], apart, strict=True))
    return numel((x[0], *whole)) - numel(x)


@of("deform_conv")
def offset_params(layer: Any) -> int:
    """Parameters of a convolution of its own that makes the offsets, for each output channel."""
    own = [shape for name, shape in layer.cost.params.items() if name.startswith("offset")]
    return numel((layer.op.out_channels, sum(map(numel, own))))


@of("lrn")
def padded(layer: Any) -> int:
    """Elements of the input with the zero channels that the window needs."""
    channels, *rest = layer.shapes[0]
    return numel((channels + layer.op.size - 1, *rest))


UNSEEN = each("attention window_attention matmul bilinear", "mac", -1)
NO_SPARSE = {"sparse_conv.mac": -1, "deform_conv.mac": -1}
"""MACs of modules of our own, of torchvision's and of a bilinear form, which no tool knows."""

POOLS = {
    **each("adaptive_maxpool global_maxpool adaptive_avgpool global_avgpool", "in"),
    **each("maxpool avgpool", "in"),
    **each("maxpool avgpool", "around"),
}
ROOTS = {"lppool.in": 1, "lppool.out": 2}
_BIASES = each("conv conv_transpose linear", "bias")
_UPSAMPLED = " ".join(f"interpolate[{mode}]" for mode in NEIGHBOURS)
_INTERPOLATED = each(_UPSAMPLED, "out")
_NORMS = {
    "batchnorm.in": 1, "batchnorm.bias": 1, "layernorm.last": 1,
    **each("groupnorm instancenorm", "in"), **each("groupnorm instancenorm", "affine"),
}  # fmt: skip

_TORCHINFO = {
    "mac": 1, **UNSEEN, **_BIASES, **each("sparse_conv deform_conv", "bias"),
    "linear.repeated": -1, "deform_conv.offsets": -1, "deform_conv.offset_params": 1,
    "conv_transpose.excess": 1,
    **each("batchnorm layernorm rmsnorm groupnorm instancenorm", "params"),
    **each("grn frn scale parameter bias prelu embedding embedding_bag bilinear", "params"),
    **each(RECURRENT, "biased"), **each(CELLS, "mac", -1), **each(CELLS, "crossed"),
}  # fmt: skip

# a module that calls a patched function is counted by its hook and by the patch
_PTFLOPS_BOTH = {**each("relu prelu elu gelu", "in"), **POOLS}
_PTFLOPS_HOOKS = {
    "mac": 1, "bilinear.mac": -1, **_BIASES, **_NORMS, "leaky_relu.in": 1, **_INTERPOLATED,
    **_PTFLOPS_BOTH, **STEPS,
}  # fmt: skip
_PTFLOPS = {
    **_PTFLOPS_HOOKS, "attention.mac": -1, **NO_SPARSE, **ROOTS,
    "lrn.in": 3, "lrn.padded": 1,
    **each("relu6 silu softmax", "in"), "window_attention.scores": 1,
    **{term: 2 * weight for term, weight in _PTFLOPS_BOTH.items()},
    "interpolate.enlarged": 1, "interpolate[area].in": 1,
}  # fmt: skip
_PTFLOPS_0_7 = {
    "mac": 1, **UNSEEN, **NO_SPARSE, **each("conv conv_transpose", "bias"), "linear.biases": 1,
    "conv_transpose.excess": 1, **_NORMS, **each("relu relu6 leaky_relu prelu elu gelu", "in"),
    **_INTERPOLATED, **POOLS, **STEPS,
}  # fmt: skip

_TORCHSTAT_FLOPS = {
    "mac": 1, **UNSEEN, **NO_STEPS, "deform_conv.mac": -1, "conv_transpose.mac": -1,
    **each("conv sparse_conv", "bias"),
    "batchnorm.in": 1, "batchnorm.bias": 1, **each(_UPSAMPLED, "positions"),
    **each("relu relu6 leaky_relu prelu elu maxpool avgpool", "in"),
}  # fmt: skip
_TORCHSTAT_MADD = {
    "mac": 2, **each(f"attention window_attention matmul deform_conv {ALL}", "mac", -2),
    **each("conv sparse_conv linear bilinear", "out", -1), **each("conv sparse_conv", "bias"),
    "conv_transpose.unbiased": -1, "batchnorm.in": 4, "relu.in": 1, "relu6.in": 1,
    "maxpool.window": 1, "maxpool.out": -1, "avgpool.window": 1,
    "softmax.in": 3, "softmax.calls": -1,
}  # fmt: skip
_2D = "2-D modules only; if a module runs twice, as a ReLU may, only its last run counts"

register(
    __name__,
    Convention(
        "torchinfo", "torchinfo's total mult-adds: weights and biases times output positions",
        _TORCHINFO, MAC, "torchinfo 1.8.0", "torchinfo/layer_info.py, calculate_macs",
        "a linear layer counts once for all tokens; parameters outside modules count 0",
        hooks=_TORCHINFO,
    ),
    Convention(
        "ptflops", "ptflops with its default backend: MACs, biases, and every element-wise layer",
        _PTFLOPS, MAC, "ptflops 0.7.5",
        "ptflops/pytorch_ops.py and pytorch_engine.py, backend 'pytorch'",
        "batch 1: functions are not divided by the batch; since 0.7.1 ReLU and pooling modules "
        "count twice, by their hook and by the function that they call",
        hooks=_PTFLOPS_HOOKS,
    ),
    Convention(
        "ptflops_0.7", "ptflops up to 0.7: MACs, biases, and every element-wise module",
        _PTFLOPS_0_7, MAC, "ptflops 0.7", "ptflops/pytorch_ops.py, MODULES_MAPPING",
        "modules of torch.nn only, functions and subclasses count 0; ResNet-50 has 4.12 GMac",
        hooks=_PTFLOPS_0_7,
    ),
    Convention(
        "ptflops_aten", "ptflops with backend 'aten': MACs and biases",
        {
            "mac": 1, "attention.fused": -1, **UNKNOWN, "deform_conv.offset_biases": 1,
            **each("conv linear", "bias"), "linear.apart": -1,
            "conv_transpose.bias_uncut": 1, **each(ALL, "biased"),
            "lstm.fused": -1, "lstm.fused_biased": -1,
        },
        MAC, "ptflops 0.7.5",
        "ptflops/aten_ops.py, ATEN_OPS_MAPPING",
        "a linear layer on rows that lie apart, as permuted ones do, adds its bias as an operation "
        "that is not counted",
        layouts=True,
    ),
    Convention(
        "torchstat_flops",
        "torchstat's Flops, which are MACs: with biases, ReLU, pooling, normalisation",
        _TORCHSTAT_FLOPS, MAC, "torchstat 0.0.7", "torchstat/compute_flops.py", _2D,
        hooks=_TORCHSTAT_FLOPS, last_run=True,
    ),
    Convention(
        "torchstat_madd", "torchstat's MAdd, which are FLOPs: products and sums apart",
        _TORCHSTAT_MADD, FLOP, "torchstat 0.0.7", "torchstat/compute_madd.py", _2D,
        hooks=_TORCHSTAT_MADD, last_run=True,
    ),
)  # fmt: skip
