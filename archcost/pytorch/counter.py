"""PyTorch's own counter, and the products of matrices and vectors that it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from archcost.shape import numel

LEFT_OUT: Mapping[str, Callable[..., int]] = {
    "mv": lambda matrix, _: numel(matrix.shape),
    "addmv": lambda _, matrix, __: numel(matrix.shape),
    "dot": lambda a, _: numel(a.shape),
    "vdot": lambda a, _: numel(a.shape),
    "_trilinear": lambda a, weight, b, *_: numel((a.shape[0], *weight.shape[::2], a.shape[1] + 1)),
    "_grouped_mm": lambda a, b, *_: (
        numel(a.shape if a.dim() <= b.dim() else a.shape[1:]) * b.shape[-1]
    ),
    "addbmm": lambda _, a, b: numel(a.shape) * b.shape[-1],
}
"""Products that ``torch.utils.flop_counter`` leaves out: their multiply-accumulates."""


@contextmanager
def math_attention() -> Iterator[None]:
    """Take attention apart: the counter knows the fused one of a GPU, but not those of a CPU."""
    kernels: Any = import_module("torch.nn.attention")
    layers: Any = import_module("torch.backends.mha")
    before = layers.get_fastpath_enabled()
    layers.set_fastpath_enabled(False)
    try:
        with kernels.sdpa_kernel(kernels.SDPBackend.MATH):
            yield
    finally:
        layers.set_fastpath_enabled(before)


def whole_counter() -> Any:
    """Return a ``FlopCounterMode`` that counts the products of :data:`LEFT_OUT` too."""
    import torch

    def flops(rule: Callable[..., int]) -> Callable[..., int]:
        def count(*args: Any, out_val: Any = None, **_: Any) -> int:
            return 2 * rule(*args)

        vars(count)["_get_raw"] = True  # tensors, not their shapes alone
        return count

    rules = {getattr(torch.ops.aten, name): flops(rule) for name, rule in LEFT_OUT.items()}
    made: Any = import_module("torch.utils.flop_counter").FlopCounterMode
    return made(display=False, custom_mapping=rules)
