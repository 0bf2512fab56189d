"""Tools that count operations, however the modules are written."""

from __future__ import annotations

from typing import Any

from archcost.conventions.facts import elements, of
from archcost.conventions.recurrent import RECURRENT
from archcost.conventions.rule import FLOP, MAC, Convention, each, register
from archcost.ops.conv import pairs_inside
from archcost.ops.merge import fitted
from archcost.shape import numel


@of("add")
def sums(layer: Any) -> int:
    """Additions of one element to another."""
    return elements(*layer.op.steps(*layer.shapes)[1:])


@of("add")
def augends(layer: Any) -> int:
    """Elements of the first of the two tensors of each addition."""
    return elements(*layer.op.steps(*layer.shapes)[:-1])


@of("rescale")
def addend(layer: Any) -> int:
    """Elements to which a fixed number is added."""
    return numel(layer.cost.output) if layer.op.addend else 0


@of("layernorm", "rmsnorm", "groupnorm", "instancenorm")
def affine(layer: Any) -> int:
    """Elements that a normalisation scales by learnt factors."""
    return numel(layer.cost.output) if layer.op.affine else 0


@of("batchnorm")
def untracked(layer: Any) -> int:
    """Elements that are normalised by the statistics of their batch, in evaluation too."""
    return 0 if layer.op.track_running_stats else numel(layer.cost.output)


@of("instancenorm")
def vectors(layer: Any) -> int:
    """Parameters and running statistics that are repeated for each sample."""
    return 2 * len([has for has in (layer.op.affine, layer.op.track_running_stats) if has])


@of("window_attention")
def masked(layer: Any) -> int:
    """Scores to which a mask is added, where the windows are shifted."""
    return numel(layer.cost.products[0]) if any(layer.op.shifts(*layer.shapes)) else 0


@of("cosine_similarity", "pairwise_distance")
def compared(layer: Any) -> int:
    """Elements of two tensors that are compared, repeated to fit each other."""
    return numel(fitted(layer.op.name, *layer.shapes))


@of("cdist")
def by_product(layer: Any) -> int:
    """MACs of the matrix product by which distances of many rows are computed."""
    features = layer.shapes[0][-1]
    return int(numel((*layer.cost.output, features + 2)) * layer.op.multiplies(*layer.shapes))


@of("cdist")
def doubled(layer: Any) -> int:
    """Elements of the first tensor, which such a product takes twice."""
    rows = (*layer.cost.output[:-1], layer.shapes[0][-1])
    return int(numel(rows) * layer.op.multiplies(*layer.shapes))


@of("deform_conv")
def offsets(layer: Any) -> int:
    """MACs of a convolution of its own that makes the offsets."""
    made = layer.cost.products
    return numel((*made[0], *layer.cost.params["offset_weight"][1:])) if made else 0


@of("deform_conv")
def offset_biases(layer: Any) -> int:
    """Offsets that such a convolution makes, to each of which it adds a bias."""
    return elements(*layer.cost.products)


@of("repeat")
def dimensions(layer: Any) -> int:
    """Dimensions, with the batch, whose sizes PyTorch multiplies when it repeats a tensor."""
    return len(layer.cost.output) + 1


@of("attention")
def fused(layer: Any) -> int:
    """Multiply-accumulates of fused attention: of equal widths, with no mask that learns."""
    return layer.cost.macs if layer.op.fused(*layer.shapes) and not layer.apart else 0


@of("attention")
def scaled(layer: Any) -> int:
    """Elements of the queries and keys of each head that are scaled before their products."""
    if layer.op.fused(*layer.shapes):
        return 0
    found = layer.op.sizes(*layer.shapes)
    return numel((*found.lead, found.heads, found.queries + found.keys, found.width))


@of("linear")
def apart(layer: Any) -> int:
    """Elements of the output to which a bias is added by itself: the rows read lie apart."""
    # aten/src/ATen/native/Linear.cpp: only contiguous rows of maps go to addmm
    return numel(layer.cost.output) if layer.apart and layer.op.bias else 0


@of("conv_transpose")
def bias_uncut(layer: Any) -> int:
    """Output elements to which a bias is added, with those that only one side cuts off."""
    *_, size = layer.op.taps(*layer.shapes)
    return numel((layer.cost.output[0], *size)) if layer.op.bias else 0


@of("conv", "sparse_conv", "conv_transpose")
def edge(layer: Any) -> int:
    """MACs that multiply a zero of the padding, or whose result a transposed one cuts off."""
    if getattr(layer.op, "padding_mode", "zeros") != "zeros":
        return 0
    weight, (x,) = layer.cost.weight, layer.shapes
    macs: int = layer.cost.macs
    return macs - numel(weight[: 1 - len(x)]) * pairs_inside(*layer.op.taps(x))


_ADDITIONS = {
    "bias.out": 1, "position_embedding.out": 1, "rescale.addend": 1,
    "grn.in": 1, "grn.calls": 1, "window_attention.scores": 1, "window_attention.masked": 1,
}  # fmt: skip
"""Sums of tensors that are an operation of their own, eps of a GRN once."""

NORMALISED = {
    "batchnorm.in": 1, "batchnorm.bias": 1, "batchnorm.untracked": 3,
    **each("layernorm groupnorm instancenorm", "in", 4),
    **each("layernorm groupnorm instancenorm", "affine"),
}  # fmt: skip
"""Normalisation: 4 per element and 1 for its scale and shift; by known statistics less."""

