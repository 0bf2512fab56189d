"""GoogLeNet's and ResNet's table 1 as specs, in the layouts in which people paste them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from archcost.analysis.report import analyze
from archcost.errors import LookupFailed, SpecError
from archcost.findings.audit import audit_models
from archcost.lectures import read_lecture
from archcost.network import Network
from archcost.spec.catalog import expand, load
from archcost.spec.source import Source

LECTURES = Path(__file__).parent / "lectures"
GOOGLENET = (LECTURES / "googlenet.txt").read_text("utf-8")
RESNET = (LECTURES / "resnet.txt").read_text("utf-8")


def read(text: str, variant: str = "", **options: object) -> Network:
    return expand(read_lecture(Source("table.txt", text)), variant, **options)  # type: ignore[arg-type]


# GoogLeNet: a row for each module.

ROWS = [line.split("\t") for line in GOOGLENET.strip("\n").split("\n")]
ALL = range(len(ROWS[0]))


def cells(columns: object = ALL, sep: str = "\t", keep_empty: bool = True) -> str:
    rows = [[row[index] for index in columns] for row in ROWS]  # type: ignore[attr-defined]
    return "\n".join(sep.join(cell for cell in row if cell or keep_empty) for row in rows)


def aligned(columns: object = ALL) -> str:
    return "\n".join(
        "".join(row[index].ljust(18) for index in columns).rstrip()  # type: ignore[attr-defined]
        for row in ROWS
    )


def layers(network: Network) -> list[tuple[object, ...]]:
    """Return what the table says of a network: every layer but normalisation and softmax."""
    return [
        (layer.op.name, layer.settings, layer.shapes, layer.cost.output)
        for layer in network
        if layer.op.name not in ("lrn", "softmax", "flatten", "avgpool", "global_avgpool")
    ]


PDF = (
    "type patch size/\nstride\noutput\nsize depth #1×1 #3×3\nreduce #3×3 #5×5\nreduce #5×5 pool\n"
    "proj params ops\n"
)
UNEVEN_LINES = (
    "              patch size/   output                  #3×3          #5×5          pool\n"
    "  type                               depth  #1×1            #3×3          #5×5        params  ops\n"
    "              stride        size                    reduce        reduce        proj\n"
)
TWO_LINES = (
    "type        patch size/  output  depth  #1×1  #3×3    #3×3  #5×5    #5×5  pool  params  ops\n"
    "            stride       size                 reduce        reduce        proj\n"
)
MARKDOWN = [f"| {line} |" for line in cells(sep=" | ").split("\n")]
MARKDOWN.insert(1, "|" + "---|" * len(ALL))
BODY = "\n".join(cells(sep=" ", keep_empty=False).split("\n")[1:])
GOOGLENETS = {
    "tabs": GOOGLENET,
    "bars": cells(sep=" | "),
    "markdown": "\n".join(MARKDOWN),
    "aligned": aligned(),
    "one space": cells(sep=" ", keep_empty=False),
    "two spaces": cells(sep="  ", keep_empty=False),
    "tabs without empty cells": cells(keep_empty=False),
    "dashes in empty cells": "\n".join("\t".join(c or "—" for c in row) for row in ROWS),
    "x": GOOGLENET.replace("×", "x"),
    "spaced": GOOGLENET.replace("×", " × "),
    "mathematics": GOOGLENET.replace("×", r"$\times$").replace("#", r"\#"),
    "LaTeX": cells(sep=" & ").replace("\n", " \\\\ \\hline\n").replace("%", r"\%"),
    "without params and ops": cells(ALL[:10]),
    "without params, ops and empty cells": cells(ALL[:10], keep_empty=False),
    "without params and ops, one space": cells(ALL[:10], " ", keep_empty=False),
    "without depth, one space": cells([0, 1, 2, *ALL[4:]], " ", keep_empty=False),
    "other order": cells([0, 2, 1, 10, 11, 3, 9, *ALL[4:9]]),
    "other order, aligned": aligned([0, 2, 1, 10, 11, 3, 9, *ALL[4:9]]),
    "other order, one space": cells([0, 2, 1, 10, 11, 3, 9, *ALL[4:9]], " ", keep_empty=False),
    "counts first": cells([*ALL[4:], 3, 2, 1, 0], " | "),
    "head over many lines": PDF + BODY,
    "head over two lines": TWO_LINES + BODY,
    "head over uneven lines": UNEVEN_LINES + BODY,
    "without a head": BODY,
    "other words": GOOGLENET.replace("convolution", "Conv").replace("max pool", "MaxPool")
    .replace("avg pool", "Average pool").replace("(40%)", "(0.4)").replace("linear", "FC"),
    "modules without brackets": re.sub(r"inception \((\d\w)\)", r"Inception \1", GOOGLENET),
    "prose around it": "Table 1: GoogLeNet incarnation of the Inception architecture.\n\n"
    + GOOGLENET + "\n5. GoogLeNet\n\nThe output of inception (3a) is 28 x 28 x 256.\n",
}  # fmt: skip


@pytest.mark.parametrize("layout", GOOGLENETS)
def test_googlenet_in_every_layout_is_the_catalogs(layout: str) -> None:
    ours, theirs = read(GOOGLENETS[layout]), load("googlenet")
    assert layers(ours) == layers(theirs)
    mine, catalogs = analyze(ours).total, analyze(theirs).total
    assert (
        (mine.params, mine.macs) == (catalogs.params, catalogs.macs) == (6_998_552, 1_582_671_872)
    )


def test_a_table_that_ends_early_is_read_as_far_as_it_goes() -> None:
    net = read("\n".join(GOOGLENET.split("\n")[:9]))
    assert net.output == (512, 14, 14)
    assert layers(net) == layers(load("googlenet"))[: len(layers(net))]


def test_what_is_printed_beside_the_modules() -> None:
    """Weights of 64·64 + 9·64·192 are 112K where K is 1,024; operations are counted in 10^6."""
    found = audit_models([str(LECTURES / "googlenet.txt")])
    params = {f.name.split()[-1]: (f.printed, f.verdict) for f in found if f.quantity == "params"}
    assert params == {
        "conv1": ("2.7K", "wrong"), "conv2": ("112K", "exact"),
        "inception3a": ("159K", "rounds to"), "inception3b": ("380K", "rounds to"),
        "inception4a": ("364K", "wrong"), "inception4b": ("437K", "wrong"),
        "inception4c": ("463K", "wrong"), "inception4d": ("580K", "wrong"),
        "inception4e": ("840K", "ambiguous"), "inception5a": ("1072K", "wrong"),
        "inception5b": ("1388K", "wrong"), "linear1": ("1000K", "exact"),
    }  # fmt: skip
    assert {f.convention for f in found if f.quantity == "params"} == {"without biases, K = 1,024"}
    macs = [(f.printed, f.figure) for f in found if f.quantity == "macs" and f.verdict == "wrong"]
    assert macs == [("34M", "118,013,952"), ("54M", "51,079,168")]
    assert all(f.verdict == "exact" for f in found if f.quantity == "output")


def test_one_figure_does_not_make_a_k_of_1024() -> None:
    alone = re.sub(r"\t(?!112K)[\d.]+K\t", "\t\t", GOOGLENET)
    assert [c.printed for c in read(alone).claims if c.quantity == "params"] == ["112K"]
    assert ("differs", "conv2: printed parameters 112K, computed 114,944") in [
        (remark.kind, remark.text) for remark in read(alone).remarks
    ]
    text = GOOGLENET.replace("112K", "115K").replace("1000K", "1024K").replace("159K", "163K")
    text = text.replace("380K", "388K")  # these are right where K is 1,000
    [found] = [r.text for r in read(text).remarks if "2.7K" in r.text]
    assert found.startswith("conv1: printed parameters 2.7K, computed 9,408 (without biases) (")


def test_columns_without_names_are_the_papers_and_that_is_said() -> None:
    assert "no names of columns are printed; taken: the paper's, in its order" in [
        remark.text for remark in read(BODY).remarks
    ]


def test_googlenet_says_what_it_assumed_and_what_differs() -> None:
    assert [(r.kind, r.line, r.text) for r in read(GOOGLENET).remarks] == [
        ("assumed", 2, "no input is printed; taken: 224x224x3"),
        ("assumed", 2, "no padding or bias is printed; taken: windows that keep the size, pooling "
         "rounded up, and biases; normalisation, which the paper has, is left out"),
        ("differs", 2, "conv1: printed parameters 2.7K, computed 9,408 (without biases, K = 1,024) "
         "(7 more such: archcost audit table.txt)"),
        ("differs", 2, "conv1: printed MACs 34M, computed 118,013,952 (2 more such: archcost audit "
         "table.txt)"),
    ]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [
    (GOOGLENET.replace("inception (3a)", "incepton (3a)"),
     "table.txt:6:1: not understood as a row of the table: 'incepton (3a) 28x28x256 2 64 96 128 16 "
     "32 32 159K 128M'; did you mean 'inception'?"),
    (GOOGLENET.replace("convolution\t7×7/2\t", "convolution\t\t"),
     "table.txt:2:1: conv: no patch size; a row prints `3x3/2`"),
    (GOOGLENET.replace("7×7/2", "7×5/2"),
     "table.txt:2:1: conv: a patch is square and at least 1x1; got '7x5/2'"),
    (GOOGLENET.replace("\t128\t16\t32", "\t128\t\t32"),
     "table.txt:6:1: inception: (3a) has no number under reduce5x5"),
    (GOOGLENET.replace("#5×5 reduce", "#5×5").replace("#3×3 reduce", "#5×5"),
     "table.txt:1:1: two columns are 5x5"),
    (GOOGLENET.replace("depth", "notes", 1),
     "table.txt:1:36: not understood as a column: 'notes'"),
    ("\n".join(line for line in GOOGLENET.split("\n")[:7] if line[0] in "ti"),
     "table.txt:2:1: inception (3a): no row before it says what it reads; a table begins with a "
     "convolution"),
    (BODY.replace("64 96 128 16 32 32 159K", "64 96 128 16 32 159K"),
     "table.txt:5:1: inception (3a): 6 numbers for depth, 1x1, reduce3x3, 3x3, reduce5x5, 5x5, "
     "pool_proj"),
])  # fmt: skip
def test_what_is_refused_of_googlenet(text: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(text)
    assert str(refused.value) == message


# ResNet: a network in each column.

DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
HEAD = "layer name output size 18-layer 34-layer 50-layer 101-layer 152-layer\n"
WIDE = "layer name   output size     18-layer         34-layer         50-layer         101-layer         152-layer\n"


def stack(width: int, layers: int) -> list[str]:
    if layers < 50:
        return [f"3×3, {width}", f"3×3, {width}"]
    return [f"1×1, {width}", f"3×3, {width}", f"1×1, {4 * width}"]


def spaced(stage: Callable[[int, int], str], head: str = HEAD) -> str:
    """Return the table without bars or tabs; ``stage`` gives the lines of the stacks."""
    text = f"{head}conv1 112×112 7×7, 64, stride 2\n"
    for number, width in enumerate((64, 128, 256, 512)):
        if stage is not in_the_middle:
            text += f"conv{number + 2} x {56 >> number}×{56 >> number}\n"
        text += "3×3 max pool, stride 2\n" if number == 0 else ""
        text += stage(number, width)
    figures = "FLOPs 1.8×109 3.6×109 3.8×109 7.6×109 11.3×109\n"  # the power lost its place
    return f"{text}1×1 average pool, 1000-d fc, softmax\n{figures}"


def one_by_one(join: str, form: str, end: str) -> Callable[[int, int], str]:
    def stage(number: int, width: int) -> str:
        stacks = [(join.join(stack(width, n)), DEPTHS[n][number]) for n in DEPTHS]
        return end.join(form.format(*one) for one in stacks) + "\n"

    return stage


def across(number: int, width: int) -> str:
    """Each line has a convolution of every column that has one left."""
    times = [DEPTHS[n][number] for n in DEPTHS]
    return (
        f"3×3, {width} 3×3, {width} 1×1, {width} 1×1, {width} 1×1, {width}\n"
        + " ".join(f"3×3, {width} ×{n}" for n in times)
        + f"\n1×1, {4 * width} 1×1, {4 * width} 1×1, {4 * width}\n"
    )


def beneath(number: int, width: int) -> str:
    """Stacks of two stand in the middle beside stacks of three, under their column's name."""
    columns = [WIDE.index(f"{n}-layer") for n in DEPTHS]

    def line(cells: dict[int, str], shift: int) -> str:
        text = [" "] * 140
        for column, cell in cells.items():
            at = columns[column] + shift
            text[at : at + len(cell)] = cell
        return "".join(text).rstrip() + "\n"

    basic = f"3×3, {width}"
    return (
        line(dict.fromkeys((2, 3, 4), f"1×1, {width}"), -2)
        + line(dict.fromkeys((0, 1), basic), -2)
        + line({k: f"×{DEPTHS[n][number]}" for k, n in enumerate(DEPTHS)}, 9)
        + line(dict.fromkeys(range(5), basic), -2)
        + line(dict.fromkeys((2, 3, 4), f"1×1, {4 * width}"), -2)
    )


