"""``archcost report``: one page on one or several models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archcost.cli.choices import Names, listed, names_option
from archcost.cli.options import (
    file_option,
    given_options,
    network_options,
    selection_options,
    setting_options,
)
from archcost.cli.output import format_of, write
from archcost.cli.progress import progress
from archcost.errors import ArchcostError
from archcost.setting import COUNTING

FORMATS = Names("format of a report", listed("report:FORMATS"), strict=True)


@click.command("report")
@selection_options
@click.option("--title", default="", help="Title of the page.")
@click.option(
    "--verification", metavar="FILE", help="The output of `archcost verify --format json`."
)
@click.option("--budgets", metavar="FILE", help="Budgets, as for `archcost check`.")
@network_options
@setting_options("device", "optimizer", *COUNTING)
@names_option(
    "--format", names=FORMATS, help="The default is html, or the format of the file's ending"
)
@file_option("Write the page to this file. Its ending selects the format.")
@click.pass_context
def command(
    ctx: click.Context, /, chosen: dict[str, Any], title: str, verification: str | None,
    budgets: str | None, options: dict[str, Any], setting: Any, format: str | None,
    output: str | None,
) -> None:  # fmt: skip
    """Write a page on models: totals, layers, memory, published figures, checks, conventions.

    The HTML page needs no network. Its tables sort and fold, and its charts show the values under
    the pointer. Markdown is for a comment on a pull request. JUnit XML has a test case for every
    published figure, budget and check.

    Example: archcost report resnet18 resnet50 -o report.html
    """
    import json

    from archcost.analysis.report import analyze
    from archcost.findings.audit import Audit, audit_network
    from archcost.report import ENDINGS
    from archcost.report.comparison import select, told_apart
    from archcost.report.page import make_page, read_verification
    from archcost.spec.catalog import expand, find_model, origin
    from archcost.storage.footprint import Footprint

    format = format_of(format, output, ENDINGS) or "html"
    found = read_verification(verification) if verification else ([], {})
    names = select(**chosen)
    as_written = options == {"input": None, "knobs": {}, "aux": False, "bias": True}
    networks, audits, origins = [], [], []
    with progress(names, "read") as shown:
        for name in shown:
            document, variant = find_model(name)
            networks.append(expand(document, variant, **options))
            usual = as_written or document.code
            plain = networks[-1] if usual else expand(document, variant)
            audits.append(Audit(tuple(audit_network(plain))))
            origins.append((origin(document), variant or document.name))
    networks = told_apart(names, networks)
    verdicts = _verdicts(ctx, budgets, origins, options) if budgets else ()
    made = [
        (
            analyze(network, setting),
            Footprint(network, setting),
            audit,
            tuple(verdict for verdict in verdicts if verdict.origin == own_origin),
        )
        for network, audit, own_origin in zip(networks, audits, origins, strict=True)
    ]
    page = make_page(made, found, title)
    if format == "json":
        with progress(page.sections, "weigh", lambda section: section.name) as sections:
            for section in sections:
                section.no_memory  # noqa: B018 (what takes long; the section keeps it)
        write(json.dumps(page.to_dict(), indent=1, ensure_ascii=False), output)
    elif format == "junit":
        from archcost.report.junit import page_junit

        write(page_junit(page), output)
    else:
        from archcost.report.html import html
        from archcost.report.markdown import markdown

        with progress(page.sections, "write", lambda section: section.name) as sections:
            text = (markdown if format == "markdown" else html)(page, sections)
        write(text, output)


def _verdicts(
    ctx: click.Context, file: str, origins: list[tuple[str, str]], own: dict[str, Any]
) -> tuple[Any, ...]:
    """Return what is true of the budgets, with the settings that were given on the command line."""
    from archcost.budget.budget import check, read_budgets
    from archcost.setting import OPTIONS

    if not own["bias"]:
        raise ArchcostError("budgets are of networks with their biases; leave out --no-bias")
    given = given_options(ctx, ("aux", *OPTIONS))
    if own["input"]:
        given["input"] = own["input"]
    if own["knobs"]:
        given["set"] = own["knobs"]
    return check(read_budgets(Path(file), given), origins).verdicts
