"""``archcost identify``: whose number is it?"""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import CONVENTIONS, Names, listed, names_option
from archcost.cli.options import FLAGS, model_argument, network_options, output_options
from archcost.cli.output import Output

QUANTITIES = Names("quantity", listed("analysis.identify:QUANTITIES"))


@click.command("identify")
@model_argument()
@click.argument("number")
@names_option("--quantity", names=QUANTITIES, help="Try only figures of this quantity")
@names_option("--tool", "tools", names=CONVENTIONS, multiple=True,
              help="Try only this convention. May be repeated")  # fmt: skip
@FLAGS["batch"][0]
@network_options
@click.option("--most", type=click.IntRange(1), default=12, show_default=True, help="Rows at most.")
@click.option("--all", "everything", is_flag=True, help="Show also matches by chance.")
@output_options("analysis.identify:COLUMNS")
def command(
    model: str, number: str, quantity: str | None, tools: tuple[str, ...], batch: int,
    options: dict[str, Any], most: int, everything: bool, out: Output,
) -> None:  # fmt: skip
    """Find the tool, convention, variant or input size that gives a printed number.

    archcost tries many figures. Some of them give almost any number of two or three digits by
    chance. The exit code is 1 if there is no match beyond chance. More digits leave fewer matches,
    and so does what you know of the number: --input, --set, --batch, --tool.

    Example: archcost identify resnet50 4.09G
    """
    from archcost.analysis.identify import examine

    found = examine(
        number, model, quantity, **options, batch=batch, tools=tools,
    )  # fmt: skip
    out.show(found.table(most, everything))
    if not found.matches:
        raise click.exceptions.Exit(1)
