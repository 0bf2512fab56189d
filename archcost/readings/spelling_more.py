"""How what chooses among elements, and recurrent cells are written in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archcost.readings.words import call, method_call, torch_call, value


def masked_fill(x: Any, mask: Any, *, value: float) -> str:
    """As a method."""
    return f"{x.inside()}.masked_fill({mask}, {written(value)})"


def gather(x: Any, places: Any, *, dim: int) -> str:
    """As a method."""
    return f"{x.inside()}.gather({dim}, {places})"


def scatter(x: Any, places: Any, source: Any, *, dim: int) -> str:
    """As a method."""
    return f"{x.inside()}.scatter({dim}, {places}, {source})"


def scatter_add(x: Any, places: Any, source: Any, *, dim: int) -> str:
    """As a method."""
    return f"{x.inside()}.scatter_add({dim}, {places}, {source})"


def topk(x: Any, *, k: int, dim: int, largest: bool = True) -> str:
    """The values alone."""
    return call(f"{x.inside()}.topk", k, dim, largest=largest) + "[0]"


def sort(x: Any, *, dim: int, descending: bool = False) -> str:
    """The values alone."""
    return call(f"{x.inside()}.sort", dim, descending=descending) + "[0]"


def argsort(x: Any, *, dim: int, descending: bool = False) -> str:
    """As a method."""
    return call(f"{x.inside()}.argsort", dim, descending=descending)


def argmax(x: Any, *, dim: int, keepdim: bool = False) -> str:
    """As a method."""
    return call(f"{x.inside()}.argmax", dim, keepdim=keepdim)


def argmin(x: Any, *, dim: int, keepdim: bool = False) -> str:
    """As a method."""
    return call(f"{x.inside()}.argmin", dim, keepdim=keepdim)


def cumsum(x: Any, *, dim: int) -> str:
    """As a method."""
    return f"{x.inside()}.cumsum({dim})"


def lstm_cell(x: Any, h: Any, c: Any, *weights: Any) -> str:
    """As a function of both states."""
    return call("torch.lstm_cell", x, f"({h}, {c})", *weights)


def rnn_cell(*tensors: Any, nonlinearity: str) -> str:
    """As ``rnn_tanh_cell`` or ``rnn_relu_cell``."""
    return call(f"torch.rnn_{nonlinearity}_cell", *tensors)


def cdist(a: Any, b: Any, *, p: float) -> str:
    """The distances by the Euclidean norm, or by another one."""
    return f"torch.cdist({a}, {b})" if p == 2 else f"torch.cdist({a}, {b}, {p})"


def transform(name: str) -> Callable[..., str]:
    """Return the spelling of a Fourier transform: of one dimension, or of several."""

    def written(x: Any, *, dims: Any, norm: str, size: int | None = None) -> str:
        several = len(dims) > 1
        sized = tuple(size if d == dims[-1] else x.shape[d] for d in dims)
        options = [] if size is None else [f"s={sized}" if several else f"n={size}"]
        options.append(f"dim={tuple(dims) if several else dims[0]}")
        if norm != "backward":
            options.append(f'norm="{norm}"')
        return call(f"torch.fft.{name}{'n' * several}", x, *options)

    return written


def embedding_bag(x: Any, table: Any, *, mode: str, padding_idx: int | None = None) -> str:
    """With the mode in quotes."""
    return call("nn.functional.embedding_bag", x, table, f'mode="{mode}"', padding_idx=padding_idx)


def direction_in_place(out: Any, matrix: Any, vector: Any, *, eps: float) -> str:
    """A product that ``normalize`` writes into a tensor; autograd does not record it."""
    product = f"torch.mv({matrix.inside()}.detach(), {vector})"
    return f"nn.functional.normalize({product}, dim=0, eps={eps}, out={out})"


written = value  # an option may have that name

FUNCTIONS = (
    "where", "gru_cell", "mv", "vdot", "eq", "ne", "lt", "le", "gt", "ge", "logical_and",
    "logical_or", "logical_xor", "logical_not",
)  # fmt: skip
"""Operations that are written as functions of ``torch``."""

MORE: Mapping[str, Callable[..., str]] = {
    **{name: torch_call(name) for name in FUNCTIONS},
    "scaled": torch_call("ops.aten.mul.Scalar"),
    "prelu_kernel": torch_call("_prelu_kernel"),
    **{
        made.__name__: made
        for made in (
            cdist,
            embedding_bag,
            masked_fill,
            gather,
            scatter,
            scatter_add,
            topk,
            sort,
            argsort,
            argmax,
            argmin,
            cumsum,
            lstm_cell,
            rnn_cell,
            direction_in_place,
        )
    },
    "trilinear": lambda *tensors: call("torch._trilinear", *tensors, [1, 3], [0], [1, 2], [2, 3]),
    **{name: transform(name) for name in ("fft", "ifft", "rfft", "irfft")},
    **dict.fromkeys(("fft_of_complex", "fft_of_real"), transform("fft")),
    **{name: torch_call(name) for name in ("view_as_real", "view_as_complex")},
    "real": lambda x: f"{x.inside()}.real",
    "imag": lambda x: f"{x.inside()}.imag",
    "clone": method_call("clone"),
    "distances": lambda a, b, *, p: f"torch.ops.aten._cdist_forward({a}, {b}, {p}, None)",
    "euclidean_distances": torch_call("_euclidean_dist"),
    "sigmoid_in_place": method_call("sigmoid_"),
    "tanh_in_place": method_call("tanh_"),
    "multiplied_in_place": method_call("mul_"),
}
"""The spelling of each."""