def in_the_middle(number: int, width: int) -> str:
    """The layer's name stands beside the second line of its stacks."""
    first, *rest = beneath(number, width).splitlines(keepends=True)
    name = f"conv{number + 2} x {56 >> number}×{56 >> number}"
    return f"{first}{name:<25}{''.join(rest)[25:]}"


def lines_per_convolution(text: str) -> str:
    lines = []
    for line in text.split("\n"):
        rows = [cell.strip().split("; ") for cell in line.strip("|").split("|")]
        for index in range(max(map(len, rows))):
            lines.append(
                f"| {' | '.join(row[index] if index < len(row) else '' for row in rows)} |"
            )
    return "\n".join(lines)


def ordered(order: tuple[int, ...]) -> str:
    rows = [line[1:-1].split("|") for line in RESNET.strip().split("\n")]
    return "\n".join(f"|{'|'.join(row[index] for index in order)}|" for row in rows)


def matrices(environment: str) -> str:
    return re.sub(
        r"\[([^]|]*)\] ×(\d+)",
        lambda m: rf"$\begin{{{environment}}} " + m[1].replace("; ", r" \\ ").replace("×", r"\times ")
        + rf" \end{{{environment}}} \times {m[2]}$",
        RESNET,
    )  # fmt: skip


BARS = re.sub(r"^\||\|$", "", RESNET, flags=re.MULTILINE)
TABS = "\n".join(
    "\t".join(cell.strip() for cell in line[1:-1].split("|"))
    for line in RESNET.split("\n")
    if "---" not in line
)
RESNETS = {
    "markdown": RESNET,
    "bars": BARS,
    "tabs": TABS,
    "tabs without the empty cells before": re.sub(r"^\t+", "", TABS, flags=re.MULTILINE),
    "line breaks in cells": RESNET.replace("; ", "<br>"),
    "a line for each convolution": lines_per_convolution(RESNET),
    "a line for each, without brackets": re.sub(r"[][]", "", lines_per_convolution(RESNET)),
    "without brackets": re.sub(r"[][]", "", RESNET),
    "matrices": matrices("bmatrix"),
    "arrays": matrices("array").replace(r"\begin{array}", r"\left[\begin{array}{c}")
    .replace(r"\end{array}", r"\end{array}\right]"),
    "LaTeX": BARS.replace(" | ", " & ").replace("|", "&").replace("×", r"$\times$"),
    "other order": ordered((0, 6, 5, 4, 3, 2, 1)),
    "names last": ordered((6, 5, 4, 3, 2, 1, 0)),
    "x": RESNET.replace("×", "x"),
    "spaced x": RESNET.replace("×", " x "),
    "stars": RESNET.replace("×", "*"),
    "named after the paper": re.sub(r"(\d+)-layer", r"ResNet-\1", RESNET),
    "stacks one by one": spaced(one_by_one("\n", "[ {} ] ×{}", "\n")),
    "one by one, without brackets": spaced(one_by_one("\n", "{}\n×{}", "\n\n")),
    "one by one, in a line": spaced(one_by_one("; ", "[{}] ×{}", " ")),
    "one by one, in a line, without brackets": spaced(one_by_one(" ", "{}×{}", " ")),
    "across": spaced(across),
    "beneath": spaced(beneath, WIDE),
    "beneath, with names in the middle": spaced(in_the_middle, WIDE),
    "brackets of a PDF": spaced(one_by_one("\n", "\x14 {} \x15 ×{}", "\n")),
    "brackets of another PDF": spaced(one_by_one("\n", "\uf8ee {} (cid:21) ×{}", "\n")),
    "prose around it": f"Table 1. Architectures. Downsampling is performed by conv3_1.\n\n{RESNET}"
    "\n3.4. Implementation\n\nThe image is resized with its shorter side in 256 to 480.\n",
}  # fmt: skip


