"""``archcost lint``: parts of a spec that nothing uses, or that cannot be right."""

from __future__ import annotations

import click

from archcost.cli.options import output_options, skip_option
from archcost.cli.output import Output
from archcost.cli.progress import progress


@click.command("lint")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@skip_option
@output_options("findings.lint:COLUMNS")
@click.pass_context
def command(ctx: click.Context, specs: tuple[str, ...], skip_others: bool, out: Output) -> None:
    """Validate specs, and find parts that nothing uses or that cannot be right.

    SPEC is a .yaml file, a .txt lecture table, or - for standard input. Every variant is expanded.
    lint finds knobs, values, blocks and parameters that nothing uses, variants that are the same
    network, and published figures that differ without a reason. It also lists the assumptions
    that archcost had to make.

    The exit code is 1 if lint finds something.

    Example: archcost lint specs/resnet.yaml
    """
    from archcost.findings.lint import flaws_table, lint
    from archcost.record import plain
    from archcost.spec.kinds import read_spec_source
    from archcost.spec.source import is_spec_file

    if skip_others:
        specs = tuple(name for name in specs if name == "-" or is_spec_file(name))
    with progress(specs, "lint") as shown:
        flaws = [flaw for name in shown for flaw in lint(read_spec_source(name))]
    if flaws or not out.for_people:
        out.show(flaws_table(flaws), plain(flaws))
    else:
        out.write(f"{len(specs)} spec{'s' * (len(specs) != 1)}: nothing found")
    if flaws:
        ctx.exit(1)
