"""Reference networks: which model of the catalog has which counterpart, and how one is built."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from archcost.counterparts import COLLECTIONS, COUNTERPARTS
from archcost.errors import ArchcostError, LookupFailed, did_you_mean, shorten
from archcost.network import Network
from archcost.packages import import_package, with_operators
from archcost.pytorch import import_torch
from archcost.shape import Shape


@dataclass(frozen=True)
class Difference:
    """What a counterpart does otherwise in training mode, though it computes the same.

    Attributes:
        reason: what, in words.
        kinds: kinds of layers, of ``archcost.proofs.observe``, that are not compared.
        bytes: what it keeps more for backward, per sample of the shape ``input``.
    """

    reason: str
    kinds: tuple[str, ...] = ()
    bytes: int = 0
    input: Shape = ()


_ONE_MORE = "it pads by a row and a column more, and drops them behind the layer"

DIFFERENCES: Mapping[tuple[str, str], Difference] = {
    ("alexnet_torchvision", "pytorchcv"): Difference(
        "it drops after its first two linear layers, not before them", ("drops",)
    ),
    ("nasnet_a_mobile", "pytorchcv"): Difference(_ONE_MORE, bytes=1_126_984, input=(3, 224, 224)),
    ("nasnet_a_large", "pytorchcv"): Difference(_ONE_MORE, bytes=3_885_408, input=(3, 331, 331)),
    ("pnasnet5_large", "pytorchcv"): Difference(_ONE_MORE, bytes=2_029_656, input=(3, 331, 331)),
}
"""What is known to differ, by model and collection; all other counterparts must keep the same."""


IMAGENET_CLASSES = 1000

FOREIGN = (Exception, SystemExit)
"""What foreign code may raise: anything, and it may read the command line and exit."""


def split_reference(against: str) -> tuple[str, str]:
    """Return the collection or module and the name there, empty for a model's own counterpart.

    Raises:
        LookupFailed: no such collection.
        ArchcostError: something is missing.
    """
    where, colon, name = against.partition(":")
    if not colon and where not in COLLECTIONS:
        raise LookupFailed("reference", where, (*COLLECTIONS, "module:callable"))
    if colon and not (where and name):
        raise ArchcostError(f"a reference is a collection or module:callable; got {against!r}")
    return where, name


def counterpart(collection: str, network: Network) -> tuple[str, Mapping[str, Any]] | None:
    """Return the name of a network in a collection with its arguments, or None."""
    entry = COUNTERPARTS.get(network.name, {}).get(collection)
    if entry is None:
        return None
    name, arguments = (entry, {}) if isinstance(entry, str) else entry
    classes = network.knobs.get("classes", IMAGENET_CLASSES)
    if classes != IMAGENET_CLASSES:
        arguments = {**arguments, "num_classes": classes}
    return name, MappingProxyType(dict(arguments))


def how_to_name(collection: str, models: Iterable[str]) -> str:
    """Return how a network of a collection is named whose model has no counterpart that is known.

    The message names networks of the installed collection that are spelt most like one of
    ``models``.
    """
    try:
        names = list_networks(collection)
    except ArchcostError:  # it is not installed
        names = []
    close = [name for model in models for name in get_close_matches(model, names, 3, 0.6)]
    nearest = ", ".join(f"{collection}:{name}" for name in list(dict.fromkeys(close))[:3])
    example = f"; nearest by name: {nearest}" if nearest else ""
    return f"any network of it can be named, as in --against {collection}:NAME{example}"


def list_networks(collection: str) -> list[str]:
    """Return the names of the networks in a collection.

    Raises:
        ArchcostError: it is not installed, or does not import.
    """
    if collection == "pytorchcv":
        return list(import_reference("pytorchcv.model_provider")._models)
    package = import_reference(collection)
    return list((package.models if collection == "torchvision" else package).list_models())


def build_reference(where: str, name: str, arguments: Mapping[str, Any] = {}) -> Any:
    """Return a reference network, with the random weights of its own initialisation.

    Args:
        where: a collection, or a module that Python can import, also from the current folder.
        name: a network of the collection, ``module:function`` inside its package, or what to call
            in the module (``a.b`` looks inside).
        arguments: what it is called with.

    Raises:
        ArchcostError: the package is missing or does not import, the name is unknown, the call
            fails, or its result is not an ``nn.Module``.
    """
    return build(maker(where, name), f"{where}:{name}", arguments)


def build(make: Callable[..., Any], called: str, arguments: Mapping[str, Any]) -> Any:
    """Return the module that a call makes; see :func:`build_reference`.

    Raises:
        ArchcostError: the call fails, or its result is not an ``nn.Module``.
    """
    torch = import_torch()
    try:
        made = make(**arguments)
    except FOREIGN as error:
        raise ArchcostError(f"{called} cannot be built: {one_line(error)}") from None
    if not isinstance(made, torch.nn.Module):
        kind = type(made).__name__
        raise ArchcostError(f"{called} returns {shorten(kind)}, not a torch.nn.Module")
    return made


def maker(where: str, name: str) -> Any:
    """Return what a name stands for, which can be called; see :func:`build_reference`."""
    if ":" in name:
        module, _, name = name.partition(":")
        where = f"{where}.{module}"
    if where == "torchvision":
        check_name(where, name, list_networks(where))
        models = import_reference("torchvision").models
        return lambda **arguments: models.get_model(name, weights=None, **arguments)
    if where == "timm":
        check_name(where, name, list_networks(where))
        timm = import_reference("timm")
        return lambda **arguments: timm.create_model(name, pretrained=False, **arguments)
    if where == "pytorchcv":
        check_name(where, name, list_networks(where))
        provider = import_reference("pytorchcv.model_provider")
        return lambda **arguments: provider.get_model(name, pretrained=False, **arguments)
    found = _from_file(where) if where.endswith(".py") else import_reference(where)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ArchcostError(f"{where} has no {part!r}{did_you_mean(part, _public(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise ArchcostError(f"{where}:{name} cannot be called")
    return found


def _from_file(path: str) -> Any:
    """Return the module that a file is, which finds what lies beside it, or here."""
    file = Path(path)
    if not file.is_file():
        raise ArchcostError(f"{path}: no such file")
    folder, here = os.path.realpath(file.parent), os.getcwd()
    sys.path.insert(0, folder)
    sys.path.append(here)
    try:
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module  # where its classes look for themselves
        with_operators(partial(spec.loader.exec_module, module))
    except FOREIGN as error:
        raise ArchcostError(f"cannot import {path}: {one_line(error)}") from None
    finally:
        sys.path.remove(folder)
        _remove_last(here)
    return module


def _remove_last(folder: str) -> None:
    """Take a folder from the end of Python's path, which may have it at the beginning, too."""
    sys.path.pop(len(sys.path) - 1 - sys.path[::-1].index(folder))


def check_name(collection: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name that the installed version of a collection does not have."""
    if name not in names:
        raise LookupFailed(f"network of {collection}", name, names)


def import_reference(module: str) -> Any:
    """Import a module, also from the current folder, or say in one line why not."""
    package = module.partition(".")[0]
    here = os.getcwd()
    sys.path.append(here)
    try:
        return import_package(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ArchcostError(f"cannot import {module}: {one_line(error)}") from None
        how = f": pip install {package}" if package in COLLECTIONS else _similar(package)
        raise ArchcostError(f"{package} is not installed{how}") from None
    except FOREIGN as error:
        beside = f"beside torch {import_torch().__version__}"
        raise ArchcostError(f"cannot import {module} {beside}: {one_line(error)}") from None
    finally:
        _remove_last(here)


def _similar(package: str) -> str:
    """Return the question whether a collection was meant."""
    close = get_close_matches(package, COLLECTIONS, 1, 0.7)
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(error: BaseException) -> str:
    """Return an error's kind and text on one line."""
    text = shorten(error, 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _public(thing: Any) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]
