"""What others print of a network: figures of papers and model cards, and claims of a lecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from archcost.shape import Shape

FIGURES = (
    "params", "macs", "flops", "activations", "size", "weight_layers",
    "top1", "top5", "top1_error", "top5_error",
)  # fmt: skip
"""The quantities that a published row may carry."""

EXACT, ROUNDS, AMBIGUOUS, WRONG, NOT_COMPUTED = VERDICTS = (
    "exact", "rounds to", "ambiguous", "wrong", "not computed",
)  # fmt: skip
"""What can be said of a printed figure; ``archcost.audit.audit`` says what each means."""


@dataclass(frozen=True)
class Published:
    """Figures that one source prints of a model, each as it is printed (``62.3M``).

    ``convention`` names how the source counts ``macs`` or ``flops`` where that is not the default;
    ``why`` explains a figure that differs from the computed one; ``slips`` are mistakes or other
    ways to count, each with the expression that computes what is printed, in the language of
    :mod:`archcost.audit.claims`, where ``this`` is the network and ``this(knob=value)`` the same
    with other knobs.
    """

    source: str
    figures: Mapping[str, str]
    model: str = ""
    year: int | None = None
    input: Shape | None = None
    convention: str = ""
    why: str = ""
    slips: Mapping[str, str] = field(default_factory=dict)
    line: int = 0
    column: int = 0


@dataclass(frozen=True)
class Claim:
    """A figure that a lecture's text prints beside a layer.

    ``path`` is the layer, ``input`` for the network's input, empty for a total; ``quantity`` is
    ``input``, ``output``, ``activations``, ``params`` or ``activation_bytes``; ``printed`` is the
    text as it stands: ``55x55x96`` (height x width x channels), ``28x28``, ``3.2M``,
    ``102,760,448``. ``note`` says what is wrong in the text and what was taken instead; then
    ``quantity`` may also be a setting: ``kernel_size``, ``stride``, ``padding`` or ``repeat``.
    """

    path: str
    quantity: str
    printed: str
    line: int
    note: str = ""
