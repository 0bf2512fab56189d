"""Every op: hand-derived figures, its examples, and its PyTorch twin."""

from __future__ import annotations

import pickle
from functools import partial

import pytest

from archcost.conventions.facts import MEASURES, amount, own_facts
from archcost.errors import OpError
from archcost.network import Layer
from archcost.ops import OPS, Cost, Example, Op, find_op
from archcost.setting import Setting
from archcost.shape import Shape, numel

cpu = partial(Setting, device="cpu")

EXAMPLES = [
    pytest.param(op, example, id=f"{name}-{i}")
    for name, op in OPS.items()
    for i, example in enumerate(op.examples)
]


def make(name: str, *args: object, **kwargs: object) -> Op:
    return find_op(name).create(args, kwargs)


def cost(name: str, *args: object, x: Shape | list[Shape], **kwargs: object) -> Cost:
    return make(name, *args, **kwargs).cost(*([x] if isinstance(x, tuple) else x))


def facts(name: str, *args: object, x: Shape | list[Shape], **kwargs: object) -> dict[str, int]:
    """Return what a layer does of every term, where that is not nothing."""
    op, shapes = make(name, *args, **kwargs), [x] if isinstance(x, tuple) else x
    layer = Layer.alone(op, *shapes)
    terms = [*(f"{name}.{fact}" for fact in MEASURES), *own_facts()]
    return {term.partition(".")[2]: n for term in terms if (n := amount(layer, term))}


def test_every_op_has_examples_and_a_docstring() -> None:
    for name, op in OPS.items():
        assert op.examples, name
        assert op.__doc__, name


def test_conv_of_alexnet() -> None:
    conv1 = cost("conv", 96, 11, stride=4, x=(3, 227, 227))
    assert conv1.output == (96, 55, 55)  # (227 - 11)/4 + 1 = 55
    assert conv1.params == {"weight": (96, 3, 11, 11), "bias": (96,)}
    assert conv1.macs == 105_415_200  # 55*55*96 * 3*11*11
    assert facts("conv", 96, 11, stride=4, x=(3, 227, 227))["bias"] == 290_400  # 55*55*96


def test_grouped_conv_reads_a_share_of_the_channels() -> None:
    conv2 = cost("conv", 256, 5, padding=2, groups=2, bias=False, x=(96, 27, 27))
    assert conv2.params == {"weight": (256, 48, 5, 5)}
    assert conv2.macs == 223_948_800  # 27*27 * 256*48*25


def test_depthwise_separable_of_the_lecture() -> None:
    """12x12x3, 5x5, 256 outputs: 1,228,800 MACs as one conv, 4,800 + 49,152 separated."""
    assert cost("conv", 256, 5, x=(3, 12, 12)).macs == 1_228_800  # 8*8*256*75
    assert cost("conv", 3, 5, groups=3, x=(3, 12, 12)).macs == 4_800  # 8*8*3*25
    assert cost("conv", 256, 1, x=(3, 8, 8)).macs == 49_152  # 8*8*256*3


def test_one_by_seven_kernel() -> None:
    wide = cost("conv", 6, (1, 7), padding=(0, 3), x=(4, 8, 9))
    assert wide.output == (6, 8, 9)
    assert wide.params["weight"] == (6, 4, 1, 7)


