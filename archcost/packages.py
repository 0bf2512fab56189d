"""Importing packages that archcost runs or is checked against, also beside another PyTorch."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

_OPERATORS = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")

_declared: list[Any] = []  # declarations last as long as their library lives


def import_package(name: str) -> Any:
    """Import a module by its name, as :func:`with_operators` runs code.

    Raises:
        ImportError, RuntimeError: as the module itself.
    """
    return with_operators(partial(importlib.import_module, name))


@cache
def at_least(package: str, *version: int) -> bool:
    """Return whether a package is installed in a version, such as 2, 14, or in a newer one."""
    from importlib import metadata  # slow to import

    try:
        found = re.findall(r"\d+", metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
    return tuple(map(int, found))[: len(version)] >= version


def with_operators(run: Callable[[], Any]) -> Any:
    """Run code that may import torchvision, also where torchvision's extension does not load.

    Its compiled operators are then declared without code, and the code runs again. Only the
    deformable convolution has code: it is written with other operators. A wheel of torchvision that
    was built for another build of PyTorch is therefore enough for the networks.
    """
    try:
        return run()
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
        _declare_operators()
        return run()


def _declare_operators() -> None:
    if _declared:
        return
    import torch
    from torch import library

    from archcost.deformable import declare

    made: Any = library.Library
    operators = made("torchvision", "DEF")
    _declared.append(operators)
    operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    backward = [f"_{name}_backward" for name in _OPERATORS]
    for name in (*_OPERATORS, *backward, "qnms", "qroi_align"):
        operators.define(f"{name}(Tensor x) -> Tensor")
    declare(torch, library, operators)
    module = importlib.import_module("torchvision.ops.deform_conv")
    module._assert_has_ops = lambda: None  # type: ignore[attr-defined]
