"""Networks of cells and modules, written out in PyTorch as :mod:`hand_built` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional


def unit(c: int, width: int, kernel: Any, stride: int = 1, padding: Any = 0) -> nn.Module:
    """Return a convolution with normalisation and ReLU, as Inception has them."""
    conv = nn.Conv2d(c, width, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width, eps=0.001), nn.ReLU())


class Joined(nn.Module):
    """Branches side by side, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Residual(nn.Module):
    """Branches, a convolution back to the input's width, and a scaled sum."""

    def __init__(self, c: int, width: int, scale: float, *branches: nn.Module) -> None:
        super().__init__()
        self.branches, self.back, self.scale = Joined(*branches), nn.Conv2d(width, c, 1), scale

    def forward(self, x: Any) -> Any:
        return (x + self.scale * self.back(self.branches(x))).relu()


def inception_resnet_v1() -> nn.Module:
    """Inception-ResNet-v1 from figures 7 and 10 to 15 of Szegedy et al.; scales as released."""

    def rows(c: int, width: int, n: int) -> nn.Module:
        return nn.Sequential(
            unit(c, width, 1), unit(width, width, (1, n), padding=(0, n // 2)),
            unit(width, width, (n, 1), padding=(n // 2, 0)),
        )  # fmt: skip

    def a() -> nn.Module:
        three = [unit(32, 32, 3, padding=1) for _ in range(3)]
        return Residual(
            256, 96, 0.17, unit(256, 32, 1), nn.Sequential(unit(256, 32, 1), three[0]),
            nn.Sequential(unit(256, 32, 1), *three[1:]),
        )  # fmt: skip

    return nn.Sequential(
        unit(3, 32, 3, 2), unit(32, 32, 3), unit(32, 64, 3, padding=1), nn.MaxPool2d(3, 2),
        unit(64, 80, 1), unit(80, 192, 3), unit(192, 256, 3, 2),
        *(a() for _ in range(5)),
        Joined(
            unit(256, 384, 3, 2),
            nn.Sequential(
                unit(256, 192, 1), unit(192, 192, 3, padding=1), unit(192, 256, 3, 2)
            ),
            nn.MaxPool2d(3, 2),
        ),
        *(Residual(896, 256, 0.1, unit(896, 128, 1), rows(896, 128, 7)) for _ in range(10)),
        Joined(
            nn.Sequential(unit(896, 256, 1), unit(256, 384, 3, 2)),
            nn.Sequential(unit(896, 256, 1), unit(256, 256, 3, 2)),
            nn.Sequential(unit(896, 256, 1), unit(256, 256, 3, padding=1), unit(256, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        ),
        *(Residual(1792, 384, 0.2, unit(1792, 192, 1), rows(1792, 192, 3)) for _ in range(5)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1792, 1000),
    )  # fmt: skip


class Halved(nn.Module):
    """Every second pixel, and those between, each with half of the channels."""

    def __init__(self, c: int, width: int) -> None:
        super().__init__()
        self.even, self.odd = (nn.Conv2d(c, width // 2, 1, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Any) -> Any:
        shifted = functional.pad(x, (0, 1, 0, 1))[..., 1:, 1:]
        pixels = self.even(x[..., ::2, ::2]), self.odd(shifted[..., ::2, ::2])
        return self.norm(torch.cat(pixels, 1))


class Same(nn.Module):
    """Padding as TensorFlow does it, then the module; the odd element goes after the input."""

    def __init__(self, module: Any, value: float = 0.0) -> None:
        super().__init__()
        self.module, self.value = module, value
        kernel, stride = module.kernel_size, module.stride
        self.kernel = kernel if isinstance(kernel, int) else kernel[0]
        self.stride = stride if isinstance(stride, int) else stride[0]

    def forward(self, x: Any) -> Any:
        sides: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            total = max(0, (-(-size // self.stride) - 1) * self.stride + self.kernel - size)
            sides += [total // 2, total - total // 2]
        return self.module(functional.pad(x, sides, value=self.value))


class Mean(nn.Module):
    """The mean of a 3x3 window without what is outside of the map."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.sum = Same(nn.AvgPool2d(3, stride))

    def forward(self, x: Any) -> Any:
        return self.sum(x) / self.sum(torch.ones_like(x))


def separable(c: int, kernel: int, stride: int = 1) -> nn.Module:
    """Return two separable convolutions, the first of which strides."""
    layers: list[nn.Module] = []
    for step in (stride, 1):
        depthwise = nn.Conv2d(c, c, kernel, step, groups=c, bias=False)
        pointwise = nn.Conv2d(c, c, 1, bias=False)
        layers += [nn.ReLU(), Same(depthwise), pointwise, nn.BatchNorm2d(c)]
    return nn.Sequential(*layers)


class Cell(nn.Module):
    """A cell of ENAS, figures 7 and 8: pairs of operations on earlier states, 0 and 1 the inputs.

    A pair is two of (state, operation); the states that nobody reads are joined.
    """

    NORMAL = (
        ((0, "mean"), (0, "3")), ((0, "id"), (0, "5")), ((0, "id"), (1, "5")),
        ((1, "3"), (0, "5")), ((0, "mean"), (1, "5")),
    )  # fmt: skip
    REDUCTION = (
        ((1, "3"), (1, "3")), ((0, "max"), (0, "mean")), ((1, "5"), (3, "5")),
        ((1, "3"), (0, "id")), ((0, "max"), (1, "5")),
    )  # fmt: skip

    def __init__(self, before: int, c: int, f: int, pairs: Any, *, smaller: bool) -> None:
        super().__init__()
        self.reduce = pairs is self.REDUCTION
        point = [nn.ReLU(), nn.Conv2d(c, f, 1, bias=False), nn.BatchNorm2d(f)]
        again = [nn.ReLU(), nn.Conv2d(f, f, 1, bias=False), nn.BatchNorm2d(f)]
        self.fit = nn.Sequential(*point, *again)
        self.fit_before = nn.Sequential(
            nn.ReLU(),
            *(
                [Halved(before, f)]
                if smaller
                else [nn.Conv2d(before, f, 1, bias=False), nn.BatchNorm2d(f)]
            ),
        )
        self.pairs = pairs
        self.operations = nn.ModuleList(
            self.operation(what, f, 2 if self.reduce and state < 2 else 1)
            for pair in pairs for state, what in pair
        )  # fmt: skip

    def operation(self, what: str, f: int, stride: int) -> nn.Module:
        if what == "mean":
            return Mean(stride)
        if what == "max":
            return Same(nn.MaxPool2d(3, stride), float("-inf"))
        if what == "id":
            return Halved(f, f) if stride > 1 else nn.Identity()
        return separable(f, int(what), stride)

    def forward(self, before: Any, x: Any) -> Any:
        h = self.fit(x)
        states = [self.fit_before(before), h]
        operations = iter(self.operations)
        for pair in self.pairs:
            (i, _), (j, _) = pair
            states.append(next(operations)(states[i]) + next(operations)(states[j]))
        read = {state for pair in self.pairs for state, _ in pair}
        return torch.cat([s for i, s in enumerate(states) if i not in read and i > 1], 1)


class MicroENAS(nn.Module):
    """The network of the micro search space: 15 normal cells, a reduction after 5 and 10."""

    def __init__(self, filters: int = 36) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 3 * filters, 3, padding=1, bias=False), nn.BatchNorm2d(3 * filters)
        )
        self.cells = nn.ModuleList()
        before = c = 3 * filters
        smaller = False
        plan: list[tuple[int, Sequence[Any]]] = []
        for stage in range(3):
            plan += [(filters * 2**stage, Cell.REDUCTION)] if stage else []
            plan += [(filters * 2**stage, Cell.NORMAL)] * 5
        for f, pairs in plan:
            self.cells.append(Cell(before, c, f, pairs, smaller=smaller))
            smaller = pairs is Cell.REDUCTION
            before, c = c, (4 if smaller else 5) * f
        self.answer = nn.Linear(c, 10, bias=False)

    def forward(self, x: Any) -> Any:
        before = x = self.stem(x)
        for cell in self.cells:
            before, x = x, cell(before, x)
        return self.answer(x.relu().mean((2, 3)))
