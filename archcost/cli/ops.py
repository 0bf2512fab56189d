"""``archcost ops``: every op with its arguments."""

from __future__ import annotations

import click

from archcost.cli.options import output_options, show


@click.command("ops")
@click.argument("op", required=False)
@output_options
def command(op: str | None, format: str | None, output: str | None) -> None:
    """List every op with its arguments, or describe one.

    Example: archcost ops conv
    """
    from archcost.analysis.manual import op_page, ops_table

    if op is None:
        show(ops_table(), format, output)
    else:
        show(op_page(op), format, output)
