"""``archcost export``: the network for PyTorch or ONNX."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import Names, names_option
from archcost.cli.options import file_option, load_network, model_argument, network_options
from archcost.cli.output import format_of, write, write_file
from archcost.errors import ArchcostError

FORMATS = Names(
    "format",
    lambda: {"pytorch": "Python source that needs only PyTorch", "onnx": "an ONNX file"},
    strict=True,
)
ENDINGS = {".py": "pytorch", ".onnx": "onnx"}


@click.command("export")
@model_argument()
@names_option(
    "--to", names=FORMATS, help="What to write. The default is pytorch, or the file's ending"
)
@network_options
@file_option("Write the output to this .py or .onnx file.")
def command(model: str, to: str | None, output: str | None, options: dict[str, Any]) -> None:
    """Write the network as PyTorch source or as an ONNX file.

    The names in the module's state dict are the layers' paths. An ONNX file holds initial weights
    and accepts any batch size.

    Example: archcost export resnet18 --to pytorch --output resnet18.py
    """
    to = format_of(to, output, ENDINGS) or "pytorch"
    network = load_network(model, **options)
    if to == "pytorch":
        from archcost.pytorch.source import pytorch_source

        write(pytorch_source(network).rstrip("\n"), output)
        return
    if output is None:
        raise ArchcostError("an ONNX file is not text: say where with --output FILE")
    from archcost.pytorch.onnx_file import write_onnx

    write_file(output, lambda path: write_onnx(network, path))
