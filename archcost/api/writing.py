"""A network as the text of a spec."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from archcost.api import LoadOptions, Model, network_of, takes
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@takes(LoadOptions)
def to_spec(model: Model | Any, **options: Unpack[LoadOptions]) -> str:
    """Return a model as a spec that reads as if a person had written it.

    Groups are those of the modules. Items of equal form are a block, with parameters for what
    differs. Equal calls are one call with a number. The spec has the same layers in the same order,
    as far as there are ops for them. It is loaded and compared before it is returned. A figure may
    still differ, because one op replaces several calls; a comment lists such figures.

    Args:
        model: a catalog name, a path, code as ``package.module:callable``, a Network, or an
            ``nn.Module``.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`.

    Raises:
        ArchcostError: a spec cannot express a layer of the model; the text names the layer.

    Examples:
        >>> net = archcost.loads(archcost.to_spec("resnet50"))
        >>> archcost.analyze(net).total.params
        25557032
    """
    from archcost.folding.spec import folded_spec, loaded

    if hasattr(model, "named_parameters"):
        from archcost.spec.catalog import load

        network = load(model, **options)  # type: ignore[arg-type]
    else:
        network = network_of(model, options)
    said = network
    notes: list[str] = []
    if network.module is not None:
        said, notes = _of_code(network)
    elif any(
        layer.op.name not in OPS or type(layer.op) is not OPS[layer.op.name] for layer in network
    ):
        from archcost.importers.phrases import as_ops

        said = as_ops(network)
    text = folded_spec(said)
    notes += [
        f"{name}: {ours:,} here, {theirs:,} in the source"
        for name, ours, theirs in differences(loaded(text), network)
    ]
    return "".join(f"# {note}\n" for note in notes) + text


def _of_code(network: Network) -> tuple[Network, list[str]]:
    """Return what was read of code as ops of specs, and what has to be said of it."""
    from archcost.folding.spec import is_trained_form
    from archcost.importers.phrases import as_ops

    evaluated, trained = as_ops(network), as_ops(network.in_training)
    trained = replace(trained, name=network.name)
    if is_trained_form(trained, evaluated):
        return trained, []
    return evaluated, ["in training the module makes other calls; these are those of evaluation"]


def differences(made: Network, source: Network) -> Iterator[tuple[str, int, int]]:
    """Yield the known figures of two networks that differ: name, the first's, the other's."""
    # names of code may hold a tensor longer than its last reader, which no spec says
    ours, theirs = _figures(made), _figures(replace(source, holders={}))
    for name, figure in ours.items():
        if figure != theirs.get(name, figure):
            yield name, figure, theirs[name]


def _figures(network: Network) -> dict[str, int]:
    from archcost.analysis.report import analyze
    from archcost.setting import CPU, Setting
    from archcost.storage.footprint import Footprint

    total = analyze(network, Setting()).total
    memory = Footprint(network, CPU)
    found = {
        "parameters": total.params, "multiply-accumulates": total.macs,
        "activations": total.activations,
    }  # fmt: skip
    peaks: dict[str, Callable[[], int]] = {
        "bytes kept for backward": lambda: memory.saved.total,
        "bytes at the peak of training": lambda: memory.training.peak.total,
        "bytes at the peak of inference": lambda: memory.inference.peak.total,
    }
    for name, bytes_of in peaks.items():
        with suppress(ArchcostError):  # nothing to train, or no rule for the peak of a layer
            found[name] = bytes_of()
    return found
