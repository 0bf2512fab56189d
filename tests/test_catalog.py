"""The shipped specs: exact totals, published figures, reference models, and good housekeeping."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from archcost import Network, analyze, catalog, load
from archcost.conventions import ACTIVATIONS, find_convention
from archcost.network import Layer
from archcost.published import Published
from archcost.shape import Shape
from archcost.spec.catalog import documents
from archcost.spec.source import Mapping, Node, Scalar
from archcost.units import Figure

# Parameters and MACs. A comment derives them from the layer table, or from a line above it.
TOTALS = {
    # 156 + 12 + 1,516 + 32 + 48,120 + 10,164; 117,600 + 150,000 + 48,000 + 10,080
    "lenet5": (60_000, 325_680),
    # C3 dense, no S2 and S4, a linear output: + 900 - 44 + 850; + 90,000 + 840
    "lenet5_dense": (61_706, 416_520),
    # conv 3,747,200 + fc 58,631,144; conv 1,076,634,144 + fc 58,621,952
    "alexnet": (62_378_344, 1_135_256_096),
    # half of CONV2, 4 and 5: - 307,200 - 663,552 - 442,368; - 27*27 and 13*13 times these
    "alexnet_two_towers": (60_965_224, 724_406_816),
    # conv 2,469,696 + fc 58,631,144; conv 655,566,528 + fc 58,621,952
    "alexnet_torchvision": (61_100_840, 714_188_480),
    # alexnet - 96*3*(11*11 - 7*7); 110*110*14,112 + 26*26*614,400 + 13*13*3,096,576 + 58,621,952
    "zfnet": (62_357_608, 1_168_032_896),
    # conv 11,247,744 + fc 96,379,880; 586,089,600 + 13*13*10,616,832 + fc 96,370,688
    "zfnet_wide": (107_627_624, 2_476_704_896),
    # conv 9,220,480 + fc 123,642,856; conv 7,485,456,384 + fc 123,633,664
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg11_lrn": (132_863_336, 7_609_090_048),  # vgg11; normalisation has no weights
    "vgg13": (133_047_848, 11_308_466_176),  # vgg11 + 36,928 + 147,584; + 4*924,844,032
    # vgg13 + 65,792 + 2*262,656; + 2*205,520,896 + 51,380,224
    "vgg16_c": (133_638_952, 11_770_888_192),
    # vgg13 + 590,080 + 2*2,359,808; + 2*1,849,688,064 + 462,422,016
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg16_torchvision": (138_357_544, 15_470_264_320),  # vgg16; pooling 7x7 to 7x7 is free
    "vgg19": (143_667_240, 19_632_062_464),  # vgg16 and the same differences again
    "vgg11_bn": (132_868_840, 7_609_090_048),  # vgg11 + 2*2,752 channels
    "vgg13_bn": (133_053_736, 11_308_466_176),  # vgg13 + 2*2,944 channels
    "vgg16_bn": (138_365_992, 15_470_264_320),  # vgg16 + 2*4,224 channels
    "vgg19_bn": (143_678_248, 19_632_062_464),  # vgg19 + 2*5,504 channels
    # 28*28*256*(128 + 9*192 + 25*96)
    "inception_naive": (1_089_952, 854_196_224),
    # 3*12,845,056 + 25,690,112 + 86,704,128 + 120,422,400
    "inception_reduced": (346_720, 271_351_808),
    "inception_5x5": (460_092, 471_040_000),  # 25*200*92 + 92; 32*32*25*200*92
    "inception_5x5_reduced": (40_108, 40_960_000),  # 32*32*(200*16 + 25*16*92)
    # 112*112*9,408 + 56*56*(4,096 + 110,592)
    "googlenet_stem": (124_416, 477_675_520),
    "conv_ordinary": (19_456, 1_228_800),  # 75*256 + 256; 8*8*75*256
    "conv_separable": (1_102, 53_952),  # 75 + 3 + 768 + 256; 8*8*(75 + 768)
    # 6,990,272 weights of the paper's table 1 + 8,280 biases
    "googlenet": (6_998_552, 1_582_671_872),
    # 6,609,344 weights + 14,560 of normalisation + 1,000 biases; torchvision prints 1.498 G
    "googlenet_torchvision": (6_624_904, 1_498_376_192),
    # num_params of torchvision's weights; MACs worked out from table 1 of He et al.
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    # the first 1x1 of three stages at a quarter of the positions: - 3*77,070,336
    "resnet50_v1": (25_557_032, 3_857_973_248),
    "resnet101_v1": (44_549_160, 7_570_194_432),
    "resnet152_v1": (60_192_808, 11_282_415_616),
    # without three projections: - 172,032 - 2*896; - 3*6,422,528
    "plain18": (11_515_688, 1_794_805_760),
    "plain34": (21_623_848, 3_644_493_824),
    # 97,216 n - 21,926 and 14,155,776 n - 1,916,288 for depth 6 n + 2; see the test below
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "resnet1202": (19_421_274, 2_829_238_912),
    "plain20": (269_722, 40_551_040),
    "plain56": (853_018, 125_485_696),
    # two projections: + 16*32 + 32*64 + 2*(32 + 64); + 256*512 + 64*2,048
    "resnet20_projection": (272_474, 40_813_184),
    "resnet32_projection": (466_906, 69_124_736),
    "resnet44_projection": (661_338, 97_436_288),
    "resnet56_projection": (855_770, 125_747_840),
    "resnet110_projection": (1_730_714, 253_149_824),
    "resnet1202_projection": (19_424_026, 2_829_501_056),
}


def totals(network: Network) -> tuple[int, int]:
    total = analyze(network).total
    return total.params, total.macs


def of(network: Network, path: str) -> tuple[int, int]:
    total = analyze(network).by_group()[path]
    return total.params, total.macs


@pytest.mark.parametrize("name", catalog())
def test_totals(name: str) -> None:
    assert totals(load(name)) == TOTALS[name]


def test_names_are_unique_and_every_pin_has_a_model() -> None:
    assert len(set(catalog())) == len(catalog())
    assert set(TOTALS) <= set(catalog())


# Parts of networks, by hand.


def test_lenet5_layer_by_layer() -> None:
    """LeCun et al. 1998, section II.B, prints the trainable parameters of each layer."""
    parts = analyze(load("lenet5")).by_group()
    layers = analyze(load("lenet5")).by_layer()
    printed = {"C1": 156, "C3": 1_516, "C5": 48_120, "F6": 10_164, "OUTPUT": 0}
    assert {name: layers[name].params for name in printed} == printed
    assert (parts["S2"].params, parts["S4"].params) == (12, 32)


def test_lenet5_connections() -> None:
    """The paper counts a connection per weight and per bias at every position: 122,304 in C1."""
    work = {layer.path: layer.cost.work for layer in load("lenet5")}
    connections = {name: work[name]["mac"] + work[name]["conv_bias_add"] for name in ("C1", "C3")}
    assert connections == {"C1": 122_304, "C3": 151_600}
    assert work["F6"]["mac"] + work["F6"]["linear_bias_add"] == 10_164
    assert work["S2.scale1"]["scale"] * 5 == 5_880  # four inputs and a bias per output


def test_order_of_normalisation_in_alexnet() -> None:
    def order(name: str) -> list[str]:
        kept = [layer.op.name for layer in load(name) if layer.op.name in ("maxpool", "lrn")]
        return kept[:4]

    assert order("alexnet") == ["maxpool", "lrn", "maxpool", "lrn"]
    assert order("alexnet_two_towers") == ["lrn", "maxpool", "lrn", "maxpool"]


def test_zfnet_maps_have_the_sizes_of_figure_3() -> None:
    network = load("zfnet")
    sizes = [network[name].cost.output[1] for name in ("CONV1", "POOL1", "CONV2", "POOL2", "POOL3")]
    assert sizes == [110, 55, 26, 13, 6]


def test_activations_of_vgg16_as_the_lectures_count() -> None:
    """The 22 rows of the lectures' listing sum to 15.2M, not to the 24M printed below them."""
    assert analyze(load("vgg16")).total.activations == 15_237_608
    assert analyze(load("vgg16", bias=False)).total.params == 138_344_128


