"""Networks written out in PyTorch, as their papers draw them, where no collection has them.

Each is a reference of its own: nothing of archcost is used here. ``archcost verify MODEL --against
hand_built:NAME``, run in this folder, holds a spec against one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from hand_built_cells import MicroENAS, inception_resnet_v1
from hand_built_various import DETR, VARIOUS
from torch import nn
from torch.nn import functional

# The first networks, and those of the lectures.


class LeNet5(nn.Sequential):
    """LeNet-5 as it is built today: all maps of S2 go into C3, and a linear layer comes last."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
            nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip


class TDNN(nn.Module):
    """The time-delay network of Waibel et al.: 8 units see 3 frames, 3 units see 5 of theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3 * 16, 8), nn.Linear(5 * 8, 3)

    def forward(self, x: Any) -> Any:
        for layer, delays in ((self.first, 3), (self.second, 5)):
            # every unit reads each coefficient at its delays
            x = layer(x.unfold(2, delays, 1).transpose(1, 2).flatten(2)).sigmoid().transpose(1, 2)
        return x.mean(2)


class Highway(nn.Module):
    """Highway layers of Srivastava et al., equation 3, of whatever computes H and T."""

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.transform, self.gate = make(), make()

    def forward(self, x: Any) -> Any:
        made = self.transform(x).relu()
        gate = self.gate(x).sigmoid()
        return made * gate + x * (1 - gate)


def highway(depth: int) -> nn.Module:
    """Fully connected layers of 50 units for MNIST."""
    layers = [Highway(lambda: nn.Linear(50, 50)) for _ in range(depth - 1)]
    return nn.Sequential(nn.Linear(784, 50), nn.ReLU(), *layers, nn.Linear(50, 10))


def highway_conv(width: int) -> nn.Module:
    """Ten layers for MNIST, nine of them convolutions."""

    def conv() -> nn.Module:
        return nn.Conv2d(width, width, 3, padding=1)

    body: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
    for layers in (2, 3, 3):
        body += [Highway(conv) for _ in range(layers)]
        body.append(nn.MaxPool2d(2))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(9 * width, 10))


def lrn(k: float = 2.0) -> nn.Module:
    """Normalise over 5 channels as Krizhevsky et al. do; PyTorch divides alpha by the 5."""
    return nn.LocalResponseNorm(5, alpha=5e-4, k=k)


def alexnet(*, towers: int) -> nn.Module:
    """AlexNet: in two towers as published, or in one, with pooling before normalisation."""
    pooled: Sequence[Callable[[], nn.Module]] = (lrn, lambda: nn.MaxPool2d(3, 2))
    if towers == 1:
        pooled = pooled[::-1]
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, 4), nn.ReLU(), *(make() for make in pooled),
        nn.Conv2d(96, 256, 5, padding=2, groups=towers), nn.ReLU(), *(make() for make in pooled),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=towers), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=towers), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), *classifier(256 * 6 * 6),
    )  # fmt: skip


def classifier(inputs: int) -> list[nn.Module]:
    """Return the three linear layers of AlexNet, ZFNet and VGG."""
    return [
        nn.Linear(inputs, 4096), nn.ReLU(), nn.Dropout(),
        nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000),
    ]  # fmt: skip


def zfnet(*widths: int) -> nn.Module:
    """ZFNet of figure 3; ``widths`` are those of its last three convolutions."""
    third, fourth, fifth = widths
    return nn.Sequential(
        nn.Conv2d(3, 96, 7, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.LocalResponseNorm(5), nn.Conv2d(96, 256, 5, 2), nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5),
        nn.Conv2d(256, third, 3, padding=1), nn.ReLU(),
        nn.Conv2d(third, fourth, 3, padding=1), nn.ReLU(),
        nn.Conv2d(fourth, fifth, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), *classifier(fifth * 6 * 6),
    )  # fmt: skip


def nin_imagenet() -> nn.Module:
    """Network in network as its authors released it for ImageNet."""
    body: list[nn.Module] = []
    for inputs, width, last, kernel, stride, padding in (
        (3, 96, 96, 11, 4, 0), (96, 256, 256, 5, 1, 2), (256, 384, 384, 3, 1, 1),
        (384, 1024, 1000, 3, 1, 1),
    ):  # fmt: skip
        body += [nn.Conv2d(inputs, width, kernel, stride, padding), nn.ReLU()]
        body += [nn.Conv2d(width, width, 1), nn.ReLU(), nn.Conv2d(width, last, 1), nn.ReLU()]
        if width < 1024:
            body.append(nn.MaxPool2d(3, 2, ceil_mode=True))
    body.insert(-6, nn.Dropout())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def vgg(*columns: Sequence[tuple[int, int]], normalised: bool = False) -> nn.Module:
    """VGG from the columns of table 1: the kernel and the width of each convolution of a stage."""
    body, inputs = [], 3
    for i, stage in enumerate(columns):
        for kernel, width in stage:
            body += [nn.Conv2d(inputs, width, kernel, padding=kernel // 2), nn.ReLU()]
            inputs = width
        body += [lrn()] if normalised and i == 0 else []
        body.append(nn.MaxPool2d(2))
    return nn.Sequential(*body, nn.Flatten(), *classifier(512 * 7 * 7))


def vgg_a_lrn() -> nn.Module:
    """Configuration A-LRN."""
    return vgg(
        [(3, 64)], [(3, 128)], [(3, 256)] * 2, [(3, 512)] * 2, [(3, 512)] * 2, normalised=True
    )


def vgg_c() -> nn.Module:
    """Configuration C, whose last three stages end in a 1x1 convolution."""
    return vgg(
        [(3, 64)] * 2, [(3, 128)] * 2, [(3, 256), (3, 256), (1, 256)],
        *[[(3, 512), (3, 512), (1, 512)]] * 2,
    )  # fmt: skip


class Inception(nn.Module):
    """An inception module; without reductions (0) a convolution reads the input itself."""

    def __init__(
        self, c: int, n1: int, r3: int, n3: int, r5: int, n5: int, pooled: int, act: Any = nn.ReLU
    ) -> None:
        super().__init__()
        self.act = act()
        self.one = nn.Conv2d(c, n1, 1)
        self.three = self.path(c, r3, n3, 3)
        self.five = self.path(c, r5, n5, 5)
        self.pooled = nn.Sequential(
            nn.MaxPool2d(3, 1, 1), *([nn.Conv2d(c, pooled, 1)] if pooled else [])
        )

    def path(self, c: int, reduced: int, width: int, kernel: int) -> nn.Module:
        large = nn.Conv2d(reduced or c, width, kernel, padding=kernel // 2)
        return nn.Sequential(nn.Conv2d(c, reduced, 1), self.act, large) if reduced else large

    def forward(self, x: Any) -> Any:
        branches = self.one(x), self.three(x), self.five(x), self.pooled(x)
        return torch.cat([self.act(branch) for branch in branches], 1)


def googlenet_stem(*, normalised: bool) -> list[nn.Module]:
    """The layers before inception 3a; the lectures count their operations, and have no ReLU."""
    act = [nn.ReLU()] if normalised else []
    norm = [nn.LocalResponseNorm(5)] if normalised else []
    return [
        nn.Conv2d(3, 64, 7, 2, 3), *act, nn.MaxPool2d(3, 2, ceil_mode=True), *norm,
        nn.Conv2d(64, 64, 1), *act, nn.Conv2d(64, 192, 3, padding=1), *act, *norm,
        nn.MaxPool2d(3, 2, ceil_mode=True),
    ]  # fmt: skip


def googlenet() -> nn.Module:
    """GoogLeNet from table 1, without its auxiliary classifiers."""
    pool = [nn.MaxPool2d(3, 2, ceil_mode=True)]
    return nn.Sequential(
        *googlenet_stem(normalised=True),
        Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64), *pool,
        Inception(480, 192, 96, 208, 16, 48, 64), Inception(512, 160, 112, 224, 24, 64, 64),
        Inception(512, 128, 128, 256, 24, 64, 64), Inception(512, 112, 144, 288, 32, 64, 64),
        Inception(528, 256, 160, 320, 32, 128, 128), *pool,
        Inception(832, 256, 160, 320, 32, 128, 128), Inception(832, 384, 192, 384, 48, 128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, 1000),
    )  # fmt: skip


# Residual, plain and dense networks.


class Block(nn.Module):
    """Two 3x3 convolutions, and a shortcut without parameters (option A) or none."""

    def __init__(self, c: int, width: int, stride: int, *, shortcut: bool) -> None:
        super().__init__()
        self.stride, self.new, self.shortcut = stride, width - c, shortcut
        self.first = nn.Conv2d(c, width, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(2))

    def forward(self, x: Any) -> Any:
        y = self.norms[1](self.second(self.norms[0](self.first(x)).relu()))
        if self.shortcut:
            kept = x[..., :: self.stride, :: self.stride]
            y = y + functional.pad(kept, (0, 0, 0, 0, self.new // 2, self.new // 2))
        return y.relu()


def blocks(c: int, stages: Sequence[tuple[int, int]], *, shortcut: bool) -> list[nn.Module]:
    """Return the blocks of stages of (width, depth), of which all but the first halve the maps."""
    made: list[nn.Module] = []
    for i, (width, depth) in enumerate(stages):
        for j in range(depth):
            made.append(Block(c, width, 2 if i and not j else 1, shortcut=shortcut))
            c = width
    return made


def cifar_resnet(depth: int, *, shortcut: bool = True) -> nn.Module:
    """Return the network of 6 n + 2 layers of He et al., section 4.2."""
    stages = [(width, (depth - 2) // 6) for width in (16, 32, 64)]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        *blocks(16, stages, shortcut=shortcut),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def plain(*depths: int) -> nn.Module:
    """Return the plain network of He et al., figure 3."""
    stages = list(zip((64, 128, 256, 512), depths, strict=True))
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), *blocks(64, stages, shortcut=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000),
    )  # fmt: skip


class DenseNet(nn.Module):
    """DenseNet for CIFAR-10 without bottlenecks; a transition keeps the channels."""

    def __init__(self, depth: int, growth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.layers, self.transitions = nn.ModuleList(), nn.ModuleList()
        self.n, c = (depth - 4) // 3, 16
        for block in range(3):
            for _ in range(self.n):
                self.layers.append(self.unit(c, growth, 3))
                c += growth
            if block < 2:
                self.transitions.append(nn.Sequential(self.unit(c, c, 1), nn.AvgPool2d(2)))
        self.norm, self.answer = nn.BatchNorm2d(c), nn.Linear(c, 10)

    def unit(self, c: int, width: int, kernel: int) -> nn.Module:
        conv = nn.Conv2d(c, width, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for i, layer in enumerate(self.layers):
            if i and i % self.n == 0:
                x = self.transitions[i // self.n - 1](x)
            x = torch.cat([x, layer(x)], 1)
        return self.answer(self.norm(x).relu().mean((2, 3)))


class SearchedByReinforcement(nn.Module):
    """The network of Zoph & Le, figure 7: kernel and width of a layer, and the layers it reads."""

    ROWS = (
        (3, 3, 36, ()), (3, 3, 48, (1,)), (3, 3, 36, (1, 2)), (5, 5, 36, (1, 2, 3)),
        (3, 7, 48, (3, 4)), (7, 7, 48, (2, 3, 4, 5)), (7, 7, 48, (2, 3, 4, 5, 6)),
        (7, 3, 36, (1, 6, 7)), (7, 1, 36, (1, 5, 6, 8)), (7, 7, 36, (1, 3, 4, 5, 6, 7, 8, 9)),
        (5, 7, 36, (1, 2, 5, 6, 7, 8, 9, 10)), (7, 7, 48, (1, 2, 3, 4, 6, 11)),
        (7, 5, 48, (1, 3, 6, 7, 8, 9, 10, 11, 12)), (7, 5, 48, (3, 7, 12, 13)),
        (7, 5, 48, (6, 7, 11, 12, 13, 14)),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        widths = [row[2] for row in self.ROWS]
        self.units = nn.ModuleList()
        for height, width, filters, read in self.ROWS:
            c = sum(widths[i - 1] for i in read) or 3
            padding = height // 2, width // 2
            conv = nn.Conv2d(c, filters, (height, width), padding=padding, bias=False)
            self.units.append(nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU()))
        self.answer = nn.Linear(48, 10)

    def forward(self, x: Any) -> Any:
        made: list[Any] = []
        for unit, (*_, read) in zip(self.units, self.ROWS, strict=True):
            made.append(unit(torch.cat([made[i - 1] for i in read], 1) if read else x))
        return self.answer(made[-1].mean((2, 3)))


# Dense prediction and detection.

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


class FCN(nn.Module):
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


class UNet(nn.Module):
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


class SegNet(nn.Module):
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


class FastRCNN(nn.Module):
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


Case = tuple[Callable[[], nn.Module], Any]

HAND_BUILT: dict[str, Case] = {
    # model of the catalog -> the module, and a smaller input that shows the same
    "lenet5_dense": (LeNet5, None),
    "tdnn": (TDNN, None),
    **{f"highway{n}": (partial(highway, n), None) for n in (10, 20, 50, 100)},
    **{f"highway_conv{n}": (partial(highway_conv, n), None) for n in (16, 32)},
    "alexnet": (partial(alexnet, towers=1), None),
    "alexnet_two_towers": (partial(alexnet, towers=2), None),
    "zfnet": (partial(zfnet, 384, 384, 256), None),
    "zfnet_wide": (partial(zfnet, 512, 1024, 512), None),
    "nin_imagenet": (nin_imagenet, "3x99x99"),
    "vgg11_lrn": (vgg_a_lrn, None),
    "vgg16_c": (vgg_c, None),
    "googlenet": (googlenet, "3x97x97"),
    "googlenet_stem": (lambda: nn.Sequential(*googlenet_stem(normalised=False)), "3x97x97"),
    "inception_naive": (lambda: Inception(256, 128, 0, 192, 0, 96, 0, nn.Identity), None),
    "inception_reduced": (lambda: Inception(256, 128, 64, 192, 64, 96, 64, nn.Identity), None),
    "inception_5x5": (lambda: nn.Conv2d(200, 92, 5, padding=2), None),
    "inception_5x5_reduced": (
        lambda: nn.Sequential(nn.Conv2d(200, 16, 1), nn.Conv2d(16, 92, 5, padding=2)), None
    ),
    "conv_ordinary": (lambda: nn.Conv2d(3, 256, 5), None),
    "conv_separable": (
        lambda: nn.Sequential(nn.Conv2d(3, 3, 5, groups=3), nn.Conv2d(3, 256, 1)), None
    ),
    "plain18": (partial(plain, 2, 2, 2, 2), "3x65x65"),
    "plain34": (partial(plain, 3, 4, 6, 3), "3x65x65"),
    **{f"plain{n}": (partial(cifar_resnet, n, shortcut=False), "3x17x17") for n in (20, 56)},
    **{
        f"resnet{n}": (partial(cifar_resnet, n), "3x17x17") for n in (20, 32, 44, 56, 110, 1202)
    },
    **{
        f"densenet{n}_k{growth}": (partial(DenseNet, n, growth), "3x16x16")
        for n, growth in ((40, 12), (100, 12), (100, 24))
    },
    "inception_resnet_v1": (inception_resnet_v1, "3x107x107"),
    "enas_micro": (MicroENAS, "3x15x15"),
    "rl_nas_v1": (SearchedByReinforcement, "3x9x9"),
    **{f"fcn{stride}s": (partial(FCN, stride), "3x8x8") for stride in (32, 16, 8)},
    "unet": (UNet, "1x188x188"),
    "segnet": (SegNet, "3x45x50"),
    "fast_rcnn": (partial(FastRCNN, 2), "3x65x65"),
    **{f"detr_resnet{n}": (partial(DETR, n, places=2), "3x32x64") for n in (50, 101)},
    **VARIOUS,
}  # fmt: skip
