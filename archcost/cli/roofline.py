"""``archcost roofline``: how fast a network can be on a device, layer by layer."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
)
from archcost.errors import ArchcostError


@click.command("roofline")
@model_argument()
@click.option("--gpu", metavar="NAME", help="A device of `archcost hardware`.")
@click.option("--batch", type=int, default=1, show_default=True, help="Samples per pass.")
@click.option("--dtype", default="float32", show_default=True, help="Data type of the tensors.")
@click.option("--record", metavar="FILE", help="A record of `archcost profile`, to put beside.")
@click.option("--depth", type=int, help="Fold groups below this many dotted names.")
@network_options
@output_options
def command(
    model: str, gpu: str | None, batch: int, dtype: str, record: str | None, depth: int | None,
    format: str | None, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Show which layers compute or memory bounds on a device, and the lower bound on time.

    The hard bound is what no execution of these layers beats: of the least operations and the
    compulsory bytes, the slower. The eager roofline is a sum over kernels, each of which reads
    from memory and writes there. A record adds measured times; without --gpu, its device is taken.

    Example: archcost roofline resnet50 --gpu h100 --batch 32 --depth 1
    """
    from archcost.hardware import find_device
    from archcost.performance.measured import read_record, record_device
    from archcost.performance.roofline import roofline

    known = read_record(record) if record else None
    device = find_device(gpu) if gpu else record_device(known) if known else None
    if device is None:
        raise ArchcostError("name a device, such as --gpu h100; `archcost hardware` lists them")
    found = roofline(load_network(model, **options), device, batch=batch, dtype=dtype, record=known)
    show(found.table(depth), format, output, found.to_dict() if format == "json" else None)
