"""``archcost sweep``: the figures of many networks of one spec."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import click

from archcost.cli.choices import METRICS, table_formats
from archcost.cli.options import (
    bundle,
    load_network,
    model_argument,
    named_values,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output, check_writable
from archcost.cli.progress import progress
from archcost.errors import ArchcostError
from archcost.setting import TRAINING
from archcost.table import ENDINGS, Table

T = TypeVar("T")
PARQUET = "parquet"
FEW = 20
"""How many rows people are shown unless they ask for more."""

vary_option = click.option(
    "--vary", multiple=True, required=True, metavar="NAME=VALUES",
    help="What a knob, an item of a knob, or the input goes through: width=0.5:2:0.25, "
         "depths.0=2,3,4, input=128:256:32. A range includes its end.",
)  # fmt: skip
where_option = click.option(
    "--where", multiple=True, metavar="CONDITIONS",
    help="Keep what meets these, e.g. 'macs <= 400M and params <= 5M'.",
)  # fmt: skip

jobs_options = bundle(
    "jobs",
    click.option(
        "--jobs", type=click.IntRange(1, 256), default=1, show_default=True,
        help="Processes that price configurations.",
    ),
    click.option(
        "--scheduler", metavar="ADDRESS",
        help="Price on a running dask cluster, whose scheduler is at, e.g., tcp://10.0.0.1:8786.",
    ),
)  # fmt: skip
"""Hands over ``jobs``, for :func:`pricers`."""


@contextmanager
def pricers(jobs: int, scheduler: str | None) -> Iterator[Any]:
    """Give who prices: a number of processes, or the executor of a cluster."""
    if scheduler is None:
        yield jobs
        return
    from archcost.space.cluster import executor_at

    if jobs > 1:
        raise ArchcostError("a cluster has workers of its own; leave --jobs or --scheduler out")
    with executor_at(scheduler) as executor:
        yield executor


@click.command("sweep")
@model_argument()
@vary_option
@where_option
@click.option("--sort", metavar="FIGURE,...", help="Order by these; -macs is the largest first.")
@click.option(
    "--pareto",
    metavar="FIGURE,...",
    help="Keep what no other beats in all of these; -input is the larger the better.",
)
@click.option("--top", type=int, help="Show so many of them. A table shows 20 by default.")
@click.option("--sample", type=int, metavar="N", help="Draw N at random instead of all.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The start of the random numbers."
)
@jobs_options
@click.option(
    "--parts", metavar="FOLDER",
    help="Have those who price write their rows here, as files of Parquet.",
)  # fmt: skip
@network_options
@setting_options("batch", "gpu", *TRAINING, "convention", "activations")
@output_options(
    endings={**ENDINGS, ".jsonl": "jsonl", ".parquet": PARQUET},
    columns=METRICS.several(),
    formats=table_formats(
        jsonl="A JSON record on each line, for any number of rows.",
        parquet="A Parquet file, for any number of rows.",
    ),
)
def command(
    model: str, vary: tuple[str, ...], where: tuple[str, ...], sort: str | None,
    pareto: str | None, top: int | None, sample: int | None, seed: int, jobs: dict[str, Any],
    parts: str | None, options: dict[str, Any], setting: Any, out: Output,
) -> None:  # fmt: skip
    """Price every network that a spec stands for at these values of its knobs and its input.

    A configuration that is not a network is counted, with the reason of the first. The formats csv,
    jsonl and parquet write all rows as they come. An interrupted sweep leaves the rows so far.

    Example: archcost sweep resnet50 --vary width_per_group=16:128:16 --vary input=128:256:32
    """
    from archcost.space.files import STREAMED, needs_pyarrow, write_rows
    from archcost.space.sweep import Sweeper, swept
    from archcost.space.workers import blocks_of

    if sort and pareto:
        raise ArchcostError("--pareto has an order of its own; leave --sort out")
    if top is not None and top < 1:
        raise ArchcostError(f"--top is at least 1; got {top}")
    check_writable(out.file)
    if out.format == PARQUET:
        needs_pyarrow()
        if out.file is None:
            raise ArchcostError("a Parquet file is not text: say where with --output FILE.parquet")
    if parts is not None:
        if sort or pareto or top or out.file or out.format:
            raise ArchcostError(
                "--parts has all rows, as Parquet: leave --sort, --pareto, --top, --output and "
                "--format out"
            )
        make_folder(parts)
    orders = (pareto or sort or "").split(",") if pareto or sort else ()
    sweeper = Sweeper(
        load_network(model, **options), setting, space_of(vary, sample, seed),
        columns=out.columns, where=where, orders=orders,
    )  # fmt: skip
    started = time.monotonic()

    def rate(_: object) -> str:
        """Return how many configurations are priced in a second."""
        return f"{sweeper.tally.seen / (time.monotonic() - started):,.0f}/s"

    def seen() -> int:
        """Return how many configurations are priced."""
        return sweeper.tally.seen

    streamed = out.format if out.format in STREAMED and not (sort or pareto or top) else None
    few = FEW if out.for_people and top is None else top
    with (
        interruptible() as whole,
        pricers(**jobs) as who,
        blocks_of(
            sweeper, who, pareto=bool(pareto), top=None if streamed else few, parts=parts or ""
        ) as made,
        progress(whole(made), "price", rate, len(sweeper.space), seen) as blocks,
    ):
        if parts:
            for _ in blocks:
                pass
            click.echo("\n".join(sweeper.summary()))
        elif streamed:
            with opened(out.file, out.format == PARQUET) as file:
                write_rows(sweeper, blocks, file, streamed)
            click.echo("\n".join(sweeper.summary()), err=out.file is None)
        else:
            found = swept(sweeper, blocks, pareto=bool(pareto), top=few)
            if out.format == "jsonl":
                out.write(lines(found.table()))
            elif out.format == PARQUET:
                with opened(out.file, True) as file:
                    write_rows(sweeper, [found.columns], file, PARQUET)
            else:
                Output(out.format, out.file).show(found.table(), found.to_dict())
            if out.file or out.format in STREAMED:
                click.echo("\n".join(found.notes), err=out.file is None)
    if seen() < len(sweeper.space):
        click.echo(f"archcost: interrupted after {seen():,} of {len(sweeper.space):,}", err=True)
        raise click.exceptions.Exit(130)


def space_of(vary: Iterable[str], sample: int | None = None, seed: int = 0) -> Any:
    """Return the configurations that options ask for."""
    from archcost.space.grid import Space, read_dimension

    dimensions = {}
    for text in vary:
        [(name, values)] = named_values("--vary", "NAME=VALUES", [text]).items()
        if name in dimensions:
            raise ArchcostError(f"--vary {name} is given twice")
        try:
            dimensions[name] = read_dimension(values)
        except ArchcostError as error:
            raise ArchcostError(f"--vary {name}: {error}") from None
    return Space(dimensions, sample, seed)


@contextmanager
def interruptible() -> Iterator[Any]:
    """Give what passes items on until Ctrl-C is pressed; pressed again, it ends the command.

    What is done with an item is thus finished, and a file that rows are written to ends in a line.
    """
    stopped = False

    def stop(number: int, frame: Any) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(signal.SIGINT, before)

    def whole(items: Iterable[T]) -> Iterator[T]:
        for item in items:
            yield item
            if stopped:
                return

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield whole
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def opened(target: str | None, binary: bool) -> Iterator[IO[Any]]:
    """Give the file to write rows to as they come, for bytes or text, or standard output."""
    if target is None:
        yield sys.stdout
        return
    try:
        with open(target, "wb") if binary else open(target, "w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise ArchcostError(f"cannot write {target}: {error.strerror}") from None


def make_folder(target: str) -> None:
    """Make a folder for files of Parquet; one that has files is refused."""
    from archcost.space.files import needs_pyarrow

    needs_pyarrow()
    try:
        os.makedirs(target, exist_ok=True)
        held = os.listdir(target)
    except OSError as error:
        raise ArchcostError(f"cannot write {target}: {error.strerror}") from None
    if held:
        raise ArchcostError(f"{target} has files already; name a folder that is new or empty")


def lines(table: Table) -> str:
    """Return the rows of a table as JSON, a line each."""
    return "\n".join(json.dumps(record) for record in table.records())
