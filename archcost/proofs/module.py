"""The module check: what was read of code against the module itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from typing import Any

from archcost.analysis.training import gradients
from archcost.network import Network
from archcost.ops.base import FLOAT
from archcost.proofs import Check, Subject, validator
from archcost.proofs.counterparts import one_line
from archcost.proofs.observe import fake_of, run
from archcost.proofs.watch import copy_on, has_fused_steps, light_copy, training_batch
from archcost.pytorch import as_written, import_torch, random_inputs
from archcost.pytorch.counter import math_attention, whole_counter
from archcost.shape import numel
from archcost.storage.saved import saved_for_backward

GROUP = "module"


@validator(GROUP)
def module(subject: Subject) -> Iterator[Check]:
    """Compare parameters, operations, and what a training step keeps, exactly.

    Operations are those of ``torch.utils.flop_counter`` in evaluation mode, half its FLOPs, and the
    products with vectors that it leaves out. What is kept for backward is seen by hooks, on tensors
    without content that act as a CPU's; of an LSTM, on a CPU. Only a network that was read from
    code has this check.
    """
    network = subject.network
    if network.module is None:
        return
    sizes = {name: tuple(p.shape) for name, p in subject.twin.named_parameters()}
    trained = network.in_training.params
    for name in trained:
        yield Check(GROUP, "parameter", name, trained[name], sizes.get(name))
    unread = len(sizes.keys() - trained.keys())
    note = f"{unread} more are read by no layer" if unread else ""
    total = sum(map(numel, trained.values()))
    measured = sum(numel(sizes[name]) for name in trained if name in sizes)
    yield Check(GROUP, "parameters", "", total, measured, note=note)
    yield from _operations(subject)
    yield from _training(subject)


def _operations(subject: Subject) -> Iterator[Check]:
    """Compare one sample's: a product of parameters alone runs once, whatever the batch."""
    batch, network = subject.batch, subject.network
    measured = _macs(subject, batch)
    if batch > 1:
        measured -= (batch - 1) * (_macs(subject, batch + 1) - measured)
    yield Check(GROUP, "MACs", "", sum(layer.macs for layer in network), measured)


def _macs(subject: Subject, batch: int) -> int:
    """Return those that run on tensors without content, or on the data that decide what runs."""
    if subject.network.sample is None:
        twin = copy_on(subject, "meta").eval()
        with suppress(RuntimeError):
            return _counted(twin, random_inputs(subject.network, batch, "meta"))
        # the code makes a tensor on the CPU, which those of meta do not meet
        twin, fake = fake_of(subject.twin)
        with suppress(RuntimeError), fake:
            return _counted(twin.eval(), random_inputs(subject.network, batch, "cpu"))
    # or it asks for the content of a constant
    twin = light_copy(subject.twin).eval()
    with math_attention():
        return _counted(twin, random_inputs(subject.network, batch))


def _counted(twin: Any, inputs: Sequence[Any]) -> int:
    counter = whole_counter()
    counter.mod_tracker = _NoModules()  # its own refuses a parameter that goes into a module
    with import_torch().no_grad(), as_written(), counter:
        twin(*inputs)
    return int(counter.get_total_flops()) // 2


class _NoModules:
    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _data_dependent() -> Any:
    return import_module("torch._subclasses.fake_tensor").DataDependentOutputException


def _mode_of(subject: Subject, network: Network) -> tuple[Any, Any]:
    """Return a copy on tensors without content, unless a CPU runs other operations than these."""
    if has_fused_steps(network) or network.sample is not None:
        return light_copy(subject.twin).train(), nullcontext()
    return fake_of(subject.twin)


def _training(subject: Subject) -> Iterator[Check]:
    network = subject.network.in_training
    if any(value.dtype != FLOAT for value in network.inputs):
        reason = "an input of whole numbers is not drawn at random"
        yield Check(GROUP, "saved bytes", "", None, None, skipped=reason)
        return
    batch, note = training_batch(network, subject.batch)
    expected = saved_for_backward(network, replace(subject.setting, batch=batch, device="cpu"))
    try:
        copy, mode = _mode_of(subject, network)
        try:
            found = run(copy, mode, network.inputs, batch, network.sample)
        except _data_dependent():  # it asks for the content of a constant
            copy = light_copy(subject.twin).train()
            found = run(copy, nullcontext(), network.inputs, batch)
    except Exception as error:  # whatever a foreign module raises
        yield Check(GROUP, "saved bytes", "", expected.total, one_line(error))
        return
    measured = sum(storage.bytes for storage in found.storages(()).values())
    yield Check(GROUP, "saved bytes", "", expected.total, measured, note=note)
    trained = "parameters with a gradient"
    if any(part.reentrant for part in network.checkpoints):
        reason = "the graph of a checkpoint with use_reentrant=True is made in backward"
        yield Check(GROUP, trained, "", None, None, skipped=reason)
        return
    flow = gradients(network)
    learns = flow.learns & {
        name for layer in network if layer.path in flow.reached for name in layer.param_names
    }
    yield Check(GROUP, trained, "", len(learns), len(found.trained))
