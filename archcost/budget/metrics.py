"""The figures that a budget can bound and a change can move, each by name.

A metric is asked of a :class:`Subject`: a network in a setting. Besides its value it says how much
of it each layer is answerable for. To add one, add one entry to :data:`METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType

from archcost.analysis.report import Report, analyze
from archcost.errors import ArchcostError, LookupFailed
from archcost.hardware import devices, find_device
from archcost.memory.fit import INFERENCE, TRAINING, largest_batch
from archcost.memory.footprint import Footprint, Setting
from archcost.network import NETWORK_INPUT, Network
from archcost.performance.bounds import hard_bound
from archcost.units import dtype_bytes, human, human_bytes, human_seconds, parse_bytes

Number = int | Fraction
COUNT, BYTES, SECONDS = "count", "bytes", "seconds"


@dataclass(frozen=True)
class Subject:
    """A network as it is run and counted.

    Attributes:
        network: from :func:`archcost.load`.
        setting: batch, dtype, device, optimizer.
        convention: how ``counted`` counts.
        activations: which outputs count as activations.
    """

    network: Network
    setting: Setting = field(default_factory=Setting)
    convention: str = "flops"
    activations: str = "lecture"

    @cached_property
    def report(self) -> Report:
        """The per-layer figures."""
        setting = self.setting
        return analyze(
            self.network, batch=setting.batch, dtype=setting.dtype, convention=self.convention,
            activations=self.activations, freeze=setting.freeze,
        )  # fmt: skip

    @cached_property
    def footprint(self) -> Footprint:
        """The memory of training and inference."""
        return Footprint(self.network, self.setting)


Value = Callable[[Subject, str], Number]
Shares = Callable[[Subject, str], Mapping[str, Number]]


@dataclass(frozen=True)
class Metric:
    """A figure of a network.

    Attributes:
        name: how expressions call it; spaces and hyphens may stand for the underscores.
        title: what it is.
        unit: ``count``, ``bytes`` or ``seconds``.
        value: gives the figure of a subject, on a device where it needs one.
        shares: gives what each layer contributes, by path.
        on: reads the device that it needs, as in ``batch on v100``; None if it needs none.
    """

    name: str
    title: str
    unit: str
    value: Value
    shares: Shares
    on: Callable[[str], object] | None = None

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
    width = dtype_bytes(subject.setting.dtype)
    return {row.path: row.params * width for row in subject.report.rows}


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
    sizes[NETWORK_INPUT] = 1
    return {
        layer.path: sizes[layer.path] - max(sizes[name] for name in layer.inputs)
        for layer in subject.network
    }


def _batch(use: str) -> Value:
    run = Setting.training if use == TRAINING else Setting.inference

    def value(subject: Subject, on: str) -> Number:
        device = None if on[:1].isdigit() else find_device(on)
        setting = replace(subject.setting, gpu=device)  # whose rules must be those of the device
        return largest_batch(
            use,
            lambda batch: run(replace(setting, batch=batch), subject.network).peak,
            memory_of(on),
        ).batch

    return value


def _hard_bound(subject: Subject, on: str) -> Number:
    setting = subject.setting
    return hard_bound(subject.network, find_device(on), setting.batch, setting.dtype).seconds


def _hard_shares(subject: Subject, on: str) -> Mapping[str, Number]:
    """Return the seconds that the least products of each layer take."""
    peak, batch = find_device(on).peak(subject.setting.dtype), subject.setting.batch
    return {
        layer.path: Fraction(2 * batch * layer.op.least_macs(*layer.shapes), peak)
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


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("params", "parameters", COUNT, *_total("params")),
            Metric("size", "bytes of all parameters", BYTES, _total("param_bytes")[0],
                   _size_shares),
            Metric("macs", "multiply-accumulates", COUNT, *_total("macs")),
            Metric("flops", "operations, two per multiply-accumulate", COUNT, *_total("flops")),
            Metric("counted", "operations as the convention counts", COUNT, *_total("counted")),
            Metric("activations", "elements of the outputs", COUNT, *_total("activations")),
            Metric("saved", "bytes saved for backward", BYTES,
                   lambda subject, _: subject.footprint.saved.total, _saved_shares),
            Metric("inference_peak", "most bytes alive in a forward pass", BYTES,
                   lambda subject, _: subject.footprint.inference.peak.total, _inference_shares),
            Metric("training_peak", "most bytes alive in a training step", BYTES,
                   lambda subject, _: subject.footprint.training.peak.total, _moment_shares),
            Metric("batch", "largest batch that trains on a device", COUNT, _batch(TRAINING),
                   _saved_shares, on=memory_of),
            Metric("inference_batch", "largest batch of a forward pass on a device", COUNT,
                   _batch(INFERENCE), _inference_shares, on=memory_of),
            Metric("receptive_field", "side of the input that an output sees", COUNT,
                   _receptive_field, _receptive_shares),
            Metric("layers", "convolutions and linear layers on the longest path", COUNT,
                   lambda subject, _: subject.report.weight_layers, lambda subject, on: {}),
            Metric("hard_bound", "least seconds of a forward pass on a device", SECONDS,
                   _hard_bound, _hard_shares, on=find_device),
        )
    }
)  # fmt: skip
"""Every metric by its name."""


def find_metric(name: str) -> Metric:
    """Return the metric of that name.

    Raises:
        LookupFailed: an unknown metric, with the nearest name.
    """
    plain = "_".join(name.lower().replace("-", " ").replace("_", " ").split())
    if plain not in METRICS:
        raise LookupFailed("metric", name, METRICS)
    return METRICS[plain]


def largest_shares(
    metric: Metric, subject: Subject, on: str = "", most: int = 3
) -> list[tuple[str, Number]]:
    """Return the layers that cost most, the dearest first, each with what it costs."""
    shares = {path: share for path, share in metric.shares(subject, on).items() if share > 0}
    return sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:most]


def plain(value: Number) -> int | float:
    """Return a number as JSON and tables have it; whole numbers stay whole."""
    return int(value) if value == int(value) else float(value)
