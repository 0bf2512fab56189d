"""Ops against PyTorch: what their modules hold, compute and save; and what the manual says of it."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import leaves, samples, several
from test_ops import EXAMPLES, cpu, make

from archcost.manual import op_page
from archcost.ops import OPS, Example, Op
from archcost.readings.ledger import SAVED
from archcost.readings.recorder import module_of
from archcost.readings.storages import Storages
from archcost.shape import Shape


@pytest.mark.torch
@pytest.mark.parametrize(("op", "example"), EXAMPLES)
def test_twin_has_the_shapes_and_parameters(op: type[Op], example: Example) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = op.create(example.args, example.kwargs)
    expected = made.cost(*example.inputs)
    twin = module_of(torch, made, example.inputs).eval()
    inputs = samples(torch, made, *((2, *x) for x in example.inputs))
    out, rows = twin(*inputs), made.rows(1, *example.inputs)
    assert [tuple(each.shape) for each in several(out)] == [
        (2 * rows, *s) for s in expected.outputs
    ]
    assert {n: tuple(p.shape) for n, p in twin.named_parameters()} == dict(expected.params)
    assert {n: tuple(b.shape) for n, b in twin.named_buffers()} == dict(expected.buffers)


def twin_of(torch: Any, name: str, *args: Any, x: list[Shape], **kwargs: Any) -> tuple[Any, Any]:
    """A twin in evaluation mode with random weights, and inputs for it."""
    torch.manual_seed(0)
    twin = module_of(torch, make(name, *args, **kwargs), x).double().eval()
    for parameter in twin.parameters():
        torch.nn.init.normal_(parameter)
    return twin, [torch.randn(2, *shape, dtype=torch.float64) for shape in x]


@pytest.mark.torch
def test_twins_compute_what_pytorch_computes() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F = torch.nn.functional
    twin, [x] = twin_of(torch, "channel_shuffle", 3, x=[(12, 5, 4)])
    assert twin(x).equal(torch.nn.ChannelShuffle(3)(x))
    twin, [x] = twin_of(torch, "layernorm", dim=0, x=[(6, 5, 4)])
    last = F.layer_norm(x.permute(0, 2, 3, 1), (6,), twin.weight, twin.bias)
    assert twin(x).equal(last.permute(0, 3, 1, 2))
    twin, [before, x] = twin_of(torch, "max_unpool", 2, x=[(4, 9, 7), (4, 4, 3)])
    places = F.max_pool2d(before, 2, return_indices=True)[1]
    assert twin(before, x).equal(F.max_unpool2d(x, places, 2, output_size=(9, 7)))
    twin, [x] = twin_of(torch, "roi_pool", 3, 2, x=[(4, 9, 7)])
    assert all(twin(x)[:, i].equal(F.adaptive_max_pool2d(x, 2)) for i in range(3))


@pytest.mark.torch
def test_attention_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    twin, [x] = twin_of(torch, "attention", 2, x=[(5, 24)])
    q, k, v = x.chunk(3, -1)
    identity = torch.eye(8, dtype=torch.float64)
    expected, _ = torch.nn.functional.multi_head_attention_forward(
        q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), 8, 2,
        torch.eye(8, dtype=torch.float64).repeat(3, 1), None, None, None, False, 0.0, identity, None,
    )  # fmt: skip
    torch.testing.assert_close(twin(x), expected.transpose(0, 1))


@pytest.mark.reference
@pytest.mark.parametrize("size", [(6, 9), (3, 6), (3, 3)])
@pytest.mark.parametrize("shift", [0, 1])
def test_window_attention_is_that_of_torchvision(
    size: tuple[int, int], shift: int, torchvision: Any
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    twin, _ = twin_of(torch, "window_attention", 2, 3, shift=shift, x=[(*size, 24)])
    swin = torchvision.models.swin_transformer
    bias = swin._get_relative_position_bias(
        twin.relative_position_table, twin.relative_position_index, [3, 3]
    )
    x, weight = torch.randn(2, *size, 8).double(), torch.randn(24, 8).double()
    expected = swin.shifted_window_attention(
        x, weight, torch.eye(8).double(), bias, [3, 3], 2, [shift, shift]
    )
    torch.testing.assert_close(twin(x @ weight.T), expected)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("op", "example"),
    # what argsort keeps goes at once, with the elements in order: tests/test_comparisons.py
    [case for case in EXAMPLES if case.values[0].name != "argsort"],
)
def test_twin_saves_the_stated_bytes(op: type[Op], example: Example) -> None:
    """Bytes that autograd keeps on the CPU in training, storage by storage, parameters aside."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = op.create(example.args, example.kwargs)
    shapes = [(3, *shape) for shape in example.inputs]
    twin = module_of(torch, made, example.inputs).train()
    inputs = samples(torch, made, *shapes, needs=True)
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

    reading = Storages(cpu(), exact=False)
    reading.place_params("op", made, cost := made.cost(*example.inputs), 4, cost.params)
    tensors = leaves(reading, made, *shapes, needs=True)
    result = reading.run_op("op", made, tensors)
    assert measured == reading.ledger.kinds[SAVED]
    made_shapes = [tuple(each.shape) for each in several(result)]
    assert made_shapes == [tuple(each.shape) for each in several(out)]
    assert out is not None


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("conv", "input"),
        ("relu", "output"),
        ("add", ""),
        ("linear", "input (for the gradient of its parameters)"),
        ("dropout", "noise 16 (cpu); mask 16, 1 byte each (cuda)"),
        ("attention", "input; output; logsumexp 2x5 (cpu); logsumexp 2x32 (cuda)"),
        (
            "multiply",
            "input 1 (for the gradient of input 2); input 2 (for the gradient of input 1)",
        ),
        (
            "batchnorm",
            "input; mean 64 per batch; invstd 64 per batch",
        ),
    ],
)
def test_the_manual_says_what_an_op_keeps(name: str, first: str) -> None:
    assert op_page(name).records()[0]["keeps"] == first


def test_the_manual_says_what_arguments_accept() -> None:
    assert op_page("conv").notes == (
        "out_channels: a whole number from 1 on",
        "kernel_size: a whole number from 1 on, or one per axis",
        "stride: a whole number from 1 on, or one per axis",
        "padding: a whole number from 0 on, one per axis, a pair (before, after) per axis, "
        "'same', 'valid'",
        "dilation: a whole number from 1 on, or one per axis",
        "groups: a whole number from 1 on",
        "bias: True or False",
        "padding_mode: 'zeros' or 'reflect' or 'replicate' or 'circular'",
        "parametrization: None or 'weight_norm' or 'spectral_norm'",
    )
    assert op_page("relu6").notes == ()


def test_nothing_is_written_as_specs_write_it() -> None:
    op = OPS["adaptive_avgpool"].create([[None, 4]], {})
    assert (op.call(), op.settings()) == ("adaptive_avgpool(output_size=[null, 4])", "to (null, 4)")
