"""Training peaks on the same rows: ours, MemTracker, torchinfo and the sum of all outputs.

``python tests/memory_comparison.py`` writes the table of docs/memory.md anew.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from archcost import load
from archcost.optimizers import FOREACH
from archcost.proofs import Subject
from archcost.proofs.peaks import FakeRun
from archcost.proofs.watch import fake_copy
from archcost.pytorch import build
from archcost.setting import Setting
from archcost.shape import numel
from archcost.storage.peaks import training_peak
from archcost.table import Cell, Column, Table

cpu = partial(Setting, device="cpu")

DOCS = Path(__file__).parent.parent / "docs" / "memory.md"
MODELS = (
    "alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "densenet121", "mobilenet_v2",
    "squeezenet1_1", "efficientnet_b0", "convnext_tiny",
)  # fmt: skip
BATCH, OPTIMIZER = 8, "sgd-momentum"
MARKS = ("<!-- comparison -->\n", "<!-- end of comparison -->\n")

COLUMNS = (
    Column("model", "model"),
    Column("measured", "measured bytes", True),
    Column("archcost", "archcost", True),
    Column("memtracker", "MemTracker", True),
    Column("eager", "without an observer", True),
    Column("outputs", "sum of outputs", True),
    Column("torchinfo", "torchinfo", True),
)


def measured(name: str) -> int:
    """Return the peak of a step by every storage that appears and goes."""
    net = load(name)
    run = FakeRun(Subject(net, build(net, device="meta"), "meta", cpu(BATCH)))
    steps = run.training(BATCH)
    assert steps is not None
    return max(peak[1] for peak in steps[OPTIMIZER].values())


def memtracker(name: str) -> int:
    """Return the peak that PyTorch's own tracker reports of the same step."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.mem_tracker import MemTracker

    net, fake = load(name), FakeTensorMode()
    twin = fake_copy(build(net, device="meta"), fake, "cpu").train()
    with fake:
        x = torch.empty(BATCH, *net.input)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, foreach=True)
        for parameter in twin.parameters():
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        tracker = MemTracker()
        tracker.track_external(twin, optimizer, x)
        with tracker:
            twin(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        found = tracker.get_tracker_snapshot("peak")
    return int(sum(kinds["Total"] for kinds in found.values()))


def torchinfo(name: str) -> int:
    """Return torchinfo's estimate of the total size, which has no gradients and no optimizer."""
    import torchinfo as package

    net = load(name)
    found = package.summary(build(net), input_size=(BATCH, *net.input), verbose=0)
    return int(found.total_input + found.total_output_bytes + found.total_param_bytes)


def outputs(name: str) -> int:
    """Return parameters, gradients, momentum, buffers, input and the output of every layer."""
    net = load(name)
    step = training_peak(net, cpu(BATCH, optimizer=OPTIMIZER))
    made = sum(numel(layer.cost.output) for layer in net) * BATCH * 4
    return 3 * step.params + step.buffers + step.input + made


def row(name: str) -> tuple[Cell, ...]:
    """Return a model's measured bytes, and the signed errors of the estimates."""
    truth = measured(name)
    ours, eager = (
        training_peak(
            load(name), cpu(BATCH, optimizer=OPTIMIZER, kernel=FOREACH, observed=o)
        ).peak.total
        for o in (True, False)
    )
    estimates = (ours, memtracker(name), eager, outputs(name), torchinfo(name))
    return (name, f"{truth:,}", *(error(estimate, truth) for estimate in estimates))


def error(estimate: int, truth: int) -> str:
    """Return a signed error in percent, or plain 0 where no byte differs."""
    return f"{(estimate - truth) / truth:+.2%}" if estimate != truth else "0"


def table(rows: list[tuple[Cell, ...]]) -> str:
    """Return the rows as Markdown, and how many of them are under-estimates."""
    footer: list[Cell] = ["under-estimates"]
    for column, cells in zip(COLUMNS[1:], list(zip(*rows, strict=True))[1:], strict=True):
        under = sum(str(cell).startswith("-") for cell in cells)
        footer.append("" if column.key in ("measured", "eager") else f"{under} of {len(rows)}")
    return Table(COLUMNS, tuple(rows), footer=(tuple(footer),)).render("markdown").strip() + "\n"


def versions() -> str:
    """Return what was compared, with versions."""
    torch = version("torch").partition("+")[0]
    return f"torch {torch}, torchinfo {version('torchinfo')}"


def main() -> None:
    """Write the table into the docs."""
    rows: list[Any] = []
    for name in MODELS:
        rows.append(row(name))
        print(*rows[-1], file=sys.stderr)
    text = DOCS.read_text("utf-8")
    made = f"{MARKS[0]}Batch {BATCH}, {OPTIMIZER}, {versions()}:\n\n{table(rows)}{MARKS[1]}"
    DOCS.write_text(
        re.sub(re.escape(MARKS[0]) + ".*?" + MARKS[1], lambda _: made, text, flags=re.DOTALL)
    )


if __name__ == "__main__":
    main()
