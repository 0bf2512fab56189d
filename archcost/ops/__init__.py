"""The operators, a file per family; a family is loaded when one of its ops is asked for."""

from archcost.ops.base import INPUT, OPS, OUTPUT, Cost, Example, Op, find_op, make

__all__ = ["INPUT", "OPS", "OUTPUT", "Cost", "Example", "Op", "find_op", "make"]

FAMILIES = {
    "activation": "relu sigmoid tanh relu6 silu hardswish hardsigmoid selu mish logsigmoid"
    " leaky_relu elu celu softplus hardtanh hardshrink softshrink threshold softsign tanhshrink"
    " rrelu prelu gelu softmax log_softmax softmin glu",
    "affine": "bias rescale scale parameter buffer",
    "attention": "attention window_attention class_token position_embedding",
    "cells": "lstm_cell gru_cell rnn_cell",
    "choices": "where masked_fill gather scatter scatter_add topk sort cumsum",
    "comparisons": "eq ne lt le gt ge logical_and logical_or logical_xor logical_not argmax argmin"
    " argsort",
    "conv": "conv conv_transpose",
    "conv_deformable": "deform_conv",
    "conv_sparse": "sparse_conv",
    "distances": "cosine_similarity pairwise_distance cdist",
    "dropout": "dropout stochastic_depth channel_dropout alpha_dropout feature_alpha_dropout",
    "elementwise": "exp log sqrt rsqrt reciprocal abs neg sign sin cos erf square pow clamp",
    "embedding": "embedding embedding_bag",
    "linear": "linear rbf",
    "merge": "add concat multiply sub div maximum minimum",
    "moving": "roll flip repeat expand tril triu stack squeeze unsqueeze transpose index_select",
    "norm": "batchnorm layernorm rmsnorm groupnorm instancenorm grn lrn normalize pixelnorm frn",
    "pool": "maxpool avgpool lppool",
    "pool_to_size": "adaptive_avgpool adaptive_maxpool global_avgpool global_maxpool"
    " fractional_maxpool roi_pool",
    "product": "matmul bilinear",
    "rearrange": "pixel_shuffle pixel_unshuffle",
    "recurrent": "lstm gru rnn",
    "reduction": "mean sum amax amin logsumexp vector_norm var std max min",
    "resample": "interpolate max_unpool",
    "reshape": "identity flatten permute reshape channel_shuffle pad crop slice chunk split"
    " to_batch from_batch",
    "spectral": "fft ifft rfft irfft view_as_real view_as_complex real imag",
    "unfold": "unfold fold",
}
"""The names of the ops in each file."""

for _family, _names in FAMILIES.items():
    OPS.expect(f"{__name__}.{_family}", _names.split())
