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


@click.command("profile")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--family", multiple=True, help="All models of a family.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--batch", default="1", show_default=True, help="Batches: 1,32,256.")
@click.option("--dtype", default="float32", show_default=True, help="Types: float32,bfloat16.")
@click.option("--runs", type=click.IntRange(1, 1000), default=11, show_default=True)
@click.option("--no-training", is_flag=True, help="Forward passes only.")
@click.option("--record", metavar="FILE", help="Write the record, whole or not at all.")
@network_options
@output_options
def command(
    models: tuple[str, ...], everything: bool, family: tuple[str, ...], device: str, batch: str,
    dtype: str, runs: int, no_training: bool, record: str | None, format: str | None,
    output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Measure latency, memory and counters of models on this machine's CPU or GPU.

    Times are medians with quartiles after a warm-up, by CUDA events on a GPU. Running out of memory
    is a row of the result.

    Example: archcost profile resnet50 --device cuda --batch 1,32 --record gpu.json
    """
    import json

    from archcost.analysis.comparison import select
    from archcost.analysis.measured import measured_table
    from archcost.torch_twin.measure import check_device, machine, profile, to_record, torch_dtype

    batches, dtypes = _numbers(batch), [name.strip() for name in dtype.split(",")]
    names = select(models, family, everything)
    check_device(device)
    for name in dtypes:
        torch_dtype(name)
    about = machine(device)
    done: list[Any] = []
    code = 0
    try:
        for name in names:
            network = load_network(name, **options)
            for size in batches:
                for kind in dtypes:
                    if sys.stderr.isatty():
                        click.echo(f"{name}, batch {size}, {kind}", err=True)
                    done.append(
                        profile(
                            network, device=device, batch=size, dtype=kind, runs=runs,
                            training=not no_training,
                        )
                    )  # fmt: skip
    except KeyboardInterrupt:
        click.echo("archcost: interrupted; what was measured follows", err=True)
        code = 130
    content = to_record(about, done)
    if record:
        write(json.dumps(content, indent=1), record)
    show(measured_table(content), format, output, content)
    if code:
        raise click.exceptions.Exit(code)
