"""What tools print of other collections' modules, against the tools run on these."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from recorded import record_written as recorder

from archcost import identify, load, loads
from archcost.analysis.reconcile import reconcile
from archcost.analysis.report import analyze
from archcost.analysis.writings import WRITINGS
from archcost.analysis.written import COMPARED, UNKNOWN, Written, written, written_by  # fmt: skip
from archcost.conventions import find_convention
from archcost.counterparts import COLLECTIONS, COUNTERPARTS
from archcost.proofs.counters import COUNTERS
from archcost.proofs.tools import Counter
from archcost.setting import Setting

RECORDED: dict[str, dict[str, int | str]] = json.loads(recorder.RECORD.read_text())


def said(collection: str, model: str) -> Written:
    return written_by(recorder.small(collection, model), collection, "its name")


@pytest.mark.parametrize("key", RECORDED)
def test_the_tools_printed_what_is_said_of_a_module(key: str) -> None:
    totals = said(*key.split(":")).totals
    counts = {tool: count for tool, count in RECORDED[key].items() if tool in totals}
    assert totals == counts


def test_one_module_of_each_family_is_recorded() -> None:
    assert {key: set(models) for key, models in recorder.MODELS.items()} == {
        collection: {key.split(":")[1] for key in RECORDED if key.startswith(f"{collection}:")}
        for collection in COLLECTIONS
    }
    families = {
        (c, load(model).family) for c, models in recorder.MODELS.items() for model in models
    }
    listed = {(c, load(model).family) for model, found in COUNTERPARTS.items() for c in found}
    assert listed - families == set(UNKNOWN)
    assert not families - listed


def test_every_writing_changes_what_a_tool_prints_of_all_who_write_so() -> None:
    found = {
        (key.partition(":")[0], reason)
        for key in RECORDED
        for why in said(*key.split(":")).reasons.values()
        for reason in why
    }
    assert found == {(c, w.words) for w in WRITINGS for c in w.by if c in COLLECTIONS}


# The tools that are installed, run: of a few modules at once, of all where there is time.


def families() -> Iterator[tuple[str, str]]:
    """Yield a recorded module of each family of each collection, drawn by chance."""
    by_family: dict[tuple[str, str], list[str]] = {}
    for collection, models in recorder.MODELS.items():
        for model in models:
            by_family.setdefault((collection, load(model).family), []).append(model)
    draw = random.Random(1)
    return ((collection, draw.choice(found)) for (collection, _), found in by_family.items())


@pytest.fixture
def gradients() -> Iterator[None]:
    """Have nn.MultiheadAttention run as where gradients are asked for: not as one operation."""
    mha = pytest.importorskip("torch", reason="PyTorch is not installed").backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    yield
    mha.set_fastpath_enabled(before)


def run(collection: str, model: str, tools: Sequence[Counter]) -> None:
    """Hold what is said of a counterpart against what the tools print of it."""
    pytest.importorskip(collection, reason=f"{collection} is not installed")
    found = said(collection, model)
    measured = {
        tool.convention: recorder.counted(partial(recorder.run, tool), collection, model)
        for tool in tools
    }
    assert measured
    assert {name: found.totals[name] for name in measured} == measured


def installed(collection: str) -> list[Counter]:
    return [t for t in COUNTERS if t.version and t.convention in COMPARED[collection]]


DRAWN = [*families()]


@pytest.mark.reference
@pytest.mark.parametrize(("collection", "model"), DRAWN)
def test_a_tool_prints_what_is_said_of_a_module(
    collection: str, model: str, gradients: None, torchvision: Any
) -> None:
    tools = installed(collection)
    run(collection, model, [tools[DRAWN.index((collection, model)) % len(tools)]])


ALL = [
    (collection, model)
    for model, found in COUNTERPARTS.items()
    for collection in found
    if (collection, load(model).family) not in UNKNOWN
]


@pytest.mark.reference
@pytest.mark.slow
@pytest.mark.parametrize(("collection", "model"), ALL)
def test_the_tools_print_what_is_said_of_every_module(
    collection: str, model: str, gradients: None, torchvision: Any
) -> None:
    """Every other tool, so that each runs on half of the modules of a family."""
    run(collection, model, installed(collection)[ALL.index((collection, model)) % 2 :: 2])


# The numbers, by hand.


def of(collection: str, model: str) -> Written:
    [found] = [module for module in written(load(model)) if module.collection == collection]
    return found


def own(model: str) -> dict[str, int]:
    return {row.convention.name: row.total for row in reconcile(load(model)).rows}


def test_normalisation_of_timms_densenet_is_a_class_of_its_own() -> None:
    module, plain = of("timm", "densenet121"), own("densenet121")
    blocks = ((6, 64, 56), (12, 128, 28), (24, 256, 14), (16, 512, 7))  # layers, width, side
    # two in each layer, one behind each block, one in the stem
    inside = [s * s * (w + 32 * i + 128) for n, w, s in blocks for i in range(n)]
    normalised = 64 * 112**2 + sum(inside) + sum(s * s * (w + 32 * n) for n, w, s in blocks)
    assert normalised == 15_667_456
    assert plain["thop"] - module.totals["thop"] == 4 * normalised == 62_669_824
    assert plain["ptflops"] - module.totals["ptflops"] == 2 * normalised == 31_334_912
    assert plain["torchinfo"] - module.totals["torchinfo"] == 83_648  # its scales and shifts
    assert plain["fvcore"] == module.totals["fvcore"]


def test_linear_layers_of_timms_convnextv2_atto_are_convolutions() -> None:
    module, plain = of("timm", "convnextv2_atto"), own("convnextv2_atto")
    blocks = {40: (2, 56), 80: (2, 28), 160: (6, 14), 320: (2, 7)}
    others = {w: n * (side * side - 1) for w, (n, side) in blocks.items()}  # all tokens but one
    seen = sum(tokens * (8 * w * w + 5 * w) for w, tokens in others.items())
    assert module.totals["torchinfo"] - plain["torchinfo"] == seen == 481_664_400


def test_global_pooling_of_pytorchcv_is_a_window() -> None:
    module, plain = of("pytorchcv", "resnet18"), own("resnet18")
    assert plain["fvcore"] - module.totals["fvcore"] == 512 * 7 * 7 == 25_088


def test_layer_scales_are_bare_parameters_of_convnext() -> None:
    module = of("torchvision", "convnext_tiny")
    scales = 3 * 96 + 3 * 192 + 9 * 384 + 3 * 768  # one per channel of each block
    assert scales == 6_624
    assert module.totals["torchinfo"] == 322_378_216 - scales
    assert [*module.reasons] == ["profiler", "torchinfo"]


def test_projections_of_swin_are_functions() -> None:
    module = of("torchvision", "swin_t")
    widths = {96: (2, 56), 192: (2, 28), 384: (6, 14), 768: (2, 7)}
    weights = sum(n * (4 * w * w + 4 * w) for w, (n, _) in widths.items())  # of one token
    macs = sum(n * side * side * 4 * w * w for w, (n, side) in widths.items())
    biases = sum(n * side * side * 4 * w for w, (n, side) in widths.items())
    plain = own("swin_t")
    assert plain["torchinfo"] - module.totals["torchinfo"] == weights == 8_643_840
    assert plain["thop"] - module.totals["thop"] == macs == 1_387_266_048
    assert plain["ptflops"] - module.totals["ptflops"] == macs + biases == 1_392_986_112
    for name, total in module.totals.items():  # those that go by operations see them
        assert find_convention(name).hooks or plain[name] == total


def test_attention_of_vit_is_a_module_of_pytorch() -> None:
    module = of("torchvision", "vit_b_16")
    plain = own("vit_b_16")
    tokens, width, heads, depth = 197, 768, 12, 12
    assert plain["thop"] - module.totals["thop"] == depth * tokens * 4 * width * width
    assert plain["torchinfo"] - module.totals["torchinfo"] == depth * (
        4 * width * width + 4 * width
    )
    products, scores = 2 * tokens * tokens * width, heads * tokens * tokens
    more = depth * (products + tokens * width + scores)  # the products, a scale, a softmax
    assert module.totals["ptflops"] - plain["ptflops"] == more == 722_731_536


# What is said.


def notes(model: str, *tools: str) -> tuple[str, ...]:
    return reconcile(load(model), tools).table().notes


def test_reconcile_says_whose_module_a_number_is_of() -> None:
    first, *others = notes("convnext_tiny", "torchinfo", "thop", "macs")
    assert first.startswith("of archcost's own module, in which every layer is a module")
    assert others == [
        "of torchvision's convnext_tiny: torchinfo 322,371,592 (the layers' scales are bare "
        "parameters, which it does not see); the same as here: thop",
        "of timm's convnext_tiny: torchinfo 322,371,592 (the layers' scales are bare parameters, "
        "which it does not see); thop 4,455,569,664 (layer normalisation is a class of its own)",
    ]
    assert notes("resnet18", "thop")[1] == "of torchvision's resnet18: the same as here: thop"
    assert len(notes("convnext_tiny", "macs")) == 1


def test_where_no_rule_is_known_no_number_is_said() -> None:
    [_, note] = notes("nasnet_a_mobile", "thop", "fvcore")
    assert note == (
        "of pytorchcv's nasnet_4a1056: not known (it pads by a row and a column more, which every "
        "tool counts)"
    )
    never = "of torchvision's resnet18: not compared: torchstat_flops"
    assert never in notes("resnet18", "torchstat_flops", "macs")


def test_a_model_without_a_counterpart_is_told_what_depends_on_the_writing() -> None:
    of_ten_classes = reconcile(load("vit_b_16", knobs={"classes": 10}), ("thop", "fvcore"))
    [_, note] = of_ten_classes.table().notes
    assert note.startswith("of a module that is written as torchvision writes its own: thop ")
    assert "fvcore" not in note
    assert len(notes("lenet5", "thop")) == 1


def test_a_network_with_other_options_is_no_counterpart() -> None:
    assert written(load("vgg11"))[0].name == "vgg11"
    for options in ({"input": "3x64x64"}, {"knobs": {"classes": 10}}, {"bias": False}):
        found = written(load("resnet18", **options))  # type: ignore[arg-type]
        assert [module.name for module in found] == []
    text = "name: resnet18\ninput: 3x8x8\nlayers:\n  - conv(4, 3)\n"
    assert written(loads(text)) == []


def test_a_table_in_a_tools_convention_says_so_for_the_batch() -> None:
    def note(convention: str, batch: int = 1) -> list[str]:
        report = analyze(load("swin_t"), Setting(convention=convention, batch=batch))
        return [text for text in report.table().notes if "torchvision's" in text]

    [said] = note("thop", 2)
    assert said.startswith("of torchvision's swin_t: thop 5,956,199,424 (attention hands")
    assert note("fvcore") == []
    assert note("macs") == []


def test_identify_knows_whose_module_a_number_is_of() -> None:
    [match] = identify("swin_t", "2.978G").matches
    assert (match.conventions, match.changes) == (("thop",), ("of torchvision's swin_t",))
    assert identify("swin_t", "2.978G", tools=["fvcore"]).matches == ()
