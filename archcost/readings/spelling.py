"""How each primitive is written in PyTorch: its name, and the text of a call."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from archcost.layout import differing
from archcost.readings.spelling_more import MORE
from archcost.readings.words import (
    ATOM,
    BATCH,
    SPELLINGS,
    TYPES,
    Written,
    by_rank,
    call,
    function_call,
    method_call,
    sizes,
    spelling,
    torch_call,
    value,
)
from archcost.shape import Shape, Sides

INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2), "pow": ("**", 3)}
"""Primitives that are operators, and how closely these bind."""


def spelled(name: str, args: Sequence[Any], options: dict[str, Any]) -> tuple[str, int]:
    """Return the text of a call of a primitive, and how closely it binds."""
    if name in INFIX:
        sign, level = INFIX[name]
        left, right = (arg if isinstance(arg, Written) else Written(repr(arg), ()) for arg in args)
        power = name == "pow"  # which takes the right side first
        return f"{left.inside(level + power)} {sign} {right.inside(level + (not power))}", level
    return (SPELLINGS.get(name) or function_call(name))(*args, **options), ATOM


SPELLINGS |= {
    **MORE,
    "matmul": method_call("matmul"),
    **{
        name: method_call(name)
        for name in (
            "abs",
            "clamp",
            "cos",
            "erf",
            "exp",
            "log",
            "neg",
            "reciprocal",
            "rsqrt",
            "sign",
            "sin",
            "sqrt",
        )
    },
    **{name: torch_call(name) for name in ("maximum", "minimum")},
    "scaled_in_place": method_call("mul_"),
    "added_in_place": method_call("add_"),
    "contiguous": method_call("contiguous"),
    "roll": lambda x, *, shifts, dims: f"torch.roll({x}, {tuple(shifts)}, {tuple(dims)})",
    "repeat": lambda x, *, times: f"{x.inside()}.repeat({times})",
    "addcmul": torch_call("addcmul"),
    "index_select": lambda x, places, *, dim: f"{x.inside()}.index_select({dim}, {places})",
    "flip": lambda x, *, dims: f"{x.inside()}.flip({', '.join(map(str, dims))})",
    "tile": lambda x, *, repeats: f"{x.inside()}.repeat({', '.join(map(str, repeats))})",
    "tril": lambda x, *, diagonal: f"{x.inside()}.tril({diagonal or ''})",
    "triu": lambda x, *, diagonal: f"{x.inside()}.triu({diagonal or ''})",
    "pixel_shuffle": lambda x, *, factor: f"nn.functional.pixel_shuffle({x}, {factor})",
    "pixel_unshuffle": lambda x, *, factor: f"nn.functional.pixel_unshuffle({x}, {factor})",
    "attention": function_call("scaled_dot_product_attention"),
    "sum_in_place": method_call("add_"),
    "safe_softmax": lambda x, *, dim: f"torch.ops.aten._safe_softmax({x}, {dim})",
    "cat": lambda *tensors, dim: f"torch.cat([{listed(tensors)}], {dim})",
    "stack": lambda *tensors, dim: f"torch.stack([{listed(tensors)}], {dim})",
    "index": lambda table, places, dim=0: f"{table.inside()}[{':, ' * dim}{places}]",
    "norm": lambda x, *, dims, ord=2, keepdim=False: call(
        f"{x.inside()}.norm", f"p={ord}", f"dim={tuple(dims)}", keepdim=keepdim
    ),
    "weight_norm": lambda v, g: f"torch._weight_norm({v}, {g}, 0)",
    "weight_norm_interface": lambda v, g: f"torch._weight_norm_interface({v}, {g}, 0)[0]",
    "fractional_max_pool": lambda x, samples, *, kernel, size: (
        f"{by_rank('fractional_max_pool', x)}"
        f"({x}, {tuple(kernel)}, {tuple(size)}, _random_samples={samples})"
    ),
    "uniform": lambda *, shape, like: f"{like.inside()}.new_empty({sizes(shape)}).uniform_()",
    "max_unpool": lambda x, places, *, shape: call(
        "torch.ops.aten.max_unpool2d", x, places, tuple(shape[2:])
    ),
    "adaptive_avg_pool": lambda x, *, size: f"{by_rank('adaptive_avg_pool', x)}({x}, {size})",
    # the operation itself, which counters do not patch
    "adaptive_max_pool": lambda x, *, size: (
        f"torch.ops.aten.adaptive_max_pool{len(size)}d({x}, {size})[0]"
    ),
}


def listed(tensors: Sequence[Written]) -> str:
    """Return the elements of a list, of four and more that are alike as a comprehension."""
    texts = [str(tensor) for tensor in tensors]
    parts = [re.split(r"(?<![\w.])(\d+)(?![\w.])", text) for text in texts]
    if len(texts) > 3 and len({len(part) for part in parts}) == 1:
        differ = [i for i, column in enumerate(zip(*parts, strict=True)) if len(set(column)) > 1]
        if not differ:
            return f"{texts[0]} for _ in range({len(texts)})"
        if len(differ) == 1 and parts[0][differ[0]].isdigit():
            numbers = [int(part[differ[0]]) for part in parts]
            each = "".join([*parts[0][: differ[0]], "i", *parts[0][differ[0] + 1 :]])
            plain = numbers == list(range(len(numbers)))
            return f"{each} for i in {f'range({len(numbers)})' if plain else tuple(numbers)}"
    return ", ".join(texts)


@spelling
def conv(x: Any, weight: Any, bias: Any = None, **options: Any) -> str:
    """As ``conv2d``."""
    return call(by_rank("conv", x), x, weight, bias, **options)


@spelling
def conv_transpose(x: Any, weight: Any, bias: Any = None, **options: Any) -> str:
    """As ``conv_transpose2d``."""
    return call(by_rank("conv_transpose", x), x, weight, bias, **options)


@spelling
def batch_norm(
    x: Any, weight: Any = None, bias: Any = None, *,
    mean: Any = None, var: Any = None, training: bool, momentum: float, eps: float,
) -> str:  # fmt: skip
    """With the running statistics before the parameters."""
    function = "nn.functional.batch_norm"
    return call(function, x, mean, var, weight, bias, training, momentum, eps)


def _normalised(x: Any, weight: Any, dims: int) -> str:
    """Return the sizes of the last dimensions, which are those of the weight if there is one."""
    return f"{x.inside()}.shape[-{dims}:]" if weight is None else f"{weight}.shape"


@spelling
def layer_norm(x: Any, weight: Any = None, bias: Any = None, *, dims: int = 1, eps: float) -> str:
    """Over as many dimensions as the weight has."""
    sizes = _normalised(x, weight, dims)
    return call("nn.functional.layer_norm", x, sizes, weight, bias, eps)


@spelling
def rms_norm(x: Any, weight: Any = None, *, dims: int = 1, eps: float) -> str:
    """Over as many dimensions as the weight has."""
    return call("nn.functional.rms_norm", x, _normalised(x, weight, dims), weight, eps)


@spelling
def normalize(x: Any, *, dim: int, eps: float) -> str:
    """Along a dimension, 1 unless given."""
    return call("nn.functional.normalize", x, dim=dim, eps=eps)


@spelling
def group_norm(x: Any, weight: Any = None, bias: Any = None, *, groups: int, eps: float) -> str:
    """With the groups before the parameters."""
    return call("nn.functional.group_norm", x, groups, weight, bias, eps)


@spelling
def instance_norm(
    x: Any, weight: Any = None, bias: Any = None, *, mean: Any = None, var: Any = None,
    training: bool = True, momentum: float = 0.1, eps: float,
) -> str:  # fmt: skip
    """With the running statistics before the parameters."""
    function = "nn.functional.instance_norm"
    return call(function, x, mean, var, weight, bias, training, momentum, eps)


@spelling
def dropout(x: Any, *, p: float) -> str:
    """As it is while training."""
    return call("nn.functional.dropout", x, p, training=True)


@spelling
def max_pool(
    x: Any, *, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, ceil: bool
) -> str:
    """As ``max_pool2d``."""
    window = (value(kernel), value(stride))
    options = {"padding": padding, "dilation": dilation, "ceil_mode": ceil}
    return call(by_rank("max_pool", x), x, *window, **options)


@spelling
def avg_pool(
    x: Any, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool,
    count_include_pad: bool = True, divisor: int | None = None,
) -> str:  # fmt: skip
    """As ``avg_pool2d``."""
    window = (value(kernel), value(stride))
    options: dict[str, Any] = {"padding": padding, "ceil_mode": ceil}
    options["count_include_pad"] = count_include_pad
    if divisor is not None:
        options["divisor_override"] = divisor
    return call(by_rank("avg_pool", x), x, *window, **options)


@spelling
def max_places(x: Any, *, kernel: Shape, stride: Shape, padding: Shape, ceil: bool) -> str:
    """The operation itself, whose second result they are; no gradient comes through it."""
    window = [list(kernel), list(stride), list(padding), [1] * len(kernel)]
    function = "torch.ops.aten.max_pool2d_with_indices"
    return f"{call(function, f'{x.inside()}.detach()', *window, ceil)}[1]"


@spelling
def interpolate(
    x: Any, *, size: Shape, factor: Any, mode: str, align_corners: bool, antialias: bool = False
) -> str:
    """To a size or by a factor."""
    size_or_factor = {"size": size} if factor is None else {"scale_factor": factor}
    corners = None if mode.startswith("nearest") else align_corners
    options = {**size_or_factor, "mode": mode, "align_corners": corners, "antialias": antialias}
    return call("nn.functional.interpolate", x, **options)


def _over_dims(name: str) -> Callable[..., str]:
    def spelt(x: Any, *, dims: Sequence[int], **options: Any) -> str:
        return call(f"{x.inside()}.{name}", value(tuple(dims)), **options)

    return spelt


for _name in ("mean", "sum", "amax", "amin", "var", "std", "logsumexp"):
    SPELLINGS[_name] = _over_dims(_name)


def _at_place(name: str) -> Callable[..., str]:
    return lambda x, *, dim, **options: call(f"{x.inside()}.{name}", dim, **options) + "[0]"


for _name in ("max", "min"):
    SPELLINGS[_name] = _at_place(_name)


@spelling
def pad(x: Any, *, sides: Sides, mode: str = "zeros", value: float = 0.0) -> str:
    """With the sides from the last dimension on; other modes than zeros know of no channels."""
    spatial = len(x.shape) - 2
    if mode != "zeros" or sides[:-spatial] == ((0, 0),):
        sides = sides[-spatial:]
    flat = tuple(n for pair in reversed(sides) for n in pair)
    options: dict[str, Any] = {} if mode == "zeros" else {"mode": mode}
    if value:
        options["value"] = value
    return call("nn.functional.pad", x, flat, **options)


@spelling
def pad_circular(x: Any, *, sides: Sides) -> str:
    """As the other modes of padding are written."""
    return pad(x, sides=sides, mode="circular")


@spelling
def reshape(x: Any, *, shape: Shape) -> str:
    """By ``flatten``, ``unflatten``, ``squeeze`` or ``unsqueeze`` where these say it."""
    old, new = x.shape, tuple(shape)
    start, before, after = differing(old, new)
    if not before and not after:
        return str(x.inside())
    if (before, after) in (((1,), ()), ((), (1,))):
        return f"{x.inside()}.{'squeeze' if before else 'unsqueeze'}({start})"
    if len(before) == 1 and len(after) > 1:
        parts = ", ".join("-1" if n % BATCH == 0 else str(n) for n in after)
        return f"{x.inside()}.unflatten({start}, ({parts}))"
    if len(after) == 1 and len(before) > 1:
        end = start + len(before)
        last = f", {end - 1}" if end < len(old) else ""
        return f"{x.inside()}.flatten({start}{last})"
    sizes = ", ".join("-1" if n >= BATCH and n % BATCH == 0 else str(n) for n in new)
    return f"{x.inside()}.reshape({sizes})"


@spelling
def permute(x: Any, *, dims: Sequence[int]) -> str:
    """By ``transpose`` where two dimensions change places."""
    moved = [d for d, old in enumerate(dims) if d != old]
    if len(moved) == 2:
        return f"{x.inside()}.transpose({moved[0]}, {moved[1]})"
    return f"{x.inside()}.permute({', '.join(map(str, dims))})"


@spelling
def expand(x: Any, *, shape: Shape) -> str:
    """With -1 for sizes that stay."""
    old = (*(0,) * (len(shape) - len(x.shape)), *x.shape)
    new = [-1 if before == n else n for before, n in zip(old, shape, strict=True)]
    return f"{x.inside()}.expand({sizes(tuple(new))})"


@spelling
def narrow(x: Any, *, dim: int, start: int, length: int, step: int = 1) -> str:
    """By an index where there are steps."""
    if step == 1:
        return f"{x.inside()}.narrow({dim}, {start}, {length})"
    stop = start + (length - 1) * step + 1
    cut = f"{start or ''}:{'' if stop + step > x.shape[dim] else stop}:{step}"
    return f"{x.inside()}[{', '.join([*[':'] * dim, cut])}]"


@spelling
def split(x: Any, *, dim: int, lengths: Sequence[int]) -> str:
    """By one length where all are equal, the last aside."""
    each = lengths[0]
    equal = all(n == each for n in lengths[:-1]) and lengths[-1] <= each
    return f"{x.inside()}.split({each if equal else list(lengths)}, {dim})"


@spelling
def unbind(x: Any, *, dim: int) -> str:
    """One tensor for each position."""
    return f"{x.inside()}.unbind({dim})"


@spelling
def full(*, shape: Shape, like: Any, value: float = 0.0) -> str:
    """A tensor of one value, with the type of another tensor."""
    if value:
        return f"{like.inside()}.new_full(({sizes(shape)},), {value})"
    return f"{like.inside()}.new_zeros({sizes(shape) or '()'})"


@spelling
def noise(*, shape: Shape, like: Any, p: float) -> str:
    """Zeros and ones, divided by the probability of a one; ``p`` is an attribute of the module."""
    made = f"{like.inside()}.new_empty({sizes(shape)}).bernoulli_(1 - self.p)"
    return f"{made}.div_(1 - self.p)" if p < 1 else made


@spelling
def cast(x: Any, *, like: Any = None, itemsize: int = 0) -> str:
    """To the type of another tensor."""
    return f"{x.inside()}.to({f'{like}.dtype' if like is not None else TYPES[itemsize]})"


@spelling
def deform_conv(x: Any, offset: Any, weight: Any, bias: Any, mask: Any, **options: Any) -> str:
    """As torchvision's function."""
    made = call("torchvision.ops.deform_conv2d", x, offset, weight, bias, **options)
    return made if mask is None else f"{made[:-1]}, mask={mask})"


