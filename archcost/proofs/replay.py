"""Today's predictions compared with a record of a real device, without that device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from archcost.analysis.reconcile import count_operations
from archcost.analysis.report import analyze
from archcost.conventions import CONVENTIONS
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.performance.bounds import hard_bound
from archcost.performance.measured import load_row, measurements, read_record, record_device
from archcost.performance.proof import LARGE, proofs, row_setting
from archcost.proofs import Check
from archcost.storage.peaks import training_peak
from archcost.storage.saved import saved_for_backward

UNKNOWN = 2**62  # bytes: a cache that may hold anything


def replay(path: str | Path) -> Iterator[Check]:
    """Yield the checks of every measurement in a record.

    These are compared exactly: the output's shape, the number of parameters, and the counters'
    totals. The bytes of parameters, gradients, optimizer state and saved tensors, and of all
    tensors at the peak of a step, are compared exactly too. The allocator's peaks from 2 GiB on
    have the tolerance of :mod:`archcost.performance.proof`. No time may be less than the hard
    bound. A model that the catalog no longer has, or a measurement that ran out of memory, is
    skipped with the reason.

    Raises:
        ArchcostError: the file is not a record.
    """
    record = read_record(path)
    for row in record["measurements"]:
        if row["status"] != "ok":
            yield _check(row, "measurement", None, None, skipped=row["status"])
    for row in measurements(record):
        try:
            network = load_row(row)
        except ArchcostError as error:
            yield _check(row, "model", None, None, skipped=str(error))
            continue
        yield from _counts(network, row)
        yield from _memory(network, row, _device(record))
        yield from _times(network, row, record)
    for proof in proofs(record):
        if proof.measured >= LARGE:
            name = f"{proof.model} x{proof.batch} {proof.dtype}: {proof.use} peak"
            yield Check(
                "replay", name, "", proof.predicted, proof.measured, proof.allowed,
                "2 % above and 1 % below: workspaces of cuDNN are not predicted",
            )  # fmt: skip


def _device(record: dict[str, Any]) -> str:
    return str(record["machine"].get("device", "cpu")).partition(":")[0]


def _counts(network: Network, row: dict[str, Any]) -> Iterator[Check]:
    report = analyze(network, row_setting(row, "cpu"))
    yield _check(row, "params", report.total.params, row.get("params"))
    if "output" in row:
        yield _check(row, "output shape", list(network.output), row["output"])
    for name, measured in row.get("counters", {}).items():
        predicted = count_operations(network, CONVENTIONS[name])
        yield _check(row, f"{name} total", predicted * row["batch"], measured)


def _memory(network: Network, row: dict[str, Any], device: str) -> Iterator[Check]:
    """Check what has no tolerance: bytes of tensors."""
    if "saved_bytes" in row:
        saved = saved_for_backward(network, row_setting(row, device))
        yield _check(row, "saved bytes", saved.total, row["saved_bytes"])
    if "param_bytes" not in row:
        return
    setting = row_setting(row, device)
    try:
        run = training_peak(network, setting)
    except ArchcostError as error:
        yield _check(row, "training step", None, None, skipped=str(error))
        return
    yield _check(row, "bytes of parameters", run.params, row["param_bytes"])
    yield _check(row, "bytes of gradients", run.gradients, row["gradient_bytes"])
    yield _check(row, "bytes of optimizer state", run.state, row["optimizer_state_bytes"])
    if "training_tensor_bytes" in row:
        peak = training_peak(network, replace(setting, block=1)).peak.total
        yield _check(row, "tensors at the training peak", peak, row["training_tensor_bytes"])


def _times(network: Network, row: dict[str, Any], record: dict[str, Any]) -> Iterator[Check]:
    """Check that nothing was faster than the hard bound.

    Passes are timed after others, which leave data in the caches: bytes that fit there do not
    count, and none do where the caches' size is not known.
    """
    device = record_device(record)
    if device is None:
        why = f"no peaks are known of {record['machine'].get('name')}"
        yield _check(row, "hard bound", None, None, skipped=why)
        return
    try:
        device.peak(row["dtype"])
    except ArchcostError as error:
        yield _check(row, "hard bound", None, None, skipped=str(error))
        return
    cached = record["machine"].get("cache_bytes") or UNKNOWN
    setting = row_setting(row, device.runs).on(device)
    for use, training in (("forward", False), ("step", True)):
        if use in row:
            bound = hard_bound(network, setting, training, cached)
            taken = row[use].get("fastest", row[use]["q1"])
            least = f"at least {float(bound.seconds) * 1e6:.3f} µs"
            holds = taken >= bound.seconds
            yield _check(row, f"hard bound of a {use}", least,
                         least if holds else f"{taken * 1e6:.3f} µs")  # fmt: skip


def _check(
    row: dict[str, Any], name: str, expected: Any, measured: Any, skipped: str = ""
) -> Check:
    subject = f"{row['model']} x{row['batch']} {row['dtype']}"
    if row.get("optimizer"):
        subject += f" {row['optimizer']}"
    return Check("replay", f"{subject}: {name}", "", expected, measured, skipped=skipped)
