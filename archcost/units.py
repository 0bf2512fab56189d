"""Units: sizes and times as people write them, 3GB, 10m, 138.4M; the sizes of data types."""

from __future__ import annotations

import re
from collections.abc import Mapping

from archcost.errors import ArchcostError, LookupFailed, shorten

DTYPE_BYTES: Mapping[str, int] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1,
}  # fmt: skip
"""Bytes per element of a data type."""

BYTES: Mapping[str, int] = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
"""Bytes of a unit, in small letters."""


class ComplexBytes(int):
    """Bytes per element of complex numbers, which are twice those of a real one."""


_SECONDS: Mapping[str, int] = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def dtype_bytes(dtype: str) -> int:
    """Return the bytes per element, or raise LookupFailed with the nearest dtype."""
    if dtype not in DTYPE_BYTES:
        raise LookupFailed("dtype", dtype, DTYPE_BYTES)
    return DTYPE_BYTES[dtype]


def parse_bytes(text: str) -> int:
    """Read a size: ``3GB`` is 3·10^9 bytes, ``3GiB`` is 3·2^30; a bare number is bytes.

    Raises:
        ArchcostError: not a positive size.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].lower() if match else ""
    if not match or (unit or "b") not in BYTES:
        raise ArchcostError(
            f"a size is written as 3GB (10^9) or 3GiB (2^30); got {shorten(text)!r}"
        )
    from fractions import Fraction  # most runs read no size

    size = int(Fraction(match[1]) * BYTES[unit or "b"])
    if size <= 0:
        raise ArchcostError(f"a size must be positive; got {shorten(text)!r}")
    return size


def parse_seconds(text: str) -> float:
    """Read a duration: ``90s``, ``10m``, ``1.5h``; a bare number is seconds.

    Raises:
        ArchcostError: not a positive duration.
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].lower() if match else ""
    if not match or unit not in _SECONDS:
        raise ArchcostError(f"a duration is written as 90s, 10m or 2h; got {shorten(text)!r}")
    from fractions import Fraction

    seconds = float(Fraction(match[1]) * _SECONDS[unit])
    if seconds <= 0:
        raise ArchcostError(f"a duration must be positive; got {shorten(text)!r}")
    return seconds


def human(number: int | float, digits: int = 4) -> str:
    """Return a count as people say it: 138.4M, 15.47G."""
    for scale, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")):
        if abs(number) >= scale:
            return f"{number / scale:.{digits}g}{unit}"
    return f"{number:,}" if isinstance(number, int) else f"{number:.{digits}g}"


def human_bytes(size: int) -> str:
    """Return a size in decimal units: 553.4 MB."""
    for scale, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "KB")):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"


def human_seconds(seconds: float) -> str:
    """Return a time as people say it: 30.7 µs, 1.25 s."""
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.4g} {unit}"
    return f"{seconds * 1e9:.4g} ns"


def number_of(number: int, noun: str) -> str:
    """Return a number of things in words: 1 model, 235 models."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
