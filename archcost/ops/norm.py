"""Normalisation over batch, channels, groups or neighbours, and a learnt scale per channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import (
    axis,
    axis_of,
    check,
    count,
    features_axes,
    features_of,
    flag,
    number,
    show_argument,
)
from archcost.ops.base import BYTES, INT64, Cost, Example, Op, example, op
from archcost.ops.reads import ALL, Reads, along, kept
from archcost.shape import Shape, numel, show, spatial
from archcost.units import number_of

TRACKED = "num_batches_tracked"
FLOAT32_STEP = 2.0**-23
"""What RMSNorm adds unless told otherwise: ``torch.finfo(torch.float32).eps``."""


def affine_params(shape: Shape, affine: bool, bias: bool = True) -> Mapping[str, Shape]:
    """Return the scale and the shift that a normalisation learns, if it does."""
    return {name: shape for name in ("weight", "bias")[: 1 + bias] if affine}


def statistics(x: Shape, norm: Any) -> Mapping[str, Shape]:
    """Return the running statistics of each channel, if a normalisation tracks them."""
    if not norm.track_running_stats:
        return {}
    return {"running_mean": x[:1], "running_var": x[:1], TRACKED: ()}


@op("batchnorm", kind="norm")
class BatchNorm(Op):
    """Batch normalisation per channel, with scale and shift (Ioffe & Szegedy 2015)."""

    eps: float = number(1e-5)
    momentum: float = number(0.1)
    affine: bool = flag(True)
    track_running_stats: bool = flag(True)

    buffer_bytes: ClassVar[Mapping[str, int]] = {TRACKED: BYTES[INT64]}
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(64, 9, 8)),
        example(eps=1e-3, momentum=0.01, affine=False, x=(6, 4, 4)),
        example(x=(8,)),
        example(x=(8, 5)),
        example(x=(8, 3, 4, 5)),
        example(track_running_stats=False, x=(6, 4, 4)),
        example(affine=False, track_running_stats=False, x=(6, 4)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        if len(x) > 4:
            raise OpError(f"batchnorm takes up to 3 spatial dimensions, not {show(x)}")
        check(self.eps > 0, "eps must be more than 0")  # PyTorch refuses 0 in training
        return Cost(x, affine_params((x[0],), self.affine), buffers=statistics(x, self))

    def forward(
        self, F: Any, x: Any, weight: Any = None, bias: Any = None, *,
        running_mean: Any = None, running_var: Any = None, num_batches_tracked: Any = None,
    ) -> Any:  # fmt: skip
        return F.batch_norm(
            x, weight, bias, mean=running_mean, var=running_var,
            training=F.training or running_mean is None, momentum=self.momentum, eps=self.eps,
        )  # fmt: skip

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, f"BatchNorm{max(len(x) - 1, 1)}d")(x[0], *self.values)


class OverFeatures(Op):
    """Normalisation over the features of each position."""

    dim: Any
    affine: bool

    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.ones({})"}

    def features(self, x: Shape) -> tuple[int, ...]:
        """Return the dimensions that are normalised."""
        if isinstance(self.dim, tuple):
            dims = tuple(axis_of(dim, x, self.name) for dim in self.dim)
            trailing = tuple(range(len(x) - len(dims), len(x)))
            wanted = "several dims are the last ones, in order"
            check(dims == trailing, f"{wanted}; {show_argument(self.dim)} of {show(x)} are not")
            return dims
        advice = "dim=0 if its channels are first, dim=-1 if they are last"
        return (features_of(self.dim, x, self.name, advice),)

    def are_last(self, x: Shape) -> bool:
        """Whether these are the last dimensions, as of a module of ``torch.nn``."""
        return self.features(x)[-1] == len(x) - 1

    def sizes(self, x: Shape) -> Shape:
        """Return the sizes of the dimensions that are normalised."""
        return tuple(x[dim] for dim in self.features(x))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), self.features(x))

    def normalised(self, F: Any, x: Any, *params: Any) -> Any:
        """Return a tensor whose features are last, normalised."""
        raise NotImplementedError

    def on_features(self, F: Any, x: Any, *params: Any) -> Any:
        """Return a tensor normalised, for which its features are put last."""
        rank, where = len(x.shape), self.features(x.shape[1:])[-1] + 1
        if where == rank - 1:
            return self.normalised(F, x, *params)
        there = (*range(where), *range(where + 1, rank), where)
        back = (*range(where), rank - 1, *range(where, rank - 1))
        x = F.permute(x, dims=there)
        x = self.normalised(F, x, *params)
        return F.permute(x, dims=back)

    def settings(self, axes: int = 2) -> str:
        return "" if self.dim is None else f"dim {show_argument(self.dim)}"


@op("layernorm", kind="norm")
class LayerNorm(OverFeatures):
    """Normalisation over the features of each position, with scale and shift (Ba et al. 2016).

    The features of a vector or of tokens are the last dimension. For a map, give ``dim=0`` if its
    channels are first, ``dim=-1`` if they are last, ``dim=[0, 1, 2]`` for the whole map.
    """

    dim: Any = features_axes()
    eps: float = number(1e-5)
    affine: bool = flag(True)
    bias: bool = flag(True)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(8,)),
        example(eps=1e-6, x=(5, 8)),
        example(dim=-1, x=(4, 5, 6)),
        example(dim=0, eps=1e-6, x=(6, 5, 4)),
        example(dim=0, x=(6, 5)),
        example(dim=(0, 1, 2), x=(3, 5, 4)),
        example(dim=(-2, -1), bias=False, x=(3, 5, 4)),
        example(affine=False, x=(5, 8)),
        example(dim=0, affine=False, x=(6, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, affine_params(self.sizes(x), self.affine, self.bias))

    def normalised(self, F: Any, x: Any, *params: Any) -> Any:
        dims = 1 if isinstance(self.dim, int) or self.dim is None else len(self.dim)
        return F.layer_norm(x, *params, dims=dims, eps=self.eps)

    def forward(self, F: Any, x: Any, weight: Any = None, bias: Any = None) -> Any:
        return self.on_features(F, x, weight, bias)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        if not self.are_last(x):
            return None
        return torch.nn.LayerNorm(self.sizes(x), self.eps, self.affine, self.bias)


@op("rmsnorm", kind="norm")
class RMSNorm(OverFeatures):
    """Division by the root mean square of the features, with a scale (Zhang & Sennrich 2019).

    ``dim`` selects the features, as in ``layernorm``. The default ``eps`` is the machine epsilon of
    float32.
    """

    dim: Any = features_axes()
    eps: Any = number(None)
    affine: bool = flag(True)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(8,)),
        example(eps=1e-6, x=(5, 8)),
        example(dim=-1, affine=False, x=(4, 5, 6)),
        example(dim=0, eps=1e-6, x=(6, 5, 4)),
        example(dim=(1, 2), x=(3, 5, 4)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, affine_params(self.sizes(x), self.affine, bias=False))

    def normalised(self, F: Any, x: Any, *params: Any) -> Any:
        dims = 1 if isinstance(self.dim, int) or self.dim is None else len(self.dim)
        eps = FLOAT32_STEP if self.eps is None else self.eps
        return F.rms_norm(x, *params, dims=dims, eps=eps)

    def forward(self, F: Any, x: Any, weight: Any = None) -> Any:
        return self.on_features(F, x, weight)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        if not self.are_last(x):
            return None
        return torch.nn.RMSNorm(self.sizes(x), self.eps, self.affine)


@op("groupnorm", kind="norm")
class GroupNorm(Op):
    """Normalisation over groups of channels, with scale and shift (Wu & He 2018)."""

    groups: int = count()
    eps: float = number(1e-5)
    affine: bool = flag(True)

    examples: ClassVar[tuple[Example, ...]] = (
        example(2, x=(6, 5, 4)),
        example(3, x=(6, 5)),
        example(3, affine=False, x=(6, 5, 4)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(x[0] % self.groups == 0, f"{x[0]} channels make no {self.groups} groups")
        each = numel(x) // self.groups
        check(each > 1, f"groupnorm needs more than one value per group, not {show(x)}")
        return Cost(x, affine_params((x[0],), self.affine))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return along([ALL] * (len(x) - 1))

    def forward(self, F: Any, x: Any, weight: Any = None, bias: Any = None) -> Any:
        return F.group_norm(x, weight, bias, groups=self.groups, eps=self.eps)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.GroupNorm(self.groups, x[0], self.eps, self.affine)

    def settings(self, axes: int = 2) -> str:
        return number_of(self.groups, "group") + ("" if self.affine else ", not affine")


@op("instancenorm", kind="norm")
class InstanceNorm(Op):
    """Normalisation of each channel of each sample (Ulyanov et al. 2016).

    It has a scale and a shift if ``affine``, running statistics if it tracks them.
    """

    eps: float = number(1e-5)
    momentum: float = number(0.1)
    affine: bool = flag(False)
    track_running_stats: bool = flag(False)

    buffer_bytes: ClassVar[Mapping[str, int]] = {TRACKED: BYTES[INT64]}
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 5, 4)),
        example(x=(6, 5)),
        example(affine=True, x=(6, 5, 4)),
        example(affine=True, track_running_stats=True, x=(6, 5)),
        example(track_running_stats=True, x=(6, 2, 3, 2)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = spatial(x, "instancenorm")
        check(numel(size) > 1, f"instancenorm needs more than one value per channel, not {show(x)}")
        return Cost(x, affine_params((x[0],), self.affine), buffers=statistics(x, self))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return along([ALL] * (len(x) - 1))

    def forward(
        self, F: Any, x: Any, weight: Any = None, bias: Any = None, *,
        running_mean: Any = None, running_var: Any = None, num_batches_tracked: Any = None,
    ) -> Any:  # fmt: skip
        return F.instance_norm(
            x, weight, bias, mean=running_mean, var=running_var,
            training=F.training or running_mean is None, momentum=self.momentum, eps=self.eps,
        )  # fmt: skip

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, f"InstanceNorm{len(x) - 1}d")(x[0], *self.values)


@op("grn", kind="norm")
class GRN(Op):
    """Global response normalisation of a map with its channels last (Woo et al. 2023).

    x + bias + weight·x·n, where n is the norm of a channel's map divided by the mean of all norms.
    """

    examples: ClassVar[tuple[Example, ...]] = (example(x=(5, 4, 6)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 3, f"grn takes height x width x channels, not {show(x)}")
        channels = (x[-1],)
        return Cost(x, {"weight": channels, "bias": channels})

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[(0, ALL)], [(1, ALL)], []]

    def forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        norm = F.norm(x, dims=(1, 2), keepdim=True)
        relative = F.div(norm, F.add(F.mean(norm, dims=(3,), keepdim=True), 1e-6))
        return F.add(x, F.addcmul(bias, weight, F.mul(x, relative)))


@op("lrn", kind="norm")
class LRN(Op):
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    ``alpha`` is divided by ``size`` as in PyTorch; the paper's 1e-4 without division is 5e-4 here.
    """

    size: int = count(5)
    alpha: float = number(1e-4, high=1e6)
    beta: float = number(0.75, high=1e6)
    k: float = number(1.0, high=1e6)

    examples: ClassVar[tuple[Example, ...]] = (
        example(5, x=(96, 9, 8)),
        example(3, alpha=1e-3, k=2.0, x=(4, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) >= 2, "lrn needs channels and at least one spatial dimension")
        return Cost(x)

    def forward(self, F: Any, x: Any) -> Any:
        n, c, *rest = x.shape
        planes = (rest[0], numel(tuple(rest[1:]))) if len(rest) > 1 else (rest[0],)
        square = F.reshape(F.mul(x, x), shape=(n, 1, c, *planes))
        # torch.nn.functional names the mean until the power replaces it
        d = F.pad(square, sides=((self.size // 2, (self.size - 1) // 2), *((0, 0),) * len(planes)))
        del square
        window, ones = (self.size, *(1,) * len(planes)), (1,) * (1 + len(planes))
        d = F.avg_pool(d, kernel=window, stride=ones, padding=(0,) * len(ones), ceil=False)
        d = F.reshape(d, shape=x.shape)
        d = F.pow(F.add(F.mul(d, self.alpha), self.k), self.beta)
        return F.div(x, d)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.LocalResponseNorm(self.size, self.alpha, self.beta, self.k)

    def settings(self, axes: int = 2) -> str:
        return f"size {self.size}"


@op("normalize", kind="norm")
class Normalize(Op):
    """Divide by the Euclidean norm along ``dim`` (0 = channels), but at least by ``eps``.

    SSD multiplies the result by a learnt factor per channel (Liu et al. 2016, section 3.1).
    """

    dim: int = axis(0)
    eps: float = number(1e-12)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 5, 4)),
        example(x=(8,)),
        example(-1, 1e-6, x=(5, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        axis_of(self.dim, x, "normalize")
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), [axis_of(self.dim, x, "normalize")])

    def forward(self, F: Any, x: Any) -> Any:
        where = axis_of(self.dim, x.shape[1:], "normalize") + 1
        return F.normalize(x, dim=where, eps=self.eps)

    def settings(self, axes: int = 2) -> str:
        return f"dim {self.dim}" if self.dim else ""


@op("pixelnorm", kind="norm")
class PixelNorm(Op):
    """Division of each pixel by the root mean square of its channels (Karras et al. 2017)."""

    eps: float = number(1e-8)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(1e-6, x=(8,)))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), [0])

    def forward(self, F: Any, x: Any) -> Any:
        square = F.mean(F.pow(x, 2), dims=(1,), keepdim=True)
        return F.mul(x, F.rsqrt(F.add(square, self.eps)))


@op("frn", kind="norm")
class FilterResponseNorm(Op):
    """Division of each map by its root mean square, scale and shift (Singh & Krishnan 2019).

    Its threshold is a maximum with a learnt number per channel: ``maximum`` and ``parameter``.
    """

    eps: float = number(1e-6)

    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.ones({})"}
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(1e-3, x=(4, 7)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        spatial(x, "frn")
        return Cost(x, affine_params((x[0], *(1,) * (len(x) - 1)), True))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return along([ALL] * (len(x) - 1))

    def forward(self, F: Any, x: Any, weight: Any, bias: Any) -> Any:
        square = F.mean(F.pow(x, 2), dims=tuple(range(2, len(x.shape))), keepdim=True)
        x = F.mul(x, F.rsqrt(F.add(square, self.eps)))
        return F.add(F.mul(x, weight), bias)
