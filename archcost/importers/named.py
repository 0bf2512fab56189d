"""The functions of PyTorch by their names: what they return, and what a trace makes of them."""

from __future__ import annotations

from typing import Any

DEPENDS = "depends on data, which archcost does not have"
HIDES = "code that hides its calls runs here, as a function of TorchScript"

ASKS = (
    "__bool__", "__contains__", "__float__", "__index__", "__int__", "allclose", "equal",
    "is_nonzero", "item", "numpy", "tolist",
)  # fmt: skip
"""Functions that return the content of a tensor, and no tensor."""

YES_OR_NO = ("__bool__", "__contains__", "allclose", "equal", "is_nonzero")
"""Those whose result is True or False."""

OF_DATA = (*ASKS, "nonzero")
"""Functions whose result, or its size, is in the content of a tensor."""

BY_PLACES = ("__getitem__",)
"""Functions whose program does not know what a mask leaves."""

OF_MANY = ("einsum",)
"""Functions of any number of products, which PyTorch orders."""

DETECTOR = ("backbone", "rpn", "roi_heads", "head")
"""Parts of a detector, which resizes images one by one and chooses boxes by what it finds."""

OPENED = ("multi_head_attention_forward",)
"""Functions in Python that are no layer: the calls inside are noted."""

SIZES = ("shape", "size", "numel", "nelement")
"""Functions that return sizes."""

QUERIES = frozenset({
    "dim", "stride", "is_contiguous", "element_size", "is_floating_point",
    "get_device", "_assert", "is_complex", "ndimension", "__len__", "storage_offset",
    "data_ptr", "is_same_size", "requires_grad_", "_assert_async", "is_tensor", "is_inference",
})  # fmt: skip
"""Functions that make no tensor."""

OF_LAYOUT = ("stride", "is_contiguous", "storage_offset", "data_ptr")
"""Queries whose answer may be another one if the batch is 1."""

_NAMES: dict[Any, str] = {}


def name_of(function: Any) -> str:
    """Return the last part of a function's name; of an attribute, the attribute's."""
    if function not in _NAMES:
        own = getattr(function, "__name__", "") or str(function)
        if own == "__get__":  # x.T, x.mT, x.data; x.shape gives no tensor
            own = getattr(getattr(function, "__self__", None), "__name__", own)
        _NAMES[function] = own
    return _NAMES[function]
