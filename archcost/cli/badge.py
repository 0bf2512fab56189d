"""``archcost badge``: one figure as an SVG."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import METRICS, names_option
from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    setting_options,
    text_file_option,
)
from archcost.cli.output import write
from archcost.errors import ArchcostError
from archcost.setting import TRAINING


@click.command("badge")
@model_argument()
@names_option("--metric", names=METRICS, default="macs", show_default=True,
              help="The figure to show, as in budgets")  # fmt: skip
@names_option(
    "--budget",
    names=METRICS,
    metavar="CONDITION",
    help="Show a bound on a figure, e.g. 'macs <= 4.2G': green if it holds, red if not",
)
@click.option("--label", help="Text on the left. The default is the model and the figure.")
@setting_options("batch", *TRAINING)
@network_options
@text_file_option(".svg")
def command(
    model: str, metric: str, budget: str | None, label: str | None,
    output: str | None, options: dict[str, Any], setting: Any,
) -> None:  # fmt: skip
    """Write a badge with one figure of a model, as SVG.

    Example: archcost badge resnet50 --metric macs --output macs.svg
    """
    from archcost.badge import badge
    from archcost.budget.condition import parse_option
    from archcost.figures import Subject, find_metric

    condition = parse_option("--budget", budget) if budget else None
    figure = condition.metric if condition else find_metric(metric)
    if condition and condition.needs_baseline:
        raise ArchcostError("a badge has no baseline; write an absolute bound, as in macs <= 4.2G")
    if figure.on and not condition:
        raise ArchcostError(f"{figure.name} needs a device: --budget '{figure.name} on v100 >= 64'")
    network = load_network(model, **options)
    subject = Subject(network, setting)
    value = figure.value(subject, condition.on if condition else "")
    shown = figure.brief(value)
    color = "plain" if condition is None else "holds" if condition.holds(value) else "over"
    words = label if label is not None else f"{network.name} {figure.name.replace('_', ' ')}"
    write(badge(words, shown, color), output)
