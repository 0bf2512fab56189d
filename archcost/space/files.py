"""Files with the rows of a sweep: written as they come, and read again, a block at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from archcost.errors import ArchcostError, LookupFailed
from archcost.space.grid import Columns
from archcost.space.sweep import Sweeper, is_beyond, joined, rows_of

GROUP = 2**18
"""Rows of a row group of a Parquet file, which is written at once."""
READ = 2**16
"""Rows that are read at once."""
BEYOND = "{} is beyond 64 bits, which Parquet's whole numbers have: write CSV"
ENDINGS: Mapping[str, str] = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}
"""The format of a file by its ending."""


def write_rows(sweeper: Sweeper, blocks: Iterable[Columns], file: IO[Any], format: str) -> None:
    """Write all rows as they come, as ``csv``, ``jsonl`` or ``parquet``.

    After each block no line is cut. A Parquet file ends with a whole row group, also where an error
    ends the blocks; it is to be opened for bytes.

    Raises:
        ArchcostError: pyarrow is not installed, or a number is beyond the 64 bits of Parquet.
    """
    _WRITERS[format](sweeper, blocks, file)


def _csv(sweeper: Sweeper, blocks: Iterable[Columns], file: IO[Any]) -> None:
    table = csv.writer(file, lineterminator="\n")
    table.writerow(sweeper.shown)
    for block in blocks:
        table.writerows(zip(*(block[name].tolist() for name in sweeper.shown), strict=True))
        file.flush()


def _jsonl(sweeper: Sweeper, blocks: Iterable[Columns], file: IO[Any]) -> None:
    for block in blocks:
        for row in zip(*(block[name].tolist() for name in sweeper.shown), strict=True):
            file.write(json.dumps(dict(zip(sweeper.shown, row, strict=True))) + "\n")
        file.flush()


def _parquet(sweeper: Sweeper, blocks: Iterable[Columns], file: IO[Any]) -> None:
    arrow, parquet = needs_pyarrow()
    schema = arrow.schema([(name, _type(sweeper, name)) for name in sweeper.shown])
    held = list[Columns]()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:

        def write() -> None:
            rows, held[:] = joined(held), []
            arrays = [arrow.array(rows[each.name].tolist() if rows[each.name].dtype == object
                                  else rows[each.name], each.type) for each in schema]  # fmt: skip
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema), GROUP)

        try:
            for block in blocks:
                for each in schema:
                    if is_beyond(block[each.name]):
                        raise ArchcostError(BEYOND.format(each.name))
                held.append(block)
                if sum(map(rows_of, held)) >= GROUP:
                    write()
        finally:
            if held:
                write()


def write_part(sweeper: Sweeper, rows: Columns, path: str) -> None:
    """Write rows as a file of Parquet, which is there when it is whole.

    Several may write the same rows at once: the last one replaces the others.
    """
    with NamedTemporaryFile(dir=Path(path).parent, prefix=".part-", delete=False) as file:
        made = Path(file.name)
        try:
            _parquet(sweeper, [rows], file)
        except BaseException:
            made.unlink()
            raise
    made.chmod(0o644)
    made.replace(path)


def _type(sweeper: Sweeper, name: str) -> Any:
    """Return the type of a column: of a figure int64, of a name that of all its values."""
    import numpy as np

    pyarrow, _ = needs_pyarrow()
    own = sweeper.space.dimensions.get(name)
    if own is None:
        return pyarrow.int64()
    if own.ends is not None:
        return pyarrow.array(own.at(np.arange(1)).tolist()).type
    try:
        return pyarrow.array(own.at(np.arange(len(own))).tolist()).type
    except (pyarrow.ArrowException, TypeError):
        raise ArchcostError(
            f"{name} goes through values of several types, a column of Parquet has one: write CSV"
        ) from None


_WRITERS: Mapping[str, Callable[[Sweeper, Iterable[Columns], IO[Any]], None]] = {
    "csv": _csv, "jsonl": _jsonl, "parquet": _parquet,
}  # fmt: skip
STREAMED = (*_WRITERS,)
"""The formats whose rows are written as they come."""


def needs_pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its module for Parquet.

    Raises:
        ArchcostError: it is not installed.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ArchcostError("Parquet files need pyarrow: pip install 'archcost[parquet]'") from None


# Reading.


def format_of_rows(path: str) -> str | None:
    """Return the format of a file of rows by its ending; None of another file."""
    return ENDINGS.get(Path(path).suffix.lower())


def read_rows(path: str, names: Sequence[str]) -> Iterator[Columns]:
    """Yield columns of a file that a sweep has written, as floats, a block of rows at a time.

    A folder stands for its files of Parquet.

    Raises:
        LookupFailed: a name that is no column.
        ArchcostError: no such file, another kind of file, or a value that is no number.
    """
    import numpy as np

    if Path(path).is_dir():
        for part in sorted(Path(path).glob("*.parquet")):
            yield from read_rows(str(part), names)
        return
    format = format_of_rows(path)
    if format is None:
        *first, last = ENDINGS
        raise ArchcostError(f"{path!r} does not end in {', '.join(first)} or {last}")
    start = 0
    try:
        for columns in _READERS[format](path, names):
            for name, own in columns.items():
                for row, value in enumerate(own):
                    if isinstance(value, bool) or not isinstance(value, int | float):
                        row += start + 1
                        raise ArchcostError(f"{path}: row {row}: {name} is {value!r}, no number")
            yield {name: np.array(own, float) for name, own in columns.items()}
            start += len(columns[names[0]])
    except OSError as error:
        raise ArchcostError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ArchcostError(f"{path} is not text") from None


def find_columns(names: Iterable[str], columns: Iterable[str]) -> None:
    """Refuse a name that is no column.

    Raises:
        LookupFailed: with the columns.
    """
    known = [*columns]
    for name in names:
        if name not in known:
            raise LookupFailed("column", name, known, f"the columns are {', '.join(known)}")


Lists = Mapping[str, Sequence[Any]]


def _read_csv(path: str, names: Sequence[str]) -> Iterator[Lists]:
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        head = next(rows, [])
        find_columns(names, head)
        places = [head.index(name) for name in names]
        start = 1
        while part := [*islice(rows, READ)]:
            for number, row in enumerate(part, start):
                for name, place in zip(names, places, strict=True):
                    if place >= len(row):
                        raise ArchcostError(f"{path}: row {number} has no {name}")
            yield {name: [_number(row[i]) for row in part]
                   for name, i in zip(names, places, strict=True)}  # fmt: skip
            start += len(part)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _read_jsonl(path: str, names: Sequence[str]) -> Iterator[Lists]:
    with open(path, encoding="utf-8") as file:
        while lines := [*islice(file, READ)]:
            try:
                part = [dict(json.loads(line)) for line in lines]
            except (ValueError, TypeError):
                raise ArchcostError(
                    f"{path} is not a file of a sweep: its lines are not JSON records"
                ) from None
            for row in part:
                find_columns(names, row)
            yield {name: [row[name] for row in part] for name in names}


def _read_parquet(path: str, names: Sequence[str]) -> Iterator[Lists]:
    arrow, parquet = needs_pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            find_columns(names, file.schema_arrow.names)
            for batch in file.iter_batches(READ, columns=[*names]):
                yield {name: batch[name].to_pylist() for name in names}
    except arrow.ArrowInvalid:
        raise ArchcostError(f"{path} is not a Parquet file, or it was not closed") from None


_READERS: Mapping[str, Callable[[str, Sequence[str]], Iterator[Lists]]] = {
    "csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet,
}  # fmt: skip
