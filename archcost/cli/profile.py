"""``archcost profile``: measure models on a real device, and record it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from archcost.cli.choices import OPTIMIZERS, OWN_DEVICES, Names, names_option
from archcost.cli.options import load_network, network_options, output_options, selection_options
from archcost.cli.output import Output, check_writable, write
from archcost.cli.progress import progress
from archcost.errors import ArchcostError
from archcost.units import number_of, parse_seconds

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


DTYPES = Names(
    "dtype", lambda: dict.fromkeys(("float64", "float32", "float16", "bfloat16"), ""), many=True
)


@click.command("profile")
@selection_options
@names_option(
    "--device", names=OWN_DEVICES, default="cpu", show_default=True, help="The device to measure"
)
@click.option("--batch", default="1", show_default=True, help="Batch sizes, e.g. 1,32,256.")
@names_option(
    "--dtype",
    "dtypes",
    names=DTYPES,
    default=("float32",),
    show_default=True,
    help="Data types of the tensors",
)
@names_option(
    "--optimizer",
    "optimizers",
    names=OPTIMIZERS.several(),
    default=("sgd-momentum",),
    show_default=True,
    help="Optimizers of the training step",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 1000),
    default=11,
    show_default=True,
    help="Timed passes at most. A slow model gets fewer.",
)
@click.option("--no-training", is_flag=True, help="Measure forward passes only.")
@click.option("--record", metavar="FILE", help="Write the record to this file.")
@click.option("--resume", is_flag=True, help="Continue the record, and keep what it holds.")
@click.option("--time-limit", metavar="TIME", help="Stop at the first measurement after this, 8m.")
@network_options
@output_options("performance.measured:COLUMNS")
def command(
    chosen: dict[str, Any], device: str, batch: str, dtypes: tuple[str, ...],
    optimizers: tuple[str, ...], runs: int, no_training: bool, record: str | None, resume: bool,
    time_limit: str | None, options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Measure latency, memory and counters of models on this machine's CPU or GPU.

    Times are medians with quartiles, after a warm-up. On a GPU they are measured by CUDA events. A
    model that runs out of memory or cannot run gets a row with the reason. All models are measured
    in one setting before the next setting begins. A run that is cut short (--time-limit) therefore
    leaves a useful record, and --resume continues it. On a GPU, a second table compares the
    measured memory peaks with the predicted ones.

    Example: archcost profile resnet50 --device cuda --batch 1,32 --record gpu.json
    """
    begin = time.monotonic()  # before PyTorch is loaded: that takes part of the limit

    from archcost.measure.profile import check_device, machine, to_record, torch_dtype
    from archcost.measure.series import measure, plan
    from archcost.optimizers import find_optimizer
    from archcost.performance.measured import (
        continued,
        load_arguments,
        measured_table,
        read_record,
    )
    from archcost.performance.proof import proof_table
    from archcost.report.comparison import select

    if resume and record is None:
        raise ArchcostError("--resume continues a record: say which with --record FILE")
    for target in (record, out.file):
        check_writable(target)
    limit = parse_seconds(time_limit) if time_limit is not None else None
    batches, names = _numbers(batch), select(**chosen)
    check_device(device)
    for name in dtypes:
        torch_dtype(name)
    for name in optimizers:
        find_optimizer(name)
    about, before = machine(device), []
    if resume and record is not None and Path(record).exists():
        old = read_record(record)
        about, before = continued(record, old, about), old["measurements"]
    networks = [
        (network, load_arguments(name, network, options))
        for name in names for network in [load_network(name, **options)]
    ]  # fmt: skip
    jobs = plan(networks, batches, dtypes, [None] if no_training else optimizers, before)
    done: list[Any] = []
    code, saved = 0, time.monotonic()

    def save() -> dict[str, Any]:
        content = to_record(about, done, before)
        if record:
            write(json.dumps(content, indent=1), record)
        return content

    try:
        with progress(jobs, "profile", _words) as shown:
            for row in measure(shown, device, runs):
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
        of = f"{left} of {number_of(len(jobs), 'setting')} {'is' if left == 1 else 'are'} left"
        advice = "--resume continues" if record else "--record FILE and --resume continue"
        click.echo(f"archcost: {of}; {advice}", err=True)
    if device.startswith("cuda") and out.for_people:
        out.show_all([measured_table(content), proof_table(content)])
    else:
        out.show(measured_table(content), content)
    if code:
        raise click.exceptions.Exit(code)


def _words(job: Any) -> str:
    return f"{job.network.name}, batch {job.batch}, {job.dtype}, {job.optimizer or 'no training'}"
