"""``archcost roofline``: how fast a network can be on a device, layer by layer."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    depth_option,
    load_network,
    model_argument,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output


@click.command("roofline")
@model_argument()
@setting_options("gpu", "batch", "dtype")
@click.option("--record", metavar="FILE", help="Measured times: a record of `archcost profile`.")
@depth_option
@network_options
@output_options("performance.roofline:COLUMNS")
def command(
    model: str, setting: Any, record: str | None, depth: int | None, options: dict[str, Any],
    out: Output,
) -> None:  # fmt: skip
    """Show whether compute or memory limits each layer on a device, and a lower bound on the time.

    No execution of these layers is faster than the hard bound. The hard bound is the larger of two
    times: that of the fewest operations, and that of the compulsory bytes. The eager roofline adds
    up the kernels, each of which reads its inputs from memory and writes its outputs there. A
    record adds measured times; its device is the default for --gpu.

    Example: archcost roofline resnet50 --gpu h100 --batch 32 --depth 1
    """
    from archcost.performance.roofline import recorded

    found = recorded(load_network(model, **options), setting, record)
    out.show(found.table(depth), found.to_dict() if out.format == "json" else None)
