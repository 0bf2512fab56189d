"""Record what XLA's cost analysis counts of layers and of networks, in ``xla.json`` beside this file.

    pip install jax jaxlib
    PYTHONPATH=. python tests/recorded/record_xla.py

Every op's program (``Op.forward``) is written in JAX here, lowered for one sample and counted as
``jax.jit(f).lower(...).cost_analysis()["flops"]``. Beside the examples of the ops there are
convolutions drawn at random, so that all settings meet. Of the models, those are recorded of whose
layers each is one that programs write alike. The counts of the compiled program, which drops what
it can, are kept too.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from archcost.errors import OpError
from archcost.ops import OPS, Op
from archcost.shape import Shape, show
from archcost.spec.catalog import load

RECORD = Path(__file__).with_name("xla.json")
WRITTEN = (
    "conv", "conv_transpose", "linear", "relu", "add", "multiply", "maxpool", "avgpool",
    "adaptive_avgpool", "global_avgpool", "flatten", "concat", "sub", "div", "maximum", "minimum",
    "abs", "neg", "mean", "sum", "amax", "amin",
)  # fmt: skip
"""The ops that are written in JAX here: a program has one usual way to write them."""
MODELS: dict[str, dict[str, Any]] = {
    "alexnet_torchvision": {},
    **{f"vgg{depth}": {"torchvision": True} for depth in (11, 13, 16, 19)},
    "squeezenet1_0": {},
    "squeezenet1_1": {},
}
"""Models of the catalog, without normalisation, and their knobs."""


def drawn(draw: random.Random) -> tuple[Op, Shape]:
    """Return a convolution with random settings, ordinary or transposed, and its input shape."""
    axes, groups = draw.randint(1, 3), draw.choice((1, 1, 2, 4))
    kernel, stride, dilation = (
        tuple(draw.randint(1, most) for _ in range(axes)) for most in (4, 3, 3)
    )
    kwargs = {
        "stride": stride, "dilation": dilation, "groups": groups, "bias": draw.random() < 0.5
    }  # fmt: skip
    if draw.random() < 0.6:
        name, padding = "conv", tuple((draw.randint(0, 3), draw.randint(0, 3)) for _ in range(axes))
    else:
        name, padding = "conv_transpose", tuple(draw.randint(0, 3) for _ in range(axes))
        kwargs["output_padding"] = tuple(draw.randint(0, s - 1) for s in stride)
    op = OPS[name].create([groups * draw.randint(1, 3), kernel], {**kwargs, "padding": padding})
    return op, (groups * draw.randint(1, 3), *(draw.randint(3, 9) for _ in range(axes)))


def cases() -> Iterator[tuple[str, Op, tuple[Shape, ...]]]:
    """Yield a name, an op and its input shapes: the examples, and convolutions at random."""
    for name in WRITTEN:
        for e in OPS[name].examples:
            op = OPS[name].create(e.args, e.kwargs)
            if getattr(op, "parametrization", None) is None:  # else a weight costs as it is written
                yield f"{op.call()} on {' and '.join(map(show, e.inputs))}", op, e.inputs
    draw, found = random.Random(0), 0
    while found < 60:
        op, x = drawn(draw)
        try:
            op.cost(x)
        except OpError:  # the kernel is larger than the input, or nothing is left
            continue
        found += 1
        yield f"{op.call()} on {show(x)}", op, (x,)


class Jax:
    """The primitives of ops' programs, in JAX."""

    training = False

    def __init__(self) -> None:
        import jax

        self.np, self.lax, self.nn = jax.numpy, jax.lax, jax.nn

    def biased(self, y: Any, bias: Any) -> Any:
        """Add one number per channel."""
        return y if bias is None else y + bias.reshape(-1, *(1,) * (y.ndim - 2))

    def pad(self, x: Any, *, sides: Any, mode: str = "zeros", value: float = 0.0) -> Any:
        how = {"zeros": "constant", "circular": "wrap", "replicate": "edge"}.get(mode, mode)
        filled = {"constant_values": value} if how == "constant" else {}
        return self.np.pad(x, ((0, 0),) * (x.ndim - len(sides)) + tuple(sides), mode=how, **filled)

    def pad_circular(self, x: Any, *, sides: Any) -> Any:
        return self.pad(x, sides=sides, mode="circular")

    def conv(
        self, x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:  # fmt: skip
        sides = [p if isinstance(p, tuple) else (p, p) for p in padding]
        y = self.lax.conv_general_dilated(
            x, weight, stride, sides, rhs_dilation=dilation, feature_group_count=groups
        )
        return self.biased(y, bias)

    def conv_transpose(
        self, x: Any, weight: Any, bias: Any, *,
        stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: int,
    ) -> Any:  # fmt: skip
        kernel = weight.shape[2:]
        parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
        turned = parts.swapaxes(1, 2).reshape(-1, parts.shape[1], *kernel)
        turned = self.np.flip(turned, range(2, turned.ndim))
        sides = [
            (d * (k - 1) - p, d * (k - 1) - p + extra)
            for k, p, d, extra in zip(kernel, padding, dilation, output_padding, strict=True)
        ]
        y = self.lax.conv_general_dilated(
            x, turned, (1,) * len(kernel), sides, lhs_dilation=stride, rhs_dilation=dilation,
            feature_group_count=groups,
        )  # fmt: skip
        return self.biased(y, bias)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return x @ weight.T if bias is None else x @ weight.T + bias

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def mul(self, a: Any, b: Any) -> Any:
        return a * b

    def sub(self, a: Any, b: Any) -> Any:
        return a - b

    def div(self, a: Any, b: Any) -> Any:
        return a / b

    def maximum(self, a: Any, b: Any) -> Any:
        return self.np.maximum(a, b)

    def minimum(self, a: Any, b: Any) -> Any:
        return self.np.minimum(a, b)

    def abs(self, x: Any) -> Any:
        return self.np.abs(x)

    def neg(self, x: Any) -> Any:
        return -x

    def sum(self, x: Any, *, dims: Sequence[int], keepdim: bool) -> Any:
        return x.sum(tuple(dims), keepdims=keepdim)

    def amax(self, x: Any, *, dims: Sequence[int], keepdim: bool) -> Any:
        return x.max(tuple(dims), keepdims=keepdim)

    def amin(self, x: Any, *, dims: Sequence[int], keepdim: bool) -> Any:
        return x.min(tuple(dims), keepdims=keepdim)

    def relu(self, x: Any) -> Any:
        return self.nn.relu(x)

    def reshape(self, x: Any, *, shape: Shape) -> Any:
        return x.reshape(shape)

    def narrow(self, x: Any, *, dim: int, start: int, length: int) -> Any:
        return self.lax.slice_in_dim(x, start, start + length, axis=dim)

    def cat(self, *tensors: Any, dim: int) -> Any:
        return self.np.concatenate(tensors, dim)

    def windows(self, x: Any, start: Any, reduce: Any, out: Shape, **by_axis: Shape) -> Any:
        """Reduce windows; padded after the input as far as the last window needs."""
        kernel, stride, padding = (by_axis[name] for name in ("kernel", "stride", "padding"))
        dilation = by_axis.get("dilation", (1,) * len(kernel))
        sides = [
            (p, (o - 1) * s + d * (k - 1) + 1 - p - n)
            for n, o, k, s, p, d in zip(
                x.shape[2:], out[1:], kernel, stride, padding, dilation, strict=True
            )
        ]
        both = (1, 1)
        return self.lax.reduce_window(
            x, start, reduce, both + kernel, both + stride, [(0, 0), (0, 0), *sides],
            window_dilation=both + tuple(dilation),
        )  # fmt: skip

    def max_pool(self, x: Any, *, out: Shape, ceil: bool, **by_axis: Any) -> Any:
        return self.windows(x, -math.inf, self.lax.max, out, **by_axis)

    def avg_pool(
        self, x: Any, *, out: Shape, ceil: bool, count_include_pad: bool, divisor: int | None,
        **by_axis: Any,
    ) -> Any:  # fmt: skip
        sums = self.windows(x, 0.0, self.lax.add, out, **by_axis)
        return sums / (divisor or math.prod(by_axis["kernel"]))

    def adaptive_avg_pool(self, x: Any, *, size: Shape, out: Shape) -> Any:
        kernel = tuple(n // o for n, o in zip(x.shape[2:], size, strict=True))
        if any(n % o for n, o in zip(x.shape[2:], size, strict=True)):
            raise NotImplementedError("windows of several sizes, for which JAX has no function")
        sums = self.windows(
            x, 0.0, self.lax.add, out, kernel=kernel, stride=kernel, padding=(0,) * len(kernel)
        )
        return sums / math.prod(kernel)

    def mean(self, x: Any, *, dims: Sequence[int], keepdim: bool) -> Any:
        return x.mean(tuple(dims), keepdims=keepdim)


class Placed:
    """Hands a primitive what else the op knows: its output, and paddings of two sides."""

    def __init__(self, jax: Jax, op: Op, shapes: tuple[Shape, ...]) -> None:
        self.jax, self.op, self.out = jax, op, op.cost(*shapes).output
        zeros = op.name == "conv" and getattr(op, "padding_mode", "") == "zeros"
        self.sides = op.geometry(*shapes)[3] if zeros else None  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.jax, name)
        if name.endswith("_pool"):
            return lambda x, **how: function(x, out=self.out, **how)
        if self.sides is not None and name == "pad":
            return lambda x, **_: x  # the convolution itself pads
        if self.sides is not None and name == "conv":
            return lambda *tensors, **how: function(*tensors, **{**how, "padding": self.sides})
        return function


def flops(function: Any, *shapes: Any) -> list[int]:
    """Return the flops of a function as lowered, and as compiled."""
    import jax

    lowered = jax.jit(function).lower(*shapes)
    counts = [lowered.cost_analysis(), lowered.compile().cost_analysis()]
    found = [(count or {}).get("flops", 0.0) for count in counts]
    if any(count != int(count) for count in found):
        raise ValueError(f"{found} are not whole numbers")
    return [int(count) for count in found]


def tensor(shape: Shape) -> Any:
    """Return a float32 tensor that has a shape and no values."""
    import jax

    return jax.ShapeDtypeStruct(tuple(map(int, shape)), "float32")


def parameters(op: Op, shapes: tuple[Shape, ...]) -> dict[str, Any]:
    """Return the parameters of an op by name; a bias that it lacks is None."""
    params = {name: tensor(shape) for name, shape in op.cost(*shapes).params.items()}
    return {"bias": None, **params} if "weight" in params else params


def count_op(op: Op, shapes: tuple[Shape, ...]) -> list[int]:
    """Return the flops of one op for one sample."""
    F = Placed(Jax(), op, shapes)
    return flops(
        lambda inputs, params: op.forward(F, *inputs, **params),
        [tensor((1, *shape)) for shape in shapes],
        parameters(op, shapes),
    )


def count_model(name: str) -> list[int]:
    """Return the flops of a model of the catalog for one sample."""
    network, jax = load(name, knobs=MODELS[name]), Jax()

    def run(x: Any, params: Any) -> Any:
        values = {"input": x}
        for layer in network:
            F, inputs = Placed(jax, layer.op, layer.shapes), [values[i] for i in layer.inputs]
            values[layer.path] = layer.op.forward(F, *inputs, **params[layer.path])
        return [values[path] for path in network.outputs]

    params = {layer.path: parameters(layer.op, layer.shapes) for layer in network}
    return flops(run, tensor((1, *network.input)), params)


def main() -> None:
    """Record all."""
    import jax
    import jaxlib

    record: dict[str, Any] = {"version": f"jaxlib {jaxlib.__version__}", "jax": jax.__version__}
    record["models"] = {name: count_model(name) for name in MODELS}
    record["ops"] = {}
    for key, op, shapes in cases():
        try:
            record["ops"][key] = count_op(op, shapes)
        except NotImplementedError as error:
            print(key, error)
    lines = json.dumps(record, indent=1).replace("[\n   ", "[").replace("\n  ]", "]")
    RECORD.write_text(lines.replace(",\n   ", ", ") + "\n")


if __name__ == "__main__":
    main()
