"""Remarks on parts of a spec that nothing uses, or that probably mean something else."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from archcost.network import Layer, Network, Remark, maker
from archcost.shape import numel
from archcost.spec.habits import ARGUMENTS, DIMENSIONS, INPUT, input_habit, layer_habits
from archcost.spec.source import Scalar

UNREAD = "unread"
MEANT = (UNREAD, INPUT, ARGUMENTS, DIMENSIONS)
"""The kinds of remarks that a spec can answer by `meant`."""


def find_remarks(
    network: Network,
    places: Mapping[str, Scalar | None],
    meant: Collection[str] = (),
) -> list[Remark]:
    """Return the remarks on a network, in the order of its spec's lines.

    Args:
        network: the expanded spec.
        places: where the spec has each layer, by path, and its input; without a place for that,
            it is not the spec's own.
        meant: kinds of remarks of which the spec says that it means what it says.
    """
    remarks = [*_unread(network, places)]
    for value in network.inputs:
        if value.name not in network.last_readers and value.name not in network.outputs:
            text = f"nothing reads the input {value.name}"
            remarks.append(Remark(UNREAD, text, *_place(places, value.name)))
    for layer, kind, text in layer_habits(network):
        remarks.append(Remark(kind, text, *_place(places, layer.path)))
    if text := input_habit(network):
        remarks.append(Remark(INPUT, text, *_place(places, network.inputs[0].name)))
    remarks = [remark for remark in dict.fromkeys(remarks) if remark.kind not in meant]
    if network.claims:
        from archcost.printed import find_lecture_remarks

        remarks += find_lecture_remarks(network)
    return sorted(remarks, key=lambda remark: (remark.line, remark.column))


def _place(places: Mapping[str, Scalar | None], name: str) -> tuple[int, int]:
    """Return the line and column of a layer or an input; 0 and 0 if it is not the spec's own."""
    place = places.get(name)
    return (place.line, place.column) if place else (0, 0)


def _unread(network: Network, places: Mapping[str, Scalar | None]) -> Iterator[Remark]:
    """Yield each layer that no layer reads and that is not an output, with its cost.

    What leads only to it costs in vain too, and counts with it.
    """
    rest = set(network.dead)
    if not rest:
        return
    used = {n for layer in network if layer.path not in rest for n in layer.param_names}
    for layer in network:
        if layer.path not in network.dead or layer.path in network.last_readers:
            continue
        vain: list[Layer] = []
        waiting = [layer.path]
        while waiting:
            path = waiting.pop()
            if path in rest:
                rest.remove(path)
                vain.append(network[path])
                waiting += map(maker, network[path].inputs)
        own = {one.full_name(name): shape for one in vain for name, shape in one.params.items()}
        params = sum(numel(shape) for name, shape in own.items() if name not in used)
        macs = sum(one.macs for one in vain)
        if layer.op.kind == "parameter" and not params:  # others take it as theirs
            continue
        before = ", with the layers that only it reads" if len(vain) > 1 else ""
        text = (
            f"nothing reads {layer.path}; it costs {params:,} parameters and {macs:,} MACs of the "
            f"totals{before}"
        )
        yield Remark(UNREAD, text, *_place(places, layer.path))


MAX_REMARKS = 5


def remark_notes(network: Network) -> list[str]:
    """Return the first remarks on a network's spec as notes, and how many more there are."""
    shown = [
        f"{network.source}:{r.line}: {r.text}" if r.line else r.text
        for r in network.remarks[:MAX_REMARKS]
    ]
    more = len(network.remarks) - len(shown)
    command = "audit" if network.claims else "lint"
    return shown + [f"{more} more: archcost {command} {network.source}"] * (more > 0)
