"""Normalisations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.layout import Layout, Strides, as_maps, channels_last, contiguous, elementwise
from archcost.number import maximum
from archcost.primitives.row import (
    COPIED,
    Own,
    Row,
    Tensor,
    composite,
    elements,
    float32_on,
    given,
    not_contiguous,
    primitive,
)
from archcost.shape import numel

STATISTIC_BYTES = 4  # CUDA keeps batch statistics in float32, also for half precision


@primitive()
def batch_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *,
    mean: Tensor | None = None, var: Tensor | None = None, training: bool, momentum: float,
    eps: float,
) -> Row:  # fmt: skip
    """Batch normalisation; ``mean`` and ``var`` are the running statistics, if it has such."""
    like = next(tensor for tensor in (mean, weight, x) if tensor is not None)
    width = max(like.itemsize, STATISTIC_BYTES if x.device == "cuda" else 1)
    names = ("mean", "invstd") if training else ()
    statistics = tuple(Own(what, x.shape[1:2], width, x.itemsize) for what in names)
    cpu = x.device == "cpu"
    # what is made of each channel: once more where a thread goes through rows of channels
    sums = x.shape[1] * width * (2 if x.layout.is_contiguous and len(x.shape) > 2 else 3)
    return Row(
        x.shape,
        _normalised(x.layout),
        observed=elementwise(x.layout),
        widens=False,
        makes=statistics,
        saves=(*given(x, weight, mean, var), *statistics),
        unasked=() if x.needs else (elements(x),),
        copies_inside=_made_inside(x) if cpu else None,
        passing=(sums,) if cpu else (),
    )


def _normalised(x: Layout) -> Strides:
    """Return the strides of a batch normalisation: ``suggest_memory_format_contig``.

    A map that is contiguous and channels-last, as one of 1 x 1 may be, becomes contiguous.
    """
    if x.is_contiguous:
        return contiguous(x.shape)
    return channels_last(x.shape) if x.is_channels_last else as_maps(x.shape, x)


def _made_inside(x: Tensor) -> Callable[[Tensor], int]:
    """Return what a CPU's backward makes inside, in elements, by the incoming gradient.

    Where both are contiguous, or both channels-last, the gradient of the input is made a second
    time; else the sum of a channel is: ``batch_norm_backward_cpu_template`` in
    ``aten/src/ATen/native/Normalization.cpp``.
    """
    layout, channels, whole = x.layout, x.shape[1], elements(x) if x.needs else 0

    def inside(gradient: Tensor) -> int:
        both = layout.is_contiguous and gradient.layout.is_contiguous
        alike = both or (layout.is_channels_last and gradient.layout.is_channels_last)
        return whole if alike else channels

    return inside


@primitive(float32_on("cuda"))
def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *,
    dims: int = 1, eps: float,
) -> Row:  # fmt: skip
    """Layer normalisation over so many last dimensions."""
    # a CPU keeps them in the type of the weight, where there is one
    like = (x, *given(weight, bias)) if x.device == "cpu" else (x,)
    width = max(STATISTIC_BYTES * (x.device != "cpu"), *(tensor.itemsize for tensor in like), 0)
    statistics = tuple(Own(what, x.shape[:-dims], width, x.itemsize) for what in ("mean", "rstd"))
    copied, sums = 0, 0
    if x.device == "cpu":  # aten/src/ATen/native/cpu/layer_norm_kernel.cpp
        copied = elements(x) * not_contiguous(x)
        sums = 2 * numel(x.shape[-dims:]) * any(t.needs for t in given(weight, bias))
    return Row(
        x.shape,
        contiguous(x.shape),
        widens=False,
        makes=statistics,
        saves=(*given(x, weight, bias), *statistics),
        passing=(copied * x.itemsize,),
        hidden=copied + sums,
        copies_inside=not_contiguous if x.device == "cpu" else None,
    )


@composite(float32_on("cuda"))
def rms_norm(F: Any, x: Tensor, weight: Tensor | None = None, *, dims: int = 1, eps: float) -> Any:
    """Normalisation by the root of the mean square over so many last dimensions.

    CUDA has one function for a tensor of the weight's type whose channels are not last; else it is
    done in steps (``rms_norm_symint`` and ``rms_norm_composite`` in
    ``aten/src/ATen/native/layer_norm.cpp``).
    """
    as_weight = weight is None or weight.itemsize == x.itemsize
    last = x.layout.suggests_channels_last
    if x.device == "cuda" and as_weight and not last:
        return F.fused_rms_norm(x, weight, dims=dims, eps=eps)
    wide = x if x.itemsize >= STATISTIC_BYTES else F.cast(x, itemsize=STATISTIC_BYTES)
    rank = len(x.shape)
    squares = F.pow(wide, 2)
    inverse = F.rsqrt(
        F.added_in_place(F.mean(squares, dims=tuple(range(rank - dims, rank)), keepdim=True), eps)
    )
    del squares
    y = F.mul(wide, inverse)
    if weight is not None:
        y = F.mul(y, weight)
    if not last and not y.layout.is_contiguous:
        y = F.contiguous(y)
    del wide
    return y if y.itemsize == x.itemsize else F.cast(y, like=x)


@primitive()
def fused_rms_norm(x: Tensor, weight: Tensor | None = None, *, dims: int, eps: float) -> Row:
    """CUDA's one function (``_fused_rms_norm`` in ``tools/autograd/derivatives.yaml``)."""
    rstd = Own("rstd", x.shape[:-dims], max(x.itemsize, STATISTIC_BYTES), x.itemsize)
    saves = (*given(x, weight), rstd)
    return Row(x.shape, contiguous(x.shape), widens=False, makes=(rstd,), saves=saves)


