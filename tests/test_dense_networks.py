"""Dense prediction and detection: the specs against modules written out in PyTorch here."""

from __future__ import annotations

from typing import Any

import pytest
from test_catalog import assert_same_cost, of

from archcost import load

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn, functional = torch.nn, torch.nn.functional

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def chain(channels: int, widths: Any, *, norm: bool = False, **settings: Any) -> Any:
    """3x3 convolutions with ReLU, or with normalisation before it; the settings are the first's."""
    layers: list[Any] = []
    for width in widths:
        layers.append(nn.Conv2d(channels, width, 3, **{"padding": 1, **settings}))
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers.append(nn.ReLU())
        channels, settings = width, {}
    return nn.Sequential(*layers)


def vgg16(**settings: Any) -> Any:
    """The five stages of VGG-16, without pooling; ``padding`` is that of the first convolution."""
    norm, inputs = settings.pop("norm", False), (3, 64, 128, 256, 512)
    first = chain(3, VGG16[0], norm=norm, **settings)
    rest = (chain(c, widths, norm=norm) for c, widths in zip(inputs[1:], VGG16[1:], strict=True))
    return nn.ModuleList([first, *rest])


class FCN(nn.Module):  # type: ignore[misc, name-defined]
    """FCN-32s, 16s or 8s of Long et al., with the crops of the authors' Caffe networks."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride, self.stages = stride, vgg16(padding=100)
        self.fc6, self.fc7 = nn.Conv2d(512, 4096, 7), nn.Conv2d(4096, 4096, 1)
        self.score = nn.Conv2d(4096, 21, 1)
        finer = {32: (), 16: (512,), 8: (512, 256)}[stride]
        self.skips = nn.ModuleList(nn.Conv2d(width, 21, 1) for width in finer)
        self.twice = nn.ModuleList(self.upsampled(2) for _ in finer)
        self.last = self.upsampled(stride)

    def upsampled(self, factor: int) -> Any:
        return nn.ConvTranspose2d(21, 21, 2 * factor, stride=factor, bias=False)

    def forward(self, image: Any) -> Any:
        x, pooled = image, []
        for stage in self.stages:
            x = functional.max_pool2d(stage(x), 2, ceil_mode=True)
            pooled.append(x)
        x = self.score(self.fc7(self.fc6(x).relu()).relu())
        for skip, twice, finer, at in zip(
            self.skips, self.twice, (pooled[3], pooled[2]), (5, 9), strict=False
        ):
            x = twice(x)
            n = x.shape[-1]
            x = x + skip(finer)[..., at : at + n, at : at + n]
        at, n = {32: 19, 16: 27, 8: 31}[self.stride], image.shape[-1]
        return self.last(x)[..., at : at + n, at : at + n]


class UNet(nn.Module):  # type: ignore[misc, name-defined]
    """U-Net of Ronneberger et al., of unpadded convolutions."""

    def __init__(self) -> None:
        super().__init__()
        widths = (64, 128, 256, 512, 1024)
        self.down = nn.ModuleList(
            self.twice(c, w) for c, w in zip((1, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[3::-1])
        self.merged = nn.ModuleList(self.twice(2 * w, w) for w in widths[3::-1])
        self.score = nn.Conv2d(64, 2, 1)

    def twice(self, channels: int, width: int) -> Any:
        convs = nn.Conv2d(channels, width, 3), nn.Conv2d(width, width, 3)
        return nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU())

    def forward(self, x: Any) -> Any:
        copies = []
        for i, down in enumerate(self.down):
            x = down(x if i == 0 else functional.max_pool2d(x, 2))
            copies.append(x)
        for up, merged, copy in zip(self.up, self.merged, copies[3::-1], strict=True):
            x = up(x)
            margin = (copy.shape[-1] - x.shape[-1]) // 2
            copy = copy[..., margin : margin + x.shape[-1], margin : margin + x.shape[-1]]
            x = merged(torch.cat([copy, x], 1))
        return self.score(x)


class SegNet(nn.Module):  # type: ignore[misc, name-defined]
    """SegNet of Badrinarayanan et al. for the 11 classes of CamVid."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = vgg16(norm=True)
        mirrored = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
        inputs = (512, 512, 256, 128, 64)
        self.decoder = nn.ModuleList(
            chain(c, widths, norm=True) for c, widths in zip(inputs, mirrored, strict=True)
        )
        self.score = nn.Conv2d(64, 11, 3, padding=1)

    def forward(self, x: Any) -> Any:
        places = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = functional.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            places.append((indices, size))
        for stage, (indices, size) in zip(self.decoder, reversed(places), strict=True):
            x = stage(torch.ops.aten.max_unpool2d(x, indices, size))
        return self.score(x)


class FastRCNN(nn.Module):  # type: ignore[misc, name-defined]
    """Fast R-CNN of Girshick on VGG-16, of which every region is the whole image."""

    def __init__(self, regions: int) -> None:
        super().__init__()
        self.regions, self.stages = regions, vgg16()
        self.fc6, self.fc7 = nn.Linear(512 * 7 * 7, 4096), nn.Linear(4096, 4096)
        self.scores, self.boxes = nn.Linear(4096, 21), nn.Linear(4096, 84)

    def forward(self, x: Any) -> Any:
        for i, stage in enumerate(self.stages):
            x = stage(x if i == 0 else functional.max_pool2d(x, 2, ceil_mode=True))
        pooled = functional.adaptive_max_pool2d(x, 7).flatten(1)
        x = pooled.unsqueeze(1).expand(-1, self.regions, -1)
        x = self.fc7(self.fc6(x).relu()).relu()
        return torch.cat([self.scores(x), self.boxes(x)], -1)


@pytest.mark.parametrize("stride", [32, 16, 8])
def test_fcn_is_the_module_above(stride: int) -> None:
    with torch.device("meta"):
        module = FCN(stride).eval()
        assert module(torch.empty(1, 3, 500, 500)).shape[1:] == load(f"fcn{stride}s").output
    assert_same_cost(load(f"fcn{stride}s"), module)


def test_unet_is_the_module_above() -> None:
    with torch.device("meta"):
        module = UNet().eval()
        assert module(torch.empty(1, 1, 572, 572)).shape[1:] == load("unet").output == (2, 388, 388)
    assert_same_cost(load("unet"), module)


def test_segnet_is_the_module_above() -> None:
    with torch.device("meta"):
        module = SegNet().eval()
        assert module(torch.empty(1, 3, 360, 480)).shape[1:] == load("segnet").output
    assert_same_cost(load("segnet"), module)


def test_the_encoder_of_segnet_has_14_7_million_parameters() -> None:
    """Badrinarayanan et al. say that dropping VGG-16's linear layers leaves 14.7M of 134M."""
    encoder = sum(of(load("segnet"), f"encoder{i}")[0] for i in range(1, 6))
    normalisation = 2 * sum(sum(widths) for widths in VGG16)
    assert encoder - normalisation == 14_714_688


@pytest.mark.parametrize("regions", [1, 64, 2000])
def test_fast_rcnn_is_the_module_above(regions: int) -> None:
    network = load("fast_rcnn", knobs={"regions": regions})
    with torch.device("meta"):
        module = FastRCNN(regions).eval()
        assert module(torch.empty(1, *network.input)).shape[1:] == network.output == (regions, 105)
    assert_same_cost(network, module)
