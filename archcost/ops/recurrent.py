"""Recurrent layers: LSTM, GRU and the simple one, on ``steps x features``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import check, choice, count, flag, number
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.dropout import Dropout
from archcost.ops.merge import VARIADIC
from archcost.ops.programs import transpose
from archcost.ops.reads import ALL, Reads
from archcost.shape import Shape, numel, show
from archcost.units import number_of

MOST_LAYERS = 1_000


class Recurrent(Op):
    """Layers of which each step reads the one before, in one direction or in both.

    It reads the steps, and the states before the first one if they are given: of each layer and
    direction one, as ``return_state`` gives the last ones. Else they are zero.

    Class attributes:
        gates: rows of the weights for each hidden feature.
        cells: states that a layer hands from step to step: ``h``, or ``h`` and ``c``.
        module: its class in ``torch.nn``.
    """

    hidden_size: int = count()
    num_layers: int = count(1)
    bias: bool = flag(True)
    dropout: float = number(0.0)
    bidirectional: bool = flag(False)
    return_state: bool = flag(False)

    inputs: ClassVar[tuple[str, ...]] = VARIADIC  # type: ignore[misc]
    least: ClassVar[int] = 1
    gates: ClassVar[int]
    cells: ClassVar[int] = 1
    module: ClassVar[str]

    @property
    def directions(self) -> int:
        """One, or two."""
        return 2 if self.bidirectional else 1

    projects: ClassVar[bool] = False
    """Whether the hidden state is projected to fewer features."""

    @property
    def width(self) -> int:
        """The features of a state that is handed on."""
        return self.hidden_size

    def _layers(self) -> list[tuple[int, str]]:
        """Return the number of each layer and the end of its parameters' names, in order."""
        ends = ("", "_reverse")[: self.directions]
        return [(i, f"_l{i}{end}") for i in range(self.num_layers) for end in ends]

    @property
    def states(self) -> tuple[Shape, ...]:
        """The shapes of what all layers hand on."""
        layers = self.num_layers * self.directions
        return ((layers, self.width), (layers, self.hidden_size))[: self.cells]

    def cost(self, x: Shape, *given: Shape) -> Cost:
        if len(x) != 2:
            sizes = f"[{show((numel(x[:-1]),))}, {x[-1]}]"
            how = f"; its columns are steps after reshape({sizes}) >> permute([1, 0])"
            raise OpError(
                f"{self.name} takes steps x features, not {show(x)}" + how * (len(x) == 3)
            )
        check(
            self.num_layers <= MOST_LAYERS,
            f"num_layers {self.num_layers} is more than {MOST_LAYERS:,}",
        )
        steps, features = x
        rows = self.gates * self.hidden_size
        width = self.width
        params: dict[str, Shape] = {}
        for i, end in self._layers():
            params[f"weight_ih{end}"] = (rows, self.directions * width if i else features)
            params[f"weight_hh{end}"] = (rows, width)
            if self.bias:
                params |= {f"bias_ih{end}": (rows,), f"bias_hh{end}": (rows,)}
            if self.projects:
                params[f"weight_hr{end}"] = (width, self.hidden_size)
        macs = steps * _elements(params, "weight")
        states = self.states
        if given and given != states:
            wanted, got = (" and ".join(map(show, shapes)) for shapes in (states, given))
            raise OpError(f"{self.name} begins with states {wanted}; got {got}")
        out = (steps, self.directions * width)
        return Cost(out, params, macs, others=states if self.return_state else ())

    def backward_macs(
        self, needs: Sequence[bool], trained: bool, x: Shape, *_: Shape
    ) -> tuple[int, int]:
        # gradients go from step to step, and to hidden states before the first if these need one
        cost = self.cost(x)
        first = x[0] * _elements(cost.params, "weight_ih_l0")
        start = _elements(cost.params, "weight_hh")
        inside = (cost.macs - first - start) * (trained or any(needs))
        return first * needs[0] + inside + start * any(needs[1:2]), cost.macs * trained

    def part(self, place: int) -> Op:
        return State() if place else self

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[(0, ALL)], []]

    def forward(self, F: Any, x: Any, *given: Any, **params: Any) -> Any:
        layers = self._layers()
        sizes = (self.width, self.hidden_size)[: self.cells]
        if given:
            starts = [F.contiguous(transpose(F, state, 0, 1)) for state in given]
        else:
            starts = [F.full(shape=(len(layers), x.shape[0], size), like=x) for size in sizes]
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        weights = [[params.get(name + end) for name in names] for _, end in layers]
        x, last = self.run(F, x, starts, weights, batch_first=True)
        y = F.permute(x, dims=(1, 0, 2))
        after = [stacked(F, states) for states in zip(*last, strict=True)]
        return [y, *after] if self.return_state else y

    def run(
        self, F: Any, x: Any, starts: Sequence[Any], weights: Sequence[Sequence[Any]],
        batch_first: bool,
    ) -> tuple[Any, list[Any]]:  # fmt: skip
        """Run all layers and directions one after the other, each over all steps.

        ``x`` is steps x batch x features, or has the batch first. ``starts`` are, of each state,
        those of all layers and directions before the first step. ``weights`` are, of each layer
        and direction, those of the input, of the state, both biases and that of the projection;
        None for what it has not. The result is the hidden states, the steps first, and the last
        states of each layer and direction.
        """
        from archcost.primitives.recurrent import by_onednn  # a reading has loaded it

        starts = [F.unbind(start, dim=0) for start in starts]
        if batch_first:
            x = F.permute(x, dims=(1, 0, 2))
        if self.cells == 2 and by_onednn(x, self.projects):
            x = F.contiguous(x)
        made: list[Any] = []
        last: list[Any] = []
        held: list[Any] = []  # a local variable of both directions, on a CPU
        for place, (i, end) in enumerate(self._layers()):
            states = [start[place] for start in starts]
            reverse = end.endswith("reverse")
            y, *after = self.layer(F, x, states, weights[place], reverse=reverse, held=held)
            made.append(y)
            last.append(after)
            if len(made) < self.directions:
                continue
            x = F.cat(*made, dim=2) if self.bidirectional else y
            made = []
            held.clear()
            if i < self.num_layers - 1 and self.dropout:
                x = Dropout(self.dropout).forward(F, x)
            del y
        return x, last

    def layer(
        self, F: Any, x: Any, states: Sequence[Any], weights: Sequence[Any], **how: Any
    ) -> Any:
        """Run one layer in one direction; return its hidden states and the last of its states."""
        run = getattr(F, f"{self.name}_layer")
        return run(x, *states, *weights[:4], **how)

    def options(self) -> Mapping[str, Any]:
        """Return the arguments of the module that only some have."""
        return {}

    def settings(self, axes: int = 2) -> str:
        cells = [number_of(self.hidden_size, "unit")]
        if self.projects:
            cells.append(f"projected to {self.width}")
        if self.num_layers > 1:
            cells.append(f"{self.num_layers} layers")
        cells += ["both directions"] * self.bidirectional
        cells += [f"dropout {self.dropout:g}"] * bool(self.dropout)
        cells += ["with states"] * self.return_state
        return ", ".join([*cells, *["no bias"] * (not self.bias)])

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        if self.projects:  # which is no news
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
        between = self.dropout if self.num_layers > 1 else 0.0
        made = getattr(torch.nn, self.module)(
            x[1], self.hidden_size, self.num_layers, bias=self.bias, dropout=between,
            bidirectional=self.bidirectional, batch_first=True, **self.options(),
        )  # fmt: skip
        # a hook, not a subclass: counters know a layer by its exact type
        made.register_forward_pre_hook(begins)
        made.register_forward_hook(with_states if self.return_state else without_states)
        return made

    def passed(self, names: Sequence[str]) -> list[str]:
        states = [f"{name}.transpose(0, 1).contiguous()" for name in names[1:]]
        given = f"({', '.join(states)})" if len(states) > 1 else "".join(states)
        return [names[0], *filter(None, [given])]

    def results(self, names: Sequence[str], x: Shape, *_: Shape) -> tuple[str, list[str]]:
        if not self.return_state:
            return f"{names[0]}, _", [*names]
        states = [f"{name}.transpose(0, 1)" for name in names[1:]]
        given = f"({', '.join(names[1:])})" if len(states) > 1 else names[1]
        return f"{names[0]}, {given}", [names[0], *states]


