"""``archcost memory``: what a network takes of a device's memory."""

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


@click.command("memory")
@model_argument()
@click.option("--batch", type=int, default=1, show_default=True, help="Samples per pass.")
@click.option("--gpu", metavar="NAME", help="A device of `archcost hardware`, for its workspace.")
@training_options
@click.option("--timeline", is_flag=True, help="Live bytes, layer by layer, over the step.")
@network_options
@output_options
def command(
    model: str, batch: int, gpu: str | None, timeline: bool, format: str | None,
    output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Show the memory of training and inference: lines that add up to each peak, and where it is.

    Saved for backward is what autograd keeps of the forward pass. Transient is what an operation
    makes and drops again. The inference peak is as PyTorch runs it; ideal is what a planner could
    reach by dropping every tensor after its last use. Below the totals stands what CUDA takes
    beside tensors, as far as it is known without measuring.

    Example: archcost memory resnet50 --batch 256 --optimizer adam
    """
    from archcost.hardware import find_device
    from archcost.memory.footprint import Footprint

    found = find_device(gpu) if gpu else None
    setting = take_setting(options, batch=batch, gpu=found)
    figures = Footprint(load_network(model, **options), setting)
    table = figures.timeline() if timeline else figures.table()
    show(table, format, output, figures.to_dict(timeline) if format == "json" else None)
