"""``archcost ops``: every op with its arguments."""

from __future__ import annotations

import click

from archcost.cli.choices import Names, listed
from archcost.cli.options import output_options
from archcost.cli.output import Output

OPS = Names("op", listed("ops:OPS"))


@click.command("ops")
@click.argument("op", required=False, shell_complete=OPS.shell_complete)
@output_options("manual:COLUMNS", "manual:EXAMPLE_COLUMNS")
def command(op: str | None, out: Output) -> None:
    """List every op with its arguments, or describe one.

    Example: archcost ops conv
    """
    from archcost.manual import op_page, ops_table

    out.show(ops_table() if op is None else op_page(op))
