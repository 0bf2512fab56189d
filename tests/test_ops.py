"""Every op: hand-derived figures, its examples, and its PyTorch twin."""

from __future__ import annotations

import pytest

from archcost.errors import OpError
from archcost.ops import OPS, Cost, Example, Op, find_op
from archcost.shape import Shape, numel

EXAMPLES = [
    pytest.param(op, example, id=f"{name}-{i}")
    for name, op in OPS.items()
    for i, example in enumerate(op.examples)
]


def make(name: str, *args: object, **kwargs: object) -> Op:
    return find_op(name).create(args, kwargs)


def cost(name: str, *args: object, x: Shape | list[Shape], **kwargs: object) -> Cost:
    return make(name, *args, **kwargs).cost(*([x] if isinstance(x, tuple) else x))


def test_every_op_has_examples_and_a_docstring() -> None:
    for name, op in OPS.items():
        assert op.examples, name
        assert op.__doc__, name


def test_conv_of_alexnet() -> None:
    conv1 = cost("conv", 96, 11, stride=4, x=(3, 227, 227))
    assert conv1.output == (96, 55, 55)  # (227 - 11)/4 + 1 = 55
    assert conv1.params == {"weight": (96, 3, 11, 11), "bias": (96,)}
    assert conv1.work["mac"] == 105_415_200  # 55*55*96 * 3*11*11
    assert conv1.work["conv_bias_add"] == 290_400  # 55*55*96


def test_grouped_conv_reads_a_share_of_the_channels() -> None:
    conv2 = cost("conv", 256, 5, padding=2, groups=2, bias=False, x=(96, 27, 27))
    assert conv2.params == {"weight": (256, 48, 5, 5)}
    assert conv2.work["mac"] == 223_948_800  # 27*27 * 256*48*25


def test_depthwise_separable_of_the_lecture() -> None:
    """12x12x3, 5x5, 256 outputs: 1,228,800 MACs as one conv, 4,800 + 49,152 separated."""
    assert cost("conv", 256, 5, x=(3, 12, 12)).work["mac"] == 1_228_800  # 8*8*256*75
    assert cost("conv", 3, 5, groups=3, x=(3, 12, 12)).work["mac"] == 4_800  # 8*8*3*25
    assert cost("conv", 256, 1, x=(3, 8, 8)).work["mac"] == 49_152  # 8*8*256*3


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
    assert up.work["mac"] == 17_920  # 7*5 * 16*8*4


def test_sparse_conv_of_lenet5() -> None:
    """C3 of LeCun et al. 1998: 60 connections of 5x5 and 16 biases are 1,516 parameters."""
    threes = [[(i + j) % 6 for j in range(3)] for i in range(6)]
    fours = [[(i + j) % 6 for j in range(4)] for i in range(6)]
    split = [[0, 1, 3, 4], [1, 2, 4, 5], [0, 2, 3, 5]]
    c3 = cost("sparse_conv", [*threes, *fours, *split, list(range(6))], 5, x=(6, 14, 14))
    assert c3.output == (16, 10, 10)
    assert sum(map(numel, c3.params.values())) == 1_516
    assert c3.work["mac"] + c3.work["conv_bias_add"] == 151_600  # the paper's count of connections


def test_linear() -> None:
    fc6 = cost("linear", 4096, x=(9216,))
    assert fc6.params == {"weight": (4096, 9216), "bias": (4096,)}
    assert (fc6.work["mac"], fc6.work["linear_bias_add"]) == (37_748_736, 4096)
    assert cost("linear", 12, x=(5, 8)).output == (5, 12)


def test_a_window_of_the_whole_input_is_a_linear_layer() -> None:
    window, flat = cost("conv", 4096, 7, x=(512, 7, 7)), cost("linear", 4096, x=(512 * 49,))
    assert window.work["mac"] == flat.work["mac"] == 102_760_448
    assert numel(window.params["weight"]) == numel(flat.params["weight"])


def test_ceil_mode_drops_a_window_that_starts_in_the_padding() -> None:
    assert cost("maxpool", 2, ceil_mode=True, x=(1, 5)).output == (1, 3)
    assert cost("maxpool", 2, stride=2, padding=1, ceil_mode=True, x=(1, 4)).output == (1, 3)
    assert cost("maxpool", 1, stride=3, ceil_mode=True, x=(1, 5)).output == (1, 2)


def test_maxpool_saves_its_input_and_int64_indices() -> None:
    saved = cost("maxpool", 2, x=(4, 8, 8)).saved
    assert [(s.what, s.shape, s.itemsize) for s in saved] == [
        ("input", (), None),
        ("indices", (4, 4, 4), 8),
    ]


def test_batchnorm() -> None:
    made = cost("batchnorm", x=(64, 9, 8))
    assert made.params == {"weight": (64,), "bias": (64,)}
    assert made.buffers == {"running_mean": (64,), "running_var": (64,), "num_batches_tracked": ()}
    assert made.work == {"batchnorm": 4608, "batchnorm_affine": 4608, "norm_param": 128}


