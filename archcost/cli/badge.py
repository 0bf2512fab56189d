"""``archcost badge``: one figure as an SVG."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    take_setting,
    training_options,
    write,
)
from archcost.errors import ArchcostError


@click.command("badge")
@model_argument()
@click.option("--metric", default="macs", show_default=True, help="A figure, as in budgets.")
@click.option(
    "--budget", metavar="CONDITION", help="Instead: 'macs <= 4.2G', green if it holds, else red."
)
@click.option("--label", help="Words on the left; the default names model and figure.")
@click.option("--batch", type=int, default=1, show_default=True, help="Samples per pass.")
@training_options
@network_options
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write to a file, whole or not at all, instead of standard output.",
)
def command(
    model: str, metric: str, budget: str | None, label: str | None, batch: int,
    output: str | None, input: str | None, knobs: tuple[str, ...], aux: bool, no_bias: bool,
    **setting: Any,
) -> None:  # fmt: skip
    """Write a badge with one figure of a model, as SVG.

    Example: archcost badge resnet50 --metric macs --output macs.svg
    """
    from archcost.badge import badge
    from archcost.budget.condition import parse_option
    from archcost.budget.metrics import Subject, find_metric

    condition = parse_option("--budget", budget) if budget else None
    figure = condition.metric if condition else find_metric(metric)
    if condition and condition.needs_baseline:
        raise ArchcostError("a badge has no baseline; write an absolute bound, as in macs <= 4.2G")
    if figure.on and not condition:
        raise ArchcostError(f"{figure.name} needs a device: --budget '{figure.name} on v100 >= 64'")
    network = load_network(model, input, knobs, aux, no_bias)
    subject = Subject(network, take_setting(setting, batch=batch))
    value = figure.value(subject, condition.on if condition else "")
    shown = figure.brief(value)
    color = "plain" if condition is None else "holds" if condition.holds(value) else "over"
    words = label if label is not None else f"{network.name} {figure.name.replace('_', ' ')}"
    write(badge(words, shown, color), output)
