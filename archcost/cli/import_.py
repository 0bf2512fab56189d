"""``archcost import``: a spec of what was read of code."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import load_network, network_options, text_file_option
from archcost.cli.output import write


@click.command("import")
@click.argument("source", metavar="SOURCE")
@network_options
@text_file_option(".yaml", ".yml")
def command(source: str, output: str | None, options: dict[str, Any]) -> None:
    """Write a spec of a network that is code: groups, blocks, repeats, shared modules.

    SOURCE is package.module:callable, file.py:callable, an ONNX file, or any other model. The spec
    has the layers of the source, as far as there are ops for them. archcost loads and compares the
    spec before it writes it. A comment lists figures that differ. If a spec cannot express a layer,
    the error names the layer.

    Example: archcost import torchvision:resnet50 --input 3x224x224 --output resnet50.yaml
    """
    from archcost.api.writing import to_spec

    write(to_spec(load_network(source, **options)).rstrip("\n"), output)
