"""Every figure of a network by its name: what budgets bound, changes move, axes and columns show.

A figure is asked of a :class:`Subject`: a network in a setting. Besides its value it says how much
of it each layer is answerable for. To add one, add one entry to :data:`FIGURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Any

from archcost.analysis.listing import accuracy
from archcost.analysis.parameters import complex_elements
from archcost.analysis.report import Report, analyze
from archcost.errors import ArchcostError, LookupFailed
from archcost.hardware import devices, find_device
from archcost.network import Network
from archcost.performance.bounds import hard_bound, least_macs
from archcost.record import plain
from archcost.setting import Setting
from archcost.storage.fit import INFERENCE, TRAINING, largest_batch
from archcost.storage.footprint import Footprint
from archcost.units import human, human_bytes, human_seconds, parse_bytes

Number = int | Fraction
COUNT, BYTES, SECONDS, PERCENT, YEAR = "count", "bytes", "seconds", "percent", "year"


@dataclass(frozen=True)
class Subject:
    """A network as it is run and counted.

    Attributes:
        network: from :func:`archcost.load`.
        setting: how it is run and counted.
    """

    network: Network
    setting: Setting = field(default_factory=Setting)

    @cached_property
    def report(self) -> Report:
        """The per-layer figures."""
        return analyze(self.network, self.setting)

    @cached_property
    def footprint(self) -> Footprint:
        """The memory of training and inference."""
        return Footprint(self.network, self.setting)


Value = Callable[[Subject, str], Any]
Shares = Callable[[Subject, str], Mapping[str, Number]]


@dataclass(frozen=True)
class Figure:
    """A figure of a network.

    Attributes:
        name: how expressions call it; spaces and hyphens may stand for the underscores.
        title: what it is.
        unit: ``count``, ``bytes``, ``seconds``, ``percent`` or ``year``.
        value: gives the figure of a subject, on a device where it needs one.
        shares: gives what each layer contributes, by path; None for what is printed of a network
            and not computed, which no budget bounds.
        on: reads the device that it needs, as in ``batch on v100``; None if it needs none.
        axis: the label of an axis, with the unit behind a comma: ``parameters, M``.
        scale: what that unit is worth.
    """

    name: str
    title: str
    unit: str
    value: Value
    shares: Shares | None = None
    on: Callable[[str], object] | None = None
    axis: str = ""
    scale: float = 1

    def brief(self, value: Number) -> str:
        """Return a value as people say it: 4.089G, 102.2 MB, 30.7 µs."""
        if self.unit == BYTES:
            return human_bytes(int(value))
        return human_seconds(float(value)) if self.unit == SECONDS else human(plain(value))


def _total(key: str, row_key: str = "") -> tuple[Value, Shares]:
    """Return a total of the report and its share in each row."""
    return (
        lambda subject, _: getattr(subject.report.total, key),
        lambda subject, _: {
            row.path: getattr(row, row_key or key) for row in subject.report.rows
        },
    )  # fmt: skip


def _size_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    width = subject.setting.itemsize
    rows = subject.report.rows
    return {row.path: (row.params + complex_elements(row.layer)) * width for row in rows}


def _saved_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    return subject.footprint.saved.by_owner


def _moment_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    """Return the most bytes alive while each layer runs in training."""
    most: dict[str, Number] = {}
    for moment in subject.footprint.training.timeline:
        if moment.layer:
            most[moment.layer] = max(moment.bytes, most.get(moment.layer, 0))
    return most


def _inference_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    return {moment.layer: moment.bytes for moment in subject.footprint.inference.timeline
            if moment.layer}  # fmt: skip


def _receptive_field(subject: Subject, on: str) -> Number:
    sizes = subject.report.receptive_fields[subject.network.outputs[0]].size
    return max(sizes, default=1)


def _receptive_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    """Return by how much each layer widens the field."""
    fields = subject.report.receptive_fields
    sizes = {path: max(found.size, default=1) for path, found in fields.items()}
    sizes |= {value.name: 1 for value in subject.network.inputs}
    return {
        layer.path: sizes[layer.path] - max(sizes[name] for name in layer.inputs)
        for layer in subject.network
    }


def _batch(use: str) -> Value:
    def value(subject: Subject, on: str) -> Number:
        device = None if on[:1].isdigit() else find_device(on)
        setting = replace(subject.setting, gpu=device)  # whose rules must be those of the device
        return largest_batch(use, subject.network, setting, memory_of(on)).batch

    return value


def _hard_bound(subject: Subject, on: str) -> Number:
    return hard_bound(subject.network, subject.setting.on(find_device(on))).seconds


def _hard_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    """Return the seconds that the least products of each layer take."""
    peak, batch = find_device(on).peak(subject.setting.dtype), subject.setting.batch
    return {
        layer.path: Fraction(2 * layer.op.samples(batch) * layer.rows * least_macs(layer), peak)
        for layer in subject.network
    }


def memory_of(on: str) -> int:
    """Return the bytes of a device, by its name or as a size: ``v100``, ``16GB``.

    Raises:
        LookupFailed: an unknown device, with the nearest name.
    """
    if not on[:1].isdigit():
        return find_device(on).memory
    try:
        return parse_bytes(on)
    except ArchcostError:
        raise LookupFailed("GPU or memory size", on, devices()) from None


def _printed(figure: str) -> Value:
    def value(subject: Subject, on: str) -> float | None:
        printed = accuracy(subject.network, figure, elsewhere=False)[0]
        return None if printed is None else float(printed)

    return value


FIGURES: Mapping[str, Figure] = MappingProxyType({
    figure.name: figure
    for figure in (
        Figure("params", "parameters", COUNT, *_total("params"), axis="parameters, M", scale=1e6),
        Figure("size", "bytes of all parameters", BYTES, _total("param_bytes")[0], _size_shares,
               axis="size of the parameters, MB", scale=1e6),
        Figure("macs", "multiply-accumulates", COUNT, *_total("macs"),
               axis="multiply-accumulates, G", scale=1e9),
        Figure("flops", "operations, two per multiply-accumulate", COUNT, *_total("flops"),
               axis="FLOPs, G", scale=1e9),
        Figure("counted", "operations as the convention counts", COUNT, *_total("counted"),
               axis="operations, G", scale=1e9),
        Figure("activations", "elements of the outputs", COUNT, *_total("activations"),
               axis="activations, M", scale=1e6),
        Figure("saved", "bytes saved for backward", BYTES,
               lambda subject, _: subject.footprint.saved.total, _saved_shares,
               axis="saved for backward, MB", scale=1e6),
        Figure("inference_peak", "most bytes alive in a forward pass", BYTES,
               lambda subject, _: subject.footprint.inference.peak.total, _inference_shares,
               axis="inference peak, MB", scale=1e6),
        Figure("training_peak", "most bytes alive in a training step", BYTES,
               lambda subject, _: subject.footprint.training.peak.total, _moment_shares,
               axis="training peak, MB", scale=1e6),
        Figure("batch", "largest batch that trains on a device", COUNT, _batch(TRAINING),
               _saved_shares, on=memory_of),
        Figure("inference_batch", "largest batch of a forward pass on a device", COUNT,
               _batch(INFERENCE), _inference_shares, on=memory_of),
        Figure("receptive_field", "side of the input that an output sees", COUNT,
               _receptive_field, _receptive_shares, axis="receptive field, pixels"),
        Figure("layers", "convolutions and linear layers on the longest path", COUNT,
               lambda subject, _: subject.network.weight_layers, lambda subject, on: {},
               axis="layers on the longest path"),
        Figure("hard_bound", "least seconds of a forward pass on a device", SECONDS,
               _hard_bound, _hard_shares, on=find_device),
        Figure("top1", "top-1 accuracy", PERCENT, _printed("top1"), axis="top-1 accuracy, %"),
        Figure("top5", "top-5 accuracy", PERCENT, _printed("top5"), axis="top-5 accuracy, %"),
        Figure("year", "year", YEAR, lambda subject, _: subject.network.year, axis="year"),
    )
})  # fmt: skip
"""Every figure by its name."""
METRICS: Mapping[str, Figure] = MappingProxyType(
    {name: figure for name, figure in FIGURES.items() if figure.shares}
)
"""Those that a budget can bound and a change can move."""


def find_metric(name: str) -> Figure:
    """Return the figure of that name that a budget can bound.

    Raises:
        LookupFailed: an unknown metric, with the nearest name.
    """
    plain = "_".join(name.lower().replace("-", " ").replace("_", " ").split())
    if plain not in METRICS:
        raise LookupFailed("metric", name, METRICS)
    return METRICS[plain]


def largest_shares(
    figure: Figure, subject: Subject, on: str = "", most: int = 3
) -> list[tuple[str, Number]]:
    """Return the layers that cost most, the dearest first, each with what it costs."""
    found = figure.shares(subject, on) if figure.shares else {}
    shares = {path: share for path, share in found.items() if share > 0}
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:most]
