"""The command line: one small file per command, loaded when it is called."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from keyword import iskeyword
from typing import Any, NoReturn

import click

from archcost.cli.streams import protect
from archcost.errors import ArchcostError, did_you_mean

SECTIONS = {
    "What it costs": ("table", "compare", "explain"),
    "What fits, and how fast": ("memory", "fit", "roofline", "hardware"),
    "Many networks at once": ("formula", "sweep", "solve"),
    "In a pipeline": ("check", "diff", "badge"),
    "Writing specs": ("import", "lint", "fmt", "schema"),
    "What there is": ("list", "show", "ops", "export"),
    "Whose number is it": ("reconcile", "identify", "audit"),
    "Pictures and pages": ("plot", "report"),
    "How archcost knows": ("verify", "profile"),
}
COMMANDS = tuple(name for names in SECTIONS.values() for name in names)
EXAMPLE = "archcost table vgg16"


class Commands(click.Group):
    """The group of commands, each imported from ``archcost.cli.NAME`` when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*COMMANDS]  # not list(): the command of that name lives in this package

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of that name, or None."""
        if name not in COMMANDS:
            return None
        module = f"{name}_" if iskeyword(name) else name
        command: click.Command = import_module(f"archcost.cli.{module}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command; an unknown one is refused with the nearest name."""
        if args and args[0] not in COMMANDS:
            ctx.fail(f"unknown command {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands grouped by purpose, and one example."""
        for section, names in SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                rows.append((name, command.get_short_help_str(200) if command else ""))
            with formatter.section(section):
                formatter.write_dl(rows)
        with formatter.section("Example"):
            formatter.write_text(EXAMPLE)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="archcost", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """What does this network cost? Exact shapes, parameters, MACs, FLOPs and memory."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> NoReturn:
    """Run the command line and exit: 0 ok, 1 a check failed, 2 bad input."""
    protect()
    gc.set_threshold(500_000, 20, 50)  # networks stay, and hold no garbage to search for
    try:
        code = cli.main(prog_name="archcost", standalone_mode=False)
        sys.stdout.flush()
    except ArchcostError as error:
        for line in str(error).split("\n"):  # a spec may have several mistakes
            click.echo(f"archcost: {line}", err=True)
        code = 2
    except click.ClickException as error:
        click.echo(f"archcost: {' '.join(error.format_message().split())}", err=True)
        code = 2
    except click.Abort:
        click.echo("archcost: interrupted", err=True)
        code = 130
    gc.freeze()  # the process ends: no search for garbage in what it still holds
    sys.exit(code if isinstance(code, int) else 0)
