"""Lecture texts that are typeset in other ways, refused, broken or hostile."""

from __future__ import annotations

import contextlib
import io
import random
import re
import time

import pytest
from helpers import SOON
from hypothesis import given
from hypothesis import strategies as st
from lecture_texts import TEXTS, VGG, lecture, read, total_params

from archcost.errors import ArchcostError, SpecError
from archcost.lectures import is_spec
from archcost.lectures.text import clean, figure
from archcost.numeral import Numeral
from archcost.spec.catalog import load
from archcost.spec.source import Source

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
