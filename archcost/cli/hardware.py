"""``archcost hardware``: the devices that are known, and measuring the user's own."""

from __future__ import annotations

import click

from archcost.cli.choices import OWN_DEVICES, names_option
from archcost.cli.options import output_options
from archcost.cli.output import Output, write
from archcost.errors import ArchcostError


@click.group("hardware", invoke_without_command=True)
@output_options("analysis.listing:DEVICE_COLUMNS")
@click.pass_context
def command(ctx: click.Context, out: Output) -> None:
    """List the known devices, or measure your own.

    The table shows memory, bandwidth, and the peak rate of arithmetic for each data type.

    Example: archcost hardware
    """
    if ctx.invoked_subcommand is None:
        from archcost.analysis.listing import device_records, device_table
        from archcost.hardware import devices

        known = [*devices().values()]
        out.show(device_table(known), device_records(known))


@command.command("calibrate")
@names_option("--device", names=OWN_DEVICES, default="cpu", show_default=True,
              help="The device to measure")  # fmt: skip
@click.option("--name", default="mine", show_default=True, help="The name for --gpu NAME.")
@click.option(
    "--seconds",
    type=float,
    default=1.0,
    show_default=True,
    help="How long to run each measurement.",
)
@output_options("analysis.listing:DEVICE_COLUMNS")
def calibrate(device: str, name: str, seconds: float, out: Output) -> None:
    """Measure this machine's CPU or GPU, and keep the result for --gpu NAME.

    A copy and a sum of a large tensor give the bandwidth. Large matrix products give the peak of
    each data type. The best of several runs counts. The result is kept in a file in your
    configuration folder.

    Example: archcost hardware calibrate --device cuda --name mine
    """
    from archcost.analysis.listing import device_records, device_table
    from archcost.hardware import check_name, own_devices, own_file, write_devices
    from archcost.measure.calibrate import calibrate as measure

    known = dict(own_devices())  # an unreadable file is refused before the minutes of measuring
    check_name(name)
    known[name] = found = measure(device, name, seconds)
    path = own_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchcostError(f"cannot make {path.parent}: {error.strerror}") from None
    write(write_devices(known), str(path))
    click.echo(f"kept as {name} in {path}", err=True)
    out.show(device_table([found]), device_records([found]))
