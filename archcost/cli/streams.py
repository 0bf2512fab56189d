"""Standard output and error that bear a reader who has gone, and a disk that is full."""

from __future__ import annotations

import io
import sys
from typing import Any

from archcost.errors import ArchcostError


class _Descriptor(io.FileIO):
    """A descriptor that drops what its reader, ``head`` say, no longer wants.

    Another failure is an error of the user's, told once; ``silent`` drops it too.
    """

    def __init__(self, number: int, silent: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.silent, self.lost = silent, False

    def write(self, data: Any) -> int:
        """Write bytes, or drop them; return how many are done with."""
        if not self.lost:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = True  # or the interpreter would try again at its end
                if not (self.silent or isinstance(error, BrokenPipeError)):
                    reason = f"cannot write to standard output: {error.strerror}"
                    raise ArchcostError(reason) from None
        return len(data)


def protect() -> None:
    """Put such streams in the place of the process's own; a closed one takes all and drops it."""
    for name, silent in (("stdout", False), ("stderr", True)):
        stream = getattr(sys, name)
        if stream is None:  # closed before the program began
            setattr(sys, name, open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
        elif stream is getattr(sys, f"__{name}__") and not stream.isatty():
            # a terminal is never full; a stream that a test or a notebook has put stays
            stream.flush()
            descriptor = io.BufferedWriter(_Descriptor(stream.fileno(), silent))
            protected = io.TextIOWrapper(
                descriptor, stream.encoding, stream.errors,
                line_buffering=stream.line_buffering, write_through=stream.write_through,
            )  # fmt: skip
            setattr(sys, name, protected)
