"""``archcost reconcile``: why counting tools disagree on a network."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
)


@click.command("reconcile")
@model_argument()
@click.option("--tool", "tools", multiple=True, help="Only this convention; may be repeated.")
@click.option("--base", default="macs", show_default=True, help="What differences refer to.")
@network_options
@output_options
def command(
    model: str, tools: tuple[str, ...], base: str, format: str | None, output: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Show the number that each counting tool prints, and the work that makes the difference.

    Example: archcost reconcile resnet50 --tool fvcore --tool thop
    """
    from archcost.analysis.reconcile import reconcile

    show(reconcile(load_network(model, **options), tools, base=base).table(), format, output)