@primitive(float32_on("cuda"))
def group_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *, groups: int, eps: float
) -> Row:
    """Group normalisation; a tensor that is not dense is copied first, on CUDA channels last, too.

    A CPU keeps channels last.
    """
    statistics = tuple(Own(what, (x.shape[0], groups)) for what in ("mean", "rstd"))
    cpu = x.device == "cpu"
    dense = x.layout.is_packed if cpu else x.layout.is_contiguous
    kept: Tensor | Own = x if dense else Own(COPIED, x.shape)
    last = cpu and x.layout.suggests_channels_last
    # of each channel: aten/src/ATen/native/cpu/group_norm_kernel.cpp
    sums, width = numel(x.shape[:2]), maximum(x.itemsize, STATISTIC_BYTES)
    return Row(
        x.shape,
        as_maps(x.shape, x.layout) if cpu else contiguous(x.shape),
        widens=False,
        makes=(*statistics, kept) if isinstance(kept, Own) else statistics,
        saves=(*given(kept, weight), *statistics),
        copies=_not_channels_last if last else not_contiguous,
        passing=(2 * sums * width,) if last else (),
        hidden=2 * sums * width // x.itemsize if cpu else 0,
    )


def _not_channels_last(gradient: Tensor) -> bool:
    return not gradient.layout.is_channels_last


@composite()
def instance_norm(
    F: Any, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, *,
    mean: Tensor | None = None, var: Tensor | None = None, training: bool = True,
    momentum: float = 0.1, eps: float,
) -> Any:  # fmt: skip
    """Batch normalisation of a batch of one that has each sample's channels side by side.

    What belongs to a channel is repeated for each sample (``instance_norm`` in
    ``aten/src/ATen/native/Normalization.cpp``).
    """
    shape = x.shape
    n, c, *size = shape

    def repeated(tensor: Tensor | None) -> Any:
        return None if tensor is None else F.repeat(tensor, times=n)

    weight, bias, means, variances = map(repeated, (weight, bias, mean, var))
    x = F.reshape(F.contiguous(x), shape=(1, n * c, *size))
    out = F.batch_norm(
        x, weight, bias, mean=means, var=variances, training=training, momentum=momentum, eps=eps
    )
    for own, each in ((mean, means), (var, variances)):
        if own is not None and training:
            F.mean(F.reshape(each, shape=(n, c)), dims=(0,))  # which is copied into its own
    return F.reshape(out, shape=shape)


@composite()
def normalize(F: Any, x: Tensor, *, dim: int, eps: float) -> Any:
    """Division by the Euclidean norm along a dimension (``torch.nn.functional.normalize``)."""
    lengths = F.clamp(F.norm(x, dims=(dim,), keepdim=True), min=eps, max=None)
    lengths = F.expand(lengths, shape=x.shape)
    return F.div(x, lengths)


@composite()
def weight_norm(F: Any, v: Any, g: Any) -> Any:
    """Directions of each output channel's weights, scaled to lengths: ``_weight_norm``."""
    v = F.contiguous(v)
    return F.weight_norm_interface(v, g)


@primitive()
def weight_norm_interface(v: Tensor, g: Tensor) -> Row:
    """The same of contiguous directions; it keeps their norms, which are float32 at least."""
    # aten/src/ATen/native/WeightNorm.cpp
    norms = Own("norms", g.shape, maximum(g.itemsize, STATISTIC_BYTES))
    return Row(
        v.shape,
        contiguous(v.shape),
        makes=(norms,),
        saves=(v, g, norms),
        scratch=tuple(elements(each) for each in (v, g) if not each.needs),  # it makes both
        types=("float32", "bfloat16", "float64"),
    )
