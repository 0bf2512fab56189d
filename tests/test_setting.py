"""A setting reads itself from options, from a budget file and from keywords, to the same effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from archcost import ArchcostError, load
from archcost.api import Options, setting_of
from archcost.budget.budget import read_budgets
from archcost.cli.options import FLAGS, setting_options
from archcost.hardware import find_device
from archcost.setting import OPTIONS, Setting

SAID: dict[str, tuple[list[str], Any]] = {
    "batch": (["--batch", "3"], 3),
    "dtype": (["--dtype", "float16"], "float16"),
    "device": (["--device", "cpu"], "cpu"),
    "optimizer": (["--optimizer", "adamw"], "adamw"),
    "kernel": (["--for-loop"], "for-loop"),
    "weight_decay": (["--weight-decay"], True),
    "freeze": (["--freeze", "stem*", "--freeze", "fc"], ["stem*", "fc"]),
    "amp": (["--amp", "bf16"], "bf16"),
    "channels_last": (["--channels-last"], True),
    "checkpoint": (["--checkpoint", "layer1"], ["layer1"]),
    "convention": (["--convention", "fvcore"], "fvcore"),
    "activations": (["--activations", "fvcore"], "fvcore"),
}
"""How every option is said on the command line, and its value elsewhere."""


def from_options(arguments: list[str], *names: str) -> Setting:
    made: list[Setting] = []

    @click.command()
    @setting_options(*names)
    def command(setting: Setting) -> None:
        made.append(setting)

    done = CliRunner().invoke(command, arguments)
    if isinstance(done.exception, ArchcostError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return made[0]


def test_every_option_is_a_flag_a_key_and_a_keyword() -> None:
    assert set(SAID) == set(OPTIONS) == set(FLAGS) - {"gpu"}
    assert set(OPTIONS) <= set(Options.__annotations__)


@pytest.mark.parametrize("name", SAID)
def test_an_option_is_read_alike_everywhere(name: str, tmp_path: Path) -> None:
    arguments, value = SAID[name]
    said = from_options(arguments, *OPTIONS)
    assert said != Setting() and getattr(said, name) == (
        tuple(value) if isinstance(value, list) else value
    )
    quoted = str(value).lower() if isinstance(value, bool) else repr(value)
    (tmp_path / "a.toml").write_text(f'{name} = {quoted}\n[budgets]\na = "macs <= 1"\n')
    [budget] = read_budgets(tmp_path / "a.toml")
    network = load("lenet5")
    assert budget.subject(network).setting == said
    assert setting_of({name: value, "aux": True}) == (said, {"aux": True})


def test_a_device_says_what_it_is_unless_it_is_asked_for() -> None:
    assert from_options(["--gpu", "v100"], "gpu", "batch").gpu == find_device("v100")
    with pytest.raises(ArchcostError, match="v100 is a GPU, which is --device cuda"):
        from_options(["--gpu", "v100", "--device", "cpu"], "gpu", "device")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"freeze": "stem"}, "freeze is a list of names, such as ['stem']; got 'stem'"),
        ({"batch": 0}, "batch must be a whole number from 1 to 2,147,483,648; got 0"),
        ({"amp": "bf17"}, "autocast takes bf16 or fp16; got 'bf17'"),
        ({"amp": "bf16", "dtype": "float16"}, "autocast keeps parameters in float32; got --dtype float16"),
        ({"kernel": "fast"}, "unknown kernel 'fast'; expected one of: for-loop, foreach, fused"),
    ],
)  # fmt: skip
def test_what_cannot_be_run_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArchcostError) as caught:
        Setting.of(options)
    assert str(caught.value) == reason