def test_googlenet_modules_have_the_shapes_of_table_1() -> None:
    network = load("googlenet")
    depths = {
        "3a": 256, "3b": 480, "4a": 512, "4b": 512, "4c": 512, "4d": 528, "4e": 832,
        "5a": 832, "5b": 1024,
    }  # fmt: skip
    for name, depth in depths.items():
        size = {"3": 28, "4": 14, "5": 7}[name[0]]
        assert network[f"inception{name}.concat1"].cost.output == (depth, size, size)
    # 192*(64 + 96 + 16 + 32) + 9*96*128 + 25*16*32 weights, 64 + 96 + 128 + 16 + 32 + 32 biases
    assert of(network, "inception3a") == (163_328 + 368, 28 * 28 * 163_328)


def test_auxiliary_heads_of_googlenet() -> None:
    """Each head: 1x1 convolution, 2,048 to 1,024, 1,024 to 1,000."""
    network = load("googlenet", aux=True)
    assert totals(network)[0] == 13_378_280
    assert of(network, "aux1")[0] == 3_188_840  # 65,664 + 2,098,176 + 1,025,000
    assert of(network, "aux2")[0] == 3_190_888  # 67,712 + 2,098,176 + 1,025,000
    assert network.outputs == ("linear1", "aux1.linear2", "aux2.linear2")
    assert totals(load("googlenet_torchvision", aux=True))[0] == 13_004_888


