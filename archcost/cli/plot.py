"""``archcost plot``: pictures of what networks cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archcost.cli.choices import Names, listed, names_option
from archcost.cli.options import (
    depth_option,
    file_option,
    load_network,
    model_argument,
    network_options,
    selection_options,
    setting_options,
)
from archcost.cli.output import write, write_file
from archcost.cli.progress import progress
from archcost.errors import ArchcostError
from archcost.pictures import KINDS

KIND = Names("kind of picture", listed("pictures:KINDS"), strict=True)
AXIS = Names("axis", listed("pictures.scatter:AXES"))
OPTIONS = {
    "depth": depth_option,
    "x": names_option("--x", names=AXIS, default="operations", show_default=True,
                      help="The figure on the x axis"),
    "y": names_option("--y", names=AXIS, default="top1", show_default=True,
                      help="The figure on the y axis"),
    "size": names_option("--size", names=AXIS, default="params", show_default=True,
                         help="The figure that the areas of the bubbles show"),
    "record": click.option("--record", metavar="FILE", help="A record of `archcost profile`."),
    "sweep": click.option("--sweep", metavar="FILE",
                          help="Rows that `archcost sweep` has written, in place of models. --x "
                               "and --y are columns: less is better, of -NAME more."),
}  # fmt: skip
DRAWING = (
    click.option("--terminal", is_flag=True, help="Print the picture as text."),
    click.option("--dpi", type=click.IntRange(20, 1200), default=200, show_default=True,
                 help="Dots per inch of a PNG."),
    file_option("Write the picture to this .png, .svg or .pdf file."),
)  # fmt: skip


class Kinds(click.Group):
    """A command for each kind of picture, with its own options."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the kinds."""
        return [*KINDS]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command that draws a kind."""
        return _command(name) if name in KINDS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the kind; ``help`` lists them, an unknown one is refused with the nearest."""
        KIND.convert(args[0], None, ctx)
        return super().resolve_command(ctx, args)


@click.group("plot", cls=Kinds, subcommand_metavar="KIND MODEL... [OPTIONS]", no_args_is_help=False)
def command() -> None:
    """Draw a picture: a PNG, SVG or PDF file, or text in the terminal.

    KIND is one of the commands below. `archcost plot KIND --help` lists the options of a kind.

    Example: archcost plot layers alexnet vgg16 -o layers.pdf
    """


def _command(name: str) -> click.Command:
    kind = KINDS[name]

    def run(
        terminal: bool, dpi: int, output: str | None, chosen: dict[str, Any] | None = None,
        models: tuple[str, ...] = (), options: dict[str, Any] | None = None, setting: Any = None,
        **own: Any,
    ) -> None:  # fmt: skip
        from archcost.pictures import draw
        from archcost.report.comparison import select

        if terminal == (output is not None):
            raise ArchcostError(
                "say where the picture goes: --output FILE.png, .svg or .pdf, or --terminal"
            )
        if output is not None:
            from archcost.pictures.matplotlib_file import check_suffix, save

            suffix = check_suffix(output)
        if chosen and (any(chosen.values()) or not own.get("sweep")):
            models = tuple(select(**chosen))
        with progress(models, name) as shown:
            networks = [load_network(model, **(options or {})) for model in shown]
        content = draw(name, networks, setting, **own)
        if output is not None:
            write_file(output, lambda path: save(content, Path(path), suffix, dpi))
            return
        import shutil

        from archcost.pictures.terminal import text

        write(text(content, shutil.get_terminal_size((100, 24)).columns), None)

    of = [model_argument(many=True, required=False)]
    if kind.networks != 0:
        of = [selection_options, network_options]
    asked = [setting_options(*kind.setting)] if kind.setting else []
    for option in reversed([*of, *(OPTIONS[key] for key in kind.options), *asked, *DRAWING]):
        run = option(run)
    text = f"Draw {kind.title}.\n\nExample: archcost plot {name} {kind.example}"
    return click.command(name, help=text)(run)
