"""A network as an ONNX file, by way of its twin and PyTorch's exporter."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import Any

from archcost.errors import ArchcostError, shorten
from archcost.network import Network
from archcost.pytorch import build, import_torch, random_inputs


def write_onnx(network: Network, path: str | os.PathLike[str]) -> None:
    """Write the network for inference, with random initial weights and a free batch size.

    The file passes ONNX's checker. Initial weights are drawn from a fixed seed.

    Raises:
        ArchcostError: PyTorch or ONNX is not installed, or an operator has no form in ONNX.
    """
    torch = import_torch()
    onnx = import_onnx()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        twin = build(network).eval()
    samples = tuple(torch.zeros_like(x) for x in random_inputs(network, 2))
    outputs = [f"output{i}" if i else "output" for i in range(len(network.outputs))]
    try:
        with _quietly():
            torch.onnx.export(
                twin, samples, path, dynamo=True, external_data=False, verbose=False,
                input_names=[value.name for value in network.inputs], output_names=outputs,
                dynamic_shapes=(({0: torch.export.Dim("batch")},) * len(samples),),
            )  # fmt: skip
            onnx.checker.check_model(os.fspath(path), full_check=True)
    except OSError:
        raise
    except Exception as error:  # the exporter raises many kinds
        cause = error.__cause__ or error
        reason = f"{type(cause).__name__}: {shorten(cause, 200)}"
        raise ArchcostError(f"{network.name} cannot be written as ONNX: {reason}") from None


def import_onnx() -> Any:
    """Return the module onnx, or say in one line how to get it and what the exporter needs."""
    try:
        import_module("onnxscript")  # PyTorch's exporter is written in it
        return import_module("onnx")
    except ImportError as error:
        reason = f"this needs {error.name or 'onnx'}: pip install 'archcost[onnx]'"
        raise ArchcostError(reason) from None


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the exporter's progress and advice from the user's terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
