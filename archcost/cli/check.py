"""``archcost check``: budgets, for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archcost.cli.choices import METRICS, names_option
from archcost.cli.options import given_options, output_options, setting_options
from archcost.cli.output import Output
from archcost.setting import COUNTING


@click.command("check")
@click.argument("file", required=False, type=click.Path(dir_okay=False), metavar="[FILE]")
@names_option(
    "--budget", "texts", names=METRICS, multiple=True, metavar="'MODEL: CONDITION'",
    help="A bound on a figure, e.g. 'resnet50: macs <= 4.2G'. May be repeated",
)  # fmt: skip
@click.option("--baseline", help="What +2% is relative to: a git revision, a file or a model.")
@click.option("--all", "everything", is_flag=True, help="Show also the budgets that hold.")
@setting_options(*COUNTING)
@output_options("budget.budget:COLUMNS")
@click.pass_context
def command(
    ctx: click.Context, /, file: str | None, texts: tuple[str, ...], baseline: str | None,
    everything: bool, setting: Any, out: Output,
) -> None:  # fmt: skip
    """Check networks against their budgets, and name the layers that cost most if one is broken.

    The budgets are those in FILE and in --budget. Without either, archcost reads archcost.toml or
    pyproject.toml in this folder or a folder above. A condition bounds a figure, or its change from
    a baseline: `params <= +2% of main`.

    The exit code is 1 if a budget is broken.

    Example: archcost check --budget 'resnet50: macs <= 4.2G'
    """
    from archcost.budget.budget import check, find_config, parse_budget, read_budgets

    given = given_options(ctx, COUNTING)
    if baseline:
        given["baseline"] = baseline
    budgets = [parse_budget(text, given) for text in texts]
    if file or not texts:
        budgets += read_budgets(Path(file) if file else find_config(Path()), given)
    result = check(budgets)
    if everything or result.broken or not out.for_people:
        out.show(result.table(everything), result.to_dict())
    else:
        out.write(result.summary)
    if result.broken:
        ctx.exit(1)
