"""``archcost diff``: what changed between two networks."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.choices import METRICS, names_option
from archcost.cli.options import (
    complete_model,
    gpu_option,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output
from archcost.setting import TRAINING


@click.command("diff")
@click.argument("old", shell_complete=complete_model)
@click.argument("new", shell_complete=complete_model)
@names_option(
    "--fail-on", "conditions", names=METRICS, multiple=True, metavar="CONDITION",
    help="Exit with 1 if this is true, e.g. 'macs > +5%'. May be repeated",
)  # fmt: skip
@gpu_option("Show also the largest batch on this device", default="")
@click.option("--layers", is_flag=True, help="Show only the layers, in one table.")
@setting_options("batch", *TRAINING)
@network_options
@output_options(
    *(f"budget.difference:{name}" for name in ("NETWORK_COLUMNS", "COLUMNS", "LAYER_COLUMNS"))
)
@click.pass_context
def command(
    ctx: click.Context, /, old: str, new: str, conditions: tuple[str, ...], gpu: str, layers: bool,
    setting: Any, options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Show what changed from OLD to NEW: the figures, largest change first, and the layers.

    OLD and NEW are models, files, or files at a git revision, as in main:specs/net.yaml. OLD may
    also be a revision alone, which means NEW's file at that revision. Layers are matched by path,
    then by structure. For a family, every variant is compared.

    The exit code is 1 if a --fail-on condition is true.

    Example: archcost diff resnet50 resnext50_32x4d --fail-on 'macs > +5%'
    """
    from archcost.budget.condition import parse_option
    from archcost.budget.difference import diff

    unwanted = tuple(parse_option("--fail-on", text) for text in conditions)
    result = diff(old, new, setting, options, gpu, unwanted)
    if layers or not out.for_people:
        out.show(result.flat(layers), result.to_dict() if out.format == "json" else None)
    elif out.format == "markdown":
        out.write(result.markdown())
    else:
        out.show_all(result.tables(), result.remarks)
    if result.failed:
        ctx.exit(1)
