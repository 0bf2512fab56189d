"""How what a command found is written: which format, which columns, to a terminal or a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from archcost.data import dataclass
from archcost.errors import ArchcostError, did_you_mean
from archcost.table import ENDINGS, Table

if TYPE_CHECKING:
    from pathlib import Path

EXCEL = "xlsx"
"""The one format that is no text, and so needs a file."""


@dataclass(frozen=True)
class Output:
    """Where the result of a command goes, and how.

    Attributes:
        format: the format asked for, by name or by the file's ending; None for people.
        file: the file to write; None for standard output.
        columns: keys of the columns to show; the table's own if there are none.
    """

    format: str | None = None
    file: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def for_people(self) -> bool:
        """Whether a sentence does where there are no rows, and several tables may follow."""
        return self.format in (None, "text", "markdown")

    @property
    def on_terminal(self) -> bool:
        """Whether tables are laid out for the width of a terminal."""
        return self.format is None and self.file is None and sys.stdout.isatty()

    def show(self, table: Table, data: Any = None) -> None:
        """Write a table: laid out on a terminal, plain text in a pipe, or in the format asked for.

        ``data`` replaces the rows for ``json``, where a command has a contract of its own.
        """
        contract = self.format == "json" and data is not None
        if self.columns:
            if contract:
                raise ArchcostError("--format json has all figures; it takes no --columns")
            table = table.select(self.columns)
        if self.format == EXCEL:
            from archcost.workbook import write_workbook

            if self.file is None:
                raise ArchcostError("an Excel file is not text: say where with --output FILE.xlsx")
            write_file(self.file, lambda path: write_workbook(table, path))
        elif contract:
            import json

            self.write(json.dumps(data, indent=2, ensure_ascii=False))
        elif self.on_terminal:
            from archcost.cli import screen  # only a terminal needs it

            screen.print_table(table, screen.width(), chosen=bool(self.columns))
        else:
            self.write(table.render(self.format or "text"))

    def show_all(self, tables: Sequence[Table], remarks: Sequence[str] = ()) -> None:
        """Write several tables for people; ``columns`` are those of the first."""
        first, *others = tables
        rest = replace(self, columns=())
        if self.on_terminal:
            for out, table in ((self, first), *((rest, table) for table in others)):
                if table is not first:
                    click.echo()
                out.show(table)
            for remark in ["", *remarks] if remarks else []:
                from archcost.cli import screen

                click.echo("\n".join(screen.wrap(remark, screen.width())))
            return
        shown = [first.select(self.columns) if self.columns else first, *others]
        texts = [table.render(self.format or "text") for table in shown]
        self.write("\n\n".join([*texts, *(["\n".join(remarks)] if remarks else [])]))

    def write(self, text: str) -> None:
        """Write text as it is."""
        write(text, self.file)


def format_of(
    format: str | None, file: str | None, endings: Mapping[str, str] = ENDINGS
) -> str | None:
    """Return the format asked for, or else the one of a file's ending; None for neither.

    A device such as ``/dev/stdout`` has no ending.

    Raises:
        ArchcostError: the ending names no format.
    """
    if format is not None or file is None or is_device(file):
        return format
    name = os.path.basename(file)
    ending = os.path.splitext(name)[1].lower()
    if ending in endings:
        return endings[ending]
    near = did_you_mean(ending, endings) if ending else ""
    near = near if near.startswith("; did") else ""
    *first, last = endings
    known = f"{', '.join(first)} or {last}" if first else last
    raise ArchcostError(f"{name!r} does not end in {known}{near if first else ''}")


def write(text: str, output: str | None) -> None:
    """Write text to standard output, or to a file. An error leaves no half-written file."""
    if output is None:
        click.echo(text)
    else:
        write_file(output, lambda path: path.write_text(text + "\n", encoding="utf-8"))


def check_writable(target: str | None) -> None:
    """Refuse a file that could not be written, before the work takes its minutes."""
    if target is None:
        return
    if is_device(target) and os.access(target, os.W_OK):
        return
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ArchcostError(f"cannot write {target}: no folder {folder} that can be written to")


def is_device(target: str) -> bool:
    """Return whether a name is that of a terminal, a pipe, or another thing that is not a file."""
    return os.path.exists(target) and not (os.path.isfile(target) or os.path.isdir(target))


def write_file(output: str, save: Callable[[Path], object]) -> None:
    """Have ``save`` write a file under another name, and give it its own when it is whole.

    A device, such as ``/dev/stdout``, is written to directly.
    """
    import tempfile  # most runs write no file
    from pathlib import Path

    target = Path(output)
    scratch = None
    try:
        if is_device(output):
            save(target)
            return
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
