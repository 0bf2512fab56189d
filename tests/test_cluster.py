"""Sweeps on a running cluster of dask.distributed, and files that its workers write."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import archcost
from archcost import ArchcostError, load
from archcost.cli import cli
from archcost.setting import Setting
from archcost.space import workers
from archcost.space.cluster import executor_at
from archcost.space.files import read_rows
from archcost.space.grid import Space, read_dimension
from archcost.space.sweep import Sweeper, joined

np = pytest.importorskip("numpy", reason="numpy is not installed")
distributed = pytest.importorskip("distributed", reason="distributed is not installed")

VARY = ("--vary", "input=32:4031", "--vary", "classes=1:30")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a scheduler and two workers, each a process."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as own:
        yield own.scheduler_address


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STEPS", 1)


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "100"}).invoke(cli, words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [("--pareto", "macs,-params"), ("--sort", "-macs", "--top", "7"), ("--where", "macs <= 1G", "--format", "csv")],
)  # fmt: skip
def test_a_cluster_gives_what_one_process_gives(address: str, more: tuple[str, ...]) -> None:
    words = ("sweep", "resnet18", *VARY, *more)
    ours = run(*words, "--scheduler", address)
    assert ours.exit_code == 0, ours.output
    assert ours.output == run(*words).output


@pytest.mark.slow
def test_a_cluster_finds_what_one_process_finds(address: str) -> None:
    words = ("solve", "mobilenet_v2", "--vary", "width=0.1:2:0.001", "--vary", "classes=9:30",
             "--maximize", "width", "--where", "macs <= 300M")  # fmt: skip
    ours = run(*words, "--scheduler", address)
    assert ours.exit_code == 0, ours.output
    assert ours.output == run(*words).output


@pytest.mark.slow
def test_an_executor_of_a_client_prices(address: str) -> None:
    vary = {"width": "0.5:1.5:0.001", "input": "96:160"}
    alone = archcost.sweep("mobilenet_v2", vary, pareto=["macs", "-params"])
    with distributed.Client(address) as client:
        executor = client.get_executor(pure=False)
        found = archcost.sweep("mobilenet_v2", vary, pareto=["macs", "-params"], executor=executor)
    assert found.to_dict() == alone.to_dict() and len(found) > 100


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(address: str) -> None:
    space = Space({"input": read_dimension("32:9031"), "classes": read_dimension("1:30")})
    alone = Sweeper(load("resnet18"), Setting(), space)
    expected = joined([*alone.blocks()])
    sweeper = Sweeper(load("resnet18"), Setting(), space)
    with executor_at(address) as executor, workers.blocks_of(sweeper, executor) as blocks:
        found = [next(blocks)]
        with distributed.Client(address) as client:
            first = next(iter(client.run(os.getpid).values()))
        os.kill(first, signal.SIGKILL)
        found += blocks
    assert len(found) == 17
    assert all((joined(found)[name] == own).all() for name, own in expected.items())
    assert sweeper.summary() == alone.summary()


@pytest.mark.slow
def test_a_task_that_kills_its_workers_is_an_error(address: str) -> None:
    with (
        pytest.raises(ArchcostError, match=r"the cluster at tcp://.* fails: "),
        executor_at(address) as executor,
    ):
        executor.submit(os._exit, 1).result()


# Files that those who price write.


def rows_in(folder: Path) -> list[tuple[float, ...]]:
    blocks = read_rows(str(folder), ["input", "classes", "macs"])
    return [
        row
        for block in blocks
        for row in zip(*(own.tolist() for own in block.values()), strict=True)
    ]


@pytest.mark.parametrize(
    "who", [(), ("--jobs", "2"), pytest.param(("--scheduler",), marks=pytest.mark.slow)]
)
def test_parts_have_all_rows_once(
    who: tuple[str, ...], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    who += (request.getfixturevalue("address"),) if who == ("--scheduler",) else ()
    words = ("sweep", "resnet18", *VARY, "--where", "macs <= 30G and input >= 600")
    made = run(*words, *who, "--parts", str(tmp_path / "rows"))
    assert made.exit_code == 0, made.output
    alone = run(*words, "--format", "csv", "-o", str(tmp_path / "rows.csv"))
    assert made.output == alone.output
    expected = rows_in(tmp_path / "rows.csv")
    assert rows_in(tmp_path / "rows") == expected and len(expected) > 100
    names = sorted(each.name for each in (tmp_path / "rows").iterdir())
    assert names[0] == "part-0000000016384.parquet"  # those before have no rows


def test_a_part_without_rows_is_not_written(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    made = run(
        "sweep", "resnet18", *VARY, "--where", "input == 4000", "--parts", str(tmp_path / "rows")
    )
    assert "30 with input == 4000" in made.output
    assert [each.name for each in (tmp_path / "rows").iterdir()] == ["part-0000000114688.parquet"]


# What is refused.


def test_what_parts_do_not_take(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    words = ("sweep", "resnet18", "--vary", "input=32,64", "--parts", str(tmp_path))
    reason = f"{tmp_path} has files already; name a folder that is new or empty"
    assert str(run(*words).exception) == reason
    reason = (
        "--parts has all rows, as Parquet: leave --sort, --pareto, --top, --output and --format out"
    )
    assert str(run(*words, "--top", "3").exception) == reason
    words = ("sweep", "resnet18", "--vary", "input=32,64", "--parts", str(tmp_path / "a.txt"))
    assert str(run(*words).exception) == f"cannot write {tmp_path / 'a.txt'}: File exists"


def test_what_a_cluster_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from archcost.space import cluster

    words = ("sweep", "resnet18", "--vary", "input=32,64", "--scheduler")
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    for address in ("tcp://127.0.0.1:1", "what://is-this", "nowhere"):
        reason = (
            f"no scheduler of dask answers at {address!r}; an address is like tcp://10.0.0.1:8786"
        )
        assert str(run(*words, address).exception) == reason
    reason = "a cluster has workers of its own; leave --jobs or --scheduler out"
    assert str(run(*words, "tcp://127.0.0.1:1", "--jobs", "2").exception) == reason
    monkeypatch.setitem(sys.modules, "distributed", None)
    reason = "a cluster needs dask: pip install 'archcost[dask]'"
    assert str(run(*words, "tcp://127.0.0.1:1").exception) == reason


@pytest.mark.slow
def test_workers_of_another_version_are_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from archcost.space import cluster

    monkeypatch.setattr(cluster, "__version__", "9.9")
    made = run("sweep", "resnet18", "--vary", "input=32,64", "--scheduler", address)
    assert f"has archcost {archcost.__version__}, this is 9.9" in str(made.exception)
