"""What kernels of a CPU make inside: no observer of operations sees it, PyTorch's allocator does."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from itertools import product
from typing import Any

import pytest
from test_choices import real_inference_peak, real_peaks
from test_memory import backward_peak, network

from archcost import load
from archcost.measure.profile import saved_bytes
from archcost.pytorch import build, random_inputs
from archcost.readings.ledger import FORWARD
from archcost.readings.storages import Storages
from archcost.setting import Setting
from archcost.storage.peaks import training_peak
from archcost.storage.saved import saved_for_backward

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
primitives: Any = import_module("test_primitives")

SELF = "input: {}x24; linear(72) >> {}"
CROSS = "inputs: {{x: 9x16, y: {}x16}}; q: take(x) >> linear(24); k: take(y) >> linear({}); v: take(y) >> linear({}); {}"
MASKED = CROSS.replace("16}}", "16, mask: 9x7}}")
MAP = "input: 8x9x7; {}"


def spec(lines: str) -> Any:
    """Return the network of an input and layers, each after a semicolon."""
    head, *layers = lines.split("; ")
    return network("\n".join(["name: n", head, "layers:", *(f"  - {layer}" for layer in layers)]))


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "lines",
    [
        SELF.format(16, "attention(2)"),
        SELF.format(16, "attention(2, causal=True) >> linear(24) >> relu"),
        SELF.format(200, "attention(2) >> tanh"),
        SELF.format(800, "attention(3) >> linear(8)"),
        SELF.format(16, "attention(4, kv_heads=2) >> linear(8)"),
        SELF.format("3x16", "attention(2, dropout=0.1) >> relu").replace("(72)", "(72, dim=-1)"),
        "input: 24x16; permute([1, 0]) >> linear(72) >> attention(2) >> permute([1, 0]) >> tanh",
        CROSS.format(700, 24, 24, "attention(q, k, v, 4) >> linear(8)"),
        CROSS.format(7, 24, 32, "attention(q, k, v, 4, causal=True) >> linear(8)"),
        CROSS.format(7, 12, 16, "attention(q, k, v, 4, kv_heads=2) >> linear(8)"),
        CROSS.format(7, 24, 24, "attention(q, k, k, 4) >> linear(8) >> tanh"),
        "inputs: {x: 9x16, y: 7x16}; q: take(x) >> linear(16); attention(q, y, y, 4) >> tanh",
        MASKED.format(7, 24, 24, "attention(q, k, v, mask, 4) >> linear(8)"),
        MASKED.format(7, 24, 24, "m: take(mask) >> bias; attention(q, k, v, m, 4) >> linear(8)"),
    ],
)
def test_attention(lines: str, batch: int) -> None:
    """A tile of scores and its sums; where the gradient's tokens do not lie so, a copy of it."""
    net = spec(lines)
    real_peaks(net, batch)
    real_inference_peak(net, batch)


@pytest.mark.parametrize("batch", [1, 6])
@pytest.mark.parametrize(
    "lines",
    [
        "input: 30x40x5; f: bias >> permute([2, 0, 1]); matmul(f, f, transpose_b=True) >> tanh",
        "input: 30x40x5; f: bias >> permute([2, 0, 1]); matmul(f, f, transpose_a=True) >> tanh",
        "input: 3x4x5; f: bias >> permute([2, 0, 1]); matmul(f, f, transpose_a=True) >> tanh",
        "input: 30x5x9; f: bias >> permute([2, 0, 1]); w: parameter([9, 40, 30]); matmul(w, f)",
    ],
)
def test_matrices_that_lie_apart_are_copied_one_by_one(lines: str, batch: int) -> None:
    net = spec(lines)
    real_peaks(net, batch)
    real_inference_peak(net, batch)


