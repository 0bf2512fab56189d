"""Measuring a device: how fast its memory is, and how fast it multiplies, per data type.

A calibration measures the rates of a large copy, a large sum and large matrix products. A vendor's
peak is a bound; a measured rate is a little lower. It is the best of several runs, because a device
can be slower than it is, but not faster.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError
from archcost.hardware import CPU, GPU, TF32, Device
from archcost.measure.profile import check_device, device_name, reported_name
from archcost.pytorch import import_torch
from archcost.units import number_of

DTYPES = ("float64", "float32", "bfloat16", "float16")
SIDES = {CPU: (512, 1024, 2048), GPU: (2048, 4096, 8192)}
"""Sides of the square matrices that are multiplied."""
COPIED = {CPU: 2**28, GPU: 2**31}
"""Bytes of the tensor that is copied: far more than any cache holds."""
TF32_CAPABILITY = (8, 0)


def calibrate(
    device: str = "cpu", name: str = "mine", seconds: float = 1.0, most: int = 2**40
) -> Device:
    """Return the device as it was measured.

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        name: what to call it.
        seconds: how long to run each measurement.
        most: the largest matrix side and number of bytes to measure with.

    Raises:
        ArchcostError: PyTorch or the device is missing, or nothing could be measured.
    """
    torch = import_torch()
    if not 0 < seconds <= 60:
        raise ArchcostError(f"a measurement runs for more than 0 and up to 60 s; got {seconds:g}")
    check_device(device)
    if device == "meta":
        raise ArchcostError("meta tensors take no time; expected cpu, cuda or cuda:N")
    kind = CPU if device == "cpu" else GPU
    timer = _Timer(torch, device, seconds)
    peaks: dict[str, int] = {}
    for dtype in DTYPES:
        for path, tf32 in ((dtype, False), (TF32, True)):
            if tf32 and not (dtype == "float32" and _has_tf32(torch, device)):
                continue
            rate = _matmul(torch, timer, device, dtype, tf32, [s for s in SIDES[kind] if s <= most])
            if rate:
                peaks[path] = rate
    if not peaks:
        raise ArchcostError(f"no matrix product ran on {device}")
    now = datetime.now(UTC)
    return Device(
        name=name, title=device_name(device), year=now.year, memory=_memory(torch, device),
        bandwidth=_bandwidth(torch, timer, device, min(COPIED[kind], most)),
        peaks=MappingProxyType(peaks),
        source=f"measured {now.date()} with torch {torch.__version__}"
        + (f" on {number_of(torch.get_num_threads(), 'thread')}" if kind == CPU else ""),
        kind=kind, reports=reported_name(device), capability=_capability(torch, device),
        measured=True,
    )  # fmt: skip


class _Timer:
    """The best of repeated runs."""

    def __init__(self, torch: Any, device: str, seconds: float) -> None:
        self.torch, self.device, self.seconds = torch, device, seconds

    def best(self, run: Callable[[], object]) -> float:
        """Return the seconds of the fastest of at least three runs, after one to warm up."""
        self._once(run)
        times = [self._once(run) for _ in range(3)]
        while sum(times) < self.seconds and len(times) < 1000:
            times.append(self._once(run))
        return min(times)

    def _once(self, run: Callable[[], object]) -> float:
        self._wait()
        start = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device != "cpu":
            self.torch.cuda.synchronize(self.device)


def _bandwidth(torch: Any, timer: _Timer, device: str, size: int) -> int:
    """Return the bytes per second of a copy, which reads and writes, or a sum, which reads."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * size / timer.best(lambda: target.copy_(source))
    summed = size / timer.best(source.sum)
    return int(max(copied, summed))


def _matmul(
    torch: Any, timer: _Timer, device: str, dtype: str, tf32: bool, sides: list[int]
) -> int | None:
    """Return the best FLOP/s of a matrix product, None if the device has none in this dtype.

    A side is left out if, judged by the one before, a single run would take too long.
    """
    best = 0.0
    with _tf32(torch, tf32), torch.no_grad():
        for side in sides:
            flops = 2 * side**3
            if best and 4 * flops / best > 10 * timer.seconds:
                break
            try:
                a = torch.ones(side, side, device=device, dtype=getattr(torch, dtype))
                out = torch.empty_like(a)
                taken = timer.best(lambda a=a, out=out: torch.matmul(a, a, out=out))  # type: ignore[misc]
            except RuntimeError:  # no such product, or too little memory for the larger ones
                break
            best = max(best, flops / taken)
    return int(best) or None


def _has_tf32(torch: Any, device: str) -> bool:
    if device == "cpu":
        return False
    return bool(torch.cuda.get_device_capability(device) >= TF32_CAPABILITY)


@contextmanager
def _tf32(torch: Any, allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _memory(torch: Any, device: str) -> int:
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _capability(torch: Any, device: str) -> str:
    """Return the compute capability of a GPU, nothing of a CPU."""
    if not device.startswith("cuda"):
        return ""
    return ".".join(map(str, torch.cuda.get_device_capability(device)))
