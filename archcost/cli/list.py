"""``archcost list``: the catalog."""

from __future__ import annotations

import click

from archcost.cli.options import output_options, show


@click.command("list")
@click.argument("pattern", required=False)
@click.option("--family", help="Only the models of one family.")
@click.option("--sort", type=click.Choice(["family", "year", "name"]), default="family")
@output_options
def command(
    pattern: str | None, family: str | None, sort: str, format: str | None, output: str | None
) -> None:
    """List the models of the catalog, by family or year.

    PATTERN keeps the names that contain it, or that match it as a shell pattern.

    Example: archcost list resnet --sort year
    """
    from archcost.analysis.listing import listing

    show(listing(pattern, family, sort), format, output)
