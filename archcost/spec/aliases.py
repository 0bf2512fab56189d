"""What torchvision, timm and pytorchcv call models of the catalog that have another name here.

Each is a counterpart that ``archcost verify`` proves (``archcost.proofs.counterparts``). Only names
that the catalog does not have itself are listed: pytorchcv's ``resnet50`` is not an alias.
"""

from __future__ import annotations

from collections.abc import Mapping

TORCHVISION = {
    f"shufflenet_v2_x{a}_{b}": f"shufflenet_v2_x{a}.{b}" for a, b in ("05", "10", "15", "20")
}
TIMM = {
    "legacy_xception": "xception", "pnasnet5large": "pnasnet5_large",
    "mobilenetv2_100": "mobilenet_v2", "mobilenetv2_075": "mobilenet_v2_0.75",
    "mobilenetv2_050": "mobilenet_v2_0.5", "mobilenetv2_140": "mobilenet_v2_1.4",
    **{f"legacy_seresnet{n}": f"se_resnet{n}" for n in (50, 101, 152)},
    **{f"legacy_seresnext{n}_32x4d": f"se_resnext{n}_32x4d" for n in (50, 101)},
    "legacy_senet154": "senet154",
    "regnetx_004": "regnet_x_400mf", "regnety_008": "regnet_y_800mf", "regnety_080": "regnet_y_8gf",
    **{
        f"vit_{size}_patch{patch}_224": f"vit_{short}_{patch}"
        for size, short, patches in (
            ("tiny", "ti", (16,)), ("small", "s", (16, 32)), ("base", "b", (16, 32)),
            ("large", "l", (16,)),
        )
        for patch in patches
    },
    **{
        f"deit_{size}{distilled}_patch16_224": f"deit_{short}{distilled}"
        for size, short in (("tiny", "ti"), ("small", "s"), ("base", "b"))
        for distilled in ("", "_distilled")
    },
}  # fmt: skip
PYTORCHCV = {
    "alexnetb": "alexnet_torchvision",
    **{f"resnet{n}b": f"resnet{n}" for n in (50, 101, 152)},
    **{f"resnet{n}_cifar10": f"resnet{n}_projection" for n in (20, 56, 110, 1202)},
    **{f"bn_vgg{n}b": f"vgg{n}_bn" for n in (11, 13, 16, 19)},
    **{f"densenet{n}_k{k}_bc_cifar10": f"densenet{n}_bc_k{k}" for n, k in (
        (100, 12), (190, 40), (250, 24),
    )},
    "bninception": "bn_inception", "inceptionv3": "inception_v3", "inceptionv4": "inception_v4",
    "inceptionresnetv1": "inception_resnet_v1_facenet", "inceptionresnetv2": "inception_resnet_v2",
    "nasnet_4a1056": "nasnet_a_mobile", "nasnet_6a4032": "nasnet_a_large",
    "squeezenet_v1_0": "squeezenet1_0", "squeezenet_v1_1": "squeezenet1_1",
    "mobilenet_w1": "mobilenet_v1", "mobilenet_w3d4": "mobilenet_v1_0.75",
    "mobilenet_wd2": "mobilenet_v1_0.5", "mobilenet_wd4": "mobilenet_v1_0.25",
    **{f"shufflenet_g{g}_w1": f"shufflenet_v1_g{g}" for g in (1, 2, 3, 4, 8)},
    "shufflenet_g3_wd2": "shufflenet_v1_g3_x0.5",
    **{f"preresnet{n}b": f"preresnet{n}" for n in (50, 101, 152, 200, 269)},
    "preresnet164bn_cifar10": "preresnet164_cifar10",
}  # fmt: skip

ALIASES: Mapping[str, tuple[str, str]] = {
    alias: (model, collection)
    for collection, names in (
        ("pytorchcv", PYTORCHCV), ("timm", TIMM), ("torchvision", TORCHVISION),
    )
    for alias, model in names.items()
}  # fmt: skip
"""Model of the catalog, and the collection that calls it so."""
