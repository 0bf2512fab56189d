"""``archcost table``: the per-layer table with totals."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    counting_options,
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
)
from archcost.errors import ArchcostError


@click.command("table")
@model_argument()
@network_options
@counting_options
@click.option("--depth", type=int, help="Fold groups below this many dotted names.")
@click.option("--columns", metavar="A,B,...", help="Columns to show; `--columns help` lists them.")
@click.option(
    "--freeze", multiple=True, metavar="PATTERN", help="Layers that are not trained, e.g. 'stem*'."
)
@click.option("--training", is_flag=True, help="Forward, backward and step in place of memory.")
@output_options
def command(
    model: str, batch: int, dtype: str, convention: str, activations: str, depth: int | None,
    columns: str | None, freeze: tuple[str, ...], training: bool, format: str | None,
    output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Show every layer's shape, parameters, MACs and memory, and the totals.

    With --training: the FLOPs of forward, of both gradients, and of a step.

    MODEL is a name of the catalog, a .yaml spec or .txt lecture table, or - for standard input.

    Example: archcost table vgg16 --no-bias --columns name,output,activations,params
    """
    from archcost.analysis import report as layers
    from archcost.analysis import training as steps

    if columns == "help":
        known = steps.COLUMNS if training else layers.COLUMNS
        click.echo("\n".join(f"{key:20}{column.heading}" for key, column in known.items()))
        return
    keys = [key.strip() for key in columns.split(",")] if columns else None
    if training:
        for option, usual in (("convention", "flops"), ("activations", "lecture")):
            if click.get_current_context().params[option] != usual:
                raise ArchcostError(f"--training counts FLOPs; it takes no --{option}")
        step = steps.training_step(load_network(model, **options), batch, freeze)
        show(step.table(keys, depth), format, output, step.to_dict())
        return
    report = layers.analyze(
        load_network(model, **options),
        batch=batch, dtype=dtype, convention=convention, activations=activations, freeze=freeze,
    )  # fmt: skip
    show(report.table(keys, depth), format, output, report.to_dict() if format == "json" else None)
