"""What several tests need, and which tests `make test` leaves to `make prove`.

A test marked ``sampled`` runs on many models. `make test` runs it on the first model of each
family; the others are marked ``slow``, as all is that only `make prove` runs.

A test that is skipped always proves nothing. `make test` therefore counts the skipped ones by their
reasons (``--count-skips``), and fails where one has a reason that is not in ``MAY_SKIP``, or more
have it than stand there.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import re
from collections import Counter
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from archcost.spec.catalog import documents

GLIBC = platform.libc_ver()[0] == "glibc"

MAY_SKIP = {
    # what this machine may lack, or have
    r"this is a CPU build of PyTorch": 1,
    r"no CUDA device|a CUDA device is present|this machine has a GPU": 10,
    r"without a GPU, PyTorch does not choose fused attention": 100,
    r"fake tensors of CUDA cannot run it without a GPU": 20,
    r"no record of a device in measurements/ yet": 10,
    r"there is no Chromium with its driver .*": 100,
    r"there is no Python 3\.\d+": 3,
    r"the package index lacks the (lowest|newest) versions": 4,
}
"""Why a test may be skipped where `make test` has installed everything, and how many at most."""

ALIKE = {
    "amoebanet": "pnasnet", "densenet": "inception_v3", "nasnet": "pnasnet",
    "efficientnet_v2": "efficientnet", "inception_v4": "inception_v3",
    "se_resnet": "cbam_resnet",
}  # fmt: skip
"""Families whose ops are all in a family with fewer layers, which tests of how networks run take in
their place: those that are ``sampled(by="kind")``."""

skipped: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--count-skips", action="store_true", help="fail where a test is skipped that need not be"
    )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        skipped[report.longrepr[2].removeprefix("Skipped: ")] += 1


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Free what a proof has held: traces refer to themselves, and keep every tensor of a pass.

    The allocator of glibc holds back what is freed, gigabytes of it, until it is asked.
    """
    if any(item.iter_markers("reference")) or any(item.iter_markers("sampled")):
        gc.collect()
        if GLIBC:
            ctypes.CDLL(None).malloc_trim(0)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without a search for garbage, and let none look through them later.

    Such a search takes half a second, and proofs make one after each check.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is not the first of its family as slow, in tests that are ``sampled``.

    Raises:
        UsageError: a test's name has the address of an object in it. Each process would have
            another name for that test, and none would run.
    """
    if unstable := [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]+", item.nodeid)]:
        raise pytest.UsageError(f"a name that changes from run to run: {unstable[0]}")
    families = {name: doc.name for doc in documents() for name in (doc.name, *doc.variants)}
    seen = set()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled and isinstance(item, pytest.Function):
            params = item.callspec.params
            family = families[params["name"]]
            key = item.originalname, family
            if key in seen or (family in ALIKE and sampled.kwargs.get("by") == "kind"):
                item.add_marker(pytest.mark.slow)
            seen.add(key)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        skipped[report.longrepr[2].removeprefix("Skipped: ")] += 1


def too_many(found: Counter[str]) -> list[str]:
    """Return a line for each reason that may not be, or not so often."""
    lines, seen = [], Counter[str]()
    for reason, number in found.items():
        known = next((why for why in MAY_SKIP if re.fullmatch(why, reason)), "")
        seen[known] += number
        if not known:
            lines.append(f"{number} skipped: {reason}")
    lines += [
        f"{seen[why]} skipped, {most} may be: {why}"
        for why, most in MAY_SKIP.items()
        if seen[why] > most
    ]
    return lines


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    workers = hasattr(session.config, "workerinput")
    if not workers and session.config.getoption("--count-skips") and too_many(skipped):
        session.exitstatus = session.exitstatus or 1


@pytest.hookimpl(trylast=True)  # behind the slowest tests, where it is seen
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    lines = too_many(skipped) if config.getoption("--count-skips") else []
    if lines:
        terminalreporter.section("tests that are skipped and need not be (tests/conftest.py)")
        for line in lines:
            terminalreporter.write_line(line)


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
    from archcost.packages import import_package

    return import_package("torchvision")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of one process that wait for each other are slow beside other processes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
