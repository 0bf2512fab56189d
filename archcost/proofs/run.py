"""Running the checks of one network or of many, in this process or in several."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from archcost.errors import ArchcostError, shorten
from archcost.network import Network
from archcost.proofs import Check, Subject, Usage, find_validator, load_validators
from archcost.proofs.counterparts import split_reference
from archcost.proofs.results import Outcome, ran_nowhere
from archcost.proofs.watch import footprint
from archcost.pytorch import build, import_torch
from archcost.setting import CPU, Setting

REFERENCE, MODULE = "reference", "module"
SEED = 0
MOST_JOBS = 4
HEAVY = 2 * 10**9
"""Bytes of weights and outputs beyond which a model runs alone."""


@dataclass(frozen=True)
class Request:
    """What is to be checked, and where: see :class:`Subject`.

    ``checks`` are names of validators, by default all; the reference runs if it is among them or
    ``against`` says which. ``usage`` is how references are built and called.
    """

    checks: tuple[str, ...] = ()
    device: str = "cpu"
    setting: Setting = CPU
    against: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)

    def names(self) -> list[str]:
        """Return the validators to run.

        Raises:
            LookupFailed: an unknown one, or an unknown reference.
            ArchcostError: a reference of another form.
        """
        for name in self.checks:
            find_validator(name)
        for against in self.against:
            split_reference(against)
        every = load_validators()
        wanted = self.checks or tuple(n for n in every if n not in (REFERENCE, MODULE))
        return [n for n in every if n in wanted or (n == REFERENCE and self.against)]

    def ran_nowhere(self, outcomes: Sequence[Outcome], models: Iterable[str]) -> list[str]:
        """Return a line for what was asked for by name and compared nothing, models among it."""
        return ran_nowhere(outcomes, self.checks, self.against, tuple(dict.fromkeys(models)))


def verify(network: Network, request: Request, twin: Any = None) -> Iterator[Outcome]:
    """Run the checks of one network and yield what each validator found.

    Args:
        network: from :func:`archcost.load`.
        request: which checks, and where.
        twin: the module to check, already on the device; the network's twin by default.

    Raises:
        ArchcostError: PyTorch or what the user named is missing.
    """
    torch = import_torch()
    torch.manual_seed(SEED)
    names = request.names()
    if network.module is not None and not request.checks:  # it is code: against itself
        names = [MODULE, *(name for name in names if name == REFERENCE)]
    if twin is None:
        twin = build(network, device=request.device)
    subject = Subject(
        network, twin, request.device, request.setting, request.against, request.usage
    )
    for name in names:
        start = time.monotonic()
        outcome = Outcome(network.name, name)
        for check in checks(subject, name):
            outcome.add(check)
        gc.collect()  # traces refer to themselves, and so keep every tensor of a pass
        outcome.seconds = time.monotonic() - start
        yield outcome


def settle() -> None:
    """After a model, give its memory back; later collections pass over what stays: the tools."""
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # glibc alone has it, and alone needs it
        ctypes.CDLL(None).malloc_trim(0)


def checks(subject: Subject, name: str) -> Iterator[Check]:
    """Yield the checks of one validator; whatever it raises, the user's errors aside, fails."""
    try:
        yield from find_validator(name)(subject)
    except ArchcostError:
        raise
    except Exception as error:  # one broken check must not hide the others
        reason = f"{type(error).__name__}: {shorten(error, 200)}"
        yield Check(name, "runs", "", "no error", reason)


def verify_all(
    networks: Sequence[Network], request: Request, jobs: int | None = None
) -> Iterator[Outcome]:
    """Run the checks of many networks, ``jobs`` of them at a time, each in a process of its own.

    By default one per core, up to 4, because each takes memory; what takes much of it runs alone,
    at the end. A network that cannot be sent, as of code, is verified in this process. Outcomes
    come as they are found. Closing the iterator ends the processes.
    """
    jobs = jobs or min(os.cpu_count() or 1, MOST_JOBS)
    alone = jobs == 1 or len(networks) == 1
    request.names()
    here: list[Network] = []
    light: list[Network] = []
    heavy: list[Network] = []
    for network in networks:
        if alone or network.pickled is None:
            here.append(network)
        else:
            (heavy if footprint(network, request.setting.batch) > HEAVY else light).append(network)
    yield from _side_by_side(light, request, jobs)
    yield from _side_by_side(heavy, request, 1)
    frozen = gc.get_freeze_count()
    try:
        for network in here:
            yield from verify(network, request)
            settle()
    finally:
        if not frozen:  # what the caller has frozen stays so
            gc.unfreeze()


def _side_by_side(networks: Sequence[Network], request: Request, jobs: int) -> Iterator[Outcome]:
    if not networks:
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _start_process, (threads,)
    ) as pool:
        waiting = {
            pool.submit(_verify_elsewhere, network, request): network.name for network in networks
        }
        try:
            for future in as_completed(waiting):
                yield from _collect(future, waiting[future], request)
        except BaseException:  # also an interrupt, or that nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _start_process(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends at once and without a word
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # read when torch loads: threads that spin while they wait take the cores from other processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import_torch().set_num_threads(threads)
    settle()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _verify_elsewhere(network: Network, request: Request) -> list[Outcome] | str:
    """Return the outcomes, or the text of an error, which may not survive the way back."""
    try:
        return list(verify(network, request))
    except ArchcostError as error:
        return str(error)
    finally:
        settle()


def _collect(future: Future[list[Outcome] | str], model: str, request: Request) -> list[Outcome]:
    try:
        found = future.result()
    except BrokenProcessPool:
        lost = Outcome(model, request.names()[0])
        lost.add(Check(lost.group, "runs", "", "no error", "the process died; try fewer --jobs"))
        return [lost]
    if isinstance(found, str):
        raise ArchcostError(found)
    return found


def about(request: Request) -> dict[str, str]:
    """Return where the checks run, and the versions of PyTorch, counters and collections."""
    from importlib.metadata import PackageNotFoundError, version

    from archcost.proofs.counters import COUNTERS

    known = {"device": request.device, "batch": str(request.setting.batch)}
    collections = [against.partition(":")[0] for against in request.against]
    for package in dict.fromkeys([*(tool.package for tool in COUNTERS), *collections]):
        with suppress(PackageNotFoundError):
            known[package] = version(package)
    return known
