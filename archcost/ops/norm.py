"""Normalisation: batch and local response normalisation, and a learnt scale per channel."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.errors import OpError
from archcost.ops.arguments import check, count, flag, number
from archcost.ops.base import INPUT, PARAMS, SAVES_INPUT, Cost, Example, Op, Saved, example, op
from archcost.shape import Shape, numel, show

STATISTIC_BYTES = 4  # CUDA keeps batch statistics in float32, also for half precision


@op("batchnorm", kind="norm")
class BatchNorm(Op):
    """Batch normalisation per channel (Ioffe & Szegedy 2015): scale and shift are parameters."""

    eps: float = number(1e-5)
    momentum: float = number(0.1)
    affine: bool = flag(True)

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
        channels = (x[0],)
        work = {"batchnorm": numel(x)}
        params = {}
        if self.affine:
            work["batchnorm_affine"] = numel(x)
            work["norm_param"] = 2 * x[0]
            params = {"weight": channels, "bias": channels}
        buffers = {"running_mean": channels, "running_var": channels, "num_batches_tracked": ()}
        statistics = tuple(
            Saved(what, channels, per_batch=False, device=device, at_least=least)
            for what in ("mean", "invstd")
            for device, least in (("cpu", 1), ("cuda", STATISTIC_BYTES))
        )
        return Cost(x, params, work, (*SAVES_INPUT, *statistics), buffers)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        module = getattr(torch.nn, f"BatchNorm{max(len(x) - 1, 1)}d")
        return module(x[0], eps=self.eps, momentum=self.momentum, affine=self.affine)


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
        padded = (x[0] + self.size - 1, *x[1:])
        work = {"lrn": numel(x), "lrn_padded": numel(padded)}
        saved = (*SAVES_INPUT, Saved("padded square", padded), Saved("base", x), Saved("power", x))
        return Cost(x, {}, work, saved)

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
