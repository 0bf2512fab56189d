"""Networks of sequences, sounds, clips, tokens and several inputs, written out in PyTorch.

They are references as those of :mod:`hand_built`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

# Sequences.


class CRNN(nn.Module):
    """The text recogniser of Shi et al. as the authors released it."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 64, 128, 256, 256, 512, 512, 512)
        pools = {1: (2, 2, 0), 2: (2, 2, 0), 4: (2, (2, 1), (0, 1)), 6: (2, (2, 1), (0, 1))}
        layers: list[nn.Module] = []
        for i, (c, width) in enumerate(pairwise(widths), 1):
            layers.append(nn.Conv2d(c, width, *((2, 1, 0) if i == 7 else (3, 1, 1))))
            layers += [nn.BatchNorm2d(width)] if i in (3, 5, 7) else []
            layers.append(nn.ReLU())
            layers += [nn.MaxPool2d(*pools[i])] if i in pools else []
        self.features = nn.Sequential(*layers)
        self.first = nn.LSTM(512, 256, bidirectional=True)
        self.between = nn.Linear(512, 256)
        self.second = nn.LSTM(256, 256, bidirectional=True)
        self.answer = nn.Linear(512, 37)

    def forward(self, x: Any) -> Any:
        steps = self.features(x).squeeze(2).permute(2, 0, 1)  # columns x batch x features
        steps = self.between(self.first(steps)[0])
        return self.answer(self.second(steps)[0]).transpose(0, 1)


class TextCNN(nn.Module):
    """Kim's network: windows of three, four and five words, and the maximum over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(18766, 300)
        self.filters = nn.ModuleList(nn.Conv1d(300, 100, n) for n in (3, 4, 5))
        self.answer = nn.Linear(300, 2)

    def forward(self, words: Any) -> Any:
        x = self.words(words).transpose(1, 2)  # batch x features x words
        found = [conv(x).relu().amax(2) for conv in self.filters]
        return self.answer(torch.cat(found, 1))


class WaveNet(nn.Module):
    """Figure 4 of van den Oord et al., of 50 layers."""

    def __init__(self, width: int = 32, skip: int = 512) -> None:
        super().__init__()
        self.first = nn.Conv1d(256, width, 2)
        self.dilated, self.skips, self.back = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i in range(50):
            pair = (nn.Conv1d(width, width, 2, dilation=2 ** (i % 10)) for _ in range(2))
            self.dilated.append(nn.ModuleList(pair))
            self.skips.append(nn.Conv1d(width, skip, 1))
            if i < 49:
                self.back.append(nn.Conv1d(width, width, 1))
        self.head = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, 256, 1)
        )

    def forward(self, x: Any) -> Any:
        x = self.first(functional.pad(x, (1, 0)))
        total: Any = 0
        for i, (one, gate) in enumerate(self.dilated):
            before = functional.pad(x, (2 ** (i % 10), 0))
            z = one(before).tanh() * gate(before).sigmoid()
            total = total + self.skips[i](z)
            if i < 49:
                x = x + self.back[i](z)
        return self.head(total)


# Pictures: two of them, enlarged ones, and those made of noise.


class Siamese(nn.Module):
    """The twins of Koch et al. for Omniglot."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Conv2d(1, 64, 10), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 7), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(128, 128, 4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(128, 256, 4), nn.ReLU(),
            nn.Flatten(), nn.Linear(9216, 4096), nn.Sigmoid(),
        )  # fmt: skip
        self.score = nn.Linear(4096, 1)

    def forward(self, left: Any, right: Any) -> Any:
        return self.score((self.tower(left) - self.tower(right)).abs()).sigmoid()


def srcnn(kernel: int) -> nn.Module:
    """The three convolutions of Dong et al., of which the second has another kernel."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 9), nn.ReLU(), nn.Conv2d(64, 32, kernel), nn.ReLU(), nn.Conv2d(32, 1, 5)
    )


def espcn(factor: int) -> nn.Module:
    """The network of Shi et al., section 3.2: 5-3-3 with hyperbolic tangents."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5, padding=2), nn.Tanh(), nn.Conv2d(64, 32, 3, padding=1), nn.Tanh(),
        nn.Conv2d(32, factor**2, 3, padding=1), nn.PixelShuffle(factor),
    )  # fmt: skip


