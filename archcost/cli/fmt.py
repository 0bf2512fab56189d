"""``archcost fmt``: specs in one layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from archcost.cli.options import skip_option
from archcost.cli.output import write_file
from archcost.cli.progress import progress


@click.command("fmt")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True)
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a spec would change.")
@click.option("--diff", "as_diff", is_flag=True, help="Change nothing; print what would change.")
@skip_option
@click.pass_context
def command(
    ctx: click.Context, specs: tuple[str, ...], check: bool, as_diff: bool, skip_others: bool
) -> None:
    """Format specs: order of keys, indentation, spaces in calls.

    SPEC is a .yaml file, or - to read standard input and write standard output. Comments and the
    meaning of a spec do not change. A spec that cannot be read is left as it is.

    Example: archcost fmt --diff specs/unet.yaml
    """
    from archcost.spec.kinds import read_spec_source
    from archcost.spec.layout import format_spec
    from archcost.spec.source import is_spec_file

    if skip_others:
        specs = tuple(name for name in specs if name == "-" or is_spec_file(name))
    sources = [read_spec_source(name) for name in specs]
    with progress(sources, "fmt", lambda source: source.name) as shown:
        texts = [format_spec(source) for source in shown]  # all of them, before any is written
    changed = 0
    for name, source, text in zip(specs, sources, texts, strict=True):
        if name == "-" and not (check or as_diff):
            click.echo(text, nl=False)
        elif text != source.text:
            changed += 1
            if as_diff:
                click.echo(_patch(source.name, source.text, text), nl=False)
            else:
                click.echo(f"{'would change' if check else 'changed'} {source.name}")
            if not (check or as_diff):
                write_file(name, partial(_save, text))
    if changed and (check or as_diff):
        ctx.exit(1)


def _save(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _patch(name: str, before: str, after: str) -> str:
    from difflib import unified_diff

    lines = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(unified_diff(*lines, fromfile=name, tofile=f"{name} in the layout"))
