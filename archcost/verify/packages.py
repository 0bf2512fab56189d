"""Importing the packages that archcost is checked against, also beside another build of PyTorch."""

from __future__ import annotations

import importlib
from typing import Any

_OPERATORS = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")

_declared: list[Any] = []  # declarations last as long as their library lives


def import_package(name: str) -> Any:
    """Import a module, also one that needs torchvision where torchvision's extension does not load.

    Its compiled operators, which no classifier needs, are then declared without being there: a
    wheel of torchvision that was built for another build of PyTorch is enough for the networks.

    Raises:
        ImportError, RuntimeError: as the module itself.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _declare_operators()
        return importlib.import_module(name)


def _declare_operators() -> None:
    if _declared:
        return
    from torch import library

    declare: Any = library.Library
    operators = declare("torchvision", "DEF")
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    backward = [f"_{name}_backward" for name in _OPERATORS]
    for name in (*_OPERATORS, *backward, "qnms", "qroi_align"):
        operators.define(f"{name}(Tensor x) -> Tensor")
    _declared.append(operators)
