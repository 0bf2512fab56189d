"""Ways to run a network that change its memory and not its results, rounding aside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mode:
    """How PyTorch is told to run a network.

    Attributes:
        channels_last: network and input are moved to ``torch.channels_last``.
    """

    channels_last: bool = False


PLAIN = Mode()
"""Nothing asked for."""