def test_stride_in_the_1x1_convolution_saves_three_quarters_of_it() -> None:
    for depth in (50, 101, 152):
        v15, v1 = totals(load(f"resnet{depth}")), totals(load(f"resnet{depth}_v1"))
        assert (v15[0] - v1[0], v15[1] - v1[1]) == (0, 3 * 77_070_336)


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110, 1202])
def test_closed_form_of_the_cifar_resnets(depth: int) -> None:
    """Three stages of 2n convolutions with 16, 32 and 64 channels; the first of a stage widens."""
    n = (depth - 2) // 6
    stage2, stage3 = 4_608 + (2 * n - 1) * 9_216, 18_432 + (2 * n - 1) * 36_864
    normalised = 16 * (2 * n + 1) + 32 * 2 * n + 64 * 2 * n  # channels, two parameters each
    params = 432 + 2 * n * 2_304 + stage2 + stage3 + 2 * normalised + 650
    macs = 1024 * (432 + 2 * n * 2_304) + 256 * stage2 + 64 * stage3 + 640
    assert totals(load(f"resnet{depth}")) == (params, macs)
    assert totals(load(f"resnet{depth}_projection")) == (params + 2_752, macs + 262_144)


def test_shortcut_of_option_a_takes_every_second_pixel_and_adds_zero_channels() -> None:
    network = load("resnet20")
    ops = [layer for layer in network if layer.path.startswith("stage2.0.shortcut")]
    assert [(layer.op.name, layer.cost.output) for layer in ops] == [
        ("slice", (16, 16, 32)),
        ("slice", (16, 16, 16)),
        ("pad", (32, 16, 16)),
    ]


def test_depth_in_the_name_is_the_number_of_weight_layers() -> None:
    for name in catalog():
        if depth := re.fullmatch(r"(?:vgg|resnet|plain)(\d+)(?:_\w+)?", name):
            assert analyze(load(name)).weight_layers == int(depth[1]), name


# What others print.


PUBLISHED = [
    pytest.param(row.model or document.name, row, figure, id=f"{row.model}-{figure}-{row.line}")
    for document in documents()
    for row in document.published
    for figure in row.figures
]


def computed(network: Network, row: Published, figure: str) -> int | None:
    """The figure in the row's convention, or None for one that no layer table gives."""
    default = "macs" if figure == "macs" else "flops"
    report = analyze(
        network,
        convention=row.convention or default,
        activations=row.convention if row.convention in ACTIVATIONS else "lecture",
    )
    return {
        "params": report.total.params,
        "macs": report.total.counted,
        "flops": report.total.counted,
        "activations": report.total.activations,
        "weight_layers": report.weight_layers,
    }.get(figure)


@pytest.mark.parametrize(("name", "row", "figure"), PUBLISHED)
def test_published_figures_are_right_or_explained(name: str, row: Published, figure: str) -> None:
    if row.convention:
        find_convention(row.convention)
    value = computed(load(name, input=row.input), row, figure)
    if value is None:
        assert 0 < Figure.parse(row.figures[figure]).value < 100  # an accuracy in percent
        return
    printed = Figure.parse(row.figures[figure])
    assert printed.rounds(value) or row.why, (
        f"{name}: {row.source} prints {printed.text}: {value:,}"
    )


