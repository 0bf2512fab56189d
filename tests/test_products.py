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
