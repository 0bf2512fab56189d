"""Reference networks: which model of the catalog has which counterpart, and how one is built."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError, LookupFailed, did_you_mean, shorten
from archcost.network import Network
from archcost.torch_twin import import_torch

_NO_EXTRAS = {"aux_logits": False, "init_weights": False}

COUNTERPARTS: Mapping[str, Mapping[str, Any]] = {
    # model of the catalog -> collection -> name there, or (name, arguments)
    "alexnet_torchvision": {"torchvision": "alexnet", "pytorchcv": "alexnetb"},
    "googlenet_torchvision": {"torchvision": ("googlenet", _NO_EXTRAS)},
    "resnet18": {"torchvision": "resnet18", "timm": "resnet18", "pytorchcv": "resnet18"},
    "resnet34": {"torchvision": "resnet34", "timm": "resnet34", "pytorchcv": "resnet34"},
    "resnet50": {"torchvision": "resnet50", "timm": "resnet50", "pytorchcv": "resnet50b"},
    "resnet101": {"torchvision": "resnet101", "timm": "resnet101", "pytorchcv": "resnet101b"},
    "resnet152": {"torchvision": "resnet152", "timm": "resnet152", "pytorchcv": "resnet152b"},
    "resnet50_v1": {"pytorchcv": "resnet50"},
    "resnet101_v1": {"pytorchcv": "resnet101"},
    "resnet152_v1": {"pytorchcv": "resnet152"},
    "resnet20_projection": {"pytorchcv": "resnet20_cifar10"},
    "resnet56_projection": {"pytorchcv": "resnet56_cifar10"},
    "resnet110_projection": {"pytorchcv": "resnet110_cifar10"},
    "resnet1202_projection": {"pytorchcv": "resnet1202_cifar10"},
    "vgg11": {"torchvision": "vgg11", "timm": "vgg11", "pytorchcv": "vgg11"},
    "vgg13": {"torchvision": "vgg13", "timm": "vgg13", "pytorchcv": "vgg13"},
    "vgg16": {"torchvision": "vgg16", "timm": "vgg16", "pytorchcv": "vgg16"},
    "vgg16_torchvision": {"torchvision": "vgg16"},
    "vgg19": {"torchvision": "vgg19", "timm": "vgg19", "pytorchcv": "vgg19"},
    "vgg11_bn": {"torchvision": "vgg11_bn", "timm": "vgg11_bn", "pytorchcv": "bn_vgg11b"},
    "vgg13_bn": {"torchvision": "vgg13_bn", "timm": "vgg13_bn", "pytorchcv": "bn_vgg13b"},
    "vgg16_bn": {"torchvision": "vgg16_bn", "timm": "vgg16_bn", "pytorchcv": "bn_vgg16b"},
    "vgg19_bn": {"torchvision": "vgg19_bn", "timm": "vgg19_bn", "pytorchcv": "bn_vgg19b"},
}
"""The networks that other collections build of the same paper, where they are the same network.

A name is listed once it has been proved: what differs (another order of normalisation and pooling,
say) is no counterpart.
"""

COLLECTIONS = ("torchvision", "timm", "pytorchcv")

IMAGENET_CLASSES = 1000


def counterpart(collection: str, network: Network) -> tuple[str, Mapping[str, Any]] | None:
    """Return the name of a network in a collection with its arguments, or None.

    Raises:
        LookupFailed: no such collection.
    """
    if collection not in COLLECTIONS:
        raise LookupFailed("reference", collection, (*COLLECTIONS, "module:callable"))
    entry = COUNTERPARTS.get(network.name, {}).get(collection)
    if entry is None:
        return None
    name, arguments = (entry, {}) if isinstance(entry, str) else entry
    classes = network.knobs.get("classes", IMAGENET_CLASSES)
    if classes != IMAGENET_CLASSES:
        arguments = {**arguments, "num_classes": classes}
    return name, MappingProxyType(dict(arguments))


def build_reference(where: str, name: str, arguments: Mapping[str, Any] = {}) -> Any:
    """Return a reference network, with the random weights of its own initialisation.

    Args:
        where: a collection, or a module that Python can import, also from the current folder.
        name: a network of the collection, or what to call in the module (``a.b`` looks inside).
        arguments: what it is called with.

    Raises:
        ArchcostError: the package is missing or does not import, the name is unknown, the call
            fails, or its result is no ``nn.Module``.
    """
    torch = import_torch()
    make = _maker(where, name)
    try:
        made = make(**arguments)
    except Exception as error:
        raise ArchcostError(f"{where}:{name} cannot be built: {one_line(error)}") from None
    if not isinstance(made, torch.nn.Module):
        kind = type(made).__name__
        raise ArchcostError(f"{where}:{name} gives no torch.nn.Module but {shorten(kind)}")
    return made


def _maker(where: str, name: str) -> Any:
    if where == "torchvision":
        models = import_reference("torchvision").models
        check_name(where, name, models.list_models())
        return lambda **arguments: models.get_model(name, weights=None, **arguments)
    if where == "timm":
        timm = import_reference("timm")
        check_name(where, name, timm.list_models())
        return lambda **arguments: timm.create_model(name, pretrained=False, **arguments)
    if where == "pytorchcv":
        provider = import_reference("pytorchcv.model_provider")
        check_name(where, name, provider._models)
        return lambda **arguments: provider.get_model(name, pretrained=False, **arguments)
    found = import_reference(where)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ArchcostError(f"{where} has no {part!r}{did_you_mean(part, _public(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise ArchcostError(f"{where}:{name} cannot be called")
    return found


def check_name(collection: str, name: str, names: Any) -> None:
    """Refuse a name that the installed version of a collection does not have."""
    names = list(names)
    if name not in names:
        raise LookupFailed(f"network of {collection}", name, names)


def import_reference(module: str) -> Any:
    """Import a module, also from the current folder, or say in one line why not."""
    package = module.partition(".")[0]
    here = os.getcwd()
    sys.path.append(here)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise ArchcostError(f"cannot import {module}: {one_line(error)}") from None
        how = f": pip install {package}" if package in COLLECTIONS else ""
        raise ArchcostError(f"{package} is not installed{how}") from None
    except Exception as error:  # whatever a foreign module raises while it is imported
        beside = f"beside torch {import_torch().__version__}"
        raise ArchcostError(f"cannot import {module} {beside}: {one_line(error)}") from None
    finally:
        sys.path.remove(here)


def one_line(error: BaseException) -> str:
    """Return an error's kind and text on one line."""
    text = shorten(error, 200)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _public(thing: Any) -> list[str]:
    return [name for name in dir(thing) if not name.startswith("_")]
