"""``archcost verify``: every figure against PyTorch, the counters and reference models."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from archcost.cli.options import (
    check_writable,
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
    write,
)
from archcost.errors import ArchcostError


def _split(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@click.command("verify")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--family", multiple=True, help="All models of a family.")
@click.option(
    "--checks", multiple=True, metavar="NAME,...",
    help="structure, counters, memory, training, peaks, reference; the default is all that apply.",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or meta.")
@click.option("--batch", type=click.IntRange(1, 4096), default=1, show_default=True)
@click.option(
    "--against", multiple=True, metavar="WHAT,...",
    help="References: torchvision, timm, pytorchcv, or module:callable of your own.",
)  # fmt: skip
@click.option("--freeze", multiple=True, metavar="PATTERN", help="Layers that are not trained.")
@click.option(
    "--jobs", type=click.IntRange(1, 256),
    help="Models at a time; the default is one per core, up to 4.",
)  # fmt: skip
@click.option("--summary", is_flag=True, help="One row per model, one column per check.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML too, whole or not at all.")
@click.option("--replay", metavar="FILE", help="Check today's predictions against a record.")
@network_options
@output_options
def command(
    models: tuple[str, ...], everything: bool, family: tuple[str, ...], checks: tuple[str, ...],
    device: str, batch: int, against: tuple[str, ...], freeze: tuple[str, ...], jobs: int | None,
    summary: bool, junit: str | None, replay: str | None, format: str | None, output: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Check every figure of a model against PyTorch, the counters, and reference models.

    A twin of each model is built in PyTorch and compared with the spec: shapes, parameters and
    flow (structure); what each tool counts (counters); bytes kept for backward (memory); FLOPs of
    a training step (training); memory in use at once (peaks); the outputs of a reference with its
    weights (reference). A record of `archcost profile` can be checked without its device
    (--replay).

    Exit code 1 says that a check failed; the first difference names the layer.

    Example: archcost verify resnet50 --against torchvision
    """
    from archcost.analysis.comparison import select
    from archcost.verify import results

    for target in (junit, output):
        check_writable(target)
    outcomes: list[results.Outcome] = []
    order: list[str] = []
    interrupted = False
    if replay is not None:
        if models or everything or family:
            raise ArchcostError("--replay takes its models from the record; leave out MODEL")
        from archcost.performance.measured import read_record
        from archcost.performance.proof import proof_table

        found, about = _replay(replay), {"record": replay}
        total = 1
    else:
        from archcost.torch_twin.measure import check_device
        from archcost.verify.run import Request, verify_all
        from archcost.verify.run import about as describe

        names = select(models, family, everything)
        check_device(device)
        request = Request(_split(checks), device, batch, _split(against), freeze)
        groups = request.names()
        networks = [load_network(name, **options) for name in names]
        order = [network.name for network in networks]
        found, about = verify_all(networks, request, jobs), describe(request)
        total = len(networks) * len(groups)
    try:
        with _progress(total) as step:
            for outcome in found:
                outcomes.append(outcome)
                step(outcome.model)
    except KeyboardInterrupt:
        interrupted = True
        click.echo("archcost: interrupted; what was checked follows", err=True)
    outcomes.sort(key=lambda outcome: order.index(outcome.model) if order else 0)
    if junit:
        write(results.results_junit(outcomes, about), junit)
    record = results.results_record(outcomes, about, interrupted)
    table = results.summary_table if summary else results.results_table
    show(table(outcomes, about), format, output, record)
    if replay is not None and output is None and format in (None, "text", "markdown"):
        click.echo()
        show(proof_table(read_record(replay)), format, None)
    if interrupted or not record["passed"]:
        raise click.exceptions.Exit(130 if interrupted else 1)


def _replay(path: str) -> Iterator[Any]:
    from archcost.verify.replay import replay
    from archcost.verify.results import Outcome

    outcome = Outcome(Path(path).name, "replay")
    for check in replay(path):
        outcome.add(check)
    yield outcome


@contextmanager
def _progress(total: int) -> Iterator[Any]:
    """Show on a terminal how far the checks are; yields the function to call after each."""
    if not sys.stderr.isatty():
        yield lambda model: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # a stream of its own: while a counter runs, what goes to standard error is dropped
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        )  # fmt: skip
        console = Console(file=terminal, force_terminal=True)
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("verify", total=total)
            yield lambda model: progress.update(task, advance=1, description=model)
