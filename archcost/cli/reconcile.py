"""``archcost reconcile``: why counting tools disagree on a network."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import CONVENTIONS, names_option
from archcost.cli.options import load_network, model_argument, network_options, output_options
from archcost.cli.output import Output


@click.command("reconcile")
@model_argument()
@names_option("--tool", "tools", names=CONVENTIONS, multiple=True,
              help="Show only this convention. May be repeated")  # fmt: skip
@names_option("--base", names=CONVENTIONS, default="macs", show_default=True,
              help="The convention that differences refer to")  # fmt: skip
@network_options
@output_options("analysis.reconcile:COLUMNS")
def command(
    model: str, tools: tuple[str, ...], base: str, options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Show the number that each counting tool prints, and the work that makes the difference.

    Example: archcost reconcile resnet50 --tool fvcore --tool thop
    """
    from archcost.analysis.reconcile import reconcile

    out.show(reconcile(load_network(model, **options), tools, base=base).table())
