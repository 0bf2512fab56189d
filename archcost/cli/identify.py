"""``archcost identify``: whose number is it?"""

from __future__ import annotations

import click

from archcost.cli.options import model_argument, output_options, show


@click.command("identify")
@model_argument()
@click.argument("number")
@click.option("--quantity", help="Only operations, params or activations.")
@click.option("--most", type=click.IntRange(1), default=12, show_default=True, help="Rows.")
@output_options
def command(
    model: str, number: str, quantity: str | None, most: int, format: str | None, output: str | None
) -> None:
    """Find the tool, convention, variant or input size that yields a printed number.

    The exit code is 1 when nothing does.

    Example: archcost identify resnet50 4.09G
    """
    from archcost.analysis.reconcile import identify, matches_table

    matches = identify(number, model, quantity)
    show(matches_table(number, model, matches, most), format, output)
    if not matches:
        raise click.exceptions.Exit(1)
