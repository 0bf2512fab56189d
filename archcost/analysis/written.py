"""What tools print of the modules that others write of a network (:mod:`~.writings`).

:data:`COMPARED` says which tools were run on whose modules: of these alone a number is said.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archcost.analysis.writings import THOP, WRITINGS, Writing
from archcost.conventions import CONVENTIONS, Convention, counted_layers
from archcost.counterparts import COLLECTIONS, COUNTERPARTS
from archcost.network import Network
from archcost.spec.catalog import load


@dataclass(frozen=True)
class Written:
    """What the tools print of a collection's module.

    Attributes:
        collection, name: the module; without a name, one that is written as the collection writes.
        totals: what each compared tool prints of it for one sample, by convention.
        reasons: why some print something else than of archcost's module; by convention.
        unknown: why no tool's number is known; empty if they are.
    """

    collection: str
    name: str
    totals: Mapping[str, int]
    reasons: Mapping[str, tuple[str, ...]]
    unknown: str = ""

    @property
    def whose(self) -> str:
        """Whose module it is, in words."""
        if self.name:
            return f"{self.collection}'s {self.name}"
        return f"a module that is written as {self.collection} writes its own"

    def note(self, conventions: Sequence[str], batch: int = 1) -> str:
        """Return as a line what these tools print of it and why, empty if nothing is known."""
        shown = [name for name in conventions if CONVENTIONS[name].tool_version]
        if self.unknown and shown:
            return f"of {self.whose}: not known ({self.unknown})"
        by_reason: dict[tuple[str, ...], list[str]] = {}
        for name in shown:
            if why := self.reasons.get(name):
                by_reason.setdefault(why, []).append(f"{name} {batch * self.totals[name]:,}")
        parts = [f"{', '.join(said)} ({' and '.join(why)})" for why, said in by_reason.items()]
        if self.name:
            same = [name for name in shown if name in self.totals and name not in self.reasons]
            hooked = [name for name in shown if CONVENTIONS[name].hooks]
            never = [name for name in hooked if name not in self.totals]
            parts += [f"the same as here: {', '.join(same)}"] if same else []
            parts += [f"not compared: {', '.join(never)}"] if never else []
        return f"of {self.whose}: {'; '.join(parts)}" if parts else ""


_SINGLE = [name for name in THOP.split() if CONVENTIONS[name].single]
_TOOLS = (
    "fvcore", "torch", "profiler", "torchinfo", "thop", "ptflops", "ptflops_aten", "ptflops_0.7",
    "calflops", "calflops_macs", "deepspeed", "deepspeed_macs", *THOP.split(),
)  # fmt: skip

COMPARED: Mapping[str, Sequence[str]] = {
    **dict.fromkeys(COLLECTIONS, _TOOLS),
    "timm 0.1.26": THOP.split(),
    # its hard swish has a ReLU6, which earlier versions of thop count
    "d-li14/mobilenetv3.pytorch": THOP.split()[:-2],
}
"""The tools that were run on modules of a collection, by their conventions."""

OTHERS: Mapping[str, Mapping[str, str]] = {
    "mobilenet_v3_large": {
        "timm 0.1.26": "mobilenetv3_large_100", "d-li14/mobilenetv3.pytorch": "mobilenetv3_large",
    },
}  # fmt: skip
"""Modules beside the counterparts on which tools were run, because people quote the numbers."""

UNKNOWN = {
    **dict.fromkeys(
        (("pytorchcv", "nasnet"), ("pytorchcv", "pnasnet")),
        "it pads by a row and a column more, which every tool counts",
    ),
    **dict.fromkeys(
        (("pytorchcv", "darknet53"), ("pytorchcv", "cbam_resnet"), ("timm", "mobilevit")),
        "no tool was run on it",
    ),
}
"""Of which modules no tool's number is known, by collection and family, and why."""

NOT_COMPARED: Mapping[tuple[str, str], Sequence[str]] = {
    # modules that stand in another order, which changes the rounding of the sum
    **dict.fromkeys((("timm", "xception"), ("pytorchcv", "xception")), _SINGLE),
    # a bias once for each channel of the map that the first hidden layer reads
    ("timm", "vgg"): ("thop_2019_07", "thop_2019_03"),
    # one ReLU for a block, which may end in a concatenation
    ("pytorchcv", "shufflenet_v1"): ("thop_2019_07", "thop_2019_03"),
}
"""The tools that have other rules for a collection's family, which are not known here."""


def written(network: Network) -> list[Written]:
    """Return what the compared tools print, for one sample, of modules that others write.

    That is of the network's counterparts; and where no collection has one, of a module that is
    written as torchvision writes, if that changes a number. A network with another input, other
    knobs or no biases is not a counterpart.
    """
    names: dict[str, Any] = {}
    if network.name in COUNTERPARTS and network.layers == load(network.name).layers:
        names = {**COUNTERPARTS[network.name], **OTHERS.get(network.name, {})}
    if not names:
        found = written_by(network, "torchvision", "")
        return [found] if found.reasons else []
    return [
        written_by(network, collection, entry if isinstance(entry, str) else entry[0])
        for collection, entry in names.items()
    ]


def written_by(network: Network, collection: str, name: str) -> Written:
    """Return what the compared tools print of a network that a collection writes, by its name."""
    if unknown := UNKNOWN.get((collection, network.family), ""):
        return Written(collection, name, {}, {}, unknown)
    writings = [w for w in WRITINGS if w.concerns(network, collection, bool(name))]
    totals: dict[str, int] = {}
    reasons: dict[str, tuple[str, ...]] = {}
    never = NOT_COMPARED.get((collection, network.family), ())
    for rule in (CONVENTIONS[key] for key in COMPARED[collection] if key not in never):
        changes = {w.words: _changes(network, w, rule) for w in writings}
        totals[rule.name] = printed(network, rule, writings)
        if why := tuple(words for words, change in changes.items() if any(change.values())):
            reasons[rule.name] = why
    return Written(collection, name, totals, reasons)


def _changes(network: Network, writing: Writing, rule: Convention) -> dict[str, int]:
    """Return how much more a tool counts of the layers that are so written, by path."""
    return {
        x.path: change
        for x in writing.layers(network)
        if (change := writing.count(x, rule) - rule.count(x))
    }


def printed(network: Network, rule: Convention, writings: Iterable[Writing] = ()) -> int:
    """Return the count as the tool prints it: rounded where it adds up in single precision."""
    changes = [_changes(network, writing, rule) for writing in writings]
    counts = (
        rule.count(x) + sum(change.get(x.path, 0) for change in changes)
        for x in counted_layers(network, rule)
    )
    if not rule.single:
        return sum(counts)
    total = 0.0
    for count in counts:
        total = _single(total + _single(count))
    return int(total)


def _single(number: float) -> float:
    """Return the nearest number of single precision."""
    return float(struct.unpack("f", struct.pack("f", number))[0])
