"""A sweep by several processes: each prices the numbers that it is given, and draws them itself."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from archcost.space.files import write_part
from archcost.space.grid import BLOCK, Columns
from archcost.space.sweep import PIECE, Sweeper, Tally, joined, reduced, rows_of

STEPS = 16
"""Steps of a sweep that are one task: a few tenths of a second."""
AHEAD = 3
"""Tasks that wait for each worker, so that none is idle while rows are written."""
WORKERS = 16
"""How many workers an executor is taken to have that does not say it."""

Found = tuple[Columns, Tally]
"""The rows of a task that may be shown, and what was counted."""


class Task(NamedTuple):
    """What a worker prices, and which of the rows it returns.

    Attributes:
        sweeper: how the sweeper is made, pickled; empty for a worker that has it.
        file: where the rows are written for the first process; empty if they are returned.
        start, stop: the numbers of the configurations.
        pareto, top: which rows may be shown; see :func:`archcost.space.sweep.select`.
        parts: the folder in which the rows stay, as a file of Parquet; empty if they do not.
    """

    sweeper: bytes
    file: str
    start: int
    stop: int
    pareto: bool
    top: int | None
    parts: str


@contextmanager
def blocks_of(
    sweeper: Sweeper, jobs: int | Executor = 1, *, pareto: bool = False, top: int | None = None,
    parts: str = "",
) -> Iterator[Iterator[Columns]]:  # fmt: skip
    """Give the rows of a sweep that may be shown, in their order, a block at a time.

    Args:
        sweeper: what is swept.
        jobs: how many processes price it, or an executor that does.
        pareto: whether only the front may be shown; see :func:`archcost.space.sweep.select`.
        top: how many rows may be shown at most.
        parts: a folder. Whoever prices rows writes them into a file of it, and no rows are given.
    """
    if isinstance(jobs, int) and _is_alone(sweeper, jobs):
        yield _Shared(sweeper, None).blocks(b"", False, None, parts) if parts else sweeper.blocks()
        return
    if isinstance(jobs, Executor):
        yield _Shared(sweeper, jobs).blocks(_packed(sweeper), pareto, top, parts)
        return
    context = multiprocessing.get_context("spawn")
    with (
        TemporaryDirectory() as folder,
        ProcessPoolExecutor(jobs, context, _start, (_packed(sweeper),)) as executor,
    ):
        try:
            yield _Shared(sweeper, executor).blocks(b"", pareto, top, parts, folder)
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _is_alone(sweeper: Sweeper, jobs: int | Executor) -> bool:
    """Whether this process prices all: what is read from code stays here."""
    return jobs == 1 or sweeper.varied.network.pickled is None


def _packed(sweeper: Sweeper) -> bytes:
    return zlib.compress(pickle.dumps(sweeper.made))


def _unpacked(made: bytes) -> Sweeper:
    found: Sweeper = pickle.loads(zlib.decompress(made))()
    return found


class _Shared:
    """Gives tasks to an executor. What a worker does not return as it has died is priced here."""

    def __init__(self, sweeper: Sweeper, executor: Executor | None) -> None:
        self.sweeper, self.executor = sweeper, executor

    def blocks(
        self, made: bytes, pareto: bool, top: int | None, parts: str, folder: str = ""
    ) -> Iterator[Columns]:
        """Yield the rows of the tasks in their order, and count what they count.

        Rows come by files of a folder, if one is given: a process that dies while it sends much
        through a pipe leaves its reader waiting.
        """
        step, count = PIECE if self.sweeper.alone else BLOCK, len(self.sweeper.space)
        size = STEPS * step
        ahead = AHEAD * getattr(self.executor, "_max_workers", WORKERS) if self.executor else 1
        waiting = deque[tuple[Task, Future[Found] | None]]()
        for start in range(0, count, size):
            file = f"{folder}/{start}" if folder and not parts else ""
            task = Task(made, file, start, min(start + size, count), pareto, top, parts)
            waiting.append((task, self._submitted(task)))
            if len(waiting) >= ahead:
                yield self._taken(*waiting.popleft())
        while waiting:
            yield self._taken(*waiting.popleft())

    def _submitted(self, task: Task) -> Future[Found] | None:
        try:
            return self.executor.submit(priced, task) if self.executor else None
        except BrokenExecutor:
            return None

    def _taken(self, task: Task, future: Future[Found] | None) -> Columns:
        try:
            columns, tally = future.result() if future else _priced(self._spare, task)
            if task.file and future:
                columns = pickle.loads(Path(task.file).read_bytes())
                Path(task.file).unlink()
        except BrokenExecutor:
            columns, tally = _priced(self._spare, task)
        self.sweeper.count(tally)
        return columns

    @cached_property
    def _spare(self) -> Sweeper:
        return self.sweeper.made()


# In a worker.

_own = threading.local()
"""The sweeper of a thread, which keeps the programs of its runs from task to task."""


def _start(made: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    _own.made, _own.sweeper = b"", _unpacked(made)


def priced(task: Task) -> Found:
    """Price a task with the sweeper of this thread."""
    if getattr(_own, "made", None) != task.sweeper:
        _own.made, _own.sweeper = task.sweeper, _unpacked(task.sweeper)
    columns, tally = _priced(_own.sweeper, task)
    if not task.file:
        return columns, tally
    Path(task.file).write_bytes(pickle.dumps(columns))
    return {}, tally


def _priced(sweeper: Sweeper, task: Task) -> Found:
    sweeper.tally = Tally()
    columns = joined([*sweeper.blocks(task.start, task.stop)])
    if task.parts:
        if rows_of(columns):
            write_part(sweeper, columns, f"{task.parts}/part-{task.start:013}.parquet")
        return {}, sweeper.tally
    return reduced(columns, sweeper.orders, pareto=task.pareto, top=task.top), sweeper.tally
