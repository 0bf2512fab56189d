"""``archcost audit``: printed figures against computed ones."""

from __future__ import annotations

import click

from archcost.cli.choices import Names, listed, names_option
from archcost.cli.options import all_option, model_argument, output_options
from archcost.cli.output import Output
from archcost.cli.progress import progress
from archcost.errors import ArchcostError

VERDICTS = Names("verdict", listed("published:VERDICTS"), strict=True)


@click.command("audit")
@model_argument(many=True, required=False)
@all_option
@click.option("--lectures", is_flag=True, help="Audit the claims of five lectures.")
@names_option("--verdict", "verdicts", names=VERDICTS, multiple=True,
              help="Show only figures with this verdict. May be repeated")  # fmt: skip
@output_options("findings.audit:COLUMNS")
@click.pass_context
def command(
    ctx: click.Context, models: tuple[str, ...], everything: bool, lectures: bool,
    verdicts: tuple[str, ...], out: Output,
) -> None:  # fmt: skip
    """Compare published figures with the computed ones: exact, rounds to, ambiguous or wrong.

    MODEL is a name or family of the catalog, a .yaml spec with published figures, a lecture's
    table as .txt, or - for standard input.

    The exit code is 1 if a figure is wrong and nothing explains it. It is also 1 if there are no
    published figures.

    Example: archcost audit --lectures --verdict wrong
    """
    from archcost.findings.audit import Audit, audit_models
    from archcost.spec.catalog import catalog

    if not (models or everything or lectures):
        raise ArchcostError("name at least one model, or use --all or --lectures")
    findings = []
    with progress([*models, *(catalog() if everything else [])], "audit") as shown:
        for name in shown:
            findings += audit_models([name])
    if lectures:
        from archcost.lectures.claims import audit_lectures

        findings += audit_lectures()
    audit = Audit(tuple(findings))
    out.show(audit.table(verdicts), audit.to_dict(verdicts))
    if not findings:
        nothing = "nothing was audited: no published figures of"
        click.echo(f"archcost: {nothing} {', '.join(models)}", err=True)
    if audit.unexplained or not findings:
        ctx.exit(1)
