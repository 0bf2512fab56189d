"""``archcost check``: budgets, for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archcost.cli.options import counting_options, output_options, show, write


@click.command("check")
@click.argument("file", required=False, type=click.Path(dir_okay=False), metavar="[FILE]")
@click.option(
    "--budget",
    "texts",
    multiple=True,
    metavar="'MODEL: CONDITION'",
    help="A budget, e.g. 'resnet50: macs <= 4.2G'; may be repeated.",
)
@click.option("--baseline", help="What +2% refers to: a git revision, a file or a model.")
@click.option("--all", "everything", is_flag=True, help="Show the budgets that hold, too.")
@counting_options
@output_options
@click.pass_context
def command(
    ctx: click.Context, /, file: str | None, texts: tuple[str, ...], baseline: str | None,
    everything: bool, format: str | None, output: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Hold networks against their budgets, and name the layers that cost most where one is broken.

    Budgets stand in FILE, in archcost.toml or pyproject.toml here or above, or in options. A
    condition bounds a figure, or its change from a baseline: `params <= +2% of main`.

    Exit status 1 says that a budget is broken.

    Example: archcost check --budget 'resnet50: macs <= 4.2G'
    """
    from archcost.budget.budget import check, find_config, parse_budget, read_budgets

    given = {
        key: value for key, value in settings.items()
        if ctx.get_parameter_source(key) is not click.core.ParameterSource.DEFAULT
    }  # fmt: skip
    if baseline:
        given["baseline"] = baseline
    budgets = [parse_budget(text, given) for text in texts]
    if file or not texts:
        budgets += read_budgets(Path(file) if file else find_config(Path()), given)
    result = check(budgets)
    if everything or result.broken or format not in (None, "text", "markdown"):
        show(result.table(everything), format, output, result.to_dict())
    else:
        write(result.summary, output)
    if result.broken:
        ctx.exit(1)
