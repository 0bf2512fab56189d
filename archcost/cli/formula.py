"""``archcost formula``: what a network costs, as formulas of its sizes and knobs."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import METRICS, names_option, table_formats
from archcost.cli.options import (
    depth_option,
    load_network,
    model_argument,
    named_values,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output
from archcost.setting import COUNTING
from archcost.table import ENDINGS


@click.command("formula")
@model_argument()
@click.option(
    "--by",
    multiple=True,
    metavar="NAME=EXPRESSION",
    help="Write a size or a knob by another symbol, e.g. H=32*h.",
)
@click.option(
    "--symbols",
    metavar="NAME,...",
    help="Sizes and knobs that stay symbols, e.g. H,W,depths.0. The default is H,W.",
)
@names_option(
    "--figures",
    names=METRICS.several(),
    help="Figures to show instead of params, macs and activations",
)
@network_options
@setting_options(*COUNTING)
@depth_option
@output_options(
    "space.closed:COLUMNS",
    endings={**ENDINGS, ".py": "python"},
    formats=table_formats(python="Python source that needs no archcost."),
)
def command(
    model: str, by: tuple[str, ...], symbols: str | None, figures: tuple[str, ...],
    options: dict[str, Any], setting: Any, depth: int | None, out: Output,
) -> None:  # fmt: skip
    """Show what a network costs as formulas of its input sizes and knobs, and where they hold.

    The formulas are those of the network's own run, so they are exact. With --format latex they are
    equations, with --format python a function.

    Example: archcost formula resnet50 --by H=32*h --by W=32*w
    """
    from archcost.space.closed import USUAL, closed_form

    form = closed_form(
        load_network(model, **options), setting, by=named_values("--by", "NAME=EXPRESSION", by),
        symbols=[name.strip() for name in symbols.split(",")] if symbols is not None else (),
        figures=figures or USUAL, depth=depth,
    )  # fmt: skip
    if out.format in ("latex", "python") and not out.columns:
        out.write(form.latex() if out.format == "latex" else form.python())
    else:
        out.show(form.written(out.columns), form.to_dict())
