"""Products of tensors, attention, tokens, and what moves elements: figures by hand, and PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from archcost import analyze, build, loads
from archcost.analysis.training import training_step
from archcost.errors import OpError, SpecError
from archcost.measure.profile import saved_bytes
from archcost.network import Network
from archcost.ops import make
from archcost.proofs.modes import autocast
from archcost.pytorch import random_inputs
from archcost.setting import Setting
from archcost.shape import Shape
from archcost.storage.saved import saved_for_backward

HEAD = "name: net\n"


def network(text: str) -> Network:
    """Return the network of a spec without its name."""
    return loads(HEAD + text)


def totals(text: str) -> tuple[Shape, int, int]:
    """Return output, parameters and MACs of a spec."""
    net = network(text)
    total = analyze(net).total
    return net.output, total.params, total.macs


def both(net: Network, batch: int = 2, **options: Any) -> tuple[int, int]:
    """Return the bytes kept for backward as computed, and as autograd keeps them."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    setting = Setting(batch, device="cpu", **options)
    computed = saved_for_backward(net, setting).total
    dtype = getattr(torch, setting.dtype)
    twin = build(net, dtype=dtype).train()
    with autocast(setting):
        return computed, saved_bytes(torch, twin, *random_inputs(net, batch, dtype=dtype))


NON_LOCAL = """
input: 64x28x28
layers:
  - x: identity
  - theta: conv(32, 1) >> flatten(start_dim=1) >> permute([1, 0])
  - take(x)
  - phi: conv(32, 1) >> flatten(start_dim=1)
  - matmul(theta, phi)
"""


def test_each_of_784_positions_against_each() -> None:
    projections = 2 * 784 * 64 * 32
    product = 784 * 32 * 784
    assert product == 19_668_992
    assert totals(NON_LOCAL) == ((784, 784), 2 * (64 * 32 + 32), projections + product)
    turned = NON_LOCAL.replace(" >> permute([1, 0])", "").replace("phi)", "phi, transpose_a=True)")
    assert totals(turned) == totals(NON_LOCAL)


def test_both_factors_of_a_product_have_a_gradient() -> None:
    steps = {step.layer.path: step for step in training_step(network(NON_LOCAL)).layers}
    assert steps["matmul1"].backward == 2 * steps["matmul1"].forward == 4 * 19_668_992
    one = network("input: 4x5\nlayers: [x: linear(6), 'matmul(input, x, transpose_a=True)']")
    [_, product] = training_step(one).layers
    assert product.backward == product.forward == 2 * 5 * 4 * 6


@pytest.mark.parametrize(
    ("a", "b", "turned", "out", "macs"),
    [
        ((4, 5), (5, 6), {}, (4, 6), 4 * 5 * 6),
        ((3, 4, 5), (5, 6), {}, (3, 4, 6), 3 * 4 * 5 * 6),
        ((2, 1, 5, 4), (3, 5, 6), {"transpose_a": True}, (2, 3, 4, 6), 6 * 4 * 5 * 6),
        ((5,), (3, 5, 6), {}, (3, 6), 3 * 5 * 6),
        ((3, 4, 5), (5,), {}, (3, 4), 3 * 4 * 5),
    ],
)
def test_matmul_has_the_shapes_of_torch(
    a: Shape, b: Shape, turned: dict[str, bool], out: Shape, macs: int
) -> None:
    made = make("matmul", **turned).cost(a, b)
    assert (made.output, made.macs) == (out, macs)
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    left = torch.empty(a, device="meta")
    left = left.mT if turned else left
    assert torch.matmul(left, torch.empty(b, device="meta")).shape == out


@pytest.mark.torch
def test_a_product_keeps_a_copy_of_what_does_not_lie_as_one_batch_of_matrices() -> None:
    """4 x 2 matrices of 3x5, permuted, and one of 3x4x5, repeated: both are copied."""
    text = """
input: 6x4x5
layers:
  - a: conv(30, 1) >> reshape([5, 6, 4, 5]) >> permute([1, 2, 0, 3])
  - k: conv(input, 6, 1) >> reshape([6, 1, 4, 5])
  - product: matmul(a, k, transpose_b=True)
"""
    floats = {
        "input": 6 * 4 * 5,  # of both convolutions
        "copy of a": 6 * 4 * 5 * 5,
        "copy of k": 6 * 4 * 4 * 5,  # each matrix four times
    }
    assert both(network(text)) == (2 * 4 * sum(floats.values()),) * 2
    as_they_lie = text.replace(" >> permute([1, 2, 0, 3])", "").replace(
        "conv(input, 6, 1) >> reshape([6, 1, 4, 5])", "conv(input, 30, 1) >> reshape([5, 6, 4, 5])"
    )
    assert both(network(as_they_lie)) == (2 * 4 * (6 * 4 * 5 + 2 * 30 * 4 * 5),) * 2