def _recurrent(
    function: str, x: Any, states: Sequence[Any], weights: Sequence[Any], reverse: bool
) -> str:
    """Return a layer of one direction; backwards it is turned around before and after."""
    given = ", ".join(f"{state.inside()}[None]" for state in states)
    given = f"({given})" if len(states) > 1 else given
    own = [weight for weight in weights if weight is not None]
    biased = len(own) > 3
    x = f"{x.inside()}.flip(0)" if reverse else x
    options = "1, 0.0, False, False, False"
    made = f"torch.{function}({x}, {given}, [{', '.join(map(str, own))}], {biased}, {options})"
    turned = "y.flip(0)" if reverse else "y"
    return f"(lambda y, *last: ({turned}, *(each[0] for each in last)))(*{made})"


@spelling
def lstm_layer(x: Any, h: Any, c: Any, *weights: Any, reverse: bool = False, **_: Any) -> str:
    """As ``torch.lstm`` of one layer."""
    return _recurrent("lstm", x, (h, c), weights, reverse)


@spelling
def gru_layer(x: Any, h: Any, *weights: Any, reverse: bool = False, **_: Any) -> str:
    """As ``torch.gru`` of one layer."""
    return _recurrent("gru", x, (h,), weights, reverse)


@spelling
def rnn_layer(
    x: Any, h: Any, *weights: Any, nonlinearity: str, reverse: bool = False, **_: Any
) -> str:
    """As ``torch.rnn_tanh`` or ``torch.rnn_relu`` of one layer."""
    return _recurrent(f"rnn_{nonlinearity}", x, (h,), weights, reverse)
