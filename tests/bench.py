"""Benchmarks: both sides of each comparison in one run, medians, and their ratio.

Run with ``make bench``. Whole processes are timed from outside, with the operating system's own
account of their memory; in-process figures take the best of several runs. ``python tests/bench.py
BEFORE`` compares this checkout with another one, both in turn.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent.parent
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


BUILT = """
import torch
from archcost.packages import import_package
models = import_package('torchvision').models
"""
LEAST = (
    BUILT
    + """
with torch.device('meta'):
    net = models.resnet50(weights=None)
"""
)
WEIGHTS = BUILT + "net = models.resnet50(weights=None).eval()\n"
COUNTERS = {
    "torchinfo": "import torchinfo; torchinfo.summary(net, (1, 3, 224, 224))",
    "fvcore": "from fvcore.nn import FlopCountAnalysis, flop_count_table\n"
    "print(flop_count_table(FlopCountAnalysis(net, torch.zeros(1, 3, 224, 224))))",
    "ptflops": "from ptflops import get_model_complexity_info as count\n"
    "count(net, (3, 224, 224), backend='pytorch')",
    "torch's counter": "from torch.utils.flop_counter import FlopCounterMode\n"
    "with FlopCounterMode(): net(torch.zeros(1, 3, 224, 224))",
}
"""The same module by each tool, as its documentation calls it."""


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


def code() -> None:
    """Time reading a module, against building it alone and against the tools that run it."""
    table = [PYTHON, "-m", "archcost", "table", "torchvision:resnet50", "--input", "3x224x224"]
    aim = "at most 1.25 times"
    built = [PYTHON, "-c", LEAST]
    versus("table torchvision:resnet50 against importing and building it", table, built, 5, aim)
    for name, calls in COUNTERS.items():
        other = [PYTHON, "-c", WEIGHTS + calls]
        versus(f"table torchvision:resnet50 against {name}", table, other, 3, "faster")


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


OFA = """\
name: ofa
input: 3x224x224
knobs:
  width: 1.0
  depths: [4, 4, 4, 4, 4]
  kernels: [7, 7, 7, 7, 7]
  expansions: [6, 6, 6, 6, 6]
