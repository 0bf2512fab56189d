"""``archcost table``: the per-layer table with totals."""

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
from archcost.errors import ArchcostError
from archcost.setting import COUNTING


@click.command("table")
@model_argument()
@network_options
@setting_options(*COUNTING, "freeze", "checkpoint")
@depth_option
@click.option("--training", is_flag=True, help="Show the FLOPs of forward, backward and step.")
@output_options(
    "analysis.report:COLUMNS", "analysis.training:COLUMNS", "importers.checkpoint:COLUMNS"
)
def command(
    model: str, depth: int | None, training: bool,
    options: dict[str, Any], setting: Any, out: Output,
) -> None:  # fmt: skip
    """Show every layer's shape, parameters, MACs and memory, and the totals.

    With --training, the table shows the FLOPs of forward, of both gradients, and of a step.

    MODEL is a name of the catalog, a .yaml spec or .txt lecture table, or - for standard input.
    MODEL can also be a file of weights (.safetensors, .pt, .pth); the table then lists its tensors.

    Example: archcost table vgg16 --no-bias --columns name,output,activations,params
    """
    if model.endswith((".safetensors", ".pt", ".pth")):
        from archcost.importers.checkpoint import checkpoint_table

        out.show(checkpoint_table(model, depth))
        return
    if training:
        from archcost.analysis.training import training_step

        for option, usual in (("convention", "flops"), ("activations", "lecture")):
            if getattr(setting, option) != usual:
                raise ArchcostError(f"--training counts FLOPs; it takes no --{option}")
        network = load_network(model, **options)
        step = training_step(network, setting.batch, setting.freeze, setting.checkpoint)
        out.show(step.table(out.columns, depth), step.to_dict())
        return
    if setting.checkpoint:
        raise ArchcostError("--checkpoint says what a training step computes; add --training")
    from archcost.analysis.report import analyze

    report = analyze(load_network(model, **options), setting)
    data = report.to_dict() if out.format == "json" else None
    out.show(report.table(out.columns, depth), data)