def _elements(params: Mapping[str, Shape], name: str) -> int:
    """Return the elements of the parameters whose names have this prefix."""
    return sum(numel(shape) for own, shape in params.items() if own.startswith(name))


def begins(_: Any, given: Any) -> Any:
    """Return what a module of PyTorch reads: the steps, and states with the layers first."""
    if len(given) == 1:
        return given
    states = tuple(state.transpose(0, 1).contiguous() for state in given[1:])
    return given[0], states if len(states) > 1 else states[0]


def without_states(_: Any, __: Any, made: Any) -> Any:
    """Return the hidden states of what a module of PyTorch gives."""
    return made[0]


def with_states(_: Any, __: Any, made: Any) -> Any:
    """Return all that a module of PyTorch gives, the batch first."""
    states = made[1] if isinstance(made[1], tuple) else (made[1],)
    return (made[0], *(state.transpose(0, 1) for state in states))


def stacked(F: Any, states: Sequence[Any]) -> Any:
    """Return the states of all layers: batch x layers x features, as PyTorch's lie in memory."""
    return F.permute(F.stack(*states, dim=0), dims=(1, 0, 2))


class State(Op):
    """The last states of a recurrent layer, which depend on every step and feature."""

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[], []]


@op("lstm", kind="recurrent")
class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997, Gers et al. 2000).

    It takes ``steps x features``, as ``torch.nn.LSTM(batch_first=True)``; macs = steps · 4 ·
    hidden · (features + hidden) for each layer and direction. With ``return_state`` the last
    hidden state and cell, ``layers x features``, are outputs too; ``lstm(x, h, c, 64)`` begins with
    given ones.
    """

    proj_size: int = count(0, minimum=0)

    gates: ClassVar[int] = 4
    cells: ClassVar[int] = 2
    module: ClassVar[str] = "LSTM"
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(3, 5)),
        example(8, bias=False, x=(6, 4)),
        example(4, 2, dropout=0.5, bidirectional=True, x=(3, 5)),
        example(6, num_layers=2, proj_size=3, x=(4, 5)),
        example(4, bidirectional=True, return_state=True, proj_size=2, bias=False, x=(3, 5)),
        example(4, 2, return_state=True, x=(3, 5)),
        example(4, bidirectional=True, proj_size=3, x=[(3, 5), (2, 3), (2, 4)]),
        example(4, 2, return_state=True, x=[(3, 5), (2, 4), (2, 4)]),
    )

    @property
    def projects(self) -> bool:  # type: ignore[override]
        return self.proj_size > 0

    @property
    def width(self) -> int:
        return self.proj_size or self.hidden_size

    def cost(self, x: Shape, *others: Shape) -> Cost:
        check(
            self.proj_size < self.hidden_size,
            f"proj_size {self.proj_size} is not less than hidden_size {self.hidden_size}",
        )
        return super().cost(x, *others)

    def layer(
        self, F: Any, x: Any, states: Sequence[Any], weights: Sequence[Any], **how: Any
    ) -> Any:
        return F.lstm_layer(x, *states, *weights, **how)

    def options(self) -> Mapping[str, Any]:
        return {"proj_size": self.proj_size}


@op("gru", kind="recurrent")
class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014).

    It takes ``steps x features``, as ``torch.nn.GRU(batch_first=True)``; macs = steps · 3 ·
    hidden · (features + hidden) for each layer and direction. With ``return_state`` the last
    hidden state, ``layers x features``, is an output too; ``gru(x, h, 64)`` begins with a given
    one.
    """

    gates: ClassVar[int] = 3
    module: ClassVar[str] = "GRU"
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(3, 5)),
        example(4, 2, bias=False, bidirectional=True, x=(3, 5)),
        example(4, 2, dropout=0.5, return_state=True, x=(4, 5)),
        example(4, bidirectional=True, x=[(3, 5), (2, 4)]),
    )


