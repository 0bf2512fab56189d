"""``archcost fit``: the largest batch that fits."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output
from archcost.errors import ArchcostError
from archcost.setting import TRAINING


@click.command("fit")
@model_argument()
@setting_options("gpu", *TRAINING)
@click.option("--memory", metavar="SIZE", help="Memory: 3GB is 3·10^9 bytes, 3GiB is 3·2^30.")
@click.option("--reserve", metavar="SIZE", help="Memory to leave for CUDA and its libraries.")
@network_options
@output_options("storage.fit:COLUMNS")
def command(
    model: str, memory: str | None, reserve: str | None, setting: Any,
    options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Show the largest batch that fits in memory, for training and inference, and what limits it.

    Example: archcost fit alexnet --gpu gtx580
    """
    from archcost.storage.fit import fit
    from archcost.units import parse_bytes

    gpu = setting.gpu
    if (gpu is None) == (memory is None):
        raise ArchcostError("name either --gpu, such as --gpu v100, or --memory, such as 16GB")
    room = gpu.memory if gpu else parse_bytes(memory or "")
    left = parse_bytes(reserve) if reserve else 0
    fits = fit(load_network(model, **options), room, setting, left)
    out.show(fits.table(), fits.to_dict())
