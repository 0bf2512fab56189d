"""Counting conventions against the tools that they stand for, exactly."""

from __future__ import annotations

import csv
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded import record_counters as recorder
from recorded import record_earlier, record_xla

from archcost.analysis.parameters import count_params
from archcost.analysis.reconcile import count_activations, count_operations
from archcost.analysis.writings import WRITINGS, called_as_functions
from archcost.analysis.written import printed
from archcost.conventions import (
    ACTIVATIONS,
    CONVENTIONS,
    FLOP,
    MAC,
    amount,
    find_activations,
    find_convention,
    find_fact,
    meaning,
)
from archcost.conventions.facts import own_facts
from archcost.counterparts import COUNTERPARTS
from archcost.errors import LookupFailed
from archcost.network import Layer, Network
from archcost.numeral import Numeral
from archcost.ops import OPS, Example
from archcost.shape import taps_inside
from archcost.spec.catalog import catalog, load

MODELS: dict[str, Any] = json.loads(recorder.RECORD.read_text())["models"]
XLA: dict[str, Any] = json.loads(record_xla.RECORD.read_text())
EARLIER: dict[str, Any] = json.loads(recorder.RECORD.with_name("earlier.json").read_text())

[ONE_RELU] = [writing for writing in WRITINGS if writing.words.startswith("a block has one ReLU")]

REQUIRED = ("alexnet", "googlenet", "resnet18", "resnet50", "vgg16")
SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "alexnet": ("alexnet_torchvision", {}),
    "googlenet": ("googlenet_torchvision", {}),
    **{f"vgg{depth}": (f"vgg{depth}", {"torchvision": True}) for depth in (11, 13, 16, 19)},
}
"""Catalog name and knobs of torchvision's models where they are not torchvision's own name."""


def spec(name: str) -> tuple[str, dict[str, Any]]:
    return SPECS.get(name, (name, {}))


def network(name: str) -> Network:
    """Return a network with functions where torchvision's module calls them."""
    model, knobs = spec(name)
    net = load(model, knobs=knobs)
    called = {layer.path for layer in called_as_functions("torchvision")(net)}
    layers = tuple(replace(layer, function=layer.path in called) for layer in net)
    return replace(net, layers=layers)


EXISTING = [name for name in MODELS if name in REQUIRED or spec(name)[0] in catalog()]


def layer_of(name: str, example: Example) -> Layer:
    """Return an op's example as a layer."""
    return Layer.alone(OPS[name].create(example.args, example.kwargs), *example.inputs)


def test_every_term_that_a_convention_weighs_occurs() -> None:
    layers = [layer_of(name, e) for name, op in OPS.items() for e in op.examples]
    layers += [replace(layer, apart=True) for layer in layers if layer.op.name == "linear"]
    for term in {*own_facts(), *(term for c in CONVENTIONS.values() for term in c.weights)}:
        of_any_size = re.sub(r"[123]d\.", ".", term)  # no example of some is 1-D or 3-D
        assert any(amount(layer, of_any_size) for layer in layers), term
        assert meaning(term)
    for term in own_facts():
        assert any(term in c.weights for c in CONVENTIONS.values()), f"nobody weighs {term}"


def test_a_term_is_of_every_layer_of_an_op_or_of_so_many_axes() -> None:
    flat, square = layer_of("maxpool", Example((2,), ((4, 9),))), OPS["maxpool"].create([2], {})
    assert [amount(flat, term) for term in ("in", "maxpool.in", "maxpool1d.in")] == [36] * 3
    assert amount(flat, "maxpool2d.in") == amount(flat, "avgpool.in") == 0
    assert amount(Layer.alone(square, (4, 9, 8)), "maxpool2d.window") == 4 * 4 * 4 * 4


@pytest.mark.parametrize(
    "term", ["maxpol.in", "maxpool.inn", "maxpool4d.in", "linear.edge", "relu[.in", ""]
)
def test_a_term_that_is_none_is_refused(term: str) -> None:
    with pytest.raises(LookupFailed, match=re.escape(f"unknown work term '{term}'")):
        find_fact(term)


