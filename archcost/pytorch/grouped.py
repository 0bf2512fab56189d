"""Products of groups of rows, which PyTorch refuses in float32 on tensors without content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

ALIGNED = 16
"""The bytes of which the strides of rows are a multiple."""


@contextmanager
def grouped_products() -> Iterator[None]:
    """Run ``torch.nn.functional.grouped_mm`` in float32 on tensors without content, as a CPU does.

    Which expert multiplies how many rows is in the content of ``offs``. All rows together are those
    of the first factor, so that the sizes and the products are known.
    """
    torch: Any = import_module("torch")
    meta: Any = import_module("torch._meta_registrations")
    name = "_meta_grouped_mm_common"
    known = getattr(meta, name, None)
    if known is None:  # a version of PyTorch without it
        yield
        return

    def common(a: Any, b: Any, *args: Any, **kwargs: Any) -> Any:
        if a.dtype != torch.float32 or b.dtype != torch.float32:
            return known(a, b, *args, **kwargs)
        offs: Any = kwargs.get("offs", args[2] if len(args) > 2 else None)
        torch._check(_fits(a) and _fits(b), lambda: "strides should be multiple of 16 bytes")
        groups = () if a.dim() != b.dim() else (offs.shape[0],) if a.dim() == 2 else a.shape[:1]
        shape = (*groups, a.shape[-2], b.shape[-1])
        row = -(-shape[-1] * 4 // ALIGNED) * ALIGNED // 4
        strides = (*(shape[-2] * row for _ in groups), row, 1)
        return torch.empty_strided(shape, strides, dtype=a.dtype, device=a.device)

    with mock.patch.object(meta, name, common):
        yield


def _fits(x: Any) -> bool:
    row, column = x.stride()[-2:]
    return bool(max(row, column) * x.element_size() % ALIGNED == 0)
