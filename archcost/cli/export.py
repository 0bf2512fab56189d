"""``archcost export``: the network for PyTorch or ONNX."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import load_network, model_argument, network_options, write, write_file
from archcost.errors import ArchcostError


@click.command("export")
@model_argument()
@click.option(
    "--to", type=click.Choice(["pytorch", "onnx"]), default="pytorch", show_default=True,
    help="Python source that needs only PyTorch, or an ONNX file.",
)  # fmt: skip
@network_options
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
    help="Write to a file, whole or not at all.",
)  # fmt: skip
def command(model: str, to: str, output: str | None, **options: Any) -> None:
    """Write the network as PyTorch source or as an ONNX file.

    The names in the source's state dict are the layers' paths. An ONNX file holds initial weights
    and takes any batch.

    Example: archcost export resnet18 --to pytorch --output resnet18.py
    """
    network = load_network(model, **options)
    if to == "pytorch":
        from archcost.torch_twin.source import pytorch_source

        write(pytorch_source(network).rstrip("\n"), output)
        return
    if output is None:
        raise ArchcostError("an ONNX file is not text: say where with --output FILE")
    from archcost.torch_twin.onnx_file import write_onnx

    write_file(output, lambda path: write_onnx(network, path))
