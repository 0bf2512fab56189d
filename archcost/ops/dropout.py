"""Dropout of elements, of channels and of samples: the shape stays."""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from archcost.ops.arguments import number
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.programs import dropped
from archcost.shape import Shape, spatial


@op("dropout", kind="dropout")
class Dropout(Op):
    """Zero each element with probability ``p`` while training (Srivastava et al. 2014)."""

    p: float = number(0.5)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(16,)), example(0.0, x=(4, 3, 2)))

    def forward(self, F: Any, x: Any) -> Any:
        if not F.training or not self.p:
            return x
        return dropped(F, x, self.p)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.Dropout(self.p)

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"


@op("stochastic_depth", kind="dropout")
class StochasticDepth(Op):
    """Zero a whole sample with probability ``p`` while training (Huang et al. 2016)."""

    p: float = number()

    examples: ClassVar[tuple[Example, ...]] = (example(0.2, x=(4, 3, 2)), example(0.0, x=(8,)))

    def forward(self, F: Any, x: Any) -> Any:
        if not F.training or not self.p:
            return x
        samples = (x.shape[0], *(1,) * (len(x.shape) - 1))
        return F.mul(x, F.noise(shape=samples, like=x, p=self.p))

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"


def channel_noise(F: Any, x: Any, p: float) -> Any:
    """Return a factor for each channel of each sample."""
    return F.noise(shape=(*x.shape[:2], *(1,) * (len(x.shape) - 2)), like=x, p=p)


@op("channel_dropout", kind="dropout")
class ChannelDropout(Op):
    """Zero each channel with probability ``p`` while training (Tompson et al. 2014).

    PyTorch calls it ``Dropout1d``, ``Dropout2d`` and ``Dropout3d``.
    """

    p: float = number(0.5)

    module: ClassVar[str] = "Dropout{}d"
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(4, 3, 2)),
        example(0.2, x=(4, 6)),
        example(0.0, x=(4, 3, 2, 2)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        spatial(x, self.name)
        return Cost(x)

    def forward(self, F: Any, x: Any) -> Any:
        if not F.training or not self.p:
            return x
        if self.p == 1:
            return F.mul(x, F.full(shape=(), like=x))
        return F.mul(x, channel_noise(F, x, self.p))

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, self.module.format(len(x) - 1))(self.p)

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"


ALPHA = 1.7580993408473766
"""SELU's limit for large negative numbers, with its sign changed (Klambauer et al. 2017)."""


def alpha_dropped(F: Any, x: Any, noise: Any, p: float) -> Any:
    """Return x where the noise says so, −ALPHA elsewhere, with the mean and variance of x.

    ``aten/src/ATen/native/Dropout.cpp``, ``_dropout_impl``; the noise is 0 or 1/(1 − p).
    """
    a = 1 / sqrt((ALPHA**2 * p + 1) * (1 - p))
    b = F.add(noise, 1 / (p - 1))
    F.added_in_place(F.scaled_in_place(b, ALPHA * a * (1 - p)), ALPHA * a * p)
    F.scaled_in_place(noise, a * (1 - p))
    return F.sum_in_place(F.mul(x, noise), b)


@op("alpha_dropout", kind="dropout")
class AlphaDropout(Op):
    """Dropout that keeps mean and variance, for SELU (Klambauer et al. 2017)."""

    p: float = number(0.5)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(16,)), example(0.0, x=(4, 3, 2)))

    def forward(self, F: Any, x: Any) -> Any:
        if not F.training or not self.p:
            return x
        if self.p == 1:
            return F.mul(x, F.full(shape=(), like=x))
        return alpha_dropped(F, x, F.noise(shape=x.shape, like=x, p=self.p), self.p)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.AlphaDropout(self.p)

    def settings(self, axes: int = 2) -> str:
        return f"p {self.p:g}"


@op("feature_alpha_dropout", kind="dropout")
class FeatureAlphaDropout(ChannelDropout):
    """Dropout of channels that keeps mean and variance, for SELU (Klambauer et al. 2017)."""

    module: ClassVar[str] = "FeatureAlphaDropout"

    def forward(self, F: Any, x: Any) -> Any:
        if not F.training or self.p in (0, 1):
            return super().forward(F, x)
        return alpha_dropped(F, x, channel_noise(F, x, self.p), self.p)
