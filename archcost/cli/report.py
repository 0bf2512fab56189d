"""``archcost report``: one page on one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archcost.cli.options import (
    counting_options,
    load_network,
    model_argument,
    network_options,
    write,
)
from archcost.errors import LookupFailed


@click.command("report")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--family", multiple=True, help="All models of a family.")
@click.option("--title", default="", help="Title of the page.")
@click.option(
    "--verification", metavar="FILE", help="What `archcost verify --format json` printed."
)
@click.option("--budgets", metavar="FILE", help="Budgets, as for `archcost check`.")
@click.option("--device", default="cuda", show_default=True, help="For the memory: cuda or cpu.")
@click.option(
    "--optimizer", default="sgd-momentum", show_default=True,
    help="sgd, sgd-momentum, adam or adamw.",
)  # fmt: skip
@network_options
@counting_options
@click.option(
    "--format", "format", default="html", show_default=True, help="html, markdown, json or junit."
)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
    help="Write to a file, whole or not at all, instead of standard output.",
)  # fmt: skip
def command(
    models: tuple[str, ...], everything: bool, family: tuple[str, ...], title: str,
    verification: str | None, budgets: str | None, device: str, optimizer: str, batch: int,
    dtype: str, convention: str, activations: str, format: str, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Write a page on models: totals, layers, memory, published figures, checks, conventions.

    The HTML needs no network: tables sort and fold, charts tell what is under the pointer. Markdown
    is for a comment on a pull request, JUnit XML makes a test case of every published
    figure, budget and check.

    Example: archcost report resnet18 resnet50 -o report.html
    """
    import json

    from archcost.analysis.comparison import select
    from archcost.analysis.report import analyze
    from archcost.audit.audit import Audit, audit_models
    from archcost.budget.budget import check, read_budgets
    from archcost.memory.footprint import footprint
    from archcost.report import FORMATS
    from archcost.report.page import make_page, read_verification

    if format not in FORMATS:
        raise LookupFailed("format of a report", format, FORMATS)
    found = read_verification(verification) if verification else ([], {})
    made = []
    for name in select(models, family, everything):
        network = load_network(name, **options)
        findings = [] if name == "-" else audit_models([name])
        own = tuple(f for f in findings if f.name.split(" ")[0] == network.name)
        report = analyze(
            network, batch=batch, dtype=dtype, convention=convention, activations=activations
        )
        memory = footprint(network, batch=batch, dtype=dtype, device=device, optimizer=optimizer)
        made.append((report, memory, Audit(own)))
    verdicts = check(read_budgets(Path(budgets))).verdicts if budgets else ()
    page = make_page(made, found, verdicts, title)
    if format == "json":
        write(json.dumps(page.to_dict(), indent=1, ensure_ascii=False), output)
    elif format == "markdown":
        from archcost.report.markdown import markdown

        write(markdown(page), output)
    elif format == "junit":
        from archcost.report.junit import page_junit

        write(page_junit(page), output)
    else:
        from archcost.report.html import html

        write(html(page), output)
