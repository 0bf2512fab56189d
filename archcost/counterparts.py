"""Which model of the catalog has which counterpart in other collections of networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NO_EXTRAS = {"aux_logits": False, "init_weights": False}
_DROP_HALF, _DROP_FIFTH, _DROP_NONE = ({"drop_rate": p} for p in (0.5, 0.2, 0.0))

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
    "vgg11": {"torchvision": "vgg11", "timm": ("vgg11", _DROP_HALF), "pytorchcv": "vgg11"},
    "vgg13": {"torchvision": "vgg13", "timm": ("vgg13", _DROP_HALF), "pytorchcv": "vgg13"},
    "vgg16": {"torchvision": "vgg16", "timm": ("vgg16", _DROP_HALF), "pytorchcv": "vgg16"},
    "vgg16_torchvision": {"torchvision": "vgg16"},
    "vgg19": {"torchvision": "vgg19", "timm": ("vgg19", _DROP_HALF), "pytorchcv": "vgg19"},
    **{
        f"vgg{n}_bn": {
            "torchvision": f"vgg{n}_bn", "timm": (f"vgg{n}_bn", _DROP_HALF),
            "pytorchcv": f"bn_vgg{n}b",
        }
        for n in (11, 13, 16, 19)
    },
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
        "torchvision": ("inception_v3", _NO_EXTRAS), "timm": ("inception_v3", _DROP_HALF),
        "pytorchcv": "inceptionv3",
    },
    "inception_v4": {
        "timm": ("inception_v4", _DROP_FIFTH), "pytorchcv": ("inceptionv4", {"dropout_rate": 0.2})
    },
    "inception_resnet_v1_facenet": {"pytorchcv": "inceptionresnetv1"},
    "inception_resnet_v2": {
        "timm": ("inception_resnet_v2", _DROP_FIFTH),
        "pytorchcv": ("inceptionresnetv2", {"dropout_rate": 0.2}),
    },
    "xception": {"timm": "legacy_xception", "pytorchcv": "xception"},
    # timm's NASNet-A counts the padding into its means, TensorFlow's and pytorchcv's do not
    "nasnet_a_mobile": {"pytorchcv": "nasnet_4a1056"},
    "nasnet_a_large": {"pytorchcv": "nasnet_6a4032"},
    "pnasnet5_large": {"timm": ("pnasnet5large", _DROP_HALF), "pytorchcv": "pnasnet5large"},
    "nin_cifar10": {"pytorchcv": "nin_cifar10"},
    "squeezenet1_0": {"torchvision": "squeezenet1_0", "pytorchcv": "squeezenet_v1_0"},
    "squeezenet1_1": {"torchvision": "squeezenet1_1", "pytorchcv": "squeezenet_v1_1"},
    # timm's MobileNet v1 has ReLU6
    "mobilenet_v1": {"pytorchcv": "mobilenet_w1"},
    "mobilenet_v1_0.75": {"pytorchcv": "mobilenet_w3d4"},
    "mobilenet_v1_0.5": {"pytorchcv": "mobilenet_wd2"},
    "mobilenet_v1_0.25": {"pytorchcv": "mobilenet_wd4"},
    "mobilenet_v2": {"torchvision": "mobilenet_v2", "timm": ("mobilenetv2_100", _DROP_FIFTH)},
    "mobilenet_v2_0.75": {"timm": ("mobilenetv2_075", _DROP_FIFTH)},
    "mobilenet_v2_0.5": {"timm": ("mobilenetv2_050", _DROP_FIFTH)},
    "mobilenet_v2_1.4": {"timm": ("mobilenetv2_140", _DROP_FIFTH)},
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
    **{f"se_resnet{n}": {"timm": (f"legacy_seresnet{n}", _DROP_NONE)} for n in (50, 101, 152)},
    **{
        f"se_resnext{n}_32x4d": {"timm": (f"legacy_seresnext{n}_32x4d", _DROP_NONE)}
        for n in (50, 101)
    },
    "senet154": {"timm": "legacy_senet154"},
    "resnext50_32x4d": {"torchvision": "resnext50_32x4d", "timm": "resnext50_32x4d"},
    "resnext101_32x4d": {"timm": "resnext101_32x4d"},
    "resnext152_32x4d": {"timm": ("resnext50_32x4d", {"layers": (3, 8, 36, 3)})},
    "resnext101_32x8d": {"torchvision": "resnext101_32x8d", "timm": "resnext101_32x8d"},
    "resnext101_64x4d": {"torchvision": "resnext101_64x4d", "timm": "resnext101_64x4d"},
    "wide_resnet50_2": {"torchvision": "wide_resnet50_2", "timm": "wide_resnet50_2"},
    "wide_resnet68_3": {"timm": ("resnet50", {"layers": (3, 4, 12, 3), "base_width": 192})},
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
        f"convnext_{n}": {
            "torchvision": f"convnext_{n}", "timm": (f"convnext_{n}", {"drop_path_rate": rate})
        }
        for n, rate in (("tiny", 0.1), ("small", 0.4), ("base", 0.5), ("large", 0.5))
    },
    "convnext_xlarge": {"timm": ("convnext_xlarge", {"drop_path_rate": 0.4})},
    **{
        f"convnextv2_{n}": {"timm": (f"convnextv2_{n}", {"drop_path_rate": rate})}
        for n, rate in (
            ("atto", 0.1), ("femto", 0.1), ("pico", 0.1), ("nano", 0.1),
            ("tiny", 0.2), ("base", 0.1), ("large", 0.2), ("huge", 0.3),
        )
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
        f"deit_{a}{distilled}": {
            "timm": (f"deit_{b}{distilled}_patch16_224", {"drop_path_rate": 0.1})
        }
        for a, b in (("ti", "tiny"), ("s", "small"), ("b", "base"))
        for distilled in ("", "_distilled")
    },
    **{f"swin_{n}": {"torchvision": f"swin_{n}"} for n in "tsb"},
    # timm's Darknet-53 has another slope of its leaky ReLUs
    "darknet53": {"pytorchcv": "darknet53"},
    **{
        f"cbam_resnet{n}": {"pytorchcv": f"cbam_resnet{n}"} for n in (18, 34, 50, 101, 152)
    },
    **{f"mobilevit_{n}": {"timm": f"mobilevit_{n}"} for n in ("xxs", "xs", "s")},
}  # fmt: skip
"""The networks that other collections build of the same paper, where they are the same network.

A name is listed once it has been proved: what differs (another order of normalisation and pooling,
say) is no counterpart.
"""

COLLECTIONS = ("torchvision", "timm", "pytorchcv")