@pytest.mark.parametrize("layout", RESNETS)
def test_resnet_in_every_layout_is_the_catalogs(layout: str) -> None:
    document = read_lecture(Source("table.txt", RESNETS[layout]))
    for depth in DEPTHS:
        net, catalogs = expand(document, f"resnet{depth}"), load(f"resnet{depth}")
        ours = [(x.op.name, x.settings, x.shapes) for x in net]
        assert ours[-1][0] == "softmax"
        assert ours[:-1] == [(x.op.name, x.settings, x.shapes) for x in catalogs]


@pytest.mark.parametrize(("depth", "params", "macs"), [
    (18, 11_689_512, 1_814_073_344), (34, 21_797_672, 3_663_761_408),
    (50, 25_557_032, 4_089_184_256), (101, 44_549_160, 7_801_405_440),
    (152, 60_192_808, 11_513_626_624),
])  # fmt: skip
def test_every_column_has_torchvisions_parameters(depth: int, params: int, macs: int) -> None:
    total = analyze(read(RESNET, f"{depth}-layer")).total
    assert (total.params, total.macs) == (params, macs)


def test_columns_have_their_printed_name_and_the_usual_one() -> None:
    net = read(RESNET, "resnet50")
    assert (net.name, net.title) == ("50-layer", "table, column 50-layer")
    assert [layer.path for layer in net][:4] == [
        "conv1.conv1", "conv1.batchnorm1", "conv1.relu1", "conv2_x.maxpool1",
    ]  # fmt: skip
    assert net["conv4_x.conv4_6.body.conv2"].settings == "3x3, pad 1, no bias"
    assert read(RESNET, "50").layers == net.layers
    with pytest.raises(LookupFailed, match="unknown variant of table 'resnet51'"):
        read(RESNET, "resnet51")
    with pytest.raises(SpecError, match=r"choose one, as in table.txt::18-layer$"):
        read(RESNET)


