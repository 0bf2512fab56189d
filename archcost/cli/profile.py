"""``archcost profile``: measure models on a real device, and record it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
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
from archcost.units import parse_seconds

SAVE_SECONDS = 10
"""After how long the record is written again, so that hours of measuring are not lost."""


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or any(not 1 <= number <= 2**20 for number in numbers):
        raise ArchcostError(f"--batch takes whole numbers such as 1,32,256; got {text!r}")
    return numbers


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


@click.command("profile")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--family", multiple=True, help="All models of a family.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--batch", default="1", show_default=True, help="Batches: 1,32,256.")
@click.option("--dtype", default="float32", show_default=True, help="Types: float32,bfloat16.")
@click.option(
    "--optimizer", default="sgd-momentum", show_default=True,
    help="Optimizers of the training step: sgd-momentum,adam.",
)  # fmt: skip
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=11,
    show_default=True,
    help="Timed passes at most; slow ones are fewer.",
)
@click.option("--no-training", is_flag=True, help="Forward passes only.")
@click.option("--record", metavar="FILE", help="Write the record, whole or not at all.")
@click.option("--resume", is_flag=True, help="Continue the record; what it has stays.")
@click.option("--time-limit", metavar="TIME", help="Stop after the measurement that passes: 8m.")
@network_options
@output_options
def command(
    models: tuple[str, ...], everything: bool, family: tuple[str, ...], device: str, batch: str,
    dtype: str, optimizer: str, runs: int, no_training: bool, record: str | None, resume: bool,
    time_limit: str | None, format: str | None, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Measure latency, memory and counters of models on this machine's CPU or GPU.

    Times are medians with quartiles after a warm-up, by CUDA events on a GPU. That a model runs out
    of memory, or cannot run, is a row of the result. All models are measured in one setting before
    any in the next, so a run that is cut short (--time-limit) leaves a useful record, and --resume
    goes on with it. On a GPU a second table holds the memory peaks against the predicted.

    Example: archcost profile resnet50 --device cuda --batch 1,32 --record gpu.json
    """
    begin = time.monotonic()  # before PyTorch is loaded: that takes part of the limit

    from archcost.analysis.comparison import select
    from archcost.memory.optimizers import find_optimizer
    from archcost.performance.measured import continued, measured_table, read_record
    from archcost.performance.proof import proof_table
    from archcost.torch_twin.measure import check_device, machine, to_record, torch_dtype
    from archcost.torch_twin.series import measure, plan

    if resume and record is None:
        raise ArchcostError("--resume continues a record: say which with --record FILE")
    for target in (record, output):
        check_writable(target)
    limit = parse_seconds(time_limit) if time_limit is not None else None
    batches, dtypes, optimizers = _numbers(batch), _names(dtype), _names(optimizer)
    names = select(models, family, everything)
    check_device(device)
    for name in dtypes:
        torch_dtype(name)
    for name in optimizers:
        find_optimizer(name)
    about, before = machine(device), []
    if resume and record is not None and Path(record).exists():
        old = read_record(record)
        about, before = continued(record, old, about), old["measurements"]
    networks = [load_network(name, **options) for name in names]
    jobs = plan(networks, batches, dtypes, [None] if no_training else optimizers, before)
    done: list[Any] = []
    code, saved = 0, time.monotonic()

    def save() -> dict[str, Any]:
        content = to_record(about, done, before)
        if record:
            write(json.dumps(content, indent=1), record)
        return content

    try:
        for row in measure(_announced(jobs), device, runs):
            done.append(row)
            if limit is not None and time.monotonic() - begin > limit:
                break
            if time.monotonic() - saved > SAVE_SECONDS:
                save()
                saved = time.monotonic()
    except KeyboardInterrupt:
        click.echo("archcost: interrupted; what was measured follows", err=True)
        code = 130
    finally:
        content = save()
    if left := len(jobs) - len(done):
        advice = "--resume continues" if record else "--record FILE and --resume continue"
        click.echo(f"archcost: {left} of {len(jobs)} settings are left; {advice}", err=True)
    show(measured_table(content), format, output, content)
    if device.startswith("cuda") and output is None and format in (None, "text", "markdown"):
        click.echo()
        show(proof_table(content), format, None)
    if code:
        raise click.exceptions.Exit(code)


def _announced(jobs: Iterable[Any]) -> Iterator[Any]:
    """Say on a terminal what is being measured."""
    for job in jobs:
        if sys.stderr.isatty():
            how = job.optimizer or "no training"
            click.echo(f"{job.network.name}, batch {job.batch}, {job.dtype}, {how}", err=True)
        yield job