def refusal(name: str, *args: Any, x: Sequence[Shape], **kwargs: Any) -> str:
    """Return why an op refuses its arguments or shapes."""
    with pytest.raises(OpError) as error:
        make(name, *args, **kwargs).cost(*x)
    return str(error.value)


def test_products_that_are_refused() -> None:
    assert refusal("matmul", x=[(4, 5), (4, 5)]) == (
        "matmul takes as many columns as rows: 4x5 and 4x5"
    )
    assert refusal("matmul", x=[(2, 4, 5), (3, 5, 6)]) == "matmul cannot broadcast 2 to 3"
    assert refusal("matmul", x=[(5,), (5,)]) == (
        "matmul of two vectors is one number; reshape one of them"
    )
    assert refusal("matmul", transpose_b=True, x=[(4, 5), (5,)]) == "transpose_b turns no vector 5"


CROSS = """
inputs: {queries: 100x256, image: 850x512}
layers:
  - attention(8):
      q: linear(256)
      k: take(image) >> linear(256)
      v: take(image) >> linear(384)
  - linear(256)
"""


def test_attention_of_queries_to_the_keys_of_another_tensor() -> None:
    """DETR's decoder: 100 queries, 850 positions, 8 heads of 32; the values 48 wide."""
    steps = {step.layer.path: step for step in training_step(network(CROSS)).layers}
    scores = 8 * 100 * 850
    products = 2 * scores * (32 + 48)
    assert steps["attention1"].forward == products
    # the scores and their gradient, queries and keys: 32 and 48 wide, each product once
    assert steps["attention1"].backward == 2 * products
    alike = CROSS.replace("384", "256")
    steps = {step.layer.path: step for step in training_step(network(alike)).layers}
    assert steps["attention1"].forward == 2 * 2 * scores * 32
    assert steps["attention1"].backward == 2 * 5 * scores * 32  # fused: the scores once more
    assert network(CROSS)["attention1"].cost.output == (100, 384)


@pytest.mark.torch
def test_what_attention_keeps_depends_on_its_kernel() -> None:
    """Fused: queries, keys, values, the output and logsumexp; else scaled ones and the scores."""
    q, k, v, y = 100 * 256, 850 * 256, 850 * 384, 100 * 384
    around = 100 * 256 + 850 * 512  # the inputs, for the weights of the linear layers
    scores = 8 * 100 * 850
    # the scaled ones, copied as one batch of matrices; the values too, and scores
    assert both(network(CROSS)) == (2 * 4 * (around + q + k + v + scores + y),) * 2
    logsumexp = 8 * 100
    fused = 2 * 4 * (around + q + 2 * k + 100 * 256 + logsumexp)
    assert both(network(CROSS.replace("384", "256"))) == (fused,) * 2


@pytest.mark.torch
@pytest.mark.parametrize(
    ("call", "mask"),
    [
        ("attention(q, k, v, 4)", 0),
        ("attention(q, k, v, 4, causal=True)", 0),
        ("attention(q, k, v, mask, 4)", 5 * 7),
        ("attention(q, k, v, learnt, 4)", None),
    ],
)
def test_a_mask_is_kept_by_fused_attention_and_a_learnt_one_ends_it(
    call: str, mask: int | None
) -> None:
    text = f"""
inputs: {{a: 5x8, b: 7x8, mask: 5x7}}
layers:
  - q: linear(a, 8)
  - k: linear(b, 8)
  - v: linear(b, 8)
  - learnt: bias(mask)
  - {call}
"""
    fused = 5 * 8 + 2 * 7 * 8 + 5 * 8 + 4 * 5 + (mask or 0)
    products = 5 * 8 + 2 * 7 * 8 + 4 * 5 * 7
    kept = 5 * 8 + 7 * 8 + (products if mask is None else fused)
    assert both(network(text)) == (2 * 4 * kept,) * 2


