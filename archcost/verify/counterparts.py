"""Reference networks: which model of the catalog has which counterpart, and how one is built."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from archcost.errors import ArchcostError, LookupFailed, did_you_mean, shorten
from archcost.network import Network
from archcost.torch_twin import import_torch
from archcost.verify.packages import import_package

_NO_EXTRAS = {"aux_logits": False, "init_weights": False}

COUNTERPARTS: Mapping[str, Mapping[str, Any]] = {
    # model of the catalog -> collection -> name there, or (name, arguments); module:function for a
    # size that the collection does not name. pytorchcv's AlexNet and ZFNets normalise before they
    # pool; its plain DenseNets have a wider stem, and transitions that halve the channels
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
    **{
        f"resnet{n}_projection": {
            "pytorchcv": (
                "models.resnet_cifar:get_resnet_cifar", {"blocks": n, "bottleneck": False}
            )
        }
        for n in (32, 44)
    },
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
    **{
        f"densenet{n}": dict.fromkeys(("torchvision", "timm", "pytorchcv"), f"densenet{n}")
        for n in (121, 161, 169, 201)
    },
    "densenet264": {"timm": ("densenet121", {"block_config": (6, 12, 64, 48)})},
    "densenet100_bc_k12": {"pytorchcv": "densenet100_k12_bc_cifar10"},
    "densenet190_bc_k40": {"pytorchcv": "densenet190_k40_bc_cifar10"},
    "densenet250_bc_k24": {"pytorchcv": "densenet250_k24_bc_cifar10"},
    "bn_inception": {"pytorchcv": "bninception"},
    "inception_v3": {
        "torchvision": ("inception_v3", _NO_EXTRAS), "timm": "inception_v3",
        "pytorchcv": "inceptionv3",
    },
    "inception_v4": {"timm": "inception_v4", "pytorchcv": "inceptionv4"},
    "inception_resnet_v1_facenet": {"pytorchcv": "inceptionresnetv1"},
    "inception_resnet_v2": {"timm": "inception_resnet_v2", "pytorchcv": "inceptionresnetv2"},
    "xception": {"timm": "legacy_xception", "pytorchcv": "xception"},
    # timm's NASNet-A counts the padding into its means, TensorFlow's and pytorchcv's do not
    "nasnet_a_mobile": {"pytorchcv": "nasnet_4a1056"},
    "nasnet_a_large": {"pytorchcv": "nasnet_6a4032"},
    "pnasnet5_large": {"timm": "pnasnet5large", "pytorchcv": "pnasnet5large"},
    "nin_cifar10": {"pytorchcv": "nin_cifar10"},
    "squeezenet1_0": {"torchvision": "squeezenet1_0", "pytorchcv": "squeezenet_v1_0"},
    "squeezenet1_1": {"torchvision": "squeezenet1_1", "pytorchcv": "squeezenet_v1_1"},
    # timm's MobileNet v1 has ReLU6
    "mobilenet_v1": {"pytorchcv": "mobilenet_w1"},
    "mobilenet_v1_0.75": {"pytorchcv": "mobilenet_w3d4"},
    "mobilenet_v1_0.5": {"pytorchcv": "mobilenet_wd2"},
    "mobilenet_v1_0.25": {"pytorchcv": "mobilenet_wd4"},
    "mobilenet_v2": {"torchvision": "mobilenet_v2", "timm": "mobilenetv2_100"},
    "mobilenet_v2_0.75": {"timm": "mobilenetv2_075"},
    "mobilenet_v2_0.5": {"timm": "mobilenetv2_050"},
    "mobilenet_v2_1.4": {"timm": "mobilenetv2_140"},
    "mobilenet_v3_large": {"torchvision": "mobilenet_v3_large"},
    "mobilenet_v3_small": {"torchvision": "mobilenet_v3_small"},
    **{f"shufflenet_v1_g{g}": {"pytorchcv": f"shufflenet_g{g}_w1"} for g in (1, 2, 3, 4, 8)},
    "shufflenet_v1_g3_x0.5": {"pytorchcv": "shufflenet_g3_wd2"},
    **{
        f"shufflenet_v1_g3_x{scale:g}": {
            "pytorchcv": ("models.shufflenet:get_shufflenet", {"groups": 3, "width_scale": scale})
        }
        for scale in (1.5, 2.0)
    },
    **{
        f"shufflenet_v2_x{a}.{b}": {"torchvision": f"shufflenet_v2_x{a}_{b}"}
        for a, b in ((0, 5), (1, 0), (1, 5), (2, 0))
    },
    **{f"mnasnet{n}": {"torchvision": f"mnasnet{n}"} for n in ("0_5", "0_75", "1_0", "1_3")},
    **{f"se_resnet{n}": {"timm": f"legacy_seresnet{n}"} for n in (50, 101, 152)},
    **{f"se_resnext{n}_32x4d": {"timm": f"legacy_seresnext{n}_32x4d"} for n in (50, 101)},
    "senet154": {"timm": "legacy_senet154"},
    "resnext50_32x4d": {"torchvision": "resnext50_32x4d", "timm": "resnext50_32x4d"},
    "resnext101_32x4d": {"timm": "resnext101_32x4d"},
    "resnext152_32x4d": {"timm": ("resnext50_32x4d", {"layers": (3, 8, 36, 3)})},
    "resnext101_32x8d": {"torchvision": "resnext101_32x8d", "timm": "resnext101_32x8d"},
    "resnext101_64x4d": {"torchvision": "resnext101_64x4d", "timm": "resnext101_64x4d"},
    "wide_resnet50_2": {"torchvision": "wide_resnet50_2", "timm": "wide_resnet50_2"},
    "wide_resnet101_2": {"torchvision": "wide_resnet101_2", "timm": "wide_resnet101_2"},
    **{f"preresnet{n}": {"pytorchcv": f"preresnet{n}"} for n in (18, 34)},
    **{f"preresnet{n}": {"pytorchcv": f"preresnet{n}b"} for n in (50, 101, 152, 200, 269)},
    "preresnet110_cifar10": {"pytorchcv": "preresnet110_cifar10"},
    "preresnet164_cifar10": {"pytorchcv": "preresnet164bn_cifar10"},
    "preresnet1001_cifar10": {"pytorchcv": "preresnet1001_cifar10"},
    "wrn28_10_cifar10": {"pytorchcv": "wrn28_10_cifar10"},
    **{
        f"wrn{n}_{width}_cifar10": {
            "pytorchcv": (
                "models.wrn_cifar:get_wrn_cifar", {"blocks": n, "width_factor": width}
            )
        }
        for n, width in ((16, 8), (40, 4))
    },
    **{f"efficientnet_b{n}": {"torchvision": f"efficientnet_b{n}"} for n in range(8)},
    **{f"efficientnet_v2_{n}": {"torchvision": f"efficientnet_v2_{n}"} for n in "sml"},
    "regnet_x_400mf": {"timm": "regnetx_004"},
    "regnet_y_800mf": {"timm": "regnety_008"},
    "regnet_y_8gf": {"timm": "regnety_080"},
    **{
        f"regnet_{n}_torchvision": {"torchvision": f"regnet_{n}"}
        for n in ("x_400mf", "y_800mf", "y_8gf")
    },
    **{
        f"regnet_{n}": {"torchvision": f"regnet_{n}"}
        for n in (
            "x_800mf", "x_1_6gf", "x_3_2gf", "x_8gf", "x_16gf", "x_32gf",
            "y_400mf", "y_1_6gf", "y_3_2gf", "y_16gf", "y_32gf", "y_128gf",
        )
    },
    **{
        f"convnext_{n}": {"torchvision": f"convnext_{n}", "timm": f"convnext_{n}"}
        for n in ("tiny", "small", "base", "large")
    },
    "convnext_xlarge": {"timm": "convnext_xlarge"},
    **{
        f"convnextv2_{n}": {"timm": f"convnextv2_{n}"}
        for n in ("atto", "femto", "pico", "nano", "tiny", "base", "large", "huge")
    },
    "vit_ti_16": {"timm": "vit_tiny_patch16_224"},
    "vit_ti_32": {"timm": ("vit_tiny_patch16_224", {"patch_size": 32})},
    "vit_s_16": {"timm": "vit_small_patch16_224"},
    "vit_s_32": {"timm": "vit_small_patch32_224"},
    "vit_b_16": {"torchvision": "vit_b_16", "timm": "vit_base_patch16_224"},
    "vit_b_32": {"torchvision": "vit_b_32", "timm": "vit_base_patch32_224"},
    "vit_l_16": {"torchvision": "vit_l_16", "timm": "vit_large_patch16_224"},
    "vit_l_32": {"torchvision": "vit_l_32"},
    **{
        f"deit_{a}{distilled}": {"timm": f"deit_{b}{distilled}_patch16_224"}
        for a, b in (("ti", "tiny"), ("s", "small"), ("b", "base"))
        for distilled in ("", "_distilled")
    },
    **{f"swin_{n}": {"torchvision": f"swin_{n}"} for n in "tsb"},
}  # fmt: skip
"""The networks that other collections build of the same paper, where they are the same network.

A name is listed once it has been proved: what differs (another order of normalisation and pooling,
say) is no counterpart.
"""

COLLECTIONS = ("torchvision", "timm", "pytorchcv")

IMAGENET_CLASSES = 1000


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


def build_reference(where: str, name: str, arguments: Mapping[str, Any] = {}) -> Any:
    """Return a reference network, with the random weights of its own initialisation.

    Args:
        where: a collection, or a module that Python can import, also from the current folder.
        name: a network of the collection, ``module:function`` inside its package, or what to call
            in the module (``a.b`` looks inside).
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
    if ":" in name:
        module, _, name = name.partition(":")
        where = f"{where}.{module}"
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
        return import_package(module)
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
