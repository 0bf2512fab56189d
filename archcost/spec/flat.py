"""A network written as a flat spec: one named call per layer, loadable again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from archcost.errors import ArchcostError
from archcost.network import NETWORK_INPUT, Network
from archcost.ops import OPS
from archcost.ops.base import FLOAT
from archcost.shape import show
from archcost.spec.document import RESERVED, VARIANT_HEADER


def flat_spec(network: Network) -> str:
    """Return YAML that loads as the same layers; dots in paths become underscores.

    Raises:
        ArchcostError: the network has what no spec can say.
    """
    labels = _labels(network)
    lines = [f"name: {network.name}"]
    for key, value in (("title", network.title), ("paper", network.paper)):
        if value:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    lines += [f"year: {network.year}"] if network.year else []
    inputs = {
        labels[value.name]: show(value.shape) + f" {value.dtype}" * (value.dtype != FLOAT)
        for value in network.inputs
    }
    if [*inputs] == [NETWORK_INPUT]:
        lines += [f"input: {inputs[NETWORK_INPUT]}"]
    else:
        lines += ["inputs:", *(f"  {label}: {shape}" for label, shape in inputs.items())]
    shared = {layer.module for layer in network if layer.module != layer.path and layer.sharing}
    if shared:
        calls = [f"  {labels[path]}: {network[path].op.call()}" for path in sorted(shared)]
        lines += ["shared:", *calls]
    lines += ["layers:"]
    before = network.inputs[0].name

    def read(name: str) -> str:
        path, _, place = name.partition(":")
        several = path in network.by_path and network[path].cost.others
        return f"{labels[path]}[{place or 0}]" if several else labels[path]

    for layer in network:
        named = [] if layer.inputs == (before,) else [read(name) for name in layer.inputs]
        call = layer.op.call(named)
        if layer.module in shared:
            call = labels[layer.module] + f"({', '.join(named)})" * bool(named)
        if layer.ties and layer.module in shared:
            raise ArchcostError(f"{layer.path} uses {layer.sharing}, which a spec cannot express")
        if layer.ties:
            ties = ", ".join(_tie(network, labels, *tie) for tie in layer.ties.items())
            call = f"{call.removesuffix(')')}{', ' if '(' in call else '('}{ties})"
        lines.append(f"  - {labels[layer.path]}: {call}")
        before = layer.path
    if len(network.outputs) > 1:
        lines += ["outputs:", *(f"  - {read(name)}" for name in network.outputs)]
    elif network.outputs[0] != before:
        lines.append(f"  - take({read(network.outputs[0])})")
    return "\n".join(lines)


def _tie(network: Network, labels: Mapping[str, str], name: str, full: str) -> str:
    """Return the argument that takes a parameter of another layer."""
    path, _, own = full.rpartition(".")
    if own != name or network[path].cost.others:
        raise ArchcostError(f"{name} is {full}, which a spec cannot express")
    return f"{name}={labels[path]}"


def _labels(network: Network) -> dict[str, str]:
    labels = {NETWORK_INPUT: NETWORK_INPUT}
    used = {*RESERVED, *VARIANT_HEADER, *OPS}  # the sixth relu must not be called relu6
    for path in (*(value.name for value in network.inputs), *(layer.path for layer in network)):
        if path in labels:
            continue
        base = re.sub(r"\W", "_", path)
        base = f"layer_{base}" if base[0].isdigit() else base
        label, number = base, 2
        while label in used:
            label, number = f"{base}_{number}", number + 1
        used.add(label)
        labels[path] = label
    return labels
