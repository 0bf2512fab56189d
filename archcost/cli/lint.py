"""``archcost lint``: what is of no use in a spec, or cannot be right."""

from __future__ import annotations

import click

from archcost.cli.options import output_options, show, write


@click.command("lint")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@output_options
@click.pass_context
def command(
    ctx: click.Context, specs: tuple[str, ...], format: str | None, output: str | None
) -> None:
    """Validate specs, and find what is of no use in them or cannot be right.

    SPEC is a .yaml file, or - for standard input. Every variant is expanded. Findings are knobs,
    values, blocks and parameters that nothing uses, variants that are one network, and published
    figures that disagree and do not say why.

    Exit status 1 says that something was found.

    Example: archcost lint specs/resnet.yaml
    """
    from archcost.audit.lint import flaws_table, lint
    from archcost.spec.source import read_source

    flaws = [flaw for name in specs for flaw in lint(read_source(name))]
    if flaws or format not in (None, "text", "markdown"):
        show(flaws_table(flaws), format, output, [flaw.record() for flaw in flaws])
    else:
        write(f"{len(specs)} spec{'s' * (len(specs) != 1)}: nothing found", output)
    if flaws:
        ctx.exit(1)
