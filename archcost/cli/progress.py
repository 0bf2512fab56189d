"""How far a command is: a bar on the terminal, on standard error, for what takes a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock, Timer
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE = 0.7
"""Seconds without a bar: what is done by then needs none."""


@contextmanager
def progress(
    items: Iterable[T], what: str, name: Callable[[T], object] = str, total: int | None = None,
    done: Callable[[], int] | None = None,
) -> Iterator[Iterator[T]]:  # fmt: skip
    """Give back the items one by one; on a terminal a bar says which of them is worked on.

    Args:
        items: what is to be done.
        what: is done to them, in a word: ``report``.
        name: of an item, to be shown.
        total: how much there is to do, where that is not the number of items.
        done: returns how much of it is done.
    """
    if not watched():
        yield iter(items)
        return
    bar = _Bar(total if total is not None else len(items), done)  # type: ignore[arg-type]
    try:
        yield (bar.turn_to(item, f"{what} {name(item)}") for item in items)
    finally:
        bar.close()


def watched() -> bool:
    """Whether somebody looks at standard error."""
    return sys.stderr.isatty()


class _Bar:
    """A bar that is drawn once it has waited; it counts the items before the present one."""

    def __init__(self, total: int, done: Callable[[], int] | None) -> None:
        self.total, self.turns, self.words = total, 0, ""
        self.done = done or (lambda: max(self.turns - 1, 0))
        self.lock, self.drawn = Lock(), ExitStack()
        self.update: Callable[..., Any] = lambda **shown: None
        self.timer = Timer(PATIENCE, self.draw)
        self.timer.daemon = True
        self.timer.start()

    def turn_to(self, item: T, words: str) -> T:
        with self.lock:
            self.turns, self.words = self.turns + 1, words
            self.update(completed=self.done(), description=words)
        return item

    def draw(self) -> None:
        from functools import partial

        from rich import progress as rich
        from rich.console import Console

        with self.lock:
            if self.timer.finished.is_set():  # closed in the meantime
                return
            # a stream of its own: while a counter runs, what goes to standard error is dropped
            terminal = self.drawn.enter_context(os.fdopen(os.dup(2), "w", encoding="utf-8"))
            columns = (
                rich.TextColumn("{task.description}"), rich.BarColumn(),
                rich.MofNCompleteColumn(), rich.TimeElapsedColumn(), rich.TimeRemainingColumn(),
            )  # fmt: skip
            console = Console(file=terminal, force_terminal=True)
            bar = rich.Progress(*columns, console=console, transient=True)
            task = bar.add_task(self.words, total=self.total, completed=self.done())
            self.drawn.enter_context(bar)
            self.update = partial(bar.update, task)

    def close(self) -> None:
        with self.lock:
            self.timer.cancel()
            self.update = lambda **shown: None
            self.drawn.close()
