"""What there is: the models of the catalog, and the devices, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from archcost.errors import LookupFailed
from archcost.hardware import TENSOR, TF32, Device
from archcost.network import Network
from archcost.record import record
from archcost.shape import show
from archcost.spec.catalog import describe, documents
from archcost.table import Cell, Column, Table
from archcost.units import DTYPE_BYTES, human, human_bytes, number_of

COLUMNS = (
    Column("name", "model", essential=True), Column("family", "family", minor=True),
    Column("year", "year"),
    Column("top1", "top-1", True, essential=True), Column("top5", "top-5", True, minor=True),
    Column("title", "title", essential=True),
)  # fmt: skip
ORDERS = {
    "family": "as the families' files have them",
    "year": "the oldest first",
    "name": "by the alphabet",
}
"""How a listing may be sorted."""


def accuracy(
    network: Network, figure: str, elsewhere: bool = True
) -> tuple[str | None, str | None]:
    """Return a published accuracy in percent as it is printed, and its source.

    The first row of the spec that has it counts; an error rate is turned into an accuracy. One at
    another input size counts where there is none at the network's own, and the source says so;
    with ``elsewhere`` false it does not.
    """
    error = f"{figure}_error"
    own = [row for row in network.published if row.input in (None, network.input)]
    others = [row for row in network.published if row not in own] if elsewhere else []
    for rows in (own, others):
        printed = [(row.figures[figure], row) for row in rows if figure in row.figures]
        printed += [(_complement(row.figures[error]), row) for row in rows if error in row.figures]
        if printed:
            value, row = printed[0]
            at = f", at {show(row.input)}" if row.input and rows is others else ""
            return value, row.source + at
    return None, None


def _complement(error: str) -> str:
    return f"{100 - float(error):.{len(error.partition('.')[2])}f}"


def listing(pattern: str | None = None, family: str | None = None, sort: str = "family") -> Table:
    """Return the models whose name contains or matches ``pattern``.

    Raises:
        LookupFailed: no such family, or no model matches.
    """
    known = documents()
    if family is not None and family not in {document.name for document in known}:
        raise LookupFailed("family", family, {document.name for document in known})
    rows: list[tuple[Cell, ...]] = []
    for document in known:
        if family not in (None, document.name):
            continue
        for name in document.models():
            if pattern and pattern not in name and not fnmatchcase(name, pattern):
                continue
            model = describe(document, name)
            year = str(model.year) if model.year else None
            top1, top5 = accuracy(model, "top1")[0], accuracy(model, "top5")[0]
            rows.append((name, document.name, year, top1, top5, model.title))
    if not rows:
        names = [name for document in known for name in document.models()]
        raise LookupFailed("model", pattern or "", names)
    if sort == "year":
        rows.sort(key=lambda row: str(row[2] or "9999"))
    if sort == "name":
        rows.sort(key=lambda row: str(row[0]))
    return Table(COLUMNS, tuple(rows), notes=(number_of(len(rows), "model"),))


PATHS: Mapping[str, tuple[str, ...]] = {
    "float64": ("float64", "float64" + TENSOR),
    "float32": ("float32",),
    "tf32": (TF32,),
} | {dtype: (dtype, dtype + TENSOR) for dtype in DTYPE_BYTES if dtype not in ("float64", "float32")}
"""The ways in which a device may compute, by the column that has the fastest."""
DEVICE_COLUMNS = (
    Column("name", "device", essential=True), Column("year", "year", minor=True),
    Column("memory", "memory", True, essential=True),
    Column("bandwidth", "per second", True, essential=True),
    *(Column(key, key, True, essential=key in ("float32", "float16")) for key in PATHS),
    Column("title", "title", minor=True),
)  # fmt: skip


def device_table(devices: Sequence[Device]) -> Table:
    """Return one row per device, with the peak of the fastest path per data type."""
    rows: list[tuple[Cell, ...]] = []
    for device in devices:
        peaks = [
            max((device.peaks[path] for path in choice if path in device.peaks), default=None)
            for choice in PATHS.values()
        ]
        rows.append((
            device.name, str(device.year), human_bytes(device.memory),
            human_bytes(device.bandwidth), *(human(peak) if peak else None for peak in peaks),
            device.title + (", calibrated" if device.measured else ""),
        ))  # fmt: skip
    note = (
        "FLOP/s, dense, of the fastest path, tensor cores included; float32 on the ordinary cores; "
        "--format json has every path and its source"
    )
    return Table(DEVICE_COLUMNS, tuple(rows), notes=(note,))


def device_records(devices: Sequence[Device]) -> dict[str, Any]:
    """Return all that is known of each device; integers stay integers."""
    return {
        "devices": [
            record(device, "name", "title", "year", "kind", "memory", "bandwidth", "peaks")
            | {"calibrated": device.measured, "source": device.source}
            for device in devices
        ]
    }
