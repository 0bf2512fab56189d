"""Lecture text as a spec: the tables in tests/lectures stand as the lectures print them."""

from __future__ import annotations

import contextlib
import io
import random
import re
import time
from math import prod
from pathlib import Path

import pytest
from helpers import SOON
from hypothesis import given
from hypothesis import strategies as st

from archcost.analysis.report import analyze
from archcost.errors import ArchcostError, LookupFailed, SpecError
from archcost.findings.lint import lint
from archcost.lectures import is_spec, read_lecture
from archcost.lectures.text import clean, figure
from archcost.network import NETWORK_INPUT, Layer, Network
from archcost.numeral import Numeral
from archcost.published import Claim
from archcost.spec.catalog import expand, load
from archcost.spec.source import Source

LECTURES = Path(__file__).parent / "lectures"
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted(LECTURES.glob("*.txt"))}


def read(text: str, variant: str = "", name: str = "slide.txt", **options: object) -> Network:
    return expand(read_lecture(Source(name, text)), variant, **options)  # type: ignore[arg-type]


def lecture(name: str, variant: str = "") -> Network:
    return read(TEXTS[name], variant, f"{name}.txt")


def params(layer: Layer) -> int:
    return sum(prod(shape) for shape in layer.cost.params.values())


def total_params(network: Network) -> int:
    return sum(params(layer) for layer in network)


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

VGG = {  # weights and biases of configurations A to E (Simonyan & Zisserman 2015, table 1)
    "A": 132_863_336, "A-LRN": 132_863_336, "B": 133_047_848, "C": 133_638_952,
    "D": 138_357_544, "E": 143_667_240,
}  # fmt: skip


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


# Typesetting.


@pytest.mark.parametrize("times", ["x", " x ", "×", " × ", r"\times", r" \times ", r"\cdot ", "*",
                                   r"\*", "X", "·"])  # fmt: skip
def test_every_sign_of_multiplication(times: str) -> None:
    text = re.sub(r"(?<=\d)x(?=\d)", times.replace("\\", r"\\"), TEXTS["alexnet"])
    assert read(text).layers == lecture("alexnet").layers


@pytest.mark.parametrize("change", [
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\n\n", "\n"),
    lambda text: "\n".join(f"   {line}  " for line in text.split("\n")),
    lambda text: "\n".join(f"- {line}" for line in text.split("\n")),
    lambda text: "\n".join(f"{n}. {line}" for n, line in enumerate(text.split("\n"))),
    lambda text: text.replace("[", "**[").replace("]", "]**"),
    lambda text: text.replace(" ", "\u00a0"),
    lambda text: text.replace("x", r" $\times$ ").replace("Input", "INPUT"),
    lambda text: re.sub("conv|pool|norm|fc", lambda m: m[0].upper(), text.lower()),
    lambda text: f"# AlexNet\n\nConvolutional networks:\n{text}\n- dropout 0.5\n- use of ReLU",
])  # fmt: skip
def test_typesetting_changes_nothing(change) -> None:  # type: ignore[no-untyped-def]
    text = TEXTS["alexnet"].replace("Normalization layer", "normalization layer")
    assert read(change(text)).layers == lecture("alexnet").layers


@pytest.mark.parametrize(("text", "number"), [
    ("1,728", "1,728"), ("1.228.800", "1,228,800"), (" 150K ", "150K"), ("~ 3.2M", "3.2M"),
    ("~= 96 M", "96M"), ("4096", "4096"), ("0", "0"), ("", None), ("M", None), ("1,72", None),
    ("3..2", None), ("3.2.1", None), ("1e6", None), ("3.2M 4", None),
])  # fmt: skip
def test_printed_numbers(text: str, number: str | None) -> None:
    assert figure(text) == number
    if number is not None:
        Numeral.parse(number)


@given(st.text(alphabet="[]x×*$\\|{}() -:,.0123456789CONVtimes\t", max_size=60))
def test_cleaning_moves_no_column(line: str) -> None:
    assert len(clean(line)) == len(line)


def test_explicit_relu_and_flatten_are_not_doubled() -> None:
    text = "INPUT: 32x32 grayscale images\nConv5-6\nReLU\nMaxPool2\nFlatten\nFC84\nReLU\nFC-10"
    net = read(text)
    assert [x.path for x in net] == [
        "Conv5-6", "relu1", "MaxPool2", "flatten1", "FC84", "relu2", "FC-10",
    ]  # fmt: skip
    assert net.input == (1, 32, 32)


def test_input_from_the_command_line_replaces_the_printed_one() -> None:
    net = read("Conv3-8\nMaxPool2\nFC10", input="3x32x32")
    assert net["FC10"].cost.params["weight"] == (10, 8 * 16 * 16)


