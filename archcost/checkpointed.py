"""A part of a network that its code runs under ``torch.utils.checkpoint``."""

from __future__ import annotations

from typing import Any

from archcost.data import dataclass


@dataclass(frozen=True)
class Checkpointed:
    """Layers that one call of ``torch.utils.checkpoint.checkpoint`` runs.

    Attributes:
        paths: of the layers.
        saves: names of the tensors among the arguments of the call, which are kept for backward.
        constants: the constants that the layers read or the call takes, each with whether it is an
            argument of the call.
        reentrant: whether it is called with ``use_reentrant=True``.
        whole: whether it is called with ``early_stop=False``.
    """

    paths: frozenset[str]
    saves: tuple[str, ...]
    constants: tuple[tuple[Any, bool], ...]
    reentrant: bool
    whole: bool
