"""What an optimizer keeps between steps, and what it allocates during one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

from archcost.data import dataclass
from archcost.errors import ArchcostError, LookupFailed

STEP_BYTES = 4
"""Adam counts its steps in a float32 per parameter."""

FOR_LOOP, FOREACH, FUSED = KERNELS = ("for-loop", "foreach", "fused")
"""PyTorch's ways to update: a parameter at a time, lists at a time, or in one kernel."""


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of ``torch.optim``.

    Attributes:
        name: how the command line calls it.
        moments: tensors of a parameter's size that it keeps for each parameter.
        counts: whether it counts its steps, in a tensor for each parameter.
        decays_gradient: whether weight decay is added to the gradient, which takes a copy.
    """

    name: str
    moments: int
    counts: bool = False
    decays_gradient: bool = True

    def state(self, params: Sequence[int], kernel: str, device: str) -> list[int]:
        """Return the bytes of each tensor that it keeps for parameters of the given bytes.

        The counts of steps lie in the memory of the host, unless the kernel is fused.
        """
        kept = [size for size in params for _ in range(self.moments)]
        if self.counts and (device == "cpu" or kernel == FUSED):
            kept += [STEP_BYTES] * len(params)
        return kept

    def transients(
        self, params: Sequence[int], kernel: str, weight_decay: bool
    ) -> Iterator[list[int]]:
        """Yield the bytes of the tensors that an update makes and that are alive together.

        ``_single_tensor_*`` and ``_multi_tensor_*`` of ``torch/optim/{sgd,adam}.py``: Adam takes
        the square root of all second moments at once, or of one. It divides one into another
        tensor while the last parameter's quotient still has a name.
        """
        copies = weight_decay and self.decays_gradient
        if kernel == FUSED:
            return
        if kernel == FOREACH:
            yield [*params] if copies else []  # dropped before the roots are taken
            yield [*params] if self.counts else []
            return
        for before, size in pairwise([0, *params]):
            yield ([size] if copies else []) + ([before, size, size] if self.counts else [])


OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType({
    optimizer.name: optimizer
    for optimizer in (
        Optimizer("sgd", 0),
        Optimizer("sgd-momentum", 1),
        Optimizer("adam", 2, counts=True),
        Optimizer("adamw", 2, counts=True, decays_gradient=False),
    )
})  # fmt: skip
"""Every optimizer by its name on the command line."""


def find_optimizer(name: str) -> Optimizer:
    """Return the optimizer of that name, or raise LookupFailed with the nearest one."""
    if name not in OPTIMIZERS:
        raise LookupFailed("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def find_kernel(name: str | None, device: str) -> str:
    """Return the kernel of that name; None is PyTorch's choice: lists at a time on CUDA only.

    Raises:
        ArchcostError: an unknown kernel.
    """
    if name is None:
        return FOREACH if device == "cuda" else FOR_LOOP
    if name not in KERNELS:
        raise ArchcostError(f"unknown kernel {name!r}; expected one of: {', '.join(KERNELS)}")
    return name
