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


@click.command("table")
@model_argument()
@network_options
@counting_options
@click.option("--depth", type=int, help="Fold groups below this many dotted names.")
@click.option("--columns", metavar="A,B,...", help="Columns to show; `--columns help` lists them.")
@click.option(
    "--freeze", multiple=True, metavar="PATTERN", help="Layers that are not trained, e.g. 'stem*'."
)
@output_options
def command(
    model: str, batch: int, dtype: str, convention: str, activations: str, depth: int | None,
    columns: str | None, freeze: tuple[str, ...], format: str | None, output: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Show every layer's shape, parameters, MACs and memory, and the totals.

    MODEL is a name of the catalog, a .yaml spec or .txt lecture table, or - for standard input.

    Example: archcost table vgg16 --no-bias --columns name,output,activations,params
    """
    from archcost.analysis.report import COLUMNS, analyze

    if columns == "help":
        click.echo("\n".join(f"{key:20}{column.heading}" for key, column in COLUMNS.items()))
        return
    report = analyze(
        load_network(model, **options),
        batch=batch, dtype=dtype, convention=convention, activations=activations, freeze=freeze,
    )  # fmt: skip
    keys = [key.strip() for key in columns.split(",")] if columns else None
    show(report.table(keys, depth), format, output, report.to_dict() if format == "json" else None)