blocks:
  conv_bn(out, kernel, stride=1, groups=1): conv(out, kernel, stride, padding=kernel // 2, groups=groups, bias=False) >> batchnorm
  bottleneck(kernel, expansion, out, stride):
    - add:
        body:
          - conv_bn(in_channels * expansion, 1) >> relu6
          - conv_bn(in_channels, kernel, stride, groups=in_channels) >> relu6
          - conv_bn(out, 1)
        shortcut: identity if stride == 1 and in_channels == out else none
  stage(i, out, stride):
    - bottleneck(kernels[i], expansions[i], make_divisible(out * width), stride)
    - bottleneck(kernels[i], expansions[i], make_divisible(out * width), 1) * (depths[i] - 1)
layers:
  - stem: conv_bn(make_divisible(16 * width), 3, 2) >> relu6
  - stage(0, 24, 2)
  - stage(1, 40, 2)
  - stage(2, 80, 2)
  - stage(3, 112, 1)
  - stage(4, 160, 2)
  - head: conv_bn(make_divisible(960 * width), 1) >> relu6 >> global_avgpool >> flatten >> linear(1000)
"""
"""A space as that of Once-for-All: each stage has a depth, a kernel and an expansion."""
SWEPT = {
    "resnet50": {**{f"depths.{i}": "1:36" for i in range(4)}, "width_per_group": "16:128",
                 "input": "128:512"},
    "resnext50_32x4d": {**{f"depths.{i}": "1:12" for i in range(4)}, "groups": "1:32",
                        "width_per_group": "1:16", "input": "128:512"},
    "mobilenet_v2": {**{f"stages.{i}.2": "1:4" for i in range(7)}, "width": "0.25:2:0.05",
                     "input": "128:320:32"},
    "regnet_x_400mf": {**{f"depths.{i}": "1:12" for i in range(4)}, "input": "128:512",
                       **{f"widths.{i}": f"{16 * (i + 1)}:{160 * (i + 1)}:16" for i in range(4)}},
    "efficientnet_b0": {"phi": "0:3:0.001", "classes": "10:1000"},
    "ofa": {**{f"depths.{i}": "2:4" for i in range(5)}, **{f"kernels.{i}": "3,5,7" for i in range(5)},
            **{f"expansions.{i}": "3,4,6" for i in range(5)}, "width": "0.5:1.5:0.05",
            "input": "128:320:32"},
}  # fmt: skip
"""Spaces of which a million configurations are drawn and priced."""


GRIDS = {
    "resnet50": {"depths.0": "1:36", "depths.2": "1:36", "width_per_group": "16:128",
                 "input": "128:320"},
    "mobilenet_v2": {"stages.2.2": "1:8", "stages.4.2": "1:8", "width": "0.25:2:0.005",
                     "input": "96:320:1"},
}  # fmt: skip
"""Spaces of which all configurations are priced."""
WORKERS = (1, 2)


def swept(name: str, vary: Mapping[str, str], sample: int | None, jobs: int) -> str:
    """Price configurations, keep the best of them; return how many a second, the start included."""
    from archcost import load, loads
    from archcost.setting import Setting
    from archcost.space.grid import Space, read_dimension
    from archcost.space.pricing import OneByOne
    from archcost.space.sweep import Sweeper, select
    from archcost.space.workers import blocks_of

    start = time.perf_counter()
    network = loads(OFA) if name == "ofa" else load(name)
    dimensions = {knob: read_dimension(values) for knob, values in vary.items()}
    orders = ["macs", "-params"]
    sweeper = Sweeper(network, Setting(), Space(dimensions, sample), orders=orders)
    with blocks_of(sweeper, jobs, pareto=True) as blocks:
        if jobs > 1:
            select(blocks, sweeper.orders, pareto=True, top=None)
        else:
            for _ in blocks:
                pass
    rate = sweeper.tally.seen / (time.perf_counter() - start)
    said = f"{len(sweeper.space):,} of {name}, {len(vary)} names, {jobs} at work: {rate:,.0f}/s"
    if jobs > 1:
        return said
    few, start = Space(dimensions, 100).columns(0, 100), time.perf_counter()
    OneByOne(sweeper.figures_at).price(few)
    alone = 100 / (time.perf_counter() - start)
    return f"{said} by {sweeper.runs} runs; one by one {alone:,.0f}/s, {rate / alone:,.0f} times"


def sweeping() -> None:
    """Price a million configurations of each space, and all of some grids."""
    for title, spaces, sample in (("sample", SWEPT, 10**6), ("grid", GRIDS, None)):
        for name, vary in spaces.items():
            for jobs in WORKERS:
                print(f"{title} of {swept(name, vary, sample, jobs)}", flush=True)
    words = [PYTHON, "-m", "archcost", "sweep", "resnet50"]
    space = [word for item in SWEPT["resnet50"].items() for word in ("--vary", "=".join(item))]
    rows = ["--sample", "200000", "--output", os.devnull, "--format", "csv"]
    alone("sweep of 200,000 ResNets to CSV", [*words, *space, *rows], "under 2 s")
    alone("sweep of 2 ResNets", [*words, "--vary", "classes=10,100"], "under 0.4 s")


FIRST = """
import json, sys, time
from archcost import analyze, load
times = []
for _ in range(6):
    start = time.process_time()
    analyze(load('resnet50')).total
    times.append(time.process_time() - start)
print(json.dumps({'first time in a process': times[0], 'again': min(times[1:])}))
"""
PEAKS = """
import gc, json, os, tempfile, time
from dataclasses import replace
from archcost import catalog, load
try:
    from archcost.setting import Setting
    from archcost.storage.peaks import training_peak
    peak = lambda network: training_peak(network, Setting(optimizer='sgd-momentum', device='cpu'))
except ImportError:
    from archcost.memory.peaks import training_peak as peak
gc.disable()
items = 'conv(8, 3, padding=1) >> relu >> conv(8, 3, padding=1)'
with tempfile.TemporaryDirectory() as folder:
    file = os.path.join(folder, 'x.yaml')
    print('name: x', 'input: 8x16x16', 'layers:', '  - ' + items, sep=chr(10), file=open(file, 'w'))
    short = load(file)
first, relu, conv = short.layers
layers, before = [first], first.path
for number in range(20_000):
    for kind in (relu, conv):
        path = f'{kind.op.name}x{number}'
        own = {'module': path} if hasattr(kind, 'module') else {}
        layers.append(replace(kind, path=path, inputs=(before,), **own))
        before = path
chain = replace(short, layers=tuple(layers[:40_000]), outputs=(layers[39_999].path,))
found = {}
for name in [*catalog(), 'a chain of 40,000 layers']:
    network = chain if name.startswith('a chain') else load(name)
    if 'drop_path' in getattr(network, 'knobs', {}):  # without the layers that a spec did not have before
        network = load(name, knobs={'drop_path': 0})
    times = []
    for _ in range(3):
        start = time.process_time()
        try:
            peak(network)
        except Exception:  # not known of this model
            break
        times.append(time.process_time() - start)
    else:
        found[name] = min(times)
print(json.dumps(found))
"""
WHOLE = (["table", "vgg16"], ["compare", "--all"], ["audit", "--all"])


def seconds(tree: Path, command: Sequence[str]) -> tuple[float, str]:
    """Return the CPU seconds of a process in a checkout, and what it prints."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPATH"] = str(tree)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tree, env=env, text=True)
    text = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)[:80]} failed in {tree}")
    return usage.ru_utime + usage.ru_stime, text


