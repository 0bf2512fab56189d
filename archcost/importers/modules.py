"""PyTorch's functions as the ops of specs: who calls ``conv2d`` has a layer ``conv``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import OpError
from archcost.importers.seen import Seen
from archcost.ops import Op
from archcost.ops.base import make
from archcost.shape import numel


class Unlike(Exception):
    """A call that the op of its name does not say, because its arguments are others."""


@dataclass(frozen=True)
class Said:
    """A call as an op: the tensors that it reads, and its parameters by the op's names."""

    op: Op
    tensors: tuple[Seen, ...]
    params: Mapping[str, Seen] = field(default_factory=dict)


OPS_OF: dict[str, Callable[..., Said]] = {}
"""The functions that ops say, by their names."""


def op_of(*names: str) -> Callable[[Callable[..., Said]], Callable[..., Said]]:
    """Register what says the functions of these names as an op."""

    def register(say: Callable[..., Said]) -> Callable[..., Said]:
        OPS_OF.update(dict.fromkeys(names, say))
        return say

    return register


def said(name: str, x: Seen, *args: Any, params: Any = None, **kwargs: Any) -> Said:
    """Return an op of one tensor."""
    given = {key: value for key, value in (params or {}).items() if value is not None}
    return Said(make(name, *args, **kwargs), (x,), given)


def alike(sizes: Any) -> Any:
    """Return one number where all axes have the same, else a list."""
    if isinstance(sizes, (list, tuple)):
        same = len(set(sizes)) == 1 and not isinstance(sizes[0], tuple)  # a pair is of one axis
        return sizes[0] if same else list(sizes)
    return sizes


def require(condition: bool) -> None:
    """Leave a call to its program where the op does not say it."""
    if not condition:
        raise Unlike


def _axes(x: Seen) -> int:
    return len(x.shape) - 2


