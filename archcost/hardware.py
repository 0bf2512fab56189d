"""Devices: how much memory they have, how fast it is, and the peak of their arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from archcost.errors import ArchcostError, LookupFailed
from archcost.spec import source as yaml
from archcost.spec.catalog import specs_folder
from archcost.spec.source import Node, Scalar, Source
from archcost.units import Figure, parse_bytes

KEYS = ("title", "year", "memory", "bandwidth", "peaks", "source")


@dataclass(frozen=True)
class Device:
    """A device as its vendor describes it.

    Attributes:
        name: how the command line calls it.
        title: its name in full.
        year: of its release.
        memory: bytes.
        bandwidth: bytes per second to and from that memory.
        peaks: FLOP/s, dense, by data type and path: ``"float32"``, ``"tf32 tensor"``.
        source: where these figures are printed.
    """

    name: str
    title: str
    year: int
    memory: int
    bandwidth: int
    peaks: Mapping[str, int]
    source: str


@lru_cache(maxsize=1)
def devices() -> Mapping[str, Device]:
    """Return every device of ``specs/hardware.yaml`` by its name."""
    path = specs_folder() / "hardware.yaml"
    return read_devices(Source("specs/hardware.yaml", path.read_text("utf-8")))


def read_devices(source: Source) -> Mapping[str, Device]:
    """Read a file of devices.

    Raises:
        SpecError: with file, line and column.
    """
    root = _mapping(source, yaml.parse_yaml(source), "a file of devices")
    return MappingProxyType(
        {name: _device(source, name, node) for name, (_, node) in root.entries.items()}
    )


def find_device(name: str) -> Device:
    """Return the device of that name, in any case and with or without spaces and hyphens.

    Raises:
        LookupFailed: an unknown device, with the nearest name.
    """
    plain = name.lower().replace(" ", "").replace("-", "").replace("_", "")
    for device in devices().values():
        if device.name.replace("_", "") == plain:
            return device
    raise LookupFailed("GPU", name, devices())


def _device(source: Source, name: str, node: Node) -> Device:
    entries = _mapping(source, node, name).entries
    for key, (place, _) in entries.items():
        if key not in KEYS:
            raise source.error(place, f"{name}: unknown key {key!r}")
    missing = [key for key in KEYS if key not in entries]
    if missing:
        raise source.error(node, f"{name} has no {missing[0]}")
    peaks = _mapping(source, entries["peaks"][1], "peaks").entries
    return Device(
        name=name,
        title=_scalar(source, entries["title"][1]).text,
        year=_number(source, entries["year"][1]),
        memory=_bytes(source, entries["memory"][1]),
        bandwidth=_bytes(source, entries["bandwidth"][1]),
        peaks=MappingProxyType({path: _number(source, peak) for path, (_, peak) in peaks.items()}),
        source=_scalar(source, entries["source"][1]).text,
    )


def _mapping(source: Source, node: Node, what: str) -> yaml.Mapping:
    if not isinstance(node, yaml.Mapping):
        raise source.error(node, f"{what} must be a mapping")
    return node


def _scalar(source: Source, node: Node) -> Scalar:
    if not isinstance(node, Scalar) or not node.text:
        raise source.error(node, "expected a single value")
    return node


def _number(source: Source, node: Node) -> int:
    scalar = _scalar(source, node)
    try:
        return int(Figure.parse(scalar.text).value)
    except ArchcostError as error:
        raise source.error(node, str(error)) from None


def _bytes(source: Source, node: Node) -> int:
    scalar = _scalar(source, node)
    try:
        return parse_bytes(scalar.text)
    except ArchcostError as error:
        raise source.error(node, str(error)) from None
