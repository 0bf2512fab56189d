"""``archcost explain``: each figure's derivation."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    load_network,
    model_argument,
    network_options,
    output_options,
    setting_options,
)
from archcost.cli.output import Output
from archcost.setting import COUNTING


@click.command("explain")
@model_argument()
@click.argument("layer", required=False)
@network_options
@setting_options(*COUNTING)
@output_options("analysis.explain:COLUMNS")
def command(
    model: str, layer: str | None, options: dict[str, Any], setting: Any, out: Output,
) -> None:  # fmt: skip
    """Derive each figure of a layer, or of all layers, from the layer's own numbers.

    Example: archcost explain vgg16 CONV3-64
    """
    from archcost.analysis.explain import explanation
    from archcost.analysis.report import analyze

    report = analyze(load_network(model, **options), setting)
    out.show(explanation(report, layer))
