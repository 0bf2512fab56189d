"""What a module is called on: tensors in the place of shapes, or what a function of code makes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from archcost.errors import ArchcostError, did_you_mean, shorten
from archcost.importers.calls import type_of
from archcost.importers.sample import DATA, seeded
from archcost.importers.seen import BATCH, of_batch
from archcost.network import NETWORK_INPUT, Value
from archcost.proofs.counterparts import FOREIGN, maker, one_line
from archcost.pytorch import import_torch, random_values
from archcost.shape import Shape, read_shape
from archcost.units import number_of


@dataclass(frozen=True)
class Slot:
    """The place of an input among the arguments."""

    place: int


@dataclass(frozen=True)
class Fixed:
    """A tensor among the arguments that has no batch: of such a shape and type, or a value."""

    shape: Shape
    dtype: Any
    value: Any = None


@dataclass(frozen=True)
class Arguments:
    """What a module is called on: ``names`` and ``tensors``, and where each of these stands.

    ``sample`` are the tensors of one sample with their content, if the module runs on data;
    ``contents`` those of buffers by their names, as far as they are known.
    """

    names: tuple[str, ...]
    tensors: tuple[Any, ...]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    sample: tuple[Any, ...] = ()
    contents: Mapping[str, Any] = field(default_factory=dict)

    def copies(self, batch: int) -> tuple[Any, ...]:
        """Return so many copies of the sample, along the dimensions that have the batch."""
        pairs = zip(self.sample, self.tensors, strict=True)
        return tuple(
            one.repeat([batch if of_batch(n) else 1 for n in whole.shape]) for one, whole in pairs
        )

    def is_in_order(self, module: Any) -> bool:
        """Whether a module takes the tensors one after the other, and nothing else."""
        slots = tuple(map(Slot, range(len(self.tensors))))
        if self.args or not self.kwargs:
            return self.args == slots and not self.kwargs
        first = tuple(_parameters(module)[: len(slots)])
        return tuple(self.kwargs) == first and tuple(self.kwargs.values()) == slots

    def call(self, function: Callable[..., Any], *tensors: Any) -> Any:
        """Call a function on tensors in the places of the inputs."""
        fill = partial(_filled, tensors)
        return function(*map(fill, self.args), **{k: fill(v) for k, v in self.kwargs.items()})


@dataclass
class Filled:
    """A module's ``forward`` that takes its inputs one after the other."""

    forward: Any
    arguments: Arguments

    def __call__(self, *tensors: Any) -> Any:
        """Run it."""
        return self.arguments.call(self.forward, *tensors)


def _filled(tensors: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, Slot):
        return tensors[value.place]
    if isinstance(value, Fixed):
        if value.value is not None:
            return value.value
        floats = [x.dtype for x in tensors if x.is_floating_point()] or [value.dtype]
        dtype = floats[0] if value.dtype.is_floating_point else value.dtype
        return import_torch().ones(value.shape, dtype=dtype, device=tensors[0].device)
    if isinstance(value, (list, tuple)):
        return type(value)([_filled(tensors, inner) for inner in value])
    if isinstance(value, Mapping):
        return {key: _filled(tensors, inner) for key, inner in value.items()}
    return value


def of_shapes(name: str, module: Any, input: Any, run: bool = False) -> Arguments:
    """Return tensors of the shapes that are said, as the arguments of these names.

    To ``run`` it on data, they have a sample: normally distributed numbers, or zeros.
    """
    torch = import_torch()
    named = _parameters(module)
    first = named[0] if named else NETWORK_INPUT
    if input is None:
        raise ArchcostError(
            f"{name} is code: give the shape of its input, e.g. --input 3x224x224; for several "
            f"inputs --input {first}=3x224x224"
        )
    if not isinstance(input, Mapping):
        input = {first: input}
    for key in input:
        if named and key not in named:
            raise ArchcostError(f"{name} takes no {key!r}{did_you_mean(key, named)}")
    typed = [*map(_typed, input.values())]
    tensors = [
        torch.empty(BATCH, *shape, dtype=getattr(torch, dtype), device="meta")
        for shape, dtype in typed
    ]
    sample: tuple[Any, ...] = ()
    if run:
        with seeded(DATA):
            sample = random_values([Value("", shape, type_of(dtype)) for shape, dtype in typed], 1)
    slots = {key: Slot(place) for place, key in enumerate(input)}
    names = tuple(input)
    if not named:  # it takes *args
        return Arguments(names, tuple(tensors), tuple(slots.values()), {}, sample)
    return Arguments(names, tuple(tensors), (), slots, sample)


