"""Measurements of a twin on a real device: latency, time per layer, memory, counters' totals."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archcost.errors import ArchcostError
from archcost.hardware import calibrated, device_entry
from archcost.memory.optimizers import FOREACH, FUSED, find_kernel, find_optimizer
from archcost.network import Network
from archcost.torch_twin import build, import_torch
from archcost.torch_twin.allocator import measure_peaks, measure_tensors

WARMUP, RUNS = 3, 11
OK, OUT_OF_MEMORY, REFUSED = "ok", "out of memory", "refused"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per pass: quartiles and the least of ``runs`` timed passes after a warm-up."""

    q1: float
    median: float
    q3: float
    runs: int
    fastest: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model took at one batch and dtype, in training with one optimizer.

    ``status`` is ``ok``, or ``out of memory`` or ``refused`` with the ``reason``; then figures that
    were not reached are None. Memory peaks are the CUDA allocator's, None on a CPU, which keeps no
    such account: of allocated blocks, and for training also of what was requested, of tensors
    without workspaces, of what the allocator reserved, and of the whole device. ``counters`` are
    for the whole batch; ``saved_bytes`` is what autograd keeps for backward, storage by storage,
    parameters aside. ``layers`` are seconds of the forward pass.
    """

    model: str
    input: tuple[int, ...]
    batch: int
    dtype: str
    status: str
    reason: str = ""
    optimizer: str | None = None
    kernel: str | None = None
    output: tuple[int, ...] | None = None
    params: int | None = None
    counters: dict[str, int] | None = None
    saved_bytes: int | None = None
    forward: Latency | None = None
    step: Latency | None = None
    inference_peak_bytes: int | None = None
    training_peak_bytes: int | None = None
    training_requested_bytes: int | None = None
    training_tensor_bytes: int | None = None
    training_reserved_bytes: int | None = None
    device_used_bytes: int | None = None
    param_bytes: int | None = None
    gradient_bytes: int | None = None
    optimizer_state_bytes: int | None = None
    layers: dict[str, float] | None = None


def machine(device: str) -> dict[str, Any]:
    """Return what a reader must know of the device: names, versions, flags, date."""
    torch = import_torch()
    flags = {
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "gradients": "set to None",
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
            "allocator_settings": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", ""),
            "cache_bytes": getattr(properties, "L2_cache_size", None),
        }
    else:
        about |= {
            "name": device_name(device),
            "threads": torch.get_num_threads(),
        }
    own = calibrated(reported_name(device))
    if own is not None:
        about["calibration"] = device_entry(own)
    return about


def device_name(device: str) -> str:
    """Return what the device calls itself."""
    if device.startswith("cuda"):
        return str(import_torch().cuda.get_device_properties(device).name)
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def reported_name(device: str) -> str:
    """Return what a calibration is known by: the device's name, a CPU's with its threads."""
    threads = "" if device.startswith("cuda") else f", {import_torch().get_num_threads()} threads"
    return device_name(device) + threads


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
    optimizer: str = "sgd-momentum",
    inference: bool = True,
) -> Measurement:
    """Measure a network on a device; running out of memory is a result, not an error.

    Args:
        network: from :func:`archcost.load`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        runs: timed passes.
        training: whether to measure a training step.
        optimizer: of that step, a name in :data:`archcost.memory.optimizers.OPTIMIZERS`.
        inference: whether to measure a forward pass.

    Raises:
        ArchcostError: PyTorch or the device is missing, the dtype cannot run, or an unknown
            optimizer.
    """
    torch = import_torch()
    check_device(device)
    known: dict[str, Any] = {
        "model": network.name, "input": network.input, "batch": batch, "dtype": dtype
    }  # fmt: skip
    if training:
        find_optimizer(optimizer)
        known |= {"optimizer": optimizer, "kernel": find_kernel(None, device.partition(":")[0])}
    try:
        torch.manual_seed(0)
        twin = build(network, device=device, dtype=torch_dtype(dtype))
        x = torch.randn(batch, *network.input, device=device, dtype=torch_dtype(dtype))
        known["params"] = sum(p.numel() for p in twin.parameters())
        if inference:
            known |= _inference(torch, twin, network, x, device, runs)
        if training:
            known |= _training(torch, twin, x, device, optimizer, known["kernel"], runs)
        return Measurement(**known, status=OK)
    except torch.OutOfMemoryError as error:
        return Measurement(**known, status=OUT_OF_MEMORY, reason=_first_line(error))
    except (RuntimeError, ValueError) as error:
        return Measurement(**known, status=REFUSED, reason=_first_line(error))
    finally:
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


def _first_line(error: Exception) -> str:
    return (str(error).strip().split("\n") or [""])[0][:200]


def _inference(
    torch: Any, twin: Any, network: Network, x: Any, device: str, runs: int
) -> dict[str, Any]:
    """Return what a forward pass takes."""
    clock = _Clock(torch, device)
    twin.eval()
    with torch.no_grad():
        out = main_output(twin(x))
        found: dict[str, Any] = {
            "output": tuple(out.shape[1:]),
            "counters": {"torch": count_flops(torch, twin, x)},
        }
        del out
        found["inference_peak_bytes"] = measure_peaks(torch, device, lambda: twin(x)).allocated
        found["forward"] = clock.latency(lambda: twin(x), runs)
        found["layers"] = _layer_times(clock, twin, network, x, max(runs // 3, 1))
    return found


def _training(
    torch: Any, twin: Any, x: Any, device: str, optimizer: str, kernel: str, runs: int
) -> dict[str, Any]:
    """Return what a training step takes, after two to warm up: state appears in the first."""
    twin.train()
    found: dict[str, Any] = {"saved_bytes": saved_bytes(torch, twin, x)}
    params = [*twin.parameters()]
    updater = make_optimizer(torch, params, optimizer, kernel)

    def gradients() -> None:
        main_output(twin(x)).sum().backward()

    def step() -> None:
        gradients()
        updater.step()
        updater.zero_grad(set_to_none=True)

    for _ in range(2):
        step()
    gradients()
    grads = [p.grad for p in params if p.grad is not None]
    state = [
        t for values in updater.state.values() for t in values.values()
        if isinstance(t, torch.Tensor) and t.device == x.device
    ]  # fmt: skip
    for name, tensors in (("param", params), ("gradient", grads), ("optimizer_state", state)):
        found[f"{name}_bytes"] = sum(t.numel() * t.element_size() for t in tensors)
    del grads
    updater.zero_grad(set_to_none=True)
    peaks = measure_peaks(torch, device, step)
    found |= {
        "training_peak_bytes": peaks.allocated,
        "training_requested_bytes": peaks.requested,
        "training_reserved_bytes": peaks.reserved,
        "device_used_bytes": peaks.used,
        "training_tensor_bytes": measure_tensors(torch, device, step),
    }
    found["step"] = _Clock(torch, device).latency(step, runs)
    return found


def make_optimizer(torch: Any, params: Sequence[Any], name: str, kernel: str) -> Any:
    """Return the optimizer of ``torch.optim`` that archcost calls ``name``."""
    classes = {"sgd": "SGD", "sgd-momentum": "SGD", "adam": "Adam", "adamw": "AdamW"}
    options = {"momentum": 0.9} if name == "sgd-momentum" else {}
    options |= {"weight_decay": 0.0}
    how = {"foreach": kernel == FOREACH, "fused": kernel == FUSED}
    return getattr(torch.optim, classes[name])(params, lr=1e-3, **options, **how)


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


def quartiles(seconds: Sequence[float]) -> Latency:
    """Return median and quartiles; with a single run they are equal."""
    if len(seconds) == 1:
        return Latency(seconds[0], seconds[0], seconds[0], 1, seconds[0])
    q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    return Latency(q1, median, q3, len(seconds), min(seconds))


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
