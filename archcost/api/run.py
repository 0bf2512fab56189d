"""How a network runs: its memory, what fits, how fast; and budgets, and what changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from archcost.api import (
    LoadOptions,
    Model,
    RunOptions,
    device_of,
    name_of,
    network_of,
    setting_of,
    takes,
)
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.setting import Setting

if TYPE_CHECKING:
    from archcost.budget.budget import Check
    from archcost.budget.difference import Differences
    from archcost.hardware import Device
    from archcost.performance.roofline import Roofline
    from archcost.storage.fit import Fits
    from archcost.storage.footprint import Footprint


def _bytes(name: str, size: object) -> int:
    from archcost.units import parse_bytes

    if isinstance(size, str):
        return parse_bytes(size)
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    raise ArchcostError(f"{name} is bytes or a size such as '16GB'; got {size!r}")


@takes(RunOptions)
def memory(
    model: Model,
    *,
    batch: int = 1,
    gpu: str | Device | None = None,
    **options: Unpack[RunOptions],
) -> Footprint:
    """Return the memory that a network takes in training and in inference, in bytes.

    Args:
        model: a catalog name, a path, or a Network.
        batch: samples per pass.
        gpu: a device of ``archcost hardware``. The result then has its cuBLAS workspace.
        **options: ``dtype``, ``device``, ``optimizer``, ``kernel``, ``weight_decay``, ``freeze``,
            ``amp``, ``checkpoint``, ``channels_last``; and ``input``, ``knobs``, ``aux``, ``bias``,
            as for :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, device or option.
        ArchcostError: a setting that cannot run, or a layer whose peak archcost does not know.

    Examples:
        >>> found = archcost.memory("resnet50", batch=32, optimizer="adam")
        >>> found.saved.total, found.training.peak.total
        (2749316608, 3089884672)
    """
    from archcost.storage.footprint import Footprint

    setting, rest = setting_of(options, batch=batch, gpu=device_of(gpu))
    found = Footprint(network_of(model, rest), setting)
    found.training  # noqa: B018  # a layer whose peak is not known is refused here
    return found


@takes(RunOptions)
def fit(
    model: Model,
    *,
    gpu: str | Device | None = None,
    memory: str | int | None = None,
    reserve: str | int = 0,
    **options: Unpack[RunOptions],
) -> Fits:
    """Return the largest batch that fits in memory, for training and for inference.

    Args:
        model: a catalog name, a path, or a Network.
        gpu: a device of ``archcost hardware``. Give either ``gpu`` or ``memory``.
        memory: bytes, or a size such as ``"16GB"`` (10⁹) or ``"16GiB"`` (2³⁰).
        reserve: bytes, or a size, to leave for CUDA and its libraries.
        **options: as for :func:`archcost.memory`.

    Raises:
        LookupFailed: an unknown model, device or option.
        ArchcostError: neither or both of ``gpu`` and ``memory``, or not even one sample fits.

    Examples:
        >>> [(fit.use, fit.batch) for fit in archcost.fit("alexnet", gpu="gtx580").fits]
        [('training', 335), ('inference', 935)]
    """
    from archcost.storage.fit import fit

    if (gpu is None) == (memory is None):
        raise ArchcostError("name either gpu, such as gpu='v100', or memory, such as memory='16GB'")
    found = device_of(gpu)
    setting, rest = setting_of(options, gpu=found)
    room = found.memory if found else _bytes("memory", memory)
    left = _bytes("reserve", reserve)
    return fit(network_of(model, rest), room, setting, left)


@takes(LoadOptions)
def roofline(
    model: Model,
    *,
    gpu: str | Device | None = None,
    batch: int = 1,
    dtype: str = "float32",
    record: str | os.PathLike[str] | None = None,
    **options: Unpack[LoadOptions],
) -> Roofline:
    """Return whether compute or memory limits each layer on a device, and bounds on the time.

    Args:
        model: a catalog name, a path, or a Network.
        gpu: a device of ``archcost hardware``. The default is the device of the record.
        batch: samples per pass.
        dtype: data type of parameters and activations.
        record: a record of ``archcost profile``. The result then has its measured times too.
        **options: ``input``, ``knobs``, ``aux`` and ``bias``, as for :func:`archcost.load`.

    Raises:
        LookupFailed: an unknown model, device or option.
        ArchcostError: no device, a device without a peak for the data type, or a record without
            this network.

    Examples:
        >>> found = archcost.roofline("resnet50", gpu="h100", batch=32)
        >>> found.hard.binds, float(found.hard.seconds) < float(found.eager.seconds)
        ('compute', True)
    """
    from archcost.performance.roofline import recorded

    setting = Setting(batch, dtype)
    if device := device_of(gpu):
        setting = setting.on(device)
    file = os.fspath(record) if record is not None else None
    return recorded(network_of(model, options), setting, file)


@takes(RunOptions)
def diff(
    old: Model,
    new: Model,
    *,
    fail_on: str | Sequence[str] = (),
    gpu: str = "",
    batch: int = 1,
    **options: Unpack[RunOptions],
) -> Differences:
    """Return what changed from one network to another: every figure, and the layers.

    Args:
        old: a catalog name, a path, a path at a git revision (``main:specs/net.yaml``), a revision
            of ``new``'s file, or a Network.
        new: as ``old``. For a family, every variant is compared, unless ``old`` or ``new`` is a
            Network.
        fail_on: conditions such as ``"macs > +5%"``. Those that are true are in ``.failed``.
        gpu: a device or a memory size, for the largest batch that fits.
        batch: samples per pass.
        **options: as for :func:`archcost.memory`.

    Raises:
        LookupFailed: an unknown model, device or option.
        ArchcostError: a model that cannot be read, or no network in common.

    Examples:
        >>> found = archcost.diff("resnet50", "resnext50_32x4d", fail_on="macs > +5%")
        >>> found.failed
        ()
    """
    from archcost.budget.condition import parse_option
    from archcost.budget.difference import Differences, compare_subjects, diff
    from archcost.figures import Subject, memory_of

    texts = [fail_on] if isinstance(fail_on, str) else fail_on
    unwanted = tuple(parse_option("fail_on", text) for text in texts)
    setting, rest = setting_of(options, batch=batch)
    if not isinstance(old, Network) and not isinstance(new, Network):
        network_options = {"input": None, "knobs": {}, "aux": False, "bias": True, **rest}
        names = name_of(old), name_of(new)
        return diff(*names, setting, network_options, gpu, unwanted)
    if gpu:
        memory_of(gpu)
    before, after = (Subject(network_of(model, rest), setting) for model in (old, new))
    name = f"{before.network.name} -> {after.network.name}"
    return Differences(name, (compare_subjects(name, before, after, gpu, unwanted),))


@takes(RunOptions)
def check(
    model: Model | None = None,
    *conditions: str,
    baseline: Model | None = None,
    batch: int = 1,
    convention: str = "flops",
    activations: str = "lecture",
    **options: Unpack[RunOptions],
) -> Check:
    """Check a network against budgets, or all networks of a file of budgets.

    Args:
        model: a catalog name, a path, a Network, or a ``.toml`` file of budgets. None reads
            ``archcost.toml`` or ``pyproject.toml`` in this folder or a folder above.
        *conditions: conditions that must be true of a model: ``"macs <= 4.2G"``,
            ``"params <= +2%"``.
        baseline: what ``+2%`` is relative to: a model, a path, a git revision, or a Network.
        batch: samples per pass.
        convention: how ``counted`` counts operations.
        activations: which outputs count as activations.
        **options: as for :func:`archcost.memory`. A file of budgets has options of its own.

    Raises:
        SpecError: a condition or a file that cannot be read.
        LookupFailed: an unknown model, figure, device or option.
        ArchcostError: no conditions, no baseline for a condition that needs one, or no file.

    Examples:
        >>> found = archcost.check("resnet50", "macs <= 4G", "params <= 26M")
        >>> [(verdict.condition.text, verdict.over) for verdict in found.broken]
        [('macs <= 4G', 89184256)]
    """
    from archcost.budget.budget import (
        Budget,
        Check,
        check,
        find_config,
        judge,
        read_budgets,
        read_condition,
    )
    from archcost.figures import Subject
    from archcost.spec.catalog import load
    from archcost.spec.source import Source

    file = model if isinstance(model, (str, os.PathLike)) else ""
    if model is None or Path(file).suffix == ".toml":
        if conditions:
            raise ArchcostError("a file of budgets has its own conditions")
        return check(read_budgets(Path(file) if file else find_config(Path())))
    if not conditions:
        raise ArchcostError("name what must hold, as in check('resnet50', 'macs <= 4.2G')")
    counting = {"convention": convention, "activations": activations}
    setting, rest = setting_of(options, batch=batch, **counting)

    settings = {} if baseline is None else {"baseline": baseline}
    wanted = [read_condition(Source(f"condition {t!r}", t), t, settings) for t in conditions]
    asked: list[tuple[str, Network, Callable[[str], Network]]]
    if isinstance(model, Network):
        asked = [(model.name, network_of(model, rest), load)]
    else:
        requests = Budget(name_of(model), (), {}, Path(), Source("", "")).requests()
        made = [replace(request, options=rest) for request in requests]
        asked = [(r.name, r.network(), r.baseline_network) for r in made]
    verdicts = []
    for name, network, find in asked:
        own = Subject(network, setting)
        for condition in wanted:
            before = condition.baseline or baseline if condition.needs_baseline else None
            if before is None:
                verdicts.append(judge(name, condition, own))
                continue
            base = before if isinstance(before, Network) else find(os.fspath(before))
            said = base.name if isinstance(before, Network) else os.fspath(before)
            verdicts.append(judge(name, condition, own, said, Subject(base, setting)))
    return Check(tuple(verdicts))
