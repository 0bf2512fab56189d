"""``archcost compare``: totals side by side."""

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


@click.command("compare")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--family", multiple=True, help="All models of a family.")
@click.option("--baseline", help="The model to which the ratios refer; the first by default.")
@click.option("--sort", help="Order by a column, e.g. params, macs, top1.")
@network_options
@counting_options
@output_options
def command(
    models: tuple[str, ...], everything: bool, family: tuple[str, ...], baseline: str | None,
    sort: str | None, batch: int, dtype: str, convention: str, activations: str,
    format: str | None, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Compare the totals of several models, with ratios to the first.

    An ensemble is the sum of its networks: 7*alexnet, or googlenet+2*vgg16.

    Example: archcost compare alexnet googlenet resnet50 --sort macs
    """
    from archcost.analysis.comparison import compare, report_on, select
    from archcost.analysis.report import analyze

    names = select(models, family, everything)
    if baseline is not None and baseline not in names:
        names.insert(0, baseline)

    def report(name: str) -> Any:
        return analyze(
            load_network(name, **options),
            batch=batch, dtype=dtype, convention=convention, activations=activations,
        )  # fmt: skip

    reports = [report_on(name, report) for name in names]
    comparison = compare(reports, baseline=baseline, sort=sort)
    show(comparison.table(), format, output, comparison.to_dict())
