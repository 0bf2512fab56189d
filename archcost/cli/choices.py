"""Options with a list of values: each answers ``help``, completes, and says where its list is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from archcost.errors import ArchcostError, LookupFailed
from archcost.table import FORMATS, Column, Table

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic in click 8.1

HELP = "help"
"""The value that asks for the list."""

Known = Mapping[str, str]
"""What may be said, and what it means."""


class Names(ParamType):
    """Names out of a list that is only made when it is asked for.

    Args:
        kind: what they name, as in ``unknown convention 'fvcroe'``.
        known: returns the list.
        strict: refuse other names here; otherwise the function that takes the name does.
        many: several names, separated by commas.
    """

    name = "name"

    def __init__(
        self, kind: str, known: Callable[[], Known], strict: bool = False, many: bool = False
    ) -> None:
        self.kind, self.known, self.strict, self.many = kind, known, strict, many

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name, or the tuple of names; print the list instead where it is asked for."""
        names = [part.strip() for part in value.split(",")] if self.many else [value]
        if HELP in names and ctx and not ctx.resilient_parsing:
            from archcost.cli.output import Output

            columns = (Column("name", self.kind), Column("about", "what it is"))
            Output().show(Table(columns, tuple(self.known().items())))
            raise click.exceptions.Exit(0)
        if self.many and not all(names):
            flag = param.opts[0] if param else self.kind
            raise ArchcostError(f"{flag} takes names, separated by commas; one of them is empty")
        for name in names if self.strict else ():
            if name not in (known := self.known()):
                raise LookupFailed(self.kind, name, known)
        return tuple(names) if self.many else value

    def several(self) -> Names:
        """Return the same names, of which several may be given."""
        return Names(self.kind, self.known, self.strict, many=True)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[Any]:
        """Return the names that begin as typed, after the last comma."""
        from click.shell_completion import CompletionItem

        before, comma, last = incomplete.rpartition(",") if self.many else ("", "", incomplete)
        return [
            CompletionItem(before + comma + name, help=about)
            for name, about in self.known().items()
            if name.startswith(last)
        ]


class Decorator(Protocol):
    """What adds an option to a command."""

    def __call__(self, function: F, /) -> F:
        """Return the function with the option."""
        ...


def names_option(flag: str, *more: str, names: Names, help: str, **rest: Any) -> Decorator:
    """Return an option whose values are ``names``; one of many values may also be repeated."""
    rest.setdefault("metavar", "NAME,..." if names.many else "NAME")
    if names.many:
        rest |= {"multiple": True, "callback": _flat}
    text = f"{help.rstrip('.')}. `{flag} {HELP}` lists them."
    return click.option(flag, *more, type=names, help=text, **rest)


def _flat(ctx: click.Context, param: click.Parameter, value: Iterable[Any]) -> tuple[str, ...]:
    return tuple(name for part in value for name in part)


# The lists.


def listed(place: str) -> Callable[[], Known]:
    """Return what reads a list at ``module:NAME``: a mapping, or names without a meaning.

    What a name means is its value, or the value's ``title``.
    """

    def known() -> Known:
        values = find(place)
        if not isinstance(values, Mapping):
            return dict.fromkeys(values, "")
        return {
            name: value if isinstance(value, str) else getattr(value, "title", "")
            for name, value in values.items()
        }

    return known


def find(place: str) -> Any:
    """Return the value of ``module:NAME``; a function there is called."""
    module, _, name = place.partition(":")
    found = getattr(import_module(f"archcost.{module}"), name)
    return found() if callable(found) else found


def columns_of(places: Iterable[str]) -> Known:
    """Return the columns of one or several tables, by key, with their headings."""
    tables = [find(place) for place in places]
    columns = [table.values() if isinstance(table, Mapping) else table for table in tables]
    return {column.key: column.heading for some in columns for column in some}


def _dtypes() -> Known:
    from archcost.units import DTYPE_BYTES, number_of

    return {name: number_of(width, "byte") for name, width in DTYPE_BYTES.items()}


def _gpus() -> Known:
    from archcost.hardware import devices

    return {d.name: f"{d.title}, {d.memory:,} bytes" for d in devices().values()}


def _families() -> Known:
    from archcost.spec.catalog import documents

    return {document.name: ", ".join(document.models()) for document in documents()}


CONVENTIONS = Names("convention", listed("conventions:CONVENTIONS"))
ACTIVATIONS = Names("activation convention", listed("conventions:ACTIVATIONS"))
DTYPES = Names("dtype", _dtypes)
GPUS = Names("device", _gpus)
FAMILIES = Names("family", _families)
DEVICES = Names("device", lambda: {"cuda": "an NVIDIA GPU", "cpu": "a CPU"})
OWN_DEVICES = Names("device", lambda: {
    "cpu": "this machine's CPU", "cuda": "its GPU", "cuda:1": "its second GPU, and so on",
})  # fmt: skip
OPTIMIZERS = Names("optimizer", listed("optimizers:OPTIMIZERS"))
AMP = Names("autocast type", listed("setting:AMP"))
METRICS = Names("metric", listed("figures:METRICS"))
TABLE_FORMATS = Names(
    "format",
    lambda: {name: (f.__doc__ or "").split("\n")[0] for name, f in FORMATS.items()}
    | {"xlsx": "An Excel workbook, with the notes on a sheet of their own."},
    strict=True,
)  # fmt: skip


def table_formats(**more: str) -> Names:
    """Return the formats of tables with those that a command has besides, and what each is."""
    return Names("format", lambda: {**TABLE_FORMATS.known(), **more}, strict=True)
