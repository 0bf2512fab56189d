"""The roofline of a network on a device, layer by layer, beside the measured times if there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from archcost.errors import ArchcostError
from archcost.hardware import Device
from archcost.network import Network
from archcost.performance.bounds import (
    CONVOLUTION,
    Precision,
    Work,
    eager_layers,
    hard_bound,
    in_sequence,
)
from archcost.performance.measured import describe_machine, measurements, read_record, record_device
from archcost.record import contract_id
from archcost.setting import Setting
from archcost.shape import show
from archcost.table import Cell, Column, Table, Tabled
from archcost.units import human, human_bytes

HARD = (
    "hard bound: no execution of these layers beats it; input, parameters and output moved once, "
    "and the operations that Winograd's or another fast convolution takes at least"
)
EAGER = (
    "eager roofline: every kernel reads its inputs and parameters from memory and writes its "
    "output there, and multiplies directly"
)


COLUMNS = (
    Column("layer", "layer", essential=True), Column("op", "op", minor=True),
    Column("flops", "FLOPs", True), Column("bytes", "bytes", True),
    Column("intensity", "FLOP/byte", True), Column("binds", "bound by", essential=True),
    Column("microseconds", "at best µs", True, essential=True),
    Column("measured_microseconds", "measured µs", True, essential=True),
    Column("efficiency", "efficiency", True),
)  # fmt: skip
"""The columns of a roofline; the last two where times were measured."""


@dataclass(frozen=True)
class Measured:
    """Times of a forward pass, in seconds: the median, and each layer's."""

    machine: str
    forward: float
    layers: Mapping[str, float]


@dataclass(frozen=True, repr=False)
class Roofline(Tabled):
    """How fast a network can be on a device; made by :func:`roofline`.

    Attributes:
        layers: the eager roofline of each layer, by path.
        hard: the hard bound of the whole network.
        measured: times of a record, None without one.
    """

    network: Network
    setting: Setting
    precision: Precision
    layers: Mapping[str, Work]
    hard: Work
    measured: Measured | None = None

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self.setting.hardware

    @cached_property
    def eager(self) -> Work:
        """The eager roofline of the whole network."""
        return in_sequence([*self.layers.values()])

    def table(self, depth: int | None = None) -> Table:
        """Return one row per layer, with the two bounds of the network at the foot.

        Args:
            depth: fold groups below this many dotted names into one row each.

        Raises:
            ArchcostError: a depth below 1.
        """
        if depth is not None and depth < 1:
            raise ArchcostError(f"depth must be at least 1; got {depth}")
        times = self.measured
        rows = []
        for name, paths in self._folded(depth).items():
            part = in_sequence([self.layers[path] for path in paths])
            op = self.network[name].op.name if [*paths] == [name] else ""
            taken = None
            if times and all(path in times.layers for path in paths):
                taken = sum(times.layers[path] for path in paths)
            rows.append(self._cells(name, op, part, taken))
        forward = times.forward if times else None
        footer = (
            self._cells("eager roofline", "", self.eager, forward),
            self._cells("hard bound", "", self.hard, forward),
        )
        columns = COLUMNS if times else COLUMNS[:-2]
        return Table(columns, tuple(rows), self._title(), footer, tuple(self._notes()))

    def _folded(self, depth: int | None) -> dict[str, list[str]]:
        """Return the layers of each row, in execution order."""
        rows: dict[str, list[str]] = {}
        for path in self.layers:
            rows.setdefault(".".join(path.split(".")[:depth]), []).append(path)
        return rows

    def _cells(self, name: str, op: str, part: Work, taken: float | None) -> tuple[Cell, ...]:
        intensity = f"{float(part.intensity):.1f}" if part.intensity is not None else None
        cells: list[Cell] = [name, op, part.flops, part.bytes, intensity, part.binds]
        cells.append(_micro(part.seconds))
        if self.measured:
            cells.append(_micro(taken) if taken is not None else None)
            cells.append(f"{float(part.seconds) / taken:.1%}" if taken else None)
        return tuple(cells)

    def _title(self) -> str:
        return f"{self.network.name} on {self.device.title}"

    def _notes(self) -> list[str]:
        device = self.device
        uses: dict[int, list[str]] = {}
        for use, peak in self._peaks().items():
            uses.setdefault(peak, []).append(use)
        said = ", ".join(
            f"{human(peak)[:-1]} {human(peak)[-1]}FLOP/s for {' and '.join(of)}"
            for peak, of in uses.items()
        )
        batch, dtype = self.setting.batch, self.setting.dtype
        notes = [
            f"input {self.network.input_text}, batch {batch}, {dtype}; {said}, "
            f"{human_bytes(device.bandwidth)}/s",
            HARD,
            EAGER,
        ]
        if device.measured:
            notes.append(
                f"{device.title} is calibrated: its peaks are what was reached, so the bounds hold "
                "as far as these do"
            )
        if self.measured:
            notes.append(f"measured on {self.measured.machine}")
        return notes

    def _peaks(self) -> dict[str, int]:
        """Return the peaks that were used, by what for."""
        device, dtype = self.device, self.setting.dtype
        conv = self.precision.peak(device, dtype, CONVOLUTION)
        product = self.precision.peak(device, dtype, "")
        fastest = device.peak(dtype)
        if conv == product == fastest:
            return {dtype: fastest}
        return {"convolutions": conv, "other products": product, "the hard bound": fastest}

    def to_dict(self) -> dict[str, Any]:
        """Return all figures; counts stay integers, times are in seconds."""
        times = self.measured
        data: dict[str, Any] = {
            "schema": contract_id("roofline"),
            "model": self.network.name,
            **self.network.input_record,
            "batch": self.setting.batch,
            "dtype": self.setting.dtype,
            "device": self.device.name,
            "bandwidth": self.device.bandwidth,
            "peaks": self._peaks(),
            "hard_bound": _record(self.hard),
            "eager_roofline": _record(self.eager),
            "layers": [
                {"name": path, "op": self.network[path].op.name, **_record(part)}
                | ({"measured_seconds": times.layers[path]} if times and path in times.layers
                   else {})
                for path, part in self.layers.items()
            ],
        }  # fmt: skip
        if times:
            data["measured"] = {"machine": times.machine, "seconds": times.forward}
        return data


