"""Programs of functions that only ONNX files call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archcost.importers.functions import FUNCTIONS
from archcost.importers.modules import OPS_OF, Said
from archcost.importers.registry import Program, registers

PROGRAMS: dict[str, Program] = {**FUNCTIONS}
"""Every function that a node can be priced by: those of modules, and what ONNX has beside them.

Some are priced as new tensors only, so modules must not see them.
"""

function = registers(PROGRAMS)

ALIKE = {
    "floor": "sign", "ceil": "sign", "round": "sign", "tan": "tanh",
    **dict.fromkeys(("asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"), "sin"),
    "softsign": "gelu", "shrink": "hardshrink", "leaky_relu": "gelu",
}  # fmt: skip
"""Functions of each element, and one that keeps and makes as much."""

for _name, _like in ALIKE.items():
    if _name not in PROGRAMS:
        PROGRAMS[_name] = lambda F, x, *_, like=_like, **__: getattr(F, like)(x)


def _compared(F: Any, a: Any, b: Any = None) -> Any:
    """Booleans of each element."""
    if not hasattr(a, "shape"):
        a, b = b, a
    return F.ne(a, b if hasattr(b, "shape") else F.full(shape=(), like=a))


for _name in (
    "eq", "gt", "lt", "ge", "le", "logical_and", "logical_or", "logical_xor", "logical_not",
    "isnan", "isinf",
):  # fmt: skip
    PROGRAMS.setdefault(_name, _compared)

for _name in ("remainder", "bitshift", "bitwise_and", "bitwise_or", "bitwise_xor"):
    PROGRAMS.setdefault(_name, PROGRAMS["add"])
PROGRAMS.setdefault("power", PROGRAMS["mul"])
PROGRAMS.setdefault("prod", PROGRAMS["sum"])


@function("quantize", "dequantize", "bitwise_not")
def scaled(F: Any, x: Any, *_: Any) -> Any:
    """Each element times a number."""
    return F.mul(x, 1.0)


@function("log_softmax")
def log_softmax(F: Any, x: Any, dim: int) -> Any:
    """The logarithm of normalised exponentials."""
    return F.log_softmax(x, dim=dim % len(x.shape))


@function("embedding")
def embedding(F: Any, places: Any, table: Any) -> Any:
    """Rows of a table."""
    return F.embedding(places, table)


@function("pixel_shuffle", "pixel_unshuffle")
def pixel_shuffle(F: Any, x: Any, factor: int) -> Any:
    """Channels moved into positions."""
    return F.pixel_shuffle(x, factor=factor)


@function("cast")
def cast(F: Any, x: Any, itemsize: int) -> Any:
    """The same values in another type."""
    return F.cast(x, itemsize=itemsize)


def _axes(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * axes


def _pool(name: str) -> Callable[..., Any]:
    """Return the program of a pool where the op does not say it."""

    def program(
        F: Any, x: Any, kernel: Any, stride: Any, padding: Any, *, ceil_mode: bool = False,
        dilation: Any = 1, count_include_pad: bool = True,
    ) -> Any:  # fmt: skip
        axes = len(x.shape) - 2
        if padding and isinstance(padding[0], tuple):
            x, padding = F.pad(x, sides=tuple(padding)), (0,) * axes
        options = {"dilation": _axes(dilation, axes)} if name == "max_pool" else {}
        return getattr(F, name)(
            x, kernel=_axes(kernel, axes), stride=_axes(stride, axes),
            padding=_axes(padding, axes), ceil=ceil_mode, **options,
        )  # fmt: skip

    return program


for _rank in (1, 2, 3):
    PROGRAMS.setdefault(f"max_pool{_rank}d", _pool("max_pool"))
    PROGRAMS.setdefault(f"avg_pool{_rank}d", _pool("avg_pool"))


@function("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(
    F: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Any:  # fmt: skip
    """A transposed convolution, whose weight may be a tensor that is made."""
    return F.conv_transpose(
        x, weight, bias, stride=tuple(stride), padding=tuple(padding),
        output_padding=tuple(output_padding), dilation=tuple(dilation), groups=groups,
    )  # fmt: skip


@function("instance_norm")
def instance_norm(F: Any, x: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Over each sample's channels."""
    return F.instance_norm(x, weight, bias, eps=eps)


def _made(F: Any, *given: Any, made: Any = ()) -> Any:
    """New tensors of given shapes."""
    return made[0] if len(made) == 1 else list(made)


for _name in (
    "argmax", "argmin", "cumsum", "cumprod", "det", "gather", "gather_nd", "grid_sample",
    "roi_pool", "max_unpool", "one_hot", "reverse_sequence", "roi_align", "scatter", "index_put_",
    "scatter_into", "topk", "tril", "lp_pool", "col2im", "mel_weights", "arange", "flip",
    "interpolate_all", "hardmax", "where", "statistics", "places", "dynamic_quantize",
):  # fmt: skip
    PROGRAMS.setdefault(_name, _made)


def _as_op(say: Callable[..., Said]) -> Program:
    """Return the program of the op that a function is, on whole tensors."""

    def program(F: Any, *args: Any, **kwargs: Any) -> Any:
        found: Any = say(*args, **kwargs)
        return found.op.forward(F, *found.tensors, **found.params)

    return program


for _name, _say in OPS_OF.items():
    PROGRAMS.setdefault(_name, _as_op(_say))


def _layers(name: str, gates: int, cells: int) -> Callable[..., Any]:
    """Return the program of a recurrent layer in ONNX's order: directions within steps."""

    def program(F: Any, x: Any, w: Any, r: Any, b: Any = None) -> Any:
        steps, n, _ = x.shape
        directions, _, hidden = r.shape
        made, last = [], []
        parts = [F.unbind(t, dim=0) if t is not None else [None] * directions for t in (w, r, b)]
        for d, (w_ih, w_hh, bias) in enumerate(zip(*parts, strict=True)):
            size = gates * hidden
            biases = [None, None]
            if bias is not None:
                biases = [F.narrow(bias, dim=0, start=i * size, length=size) for i in (0, 1)]
            starts = [F.full(shape=(n, hidden), like=x) for _ in range(cells)]
            options = {"nonlinearity": "tanh"} if name == "rnn" else {}
            y, *states = getattr(F, f"{name}_layer")(
                x, *starts, w_ih, w_hh, *biases, reverse=d == 1, **options
            )
            made.append(F.reshape(y, shape=(steps, 1, n, hidden)))
            last.append([F.reshape(s, shape=(1, n, hidden)) for s in states])
        if directions == 1:
            return [made[0], *last[0]]
        joined = [F.cat(*states, dim=0) for states in zip(*last, strict=True)]
        return [F.cat(*made, dim=1), *joined]

    return program


for _name, _gates, _cells in (("lstm", 4, 2), ("gru", 3, 1), ("rnn", 1, 1)):
    PROGRAMS[f"onnx_{_name}"] = _layers(_name, _gates, _cells)
