"""Fourier transforms (Cooley & Tukey 1965), and complex numbers as pairs of real ones."""

from __future__ import annotations

from typing import Any, ClassVar

from archcost.ops.arguments import argument, axis_of, check, choice, count, some_axes
from archcost.ops.base import COMPLEX, FLOAT, Cost, Example, Op, example, op
from archcost.ops.reads import Reads, kept
from archcost.shape import Shape, show

MOST = 3
"""Dimensions of one transform: of more, cuFFT makes several."""


def transformed_axes() -> Any:
    """One to three dimensions of the shape without batch, the last one by default."""
    given = some_axes()

    def read(name: str, value: Any) -> tuple[int, ...]:
        dims: tuple[int, ...] = given.read(name, value)
        check(len(dims) <= MOST, f"{name} has at most {MOST} dimensions; got {len(dims)}")
        return dims

    return argument(given.accepts, read, (-1,))


class Transform(Op):
    """A Fourier transform. It counts no multiply-accumulates, because no counting tool does."""

    dims: Any = transformed_axes()
    norm: str = choice("backward", "backward", "ortho", "forward")

    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 8)),
        example([-2, -1], x=(4, 6, 8)),
        example([0, 1], "ortho", x=(6, 5, 4)),
        example(0, x=(6, 5, 4)),
    )

    def places(self, x: Shape) -> tuple[int, ...]:
        """Return the dimensions, counted from the front."""
        dims = tuple(axis_of(d, x, self.name) for d in self.dims)
        twice = any(dims.count(d) > 1 for d in dims)
        check(not twice, f"{self.name} names a dimension twice: {list(self.dims)}")
        return dims

    def cost(self, x: Shape, *_: Shape) -> Cost:
        self.places(x)
        return Cost(x)

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x)), self.places(x))

    def options(self, x: Shape) -> dict[str, Any]:
        """Return the options of the primitive for an input with its batch."""
        return {"dims": tuple(d + 1 for d in self.places(x[1:])), "norm": self.norm}

    def forward(self, F: Any, x: Any) -> Any:
        return getattr(F, self.name)(x, **self.options(x.shape))

    def settings(self, axes: int = 2) -> str:
        cells = ["over " + ", ".join(map(str, self.dims))]
        return ", ".join([*cells, self.norm] if self.norm != "backward" else cells)


@op("fft", kind="transform")
class FFT(Transform):
    """The discrete Fourier transform over ``dims``, of real or complex numbers."""

    makes: ClassVar[str] = COMPLEX
    of_complex: ClassVar[str] = COMPLEX


@op("ifft", kind="transform")
class IFFT(Transform):
    """The inverse discrete Fourier transform over ``dims``, of complex numbers."""

    complexes: ClassVar[tuple[int, ...]] = (0,)
    makes: ClassVar[str] = COMPLEX


@op("rfft", kind="transform")
class RFFT(Transform):
    """The Fourier transform of real numbers; of n along the last dimension it makes n // 2 + 1."""

    makes: ClassVar[str] = COMPLEX

    def cost(self, x: Shape, *_: Shape) -> Cost:
        last = self.places(x)[-1]
        return Cost((*x[:last], x[last] // 2 + 1, *x[last + 1 :]))


@op("irfft", kind="transform")
class IRFFT(Transform):
    """The inverse of ``rfft``: along the last dimension ``size`` numbers, 2·(n − 1) by default."""

    size: Any = count(None)

    complexes: ClassVar[tuple[int, ...]] = (0,)
    examples: ClassVar[tuple[Example, ...]] = (
        example(x=(6, 5)),
        example([-2, -1], x=(4, 6, 5)),
        example([0, 1], "ortho", 7, x=(6, 4, 4)),
        example(0, x=(6, 5, 4)),
    )

    def made(self, x: Shape) -> int:
        """Return how many numbers it makes along the last dimension."""
        last = self.places(x)[-1]
        made: int = 2 * (x[last] - 1) if self.size is None else self.size
        check(made > 0, f"irfft of {show(x)} leaves nothing; give size")
        check(made // 2 + 1 == x[last], f"irfft to {made} takes {made // 2 + 1}, not {x[last]}")
        return made

    def cost(self, x: Shape, *_: Shape) -> Cost:
        last = self.places(x)[-1]
        return Cost((*x[:last], self.made(x), *x[last + 1 :]))

    def options(self, x: Shape) -> dict[str, Any]:
        return {**super().options(x), "size": self.made(x[1:])}


@op("view_as_real", kind="reshape")
class ViewAsReal(Op):
    """Complex numbers as pairs of real ones, which are a last dimension of size 2."""

    complexes: ClassVar[tuple[int, ...]] = (0,)
    makes: ClassVar[str] = FLOAT
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5)), example(x=(4, 6, 5)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        return Cost((*x, 2))

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return [*kept(range(len(x))), []]

    def forward(self, F: Any, x: Any) -> Any:
        return F.view_as_real(x)


@op("view_as_complex", kind="reshape")
class ViewAsComplex(Op):
    """Pairs of real numbers, a last dimension of size 2, as complex ones."""

    makes: ClassVar[str] = COMPLEX
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 2)), example(x=(4, 6, 2)))

    def cost(self, x: Shape, *_: Shape) -> Cost:
        check(len(x) > 1 and x[-1] == 2, f"view_as_complex takes pairs, not {show(x)}")
        return Cost(x[:-1])

    def reads(self, x: Shape, *_: Shape) -> Reads:
        return kept(range(len(x) - 1))

    def forward(self, F: Any, x: Any) -> Any:
        # strides of an odd number have no view
        return F.view_as_complex(F.contiguous(x))


@op("real", kind="reshape")
class Real(Op):
    """The real parts of complex numbers: a view."""

    complexes: ClassVar[tuple[int, ...]] = (0,)
    makes: ClassVar[str] = FLOAT
    examples: ClassVar[tuple[Example, ...]] = (example(x=(6, 5)), example(x=(4, 6, 5)))

    def forward(self, F: Any, x: Any) -> Any:
        return getattr(F, self.name)(x)


@op("imag", kind="reshape")
class Imag(Real):
    """The imaginary parts of complex numbers: a view."""
