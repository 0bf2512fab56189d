"""Detectors of torchvision: their figures are those on the most boxes that they keep."""

from __future__ import annotations

from typing import Any

import pytest

from archcost import analyze, load, memory
from archcost.errors import ArchcostError
from archcost.packages import import_package
from archcost.proofs.run import Request, verify

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.torch

PRINTED = {
    "retinanet_resnet50_fpn_v2": 800,
    "fcos_resnet50_fpn": 800,
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
    "fasterrcnn_resnet50_fpn": 800,
    "fasterrcnn_resnet50_fpn_v2": 800,
    "maskrcnn_resnet50_fpn_v2": 800,
}
"""Detectors whose operations torchvision prints, and the size of their input."""


def detector(name: str, **options: Any) -> Any:
    models = import_package("torchvision").models
    return models.get_model(name, weights=None, weights_backbone=None, **options)


@pytest.mark.parametrize("name", PRINTED)
def test_figures_are_those_that_torchvision_prints(name: str) -> None:
    printed = import_package("torchvision").models.get_model_weights(name).DEFAULT.meta["_ops"]
    module = detector(name)
    network = load(module, input=(3, PRINTED[name], PRINTED[name]))
    assert network.name == f"{type(module).__name__}, on the most boxes that it keeps"
    total = analyze(network).total
    assert round(total.macs / 1e9, 3) == printed
    assert total.params == sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "size", "most"),
    [
        ("fasterrcnn_mobilenet_v3_large_fpn", 800, 1000),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 320, 150),
    ],
)
def test_what_torchvision_prints_may_be_of_a_picture_without_boxes(
    name: str, size: int, most: int
) -> None:
    printed = import_package("torchvision").models.get_model_weights(name).DEFAULT.meta["_ops"]
    network = load(detector(name), input=(3, size, size))
    second = sum(layer.macs for layer in network if layer.path.startswith("roi_heads"))
    assert second == most * (256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 91 * 5)
    assert round((analyze(network).total.macs - second) / 1e9, 3) == printed


def test_as_many_boxes_count_as_the_constructor_says() -> None:
    few = {"rpn_post_nms_top_n_test": 30, "box_detections_per_img": 20}
    heads = {
        name: sum(layer.macs for layer in network if layer.path.startswith(f"roi_heads.{name}"))
        for network in [load(detector("maskrcnn_resnet50_fpn", **few), input=(3, 96, 64))]
        for name in ("box_head", "mask_head", "mask_predictor")
    }
    assert heads["box_head"] == 30 * (256 * 7 * 7 * 1024 + 1024 * 1024)
    assert heads["mask_head"] == 20 * 4 * 256 * 256 * 9 * 14 * 14
    assert heads["mask_predictor"] == 20 * (256 * 256 * 4 * 14 * 14 + 256 * 91 * 28 * 28)


def test_images_are_resized_as_the_detector_does() -> None:
    """Of 300x500 to 640x1066, which is padded to 640x1088, a multiple of 32."""
    network = load(detector("retinanet_resnet50_fpn", min_size=640), input=(3, 300, 500))
    shapes = {layer.path: layer.cost.output for layer in network}
    assert shapes["interpolate1"] == (3, 640, 1066)
    assert shapes["pad1"] == (3, 640, 1088)


def test_what_was_read_is_verified_and_training_is_refused() -> None:
    network = load(
        "torchvision.models.detection:ssdlite320_mobilenet_v3_large", input="3x320x320",
        knobs={"weights": "None", "weights_backbone": "None"},
    )  # fmt: skip
    with pytest.raises(ArchcostError, match="depends on the boxes of its targets; a module of its"):
        memory(network)
    [outcome] = verify(network, Request(checks=("structure",)))
    assert (outcome.passed, outcome.failures) == (outcome.run, [])
