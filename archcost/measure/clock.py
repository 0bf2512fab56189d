"""Timing passes: on a GPU with CUDA events, elsewhere with the wall clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from archcost.network import Network
from archcost.pytorch.watch import Watch

WARMUP = 3
"""Passes before those that are timed, at most."""
LEAST_RUNS = 3
"""Passes that are timed at least, however slow they are, unless fewer were asked for."""
SECONDS = 0.5
"""What the passes of one measurement may take together, warming up and timing each."""
DIGITS = 9
"""Decimals of a second that are kept: CUDA events resolve half a microsecond."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds per pass: quartiles and the least of ``runs`` timed passes after a warm-up."""

    q1: float
    median: float
    q3: float
    runs: int
    fastest: float


class Clock:
    """Times passes on a device."""

    def __init__(self, torch: Any, device: str) -> None:
        self.torch, self.device = torch, device
        self.cuda = device.startswith("cuda")

    def mark(self) -> Any:
        """Return the present moment, in the order of the device's work."""
        if not self.cuda:
            return time.perf_counter()
        event = self.torch.cuda.Event(enable_timing=True)
        event.record(self.torch.cuda.current_stream(self.device))
        return event

    def wait(self) -> None:
        """Wait until the device has done what it was given."""
        if self.cuda:
            self.torch.cuda.synchronize(self.device)

    def between(self, start: Any, end: Any) -> float:
        """Return the seconds from one moment to another."""
        return float(start.elapsed_time(end)) / 1e3 if self.cuda else float(end - start)

    def latency(self, run: Callable[[], Any], runs: int) -> Latency:
        """Return the times of ``runs`` passes, of fewer if they would take over :data:`SECONDS`.

        There are never fewer than :data:`LEAST_RUNS`, unless ``runs`` is less.
        """
        runs = min(runs, max(LEAST_RUNS, int(SECONDS / self._warm_up(run))))
        pairs = []
        for _ in range(runs):
            start = self.mark()
            run()
            pairs.append((start, self.mark()))
        self.wait()
        return quartiles([self.between(start, end) for start, end in pairs])

    def _warm_up(self, run: Callable[[], Any]) -> float:
        """Return the seconds of the fastest pass to warm up; a slow one is enough."""
        taken: list[float] = []
        while len(taken) < WARMUP and sum(taken) < SECONDS:
            start = time.perf_counter()
            run()
            self.wait()
            taken.append(time.perf_counter() - start)
        return max(min(taken), 1e-9)

    def layers(
        self, twin: Any, network: Network, inputs: Sequence[Any], runs: int
    ) -> dict[str, float]:
        """Return the median seconds of each layer's module call in a forward pass."""
        times: dict[str, list[float]] = {layer.path: [] for layer in network}
        started: dict[str, Any] = {}
        marks: list[tuple[str, Any, Any]] = []

        def enter(path: str, _: Any) -> None:
            started[path] = self.mark()

        def leave(path: str, _: Any) -> None:
            marks.append((path, started[path], self.mark()))

        begin = time.perf_counter()
        with Watch(network, twin, enter, leave):
            for done in range(runs):
                if done and time.perf_counter() - begin > SECONDS:
                    break
                twin(*inputs)
                self.wait()
                for path, start, end in marks:
                    times[path].append(self.between(start, end))
                marks.clear()
        # of code, only what is a module of its own has times
        known = {path: values for path, values in times.items() if values}
        return {path: round(statistics.median(values), DIGITS) for path, values in known.items()}


def quartiles(seconds: Sequence[float]) -> Latency:
    """Return median and quartiles; with a single run they are equal."""
    if len(seconds) == 1:
        q1 = median = q3 = seconds[0]
    else:
        q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    q1, median, q3, fastest = (round(value, DIGITS) for value in (q1, median, q3, min(seconds)))
    return Latency(q1, median, q3, len(seconds), fastest)
