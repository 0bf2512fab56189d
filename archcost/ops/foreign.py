"""Words of PyTorch, Keras, Caffe and ONNX, and what archcost writes in their place.

Only errors read these tables. Names are compared without case, underscores and a last 1d, 2d, 3d.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from archcost.ops.base import OPS

_SEPARABLE = "conv(in_channels, 3, padding=1, groups=in_channels) >> conv(out_channels, 1)"
_POOLED = "global_avgpool"

WRITE: Mapping[str, str] = {
    text: call
    for names, call in {
        "dense fc fully_connected inner_product gemm matmul_bias": "linear(out_features)",
        "convolution convolutional": "conv(out_channels, kernel_size)",
        "deconv deconvolution transposed_conv convolution_transpose conv2d_transpose":
            "conv_transpose(out_channels, kernel_size)",
        "depthwise_conv depthwise dw_conv conv_dw": "conv(in_channels, 3, groups=in_channels)",
        "separable_conv depthwise_separable_conv sep_conv": _SEPARABLE,
        "pointwise_conv pointwise conv1x1": "conv(out_channels, 1)",
        "conv3x3": "conv(out_channels, 3, padding=1)",
        "group_conv grouped_conv": "conv(out_channels, 3, groups=2)",
        "dilated_conv atrous_conv": "conv(out_channels, 3, dilation=2)",
        "upsample upsampling resize upsampling_nearest upsampling_bilinear":
            "interpolate(scale_factor=2)",
        "pool pooling": "maxpool(2) or avgpool(2)",
        "max_pooling": "maxpool(2)",
        "average_pool average_pooling mean_pool": "avgpool(2)",
        "fractional_max_pooling": "fractional_maxpool(kernel_size, output_size)",
        "global_average_pool global_average_pooling gap global_pool": _POOLED,
        "global_max_pooling": "global_maxpool",
        "lp_pooling power_average_pooling": "lppool(2, 2)",
        "adaptive_average_pool": "adaptive_avgpool(output_size)",
        "batch_normalization bn sync_batchnorm frozen_batchnorm": "batchnorm",
        "layer_normalization ln": "layernorm",
        "group_normalization gn": "groupnorm(groups)",
        "instance_normalization": "instancenorm",
        "local_response_norm local_response_normalization cross_map_lrn": "lrn",
        "swish": "silu", "hswish": "hardswish", "hsigmoid": "hardsigmoid", "lrelu": "leaky_relu",
        "swiglu": "multiply: {gate: [chunk(2, 0, -1), silu], value: chunk(2, 1, -1)}",
        "geglu": "multiply: {gate: [chunk(2, 0, -1), gelu], value: chunk(2, 1, -1)}",
        "reglu": "multiply: {gate: [chunk(2, 0, -1), relu], value: chunk(2, 1, -1)}",
        "thresholded_relu": "threshold(1, 0)", "clip": "clamp(min, max)",
        "negative": "neg", "absolute": "abs", "power": "pow(exponent)",
        "maxout": "maximum(a, current), or maximum: {one: items, other: items}",
        "activation": "relu, or another activation by its name",
        "cat concatenate": "concat(a, current), or concat: {one: items, other: items}",
        "eltwise elementwise residual": "add: {body: items, shortcut: identity}",
        "mul product": "multiply(a, current)",
        "bmm baddbmm einsum dot batch_dot mm": "matmul(a, current)",
        "subtract": "sub(a, current)", "divide true_divide": "div(a, current)",
        "reduce_sum": "sum(dims)", "reduce_max": "amax(dims)", "reduce_min": "amin(dims)",
        "reduce_l1": "vector_norm(dims, 1)", "reduce_l2 norm": "vector_norm(dims)",
        "reduce_log_sum_exp": "logsumexp(dims)", "variance": "var(dims)",
        "view unflatten": "reshape(shape)",
        "movedim rearrange": "permute(dims)", "swapaxes": "transpose(dim0, dim1)",
        "narrow strided_slice cropping": "slice(dim, start, stop)",
        "zero_padding zero_pad constant_pad": "pad(1)",
        "reflection_pad": "pad(1, 'reflect')", "replication_pad": "pad(1, 'replicate')",
        "drop_path drop_connect": "stochastic_depth(p)",
        "spatial_dropout feature_dropout": "channel_dropout(p)",
        "multihead_attention multi_head_attention mha self_attention":
            "linear(3 * features) >> attention(heads) >> linear(features)",
        "embed token_embedding": "embedding(num_embeddings, embedding_dim)",
        "expand_dims": "unsqueeze(dim)", "tile": "repeat(repeats)",
        "broadcast_to": "expand(sizes)", "im2col": "unfold(kernel_size)",
        "col2im": "fold(output_size, kernel_size)",
        "take_along_dim gather_elements": "gather(dim) of places and a tensor",
        "reverse": "flip(dims)",
        "depth_to_space": "pixel_shuffle(upscale_factor)",
        "space_to_depth reorg": "pixel_unshuffle(downscale_factor)",
        "focus": "pixel_unshuffle(2)",
        "cls_token": "class_token", "positional_encoding pos_embed": "position_embedding",
        "sequential": "a named group, as in stem: [items]",
        "bilstm bidirectional": "lstm(hidden_size, bidirectional=True)",
        "simple_rnn elman_rnn vanilla_rnn": "rnn(hidden_size)",
        "deformable_conv dcn": "deform_conv(out_channels, kernel_size) of a map and its offsets",
        "input_layer": "the shape under the key input",
        "learnable_parameter learned_parameter query_embed learnable_queries": "parameter(shape)",
        "l2_norm l2norm l2_normalize l2_normalization": "normalize",
        "filter_response_norm filter_response_normalization": "frn",
        "weight_norm": "conv(64, 3, parametrization='weight_norm')",
        "spectral_norm": "conv(64, 3, parametrization='spectral_norm')",
        "layer_scale": "scale(bias=False), or with dim=-1 on tokens",
        "rezero": "scale(bias=False, per_channel=False)",
        "reduce_mean average": "mean(dims)", "noop pass_through": "identity",
    }.items()
    for text in (re.sub(r"_|[123]d(?= |$)", "", name) for name in names.split())
} | dict.fromkeys(("dropout1d", "dropout2d", "dropout3d"), "channel_dropout(p)")  # fmt: skip
"""What is written for a layer that goes by another name elsewhere."""

_NONE = "there is no such op yet"

MISSING: Mapping[str, str] = {
    text: reason
    for names, reason in {
        "conv_lstm conv_gru": _NONE,
        "grid_sample affine_grid stn": _NONE,
        "roi_align nms": _NONE,
        "masked_select nonzero unique one_hot": "the size of what it makes depends on data",
        "hfft ihfft stft istft fftshift ifftshift": _NONE,
        **{f"{way}fft2 {way}fftn": f"write {way}fft([-2, -1])" for way in ("", "i", "r", "ir")},
        "se se_block squeeze_excite squeeze_excitation cbam mlp ffn transformer transformer_block "
        "transformer_encoder_layer basic_block res_block residual_block inverted_residual mbconv "
        "bottleneck dense_block fire": "it is no op; write it under blocks, of ops",
        "cross_entropy softmax_with_loss loss": "a loss is no layer; end with linear or softmax",
    }.items()
    for text in (re.sub(r"_|[123]d(?= |$)", "", name) for name in names.split())
}  # fmt: skip
"""What cannot be written, and what to do about it."""

ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "filters": ("out_channels",), "numoutput": ("out_channels", "out_features"),
    "planes": ("out_channels",), "numfilters": ("out_channels",), "outplanes": ("out_channels",),
    "units": ("out_features", "hidden_size"), "numunits": ("hidden_size",),
    "layers": ("num_layers",), "returnstates": ("return_state",),
    "kernel": ("kernel_size",), "kernelshape": ("kernel_size",), "ksize": ("kernel_size",),
    "poolsize": ("kernel_size",), "filtersize": ("kernel_size",), "kernelh": ("kernel_size",),
    "kernelw": ("kernel_size",), "strides": ("stride",), "pad": ("padding",), "padh": ("padding",),
    "dilationrate": ("dilation",), "dilations": ("dilation",), "rate": ("p", "dilation"),
    "dropoutratio": ("p",), "ratio": ("p",), "prob": ("p",), "droprate": ("p",),
    "group": ("groups",), "numgroups": ("groups",), "numheads": ("heads",), "nhead": ("heads",),
    "inputdim": ("num_embeddings",), "outputdim": ("embedding_dim", "out_features"),
    "vocabsize": ("num_embeddings",), "embeddim": ("embedding_dim",),
    "blocksize": ("upscale_factor", "downscale_factor"),
    "numkvheads": ("kv_heads",), "numkeyvalueheads": ("kv_heads",), "iscausal": ("causal",),
    "usebias": ("bias",), "biasterm": ("bias",), "axis": ("dim", "dims"), "axes": ("dims", "dim"),
    "keepdims": ("keepdim",), "lambda": ("lambd",), "minvalue": ("min",), "maxvalue": ("max",),
    "perm": ("dims",), "epsilon": ("eps",), "alpha": ("negative_slope",),
    "scale": ("scale_factor",), "scales": ("scale_factor",), "localsize": ("size",),
    "newshape": ("shape",), "targetshape": ("shape",), "outputsize": ("size",),
    "rounding": ("ceil_mode",), "elementwiseaffine": ("affine",), "approximation": ("approximate",),
}  # fmt: skip
"""Names of arguments elsewhere, and the argument of an op that they are."""

_INFERRED = "what comes in is inferred; leave it out"
_NO_COST = "it changes no cost; leave it out"

NO_ARGUMENT: Mapping[str, str] = {
    **dict.fromkeys(
        ("inchannels", "infeatures", "numfeatures", "inplanes", "inputdim",
         "embeddim", "inputsize", "numchannels", "numparameters"), _INFERRED
    ),
    **dict.fromkeys(
        ("kernelinitializer", "biasinitializer", "kernelregularizer", "weightfiller", "biasfiller",
         "training", "trainable", "engine", "device"), _NO_COST
    ),
    "activation": "an activation is a layer of its own, as in conv(64, 3) >> relu",
    "dataformat": "shapes are channels first; leave it out",
    "inputshape": "the input stands under the key input",
    "functional": "how PyTorch calls it changes no cost; leave it out",
    "normalizedshape": "sizes are inferred; write dim=[0, 1, 2] for all of a map",
    "name": "a name stands before the call, as in conv1: conv(64, 3)",
    "inplace": "operations are not in place; leave it out",
    "dtype": "the type is an option of the commands, --dtype; leave it out",
    "enablegqa": "write how many heads of keys and values there are, as in kv_heads=2",
    "weight": "the name of a layer stands there: weight=words takes the weight of words",
    "attnmask": "name it as the last of the tensors that attention takes",
    "autopad": "write padding='same' or padding='valid'",
    "pads": "write a pair (before, after) for each axis, as in padding=[[1, 1], [1, 1]]",
    "globalpooling": "write global_avgpool or global_maxpool",
    "outputshape": _INFERRED,
    "batchfirst": "shapes have no batch, and steps come first; leave it out",
    "returnsequences": "every step comes out; the last one is slice(0, in_channels - 1)",
}  # fmt: skip
"""Names of arguments elsewhere that archcost has none for, and why."""


def _key(name: str) -> str:
    return re.sub(r"[123]d$", "", name.lower().replace("_", ""))


def explain_op(name: str) -> str:
    """Return what to write for an op of another framework, or that there is none; else nothing."""
    whole, key = name.lower().replace("_", ""), _key(name)
    for word in (whole, key):
        if word in WRITE:
            return f"write {WRITE[word]}"
    if key in MISSING:
        return MISSING[key]
    same = [op for op in OPS if _key(op) == key]
    if not same:
        return ""
    inferred = OPS[same[0]].kind in ("conv", "linear", "norm")
    return f"write {same[0]}" + ("; what comes in is inferred" if inferred else "")


def explain_argument(name: str, known: Collection[str]) -> str:
    """Return what to write for an argument of another framework; ``known`` are those of the op."""
    key = name.lower().replace("_", "")
    for word in ARGUMENTS.get(key, ()):
        if word in known:
            return f"write {word}"
    return NO_ARGUMENT.get(key, "")
