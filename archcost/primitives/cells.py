"""One step of a recurrent network: a CPU runs it by single operations, half of them in place.

``aten/src/ATen/native/RNN.cpp``: ``LSTMCell``, ``GRUCell`` and ``SimpleCell``. CUDA has functions
of its own, of which it is not known what they keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from archcost.primitives.row import FULL, KEEPS, LOWER, OUT, Own, Row, Tensor, composite, primitive

CUDA = "what CUDA keeps of a recurrent cell is not known; what a CPU keeps is, with --device cpu"


def _class(x: Tensor, *_: Any, **__: Any) -> str:
    return LOWER if x.device == "cuda" else KEEPS


@composite(_class)
def lstm_cell(
    F: Any, x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor,
    b_ih: Tensor | None = None, b_hh: Tensor | None = None,
) -> list[Any]:  # fmt: skip
    """LSTM: the next hidden state, and the next cell."""
    if x.device == "cuda":
        return F.fused_cell(*_products(F, x, h, w_ih, w_hh), c, *_biases(b_ih, b_hh), gates=4)  # type: ignore[no-any-return]
    return lstm_step(F, F.sum_in_place(F.linear(h, w_hh, b_hh), F.linear(x, w_ih, b_ih)), c)


def lstm_step(F: Any, gates: Tensor, c: Tensor) -> list[Any]:
    """Return the next hidden state, and the next cell, of the sum of both products."""
    parts = F.split(gates, dim=1, lengths=[c.shape[1]] * 4)
    enters = F.sigmoid_in_place(parts[0])
    stays = F.sigmoid_in_place(parts[1])
    news = F.tanh_in_place(parts[2])
    leaves = F.sigmoid_in_place(parts[3])
    cell = F.sum_in_place(F.mul(stays, c), F.mul(enters, news))
    return [F.mul(leaves, F.tanh(cell)), cell]


@composite(_class)
def gru_cell(
    F: Any, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Any:  # fmt: skip
    """GRU: the next hidden state."""
    if x.device == "cuda":
        [made] = F.fused_cell(*_products(F, x, h, w_ih, w_hh), h, *_biases(b_ih, b_hh), gates=5)
        return made
    own = thirds(F, F.linear(x, w_ih, b_ih))
    return gru_step(F, thirds(F, F.linear(h, w_hh, b_hh)), own, h)


def thirds(F: Any, product: Any) -> Sequence[Any]:
    """Return the parts of a product for each gate of a GRU."""
    return F.split(product, dim=1, lengths=[product.shape[1] // 3] * 3)  # type: ignore[no-any-return]


def gru_step(F: Any, last: Sequence[Any], own: Sequence[Any], h: Tensor) -> Any:
    """Return the next hidden state of the parts of both products."""
    resets = F.sigmoid_in_place(F.sum_in_place(last[0], own[0]))
    updates = F.sigmoid_in_place(F.sum_in_place(last[1], own[1]))
    new = F.tanh_in_place(F.add(own[2], F.multiplied_in_place(last[2], resets)))
    return F.sum_in_place(F.multiplied_in_place(F.sub(h, new), updates), new)


@composite(_class)
def rnn_cell(
    F: Any, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None, *, nonlinearity: str,
) -> Any:  # fmt: skip
    """The simple cell, by tanh or ReLU: the next hidden state."""
    last = F.linear(h, w_hh, b_hh)
    own = F.linear(x, w_ih, b_ih)
    return getattr(F, nonlinearity)(F.sum_in_place(last, own))


def _products(F: Any, x: Any, h: Any, w_ih: Any, w_hh: Any) -> tuple[Any, Any]:
    return F.linear(x, w_ih), F.linear(h, w_hh)


def _biases(*biases: Any) -> Sequence[Any]:
    return [bias for bias in biases if bias is not None]


@primitive()
def fused_cell(x: Tensor, h: Tensor, state: Tensor, *biases: Tensor, gates: int) -> Row:
    """CUDA's one function for what comes after the products: ``_thnn_fused_lstm_cell``, ``gru``."""
    names = ("hidden state", "cell") if gates == 4 else ("hidden state",)
    results = tuple(Own(name, state.shape) for name in names)
    workspace = Own("workspace", (x.shape[0], gates * state.shape[1]))
    return Row(
        state.shape,
        (),
        makes=(*results, workspace),
        results=results,
        unknown="the peak of a recurrent cell on CUDA is not known",
        untold=CUDA,
    )


@primitive()
def sigmoid_in_place(x: Tensor) -> Row:
    """The tensor itself, of which the sigmoid is taken."""
    return Row(x.shape, x.strides, view=True, saves=(OUT,))


@primitive()
def tanh_in_place(x: Tensor) -> Row:
    """The tensor itself, of which the hyperbolic tangent is taken."""
    return sigmoid_in_place(x)


@primitive()
def multiplied_in_place(x: Tensor, factor: Tensor) -> Row:
    """The tensor itself, multiplied; what it was is copied for the gradient of the factor."""
    before = (Own("before", x.shape),) if factor.needs else ()
    saves = (factor, *before) if x.needs else before
    return Row(x.shape, x.strides, view=True, makes=before, saves=saves, gradient=FULL)