@pytest.mark.torch
@pytest.mark.parametrize("values", [8, 12])
@pytest.mark.parametrize("options", [{"amp": "bf16"}, {"dtype": "bfloat16"}])
def test_attention_in_half_precision(options: dict[str, str], values: int) -> None:
    """By its products it is computed in float32, of copies; fused it is not."""
    text = f"""
inputs: {{a: 10x16, b: 12x24}}
layers:
  - attention(4, 2, causal=True):
      q: linear(16)
      k: take(b) >> linear(8)
      v: take(b) >> linear({values})
  - linear(6)
"""
    computed, kept = both(network(text), 3, **options)
    assert computed == kept
    if "dtype" in options:
        around = 2 * (10 * 16 + 12 * 24 + 10 * 2 * values)  # inputs of linear layers
        fused = 2 * (10 * 16 + 2 * 12 * 8) + 4 * 4 * 10
        products = 4 * (10 * 16 + 12 * 16 + 12 * 24 + 4 * 10 * 12)  # of each head its own keys
        assert computed == 3 * (around + (fused if values == 8 else products))


@pytest.mark.torch
def test_dropout_of_attention_is_by_products_on_a_cpu() -> None:
    """It draws noise for each score in training, and does nothing in evaluation."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = network("input: 5x24\nlayers: ['attention(2, dropout=0.1)']")
    twin, plain = build(net), build(network("input: 5x24\nlayers: [attention(2)]"))
    x = torch.randn(3, 5, 24)
    assert twin.eval()(x).equal(plain.eval()(x))
    assert not twin.train()(x).equal(plain.train()(x))
    behind = network("input: 5x24\nlayers: [bias, 'attention(2, dropout=0.1)']")
    scores, width = 2 * 5 * 5, 8
    assert both(behind) == (2 * 4 * (3 * scores + 3 * 5 * width),) * 2
    assert net.layers[0].settings == "2 heads, dropout 0.1"


@pytest.mark.torch
def test_fewer_heads_of_keys_and_values() -> None:
    """32 heads of 128, 8 of keys and values, 10 tokens after each other: Llama 3 8B."""
    text = "input: 10x4096\nlayers: [linear((32 + 2 * 8) * 128), 'attention(32, 8, causal=True)']"
    net = network(text)
    assert net["linear1"].cost.output == (10, 6144)
    assert net["attention1"].cost.macs == 2 * 32 * 10 * 10 * 128
    assert net["attention1"].settings == "32 heads, 8 of keys, causal"
    computed, kept = both(network(text.replace("4096", "8").replace("128", "2")))
    # fused also so: nothing is copied for the heads that share it
    assert computed == kept == 2 * 4 * (10 * 8 + 10 * 48 * 2 + 10 * 32 * 2 + 32 * 10)


PATCHES = """
input: 64x32x32
knobs: {d: 144, p: 2, L: 2}
blocks:
  enc:
    - add: {body: "layernorm(dim=-1) >> linear(3*d, dim=-1) >> attention(4) >> linear(d, dim=-1)", s: identity}
    - add: {body: "layernorm(dim=-1) >> linear(2*d, dim=-1) >> silu >> linear(d, dim=-1)", s: identity}
layers:
  - x: identity
  - local: conv(64, 3, padding=1, bias=False) >> batchnorm >> silu >> conv(d, 1, bias=False)
  - unfold: reshape([d, 16, p, 16, p]) >> permute([2, 4, 1, 3, 0]) >> reshape([p*p, 256, d])
  - enc * L
  - layernorm(dim=-1)
  - fold: reshape([p, p, 16, 16, d]) >> permute([4, 2, 0, 3, 1]) >> reshape([d, 32, 32])
  - conv(64, 1, bias=False) >> batchnorm >> silu
  - concat(x, current)
  - conv(64, 3, padding=1, bias=False) >> batchnorm >> silu
