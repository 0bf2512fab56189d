"""One step of a recurrent network, as PyTorch's cells run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import check, choice, count, flag
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.merge import VARIADIC
from archcost.ops.reads import Reads
from archcost.shape import Shape, numel, show
from archcost.units import number_of


class Cell(Op):
    """A step: it reads features and the states before it, which are zero unless they are given.

    Class attributes:
        gates: rows of the weights for each hidden feature.
        states: how many tensors it hands on.
        module: its class in ``torch.nn``.
    """

    hidden_size: int = count()
    bias: bool = flag(True)

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    least: ClassVar[int] = 1
    gates: ClassVar[int]
    states: ClassVar[int] = 1
    module: ClassVar[str]

    def cost(self, x: Shape, *given: Shape) -> Cost:
        check(len(x) == 1, f"{self.name} takes the features of one step, not {show(x)}")
        rows, hidden = self.gates * self.hidden_size, (self.hidden_size,)
        states = (hidden,) * self.states
        if given and given != states:
            wanted, got = (" and ".join(map(show, shapes)) for shapes in (states, given))
            raise OpError(f"{self.name} begins with states {wanted}; got {got}")
        params: dict[str, Shape] = {"weight_ih": (rows, *x), "weight_hh": (rows, *hidden)}
        macs = sum(map(numel, params.values()))
        if self.bias:
            params |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        return Cost(hidden, params, macs, products=((rows,), (rows,)), others=states[1:])

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *given: Shape
    ) -> tuple[int, int]:
        cost = self.cost(x, *given)
        products = zip(("weight_ih", "weight_hh"), needs, strict=False)
        wanted = sum(numel(cost.params[name]) for name, needed in products if needed)
        return wanted, cost.macs * trained

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[]]

    def forward(
        self, F: Any, x: Any, *given: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None,
        bias_hh: Any = None,
    ) -> Any:  # fmt: skip
        if not given:
            given = (F.full(shape=(x.shape[0], self.hidden_size), like=x),) * self.states
        run = getattr(F, self.name)
        return run(x, *given, weight_ih, weight_hh, bias_ih, bias_hh, **self.options())

    def options(self) -> dict[str, Any]:
        """Return what its function takes beside tensors."""
        return {}

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        made = getattr(torch.nn, self.module)(*x, self.hidden_size, self.bias, **self.options())
        made.register_forward_pre_hook(together)
        return made

    def passed(self, names: Sequence[str]) -> list[str]:
        return [names[0], f"({', '.join(names[1:])})"] if len(names) > 2 else [*names]

    def settings(self, axes: int = 2) -> str:
        return number_of(self.hidden_size, "unit") + ", no bias" * (not self.bias)


def together(_: Any, given: Any) -> Any:
    """Return what a module of PyTorch reads: the features, and two states as one pair."""
    return (given[0], given[1:]) if len(given) > 2 else given


@op("lstm_cell", kind="recurrent")
class LSTMCell(Cell):
    """One step of an LSTM, ``torch.nn.LSTMCell``; its outputs are the hidden state and the cell.

    It takes the features of a step, and both states, as ``lstm_cell(x, h, c, 64)``, or begins with
    zeros; macs = 4 · hidden · (features + hidden).
    """

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2
    module: ClassVar[str] = "LSTMCell"
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(5,)),
        example(4, bias=False, x=[(5,), (4,), (4,)]),
    )


@op("gru_cell", kind="recurrent")
class GRUCell(Cell):
    """One step of a GRU, ``torch.nn.GRUCell``; its output is the hidden state.

    It takes the features of a step, and the state, as ``gru_cell(x, h, 64)``, or begins with zeros;
    macs = 3 · hidden · (features + hidden).
    """

    gates: ClassVar[int] = 3
    module: ClassVar[str] = "GRUCell"
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(5,)),
        example(4, bias=False, x=[(5,), (4,)]),
    )


@op("rnn_cell", kind="recurrent")
class RNNCell(Cell):
    """One step of the simple layer, ``torch.nn.RNNCell``; its output is the hidden state.

    It takes the features of a step, and the state, as ``rnn_cell(x, h, 64)``, or begins with zeros;
    macs = hidden · (features + hidden).
    """

    nonlinearity: str = choice("tanh", "tanh", "relu")

    gates: ClassVar[int] = 1
    module: ClassVar[str] = "RNNCell"
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(5,)),
        example(4, nonlinearity="relu", x=[(5,), (4,)]),
    )

    def options(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}

    def settings(self, axes: int = 2) -> str:
        return super().settings(axes) + ", relu" * (self.nonlinearity == "relu")
