"""Detectors of torchvision, as they run on the most boxes that they keep.

A detector resizes its images one by one, and data decide which boxes go through its second stage.
How many these are at most is a number of its constructor.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from archcost.shape import numel

torch: Any = import_module("torch")
overrides: Any = import_module("torch.overrides")
F = torch.nn.functional

PACKAGE = "torchvision.models.detection."
PARTS = ("transform", "backbone", "rpn", "roi_heads", "head")

BOUND = ", on the most boxes that it keeps"
"""What the name of such a network says."""


def is_detector(module: Any) -> bool:
    """Whether a module is a detector of torchvision, or of a class that adds to one."""
    own = any(base.__module__.startswith(PACKAGE) for base in type(module).__mro__)
    return own and hasattr(module, "transform") and hasattr(module, "backbone")


class MostBoxes(torch.nn.Module):  # type: ignore[misc]
    """A detector in evaluation, on a batch of images of one size.

    Its modules have the names that they have in the detector. Choosing boxes multiplies nothing.

    Args:
        detector: a ``GeneralizedRCNN``, ``RetinaNet``, ``FCOS`` or ``SSD``.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        for part in PARTS:
            if hasattr(detector, part):
                setattr(self, part, getattr(detector, part))

    def forward(self, images: Any) -> list[Any]:
        """Return what the heads say of all places, of all proposals and of all detections."""
        features = self.backbone(self._resized(images))
        maps = list(features.values()) if isinstance(features, dict) else [features]
        if not hasattr(self, "rpn"):
            return [self.head(maps)]
        scores, places = self.rpn.head(maps)
        found: list[Any] = [scores, places]
        most = sum(min(self.rpn.pre_nms_top_n(), numel(score.shape[1:])) for score in scores)
        number = min(self.rpn.post_nms_top_n(), most)
        named = features if isinstance(features, dict) else {"0": features}
        heads = self.roi_heads
        for kind in ("box", "mask", "keypoint"):
            pool = getattr(heads, f"{kind}_roi_pool", None)
            if pool is not None:
                chosen = [named[name] for name in pool.featmap_names if name in named]
                made = getattr(heads, f"{kind}_head")(roi_align(chosen, number, pool.output_size))
                made = getattr(heads, f"{kind}_predictor")(made)
                found.append(made)
            if kind == "box":
                number = min(heads.detections_per_img, number * (made[0].shape[-1] - 1))
        return found

    def _resized(self, images: Any) -> Any:
        """Return images as the detector's transform makes them."""
        with torch._C.DisableTorchFunction():
            one = torch.empty(images.shape[1:], device="meta")
            batch, _ = self.transform([one])
            [inner], outer = batch.image_sizes, batch.tensors.shape[-2:]
        x = self.transform.normalize(images)
        x = F.interpolate(x, size=inner, mode="bilinear", align_corners=False)
        below, right = outer[0] - inner[0], outer[1] - inner[1]
        return F.pad(x, (0, right, 0, below)) if below or right else x


def roi_align(maps: Sequence[Any], number: int, size: Sequence[int]) -> Any:
    """Return so many regions of each image, of one size, as a batch."""
    if overrides.has_torch_function(tuple(maps)):
        return overrides.handle_torch_function(roi_align, tuple(maps), maps, number, size)
    first = maps[0]
    return first.new_zeros(first.shape[0] * number, first.shape[1], *size)
