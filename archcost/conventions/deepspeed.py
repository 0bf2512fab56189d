"""DeepSpeed's flops profiler, of today and earlier, and calflops, which began as a copy of it."""

from __future__ import annotations

from typing import Any

from archcost.conventions.facts import of
from archcost.conventions.modules import POOLS, ROOTS, enlarged
from archcost.conventions.operations import NORMALISED, UNKNOWN
from archcost.conventions.recurrent import DOUBLE_STEPS, NO_STEPS, STEPS
from archcost.conventions.rule import FLOP, MAC, Convention, Weights, each, register
from archcost.shape import numel


@of("conv_transpose")
def group_deficit(layer: Any) -> int:
    """MACs lost where the channels are divided by the groups twice."""
    channels, per_group, *kernel = layer.cost.weight
    once_more = per_group // layer.op.groups
    return numel((*layer.shapes[0][1:], channels, per_group - once_more, *kernel))


@of("conv_transpose")
def square_mac(layer: Any) -> int:
    """MACs if there were as many output channels as input channels."""
    channels, *size = layer.shapes[0]
    kernel = layer.cost.weight[2:]
    return numel((*size, *kernel, channels, channels // layer.op.groups))


def _shrunk(layer: Any) -> tuple[int, ...]:
    """Return the output size of an ordinary convolution with the same settings and a bias.

    The size is not positive if no window fits.
    """
    size, kernel, stride, pads, dilation, _ = layer.op.taps(*layer.shapes)
    axes = zip(size, kernel, stride, pads, dilation, strict=True)
    left = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
    return tuple(left) if layer.op.bias else (0,)


@of("conv_transpose")
def bias_shrunk(layer: Any) -> int:
    """Bias additions at the positions and channels that an ordinary convolution would give."""
    return numel((layer.cost.weight[1], *_shrunk(layer)))


@of("conv_transpose")
def bias_square(layer: Any) -> int:
    """Bias additions at the positions that an ordinary convolution gives, per input channel."""
    return numel((layer.shapes[0][0], *_shrunk(layer)))


@of("interpolate")
def sized_positions(layer: Any) -> int:
    """Output positions of an interpolation to a given size."""
    return 0 if layer.op.scale_factor else numel(layer.cost.output[1:])


@of("interpolate")
def scaled_in(layer: Any) -> int:
    """Input elements of an interpolation by a given factor."""
    return numel(layer.shapes[0]) if layer.op.scale_factor else 0


@of("interpolate")
def scaled_out(layer: Any) -> int:
    """Input elements of an interpolation by a given factor, times the factor of each axis."""
    return enlarged(layer) if layer.op.scale_factor else 0


@of("interpolate")
def scaled_side(layer: Any) -> int:
    """Input elements of an interpolation by a given factor, times the factor of one axis."""
    factor = layer.op.scale_factor
    return 0 if isinstance(factor, tuple) else int(numel(layer.shapes[0]) * (factor or 0))


_FUNCTIONS = {
    **NORMALISED, "lrn.in": 3, "lrn.padded": 1, **ROOTS,
    **each("relu leaky_relu prelu elu silu gelu softmax", "in"), "window_attention.scores": 1,
    "interpolate.sized_positions": 1, "interpolate[area].in": 1, **POOLS,
}  # fmt: skip
_MACS = {"mac": 1, **UNKNOWN}
_UNSEEN = {"attention.mac": -1}
_SQUARE = {"conv_transpose.mac": -1, "conv_transpose.square_mac": 1}
_DEFICIT = {"conv_transpose.group_deficit": -1}
_SHRUNK = {"conv_transpose.bias_shrunk": 1}

_CALFLOPS_MACS = {**_MACS, **_UNSEEN, **_DEFICIT}
_0_18_MACS = {**_MACS, **_DEFICIT}
_0_9_MACS = {**_MACS, **_UNSEEN, **_SQUARE}
_0_5 = {
    **_0_9_MACS, **each("window_attention matmul", "mac", -1), "conv.bias": 1,
    "deform_conv.offset_biases": 1,
    "conv_transpose.bias_square": 1, "batchnorm.in": 2, "lrn.padded": 1,
    **each("relu prelu softmax", "in"), "window_attention.scores": 1,
    "interpolate.sized_positions": 1, "interpolate[area].in": 1, **POOLS, **STEPS,
}  # fmt: skip


def _flops(macs: Weights, others: Weights, steps: Weights = DOUBLE_STEPS) -> Weights:
    """Return the weights of FLOPs, beside those of MACs."""
    double = {term: 2 * weight for term, weight in macs.items()}
    return {
        **double,
        "conv.bias": 1,
        "deform_conv.offset_biases": 1,
        **_FUNCTIONS,
        **others,
        **steps,
    }


def _macs(macs: Weights) -> Weights:
    """Return the weights of MACs, which recurrent layers have none of."""
    return {**macs, **NO_STEPS}


_PATCHES = "deepspeed/profiling/flops_profiler/profiler.py, _patch_functionals"
_PROFILER = "microsoft/DeepSpeed, deepspeed/profiling/flops_profiler/profiler.py"
_ROWS = "earlier versions have rows of their own"
_TWICE = "divides a transposed convolution's channels by its groups twice"
_COPY = f"{_TWICE}; DeepSpeed's flops profiler of 0.10.0 to 0.11.1 counts the same"
_POWER = "; interpolation takes its factor to the power of the batch size, here 1"
_SWAPPED = "takes a transposed convolution's input channels for its output channels"
_BLIND = "; does not see fused attention"

register(
    __name__,
    Convention(
        "deepspeed", "DeepSpeed's flops profiler, FLOPs: 2 per MAC and every element-wise function",
        _flops(_MACS, {"conv_transpose.bias_uncut": 1, "interpolate.scaled_out": 1}),
        FLOP, "deepspeed 0.19.8", _PATCHES, _ROWS,
    ),
    Convention(
        "deepspeed_macs", "DeepSpeed's flops profiler, MACs", _macs(_MACS),
        MAC, "deepspeed 0.19.8", _PATCHES, _ROWS,
    ),
    Convention(
        "calflops", "calflops, FLOPs: 2 per MAC and every element-wise function",
        _flops(_CALFLOPS_MACS, {**_SHRUNK, "interpolate.scaled_in": 1}),
        FLOP, "calflops 0.3.2", "calflops/pytorch_ops.py", _COPY,
    ),
    Convention(
        "calflops_macs", "calflops, MACs", _macs(_CALFLOPS_MACS),
        MAC, "calflops 0.3.2", "calflops/pytorch_ops.py", _COPY,
    ),
    *(
        Convention(
            name, f"DeepSpeed's flops profiler {title}", weights,
            MAC if weights["mac"] == 1 else FLOP,
            f"deepspeed {version}", _PROFILER, note, dates,
        )
        for name, title, weights, version, note, dates in (
            ("deepspeed_0.18", "of 0.17.2 to 0.19.6, FLOPs",
             _flops(_0_18_MACS, {**_SHRUNK, "interpolate.scaled_out": 1}),
             "0.18.9", _TWICE, "2025-07 to 2026-08"),
            ("deepspeed_0.18_macs", "of 0.13.3 to 0.19.6, MACs", _macs(_0_18_MACS),
             "0.18.9", _TWICE, "2024-02 to 2026-08"),
            ("deepspeed_0.16", "of 0.13.3 to 0.17.1, FLOPs",
             _flops(_0_18_MACS, {**_SHRUNK, "interpolate.scaled_side": 1}),
             "0.16.0", f"{_TWICE}{_POWER}; MACs as deepspeed_0.18_macs", "2024-02 to 2025-06"),
            ("deepspeed_0.12", "of 0.11.2 to 0.13.2, FLOPs",
             _flops(_CALFLOPS_MACS, {**_SHRUNK, "interpolate.scaled_side": 1}),
             "0.12.6", f"{_TWICE}{_BLIND}{_POWER}; MACs as calflops_macs", "2023-11 to 2024-02"),
            ("deepspeed_0.9", "of 0.5.9 to 0.9, FLOPs",
             _flops(_0_9_MACS, {"conv_transpose.bias_square": 1, "interpolate.scaled_in": 1},
                    {**STEPS, **NO_STEPS}),
             "0.9.5", f"{_SWAPPED}{_BLIND}; up to 0.6.5 in 2-D only", "2022-01 to 2023-06"),
            ("deepspeed_0.9_macs", "of 0.5.9 to 0.9, MACs", _macs(_0_9_MACS),
             "0.9.5", f"{_SWAPPED}{_BLIND}; up to 0.6.5 in 2-D only", "2022-01 to 2023-06"),
            ("deepspeed_0.5", "up to 0.5.8: MACs and element-wise functions", _0_5,
             "0.5.8", f"{_SWAPPED}; 2-D only; refuses leaky ReLU and interpolation by a factor",
             "2021-04 to 2021-12"),
        )
    ),
)  # fmt: skip