def _micro(seconds: Fraction | float) -> str:
    return f"{float(seconds) * 1e6:.2f}"


def _record(part: Work) -> dict[str, Any]:
    return {
        "flops": part.flops,
        "bytes": part.bytes,
        "seconds": float(part.seconds),
        "bound_by": part.binds,
    }


def roofline(
    network: Network, setting: Setting, record: Mapping[str, Any] | None = None
) -> Roofline:
    """Return the roofline of a network's inference on a device.

    Args:
        network: from :func:`archcost.load`.
        setting: how it is run, and on which device: see :meth:`Setting.on`.
        record: from :func:`archcost.performance.measured.read_record`; its times are put beside.

    Raises:
        ArchcostError: no device, one without a peak for the data type, or a record without this
            network in this setting.
    """
    flags = record["machine"].get("flags", {}) if record else {}
    precision = Precision(
        flags.get("cudnn.allow_tf32", True), flags.get("cuda.matmul.allow_tf32", False)
    )
    return Roofline(
        network, setting, precision, eager_layers(network, setting, precision),
        hard_bound(network, setting), _measured(record, network, setting) if record else None,
    )  # fmt: skip


def recorded(network: Network, setting: Setting, record: str | None) -> Roofline:
    """Return the roofline beside the times in a file; without a device, on that of the record."""
    known = read_record(record) if record else None
    if known and not setting.gpu and (device := record_device(known)):
        setting = setting.on(device)
    return roofline(network, setting, known)


def _measured(record: Mapping[str, Any], network: Network, setting: Setting) -> Measured:
    """Return the times of a network in a record."""
    batch, dtype = setting.batch, setting.dtype
    known: list[str] = []
    for row in measurements(record):
        if row["model"] != network.name or "forward" not in row:
            continue
        if (tuple(row["input"]), row["batch"], row["dtype"]) == (network.input, batch, dtype):
            machine = describe_machine(record["machine"])
            return Measured(machine, row["forward"]["median"], row.get("layers", {}))
        known.append(f"{show(tuple(row['input']))} at batch {row['batch']} in {row['dtype']}")
    has = f"; it has {_few(known)}" if known else ""
    raise ArchcostError(
        f"the record has no times of {network.name} for {network.input_text} at batch {batch} in "
        f"{dtype}{has}"
    )


def _few(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
