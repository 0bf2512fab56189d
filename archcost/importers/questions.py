"""What code asks of a trace: how large the batch is, what data say; and why it is refused."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError
from archcost.importers.constants import Constants
from archcost.importers.grown import OneByOne
from archcost.importers.lines import at, is_foreign, line_of_code
from archcost.importers.named import DEPENDS, DETECTOR, OF_DATA
from archcost.importers.seen import BATCH, Trace

MOST_ANSWERS = 1_000


class Undecided(ArchcostError):
    """Code asks a question of data at a line, whose answer is yes or no."""

    def __init__(self, text: str, line: tuple[str, int]) -> None:
        super().__init__(text)
        self.line = line


class Questions:
    """Answers code under a trace of a module, and says where it is.

    Args:
        module: what is traced.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.module = module
        self.trace = Trace()
        self.stack: list[tuple[str, Any]] = []
        self.asked: Counter[tuple[str, int]] = Counter()
        self.constants = Constants()

    refusal: ArchcostError | None = None
    """What was raised where TorchScript catches it."""

    on_data = False
    """Whether the tensors have content, and the batch is small."""

    answers: Mapping[tuple[str, int], bool] = MappingProxyType({})
    """What data are taken to say, by the lines that ask a question of them."""

    def one_by_one(self, what: str) -> ArchcostError:
        """Return why code that takes the samples one by one does not run."""
        parts = [part for part in DETECTOR if hasattr(self.module, part)]
        more = f"; a module of its {' and '.join(parts)} alone can be read" if parts else ""
        where = self.where(line_of_code())
        refusal = OneByOne(f"{where}: {what} takes the samples one by one{more}")
        refusal.helps = bool(parts)
        self.refusal = refusal
        return refusal

    def compared(self, one: bool, two: bool, large: bool) -> None:
        """Note that code compares the batch with a number: the answers for 1, 2 and many."""
        frame = sys._getframe(2)  # of what compares
        if not is_foreign(frame.f_globals.get("__name__", "")):
            self.trace.asks_batch |= one != two
            if two != large:
                self.trace.larger = at((frame.f_code.co_filename, frame.f_lineno))

    def answered(self, line: tuple[str, int], refusal: ArchcostError) -> bool:
        """Return the answer that this pass tries for a question of data at a line."""
        self.asked[line] += 1
        if line not in self.answers or self.asked[line] > MOST_ANSWERS:  # as a loop asks
            raise Undecided(str(refusal), line) from None
        return self.answers[line]

    def where(self, line: tuple[str, int]) -> str:
        """Return where the pass is: the module's path, the file and the line."""
        path = self.stack[-1][0] if self.stack else ""
        return f"{path or 'the module'} ({at(line)})"

    def refused(self, name: str, line: tuple[str, int], error: Exception) -> ArchcostError:
        """Return why a function does not run without data, or its own error."""
        where = self.where(line)
        text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = text.replace(str(BATCH), "N")  # as PyTorch's docs call the batch
        if "expected device" in text or "same device" in text:
            return ArchcostError(
                f"{where}: {name} reads a tensor that is made on the CPU, whatever the device of "
                "the input is; make it with device=x.device"
            )
        if not self.on_data and (name in OF_DATA or "meta" in text):
            return ArchcostError(f"{where}: {name} {DEPENDS}; --run runs the code on random data")
        return ArchcostError(f"{where}: {name}: {text}")
