"""What PyTorch's CUDA allocator says of a run: its peaks, and which of it were tensors.

A CPU keeps no such account; there every figure is None, which means that it was not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

WORKSPACES = ("workspace", "run_conv_plan")
"""Parts of the names of functions that ask the allocator for a workspace: of cuBLAS
(``getNewWorkspace``, ``CUDABlasLtWorkspace``), and of cuDNN's convolutions (``run_conv_plan``,
``run_conv_plan_fused`` of ``cudnn/Conv_v8.cpp``)."""
TRACED = 1_000_000  # events of a step, at most


@dataclass(frozen=True, slots=True)
class Peaks:
    """Bytes at the highest point of a run.

    Attributes:
        allocated: of blocks that were handed out (``max_memory_allocated``).
        requested: of what was asked for, before the blocks are rounded up.
        reserved: of what the allocator held, handed out or not (``max_memory_reserved``).
        used: of the device by everything, the CUDA context included, after the run.
    """

    allocated: int | None = None
    requested: int | None = None
    reserved: int | None = None
    used: int | None = None


def measure_peaks(torch: Any, device: str, run: Callable[[], object]) -> Peaks:
    """Return the peaks of a run; cached blocks and kept workspaces are given back first."""
    if not device.startswith("cuda"):
        run()
        return Peaks()
    forget(torch, device)
    run()
    torch.cuda.synchronize(device)
    free, whole = torch.cuda.mem_get_info(device)
    stats = torch.cuda.memory_stats(device)
    return Peaks(
        int(torch.cuda.max_memory_allocated(device)),
        stats.get("requested_bytes.all.peak"),
        int(torch.cuda.max_memory_reserved(device)),
        int(whole - free),
    )


def forget(torch: Any, device: str) -> None:
    """Give back what is cached, and cuBLAS's workspaces, and reset the peaks."""
    import gc

    gc.collect()
    torch.cuda.synchronize(device)
    clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
    if clear is not None:
        clear()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)


def measure_tensors(torch: Any, device: str, run: Callable[[], object]) -> int | None:
    """Return the peak of a run without workspaces and rounding, None where it is not measured.

    The allocator's history is recorded with the functions that asked, and replayed.
    """
    import os

    record = getattr(torch.cuda.memory, "_record_memory_history", None)
    if not device.startswith("cuda") or record is None:
        return None
    # most of those functions are local to PyTorch's libraries, where dladdr finds no names, and
    # addr2line may not be installed; this mode reads the names by itself, within milliseconds
    os.environ.setdefault("TORCH_SYMBOLIZE_MODE", "fast")
    forget(torch, device)
    live = int(torch.cuda.memory_stats(device).get("requested_bytes.all.current", 0))
    record(enabled="all", context="alloc", stacks="all", max_entries=TRACED)
    try:
        run()
        torch.cuda.synchronize(device)
        traces = torch.cuda.memory._snapshot(device)["device_traces"]
    finally:
        record(enabled=None)
    trace = traces[torch.device(device).index or 0]
    return tensor_peak(trace, live) if 0 < len(trace) < TRACED else None


def tensor_peak(trace: Iterable[Mapping[str, Any]], live: int) -> int:
    """Return the largest sum of requested bytes that are alive in a history, without workspaces.

    Args:
        trace: events with ``action``, ``addr``, ``size`` and ``frames``, in order.
        live: bytes that were alive before the first.
    """
    sizes: dict[int, int] = {}
    peak = live
    for event in trace:
        action, address = event["action"], event.get("addr")
        if action == "alloc" and not _is_workspace(event.get("frames", ())):
            sizes[address] = event["size"]  # type: ignore[index]
            live += event["size"]
            peak = max(peak, live)
        elif action == "alloc":
            sizes[address] = 0  # type: ignore[index]
        elif action == "free_requested":
            # of what was alive before, the size comes with the event
            live -= sizes.pop(address, event["size"])  # type: ignore[arg-type]
    return peak


def _is_workspace(frames: Iterable[Mapping[str, Any]]) -> bool:
    return any(_asks_for_workspace(str(frame.get("name", ""))) for frame in frames)


@lru_cache(maxsize=65536)
def _asks_for_workspace(function: str) -> bool:
    return any(part in function.lower() for part in WORKSPACES)
