"""Devices: how much memory they have, how fast it is, and the peak of their arithmetic.

Those of ``specs/hardware.yaml`` are as their vendors print them; those of the user's own file are
as ``archcost hardware calibrate`` measured them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError, LookupFailed, shorten
from archcost.numeral import Numeral
from archcost.spec import source as yaml
from archcost.spec.catalog import specs_folder
from archcost.spec.source import Node, Source
from archcost.units import DTYPE_BYTES, parse_bytes

KEYS = ("title", "year", "memory", "bandwidth", "peaks", "source")
OPTIONAL = ("kind", "reports", "capability")
GPU, CPU = KINDS = ("gpu", "cpu")
TENSOR = " tensor"
TF32 = "tf32" + TENSOR
"""The path on which tensor cores compute float32, with a shorter significand."""


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
        kind: ``"gpu"`` or ``"cpu"``.
        reports: how the device names itself to programs, if known.
        capability: its CUDA compute capability, such as ``"9.0"``.
        measured: whether the figures are what was reached on the user's device, not what its
            vendor prints.
    """

    name: str
    title: str
    year: int
    memory: int
    bandwidth: int
    peaks: Mapping[str, int]
    source: str
    kind: str = GPU
    reports: str = ""
    capability: str = ""
    measured: bool = field(default=False, compare=False)

    @property
    def runs(self) -> str:
        """What PyTorch calls a device of its kind: ``"cpu"`` or ``"cuda"``."""
        return "cpu" if self.kind == CPU else "cuda"

    def peak(self, dtype: str, tf32: bool = True) -> int:
        """Return the FLOP/s of the fastest path for a data type.

        Args:
            dtype: data type of the tensors.
            tf32: whether float32 may be computed as TF32, where the device can.

        Raises:
            ArchcostError: the device has no peak for the data type.
        """
        paths = [dtype, dtype + TENSOR, *([TF32] if tf32 and dtype == "float32" else [])]
        known = [self.peaks[path] for path in paths if path in self.peaks]
        if not known:
            raise ArchcostError(
                f"{self.name} has no peak for {dtype}; it has {', '.join(self.peaks)}"
            )
        return max(known)


def devices() -> Mapping[str, Device]:
    """Return every device by its name, the user's own last.

    Raises:
        SpecError: the user's file cannot be read, with file, line and column.
    """
    return MappingProxyType({**vendor_devices(), **own_devices()})


@lru_cache(maxsize=1)
def vendor_devices() -> Mapping[str, Device]:
    """Return every device of ``specs/hardware.yaml`` by its name."""
    text = (Path(specs_folder()) / "hardware.yaml").read_text("utf-8")
    return read_devices(Source("specs/hardware.yaml", text))


def own_file() -> Path:
    """Return where the user's devices are kept: in the folder of configuration of the platform."""
    from click import get_app_dir

    return Path(get_app_dir("archcost")) / "devices.yaml"


def own_devices() -> Mapping[str, Device]:
    """Return the devices that the user has calibrated, by name."""
    path = own_file()
    if not path.exists():
        return {}
    return read_devices(yaml.read_source(path), measured=True)


def write_devices(known: Mapping[str, Device]) -> str:
    """Return the text of a file of devices, which :func:`read_devices` reads."""
    entries = {device.name: device_entry(device) for device in known.values()}
    # JSON is YAML too
    return "\n".join(f"{name}: {json.dumps(entry, indent=2)}" for name, entry in entries.items())


def device_entry(device: Device) -> dict[str, Any]:
    """Return a device as a file of devices has it."""
    optional = {key: getattr(device, key) for key in OPTIONAL if getattr(device, key)}
    known = {key: getattr(device, key) for key in KEYS if key != "peaks"}
    return known | {"peaks": dict(device.peaks)} | optional


def read_devices(source: Source, measured: bool = False) -> Mapping[str, Device]:
    """Read a file of devices; ``measured`` says that its figures are what was reached.

    Raises:
        SpecError: with file, line and column.
    """
    entries = source.mapping(yaml.parse_yaml(source), "a file of devices")
    return MappingProxyType(
        {name: _device(source, name, node, measured) for name, (_, node) in entries.items()}
    )


def find_device(name: str) -> Device:
    """Return the device of that name, in any case and with or without spaces and hyphens.

    Raises:
        LookupFailed: an unknown device, with the nearest name.
    """
    known = devices()
    for device in known.values():
        if _plain(device.name) == _plain(name):
            return device
    raise LookupFailed("GPU", name, known)


def find_reported(name: str) -> Device | None:
    """Return the vendor's device that names itself so to programs, None if none is known to."""
    return next((device for device in vendor_devices().values() if device.reports == name), None)


def calibrated(name: str) -> Device | None:
    """Return the user's own device that names itself so, None if there is none."""
    return next((device for device in own_devices().values() if device.reports == name), None)


def check_name(name: str) -> str:
    """Return a name that the user may give to a device of his own.

    Raises:
        ArchcostError: it is not a plain word, or a vendor's device has it.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,39}", name):
        raise ArchcostError(
            f"a device's name is a letter and then letters, digits, _ and -; got {shorten(name)!r}"
        )
    for device in vendor_devices().values():
        if _plain(device.name) == _plain(name):
            raise ArchcostError(f"{name} is {device.title}; give your device another name")
    return name


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("-", "").replace("_", "")


def _device(source: Source, name: str, node: Node, measured: bool) -> Device:
    def number(node: Node) -> int:
        return source.parsed(node, lambda text: int(Numeral.parse(text).value))

    def size(node: Node) -> int:
        return source.parsed(node, parse_bytes)

    def peaks(node: Node) -> Mapping[str, int]:
        entries = source.mapping(node, "peaks")
        for path, (place, _) in entries.items():
            if path != TF32 and path.removesuffix(TENSOR) not in DTYPE_BYTES:
                raise source.error(place, f"{name}: a peak of an unknown dtype {path!r}")
        return MappingProxyType({path: number(peak) for path, (_, peak) in entries.items()})

    def like(pattern: str, words: str) -> Callable[[Node], str]:
        def check(text: str) -> str:
            if not re.fullmatch(pattern, text):
                raise ArchcostError(f"{name}: {words}")
            return text

        return lambda node: source.parsed(node, check)

    found = source.read(node, name, {
        "title": str, "year": number, "memory": size, "bandwidth": size, "peaks": peaks,
        "source": str, "kind?": like("|".join(KINDS), "kind is gpu or cpu"), "reports?": str,
        "capability?": like(r"\d{1,3}\.\d", "a compute capability is like 9.0"),
    })  # fmt: skip
    return Device(name=name, measured=measured, **found)
