"""The words of PyTorch calls: tensors as text, options, and the registry of spellings.

A tensor is passed as a :class:`Written`: its text and its shape. Sizes that contain the batch are
written in a form that holds for every batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from archcost.shape import Shape

BATCH = 2**61 - 1
"""The batch of a program that is written: a prime, so that sizes with the batch in them tell."""
ATOM = 9
TYPES = {1: "torch.bool", 2: "torch.bfloat16", 4: "torch.float32", 8: "torch.int64"}
USUAL = {
    "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1, "ceil_mode": False,
    "count_include_pad": True, "keepdim": False, "mode": "constant", "align_corners": None,
    "antialias": False, "largest": True, "descending": False,
    "scale": None, "is_causal": False, "enable_gqa": False, "padding_idx": None,
    "size": None, "scale_factor": None, "approximate": "none", "negative_slope": 0.01,
}  # fmt: skip
"""What functions of PyTorch take unless told otherwise."""


class Written:
    """A tensor as text: a name or an expression, and how closely that binds."""

    __slots__ = ("level", "shape", "text")

    def __init__(self, text: str, shape: Shape, level: int = ATOM) -> None:
        self.text, self.shape, self.level = text, shape, level

    def __str__(self) -> str:
        """Return the text as an argument of a call."""
        return self.text

    def inside(self, level: int = ATOM) -> str:
        """Return the text, in brackets if it binds less closely than ``level``."""
        return self.text if self.level >= level else f"({self.text})"


def value(given: Any) -> str:
    """Return an option as source: one number where all axes have the same."""
    if isinstance(given, (tuple, list)) and given:
        if len(set(given)) == 1:
            return repr(given[0])
        inside = ", ".join(map(repr, given))
        return f"[{inside}]" if isinstance(given, list) else f"({inside})"
    if given == -math.inf:
        return 'float("-inf")'
    return repr(given)


def call(function: str, *args: Any, **options: Any) -> str:
    """Return a call; options that are as usual are left out."""
    written = [str(arg) for arg in args]
    for name, given in options.items():
        text = value(given)
        if name not in USUAL or text != repr(USUAL[name]):
            written.append(f"{name}={text}")
    return f"{function}({', '.join(written)})"


def function_call(name: str) -> Callable[..., str]:
    """Return how to write a call of a function of ``nn.functional``."""
    return lambda *args, **options: call(f"nn.functional.{name}", *args, **options)


def torch_call(name: str) -> Callable[..., str]:
    """Return how to write a call of a function of ``torch``."""
    return lambda *args, **options: call(f"torch.{name}", *args, **options)


def method_call(name: str) -> Callable[..., str]:
    """Return how to write a call of a method of the first tensor."""
    return lambda x, *args, **options: call(f"{x.inside()}.{name}", *args, **options)


def by_rank(name: str, x: Written) -> str:
    """Return the function of ``nn.functional`` of so many spatial dimensions: ``conv2d``."""
    return f"nn.functional.{name}{len(x.shape) - 2}d"


def sizes(shape: Shape) -> str:
    """Return the sizes of a new tensor; the batch is that of ``x``."""
    return ", ".join("len(x)" if n == BATCH else str(n) for n in shape)


SPELLINGS: dict[str, Callable[..., str]] = {}
"""How each primitive is written, by its name; the name of a function of PyTorch unless it stands
here."""


def spelling(function: Callable[..., str]) -> Callable[..., str]:
    """Register a function that writes a call of the primitive of its name."""
    SPELLINGS[function.__name__.rstrip("_")] = function
    return function
