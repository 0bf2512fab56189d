"""Running a twin under observation: which layer runs, what goes in and what comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from archcost.analysis.parameters import param_bytes
from archcost.errors import shorten
from archcost.network import Network, frozen_params
from archcost.proofs import Check, Subject
from archcost.proofs.modes import arranged
from archcost.pytorch import import_torch
from archcost.setting import CPU, Setting
from archcost.units import dtype_bytes


def light_copy(twin: Any, convert: Callable[[Any], Any] | None = None) -> Any:
    """Return a copy of a twin that shares its parameters, or has converted ones.

    What is hung onto the copy, such as hooks and buffers, does not reach the twin. ``convert``
    turns a tensor into one elsewhere, on the meta device say, and also takes the buffers there.
    """
    torch = import_torch()
    computed = [  # weights of torch.nn.utils.weight_norm, say, which have no copies
        value for module in twin.modules() for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    ]  # fmt: skip
    if convert is None:
        memo = {id(value): value.detach() for value in computed}
        return copy.deepcopy(twin, memo | {id(p): p for p in twin.parameters()})
    parameter = torch.nn.Parameter
    memo = {id(p): parameter(convert(p.detach()), p.requires_grad) for p in twin.parameters()}
    memo |= {id(value): convert(value.detach()) for value in (*twin.buffers(), *computed)}
    return copy.deepcopy(twin, memo)


def fake_copy(twin: Any, fake: Any, device: str, setting: Setting = CPU) -> Any:
    """Return a copy of a twin whose tensors act as the device's but hold nothing.

    ``fake`` is the ``FakeTensorMode`` in which it will run.
    """
    torch = import_torch()

    def empty(tensor: Any) -> Any:
        with fake:
            return arranged(torch.empty(tensor.shape, dtype=tensor.dtype, device=device), setting)

    return light_copy(twin, empty)


def footprint(network: Network, batch: int) -> int:
    """Return the bytes of all weights and all outputs, which a counter may keep at once."""
    outputs = batch * sum(
        network.values[name].elements for layer in network for name in layer.outputs
    )
    floats = dtype_bytes("float32")
    return outputs * floats + sum(param_bytes(network, floats).values())


MACS_PER_LAYER = 6 * 10**7
"""Multiply-accumulates that a core does while the shapes of one layer are worked out on meta."""

LIGHT = 10**9
"""Bytes of weights and outputs up to which a pass may keep them all."""


def has_fused_attention(network: Network) -> bool:
    """Return whether attention runs as one operation on a real device, and as several on meta."""
    return any(layer.cost.fused for layer in network)


def has_fused_steps(network: Network) -> bool:
    """Return whether all steps of an LSTM run as one operation on a CPU, and singly on meta."""
    return any(layer.op.name == "lstm" for layer in network)


def operations_device(subject: Subject) -> str:
    """Return where a pass that asks for the operations dispatched is quick, and has the same."""
    fused = has_fused_attention(subject.network) or has_fused_steps(subject.network)
    return subject.device if fused else shapes_device(subject)


def shapes_device(subject: Subject) -> str:
    """Return where a pass that only asks for shapes is quicker: the subject's device or meta."""
    network = subject.network
    macs = sum(layer.macs for layer in network) * subject.batch
    quick = macs < MACS_PER_LAYER * len(network.layers)
    light = footprint(network, subject.batch) < LIGHT
    return subject.device if quick and light else "meta"


def copy_on(subject: Subject, device: str) -> Any:
    """Return a light copy of a subject's twin on its own device or on meta."""
    if device == subject.device:
        return light_copy(subject.twin)
    return light_copy(subject.twin, lambda tensor: tensor.to(device))


def failed_run(group: str, layer: str, error: Exception) -> Check:
    """Return the check that says that the twin does not run, and where it stopped."""
    reason = f"{type(error).__name__}: {shorten(error, 200)}"
    return Check(group, "runs", layer, "no error", reason)


@contextmanager
def mode(twin: Any, training: bool) -> Iterator[None]:
    """Put a twin in training or evaluation mode; afterwards mode and buffers are as before."""
    before = {module: module.training for module in twin.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in twin.buffers()]
    twin.train(training)
    try:
        yield
    finally:
        for module, was in before.items():
            module.training = was
        torch = import_torch()
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


@contextmanager
def frozen(twin: Any, network: Network, patterns: tuple[str, ...]) -> Iterator[None]:
    """Freeze the parameters of layers that match a pattern; afterwards all is as before."""
    before = [(parameter, parameter.requires_grad) for parameter in twin.parameters()]
    names = frozen_params(network, patterns)
    for name, parameter in twin.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, was in before:
            parameter.requires_grad_(was)


def training_batch(network: Network, batch: int) -> tuple[int, str]:
    """Return the batch for a pass in training mode, and why it is not the one asked for.

    Batch normalisation cannot normalise one value per channel, as a batch of 1 on 1x1 maps is.
    """
    alone = any(
        layer.op.name == "batchnorm" and set(layer.cost.output[1:]) <= {1} for layer in network
    )
    if batch == 1 and alone:
        return 2, "batch 2: batch normalisation cannot train on one value per channel"
    return batch, ""