def generator() -> nn.Module:
    """Figure 1 of Radford et al., without biases as in the authors' code."""
    layers: list[nn.Module] = [
        nn.Linear(100, 16384, bias=False), nn.BatchNorm1d(16384), nn.ReLU(),
        nn.Unflatten(1, (1024, 4, 4)),
    ]  # fmt: skip
    for c, width in pairwise((1024, 512, 256, 128, 3)):
        layers.append(nn.ConvTranspose2d(c, width, 5, 2, 2, 1, bias=False))
        layers += [nn.BatchNorm2d(width), nn.ReLU()] if width > 3 else [nn.Tanh()]
    return nn.Sequential(*layers)


def discriminator() -> nn.Module:
    """The mirror of the generator, with leaky ReLUs."""
    layers: list[nn.Module] = []
    for c, width in pairwise((3, 128, 256, 512, 1024)):
        layers.append(nn.Conv2d(c, width, 5, 2, 2, bias=False))
        layers += [nn.BatchNorm2d(width)] if c > 3 else []
        layers.append(nn.LeakyReLU(0.2))
    end = nn.Flatten(), nn.Linear(16384, 1, bias=False), nn.Sigmoid()
    return nn.Sequential(*layers, *end)


# Clips.


def c3d() -> nn.Module:
    """The eight convolutions of Tran et al., figure 3, for the classes of Sports-1M."""
    layers: list[nn.Module] = []
    c = 3
    for widths in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for width in widths:
            layers += [nn.Conv3d(c, width, 3, padding=1), nn.ReLU()]
            c = width
        layers.append(nn.MaxPool3d((1 if c == 64 else 2, 2, 2), ceil_mode=True))
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(8192, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
        nn.Linear(4096, 487),
    )  # fmt: skip


class Bottleneck(nn.Module):
    """The block of He et al. with its stride in the middle, on pictures or on single ``frames``."""

    def __init__(self, c: int, width: int, stride: int, frames: bool) -> None:
        super().__init__()
        conv, norm = (nn.Conv3d, nn.BatchNorm3d) if frames else (nn.Conv2d, nn.BatchNorm2d)

        def unit(c: int, out: int, n: int, stride: int) -> Any:
            size: Any = [(1,) * frames + (k, k) for k in (n, stride)]
            padding: Any = (0,) * frames + (n // 2, n // 2)
            return nn.Sequential(conv(c, out, *size, padding, bias=False), norm(out))

        self.first, self.second = unit(c, width, 1, 1), unit(width, width, 3, stride)
        self.third = unit(width, 4 * width, 1, 1)
        same = stride == 1 and c == 4 * width
        self.shortcut = nn.Identity() if same else unit(c, 4 * width, 1, stride)

    def forward(self, x: Any) -> Any:
        y = self.third(self.second(self.first(x).relu()).relu())
        return (y + self.shortcut(x)).relu()


class NonLocal(nn.Module):
    """The block of Wang et al., figure 2: embedded Gaussians, keys and values pooled."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv3d(c, c // 2, 1) for _ in range(3))
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.back = nn.Sequential(nn.Conv3d(c // 2, c, 1), nn.BatchNorm3d(c))

    def forward(self, x: Any) -> Any:
        queries = self.theta(x).flatten(2).transpose(1, 2)
        keys, values = self.pool(self.phi(x)).flatten(2), self.pool(self.g(x)).flatten(2)
        seen = (queries @ keys).softmax(2) @ values.transpose(1, 2)
        return x + self.back(seen.transpose(1, 2).reshape(len(x), -1, *x.shape[2:]))


def c2d(*, non_local: bool) -> nn.Module:
    """Table 1 of Wang et al., with two blocks in res3 and three in res4, or without them."""
    layers: list[nn.Module] = [
        nn.Conv3d(3, 64, (1, 7, 7), 2, (0, 3, 3), bias=False), nn.BatchNorm3d(64), nn.ReLU(),
        nn.MaxPool3d(3, 2, 1),
    ]  # fmt: skip
    c = 64
    for stage, depth in enumerate((3, 4, 6, 3), 2):
        width = 2 ** (stage + 4)
        for j in range(depth):
            layers.append(Bottleneck(c, width, 2 if stage > 2 and not j else 1, frames=True))
            c = 4 * width
            if non_local and stage in (3, 4) and j % 2:
                layers.append(NonLocal(c))
        layers += [nn.MaxPool3d((3, 1, 1), (2, 1, 1), (1, 0, 0))] if stage == 2 else []
    end = nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2048, 400)
    return nn.Sequential(*layers, *end)


# Detection.


class RetinaNet(nn.Module):
    """The backbone, pyramid and heads of torchvision's RetinaNet, without what is no layer."""

    def __init__(self) -> None:
        super().__init__()
        from archcost.packages import import_package

        detection = import_package("torchvision").models.detection
        whole = detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None)
        self.backbone, self.head = whole.backbone, whole.head

    def forward(self, x: Any) -> Any:
        found = self.head(list(self.backbone(x).values()))
        return found["cls_logits"], found["bbox_regression"]