def test_the_printed_operations_are_of_strides_in_the_first_convolution() -> None:
    """The paper prints 3.8, 7.6 and 11.3: cut from 3.86, 7.58 rounded, 11.30."""
    for depth, printed in ((50, "3.8"), (101, "7.6"), (152, "11.3")):
        macs = analyze(read(RESNET, str(depth), knobs={"v1": True})).total.macs
        assert macs == analyze(load(f"resnet{depth}_v1")).total.macs
        [found] = [
            f for f in audit_models([f"{LECTURES / 'resnet.txt'}::resnet{depth}"])
            if f.quantity == "macs"
        ]  # fmt: skip
        assert (found.printed, found.verdict) == (f"{printed}G", "wrong")
        assert [(slip.value, slip.explains) for slip in found.slips] == [(macs, True)]


def test_resnet_says_what_it_assumed_and_what_differs() -> None:
    assert [r.text for r in read(RESNET, "50-layer").remarks] == [
        "no input is printed; taken: 224x224x3",
        "not printed, and taken: batch normalisation after each convolution, in place of its bias; "
        "shortcuts that are identities, or 1x1 convolutions where the shape changes; stride 2 of "
        "conv3_1, conv4_1, conv5_1 in the 3x3 convolution; --set v1=true puts it in the first 1x1, "
        "as the paper has it",
        "printed total MACs 3.8G, computed 4,089,184,256; why: archcost audit table.txt",
    ]
    assert [r.text for r in read(RESNET, "34-layer").remarks][1:] == [
        "not printed, and taken: batch normalisation after each convolution, in place of its bias; "
        "shortcuts that are identities, or 1x1 convolutions where the shape changes; stride 2 of "
        "conv3_1, conv4_1, conv5_1 in the first convolution",
        "printed total MACs 3.6G, computed 3,663,761,408; cut instead of rounded",
    ]


