"""The memory check: what autograd keeps for backward, storage by storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from archcost.memory.mode import PLAIN
from archcost.memory.saved import DEVICES, saved_for_backward, tensor_places
from archcost.network import NETWORK_INPUT, Network
from archcost.torch_twin import import_torch
from archcost.verify import Check, Subject, validator
from archcost.verify.modes import arranged, autocast, recomputing
from archcost.verify.watch import (
    Watch,
    failed_run,
    fake_copy,
    frozen,
    light_copy,
    random_input,
    training_batch,
)
from archcost.verify.watch import mode as in_mode

GROUP = "memory"
LARGE = 10**9
"""Bytes kept beyond which a CPU's tensors are faked, so that two models fit a small machine."""


@validator(GROUP)
def memory(subject: Subject) -> Iterator[Check]:
    """Compare the bytes saved for backward in training mode, by the layer that made them.

    First in which storage each layer's output lies: one of its own, or the input's for a view.
    Then of each layer the bytes of its output, if any layer keeps it, and of the tensors of its
    own. Each storage counts once; parameters and buffers do not count.
    """
    device = subject.device.partition(":")[0]
    if device not in DEVICES:
        reason = f"the {device} device keeps other tensors than a real one"
        yield Check(GROUP, "saved bytes", "", None, None, skipped=reason)
        return
    network = subject.network
    batch, note = training_batch(network, subject.batch)
    mode = subject.mode
    expected = saved_for_backward(network, batch, "float32", device, subject.freeze, mode)
    # under autocast, fake tensors keep batch statistics in half precision, and real ones do not
    if expected.total > LARGE and device == "cpu" and not subject.mode.amp:
        note = "; ".join(filter(None, (note, f"on fake tensors: {expected.total:,} bytes")))
        kept = _kept_of_fake(subject, batch)
    else:
        twin = subject.twin
        if mode != PLAIN:
            twin = light_copy(twin, lambda tensor: arranged(tensor.clone(), mode))
        with (
            in_mode(twin, training=True),
            frozen(twin, subject.freeze),
            recomputing(twin, network, mode),
            autocast(mode, device),
        ):
            kept = kept_storages(network, twin, arranged(random_input(subject, batch), mode))
    if kept.error is not None:
        yield failed_run(GROUP, kept.stopped_at, kept.error)
        return
    for path, place in tensor_places(network, batch, mode).items():
        if path != NETWORK_INPUT:
            yield Check(GROUP, "storage", path, place.owner, kept.homes.get(path), note=note)
    for owner in (NETWORK_INPUT, *network.by_path):
        predicted = expected.by_owner.get(owner, 0)
        measured = sum(kept.sizes.get(owner, {}).values())
        if predicted or measured:
            yield Check(GROUP, "saved bytes", owner, predicted, measured, note=note)
    total = sum(size for storages in kept.sizes.values() for size in storages.values())
    yield Check(GROUP, "saved bytes", "", expected.total, total, note=note)


def _kept_of_fake(subject: Subject, batch: int) -> Kept:
    """Return what autograd keeps of fake tensors, which act as a CPU's but hold nothing."""
    fake = import_module("torch._subclasses.fake_tensor").FakeTensorMode()
    twin = fake_copy(subject.twin, fake, "cpu", subject.mode).train()
    recomputed = recomputing(twin, subject.network, subject.mode)
    with fake, frozen(twin, subject.freeze), recomputed, autocast(subject.mode):
        x = arranged(random_input(subject, batch), subject.mode)
        return kept_storages(subject.network, twin, x)


@dataclass
class Kept:
    """What autograd kept of a forward pass.

    ``sizes`` are bytes by storage, by the path of the layer that made it; ``homes`` the layer that
    made the storage in which a layer's output lies. ``error`` is why the twin did not run, and
    ``stopped_at`` the layer at which it stopped.
    """

    sizes: dict[str, dict[int, int]] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    stopped_at: str = ""


def kept_storages(network: Network, twin: Any, x: Any) -> Kept:
    """Run a twin forward on ``x`` and return the storages that autograd keeps.

    A storage belongs to the layer whose output it holds, the first if there are several, else to
    the layer in which it was saved. Works on real and on fake tensors.
    """
    torch = import_torch()
    kept = Kept()
    own = {_key(tensor) for tensor in (*twin.parameters(), *twin.buffers())}
    owners = {_key(x): NETWORK_INPUT}
    alive: list[Any] = []  # so that no address is used twice

    def leave(path: str, output: Any) -> None:
        alive.append(output)
        kept.homes[path] = owners.setdefault(_key(output), path)

    saved: dict[int, tuple[str, int]] = {}

    def keep(tensor: Any) -> None:
        if _key(tensor) not in own:
            saved[_key(tensor)] = watch.running, tensor.untyped_storage().nbytes()
            alive.append(tensor)

    hooks = torch.autograd.graph.saved_tensors_hooks
    with Watch(network, twin, leave=leave) as watch:
        try:
            with hooks(keep, lambda nothing: nothing):
                result = twin(x)
            del result
        except Exception as error:  # whatever a wrong twin may raise is the finding
            kept = Kept(error=error, stopped_at=watch.running)
        finally:
            alive.clear()  # the graph holds the hooks: with these tensors it would hold itself
    for key, (where, size) in saved.items():
        kept.sizes.setdefault(owners.get(key, where), {})[key] = size
    return kept


def _key(tensor: Any) -> int:
    """Return what identifies a tensor's storage while it lives; fake tensors have no address."""
    return int(tensor.untyped_storage()._cdata)
