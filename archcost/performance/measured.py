"""Records of measurements: reading them, and comparing today's predictions with them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from archcost.errors import ArchcostError
from archcost.hardware import Device, find_reported, read_devices
from archcost.network import Network
from archcost.ops.base import FLOAT
from archcost.spec.catalog import load
from archcost.spec.source import Source
from archcost.table import Cell, Column, Table
from archcost.units import number_of

SCHEMA = 1


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record that ``archcost profile --record`` wrote.

    Raises:
        ArchcostError: the file is missing, not JSON, or of another schema.
    """
    try:
        record = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise ArchcostError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ArchcostError(f"{path}: not a record: {error}") from None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ArchcostError(f"{path}: not a record of schema {SCHEMA}")
    rows = record.get("measurements")
    if not isinstance(rows, list) or not isinstance(record.get("machine"), dict):
        raise ArchcostError(f"{path}: the record has no machine or no measurements")
    for row in rows:
        for key in ("model", "input", "batch", "dtype", "status"):
            if not isinstance(row, dict) or key not in row:
                raise ArchcostError(f"{path}: a measurement lacks {key}")
    return record


MATTERS = ("device", "name", "torch", "cuda", "cudnn", "threads", "allocator")
"""What of a machine must be the same throughout a record, beside its flags."""
CHANGING = ("date", "python", "driver")
"""What may change where a record is continued."""


def row_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells a measurement from the others of its record."""
    how = json.dumps(row.get("load") or {}, sort_keys=True)
    return row["model"], tuple(row["input"]), row["batch"], row["dtype"], row.get("optimizer"), how


def load_arguments(model: str, network: Network, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of ``load(model, **options)`` does not follow from the network's name and input.

    A record keeps it as ``load``. It is empty for a model of the catalog without options.
    """
    usual: dict[str, Any] = {"input": None, "knobs": {}, "aux": False, "bias": True}
    how = {key: value for key, value in options.items() if value != usual.get(key, False)}
    if not isinstance(how.get("input"), Mapping) and network.inputs[0].dtype == FLOAT:
        how.pop("input", None)
    return how if model == network.name else {"model": model, **how}


def load_row(row: Mapping[str, Any]) -> Network:
    """Return the network of a row of a record, as it is read today.

    Raises:
        ArchcostError: it cannot be read any more.
    """
    how = {"model": row["model"], **(row.get("load") or {})}
    if "inputs" not in how:
        how.setdefault("input", tuple(row["input"]))
    return load(**how)


def continued(
    path: str | Path, record: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the machine of a record that is continued on the machine ``about``.

    That is the record's own; where the date, the driver or Python differ, ``continued`` lists it.

    Raises:
        ArchcostError: it is another device, another PyTorch, or other flags.
    """
    own = record["machine"]
    for name, old, new in _differences(_told(own), _told(about)):
        raise ArchcostError(
            f"{path}: cannot be continued here: it was measured with {name} {old}, this is {new}"
        )
    changes = {key: about[key] for key in CHANGING if about.get(key) != own.get(key)}
    parts = own.get("continued", [])
    return dict(own) if not changes or changes in parts else {**own, "continued": [*parts, changes]}


def _told(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must not change; which of several equal GPUs it is does not matter."""
    known = {key: about.get(key) for key in MATTERS} | dict(about.get("flags") or {})
    return known | {"device": str(about.get("device")).partition(":")[0]}


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """Yield what differs, and both values."""

    def say(value: object) -> object:
        return "none" if value in (None, "") else value

    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            yield key, say(old.get(key)), say(new.get(key))


def record_device(record: Mapping[str, Any]) -> Device | None:
    """Return the device on which a record was made, None if its peaks are not known.

    That is the one with the name that it reports, or else as it was calibrated at the time.
    """
    about = record["machine"]
    device = find_reported(str(about.get("name", "")))
    if device or not about.get("calibration"):
        return device
    text = json.dumps({"device": about["calibration"]})
    return read_devices(Source("calibration of the record", text), measured=True)["device"]


def describe_machine(about: Mapping[str, Any]) -> str:
    """Return the device and its versions in one line."""
    parts = [str(about.get("name", "")), f"torch {about.get('torch')}"]
    parts += [f"{key} {about[key]}" for key in ("cuda", "cudnn", "driver") if about.get(key)]
    parts += [number_of(about["threads"], "thread")] if about.get("threads") else []
    return ", ".join([*parts, str(about.get("date", ""))])


COLUMNS = (
    Column("model", "model", essential=True), Column("batch", "batch", True, essential=True),
    Column("dtype", "dtype"), Column("optimizer", "optimizer"),
    Column("status", "status", essential=True),
    Column("forward_ms", "forward ms", True, essential=True),
    Column("forward_quartiles", "quartiles", True, minor=True),
    Column("step_ms", "step ms", True, essential=True),
    Column("step_quartiles", "quartiles", True, minor=True),
    Column("saved_bytes", "saved bytes", True),
    Column("inference_peak_bytes", "inference peak", True),
    Column("training_peak_bytes", "training peak", True),
)  # fmt: skip


def measured_table(record: dict[str, Any]) -> Table:
    """Return one row per measurement."""
    rows = tuple(_cells(row) for row in record["measurements"])
    return Table(COLUMNS, rows, notes=(describe_machine(record["machine"]),))


def _cells(row: dict[str, Any]) -> tuple[Cell, ...]:
    def times(key: str) -> tuple[Cell, Cell]:
        latency = row.get(key)
        if not latency:
            return None, None
        return (
            f"{latency['median'] * 1e3:.3f}",
            f"{latency['q1'] * 1e3:.3f} to {latency['q3'] * 1e3:.3f}",
        )

    status = row["status"] + (f": {row['reason']}" if row.get("reason") else "")
    return (
        row["model"], row["batch"], row["dtype"], row.get("optimizer"), status,
        *times("forward"), *times("step"),
        row.get("saved_bytes"), row.get("inference_peak_bytes"), row.get("training_peak_bytes"),
    )  # fmt: skip


def measurements(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the measurements that succeeded."""
    return (row for row in record["measurements"] if row["status"] == "ok")
