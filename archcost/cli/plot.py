"""``archcost plot``: pictures of what networks cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from archcost.cli.options import (
    counting_options,
    load_network,
    model_argument,
    network_options,
    write,
    write_file,
)
from archcost.errors import ArchcostError, LookupFailed


@click.command("plot")
@click.argument("kind", metavar="KIND")
@model_argument(many=True, required=False)
@click.option("--all", "everything", is_flag=True, help="All models of the catalog.")
@click.option("--family", multiple=True, help="All models of a family.")
@click.option("--depth", type=int, help="layers, graph: fold groups below this many names.")
@click.option("--x", "x_axis", default="operations", show_default=True, help="scatter: its x axis.")
@click.option("--y", "y_axis", default="top1", show_default=True, help="scatter: its y axis.")
@click.option("--size", default="params", show_default=True, help="scatter: the bubbles' areas.")
@click.option(
    "--record", metavar="FILE", help="scatter: a record of profile, for --x latency; roofline."
)
@click.option("--gpu", metavar="NAME", help="roofline: a device of `archcost hardware`.")
@click.option("--device", default="cuda", show_default=True, help="memory: cuda or cpu.")
@click.option(
    "--optimizer", default="sgd-momentum", show_default=True,
    help="memory: sgd, sgd-momentum, adam or adamw.",
)  # fmt: skip
@network_options
@counting_options
@click.option("--terminal", is_flag=True, help="Draw it as text.")
@click.option("--dpi", type=click.IntRange(20, 1200), default=200, show_default=True,
              help="Dots per inch of a PNG.")  # fmt: skip
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
    help="A .png, .svg or .pdf, written whole or not at all.",
)  # fmt: skip
def command(
    kind: str, models: tuple[str, ...], terminal: bool, dpi: int, output: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Draw a picture, to a PNG, SVG or PDF file, or as text in the terminal.

    KIND is one of: layers (memory, parameters and operations, layer by layer), scatter (accuracy
    against operations, with the Pareto front), timeline (winners of ILSVRC), receptive (receptive
    field over depth), memory (live bytes over a training step), roofline (layers under the roof of
    a device), graph (the network, box by box).

    Axes of scatter: operations, macs, flops, params, size, activations, layers, year, top1, top5,
    latency.

    Example: archcost plot layers alexnet vgg16 -o layers.pdf
    """
    from archcost.plot import KINDS

    if kind not in KINDS:
        raise LookupFailed("kind of picture", kind, KINDS)
    if terminal == (output is not None):
        raise ArchcostError(
            "say where the picture goes: --output FILE.png, .svg or .pdf, or --terminal"
        )
    if terminal:
        import shutil

        from archcost.plot.terminal import text

        write(
            text(_picture(kind, models, options), shutil.get_terminal_size((100, 24)).columns), None
        )
        return
    from archcost.plot.matplotlib_file import check_suffix, save

    suffix = check_suffix(output or "")
    content = _picture(kind, models, options)
    write_file(str(output), lambda path: save(content, Path(path), suffix, dpi))


def _picture(kind: str, models: tuple[str, ...], options: dict[str, Any]) -> Any:
    """Return what to draw."""
    from archcost.analysis.comparison import select
    from archcost.analysis.report import analyze
    from archcost.memory.footprint import footprint
    from archcost.performance.measured import read_record

    chosen = {key: options[key] for key in ("input", "knobs", "aux", "no_bias")}
    counting = {key: options[key] for key in ("batch", "dtype", "convention", "activations")}
    if kind == "timeline":
        from archcost.plot.timeline import timeline

        if models:
            raise ArchcostError("timeline shows the winners of ILSVRC; it takes no MODEL")
        return timeline()
    names = select(models, options["family"], options["everything"])
    networks = [load_network(name, **chosen) for name in names]
    if kind == "graph":
        from archcost.plot.graph import graph

        if len(networks) != 1:
            raise ArchcostError(f"graph draws one network; got {len(networks)}")
        return graph(networks[0], options["depth"])
    if kind == "roofline":
        return _roofline(networks, options)
    if kind == "memory":
        from archcost.plot.memory import memory

        update = {key: options[key] for key in ("batch", "dtype", "device", "optimizer")}
        return memory([footprint(network, **update) for network in networks])
    reports = [analyze(network, **counting) for network in networks]
    if kind == "layers":
        from archcost.plot.layers import layers

        return layers(reports, options["depth"])
    if kind == "receptive":
        from archcost.plot.receptive import receptive

        return receptive(reports)
    from archcost.plot.scatter import scatter

    record = read_record(options["record"]) if options["record"] else None
    return scatter(
        reports, options["x_axis"], options["y_axis"], options["size"], record,
        options["batch"], options["dtype"],
    )  # fmt: skip


def _roofline(networks: list[Any], options: dict[str, Any]) -> Any:
    from archcost.hardware import find_device
    from archcost.performance.measured import read_record, record_device
    from archcost.performance.roofline import roofline as analyse
    from archcost.plot.roofline import roofline

    if len(networks) != 1:
        raise ArchcostError(f"roofline draws one network; got {len(networks)}")
    record = read_record(options["record"]) if options["record"] else None
    device = find_device(options["gpu"]) if options["gpu"] else None
    if device is None and record:
        device = record_device(record)
    if device is None:
        raise ArchcostError("name a device, such as --gpu h100; `archcost hardware` lists them")
    batch, dtype = options["batch"], options["dtype"]
    return roofline(analyse(networks[0], device, batch=batch, dtype=dtype, record=record))