"""


def test_attention_within_patches() -> None:
    """MobileViT: among the 256 positions of each of 4 patches, which go to the batch."""
    d = 144
    convolutions = 9 * 64 * 64 + 64 * d + d * 64 + 9 * 128 * 64 + 3 * 128
    linear = 3 * d * d + 3 * d + d * d + d + 2 * d * d + 2 * d + 2 * d * d + d
    params = convolutions + 2 * (linear + 4 * d) + 2 * d
    attention = 4 * 2 * 256 * 256 * d
    positions = 1024 * (9 * 64 * 64 + 64 * d + d * 64 + 9 * 128 * 64 + 2 * 8 * d * d)
    assert totals(PATCHES) == ((64, 32, 32), params, positions + 2 * attention)


def test_a_layer_may_have_the_name_of_an_op_that_takes_arguments() -> None:
    text = "input: 2x5x4\nlayers:\n  - fold: conv(4, 1)\n  - unfold(2)\n  - take(fold)\n"
    assert [layer.path for layer in network(text)] == ["fold", "unfold1"]
    assert network(text).output == (4, 5, 4)
    with pytest.raises(SpecError, match="'relu' is a word of the language, not a layer name"):
        network(text.replace("fold: conv", "relu: conv"))


def test_attention_that_is_refused() -> None:
    q, k, v = (5, 8), (7, 8), (7, 8)
    assert refusal("attention", 3, kv_heads=2, x=[(5, 9)]) == (
        "heads 3 are not divisible by kv_heads 2"
    )
    assert refusal("attention", 2, x=[q, k, (6, 8)]) == (
        "queries, keys and values do not fit each other: 5x8, 7x8 and 6x8"
    )
    assert refusal("attention", 2, x=[q, (7, 6), v]) == (
        "a head has 4 features of queries and 3 of keys"
    )
    assert refusal("attention", 2, x=[q, k, v, (7, 5)]) == (
        "a mask 7x5 is not added to scores 2x5x7"
    )
    assert refusal("attention", 2, causal=True, x=[q, k, v, (5, 7)]) == (
        "attention takes a mask or causal, not both"
    )
    assert refusal("attention", 2, x=[q, k, v, (5, 7), q]) == (
        "attention takes queries, keys, values and a mask; got 5 tensors"
    )


def test_a_table_of_words() -> None:
    """174,106 words of 100 features; the convolution has them as channels."""
    text = "input: 1000 int64\nlayers: ['embedding(174106, 100)']"
    assert totals(text) == ((1000, 100), 17_410_600, 0)
    head = text.replace("]", ", 'permute([1, 0])', 'conv(128, 5)']")
    conv = 128 * 100 * 5 + 128
    assert conv == 64_128
    assert totals(head) == ((128, 996), 17_410_600 + conv, 996 * 128 * 100 * 5)
    hint = "embedding takes int64; got float; write the type of an input after its shape, as in 77"
    for layers in ("[relu, 'embedding(10, 4)']", "[x: relu, 'embedding(input, 10, 4)']"):
        with pytest.raises(SpecError, match=hint):
            network(f"input: 1000\nlayers: {layers}")


def test_an_input_that_a_table_reads_holds_whole_numbers() -> None:
    text = "input: 1000\nlayers: ['embedding(174106, 100)', 'permute([1, 0])', 'conv(128, 5)']"
    net = network(text)
    assert net.inputs[0].dtype == "int64"
    assert network(text.replace("1000", "1000 int64")).inputs == net.inputs
    with pytest.raises(SpecError, match="relu takes float; got int64"):
        network("input: 1000\nlayers: [x: 'embedding(10, 4)', 'take(input)', relu, 'take(x)']")
    masked = network("inputs: {x: 4x5, m: 1x5}\nlayers: ['masked_fill(m, x, 0)']")
    assert [value.dtype for value in masked.inputs] == ["float", "bool"]
    [remark] = network(text.replace("'permute([1, 0])', ", "")).remarks
    assert remark.text == (
        "conv reads 1000x100 as 1000 channels, and embedding gives tokens x features: write "
        "permute([1, 0]) before it"
    )
    assert not net.remarks


@pytest.mark.torch
def test_a_table_keeps_the_places_and_no_vectors() -> None:
    assert (
        both(network("input: 7 int64\nlayers: ['embedding(10, 4, padding_idx=0)']"))
        == (2 * 7 * 8,) * 2
    )
    assert refusal("embedding", 10, 4, padding_idx=10, x=[(7,)]) == "padding_idx 10 is no row of 10"


SUPER_RESOLUTION = """
input: 1x48x48
layers:
  - conv(64, 5, padding=2) >> tanh
  - conv(32, 3, padding=1) >> tanh
  - conv(9, 3, padding=1)
  - pixel_shuffle(3)
