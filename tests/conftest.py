"""What several tests need: torchvision beside any build of PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """The module torchvision; a test that asks for it is skipped where it is not installed."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from archcost.verify.packages import import_package

    return import_package("torchvision")
