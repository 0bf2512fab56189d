"""ONNX's convolutions, products and pools as functions of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.importers.onnx_nodes import changed, is_learnt, node, operand
from archcost.importers.onnx_tensors import Known, Node
from archcost.importers.seen import PARAMETER
from archcost.shape import same_padding

# Convolutions.


def _sides(n: Node, kernel: Sequence[int], size: Sequence[int]) -> list[tuple[int, int]]:
    """Return the padding before and after, for each axis."""
    axes = len(kernel)
    how = n.attr("auto_pad", "NOTSET")
    stride, dilation = n.attr("strides", [1] * axes), n.attr("dilations", [1] * axes)
    if how in ("SAME_UPPER", "SAME_LOWER"):
        columns = zip(size, kernel, stride, dilation, strict=True)
        found = [same_padding(*column)[1:] for column in columns]
        return [(b, a) for a, b in found] if how == "SAME_LOWER" else found
    pads = n.attr("pads", [0] * 2 * axes) if how == "NOTSET" else [0] * 2 * axes
    return list(zip(pads[:axes], pads[axes:], strict=True))


def _even(sides: Sequence[tuple[int, int]]) -> list[Any]:
    """Return padding as numbers where it is the same before and after."""
    return [a for a, _ in sides] if all(a == b for a, b in sides) else list(sides)


def _padded(n: Node, x: Known, sides: Sequence[tuple[int, int]]) -> Known:
    """Pad a map by a call of its own."""
    size = [m + a + b for m, (a, b) in zip(x.shape[2:], sides, strict=True)]
    flat = [part for side in reversed(sides) for part in side]
    return n.step("pad", (*x.shape[:2], *size), x, flat)


def _convolve(n: Node, x: Known, weight: Known, bias: Known | None) -> None:
    axes = len(weight.shape) - 2
    sides = _sides(n, n.attr("kernel_shape", list(weight.shape[2:])), x.shape[2:])
    padding = _even(sides)
    if not is_learnt(weight) and padding and isinstance(padding[0], tuple):
        x, padding = _padded(n, x, sides), [0] * axes
    n.call(
        f"conv{axes}d", x, weight, bias, n.attr("strides", [1] * axes), padding,
        n.attr("dilations", [1] * axes), n.attr("group", 1),
    )  # fmt: skip


@node("Conv")
def _conv(n: Node) -> None:
    weight = n.given(1)
    assert weight is not None
    _convolve(n, n.x, weight, n.given(2))


@node("ConvInteger")
def _conv_integer(n: Node) -> None:
    weight = n.given(1)
    assert weight is not None
    n.outs = [(n.outs[0][0], FLOAT)]
    _convolve(n, n.x, weight, None)


@node("QLinearConv")
def _qlinear_conv(n: Node) -> None:
    weight = n.given(3)
    assert weight is not None
    _convolve(n, n.x, weight, _learnt(n.given(8)))


FLOAT = 1


def _learnt(known: Known | None) -> Known | None:
    """Return a whole-number bias as a parameter."""
    if known is None or known.seen.kind == PARAMETER:
        return known
    return changed(known, kind=PARAMETER, dtype="float32")


@node("ConvTranspose")
def _conv_transpose(n: Node) -> None:
    x, weight = n.x, n.given(1)
    assert weight is not None
    axes = len(weight.shape) - 2
    stride, dilation = n.attr("strides", [1] * axes), n.attr("dilations", [1] * axes)
    kernel, extra = weight.shape[2:], n.attr("output_padding", [0] * axes)
    made = n.outs[0][0][2:]
    full = [
        (m - 1) * s + d * (k - 1) + 1
        for m, s, d, k in zip(x.shape[2:], stride, dilation, kernel, strict=True)
    ]
    pads = n.attr("pads", [0] * 2 * axes)
    sides = list(zip(pads[:axes], pads[axes:], strict=True))
    if n.attr("auto_pad", "NOTSET").startswith("SAME") or n.attr("output_shape"):
        total = [f + e - m for f, e, m in zip(full, extra, made, strict=True)]
        sides = [(t // 2, t - t // 2) for t in total]
    padding = [max(side) for side in sides]
    extra = [m - f + 2 * p for m, f, p in zip(made, full, padding, strict=True)]
    groups = n.attr("group", 1)
    if all(0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        n.call(
            f"conv_transpose{axes}d", x, weight, n.given(2), stride, padding, extra, groups,
            dilation,
        )  # fmt: skip
        return
    whole = (x.shape[0], weight.shape[1] * groups, *full)
    y = n.step(
        f"conv_transpose{axes}d", whole, x, weight, n.given(2), stride, [0] * axes, [0] * axes,
        groups, dilation,
    )  # fmt: skip
    cut = [slice(a, a + m) for (a, _), m in zip(sides, made, strict=True)]
    short = [(0, max(0, a + m - f)) for (a, _), m, f in zip(sides, made, full, strict=True)]
    if any(b for _, b in short):
        y = _padded(n, y, short)
    n.call("__getitem__", y, (slice(None), slice(None), *cut))


# Products.


def _product(n: Node, a: Known, b: Known) -> None:
    if is_learnt(b) and len(b.shape) == 2 and len(a.shape) > 1 and not is_learnt(a):
        turned = changed(b, shape=b.shape[::-1])
        n.call("linear", a, turned, _bias_after(n, b.shape[1]))
    else:
        n.call("matmul", a, b)


def _bias_after(n: Node, size: int) -> Known | None:
    """Return the vector that the one reader of a product adds, whose node then passes it on."""
    name, graph = n.proto.output[0], n.graph
    readers = graph.readers[name]
    if len(readers) != 1 or name in graph.outputs or readers[0].op_type != "Add":
        return None
    [other] = [own for own in readers[0].input if own != name] or [""]
    bias = graph.known.get(other)
    if bias is None or not is_learnt(bias) or bias.shape != (size,):
        return None
    graph.fused.add(id(readers[0]))
    return bias


@node("MatMul", "MatMulInteger")
def _matmul(n: Node) -> None:
    other = n.given(1)
    assert other is not None
    if n.op == "MatMulInteger":
        n.outs = [(n.outs[0][0], FLOAT)]
    _product(n, n.x, other)


@node("QLinearMatMul")
def _qlinear_matmul(n: Node) -> None:
    other = n.given(3)
    assert other is not None
    _product(n, n.x, other)


@node("Gemm")
def _gemm(n: Node) -> None:
    a, b, bias = n.x, n.given(1), n.given(2)
    assert b is not None
    if n.attr("transA", 0):
        a = n.step("transpose", a.shape[::-1], a, 0, 1)
    if is_learnt(b):
        weight = b if n.attr("transB", 0) else changed(b, shape=b.shape[::-1])
        plain = bias is None or (is_learnt(bias) and bias.shape == (weight.shape[0],))
        if plain:
            n.call("linear", a, weight, bias)
            return
        product = n.step("linear", n.outs[0][0], a, weight)
    else:
        if n.attr("transB", 0):
            b = n.step("transpose", b.shape[::-1], b, 0, 1)
        if bias is None:
            n.call("matmul", a, b)
            return
        product = n.step("matmul", n.outs[0][0], a, b)
    n.call("add", product, operand(bias))


@node("Einsum")
def _einsum(n: Node) -> None:
    n.call("einsum", n.attr("equation"), *n.inputs)


# Pools.


def _pool(n: Node, function: str, **more: Any) -> None:
    kernel = n.attr("kernel_shape")
    axes = len(kernel)
    stride, ceil = n.attr("strides", [1] * axes), bool(n.attr("ceil_mode", 0))
    padding = _even(_sides(n, kernel, n.x.shape[2:]))
    n.call(f"{function}{axes}d", n.x, kernel, stride, padding, ceil_mode=ceil, **more)


@node("MaxPool")
def _max_pool(n: Node) -> None:
    n.outs, others = n.outs[:1], n.outs[1:]
    _pool(n, "max_pool", dilation=n.attr("dilations", [1] * len(n.attr("kernel_shape"))))
    n.beside("places", others)


@node("AveragePool")
def _avg_pool(n: Node) -> None:
    if any(d != 1 for d in n.attr("dilations", [])):
        raise n.refused("with dilations has no formula")
    _pool(n, "avg_pool", count_include_pad=bool(n.attr("count_include_pad", 0)))


@node("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(n: Node) -> None:
    kind = "avg" if n.op == "GlobalAveragePool" else "max"
    n.call(f"adaptive_{kind}_pool{len(n.x.shape) - 2}d", n.x, 1)


@node("GlobalLpPool")
def _global_lp_pool(n: Node) -> None:
    n.call("norm", n.x, n.attr("p", 2), list(range(2, len(n.x.shape))), keepdim=True)
