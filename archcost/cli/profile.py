"""``archcost profile``: measure models on a real device, and record it."""

from __future__ import annotations

import sys
from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
    write,
)
from archcost.errors import ArchcostError


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
@click.option("--runs", type=click.IntRange(1, 1000), default=11, show_default=True)
@click.option("--no-training", is_flag=True, help="Forward passes only.")
@click.option("--record", metavar="FILE", help="Write the record, whole or not at all.")
@network_options
@output_options
def command(
    models: tuple[str, ...], everything: bool, family: tuple[str, ...], device: str, batch: str,
    dtype: str, optimizer: str, runs: int, no_training: bool, record: str | None,
    format: str | None, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Measure latency, memory and counters of models on this machine's CPU or GPU.

    Times are medians with quartiles after a warm-up, by CUDA events on a GPU. Running out of memory
    is a row of the result. On a GPU a second table holds the memory peaks against the predicted.

    Example: archcost profile resnet50 --device cuda --batch 1,32 --record gpu.json
    """
    import json

    from archcost.analysis.comparison import select
    from archcost.memory.optimizers import find_optimizer
    from archcost.performance.measured import measured_table
    from archcost.performance.proof import proof_table
    from archcost.torch_twin.measure import check_device, machine, profile, to_record, torch_dtype

    batches, dtypes, optimizers = _numbers(batch), _names(dtype), _names(optimizer)
    names = select(models, family, everything)
    check_device(device)
    for name in dtypes:
        torch_dtype(name)
    for name in optimizers:
        find_optimizer(name)
    about = machine(device)
    settings = [(b, kind, o) for b in batches for kind in dtypes for o in optimizers]
    done: list[Any] = []
    code = 0
    try:
        for name in names:
            network = load_network(name, **options)
            for size, kind, how in settings[:: len(optimizers)] if no_training else settings:
                if sys.stderr.isatty():
                    click.echo(f"{name}, batch {size}, {kind}, {how}", err=True)
                done.append(
                    profile(
                        network, device=device, batch=size, dtype=kind, runs=runs,
                        training=not no_training, optimizer=how, inference=how == optimizers[0],
                    )
                )  # fmt: skip
            if record:  # after each model, so that hours of measuring are not lost
                write(json.dumps(to_record(about, done), indent=1), record)
    except KeyboardInterrupt:
        click.echo("archcost: interrupted; what was measured follows", err=True)
        code = 130
    content = to_record(about, done)
    if record:
        write(json.dumps(content, indent=1), record)
    show(measured_table(content), format, output, content)
    if device.startswith("cuda") and output is None and format in (None, "text", "markdown"):
        click.echo()
        show(proof_table(content), format, None)
    if code:
        raise click.exceptions.Exit(code)
