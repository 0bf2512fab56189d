"""``archcost schema``: the JSON Schemas of specs and of what commands print."""

from __future__ import annotations

import click

from archcost.cli.options import write
from archcost.errors import LookupFailed


@click.command("schema")
@click.argument("name", required=False)
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write to a file, whole or not at all, instead of standard output.",
)
def command(name: str | None, output: str | None) -> None:  # fmt: skip
    """Print a JSON Schema: of a spec, for editors, or of a command's --format json.

    Without NAME, the names are listed.

    Example: archcost schema spec --output spec.schema.json
    """
    from importlib.resources import files

    folder = files("archcost") / "schema"
    names = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir())
    if name is None:
        write("\n".join(names), output)
        return
    if name not in names:
        raise LookupFailed("schema", name, names)
    write((folder / f"{name}.json").read_text("utf-8").rstrip("\n"), output)
