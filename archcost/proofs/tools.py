"""The tools that count the operations of a module: how each is called, in one place.

The counters check runs them on twins, ``tests/recorded/record_counters.py`` on torchvision's models
and on every op by itself.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archcost.packages import import_package
from archcost.proofs import Subject
from archcost.proofs.watch import (
    has_fused_attention,
    has_fused_steps,
    operations_device,
    shapes_device,
)
from archcost.pytorch import import_torch

TOTAL = ""

Counts = Mapping[str, int]
"""Counts by layer path; the total is under the empty path."""

Run = Callable[[Any, Sequence[Any]], Counts]
"""Counts a module, which it may damage, called with these inputs; by layer, or the total only."""


@dataclass(frozen=True, slots=True)
class Counter:
    """A tool that counts operations of a module.

    Attributes:
        convention: name of the convention by which it counts.
        package: its distribution, and the module to import.
        run: see :data:`Run`.
        whole_batch: False where it counts one sample, whatever the batch.
        device: where it counts a subject's twin: the subject's device, or where the same count
            comes sooner.
        not_on_meta: why it cannot count on the meta device, empty if it can.
        marks: whether it leaves something in the modules, so that no other tool may follow.
        apart: why the counters check leaves it out, empty if it runs it.
        of_version: whether it is about this version of the package.
    """

    convention: str
    package: str
    run: Run
    whole_batch: bool = True
    device: Callable[[Subject], str] = lambda subject: subject.device
    not_on_meta: str = ""
    marks: bool = False
    apart: str = ""
    of_version: Callable[[str], bool] = lambda version: True

    @property
    def version(self) -> str:
        """The version that is installed, empty if none is that this is about."""
        try:
            found = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return ""
        return found if self.of_version(found) else ""


TOOLS: list[Counter] = []
"""Every tool, in the order in which they run."""


def counter(convention: str, package: str, **traits: Any) -> Callable[[Run], Run]:
    """Register a function as the counter of a convention."""

    def register(run: Run) -> Run:
        TOOLS.append(Counter(convention, package, run, **traits))
        return run

    return register


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
def fvcore(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with fvcore.nn.FlopCountAnalysis."""
    tool = importlib.import_module("fvcore.nn")
    with import_torch().no_grad():
        counted = tool.FlopCountAnalysis(twin, tuple(inputs)).by_module()
    return {path: _whole(count) for path, count in counted.items()}


def _decomposed(subject: Subject) -> str:
    """Return a device on which attention and LSTMs run as operations that the counter knows."""
    network = subject.network
    apart = has_fused_attention(network) or has_fused_steps(network)
    return "meta" if apart else shapes_device(subject)