def of_function(make: Any, module: Any, run: bool = False) -> Arguments:
    """Return what a function makes for a batch: args, kwargs, or both as ``(args, kwargs)``.

    Args:
        make: the function, or its name as ``file.py:make``; it takes the size of the batch.
        module: the module, which names the arguments.
        run: whether the module runs on the data that it makes for a batch of 1.

    Raises:
        ArchcostError: it cannot be called so, or makes no tensor.
    """
    torch = import_torch()
    if isinstance(make, str):
        where, _, own = make.rpartition(":")
        make = maker(where, own)
    try:
        if run:
            with seeded(DATA):
                made, other = make(1), make(2)
        else:
            with torch.device("meta"):
                made = other = make(BATCH)
    except FOREIGN as error:
        raise ArchcostError(f"--inputs: make(batch) fails: {one_line(error)}") from None
    tensors: list[Any] = []
    names: list[str] = []
    sample: list[Any] = []

    def slot(value: Any, more: Any, name: str) -> Any:
        if isinstance(value, torch.Tensor):
            shape = tuple(
                n if n == m else n * BATCH for n, m in zip(value.shape, more.shape, strict=True)
            )
            if not any(map(of_batch, shape)):
                return Fixed(shape, value.dtype, value if run else None)
            tensors.append(torch.empty(shape, dtype=value.dtype, device="meta"))
            names.append(name)
            if run:
                sample.append(value)
            return Slot(len(tensors) - 1)
        if isinstance(value, (list, tuple)):
            inner = zip(value, more, strict=True)
            return type(value)([slot(*pair, f"{name}_{n}") for n, pair in enumerate(inner)])
        if isinstance(value, Mapping):
            own = ((key, re.sub(r"\W", "_", str(key))) for key in value)
            return {key: slot(value[key], more[key], f"{name}_{text}") for key, text in own}
        return value

    known = [*_parameters(module)]
    try:
        (args, kwargs), (others, named) = _parts(made), _parts(other)
        known += [f"input{n}" for n in range(len(args))]
        pairs = zip(args, others, strict=True)
        placed = tuple(slot(*pair, key) for pair, key in zip(pairs, known, strict=False))
        given = {key: slot(value, named[key], key) for key, value in kwargs.items()}
    except (ValueError, KeyError, AttributeError):
        raise ArchcostError(
            "--inputs: make(batch) gives other arguments for another batch"
        ) from None
    if not tensors:
        raise ArchcostError("--inputs: make(batch) gives no tensor that has the batch")
    return Arguments(tuple(names), tuple(tensors), placed, given, tuple(sample))


def in_order(module: Any, names: Sequence[str], make: Any = None) -> Any:
    """Let a module take tensors one after the other, and return it.

    Args:
        module: whose ``forward`` may take them by name, or in lists and dicts.
        names: of the tensors, in their order.
        make: what makes the arguments for a batch, as for :func:`of_function`. Without it, tensors
            go to the arguments of their names if there are such.

    Raises:
        ArchcostError: ``make`` makes another number of tensors.
    """
    if make is None:
        known, plain = _parameters(module), [*names]
        for place, name in enumerate(names):
            if name not in known:  # an input that is called as a module has another name
                plain[place] = name.removesuffix("_input")
        if not {*plain} <= {*known}:
            return module
        places = {name: Slot(place) for place, name in enumerate(plain)}
        given = Arguments(tuple(plain), (None,) * len(plain), (), places)
    else:
        given = of_function(make, module)
        if len(given.tensors) != len(names):
            raise ArchcostError(
                f"--inputs: make(batch) gives {number_of(len(given.tensors), 'tensor')}, and the "
                f"model has the inputs {', '.join(names)}"
            )
    if not given.is_in_order(module):
        module.forward = Filled(module.forward, given)
    return module


def _parts(made: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return positional and named arguments of what a function gives."""
    if isinstance(made, Mapping):
        return (), made
    if isinstance(made, (list, tuple)):
        both = len(made) == 2 and isinstance(made[0], (list, tuple)) and isinstance(made[1], dict)
        return (tuple(made[0]), made[1]) if both else (tuple(made), {})
    return (made,), {}


def _parameters(module: Any) -> list[str]:
    try:
        known = inspect.signature(module.forward).parameters.values()
    except ValueError:  # a function of PyTorch itself, which says no names
        return []
    return [p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


SCALAR = "scalar"
"""How a shape is written if a sample is a number."""


def _typed(value: Any) -> tuple[Shape, str]:
    if not isinstance(value, str):
        return () if value == () else read_shape(value), "float32"
    text, _, dtype = value.replace(" ", ":").partition(":")
    if dtype and dtype not in ("float32", "int64", "bool"):
        raise ArchcostError(f"an input holds float32, int64 or bool; got {shorten(dtype)!r}")
    return () if text == SCALAR else read_shape(text), dtype or "float32"
