"""Counting conventions as data: integer weights over the work terms that the ops emit.

An op says what work it does, as raw counts by term; a convention says what each term is worth.
So the number that a tool prints is a weighted sum, and the difference of two tools is the
difference of their weights, term by term (see ``archcost.analysis.reconcile``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archcost.errors import LookupFailed
from archcost.ops import Cost
from archcost.shape import numel

TERMS: Mapping[str, str] = {
    "mac": "multiply-accumulates of convolutions, linear layers and matrix products",
    "conv_bias_add": "additions of a convolution's bias, one per output element",
    "conv_bias_param": "elements of a convolution's bias",
    "linear_bias_add": "additions of a linear layer's bias, one per output element",
    "repeated_token_mac": "MACs of a linear layer on all tokens but one",
    "repeated_token_bias": "bias additions of a linear layer on all tokens but one",
    "dot_products": "sums of products of convolutions and linear layers; n products, n − 1 sums",
    "fused_mac": "the part of the MACs that attention does in one fused function",
    "inner_mac": "the part of the MACs that attention does by matrix products of its own",
    "conv_1d_3d_mac": "the part of the MACs that ordinary 1-D and 3-D convolutions do",
    "sparse_mac": "the part of the MACs that convolutions with listed connections do",
    "sparse_bias_add": "the part of the bias additions that such convolutions do",
    "transpose_mac": "the part of the MACs that transposed convolutions do",
    "transpose_excess": "transposed convolution: MACs at output minus at input positions",
    "transpose_group_deficit": "transposed convolution: MACs lost if groups divide twice",
    "transpose_bias_add": "transposed convolution: bias additions, one per output element",
    "transpose_bias_in": "transposed convolution: bias additions at input positions",
    "transpose_bias_shrunk": "transposed convolution: bias additions at the positions and channels "
    "that an ordinary convolution of the same settings would leave",
    "batchnorm": "elements that a batch normalisation shifts and divides",
    "batchnorm_affine": "elements that a batch normalisation scales and shifts by parameters",
    "norm_param": "parameters of normalisations",
    "layernorm": "elements of a layer normalisation",
    "layernorm_first": "the part of these where the features are not the last dimension",
    "groupnorm": "elements of a group normalisation",
    "instancenorm": "elements of an instance normalisation",
    "lrn": "elements of a local response normalisation",
    "lrn_padded": "those elements with the zero channels that the window needs",
    "scale": "elements that a learnt factor per channel multiplies",
    "scale_bias": "elements to which a learnt addend per channel is added",
    "relu": "elements of a ReLU that is a module",
    "function_relu": "elements of a ReLU that is called as a function",
    "relu6": "elements of a ReLU6",
    "leaky_relu": "elements of a leaky ReLU",
    "prelu": "elements of a PReLU",
    "prelu_param": "slopes of a PReLU",
    "silu": "elements of a SiLU",
    "gelu": "elements of a GELU",
    "hardswish": "elements of a hardswish",
    "hardsigmoid": "elements of a hardsigmoid",
    "sigmoid": "elements of a sigmoid",
    "tanh": "elements of a hyperbolic tangent",
    "softmax": "elements of a softmax",
    "function_softmax": "elements of a softmax that is called as a function",
    "softmax_rows": "sums of a softmax",
    "softmax_calls": "softmax layers",
    "dropout": "elements of a dropout",
    "maxpool_in": "input elements of a max pooling module",
    "maxpool_out": "output elements of a max pooling module",
    "maxpool_window": "elements in all windows of a max pooling module",
    "avgpool_in": "input elements of an average pooling module",
    "avgpool_out": "output elements of an average pooling module",
    "avgpool_window": "elements in all windows of an average pooling module",
    "adaptive_maxpool_in": "input elements of an adaptive or global max pooling module",
    "adaptive_avgpool_in": "input elements of an adaptive or global average pooling module",
    "adaptive_avgpool_out": "output elements of an adaptive or global average pooling module",
    "adaptive_avgpool_2d_in": "input elements of a 2-D adaptive or global average pooling, "
    "module or function",
    "function_pool_in": "input elements of any pooling that is called as a function",
    "mean": "input elements of a mean over dimensions",
    "roi_pool": "output elements of a pooling of regions",
    "max_unpool": "output elements of an unpooling",
    "interpolate_nearest": "output elements of a nearest-neighbour interpolation",
    "interpolate_bilinear": "output elements of a bilinear interpolation",
    "interpolate_bicubic": "output elements of a bicubic interpolation",
    "interpolate_positions": "output positions of an interpolation",
    "interpolate_sized_positions": "output positions of an interpolation to a given size",
    "interpolate_scaled_in": "input elements of an interpolation by a given factor",
    "interpolate_scaled_out": "output elements of an interpolation by a given factor",
    "add": "additions of tensors, element by element",
    "multiply": "products of tensors, element by element",
    "multiply_first": "elements of the first factor of such a product, before it is repeated",
    "rbf": "differences to a centre, squared and summed",
}
"""Every kind of work that an op emits, per sample, with its meaning."""

MAC, FLOP = "MAC", "FLOP"


@dataclass(frozen=True)
class Convention:
    """A way to count operations.

    Attributes:
        name: how the command line calls it.
        title: what it counts, in a line.
        weights: integer weight per term of :data:`TERMS`; other terms count 0.
        unit: ``"MAC"`` if a multiply-accumulate counts 1, ``"FLOP"`` if it counts 2.
        tool_version: the version of the tool that counts so, empty for a definition.
        source: where the rules stand.
        note: limits, and whether the weights were compared with a run of the tool.
    """

    name: str
    title: str
    weights: Mapping[str, int]
    unit: str
    tool_version: str = ""
    source: str = ""
    note: str = ""

    def count(self, work: Mapping[str, int]) -> int:
        """Return what the work of a layer, or of a network, counts under this convention."""
        return sum(weight * work.get(term, 0) for term, weight in self.weights.items())


@dataclass(frozen=True)
class Activations:
    """Which outputs count as activations, in elements.

    Attributes:
        name: how the command line calls it.
        title: what it counts, in a line.
        kinds: the kinds of op (``Op.kind``) whose output counts.
        counts_input: whether the network's input counts too.
        source: where the rule stands.
        unfused: whether the products count that a fused function hides.
    """

    name: str
    title: str
    kinds: frozenset[str]
    counts_input: bool
    source: str = ""
    unfused: bool = False

    def count(self, kind: str, cost: Cost) -> int:
        """Return the elements that count of a layer of that kind of op, for one sample."""
        if kind not in self.kinds:
            return 0
        inside = cost.products + cost.fused if self.unfused else cost.products
        return numel(cost.output) + sum(map(numel, inside))


def find_convention(name: str) -> Convention:
    """Return the counting convention ``name``, or raise LookupFailed with the nearest one."""
    if name not in CONVENTIONS:
        raise LookupFailed("convention", name, CONVENTIONS)
    return CONVENTIONS[name]


def find_activations(name: str) -> Activations:
    """Return the activation convention ``name``, or raise LookupFailed with the nearest one."""
    if name not in ACTIVATIONS:
        raise LookupFailed("activation convention", name, ACTIVATIONS)
    return ACTIVATIONS[name]


_MULTIPLY_ADDS = {"mac": 1}

_FVCORE = {
    "mac": 1, "fused_mac": -1,
    "batchnorm": 1, "batchnorm_affine": 1, "layernorm": 5, "groupnorm": 5, "instancenorm": 4,
    "adaptive_avgpool_2d_in": 1, "interpolate_nearest": 1, "interpolate_bilinear": 4,
}  # fmt: skip

# attention is not fused when timm counts, and its pooling is a mean, which fvcore does not see
_UNSEEN = ("fused_mac", "adaptive_avgpool_2d_in")
_TIMM = {term: weight for term, weight in _FVCORE.items() if term not in _UNSEEN}

_ALL_BIASES = {"conv_bias_add": 1, "transpose_bias_add": 1, "linear_bias_add": 1}

# convolutions with listed connections are a function and a sum in a module of our own
_NO_SPARSE = {"sparse_mac": -1}
_NO_SPARSE_BIAS = {"sparse_bias_add": -1}

# a module that calls a patched function is counted by its hook and by the patch
_PTFLOPS = {
    "mac": 1, "fused_mac": -1, **_ALL_BIASES, **_NO_SPARSE, **_NO_SPARSE_BIAS,
    "batchnorm": 1, "batchnorm_affine": 1, "lrn": 3, "lrn_padded": 1,
    "layernorm": 1, "layernorm_first": -1, "groupnorm": 2, "instancenorm": 1,
    "relu": 2, "function_relu": 1, "relu6": 1, "leaky_relu": 1, "prelu": 2, "silu": 1, "gelu": 2,
    "softmax": 1, "function_softmax": 1,
    "interpolate_nearest": 2, "interpolate_bilinear": 2, "interpolate_bicubic": 2,
    "maxpool_in": 2, "avgpool_in": 2, "adaptive_maxpool_in": 2, "adaptive_avgpool_in": 2,
    "function_pool_in": 1,
}  # fmt: skip

_CALFLOPS_MACS = {"mac": 1, "fused_mac": -1, "transpose_group_deficit": -1}
_ELEMENT_WISE = {
    **_NO_SPARSE_BIAS,
    "batchnorm": 1, "batchnorm_affine": 1, "lrn": 3, "lrn_padded": 1,
    "layernorm": 5, "groupnorm": 5, "instancenorm": 4,
    "relu": 1, "function_relu": 1, "leaky_relu": 1, "prelu": 1, "silu": 1, "gelu": 1,
    "softmax": 1, "function_softmax": 1, "interpolate_sized_positions": 1,
    "maxpool_in": 1, "avgpool_in": 1, "adaptive_maxpool_in": 1, "adaptive_avgpool_in": 1,
    "function_pool_in": 1,
}  # fmt: skip
_DEEPSPEED_SOURCE = "deepspeed/profiling/flops_profiler/profiler.py, _patch_functionals"

CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention(
            "macs",
            "multiply-accumulates of conv, linear and matmul, without bias; most papers' FLOPs",
            _MULTIPLY_ADDS,
            MAC,
            source="He et al. 2015, table 1: FLOPs (multiply-adds)",
        ),
        Convention(
            "flops",
            "two operations per multiply-accumulate",
            {"mac": 2},
            FLOP,
            source="a multiplication and an addition",
        ),
        Convention(
            "torch",
            "torch.utils.flop_counter.FlopCounterMode: conv and matmul, 2 per MAC",
            {"mac": 2},
            FLOP,
            "torch 2.13.0",
            "torch/utils/flop_counter.py, flop_registry",
            "forward pass; its backward over-counts grouped convolutions",
        ),
        Convention(
            "profiler",
            "torch.profiler with_flops: 2-D conv and matmul, 2 per MAC; sums, products",
            {
                "mac": 2, "fused_mac": -2,
                "conv_1d_3d_mac": -2, "transpose_mac": -2, "sparse_bias_add": 1,
                "add": 1, "multiply_first": 1, "lrn": 3, "scale": 1, "scale_bias": 1,
            },
            FLOP,
            "torch 2.13.0",
            "torch/csrc/profiler/util.cpp, computeFlops",
            "counts conv2d, mm, addmm, bmm, baddbmm, add and mul; 1-D, 3-D and transposed "
            "convolutions and work in place count 0",
        ),
        Convention(
            "torchvision",
            "GFLOPS of torchvision's model pages: MACs of conv, mm, addmm and bmm",
            _MULTIPLY_ADDS,
            MAC,
            "torchvision 0.28.0",
            "pytorch/vision, test/common_extended_utils.py, flop_mapping",
            "compared with the rounded figures that the package carries (meta['_ops'])",
        ),
        Convention(
            "fvcore",
            "fvcore's FlopCountAnalysis: MACs, batch normalisation, 2-D adaptive average pooling",
            _FVCORE,
            MAC,
            "fvcore 0.1.5.post20221221",
            "fvcore/nn/flop_count.py, _DEFAULT_SUPPORTED_OPS",
        ),
        Convention(
            "timm",
            "GMACs of timm's results: fvcore's, attention by its products, pooling as a mean",
            _TIMM,
            MAC,
            "timm 1.0",
            "huggingface/pytorch-image-models, benchmark.py, profile_fvcore, global_pool='fast'",
            "not run here: the printed digits of 173 rows of results/ are these; model cards of "
            "ViT count as fvcore, with fused attention",
        ),
        Convention(
            "torchinfo",
            "torchinfo's total mult-adds: weights and biases times output positions",
            {
                "mac": 1, "repeated_token_mac": -1, "repeated_token_bias": -1,
                "fused_mac": -1, "inner_mac": -1,
                "transpose_excess": 1, **_ALL_BIASES, "norm_param": 1, "prelu_param": 1,
            },
            MAC,
            "torchinfo 1.8.0",
            "torchinfo/layer_info.py, calculate_macs",
            "a linear layer counts once for all tokens; parameters outside modules count 0",
        ),
        Convention(
            "thop",
            "thop's profile: MACs, 4 per normalised element, average pooling, softmax",
            {
                "mac": 1, "fused_mac": -1, "inner_mac": -1, "transpose_excess": 1, **_NO_SPARSE,
                "batchnorm": 2, "batchnorm_affine": 2,
                "layernorm": 4, "layernorm_first": -4, "instancenorm": 2, "prelu": 1,
                "interpolate_nearest": 1, "interpolate_bilinear": 11, "interpolate_bicubic": 259,
                "avgpool_out": 1, "adaptive_avgpool_in": 1, "adaptive_avgpool_out": 1,
                "softmax": 3, "softmax_rows": -1,
            },
            MAC,
            "thop 0.1.1.post2209072238",
            "thop/vision/basic_hooks.py and thop/profile.py, register_hooks",
            "modules of torch.nn only: functions and subclasses count 0",
        ),
        Convention(
            "ptflops",
            "ptflops with its default backend: MACs, biases, and every element-wise layer",
            _PTFLOPS,
            MAC,
            "ptflops 0.7.5",
            "ptflops/pytorch_ops.py and pytorch_engine.py, backend 'pytorch'",
            "batch 1: functions are not divided by the batch; since 0.7.1 ReLU and pooling modules "
            "count twice, by their hook and by the function that they call",
        ),
        Convention(
            "ptflops_0.7",
            "ptflops up to 0.7: MACs, biases, and every element-wise module",
            {
                "mac": 1, "transpose_excess": 1, **_ALL_BIASES, "repeated_token_bias": -1,
                "fused_mac": -1, "inner_mac": -1, **_NO_SPARSE, **_NO_SPARSE_BIAS,
                "batchnorm": 1, "batchnorm_affine": 1,
                "layernorm": 1, "layernorm_first": -1, "groupnorm": 2, "instancenorm": 1,
                "relu": 1, "relu6": 1, "leaky_relu": 1, "prelu": 1, "gelu": 1,
                "interpolate_nearest": 1, "interpolate_bilinear": 1, "interpolate_bicubic": 1,
                "maxpool_in": 1, "avgpool_in": 1,
                "adaptive_maxpool_in": 1, "adaptive_avgpool_in": 1,
            },
            MAC,
            "ptflops 0.7",
            "ptflops/pytorch_ops.py, MODULES_MAPPING",
            "modules of torch.nn only, functions and subclasses count 0; ResNet-50 has 4.12 GMac",
        ),
        Convention(
            "ptflops_aten",
            "ptflops with backend 'aten': MACs and biases",
            {"mac": 1, "fused_mac": -1, **_ALL_BIASES, **_NO_SPARSE_BIAS},
            MAC,
            "ptflops 0.7.5",
            "ptflops/aten_ops.py, ATEN_OPS_MAPPING",
        ),
        Convention(
            "deepspeed",
            "DeepSpeed's flops profiler, FLOPs: 2 per MAC and every element-wise function",
            {
                "mac": 2, "conv_bias_add": 1, "transpose_bias_add": 1, **_ELEMENT_WISE,
                "interpolate_scaled_out": 1,
            },
            FLOP,
            "deepspeed 0.19.8",
            _DEEPSPEED_SOURCE,
            "earlier versions count transposed convolutions as calflops does",
        ),
        Convention(
            "deepspeed_macs",
            "DeepSpeed's flops profiler, MACs",
            _MULTIPLY_ADDS,
            MAC,
            "deepspeed 0.19.8",
            _DEEPSPEED_SOURCE,
            "earlier versions count transposed convolutions as calflops does",
        ),
        Convention(
            "calflops",
            "calflops, FLOPs: 2 per MAC and every element-wise function",
            {
                "mac": 2, "fused_mac": -2, "transpose_group_deficit": -2,
                "conv_bias_add": 1, "transpose_bias_shrunk": 1, **_ELEMENT_WISE,
                "interpolate_scaled_in": 1,
            },
            FLOP,
            "calflops 0.3.2",
            "calflops/pytorch_ops.py",
            "divides a transposed convolution's channels by its groups twice",
        ),
        Convention(
            "calflops_macs",
            "calflops, MACs",
            _CALFLOPS_MACS,
            MAC,
            "calflops 0.3.2",
            "calflops/pytorch_ops.py",
            "divides a transposed convolution's channels by its groups twice",
        ),
        Convention(
            "pycls",
            "pycls' complexity: MACs, biases of linear layers",
            {"mac": 1, "conv_bias_param": 1, "linear_bias_add": 1},
            MAC,
            "pycls 1a33062",
            "facebookresearch/pycls, pycls/models/blocks.py, conv2d_cx and linear_cx",
            "read, never run; a convolution's bias counts once per channel, not per position",
        ),
        Convention(
            "torchstat_flops",
            "torchstat's Flops, which are MACs: with biases, ReLU, pooling, normalisation",
            {
                "mac": 1, "fused_mac": -1, "inner_mac": -1, "conv_bias_add": 1, "transpose_mac": -1,
                "batchnorm": 1, "batchnorm_affine": 1,
                "relu": 1, "relu6": 1, "leaky_relu": 1, "prelu": 1, "interpolate_positions": 1,
                "maxpool_in": 1, "avgpool_in": 1,
            },
            MAC,
            "torchstat 0.0.7",
            "torchstat/compute_flops.py",
            "2-D modules only; a module that runs twice, as a ReLU may, counts its last run only",
        ),
        Convention(
            "torchstat_madd",
            "torchstat's MAdd, which are FLOPs: products and sums apart",
            {
                "mac": 2, "fused_mac": -2, "inner_mac": -2,
                "dot_products": -1, "conv_bias_add": 1, "transpose_bias_in": 1,
                "batchnorm": 4, "relu": 1, "relu6": 1, "maxpool_window": 1, "maxpool_out": -1,
                "avgpool_window": 1, "softmax": 3, "softmax_calls": -1,
            },
            FLOP,
            "torchstat 0.0.7",
            "torchstat/compute_madd.py",
            "2-D modules only; a module that runs twice, as a ReLU may, counts its last run only",
        ),
    )
}  # fmt: skip
"""Every counting convention by its name."""

_PRODUCTS = frozenset({"conv", "linear", "matmul"})
_NEW_TENSORS = _PRODUCTS | {"attention", "pool", "adaptive_pool", "norm", "merge", "resample"}

ACTIVATIONS: Mapping[str, Activations] = {
    activations.name: activations
    for activations in (
        Activations(
            "lecture",
            "the input and every output; ReLU and dropout work in place, reshapes are views",
            _NEW_TENSORS,
            True,
            "the memory column of course notes: VGG-16 has 15.2M",
        ),
        Activations(
            "all",
            "the input and every output, those of ReLU and other activations too",
            _NEW_TENSORS | {"activation"},
            True,
            "a network whose activation functions do not work in place",
        ),
        Activations(
            "fvcore",
            "outputs of convolutions, linear layers and matrix products",
            _PRODUCTS,
            False,
            "fvcore/nn/activation_count.py",
        ),
        Activations(
            "timm",
            "outputs of convolutions, linear layers and matrix products, those of attention too",
            _PRODUCTS | {"attention"},
            False,
            "huggingface/pytorch-image-models, benchmark.py, profile_fvcore",
            unfused=True,
        ),
        Activations(
            "pycls",
            "outputs of convolutions, linear layers and pooling windows, not of global pooling",
            frozenset({"conv", "linear", "pool"}),
            False,
            "facebookresearch/pycls, pycls/models/blocks.py, conv2d_cx, pool2d_cx, linear_cx",
        ),
    )
}
"""Every activation convention by its name."""