def test_numbers_avoid_the_printed_names() -> None:
    net = read("FC: [1x1x30]\nFC1: 20 neurons\nFC: [1x1x10]")
    assert [x.path for x in net if x.op.kind == "linear"] == ["FC2", "FC1", "FC3"]


def test_windows_without_squares() -> None:
    net = read("[224x224x3] INPUT\n[224x224x8] CONV1: 8 1x7 filters\n[10] FC2: 10 neurons")
    assert net["CONV1"].cost.output == (8, 224, 224)
    assert net["CONV1"].op.padding == (0, 3)  # type: ignore[attr-defined]


# What is refused.

ROW = "[227x227x3] INPUT\n[55x55x96] CONV1: 96 11x11 filters at stride 4, pad 0\n"


@pytest.mark.parametrize(("text", "message"), [
    (ROW + "[27x27x96] MAXPOL1: 3x3 filters at stride 2",
     "slide.txt:3:1: [27x27x96] is not followed by a known layer: 'MAXPOL1: 3x3 filters at stride 2'"),
    (ROW + "  [27x27x96] MAX POOL1: 3x3 filters at strid 2",
     "slide.txt:3:40: POOL1: not understood: 'strid 2'"),
    (ROW + "[27x27x96] MAX POOL1",
     "slide.txt:3:1: POOL1: no window; pooling prints `3x3 filters` or `MaxPool3`"),
    (ROW + "[27x27x256 CONV2: 256 5x5 filters",
     "slide.txt:3:1: not understood as a layer: '[27x27x256 CONV2: 256 5x5 filters'"),
    (ROW + "CONV2: change from (5x5 stride 1) to (7x7 stride 2)",
     "slide.txt:3:8: CONV2: not understood: 'change from (5x5 stride 1) to (7x7 stri…'"),
    (ROW + "CONV3,4,5: instead of 384, 384, 256 filters use 512, 1024, 512",
     "slide.txt:3:7: CONV3: not understood: '4,5: instead of 384, 384, 256 filters u…'"),
    (ROW + "CONV2: 5x5 filters, stride 1, stride 2",
     "slide.txt:3:31: CONV2: a second stride: 'stride 2'"),
    (ROW + "CONV2",
     "slide.txt:3:1: CONV2: no filters; a convolution prints `96 11x11 filters`, `conv3-64` or "
     "`Conv 7 x 7 x 64`"),
    (ROW + "FC6",
     "slide.txt:3:1: FC6: no width; a fully connected layer prints `4096 neurons`, `FC-4096` or "
     "its shape"),
    (ROW + "[10] FC6: 10 neurons\n\n" + ROW,
     "slide.txt:5:1: a second network begins here, the first in line 1; give one at a time"),
    ("Conv3-8\nFC10\nConv3-8\nFC10",
     "slide.txt:3:1: a second network begins here, the first in line 1; give one at a time"),
    ("[3x227x227x3] INPUT\nConv3-8",
     "slide.txt:1:1: an input has height, width and channels; got 3x227x227x3"),
    ("INPUT: [224x2z4x3]\nConv3-8", "slide.txt:1:14: INPUT: not understood: 'z4x3]'"),
    ("INPUT: [z4x3]\nConv3-8", "slide.txt:1:6: INPUT: no shape in ': [z4x3]'"),
    ("[0x0x3] INPUT\nConv3-8",
     "slide.txt:1:1: a shape has up to 8 sizes from 1 to 2**53; got '3x0x0'"),
    ("Conv3-8\nCnv5-256, stride 1",
     "slide.txt:2:1: not understood as a layer: 'Cnv5-256, stride 1'; did you mean 'conv'?"),
    ("Conv3-8\nFC40Y6", "slide.txt:2:1: not understood as a layer: 'FC40Y6'; did you mean 'fc'?"),
    ("Conv3-8\nDropout(5)", "slide.txt:2:8: Dropout: not understood: '(5)'"),
    ("Conv0-8", "slide.txt:1:1: Conv0-8: conv on 3x224x224: kernel_size must be at least 1; got 0"),
    ("INPUT: 4x4x3\nConv3-8\n[2x2x8] POOL1: 7x7 filters at stride 1, pad 0",
     "slide.txt:3:1: POOL1: maxpool on 8x4x4: kernel_size 7 does not fit the padded input 4"),
    ("CONV3-64: [224x224x64] memory: lots params: 0",
     "slide.txt:1:24: CONV3-64: memory: no number in 'lots'"),
    ("Conv3-8\nTOTAL memory: much", "slide.txt:2:15: TOTAL memory: no number in 'much'"),
    ("2000x Conv3-8", "slide.txt:1:1: a repeat is from 1 to 1,000; got 2000"),
    ("900x Conv3-8\n900x Conv3-8", "slide.txt:1:1: a table with more than 1,000 layers"),
    ("Conv3-8\n" * 1001, "slide.txt:1001:1: a table with more than 1,000 rows"),
    ("Conv3-8 " + "(note) " * 400, "slide.txt:1:1: a row longer than 2,000 characters"),
    ("Conv / s2\t3x3x3x32\t224x224x8",
     "slide.txt:1:6: Conv: the filter 3x3x3x32 takes 3 channels, the input 224x224x8 has 8"),
    ("Conv dw / s2\t3x3x3x32 dw\t224x224x3",
     "slide.txt:1:9: Conv-dw: filter 3x3x3x32 on input 224x224x3: expected 3 and 3 numbers"),
    ("Conv / s2\t3x3x3x32",
     "slide.txt:1:6: Conv: not understood: '/ s2 3x3x3x32'; a row prints stride, filter shape and "
     "input size: `/ s1 | 3x3x3x32 | 112x112x32`"),
    ("A\tB\nconv3-64\tconv3-64\nmaxpool\t\t\tmaxpool",
     "slide.txt:3:10: 4 cells in a table with 2 columns"),
    ("A\tB\nconv3-64\tconv3-64\nconv3-64\tcnv3-64",
     "slide.txt:3:10: not understood as a layer: 'cnv3-64'; did you mean 'conv'?"),
    ("A\tB\nconv3-64\tconv3-64\nconv3-64\tdense block",
     "slide.txt:3:10: not understood as layers: 'dense block'; expected conv3-64 or LRN"),
    ("conv3-64\tconv3-64", "slide.txt:1:1: no line above names the 2 columns of this table"),
    ("A\tA\nconv3-64\tconv3-64", "slide.txt:1:1: two columns have the same name"),
    ("A\tB\nconv3-64\tconv3-64\nconv3-64\tconv3-64\nNumber of parameters\t1\tmany",
     "slide.txt:4:24: no number of parameters: 'many'"),
    ("A\tB\n\tconv3-64", "slide.txt:1:1: the column 'A' has no layers"),
])  # fmt: skip
def test_what_is_refused_and_how(text: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(text, "A" if "\t" in text.split("\n")[0] else "")
    assert str(refused.value) == message


NO_TABLE = (
    "slide.txt: no layer table found; its rows are printed as `[55x55x96] CONV1: 96 11x11 filters "
    "at stride 4, pad 0`, `CONV3-64: [224x224x64] memory: ... params: ...`, `Conv5-256, stride 1` "
    "or `Conv dw / s1 | 3x3x32 dw | 112x112x32`, or as in table 1 of GoogLeNet or ResNet"
)


@pytest.mark.parametrize("text", [
    "# Convolutional networks\n\n- Conv -> Pool -> Conv -> Pool -> Conv -> FC\n",
    "Convolution Layer\n\nConv filters were 5x5, applied at stride 1\n",
    "**CONV1, CONV2, CONV4, CONV5:**\nConnections only with feature maps\non same GPU",
    "- CONV = 3×3 filters with stride 1, same convolutions\nConv=3x3,s=1,same\nMaxpool=2x2,s=2",
    "Conv2D + MaxPooling\n\nConv-Pool-\n2x Conv-Pool\n\nNorm layers\nFC7 features generalize well",
    "TOTAL params: 138M parameters\n\n- dropout 0.5\n[7x7]\nTotal: 854M ops",
    "Input: $N \\times N$\nInput\nInput: 227x227x3 images",
    "Softmax\nNorm\nMaxPool2",
    "12\t7\t-5\n1\t2\t3",
])  # fmt: skip
def test_prose_is_no_table(text: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(text)
    assert str(refused.value) == NO_TABLE


# Which reader, and from where.


@pytest.mark.parametrize(("text", "spec"), [
    ("name: x\ninput: 3x8x8\nlayers:\n  - relu\n", True),
    ("# comment\nlayers:\n- relu", True),
    ("", True),
    (" \n\n", True),
    ("{name: x}", True),
    ("--- \nfamily: x\n", True),
    ('"layers": []', True),
    ("Input: 227x227x3 images\nCONV1: 96 11x11 filters", False),
    ("These are the layers: many", False),
    *((text, False) for text in TEXTS.values()),
])  # fmt: skip
def test_which_texts_are_yaml(text: str, spec: bool) -> None:
    assert is_spec(Source("-", text)) is spec


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_lecture_text_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, TEXTS["vgg_escaped"])
    net = load("-")
    assert (net.name, net.source, total_params(net)) == ("stdin", "<stdin>", 138_357_544)
    stdin(monkeypatch, TEXTS["vgg_columns"])
    assert total_params(load("-::B")) == VGG["B"]
    stdin(monkeypatch, "")
    with pytest.raises(SpecError, match=r"^<stdin>: the file is empty$"):
        load("-")
    stdin(monkeypatch, TEXTS["vgg_columns"])
    with pytest.raises(SpecError, match=r"choose one, as in -::A$"):
        load("-")


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


def test_no_bias_leaves_the_weights() -> None:
    assert total_params(read(TEXTS["vgg_plain"], bias=False)) == 138_344_128


# Fuzz: a broken table is a network or a line for each mistake, soon.

SPLICES = (
    "[", "]", "x", "×", "**", "$", "\\times", ":", ",", "/", "|", "\t", "-", "0", "9" * 12, "99999",
    "conv3-64", "Conv dw / s2", "FC-9", "INPUT", "TOTAL memory:", "[7x7x7]", "5× ", "pad 9",
    "[3x3, 64", "x99999", "inception (3a)", "#3x3 reduce", "50-layer", "conv2_x", "C=0", "1024K",
    "stride 0", "stride 3", "\x00", "\u2028", "é", "Network\tA", "(", ")", "=", "~",
)  # fmt: skip


COLUMNS = {
    "vgg_columns": ["A", "B", "C", "D", "E"],
    "resnet": ["resnet18", "resnet50", "152-layer"],
}


def mutated(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        line = lines[at]
        spot = rng.randint(0, len(line))
        match rng.randrange(6):
            case 0:
                del lines[at]
                lines = lines or [""]
            case 1:
                lines.insert(rng.randrange(len(lines)), line)
            case 2:
                lines[at] = line[:spot] + line[spot + rng.randint(1, 3) :]
            case 3:
                lines[at] = line[:spot] + rng.choice(SPLICES) + line[spot:]
            case 4:
                lines[at] = line[:spot] + rng.choice(SPLICES) + line[spot + 1 :]
            case 5:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], line
    return "\n".join(lines)


@pytest.mark.parametrize("name", TEXTS)
def test_broken_tables_give_a_network_or_a_line_for_each_mistake(name: str) -> None:
    rng = random.Random(name)
    networks = 0
    for _ in range(60):
        text = mutated(TEXTS[name], rng)
        started = time.process_time()
        try:
            networks += len(read(text, rng.choice(COLUMNS.get(name, [""])))) > 0
        except ArchcostError as error:
            mistakes = error.mistakes if isinstance(error, SpecError) else [error]
            assert str(error).count("\n") < len(mistakes)
        assert time.process_time() - started < SOON
    assert 0 < networks < 60


@pytest.mark.parametrize("text", [
    "[" + "1x" * 200_000 + "] CONV1",
    "CONV1: " + "3x3 filters " * 80_000,
    "1" * 900_000,
    " " * 900_000 + "|",
    "| " * 400_000,
    "\t".join(f"c{n}" for n in range(20_000)) + "\n" + "conv3-8\t" * 20_000,
    "[224x224x3] INPUT\n" + "[999x999x9] CONV1: 9 99x99 filters\n" * 900,
    "Conv99-9, stride 3\n" * 990,
    "\n" * 900_000,
    "a\n" * 450_000,
    "Note\n" * 19_000,
    "conv3-64 " * 90_000,
    "50-layer 18-layer output\n" + "conv2_x 3x3, 64 " * 50_000,
    "50-layer output\n" + "3x3, 64\n" * 19_000,
    "layer name|output|50-layer\nconv1|9|" + "[3x3, 9" * 100_000,
    "18-layer output " * 50_000,
    "18-layer 50-layer output\nconv1 7x7, 64, stride 2\nconv2_x\n" + "3x3, 64 x2\n" * 19_000,
    "18-layer 50-layer output\nconv1 7x7, 64, stride 2\nconv2_x\n" + "3x3, 64\n" * 19_000,
    "18-layer 50-layer output\n" + "conv2_x 9x9 3x3, 64 3x3, 64 x2 3x3, 64 3x3, 64 x9\n" * 19_000,
    "#3x3 #5x5\n" + "inception (3a) 28x28x256 " + "1 " * 100_000,
    "#3x3 #5x5\nconv 7x7/2 9x9x9 1\n" + "inception (3a) 9x9x9 2 1 1 1 1 1 1\n" * 900,
    "inception " * 90_000,
    "max pool 3x3 " * 70_000,
])  # fmt: skip
def test_hostile_lines_end_soon(text: str) -> None:
    started = time.process_time()
    with contextlib.suppress(ArchcostError):
        read(text)
    assert time.process_time() - started < SOON