def test_a_reason_stands_only_beside_a_figure_that_differs() -> None:
    for document in documents():
        for row in document.published:
            if row.why:
                network = load(row.model or document.name, input=row.input)
                values = {figure: computed(network, row, figure) for figure in row.figures}
                assert any(
                    value is not None and not Figure.parse(row.figures[figure]).rounds(value)
                    for figure, value in values.items()
                ), f"{document.source.name}:{row.line}"


# Reference implementations.

TORCHVISION = {
    "alexnet_torchvision": "alexnet",
    **{f"vgg{n}": f"vgg{n}" for n in (11, 13, 16, 19)},
    "vgg16_torchvision": "vgg16",
    **{f"vgg{n}_bn": f"vgg{n}_bn" for n in (11, 13, 16, 19)},
    "googlenet_torchvision": "googlenet",
    **{f"resnet{n}": f"resnet{n}" for n in (18, 34, 50, 101, 152)},
}
PYTORCHCV = {
    "alexnet": "alexnet", "alexnet_torchvision": "alexnetb",
    "zfnet": "zfnet", "zfnet_wide": "zfnetb",
    "resnet50_v1": "resnet50", "resnet50": "resnet50b",
    **{f"resnet{n}_projection": f"resnet{n}_cifar10" for n in (20, 56, 110)},
}  # fmt: skip


def assert_same_cost(network: Network, model: Any, batch: int = 1) -> None:
    """Compare the shapes of parameters and buffers, and the MACs that PyTorch counts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def shapes(tensors: Any) -> list[Shape]:
        return sorted(tuple(tensor.shape) for tensor in tensors)

    def ours(layer: Layer, kind: str) -> list[Shape]:
        return list(getattr(layer.cost, kind).values())

    with FlopCounterMode(display=False) as counter:
        model(torch.empty(batch, *network.input, device="meta"))
    assert sorted(s for layer in network for s in ours(layer, "params")) == shapes(
        model.parameters()
    )
    assert sorted(s for layer in network for s in ours(layer, "buffers")) == shapes(model.buffers())
    assert 2 * batch * totals(network)[1] == counter.get_total_flops()


@pytest.mark.reference
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_agrees(name: str, torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    options = {"aux_logits": False, "init_weights": False} if "googlenet" in name else {}
    with torch.device("meta"):
        model = torchvision.models.get_model(TORCHVISION[name], weights=None, **options)
    assert_same_cost(load(name), model.eval())


@pytest.mark.reference
def test_torchvision_agrees_on_auxiliary_heads(torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with torch.device("meta"):
        model = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False)
    assert_same_cost(load("googlenet_torchvision", aux=True), model.train(), batch=2)


@pytest.mark.reference
@pytest.mark.parametrize("name", PYTORCHCV)
def test_pytorchcv_agrees(name: str, torchvision: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("pytorchcv", reason="pytorchcv is not installed")
    from pytorchcv.model_provider import get_model  # it imports torchvision

    with torch.device("meta"):
        model = get_model(PYTORCHCV[name], pretrained=False)
    assert_same_cost(load(name), model.eval())


# Housekeeping.


def scalars(node: Node | None) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield node.text
    elif isinstance(node, Mapping):
        for key, value in node.entries.values():
            yield key.text
            yield from scalars(value)
    elif node is not None:
        for item in node.items:
            yield from scalars(item)


def words(texts: list[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_every_knob_and_block_is_used(document: Any) -> None:
    texts = [text for block in document.blocks.values() for text in scalars(block.body)]
    texts += [*scalars(document.layers), *(node.text for node in document.let.values())]
    texts += [node.text for _, header in document.variants.values() for node in header.values()]
    texts.append(document.header["input"].text)
    values = [document.knobs, *(knobs for knobs, _ in document.variants.values())]
    named = {value for knobs in values for value in knobs.values() if isinstance(value, str)}
    assert set(document.knobs) | set(document.let) <= words(texts)
    assert set(document.blocks) <= words(texts) | named


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_a_family_is_one_readable_file(document: Any) -> None:
    assert len(document.source.text.splitlines()) <= 150
    assert document.source.name == f"specs/{document.name}.yaml"
    for name in document.models():
        network = load(name)
        assert network.title and network.paper and network.year, name
