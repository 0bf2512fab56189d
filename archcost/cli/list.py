"""``archcost list``: the catalog."""

from __future__ import annotations

import click

from archcost.cli.choices import FAMILIES, Names, listed, names_option
from archcost.cli.options import output_options
from archcost.cli.output import Output

ORDERS = Names("order", listed("analysis.listing:ORDERS"), strict=True)


@click.command("list")
@click.argument("pattern", required=False)
@names_option("--family", names=FAMILIES, help="List only the models of this family")
@names_option("--sort", names=ORDERS, default="family", show_default=True, help="Order of the rows")
@output_options("analysis.listing:COLUMNS")
def command(pattern: str | None, family: str | None, sort: str, out: Output) -> None:
    """List the models of the catalog, by family or year.

    PATTERN selects the names that contain it, or that match it as a shell pattern.

    Example: archcost list resnet --sort year
    """
    from archcost.analysis.listing import listing

    out.show(listing(pattern, family, sort))
