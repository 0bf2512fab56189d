"""``archcost show``: the expanded spec."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import load_network, model_argument, network_options, text_file_option
from archcost.cli.output import write


@click.command("show")
@model_argument()
@network_options
@text_file_option(".yaml", ".yml")
def command(model: str, output: str | None, options: dict[str, Any]) -> None:
    """Print the expanded spec, which is a valid spec: one call per layer, no blocks, no knobs.

    Example: archcost show resnet18 --input 3x64x64
    """
    from archcost.spec.flat import flat_spec

    write(flat_spec(load_network(model, **options)), output)
