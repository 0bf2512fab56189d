"""Measurements of a twin on a real device: latency, time per layer, memory, counters' totals."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from archcost.errors import ArchcostError
from archcost.hardware import calibrated, device_entry
from archcost.measure.allocator import forget, measure_peaks, measure_tensors
from archcost.measure.clock import Clock, Latency
from archcost.network import Network
from archcost.optimizers import FOREACH, FUSED, find_kernel, find_optimizer
from archcost.pytorch import build, import_torch, random_inputs, sum_of
from archcost.pytorch.counter import math_attention

RUNS = 11
VARIABLES = (
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
)
"""Variables of the environment that change what a GPU's memory holds."""
OK, OUT_OF_MEMORY, REFUSED = "ok", "out of memory", "refused"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one model took at one batch and dtype, in training with one optimizer.

    ``status`` is ``ok``, or ``out of memory`` or ``refused`` with the ``reason``; then figures that
    were not reached are None. Memory peaks are those of the CUDA allocator; a CPU has none, so they
    are None. There is a peak of allocated blocks. Training has more: of requested bytes, of tensors
    without workspaces, of reserved bytes, and of the whole device. ``counters`` are
    for the whole batch; ``saved_bytes`` is what autograd keeps for backward, storage by storage,
    parameters aside. ``layers`` are seconds of the forward pass. ``load`` is how the network
    is read again, where its name and input are not enough.
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
    load: dict[str, Any] | None = None


def machine(device: str) -> dict[str, Any]:
    """Return what a reader must know of the device: names, versions, flags, date."""
    torch = import_torch()
    flags: dict[str, Any] = {
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
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "flags": flags,
    }
    if device.startswith("cuda"):
        flags |= {name: os.environ.get(name, "") for name in VARIABLES}
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "name": properties.name,
            "memory_bytes": properties.total_memory,
            "driver": _driver(),
            "allocator": torch.cuda.get_allocator_backend(),
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
    """Measure a network on a device; that it cannot run there is a result, not an error.

    Args:
        network: from :func:`archcost.load`.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        runs: timed passes, at most: slow ones are fewer (:meth:`Clock.latency`).
        training: whether to measure a training step.
        optimizer: of that step, a name in :data:`archcost.optimizers.OPTIMIZERS`.
        inference: whether to measure a forward pass.

    Raises:
        ArchcostError: PyTorch or the device is missing, the dtype cannot run, or an unknown
            optimizer.
    """
    torch = import_torch()
    check_device(device)
    torch_dtype(dtype)
    known: dict[str, Any] = {
        "model": network.name, "input": network.input, "batch": batch, "dtype": dtype
    }  # fmt: skip
    if training:
        find_optimizer(optimizer)
        known |= {"optimizer": optimizer, "kernel": find_kernel(None, device.partition(":")[0])}
    try:
        _measure(torch, network, device, known, runs, inference)
        status, reason = OK, known.pop("reason", "")
    except torch.OutOfMemoryError as error:
        status, reason = OUT_OF_MEMORY, _first_line(error)
    except Exception as error:  # whatever stops one model must not stop the others
        status, reason = REFUSED, _first_line(error)
    _release(torch, device)  # when the error is gone, and with it what its frames held
    return Measurement(**known, status=status, reason=reason)


def _measure(
    torch: Any, network: Network, device: str, known: dict[str, Any], runs: int, inference: bool
) -> None:
    """Add to ``known`` what is found, piece by piece, so that an error leaves the rest."""
    torch.manual_seed(0)
    dtype = torch_dtype(known["dtype"])
    twin = build(network, device=device, dtype=dtype)
    inputs = random_inputs(network, known["batch"], device, dtype)
    known["params"] = sum(p.numel() for p in twin.parameters())
    if inference:
        _inference(torch, twin, network, inputs, device, runs, known)
    if "optimizer" in known:
        _training(torch, twin, inputs, device, runs, known)


def _first_line(error: Exception) -> str:
    line = (str(error).strip().split("\n") or [""])[0][:200]
    # the message of a KeyError, say, is but the key
    return (
        line if isinstance(error, (RuntimeError, ValueError)) else f"{type(error).__name__}: {line}"
    )


