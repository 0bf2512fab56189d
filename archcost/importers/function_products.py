"""Products, norms and resizing, as programs over primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.importers.registry import each_axis, function
from archcost.ops.programs import product
from archcost.shape import Shape, numel


@function("matmul", "bmm", "mm", "__matmul__")
def matmul(F: Any, a: Any, b: Any) -> Any:
    """Products of the last two dimensions; a matrix on the right is shared by all rows."""
    if len(a.shape) == 2 or len(b.shape) == 2:
        if len(a.shape) < 3 and len(b.shape) == 2:
            return F.matmul(a, b)
        if len(b.shape) == 2:
            rows = F.reshape(a, shape=(numel(a.shape[:-1]), a.shape[-1]))
            return F.reshape(F.matmul(rows, b), shape=(*a.shape[:-1], b.shape[-1]))
    rank = max(len(a.shape), len(b.shape))
    a, b = (F.reshape(x, shape=(1,) * (rank - len(x.shape)) + tuple(x.shape)) for x in (a, b))
    return product(F, a, b)


@function("scaled_dot_product_attention")
def attention(
    F: Any, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """Attention of any leading dimensions, as one function or by its products."""
    shape = (*query.shape[:-1], value.shape[-1])
    lead = query.shape[:-3]
    if len(lead) != 1:
        query, key, value = (
            F.reshape(x, shape=(numel(lead), *((1,) if len(x.shape) < 3 else ()), *x.shape[-3:]))
            for x in (query, key, value)
        )
    masks = () if attn_mask is None else (attn_mask,)
    made = F.attention(
        query, key, value, *masks, is_causal=is_causal, scale=scale, enable_gqa=enable_gqa,
        dropout_p=dropout_p, fused=len(lead) == 1,
    )  # fmt: skip
    return made if len(lead) == 1 else F.reshape(made, shape=shape)


@function("linear")
def linear(F: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    """A product with a matrix along the last dimension."""
    return F.linear(input, weight, bias)


@function("einsum")
def einsum(F: Any, equation: str, *operands: Any) -> Any:
    """Products over named dimensions, of two tensors at a time: reordered, then as matrices."""
    tensors = operands[0] if isinstance(operands[0], (list, tuple)) else operands
    terms, result = parsed(equation, [len(x.shape) for x in tensors])
    if len(tensors) == 1:
        [x], [term] = tensors, terms
        gone = [name for name in term if name not in result]
        if gone:
            x = F.sum(x, dims=tuple(map(term.index, gone)))
            term = "".join(name for name in term if name in result)
        return F.permute(x, dims=tuple(term.index(name) for name in result))
    made, term = tensors[0], terms[0]
    for number, (other, right) in enumerate(zip(tensors[1:], terms[1:], strict=True), 2):
        later = result + "".join(terms[number:])
        made, term = _pair(F, made, term, other, right, later)
    return F.permute(made, dims=tuple(map(term.index, result)))


def _pair(F: Any, a: Any, left: str, b: Any, right: str, later: str) -> tuple[Any, str]:
    """Return the product of two tensors, summed over what is not read later, and its names.

    A dimension of size 1 counts as one of the second tensor. The tensors change places if all of
    the second's come first in what is made (``aten/src/ATen/native/Linear.cpp``,
    ``sumproduct_pair``).
    """
    size = dict(zip(left + right, (*a.shape, *b.shape), strict=True))
    over = [n for n in left if n in right and n not in later]
    kept = sorted({*left, *right}.difference(over), key=(later + left + right).index)
    if not over:
        names = "".join(kept)
        factors = (_spread(F, x, term, names) for x, term in ((a, left), (b, right)))
        return F.mul(*factors), names
    both = [n for n in kept if n in left and n in right and size[n] != 1]
    rows = [n for n in kept if n in left and n not in right and size[n] != 1]
    columns = [n for n in kept if n not in (*both, *rows)]
    if rows and columns and kept.index(columns[-1]) < kept.index(rows[0]):
        a, left, rows, b, right, columns = b, right, columns, a, left, rows
    names = "".join((*both, *rows, *columns))
    orders = (*both, *rows, *over, *columns), (*both, *over, *columns, *rows)
    a, b = (
        F.permute(x, dims=tuple(term.index(n) for n in order if n in term))
        for x, term, order in zip((a, b), (left, right), orders, strict=True)
    )
    sizes = [tuple(size[n] for n in names) for names in (both, rows, over, columns)]
    n, m, k, p = (numel(part) for part in sizes)
    made = F.matmul(F.reshape(a, shape=(n, m, k)), F.reshape(b, shape=(n, k, p)))
    return F.reshape(made, shape=(*sizes[0], *sizes[1], *sizes[3])), names


def _spread(F: Any, x: Any, term: str, names: str) -> Any:
    """Return a view with all of the named dimensions; those that it lacks are of size 1."""
    x = F.permute(x, dims=tuple(term.index(name) for name in names if name in term))
    sizes = iter(x.shape)
    return F.reshape(x, shape=tuple(next(sizes) if name in term else 1 for name in names))


def einsum_macs(equation: str, shapes: Sequence[Shape]) -> int:
    """Return the multiply-accumulates of products that sum over a name, two tensors at a time."""
    terms, result = parsed(equation, [len(shape) for shape in shapes])
    size = dict(zip("".join(terms), (n for shape in shapes for n in shape), strict=True))
    left, macs = terms[0], 0
    for number, right in enumerate(terms[1:], 2):
        later = result + "".join(terms[number:])
        names = dict.fromkeys(left + right)
        if any(name in left and name in right and name not in later for name in names):
            macs += numel(tuple(size[name] for name in names))
        left = "".join(name for name in names if name in later)
    return macs


def parsed(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the names of the dimensions of each operand and of the result."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    free = [chr(n) for n in range(0x391, 0x3A9)]
    rest = 0
    for i, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        if "..." in term:
            rest = rank - len(term) + 3
            terms[i] = term.replace("...", "".join(free[:rest]))
    every = "".join(terms)
    if not arrow:
        result = "".join(sorted(name for name in set(every) if every.count(name) == 1))
    return terms, result.replace("...", "".join(free[:rest]))


@function("addmm", "baddbmm")
def addmm(F: Any, input: Any, a: Any, b: Any, **_: Any) -> Any:
    """A product of matrices and an addend."""
    return F.add(input, F.matmul(a, b))


@function("conv1d", "conv2d", "conv3d")
def conv(
    F: Any, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Convolution, whose weight may be a tensor that is made."""
    axes = len(weight.shape) - 2
    stride, dilation = each_axis(stride, axes), each_axis(dilation, axes)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(weight.shape[2:], dilation, strict=True)]
        padding = tuple(n // 2 for n in total)
        sides = tuple((0, n % 2) for n in total)
        x = F.pad(x, sides=sides) if any(n % 2 for n in total) else x
    padding = each_axis(0 if padding == "valid" else padding, axes)
    return F.conv(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)


@function("batch_norm")
def batch_norm(
    F: Any, x: Any, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    """Batch normalisation, whose weight may be a tensor that is made."""
    return F.batch_norm(
        x, weight, bias, mean=running_mean, var=running_var, training=training,
        momentum=momentum, eps=eps,
    )  # fmt: skip


@function("layer_norm")
def layer_norm(
    F: Any, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Over the last dimensions."""
    return F.layer_norm(x, weight, bias, dims=len(normalized_shape), eps=eps)


@function("rms_norm")
def rms_norm(
    F: Any, x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Any:
    """Over the last dimensions."""
    return F.rms_norm(x, weight, dims=len(normalized_shape), eps=eps or 1e-6)


@function("group_norm")
def group_norm(
    F: Any, x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    """Over groups of channels."""
    return F.group_norm(x, weight, bias, groups=num_groups, eps=eps)


@function("interpolate")
def interpolate(
    F: Any, x: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: Any = None, recompute_scale_factor: Any = None, antialias: bool = False,
) -> Any:  # fmt: skip
    """The map at another size."""
    axes = len(x.shape) - 2
    if size is None:
        factors = each_axis(scale_factor, axes)
        size = tuple(int(n * f) for n, f in zip(x.shape[2:], factors, strict=True))
    return F.interpolate(
        x, size=each_axis(size, axes), factor=None, mode=mode, align_corners=bool(align_corners)
    )
