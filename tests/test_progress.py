"""Commands that take a while say how far they are, on a terminal and on standard error only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from click.testing import CliRunner

from archcost.cli import cli, progress

MODELS = ("lenet5", "alexnet", "vgg11")


class Now:
    """A timer that does not wait."""

    def __init__(self, seconds: float, function: Callable[[], Any]) -> None:
        self.function, self.finished, self.daemon = function, Event(), False

    def start(self) -> None:
        thread = Thread(target=self.function)
        thread.start()
        thread.join()

    def cancel(self) -> None:
        self.finished.set()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "watched", lambda: True)
    monkeypatch.setattr(progress, "Timer", Now)


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["report", *MODELS], 3),
        (["report", *MODELS, "--format", "json"], 3),
        (["compare", *MODELS], 3),
        (["audit", *MODELS], 3),
        (["plot", "scatter", "resnet18", "vgg11", "--terminal"], 2),
        (["lint", "specs/lenet.yaml", "specs/alexnet.yaml"], 2),
        (["fmt", "--check", "specs/lenet.yaml", "specs/alexnet.yaml"], 2),
    ],
)
def test_a_bar_says_how_far_it_is(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    arguments: list[str], count: int,
) -> None:  # fmt: skip
    monkeypatch.chdir(Path(__file__).resolve().parent.parent)
    shown = CliRunner().invoke(cli, arguments)
    assert f"0/{count}" in capfd.readouterr().err
    monkeypatch.setattr(progress, "watched", lambda: False)
    assert CliRunner().invoke(cli, arguments).stdout == shown.stdout
    assert capfd.readouterr().err == ""


def test_items_come_back_in_order_and_the_last_is_named(
    terminal: None, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress.progress("abc", "weigh", str.upper) as shown:
        assert [*shown] == ["a", "b", "c"]
    words = capfd.readouterr().err
    assert "weigh C" in words
    assert "2/3" in words


def test_a_sweep_says_how_many_configurations_are_priced(
    terminal: None, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        "sweep",
        "resnet18",
        "--vary",
        "input=32:163",
        "--vary",
        "classes=1:1000",
        "--top",
        "1",
    ]
    assert CliRunner().invoke(cli, words).exit_code == 0
    told = capfd.readouterr().err
    assert "0/132000" in told and "132000/132000" in told and "/s" in told


def test_what_is_quick_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "watched", lambda: True)
    with progress.progress(iter("abc"), "weigh", total=3) as shown:
        assert [*shown] == ["a", "b", "c"]
    assert capfd.readouterr().err == ""


def test_the_bar_ends_with_an_error(terminal: None, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), progress.progress("ab", "weigh") as shown:
        for item in shown:
            raise KeyError(item)
    assert capfd.readouterr().err.endswith("\x1b[2K")  # the line is empty again