def test_each_further_thread_has_its_own_tile_of_scores() -> None:
    """Of 32 of 64 queries, all keys, and the gradients of these."""
    net, threads = spec("input: 64x24; linear(72) >> attention(2)"), torch.get_num_threads()
    twin, given = build(net), random_inputs(net, 4)
    run = training_peak(net, Setting(4, device="cpu", optimizer="sgd"))
    try:
        torch.set_num_threads(2)
        measured = backward_peak(torch, lambda: twin(*given).sum().backward())
    finally:
        torch.set_num_threads(threads)
    one = run.peaks["backward"].total - run.params - run.input
    tile = 4 * 2 * 32 * 64
    assert one < measured <= one + tile + 4 * 32


NORMALISED = (
    "batchnorm >> tanh", "bias >> batchnorm", "bias >> batchnorm >> tanh",
    "bias >> permute([1, 0, 2]) >> batchnorm >> tanh", "bias >> instancenorm >> tanh",
    "bias >> permute([1, 2, 0]) >> batchnorm >> tanh", "instancenorm(affine=True)",
    "bias >> permute([2, 0, 1]) >> batchnorm >> tanh", "flatten >> bias >> batchnorm >> tanh",
    "layernorm(dim=-1)", "bias >> layernorm(dim=-1) >> tanh", "bias >> groupnorm(2) >> tanh",
    "bias >> permute([1, 0, 2]) >> layernorm(dim=-1) >> tanh", "groupnorm(2)",
    "bias >> permute([2, 0, 1]) >> groupnorm(1) >> tanh", "groupnorm(2, affine=False)",
)  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "batch"),
    # one value has no statistics
    [(own, n) for own in NORMALISED for n in (1, 4) if n > 1 or not own.startswith("flatten")],
)
def test_normalisation(layers: str, batch: int) -> None:
    """A gradient of the input, sums of channels or features, copies of what is not contiguous."""
    if layers.startswith("groupnorm(2, affine"):
        layers = f"bias >> {layers}"
    real_peaks(spec(MAP.format(layers)), batch)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("size", "layers"),
    [
        ("6x5x4", "interpolate(scale_factor=2)"),
        ("6x5x4", "interpolate(scale_factor=2, mode='bilinear') >> tanh"),
        ("6x5x4", "interpolate(size=[3, 3], mode='nearest-exact')"),
        ("6x5x4", "interpolate(scale_factor=2, mode='bicubic') >> tanh"),
        ("6x32x32", "interpolate(scale_factor=2)"),
        ("6x32x33", "interpolate(scale_factor=2)"),
        ("6x50x40", "interpolate(scale_factor=2, mode='bilinear') >> tanh"),
        ("6x7", "interpolate(scale_factor=2)"),
        ("6x7", "interpolate(scale_factor=2, mode='linear') >> tanh"),
        ("2x4x5x6", "interpolate(scale_factor=2, mode='trilinear') >> tanh"),
        ("5x4x6", "permute([2, 0, 1]) >> interpolate(scale_factor=2) >> tanh"),
        ("5x4x6", "permute([1, 0, 2]) >> interpolate(scale_factor=2)"),
        ("5x4x6", "permute([2, 0, 1]) >> interpolate(scale_factor=2, mode='bicubic')"),
        ("50x40x6", "permute([2, 0, 1]) >> interpolate(scale_factor=2) >> tanh"),
        ("50x40x3", "permute([2, 0, 1]) >> interpolate(scale_factor=2) >> tanh"),
        ("4x5x6x5", "permute([3, 0, 1, 2]) >> interpolate(scale_factor=2) >> tanh"),
    ],
)
def test_interpolation(size: str, layers: str, batch: int) -> None:
    """Tables of places and weights; copies with the channels last where the map is small."""
    real_peaks(spec(f"input: {size}; bias >> {layers}"), batch)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    "lines",
    [
        "input: 84; linear(10)", "input: 84; linear(10, bias=False)", "input: 84; bias >> linear(20)",
        "input: 84; linear(1)", "input: 84; linear(9) >> tanh", MAP.format("linear(4, dim=-1)"),
        MAP.format("bias >> linear(4, dim=-1) >> permute([0, 2, 1])"),
        MAP.format("bias >> linear(4, dim=-1) >> sum([0, 1])"),
        "input: 6x8x9; bias >> maxpool(2)", "input: 6x8x9; bias >> avgpool(2) >> tanh",
        "input: 6x12; bias >> adaptive_avgpool(3)", "input: 4x6x7x8; bias >> adaptive_maxpool(3)",
        "input: 4x6x7x8; bias >> maxpool(2)", "input: 6x8x9; bias >> avgpool(2) >> flatten >> linear(3)",
        "input: 6x8; bias >> gelu", "input: 6x8; bias >> gelu >> permute([1, 0]) >> tanh",
        "input: 6x8; bias >> permute([1, 0]) >> gelu >> permute([1, 0])",
        "input: 7 int64; embedding(9, 4)", "input: 7 int64; embedding(9, 4) >> tanh",
    ],
)  # fmt: skip
def test_products_tables_and_pools_copy_a_gradient_that_is_repeated(lines: str, batch: int) -> None:
    """Also where the input is frozen: the gradient of the weight is such a product."""
    real_peaks(spec(lines), batch)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "lines",
    [
        "input: 16x72; bias >> attention(2) >> tanh", "input: 16x24; bias >> layernorm(dim=-1) >> tanh",
        "input: 16x24; bias >> layernorm(dim=-1, affine=False) >> tanh",
        "input: 6x8x9; bias >> batchnorm >> tanh", "input: 6x5x4; bias >> groupnorm(2) >> tanh",
        "input: 5 int64; embedding_bag(7, 4, mode='sum') >> tanh",
        "input: 6x50x40; bias >> interpolate(scale_factor=2, mode='bilinear') >> tanh",
    ],
)  # fmt: skip
def test_other_types(lines: str, dtype: str) -> None:
    """What is summed up has at least four bytes; statistics of layers have those of the weight."""
    net = spec(lines)
    real_peaks(net, 4, dtype)
    twin = build(net, dtype=getattr(torch, dtype))
    given = random_inputs(net, 4, dtype=getattr(torch, dtype))
    setting = Setting(4, dtype, device="cpu")
    assert saved_for_backward(net, setting).total == saved_bytes(torch, twin, *given)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "lines",
    [
        "input: 6x14x14; scale", "input: 3x4x5; scale(dim=1)", "input: 5x4; scale >> tanh",
        "input: 6x5x4; frn", "input: 4x7; bias >> frn >> tanh",
        "input: 6x5x4; bias >> std([1, 2]) >> tanh", "input: 7x8; bias >> var([0]) >> tanh",
        "input: 6x5x4; bias >> permute([1, 0, 2]) >> sum([0, 2]) >> tanh",
        "input: 6x5x4; bias >> topk(2) >> tanh", "input: 6x5; bias >> sort(0) >> tanh",
        "input: 6x5x4; bias >> permute([2, 0, 1]) >> sort(1) >> permute([1, 0, 2]) >> topk(1)",
        "input: 6x5x4; bias >> max(dim=1) >> tanh", "input: 4x6x6; parameter([5, 8])",
        "input: 6x5x4; bias >> amax([1, 2]) >> tanh", "input: 6x5x4; bias >> amin([0], keepdim=True)",
        "input: 6x5x4; bias >> prelu >> tanh", "input: 6x5x4; bias >> prelu(True) >> tanh",
        "input: 6x5x4; bias >> rescale(2) >> tanh", "input: 6x5x4; bias >> rescale(0.5, 3) >> relu",
        "input: 6x5x4; bias >> mean([1, 2]) >> tanh", "input: 6x5; bias >> avgpool(5)",
        "input: 4x5x6; bias >> repeat([1, 2, 3]) >> tanh",
        "inputs: {x: 4x5x6, y: 3x5x4 int64}; a: take(x) >> bias; gather(y, a) >> tanh",
        "inputs: {x: 4x5x6, y: 3x5x4 int64, z: 3x5x4}; s: take(z) >> bias; a: take(x) >> bias; "
        "scatter(y, s, a) >> tanh",
        "inputs: {x: 4x5x6, y: 3x5x4 int64, z: 3x5x4}; s: take(z) >> bias; a: take(x) >> bias; "
        "scatter_add(y, s, a) >> tanh",
    ],
)  # fmt: skip
def test_half_precision_is_summed_up_and_placed_in_float32(
    lines: str, batch: int, dtype: str
) -> None:
    """Where what is summed lies in several runs, and wherever places are read or written."""
    real_peaks(spec(lines), batch, dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", ["64x7x7", "6x5x4x3"])
def test_means_of_whole_maps_are_taken_in_float32(shape: str, dtype: str) -> None:
    real_peaks(spec(f"input: {shape}; bias >> global_avgpool >> tanh"), 4, dtype)


class Contracted(torch.nn.Module):  # type: ignore[misc]
    """Contracts an input, of which a gradient is asked for, with a weight."""

    def __init__(self, equation: str, *weight: int) -> None:
        super().__init__()
        self.equation, self.shift = equation, torch.nn.Parameter(torch.randn(1))
        self.weight = torch.nn.Parameter(torch.randn(weight))

    def forward(self, x: Any) -> Any:
        return torch.einsum(self.equation, x + self.shift, self.weight).tanh()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("equation", "weight", "shape"),
    [
        ("bnde,de->bne", (25, 3), (34, 25, 3)), ("bnde,ne->bed", (34, 25), (34, 34, 25)),
        ("bnde,kn->bekd", (34, 10), (10, 3, 3)), ("bnd,fn->bfd", (17, 5), (5, 3)),
        ("bnde,nk->bedk", (3, 3), (3, 17, 34)), ("bnd,de->bne", (20, 30), (17, 20)),
    ],
)  # fmt: skip
def test_contractions(equation: str, weight: Any, shape: Any, batch: int) -> None:
    """Of a batch of one the factors change places, and other matrices lie apart."""
    net, module = load(Contracted(equation, *weight), input=shape), Contracted(equation, *weight)
    run = training_peak(net, Setting(batch, device="cpu", optimizer="sgd"))
    x, before = torch.randn(batch, *shape), run.params + run.input
    for phase, step in (
        ("forward", lambda: module(x).sum()), ("backward", lambda: module(x).sum().backward())
    ):  # fmt: skip
        assert run.peaks[phase].total - before == backward_peak(torch, step), phase