@counter("torch", "torch", device=_decomposed)
def flop_counter_mode(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with torch.utils.flop_counter.FlopCounterMode; on a CPU it misses fused attention."""
    tool = importlib.import_module("torch.utils.flop_counter")
    learnt = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    twin.requires_grad_(False)  # it fails on a module that returns a view of a learnt parameter
    try:
        with import_torch().no_grad(), tool.FlopCounterMode(display=False) as counted:
            twin(*inputs)
    finally:
        for parameter in learnt:
            parameter.requires_grad_(True)
    root = f"{type(twin).__name__}."
    by_layer = {
        name.removeprefix(root): sum(flops.values())
        for name, flops in counted.get_flop_counts().items()
        if name.startswith(root)
    }
    return {**by_layer, TOTAL: counted.get_total_flops()}


DECOMPOSED = "there PyTorch makes other operations of a layer, and it counts these too"


@counter("profiler", "torch", not_on_meta=DECOMPOSED)
def profiler(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with torch.profiler.profile(with_flops=True)."""
    tool = importlib.import_module("torch.profiler")
    cpu = [tool.ProfilerActivity.CPU]  # the side that issues the operations, whatever the device
    with (
        import_torch().no_grad(),
        tool.profile(activities=cpu, record_shapes=True, with_flops=True) as run,
    ):
        twin(*inputs)
    return {TOTAL: sum(event.flops or 0 for event in run.events())}


@counter("torchinfo", "torchinfo", device=shapes_device)
def torchinfo(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with torchinfo.summary, its total mult-adds."""
    tool = importlib.import_module("torchinfo")
    counted = tool.summary(twin, input_data=list(inputs), verbose=0, device=inputs[0].device)
    # it keeps the last module of a class with its weights, also where it was not asked to
    getattr(importlib.import_module("torchinfo.torchinfo"), "_cached_forward_pass", {}).clear()
    return {TOTAL: _whole(counted.total_mult_adds)}


OLD_PTFLOPS = "0.7"  # the last one before it looked at functions, too


def _not_old(version: str) -> bool:
    return version != OLD_PTFLOPS


@counter(
    "ptflops", "ptflops", whole_batch=False, not_on_meta=DECOMPOSED, marks=True,
    of_version=_not_old,
)  # fmt: skip
def ptflops(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with ptflops.get_model_complexity_info, its default backend."""
    return _ptflops(twin, inputs, backend="pytorch")


@counter(
    "ptflops_aten", "ptflops", whole_batch=False, device=operations_device,
    not_on_meta=DECOMPOSED, marks=True, of_version=_not_old,
)  # fmt: skip
def ptflops_aten(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with ptflops.get_model_complexity_info, backend 'aten'."""
    return _ptflops(twin, inputs, backend="aten")


def _ptflops(twin: Any, inputs: Sequence[Any], **backend: str) -> Counts:
    class ByName(import_torch().nn.Module):  # type: ignore[misc]
        def forward(self, **named: Any) -> Any:
            return self.twin(*named.values())

    whole = ByName()
    whole.twin = twin
    macs, _ = import_package("ptflops").get_model_complexity_info(
        whole, tuple(inputs[0].shape[1:]), as_strings=False, print_per_layer_stat=False,
        input_constructor=lambda _: {f"x{i}": x for i, x in enumerate(inputs)}, **backend,
    )  # fmt: skip
    return {TOTAL: _whole(macs)}


@counter("thop", "thop", device=shapes_device, marks=True)
def thop(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with thop.profile."""
    macs, _ = importlib.import_module("thop").profile(twin, inputs=tuple(inputs), verbose=False)
    return {TOTAL: _whole(macs)}


@counter("calflops", "calflops", device=shapes_device, marks=True)
def calflops(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with calflops.calculate_flops, its FLOPs."""
    return {TOTAL: _calflops(twin, inputs)[0]}


@counter("calflops_macs", "calflops", device=shapes_device, marks=True)
def calflops_macs(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with calflops.calculate_flops, its MACs."""
    return {TOTAL: _calflops(twin, inputs)[1]}


def _calflops(twin: Any, inputs: Sequence[Any]) -> tuple[int, int]:
    torch = import_torch()
    if next(twin.parameters(), None) is None:  # which it asks for the device
        twin.register_parameter("nothing", torch.nn.Parameter(inputs[0].new_empty(0).float()))
    # it patches these, and leaves them so where a network cannot be counted
    patched = [(place, dict(vars(place))) for place in (torch, torch.nn.functional, torch.Tensor)]
    try:
        with torch.no_grad():
            flops, macs, _ = import_package("calflops").calculate_flops(
                twin, args=[*inputs], output_as_string=False, print_results=False
            )
    finally:
        for place, before in patched:
            for name, value in before.items():
                if vars(place).get(name) is not value:
                    setattr(place, name, value)
    return _whole(flops), _whole(macs)


@counter(
    "ptflops_0.7", "ptflops", whole_batch=False, marks=True,
    apart="another version of ptflops", of_version=lambda version: version == OLD_PTFLOPS,
)  # fmt: skip
def ptflops_old(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with ptflops.get_model_complexity_info of version 0.7, which has one backend."""
    return _ptflops(twin, inputs)


PATCHES = "it patches PyTorch for good, and so needs a process of its own"


@counter("deepspeed", "deepspeed", marks=True, apart=PATCHES)
def deepspeed(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with deepspeed.profiling.flops_profiler.get_model_profile, its FLOPs."""
    return {TOTAL: _deepspeed(twin, inputs)[0]}


@counter("deepspeed_macs", "deepspeed", marks=True, apart=PATCHES)
def deepspeed_macs(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with deepspeed.profiling.flops_profiler.get_model_profile, its MACs."""
    return {TOTAL: _deepspeed(twin, inputs)[1]}


def _deepspeed(twin: Any, inputs: Sequence[Any]) -> tuple[int, int]:
    profiler = import_package("deepspeed.profiling.flops_profiler")
    flops, macs, _ = profiler.get_model_profile(
        twin, args=[*inputs], print_profile=False, detailed=False, as_string=False
    )
    return _whole(flops), _whole(macs)


@counter("torchstat_flops", "torchstat", marks=True, apart=PATCHES)
def torchstat_flops(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with torchstat.ModelHook, the sum of its Flops."""
    return {TOTAL: sum(int(leaf.Flops) for leaf in _torchstat(twin, inputs))}


@counter("torchstat_madd", "torchstat", marks=True, apart=PATCHES)
def torchstat_madd(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with torchstat.ModelHook, the sum of its MAdd."""
    return {TOTAL: sum(int(leaf.MAdd) for leaf in _torchstat(twin, inputs))}


def _torchstat(twin: Any, inputs: Sequence[Any]) -> list[Any]:
    """Return the leaves that it has counted; its own report does not run beside today's pandas."""
    torch: Any = import_torch()

    class Fed(torch.nn.Module):  # type: ignore[misc]
        # the tool calls what it counts with one input of its own
        def __init__(self) -> None:
            super().__init__()
            self.twin = twin

        def forward(self, _: Any) -> Any:
            return self.twin(*inputs)

    hook = import_package("torchstat").ModelHook(Fed(), (1,))
    return list(hook.retrieve_leaf_modules().values())


OUTPUTS = "it counts outputs, not operations"


@counter("fvcore activations", "fvcore", apart=OUTPUTS)
def fvcore_activations(twin: Any, inputs: Sequence[Any]) -> Counts:
    """Count with fvcore.nn.ActivationCountAnalysis."""
    tool = importlib.import_module("fvcore.nn")
    with import_torch().no_grad():
        counted = tool.ActivationCountAnalysis(twin, tuple(inputs)).total()
    return {TOTAL: _whole(counted)}


def _whole(count: Any) -> int:
    if int(count) != count:
        raise ValueError(f"{count!r} is not a whole number")
    return int(count)
