"""What ``import archcost`` gives: a function per command, each of any model.

A model is a name of the catalog, a path, or a :class:`~archcost.network.Network` such as
:func:`archcost.load` and :func:`archcost.loads` return.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypedDict, TypeVar

from archcost.errors import ArchcostError, LookupFailed
from archcost.network import Network
from archcost.setting import OPTIONS, Setting
from archcost.shape import Inputs

if TYPE_CHECKING:
    from archcost.hardware import Device

P = ParamSpec("P")
R = TypeVar("R")
Model = str | os.PathLike[str] | Network
"""What every function takes."""


class LoadOptions(TypedDict, total=False):
    """How a model is loaded; see :func:`archcost.load`. A Network takes none of these options."""

    input: Inputs | None
    knobs: Mapping[str, Any] | None
    aux: bool
    bias: bool
    inputs: Any
    partial: bool
    run: bool


class CountOptions(LoadOptions, total=False):
    """How a network is counted: see :func:`archcost.analyze`."""

    batch: int
    dtype: str
    convention: str
    activations: str


class RunOptions(LoadOptions, total=False):
    """How a network is run, apart from its batch; see ``archcost memory --help``.

    ``dtype`` is the type of parameters and activations. ``device`` is cuda or cpu. ``optimizer`` is
    sgd, sgd-momentum, adam or adamw. ``kernel`` is how the optimizer updates: foreach, fused,
    for-loop, or None for PyTorch's default. ``freeze`` holds shell patterns of layers that are not
    trained. ``amp`` is bf16 or fp16. ``checkpoint`` holds shell patterns of groups that backward
    recomputes.
    """

    dtype: str
    device: str
    optimizer: str
    kernel: str | None
    weight_decay: bool
    freeze: Sequence[str]
    amp: str | None
    checkpoint: Sequence[str]
    channels_last: bool


class Options(CountOptions, RunOptions, total=False):
    """How a network is run and counted."""


def takes(kind: type[LoadOptions]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function whose ``**options`` are of a kind refuse others, with the nearest name."""

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        known = (*(function.__kwdefaults__ or ()), *kind.__annotations__)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name not in known:
                    raise LookupFailed("option", name, known)
            return function(*args, **kwargs)

        return call

    return wrap


def network_of(model: Model, options: Mapping[str, Any]) -> Network:
    """Return the network of a model with options of :func:`archcost.load`.

    Raises:
        ArchcostError: no model, or options for a Network.
    """
    if isinstance(model, Network):
        if options:
            raise ArchcostError(
                f"{', '.join(options)}: a Network is taken as it is; give these to archcost.load"
            )
        return model
    from archcost.spec.catalog import load

    return load(name_of(model), **options)


def name_of(model: object) -> str:
    """Return the name or path of a model.

    Raises:
        ArchcostError: something else than text or a path.
    """
    if isinstance(model, (str, os.PathLike)) and isinstance(name := os.fspath(model), str):
        return name
    raise ArchcostError(
        f"a model is a catalog name, a path or a Network; got {type(model).__name__}"
    )


def setting_of(options: Mapping[str, Any], **more: Any) -> tuple[Setting, dict[str, Any]]:
    """Return the setting of run options, and the load options among them.

    ``more`` are fields of the setting that a function has as parameters of its own.
    """
    rest = {name: value for name, value in options.items() if name not in OPTIONS}
    return Setting.of({**options, **more}, gpu=more.get("gpu")), rest


def device_of(gpu: str | Device | None) -> Device | None:
    """Return a device by its name, or the device that it is already."""
    from archcost.hardware import find_device

    return find_device(gpu) if isinstance(gpu, str) else gpu
