"""``archcost audit``: printed figures against computed ones."""

from __future__ import annotations

import click

from archcost.cli.options import model_argument, output_options, show
from archcost.errors import ArchcostError
from archcost.published import VERDICTS


@click.command("audit")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--lectures", is_flag=True, help="What five lectures claim, figure by figure.")
@click.option(
    "--verdict", "verdicts", multiple=True, type=click.Choice(VERDICTS),
    help="Show only figures with this verdict; may be repeated.",
)  # fmt: skip
@output_options
@click.pass_context
def command(
    ctx: click.Context, models: tuple[str, ...], everything: bool, lectures: bool,
    verdicts: tuple[str, ...], format: str | None, output: str | None,
) -> None:  # fmt: skip
    """Hold published figures against the computed ones: exact, rounds to, ambiguous or wrong.

    MODEL is a name or family of the catalog, a .yaml spec with published figures, a lecture's
    table as .txt, or - for standard input.

    Exit status 1 says that a figure is wrong and nothing explains it.

    Example: archcost audit --lectures --verdict wrong
    """
    from archcost.audit.audit import Audit, audit_catalog, audit_lectures, audit_models

    if not (models or everything or lectures):
        raise ArchcostError("name at least one model, or use --all or --lectures")
    findings = audit_models(models)
    findings += audit_catalog() if everything else []
    findings += audit_lectures() if lectures else []
    audit = Audit(tuple(findings))
    show(audit.table(verdicts), format, output, audit.to_dict(verdicts))
    if audit.unexplained:
        ctx.exit(1)
