"""The memory check: what autograd keeps for backward, storage by storage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from archcost.measure.profile import Token
from archcost.network import NETWORK_INPUT, Network, maker
from archcost.proofs import Check, Subject, validator
from archcost.proofs.modes import arranged, autocast, recomputing
from archcost.proofs.watch import (
    failed_run,
    fake_copy,
    frozen,
    has_fused_steps,
    light_copy,
    training_batch,
)
from archcost.proofs.watch import mode as in_mode
from archcost.pytorch import import_torch, output_tensors, random_inputs
from archcost.pytorch.watch import Watch
from archcost.setting import DEVICES
from archcost.storage.saved import saved_for_backward

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
    setting = replace(subject.setting, batch=batch, device=device)
    expected = saved_for_backward(network, setting)
    # under autocast, fake tensors keep batch statistics in half precision, and real ones do not; of
    # an LSTM they have no workspace
    faked = device == "cpu" and not setting.amp and not has_fused_steps(network)
    if expected.total > LARGE and faked:
        note = "; ".join(filter(None, (note, f"on fake tensors: {expected.total:,} bytes")))
        kept = _kept_of_fake(subject, batch)
    else:
        twin = subject.twin
        if setting.channels_last:
            twin = light_copy(twin, lambda tensor: arranged(tensor.clone(), setting))
        with (
            in_mode(twin, training=True),
            frozen(twin, network, subject.setting.freeze),
            recomputing(twin, network, setting),
            autocast(setting, device),
        ):
            inputs = random_inputs(network, batch, subject.device)
            kept = kept_storages(network, twin, *(arranged(x, setting) for x in inputs))
    if kept.error is not None:
        yield failed_run(GROUP, kept.stopped_at, kept.error)
        return
    if network.module is not None:  # of code, a function's storages go by the module before it
        yield Check(GROUP, "saved bytes", "", expected.total, kept.total, note=note)
        return
    for path, place in expected.places.items():
        if maker(path) in network.by_path:
            yield Check(GROUP, "storage", path, place.owner, kept.homes.get(path), note=note)
    for owner in (*(value.name for value in network.inputs), *network.by_path):
        predicted = expected.by_owner.get(owner, 0)
        measured = sum(kept.sizes.get(owner, {}).values())
        if predicted or measured:
            yield Check(GROUP, "saved bytes", owner, predicted, measured, note=note)
    yield Check(GROUP, "saved bytes", "", expected.total, kept.total, note=note)


def _kept_of_fake(subject: Subject, batch: int) -> Kept:
    """Return what autograd keeps of fake tensors, which act as a CPU's but hold nothing."""
    fake = import_module("torch._subclasses.fake_tensor").FakeTensorMode()
    twin = fake_copy(subject.twin, fake, "cpu", subject.setting).train()
    network, setting = subject.network, subject.setting
    recomputed = recomputing(twin, network, setting)
    with fake, frozen(twin, network, setting.freeze), recomputed, autocast(setting):
        inputs = random_inputs(network, batch, subject.device)
        return kept_storages(network, twin, *(arranged(x, setting) for x in inputs))


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

    @property
    def total(self) -> int:
        """All bytes."""
        return sum(size for storages in self.sizes.values() for size in storages.values())


def kept_storages(network: Network, twin: Any, *inputs: Any) -> Kept:
    """Run a twin forward on its inputs and return the storages that autograd keeps at its end.

    A storage belongs to the layer whose output it holds, the first if there are several, else to
    the layer in which it was saved. Works on real and on fake tensors.
    """
    torch = import_torch()
    kept = Kept()
    held = [tensor.untyped_storage() for tensor in (*twin.parameters(), *twin.buffers())]
    own = {int(storage._cdata) for storage in held}
    owners = dict.fromkeys(own, NETWORK_INPUT)
    owners |= {_key(x): value.name for x, value in zip(inputs, network.inputs, strict=True)}
    alive: list[Any] = [*held]  # so that no address is used twice
    tokens: WeakKeyDictionary[Token, tuple[int, str, int]] = WeakKeyDictionary()

    def leave(path: str, output: Any) -> None:
        for name, tensor in zip(network[path].outputs, output_tensors(output), strict=False):
            alive.append(tensor.detach())
            kept.homes[name] = owners.setdefault(_key(tensor), path)

    def keep(tensor: Any) -> Token:
        token = Token()
        if _key(tensor) not in own:
            tokens[token] = _key(tensor), watch.running, tensor.untyped_storage().nbytes()
            alive.append(tensor.detach())
        return token

    saved: list[tuple[int, str, int]] = []
    hooks = torch.autograd.graph.saved_tensors_hooks
    with Watch(network, twin, leave=leave) as watch:
        try:
            with hooks(keep, lambda token: token):
                result = twin(*inputs)
            saved = list(tokens.values())
            del result
        except Exception as error:  # whatever a wrong twin may raise is the finding
            kept = Kept(error=error, stopped_at=watch.running)
        finally:
            alive.clear()
    for key, where, size in saved:
        kept.sizes.setdefault(owners.setdefault(key, where), {})[key] = size
    return kept


def _key(tensor: Any) -> int:
    """Return what identifies a tensor's storage while it lives; fake tensors have no address."""
    return int(tensor.untyped_storage()._cdata)
