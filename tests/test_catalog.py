"""The shipped specs: exact totals, published figures, and good housekeeping."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archcost import Network, analyze, catalog, load
from archcost.conventions import amount
from archcost.spec.catalog import documents
from archcost.spec.source import Mapping, Node, Scalar

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
    # 54*54*53,280 + 27*27*745,472 + 13*13*1,179,648 + 6*6*5,611,520; these weights and 4,552 biases
    "nin_imagenet": (7_595_176, 1_100_188_800),
    # num_params of torchvision's weights; MACs worked out from table 1 of He et al.
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    # WRN-68-3 with blocks of c in, 3 w inside, 4 w out: 3 c w + 81 w^2 + 12 w^2, w 64 to 512
    "wide_resnet68_3": (176_162_344, 30_498_619_392),
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
    # num_params of torchvision's weights; the same networks there and in pytorchcv have these MACs
    "densenet121": (7_978_856, 2_834_161_664),
    "densenet161": (28_681_000, 7_727_907_072),
    "densenet169": (14_149_480, 3_359_843_328),
    "densenet201": (20_013_928, 4_291_365_888),
    "densenet264": (33_337_704, 5_751_653_376),  # see the test of dense networks below
    "densenet40_k12": (1_019_722, 264_812_928),
    "densenet100_k12": (6_979_642, 1_769_516_448),
    "densenet100_k24": (27_249_082, 6_889_347_744),
    "densenet100_bc_k12": (769_162, 287_929_692),
    "densenet190_bc_k40": (25_624_430, 9_301_945_740),
    "densenet250_bc_k24": (15_324_406, 5_418_785_724),
    # num_params as torchvision, timm and pytorchcv build them, and what PyTorch counts there
    "bn_inception": (11_295_240, 2_032_600_064),
    "inception_v3": (23_834_568, 5_713_216_096),  # 27,161,264 - 3,326,696 of the auxiliary head
    "inception_v4": (42_679_816, 12_253_974_624),
    # facenet - 512 embedded and 1,000 classes of them - the last block + 1,793,000 of the classes
    "inception_resnet_v1": (22_756_328, 6_206_361_696),
    "inception_resnet_v1_facenet": (23_995_624, 6_308_235_360),
    "inception_resnet_v2": (55_843_464, 13_155_794_016),
    "xception": (22_855_952, 8_357_403_496),
    "nasnet_a_mobile": (5_289_978, 563_638_816),
    "nasnet_a_large": (88_753_150, 23_783_414_658),
    "pnasnet5_large": (86_057_668, 24_937_395_792),
    # the papers print 5.1M and 588M, 86.7M and 23.1G, 469M and 104G, 155.3M and 41.1G
    "pnasnet5_mobile": (5_065_121, 587_674_224),
    "amoebanet_a": (86_736_899, 23_164_764_643),
    "amoebanet_a_448": (468_151_184, 103_887_693_968),
    "amoebanet_c": (155_272_266, 41_127_908_664),
    "enas_macro": (42_559_392, 5_646_094_080),  # see the test below
    "enas_micro": (3_894_372, 620_907_552),
    "rl_nas_v1": (4_201_630, 4_300_665_312),  # see the test below
    # 25*24 + 2*25*24*24 + 3*24; 25*24*(16*16 + 24*(8*8 + 2*2))
    "neocognitron": (29_472, 1_132_800),
    "tdnn": (515, 6_072),  # 49*8 + 41*3; 13*8*48 + 9*3*40
    # 300 + 768 + 2,400 + 192 + 5,790 + 310; 768*25 + 192*200 + 5,760 + 300
    "lecun1989": (9_760, 63_660),
    # 39,250 + 9*5,100 + 510, and 50,000 more per ten layers: 2*50*51 each; 39,200 + 9*5,000 + 500
    "highway10": (85_660, 84_700),
    "highway20": (136_660, 134_700),
    "highway50": (289_660, 284_700),
    "highway100": (544_660, 534_700),
    # 160 + 8*4,640 + 1,450; 784*(144 + 2*4,608) + 196*3*4,608 + 49*3*4,608 + 1,440
    "highway_conv16": (38_730, 10_726_560),
    # 320 + 8*18,496 + 2,890; 784*(288 + 2*18,432) + 196*3*18,432 + 49*3*18,432 + 2,880
    "highway_conv32": (151_178, 42_677_568),
    # num_params of torchvision's weights and what PyTorch counts there; convnext_xlarge in timm
    "convnext_tiny": (28_589_128, 4_455_531_264),
    "convnext_small": (50_223_688, 8_683_712_256),
    "convnext_base": (88_591_464, 15_354_729_472),
    "convnext_large": (197_767_336, 34_361_433_600),
    "convnext_xlarge": (350_196_968, 60_921_030_656),
    # the MACs of convnext: no factor per channel, but 8 more parameters for each; in timm
    "convnextv2_atto": (3_708_400, 547_332_480),
    "convnextv2_femto": (5_233_240, 779_629_824),
    "convnextv2_pico": (9_066_280, 1_367_055_360),
    "convnextv2_nano": (15_623_800, 2_445_528_320),
    "convnextv2_tiny": (28_635_496, 4_455_531_264),
    "convnextv2_base": (88_717_800, 15_354_729_472),
    "convnextv2_large": (197_956_840, 34_361_433_600),
    "convnextv2_huge": (660_289_640, 114_922_100_480),
    # num_params of torchvision's weights, and what timm builds and PyTorch counts there
    "vit_ti_16": (5_717_416, 1_253_683_200),
    "vit_s_16": (22_050_664, 4_598_882_304),
    "vit_b_16": (86_567_656, 17_563_828_224),
    "vit_l_16": (304_326_632, 61_554_712_576),
    "vit_ti_32": (6_131_560, 306_034_176),
    "vit_s_32": (22_878_952, 1_142_909_952),
    "vit_b_32": (88_224_232, 4_409_186_304),
    "vit_l_32": (306_535_400, 15_377_539_072),
    "deit_ti": (5_717_416, 1_253_683_200),  # the Vision Transformers of these sizes
    "deit_s": (22_050_664, 4_598_882_304),
    "deit_b": (86_567_656, 17_563_828_224),
    # a token, its position and a classifier: + 1,002*width + 1,000
    "deit_ti_distilled": (5_910_800, 1_261_003_776),
    "deit_s_distilled": (22_436_432, 4_624_140_288),
    "deit_b_distilled": (87_338_192, 17_656_811_520),
    # num_params of torchvision's weights, and what PyTorch counts there
    "swin_t": (28_288_354, 4_490_566_656),
    "swin_s": (49_606_258, 8_740_875_264),
    "swin_b": (87_768_224, 15_430_946_816),
    # vgg16 - 4,097,000 + 86,037 of scores = 134,346,581; + 64*64*21*21, or as below
    "fcn32s": (136_152_917, 181_365_854_976),
    "fcn16s": (134_815_994, 181_448_086_272),  # + (16 + 32*32)*21*21 + 512*21 + 21
    "fcn8s": (134_489_759, 181_529_034_048),  # + (2*16 + 16*16)*21*21 + (512 + 256 + 2)*21
    "unet": (31_030_658, 150_428_424_448),  # see tests/test_dense_networks.py
    # 14,710,464 + 14,715,072 weights in 3x3 kernels, 7,947 biases, 15,872 of normalisation
    "segnet": (29_449_355, 106_712_432_640),
    # vgg16 - 4,097,000 + 105*4,097; 2,000*(25,088 + 4,096 + 105)*4,096 for the regions
    "fast_rcnn": (134_690_729, 423_804_751_872),
    # 5,551,360 of convolutions, LSTMs of 2*1024*(512 + 256 + 2) and 2*1024*(256 + 256 + 2), linear
    # layers of 131,328 and 18,981; 633,085,952 + 26*(1,572,864 + 131,072 + 1,048,576 + 18,944)
    "crnn": (8_331_301, 705_143_808),
    # 18,766*300 + 12*30,000 + 300 + 602; 30,000*(3*62 + 4*61 + 5*60) + 600
    "text_cnn": (5_990_702, 21_900_600),
    # 6,464 + 401,536 + 262,272 + 524,544 + 37,752,832, used twice, + 4,097
    "siamese": (38_951_745, 1_817_251_840),
    # the weights of the paper and 97 biases; 25*25*5,184 + n*n*k*k*2,048 + (n - 4)**2*800
    "srcnn_915": (8_129, 4_872_800),
    "srcnn_935": (24_513, 13_279_328),
    "srcnn_955": (57_281, 26_050_400),
    # 1,664 + 18,464 + 289*r*r; 17*17*(1,600 + 18,432 + 288*r*r)
    "espcn_x2": (21_284, 6_122_176),
    "espcn_x3": (22_729, 6_538_336),
    "espcn_x4": (24_752, 7_120_960),
    # 25*(1024*512 + 512*256 + 256*128 + 128*3), a linear layer of 16,384 to or from 4x4 maps, and
    # normalisation of 16,384 + 512 + 256 + 128, or of 256 + 512 + 1024
    "dcgan_generator": (18_885_760, 640_614_400),
    "dcgan_discriminator": (17_232_768, 638_992_384),
    # 27*1,024,192 weights + 2,752 biases + 52,335,079; 38,496,632,832 + 52,326,400
    "c3d": (79_991_015, 38_548_959_232),
    # 16,416 + 50*(4,160 + 16,896) + 49*1,056 + 262,656 + 131,328; 16,000 times these, no biases
    "wavenet": (1_514_944, 23_740_416_000),
    # resnet50 - 2,049,000 + 819,600; stem on 16 frames, res2 on 8, res3 to res5 on 4
    "c2d_resnet50": (24_327_632, 20_437_303_296),
    "nonlocal_c2d_resnet50": (31_686_096, 31_647_825_920),  # + 2*526,592 + 3*2,101,760
    # 23,508,032 + 3,868,672 of the pyramid + 2*4*590,080 + 1,887,795 + 82,980
    "retinanet_resnet50_fpn": (34_068_119, 151_540_437_248),
    # resnet50 or resnet101 without their linear layer + 524,544 + 6*1,315,072 + 6*1,578,752 + 512 +
    # 25,600 + 23,644 + 132,612; MACs as in tests/test_hand_built.py
    "detr_resnet50": (41_577_888, 81_245_056_000),
    "detr_resnet101": (60_570_016, 144_693_734_400),
}


# Parameters and MACs of the networks of torchvision, timm and pytorchcv that the tests below build.
with (Path(__file__).parent / "recorded" / "totals.csv").open() as file:
    RECORDED = {
        row["model"]: (int(row["params"]), int(row["macs"])) for row in csv.DictReader(file)
    }


def totals(network: Network) -> tuple[int, int]:
    total = analyze(network).total
    return total.params, total.macs


def of(network: Network, path: str) -> tuple[int, int]:
    total = analyze(network).by_group()[path]
    return total.params, total.macs


@pytest.mark.parametrize("name", catalog())
def test_totals(name: str) -> None:
    assert totals(load(name)) == (TOTALS | RECORDED)[name]


def test_names_are_unique_and_every_pin_has_a_model() -> None:
    assert len(set(catalog())) == len(catalog())
    assert set(TOTALS) | set(RECORDED) <= set(catalog())
    assert not set(TOTALS) & set(RECORDED)


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
    net = load("lenet5")
    connections = {
        name: amount(net[name], "mac") + amount(net[name], "bias") for name in ("C1", "C3", "F6")
    }
    assert connections == {"C1": 122_304, "C3": 151_600, "F6": 10_164}
    assert amount(net["S2.scale1"], "out") * 5 == 5_880  # four inputs and a bias per output


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
        if depth := re.fullmatch(r"(?:vgg|resnet|plain|densenet)(\d+)(?:_\w+)?", name):
            more = name == "densenet264"  # 1 + 2*130 + 3 + 1, the count that gives the other names
            assert analyze(load(name)).weight_layers == int(depth[1]) + more, name


def test_connections_of_the_first_networks() -> None:
    """Waibel et al. 1989 and LeCun et al. 1989 print weights and biases at every position."""

    def connections(name: str) -> int:
        layers = load(name)
        return totals(layers)[1] + sum(amount(layer, "bias") for layer in layers)

    assert connections("lecun1989") == 64_660
    assert connections("tdnn") + 3 * (9 + 1) == 6_233  # the output sums nine frames with a bias


@pytest.mark.parametrize(
    ("name", "growth", "depths", "bottleneck", "shrink", "start", "size"),
    [
        ("densenet264", 32, (6, 12, 64, 48), 4, 2, 64, 56),
        ("densenet40_k12", 12, (12, 12, 12), 0, 1, 16, 32),
        ("densenet100_k12", 12, (32, 32, 32), 0, 1, 16, 32),
        ("densenet100_k24", 24, (32, 32, 32), 0, 1, 16, 32),
    ],
)
def test_dense_networks_by_their_layers(
    name: str, growth: int, depths: tuple[int, ...], bottleneck: int, shrink: int, start: int,
    size: int,
) -> None:  # fmt: skip
    """Each layer reads all maps before it: batch normalisation and a convolution, or two."""
    channels, params, macs = start, 3 * 9 * start, 3 * 9 * start * size**2
    if start == 64:  # 7x7 at 112x112, normalised
        params, macs = 147 * 64 + 128, 147 * 64 * 112**2
    for i, depth in enumerate(depths):
        for _ in range(depth):
            inner = bottleneck * growth
            weights = channels * inner + 9 * inner * growth if inner else 9 * channels * growth
            params += weights + 2 * channels + 2 * inner
            macs += weights * size**2
            channels += growth
        if i + 1 < len(depths):
            params += 2 * channels + channels * (channels // shrink)
            macs += channels * (channels // shrink) * size**2
            channels, size = channels // shrink, size // 2
    classes = 1000 if start == 64 else 10
    assert totals(load(name)) == (
        params + 2 * channels + (channels + 1) * classes,
        macs + channels * classes,
    )


def test_rl_nas_reads_the_layers_that_figure_7_joins() -> None:
    """Height, width and filters of each layer, and the layers whose maps it reads."""
    figure = [
        (3, 3, 36, ""), (3, 3, 48, "1"), (3, 3, 36, "1 2"), (5, 5, 36, "1 2 3"), (3, 7, 48, "3 4"),
        (7, 7, 48, "2 3 4 5"), (7, 7, 48, "2 3 4 5 6"), (7, 3, 36, "1 6 7"), (7, 1, 36, "1 5 6 8"),
        (7, 7, 36, "1 3 4 5 6 7 8 9"), (5, 7, 36, "1 2 5 6 7 8 9 10"), (7, 7, 48, "1 2 3 4 6 11"),
        (7, 5, 48, "1 3 6 7 8 9 10 11 12"), (7, 5, 48, "3 7 12 13"), (7, 5, 48, "6 7 11 12 13 14"),
    ]  # fmt: skip
    weights = 0
    for height, width, filters, reads in figure:
        maps = sum(figure[int(i) - 1][2] for i in reads.split()) or 3
        weights += height * width * maps * filters
    normalised = 2 * sum(row[2] for row in figure)
    assert totals(load("rl_nas_v1")) == (weights + normalised + 490, 1024 * weights + 480)


def test_enas_macro_by_its_list_of_layers() -> None:
    network = load("enas_macro")
    width, kept, channels = 96, 1, 96
    weights, macs, normalised, size = 27 * 96, 27 * 96 * 1024, 96, 32
    for i, (kernel, inputs) in enumerate(network.knobs["layers"]):
        convs = channels * width + kernel**2 * width**2
        joined = (len(inputs) + 1) * width**2 if i else 0
        weights, macs = weights + convs + joined, macs + (convs + joined) * size**2
        normalised += width * (3 if i else 2)
        kept, channels = kept + 1, width
        if i in (7, 15):  # all outputs so far are halved in size and doubled in width
            weights += kept * width * 2 * width
            size, normalised = size // 2, normalised + kept * 2 * width
            macs += kept * width * 2 * width * size**2
            width, channels = 2 * width, 2 * width
    assert totals(network) == (weights + 2 * normalised + 10 * width, macs + 10 * width)


def test_compound_scaling_of_efficientnet() -> None:
    """Tan & Le 2019, section 3.3: 1.2·1.1²·1.15² is about 2, so phi doubles the operations."""
    released = {name: load(f"efficientnet_{name}").knobs for name in ("b1", "b2", "b3")}
    for knobs in released.values():
        width, depth, resolution = knobs["released"]
        phi = knobs["phi"]
        assert (width, depth) == (round(1.1**phi, 1), round(1.2**phi, 1))
        assert abs(resolution - 224 * 1.15**phi) < 4  # 240, 260 and 300
    base, scaled = (totals(load("efficientnet", knobs={"phi": phi}))[1] for phi in (0, 4))
    assert base == totals(load("efficientnet_b0"))[1]
    assert round((scaled / base) ** (1 / 4), 2) == 2.01  # whole layers and multiples of 8 channels


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


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for item in value if isinstance(value, list) else ():
        yield from strings(item)


def words(texts: list[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_every_knob_and_block_is_used(document: Any) -> None:
    texts = [text for block in document.blocks.values() for text in scalars(block.body)]
    texts += [*scalars(document.layers), *(node.text for node in document.let.values())]
    texts += [node.text for _, header in document.variants.values() for node in header.values()]
    texts += scalars(document.header.get("input"))
    values = [document.knobs, *(knobs for knobs, _ in document.variants.values())]
    named = {word for knobs in values for value in knobs.values() for word in strings(value)}
    assert set(document.knobs) | set(document.let) <= words(texts)
    assert set(document.blocks) <= words(texts) | named


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_a_family_is_one_readable_file(document: Any) -> None:
    assert len(document.source.text.splitlines()) <= 150
    assert document.source.name == f"specs/{document.name}.yaml"
    for name in document.models():
        network = load(name)
        assert network.title and network.paper and network.year, name
