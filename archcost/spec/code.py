"""Networks that are no specs: PyTorch modules and ONNX files, which importers read."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.shape import Inputs
from archcost.spec.kinds import is_onnx, reader_of

CODE_OPTIONS = ("inputs", "partial", "run")
"""Options of :func:`load` for PyTorch modules alone."""


def read_code(
    model: Any, input: Inputs | None, knobs: Mapping[str, Any] | None, code: Mapping[str, Any]
) -> Network:
    """Return the network of a PyTorch module or an ONNX file.

    Raises:
        LookupFailed: an unknown option. ArchcostError: an option that an ONNX file does not have,
            or code that cannot be read.
    """
    code = {name: value for name, value in code.items() if value}
    for name in code:
        if name not in CODE_OPTIONS:
            raise LookupFailed("option", name, CODE_OPTIONS)
        if is_onnx(model):
            raise ArchcostError(f"{model} is an ONNX graph, for which there is no {name!r}")
    network: Network = import_module(reader_of(model)).read(model, input=input, knobs=knobs, **code)
    return network


def refuse(code: Mapping[str, Any], name: str) -> None:
    """Refuse options of PyTorch modules for a spec of that name."""
    for option, value in code.items():
        if value:
            raise ArchcostError(f"{option!r} is for PyTorch modules; {name} is a spec")
