"""Arithmetic of one or two tensors and numbers, as the ops of specs that say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from archcost.importers.arranged import sizes_of
from archcost.importers.calls import Called, Input, Own, Rows
from archcost.importers.modules import alike
from archcost.importers.phrases import RULES, Rewriting, Said, places_of, rule
from archcost.importers.phrases_layers import beside
from archcost.network import Layer, maker
from archcost.ops.base import make

SUB, RSUB = ("sub", "subtract", "__sub__", "__isub__"), ("rsub", "__rsub__")
DIV = ("div", "divide", "true_divide", "__truediv__", "__itruediv__")
REDUCED = {
    "sum": ("dim", "keepdim"), "amax": ("dim", "keepdim"), "amin": ("dim", "keepdim"),
    "logsumexp": ("dim", "keepdim"), "var": ("dim", "correction", "keepdim"),
    "std": ("dim", "correction", "keepdim"),
}  # fmt: skip
"""Functions along dimensions with their options in PyTorch's order; the ops have these too."""


def _given(layer: Layer, op: Called) -> list[Any] | None:
    """Return the tensors' names and the numbers of a call, None if it is given anything else."""
    if op.params or op.buffers or any(value not in (None, 1) for value in op.kwargs.values()):
        return None
    made: list[Any] = []
    for arg in op.args:
        if isinstance(arg, Input):
            made.append(layer.inputs[arg.place])
        elif type(arg) in (int, float):
            made.append(arg)
        else:
            return None
    return made


def _of_two(layer: Layer, name: str, given: Sequence[Any]) -> Said | None:
    both = len(given) == 2 and all(isinstance(each, str) for each in given)
    return Said(make(name), tuple(given)) if both else None


def _rescaled(x: Any, factor: float, addend: float = 0.0) -> Said:
    return Said(make("rescale", factor, addend), (x,))


