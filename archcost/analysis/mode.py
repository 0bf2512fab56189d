"""Ways to run a network that change its memory and not its results, rounding aside."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mode:
    """How PyTorch is told to run a network.

    Attributes:
        channels_last: network and input are moved to ``torch.channels_last``.
        checkpoint: shell patterns of groups that run under ``torch.utils.checkpoint``, without
            reentry, so that backward computes them again.
    """

    channels_last: bool = False
    checkpoint: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What is asked for, to follow other settings: ``; channels last``."""
        again = f"; {', '.join(self.checkpoint)} computed again" if self.checkpoint else ""
        return "; channels last" * self.channels_last + again


PLAIN = Mode()
"""Nothing asked for."""