@pytest.mark.parametrize("layout", ["beneath, with names in the middle", "one by one, in a line"])
def test_sizes_belong_to_their_stage_where_cells_are_lost(layout: str) -> None:
    net = read(RESNETS[layout], "resnet18")
    assert [r.text for r in net.remarks if r.kind == "differs"] == []
    assert len([c for c in net.claims if c.quantity == "output"]) == 6


def test_the_printed_sizes_are_claims_of_their_stage() -> None:
    claims = [
        (c.path, c.printed) for c in read(RESNET, "18-layer").claims if c.quantity == "output"
    ]
    assert claims == [
        ("conv1", "112x112"), ("conv2_x", "56x56"), ("conv3_x", "28x28"), ("conv4_x", "14x14"),
        ("conv5_x", "7x7"), ("global_avgpool1", "1x1"),
    ]  # fmt: skip
    wrong = read(RESNET.replace("14×14", "13×13"), "18-layer")
    assert "conv4_x: printed output 13x13, computed 14x14" in [r.text for r in wrong.remarks]


def test_a_table_of_two_rows_and_three_columns() -> None:
    text = (
        "layer name | output size | 18-layer | 34-layer | 50-layer\n"
        "conv1 | 112x112 | 7x7, 64, stride 2\n"
        "conv2_x | 56x56 | 3x3 max pool, stride 2\n"
        " | | [3x3, 64; 3x3, 64] x2 | [3x3, 64; 3x3, 64] x3 | [1x1, 64; 3x3, 64; 1x1, 256] x3\n"
    )
    for depth in (18, 34, 50):
        net = read(text, f"resnet{depth}")
        catalogs = [(x.op.name, x.settings, x.shapes) for x in load(f"resnet{depth}")]
        assert [(x.op.name, x.settings, x.shapes) for x in net] == catalogs[: len(net)]
    assert read(text, "resnet50").output == (256, 56, 56)


