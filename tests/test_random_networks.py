"""Random networks against PyTorch: shapes, parameters, counters, bytes kept for backward.

``python tests/test_random_networks.py --cases 50000 --seed 2`` runs as many cases as one likes.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from random_networks import draw, load_text, specs
from random_sharing import entangled
from random_specs import Item, shrink, to_text

from archcost.analysis.reconcile import count_operations
from archcost.conventions import CONVENTIONS
from archcost.errors import ArchcostError
from archcost.measure.profile import saved_bytes
from archcost.network import Layer, Network
from archcost.ops import OPS
from archcost.ops.conv import ConvTranspose
from archcost.proofs import tools
from archcost.pytorch import build, random_inputs
from archcost.setting import Setting
from archcost.shape import numel, per_axis
from archcost.storage.saved import saved_for_backward

cpu = partial(Setting, device="cpu")

CASES, SEED = 2_000, 1
BATCH = 2
EVERY = 20  # fvcore traces slowly
AT_LEAST = 10
BEYOND = r"out of (range|bounds)|not in the valid range|Expected idx"
ONE_VALUE = "Expected more than 1 value per channel"  # statistics of a batch, of one value
PYTORCH_CANNOT = "view size is not compatible"  # LocalResponseNorm on exchanged dimensions

CONSTRUCTS = {
    "knobs": r"^knobs:\n  \w",
    "a knob in the input": r"^input: '?\{",
    "variants": r"^variants:",
    "let at the top": r"^let:",
    "let between items": r"- let:",
    "block": r"^blocks:",
    "call of a block": r"- block\d\(",
    "block as a named group": r": block\d\(",
    "block of blocks": r"^> blocks > block\d.* > block\d\(",
    "block that takes a tensor": r"^  block\d\(other",
    "block that is repeated": r"block\d\(.*\) \* \d",
    "op as a parameter": r"- f$",
    "op as a knob": r"act\(\)",
    "named layer": r"- [\w-]+: [a-z_]+",
    "named group": r"- [\w-]+:\n +- ",
    "group in a group": r"^> layers > [\w-]+ > [\w-]+ > ",
    "repeat": r"- [a-z]\w*(\(.*\))? \* [23(]",
    "named repeat": r": [a-z]\w*(\(.*\))? \* [23]",
    "call under a condition": r"- [a-z]\w*(\(.*\))? if (?!.* else )",
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
    "branches in branches": r"^>.* > (add|concat|multiply)\b.* > (add|concat|multiply)\b[^>]* > ",
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
}
"""Every construct of the language, and settings of ops, as they look in a spec's text.

Lines that start with ``>`` name a call and what it lies in, such as ``> layers > add > a > relu``.
"""


def differences(torch: Any, network: Network, fvcore: bool = False) -> list[str]:
    """Return where the network and its PyTorch twin differ, as lines of text."""
    pairs = structure(torch, network)
    if comparable(network):
        saved = saved_for_backward(network, cpu(BATCH)).total
        pairs.append(("saved bytes", saved, measured_bytes(torch, network)))
    if fvcore and not any(map(fvcore_refuses, network)):
        pairs.append(
            (
                "fvcore",
                count_operations(network, CONVENTIONS["fvcore"]),
                fvcore_count(torch, network),
            )
        )
    return [
        f"{what}: {expected} expected, {measured} measured"
        for what, expected, measured in pairs
        if expected != measured
    ]


def comparable(network: Network) -> bool:
    """Whether the saved bytes are compared: of nearly all networks, see the exception."""
    return not any(map(spills, network))


def spills(layer: Layer) -> bool:
    """Whether PyTorch's own 3-D transposed convolution on a CPU runs, and wastes memory.

    It makes its output in a storage of the input's size (``slow_conv_transpose3d``). It runs
    where oneDNN does not (``ConvParams::use_mkldnn``), which depends on the number of threads.
    """
    op = layer.op
    if not isinstance(op, ConvTranspose) or len(layer.cost.output) != 4:
        return False
    kernel, stride, dilation, extra = (
        per_axis("", value, 3)
        for value in (op.kernel_size, op.stride, op.dilation, op.output_padding)
    )
    plain = {*kernel[1:], *stride, *dilation} == {1}
    padded = any(e >= s for e, s in zip(extra, stride, strict=True))
    apart = op.groups > 1 and op.groups == layer.shapes[0][0]
    shrinks = numel(layer.cost.output) < numel(layer.shapes[0])
    return shrinks and (plain or padded or apart)


def fvcore_refuses(layer: Layer) -> bool:
    """Whether fvcore raises: at normalisation of more than 5 dimensions (``norm_flop_counter``)."""
    normalised = ("batchnorm", "layernorm", "groupnorm", "instancenorm")
    return layer.op.name in normalised and len(layer.shapes[0]) > 4


def structure(torch: Any, network: Network) -> list[tuple[str, Any, Any]]:
    """Return names, shapes and PyTorch's count as expected and as found on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    twin = build(network, device="meta").eval().requires_grad_(False)
    ran: dict[str, list[tuple[int, ...]]] = {layer.path: [] for layer in network}
    for name, module in twin.named_modules():
        if name in ran:
            module.register_forward_hook(
                lambda _, __, output, name=name: ran[name].extend(sizes(output))
            )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        outputs = twin(*random_inputs(network, BATCH, "meta"))
    made = {name: (BATCH * value.rows, *value.shape) for name, value in network.values.items()}
    pairs: list[tuple[str, Any, Any]] = [
        (layer.path, [made[name] for name in layer.outputs], ran[layer.path]) for layer in network
    ]
    pairs += [
        ("parameters", named(network, "params"), shapes_of(twin.named_parameters())),
        ("buffers", named(network, "buffers"), shapes_of(twin.named_buffers())),
        ("outputs", [made[name] for name in network.outputs], sizes(outputs)),
        ("FlopCounterMode", BATCH * count_operations(network, CONVENTIONS["torch"]), counter.get_total_flops()),
    ]  # fmt: skip
    return pairs


