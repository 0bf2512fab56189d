"""What a file of weights holds, without its weights: names, shapes and types of its tensors.

A file of safetensors begins with the length of its header, 8 bytes, and the header, which is JSON
(https://huggingface.co/docs/safetensors). A file of ``torch.save`` is opened by PyTorch, which
runs nothing of it (``weights_only``) and reads no weights (``mmap``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from archcost.errors import ArchcostError, did_you_mean, shorten
from archcost.network import Network
from archcost.proofs import Check
from archcost.pytorch import build, import_torch
from archcost.shape import Shape, numel, show
from archcost.table import Cell, Column, Table
from archcost.units import number_of

SAFETENSORS, PICKLED = (".safetensors",), (".pt", ".pth")
ENDINGS = (*SAFETENSORS, *PICKLED)
LONGEST_HEADER = 100_000_000
TYPES = {
    "BOOL": ("bool", 1), "U8": ("uint8", 1), "I8": ("int8", 1), "F8_E5M2": ("float8_e5m2", 1),
    "F8_E4M3": ("float8_e4m3fn", 1), "I16": ("int16", 2), "U16": ("uint16", 2),
    "F16": ("float16", 2), "BF16": ("bfloat16", 2), "I32": ("int32", 4), "U32": ("uint32", 4),
    "F32": ("float32", 4), "F64": ("float64", 8), "I64": ("int64", 8), "U64": ("uint64", 8),
    "C64": ("complex64", 8),
}  # fmt: skip
"""The types of safetensors: PyTorch's name, and bytes."""
INSIDE = ("state_dict", "model_state_dict", "model")
"""Keys under which files of training hold the weights."""

COLUMNS = (
    Column("tensor", "tensor", essential=True), Column("shape", "shape"), Column("type", "type"),
    Column("elements", "elements", True, essential=True), Column("size", "bytes", True),
)  # fmt: skip


@dataclass(frozen=True)
class Held:
    """A tensor of a file: its shape, its type as PyTorch calls it, and its bytes."""

    shape: Shape
    dtype: str
    size: int

    def __str__(self) -> str:
        """Return it as a check shows it: ``64x3x7x7 float32``."""
        return f"{show(self.shape) if self.shape else 'a number'} {self.dtype}"


def is_checkpoint(name: str) -> bool:
    """Whether a name is that of a file of weights."""
    return name.endswith(ENDINGS)


def read_checkpoint(path: str) -> dict[str, Held]:
    """Return the tensors of a file of weights by their names.

    Raises:
        ArchcostError: there is no such file, or it is no file of weights; the text says why.
    """
    if not Path(path).is_file():
        raise ArchcostError(f"{path}: no such file")
    try:
        return _safetensors(path) if path.endswith(SAFETENSORS) else _pickled(path)
    except OSError as error:
        raise ArchcostError(f"{path}: {error.strerror or error}") from None


def _safetensors(path: str) -> dict[str, Held]:
    whole = Path(path).stat().st_size
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if whole < 8 or length > min(LONGEST_HEADER, whole - 8):
            raise ArchcostError(f"{path}: not a safetensors file: it is shorter than its header")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise ArchcostError(f"{path}: not a safetensors file: the header is not JSON") from None
    if not isinstance(header, dict):
        raise ArchcostError(f"{path}: not a safetensors file: the header is not a mapping of names")
    found: dict[str, Held] = {}
    for name, about in header.items():
        if name != "__metadata__":
            found[name] = _entry(path, name, about, whole - 8 - length)
    return found


