"""``archcost explain``: each figure's derivation."""

from __future__ import annotations

from typing import Any

import click

from archcost.cli.options import (
    counting_options,
    load_network,
    model_argument,
    network_options,
    output_options,
    show,
)


@click.command("explain")
@model_argument()
@click.argument("layer", required=False)
@network_options
@counting_options
@output_options
def command(
    model: str, layer: str | None, batch: int, dtype: str, convention: str, activations: str,
    format: str | None, output: str | None, **options: Any,
) -> None:  # fmt: skip
    """Derive each figure of a layer, or of all layers, with the layer's own numbers.

    Example: archcost explain vgg16 CONV3-64
    """
    from archcost.analysis.explain import explanation
    from archcost.analysis.report import analyze

    report = analyze(
        load_network(model, **options),
        batch=batch, dtype=dtype, convention=convention, activations=activations,
    )  # fmt: skip
    show(explanation(report, layer), format, output)
