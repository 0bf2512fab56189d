"""Ways to run a network that change its memory and not its results, rounding aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archcost.errors import ArchcostError

AMP: Mapping[str, str] = {"bf16": "bfloat16", "fp16": "float16"}
"""The types of autocast, by their names on the command line."""
LOWERED = 2
"""Bytes per element of these types."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How PyTorch is told to run a network.

    Attributes:
        amp: ``"bf16"`` or ``"fp16"``: under ``torch.autocast`` with that type.
        channels_last: network and input are moved to ``torch.channels_last``.
        checkpoint: shell patterns of groups that run under ``torch.utils.checkpoint``, without
            reentry, so that backward computes them again.
    """

    amp: str | None = None
    channels_last: bool = False
    checkpoint: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        if self.amp not in (None, *AMP):
            raise ArchcostError(f"autocast takes bf16 or fp16; got {self.amp!r}")
        if self.amp and self.checkpoint:
            raise ArchcostError("the memory of autocast with recomputation is not known")

    def check(self, dtype: str, freeze: Sequence[str]) -> None:
        """Refuse autocast of other parameters than float32 ones, or of frozen ones."""
        if self.amp and dtype != "float32":
            raise ArchcostError(f"autocast keeps parameters in float32; got --dtype {dtype}")
        if self.amp and freeze:
            raise ArchcostError("the memory of autocast with frozen layers is not known")

    @property
    def words(self) -> str:
        """What is asked for, to follow other settings: ``; channels last``."""
        again = f"; {', '.join(self.checkpoint)} computed again" if self.checkpoint else ""
        cast = f"; autocast to {AMP[self.amp]}" if self.amp else ""
        return cast + "; channels last" * self.channels_last + again


PLAIN = Mode()
"""Nothing asked for."""
