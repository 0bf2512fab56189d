"""``archcost diff``: what changed between two networks."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    complete_model,
    knob_settings,
    network_options,
    output_options,
    show,
    take_setting,
    training_options,
    write,
)


@click.command("diff")
@click.argument("old", shell_complete=complete_model)
@click.argument("new", shell_complete=complete_model)
@click.option(
    "--fail-on",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Exit with 1 if this comes true, e.g. 'macs > +5%'; may be repeated.",
)
@click.option("--gpu", "on", default="", metavar="NAME", help="Also the largest batch on a GPU.")
@click.option("--layers", is_flag=True, help="Only the layers, in one table.")
@click.option("--batch", type=int, default=1, show_default=True, help="Samples per pass.")
@training_options
@network_options
@output_options
@click.pass_context
def command(
    ctx: click.Context, /, old: str, new: str, conditions: tuple[str, ...], on: str, layers: bool,
    format: str | None, output: str | None, input: str | None, knobs: tuple[str, ...], aux: bool,
    no_bias: bool, **setting: Any,
) -> None:  # fmt: skip
    """Show what changed from OLD to NEW: the figure that moved most first, and the layers.

    OLD and NEW are models, files, or files at a git revision, as in main:specs/net.yaml; OLD may
    be a revision of NEW's file. Layers are matched by path, then by structure. Of a family, every
    variant is compared.

    Exit status 1 says that a --fail-on condition came true.

    Example: archcost diff resnet50 resnext50_32x4d --fail-on 'macs > +5%'
    """
    from archcost.budget.condition import parse_option
    from archcost.budget.difference import diff
    from archcost.budget.metrics import Subject

    unwanted = tuple(parse_option("--fail-on", text) for text in conditions)
    run = take_setting(setting)
    options = {"input": input, "knobs": knob_settings(knobs), "aux": aux, "bias": not no_bias}
    result = diff(old, new, lambda network: Subject(network, run), options, on, unwanted)
    if layers or format not in (None, "text", "markdown"):
        data = result.to_dict() if format == "json" else None
        show(result.flat(layers), format, output, data)
    elif format == "markdown":
        write(result.markdown(), output)
    elif output is not None:
        texts = [table.render("text") for table in result.tables()]
        write("\n\n".join([*texts, *result.remarks]), output)
    else:
        for number, table in enumerate(result.tables()):
            if number:
                click.echo()
            show(table, format, None)
        if result.remarks:
            click.echo("\n" + "\n".join(result.remarks))
    if result.failed:
        ctx.exit(1)