def test_every_weight_is_a_whole_number() -> None:
    for convention in CONVENTIONS.values():
        assert set(convention.hooks) <= set(convention.weights), convention.name
        assert all(type(weight) is int and weight for weight in convention.weights.values())
        assert convention.unit in (MAC, FLOP)
        assert convention.weights["mac"] == (2 if convention.unit == FLOP else 1)
        assert convention.title and convention.source


def test_activation_conventions_name_kinds_that_exist() -> None:
    kinds = {op.kind for op in OPS.values()} | {"matmul"}
    for activations in ACTIVATIONS.values():
        assert activations.kinds <= kinds, activations.name


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(LookupFailed) as refused:
        find_convention("fvcor")
    assert str(refused.value) == "unknown convention 'fvcor'; did you mean 'fvcore'?"
    with pytest.raises(LookupFailed) as refused:
        find_activations("lectur")
    assert str(refused.value) == "unknown activation convention 'lectur'; did you mean 'lecture'?"


# Recorded runs.


def test_the_five_seeds_have_specs() -> None:
    assert [name for name in REQUIRED if spec(name)[0] not in catalog()] == []


@pytest.mark.parametrize("name", EXISTING)
def test_totals_equal_the_recorded_ones(name: str) -> None:
    net, recorded = network(name), MODELS[name]
    assert net.input == tuple(recorded["input"])
    assert count_params(net) == recorded["counts"]["params"]
    computed = {n: count_operations(net, c) for n, c in CONVENTIONS.items()}
    tools = {n: count for n, count in recorded["counts"].items() if n in CONVENTIONS}
    assert set(CONVENTIONS) - set(tools) - set(EARLIER) == {
        "macs",
        "flops",
        "torchvision",
        "timm",
        "pycls",
        "profiler",
        "xla",
    }
    assert {n: printed(net, CONVENTIONS[n], [ONE_RELU]) for n in tools} == tools
    # torchstat keeps only the last run of a module, and torchvision's blocks run one ReLU two or
    # three times
    reuses = ("resnet", "resnext", "wide_resnet")
    assert (computed["torchstat_flops"] > tools["torchstat_flops"]) == name.startswith(reuses)


@pytest.mark.parametrize("tool", EARLIER)
@pytest.mark.parametrize("name", EXISTING)
def test_an_earlier_version_printed_this_of_a_model(tool: str, name: str) -> None:
    convention = find_convention(tool)
    assert printed(network(name), convention, [ONE_RELU]) == EARLIER[tool]["models"][name]
    assert convention.dates and convention.tool_version == EARLIER[tool]["version"].replace(
        "-", ".post"
    )


@pytest.mark.parametrize("tool", EARLIER)
def test_an_earlier_version_counted_this_of_every_op(tool: str) -> None:
    convention, unknown = find_convention(tool), set()
    for key, count in EARLIER[tool]["ops"].items():
        name, number = key.split()
        e = OPS[name].examples[int(number)]
        expected = convention.count(layer_of(name, e))
        if len(e.inputs[0]) != 3 and name in FLAT.get(tool, ()) and count != expected:
            unknown.add(name)
        else:
            assert count == expected, f"{tool} on {key}"
    assert unknown == FLAT.get(tool, set())
    assert REFUSED.get(tool, set()) == refused_ops(tool)


FLAT = {
    "thop_2019_03": {"conv_transpose"},
    "thop_2019_07": {"conv_transpose"},
    "deepspeed_0.5": {"conv", "conv_transpose"},
}
"""The ops that an earlier version miscounts where they are not in 2-D."""

REFUSED = {"deepspeed_0.5": {"conv", "conv_transpose", "leaky_relu", "interpolate"}}
"""The ops that a version of DeepSpeed refuses on some example."""