class MultiHead(nn.Module):
    """Attention of Vaswani et al. between layers for queries, keys, values and what comes out."""

    def __init__(self, width: int = 256, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, q: Any, k: Any, v: Any) -> Any:
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, q), (self.k, k), (self.v, v))
        )
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.out(seen.transpose(1, 2).flatten(2))


class Coder(nn.Module):
    """A layer of DETR's encoder or, where it reads ``memory``, of its decoder: figure 10."""

    def __init__(self, *, decodes: bool) -> None:
        super().__init__()
        self.own, self.decodes = MultiHead(), decodes
        self.other = MultiHead() if decodes else None
        self.hidden, self.back = nn.Linear(256, 2048), nn.Linear(2048, 256)
        self.norms = nn.ModuleList(nn.LayerNorm(256) for _ in range(3 if decodes else 2))

    def forward(self, x: Any, positions: Any, located: Any = None, memory: Any = None) -> Any:
        norms = iter(self.norms)
        where = x + positions
        x = next(norms)(x + self.own(where, where, x))
        if self.other is not None:
            x = next(norms)(x + self.other(x + positions, located, memory))
        return next(norms)(x + self.back(self.hidden(x).relu()))


class DETR(nn.Module):
    """The network of Carion et al. on torchvision's, for a map of so many ``places``."""

    def __init__(self, depth: int, places: int = 850) -> None:
        super().__init__()
        from archcost.packages import import_package

        make = getattr(import_package("torchvision").models, f"resnet{depth}")
        self.backbone = nn.Sequential(*[*make(weights=None).children()][:-2])
        self.project = nn.Conv2d(2048, 256, 1)
        self.register_buffer("positions", torch.randn(places, 256))
        self.encoder = nn.ModuleList(Coder(decodes=False) for _ in range(6))
        self.decoder = nn.ModuleList(Coder(decodes=True) for _ in range(6))
        self.queries, self.norm = nn.Parameter(torch.randn(100, 256)), nn.LayerNorm(256)
        self.classes = nn.Linear(256, 92)
        self.boxes = nn.Sequential(
            nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4),
            nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, image: Any) -> Any:
        x = self.project(self.backbone(image)).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            x = layer(x, self.positions)
        queries = self.queries.expand(len(x), -1, -1)
        found, y, located = [], 0 * queries, x + self.positions
        for layer in self.decoder:
            y = layer(y, queries, located, x)
            found.append(self.norm(y))
        rounds = torch.stack(found, 1)
        return self.classes(rounds), self.boxes(rounds)


VARIOUS: dict[str, tuple[Callable[[], nn.Module], Any]] = {
    "crnn": (CRNN, None),
    "text_cnn": (TextCNN, None),
    "siamese": (Siamese, None),
    "wavenet": (WaveNet, "256x1500"),
    **{f"srcnn_9{n}5": (partial(srcnn, n), None) for n in (1, 3, 5)},
    **{f"espcn_x{n}": (partial(espcn, n), None) for n in (2, 3, 4)},
    "dcgan_generator": (generator, None),
    "dcgan_discriminator": (discriminator, None),
    "c3d": (c3d, None),
    "c2d_resnet50": (partial(c2d, non_local=False), "3x16x65x65"),
    "nonlocal_c2d_resnet50": (partial(c2d, non_local=True), "3x16x65x65"),
    "retinanet_resnet50_fpn": (RetinaNet, "3x128x96"),
}