def _release(torch: Any, device: str) -> None:
    """Give back what a model held, as far as the device still answers."""
    if device.startswith("cuda"):
        with suppress(RuntimeError):
            forget(torch, device)


def check_answers(device: str) -> None:
    """Refuse to go on with a GPU that an error has left useless to this process.

    Raises:
        ArchcostError: it no longer works, so every further model would fail.
    """
    torch = import_torch()
    if device.startswith("cuda"):
        try:
            torch.ones(1, device=device).item()
        except RuntimeError as error:
            raise ArchcostError(
                f"{device} does not answer any more: {_first_line(error)}; run again with --resume"
            ) from None


def _inference(
    torch: Any,
    twin: Any,
    network: Network,
    inputs: tuple[Any, ...],
    device: str,
    runs: int,
    found: dict[str, Any],
) -> None:
    """Add what a forward pass takes."""
    clock = Clock(torch, device)
    twin.eval()
    with torch.no_grad():
        out = main_output(twin(*inputs))
        found["output"] = tuple(out.shape[1:])
        del out
        found["counters"] = {"torch": count_flops(torch, twin, *inputs)}
        found["inference_peak_bytes"] = measure_peaks(
            torch, device, lambda: twin(*inputs)
        ).allocated
        found["forward"] = clock.latency(lambda: twin(*inputs), runs)
        found["layers"] = clock.layers(twin, network, inputs, max(runs // 3, 1))


def _training(
    torch: Any, twin: Any, inputs: tuple[Any, ...], device: str, runs: int, found: dict[str, Any]
) -> None:
    """Add what a training step takes, after two to warm up: state appears in the first."""
    twin.train()
    found["saved_bytes"] = saved_bytes(torch, twin, *inputs)
    params = [*twin.parameters()]
    updater = make_optimizer(torch, params, found["optimizer"], found["kernel"])

    def gradients() -> None:
        sum_of(main_output(twin(*inputs))).backward()

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
        if isinstance(t, torch.Tensor) and t.device == inputs[0].device
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
    }
    found["step"] = Clock(torch, device).latency(step, runs)
    try:
        found["training_tensor_bytes"] = measure_tensors(torch, device, step)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # the history failed, which takes nothing from the rest
        found["reason"] = f"no history of the allocator: {_first_line(error)}"


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


def count_flops(torch: Any, twin: Any, *inputs: Any) -> int:
    """Return the total of PyTorch's own counter for one forward pass.

    It knows the fused attention of a GPU, but not that of a CPU, which is taken apart for it.
    """
    from torch.utils.flop_counter import FlopCounterMode

    apart = math_attention() if inputs[0].device.type == "cpu" else nullcontext()
    with apart, FlopCounterMode(display=False) as counter:
        twin(*inputs)
    return int(counter.get_total_flops())


class Token:
    """What autograd is given to keep in place of a tensor: it goes with what keeps it."""


def saved_bytes(torch: Any, twin: Any, *inputs: Any) -> int:
    """Return the bytes that autograd keeps for backward, each storage once, parameters aside.

    Only those on the device: attention on a GPU keeps the seed of its dropout on the host. What
    no output depends on keeps nothing any more when the pass ends.
    """
    own = {t.untyped_storage().data_ptr() for t in (*twin.parameters(), *twin.buffers())}
    seen: dict[int, Any] = {}  # held, so that no address is used twice
    tokens: WeakKeyDictionary[Token, int] = WeakKeyDictionary()

    def keep(tensor: Any) -> Token:
        token, storage = Token(), tensor.untyped_storage()
        if storage.data_ptr() not in own and tensor.device == inputs[0].device:
            seen[storage.data_ptr()] = storage
            tokens[token] = storage.data_ptr()
        return token

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda token: token):
        result = twin(*inputs)
    kept = set(tokens.values())
    del result
    return sum(seen[place].nbytes() for place in kept)


def to_record(
    about: Mapping[str, Any],
    measurements: Iterable[Measurement],
    before: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return the content of a record file; ``before`` are the rows of one that is continued."""
    rows = [
        {key: value for key, value in asdict(m).items() if value is not None and value != ""}
        for m in measurements
    ]
    return {"schema": 1, "machine": dict(about), "measurements": [*before, *rows]}
