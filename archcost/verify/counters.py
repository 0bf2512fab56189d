"""The counters check: each tool's number for the twin against archcost's, in its own convention."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from archcost.conventions import Convention, find_convention
from archcost.errors import shorten
from archcost.torch_twin import import_torch
from archcost.verify import Check, Subject, validator
from archcost.verify.packages import import_package
from archcost.verify.watch import (
    copy_on,
    has_fused_attention,
    operations_device,
    random_input,
    shapes_device,
)

GROUP = "counters"
TOTAL = ""

Counts = Mapping[str, int]
"""Counts by layer path; the total is under the empty path."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A tool that counts operations of a module.

    Attributes:
        convention: name of the convention by which it counts.
        package: its distribution, and the module to import.
        run: counts a module that it may damage; by layer, or the total only.
        whole_batch: False where it counts one sample, whatever the batch.
        device: where it counts a subject's twin: the subject's device, or where the same count
            comes sooner.
        not_on_meta: why it cannot count on the meta device, empty if it can.
        marks: whether it leaves something in the modules, so that no other tool may follow.
    """

    convention: str
    package: str
    run: Callable[[Any, Any], Counts]
    whole_batch: bool = True
    device: Callable[[Subject], str] = lambda subject: subject.device
    not_on_meta: str = ""
    marks: bool = False


COUNTERS: list[Counter] = []
"""Every counter, in the order in which they run."""


def counter(
    convention: str, package: str, **traits: Any
) -> Callable[[Callable[[Any, Any], Counts]], Callable[[Any, Any], Counts]]:
    """Register a function as the counter of a convention."""

    def register(run: Callable[[Any, Any], Counts]) -> Callable[[Any, Any], Counts]:
        COUNTERS.append(Counter(convention, package, run, **traits))
        return run

    return register


@validator(GROUP)
def counters(subject: Subject) -> Iterator[Check]:
    """Compare each tool's count in evaluation mode with the convention's, exactly.

    A tool runs on a copy of the twin, because some change the modules that they count. One that
    goes by shapes alone runs where that is quick. One that is not installed, or that cannot run
    here, is skipped with the reason.
    """
    clean: dict[str, Any] = {}
    for tool in COUNTERS:
        convention = find_convention(tool.convention)
        name = f"{convention.name} total"
        reason = _why_not(tool, subject)
        if reason:
            yield Check(GROUP, name, "", None, None, skipped=reason, against=convention.name)
            continue
        device = tool.device(subject)
        x = random_input(subject, subject.batch if tool.whole_batch else 1).to(device)
        if tool.marks:
            twin = copy_on(subject, device)
        else:
            if device not in clean:
                clean[device] = copy_on(subject, device)
            twin = clean[device]
        try:
            with quiet():
                measured = tool.run(twin.eval(), x)
        except Exception as error:  # tools raise what they like; the finding is that they cannot
            note = f"{type(error).__name__}: {shorten(error, 200)}"
            yield Check(GROUP, name, "", "a count", note, against=convention.name)
            continue
        yield from _compare(subject, convention, len(x), measured, _note(tool, convention))


def _compare(
    subject: Subject, convention: Convention, batch: int, measured: Counts, note: str
) -> Iterator[Check]:
    total = 0
    compared = partial(Check, GROUP, note=note, against=convention.name)
    for layer in subject.network:
        expected = convention.count(layer.cost.work) * batch
        total += expected
        if len(measured) > 1 and (expected or measured.get(layer.path)):
            found = measured.get(layer.path, 0)
            yield compared(convention.name, layer.path, expected, found)
    yield compared(f"{convention.name} total", "", total, measured[TOTAL])


def _why_not(tool: Counter, subject: Subject) -> str:
    if subject.device == "meta" and tool.not_on_meta:
        return f"{tool.convention} on the meta device: {tool.not_on_meta}"
    try:
        with quiet():
            import_package(tool.package)
    except ImportError:
        return f"{tool.package} is not installed"
    except Exception as error:  # such as a compiled extension that does not load
        return f"{tool.package} cannot be imported: {shorten(error, 100)}"
    return ""


def _note(tool: Counter, convention: Convention) -> str:
    """Return what the reader must know of a number: the tool's faults, and another version."""
    version = f"{tool.package} {importlib.metadata.version(tool.package).partition('+')[0]}"
    # thop's wheel and its metadata spell one version in two ways
    same = version.replace("-", ".post") == convention.tool_version
    other = "" if same else f"this is {version}; the convention is that of "
    return "; ".join(
        filter(None, (other + convention.tool_version if other else "", convention.note))
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what a tool prints, warns and logs from the terminal, also what its C++ code prints."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    level = logging.root.manager.disable
    with open(os.devnull, "w", encoding="utf-8") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        kept = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in kept:
                os.dup2(nowhere.fileno(), number)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for number, copied in kept:
                os.dup2(copied, number)
                os.close(copied)
            logging.disable(level)


@counter("fvcore", "fvcore", not_on_meta="its trace looks at values")
def fvcore(twin: Any, x: Any) -> Counts:
    """Count with fvcore.nn.FlopCountAnalysis."""
    tool = importlib.import_module("fvcore.nn")
    with import_torch().no_grad():
        counted = tool.FlopCountAnalysis(twin, x).by_module()
    return {path: _whole(count) for path, count in counted.items()}


def _decomposed(subject: Subject) -> str:
    """Return where attention is not one operation, which the counter of PyTorch does not know."""
    return "meta" if has_fused_attention(subject.network) else shapes_device(subject)


@counter("torch", "torch", device=_decomposed)
def flop_counter_mode(twin: Any, x: Any) -> Counts:
    """Count with torch.utils.flop_counter.FlopCounterMode; on a CPU it misses fused attention."""
    tool = importlib.import_module("torch.utils.flop_counter")
    with import_torch().no_grad(), tool.FlopCounterMode(display=False) as counted:
        twin(x)
    root = f"{type(twin).__name__}."
    by_layer = {
        name.removeprefix(root): sum(flops.values())
        for name, flops in counted.get_flop_counts().items()
        if name.startswith(root)
    }
    return {**by_layer, TOTAL: counted.get_total_flops()}


DECOMPOSED = "there PyTorch makes other operations of a layer, and it counts these too"


@counter("profiler", "torch", not_on_meta=DECOMPOSED)
def profiler(twin: Any, x: Any) -> Counts:
    """Count with torch.profiler.profile(with_flops=True)."""
    tool = importlib.import_module("torch.profiler")
    cpu = [tool.ProfilerActivity.CPU]  # the side that issues the operations, whatever the device
    with (
        import_torch().no_grad(),
        tool.profile(activities=cpu, record_shapes=True, with_flops=True) as run,
    ):
        twin(x)
    return {TOTAL: sum(event.flops or 0 for event in run.events())}


@counter("torchinfo", "torchinfo", device=shapes_device)
def torchinfo(twin: Any, x: Any) -> Counts:
    """Count with torchinfo.summary, its total mult-adds."""
    tool = importlib.import_module("torchinfo")
    counted = tool.summary(twin, input_data=x, verbose=0, device=x.device)
    # it keeps the last module of a class with its weights, also where it was not asked to
    getattr(importlib.import_module("torchinfo.torchinfo"), "_cached_forward_pass", {}).clear()
    return {TOTAL: _whole(counted.total_mult_adds)}


@counter("ptflops", "ptflops", whole_batch=False, not_on_meta=DECOMPOSED, marks=True)
def ptflops(twin: Any, x: Any) -> Counts:
    """Count with ptflops.get_model_complexity_info, its default backend."""
    return _ptflops(twin, x, "pytorch")


@counter(
    "ptflops_aten", "ptflops", whole_batch=False, device=operations_device,
    not_on_meta=DECOMPOSED, marks=True,
)  # fmt: skip
def ptflops_aten(twin: Any, x: Any) -> Counts:
    """Count with ptflops.get_model_complexity_info, backend 'aten'."""
    return _ptflops(twin, x, "aten")


def _ptflops(twin: Any, x: Any, backend: str) -> Counts:
    macs, _ = importlib.import_module("ptflops").get_model_complexity_info(
        twin, tuple(x.shape[1:]), backend=backend, as_strings=False, print_per_layer_stat=False,
        input_constructor=lambda _: {"x": x},
    )  # fmt: skip
    return {TOTAL: _whole(macs)}


@counter("thop", "thop", device=shapes_device, marks=True)
def thop(twin: Any, x: Any) -> Counts:
    """Count with thop.profile."""
    macs, _ = importlib.import_module("thop").profile(twin, inputs=(x,), verbose=False)
    return {TOTAL: _whole(macs)}


@counter("calflops", "calflops", device=shapes_device, marks=True)
def calflops(twin: Any, x: Any) -> Counts:
    """Count with calflops.calculate_flops, its FLOPs."""
    return {TOTAL: _calflops(twin, x)[0]}


@counter("calflops_macs", "calflops", device=shapes_device, marks=True)
def calflops_macs(twin: Any, x: Any) -> Counts:
    """Count with calflops.calculate_flops, its MACs."""
    return {TOTAL: _calflops(twin, x)[1]}


def _calflops(twin: Any, x: Any) -> tuple[int, int]:
    torch = import_torch()
    if next(twin.parameters(), None) is None:  # which it asks for the device
        twin.register_parameter("nothing", torch.nn.Parameter(x.new_empty(0)))
    # it patches these, and leaves them so where a network cannot be counted
    patched = [(place, dict(vars(place))) for place in (torch, torch.nn.functional, torch.Tensor)]
    try:
        with torch.no_grad():
            flops, macs, _ = import_package("calflops").calculate_flops(
                twin, args=[x], output_as_string=False, print_results=False
            )
    finally:
        for place, before in patched:
            for name, value in before.items():
                if vars(place).get(name) is not value:
                    setattr(place, name, value)
    return _whole(flops), _whole(macs)


def _whole(count: Any) -> int:
    if int(count) != count:
        raise ValueError(f"{count!r} is not a whole number")
    return int(count)
