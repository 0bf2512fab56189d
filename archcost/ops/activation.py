"""Activation functions."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import axis, axis_of, check, choice, flag, number, real
from archcost.ops.base import Cost, Example, Op, example, op
from archcost.ops.reads import SAME, Reads, Window, kept
from archcost.shape import Shape, show


class Pointwise(Op):
    """A function of each element for itself.

    Class attributes:
        module: its class in ``torch.nn``, empty if it has none.
    """

    module: ClassVar[str] = ""
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(x=(8,)))

    @property
    def options(self) -> dict[str, Any]:
        """Return the arguments, by name."""
        return dict(zip(self.arguments, self.values, strict=True))

    def forward(self, F: Any, x: Any) -> Any:
        return getattr(F, self.name)(x, **self.options)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, self.module)(**self.options) if self.module else None


def functions(
    kind: str, space: dict[str, Any], table: tuple[tuple[str, str, str], ...]
) -> None:  # fmt: skip
    """Register functions without arguments in a module's ``globals()``.

    The rows are name, class in ``torch.nn``, description.
    """
    for name, module, about in table:
        members = {"__doc__": about, "__module__": space["__name__"], "module": module}
        made = type(module or name.capitalize(), (Pointwise,), members)
        space[made.__name__] = op(name, kind=kind)(made)  # where another process looks it up


@op("relu", kind="activation")
class ReLU(Pointwise):
    """max(x, 0)."""

    module: ClassVar[str] = "ReLU"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(64, 9, 8)),)


functions("activation", globals(), (
    ("sigmoid", "Sigmoid", "1/(1 + exp(−x))."),
    ("tanh", "Tanh", "Hyperbolic tangent."),
    ("relu6", "ReLU6", "min(max(x, 0), 6) (Howard et al. 2017)."),
    ("silu", "SiLU",
     "x·sigmoid(x), also called swish (Elfwing et al. 2017, Ramachandran et al. 2017)."),
    ("hardswish", "Hardswish", "x·relu6(x + 3)/6 (Howard et al. 2019)."),
    ("hardsigmoid", "Hardsigmoid", "relu6(x + 3)/6 (Howard et al. 2019)."),
    ("selu", "SELU", "1.0507·elu(x, 1.6733), which keeps inputs normalised "
     "(Klambauer et al. 2017)."),
    ("mish", "Mish", "x·tanh(softplus(x)) (Misra 2019)."),
    ("logsigmoid", "LogSigmoid", "log(1/(1 + exp(−x)))."),
))  # fmt: skip


@op("leaky_relu", kind="activation")
class LeakyReLU(Pointwise):
    """x where it is positive, ``negative_slope``·x elsewhere (Maas et al. 2013)."""

    negative_slope: float = number(0.01)

    module: ClassVar[str] = "LeakyReLU"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.2, x=(8,)))


@op("elu", kind="activation")
class ELU(Pointwise):
    """x where it is positive, ``alpha``·(exp(x) − 1) elsewhere (Clevert et al. 2015)."""

    alpha: float = real(1.0)

    module: ClassVar[str] = "ELU"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.5, x=(8,)))


@op("celu", kind="activation")
class CELU(Pointwise):
    """x where it is positive, ``alpha``·(exp(x/``alpha``) − 1) elsewhere (Barron 2017)."""

    alpha: float = real(1.0)

    module: ClassVar[str] = "CELU"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.5, x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(self.alpha != 0, "alpha of celu must not be 0")
        return Cost(x)


@op("softplus", kind="activation")
class Softplus(Pointwise):
    """log(1 + exp(``beta``·x))/``beta``, x itself where ``beta``·x is above ``threshold``."""

    beta: float = real(1.0)
    threshold: float = real(20.0)

    module: ClassVar[str] = "Softplus"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(2.0, 10.0, x=(8,)))


@op("hardtanh", kind="activation")
class Hardtanh(Pointwise):
    """min(max(x, ``min_val``), ``max_val``)."""

    min_val: float = real(-1.0)
    max_val: float = real(1.0)

    module: ClassVar[str] = "Hardtanh"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.0, 4.0, x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(
            self.min_val < self.max_val,
            f"hardtanh cuts between two numbers, not {self.min_val:g} and {self.max_val:g}",
        )
        return Cost(x)


@op("hardshrink", kind="activation")
class Hardshrink(Pointwise):
    """x, but 0 from −``lambd`` to ``lambd``."""

    lambd: float = real(0.5)

    module: ClassVar[str] = "Hardshrink"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.1, x=(8,)))


@op("softshrink", kind="activation")
class Softshrink(Pointwise):
    """x moved towards 0 by ``lambd``, and 0 from −``lambd`` to ``lambd``."""

    lambd: float = real(0.5, low=0.0)

    module: ClassVar[str] = "Softshrink"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.1, x=(8,)))


@op("threshold", kind="activation")
class Threshold(Pointwise):
    """x where it is above ``threshold``, ``value`` elsewhere."""

    threshold: float = real()
    value: float = real()

    module: ClassVar[str] = "Threshold"
    examples: ClassVar[tuple[Example, ...]] = (
        example(0.1, 0.0, x=(6, 5, 4)),
        example(1.0, -1.0, x=(8,)),
    )


@op("softsign", kind="activation")
class Softsign(Pointwise):
    """x/(1 + |x|)."""

    module: ClassVar[str] = "Softsign"

    def forward(self, F: Any, x: Any) -> Any:
        return F.div(x, F.add(F.abs(x), 1))


@op("tanhshrink", kind="activation")
class Tanhshrink(Pointwise):
    """x − tanh(x)."""

    module: ClassVar[str] = "Tanhshrink"

    def forward(self, F: Any, x: Any) -> Any:
        return F.sub(x, F.tanh(x))


@op("rrelu", kind="activation")
class RReLU(Pointwise):
    """Leaky ReLU with slopes drawn from ``lower`` to ``upper`` in training (Xu et al. 2015).

    In evaluation all slopes are the mean of both.
    """

    lower: float = real(1 / 8)
    upper: float = real(1 / 3)

    module: ClassVar[str] = "RReLU"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(0.1, 0.3, x=(8,)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(
            self.lower <= self.upper,
            f"rrelu draws from lower to upper, not from {self.lower:g} to {self.upper:g}",
        )
        return Cost(x)

    def forward(self, F: Any, x: Any) -> Any:
        return F.rrelu(x, **self.options, training=F.training)


@op("prelu", kind="activation")
class PReLU(Op):
    """Leaky ReLU with a learnt slope, one for all or one ``per_channel`` (He et al. 2015)."""

    per_channel: bool = flag(False)

    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example(True, x=(6, 5, 4)))

    def slopes(self, x: Shape) -> int:
        """Return the number of slopes."""
        return x[0] if self.per_channel else 1

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost(x, {"weight": (self.slopes(x),)})

    def forward(self, F: Any, x: Any, weight: Any) -> Any:
        return F.prelu(x, weight)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.PReLU(self.slopes(x))


@op("gelu", kind="activation")
class GELU(Pointwise):
    """x·Φ(x), exact or by ``approximate='tanh'`` (Hendrycks & Gimpel 2016)."""

    approximate: str = choice("none", "none", "tanh")

    module: ClassVar[str] = "GELU"
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5, 4)), example("tanh", x=(8,)))


@op("softmax", kind="activation")
class Softmax(Op):
    """exp(x) normalised to sum 1 along ``dim`` (0 = channels, the batch is not counted)."""

    dim: int = axis(0)

    module: ClassVar[str] = "Softmax"
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(10,)),
        example(x=(4, 3, 2)),
        example(-1, x=(5, 8)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        axis_of(self.dim, x, self.name)
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), [axis_of(self.dim, x, self.name)])

    def forward(self, F: Any, x: Any) -> Any:
        return F.softmax(x, dim=axis_of(self.dim, x.shape[1:], self.name) + 1)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return getattr(torch.nn, self.module)(dim=axis_of(self.dim, x, self.name) + 1)


@op("log_softmax", kind="activation")
class LogSoftmax(Softmax):
    """The logarithm of the softmax along ``dim`` (0 = channels, the batch is not counted)."""

    module: ClassVar[str] = "LogSoftmax"

    def forward(self, F: Any, x: Any) -> Any:
        return F.log_softmax(x, dim=axis_of(self.dim, x.shape[1:], self.name) + 1)


@op("softmin", kind="activation")
class Softmin(Softmax):
    """The softmax of −x along ``dim`` (0 = channels, the batch is not counted)."""

    module: ClassVar[str] = "Softmin"

    def forward(self, F: Any, x: Any) -> Any:
        return super().forward(F, F.neg(x))


@op("glu", kind="activation")
class GLU(Op):
    """The first half along ``dim`` times the sigmoid of the second (Dauphin et al. 2016)."""

    dim: int = axis(-1)

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(5, 8)),
        example(0, x=(6, 5, 4)),
        example(x=(8,)),
    )

    def cost(self, x: Shape, *_: Shape) -> Cost:
        where = axis_of(self.dim, x, "glu")
        check(x[where] % 2 == 0, f"glu halves dim {where} of {show(x)}, and {x[where]} is odd")
        return Cost((*x[:where], x[where] // 2, *x[where + 1 :]))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        where = axis_of(self.dim, x, "glu")
        halves = Window(x[where] // 2 + 1, 1)
        return [[(d, halves if d == where else SAME)] for d in range(len(x))]

    def forward(self, F: Any, x: Any) -> Any:
        return F.glu(x, dim=axis_of(self.dim, x.shape[1:], "glu") + 1)

    def build(self, torch: Any, x: Shape, *_: Shape) -> Any:
        return torch.nn.GLU(axis_of(self.dim, x, "glu") + 1)