def refused_ops(tool: str) -> set[str]:
    """Return the ops of which an example is in another version's record, and not in this one."""
    if not tool.startswith("deepspeed"):
        return set()
    keys = {key for record in EARLIER.values() for key in record["ops"]}
    return {key.split()[0] for key in keys - set(EARLIER[tool]["ops"])}


# The first and the last version of DeepSpeed's profiler that counts as a row says, for FLOPs and
# MACs, by the ops that tell the rows apart; up to 0.6.5 convolutions are right in 2-D only.
BOUNDARIES: dict[str, dict[str, list[int]]] = json.loads(record_earlier.BOUNDARIES.read_text())
ROWS = {
    ("deepspeed_0.9", "deepspeed_0.9_macs"): ("0.5.9", "0.6.5", "0.6.6", "0.9.5"),
    ("calflops", "calflops_macs"): ("0.10.0", "0.11.1"),
    ("deepspeed_0.12", "calflops_macs"): ("0.11.2", "0.13.2"),
    ("deepspeed_0.16", "deepspeed_0.18_macs"): ("0.13.3", "0.17.1"),
    ("deepspeed_0.18", "deepspeed_0.18_macs"): ("0.17.2", "0.19.6"),
    ("deepspeed", "deepspeed_macs"): ("0.19.7",),
}


def rows_that_fit(version: str) -> tuple[list[str], list[str]]:
    """Return the rows that give all counts of a version, of FLOPs and of MACs."""
    fitting: tuple[list[str], list[str]] = [], []
    for place, known in enumerate(zip(*ROWS, strict=True)):
        for row in dict.fromkeys(known):
            counts = {
                key: find_convention(row).count(layer_of(name, OPS[name].examples[int(number)]))
                for key in BOUNDARIES[version]
                for name, number in [key.split()]
                if version not in ("0.5.9", "0.6.5")
                or len(OPS[name].examples[int(number)].inputs[0]) == 3
            }
            if counts == {key: BOUNDARIES[version][key][place] for key in counts}:
                fitting[place].append(row)
    return fitting


@pytest.mark.parametrize("rows", ROWS)
def test_versions_of_deepspeed_stand_under_the_one_row_that_fits(rows: tuple[str, str]) -> None:
    for version in ROWS[rows]:
        assert rows_that_fit(version) == ([rows[0]], [rows[1]]), version


# XLA.


def test_xla_counts_this_of_layers_that_programs_write_alike() -> None:
    convention = find_convention("xla")
    counted = {
        key: convention.count(Layer.alone(op, *shapes)) for key, op, shapes in record_xla.cases()
    }
    unwritten = set(counted) - set(XLA["ops"])
    assert len(unwritten) == 3 and all(key.startswith("adaptive_avgpool") for key in unwritten)
    assert {key: as_lowered for key, (as_lowered, _) in XLA["ops"].items()} == {
        key: count for key, count in counted.items() if key not in unwritten
    }
    assert XLA["version"] == convention.tool_version


@pytest.mark.parametrize("name", record_xla.MODELS)
def test_xla_prints_this_of_a_network_without_normalisation(name: str) -> None:
    net = load(name, knobs=record_xla.MODELS[name])
    as_lowered, _ = XLA["models"][name]
    assert printed(net, find_convention("xla")) == as_lowered


def test_a_kernel_of_three_on_seven_reads_nineteen_positions_per_axis() -> None:
    conv = layer_of("conv", Example((1, 3), ((1, 7, 7),), {"padding": 1, "bias": False}))
    assert conv.cost.macs == 21 * 21
    assert find_convention("xla").count(conv) == 2 * 19 * 19


def test_taps_inside_are_those_counted_one_by_one() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        n, k, s, before, d, size = (draw.randint(0, 6) + least for least in (1, 1, 1, 0, 1, 1))
        inside = sum(0 <= i * s - before + d * tap < size for i in range(n) for tap in range(k))
        assert taps_inside(n, k, s, before, d, size) == inside