UNKNOWN = {"bilinear.mac": -1, "deform_conv.mac": -1, "deform_conv.offsets": 1}
"""Bilinear forms and torchvision's own operation count 0, a convolution of offsets does not."""

_FVCORE = {
    "mac": 1, **NORMALISED, "interpolate2d[nearest].out": 1, "interpolate2d[bilinear].out": 4,
    **each(RECURRENT, "mac", -1), **UNKNOWN,
}  # fmt: skip

register(
    __name__,
    Convention(
        "torch", "torch.utils.flop_counter.FlopCounterMode: conv and matmul, 2 per MAC",
        {term: 2 * weight for term, weight in {"mac": 1, **UNKNOWN}.items()}, FLOP, "torch 2.13.0",
        "torch/utils/flop_counter.py, flop_registry",
        "forward pass; its backward over-counts grouped convolutions",
    ),
    Convention(
        "profiler", "torch.profiler with_flops: 2-D conv and matmul, 2 per MAC; sums, products",
        {
            "mac": 2, "attention.fused": -2, "attention.scaled": 1, "repeat.dimensions": 1,
            **each("conv_transpose conv1d conv3d", "mac", -2),
            **each("sparse_conv1d sparse_conv3d", "mac", -2), "sparse_conv.bias": 1,
            **_ADDITIONS, "add.augends": 1, "scale.bias": 1, "lrn.in": 3, "rrelu.calls": 1,
            **each("multiply scale rescale softsign rmsnorm", "in"), "grn.in": 2,
            "window_attention.out": 1, "rmsnorm.affine": 1, "instancenorm.vectors": 1,
            "lppool.out": 2, "pixelnorm.in": 1, "pixelnorm.positions": 1, "frn.in": 3,
            "frn.biases": 1,
            "deform_conv.mac": -2, "deform_conv.offsets": 2, "deform_conv.out": 1,
            "lstm.fused": -2, "lstm.bias_sums": 1, "lstm.apart": 3, "gru.states": 1,
            "lstm_cell.states": 3, "gru_cell.states": 1, "bilinear.bias": 1,
            **each("cosine_similarity pairwise_distance", "compared"),
            "cdist.by_product": 2, "cdist.doubled": 1,
        },
        FLOP, "torch 2.13.0", "torch/csrc/profiler/util.cpp, computeFlops",
        "counts conv2d, mm, addmm, bmm, baddbmm, add and mul; 1-D, 3-D and transposed "
        "convolutions and operations in place count 0",
        once=frozenset({"instancenorm.vectors", "lstm.bias_sums", "rrelu.calls"}),
    ),
    Convention(
        "torchvision", "GFLOPS of torchvision's model pages: MACs of conv, mm, addmm and bmm",
        {"mac": 1}, MAC, "torchvision 0.28.0",
        "pytorch/vision, test/common_extended_utils.py, flop_mapping",
        "compared with the rounded figures that the package carries (meta['_ops'])",
    ),
    Convention(
        "fvcore",
        "fvcore's FlopCountAnalysis: MACs, batch normalisation, 2-D adaptive average pooling",
        {
            **_FVCORE, "attention.mac": -1,
            **each("adaptive_avgpool2d global_avgpool2d interpolate2d[area]", "in"),
        },
        MAC, "fvcore 0.1.5.post20221221", "fvcore/nn/flop_count.py, _DEFAULT_SUPPORTED_OPS",
        traced=True,
    ),
    Convention(
        "timm", "GMACs of timm's results: fvcore's, attention by its products, pooling as a mean",
        _FVCORE, MAC, "timm 1.0",
        "huggingface/pytorch-image-models, benchmark.py, profile_fvcore, global_pool='fast'",
        "not run here; it gives the printed digits of 173 rows of results/. The model cards of "
        "ViT count as fvcore does, with fused attention",
        traced=True,
    ),
    Convention(
        "pycls", "pycls' complexity: MACs, biases of linear layers",
        {"mac": 1, **each("conv sparse_conv", "biases"), "linear.bias": 1}, MAC, "pycls 1a33062",
        "facebookresearch/pycls, pycls/models/blocks.py, conv2d_cx and linear_cx",
        "read, never run; a convolution's bias counts once per channel, not per position",
    ),
    Convention(
        "xla",
        "XLA's flops without norms and softmax: 2 per MAC except in padding, biases, pooling",
        {
            "mac": 2, **each("conv sparse_conv conv_transpose", "edge", -2),
            **each("conv sparse_conv linear", "bias"), "conv_transpose.bias_uncut": 1, "relu.in": 1,
            **_ADDITIONS, "add.sums": 1,
            **each("multiply sub div maximum minimum rescale grn window_attention", "out"),
            **each("abs neg sum amax amin", "in"), **each("sum amax amin", "out", -1),
            "maxpool.window": 1, "maxpool.out": -1, "avgpool.window": 1,
            **each("adaptive_avgpool global_avgpool mean", "in"),
            **each(f"{RECURRENT} deform_conv", "mac", -2),
        },
        FLOP, "jaxlib 0.10.2",
        "openxla/xla, xla/service/hlo_cost_analysis.cc; jax.jit(f).lower(x).cost_analysis()",
        "for the program as lowered. Programs write some layers in different ways: normalisation, "
        "softmax, recurrent and deformable layers, and functions other than ReLU, abs and neg. "
        "These count 0 here, so XLA prints more for a network that has them. XLA adds up in single "
        "precision",
        single=True,
    ),
)  # fmt: skip
