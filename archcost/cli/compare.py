"""``archcost compare``: totals side by side."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import Names, columns_of, names_option
from archcost.cli.options import (
    load_network,
    network_options,
    output_options,
    selection_options,
    setting_options,
)
from archcost.cli.output import Output
from archcost.cli.progress import progress
from archcost.setting import COUNTING

COLUMNS = ("report.comparison:COLUMNS", "report.comparison:OTHERS")


@click.command("compare")
@selection_options
@click.option("--baseline", help="The model that ratios refer to. The default is the first.")
@names_option(
    "--sort",
    names=Names("column", lambda: columns_of(COLUMNS)),
    help="Order the models by this column",
)
@network_options
@setting_options(*COUNTING)
@output_options(*COLUMNS)
def command(
    chosen: dict[str, Any], baseline: str | None, sort: str | None, options: dict[str, Any],
    setting: Any, out: Output,
) -> None:  # fmt: skip
    """Compare the totals of several models, with ratios to the first.

    An ensemble is the sum of its networks: 7*alexnet, or googlenet+2*vgg16.

    Example: archcost compare alexnet googlenet resnet50 --sort macs
    """
    from dataclasses import replace

    from archcost.analysis.report import analyze
    from archcost.report.comparison import compare, report_on, select, told_apart

    names = select(**chosen)
    if baseline is not None and baseline not in names:
        names.insert(0, baseline)

    def report(name: str) -> Any:
        return analyze(load_network(name, **options), setting)

    with progress(names, "compare") as shown:
        reports = [report_on(name, report) for name in shown]
    networks = told_apart(names, [found.network for found in reports])
    reports = [
        found if found.network is network else replace(found, network=network)
        for found, network in zip(reports, networks, strict=True)
    ]
    base = networks[names.index(baseline)].name if baseline is not None else None
    comparison = compare(reports, baseline=base, sort=sort)
    out.show(comparison.table(out.columns), comparison.to_dict())
