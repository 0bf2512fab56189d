"""Random networks against PyTorch: shapes, parameters, counters, bytes kept for backward.

``python tests/test_random_networks.py --cases 50000 --seed 1`` runs as many cases as one likes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from random_networks import Item, draw, load_text, shrink, specs, to_text

from archcost.analysis.memory import saved_for_backward
from archcost.conventions import find_convention
from archcost.errors import ArchcostError
from archcost.network import Network
from archcost.ops import OPS
from archcost.torch_twin import build
from archcost.torch_twin.measure import saved_bytes

CASES, WORKERS, SEED = 2_000, 8, 1
BATCH = 2
EVERY = 20  # fvcore traces slowly
AT_LEAST = 10

CONSTRUCTS = {
    "knobs": r"^knobs:\n  \w",
    "a knob in the input": r"^input: '?\{",
    "variants": r"^variants:",
    "let at the top": r"^let:",
    "let between items": r"- let:",
    "block": r"^blocks:",
    "call of a block": r"- block\d\(",
    "block as a named group": r": block\d\(",
    "block of blocks": r"^  block\d.*\n(    .*\n)*    .*block\d\(",
    "block that takes a tensor": r"^  block\d\(other",
    "block that is repeated": r"block\d\(.*\) \* \d",
    "op as a parameter": r"- f$",
    "op as a knob": r"act\(\)",
    "named layer": r"- [\w-]+: [a-z_]+",
    "named group": r"- [\w-]+:\n +- ",
    "group in a group": r"^( +)- [\w-]+:\n\1  - [\w-]+:\n\1    - ",
    "repeat": r"- [a-z]\w*(\(.*\))? \* [23(]",
    "named repeat": r": [a-z]\w*(\(.*\))? \* [23]",
    "call under a condition": r"- [a-z]\w*(\(.*\))? if [^e]*$",
    "call or another": r" if .* else ",
    "items under a condition": r"- if .*:\n",
    "loop": r"- for \w in \[",
    "loop over rows": r"- for w, i in \[",
    "loop over range": r"in range\(",
    "loop with enumerate": r"in enumerate\(",
    "loop with zip": r"in zip\(",
    "add of branches": r"- add:",
    "concat of branches": r"- concat(\(.*\))?:",
    "concat along another dim": r"- concat\((dim=)?-?[1-3]\):",
    "multiply of branches": r"- multiply:",
    "branches in branches": r"(add|concat|multiply).*:\n(( +).*\n)*\3  .*- (add|concat|multiply).*:\n",
    "identity branch": r": identity$",
    "add of labels": r"add\(\w+, \w+\)",
    "concat of labels": r"concat\(\w+, \w+",
    "multiply of labels": r"multiply\(\w+, \w+\)",
    "nested call": r"(add|concat|multiply)\(\w+\(",
    "crop of a label": r"crop\([a-z]",
    "take": r"- take\(",
    "take in a call": r"\(take\(",
    "current": r"\bcurrent\b",
    "side output": r"- aside:",
    "in_channels": r"\bin_channels\b",
    "in_size": r"\bin_size\b",
    "channels of a label": r"channels\([a-z]+\)",
    "index of a list": r"\]\[1\]",
    "make_divisible": r"make_divisible\(",
    "one value per axis": r"(kernel_size=\[|conv\([^\[\]]*, \[|pool\(\[)",
    "padding per side": r"padding=\[\[",
    "padding 'same'": r"'same'",
    "padding 'reflect'": r"'reflect'",
    "padding 'replicate'": r"'replicate'",
    "padding 'circular'": r"'circular'",
    "dilation": r"dilation=[2-9]",
    "groups": r"groups=[2-9]",
    "ceil_mode": r"ceil_mode=True",
    "output_padding": r"output_padding=[1-9]",
    "no bias": r"bias=False",
    "functional": r"functional=True",
}
"""Every construct of the language, and settings of ops, as they look in a spec's text."""


def differences(torch: Any, network: Network, fvcore: bool = False) -> list[str]:
    """Return where the network and its PyTorch twin differ, as lines of text."""
    found = structure(torch, network)
    for name, expected, measured in (
        ("saved bytes", saved_for_backward(network, BATCH).total, measured_bytes(torch, network)),
        *([("fvcore", count(network, "fvcore"), fvcore_count(torch, network))] if fvcore else ()),
    ):
        if expected != measured:
            found.append(f"{name}: {expected} expected, {measured} measured")
    return found


def count(network: Network, convention: str) -> int:
    return sum(find_convention(convention).count(layer.cost.work) for layer in network)


