"""What several tests need: torchvision beside any build of PyTorch, no device of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

COMPILED = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")


def declare_torchvision_ops(torch: Any) -> Any:
    """Declare the compiled operators that torchvision looks up while it is imported.

    Its extension does not load beside a CPU build of PyTorch, and no classifier needs it. The
    declarations last as long as the returned object.
    """
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in (*COMPILED, *(f"_{name}_backward" for name in COMPILED), "qnms", "qroi_align"):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library


@pytest.fixture(scope="session", autouse=True)
def no_own_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests from the devices that the user has calibrated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        yield


@pytest.fixture(scope="session")
def torchvision() -> Iterator[Any]:
    """The module torchvision; a test that asks for it is skipped where it is not installed."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    library = None
    try:
        module = import_module("torchvision")
    except RuntimeError:  # operator torchvision::nms does not exist
        library = declare_torchvision_ops(torch)
        module = import_module("torchvision")
    yield module
    del library
