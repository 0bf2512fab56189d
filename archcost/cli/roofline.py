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
@click.option("--record", metavar="FILE", help="A record of `archcost profile`, to put beside.")
@depth_option
@network_options
@output_options("performance.roofline:COLUMNS")
def command(
    model: str, setting: Any, record: str | None, depth: int | None, options: dict[str, Any],
    out: Output,
) -> None:  # fmt: skip
    """Show which layers compute or memory bounds on a device, and the lower bound on time.

    The hard bound is what no execution of these layers beats: of the least operations and the
    compulsory bytes, the slower. The eager roofline is a sum over kernels, each of which reads
    from memory and writes there. A record adds measured times; without --gpu, its device is taken.

    Example: archcost roofline resnet50 --gpu h100 --batch 32 --depth 1
    """
    from archcost.performance.roofline import recorded

    found = recorded(load_network(model, **options), setting, record)
    out.show(found.table(depth), found.to_dict() if out.format == "json" else None)