@op_of("conv1d", "conv2d", "conv3d")
def _conv(
    input: Seen, weight: Seen, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Said:  # fmt: skip
    require(len(input.shape) == len(weight.shape))
    return said(
        "conv", input, weight.shape[0], alike(weight.shape[2:]), stride=alike(stride),
        padding=alike(padding), dilation=alike(dilation), groups=groups, bias=bias is not None,
        params={"weight": weight, "bias": bias},
    )  # fmt: skip


@op_of("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _conv_transpose(
    input: Seen, weight: Seen, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Said:  # fmt: skip
    require(len(input.shape) == len(weight.shape))
    return said(
        "conv_transpose", input, weight.shape[1] * groups, alike(weight.shape[2:]),
        stride=alike(stride), padding=alike(padding), output_padding=alike(output_padding),
        groups=groups, dilation=alike(dilation), bias=bias is not None,
        params={"weight": weight, "bias": bias},
    )  # fmt: skip


@op_of("linear")
def _linear(input: Seen, weight: Seen, bias: Any = None) -> Said:
    dim = {} if len(input.shape) <= 3 else {"dim": -1}
    return said(
        "linear", input, weight.shape[0], bias=bias is not None, **dim,
        params={"weight": weight, "bias": bias},
    )  # fmt: skip


@op_of("batch_norm")
def _batch_norm(
    input: Seen, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Said:  # fmt: skip
    require((weight is None) == (bias is None))
    return said(
        "batchnorm", input, eps=eps, momentum=momentum, affine=weight is not None,
        track_running_stats=running_mean is not None, params={"weight": weight, "bias": bias},
    )  # fmt: skip


@op_of("layer_norm")
def _layer_norm(
    input: Seen, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Said:
    require(len(normalized_shape) == 1)
    dim = {} if len(input.shape) <= 3 else {"dim": -1}
    return said(
        "layernorm", input, eps=eps, affine=weight is not None, bias=bias is not None, **dim,
        params={"weight": weight, "bias": bias},
    )  # fmt: skip


@op_of("group_norm")
def _group_norm(
    input: Seen, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Said:
    require((weight is None) == (bias is None))
    return said(
        "groupnorm", input, num_groups, eps=eps, affine=weight is not None,
        params={"weight": weight, "bias": bias},
    )  # fmt: skip


@op_of("instance_norm")
def _instance_norm(
    input: Seen, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Said:  # fmt: skip
    require((weight is None) == (bias is None))
    return said(
        "instancenorm", input, eps=eps, affine=weight is not None,
        track_running_stats=running_mean is not None, params={"weight": weight, "bias": bias},
    )  # fmt: skip


def _plain(name: str) -> Callable[..., Said]:
    return lambda input, inplace=False, **_: said(name, input)


for _name in (
    "relu", "relu6", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "selu", "mish",
    "softsign", "tanhshrink", "logsigmoid", "log_sigmoid",
):  # fmt: skip
    OPS_OF[_name] = _plain(_name.replace("log_", "log"))


@op_of("hardtanh")
def _hardtanh(input: Seen, min_val: float = -1.0, max_val: float = 1.0, inplace: Any = 0) -> Said:
    if (min_val, max_val) == (0.0, 6.0):
        return said("relu6", input)
    return said("hardtanh", input, min_val, max_val)


@op_of("elu")
def _elu(input: Seen, alpha: float = 1.0, inplace: bool = False) -> Said:
    return said("elu", input, alpha)


@op_of("celu")
def _celu(input: Seen, alpha: float = 1.0, inplace: bool = False) -> Said:
    return said("celu", input, alpha)


@op_of("softplus")
def _softplus(input: Seen, beta: float = 1.0, threshold: float = 20.0) -> Said:
    return said("softplus", input, beta, threshold)


@op_of("hardshrink")
def _hardshrink(input: Seen, lambd: float = 0.5) -> Said:
    return said("hardshrink", input, lambd)


@op_of("softshrink")
def _softshrink(input: Seen, lambd: float = 0.5) -> Said:
    return said("softshrink", input, lambd)


@op_of("glu")
def _glu(input: Seen, dim: int = -1) -> Said:
    require(dim % len(input.shape) > 0)
    return said("glu", input, dim % len(input.shape) - 1)


@op_of("pad")
def _pad(input: Seen, pad: Any, mode: str = "constant", value: float | None = None) -> Said:
    sides = [[*pad[i : i + 2]] for i in range(0, len(pad), 2)][::-1]  # PyTorch's last axis is first
    axes = len(input.shape) - 2
    if len(sides) == axes + 2 and sides[0] == [0, 0]:  # that of the batch
        sides.pop(0)
    require(0 < len(sides) <= axes + 1 and mode in ("constant", "reflect", "replicate", "circular"))
    channels = sides.pop(0) if len(sides) > axes else [0, 0]
    padding: Any = [[0, 0]] * (axes - len(sides)) + sides
    if all(before == after for before, after in padding):
        padding = alike([before for before, _ in padding])
    return said(
        "pad", input, padding, value=value or 0.0, mode="zeros" if mode == "constant" else mode,
        channels=alike(channels),
    )  # fmt: skip


@op_of("pixel_shuffle")
def _pixel_shuffle(input: Seen, upscale_factor: int) -> Said:
    return said("pixel_shuffle", input, upscale_factor)


@op_of("gelu")
def _gelu(input: Seen, approximate: str = "none") -> Said:
    return said("gelu", input, approximate)


@op_of("leaky_relu")
def _leaky_relu(input: Seen, negative_slope: float = 0.01, inplace: bool = False) -> Said:
    return said("leaky_relu", input, negative_slope)


@op_of("prelu")
def _prelu(input: Seen, weight: Seen) -> Said:
    return said("prelu", input, numel(weight.shape) > 1, params={"weight": weight})


def _along(name: str) -> Callable[..., Said]:
    def say(input: Seen, dim: int, *_: Any, **__: Any) -> Said:
        require(dim % len(input.shape) > 0)
        return said(name, input, dim % len(input.shape) - 1)

    return say


OPS_OF.update({name: _along(name) for name in ("softmax", "log_softmax", "softmin")})


@op_of("dropout")
def _dropout(input: Seen, p: float = 0.5, training: bool = True, inplace: bool = False) -> Said:
    return said("dropout", input, p)


@op_of("max_pool1d", "max_pool2d", "max_pool3d")
def _max_pool(
    input: Seen, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Said:  # fmt: skip
    return said(
        "maxpool", input, alike(kernel_size), alike(stride) if stride else None,
        padding=alike(padding), dilation=alike(dilation), ceil_mode=ceil_mode,
    )  # fmt: skip


@op_of("avg_pool1d", "avg_pool2d", "avg_pool3d")
def _avg_pool(
    input: Seen, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: Any = None,
) -> Said:  # fmt: skip
    require(divisor_override is None)
    return said(
        "avgpool", input, alike(kernel_size), alike(stride) if stride else None,
        padding=alike(padding), ceil_mode=ceil_mode, count_include_pad=count_include_pad,
    )  # fmt: skip


@op_of("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def _adaptive_avg_pool(input: Seen, output_size: Any) -> Said:
    size = alike(output_size)
    require(not isinstance(size, list) or None not in size)
    return said("global_avgpool", input) if size == 1 else said("adaptive_avgpool", input, size)


@op_of("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(input: Seen, output_size: Any, return_indices: bool = False) -> Said:
    size = alike(output_size)
    require(not isinstance(size, list) or None not in size)
    return said("global_maxpool", input) if size == 1 else said("adaptive_maxpool", input, size)


@op_of("interpolate")
def _interpolate(
    input: Seen, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: Any = None, recompute_scale_factor: Any = None, antialias: bool = False,
) -> Said:  # fmt: skip
    require(not antialias and not recompute_scale_factor)
    if scale_factor is not None:
        scale_factor = alike(scale_factor)
        require(isinstance(scale_factor, (int, float)) and scale_factor == int(scale_factor))
        scale_factor = int(scale_factor)
    return said(
        "interpolate", input, alike(size), scale_factor, mode=mode,
        align_corners=bool(align_corners),
    )  # fmt: skip


@op_of("embedding_bag")
def _embedding_bag(
    input: Seen, weight: Seen, offsets: Any = None, max_norm: Any = None, norm_type: float = 2,
    scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Any = None, include_last_offset: bool = False, padding_idx: Any = None,
) -> Said:  # fmt: skip
    require(all(given is None for given in (offsets, max_norm, per_sample_weights)))
    require(input.dtype == "int64" and not (scale_grad_by_freq or sparse))
    options = {"mode": mode, "padding_idx": padding_idx}
    return said("embedding_bag", input, *weight.shape, params={"weight": weight}, **options)


@op_of("local_response_norm")
def _lrn(input: Seen, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Said:
    return said("lrn", input, size, alpha=alpha, beta=beta, k=k)


@op_of("flatten")
def _flatten(input: Seen, start_dim: int = 0, end_dim: int = -1) -> Said:
    rank = len(input.shape)
    require(start_dim % rank > 0 and end_dim % rank == rank - 1)
    return said("flatten", input, start_dim % rank - 1)


@op_of("permute")
def _permute(input: Seen, *dims: Any) -> Said:
    dims = tuple(dims[0]) if len(dims) == 1 and isinstance(dims[0], (list, tuple)) else dims
    order = [d % len(input.shape) for d in dims]
    require(order[0] == 0)
    return said("permute", input, [d - 1 for d in order[1:]])


@op_of("cat", "concat", "concatenate")
def _cat(tensors: Any, dim: int = 0) -> Said:
    rank = len(tensors[0].shape)
    require(dim % rank > 0 and len(tensors) > 1)
    return Said(make("concat", dim % rank - 1), tuple(tensors))


def _merged(name: str) -> Callable[..., Said]:
    def say(input: Any, other: Any, *, alpha: float = 1) -> Said:
        both = isinstance(input, Seen) and isinstance(other, Seen)
        require(both and alpha == 1)
        return Said(make(name), (input, other))

    return say


OPS_OF.update(dict.fromkeys(("add", "__add__", "__iadd__", "__radd__"), _merged("add")))
OPS_OF.update(dict.fromkeys(("mul", "__mul__", "__imul__", "multiply"), _merged("multiply")))

REFUSED = (Unlike, OpError, TypeError, IndexError)
"""What a call raises that its op does not say."""
