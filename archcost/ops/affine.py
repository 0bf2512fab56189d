"""Factors and addends that are fixed or learnt, and learnt tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from archcost.ops.arguments import argument, axis, axis_of, check, choice, flag, number, sizes
from archcost.ops.base import COMPLEX, FLOAT, Cost, Example, Op, example, op
from archcost.ops.reads import Reads
from archcost.shape import Shape, show


@op("bias", kind="activation")
class Bias(Op):
    """A learnt bias per element: every position of every channel has its own.

    The feature maps of LeCun et al. 1989 share their weights, but not their thresholds.
    """

    examples: ClassVar[tuple[Example, ...]] = (example(x=(12, 8, 8)), example(x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {"bias": x})

    def forward(self, F: Any, x: Any, bias: Any) -> Any:
        return F.add(x, bias)


@op("rescale", kind="activation")
class Rescale(Op):
    """factor·x + addend with fixed numbers: ``rescale(-1, 1)`` is 1 − x."""

    factor: float = number(low=-1e6, high=1e6)
    addend: float = number(0.0, low=-1e6, high=1e6)

    of_complex: ClassVar[str] = COMPLEX
    examples: ClassVar[tuple[Example, ...]] = (example(0.17, x=(6, 5, 4)), example(-1, 1, x=(8,)))

    def forward(self, F: Any, x: Any) -> Any:
        scaled = F.mul(x, self.factor)
        return F.add(scaled, self.addend) if self.addend else scaled

    def settings(self, axes: int = 2) -> str:
        return f"x {self.factor:g}" + (f" + {self.addend:g}" if self.addend else "")


@op("scale", kind="norm")
class Scale(Op):
    """A learnt factor per channel and, unless ``bias`` is false, a learnt addend.

    LeNet-5's subsampling layers scale and shift each map in this way (LeCun et al. 1998, section
    II.B). With ``per_channel=False`` all channels share one number. ``dim=-1`` scales the features
    of tokens.
    """

    bias: bool = flag(True)
    per_channel: bool = flag(True)
    dim: int = axis(0)

    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.ones({})"}
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 14, 14)),
        example(bias=False, x=(5, 4)),
        example(x=(8,)),
        example(bias=False, per_channel=False, x=(6, 5, 4)),
        example(per_channel=False, x=(8,)),
        example(bias=False, dim=-1, x=(5, 8)),
        example(dim=1, x=(3, 4, 5)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "scale")
        check(self.per_channel or not self.dim, "dim says where the channels are; leave it out")
        each = (x[where],) if self.per_channel else (1,)
        return Cost(x, {"weight": each} | ({"bias": each} if self.bias else {}))

    def forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        after = len(x.shape) - 2 - axis_of(self.dim, x.shape[1:], "scale")
        column = (x.shape[-1 - after], *(1,) * after)

        def placed(params: Any) -> Any:
            return F.reshape(params, shape=column) if self.per_channel and after else params

        scaled = F.mul(x, placed(weight))
        return scaled if bias is None else F.add(scaled, placed(bias))

    def settings(self, axes: int = 2) -> str:
        cells = ["" if self.bias else "no bias", "" if self.per_channel else "one for all"]
        return ", ".join([cell for cell in (*cells, f"dim {self.dim}" * bool(self.dim)) if cell])


@op("parameter", kind="parameter")
class Parameter(Op):
    """A learnt tensor of a given shape, the same for every sample.

    Examples are the queries of DETR (``parameter([100, 256])``), a table of positions and an
    initial state. It is expanded over the batch, which takes no memory. It reads only the batch
    size of the tensor before it.
    """

    shape: Any = argument("a size, or a list of sizes", sizes().read)
    dtype: str = choice(FLOAT, FLOAT, COMPLEX)

    no_gradient: ClassVar[tuple[int, ...]] = (0,)
    only_shape: ClassVar[tuple[int, ...]] = (0,)
    initial: ClassVar[Mapping[str, str]] = {"weight": "torch.randn({}{op.typed}) * 0.02"}
    examples: ClassVar[tuple[Example, ...]] = (
        example([5, 8], x=(4, 6, 6)),
        example(1, x=(8,)),
        example([6, 1, 1], x=(6, 5, 4)),
    )

    @property
    def makes(self) -> str:  # type: ignore[override]
        """The type of its numbers."""
        return COMPLEX if self.dtype == COMPLEX else ""

    @property
    def complex_params(self) -> Collection[str]:  # type: ignore[override]
        """Its own name for the tensor, if that holds complex numbers."""
        return [*self.initial] if self.dtype == COMPLEX else ()

    @property
    def typed(self) -> str:
        """The argument of PyTorch that says the type, if it is not that of floats."""
        return ", dtype=torch.cfloat" if self.dtype == COMPLEX else ""

    @property
    def sizes(self) -> Shape:
        """The shape, also of a single size."""
        return self.shape if isinstance(self.shape, tuple) else (self.shape,)

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(self.sizes, {"weight": self.sizes})

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [[] for _ in self.sizes]

    def forward(self, F: Any, x: Any, weight: Any) -> Any:
        return F.expand(weight, shape=(x.shape[0], *weight.shape))

    def settings(self, axes: int = 2) -> str:
        return f"{show(self.sizes)}{' complex' * (self.dtype == COMPLEX)}"


@op("buffer", kind="parameter")
class Buffer(Parameter):
    """A fixed tensor of a given shape, the same for every sample.

    Sines of positions are one (``buffer([850, 256])``). It is a buffer in PyTorch: it is saved with
    the weights and not trained. It is expanded over the batch as a ``parameter`` is.
    """

    initial: ClassVar[Mapping[str, str]] = {"value": "torch.randn({}{op.typed})"}
    examples: ClassVar[tuple[Example, ...]] = (example([5, 8], x=(4, 6, 6)), example(3, x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(self.sizes, buffers={"value": self.sizes})

    def forward(self, F: Any, x: Any, value: Any) -> Any:
        return F.expand(value, shape=(x.shape[0], *value.shape))
