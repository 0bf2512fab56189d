"""``archcost table --training``: the FLOPs of forward, backward and step, line by line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from archcost.analysis.training import training_step
from archcost.cli import cli
from archcost.errors import ArchcostError
from archcost.spec.catalog import expand
from archcost.spec.document import read_document
from archcost.spec.source import Source

GROUPED = """
name: grouped
input: 4x6x6
layers:
  - conv(8, 3, padding=1)
  - body:
      - conv(8, 3, padding=1, groups=4)
      - relu
      - conv_transpose(6, 2, stride=2, groups=2)
"""
# MACs: 36·8·4·9 = 10,368; in groups 36·8·2·9 = 5,184; transposed 36 inputs · 8 · 6/2 · 4 = 3,456


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["table", *arguments])


def cells(table: str) -> dict[str, list[str]]:
    lines = [line.split(",") for line in table.strip().splitlines()]
    return {line[0]: line[1:] for line in lines}


def test_gradients_by_hand() -> None:
    keys = ("name", "forward_macs", "input_gradient", "weight_gradient", "step", "step_macs")
    step = training_step(expand(read_document(Source("grouped.yaml", GROUPED)), ""))
    rows = cells(step.table(keys).render("csv")) | cells(step.table(keys, 1).render("csv"))
    # no gradient of the network's input: one product of the first layer, else two
    assert rows["conv1"] == ["10368", "0", "20736", "41472", "20736"]
    assert rows["body.conv1"] == ["5184", "10368", "10368", "31104", "15552"]
    assert rows["body.conv_transpose1"] == ["3456", "6912", "6912", "20736", "10368"]
    assert rows["body"] == ["8640", "17280", "17280", "51840", "25920"]
    frozen = training_step(step.network, freeze=("conv1",))  # then the second is the first
    assert frozen.backward == 2 * 5184 + 4 * 3456


def test_groups_and_layers_add_up() -> None:
    data = json.loads(run("resnet18", "--training", "--batch", "4", "--format", "json").output)
    for key, total in data["totals"].items():
        assert total == sum(layer[key] for layer in data["layers"])
    folded = run("resnet18", "--training", "--batch", "4", "--depth", "1", "--columns", "name,step")
    last = folded.output.strip().split("\n\n")[1].splitlines()[-1].split()
    assert int(last[1].replace(",", "")) == data["totals"]["step"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--convention fvcore", "--training counts FLOPs; it takes no --convention"),
        ("--activations torchinfo", "--training counts FLOPs; it takes no --activations"),
        ("--columns stp", "unknown column 'stp'; did you mean 'step'?"),
        ("--depth 0", "depth must be at least 1; got 0"),
        ("--freeze stm", "unknown layer or group to freeze 'stm'; did you mean 'stem'?"),
    ],
)
def test_bad_input(arguments: str, message: str) -> None:
    result = run("resnet18", "--training", *arguments.split())
    assert isinstance(result.exception, ArchcostError) and message in str(result.exception)
