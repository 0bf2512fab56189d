"""Options that commands share, and what they mean: which model, how counted, how written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.table import FORMATS, Table, show_cell

EXCEL = "xlsx"
"""The one format that is no text, and so needs a file."""

F = TypeVar("F", bound=Callable[..., Any])


def _stack(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def complete_model(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Return the catalog's names that begin as typed, for shell completion; files too."""
    from click.shell_completion import CompletionItem

    from archcost.spec.catalog import catalog

    names = [CompletionItem(name) for name in catalog() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def model_argument(many: bool = False, required: bool = True) -> Callable[[F], F]:
    """The MODEL argument: a catalog name, a .yaml or .txt file, or - for standard input."""
    return click.argument(
        "models" if many else "model",
        metavar="MODEL..." if many else "MODEL",
        nargs=-1 if many else 1,
        required=required,
        shell_complete=complete_model,
    )


network_options = _stack(
    click.option("--input", metavar="SHAPE", help="Input shape instead of the spec's: 3x384x384."),
    click.option(
        "--set", "knobs", metavar="KNOB=VALUE", multiple=True, help="Set a knob of the spec."
    ),
    click.option("--aux", is_flag=True, help="Include side outputs (auxiliary classifiers)."),
    click.option("--no-bias", is_flag=True, help="Drop the biases, as the lectures' VGG table."),
)

counting_options = _stack(
    click.option("--batch", type=int, default=1, show_default=True, help="Samples per pass."),
    click.option("--dtype", default="float32", show_default=True, help="Data type of the tensors."),
    click.option(
        "--convention", default="flops", show_default=True, help="How to count, e.g. fvcore."
    ),
    click.option(
        "--activations", default="lecture", show_default=True, help="Which outputs count."
    ),
)

training_options = _stack(
    click.option("--dtype", default="float32", show_default=True, help="Data type of the tensors."),
    click.option("--device", default="cuda", show_default=True, help="cuda or cpu."),
    click.option(
        "--optimizer", default="sgd-momentum", show_default=True,
        help="sgd, sgd-momentum, adam or adamw.",
    ),
    click.option("--foreach", is_flag=True, help="Update lists at a time."),
    click.option("--fused", is_flag=True, help="Update in one kernel."),
    click.option("--for-loop", is_flag=True, help="Update a parameter at a time."),
    click.option("--weight-decay", is_flag=True, help="The optimizer decays the weights."),
    click.option(
        "--freeze", multiple=True, metavar="PATTERN", help="Layers not trained, e.g. 'stem*'."
    ),
    click.option("--amp", metavar="TYPE", help="Run forward under autocast to bf16 or fp16."),
    click.option(
        "--checkpoint", multiple=True, metavar="GROUP", help="Groups that backward computes again."
    ),
    click.option("--channels-last", is_flag=True, help="Network and input in channels-last."),
)  # fmt: skip


def take_setting(options: dict[str, Any], **more: Any) -> Any:
    """Return the ``Setting`` that the training options ask for, and take these out of ``options``.

    ``more`` are further fields of the setting, such as the batch.
    """
    from archcost.memory.footprint import Setting
    from archcost.memory.mode import Mode

    kernels = {"foreach": "foreach", "fused": "fused", "for_loop": "for-loop"}
    asked = [name for option, name in kernels.items() if options.pop(option)]
    if len(asked) > 1:
        raise ArchcostError(f"an optimizer updates in one way; got --{' and --'.join(asked)}")
    mode = Mode(**{name: options.pop(name) for name in ("amp", "channels_last", "checkpoint")})
    own = {
        name: options.pop(name)
        for name in ("dtype", "device", "optimizer", "weight_decay", "freeze")
    }
    return Setting(kernel=asked[0] if asked else None, mode=mode, **own, **more)


output_options = _stack(
    click.option(
        "--format", "format", type=click.Choice(sorted([*FORMATS, EXCEL])), default=None,
        help="Format of the output; the default is a table.",
    ),
    click.option(
        "--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
        help="Write to a file, whole or not at all, instead of standard output.",
    ),
)  # fmt: skip


def load_network(
    model: str,
    input: str | None = None,
    knobs: Sequence[str] = (),
    aux: bool = False,
    no_bias: bool = False,
) -> Network:
    """Return the network that the shared options ask for."""
    from archcost.spec.catalog import load

    return load(model, input=input, knobs=knob_settings(knobs), aux=aux, bias=not no_bias)


def knob_settings(knobs: Sequence[str]) -> dict[str, str]:
    """Return the values that ``--set KNOB=VALUE`` gives, as text."""
    settings: dict[str, str] = {}
    for text in knobs:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ArchcostError(f"--set takes KNOB=VALUE; got {text!r}")
        settings[key.strip()] = value.strip()
    return settings


def show(table: Table, format: str | None, output: str | None, data: Any = None) -> None:
    """Write a table: rich on a terminal, plain text in a pipe, or in the format asked for.

    ``data`` replaces the rows for ``json``, where a command has a contract of its own.
    """
    if format == EXCEL:
        if output is None:
            raise ArchcostError("an Excel file is not text: say where with --output FILE.xlsx")
        from archcost.workbook import write_workbook

        write_file(output, lambda path: write_workbook(table, path))
        return
    if format == "json" and data is not None:
        import json

        text = json.dumps(data, indent=2, ensure_ascii=False)
    elif format is None and output is None and sys.stdout.isatty():
        print_rich(table)
        return
    else:
        text = table.render(format or "text")
    write(text, output)


def write(text: str, output: str | None) -> None:
    """Write text to standard output, or to a file: whole or not at all."""
    if output is None:
        click.echo(text)
    else:
        write_file(output, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def check_writable(target: str | None) -> None:
    """Refuse a file that could not be written, before the work takes its minutes."""
    if target is None:
        return
    folder = Path(target).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ArchcostError(f"cannot write {target}: no folder {folder} that can be written to")


def write_file(output: str, save: Callable[[Path], object]) -> None:
    """Have ``save`` write a file under another name, and give it its own when it is whole."""
    import tempfile  # most runs write no file

    target = Path(output)
    scratch = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            scratch = Path(file.name)
        save(scratch)
        scratch.chmod(0o644)
        scratch.replace(target)
    except OSError as error:
        raise ArchcostError(f"cannot write {output}: {error.strerror}") from None
    finally:
        if scratch:
            with suppress(OSError):
                scratch.unlink()


def print_rich(table: Table) -> None:
    """Print a table to a terminal; rich respects NO_COLOR.

    Digits are never cut: a narrow terminal leaves out columns, and says so.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    fitted, left_out = fit(table, console.width)
    made = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in fitted.columns:
        side: Any = "right" if column.numeric else "left"
        last = column is fitted.columns[-1]
        made.add_column(column.heading, justify=side, no_wrap=column.numeric or not last)
    for row in fitted.rows:
        made.add_row(*(Text(show_cell(cell)) for cell in row))
    if fitted.footer:
        made.add_section()
    for row in fitted.footer:
        made.add_row(*(Text(show_cell(cell)) for cell in row), style="bold")
    if table.title:
        console.print(Text(table.title + "\n", style="bold"))
    console.print(made, soft_wrap=len(fitted.columns) == 1)
    notes = [*table.notes]
    if left_out:
        notes.append(f"not shown in {console.width} columns: {', '.join(left_out)}")
    for note in notes:
        console.print(Text(note), style="dim")


GAP = 3  # between rich's columns
LEGIBLE = 24  # characters below which folded words are no help


def fit(table: Table, width: int) -> tuple[Table, list[str]]:
    """Return the table with as many columns as fit, and the headings of the others.

    Columns without any content go first, then the minor ones, then the last ones. A last column of
    words may stay too wide, to be folded.
    """
    shown = list(zip(*table.shown(), strict=True)) or [()] * len(table.columns)
    keep = [i for i, cells in enumerate(shown) if any(cells) or not table.rows]
    needed = {i: max([len(table.columns[i].heading), *map(len, shown[i])]) + GAP for i in keep}
    left_out: list[int] = []
    while len(keep) > 1 and (over := sum(needed[i] for i in keep) - GAP - width) > 0:
        least = max(keep[1:], key=lambda i: (table.columns[i].minor, i))
        words = not table.columns[least].numeric and needed[least] > LEGIBLE
        if words and least == keep[-1] and needed[least] - over >= LEGIBLE:
            break  # the last column is words, which may run over several lines
        keep.remove(least)
        left_out.append(least)

    def cut(rows: tuple[tuple[Any, ...], ...]) -> tuple[tuple[Any, ...], ...]:
        return tuple(tuple(row[i] for i in keep) for row in rows)

    [columns] = cut((table.columns,))
    fitted = replace(table, columns=columns, rows=cut(table.rows), footer=cut(table.footer))
    return fitted, [table.columns[i].heading for i in sorted(left_out)]
