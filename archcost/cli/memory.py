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
@click.option("--timeline", is_flag=True, help="Live bytes, layer by layer, over the step.")
@network_options
@output_options("storage.footprint:COLUMNS", "storage.footprint:TIMELINE_COLUMNS")
def command(
    model: str, timeline: bool, setting: Any, options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Show the memory of training and inference: lines that add up to each peak, and where it is.

    Saved for backward is what autograd keeps of the forward pass. Transient is what an operation
    makes and drops again. The inference peak is as PyTorch runs it; ideal is what a planner could
    reach by dropping every tensor after its last use. Below the totals stands what CUDA takes
    beside tensors, as far as it is known without measuring.

    Example: archcost memory resnet50 --batch 256 --optimizer adam
    """
    from archcost.storage.footprint import Footprint

    figures = Footprint(load_network(model, **options), setting)
    table = figures.timeline() if timeline else figures.table()
    out.show(table, figures.to_dict(timeline) if out.format == "json" else None)
