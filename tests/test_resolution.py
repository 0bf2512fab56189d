"""Ops that change the resolution or move elements: pixel shuffles, interpolation, transposed convolutions."""

from __future__ import annotations

from typing import Any

import pytest
from test_products import both, network, refusal, totals

from archcost import analyze, build
from archcost.errors import OpError, SpecError
from archcost.ops import make
from archcost.shape import Shape

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
