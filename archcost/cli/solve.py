"""``archcost solve``: the best network of a spec under conditions."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import METRICS
from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output
from archcost.cli.progress import progress
from archcost.cli.sweep import jobs_options, pricers, space_of, vary_option, where_option
from archcost.errors import ArchcostError
from archcost.setting import TRAINING


@click.command("solve")
@model_argument()
@vary_option
@click.option("--maximize", metavar="FIGURE", help="The figure or the name that is to be large.")
@click.option("--minimize", metavar="FIGURE", help="The figure or the name that is to be small.")
@where_option
@jobs_options
@network_options
@setting_options("batch", "gpu", *TRAINING, "convention", "activations")
@output_options(columns=METRICS.several())
def command(
    model: str, vary: tuple[str, ...], maximize: str | None, minimize: str | None,
    where: tuple[str, ...], jobs: dict[str, Any], options: dict[str, Any], setting: Any,
    out: Output,
) -> None:  # fmt: skip
    """Find the largest or smallest of the networks that meet conditions, and what is next to it.

    All values are priced, so the answer is right also where a figure rises and falls. The table has
    the answer, and on both sides the next value that is another network or none.

    Example: archcost solve mobilenet_v2 --vary width=0.1:2:0.01 --maximize width --where 'macs<=1G'
    """
    from archcost.space.solve import solve
    from archcost.space.sweep import Sweeper
    from archcost.space.workers import blocks_of

    if (maximize is None) == (minimize is None):
        both = "" if maximize is None else ", not both"
        raise ArchcostError(f"name --maximize or --minimize{both}, as in --maximize width")
    sweeper = Sweeper(
        load_network(model, **options), setting, space_of(vary), columns=out.columns, where=where,
        orders=[f"-{maximize}" if minimize is None else minimize],
    )  # fmt: skip
    with (
        pricers(**jobs) as who,
        blocks_of(sweeper, who, pareto=True) as made,
        progress(
            made, "price", lambda _: model, len(sweeper.space), lambda: sweeper.tally.seen
        ) as blocks,
    ):
        found = solve(sweeper, blocks)
    Output(out.format, out.file).show(found.table(), found.to_dict())