def test_single_precision_rounds_after_every_layer() -> None:
    net, convention = network("densenet121"), find_convention("thop_2020_01")
    # once, at the end, would print 2,866,696,192
    assert printed(net, convention) == 2_866_695_680
    assert count_operations(net, convention) == 2_866_696_192


@pytest.mark.parametrize("name", EXISTING)
def test_torchvision_prints_the_macs_rounded(name: str) -> None:
    macs = count_operations(network(name), find_convention("torchvision"))
    assert str(round(macs / 1e9, 3)) == MODELS[name]["printed by torchvision"]


def timm_rows() -> list[dict[str, str]]:
    lines = (Path(__file__).parent / "recorded" / "timm.csv").read_text("utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if line[0] != "#"))


def test_timm_prints_these_digits_of_every_model() -> None:
    macs, elements = find_convention("timm"), find_activations("timm")
    for row in timm_rows():
        net = load(row["model"], input=f"3x{row['size']}x{row['size']}")
        billions, millions = float(row["gmacs"]), float(row["macts"])
        assert Numeral.parse(f"{billions:.2f}G").rounds(count_operations(net, macs)), row
        assert Numeral.parse(f"{millions:.2f}M").rounds(count_activations(net, elements)), row


def test_every_counterpart_in_timm_has_a_printed_row() -> None:
    printed = [(row["model"], row["timm"]) for row in timm_rows()]
    entries = {model: entry["timm"] for model, entry in COUNTERPARTS.items() if "timm" in entry}
    names = {
        model: entry if isinstance(entry, str) else entry[0] for model, entry in entries.items()
    }
    missing = {model for model, name in names.items() if (model, name) not in printed}
    # timm's results have no row of these; the last three are built from its classes
    named = {"vgg11", "pnasnet5_large", "vit_ti_32"}
    named |= {"mobilevit_xxs", "mobilevit_xs", "mobilevit_s"}  # whose rows are not recorded yet
    assert missing == named | {"densenet264", "resnext152_32x4d", "wide_resnet68_3"}


@pytest.mark.parametrize("name", EXISTING)
def test_activations_equal_the_recorded_ones(name: str) -> None:
    elements = count_activations(network(name), find_activations("fvcore"))
    assert elements == MODELS[name]["counts"]["fvcore activations"]


def test_activations_of_vgg16_by_hand() -> None:
    net = load("vgg16")
    inputs = 3 * 224 * 224
    convs = 2 * 64 * 224**2 + 2 * 128 * 112**2 + 3 * 256 * 56**2 + 3 * 512 * 28**2 + 3 * 512 * 14**2
    pools = 64 * 112**2 + 128 * 56**2 + 256 * 28**2 + 512 * 14**2 + 512 * 7**2
    linear = 4096 + 4096 + 1000
    lecture = inputs + convs + pools + linear
    assert count_activations(net, ACTIVATIONS["lecture"]) == lecture == 15_237_608
    assert count_activations(net, ACTIVATIONS["all"]) == lecture + convs + 2 * 4096 == 28_793_320
    assert count_activations(net, ACTIVATIONS["pycls"]) == convs + pools + linear
    assert count_activations(net, ACTIVATIONS["fvcore"]) == convs + linear == 13_556_712


def test_pycls_adds_a_bias_once_per_channel() -> None:
    conv = layer_of("conv", Example((96, 11), ((3, 227, 227),), {"stride": 4}))
    assert find_convention("pycls").count(conv) == 55 * 55 * 96 * 11 * 11 * 3 + 96


def test_pycls_leaves_out_global_pooling() -> None:
    elements = count_activations(load("resnet50"), ACTIVATIONS["pycls"])
    assert elements == 11_114_984 + 64 * 56 * 56  # conv and linear outputs, and the stem's pooling


@pytest.mark.parametrize("name", REQUIRED)
def test_a_total_is_the_sum_over_layers(name: str) -> None:
    net = network(name)
    for convention in CONVENTIONS.values():
        by_layer = sum(convention.count(layer) for layer in net)
        assert count_operations(net, convention) == by_layer > 0
