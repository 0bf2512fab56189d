"""Lecture text as a spec: the tables in tests/lectures stand as the lectures print them."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
from lecture_texts import TEXTS, VGG, lecture, params, read, total_params

from archcost.analysis.report import analyze
from archcost.errors import LookupFailed, SpecError
from archcost.findings.lint import lint
from archcost.network import NETWORK_INPUT, Network
from archcost.numeral import Numeral
from archcost.published import Claim
from archcost.spec.catalog import load
from archcost.spec.source import Source


def weights(network: Network, path: str = "") -> int:
    """Parameters without biases, as the VGG listing counts."""
    layers = [network[path]] if path else list(network)
    return sum(prod(layer.cost.params.get("weight", (0,))) for layer in layers)


def holds(network: Network, claim: Claim) -> bool:
    """Whether the computed figure is the printed one, or rounds to it."""
    if claim.quantity in ("input", "output"):
        if claim.path == NETWORK_INPUT:
            shape = network.input
        elif claim.quantity == "input":
            shape = network[claim.path].shapes[0]
        else:
            shape = network[claim.path].cost.output
        printed = tuple(int(size) for size in claim.printed.split("x"))
        as_printed = (*shape[1:], shape[0])  # height x width x channels
        if len(printed) == 2:  # only a size
            return printed == shape[1:]
        return printed in (as_printed, (1, 1, *shape) if len(shape) == 1 else as_printed)
    if claim.path == NETWORK_INPUT:
        computed = 0 if claim.quantity == "params" else prod(network.input)
    elif claim.quantity == "params":
        computed = weights(network, claim.path)
    elif claim.path:
        computed = prod(network[claim.path].cost.output)
    else:  # in place activations and flatten make nothing new, as in the listing
        kinds = ("conv", "pool", "norm", "linear")
        outputs = [prod(x.cost.output) for x in network if x.op.kind in kinds]
        computed = prod(network.input) + sum(outputs)
    if "x" in claim.printed:  # a filter
        return prod(int(size) for size in claim.printed.split("x")) == computed
    if claim.quantity == "activation_bytes":
        return Numeral.parse(claim.printed.removesuffix("B")).rounds(4 * computed)
    return Numeral.parse(claim.printed).rounds(computed)


SETTINGS = ("kernel_size", "stride", "padding", "repeat", "bias")


def noted(network: Network) -> list[tuple[str, str, str, int]]:
    return [(c.path, c.quantity, c.printed, c.line) for c in network.claims if c.note]


# A. [55x55x96] CONV1: 96 11x11 filters at stride 4, pad 0


@pytest.mark.parametrize("name", ["alexnet", "alexnet_bold"])
def test_bracket_rows_are_alexnet_and_every_shape_holds(name: str) -> None:
    net = lecture(name)
    assert [layer.path for layer in net] == [
        "CONV1", "relu1", "POOL1", "NORM1", "CONV2", "relu2", "POOL2", "NORM2", "CONV3", "relu3",
        "CONV4", "relu4", "CONV5", "relu5", "POOL3", "flatten1", "FC6", "relu6", "FC7", "relu7",
        "FC8",
    ]  # fmt: skip
    assert net.input == (3, 227, 227)
    assert net["CONV1"].cost.output == (96, 55, 55)  # (227 - 11)/4 + 1
    assert net["POOL3"].cost.output == (256, 6, 6)
    assert total_params(net) == 62_378_344  # one tower, with biases
    assert len(net.claims) == 14  # INPUT and 13 rows
    assert [c for c in net.claims if not holds(net, c)] == []
    assert noted(net) == []


def test_bracket_rows_equal_the_yaml_spec() -> None:
    ours, theirs = lecture("alexnet"), load("alexnet")
    assert [x.op.settings() for x in ours] == [
        x.op.settings() for x in theirs if x.op.name != "dropout"
    ]


def test_claims_carry_the_line_of_the_text() -> None:
    net = lecture("alexnet")
    lines = TEXTS["alexnet"].splitlines()
    for claim in net.claims:
        assert f"[{claim.printed}]" in lines[claim.line - 1]


def test_a_wrong_shape_stays_a_claim_and_the_printed_settings_are_followed() -> None:
    text = TEXTS["alexnet"].replace("[27x27x256] CONV2", "[26x26x256] CONV2")
    net = read(text)
    assert net["CONV2"].cost.output == (256, 27, 27)
    assert [c.path for c in net.claims if not holds(net, c)] == ["CONV2"]


def test_padding_that_is_not_printed_comes_from_the_printed_shape() -> None:
    text = TEXTS["alexnet"].replace(", pad 2", "").replace(", pad 1", "").replace(", pad 0", "")
    net = read(text)
    assert total_params(net) == 62_378_344
    assert [net[f"CONV{n}"].op.padding for n in range(1, 6)] == [0, 2, 1, 1, 1]  # type: ignore[attr-defined]


def test_a_note_that_repeats_conv1_in_halves_is_no_layer() -> None:
    assert len(read(TEXTS["alexnet"] + "\n\n[55x55x48] x 2\n[7x7]\n[14] cites\n")) == 21


# D. CONV3-64: [224x224x64] memory: 224*224*64=3.2M params: (3*3*3)*64 = 1,728


@pytest.mark.parametrize("name", ["vgg_math", "vgg_escaped", "vgg_plain"])
def test_the_22_vgg_rows_agree_and_the_printed_total_of_memory_does_not(name: str) -> None:
    net = lecture(name)
    assert total_params(net) == 138_357_544
    rows = [c for c in net.claims if c.path]
    assert len(rows) == 22 * 3
    assert [c for c in rows if not holds(net, c)] == []
    assert [c.note for c in rows if c.note] == []
    memory, size, count = [c for c in net.claims if not c.path]
    assert (memory.quantity, memory.printed) == ("activations", "24M")
    assert memory.note == "the 22 rows add up to 15.2M"
    assert (size.quantity, size.printed) == ("activation_bytes", "96MB")
    assert size.note == "the 22 rows at 4 bytes a value add up to 60.7MB"
    assert (count.quantity, count.printed, count.note) == ("params", "138M", "")
    assert [holds(net, c) for c in (memory, size, count)] == [False, False, True]
    assert f"TOTAL memory: {memory.printed}" in " ".join(
        TEXTS[name].splitlines()[memory.line - 1].replace("$", " ").split()
    )


def test_the_three_typesettings_are_one_network() -> None:
    nets = [lecture(name) for name in ("vgg_math", "vgg_escaped", "vgg_plain")]
    for net in nets[1:]:
        assert net.layers == nets[0].layers
        assert [(c.path, c.quantity, c.printed) for c in net.claims] == [
            (c.path, c.quantity, c.printed) for c in nets[0].claims
        ]


def test_vgg_layers_are_named_as_printed_and_numbered() -> None:
    names = [layer.path for layer in lecture("vgg_plain") if layer.op.name != "relu"]
    assert names[:4] == ["CONV3-64_1", "CONV3-64_2", "POOL2_1", "CONV3-128_1"]
    assert names[-5:] == ["POOL2_5", "flatten1", "FC1", "FC2", "FC3"]


def test_a_wrong_figure_in_a_row_is_kept_as_it_is_printed() -> None:
    net = read(TEXTS["vgg_plain"].replace("= 36,864", "= 36.964"))
    wrong = [c for c in net.claims if c.path and not holds(net, c)]
    assert [(c.path, c.quantity, c.printed, c.line) for c in wrong] == [
        ("CONV3-64_2", "params", "36.964", 5)
    ]


def test_a_shape_that_no_padding_gives_does_not_move_the_rest() -> None:
    net = read(TEXTS["vgg_plain"].replace("[112x112x128]", "[115x112x128]", 1))
    assert [c.path for c in net.claims if c.path and not holds(net, c)] == ["CONV3-128_1"]
    assert net["POOL2_5"].cost.output == (512, 7, 7)


# E. conv3-64 LRN, in columns


@pytest.mark.parametrize("column", VGG)
def test_every_column_of_vgg_is_a_variant(column: str) -> None:
    net = lecture("vgg_columns", column)
    assert (net.name, net.title) == (column, f"vgg_columns, column {column}")
    assert total_params(net) == VGG[column]
    assert net.output == (1000,)
    assert net[net.layers[-1].path].op.name == "softmax"
    published = {key: text for row in net.published for key, text in row.figures.items()}
    weighted = sum(1 for layer in net if layer.op.kind in ("conv", "linear"))
    assert int(published["weight_layers"]) == weighted
    assert Numeral.parse(published["params"]).rounds(VGG[column])
    assert [row.line for row in net.published] == [3, 25]


def test_columns_differ_where_they_should() -> None:
    assert [x.path for x in lecture("vgg_columns", "A-LRN")][:3] == ["conv3-64", "relu1", "LRN"]
    assert "LRN" not in lecture("vgg_columns", "A").by_path
    assert lecture("vgg_columns", "C")["conv1-256"].op.settings() == "1x1"
    listing, column = lecture("vgg_plain"), lecture("vgg_columns", "D")
    assert [x.op for x in column][:-1] == [x.op for x in listing]  # and soft-max


def test_a_table_with_columns_needs_a_choice(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refused:
        lecture("vgg_columns")
    assert str(refused.value) == (
        "vgg_columns.txt: a network in each column: A, A-LRN, B, C, D, E; choose one, as in "
        "vgg_columns.txt::A"
    )
    with pytest.raises(LookupFailed) as unknown:
        lecture("vgg_columns", "Z")
    assert str(unknown.value) == (
        "unknown variant of vgg_columns 'Z'; expected one of: A, A-LRN, B, C, D, E"
    )
    path = tmp_path / "D.txt"  # a column with the name of the file
    path.write_text(TEXTS["vgg_columns"], "utf-8")
    assert total_params(load(f"{path}::D")) == VGG["D"]


def test_columns_may_stand_between_bars_and_without_figures() -> None:
    text = "\n".join(
        f"| {' | '.join(line.split(chr(9)))} |" for line in TEXTS["vgg_columns"].splitlines()[:18]
    )
    assert total_params(read(text, "E")) == VGG["E"]
    assert total_params(read(text.replace(" |  |  |  |  |  |", ""), "B")) == VGG["B"]


# F. Conv5-256, stride 1


@pytest.mark.parametrize("name", ["alexnet_short", "alexnet_indented"])
def test_the_short_list_is_alexnet_with_its_errors_reported(name: str) -> None:
    net = lecture(name)
    assert total_params(net) == 62_378_344
    assert [layer.path for layer in net if layer.op.kind != "activation"] == [
        "Conv1-96", "MaxPool3_1", "Norm1", "Conv5-256", "MaxPool3_2", "Norm2", "Conv3-384_1",
        "Conv3-384_2", "Conv3-256", "MaxPool3_3", "Dropout1", "flatten1", "FC4096_1", "Dropout2",
        "FC4096_2", "FC1000",
    ]  # fmt: skip
    first = next(n for n, line in enumerate(TEXTS[name].splitlines(), 1) if "Conv1-96" in line)
    assert noted(net) == [
        ("input", "input", "", first),
        ("Conv1-96", "kernel_size", "Conv1-96", first),
        ("Conv5-256", "padding", "Conv5-256, stride 1", first + 3),
        ("Conv3-384_1", "padding", "Conv3-384, stride 1", first + 6),
        ("Conv3-384_2", "padding", "Conv3-384, stride 1", first + 7),
        ("Conv3-256", "padding", "Conv3-256, stride 1", first + 8),
    ]
    notes = {c.path: c.note for c in net.claims}
    assert notes["Conv1-96"] == (
        "the number after Conv is the kernel, and 1x1 at stride 4 reads one position in 16; "
        "taken: 11x11, AlexNet's first layer"
    )
    assert notes["Conv5-256"] == "no pad is printed; taken: pad 2, which keeps the size"


SHORT = TEXTS["alexnet_short"].partition("\n\n")[2].strip()


@pytest.mark.parametrize("change", [
    lambda text: text.replace(", ", "\t"),
    lambda text: text.replace(", ", " | "),
    lambda text: text.replace(", ", "  "),
    lambda text: text.replace("stride ", "s="),
    lambda text: "| Layer |\n|---|\n" + "\n".join(f"| {row} |" for row in text.split("\n")),
    lambda text: "| Layer | Stride |\n|---|---|\n"
    + "\n".join(f"| {row.replace(', ', ' | ')} |" for row in text.split("\n")),
])  # fmt: skip
def test_a_short_list_in_other_layouts(change) -> None:  # type: ignore[no-untyped-def]
    assert read(change(SHORT)).layers == lecture("alexnet_short").layers


def test_the_parameters_beside_the_short_list_are_truncated() -> None:
    net = lecture("alexnet_short")
    [total] = [c for c in net.claims if not c.path]
    assert (total.quantity, total.printed, total.line) == ("params", "62.3M", 1)
    assert not holds(net, total)
    assert Numeral.parse(total.printed).truncates(total_params(net))


def test_another_kernel_smaller_than_its_stride_is_followed() -> None:
    net = read("Conv1-64, stride 4\nFC10")
    assert net["Conv1-64"].cost.output == (64, 56, 56)  # floor((224 - 1)/4) + 1
    assert noted(net) == [("input", "input", "", 1)]


# I. Conv 7 x 7 x 64 with stride 2


def test_the_stem_of_googlenet_reaches_the_printed_size() -> None:
    net = lecture("googlenet_stem")
    assert net.input == (3, 224, 224)
    assert [(x.path, x.cost.output) for x in net if x.op.name != "relu"] == [
        ("Conv7x7x64", (64, 112, 112)),
        ("MaxPool1", (64, 56, 56)),
        ("Conv1x1x64", (64, 56, 56)),
        ("Conv3x3x192", (192, 56, 56)),
        ("MaxPool2", (192, 28, 28)),
    ]
    # 112·112·64·7·7·3 + 56·56·64·64 + 56·56·192·3·3·64
    assert sum(x.cost.macs for x in net) == 477_675_520
    [size] = [c for c in net.claims if c.quantity == "output"]
    assert (size.path, size.printed, size.line) == ("MaxPool2", "28x28", 8)
    assert holds(net, size)
    assert [(path, what) for path, what, *_ in noted(net)] == [
        ("Conv7x7x64", "padding"),
        ("MaxPool1", "kernel_size"),
        ("Conv3x3x192", "padding"),
        ("MaxPool2", "kernel_size"),
    ]


# L. Conv dw / s2 | 3x3x64 dw | 112x112x64


def test_the_mobilenet_table_has_its_weights_and_every_input_holds() -> None:
    net = lecture("mobilenet")
    assert total_params(net) == weights(net) == 4_209_088
    # what the table leaves out: scale and shift of each convolution's channels, the FC's biases
    channels = sum(x.cost.output[0] for x in net if x.op.kind == "conv")
    assert 4_209_088 + 2 * channels + 1_000 == 4_231_976
    assert sum(x.cost.macs for x in net) == 568_740_352
    inputs = [c for c in net.claims if c.quantity == "input"]
    assert len(inputs) == 22
    assert [c for c in inputs if not holds(net, c)] == []


def test_the_mobilenet_errata_are_reported_and_the_shapes_followed() -> None:
    net = lecture("mobilenet")
    assert noted(net) == [
        ("", "bias", "", 5),
        ("Conv-dw7", "repeat", "5×", 18),
        ("Conv-dw13", "stride", "s2", 22),
    ]
    bias, repeat, stride = [c.note for c in net.claims if c.note]
    assert bias == "filters are all that the rows print; taken: no biases, no batch normalisation"
    assert repeat == (
        "printed at one row; taken: 5 times the pair of this row and the 1x1 convolution in line 19"
    )
    assert stride == "s2 would give 4x4, but the next row reads 7x7; taken: s1"
    assert net["Conv-dw13"].cost.output == (1024, 7, 7)
    names = [x.path for x in net if x.op.kind == "conv"]
    assert names == ["Conv1"] + [f"Conv{'-dw' * (n % 2)}{n // 2 + 1}" for n in range(1, 27)]


def test_a_repeat_that_covers_no_pair_repeats_its_row() -> None:
    text = "Conv / s1\t3x3x3x8\t32x32x3\n3x Conv dw / s1\t3x3x8 dw\t32x32x8\nFC / s1\t8192x10\t"
    net = read(text + "1x1x8192")
    assert [x.path for x in net if x.op.kind == "conv"] == [
        "Conv", "Conv-dw1", "Conv-dw2", "Conv-dw3",
    ]  # fmt: skip
    assert [what for _, what, *_ in noted(net)] == ["bias"]


def test_cells_may_stand_between_bars_or_spaces() -> None:
    text = TEXTS["mobilenet"]
    bars = "\n".join(f"| {' | '.join(line.split(chr(9)))} |" for line in text.splitlines())
    for other in (bars, text.replace("\t", "  "), text.replace("\t", " | ")):
        assert read(other).layers == lecture("mobilenet").layers


# What is said of the reading: remarks.

CUT = """Type / Stride\tFilter Shape\tInput Size
Conv / s2\t3 × 3 × 3 × 32\t224 × 224 × 3
Conv dw / s1\t3 × 3 × 32 dw\t112 × 112 × 32
Avg Pool / s1\tPool 7 × 7\t7 × 7 × 1024
FC / s1\t1024 × 1000\t1 × 1 × 1024
Softmax / s1\tClassifier\t1 × 1 × 1000
"""


def remarks(network: Network) -> list[tuple[str, int, str]]:
    return [(remark.kind, remark.line, remark.text) for remark in network.remarks]


def test_rows_that_are_cut_out_do_not_fit_together_and_that_is_said() -> None:
    net = read(CUT)
    assert params(net["FC"]) == 32 * 106 * 106 * 1000
    assert remarks(net) == [
        ("assumed", 2, "filters are all that the rows print; taken: no biases, no batch "
         "normalisation"),
        ("differs", 4, "Avg-Pool: printed input 7x7x1024, but what comes before gives 112x112x32"),
        ("differs", 5, "FC: printed input 1x1x1024, but what comes before gives 359552"),
        ("differs", 5, "FC: printed parameters 1024x1000, computed 359,552,000"),
    ]  # fmt: skip
    notes = analyze(net).table().notes
    assert notes[3:] == tuple(f"slide.txt:{line}: {text}" for _, line, text in remarks(net))


def test_more_of_a_kind_is_one_remark_that_counts_them() -> None:
    assert remarks(lecture("alexnet_short")) == [
        ("differs", 1, "printed total parameters 62.3M, computed 62,378,344; cut instead of "
         "rounded"),
        ("assumed", 3, "no input is printed; taken: 227x227x3"),
        ("assumed", 3, "Conv1-96: the number after Conv is the kernel, and 1x1 at stride 4 reads "
         "one position in 16; taken: 11x11, AlexNet's first layer"),
        ("assumed", 6, "Conv5-256: no pad is printed; taken: pad 2, which keeps the size (3 more "
         "such: archcost audit alexnet_short.txt)"),
    ]  # fmt: skip


def test_a_table_that_leaves_nothing_open_has_no_remarks() -> None:
    assert remarks(lecture("alexnet")) == remarks(load("lectures/alexnet")) == []


def test_the_shipped_tables_say_what_is_wrong_in_them() -> None:
    assert [text for _, _, text in remarks(load("lectures/vgg16"))] == [
        "printed total activations 24M, computed 15,237,608; the 22 rows add up to 15.2M",
        "printed total memory 96MB, computed 60,950,432; the 22 rows at 4 bytes a value add up to "
        "60.7MB",
    ]
    assert [(kind, line) for kind, line, _ in remarks(load("lectures/mobilenet"))] == [
        ("assumed", 5), ("assumed", 18), ("assumed", 22),
    ]  # fmt: skip


def test_figures_of_a_column_are_held_against_it() -> None:
    text = TEXTS["vgg_columns"].replace("11 weight layers", "12 weight layers", 1)
    text = text.replace("\t144", "\t141")
    assert "printed total weight layers 12, computed 11" in [
        t for _, _, t in remarks(read(text, "A"))
    ]
    assert ("differs", 25, "printed total parameters 141M, computed 143,667,240") in remarks(
        read(text, "E")
    )
    assert [kind for kind, *_ in remarks(read(text, "B"))] == ["assumed"]  # pads


def test_figures_are_of_the_printed_input() -> None:
    own, other = read(TEXTS["alexnet_short"]), read(TEXTS["alexnet_short"], input="3x227x300")
    assert read(TEXTS["alexnet_short"], input="3x227x227").remarks == own.remarks
    assert [kind for kind, *_ in remarks(other)] == ["assumed", "assumed"]
    assert remarks(read(TEXTS["alexnet"], input="3x300x300")) == []
    assert remarks(read(TEXTS["vgg_columns"], "A", input="3x64x64"))[0][0] == "assumed"
    assert {kind for kind, *_ in remarks(read(TEXTS["vgg_columns"], "A", input="3x64x64"))} == {
        "assumed"
    }


def test_lint_finds_what_had_to_be_assumed() -> None:
    flaws = lint(Source("short.txt", "Conv3-8, stride 1\nFC10"))
    assert [(f.place, f.kind, f.text) for f in flaws] == [
        ("short.txt:1:1", "assumed", "no input is printed; taken: 224x224x3"),
        ("short.txt:1:1", "assumed", "Conv3-8: no pad is printed; taken: pad 1, which keeps the "
         "size"),
    ]  # fmt: skip
    assert lint(Source("alexnet.txt", TEXTS["alexnet"])) == []
    assert [f.kind for f in lint(Source("x.txt", "Conv3-8\nDropout(5)"))] == ["error"]


@pytest.mark.parametrize(("name", "count"), [
    ("lectures/alexnet", 62_378_344),
    ("lectures/vgg16", 138_357_544),
    ("lectures/mobilenet", 4_209_088),
])  # fmt: skip
def test_the_shipped_tables(name: str, count: int) -> None:
    net = load(name)
    assert total_params(net) == count
    assert net.name == name.rpartition("/")[2]
    assert net.source == f"specs/{name}.txt"
    figures = [c for c in net.claims if c.quantity not in SETTINGS]
    wrong = [c for c in figures if not holds(net, c)]
    assert [c.printed for c in wrong] == (["24M", "96MB"] if name.endswith("vgg16") else [])
    assert all(c.note for c in wrong)
