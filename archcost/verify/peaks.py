"""The peaks check: the memory in use at once, against every storage that PyTorch makes.

The twin runs on fake tensors of a CPU: they have shapes, devices and storages, but no content, so
that neither the memory nor the time of a real step is needed. A dispatch mode sees each storage
when an operation returns it, and a weak reference says when it is gone.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from archcost.errors import ArchcostError
from archcost.memory.ledger import CUDA_BLOCK, PHASES
from archcost.memory.optimizers import FOREACH
from archcost.memory.peaks import inference_peak, training_peak
from archcost.torch_twin import import_torch
from archcost.torch_twin.measure import main_output
from archcost.verify import Check, Subject, validator
from archcost.verify.modes import arranged, autocast, recomputing
from archcost.verify.watch import Watch, failed_run, fake_copy, frozen, training_batch

GROUP = "peaks"
OPTIMIZERS = ("sgd-momentum", "adam")
BLOCKS = {"": 1, f" in blocks of {CUDA_BLOCK}": CUDA_BLOCK}


@validator(GROUP)
def peaks(subject: Subject) -> Iterator[Check]:
    """Compare the peaks of inference and of the phases of a training step, to the byte.

    The step is that of :func:`archcost.memory.peaks.training_peak` with SGD with momentum and
    with Adam, updated lists at a time, as it is seen on fake tensors. Every peak is compared
    with and without the rounding to blocks.
    """
    network, freeze, mode = subject.network, subject.freeze, subject.mode
    batch, note = training_batch(network, subject.batch)
    try:
        inference_peak(network, mode=mode)
    except ArchcostError as unknown:
        yield Check(GROUP, "peaks", "", None, None, skipped=str(unknown))
        return
    watched = FakeRun(subject)
    measured = watched.inference(subject.batch)
    if measured is None:
        yield failed_run(GROUP, watched.stopped_at, watched.error)
        return
    for label, block in BLOCKS.items():
        run = inference_peak(network, subject.batch, block=block, mode=mode, observed=True)
        expected = run.peak.total
        yield Check(GROUP, f"inference peak{label}", "", expected, measured["forward"][block])
    try:
        training_peak(network, batch, freeze=freeze, mode=mode)
    except ArchcostError as nothing:
        yield Check(GROUP, "training peaks", "", None, None, skipped=str(nothing))
        return
    for optimizer in OPTIMIZERS:
        measured = watched.training(batch, optimizer)
        if measured is None:
            yield failed_run(GROUP, watched.stopped_at, watched.error)
            return
        for label, block in BLOCKS.items():
            run = training_peak(
                network, batch, optimizer=optimizer, kernel=FOREACH, freeze=freeze, block=block,
                observed=True, mode=mode,
            )  # fmt: skip
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
        self.twin = fake_copy(subject.twin, self.fake, "cpu", subject.mode)
        self.updated: list[Any] | None = None
        self.error: Exception = RuntimeError()
        self.stopped_at = ""

    def _input(self, batch: int) -> Any:
        with self.fake:
            x = self.torch.empty(batch, *self.subject.network.input, device="cpu")
            return arranged(x, self.subject.mode)

    def inference(self, batch: int) -> Phases | None:
        """Return the peak of a forward pass in evaluation mode, or None if the twin fails."""
        x = self._input(batch)
        self.twin.eval()
        seen = tracker([x, *self.twin.parameters(), *self.twin.buffers()])
        with Watch(self.subject.network, self.twin) as watch:
            try:
                with self.fake, seen, self.torch.no_grad(), autocast(self.subject.mode):
                    self.twin(x)
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error, self.stopped_at = error, watch.running
                return None
        return {"forward": seen.cut()}

    def training(self, batch: int, optimizer: str) -> Phases | None:
        """Return the peaks of a step in which the optimizer's state exists, or None."""
        x = self._input(batch)
        self.twin.train()
        network, twin, mode = self.subject.network, self.twin, self.subject.mode
        with (
            frozen(twin, self.subject.freeze),
            recomputing(twin, network, mode),
            Watch(network, twin) as w,
        ):
            try:
                return self._step(x, self._optimizer(optimizer, x))
            except Exception as error:  # whatever a wrong twin may raise is the finding
                self.error, self.stopped_at = error, w.running
                return None

    def _optimizer(self, name: str, x: Any) -> Any:
        """Return an optimizer that has made a step, so that its state exists."""
        if self.updated is None:
            self.updated = self._updated(x)
        optim, params = self.torch.optim, self.updated
        if name == "adam":
            made = optim.Adam(params, foreach=True)
        else:
            made = optim.SGD(params, lr=0.1, momentum=0.9, foreach=True)
        for parameter in params:
            parameter.grad = self.torch.empty_like(parameter)
        made.step()
        made.zero_grad()
        return made

    def _updated(self, x: Any) -> list[Any]:
        """Return the parameters that get a gradient: those at the leaves of autograd's graph."""
        with self.fake:
            loss = main_output(self.twin(x)).sum()
        found, seen, ahead = set(), set(), [loss.grad_fn]
        while ahead:
            node = ahead.pop()
            if node is not None and node not in seen:
                seen.add(node)
                ahead += [following for following, _ in node.next_functions]
                found.add(id(getattr(node, "variable", None)))
        return [parameter for parameter in self.twin.parameters() if id(parameter) in found]

    def _step(self, x: Any, optimizer: Any) -> Phases:
        states = [t for state in optimizer.state.values() for t in state.values() if t is not None]
        seen = tracker([x, *self.twin.parameters(), *self.twin.buffers(), *states])
        found: Phases = {}
        with self.fake, seen:
            with autocast(self.subject.mode):
                result = self.twin(x)
            loss = main_output(result).sum()
            del result
            found["forward"] = seen.cut()
            loss.backward()
            found["backward"] = seen.cut()
            del loss
        seen.cut()
        # Adam reads its counts of steps, which are real: it runs outside of the fake mode
        with seen:
            optimizer.step()
        found["optimizer"] = seen.cut()
        optimizer.zero_grad()
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
            """Return the peaks so far, and begin anew."""
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
