"""Which line of code calls a function of PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import TracebackType
from typing import Any


def line_of_code() -> tuple[str, int]:
    """Return the file and line of the code that calls a function of PyTorch."""
    return caller()[0]


def caller() -> tuple[tuple[str, int], bool]:
    """Return the file and line, and whether PyTorch calls from inside an operation of its own."""
    frame: Any = sys._getframe(1)
    module, inside = frame.f_globals.get("__name__", ""), False
    while frame.f_back is not None and is_foreign(module):
        inside = inside or module.startswith(KERNELS)
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
    return (frame.f_code.co_filename, frame.f_lineno), inside


def raised_at(error: BaseException) -> str:
    """Return the last line of code that led to an error, ``" (net.py:12)"``; empty if none did."""
    lines = [
        at((step.tb_frame.f_code.co_filename, step.tb_lineno))
        for step in _steps(error.__traceback__)
        if not is_foreign(step.tb_frame.f_globals.get("__name__", ""))
    ]
    return f" ({lines[-1]})" if lines else ""


def _steps(step: TracebackType | None) -> Iterator[TracebackType]:
    while step is not None:
        yield step
        step = step.tb_next


KERNELS = ("torch._refs", "torch._prims", "torch._meta_registrations", "torch._decomp")
"""Where PyTorch writes operations for tensors without content in Python."""


def is_foreign(module: str) -> bool:
    """Whether a module is of PyTorch, or of what traces it."""
    return module == "torch" or module.startswith(("torch.", "archcost.importers."))


def at(line: tuple[str, int]) -> str:
    """Return a line as messages say it: ``net.py:12``."""
    return f"{line[0].rpartition('/')[2]}:{line[1]}"
