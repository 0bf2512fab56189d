"""One layer of a recurrent network in one direction: what PyTorch keeps of all its steps.

A CPU runs an LSTM by oneDNN, but one with projections, or in another type than float32 and
bfloat16, by single operations, as it does every GRU and RNN. CUDA has cuDNN, which alone knows
what it keeps. Sequences have the steps first, then the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from archcost.layout import contiguous
from archcost.number import maximum
from archcost.primitives.cells import gru_step, lstm_step, thirds
from archcost.primitives.row import COPIED, KEEPS, LOWER, Own, Row, Tensor, needed, primitive
from archcost.shape import Shape, numel

PEAK = "the peak of a recurrent layer is not known"
CAST = "the peak of a recurrent layer under autocast is not known"
CUDNN = (
    "what cuDNN keeps of a recurrent layer is not known: it alone knows how large its reserve "
    "space is; what a CPU keeps is, with --device cpu"
)
PAGE = 4096  # bytes of which each part of oneDNN's workspace takes a multiple
LINE, SETS = 64, 256  # bytes of a cache's line; rows of a multiple of so many elements get one more


def by_onednn(x: Tensor, projects: bool) -> bool:
    """Whether oneDNN runs an LSTM: ``use_mkldnn`` of ``aten/src/ATen/native/RNN.cpp``."""
    return x.device == "cpu" and not projects and x.itemsize < 8


def _lstm_classes(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None, w_hr: Tensor | None = None, **_: Any,
) -> tuple[str, ...]:  # fmt: skip
    """Return the class of each argument: single operations cast states and projections again."""
    if x.device == "cuda" or by_onednn(x, w_hr is not None):
        return (LOWER,) * 8
    return (LOWER, KEEPS, KEEPS, LOWER, _cached(w_hh), LOWER, LOWER, KEEPS)


def _classes(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, *_: Tensor | None, **__: Any
) -> tuple[str, ...]:
    if x.device == "cuda":
        return (LOWER,) * 6
    return (LOWER, KEEPS, LOWER, _cached(w_hh), LOWER, LOWER)


def _cached(weight: Tensor) -> str:
    """Return the class of a weight that each step casts again unless it learns."""
    return LOWER if weight.needs else KEEPS


@primitive(_lstm_classes)
def lstm_layer(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None, w_hr: Tensor | None = None, *, reverse: bool = False,
    held: Any = None,
) -> Row:  # fmt: skip
    """LSTM, with projections if there is ``w_hr``: hidden states, the last one, the last cell."""
    layer = _Layer(x, [h, c], w_ih, w_hh, b_ih, b_hh, w_hr)
    row, steps, n, width = layer.row, *x.shape[:2], c.shape[1]
    if by_onednn(x, w_hr is not None):
        row.types = ("float32", "bfloat16")
        row.saves = (*layer.tensors, *row.results)
        if b_ih is None:  # it is given zeros of the weights' sizes
            layer.keeps("zeros", w_ih.shape)
            layer.keeps("zeros", w_hh.shape)
        layer.keeps("workspace", (onednn_workspace(x, width),), 1)
        return row
    layer.runs_singly(_lstm_steps)
    cell = maximum(x.itemsize, c.itemsize)
    y, last, last_cell = row.results
    y.itemsize = last.itemsize = cell if w_hr is None else x.itemsize
    last_cell.itemsize = cell
    # what the first step computes may need no gradient
    gated = any(tensor.needs for tensor in layer.tensors if tensor is not c and tensor is not w_hr)
    first = steps if gated or c.needs else steps - 1
    row.saves += (c,) if gated else ()
    layer.keeps("gates", (first, n, 4 * width))
    layer.keeps("cell states", (steps - 1, n, width), cell)
    layer.keeps("tanh of cell states", (first, n, width), cell)
    if w_hr is not None:
        layer.keeps("projected", (steps if w_hr.needs else 0, n, width))
        if w_hr.itemsize == x.itemsize:
            row.saves += (w_hr,) if first else ()
        else:
            layer.keeps("weight_hr", (first, *w_hr.shape))
    return row


@primitive(_classes)
def gru_layer(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None, *, reverse: bool = False, held: Any = None,
) -> Row:  # fmt: skip
    """GRU: hidden states, and the last one."""
    layer = _Layer(x, [h], w_ih, w_hh, b_ih, b_hh)
    steps, n, width = *x.shape[:2], h.shape[1]
    wide = maximum(x.itemsize, h.itemsize)
    for own in layer.row.results:
        own.itemsize = wide
    layer.runs_singly(_gru_steps)
    layer.keeps("gates", (steps, n, 3 * width))
    layer.keeps("candidates", (steps, n, 2 * width))
    layer.keeps("changes", (steps, n, width), wide)
    return layer.row


@primitive(_classes)
def rnn_layer(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None, *, nonlinearity: str, reverse: bool = False, held: Any = None,
) -> Row:  # fmt: skip
    """Simple recurrent layer, by tanh or ReLU: hidden states, and the last one."""
    layer = _Layer(x, [h], w_ih, w_hh, b_ih, b_hh)
    layer.runs_singly(_rnn_steps, kept=True)
    return layer.row


class _Layer:
    """What a layer reads, and the row that it makes of it."""

    def __init__(
        self, x: Tensor, states: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor,
        b_ih: Tensor | None, b_hh: Tensor | None, w_hr: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.x, self.h, self.w_ih, self.w_hh = x, states[0], w_ih, w_hh
        given = (x, *states, w_ih, w_hh, b_ih, b_hh, w_hr)
        self.tensors = [tensor for tensor in given if tensor is not None]
        steps, n, _ = x.shape
        out = (steps, n, self.h.shape[1])
        names = ("last state", "last cell")
        results = [Own("hidden states", out, x.itemsize)]
        results += [
            Own(name, state.shape, x.itemsize) for name, state in zip(names, states, strict=False)
        ]
        weights = sum(numel(w.shape) for w in (w_ih, w_hh, w_hr) if w is not None)
        self.row = Row(
            out, contiguous(out), makes=tuple(results), results=tuple(results),
            macs=steps * n * weights, unknown=PEAK, unknown_cast=CAST,
            untold=CUDNN if x.device == "cuda" else "",
        )  # fmt: skip

    def keeps(self, what: str, shape: Shape, itemsize: int = 0) -> None:
        """Keep a tensor, if anything is learnt; one without elements is none."""
        if shape[0] and any(tensor.needs for tensor in self.tensors):
            own = Own(what, shape, itemsize or self.x.itemsize)
            self.row.makes += (own,)
            self.row.saves += (own,)

    def runs_singly(self, parts: Callable[..., Any], kept: bool = False) -> None:
        """Keep what the products of single operations do: the input and each state before.

        ``parts`` is the program of these operations. ``kept`` says that the derivative of a state
        is computed from it.
        """
        if self.x.device == "cpu" and self.h.shape[1] > 1:
            self.row.unknown, self.row.parts = "", parts
        x, h, w_hh = self.x, self.h, self.w_hh
        out = steps, *rest = self.row.shape
        rows: Tensor | Own = x
        if not x.layout.is_rows:
            rows = Own(COPIED, x.shape, x.itemsize)
            self.row.makes += (rows,)
        self.row.saves = needed((rows, self.w_ih), (self.w_ih, x))
        again = steps if h.needs else steps - 1
        if w_hh.itemsize == x.itemsize:
            self.row.saves += (w_hh,) if again else ()
        else:
            self.keeps("weight_hh", (again, *w_hh.shape))
        if w_hh.needs and h.itemsize == x.itemsize:
            self.row.saves += (h,)
        elif w_hh.needs:
            self.keeps("first state", h.shape)
        if kept or w_hh.needs:
            self.keeps("states", out if kept else (steps - 1, *rest))


# The same by single operations: ``FullLayer`` in ``aten/src/ATen/native/RNN.cpp``.


def _lstm_steps(
    F: Any, x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None,
    b_hh: Any = None, w_hr: Any = None, *, reverse: bool = False, held: Any = None,
) -> list[Any]:  # fmt: skip
    def step(own: Any, h: Any, c: Any) -> list[Any]:
        made = lstm_step(F, F.sum_in_place(F.linear(h, w_hh, b_hh), own), c)
        return made if w_hr is None else [F.linear(made[0], w_hr), made[1]]

    return _steps(F, (x, w_ih, b_ih), [h, c], step, reverse, held)


def _gru_steps(
    F: Any, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None,
    b_hh: Any = None, *, reverse: bool = False, held: Any = None,
) -> list[Any]:  # fmt: skip
    def step(own: Any, h: Any) -> list[Any]:
        own = thirds(F, own)
        return [gru_step(F, thirds(F, F.linear(h, w_hh, b_hh)), own, h)]

    return _steps(F, (x, w_ih, b_ih), [h], step, reverse, held)


def _rnn_steps(
    F: Any, x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None,
    b_hh: Any = None, *, nonlinearity: str, reverse: bool = False, held: Any = None,
) -> list[Any]:  # fmt: skip
    def step(own: Any, h: Any) -> list[Any]:
        return [getattr(F, nonlinearity)(F.sum_in_place(F.linear(h, w_hh, b_hh), own))]

    return _steps(F, (x, w_ih, b_ih), [h], step, reverse, held)


def _steps(
    F: Any, read: Sequence[Any], states: list[Any], step: Callable[..., list[Any]], reverse: bool,
    held: Any,
) -> list[Any]:  # fmt: skip
    """Return the hidden states of all steps in one tensor, and the last of each state.

    Those of each step are ``held`` until both directions are joined, and so are the products of the
    inputs of the direction that runs.
    """
    made: list[Any] = []
    products = F.linear(*read)
    own = F.unbind(products, dim=0)
    if held is not None:
        held[:1] = [products]
        held.append(made)
    for each in own[::-1] if reverse else own:
        states = step(each, *states)
        made.append(states[0])
    return [F.stack(*(made[::-1] if reverse else made), dim=0), *states]


def onednn_workspace(x: Tensor, hidden: int) -> int:
    """Return the bytes that oneDNN keeps of an LSTM: ``set_workspace_sizes`` of its ref_rnn.

    Each step has the gates and the hidden state. To these come the states of the layer, of the
    previous step and their gradients, for two layers and one more step. They are aligned.
    """
    steps, n, features = x.shape

    def aligned(elements: int, width: int) -> int:
        whole = -(-elements // (LINE // width)) * (LINE // width)
        return whole + LINE // width if whole % SETS == 0 else whole

    own, single = x.itemsize, 4
    rows, states = steps * n, 2 * (steps + 1) * n
    widest = maximum(features, hidden)
    parts = (
        rows * aligned(4 * hidden, own) * own,
        rows * aligned(hidden, own) * own,
        *(states * aligned(widest, width) * width for width in (own, single, single)),
        *(states * hidden * width for width in (own, single)),
    )
    return sum(-(-part // PAGE) * PAGE for part in parts)
