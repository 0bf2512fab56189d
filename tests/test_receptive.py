"""Receptive fields against gradients: what one output value depends on, in numbers."""

from __future__ import annotations

from typing import Any

import pytest

from archcost import load
from archcost.analysis.receptive import follow, receptive_fields
from archcost.network import Network
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source

NOTHING = 1e-35  # of the largest gradient: attention's masks leave exp(-100)


def network(text: str) -> Network:
    return expand(read_document(Source("net.yaml", text)), "")


def measured(net: Network, most: int = 8) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Return what the middle output of some layers depends on, and what it may: per axis.

    The weights are random, and so is the input, in float64; the outputs of all channels are summed
    up with random weights.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from archcost.pytorch import build

    torch.manual_seed(0)
    twin = build(net).double().eval()
    for parameter in twin.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    seen, outputs = follow(net), {}
    maps = [layer for layer in net if any(seen[layer.path].axes) and len(layer.cost.output) > 1]
    chosen = [*maps[:: max(1, len(maps) // most)], maps[-1]]
    for layer in chosen:
        twin.get_submodule(layer.path).register_forward_hook(
            lambda _module, _inputs, out, path=layer.path: outputs.__setitem__(path, out)
        )
    x = torch.randn(1, *net.input, dtype=torch.float64, requires_grad=True)
    twin(x)
    found: dict[tuple[str, int], tuple[int, int, int]] = {}
    for layer in chosen:
        out, axes = outputs[layer.path], seen[layer.path].axes
        middle: list[Any] = [n // 2 if own else slice(None)
                             for n, own in zip(layer.cost.output, axes, strict=True)]  # fmt: skip
        values = out[(0, *middle)]
        loss = (values * torch.randn_like(values)).sum()
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        depends = gradient[0].abs() > NOTHING * gradient.abs().max()
        for axis in range(depends.dim() - 1):
            places = depends.movedim(axis + 1, 0).flatten(1).any(1).nonzero().flatten()
            if len(places):
                first, last = int(places[0]), int(places[-1])
                found[layer.path, axis] = (first, last, depends.shape[axis + 1])
    return found


def wrong(net: Network, most: int = 8) -> dict[tuple[str, int], tuple[int, Any]]:
    """Return where the middle output sees less than it depends on, or more without a border."""
    seen, differ = follow(net), {}
    for (path, axis), (first, last, length) in measured(net, most).items():
        own = seen[path].axes
        along = [n for n, axes in zip(net[path].cost.output, own, strict=True) if axis in axes]
        middle = along[0] // 2 if along else 0
        start, end = seen[path].lines[axis].at(middle)
        size, support = end - start, last + 1 - first
        cut = first == 0 or last >= length - 1
        if support > size or (support < size and not cut):
            differ[path, axis] = (support, size)
    return differ


SWIN = """
name: swin
input: 3x64x96
blocks:
  block(shift):
    - add:
        body: layernorm(dim=-1) >> linear(24, dim=-1) >> window_attention(2, 4, shift) >> linear(8, dim=-1)
        shortcut: identity
layers:
  - conv(8, 2, stride=2) >> permute([1, 2, 0])
  - a: block(0)
  - b: block(2)
  - merge:
    - concat(-1):
        even: slice(0, 0, step=2) >> slice(1, 0, step=2)
        odd: slice(0, 1, step=2) >> slice(1, 1, step=2)
    - linear(8, dim=-1)
  - c: block(0)
"""


def test_windows_by_hand() -> None:
    fields = receptive_fields(network(SWIN))
    # windows of 4 patches of 2 pixels; shifted by half, a window lies on two of them
    seen = {path: fields[path].size for path in ("conv1", "a.add1", "b.add1")}
    assert seen["conv1"] == (2, 2)
    assert seen["a.add1"] == (8, 8)
    assert seen["b.add1"] == (16, 16)


NETS = {
    "windows": SWIN,
    "channels last": """
name: net
input: 3x60x48
layers:
  - conv(6, 4, stride=4)
  - conv(6, 3, padding=1, groups=6) >> permute([1, 2, 0]) >> layernorm(dim=-1) >> linear(8, dim=-1)
  - gelu >> permute([2, 0, 1]) >> conv(4, 3, padding=1)
""",
    "tokens": """
name: net
input: 3x32x48
layers:
  - conv(12, 8, stride=8) >> flatten(1) >> permute([1, 0])
  - class_token >> position_embedding >> linear(24)
  - attention(2) >> linear(8)
""",
    "offsets": """
name: net
input: 2x40x40
layers:
  - concat:
      here: conv(3, 3, padding=1)
      there: pad(((2, 0), (0, 2))) >> conv(3, 3)
      cut: conv(3, 1) >> pad(2) >> crop(40)
  - conv(3, 3, padding=1)
""",
    "larger": """
name: net
input: 2x60x66
layers:
  - conv(3, 3, padding=1) >> avgpool(2) >> conv(3, 3, padding=1) >> avgpool(3)
  - conv_transpose(3, 2, stride=2) >> conv(3, 3, padding=1)
  - interpolate(scale_factor=3, mode='bilinear') >> conv(3, 3, padding=1)
  - conv_transpose(2, 5, stride=3, padding=1) >> conv(2, 2)
""",
    "a ratio": """
name: net
input: 2x60x66
layers:
  - conv(3, 3, stride=2, padding=1) >> interpolate((70, 44)) >> conv(3, 3) >> conv(3, 3, stride=2)
  - interpolate((90, 33), mode='bilinear') >> conv(3, 4, stride=2)
""",
    "transposed": """
name: net
input: 2x32x40
layers:
  - permute([2, 0, 1]) >> permute([1, 2, 0])
  - mean([0], keepdim=True) >> conv(2, (3, 5))
  - permute([1, 0, 2]) >> conv(4, 1)
""",
}


@pytest.mark.torch
@pytest.mark.parametrize("name", NETS)
def test_fields_hold_what_outputs_depend_on(name: str) -> None:
    assert wrong(network(NETS[name]), 40) == {}


def slow(name: str, size: str) -> Any:
    return pytest.param(name, size, marks=pytest.mark.slow)


@pytest.mark.torch
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("shufflenet_v2_x0.5", "3x96x96"),
        ("swin_t", "3x224x224"),
        ("convnextv2_atto", "3x96x96"),
        slow("vgg11", "3x160x160"),
        slow("resnet18", "3x160x160"),
        slow("googlenet", "3x224x224"),
        slow("densenet121", "3x128x128"),
        slow("unet", "1x316x316"),
        slow("segnet", "3x96x128"),
        slow("pnasnet5_mobile", "3x128x128"),
        slow("vit_ti_16", "3x224x224"),
    ],
)
def test_fields_of_the_catalog(name: str, size: str) -> None:
    assert wrong(load(name, input=size)) == {}
