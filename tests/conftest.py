"""What several tests need: torchvision beside any build of PyTorch, no device of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_own_devices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests from the devices that the user has calibrated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        yield


@pytest.fixture(scope="session")
def torchvision() -> Any:
    """The module torchvision; a test that asks for it is skipped where it is not installed."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from archcost.verify.packages import import_package

    return import_package("torchvision")
