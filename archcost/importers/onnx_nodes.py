"""ONNX's ops as functions of PyTorch: one small function for each that reads its attributes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from archcost.importers.onnx_tensors import Known, Node
from archcost.importers.seen import BUFFER, PARAMETER
from archcost.shape import numel

HANDLERS: dict[str, Callable[[Node], None]] = {}
"""Every op that is priced by a function; others by the nodes that ONNX defines them by."""


def node(*names: str) -> Callable[[Callable[[Node], None]], Callable[[Node], None]]:
    """Register what prices the ops of these names."""

    def register(handler: Callable[[Node], None]) -> Callable[[Node], None]:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


def is_learnt(known: Known | None) -> bool:
    """Whether a tensor is a parameter of the file."""
    return known is not None and known.seen.kind == PARAMETER


def operand(known: Known | None) -> Any:
    """Return a tensor as an argument: a constant without dimensions is a number."""
    if known is not None and known.value is not None and not known.shape and known.is_static:
        return known.value.item()
    return known


def axes_of(axes: Any, rank: int) -> list[int]:
    """Return axes counted from the front."""
    return [axis % rank for axis in ([axes] if isinstance(axes, int) else axes)]


# Each element by itself.

for _op, _function in {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Exp": "exp", "Log": "log",
    "Sqrt": "sqrt", "Abs": "abs", "Neg": "neg", "Sign": "sign", "Sin": "sin", "Cos": "cos",
    "Erf": "erf", "Reciprocal": "reciprocal", "Softplus": "softplus", "HardSwish": "hardswish",
    "HardSigmoid": "hardsigmoid", "Elu": "elu", "Celu": "celu", "Selu": "selu", "Mish": "mish",
    "ThresholdedRelu": "threshold", "Swish": "silu", "Softsign": "softsign", "Floor": "floor",
    "Ceil": "ceil", "Round": "round", "Tan": "tan", "Asin": "asin", "Acos": "acos",
    "Atan": "atan", "Sinh": "sinh", "Cosh": "cosh", "Asinh": "asinh", "Acosh": "acosh",
    "Atanh": "atanh", "Shrink": "shrink", "Not": "logical_not", "IsNaN": "isnan",
    "IsInf": "isinf", "BitwiseNot": "bitwise_not",
}.items():  # fmt: skip
    HANDLERS[_op] = lambda n, function=_function: n.call(function, n.x)  # type: ignore[misc]


@node("Gelu")
def _gelu(n: Node) -> None:
    n.call("gelu", n.x, approximate=n.attr("approximate", "none"))


@node("LeakyRelu")
def _leaky_relu(n: Node) -> None:
    n.call("leaky_relu", n.x, n.attr("alpha", 0.01))


@node("PRelu")
def _prelu(n: Node) -> None:
    slope, x = n.given(1), n.x
    channels = x.shape[1] if len(x.shape) > 1 else 1
    if is_learnt(slope) and slope is not None and numel(slope.shape) in (1, channels):
        seen = changed(slope, shape=(numel(slope.shape),))
        n.call("prelu", x, seen)
    else:
        n.call("mul", x, slope)


def changed(known: Known, **changes: Any) -> Known:
    """Return a tensor of the file as a call is to see it."""
    return Known(replace(known.seen, **changes), known.elem)


@node("Clip")
def _clip(n: Node) -> None:
    low, high = (
        n.attr(name, n.number(place) if n.given(place) else None)
        for place, name in ((1, "min"), (2, "max"))
    )
    low, high = (None if v is None or math.isinf(v) else float(v) for v in (low, high))
    if (low, high) == (0.0, 6.0):
        n.call("relu6", n.x)
    elif low == 0.0 and high is None:
        n.call("relu", n.x)
    elif low is None and high is None:
        n.pass_on()
    else:
        n.call("clamp", n.x, low, high)


@node("Identity", "Dropout")
def _same(n: Node) -> None:
    n.pass_on()


@node("Cast", "CastLike")
def _cast(n: Node) -> None:
    made = _types(n)
    if n.x.seen.dtype == made:  # all floats are priced as one type
        n.pass_on(replace(n.x, elem=n.outs[0][1]))
    else:
        n.call("cast", n.x, 4 if made == "float32" else 8)


def _types(n: Node) -> str:
    return n.graph.empty((), n.outs[0][1]).seen.dtype


@node("QuantizeLinear", "DequantizeLinear")
def _quantised(n: Node) -> None:
    n.call("quantize" if n.op == "QuantizeLinear" else "dequantize", n.x)


# Several tensors, element by element.


def _binary(function: str) -> Callable[[Node], None]:
    return lambda n: n.call(function, operand(n.x), operand(n.given(1)))


for _op, _function in {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "And": "logical_and",
    "Or": "logical_or", "Xor": "logical_xor", "Equal": "eq", "Greater": "gt", "Less": "lt",
    "GreaterOrEqual": "ge", "LessOrEqual": "le", "BitShift": "bitshift", "Mod": "remainder",
    "BitwiseAnd": "bitwise_and", "BitwiseOr": "bitwise_or", "BitwiseXor": "bitwise_xor",
}.items():  # fmt: skip
    HANDLERS[_op] = _binary(_function)


@node("Pow")
def _pow(n: Node) -> None:
    exponent = n.given(1)
    if exponent is not None and exponent.value is not None and exponent.value.size == 1:
        n.call("pow", n.x, exponent.value.item())
    else:
        n.call("power", n.x, exponent)


@node("Sum", "Mean", "Max", "Min")
def _variadic(n: Node) -> None:
    function = {"Max": "maximum", "Min": "minimum"}.get(n.op, "add")
    given = [operand(known) for known in n.inputs]
    if len(given) == 1:
        n.pass_on()
        return
    made = given[0]
    shape = n.outs[0][0]
    last = len(given) - 1
    for i, other in enumerate(given[1:], 1):
        if i == last and n.op != "Mean":
            n.call(function, made, other)
        else:
            made = n.step(function, _broadcast(made, other), made, other)
    if n.op == "Mean":
        n.call("mul", made, 1 / len(given))
    assert n.made[0] is not None and n.made[0].shape == shape


def _broadcast(*tensors: Any) -> tuple[int, ...]:
    shapes = [t.shape for t in tensors if isinstance(t, Known)]
    rank = max(map(len, shapes))
    columns = zip(*((1,) * (rank - len(s)) + s for s in shapes), strict=True)
    return tuple(max(column) for column in columns)


# Reductions.

REDUCTIONS = {
    "ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "amax", "ReduceMin": "amin",
    "ReduceLogSumExp": "logsumexp", "ReduceProd": "prod",
}  # fmt: skip


def _reduced(n: Node) -> tuple[list[int], bool]:
    """Return the axes over which a node reduces, and whether they stay."""
    rank = len(n.x.shape)
    axes = n.sizes(1, "axes")
    if not axes:
        axes = [] if n.attr("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axes_of(axes, rank)), bool(n.attr("keepdims", 1))


@node(*REDUCTIONS)
def _reduce(n: Node) -> None:
    axes, keep = _reduced(n)
    rank = len(n.x.shape)
    if not axes:
        n.pass_on()
    elif n.op == "ReduceMean" and keep and rank > 2 and axes == list(range(2, rank)):
        n.call(f"adaptive_avg_pool{rank - 2}d", n.x, 1)
    else:
        n.call(REDUCTIONS[n.op], n.x, axes, keepdim=keep)


@node("ReduceL1", "ReduceL2")
def _reduce_norm(n: Node) -> None:
    axes, keep = _reduced(n)
    n.call("norm", n.x, 1 if n.op == "ReduceL1" else 2, axes or None, keepdim=keep)


# Norms and softmax.


@node("BatchNormalization")
def _batch_norm(n: Node) -> None:
    x, weight, bias, mean, var = n.inputs[:5]
    n.outs = n.outs[:1]  # in training mode others are statistics of the batch, which a module keeps
    assert x is not None
    mean, var = (_buffer(known) for known in (mean, var))
    n.call("batch_norm", x, mean, var, weight, bias, eps=n.attr("epsilon", 1e-5))


def _buffer(known: Known | None) -> Known | None:
    if known is None or not is_learnt(known):
        return known
    return changed(known, kind=BUFFER, buffer=known.seen.name)


@node("InstanceNormalization")
def _instance_norm(n: Node) -> None:
    x, weight, bias = n.inputs
    n.call("instance_norm", x, weight=weight, bias=bias, eps=n.attr("epsilon", 1e-5))


@node("LayerNormalization")
def _layer_norm(n: Node) -> None:
    axis = n.attr("axis", -1) % len(n.x.shape)
    weight, bias = n.given(1), n.given(2)
    n.outs, others = n.outs[:1], n.outs[1:]
    n.call("layer_norm", n.x, list(n.x.shape[axis:]), weight, bias, eps=n.attr("epsilon", 1e-5))
    n.beside("statistics", others)


@node("LRN")
def _lrn(n: Node) -> None:
    n.call("local_response_norm", n.x, n.attr("size"))


@node("LpNormalization")
def _normalize(n: Node) -> None:
    n.call("normalize", n.x, float(n.attr("p", 2)), n.attr("axis", -1))


@node("Softmax", "LogSoftmax", "Hardmax")
def _softmax(n: Node) -> None:
    function = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}.get(n.op, "hardmax")
    x, rank = n.x, len(n.x.shape)
    axis = n.attr("axis", -1 if n.version >= 13 else 1) % rank
    if function == "hardmax":
        n.call(function, x, made=(n.graph.empty(*n.outs[0]),))
        return
    if n.version >= 13 or all(size == 1 for size in x.shape[axis + 1 :]):
        n.call(function, x, axis)
        return
    flat = (numel(x.shape[:axis]), numel(x.shape[axis:]))
    rows = n.step("reshape", flat, x, *flat)
    made = n.step(function, flat, rows, 1)
    n.call("reshape", made, *x.shape)
