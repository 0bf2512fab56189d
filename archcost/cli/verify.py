"""``archcost verify``: every figure against PyTorch, the counters and reference models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from archcost.cli.choices import Names, listed, names_option
from archcost.cli.options import (
    FLAGS,
    load_network,
    network_options,
    output_options,
    selection_options,
)
from archcost.cli.output import Output, check_writable, write
from archcost.cli.progress import progress
from archcost.errors import ArchcostError

CHECKS = Names("check", listed("proofs:MODULES"), many=True)
COLLECTIONS = Names("reference", listed("proofs.counterparts:COLLECTIONS"), many=True)
DEVICES = Names("device", lambda: {
    "cpu": "exact counts, and memory as PyTorch's own kernels keep it", "cuda": "on a GPU",
    "meta": "shapes and counts only, without data",
})  # fmt: skip


@click.command("verify")
@selection_options
@names_option("--checks", names=CHECKS, help="Checks to run. The default is all that apply")
@names_option(
    "--device", names=DEVICES, default="cpu", show_default=True, help="The device to run on"
)
@click.option("--batch", type=click.IntRange(1, 4096), default=1, show_default=True,
              help="Samples per pass.")  # fmt: skip
@names_option(
    "--against", names=COLLECTIONS, metavar="WHAT,...",
    help="References: torchvision, timm or pytorchcv for the known counterpart, "
    "timm:darknet53 for a network by its name there, module:callable for your own",
)  # fmt: skip
@FLAGS["freeze"][0]
@click.option(
    "--jobs", type=click.IntRange(1, 256),
    help="Models at a time. The default is one per core, up to 4.",
)  # fmt: skip
@click.option("--summary", is_flag=True, help="Print a row per model and a column per check.")
@click.option("--junit", metavar="FILE", help="Write JUnit XML to this file too.")
@click.option("--weights", metavar="FILE", help="Check that a file of weights fits the model.")
@click.option("--replay", metavar="FILE", help="Check today's predictions against a record.")
@network_options
@output_options("proofs.results:COLUMNS", "proofs.results:summary_columns")
@click.pass_context
def command(
    ctx: click.Context, /, chosen: dict[str, Any], checks: tuple[str, ...], device: str,
    batch: int, against: tuple[str, ...], freeze: tuple[str, ...], jobs: int | None,
    summary: bool, junit: str | None, weights: str | None, replay: str | None,
    options: dict[str, Any], out: Output,
) -> None:  # fmt: skip
    """Check every figure of a model against PyTorch, the counters, and reference models.

    archcost builds each model in PyTorch and compares the module with the spec. The check
    `structure` compares shapes, parameters and flow. `counters` compares what each tool counts.
    `memory` compares the bytes kept for backward, and `peaks` the memory in use at once. `training`
    compares the FLOPs of a training step. `reference` compares the outputs of a reference network
    with the same weights. --replay checks a record of `archcost profile` without its device.

    The exit code is 1 if a check fails; the first difference names the layer. It is also 1 if you
    name a model, a check or a reference, and nothing is compared.

    --weights compares the tensors in a file of weights with those of the model by name, shape and
    type. The layers of a spec have other names, so there it counts the tensors of each shape.

    --inputs and --arg also reach a reference that is code. --inputs makes the arguments that the
    module is called on. An --arg that no spec has as a knob is an argument of the callable.

    Example: archcost verify resnet50 --against torchvision
    """
    from archcost.api.proof import of_references
    from archcost.proofs import results
    from archcost.report.comparison import select

    for target in (junit, out.file):
        check_writable(target)
    outcomes: list[results.Outcome] = []
    order: list[str] = []
    interrupted = False
    ran_nowhere: Callable[[Sequence[results.Outcome]], list[str]]
    if replay is not None:
        refuse_beside_replay(ctx)
        from archcost.performance.measured import read_record
        from archcost.performance.proof import proof_table

        found, about = _replay(replay), {"record": replay}
        ran_nowhere = partial(results.ran_nowhere, checks=("replay",))
        total = 1
    elif weights is not None:
        names = select(**chosen)
        found, about = _weights(weights, [load_network(name, **options) for name in names]), {}
        ran_nowhere = partial(results.ran_nowhere, checks=("weights",))
        total = len(names)
    else:
        from archcost.measure.profile import check_device
        from archcost.proofs.run import Request, verify_all
        from archcost.proofs.run import about as describe
        from archcost.setting import Setting

        names = select(**chosen)
        check_device(device)
        setting = Setting(batch, device="cpu", freeze=freeze)
        own, usage = of_references(names, against, options)
        request = Request(checks, device, setting, against, usage)
        groups = request.names()
        networks = [load_network(name, **own) for name in names]
        order = [network.name for network in networks]
        named = order[: len(dict.fromkeys(chosen["models"]))]  # the first are those named
        ran_nowhere = partial(request.ran_nowhere, models=named)
        found, about = verify_all(networks, request, jobs), describe(request)
        total = len(networks) * len(groups)
    try:
        with progress(found, "verify", lambda outcome: outcome.model, total) as shown:
            for outcome in shown:
                outcomes.append(outcome)
    except KeyboardInterrupt:
        interrupted = True
        click.echo("archcost: interrupted; what was checked follows", err=True)
    outcomes.sort(key=lambda outcome: order.index(outcome.model) if order else 0)
    nowhere = [] if interrupted else ran_nowhere(outcomes)
    if junit:
        write(results.results_junit(outcomes, about, nowhere), junit)
    record = results.results_record(outcomes, about, interrupted, nowhere)
    table = (results.summary_table if summary else results.results_table)(outcomes, about)
    if replay is not None and out.for_people:
        out.show_all([table, proof_table(read_record(replay))])
    else:
        out.show(table, record)
    for line in nowhere:
        click.echo(f"archcost: {line}", err=True)
    if interrupted or not record["passed"]:
        raise click.exceptions.Exit(130 if interrupted else 1)


def refuse_beside_replay(ctx: click.Context) -> None:
    """Refuse what says which models to check, and how: the record does."""
    given = [
        parameter for parameter in ctx.command.params
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        and parameter.name not in ("replay", "format", "output", "columns", "junit", "summary")
    ]  # fmt: skip
    if given:
        [name, *_] = ["MODEL" if isinstance(p, click.Argument) else p.opts[0] for p in given]
        raise ArchcostError(f"--replay takes its models from the record; leave out {name}")


def _weights(path: str, networks: Sequence[Any]) -> Iterator[Any]:
    from archcost.importers.checkpoint import fits
    from archcost.proofs.results import Outcome

    for network in networks:
        outcome = Outcome(network.name, "weights")
        for check in fits(path, network):
            outcome.add(check)
        yield outcome


def _replay(path: str) -> Iterator[Any]:
    from archcost.proofs.replay import replay
    from archcost.proofs.results import Outcome

    outcome = Outcome(Path(path).name, "replay")
    for check in replay(path):
        outcome.add(check)
    yield outcome
