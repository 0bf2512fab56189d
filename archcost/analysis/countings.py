"""What a printed number of a model may be: its figures under every convention and assumption.

Each figure has a weight, which says how much it assumes. A plain count of the model as it is has 0,
the rule of one tool has 1, and every further assumption adds to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from archcost.analysis.parameters import count_params, parameter_counts
from archcost.analysis.reconcile import count_activations, count_operations
from archcost.analysis.writings import WRITINGS
from archcost.analysis.written import printed, written
from archcost.conventions import ACTIVATIONS, CONVENTIONS, MAC
from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.numeral import ACTIVATIONS as ACTIVATION_COUNT
from archcost.numeral import OPERATIONS, PARAMS
from archcost.shape import Shape, show
from archcost.spec.catalog import catalog, expand, find_document, find_model, load

COMMON_SIZES = (
    28, 32, 64, 96, 128, 160, 192, 224, 227, 240, 256, 260, 288, 299, 300, 320, 331,
    380, 384, 416, 448, 456, 480, 512, 528, 572, 600, 608, 640,
)  # fmt: skip
"""Heights and widths at which networks are commonly counted."""

USUAL_SIZES = (224, 256, 299, 384)
"""Those of them that need least belief."""

PLAIN = ("macs", "flops", "lecture")
"""Conventions that are definitions; another is the rule of one tool, and weighs 1."""

OF = "of "
"""How a change begins that says whose module was counted."""

_TRAINING, _BACKWARD = 3, "forward and backward, three times the forward"
"""The backward pass does about twice the forward's products."""


@dataclass(frozen=True, slots=True)
class Match:
    """A computed figure that gives a printed number.

    Attributes:
        quantity: ``operations``, ``params`` or ``activations``.
        value: the computed figure.
        how: ``exact``, ``rounds`` or ``truncates`` to the printed digits; ``printed`` if it is not
            computed, but printed by a source of the spec.
        conventions: the conventions that give it; none for the parameters as they are.
        model, input: the variant and the input shape that were computed.
        changes: what was assumed beyond the model as its spec has it, in words; empty for none.
        weight: how much has to be believed; 0 is a plain count of the model itself.
        chance: the share of numbers like the printed one that figures of this weight or less give.
        printed_by: who prints this very number of the model, as its spec records.
    """

    quantity: str
    value: int
    how: str
    conventions: tuple[str, ...]
    model: str
    input: Shape
    changes: tuple[str, ...] = ()
    weight: int = 0
    chance: float = 0.0
    printed_by: str = ""

    @property
    def free(self) -> bool:
        """Whether it assumes nothing: a convention's count of the model as it is, rounded."""
        return bool(self.printed_by) or not (self.assumes or self.how == "truncates")

    @property
    def assumes(self) -> bool:
        """Whether it assumes anything but whose module it is, of those on which tools were run."""
        return any(not change.startswith(OF) for change in self.changes)


def candidates(
    model: str | Network, input: str | Shape | None, options: Mapping[str, Any]
) -> Iterator[tuple[Network, tuple[str, ...], int]]:
    """Yield networks that a figure of ``model`` may be about: what each assumes, and its weight."""
    if isinstance(model, Network):
        if model.remake is None:  # no spec describes it
            yield model, (), 0
            return
        own, made = model, model.remake
    else:
        made = partial(expand, *find_model(model), **{"input": input, **options})
        own = made()
    yield own, (), 0
    if options["bias"]:
        without = made(bias=False)
        if count_params(without) != count_params(own):
            yield without, ("biases left out",), 1
    if not options["aux"]:
        helped = made(aux=True)
        if len(helped) != len(own):
            yield helped, ("with auxiliary heads",), 1
    if not options["knobs"]:
        for name in _relatives(own):
            network = load(name, input=input)
            near = name.startswith(f"{own.name}_") or own.name.startswith(f"{name}_")
            yield network, (f"variant {name} at {network.input_text}",), 1 if near else 2
    if input is not None or len(own.inputs) > 1 or len(own.input) != 3:
        return
    printed = {row.input for row in own.published if row.input}
    for shape in dict.fromkeys((*printed, *((own.input[0], n, n) for n in COMMON_SIZES))):
        if shape == own.input:
            continue
        try:
            resized = made(input=shape)
        except ArchcostError:  # the network does not fit this size
            continue
        usual = shape in printed or (shape[1] == shape[2] and shape[1] in USUAL_SIZES)
        yield resized, (f"input {show(shape)}",), 1 if usual else 2


def _relatives(network: Network) -> list[str]:
    """Return the other variants of the family, and models whose name extends the model's."""
    model = network.name
    try:
        family = find_document(model).models()
    except LookupFailed:  # a file
        return []
    named = [n for n in catalog() if n.startswith(f"{model}_") or model.startswith(f"{n}_")]
    return [name for name in dict.fromkeys([*family, *named]) if name != model]


def countings(
    network: Network, changes: tuple[str, ...], weight: int, batch: int, tools: Sequence[str]
) -> Iterator[Match]:
    """Yield every figure of a network, still without the way in which it matches."""

    def match(
        quantity: str, value: int, names: Sequence[str], more: Sequence[str] = (), heavier: int = 0
    ) -> Match:
        tool = 0 if not names or set(PLAIN) & set(names) else 1
        return Match(
            quantity, value, "", tuple(names), network.name, network.input, (*changes, *more),
            weight + tool + len(more) + heavier,
        )  # fmt: skip

    # the rounding of single precision, which takes its time, is for the model itself
    count = count_operations if weight else printed
    rules = [CONVENTIONS[name] for name in tools or CONVENTIONS]
    own = {rule.name: count(network, rule) for rule in rules}
    guesses = [] if changes else [writing for writing in WRITINGS if writing.guess]
    written_so = [((w.words,), {r.name: printed(network, r, [w]) for r in rules}) for w in guesses]
    for so, counts in (((), own), *written_so):
        totals = {n: batch * total for n, total in counts.items() if not so or total != own[n]}
        doubled = {n: 2 * total for n, total in totals.items() if CONVENTIONS[n].unit == MAC}
        for values, more in ((totals, so), (doubled, (*so, "two operations per MAC"))):
            for value, names in _by_value(values).items():
                yield match(OPERATIONS, value, names, more)
                yield match(OPERATIONS, _TRAINING * value, names, (*more, _BACKWARD), 1)
    for module in [] if changes else written(network):
        for name in [name for name in module.reasons if module.name and name in (tools or (name,))]:
            whose = f"{OF}{module.whose}"
            yield match(OPERATIONS, batch * module.totals[name], [name], [whose], -1)
    elements = {n: batch * count_activations(network, rule) for n, rule in ACTIVATIONS.items()}
    for value, names in _by_value(elements).items():
        yield match(ACTIVATION_COUNT, value, names)
    for params in parameter_counts(network):
        yield match(PARAMS, params.value, params.ways, params.changes)


def _by_value(totals: Mapping[str, int]) -> dict[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for name, value in totals.items():
        if value:
            groups.setdefault(value, []).append(name)
    return groups
