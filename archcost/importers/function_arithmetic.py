"""Functions of each element and over dimensions, as programs over primitives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.importers.registry import FUNCTIONS, dims_of, function


def _binary(name: str, turned: bool = False) -> Callable[..., Any]:
    def program(F: Any, a: Any, b: Any, *, alpha: float = 1, **_: Any) -> Any:
        if turned:
            a, b = b, a
        if not hasattr(a, "shape"):  # a number first
            if name in ("add", "mul"):
                return getattr(F, name)(b, float(a))
            if name == "div":
                return F.mul(F.reciprocal(b), float(a))
            full = F.full(shape=(), like=b)
            return getattr(F, name)(full, b)
        if not hasattr(b, "shape") and name == "div":
            return F.mul(a, 1 / b)
        return getattr(F, name)(a, b if hasattr(b, "shape") else float(b))

    return program


for _name in ("add", "sub", "mul", "div"):
    FUNCTIONS[_name] = _binary(_name)
for _name, _own in {
    "__add__": "add", "__radd__": "add", "__iadd__": "add", "__mul__": "mul", "__rmul__": "mul",
    "__imul__": "mul", "multiply": "mul", "__sub__": "sub", "__isub__": "sub", "subtract": "sub",
    "__truediv__": "div", "true_divide": "div", "divide": "div", "__itruediv__": "div",
}.items():  # fmt: skip
    FUNCTIONS[_name] = _binary(_own)
for _name, _own in {
    "__rsub__": "sub",
    "rsub": "sub",
    "__rtruediv__": "div",
    "__rdiv__": "div",
}.items():
    FUNCTIONS[_name] = _binary(_own, turned=True)


@function("pow", "__pow__", "__ipow__", "square")
def power(F: Any, x: Any, exponent: Any = 2) -> Any:
    """To a power that is a number."""
    return F.pow(x, exponent)


@function("maximum", "minimum")
def larger(F: Any, a: Any, b: Any) -> Any:
    """The larger of two elements."""
    return F.maximum(a, b)


def _reduction(name: str) -> Callable[..., Any]:
    def program(F: Any, x: Any, dim: Any = None, *_: Any, keepdim: bool = False, **__: Any) -> Any:
        return getattr(F, name)(x, dims=dims_of(x, dim), keepdim=keepdim)

    return program


for _name in ("amax", "amin", "var", "std", "logsumexp"):
    FUNCTIONS[_name] = _reduction(_name)


@function("max", "min")
def extreme(F: Any, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest elements along a dimension, with their places."""
    made = F.max(x, dim=dim % len(x.shape), keepdim=keepdim)
    return [made, F.full(shape=made.shape, like=made)]


@function("clamp", "clip")
def clamp(F: Any, x: Any, min: Any = None, max: Any = None) -> Any:
    """Cut to lie between two numbers."""
    return F.clamp(x, min=min, max=max)


@function("clamp_min")
def clamp_min(F: Any, x: Any, min: Any) -> Any:
    """Cut to be at least a number."""
    return F.clamp(x, min=min, max=None)


@function("hardtanh")
def hardtanh(F: Any, x: Any, *_: Any, **__: Any) -> Any:
    """Cut to lie between two numbers."""
    return F.hardtanh(x)


@function("mean")
def mean(F: Any, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    """The mean over dimensions."""
    return F.mean(x, dims=dims_of(x, dim), keepdim=keepdim)


@function("sum")
def total(F: Any, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    """The sum over dimensions."""
    return F.sum(x, dims=dims_of(x, dim), keepdim=keepdim)


@function("softmax")
def softmax(F: Any, x: Any, dim: int | None = None, *_: Any, **__: Any) -> Any:
    """Normalised exponentials."""
    return F.softmax(x, dim=(-1 if dim is None else dim) % len(x.shape))


def _pointwise(name: str) -> Callable[..., Any]:
    return lambda F, x, *_, **__: getattr(F, name)(x)


for _name in ("relu", "sigmoid", "tanh", "gelu", "silu", "relu6", "hardswish", "hardsigmoid"):
    FUNCTIONS[_name] = _pointwise(_name)


@function("dropout", "alpha_dropout")
def dropout(F: Any, x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Zeros at random."""
    if not training or not p or not F.training:
        return x
    return (
        F.dropout(x, p=p) if x.device == "cuda" else F.mul(x, F.noise(shape=x.shape, like=x, p=p))
    )


@function("normalize")
def normalize(F: Any, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, **_: Any) -> Any:
    """Divided by the norm along a dimension."""
    length = F.clamp(F.norm(x, dims=dims_of(x, dim), ord=int(p), keepdim=True), min=eps, max=None)
    return F.div(x, F.expand(length, shape=x.shape))


@function("norm", "vector_norm")
def norm(F: Any, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    """The norm over dimensions."""
    return F.norm(x, dims=dims_of(x, dim), ord=2 if p == "fro" else int(p), keepdim=keepdim)


@function("addcmul")
def addcmul(F: Any, input: Any, a: Any, b: Any, **_: Any) -> Any:
    """A product and an addend."""
    return F.addcmul(input, a, b)


@function("log_softmax")
def log_softmax(F: Any, x: Any, dim: Any = None, *_: Any, **__: Any) -> Any:
    """The logarithm of normalised exponentials."""
    return F.log_softmax(x, dim=(-1 if dim is None else dim) % len(x.shape))


@function("glu")
def glu(F: Any, x: Any, dim: int = -1) -> Any:
    """One half times the sigmoid of the other."""
    return F.glu(x, dim=dim % len(x.shape))


@function("reciprocal")
def reciprocal(F: Any, x: Any) -> Any:
    """1 / x."""
    return F.reciprocal(x)
