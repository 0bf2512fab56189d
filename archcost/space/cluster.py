"""A running cluster of dask.distributed as an executor."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from archcost import __version__
from archcost.errors import ArchcostError

PATIENCE = 10
"""Seconds in which a scheduler answers."""


@contextmanager
def executor_at(address: str) -> Iterator[Executor]:
    """Give the executor of the cluster whose scheduler is at ``tcp://HOST:PORT``.

    Tasks of a worker that dies are run by the others.

    Raises:
        ArchcostError: distributed is not installed, no scheduler answers, the workers have another
            archcost or none, or the cluster goes away.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise ArchcostError("a cluster needs dask: pip install 'archcost[dask]'") from None
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError):
        raise ArchcostError(
            f"no scheduler of dask answers at {address!r}; an address is like tcp://10.0.0.1:8786"
        ) from None
    with client:
        try:
            versions = client.run(version)
        except ImportError:
            raise ArchcostError("the workers have no archcost: install the same there") from None
        for worker, own in versions.items():
            if own != __version__:
                raise ArchcostError(f"{worker} has archcost {own}, this is {__version__}")
        try:
            executor = client.get_executor(pure=False)  # a result is not taken from a call before
            executor._max_workers = sum(client.nthreads().values()) or 1
            yield executor
        except (distributed.KilledWorker, CancelledError) as error:
            reason = str(error).split("\n")[0] or "its scheduler is gone"
            raise ArchcostError(f"the cluster at {address} fails: {reason}") from None


def version() -> str:
    """Return the version of archcost, on a worker."""
    return __version__
