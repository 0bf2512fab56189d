"""The peaks check: the memory in use at once, against every storage that PyTorch makes.

The twin runs on fake tensors of a CPU. They have shapes, devices and storages, but no content. This
takes neither the memory nor the time of a real step. A dispatch mode sees each storage when an
operation returns it, and a weak reference says when it is gone.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

from archcost.errors import ArchcostError
from archcost.measure.profile import main_output
from archcost.optimizers import FOREACH
from archcost.proofs import Check, Subject, validator
from archcost.proofs.modes import arranged, autocast, recomputing
from archcost.proofs.watch import failed_run, fake_copy, frozen, training_batch
from archcost.pytorch import import_torch, random_inputs, sum_of
from archcost.pytorch.watch import Watch
from archcost.readings.ledger import PHASES
from archcost.setting import CUDA_BLOCK
from archcost.storage.peaks import inference_peak, training_peak

GROUP = "peaks"
OPTIMIZERS = ("sgd-momentum", "adam")
BLOCKS = {"": 1, f" in blocks of {CUDA_BLOCK}": CUDA_BLOCK}


@validator(GROUP)
def peaks(subject: Subject) -> Iterator[Check]:
    """Compare the peaks of inference and of the phases of a training step, to the byte.

    The step is that of :func:`archcost.storage.peaks.training_peak` with SGD with momentum and
    with Adam, updated lists at a time, as it is seen on fake tensors. Every peak is compared
    with and without the rounding to blocks.
    """
    network, setting = subject.network, subject.setting
    batch, note = training_batch(network, subject.batch)
    try:
        inference_peak(network, replace(setting, batch=1))
    except ArchcostError as unknown:
        yield Check(GROUP, "peaks", "", None, None, skipped=str(unknown))
        return
    watched = FakeRun(subject)
    measured = watched.inference(subject.batch)
    if measured is None:
        yield failed_run(GROUP, watched.stopped_at, watched.error)
        return
    for label, block in BLOCKS.items():
        run = inference_peak(network, replace(setting, block=block, observed=True))
        expected = run.peak.total
        yield Check(GROUP, f"inference peak{label}", "", expected, measured["forward"][block])
    try:
        training_peak(network, replace(setting, batch=batch))
    except ArchcostError as nothing:
        yield Check(GROUP, "training peaks", "", None, None, skipped=str(nothing))
        return
    steps = watched.training(batch)
    if steps is None:
        yield failed_run(GROUP, watched.stopped_at, watched.error)
        return
    for optimizer, measured in steps.items():
        for label, block in BLOCKS.items():
            step = replace(setting, batch=batch, optimizer=optimizer, kernel=FOREACH, block=block)
            run = training_peak(network, replace(step, observed=True))
            for phase in PHASES:
                name = f"{phase} peak with {optimizer}{label}"
                expected = run.peaks[phase].total
                yield Check(GROUP, name, "", expected, measured[phase][block], note=note)


Phases = dict[str, dict[int, int]]
"""The largest sum of live bytes by phase and block of the allocator."""


class FakeRun:
    """A copy of a subject's twin on fake tensors, run under observation.

    An error of the twin is kept in ``error``, with the layer at which it ``stopped_at``.
    """

    def __init__(self, subject: Subject) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.torch = import_torch()
        self.subject, self.fake = subject, FakeTensorMode()
        self.twin = fake_copy(subject.twin, self.fake, "cpu", subject.setting)
        self.error: Exception = RuntimeError()
        self.stopped_at = ""

    def _inputs(self, batch: int) -> list[Any]:
        with self.fake:
            inputs = random_inputs(self.subject.network, batch)
            return [arranged(x, self.subject.setting) for x in inputs]

    def inference(self, batch: int) -> Phases | None:
        """Return the peak of a forward pass in evaluation mode, or None if the twin fails."""
        inputs = self._inputs(batch)
        self.twin.eval()
        seen = tracker([*inputs, *self.twin.parameters(), *self.twin.buffers()])
        with Watch(self.subject.network, self.twin) as watch:
            try:
                with self.fake, seen, self.torch.no_grad(), autocast(self.subject.setting):
                    self.twin(*inputs)
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error, self.stopped_at = error, watch.running
                return None
        return {"forward": seen.cut()}

    def training(self, batch: int) -> dict[str, Phases] | None:
        """Return the peaks of a step by optimizer, whose state exists; None if the twin fails.

        Forward and backward run once: what an optimizer keeps between steps adds to their peaks.
        """
        inputs = self._inputs(batch)
        self.twin.train()
        network, twin = self.subject.network, self.twin
        setting = self.subject.setting
        with (
            frozen(twin, network, setting.freeze),
            recomputing(twin, network, setting),
            Watch(network, twin) as w,
        ):
            try:
                passes = self._passes(inputs)
                return {name: self._step(inputs, passes, name) for name in OPTIMIZERS}
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error, self.stopped_at = error, w.running
                return None

    def _tensors(self, inputs: list[Any]) -> list[Any]:
        return [*inputs, *self.twin.parameters(), *self.twin.buffers()]

    def _passes(self, inputs: list[Any]) -> Phases:
        """Return the peaks of a forward and a backward pass; the gradients stay."""
        seen = tracker(self._tensors(inputs))
        found: Phases = {}
        with self.fake, seen:
            with autocast(self.subject.setting):
                result = self.twin(*inputs)
            loss = sum_of(main_output(result))
            del result
            found["forward"] = seen.cut()
            loss.backward()
            found["backward"] = seen.cut()
        return found

    def _step(self, inputs: list[Any], passes: Phases, name: str) -> Phases:
        """Return the peaks of a step whose passes have these, with the state of the optimizer."""
        optim = self.torch.optim
        params = [p for p in self.twin.parameters() if p.grad is not None]
        if name == "adam":
            optimizer = optim.Adam(params, foreach=True)
        else:
            optimizer = optim.SGD(params, lr=0.1, momentum=0.9, foreach=True)
        # Adam reads its counts of steps, which are real: it runs outside of the fake mode
        optimizer.step()
        states = [t for state in optimizer.state.values() for t in state.values() if t is not None]
        kept = tracker(states).live
        found = {
            phase: {block: peak + kept[block] for block, peak in peaks.items()}
            for phase, peaks in passes.items()
        }
        seen = tracker([*self._tensors(inputs), *(p.grad for p in params), *states])
        with seen:
            optimizer.step()
        found["optimizer"] = seen.cut()
        return found


def tracker(tensors: list[Any]) -> Any:
    """Return a dispatch mode that follows the live bytes; the given tensors are there already.

    ``live`` and ``peak`` are bytes by block of the allocator.
    """
    torch = import_torch()
    base: Any = import_module("torch.utils._python_dispatch").TorchDispatchMode
    tree_leaves = torch.utils._pytree.tree_leaves

    class Tracker(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.known: dict[int, tuple[int, Any]] = {}
            self.live = dict.fromkeys(BLOCKS.values(), 0)
            self.peak = dict(self.live)
            for tensor in tensors:
                self.see(tensor)

        def see(self, tensor: Any) -> None:
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self.known:
                return
            size = storage.nbytes()
            gone = weakref.ref(storage, lambda _: self.forget(key))
            self.known[key] = size, gone
            for block in self.live:
                self.live[block] += -(-size // block) * block
                self.peak[block] = max(self.peak[block], self.live[block])

        def forget(self, key: int) -> None:
            size, _ = self.known.pop(key)
            for block in self.live:
                self.live[block] -= -(-size // block) * block

        def cut(self) -> dict[int, int]:
            """Return the peaks so far, and reset them."""
            done, self.peak = self.peak, dict(self.live)
            return done

        def __torch_dispatch__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = function(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    self.see(leaf)
            return result

    return Tracker()
