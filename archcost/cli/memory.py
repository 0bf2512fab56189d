"""``archcost memory``: what a network takes of a device's memory."""

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
from archcost.setting import TRAINING


@click.command("memory")
@model_argument()
@setting_options("batch", "gpu", *TRAINING)
@click.option("--timeline", is_flag=True, help="Show live bytes over the step, layer by layer.")
@network_options
@output_options("storage.footprint:COLUMNS", "storage.footprint:TIMELINE_COLUMNS")
def command(
    model: str, timeline: bool, setting: Any, options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Show the memory of training and inference: the parts of each peak, and the layer it is in.

    Saved for backward is what autograd keeps from the forward pass. Transient is what an operation
    allocates and frees again. The inference peak is that of PyTorch; ideal is what a planner could
    reach if it freed every tensor after its last use. Below the totals is the memory that CUDA
    takes beside tensors, as far as archcost knows it without measuring.

    Example: archcost memory resnet50 --batch 256 --optimizer adam
    """
    from archcost.storage.footprint import Footprint

    figures = Footprint(load_network(model, **options), setting)
    table = figures.timeline() if timeline else figures.table()
    out.show(table, figures.to_dict(timeline) if out.format == "json" else None)