def structure(torch: Any, network: Network) -> list[str]:
    """Compare names, shapes and PyTorch's counter, on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    twin = build(network, device="meta").eval()
    ran: dict[str, list[tuple[int, ...]]] = {layer.path: [] for layer in network}
    for name, module in twin.named_modules():
        if name in ran:
            module.register_forward_hook(
                lambda _, __, output, name=name: ran[name].append(tuple(output.shape))
            )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outputs = twin(torch.empty(BATCH, *network.input, device="meta"))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    shapes = {"input": network.input} | {layer.path: layer.cost.output for layer in network}
    pairs: list[tuple[str, Any, Any]] = [
        (layer.path, [(BATCH, *layer.cost.output)], ran[layer.path]) for layer in network
    ]
    pairs += [
        ("parameters", named(network, "params"), shapes_of(twin.named_parameters())),
        ("buffers", named(network, "buffers"), shapes_of(twin.named_buffers())),
        ("outputs", [(BATCH, *shapes[o]) for o in network.outputs], [tuple(o.shape) for o in outputs]),
        ("FlopCounterMode", BATCH * count(network, "torch"), counter.get_total_flops()),
    ]  # fmt: skip
    return [
        f"{what}: {expected} expected, {measured} measured"
        for what, expected, measured in pairs
        if expected != measured
    ]


def named(network: Network, kind: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{layer.path}.{name}": shape
        for layer in network
        for name, shape in getattr(layer.cost, kind).items()
    }


def shapes_of(tensors: Iterable[tuple[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors}


def measured_bytes(torch: Any, network: Network) -> int:
    return saved_bytes(torch, build(network).train(), torch.randn(BATCH, *network.input))


def fvcore_count(torch: Any, network: Network) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(build(network).eval(), torch.randn(1, *network.input))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def examine(torch: Any, spec: dict[str, Item], fvcore: bool = False) -> tuple[Any, list[str]]:
    """Return the network of a spec, None if archcost refuses it, and where the twin differs."""
    try:
        network = load_text(to_text(spec))
    except ArchcostError:
        return None, []
    try:
        return network, differences(torch, network, fvcore)
    except Exception as error:  # whatever PyTorch raises is the finding
        return network, [f"{type(error).__name__}: {error}"]


class Coverage:
    """How many cases were accepted, and how often each op and construct occurred in them."""

    def __init__(self) -> None:
        self.cases = self.accepted = self.branching = 0
        self.counts: Counter[str] = Counter()
        self.ops: Counter[str] = Counter()
        self.constructs: Counter[str] = Counter()
        self.axes: Counter[int] = Counter()

    def add(self, text: str, network: Network | None) -> None:
        self.cases += 1
        if network is None:
            return
        self.accepted += 1
        readers = Counter(name for layer in network for name in set(layer.inputs))
        self.branching += max(readers.values()) > 1
        self.ops.update({layer.op.name for layer in network})
        self.axes[len(network.input) - 1] += 1
        for name, pattern in CONSTRUCTS.items():
            self.constructs[name] += re.search(pattern, text, re.MULTILINE) is not None

    def __str__(self) -> str:
        """Return all counts."""
        refused = self.counts["refused"] + self.counts["too large"]
        lines = [
            f"{self.cases:,} cases, {self.accepted:,} accepted, {self.branching:,} with branches; "
            f"{refused:,} of {self.counts['asked']:,} drawn items refused",
            f"spatial dimensions: {dict(sorted(self.axes.items()))}",
            f"ops: {dict(sorted(self.ops.items(), key=lambda pair: pair[1]))}",
            f"constructs: {dict(sorted(self.constructs.items(), key=lambda pair: pair[1]))}",
        ]
        return "\n".join(lines)


def run(
    torch: Any, seed: int, cases: Iterable[int], coverage: Coverage,
    found: Callable[[int, str, list[str]], None],
) -> None:  # fmt: skip
    """Draw and examine the cases of a seed; ``found`` takes those that differ, shrunk."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for case in cases:
            spec = draw(random.Random(f"{seed}:{case}"), coverage.counts)
            fvcore = case % EVERY == 0
            network, different = examine(torch, spec, fvcore)
            coverage.add(to_text(spec), network)
            if different:
                kind = different[0].split(":")[0]
                smallest = shrink(
                    spec, lambda s: any(d.startswith(kind) for d in examine(torch, s, fvcore)[1])
                )
                found(case, to_text(smallest), examine(torch, smallest, fvcore)[1])
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Run cases from the command line and print what was found."""
    import argparse
    import time

    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--start", type=int, default=0)
    args = parser.parse_args()
    coverage, failures = Coverage(), 0
    started = time.monotonic()

    def found(case: int, text: str, lines: list[str]) -> None:
        nonlocal failures
        failures += 1
        print(f"case {case} of seed {args.seed}\n{text}\n" + "\n".join(lines) + "\n", flush=True)

    for start in range(args.start, args.start + args.cases, 500):
        run(
            torch, args.seed, range(start, min(start + 500, args.start + args.cases)),
            coverage, found,
        )  # fmt: skip
        seconds = time.monotonic() - started
        print(f"{coverage.cases:,} done, {failures} differ, {seconds:.0f} s", flush=True)
    print(coverage)


if __name__ == "__main__":
    main()