@rule(*SUB)
def _sub(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    match _given(layer, op):
        case [str(x), (int() | float()) as number]:
            return _rescaled(x, 1, -number)
        case [(int() | float()) as number, str(x)]:
            return _rescaled(x, -1, number)
        case [str(), str()] as both:
            return _of_two(layer, "sub", both)
    return None


@rule(*RSUB)
def _rsub(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    match _given(layer, op):
        case [str(x), (int() | float()) as number]:
            return _rescaled(x, -1, number)
        case [str(x), str(y)]:
            return _of_two(layer, "sub", [y, x])
    return None


@rule(*DIV)
def _div(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    match _given(layer, op):
        case [str(x), (int() | float()) as number] if number:
            return _rescaled(x, 1 / number)
        case [str(), str()] as both:
            return _of_two(layer, "div", both)
    return None


@rule("maximum", "minimum")
def _extremum(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    return _of_two(layer, op.function, _given(layer, op) or [])


@rule("pow", "__pow__", "square")
def _pow(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    match _given(layer, op):
        case [str(x)] | [str(x), 2 | 2.0]:
            return Said(make("square"), (x,))
        case [str(x), (int() | float()) as exponent]:
            return Said(make("pow", float(exponent)), (x,))
    return None


@rule("clamp", "clip", "clamp_min", "clamp_max")
def _clamp(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    names = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(op.function, ("min", "max"))
    bounds = {**dict(zip(names, op.args[1:], strict=False)), **op.kwargs}
    numbers = {key: float(n) for key, n in bounds.items() if type(n) in (int, float)}
    plain = len(numbers) == sum(n is not None for n in bounds.values())
    return Said(make("clamp", **numbers), layer.inputs) if plain and not op.params else None


@rule(*REDUCED)
def _reduced(self: Rewriting, layer: Layer, op: Called) -> Said | list[Said] | None:
    ahead = self.by_path.get(maker(layer.inputs[0]))
    if op.function == "sum" and ahead is not None and isinstance(ahead.op, Called):
        added = sum_of_stack(self, layer, op, ahead) if ahead.op.name == "stack" else None
        if added is not None:
            return added
    names = REDUCED[op.function]
    options: dict[str, Any] = dict(zip(names, op.args[1:], strict=False)) | dict(op.kwargs)
    if "unbiased" in options:
        options["correction"] = int(options.pop("unbiased"))
    elif isinstance(options.get("correction"), bool):  # var(x, dim, unbiased)
        options["correction"] = int(options["correction"])
    places = places_of(options.pop("dim", None), layer)
    options = {key: value for key, value in options.items() if value is not None}
    if places is None or {*options} - {*names}:
        return None
    if "correction" in options:
        options["correction"] = float(options["correction"])
    return Said(make(op.function, places, **options), layer.inputs)


def sum_of_stack(
    self: Rewriting, layer: Layer, op: Called, stack: Layer
) -> list[Said] | None:  # fmt: skip
    """Return the sum of tensors that were put together for it as ``add``, and their mean."""
    calls: tuple[Any, ...] = (op, stack.op)
    dims = [o.kwargs.get("dim", o.args[1] if len(o.args) > 1 else 0) for o in calls]
    if dims[0] != dims[1] or len(op.args) + len(op.kwargs) < 2 or len(self.readers[stack.path]) > 1:
        return None
    self.drop(stack)
    total = Said(make("add"), stack.inputs)
    if op.function == "sum":
        return [total]
    each = Said(make("rescale", 1 / len(stack.inputs)), (beside(layer.path, "_sum"),))
    return [replace(total, suffix="_sum"), each]


_mean = RULES["mean"]


@rule("mean")
def _mean_of_all(self: Rewriting, layer: Layer, op: Called) -> Said | list[Said] | None:
    ahead = self.by_path.get(maker(layer.inputs[0]))
    if ahead is not None and ahead.op.name == "stack":
        return sum_of_stack(self, layer, op, ahead)
    return _mean(self, layer, op)


@rule("stack")
def _stack(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    dim = op.kwargs.get("dim", op.args[1] if len(op.args) > 1 else 0)
    places = [arg.place for arg in op.args[0] if isinstance(arg, Input)]
    where = dim % (len(layer.shapes[0]) + 2) - 1
    whole = len(places) == len(op.args[0]) and where >= 0
    return Said(make("stack", where), tuple(layer.inputs[n] for n in places)) if whole else None


@rule("repeat", "tile")
def _repeat(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    times = sizes_of(op.args[1:])
    alike = len(times) == len(layer.shapes[0]) + 1 and times[0] == 1 and not op.params
    return Said(make("repeat", times[1:]), layer.inputs) if alike else None


@rule("expand", "expand_as")
def _expand(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    alike = len(layer.shapes[0]) == len(layer.cost.output) and not op.params
    return Said(make("expand", [*layer.cost.output]), layer.inputs[:1]) if alike else None


@rule("roll")
def _roll(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    shifts = op.kwargs.get("shifts", op.args[1] if len(op.args) > 1 else None)
    dims = op.kwargs.get("dims", op.args[2] if len(op.args) > 2 else None)
    if dims is None or isinstance(shifts, Rows):
        return None
    steps, places = sizes_of([shifts]), places_of(dims, layer)
    return Said(make("roll", steps, places), layer.inputs) if places else None


@rule("dropout1d", "dropout2d", "dropout3d")
def _channel_dropout(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    p = op.kwargs.get("p", op.args[1] if len(op.args) > 1 else 0.5)
    return Said(make("channel_dropout", p), layer.inputs)


@rule("normalize")
def _normalize(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    given = {"p": 2.0, "dim": 1, "eps": 1e-12}
    given |= dict(zip(("p", "dim", "eps"), op.args[1:], strict=False))
    given |= {key: value for key, value in op.kwargs.items() if value is not None}
    places = places_of(given["dim"], layer)
    plain = given["p"] == 2 and {*given} == {"p", "dim", "eps"} and not op.params
    if not plain or places is None or len(places) > 1:
        return None
    return Said(make("normalize", places[0], given["eps"]), layer.inputs)


@rule("unfold")
def _unfold(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    names = ("kernel_size", "dilation", "padding", "stride")
    given = dict(zip(names, op.args[1:], strict=False)) | dict(op.kwargs)
    if len(layer.shapes[0]) != 3 or len(layer.cost.output) != 2 or {*given} - {*names}:
        return None
    return Said(make("unfold", **{key: alike(n) for key, n in given.items()}), layer.inputs)


@rule("flip")
def _flip(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    places = places_of(sizes_of(op.args[1:] or [op.kwargs["dims"]]), layer)
    return Said(make("flip", places), layer.inputs) if places else None


@rule("rms_norm")
def _rms_norm(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    given = dict(zip(("normalized_shape", "weight", "eps"), op.args[1:], strict=False))
    given |= op.kwargs
    weight = given.get("weight")
    if len(given["normalized_shape"]) != 1 or not (weight is None or isinstance(weight, Own)):
        return None
    names = {"weight": layer.full_name(weight.name)} if weight is not None else {}
    dim = {"dim": -1} if len(layer.shapes[0]) > 2 else {}
    eps = {} if given.get("eps") is None else {"eps": given["eps"]}
    return Said(make("rmsnorm", affine=bool(names), **eps, **dim), layer.inputs, names)


@rule("layer_norm")
def _layer_norm(self: Rewriting, layer: Layer, op: Called) -> Said | None:
    keys = ("normalized_shape", "weight", "bias", "eps")
    given = dict(zip(keys, op.args[1:], strict=False)) | dict(op.kwargs)
    own = {key: given[key] for key in ("weight", "bias") if given.get(key) is not None}
    if not all(isinstance(each, Own) for each in own.values()) or len(layer.inputs) != 1:
        return None
    names = {key: layer.full_name(each.name) for key, each in own.items()}
    axes = len(given["normalized_shape"])
    plain = axes == 1 and len(layer.shapes[0]) <= 2
    dim = {} if plain else {"dim": -1 if axes == 1 else [*range(-axes, 0)]}
    affine: dict[str, Any] = {"affine": "weight" in names, "bias": "bias" in names}
    return Said(make("layernorm", eps=given.get("eps", 1e-5), **affine, **dim), layer.inputs, names)