def test_merges() -> None:
    assert cost("add", x=[(4, 5), (4, 5), (4, 5)]).work == {"add": 40}
    assert cost("concat", x=[(4, 5, 6), (3, 5, 6)]).output == (7, 5, 6)
    assert cost("multiply", x=[(4, 5, 6), (4, 1, 1)]).output == (4, 5, 6)


def test_cuts() -> None:
    assert cost("crop", x=[(3, 9, 8), (7, 4, 4)]).output == (3, 4, 4)
    assert cost("slice", 1, step=2, x=(16, 32, 32)).output == (16, 16, 32)
    assert cost("chunk", 2, 1, x=(7, 5)).output == (3, 5)
    assert cost("pad", channels=(8, 8), x=(16, 4, 4)).output == (32, 4, 4)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "shapes", "reason"),
    [
        ("conv", (8, 7), {}, [(96, 5, 5)], "kernel_size 7 does not fit the padded input 5"),
        ("conv", (8, 3), {"dilation": 3}, [(3, 6)], "dilation 3 x kernel_size 3 does not fit the padded input 6"),
        ("conv", (8, 3), {"groups": 2}, [(3, 9, 9)], "in_channels 3 is not divisible by groups 2"),
        ("conv", (9, 3), {"groups": 2}, [(4, 9, 9)], "out_channels 9 is not divisible by groups 2"),
        ("conv", (8, (3, 3)), {}, [(4, 9)], "kernel_size has 2 values for 1 spatial dimensions"),
        ("conv", (8, 3), {}, [(4,)], "conv needs channels and at least one spatial dimension"),
        ("conv", (8, 3), {"padding": 4, "padding_mode": "reflect"}, [(1, 4)], "reflect padding 4 does not fit the input 4"),
        ("maxpool", (3,), {"padding": 2}, [(1, 9)], "padding 2 is more than half of kernel_size 3"),
        ("linear", (10,), {}, [(4, 5, 6)], "linear takes a vector or tokens, not 4x5x6; add flatten before it, or dim=-1 if its channels are last"),
        ("add", (), {}, [(4, 5), (4, 6)], "add needs equal shapes; got 4x5, 4x6"),
        ("concat", (), {}, [(4, 5), (4, 6)], "concat along dim 0 needs equal sizes elsewhere; got 4x5, 4x6"),
        ("multiply", (), {}, [(4, 5), (3, 5)], "multiply cannot repeat 4x5 to 3x5"),
        ("crop", (9,), {}, [(3, 4, 4)], "crop of 3x4x4 to 9x9 is larger than the input"),
        ("slice", (0, 3, 2), {}, [(4, 5)], "slice 3:2 of 4 elements"),
        ("chunk", (2, 2), {}, [(4, 5)], "chunk 2 of 2 does not exist; the first is 0"),
        ("softmax", (2,), {}, [(4, 5)], "softmax has no dim 2 on 4x5; 0 is the channels, the batch is not counted"),
        ("conv_transpose", (4, 3), {"output_padding": 2, "stride": 2}, [(4, 5)], "output_padding 2 must be less than stride 2 or dilation 1"),
        ("sparse_conv", ([[0, 4]],), {}, [(4, 9, 9)], "connections name channel 4; the input has 4, from 0"),
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
        ("relu", (1, 2), {}, "relu takes 1 arguments at most; got 2"),
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


@pytest.mark.torch
@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_twin_has_the_shapes_and_parameters(op: type[Op], example: Example) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = op.create(example.args, example.kwargs)
    expected = made.cost(*example.inputs)
    twin = made.build(torch, *example.inputs).eval()
    out = twin(*(torch.randn(2, *shape) for shape in example.inputs))
    assert tuple(out.shape) == (2, *expected.output)
    assert {n: tuple(p.shape) for n, p in twin.named_parameters()} == dict(expected.params)
    assert {n: tuple(b.shape) for n, b in twin.named_buffers()} == dict(expected.buffers)


@pytest.mark.torch
@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_twin_saves_the_stated_bytes(op: type[Op], example: Example) -> None:
    """Bytes that autograd keeps on the CPU in training, storage by storage, parameters aside."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = op.create(example.args, example.kwargs)
    shapes = [(3, *shape) for shape in example.inputs]
    twin = made.build(torch, *example.inputs).train()
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    own = {p.untyped_storage().data_ptr() for p in (*twin.parameters(), *twin.buffers())}
    kept: dict[int, object] = {}

    def keep(tensor: object) -> object:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = twin(*inputs)
    measured = sum(storage.nbytes() for storage in kept.values())

    expected = 0
    cost = made.cost(*example.inputs)
    for saved in cost.saved:
        if saved.device not in (None, "cpu"):
            continue
        shape = {"input": example.inputs[saved.index], "output": cost.output}.get(
            saved.what, saved.shape
        )
        expected += numel(shape) * (saved.itemsize or 4) * (3 if saved.per_batch else 1)
    assert measured == expected
    assert out is not None
