"""Sweeps by several workers: the same rows and counts as by one, also when workers die."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archcost
from archcost import load
from archcost.cli import cli
from archcost.setting import Setting
from archcost.space import workers
from archcost.space.grid import Space, read_dimension
from archcost.space.sweep import Sweeper, joined

pytest.importorskip("numpy", reason="numpy is not installed")

SWEEPS: dict[str, dict[str, Any]] = {
    "refused": {
        "model": "shufflenet_v1_g3", "vary": {"groups": "1:8", "input": "32:4127"},
        "where": "macs <= 60M and params >= 1M",
    },
    "front": {
        "model": "mobilenet_v2", "vary": {"width": "0.5:1.5:0.001", "input": "96:160"},
        "pareto": ["macs", "-params"],
    },
    "first": {
        "model": "resnet18", "vary": {"classes": "1:1000", "input": "32:132"},
        "sort": ["-macs", "params"], "top": 7,
    },
    "sample": {
        "model": "resnet50", "vary": {"depths.2": "1:99", "input": "32:999"},
        "sample": 70_000, "seed": 3, "top": 5, "sort": ["params"],
    },
}  # fmt: skip


def sweep(name: str, **options: Any) -> archcost.space.sweep.Sweep:
    own = {**SWEEPS[name], **options}
    return archcost.sweep(own.pop("model"), own.pop("vary"), **own)


def same(found: archcost.space.sweep.Sweep, alone: archcost.space.sweep.Sweep) -> bool:
    return (found.table(), found.to_dict()) == (alone.table(), alone.to_dict())


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STEPS", 1)


@pytest.fixture(scope="module")
def two() -> Any:
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        yield executor


@pytest.mark.parametrize("name", SWEEPS)
def test_workers_find_what_one_finds(name: str, two: Executor) -> None:
    alone = sweep(name)
    assert alone.configurations > 2**14  # several tasks
    assert same(sweep(name, executor=two), alone)
    with ThreadPoolExecutor(3) as threads:
        assert same(sweep(name, executor=threads), alone)


def test_figures_that_are_no_sums_are_found_by_workers(two: Executor) -> None:
    vary, columns = {"H": "32:41", "W": "32:91"}, ["training_peak"]
    alone = archcost.sweep("lenet5", vary, columns=columns)
    assert same(archcost.sweep("lenet5", vary, columns=columns, executor=two), alone)


def test_the_command_has_processes_of_its_own(tmp_path: Path) -> None:
    files = []
    for jobs in ("1", "2"):
        files.append(tmp_path / f"{jobs}.csv")
        words = [
            "sweep",
            "resnet18",
            "--vary",
            "input=32:9999",
            "--vary",
            "classes=9,10",
            "--jobs",
            jobs,
        ]
        done = CliRunner().invoke(cli, [*words, "-o", str(files[-1])])
        assert done.exit_code == 0 and "19,936 configurations: 19,936 networks" in done.output
    assert files[0].read_text() == files[1].read_text()
    assert files[0].read_text().count("\n") == 19_937


class Failing(Executor):
    """Runs two tasks, loses the third, and takes no more."""

    def __init__(self) -> None:
        self.taken = 0

    def submit(self, task: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        self.taken += 1
        if self.taken > 3:
            raise BrokenProcessPool
        future: Future[Any] = Future()
        if self.taken == 3:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(task(*args, **kwargs))
        return future


def test_what_dead_workers_do_not_return_is_priced_once() -> None:
    failing = Failing()
    assert same(sweep("front", executor=failing), sweep("front"))
    assert failing.taken > 3


def test_killed_processes_lose_and_double_nothing() -> None:
    space = Space({"input": read_dimension("32:9031"), "classes": read_dimension("1:9")})
    alone = Sweeper(load("resnet18"), Setting(), space)
    expected = joined([*alone.blocks()])
    sweeper = Sweeper(load("resnet18"), Setting(), space)
    others = active_children()
    with workers.blocks_of(sweeper, 2) as blocks:
        found = [next(blocks)]
        for process in {*active_children()} - {*others}:
            process.kill()
        found += blocks
    assert all((joined(found)[name] == own).all() for name, own in expected.items())
    assert sweeper.summary() == alone.summary()


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "siamese"])
def test_a_network_can_be_sent_to_another_process(name: str) -> None:
    network = load(name)
    assert network.values and network.params  # what is computed once is not sent
    again = pickle.loads(pickle.dumps(network))
    assert again == network
    assert again.remarks == network.remarks
    assert again.remake(knobs=dict(network.knobs)) == network


CODE = """\
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
"""


@pytest.mark.torch
def test_code_is_priced_and_verified_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    model = f"{tmp_path}/net.py:net"
    sizes = {"input": [8, 9]}
    alone = archcost.sweep(model, sizes, input="3x8x8")
    assert same(archcost.sweep(model, sizes, input="3x8x8", jobs=2), alone)
    found = archcost.verify(
        model, "lenet5", "alexnet", checks=["module"], input="3x227x227", jobs=2
    )
    assert [each.model for each in found.outcomes if each.passed] == [model]


def test_fewer_than_one_process_is_refused() -> None:
    with pytest.raises(archcost.ArchcostError, match="jobs is at least 1; got 0"):
        archcost.sweep("resnet18", {"input": [32, 64]}, jobs=0)