@op("rnn", kind="recurrent")
class RNN(Recurrent):
    """The simple recurrent layer, h' = tanh(W·x + U·h + b) (Elman 1990).

    It takes ``steps x features``, as ``torch.nn.RNN(batch_first=True)``; macs = steps · hidden ·
    (features + hidden) for each layer and direction. With ``return_state`` the last hidden state,
    ``layers x features``, is an output too; ``rnn(x, h, 64)`` begins with a given one.
    """

    nonlinearity: str = choice("tanh", "tanh", "relu")

    gates: ClassVar[int] = 1
    module: ClassVar[str] = "RNN"
    examples: ClassVar[tuple[Example, ...]] = (
        example(4, x=(3, 5)),
        example(4, 2, nonlinearity="relu", bidirectional=True, x=(3, 5)),
        example(4, bias=False, return_state=True, x=(4, 5)),
        example(4, x=[(3, 5), (1, 4)]),
    )

    def layer(
        self, F: Any, x: Any, states: Sequence[Any], weights: Sequence[Any], **how: Any
    ) -> Any:
        kind = self.nonlinearity
        return F.rnn_layer(x, *states, *weights[:4], nonlinearity=kind, **how)

    def options(self) -> Mapping[str, Any]:
        return {"nonlinearity": self.nonlinearity}

    def settings(self, axes: int = 2) -> str:
        return super().settings(axes) + ", relu" * (self.nonlinearity == "relu")