"""


def test_pixels_are_shuffled_out_of_channels_and_back() -> None:
    weights = 64 * 25 + 32 * 64 * 9 + 9 * 32 * 9
    assert (weights + 64 + 32 + 9, 48 * 48 * weights) == (22_729, 52_125_696)
    assert totals(SUPER_RESOLUTION) == ((1, 144, 144), 22_729, 52_125_696)
    assert network(SUPER_RESOLUTION + "  - pixel_unshuffle(3)\n").output == (9, 48, 48)
    assert refusal("pixel_shuffle", 2, x=[(6, 4, 4)]) == "6 channels are not divisible by 2 x 2"
    assert refusal("pixel_unshuffle", 2, x=[(6, 4, 3)]) == (
        "the map 4x3 is not divisible by downscale_factor 2"
    )


@pytest.mark.parametrize(
    ("x", "call", "out"),
    [
        ("8x8x8x8", "interpolate(scale_factor=2, mode='trilinear')", (8, 16, 16, 16)),
        ("8x50", "interpolate(scale_factor=2, mode='linear')", (8, 100)),
        ("8x7x7", "interpolate(scale_factor=1.5, mode='bilinear')", (8, 10, 10)),  # 10.5
        ("8x7x7", "interpolate(scale_factor=[2, 0.5], mode='area')", (8, 14, 3)),
        ("8x4x6x6", "interpolate(scale_factor=[1, 2, 2])", (8, 4, 12, 12)),
        ("8x4x6x6", "interpolate([4, 3, 5], mode='nearest-exact')", (8, 4, 3, 5)),
        ("3x64x64", "interpolate(32, mode='bicubic', antialias=True)", (3, 32, 32)),
    ],
)
def test_lines_maps_and_volumes_are_interpolated(x: str, call: str, out: Shape) -> None:
    text = f'input: {x}\nlayers: ["conv(in_channels, 1)", "{call}", "relu"]'
    assert network(text).output == out
    computed, kept = both(network(text))
    assert computed == kept


def test_interpolations_that_are_refused() -> None:
    assert refusal("interpolate", scale_factor=2, mode="bilinear", x=[(8, 8, 8, 8)]) == (
        "mode 'bilinear' is of 2 spatial dimensions, not 8x8x8x8; write 'trilinear'"
    )
    assert refusal("interpolate", 2, align_corners=True, x=[(8, 8)]) == (
        "align_corners is of linear, bilinear, bicubic, trilinear, not of nearest"
    )
    assert refusal("interpolate", scale_factor=[2, 2], x=[(8, 8)]) == (
        "scale_factor has 2 values for 1 spatial dimensions"
    )
    assert refusal("interpolate", scale_factor=0.1, x=[(8, 8)]) == (
        "scale_factor 0.1 leaves no output"
    )
    with pytest.raises(OpError, match="scale_factor must be a number above 0; got 0"):
        make("interpolate", scale_factor=0)
    with pytest.raises(OpError, match=r"scale_factor must be a number above 0; got \[2\]"):
        make("interpolate", scale_factor=[[2], 2])


@pytest.mark.torch
@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_transposed_convolution_of_same_is_the_other_way_of_a_convolution(
    size: int, kernel: int, stride: int
) -> None:
    """Output = input x stride, and it is the gradient of what ``conv`` with 'same' computes."""
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    op = make("conv_transpose", 2, kernel, stride=stride, padding="same", bias=False)
    assert op.cost((3, size)).output == (2, size * stride)
    conv = make("conv", 3, kernel, stride=stride, padding="same", bias=False)
    there = conv.build(torch, (2, size * stride)).double()
    back = op.build(torch, (3, size)).double()
    with torch.no_grad():
        back.weight.copy_(there.weight)
    x = torch.randn(1, 2, size * stride, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 3, size, dtype=torch.float64)
    (there(x) * y).sum().backward()
    torch.testing.assert_close(back(y), x.grad)


def test_a_transposed_convolution_cuts_off_each_side_as_told() -> None:
    text = "input: 8x16x16\nlayers: [\"conv_transpose(4, 3, stride=2, padding='same')\"]"
    assert totals(text) == ((4, 32, 32), 4 * 8 * 9 + 4, 16 * 16 * 8 * 4 * 9)
    pads = make("conv_transpose", 4, 5, stride=2, padding=((2, 0), (1, 3)))
    assert pads.cost((8, 6, 6)).output == (4, 13, 11)  # 5·2 + 5 is 15, less 2 and less 4
    assert refusal("conv_transpose", 4, 3, padding="same", output_padding=1, x=[(8, 6)]) == (
        "padding 'same' takes no output_padding"
    )


@pytest.mark.parametrize(
    ("call", "torchs"),
    [
        ("roll([-2, 1], [1, 2])", "x.roll((-2, 1), (2, 3))"),
        ("roll(1, 0)", "x.roll(1, 1)"),
        ("flip([0, 2])", "x.flip(1, 3)"),
        ("repeat([2, 1, 3])", "x.repeat(1, 2, 1, 3)"),
        ("slice(2, 0, 1) >> expand([-1, -1, 7])", "x[..., :1].expand(-1, -1, -1, 7)"),
        ("tril", "x.tril()"),
        ("triu(-1)", "x.triu(-1)"),
        ("stack(input, current, dim=1)", "torch.stack([x, x], 2)"),
        ("stack(input, current, dim=-1)", "torch.stack([x, x], -1)"),
        ("unsqueeze(1)", "x.unsqueeze(2)"),
        ("slice(1, 0, 1) >> squeeze(1)", "x[:, :, :1].squeeze(2)"),
        ("transpose(0, -1)", "x.transpose(1, -1)"),
        ("index_select(1, [4, 0, 0])", "x.index_select(2, torch.tensor([4, 0, 0]))"),
        ("unfold([3, 2], padding=1, stride=2)", "F.unfold(x, (3, 2), padding=1, stride=2)"),
        (
            "unfold(2, stride=2, padding=1) >> fold([5, 4], 2, stride=2, padding=1)",
            "F.fold(F.unfold(x, 2, stride=2, padding=1), (5, 4), 2, stride=2, padding=1)",
        ),
        ("channel_shuffle(3)", "F.channel_shuffle(x, 3)"),
    ],
)
@pytest.mark.torch
def test_what_moves_elements_does_what_pytorch_does(call: str, torchs: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
    net = network(f"input: 6x5x4\nlayers:\n  - {call}\n")
    x = torch.randn(2, 6, 5, 4)
    expected = eval(torchs, {"x": x, "torch": torch, "F": torch.nn.functional})
    made = build(net)(x)
    assert made.equal(expected) and tuple(made.shape[1:]) == net.output
    assert analyze(net).total.macs == analyze(net).total.params == 0


def test_moves_that_are_refused() -> None:
    x = (6, 5, 4)
    assert refusal("roll", [1, 2], 1, x=[x]) == (
        "roll takes a shift for each dimension; got 2 for 1"
    )
    assert refusal("flip", [0, -3], x=[x]) == "flip names a dimension twice: 0x-3"
    assert refusal("repeat", [1, 2], x=[x]) == "repeats has 2 values for the 3 of 6x5x4"
    assert refusal("expand", [-1, 7, 4], x=[x]) == "6x5x4 is not repeated to -1, 7, 4"
    assert refusal("stack", x=[x, (6, 5)]) == "stack needs equal shapes; got 6x5x4, 6x5"
    assert refusal("squeeze", 0, x=[x]) == "squeeze takes away a size of 1, and dim 0 has 6"
    assert refusal("index_select", 0, [6], x=[x]) == "index 6 is none of the 6 along dim 0"
    assert refusal("unfold", 7, x=[x]) == "kernel_size 7 does not fit the padded input 5"
    with pytest.raises(SpecError, match="unfold takes float; got int64"):  # as im2col does
        network("input: 2x5x4 int64\nlayers: [unfold(2)]")
    assert refusal("fold", 5, 2, x=[(8, 15)]) == (
        "a map 5x5 has 4x4 windows, and there are 15 columns"
    )


@pytest.mark.torch
def test_columns_lie_in_a_storage_of_the_size_of_the_map() -> None:
    """PyTorch makes them in a tensor like its input, and then smaller: 2x40 of 2x5x4 kept as 40."""
    text = "input: 2x5x4\nlayers:\n  - conv(2, 1)\n  - unfold(1, stride=3)\n  - conv(3, 1)\n"
    net = network(text)
    assert net["unfold1"].cost.output == (2, 4)
    assert both(net) == (2 * 4 * (40 + 40),) * 2  # of both convolutions; the columns have 8 numbers
