"""Benchmarks: both sides of each comparison in one run, medians, and their ratio.

Run with ``make bench``. Whole processes are timed from outside, with the operating system's own
account of their memory; in-process figures take the best of several runs.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

RUNS = 11
PYTHON = sys.executable
TORCH_SIDE = """
import torch
from fvcore.nn import FlopCountAnalysis, flop_count_table
def conv(c, k): return [torch.nn.Conv2d(c, k, 3, padding=1), torch.nn.ReLU()]
layers, c = [], 3
for k in [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0]:
    layers += conv(c, k) if k else [torch.nn.MaxPool2d(2)]
    c = k or c
for a, b in [(25088, 4096), (4096, 4096)]:
    layers += ([torch.nn.Flatten()] if a == 25088 else []) + [torch.nn.Linear(a, b), torch.nn.ReLU(), torch.nn.Dropout()]
net = torch.nn.Sequential(*layers, torch.nn.Linear(4096, 1000)).eval()
print(flop_count_table(FlopCountAnalysis(net, torch.zeros(1, 3, 224, 224))))
"""
BARE = "import click, rich.table, yaml"


def once(command: Sequence[str]) -> tuple[float, int]:
    """Run a process; return its wall time in seconds and its peak memory in bytes."""
    # an installed package has its bytecode on disk; let both sides keep theirs
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    null = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=null, stderr=null, env=env)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)[:80]} failed")
    scale = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - started, usage.ru_maxrss * scale


def versus(title: str, ours: Sequence[str], other: Sequence[str], runs: int, aim: str) -> None:
    """Time two commands in turn and print medians and their ratio."""
    once(ours), once(other)
    pairs = [(once(ours), once(other)) for _ in range(runs)]
    a = statistics.median(pair[0][0] for pair in pairs)
    b = statistics.median(pair[1][0] for pair in pairs)
    memory = max(pair[0][1] for pair in pairs) / 1e6
    print(
        f"{title}\n  ours {a:.3f} s, other {b:.3f} s, ours/other {a / b:.3f}, other/ours {b / a:.1f}"
    )
    print(f"  our peak memory {memory:.1f} MB (aim: {aim})")


def alone(title: str, command: Sequence[str], aim: str) -> None:
    """Time one command and print the median."""
    once(command)
    times = [once(command) for _ in range(RUNS)]
    seconds, memory = statistics.median(t for t, _ in times), max(m for _, m in times) / 1e6
    print(f"{title}\n  {seconds:.3f} s, peak memory {memory:.1f} MB (aim: {aim})")


CHECKED = (
    "alexnet", "vgg16", "googlenet", "inception_v3", "inception_v4", "resnet18", "resnet50",
    "resnet152", "resnext50_32x4d", "se_resnet50", "densenet121", "xception", "squeezenet1_0",
    "mobilenet_v1", "mobilenet_v2", "shufflenet_v2_x1.0", "mnasnet1_0", "efficientnet_b0",
    "convnext_tiny", "vit_b_16",
)  # fmt: skip


def pipeline() -> None:
    """Time what runs on every pull request."""
    bounds = ("macs <= 99G", "params <= 1G", "training peak <= 99GB")
    budgets = [f"{model}: {bound}" for model in CHECKED for bound in bounds]
    archcost = [PYTHON, "-m", "archcost"]
    options = [word for budget in budgets for word in ("--budget", budget)]
    alone("check of 20 specs, 60 budgets", [*archcost, "check", *options], "under 1 s")
    change = [*archcost, "diff", "resnet50", "resnext50_32x4d"]
    alone("diff of two networks", change, "under 0.3 s")


def in_process() -> None:
    """Time loading and analysing inside one process."""
    from archcost import analyze, load

    def best(name: str) -> tuple[float, float, int]:
        figures = []
        for _ in range(9):
            start = time.perf_counter()
            network = load(name)
            middle = time.perf_counter()
            _ = analyze(network).total
            figures.append((middle - start, time.perf_counter() - middle, len(network)))
        return min(f[0] for f in figures), min(f[1] for f in figures), figures[0][2]

    load("resnet18")
    for name in ("resnet152", "resnet20", "resnet110", "resnet1202"):
        loading, analysis, layers = best(name)
        total = loading + analysis
        print(
            f"{name}: load {loading * 1e3:.2f} ms, analyse {analysis * 1e3:.2f} ms, together "
            f"{total * 1e3:.2f} ms, {layers} layers, {total / layers * 1e6:.1f} us per layer"
        )


def main() -> None:
    """Run every benchmark."""
    table = [PYTHON, "-m", "archcost", "table", "vgg16"]
    versus(
        "table vgg16 against torch + fvcore",
        table,
        [PYTHON, "-c", TORCH_SIDE],
        5,
        "at least 15 times faster",
    )
    versus(
        "table vgg16 against bare imports",
        table,
        [PYTHON, "-c", BARE],
        RUNS,
        "at most 2 times, under 60 MB",
    )
    pipeline()
    in_process()
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