def test_parallel_paths_are_groups() -> None:
    text = (
        "layer name | output size | ResNeXt-50 (32x4d)\n"
        "conv1 | 112x112 | 7x7, 64, stride 2\n"
        "conv2_x | 56x56 | 3x3 max pool, stride 2\n"
        " | | [1x1, 128; 3x3, 128, C=32; 1x1, 256] x3\n"
    )
    net = read(text, "ResNeXt-50-32x4d")
    theirs = [(x.op.name, x.settings, x.shapes) for x in load("resnext50_32x4d")]
    assert [(x.op.name, x.settings, x.shapes) for x in net] == theirs[: len(net)]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("[3×3, 64; 3×3, 64] ×2", "[3×3, 64; 3×z, 64] ×2",
     "table.txt:5:17: not understood: '3xz, 64] x2'; a cell prints `[3x3, 64; 3x3, 64] x2`"),
    ("[3×3, 64; 3×3, 64] ×2", "[3×3, 64; 3×3, 64]",
     "table.txt:5:8: conv2_x: 0 repeats; a block prints two convolutions of one size, or 1x1, 3x3, "
     "1x1, and its repeat: `[3x3, 64; 3x3, 64] x2`"),
    ("[3×3, 64; 3×3, 64] ×2", "[3×3, 64; 3×3, 65] ×2",
     "table.txt:5:8: conv2_x: convolutions that are no block; a block prints two convolutions of one "
     "size, or 1x1, 3x3, 1x1, and its repeat: `[3x3, 64; 3x3, 64] x2`"),
    ("[3×3, 64; 3×3, 64] ×2", "[3×3, 64; 3×3, 64] ×2000",
     "table.txt:5:26: a repeat is from 1 to 1,000; got 2000"),
    ("34-layer", "18-layer", "table.txt:1:30: two columns have the same name"),
    ("3.6×10^9 | ", "", "table.txt:10:1: 4 figures in a table with 5 networks"),
    ("| conv1 ", "| cnv1 ", "table.txt:3:10: no layer name before it; a row begins with `conv1` or "
     "`conv2_x`"),
])  # fmt: skip
def test_what_is_refused_of_resnet(old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        read(RESNET.replace(old, new, 1), "18-layer")
    assert str(refused.value) == message
