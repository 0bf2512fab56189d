"""A network written as a flat spec: one named call per layer, loadable again."""

from __future__ import annotations

import json
import re

from archcost.network import NETWORK_INPUT, Network
from archcost.ops import OPS
from archcost.shape import show
from archcost.spec.document import RESERVED


def flat_spec(network: Network) -> str:
    """Return YAML that loads as the same layers; dots in paths become underscores."""
    labels = _labels([layer.path for layer in network])
    lines = [f"name: {network.name}"]
    for key, value in (("title", network.title), ("paper", network.paper)):
        if value:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    lines += [f"year: {network.year}"] if network.year else []
    lines += [f"input: {show(network.input)}", "layers:"]
    before = NETWORK_INPUT
    for layer in network:
        named = [] if layer.inputs == (before,) else [labels[name] for name in layer.inputs]
        lines.append(f"  - {labels[layer.path]}: {layer.op.call(named)}")
        before = layer.path
    if network.outputs[0] != before:
        lines.append(f"  - take({labels[network.outputs[0]]})")
    return "\n".join(lines)


def _labels(paths: list[str]) -> dict[str, str]:
    labels = {NETWORK_INPUT: NETWORK_INPUT}
    used = {NETWORK_INPUT, *RESERVED, *OPS}  # the sixth relu must not be called relu6
    for path in paths:
        base = re.sub(r"\W", "_", path)
        base = f"layer_{base}" if base[0].isdigit() else base
        label, number = base, 2
        while label in used:
            label, number = f"{base}_{number}", number + 1
        used.add(label)
        labels[path] = label
    return labels