def against(before: Path) -> None:
    """Compare this checkout with another: whole commands, ResNet-50, every training peak."""
    trees = (before, HERE)
    bare = [seconds(HERE, [PYTHON, "-c", "import click, yaml"])[0] for _ in range(RUNS)]
    print(f"import click, yaml: {min(bare):.3f} s of CPU")
    for words in WHOLE:
        rows = [[seconds(tree, [PYTHON, "-m", "archcost", *words])[0] for tree in trees]
                for _ in range(RUNS if words[0] == "table" else 4)]  # fmt: skip
        told = [min(column) for column in zip(*rows, strict=True)]
        print(f"{' '.join(words)}: {told[0]:.3f} s before, {told[1]:.3f} s now")
    for code, runs in ((FIRST, RUNS), (PEAKS, 2)):
        found = [[json.loads(seconds(tree, [PYTHON, "-c", code])[1]) for tree in trees]
                 for _ in range(runs)]  # fmt: skip
        names = [name for name in found[0][0] if name in found[0][1]]
        best = {name: [min(run[i][name] for run in found) for i in (0, 1)] for name in names}
        if code is FIRST:
            for name, (old, new) in best.items():
                print(f"resnet50, load and analyze, {name}: {old * 1e3:.2f} ms, {new * 1e3:.2f} ms")
            continue
        chain = best.pop(names[-1])
        old, new = map(sum, zip(*best.values(), strict=True))
        slower = {name: now / was for name, (was, now) in best.items() if now > 1.05 * was}
        print(f"training_peak of {len(best)} models: {old:.2f} s before, {new:.2f} s now")
        print(f"training_peak of {names[-1]}: {chain[0]:.2f} s before, {chain[1]:.2f} s now")
        worst = sorted(slower.items(), key=lambda item: -item[1])[:10]
        print(
            f"slower by 5 % or more: {len(slower)}: {', '.join(f'{name} {by:.2f}' for name, by in worst)}"
        )


def main() -> None:
    """Run every benchmark."""
    if len(sys.argv) > 1:
        against(Path(sys.argv[1]).resolve())
        return
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
    code()
    in_process()
    sweeping()
    print(f"this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
