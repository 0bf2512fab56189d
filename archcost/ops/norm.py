"""Normalisation, over batch, channels, groups or neighbours, and a learnt scale per channel."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import (
    check,
    count,
    features_axis,
    features_of,
    flag,
    number,
    show_argument,
)
from archcost.ops.base import (
    EVERYWHERE,
    INPUT,
    KEEPS,
    OUTPUT,
    PARAMS,
    SAVES_INPUT,
    Cost,
    Example,
    Op,
    Saved,
    Windows,
    example,
    op,
)
from archcost.ops.layout import ELEMENTWISE, MAPS, Layout, Strides, contiguous
from archcost.ops.steps import PRODUCT, SHARED, Step, step
from archcost.shape import Shape, numel, show, spatial

STATISTIC_BYTES = 4  # CUDA keeps batch statistics in float32, also for half precision


@op("batchnorm", kind="norm")
class BatchNorm(Op):
    """Batch normalisation per channel (Ioffe & Szegedy 2015): scale and shift are parameters."""

    eps: float = number(1e-5)
    momentum: float = number(0.1)
    affine: bool = flag(True)

    integer_buffers: ClassVar[tuple[str, ...]] = ("num_batches_tracked",)
    layout: ClassVar[str] = MAPS
    autocast: ClassVar[str | None] = KEEPS
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(64, 9, 8)),
        example(eps=1e-3, momentum=0.01, affine=False, x=(6, 4, 4)),
        example(x=(8,)),
        example(x=(8, 5)),
        example(x=(8, 3, 4, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        if len(x) > 4:
            raise OpError(f"batchnorm takes up to 3 spatial dimensions, not {show(x)}")
        check(self.eps > 0, "eps must be more than 0")  # PyTorch refuses 0 in training
        channels = (x[0],)
        work = {"batchnorm": numel(x)}
        params = {}
        if self.affine:
            work["batchnorm_affine"] = numel(x)
            work["norm_param"] = 2 * x[0]
            params = {"weight": channels, "bias": channels}
        buffers = {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}
        statistics = tuple(
            Saved(
                what,
                channels,
                per_batch=False,
                device=device,
                at_least=least,
                of_params=True,
                training=True,
            )
            for what in ("mean", "invstd")
            for device, least in (("cpu", 1), ("cuda", STATISTIC_BYTES))
        )
        return Cost(x, params, work, (*SAVES_INPUT, *statistics), buffers)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        return (Step(unasked=True),)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        module = getattr(torch.nn, f"BatchNorm{max(len(x) - 1, 1)}d")
        return module(x[0], eps=self.eps, momentum=self.momentum, affine=self.affine)


@op("layernorm", kind="norm")
class LayerNorm(Op):
    """Normalisation over the features of each position, with scale and shift (Ba et al. 2016).

    The features of a vector or of tokens are their last dimension; a map takes ``dim=0`` for its
    channels first, ``dim=-1`` for its channels last.
    """

    dim: Any = features_axis()
    eps: float = number(1e-5)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(8,)),
        example(eps=1e-6, x=(5, 8)),
        example(dim=-1, x=(4, 5, 6)),
        example(dim=0, eps=1e-6, x=(6, 5, 4)),
        example(dim=0, x=(6, 5)),
    )

    def features(self, x: Shape) -> int:
        """Return the dimension that is normalised."""
        advice = "dim=0 if its channels are first, dim=-1 if they are last"
        return features_of(self.dim, x, "layernorm", advice)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = self.features(x)
        last = where == len(x) - 1
        features = (x[where],)
        positions = x[:where] + x[where + 1 :]
        work = {"layernorm": numel(x), "norm_param": 2 * x[where]}
        if not last:
            work["layernorm_first"] = numel(x)
        statistics = tuple(
            Saved(what, positions, at_least=STATISTIC_BYTES) for what in ("mean", "rstd")
        )
        params = {"weight": features, "bias": features}
        return Cost(x, params, work, (*SAVES_INPUT, *statistics))

    def mixed(self, x: Shape, *_: Shape) -> tuple[int, ...]:
        return (self.features(x),)

    def strides(self, out: Shape, *inputs: Layout, weight: Layout | None = None) -> Strides:
        # other features than the last are moved there and back
        where = self.features(out[1:]) + 1
        *outer, last = contiguous((*out[:where], *out[where + 1 :], out[where]))
        return (*outer[:where], last, *outer[where:])

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        where = self.features(x)
        if where == len(x) - 1:
            return torch.nn.LayerNorm(x[where], eps=self.eps)

        class LayerNormFirst(torch.nn.LayerNorm):  # type: ignore[misc]
            def forward(self, x: Any) -> Any:
                return super().forward(x.movedim(where + 1, -1)).movedim(-1, where + 1)

        return LayerNormFirst(x[where], eps=self.eps)

    def settings(self, axes: int = 2) -> str:
        return "" if self.dim is None else f"dim {show_argument(self.dim)}"


@op("groupnorm", kind="norm")
class GroupNorm(Op):
    """Normalisation over groups of channels, with scale and shift (Wu & He 2018)."""

    groups: int = count()
    eps: float = number(1e-5)

    layout: ClassVar[str] = MAPS
    examples: ClassVar[tuple[Example, ...]] = (example(2, x=(6, 5, 4)), example(3, x=(6, 5)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(x[0] % self.groups == 0, f"{x[0]} channels make no {self.groups} groups")
        each = numel(x) // self.groups
        check(each > 1, f"groupnorm needs more than one value per group, not {show(x)}")
        channels = (x[0],)
        work = {"groupnorm": numel(x), "norm_param": 2 * x[0]}
        statistics = (Saved("mean", (self.groups,)), Saved("rstd", (self.groups,)))
        saved = (Saved(INPUT, copied_unless="is_packed"), *statistics)
        return Cost(x, {"weight": channels, "bias": channels}, work, saved)

    def window(self, x: Shape, *_: Shape) -> Windows:
        return EVERYWHERE

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.GroupNorm(self.groups, x[0], eps=self.eps)

    def settings(self, axes: int = 2) -> str:
        return f"{self.groups} groups"


@op("instancenorm", kind="norm")
class InstanceNorm(Op):
    """Normalisation of each channel of each sample, without parameters (Ulyanov et al. 2016)."""

    eps: float = number(1e-5)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(x=(6, 5)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        size = spatial(x, "instancenorm")
        check(numel(size) > 1, f"instancenorm needs more than one value per channel, not {show(x)}")
        statistics = (Saved("mean", (x[0],)), Saved("rstd", (x[0],)))
        saved = (Saved(INPUT, copied_unless="is_contiguous"), *statistics)
        return Cost(x, {}, {"instancenorm": numel(x)}, saved)

    def window(self, x: Shape, *_: Shape) -> Windows:
        return EVERYWHERE

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, f"InstanceNorm{len(x) - 1}d")(x[0], eps=self.eps)


@op("grn", kind="norm")
class GRN(Op):
    """Global response normalisation of a map with its channels last (Woo et al. 2023).

    x + bias + weight·x·n, where n is the norm of a channel's map over the mean norm of all.
    """

    layout: ClassVar[str] = ELEMENTWISE
    examples: ClassVar[tuple[Example, ...]] = (example(x=(5, 4, 6)),)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) == 3, f"grn takes height x width x channels, not {show(x)}")
        channels = (x[-1],)
        work = {
            "multiply": numel(x),
            "multiply_first": numel(x),
            "add": numel(x) + 1,  # and eps, once
            "norm_param": 2 * x[-1],
        }
        saved = (
            Saved(INPUT, gradient=0),
            Saved("response", x, gradient=PARAMS),
            Saved("norm", channels, gradient=0),
            Saved("relative norm", channels, gradient=0),
            Saved("mean norm", (1,), gradient=0),
        )
        return Cost(x, {"weight": channels, "bias": channels}, work, saved)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        channels, norm, relative, mean = (x[-1],), "norm", "relative norm", "mean norm"
        held = (norm, relative)
        return (
            step(norm, channels, (0,), keeps=(0, norm), scratch=channels),
            step("mean", (1,), (norm,)),
            step(mean, (1,), ("mean",), gradient=SHARED),
            step(relative, channels, (norm, mean), keeps=(norm, mean), gradient=PRODUCT,
                 scratch=channels * 2),
            step("response", x, (0, relative), keeps=(0, relative), gradient=PRODUCT),
            # one operation, whose addend costs nothing but its gradient
            step("scaled", x, ("response",), params=("weight",), keeps=("response",),
                 gradient=PRODUCT),
            step("shifted", x, ("scaled",), params=("bias",), gradient=SHARED, view=True),
            step(OUTPUT, x, (0, "shifted"), gradient=SHARED, held=held),
        )  # fmt: skip

    def window(self, x: Shape, *_: Shape) -> Windows:
        return EVERYWHERE

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        channels = x[-1]

        class GRNModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(channels))
                self.bias = torch.nn.Parameter(torch.zeros(channels))

            def forward(self, x: Any) -> Any:
                norm = x.norm(p=2, dim=(1, 2), keepdim=True)
                relative = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
                return x + torch.addcmul(self.bias, self.weight, x * relative)

        return GRNModule()


@op("lrn", kind="norm")
class LRN(Op):
    """Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3).

    ``alpha`` is divided by ``size`` as in PyTorch; the paper's 1e-4 without division is 5e-4 here.
    """

    size: int = count(5)
    alpha: float = number(1e-4, high=1e6)
    beta: float = number(0.75, high=1e6)
    k: float = number(1.0, high=1e6)

    layout: ClassVar[str] = ELEMENTWISE
    examples: ClassVar[tuple[Example, ...]] = (
        example(5, x=(96, 9, 8)),
        example(3, alpha=1e-3, k=2.0, x=(4, 6)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) >= 2, "lrn needs channels and at least one spatial dimension")
        padded = (x[0] + self.size - 1, *x[1:])
        work = {"lrn": numel(x), "lrn_padded": numel(padded)}
        saved = (*SAVES_INPUT, Saved("padded square", padded), Saved("base", x), Saved("power", x))
        return Cost(x, {}, work, saved)

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        padded, most = (x[0] + self.size - 1, *x[1:]), (numel(x),) * 2
        held = ("mean",)  # torch.nn.functional names the mean until the power replaces it
        return (
            step("square", x, (0, 0), keeps=(0,)),
            step("padded square", padded, ("square",)),
            step("mean", x, ("padded square",), keeps=("padded square",)),
            step("scaled", x, ("mean",)),
            step("base", x, ("scaled",), gradient=SHARED, held=held),
            step("power", x, ("base",), keeps=("base",), scratch=most, held=held),
            step(OUTPUT, x, (0, "power"), keeps=(0, "power"), scratch=most),
        )

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.LocalResponseNorm(self.size, self.alpha, self.beta, self.k)

    def settings(self, axes: int = 2) -> str:
        return f"size {self.size}"


@op("scale", kind="norm")
class Scale(Op):
    """One learnt factor per channel and, unless ``bias`` is false, one learnt addend.

    LeNet-5's subsampling layers multiply and shift each map so (LeCun et al. 1998, section II.B).
    """

    bias: bool = flag(True)

    layout: ClassVar[str] = ELEMENTWISE
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 14, 14)),
        example(bias=False, x=(5, 4)),
        example(x=(8,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        channels = (x[0],)
        params = {"weight": channels, "bias": channels} if self.bias else {"weight": channels}
        work = {"scale": numel(x), "norm_param": len(params) * x[0]}
        if self.bias:
            work["scale_bias"] = numel(x)
        return Cost(x, params, work, (Saved(INPUT, gradient=PARAMS),))

    def steps(self, x: Shape, *_: Shape) -> tuple[Step, ...]:
        if not self.bias:
            return (Step(gradient=PRODUCT),)
        return (
            step("scaled", x, (0,), params=("weight",), keeps=(0,), gradient=PRODUCT),
            step(OUTPUT, x, ("scaled",), params=("bias",), gradient=SHARED),
        )

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        bias, shape = self.bias, (x[0], *[1] * (len(x) - 1))

        class ScaleModule(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.weight = torch.nn.Parameter(torch.ones(x[0]))
                if bias:
                    self.bias = torch.nn.Parameter(torch.zeros(x[0]))

            def forward(self, x: Any) -> Any:
                scaled = x * self.weight.view(shape)
                return scaled + self.bias.view(shape) if bias else scaled

        return ScaleModule()

    def settings(self, axes: int = 2) -> str:
        return "" if self.bias else "no bias"
