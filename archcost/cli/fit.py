"""``archcost fit``: the largest batch that fits."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
    take_setting,
    training_options,
)
from archcost.errors import ArchcostError


@click.command("fit")
@model_argument()
@click.option("--gpu", metavar="NAME", help="A device of `--gpu help`.")
@click.option("--memory", metavar="SIZE", help="3GB is 3·10^9 bytes, 3GiB is 3·2^30.")
@click.option("--reserve", metavar="SIZE", help="Memory to leave to CUDA and its libraries.")
@training_options
@network_options
@output_options
def command(
    model: str, gpu: str | None, memory: str | None, reserve: str | None,
    format: str | None, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Show the largest batch that fits a memory, in training and in inference, and what binds.

    Example: archcost fit alexnet --gpu gtx580
    """
    from archcost.hardware import devices, find_device
    from archcost.memory.fit import fit
    from archcost.units import parse_bytes

    if gpu == "help":
        names = devices().values()
        click.echo("\n".join(f"{d.name:14}{d.memory:>16,} bytes  {d.title}" for d in names))
        return
    if (gpu is None) == (memory is None):
        raise ArchcostError("name either --gpu, such as --gpu v100, or --memory, such as 16GB")
    found = find_device(gpu) if gpu is not None else None
    setting = take_setting(options, gpu=found)
    fits = fit(
        load_network(model, **options),
        found.memory if found else parse_bytes(memory or ""),
        setting,
        parse_bytes(reserve) if reserve else 0,
        found,
    )
    show(fits.table(), format, output, fits.to_dict())
