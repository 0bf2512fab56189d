"""Today's predictions held against a record of a real device, without that device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from archcost.analysis.measured import measurements, read_record
from archcost.analysis.memory import saved_for_backward
from archcost.analysis.report import analyze
from archcost.conventions import CONVENTIONS
from archcost.errors import ArchcostError
from archcost.spec.catalog import load
from archcost.verify import Check


def replay(path: str | Path) -> Iterator[Check]:
    """Yield the checks of every measurement in a record; each is exact.

    Compared are the output's shape, the number of parameters, the counters' totals and the bytes
    saved for backward. A model that the catalog no longer has, or a measurement that ran out of
    memory, is skipped with the reason.

    Raises:
        ArchcostError: the file is not a record.
    """
    record = read_record(path)
    device = str(record["machine"].get("device", "cpu")).partition(":")[0]
    for row in record["measurements"]:
        if row["status"] != "ok":
            yield _check(row, "measurement", None, None, skipped=row["status"])
    for row in measurements(record):
        try:
            network = load(row["model"], input=tuple(row["input"]))
        except ArchcostError as error:
            yield _check(row, "model", None, None, skipped=str(error))
            continue
        report = analyze(network, batch=row["batch"], dtype=row["dtype"])
        yield _check(row, "output shape", list(network.output), row.get("output"))
        yield _check(row, "params", report.total.params, row.get("params"))
        for name, measured in row.get("counters", {}).items():
            predicted = sum(CONVENTIONS[name].count(layer.cost.work) for layer in network)
            yield _check(row, f"{name} total", predicted * row["batch"], measured)
        if "saved_bytes" in row:
            saved = saved_for_backward(network, row["batch"], row["dtype"], device)
            yield _check(row, "saved bytes", saved.total, row["saved_bytes"])


def _check(
    row: dict[str, Any], name: str, expected: Any, measured: Any, skipped: str = ""
) -> Check:
    subject = f"{row['model']} x{row['batch']} {row['dtype']}"
    return Check("replay", f"{subject}: {name}", "", expected, measured, skipped=skipped)