def _entry(path: str, name: str, about: Any, room: int) -> Held:
    where = f"{path}: {shorten(name)}"
    try:
        dtype, sizes, (start, end) = about["dtype"], about["shape"], about["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ArchcostError(f"{where} has no dtype, shape and data_offsets") from None
    if dtype not in TYPES:
        raise ArchcostError(
            f"{where}: unknown type {shorten(dtype)!r}{did_you_mean(str(dtype), TYPES)}"
        )
    numbers = [start, end, *sizes] if isinstance(sizes, list) else [None]
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise ArchcostError(f"{where}: sizes and offsets are whole numbers from 0 on")
    kind, width = TYPES[dtype]
    held = Held(tuple(sizes), kind, numel(tuple(sizes)) * width)
    if end - start != held.size or end > room:
        place = f"{start:,} to {end:,} of {room:,}"
        raise ArchcostError(f"{where}: {held} takes {held.size:,} bytes; its place is {place}")
    return held


def _pickled(path: str) -> dict[str, Held]:
    torch = import_torch()
    try:
        zipped = is_zipfile(path)  # older files cannot be mapped
        loaded = torch.load(path, map_location="meta", weights_only=True, mmap=zipped)
    except Exception as error:  # whatever PyTorch raises of a file that is none
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArchcostError(f"{path}: PyTorch cannot read it: {shorten(reason, 160)}") from None
    for key in INSIDE:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    found = {
        str(name): Held(
            tuple(x.shape), str(x.dtype).removeprefix("torch."), x.numel() * x.element_size()
        )
        for name, x in (loaded.items() if isinstance(loaded, Mapping) else ())
        if isinstance(x, torch.Tensor)
    }
    if not found:
        raise ArchcostError(f"{path}: it holds no mapping of names to tensors")
    return found


def checkpoint_table(path: str, depth: int | None = None) -> Table:
    """Return the tensors of a file as a table, folded below ``depth`` dotted names."""
    held = read_checkpoint(path)
    groups: dict[str, list[Held]] = {}
    for name, tensor in held.items():
        groups.setdefault(".".join(name.split(".")[:depth]) if depth else name, []).append(tensor)
    rows = tuple(_row(name, tensors) for name, tensors in groups.items())
    _, _, *sums = _row("", [*held.values()])
    return Table(
        COLUMNS, rows, title=f"{Path(path).name}: {number_of(len(held), 'tensor')}",
        footer=(("total", "", *sums),),
    )  # fmt: skip


def _row(name: str, tensors: list[Held]) -> tuple[Cell, ...]:
    kinds = ", ".join(dict.fromkeys(tensor.dtype for tensor in tensors))
    shape = show(tensors[0].shape) if len(tensors) == 1 and tensors[0].shape else ""
    elements = sum(numel(tensor.shape) for tensor in tensors)
    return name, shape, kinds, elements, sum(tensor.size for tensor in tensors)


def fits(path: str, network: Network) -> Iterator[Check]:
    """Yield whether the weights of a file are those of a network, tensor by tensor.

    A network that is code is compared by the names of its ``state_dict``. The names of a spec's
    layers are its own: where a file has others, the tensors of each shape and type are counted.
    """
    held = read_checkpoint(path)
    torch = import_torch()
    with torch.device("meta"):
        module = build(network)
    wanted = {
        name: Held(
            tuple(x.shape), str(x.dtype).removeprefix("torch."), x.numel() * x.element_size()
        )
        for name, x in module.state_dict().items()
    }
    if network.module is None and not wanted.keys() & held.keys():
        yield from _by_shape(path, wanted, held)
        return
    for name, tensor in wanted.items():
        found = str(held[name]) if name in held else f"missing{_nearest(name, held)}"
        yield Check("weights", "tensor", name, str(tensor), found, against=path)
    for name, tensor in held.items():
        if name not in wanted:
            hint = _nearest(name, wanted)
            yield Check(
                "weights", "tensor", name, f"no such tensor{hint}", str(tensor), against=path
            )


def _nearest(name: str, known: Mapping[str, Held]) -> str:
    """Return the name that may be meant, empty if none is like it."""
    hint = did_you_mean(name, known)
    return hint if "did you mean" in hint else ""


def _by_shape(path: str, wanted: Mapping[str, Held], held: Mapping[str, Held]) -> Iterator[Check]:
    """Yield whether a file has as many tensors of each shape and type as a twin."""
    ours, theirs = ([str(x) for x in side.values()] for side in (wanted, held))
    for kind in dict.fromkeys((*ours, *theirs)):
        names = [name for name, x in wanted.items() if str(x) == kind]
        name = names[0] if names else next(n for n, x in held.items() if str(x) == kind)
        yield Check(
            "weights",
            f"tensors of {kind}",
            name,
            ours.count(kind),
            theirs.count(kind),
            against=path,
        )