def sizes(outputs: Any) -> list[tuple[int, ...]]:
    return [tuple(o.shape) for o in (outputs if isinstance(outputs, tuple) else (outputs,))]


def named(network: Network, kind: str) -> dict[str, tuple[int, ...]]:
    return {
        f"{layer.path}.{name}": shape
        for layer in network
        for name, shape in getattr(layer.cost, kind).items()
    }


def shapes_of(tensors: Iterable[tuple[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors}


def measured_bytes(torch: Any, network: Network) -> int:
    return saved_bytes(torch, build(network).train(), *random_inputs(network, BATCH))


def fvcore_count(torch: Any, network: Network) -> int:
    with tools.quiet():
        return tools.fvcore(build(network).eval(), random_inputs(network, 1))[tools.TOTAL]


def examine(torch: Any, spec: dict[str, Item], fvcore: bool = False) -> tuple[Any, list[str]]:
    """Return the network of a spec, None if archcost refuses it, and where the twin differs."""
    try:
        network = load_text(to_text(spec))
    except ArchcostError:
        return None, []
    try:
        return network, differences(torch, network, fvcore)
    except ArchcostError as error:
        assert "PyTorch has no" in str(error)  # of four spatial dimensions
        return None, []
    except Exception as error:  # whatever PyTorch raises is the finding
        if str(error).startswith(PYTORCH_CANNOT) and "lrn" in to_text(spec):
            return None, []
        if re.search(BEYOND, str(error)) and looks_up_places(network):
            return None, []
        if str(error).startswith(ONE_VALUE) and fvcore:  # which takes a single sample
            return None, []
        return network, [f"{type(error).__name__}: {error}"]


def looks_up_places(network: Network) -> bool:
    """Whether an op reads places that the network computes, which may lie beyond a table's end."""
    inputs = {value.name for value in network.inputs}
    places = [layer.inputs[i] for layer in network for i in layer.op.integers]
    return not inputs.issuperset(places)


def lines_of(item: Item, within: str = ">") -> Iterator[str]:
    """Yield a line for each call: what it lies in, from the outside, and the call."""
    if isinstance(item, str):
        yield f"{within} {item}"
    elif isinstance(item, list):
        for one in item:
            yield from lines_of(one, within)
    else:
        for key, value in item.items():
            yield from lines_of(value, f"{within} {key} >")


class Coverage:
    """How many cases were accepted, and how often each op and construct occurred in them."""

    def __init__(self) -> None:
        self.cases = self.accepted = self.branching = self.saved = 0
        self.counts: Counter[str] = Counter()
        self.ops: Counter[str] = Counter()
        self.constructs: Counter[str] = Counter()
        self.axes: Counter[int] = Counter()

    def add(self, spec: dict[str, Item], network: Network | None) -> None:
        self.cases += 1
        if network is None:
            return
        self.accepted += 1
        readers = Counter(name for layer in network for name in set(layer.inputs))
        self.branching += max(readers.values()) > 1
        self.saved += comparable(network)
        self.ops.update({layer.op.name for layer in network})
        self.axes[len(network.input) - 1] += 1
        text = to_text(spec) + "\n".join(lines_of(spec))
        for name, pattern in CONSTRUCTS.items():
            self.constructs[name] += re.search(pattern, text, re.MULTILINE) is not None

    def __str__(self) -> str:
        """Return all counts."""
        refused = self.counts["refused"] + self.counts["too large"]
        lines = [
            f"{self.cases:,} cases, {self.accepted:,} accepted, {self.branching:,} with branches, "
            f"saved bytes of {self.saved:,} compared; "
            f"{refused:,} of {self.counts['asked']:,} drawn items refused",
            f"spatial dimensions: {dict(sorted(self.axes.items()))}",
            f"ops: {dict(sorted(self.ops.items(), key=lambda pair: pair[1]))}",
            f"constructs: {dict(sorted(self.constructs.items(), key=lambda pair: pair[1]))}",
        ]
        return "\n".join(lines)


def run(seed: int, cases: Iterable[int], coverage: Coverage) -> Iterator[str]:
    """Draw and examine the cases of a seed; yield a text for each that differs, shrunk."""
    import torch

    def kinds(spec: dict[str, Item], fvcore: bool) -> set[str]:
        return {line.split(":")[0] for line in examine(torch, spec, fvcore)[1]}

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for case in cases:
            spec = draw(random.Random(f"{seed}:{case}"), coverage.counts)
            fvcore = case % EVERY == 0
            network, different = examine(torch, spec, fvcore)
            coverage.add(spec, network)
            if different:
                kind = different[0].split(":")[0]
                small = shrink(spec, partial(lambda f, k, s: k in kinds(s, f), fvcore, kind))
                lines = "\n".join(examine(torch, small, fvcore)[1])
                yield f"case {case} of seed {seed}\n{to_text(small)}\n{lines}\n"
    finally:
        torch.set_num_threads(threads)


@pytest.mark.torch
@pytest.mark.slow
def test_seeded_cases() -> None:
    """2,000 networks agree with PyTorch, and every op and construct is among them."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("fvcore", reason="fvcore is not installed")
    coverage = Coverage()
    assert "\n".join(run(SEED, range(CASES), coverage)) == ""
    print(coverage)
    assert coverage.accepted > 0.9 * CASES
    assert coverage.branching > CASES / 2
    assert coverage.saved > 0.995 * coverage.accepted
    assert set(coverage.axes) == {0, 1, 2, 3}
    assert {op for op in OPS if coverage.ops[op] < AT_LEAST} == set()
    assert {name for name, n in coverage.constructs.items() if n < AT_LEAST} == set()


@pytest.mark.torch
@pytest.mark.slow
@given(specs())
@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_drawn_cases(spec: dict[str, Item]) -> None:
    """The same with hypothesis, which shrinks what fails."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    network, different = examine(torch, spec)
    assume(network is not None)
    assert different == [], to_text(spec)


SHARING, CASES_SHARED = "sharing", 60


@pytest.mark.torch
@pytest.mark.slow
def test_networks_that_share() -> None:
    """Modules that run again, tied parameters, several inputs and outputs: all is PyTorch's.

    Names, shapes, parameters, the flow between layers; saved bytes; FLOPs; peaks, to the byte.
    """
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.proofs import Subject
    from archcost.proofs.run import checks

    counts: Counter[str] = Counter()
    for case in range(CASES_SHARED):
        rng = random.Random(f"{SHARING}:{case}")
        try:
            drawn = load_text(to_text(draw(rng)))
            if len(drawn.inputs) > 1:  # as a mask is; further inputs are entangled's own
                continue
            network = entangled(rng, drawn)
            twin = build(network)  # PyTorch has no module of four spatial dimensions
        except ArchcostError:
            continue
        if not comparable(network):
            continue
        counts["module"] += any(layer.module != layer.path and layer.sharing for layer in network)
        counts["parameter"] += any(layer.ties for layer in network)
        counts["inputs"] += len(network.inputs) > 1
        counts["outputs"] += len(network.outputs) > 1
        subject = Subject(network, twin, setting=cpu(batch=2))
        for name in ("structure", "memory", "training", "peaks"):
            found = [check for check in checks(subject, name) if not check.passed]
            # a root of what is negative is no number on either side
            assert [check for check in found if check.measured != "nan"] == [], case
    assert min(counts.values()) > CASES_SHARED // 8, counts


HEAD = "name: n\ninput: {}\nlayers:\n"

FOUND = {
    "layers named as methods": ("3x5", "- type: relu\n  - half: relu\n  - plan: [relu]"),
    "grn on the input": ("5x8x5", "- grn"),
    "dropout of everything": ("6x9x2", "- bias\n  - dropout(1)"),
    "shuffle of one group": ("7x2", "- conv(6, 1)\n  - relu\n  - channel_shuffle(1)\n  - gelu"),
    "shuffle of lone channels": ("4x2", "- conv(4, 1)\n  - relu\n  - channel_shuffle(4)\n  - gelu"),
    "crop to the size of a layer": (
        "3x9x8", "- conv(8, 3, padding='same')\n  - crop(input)\n  - multiply(input, relu(current))"
    ),
    "unpooling to the size of a layer": ("2x9x9", "- batchnorm\n  - max_unpool(current, input, 1)"),
    "groupnorm of a slice": ("8x3x5", "- slice(stop=4)\n  - groupnorm(2)"),
    "window_attention of the input": ("4x6x12", "- window_attention(2, 2)"),
    "instancenorm of a slice": ("8x3x5", "- bias\n  - slice(stop=4)\n  - instancenorm"),
    "a convolution whose size counts": ("4x9x9", "- c: conv(8, 3)\n  - crop(input, c)"),
    "attention that drops all scores": ("7x6", "- linear(18)\n  - attention(2, dropout=1)"),
    "a sequence of length 1": ("1x5", "- permute([1, 0])\n  - conv(5, 1, padding=2)\n  - multiply:\n      a: linear(5)\n      b: identity"),
    "attention of one head": ("7x3", "- attention(1)\n  - adaptive_avgpool([3])\n  - multiply:\n      a: linear(3)\n      b: identity"),
    "groupnorm of four spatial dimensions": ("4x2x2x2x2", "- groupnorm(2)"),
    "a cell that nothing reads": ("5", "- gru_cell(input, 3)\n  - lstm_cell(input, 2)\n  - take(input)"),
}  # fmt: skip
"""Networks on which archcost and PyTorch once differed, by what was wrong."""


@pytest.mark.torch
@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    size, layers = FOUND[name]
    assert differences(torch, load_text(f"{HEAD.format(size)}  {layers}"), fvcore=True) == []


@pytest.mark.parametrize(
    ("size", "layer", "reason"),
    [
        ("3x5", "sparse_conv", "sparse_conv needs connections"),
        ("3x5", "batchnorm(0)", "eps must be more than 0"),
        ("3x1x1", "groupnorm(3)", "groupnorm needs more than one value per group, not 3x1x1"),
        ("5x5x3x2", "avgpool(3, padding=1)", "3-D kernel_size 3 is more than the input 2"),
        ("4x5x6 bool", "pad(2, 'replicate')", "PyTorch pads no masks by mode 'replicate'"),
        ("4x5 bool", "pad(2, 'reflect')", "PyTorch pads no masks by mode 'reflect'"),
        ("8x1x12", "mean([2, 2])", "mean names a dimension twice: [2, 2]"),
    ],
)
def test_what_pytorch_refuses(size: str, layer: str, reason: str) -> None:
    """Found as crashes: of archcost, or of PyTorch on a network that archcost took."""
    with pytest.raises(ArchcostError, match=re.escape(reason)):
        load_text(f"{HEAD.format(size)}  - {layer}")


def main() -> None:
    """Run cases from the command line and print what was found."""
    import argparse
    import time

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--start", type=int, default=0)
    args = parser.parse_args()
    coverage, failures, started = Coverage(), 0, time.monotonic()
    end = args.start + args.cases
    for start in range(args.start, end, 500):
        for failure in run(args.seed, range(start, min(start + 500, end)), coverage):
            failures += 1
            print(failure, flush=True)
        seconds = time.monotonic() - started
        print(f"{coverage.cases:,} done, {failures} differ, {seconds:.0f} s", flush=True)
    print(coverage)


if __name__ == "__main__":
    main()