LIBRARY, IF_TURNED = (
    ("conv", "conv_transpose", "cdist"), ("linear", "matmul", "attention", "batch_norm", "irfft")
)  # fmt: skip
"""What takes memory inside that is not known: of a library, or where tensors lie in other orders."""
KNOWN = [
    case for case in primitives.cases()
    if case.values[0] not in LIBRARY and not case.values[1][1].get("antialias")
]  # fmt: skip


@pytest.mark.parametrize("turned", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("name", "case"), KNOWN)
@pytest.mark.filterwarnings("ignore")
def test_peaks_of_forward_on_a_cpu(name: str, case: Any, turned: bool) -> None:
    """What its allocator hands out: copies of tensors that lie otherwise, numbers, tables."""
    flags = {primitives.needs(case)[0], primitives.needs(case)[-1]}
    for wanted, (order, alone) in product(flags, primitives.turns(name, case)):
        if (name.endswith("in_place") and any(wanted)) or (name in IF_TURNED and order):
            continue
        if bool(order) is not turned:
            continue
        reading = Storages(Setting(device="cpu"), exact=False)
        reading.ledger.enter(FORWARD)
        made, held = primitives.run_reading(
            reading, name, case, wanted, lying=primitives.lying(order, alone)
        )
        mine = reading.ledger.found()[FORWARD].total - sum(each.bytes for each in held)
        del made
        args, options = primitives.arguments(
            case, primitives.randn(primitives.lying(order, alone)), wanted
        )
        run = partial(getattr(primitives.Torch, name), *args, **options)
        assert backward_peak(torch, run) == mine, (wanted, order, alone)
