"""Measurements of a twin on a real device: latency, time per layer, memory, counters' totals."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.torch_twin import build, import_torch

WARMUP, RUNS = 3, 11
OK, OUT_OF_MEMORY, REFUSED = "ok", "out of memory", "refused"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per pass: quartiles of ``runs`` timed passes after a warm-up."""

    q1: float
    median: float
    q3: float
    runs: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model took at one batch and dtype.

    ``status`` is ``ok``, or ``out of memory`` or ``refused`` with the ``reason``; then figures that
    were not reached are None. Memory peaks are the CUDA allocator's, None on a CPU, which keeps no
    such account. ``counters`` are for the whole batch; ``saved_bytes`` is what autograd keeps for
    backward, storage by storage, parameters aside. ``layers`` are seconds of the forward pass.
    """

    model: str
    input: tuple[int, ...]
    batch: int
    dtype: str
    status: str
    reason: str = ""
    output: tuple[int, ...] | None = None
    params: int | None = None
    counters: dict[str, int] | None = None
    saved_bytes: int | None = None
    forward: Latency | None = None
    step: Latency | None = None
    inference_peak_bytes: int | None = None
    training_peak_bytes: int | None = None
    layers: dict[str, float] | None = None


def machine(device: str) -> dict[str, Any]:
    """Return what a reader must know of the device: names, versions, flags, date."""
    torch = import_torch()
    flags = {
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "optimizer": "SGD, momentum 0.9, foreach, gradients set to None",
        "loss": "sum of the main output",
    }
    about = {
        "device": device,
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "flags": flags,
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "name": properties.name,
            "memory_bytes": properties.total_memory,
            "driver": _driver(),
            "allocator": torch.cuda.get_allocator_backend(),
        }
    else:
        about |= {
            "name": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
        }
    return about


def _driver() -> str | None:
    import subprocess

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip()


def check_device(device: str) -> None:
    """Refuse a device that this machine or this build of PyTorch lacks."""
    torch = import_torch()
    if device not in ("cpu", "meta") and not device.startswith("cuda"):
        raise ArchcostError(f"unknown device {device!r}; expected cpu, cuda or cuda:N")
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            cpu_build = torch.version.cuda is None
            why = "this PyTorch is a CPU build" if cpu_build else "no GPU is visible"
            raise ArchcostError(f"no CUDA device: {why}")
        index = device.partition(":")[2] or "0"
        if not index.isdigit() or int(index) >= torch.cuda.device_count():
            raise ArchcostError(
                f"no device {device!r}; this machine has {torch.cuda.device_count()}"
            )


def torch_dtype(name: str) -> Any:
    """Return PyTorch's dtype, or refuse one that cannot run a network."""
    if name not in ("float64", "float32", "float16", "bfloat16"):
        raise ArchcostError(f"cannot run in {name}; expected float64, float32, float16 or bfloat16")
    return getattr(import_torch(), name)


def profile(
    network: Network,
    *,
    device: str = "cpu",
    batch: int = 1,
    dtype: str = "float32",
    runs: int = RUNS,
    training: bool = True,
) -> Measurement:
    """Measure a network on a device; running out of memory is a result, not an error.

    Raises:
        ArchcostError: PyTorch or the device is missing, or the dtype cannot run.
    """
    torch = import_torch()
    check_device(device)
    known: dict[str, Any] = {
        "model": network.name, "input": network.input, "batch": batch, "dtype": dtype
    }  # fmt: skip
    try:
        return _profile(torch, network, known, device, torch_dtype(dtype), runs, training)
    except torch.OutOfMemoryError as error:
        return Measurement(**known, status=OUT_OF_MEMORY, reason=_first_line(error))
    except (RuntimeError, ValueError) as error:
        return Measurement(**known, status=REFUSED, reason=_first_line(error))
    finally:
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n") or [""])[0][:200]