def test_same_padding_keeps_the_size_over_the_stride() -> None:
    for size in range(1, 12):
        for kernel in range(1, 6):
            for stride in range(1, 4):
                made = cost("conv", 2, kernel, stride=stride, padding="same", x=(1, size))
                assert made.output == (2, -(-size // stride))


def test_conv_transpose_inverts_the_shape_of_conv() -> None:
    up = cost("conv_transpose", 8, 2, stride=2, x=(16, 7, 5))
    assert up.output == (8, 14, 10)  # (7 - 1)*2 + 2, (5 - 1)*2 + 2
    assert up.params == {"weight": (16, 8, 2, 2), "bias": (8,)}
    assert up.macs == 17_920  # 7*5 * 16*8*4


def test_sparse_conv_of_lenet5() -> None:
    """C3 of LeCun et al. 1998: 60 connections of 5x5 and 16 biases are 1,516 parameters."""
    threes = [[(i + j) % 6 for j in range(3)] for i in range(6)]
    fours = [[(i + j) % 6 for j in range(4)] for i in range(6)]
    split = [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5]]
    c3 = cost("sparse_conv", [*threes, *fours, *split, list(range(6))], 5, x=(6, 14, 14))
    assert c3.output == (16, 10, 10)
    assert sum(map(numel, c3.params.values())) == 1_516
    assert c3.macs + numel(c3.output) == 151_600  # the paper's count of connections, with biases


def test_sparse_conv_with_a_stride() -> None:
    """H2 of LeCun et al. 1989: twelve maps that read eight of twelve, 5x5 at stride 2."""
    eight = [list(range(8))] * 12
    settings = {"stride": 2, "padding": 2, "bias": False}
    h2 = cost("sparse_conv", eight, 5, **settings, x=(12, 8, 8))
    assert (h2.output, h2.params) == ((12, 4, 4), {"weight": (96, 5, 5)})
    # 192 * 200; of 20 taps along an axis, 3 + 5 + 5 + 4 = 17 read no padding
    edge = 96 * (20 * 20 - 17 * 17)
    assert facts("sparse_conv", eight, 5, **settings, x=(12, 8, 8)) == {
        "mac": 38_400, "in": 768, "out": 192, "positions": 16, "window": 4_800, "params": 2_400,
        "calls": 1, "edge": edge,
    }  # fmt: skip


def test_linear() -> None:
    fc6 = cost("linear", 4096, x=(9216,))
    assert fc6.params == {"weight": (4096, 9216), "bias": (4096,)}
    assert fc6.macs == 37_748_736
    assert cost("linear", 12, x=(5, 8)).output == (5, 12)
    assert facts("linear", 12, x=(5, 8)) == {
        "mac": 480, "in": 40, "out": 60, "positions": 12, "window": 60, "bias": 60, "biases": 12,
        "params": 108, "calls": 1, "repeated": 4 * 108,
    }  # fmt: skip


def test_a_window_of_the_whole_input_is_a_linear_layer() -> None:
    window, flat = cost("conv", 4096, 7, x=(512, 7, 7)), cost("linear", 4096, x=(512 * 49,))
    assert window.macs == flat.macs == 102_760_448
    assert numel(window.params["weight"]) == numel(flat.params["weight"])


def test_ceil_mode_drops_a_window_that_starts_in_the_padding() -> None:
    assert cost("maxpool", 2, ceil_mode=True, x=(1, 5)).output == (1, 3)
    assert cost("maxpool", 2, stride=2, padding=1, ceil_mode=True, x=(1, 4)).output == (1, 3)
    assert cost("maxpool", 1, stride=3, ceil_mode=True, x=(1, 5)).output == (1, 2)


def test_same_padding_of_pools_keeps_the_size_over_the_stride() -> None:
    for name in ("maxpool", "avgpool"):
        for size in range(5, 12):
            for kernel, stride in [(2, 2), (3, 1), (3, 2), (3, 3), (5, 2)]:
                made = cost(name, kernel, stride=stride, padding="same", x=(1, size))
                assert made.output == (1, -(-size // stride))


@pytest.mark.torch
def test_same_padding_of_pools_adds_the_odd_element_after_the_input() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])  # windows 4 3 2 and 2 1, not 4 3 and 3 2 1
    pools = {"maxpool": [4.0, 2.0], "avgpool": [3.0, 1.5]}
    for name, values in pools.items():
        inside = {"count_include_pad": False} if name == "avgpool" else {}
        made = make(name, 3, stride=2, padding="same", **inside)
        assert made.build(torch, (1, 4))(x).flatten().tolist() == values


def test_bias_and_rescale() -> None:
    made = cost("bias", x=(12, 8, 8))
    assert made.params == {"bias": (12, 8, 8)}
    assert facts("bias", x=(12, 8, 8))["bias"] == facts("bias", x=(12, 8, 8))["params"] == 768
    assert "addend" not in facts("rescale", 0.5, x=(3, 4))
    assert facts("rescale", -1, 1, x=(3, 4))["addend"] == 12


def test_batchnorm() -> None:
    made = cost("batchnorm", x=(64, 9, 8))
    assert made.params == {"weight": (64,), "bias": (64,)}
    assert made.buffers == {"running_mean": (64,), "running_var": (64,), "num_batches_tracked": ()}
    assert facts("batchnorm", x=(64, 9, 8))["bias"] == 64 * 9 * 8
    assert "bias" not in facts("batchnorm", affine=False, x=(64, 9, 8))


def test_reductions() -> None:
    for name in ("sum", "amax", "amin", "var", "std", "logsumexp", "vector_norm"):
        assert cost(name, [-1, 0], x=(6, 5, 4)).output == (5,)
        assert cost(name, 1, keepdim=True, x=(6, 5, 4)).output == (6, 1, 4)
    assert cost("max", [0], keepdim=True, x=(64, 56, 56)).output == (1, 56, 56)
    assert cost("min", 1, x=(6, 5, 4)).output == (6, 4)


def test_merges() -> None:
    assert facts("add", x=[(4, 5), (4, 5), (4, 5)])["sums"] == 40
    assert cost("add", x=[(4, 1, 1), (4, 5, 6)]).output == (4, 5, 6)
    assert facts("add", x=[(4, 1), (4, 5), (4, 1)])["sums"] == 20 + 20
    assert facts("add", x=[(4, 1), (4, 5), (4, 1)])["augends"] == 4 + 20
    assert cost("concat", x=[(4, 5, 6), (3, 5, 6)]).output == (7, 5, 6)
    assert cost("multiply", x=[(4, 5, 6), (4, 1, 1)]).output == (4, 5, 6)


def test_cuts() -> None:
    assert cost("crop", x=[(3, 9, 8), (7, 4, 4)]).output == (3, 4, 4)
    assert cost("slice", 1, step=2, x=(16, 32, 32)).output == (16, 16, 32)
    assert cost("chunk", 2, 1, x=(7, 5)).output == (3, 5)
    assert cost("pad", channels=(8, 8), x=(16, 4, 4)).output == (32, 4, 4)


def test_attention_by_hand() -> None:
    """197 tokens, 12 heads of 64: scores 197*197*64 per head, and as much again for the values."""
    made = cost("attention", 12, x=(197, 2304))
    assert made.output == (197, 768)
    assert made.macs == 2 * 12 * 197 * 197 * 64 == 59_610_624
    assert made.products == ()  # one function; scores never become a tensor


def test_window_attention_by_hand() -> None:
    """Swin-T's first block: 8*8 windows of 49 pixels, 3 heads of 32 channels."""
    made = cost("window_attention", 3, 7, shift=3, x=(56, 56, 288))
    assert made.output == (56, 56, 96)
    assert made.params == {"relative_position_table": (169, 3)}  # 13*13 relative positions
    assert made.products == ((3, 3136, 49),)
    named = facts("window_attention", 3, 7, shift=3, x=(56, 56, 288))
    assert made.macs == 64 * 3 * 49 * 49 * 32 * 2 == 29_503_488
    assert named["scores"] == named["masked"] == 3 * 3136 * 49  # a bias, and a mask of the shift
    one = facts("window_attention", 24, 7, shift=3, x=(7, 7, 2304))
    assert one["scores"] == 24 * 49 * 49  # one window covers the map and does not shift
    assert "masked" not in one


def test_normalisations_by_hand() -> None:
    assert cost("layernorm", x=(197, 768)).params == {"weight": (768,), "bias": (768,)}
    assert cost("layernorm", dim=0, x=(96, 56, 56)).params["weight"] == (96,)


def test_regions_come_first() -> None:
    made = cost("roi_pool", 128, 7, x=(512, 14, 14))
    assert made.output == (128, 512, 7, 7)
    assert cost("flatten", 1, x=made.output).output == (128, 25_088)


def test_resampling() -> None:
    assert cost("interpolate", scale_factor=2, x=(6, 5, 4)).output == (6, 10, 8)
    assert cost("interpolate", 7, mode="bilinear", x=(6, 5, 4)).output == (6, 7, 7)
    assert cost("max_unpool", 2, x=[(4, 9, 7), (4, 4, 3)]).output == (4, 9, 7)


def test_rearrangements() -> None:
    assert cost("permute", [1, 2, 0], x=(96, 56, 28)).output == (56, 28, 96)
    assert cost("reshape", [3, -1], x=(6, 5, 4)).output == (3, 40)
    assert cost("flatten", 1, x=(768, 14, 14)).output == (768, 196)
    assert cost("mean", [1, 2], keepdim=True, x=(6, 5, 4)).output == (6, 1, 1)
    assert cost("class_token", x=(196, 768)).output == (197, 768)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shapes", "reason"),
    [
        ("conv", (8, 7), {}, [(96, 5, 5)], "kernel_size 7 does not fit the padded input 5"),
        ("conv", (8, 3), {"dilation": 3}, [(3, 6)], "dilation 3 x kernel_size 3 does not fit the padded input 6"),
        ("conv", (8, 3), {"groups": 2}, [(3, 9, 9)], "in_channels 3 is not divisible by groups 2"),
        ("conv", (9, 3), {"groups": 2}, [(4, 9, 9)], "out_channels 9 is not divisible by groups 2"),
        ("conv", (8, (3, 3)), {}, [(4, 9)], "kernel_size has 2 values for 1 spatial dimensions"),
        ("conv", (8, 3), {}, [(4,)], "conv needs channels and at least one spatial dimension"),
        ("global_avgpool", (), {}, [(4,)], "global_avgpool needs channels and at least one spatial dimension"),
        ("conv", (8, 3), {"padding": 4, "padding_mode": "reflect"}, [(1, 4)], "reflect padding 4 does not fit the input 4"),
        ("maxpool", (3,), {"padding": 2}, [(1, 9)], "padding 2 is more than half of kernel_size 3"),
        ("avgpool", (2,), {"padding": "same", "stride": 1, "count_include_pad": False}, [(1, 9)], "zeros that are padded on one side only count; count_include_pad is True then"),
        ("avgpool", (3,), {"divisor_override": 2}, [(1, 9)], "PyTorch has no divisor_override in 1-D"),
        ("lppool", (2, 3), {}, [(1, 2)], "kernel_size 3 does not fit the padded input 2"),
        ("adaptive_avgpool", ([None, 1, 1],), {}, [(1, 9, 9)], "output_size has 3 values for 2 spatial dimensions"),
        ("layernorm", ([0, 1],), {}, [(4, 5, 6)], "several dims are the last ones, in order; 0x1 of 4x5x6 are not"),
        ("pad", (-3,), {}, [(4, 6)], "padding -3 and -3 leave nothing of 6"),
        ("pad", (-1, "circular"), {}, [(4, 6)], "circular padding cuts nothing off; got -1"),
        ("pad", (1, "reflect"), {"value": 1}, [(4, 6)], "reflect padding takes no value"),
        ("scale", (), {"dim": 1, "per_channel": False}, [(4, 6)], "dim says where the channels are; leave it out"),
        ("linear", (10,), {}, [(4, 5, 6)], "linear takes a vector or tokens, not 4x5x6; add flatten before it, or dim=-1 if its channels are last"),
        ("add", (), {}, [(4, 5), (4, 6)], "add needs equal shapes; got 4x5, 4x6"),
        ("concat", (), {}, [(4, 5), (4, 6)], "concat along dim 0 needs equal sizes elsewhere; got 4x5, 4x6"),
        ("multiply", (), {}, [(4, 5), (3, 5)], "multiply cannot broadcast 4x5 to 3x5"),
        ("maximum", (), {}, [(4, 5), (4,)], "maximum cannot broadcast 4x5 to 4"),
        ("sub", (), {}, [(4,), (4,), (4,)], "sub takes 2 tensors; got 3"),
        ("amax", ([0, -2],), {}, [(4, 5)], "amax names a dimension twice: [0, -2]"),
        ("sum", ([0, 1],), {}, [(4, 5)], "sum over all dimensions of 4x5 leaves nothing"),
        ("max", (2,), {}, [(4, 5)], "max has no dim 2 on 4x5; 0 is the channels, the batch is not counted"),
        ("glu", (0,), {}, [(5, 4)], "glu halves dim 0 of 5x4, and 5 is odd"),
        ("channel_dropout", (), {}, [(4,)], "channel_dropout needs channels and at least one spatial dimension"),
        ("clamp", (), {}, [(4,)], "clamp needs min, max or both"),
        ("hardtanh", (1, 1), {}, [(4,)], "hardtanh cuts between two numbers, not 1 and 1"),
        ("rrelu", (0.5, 0.1), {}, [(4,)], "rrelu draws from lower to upper, not from 0.5 to 0.1"),
        ("celu", (0,), {}, [(4,)], "alpha of celu must not be 0"),
        ("crop", (9,), {}, [(3, 4, 4)], "crop of 3x4x4 to 9x9 is larger than the input"),
        ("slice", (0, 3, 2), {}, [(4, 5)], "slice 3:2 of 4 elements"),
        ("chunk", (2, 2), {}, [(4, 5)], "chunk 2 of 2 does not exist; the first is 0"),
        ("softmax", (2,), {}, [(4, 5)], "softmax has no dim 2 on 4x5; 0 is the channels, the batch is not counted"),
        ("layernorm", (), {}, [(4, 5, 6)], "layernorm takes a vector or tokens, not 4x5x6; dim=0 if its channels are first, dim=-1 if they are last"),
        ("linear", (8,), {"dim": 0}, [(4, 5, 6)], "linear works on the last dimension of 4x5x6; permute it"),
        ("permute", ([1, 1, 0],), {}, [(4, 5, 6)], "dims 1x1x0 is no order of the 3 dimensions of 4x5x6"),
        ("reshape", ([7, -1],), {}, [(4, 5, 6)], "4x5x6 has no shape 7x-1"),
        ("channel_shuffle", (3,), {}, [(4, 5, 6)], "4 channels make no 3 groups"),
        ("interpolate", (4,), {"scale_factor": 2}, [(4, 5, 6)], "interpolate takes either size or scale_factor"),
        ("max_unpool", (2,), {}, [(4, 8, 8), (4, 4, 5)], "max pooling of 4x8x8 gives 4x4x4, and 4x4x5 is to be unpooled"),
        ("attention", (5,), {}, [(7, 24)], "8 features are not divisible by heads 5"),
        ("attention", (2,), {}, [(7, 25)], "attention takes queries, keys and values side by side, not 7x25"),
        ("window_attention", (2, 7), {}, [(50, 50, 96)], "windows of 7x7 do not cover the map 50x50"),
        ("conv_transpose", (4, 3), {"output_padding": 2, "stride": 2}, [(4, 5)], "output_padding 2 must be less than stride 2 or dilation 1"),
        ("sparse_conv", ([[0, 4]],), {}, [(4, 9, 9)], "connections name channel 4; the input has 4, from 0"),
        ("sparse_conv", ([[0]],), {}, [(4, 9, 9, 9, 9)], "sparse_conv takes up to 3 spatial dimensions, not 4x9x9x9x9"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit(
    name: str, args: tuple[object, ...], kwargs: dict[str, object], shapes: list[Shape], reason: str
) -> None:
    with pytest.raises(OpError) as error:
        make(name, *args, **kwargs).cost(*shapes)
    assert str(error.value) == reason


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "reason"),
    [
        ("conv", (8,), {}, "conv needs kernel_size"),
        ("conv", (8, 3), {"strid": 2}, "conv has no argument 'strid'; did you mean 'stride'?"),
        ("conv", (8, 3), {"kernel_size": 2}, "conv got kernel_size twice"),
        ("conv", (8.5, 3), {}, "out_channels must be a whole number; got 8.5"),
        ("conv", (True, 3), {}, "out_channels must be a whole number; got true"),
        ("conv", (0, 3), {}, "out_channels must be at least 1; got 0"),
        ("conv", (2**60, 3), {}, "out_channels must be at most 2**53; got 1152921504606846976"),
        ("conv", (8, 3), {"bias": 1}, "bias must be true or false; got 1"),
        ("conv", (8, 3), {"padding": -1}, "padding must be at least 0; got -1"),
        ("conv", (8, 3), {"padding": "some"}, "padding 'some'; did you mean 'same'?"),
        ("conv", (8, 3), {"padding": [(1, 2, 3)]}, "padding per side is a pair (before, after)"),
        ("dropout", (1.5,), {}, "p must be from 0 to 1; got 1.5"),
        ("relu", (1, 2), {}, "relu takes 0 arguments at most; got 2"),
        ("max", ([0, 1],), {}, "dim is one dimension; got [0, 1]"),
        ("softshrink", (-1,), {}, "lambd must be from 0 on; got -1"),
        ("vector_norm", ([0], 3), {}, "ord must be 1 or 2; got 3"),
        ("elu", ("x",), {}, "alpha must be a number; got 'x'"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(
    name: str, args: tuple[object, ...], kwargs: dict[str, object], reason: str
) -> None:
    with pytest.raises(OpError) as error:
        make(name, *args, **kwargs)
    assert str(error.value) == reason


@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_a_call_written_back_makes_the_same_op(op: type[Op], example: Example) -> None:
    from archcost.spec.expression import Evaluator, parse

    made = op.create(example.args, example.kwargs)
    call = parse(made.call())
    names = {
        keyword.arg: Evaluator(str)(keyword.value) for keyword in getattr(call, "keywords", [])
    }
    assert op.create((), names) == made


@pytest.mark.parametrize("name", OPS)
def test_an_op_goes_to_another_process(name: str) -> None:
    made = OPS[name].create(OPS[name].examples[0].args, OPS[name].examples[0].kwargs)
    assert pickle.loads(pickle.dumps(made)) == made
