"""``archcost schema``: the JSON Schemas of specs and of what commands print."""

from __future__ import annotations

import click

from archcost.cli.choices import Names
from archcost.cli.options import text_file_option
from archcost.cli.output import write
from archcost.errors import LookupFailed


def _names() -> dict[str, str]:
    from archcost.contracts import CONTRACTS

    return dict.fromkeys(CONTRACTS, "")


@click.command("schema")
@click.argument("name", required=False, shell_complete=Names("schema", _names).shell_complete)
@text_file_option(".json")
def command(name: str | None, output: str | None) -> None:  # fmt: skip
    """Print the JSON Schema of a spec, for editors, or of a command's --format json.

    Without NAME, the command lists the names.

    Example: archcost schema spec --output spec.schema.json
    """
    import json

    from archcost.contracts import CONTRACTS, contract

    if name is None:
        write("\n".join(CONTRACTS), output)
        return
    if name not in CONTRACTS:
        raise LookupFailed("schema", name, CONTRACTS)
    write(json.dumps(contract(name), indent=2, ensure_ascii=False), output)