def _profile(
    torch: Any, network: Network, known: dict[str, Any], device: str, dtype: Any, runs: int,
    training: bool,
) -> Measurement:  # fmt: skip
    torch.manual_seed(0)
    twin = build(network, device=device, dtype=dtype)
    x = torch.randn(known["batch"], *network.input, device=device, dtype=dtype)
    clock = _Clock(torch, device)
    twin.eval()
    with torch.no_grad():
        out = main_output(twin(x))
        known |= {
            "output": tuple(out.shape[1:]),
            "params": sum(p.numel() for p in twin.parameters()),
            "counters": {"torch": count_flops(torch, twin, x)},
        }
        del out
        clock.reset_peak()
        twin(x)
        known["inference_peak_bytes"] = clock.peak()
        known["forward"] = clock.latency(lambda: twin(x), runs)
        known["layers"] = _layer_times(clock, twin, network, x, max(runs // 3, 1))
    if training:
        twin.train()
        known["saved_bytes"] = saved_bytes(torch, twin, x)
        optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3, momentum=0.9, foreach=True)

        def step() -> None:
            main_output(twin(x)).sum().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        for _ in range(2):  # momentum buffers appear in the first
            step()
        clock.reset_peak()
        step()
        known["training_peak_bytes"] = clock.peak()
        known["step"] = clock.latency(step, runs)
    return Measurement(**known, status=OK)


def main_output(result: Any) -> Any:
    """Return the main output of a twin that may have side outputs."""
    return result[0] if isinstance(result, tuple) else result


def count_flops(torch: Any, twin: Any, x: Any) -> int:
    """Return the total of PyTorch's own counter for one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        twin(x)
    return int(counter.get_total_flops())


def saved_bytes(torch: Any, twin: Any, x: Any) -> int:
    """Return the bytes that autograd keeps for backward, each storage once, parameters aside."""
    own = {t.untyped_storage().data_ptr() for t in (*twin.parameters(), *twin.buffers())}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> None:
        # the graph gets nothing: it would hold outputs that hold the graph, for ever
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage  # held, so that no address is used twice

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing):
        result = twin(x)
    del result
    return sum(storage.nbytes() for storage in kept.values())


def _layer_times(clock: _Clock, twin: Any, network: Network, x: Any, runs: int) -> dict[str, float]:
    """Return the median seconds of each layer's module call in the forward pass."""
    times: dict[str, list[float]] = {layer.path: [] for layer in network}
    started: dict[str, Any] = {}
    marks: list[tuple[str, Any, Any]] = []

    def before(path: str) -> Callable[..., None]:
        return lambda *_: started.__setitem__(path, clock.mark())

    def after(path: str) -> Callable[..., None]:
        return lambda *_: marks.append((path, started[path], clock.mark()))

    hooks = []
    for path in times:
        module = twin.get_submodule(path)
        hooks += [
            module.register_forward_pre_hook(before(path)),
            module.register_forward_hook(after(path)),
        ]
    try:
        for _ in range(runs):
            twin(x)
            clock.wait()
            for path, start, end in marks:
                times[path].append(clock.between(start, end))
            marks.clear()
    finally:
        for hook in hooks:
            hook.remove()
    return {path: statistics.median(values) for path, values in times.items()}


class _Clock:
    """Times passes: with CUDA events on a GPU, with the wall clock elsewhere."""

    def __init__(self, torch: Any, device: str) -> None:
        self.torch, self.device = torch, device
        self.cuda = device.startswith("cuda")

    def mark(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        event = self.torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def wait(self) -> None:
        if self.cuda:
            self.torch.cuda.synchronize(self.device)

    def between(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) / 1e3 if self.cuda else float(end - start)

    def latency(self, run: Callable[[], Any], runs: int) -> Latency:
        for _ in range(WARMUP):
            run()
        self.wait()
        pairs = []
        for _ in range(runs):
            start = self.mark()
            run()
            pairs.append((start, self.mark()))
        self.wait()
        return quartiles([self.between(start, end) for start, end in pairs])

    def reset_peak(self) -> None:
        if self.cuda:
            import gc

            gc.collect()
            self.wait()
            self.torch.cuda.empty_cache()
            self.torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int | None:
        if not self.cuda:
            return None
        self.wait()
        return int(self.torch.cuda.max_memory_allocated(self.device))


def quartiles(seconds: Sequence[float]) -> Latency:
    """Return median and quartiles; with a single run they are equal."""
    if len(seconds) == 1:
        return Latency(seconds[0], seconds[0], seconds[0], 1)
    q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    return Latency(q1, median, q3, len(seconds))


def to_record(about: dict[str, Any], measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Return the content of a record file."""
    return {
        "schema": 1,
        "machine": about,
        "measurements": [
            {key: value for key, value in asdict(m).items() if value is not None and value != ""}
            for m in measurements
        ],
    }
