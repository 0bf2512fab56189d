"""What PyTorch calls as one function, and runs as one operation or as several."""

from __future__ import annotations

from typing import Any

from archcost.number import ceil_div
from archcost.ops.programs import dropped, product, transpose, unflatten
from archcost.primitives.row import LOWER, Tensor, composite

BOOL, HALF, FLOAT = 1, 2, 4  # bytes per element
LINES = 32  # to a multiple of which the memory-efficient kernel pads logsumexp
MASK_ALIGNMENT, WIDTH_ALIGNMENT, WIDEST = 8, 8, 256

FLASH, EFFICIENT, MATH = "flash", "efficient", "math"


@composite(LOWER)
def attention(
    F: Any, q: Any, k: Any, v: Any, mask: Any = None, *,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    dropout_p: float = 0.0, fused: bool = True,
) -> Any:  # fmt: skip
    """``scaled_dot_product_attention`` of batch, heads, tokens, width, by the kernel it chooses.

    ``fused`` says whether it may choose: of tensors of other dimensions it takes the products, as
    of keys that are repeated to as many samples or heads.
    """
    if mask is not None and mask.itemsize == BOOL:
        mask = F.added_mask(mask, like=q)
    grouped = enable_gqa and q.shape[1] != k.shape[1]
    repeated = q.shape[0] != k.shape[0] or (not enable_gqa and q.shape[1] != k.shape[1])
    kernel = chosen(q, k, v, mask, grouped) if fused and not repeated else MATH
    if kernel == MATH or (dropout_p and q.device == "cpu"):
        return _by_products(F, q, k, v, mask, is_causal, dropout_p, grouped)
    tokens, width = q.shape[2:]
    if q.device == "cpu":
        return F.fused_attention(q, k, v, mask, lines=tokens)
    if kernel == EFFICIENT:
        if mask is not None:
            mask = _aligned(F, mask, (*q.shape[:3], k.shape[2]))
        return F.fused_attention(q, k, v, mask, lines=ceil_div(tokens, LINES) * LINES)
    if width % WIDTH_ALIGNMENT == 0:
        return F.fused_attention(q, k, v, lines=tokens)
    more = ((0, WIDTH_ALIGNMENT - width % WIDTH_ALIGNMENT),)
    q, k, v = (F.pad(part, sides=more) for part in (q, k, v))
    return F.narrow(F.fused_attention(q, k, v, lines=tokens), dim=3, start=0, length=width)


def chosen(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, grouped: bool) -> str:
    """Return the kernel of attention: ``_fused_sdp_choice`` of each device.

    ``use_flash_attention_cpp`` in ``aten/src/ATen/native/transformers/sdp_utils_cpp.cpp``, and
    ``use_flash_attention``, ``use_mem_efficient_attention`` in ``transformers/cuda/sdp_utils.cpp``.
    ``grouped`` says that there are fewer heads of keys than of queries.
    """
    width = q.shape[3]
    if any(tensor.strides[3] != 1 for tensor in (q, k, v)):
        return MATH
    alike = v.shape[3] == width
    if q.device == "cpu":
        return FLASH if alike and not (mask is not None and mask.needs) else MATH
    half = q.itemsize == HALF
    if half and alike and mask is None and width <= WIDEST:
        return FLASH
    step = 8 if half else 4
    fits = q.itemsize <= FLOAT and not grouped and width % step == 0 and v.shape[3] % step == 0
    return EFFICIENT if fits else MATH


def _by_products(
    F: Any, q: Any, k: Any, v: Any, mask: Any, is_causal: bool, dropout_p: float, grouped: bool
) -> Any:
    """Return attention by its products: ``_scaled_dot_product_attention_math``.

    Half precision is computed in float32, queries and keys are both scaled, heads of keys and
    values that several heads of queries share are copied for each.
    """
    itemsize = q.itemsize
    if itemsize == HALF:
        q, k, v = (F.cast(part, itemsize=FLOAT) for part in (q, k, v))
    root = 1.0  # of the scale, of which no cost depends
    query = F.scaled(q, root)
    if is_causal:
        mask = F.causal_mask(shape=(q.shape[2], k.shape[2]), like=query)
    if grouped:
        k, v = (_for_each_head(F, part, q.shape[1]) for part in (k, v))
    scores = product(F, query, F.scaled(transpose(F, k, 2, 3), root))
    if mask is not None:  # an observer has it add out of place
        scores = (F.add if F.observed else F.sum_in_place)(scores, mask)
    scores = F.safe_softmax(scores, dim=3)
    if dropout_p:
        scores = dropped(F, scores, dropout_p)
    made = product(F, scores, v)
    return made if itemsize == made.itemsize else F.cast(made, itemsize=itemsize)


def _for_each_head(F: Any, x: Any, heads: int) -> Any:
    """Return heads repeated, each next to itself: ``repeat_interleave``."""
    n, own, *rest = x.shape
    if own == heads:
        return x
    each = F.expand(unflatten(F, x, 1, (own, 1)), shape=(n, own, heads // own, *rest))
    return F.reshape(F.contiguous(each), shape=(n, heads, *rest))


def _aligned(F: Any, mask: Any, shape: tuple[int, ...]) -> Any:
    """Return a mask of a shape whose rows begin at multiples of eight: ``preprocess_mask``."""
    *outer, last = mask.strides
    if last != 1 or any(stride % MASK_ALIGNMENT for stride in outer):
        length = mask.shape[-1]
        padded = F.pad(mask, sides=((0, MASK_ALIGNMENT - length % MASK_ALIGNMENT),))
        mask = F.narrow(padded, dim=len(mask.shape) - 1, start=0, length=length)
    missing = len(shape) - len(mask.shape)
    if missing:
        mask = F.reshape(mask, shape=((1,) * missing + mask.shape))
    return mask if mask.shape == shape else F.expand(mask, shape=shape)
