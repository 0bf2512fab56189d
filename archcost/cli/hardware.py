"""``archcost hardware``: the devices that are known, and measuring the user's own."""

from __future__ import annotations

import click

from archcost.cli.options import output_options, show


@click.group("hardware", invoke_without_command=True)
@output_options
@click.pass_context
def command(ctx: click.Context, format: str | None, output: str | None) -> None:
    """List the devices: memory, bandwidth, peak per data type; or measure your own.

    Example: archcost hardware
    """
    if ctx.invoked_subcommand is None:
        from archcost.analysis.listing import device_records, device_table
        from archcost.hardware import devices

        known = [*devices().values()]
        show(device_table(known), format, output, device_records(known))
